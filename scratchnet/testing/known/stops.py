"""A forward with places where the gradient can be stopped: each stop is a slip, computed exactly.

Backward code that forgets a path gives the gradient of a function in which that path is constant.
So a reference forward marks its paths, `stop("variance", v)`, and the complex step of the function
with a path frozen is what the slip gives: no wrong backward has to be written by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from scratchnet.engines import Array

Point = dict[str, Array]
Forward = Callable[[Point, "Stops"], Array]


class Stops:
    """Values of the frozen paths, as they were at the first evaluation.

    >>> stops = Stops(["norm"])
    >>> stops("norm", np.array(2.0)), stops("norm", np.array(3.0)), stops("mean", np.array(4.0))
    (array(2.), array(2.), array(4.))
    """

    def __init__(self, frozen: Iterable[str] = ()) -> None:
        self.frozen, self.kept = frozenset(frozen), dict[Any, Array]()

    def __call__(self, name: str, value: Array, place: int = 0) -> Array:
        if name not in self.frozen:
            return value
        return self.kept.setdefault((name, place), np.array(value.real))


def gradient_of(forward: Forward, point: Point, dy: Array, frozen: Iterable[str] = ()) -> Point:
    """The gradient of sum(dy * forward), by the complex step, with these paths frozen."""
    stops = Stops(frozen)
    forward(point, stops)  # the frozen values
    made = {}
    for name, value in point.items():
        if value.dtype.kind != "f":
            continue  # indices
        gradient = np.empty(value.size)
        for i in range(value.size):
            moved = value.astype(complex)
            moved.flat[i] += 1e-30j
            gradient[i] = np.sum(dy * forward(point | {name: moved}, stops)).imag / 1e-30
        made[name] = gradient.reshape(value.shape)
    return made
