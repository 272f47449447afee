"""What a gradient check found, for people and for programs, and the error that carries it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GradientReport:
    """What was checked, against what, how well, and the worst coordinate; ``str()`` is for people.

    ``path`` names the coordinate with the largest error in units of its bound, for instance
    ``['W1'][3, 7]``, or a range of coordinates where a projection was compared. With
    a = ``analytic`` and n = ``numeric``, ``relative_error`` is |a - n| / max(|a|, |n|), and
    ``tolerance`` the absolute bound on |a - n|, derived as ``rule`` says. ``condition`` is S / |n|
    where S was given, else max|g| / |n|: the cancellation, or the smallness, behind that entry.

    ``size`` = ``certified`` + ``zeros`` + ``uncertified`` + ``kinks`` + ``wrong`` coordinates:

    - certified: the bound there is at most 1e-4 of the entry, so an error of 0.01 % would show;
    - zeros: exactly 0.0 on both sides;
    - uncertified: not wrong, but an error of 0.01 % could hide in rounding;
    - kinks: the one-sided slopes differ, so there is no derivative to compare with;
    - wrong: the two sides disagree, and none of the above explains it.

    >>> import numpy as np
    >>> from scratchnet.gradcheck import check_gradients
    >>> report = check_gradients(lambda x: np.sum(x**2), np.array([1.0, 3.0]), lambda x: 2 * x)
    >>> report.ok, report.certified, report.size
    (True, 2, 2)
    """

    path: str
    analytic: float
    numeric: float
    relative_error: float
    tolerance: float
    condition: float
    size: int
    certified: int
    zeros: int
    uncertified: int
    kinks: int
    wrong: int
    rule: str
    oracle: str
    evaluations: int
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when no coordinate is wrong."""
        return self.wrong == 0

    def __str__(self) -> str:
        seen = self.certified + self.zeros
        head = "agree" if seen else "do not disagree, but none is certified,"
        head = f"WRONG in {self.wrong:,}" if self.wrong else head
        ratio = self.analytic / self.numeric if self.numeric else math.nan
        return "\n".join(
            [
                f"gradients {head} of {self.size:,} coordinates",
                f"  worst    {self.path}:"
                f" analytic {self.analytic:.16g}, numeric {self.numeric:.16g}",
                f"           relative error {self.relative_error:.2g},"
                f" analytic/numeric {ratio:.8g}, condition {self.condition:.2g}",
                f"  bound    {self.tolerance:.2g} there, from {self.rule}",
                f"  counted  {self.certified:,} certified, {self.zeros:,} zero on both sides,"
                f" {self.uncertified:,} uncertified, {self.kinks:,} on a kink,"
                f" {self.wrong:,} wrong",
                f"  oracle   {self.oracle}; {self.evaluations:,} evaluations of f",
                *(f"  note     {note}" for note in self.notes),
            ]
        )


class GradientError(AssertionError):
    """A gradient is wrong. The message is the report, which is also the attribute ``report``.

    >>> import numpy as np
    >>> from scratchnet.gradcheck import check_gradients
    >>> try:
    ...     check_gradients(lambda x: np.sum(x**2), np.array([1.0, 3.0]), np.array([2.0, 3.0]))
    ... except GradientError as error:
    ...     error.report.path, error.report.wrong
    ('[1]', 1)
    """

    def __init__(self, report: GradientReport) -> None:
        super().__init__(report)
        self.report = report
