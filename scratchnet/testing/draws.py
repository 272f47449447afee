"""The numbers that somebody's code is asked on: drawn within a domain, small ones and wide ones.

What is wrong for large or negative arguments only, or only off the numbers that a layer was made
with, passes where every number is a standard normal one. So inputs are drawn at several scales, and
parameters anew. Everything follows from one seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scratchnet.engines import Array

SCALES = (1.0, 4.0, 12.0)
"""Standard deviations of the inputs of one draw after another."""

Generator = np.random.Generator


@dataclass(frozen=True)
class Domain:
    """An open interval in which the inputs lie, or everything.

    >>> Domain.of("positive"), Domain.of((0, 1)), Domain.of(None)
    (Domain(low=0.0, high=inf), Domain(low=0.0, high=1.0), Domain(low=-inf, high=inf))
    """

    low: float = -np.inf
    high: float = np.inf

    @classmethod
    def of(cls, said: Any) -> Domain:
        """From what `domain=` says: None, "positive", "unit", or (low, high)."""
        known = {None: cls(), "real": cls(), "positive": cls(0.0), "unit": cls(0.0, 1.0)}
        if said is None or isinstance(said, str):
            if said not in known:
                raise ValueError(f"domain={said!r}: expected 'positive', 'unit' or (low, high).")
            return known[said]
        low, high = map(float, said)
        if not low < high:
            raise ValueError(f"domain={said!r}: expected (low, high) with low < high.")
        return cls(low, high)

    @classmethod
    def around(cls, array: Array) -> Domain:
        """The domain that these numbers suggest: all of one sign, or all within (0, 1), or any."""
        if array.size < 2 or not np.all(array > 0):
            return cls()
        return cls(0.0, 1.0) if np.all(array < 1) else cls(0.0)

    def __str__(self) -> str:
        if self.low == -np.inf and self.high == np.inf:
            return "all numbers"
        return "positive numbers" if self.high == np.inf else f"({self.low:g}, {self.high:g})"

    def draw(self, rng: Generator, shape: tuple[int, ...], scale: float) -> Array:
        """Numbers in the domain; on the whole line normal ones of this standard deviation."""
        if np.isfinite(self.low) and np.isfinite(self.high):
            u = rng.beta(1 / scale, 1 / scale, shape) if scale > 1 else rng.uniform(size=shape)
            return np.asarray(self.low + (self.high - self.low) * (0.01 + 0.98 * u))
        if np.isfinite(self.low):
            return np.asarray(self.low + np.exp(rng.normal(0, 0.5 * np.sqrt(scale), shape)))
        if np.isfinite(self.high):
            return np.asarray(self.high - np.exp(rng.normal(0, 0.5 * np.sqrt(scale), shape)))
        return np.asarray(scale * rng.normal(size=shape))


def is_shape(x: Any) -> bool:
    """Whether this is the shape of one array: a tuple of positive integers, or one integer."""
    if isinstance(x, tuple):
        return len(x) > 0 and all(isinstance(n, int | np.integer) and n > 0 for n in x)
    return isinstance(x, int) and not isinstance(x, bool) and x > 0


def arguments(x: Any, domain: Domain, rng: Generator) -> list[Any]:
    """What forward is called on: arrays as given, shapes filled, anything else as it is.

    >>> args = arguments([(2, 3), np.array([1, 0]), "same"], Domain(), np.random.default_rng(0))
    >>> args[0].shape, args[1].dtype.kind, args[2]
    ((2, 3), 'i', 'same')
    """
    if is_shape(x) or isinstance(x, np.ndarray | float) or _numbers(x):
        x = (x,)
    if isinstance(x, tuple) and x and all(type(n) is int for n in x):
        raise ValueError(f"x={x}: expected sizes of at least 1 in a shape, such as (4, 3).")
    if not isinstance(x, tuple | list):
        raise TypeError(
            f"x is a {type(x).__name__}: expected an array, a shape such as (4, 3), several of "
            "them in a list, or a Hypothesis strategy."
        )
    return [_argument(one, domain, rng) for one in x]


def _numbers(x: Any) -> bool:
    return isinstance(x, list) and len(x) > 0 and all(isinstance(n, float | list) for n in x)


def _argument(x: Any, domain: Domain, rng: Generator) -> Any:
    if is_shape(x):
        return domain.draw(rng, (x,) if isinstance(x, int) else x, 1.0)
    if isinstance(x, np.ndarray) or _numbers(x):
        array = np.array(x)
        return array.astype(np.float64) if array.dtype.kind == "f" else array
    return np.array(x) if isinstance(x, float | np.floating) else x


@dataclass(frozen=True)
class Draws:
    """Points to ask a subject at: the first as it was handed over, the others at other scales.

    Attributes:
        domains: of each input, by name.
        start: the point that was handed over.
        learned: the names of the parameters among it.
        seed: what everything follows from.
    """

    start: dict[str, Array]
    domains: dict[str, Domain]
    learned: frozenset[str]
    seed: int
    fixed: bool = False
    """Whether the inputs are to stay as they are."""

    def point(self, scale: float, number: int) -> dict[str, Array]:
        """The inputs at this scale, the parameters redrawn."""
        rng = np.random.default_rng([self.seed, number])
        found = {}
        for name, value in self.start.items():
            if name in self.learned:
                found[name] = redrawn(value, rng)
            elif self.fixed:
                found[name] = value.copy()
            else:
                found[name] = self.domains[name].draw(rng, value.shape, scale)
        return found

    def mild(self, scale: float, number: int) -> dict[str, Array]:
        """The same with parameters that stay near those handed over."""
        rng = np.random.default_rng([self.seed, number, 1])
        near = {
            name: self.start[name] * (1 + 0.1 * rng.normal(size=self.start[name].shape))
            for name in self.learned
        }
        return self.point(scale, number) | near

    def notes(self) -> list[str]:
        """Where inputs were not drawn from all numbers."""
        return [f"{n} is asked for on {d}" for n, d in self.domains.items() if d != Domain()]


def redrawn(value: Array, rng: Generator) -> Array:
    """Normal numbers, smaller for a matrix of many inputs so that it saturates nothing."""
    fan_in = value.size / value.shape[-1] if value.ndim > 1 else 1.0
    drawn = rng.normal(size=value.shape) / np.sqrt(fan_in)
    if value.ndim and np.all(value > 0):
        drawn = np.abs(drawn) + 0.2  # a scale, a variance
    return np.asarray(drawn)


Strategy = Callable[[Generator], Any]
