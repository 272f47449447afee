"""What a battery raises: which law broke, on which small example, and which bug it looks like.

One exception for all batteries, so that a test-suite can ask for the parts instead of parsing the
text. Read `batteries.py` next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scratchnet.testing.naming import sentence


class LawError(AssertionError):
    """A law that does not hold.

    Attributes:
        law: its name, as `skip=` takes it.
        bug: the museum's name of the likely bug, a description such as `"dW: sign"`, or None.
        counterexample: name -> array or number, the smallest problem found that breaks the law.

    >>> failure = LawError("Mine", "gradients", "wrong", {"X": np.ones((1, 2))}, "mean bias")
    >>> print(failure)  # doctest: +ELLIPSIS
    Mine breaks the law 'gradients': wrong
      X = [[1. 1.]]
      likely bug: looks like 'mean bias': db is the mean over the batch ...
    """

    def __init__(
        self,
        owner: str,
        law: str,
        what: str,
        counterexample: Mapping[str, Any] | None = None,
        bug: str | None = None,
    ):
        self.law, self.bug = law, bug
        self.counterexample = dict(counterexample or {})
        lines = [f"{owner} breaks the law {law!r}: {what}"]
        lines += [f"  {name} = {shown(value)}" for name, value in self.counterexample.items()]
        super().__init__("\n".join([*lines, f"  {sentence(bug)}"]))


def shown(value: Any) -> str:
    """A small array on one line."""
    if isinstance(value, np.ndarray):
        text = np.array2string(value, precision=6, threshold=60, max_line_width=10_000)
        return " ".join(text.split())
    return str(value)


class Laws:
    """Which laws are asked for: all of `names` but those in `skip`."""

    def __init__(self, names: tuple[str, ...], skip: tuple[str, ...]):
        unknown = sorted(set(skip) - set(names))
        if unknown:
            raise ValueError(f"skip={unknown}: expected some of {', '.join(map(repr, names))}.")
        self.asked = set(names) - set(skip)

    def __contains__(self, law: str) -> bool:
        return law in self.asked
