"""Adam and SGD taken apart: each piece of the rule can be exchanged for a wrong one.

The museum's optimizer bugs are these forms with one piece replaced, and the batteries recognise
somebody's wrong optimizer by running the same forms beside it. A form without a replaced piece
agrees with `scratchnet.optimizers` to rounding; a test holds it to that. It refuses to be fast:
every array is stepped by itself, as homework does it. Read `museum.py` next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from scratchnet.engines import Array, Engine
from scratchnet.support import through_float32

Slots = dict[str, Array]
Piece = Callable[..., Any]


@dataclass(frozen=True)
class Settings:
    """The numbers of a rule. `keras` passes beta and mu through float32; `hat` is Keras's epsilon,
    added to the root of the uncorrected v; the paper's algorithm 1 corrects v first."""

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False
    momentum: float = 0.0
    nesterov: bool = False
    keras: bool = False
    hat: bool = True

    def base(self, value: float) -> float:
        """A decay rate as this dialect takes it to a power."""
        return through_float32(value) if self.keras else value


def slices(sizes: Sequence[int]) -> list[slice]:
    """Where arrays of these sizes lie in one vector.

    >>> slices([2, 3])
    [slice(0, 2, None), slice(2, 5, None)]
    """
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(a, b) for a, b in pairwise(ends)]


@dataclass(frozen=True)
class AdamForm:
    """m = first, v = second; theta -= lr (m / c1) / denominator(v / c2), (c1, c2) = corrections.

    With `hat` the epsilon is taken beside sqrt(v) instead of sqrt(v / c2).
    Source: Kingma & Ba 2015, algorithm 1 and the last paragraph of section 2.
    """

    clock: Piece = lambda t, array, arrays: t
    corrections: Piece = lambda t, b1, b2: (1 - b1**t, 1 - b2**t)
    first: Piece = lambda m, g, t, b1: m + (g - m) * (1 - b1)
    second: Piece = lambda v, g, m, t, b2: v + (g * g - v) * (1 - b2)
    denominator: Piece = lambda v, epsilon: np.sqrt(v) + epsilon
    peak: Piece = lambda v_hat, v, c2: (np.maximum(v_hat, v), c2)
    store: Piece = lambda m, v, c1, c2: (m, v)
    direction: float = -1.0

    def advance(
        self, theta: Array, g: Array, slots: Slots, t: int, array: int, arrays: int, s: Settings
    ) -> None:
        """One step of one array, in place, in theta's dtype."""
        kind = theta.dtype.type
        now = self.clock(t, array, arrays)
        c1, c2 = (kind(c) for c in self.corrections(now, s.base(s.beta_1), s.base(s.beta_2)))
        m = self.first(slots["momentum"], g, now, s.beta_1)
        v = self.second(slots["velocity"], g, m, now, s.beta_2)
        root, c = v, c2
        if s.amsgrad:
            root, c = self.peak(slots["velocity_hat"], v, c2)
            slots["velocity_hat"][...] = root
        if s.hat:
            step = m * (np.sqrt(c) / c1) / self.denominator(root, kind(s.epsilon))
        else:
            step = (m / c1) / self.denominator(root / c, kind(s.epsilon))
        slots["momentum"][...], slots["velocity"][...] = self.store(m, v, c1, c2)
        theta += self.direction * kind(s.learning_rate) * step


@dataclass(frozen=True)
class SGDForm:
    """u' = velocity(u, g); theta += move(u', u, g).  Source: Sutskever et al. 2013, section 2."""

    velocity: Piece = lambda u, g, rate, mu: mu * u - rate * g
    move: Piece = lambda new, old, g, rate, mu, nesterov: mu * new - rate * g if nesterov else new
    direction: float = -1.0

    def advance(
        self, theta: Array, g: Array, slots: Slots, t: int, array: int, arrays: int, s: Settings
    ) -> None:
        """One step of one array, in place, in theta's dtype."""
        kind = theta.dtype.type
        rate, mu = kind(-self.direction * s.learning_rate), kind(s.base(s.momentum))
        if not s.momentum:
            theta -= rate * g
            return
        old = slots["momentum"].copy()
        new = self.velocity(old, g, rate, mu)
        slots["momentum"][...] = new
        theta += self.move(new, old, g, rate, mu, s.nesterov)


Form = AdamForm | SGDForm


def settings_of(optimizer: Any) -> Settings:
    """The numbers of one of our own optimizers, in Keras's dialect."""
    names = set(Settings.__dataclass_fields__) & set(vars(optimizer)) - {"learning_rate"}
    numbers = {name: getattr(optimizer, name) for name in names}
    return Settings(learning_rate=optimizer.learning_rate, keras=True, **numbers)


def install(form: Form, optimizer: Any, sizes: Sequence[int]) -> None:
    """Make one of our optimizers step by this form, array by array."""

    def step(engine: Engine, theta: Array, grad: Array) -> None:
        optimizer.build(theta)
        t, numbers = optimizer.iterations + 1, settings_of(optimizer)
        for array, part in enumerate(slices(sizes)):
            slots = {name: slot[part] for name, slot in optimizer.slots.items()}
            form.advance(theta[part], grad[part], slots, t, array, len(sizes), numbers)
        optimizer.iterations += 1

    optimizer.step = step


@dataclass
class FormRun:
    """A form with its own slots for a list of arrays, to be stepped beside somebody's optimizer.

    >>> run = FormRun(SGDForm(), Settings(0.5), [np.array([1.0, 2.0])])
    >>> run.step([np.array([1.0, -1.0])])
    >>> run.arrays[0].tolist()
    [0.5, 2.5]
    """

    form: Form
    settings: Settings
    arrays: list[Array]
    t: int = 0
    slots: list[Slots] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = ("momentum", "velocity", "velocity_hat")
        self.arrays = [array.copy() for array in self.arrays]
        self.slots = [{name: np.zeros_like(array) for name in names} for array in self.arrays]

    def step(self, gradients: Sequence[Array]) -> None:
        """Every array by one step along its gradient."""
        self.t += 1
        for j, (array, g) in enumerate(zip(self.arrays, gradients, strict=True)):
            self.form.advance(array, g, self.slots[j], self.t, j, len(self.arrays), self.settings)
