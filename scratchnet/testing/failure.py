"""What a check raises: which law broke, on which small example, and which bug it looks like.

One exception for all checks, so that a test-suite can ask for the parts instead of parsing the
text. The text says what is wrong and shows the entries that differ, and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from scratchnet.testing.naming import sentence

WIDE = 24
"""Arrays of more numbers are shown by their shape."""


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
        observed: str = "",
        remarks: Iterable[str] = (),
    ):
        self.law, self.bug, self.remarks = law, bug, tuple(remarks)
        self.counterexample = dict(counterexample or {})
        lines = [f"{owner} breaks the law {law!r}: {what}"]
        lines += [f"  {name} = {shown(value)}" for name, value in self.counterexample.items()]
        lines += [f"  {observed}"] if observed else []
        lines += [f"  {sentence(bug)}"]
        lines += [f"  remark: {remark}" for remark in self.remarks[:3]]
        super().__init__("\n".join(lines))

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the message alone."""
        return str(self).splitlines()


def shown(value: Any) -> str:
    """A small array on one line, a large one by its shape and its first entries."""
    if isinstance(value, np.ndarray):
        if value.size > WIDE:
            first = np.array2string(value.ravel()[:4], precision=6, separator=", ")[1:-1]
            return f"{value.dtype} of shape {value.shape}: {first}, ..."
        text = np.array2string(value, precision=6, threshold=60, max_line_width=10_000)
        return " ".join(text.split())
    return str(value)


def digits(given: float, right: float) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to see that they differ.

    >>> digits(2.0, 1.0), digits(1.00000012, 1.0)
    (('2', '1'), ('1.00000012', '1'))
    """
    size = max(abs(given), abs(right))
    off = abs(given - right)
    places = 6
    if size and np.isfinite(off) and off:
        places = int(np.clip(np.ceil(-np.log10(off / size)) + 2, 6, 17))
    return f"{given:.{places}g}", f"{right:.{places}g}"


class Laws:
    """Which laws are asked for: all of `names` but those in `skip`."""

    def __init__(self, names: tuple[str, ...], skip: tuple[str, ...]):
        unknown = sorted(set(skip) - set(names))
        if unknown:
            raise ValueError(f"skip={unknown}: expected some of {', '.join(map(repr, names))}.")
        self.asked = set(names) - set(skip)

    def __contains__(self, law: str) -> bool:
        return law in self.asked
