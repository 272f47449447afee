"""A failing example made small: fewer samples, small integers, as long as it fails the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.subjects.subject import Point, Subject
from scratchnet.testing.values import disagreeing, weighed

Judge = Callable[[Subject, Point, Array], Any]
"""None where the gradients are right, else what is wrong."""


def smaller(
    subject: Subject, point: Point, dy: Array, judge: Judge
) -> tuple[Subject, Point, Array]:
    """The smallest example found that the judge still calls wrong."""
    for other, at in _candidates(subject, point):
        try:
            y = other.output(at)
            ones = np.full(y.shape, 1.0 / other.share) if not other.takes_dy else _ones(y)
            if not disagreeing(weighed(other, ones), at, other.gradients(at, ones)):
                continue
            if judge(other, at, ones) is not None:
                return other, at, ones
        except Exception:  # it takes no such example: the next one
            continue
    return subject, point, dy


def _ones(y: Array) -> Array:
    """1, 2, 3, -1, ... so that no two outputs weigh the same by chance."""
    return np.resize(np.array([1.0, 2.0, 3.0, -1.0, -2.0]), y.size).reshape(y.shape)


def _candidates(subject: Subject, point: Point) -> Iterator[tuple[Subject, Point]]:
    for rows in (1, 2, None):
        other, at = (subject, point) if rows is None else first_rows(subject, point, rows)
        if rows is not None and other is subject:
            continue
        yield other, {name: np.ones_like(value) for name, value in at.items()}
        for seed in range(2):
            yield other, {name: _whole(value, seed) for name, value in at.items()}
        yield other, {name: np.round(value, 1) for name, value in at.items()}
        yield other, at


def _whole(value: Array, seed: int) -> Array:
    """Small integers, of one sign where the given numbers are."""
    if seed == 0:
        drawn = np.resize(np.array([1.0, 2.0, 3.0, -1.0, -2.0]), value.size).reshape(value.shape)
    else:
        drawn = np.random.default_rng(value.size).integers(-3, 4, value.shape).astype(float)
    if value.size and np.all(value > 0):
        drawn = np.abs(drawn) + (drawn == 0)
        return drawn / 4 if np.all(value < 1) else drawn
    return drawn


def first_rows(subject: Subject, point: Point, rows: int) -> tuple[Subject, Point]:
    """The first samples only, of everything that has as many entries along its first axis."""
    samples = subject.samples()
    if samples <= rows:
        return subject, point
    axis = -1 if subject.columns else 0

    def cut(value: Any) -> Any:
        many = isinstance(value, np.ndarray) and value.ndim > 0 and value.shape[axis] == samples
        return (value[..., :rows] if subject.columns else value[:rows]).copy() if many else value

    other = subject.copy()
    other.whole = subject.whole or subject
    other.given = [cut(arg) for arg in subject.given]
    if subject.share > 1:
        other.share = subject.share * rows / samples
    return other, {n: cut(v) if n in subject.inputs else v for n, v in point.items()}
