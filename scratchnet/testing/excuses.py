"""What explains a difference from the right gradient, other than a wrong formula.

Rounding where everything is saturated; an epsilon that forward adds and backward leaves out; a clip
in front of a logarithm; a forward that has lost its own digits. Each is asked for by numbers, none
by a tolerance that a bug could hide in. A projection of each array comes first, so that what is
plainly wrong is not computed entry by entry here.
"""

from __future__ import annotations

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.subjects.subject import Point, Subject
from scratchnet.testing.symptoms import apart
from scratchnet.testing.values import gaps, right_gradients, weighed

GUARD_LAYER, GUARD_LOSS = 1e-7, 1e-4
"""Up to this share of the largest entry an epsilon in forward explains a difference."""


def only_rounding(subject: Subject, point: Point, dy: Array, got: Point, unit: float) -> bool:
    """Whether the difference is nothing beside the gradients that this code gives elsewhere.

    A saturated tanh's slope 1 - a^2 is right to a rounding of 1, however small it is. Nearer to 0,
    where nothing is saturated, a slope is as large as its terms; going there by t shrinks a
    weight's gradient by t as well, and 9,007 roundings times 1 / 64 leaves room for 140.
    """
    allowed = {name: 9007 * unit * size for name, size in sizes(subject, point, dy).items()}
    for name, gap in gaps(weighed(subject, dy), point, got).items():
        if gap > 2 * point[name].size * max(allowed[name], 1e-8 * np.max(np.abs(got[name]))):
            return False
    right, _ = right_gradients(subject, point, dy, got)
    return all(largest(got[name] - right[name]) <= allowed[name] for name in point)


def sizes(subject: Subject, point: Point, dy: Array) -> dict[str, float]:
    """The largest gradient of each array here and nearer to 0, for dY of several signs."""
    rng, found = np.random.default_rng(0), dict.fromkeys(point, 0.0)
    for t in (1, 1 / 8, 1 / 64):
        for _ in range(3):
            signs = rng.choice([-1.0, 1.0], dy.shape) if subject.takes_dy else 1.0
            gradients = subject.gradients({n: t * v for n, v in point.items()}, dy * signs)
            for name, value in gradients.items():
                found[name] = max(found[name], largest(value))
    return found


def epsilon_left_out(subject: Subject, point: Point, dy: Array, got: Point) -> float | None:
    """How far off gradients are, as a share of their largest, where an epsilon may explain it."""
    allowed = GUARD_LAYER if subject.takes_dy else GUARD_LOSS
    for name, gap in gaps(weighed(subject, dy), point, got).items():
        if gap > 2 * point[name].size * max(allowed, 1e-8) * largest(got[name]):
            return None
    right, _ = right_gradients(subject, point, dy, got)
    off = max(largest(got[n] - right[n]) / max(largest(right[n]), 1e-300) for n in point)
    return off if off <= allowed else None


def clipped(subject: Subject, point: Point, dy: Array, got: Point) -> bool:
    """Whether a loss is flat, far out, where its gradient is not: a clip before a logarithm."""
    if not subject.style.targets:
        return False
    right, _ = right_gradients(subject, point, dy, got)
    size = max(largest(value) for value in got.values())
    wrong = {n: apart(got[n], np.where(np.isnan(right[n]), got[n], right[n])) for n in point}
    return all(bool(np.all(np.abs(right[n][wrong[n]]) <= 1e-9 * size)) for n in point)


def loses_digits(subject: Subject, point: Point, dy: Array) -> bool:
    """Whether forward in longer doubles is another number: 1 - a where a is 1 but for rounding."""
    longer = {name: value.astype(np.longdouble) for name, value in point.items()}
    try:
        y, exact = (np.sum(dy * subject.output(at)) for at in (point, longer))
    except Exception:  # it computes in doubles only
        return False
    size = np.sum(np.abs(dy * subject.output(point)))
    return bool(np.isfinite(exact) and abs(exact - y) > 1e-9 * size)


def largest(value: Array) -> float:
    """The largest absolute number, NaN aside."""
    return float(np.nanmax(np.abs(value), initial=0))
