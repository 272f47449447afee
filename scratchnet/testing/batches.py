"""`check_batches`: does a loop visit every sample once, with its own label, in new company?"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.failure import LawError

__tracebackhide__ = True  # pytest shows the line that called us, and the message

BATCH_LAWS = ("own labels", "every sample once", "members change")
Batches = Callable[[Array, Array, int], Iterable[tuple[Array, Array]]]


def check_batches(batches: Batches, *, samples: int = 71, size: int = 32, epochs: int = 6) -> None:
    """Hold a loop over batches to its laws: each epoch visits every sample once, with its label.

    Args:
        batches: (x (N, 1), y (N,), batch size) -> an epoch's batches (x, y); called once an epoch,
            it shuffles by itself.
        samples, size: how many samples, in batches of how many; the last one is short.

    Raises:
        LawError: an AssertionError with the law, the rows of the first batches and the likely bug.

    >>> def epoch(x, y, size, rng=np.random.default_rng(0)):
    ...     order = rng.permutation(len(x))
    ...     for start in range(0, len(x), size):
    ...         rows = order[start : start + size]
    ...         yield x[rows], y[rows]
    >>> check_batches(epoch)
    """
    x, y = np.arange(samples, dtype=float)[:, None], np.arange(samples)
    name = getattr(batches, "__name__", type(batches).__name__)
    seen = []
    for _ in range(epochs):
        rows = []
        for bx, by in batches(x.copy(), y.copy(), size):
            rows.append(np.asarray(bx)[:, 0].astype(int))
            if not np.array_equal(rows[-1], np.asarray(by).reshape(-1)):
                shown = {"rows of x": rows[-1][:8], "rows of y": np.asarray(by)[:8]}
                what = "samples come with the labels of others"
                raise LawError(name, "own labels", what, shown, "labels shuffled apart")
        seen.append(rows)
    _once(name, seen, samples, size)
    _members(name, seen, size)


def _once(name: str, seen: list[list[Array]], samples: int, size: int) -> None:
    for rows in seen:
        counts = np.bincount(np.concatenate([*rows, np.zeros(0, int)]), minlength=samples)
        if np.all(counts == 1):
            continue
        missing, twice = np.flatnonzero(counts == 0), np.flatnonzero(counts > 1)
        short = not len(twice) and len(missing) == samples % size
        bug = "last batch dropped" if short else "rows repeated" if len(twice) else None
        shown = {"never": missing[:8], "more than once": twice[:8]}
        raise LawError(name, "every sample once", "an epoch is not a permutation", shown, bug)


def _members(name: str, seen: list[list[Array]], size: int) -> None:
    """Which samples meet in a batch must differ from epoch to epoch."""
    groups = [{frozenset(rows.tolist()) for rows in epoch if len(rows) == size} for epoch in seen]
    if len(groups) < 2 or any(group != groups[0] for group in groups[1:]):
        return
    orders = {tuple(int(rows[0]) for rows in epoch) for epoch in seen}
    bug = "only batch starts shuffled" if len(orders) > 1 else None
    what = "the same samples meet in a batch in every epoch"
    raise LawError(name, "members change", what, {"a batch": seen[0][0][:8]}, bug)
