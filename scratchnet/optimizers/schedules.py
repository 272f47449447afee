"""Learning rates as functions of the steps taken, with Keras's arguments and formulas.

They compute in float32 whatever a model computes in, as Keras does on TensorFlow; powers,
logarithms and cosines are rounded to it from float64. Source: Keras,
optimizers/schedules/learning_rate_schedule.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scratchnet.optimizers.options import SCHEDULES
from scratchnet.registry import instance, serialized


class LearningRateSchedule:
    """Subclass it for your own: `schedule(step)` is the rate after `step` steps.

    >>> class Halves(LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.5**step
    >>> from scratchnet.optimizers import SGD
    >>> SGD(Halves()).learning_rate
    1.0
    """

    _names: tuple[str, ...] = ()

    def __call__(self, step: Any) -> Any:
        raise NotImplementedError(
            f"Learning rate schedule {type(self).__name__!r} must override __call__(self, step)."
        )

    def get_config(self) -> dict[str, Any]:
        if not self._names:
            raise NotImplementedError(
                f"Learning rate schedule {type(self).__name__!r} must override get_config() to be "
                "saved."
            )
        return {name: getattr(self, name) for name in self._names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """The schedule that `get_config` described."""
        return cls(**config)


def _numbers(*values: Any) -> tuple[Any, ...]:
    return tuple(np.float32(value) for value in values)


def _power(base: Any, exponent: Any) -> Any:
    return np.float32(np.float64(base) ** np.float64(exponent))


def _log(x: Any) -> Any:
    return np.float32(np.log(np.float64(x)))


def _cosine(x: Any) -> Any:
    return np.float32(np.cos(np.float64(x)))


def _positive(name: str, value: Any) -> Any:
    if not value > 0:
        raise ValueError(f"Argument `{name}` must be > 0: got {name}={value!r}.")
    return value


class _Decay(LearningRateSchedule):
    """What ExponentialDecay and InverseTimeDecay share: p = step / decay_steps, or its floor."""

    _names = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ):
        self.initial_learning_rate, self.decay_rate = initial_learning_rate, decay_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.staircase, self.name = staircase, name or type(self).__name__

    def _parts(self, step: Any) -> tuple[Any, Any, Any]:
        first, steps, rate, at = _numbers(
            self.initial_learning_rate, self.decay_steps, self.decay_rate, step
        )
        p = at / steps
        return first, rate, np.floor(p) if self.staircase else p


class ExponentialDecay(_Decay):
    """initial_learning_rate decay_rate^(step / decay_steps); with `staircase` of whole powers.

    >>> float(ExponentialDecay(1.0, 10, 0.25)(5)), float(ExponentialDecay(1.0, 10, 0.5, True)(25))
    (0.5, 0.25)
    """

    def __call__(self, step: Any) -> Any:
        first, rate, p = self._parts(step)
        return first * _power(rate, p)


class InverseTimeDecay(_Decay):
    """initial_learning_rate / (1 + decay_rate step / decay_steps).

    >>> float(InverseTimeDecay(1.0, 10, 2.0)(5))
    0.5
    """

    def __call__(self, step: Any) -> Any:
        first, rate, p = self._parts(step)
        return first / (1 + rate * p)


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and with step boundaries[0], then values[1], and so on.

    >>> schedule = PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.25])
    >>> [float(schedule(step)) for step in (10, 11, 21)]
    [1.0, 0.5, 0.25]
    """

    _names = ("boundaries", "values", "name")

    def __init__(
        self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"
    ):
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "The length of boundaries should be 1 less than the length of values: got "
                f"boundaries={boundaries!r} and values={values!r}."
            )
        self.boundaries, self.values, self.name = boundaries, values, name

    def __call__(self, step: Any) -> Any:
        passed = sum(step > np.asarray(step).dtype.type(edge) for edge in self.boundaries)
        return _numbers(self.values[int(passed)])[0]


