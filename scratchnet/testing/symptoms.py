"""What the wrong entries of a gradient have in common, in one sentence, for a bug without a name.

A factor, a sign, a threshold, one sample: each is said only where it explains every entry. These
are observations about numbers, and true whatever caused them; `naming.py` says what the cause is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from scratchnet.engines import Array

CLOSE = 1e-6
"""Share of a tensor's largest entry below which a difference is not seen here."""


def apart(given: Array, right: Array) -> Array:
    """Which entries differ."""
    size = np.max(np.abs(right), initial=0)
    return ~(np.abs(given - right) <= CLOSE * np.maximum(np.abs(right), 1e-3 * size) + 1e-300)


def symptom(name: str, given: Array, right: Array, point: Mapping[str, Array]) -> str:
    """The first observation that explains every wrong entry, or "".

    Args:
        point: the arrays that were asked about, and dY, for what the entries may depend on.

    >>> symptom("dx", np.array([2.0, 0.0]), np.array([1.0, -3.0]), {"x": np.array([4.0, -4.0])})
    ''
    >>> symptom("dx", np.array([1.0, 3.0]), np.array([1.0, 0.0]), {"x": np.array([-1.0, 4.0])})
    'dx is wrong exactly where x > 0'
    >>> symptom("dW", np.array([2.0, -6.0]), np.array([-2.0, 6.0]), {})
    'dW has the wrong sign'
    """
    return next(_observations(name, given, right, point), "")


def _observations(
    name: str, given: Array, right: Array, point: Mapping[str, Array]
) -> Iterator[str]:
    wrong = apart(given, right)
    if not np.isfinite(given).all():
        yield f"{name} is not finite in {np.sum(~np.isfinite(given))} of {given.size} entries"
        return
    if not wrong.any():
        return
    if not given.any():
        yield f"{name} is 0 everywhere"
    if wrong.size > 1 and not wrong.all():
        yield from _where(name, wrong, point)
        if wrong.size > 3:
            yield from _slices(name, wrong)
    yield from _ratio(name, given[wrong], right[wrong])
    if wrong.size > 1:
        yield from _differences(name, given, right, point)


def _where(name: str, wrong: Array, point: Mapping[str, Array]) -> Iterator[str]:
    """A threshold on some array of the same shape that separates the wrong entries."""
    for other, values in point.items():
        if values.shape != wrong.shape or values.size < 2:
            continue
        inside, outside = values[wrong], values[~wrong]
        for sign, low, high in (
            ("<", inside.max(), outside.min()),
            (">", outside.max(), inside.min()),
        ):
            if low < high:
                at = next((n for n in (0.0, 1.0, -1.0, 6.0, 0.5) if low <= n <= high), None)
                at = float(f"{(low + high) / 2:.2g}") if at is None else at
                yield f"{name} is wrong exactly where {other} {sign} {at:g}"


def _slices(name: str, wrong: Array) -> Iterator[str]:
    """One index of one axis that holds all the wrong entries."""
    for axis in range(wrong.ndim):
        others = tuple(a for a in range(wrong.ndim) if a != axis)
        places = np.flatnonzero(wrong.any(axis=others))
        if len(places) == 1 and wrong.shape[axis] > 1:
            index = ["…" if a != axis else str(places[0]) for a in range(wrong.ndim)]
            last = " (the last)" if places[0] == wrong.shape[axis] - 1 else ""
            yield f"only {name}[{', '.join(index)}]{last} is wrong"


def _ratio(name: str, given: Array, right: Array) -> Iterator[str]:
    if given.size == 0 or not np.all(np.abs(right) > 0):
        return
    ratios = given / right
    r = float(np.median(ratios))
    if r and np.all(np.abs(ratios - r) <= CLOSE * abs(r)):
        if abs(r + 1) < CLOSE:
            yield f"{name} has the wrong sign"
        elif given.size > 1:
            yield f"{name}: every wrong entry is {r:.6g} times the right one"


def _differences(
    name: str, given: Array, right: Array, point: Mapping[str, Array]
) -> Iterator[str]:
    off = given - right
    for other, values in point.items():
        if values.shape == off.shape and np.any(values):
            c = float(np.vdot(values, off) / np.vdot(values, values))
            if c and np.all(np.abs(off - c * values) <= CLOSE * np.max(np.abs(off))):
                yield f"{name} is off by {c:.6g} times {other}"
            if np.allclose(given, values, rtol=CLOSE, atol=0):
                yield f"{name} is {other} itself"
    if given.ndim == 2 and given.T.shape == right.shape and not apart(given.T, right).any():
        yield f"{name} is transposed"
    if np.ptp(off) <= CLOSE * np.max(np.abs(off)):
        yield f"{name} is off by {off.flat[0]:.6g} everywhere"
