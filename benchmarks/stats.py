"""Medians with their spread. Minimum, quartiles and maximum say what a mean would hide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class FiveNumbers(NamedTuple):
    """Of samples in seconds, or in whatever they were."""

    samples: int
    least: float
    lower: float
    median: float
    upper: float
    most: float

    @property
    def spread(self) -> float:
        """Distance of the quartiles as a share of the median."""
        return (self.upper - self.lower) / self.median if self.median else 0.0


def summarise(samples: Iterable[float]) -> FiveNumbers:
    """The summary of at least one finite sample.

    >>> summarise([3.0, 1.0, 2.0]).median
    2.0
    """
    values = np.array(list(samples), float)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(
            f"samples={values.tolist()!r:.80}: expected at least one, all finite. "
            "Leave out what could not be measured."
        )
    quartiles = np.percentile(values, [0, 25, 50, 75, 100])
    return FiveNumbers(values.size, *(float(q) for q in quartiles))


def pooled(rounds: Iterable[Iterable[float]]) -> list[float]:
    """All samples of all rounds."""
    return [sample for one in rounds for sample in one]


def significant(value: float, count: int = 3) -> str:
    """A number for a table: so many significant digits, without an exponent where it can be.

    >>> significant(0.052341), significant(2.6), significant(1234.5)
    ('0.0523', '2.60', '1234')
    """
    if value == 0:
        return "0"
    places = max(0, count - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{places}f}" if places <= 6 else f"{value:.{count - 1}e}"
