"""Right gradients that two methods vouch for, at a point of somebody's code."""

from __future__ import annotations

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


def right_gradients(subject: Subject, point: Point, dy: Array) -> tuple[Point, str]:
    """The right gradients of sum(dy * output), NaN where not asked; the method."""

    def value(at: Point) -> Any:
        return np.sum(dy * wide(subject.output(at)))

    sizes = [array.size for array in point.values()]
    where = None
    if sum(sizes) > ENTRIES:
        starts = np.cumsum([0, *sizes])
        spread = [
            a + np.linspace(0, n - 1, min(n, 24)).astype(int)
            for a, n in zip(starts, sizes, strict=False)
        ]
        where = np.unique(np.concatenate(spread))
    found = gradcheck.trusted_gradient(value, point, where)
    return found.value, found.method


def conformed(got: Point, point: Point) -> Point:
    """Gradients as doubles in the shapes of their arrays, where only axes of length 1 differ."""
    made = {}
    for name, value in point.items():
        gradient = np.asarray(got[name], np.float64)
        fits = gradient.shape != value.shape and gradient.size == value.size
        made[name] = gradient.reshape(value.shape) if fits else gradient
    return made
