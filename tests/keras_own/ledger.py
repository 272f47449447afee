"""What a test asked for while it ran, and the verdict on it."""

from __future__ import annotations

from typing import NamedTuple

OUT, MISSING, REFUSED, FAILED, PASSED = KINDS = (
    "out of scope",
    "missing",
    "refused",
    "failed",
    "passed",
)


class Verdict(NamedTuple):
    """One of KINDS; the name, argument or reason that decided it; what was said."""

    kind: str
    about: str = ""
    said: str = ""


class Absence(Exception):  # noqa: N818 # not an error of the code under test
    """A test used a name that is not there, or one that is out of scope."""

    def __init__(self, verdict: Verdict):
        super().__init__(f"{verdict.kind}: {verdict.about} {verdict.said}".strip())
        self.verdict = verdict


class Ledger:
    """The account of the test that runs now.

    Attributes:
        running: False while files are imported and tests are collected.
        asked: verdicts on what the test asked for, even if it caught the exception.
        notes: what is worth saying about a test that passes.
        reached: the first function of scratchnet that the test called, or "".
    """

    def __init__(self) -> None:
        self.running = False
        self.begin(False)

    def begin(self, running: bool = True) -> None:
        self.running = running
        self.asked: list[Verdict] = []
        self.notes: list[str] = []
        self.reached = ""

    def ask(self, verdict: Verdict) -> None:
        if self.running:
            self.asked.append(verdict)


LEDGER = Ledger()
"""One a process: each runs one test at a time."""