class PolynomialDecay(LearningRateSchedule):
    """(initial - end) (1 - step / decay_steps)^power + end, end from there on; or in cycles.

    With `cycle` decay_steps is multiplied by how often it was begun.

    >>> float(PolynomialDecay(1.0, 10, 0.5)(5)), float(PolynomialDecay(1.0, 10, 0.5)(50))
    (0.75, 0.5)
    """

    _names = (
        *("initial_learning_rate", "decay_steps", "end_learning_rate", "power", "cycle", "name"),
    )

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.end_learning_rate, self.power = end_learning_rate, power
        self.cycle, self.name = cycle, name

    def __call__(self, step: Any) -> Any:
        first, steps, last, power, at = _numbers(
            self.initial_learning_rate, self.decay_steps, self.end_learning_rate, self.power, step
        )
        if self.cycle:
            steps = steps * (np.ceil(at / steps) if at != 0 else at.dtype.type(1))
        else:
            at = min(at, steps)
        return (first - last) * _power(1 - at / steps, power) + last


class CosineDecay(LearningRateSchedule):
    """initial ((1 - alpha) (1 + cos(pi step / decay_steps)) / 2 + alpha), after a linear warm-up.

    With a warmup_target the rate climbs from initial to it in warmup_steps, and falls from there.
    Source: Loshchilov & Hutter 2017.

    >>> float(CosineDecay(1.0, 10)(10)), float(CosineDecay(0.0, 10, warmup_target=1.0,
    ...     warmup_steps=4)(2))
    (0.0, 0.5)
    """

    _names = (
        *("initial_learning_rate", "decay_steps", "alpha", "name", "warmup_target"),
        "warmup_steps",
    )

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ):
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.alpha, self.name = alpha, name
        self.warmup_target, self.warmup_steps = warmup_target, warmup_steps

    def __call__(self, step: Any) -> Any:
        first, steps, at, warm = _numbers(
            self.initial_learning_rate, self.decay_steps, step, self.warmup_steps
        )
        if self.warmup_target is not None:
            (target,) = _numbers(self.warmup_target)
            at = min(at, steps + warm)
            if at < warm:
                return (target - first) * (at / warm) + first
            first, at = target, at - warm
        half, pi, alpha, rest = _numbers(0.5, math.pi, self.alpha, 1 - self.alpha)
        wave = half * (1 + _cosine(pi * (min(at, steps) / steps)))
        return first * (rest * wave + alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """CosineDecay over and over: each time t_mul as long, from m_mul times as high.

    Source: Loshchilov & Hutter 2017, "SGDR".

    >>> float(CosineDecayRestarts(1.0, 10, m_mul=0.5)(10))
    0.5
    """

    _names = ("initial_learning_rate", "first_decay_steps", "t_mul", "m_mul", "alpha", "name")

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ):
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = _positive("first_decay_steps", first_decay_steps)
        self.t_mul, self.m_mul, self.alpha, self.name = t_mul, m_mul, alpha, name

    def __call__(self, step: Any) -> Any:
        first, steps, alpha, t_mul, m_mul, at, one, half, pi = _numbers(
            *(self.initial_learning_rate, self.first_decay_steps, self.alpha, self.t_mul),
            *(self.m_mul, step, 1, 0.5, math.pi),
        )
        done = at / steps
        if t_mul == one:
            restart = np.floor(done)
            done = done - restart
        else:
            restart = np.floor(_log(one - done * (one - t_mul)) / _log(t_mul))
            length = _power(t_mul, restart)
            done = (done - (one - length) / (one - t_mul)) / length
        wave = half * _power(m_mul, restart) * (one + _cosine(pi * done))
        return first * ((one - alpha) * wave + alpha)


CLASSES: tuple[type[LearningRateSchedule], ...] = (
    *(CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay),
    *(PiecewiseConstantDecay, PolynomialDecay),
)
SCHEDULES.update({kind.__name__: kind for kind in CLASSES})


def serialize(learning_rate_schedule: Any) -> dict[str, Any]:
    """The description of a schedule, in Keras's words.

    >>> serialize(ExponentialDecay(1.0, 10, 0.5))["class_name"]
    'ExponentialDecay'
    """
    return serialized("keras.optimizers.schedules", learning_rate_schedule, SCHEDULES)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The schedule that `serialize` described.

    >>> deserialize(serialize(ExponentialDecay(1.0, 10, 0.5))).decay_steps
    10
    """
    return instance("schedule", config, SCHEDULES | dict(custom_objects or {}))
