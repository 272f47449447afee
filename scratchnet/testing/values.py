"""Right gradients that two methods vouch for, at a point of somebody's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scratchnet import gradcheck
from scratchnet.engines import Array
from scratchnet.testing.subjects.subject import Point, Subject

ENTRIES = 400
"""Gradients of at most so many entries are computed whole; of larger ones some of each array."""


def wide(y: Array) -> Array:
    """Real outputs as doubles; complex ones as they are."""
    return y if y.dtype.kind == "c" else np.asarray(y, np.float64)


def right_gradients(subject: Subject, point: Point, dy: Array, got: Point) -> tuple[Point, str]:
    """The right gradients of sum(dy * output), NaN where not asked; the method.

    A projection of each array comes first: where `got` agrees with it, `got` is right, and single
    entries are only computed where it does not.
    """

    value = weighed(subject, dy)
    wrong = disagreeing(value, point, got) or list(point)
    sizes = {name: point[name].size for name in wrong}
    where = None
    if sum(sizes.values()) > ENTRIES:
        starts = np.cumsum([0, *sizes.values()])
        spread = [
            a + np.linspace(0, n - 1, min(n, 24)).astype(int)
            for a, n in zip(starts, sizes.values(), strict=False)
        ]
        where = np.unique(np.concatenate(spread))
    found = gradcheck.trusted_gradient(
        lambda part: value(point | part), {name: point[name] for name in wrong}, where
    )
    return rounded(found.value, got), found.method


def rounded(right: Point, got: Point) -> Point:
    """The right values, or the given ones where rounding of the largest explains the difference."""
    size = max((np.nanmax(np.abs(value), initial=0) for value in right.values()), default=0)
    made = dict(got)
    for name, value in right.items():
        close = np.abs(got[name] - value) <= 1e-12 * size
        made[name] = np.where(close, got[name], np.where(np.abs(value) <= 1e-13 * size, 0, value))
    return made


def weighed(subject: Subject, dy: Array) -> Callable[[Point], Any]:
    """sum(dy * output) as a function of the point."""
    return lambda at: np.sum(dy * wide(subject.output(at)))


def disagreeing(value: Callable[[Point], Any], point: Point, got: Point) -> list[str]:
    """The arrays whose gradient a random direction contradicts, by more than 1e-8 of its terms."""
    found = gaps(value, point, got)
    return [n for n, gap in found.items() if not gap <= 1e-8 * float(np.sum(np.abs(got[n])))]


def gaps(value: Callable[[Point], Any], point: Point, got: Point) -> dict[str, float]:
    """How far each array's gradient is off along a random direction: four evaluations for each.

    A look, not a verdict: (4 D(h) - D(2 h)) / 3, central differences without their h^2 term, is
    good to 1e-9 for smooth float64 code; what it suspects is then computed entry by entry.
    """
    rng, found = np.random.default_rng(0), {}
    for name, array in point.items():
        length = float(np.sqrt(np.mean(array**2))) or 1.0
        along = rng.uniform(0.5, 1.5, array.shape) * rng.choice([-1.0, 1.0], array.shape)
        slopes = []
        for h in (2.0**-11 * length, 2.0**-12 * length):
            ahead, behind = (value(point | {name: array + s * h * along}) for s in (1, -1))
            slopes.append(float(np.real(ahead - behind)) / (2 * h))
        terms = float(np.sum(along * got[name].reshape(array.shape)))
        found[name] = abs(terms - (4 * slopes[1] - slopes[0]) / 3)
    return found


def conformed(got: Point, point: Point) -> Point:
    """Gradients as doubles in the shapes of their arrays, where only axes of length 1 differ."""
    made = {}
    for name, value in point.items():
        gradient = np.asarray(got[name], np.float64)
        fits = gradient.shape != value.shape and gradient.size == value.size
        made[name] = gradient.reshape(value.shape) if fits else gradient
    return made
