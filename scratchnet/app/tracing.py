"""What really ran: the functions of this package that a call went through, with arrays and lines.

A witness, not a second implementation: Python's own tracing hook looks on while the code that
trains runs untouched, and copies what each function was given and what it left. So whatever is
shown of it can't go stale. Compiled code it can't look into: take the reference engine.
Read `anatomy.py` next, which puts a training step together from this.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

PACKAGE = Path(__file__).parents[1]


@dataclass(eq=False)
class Call:
    """One function that ran.

    Attributes:
        code, caller: what it is, and from which call it came.
        given, left: its names before its first line and after its last; arrays are copies.
        result: what it returned.
        lines: the numbers of the lines that ran.
    """

    code: CodeType
    caller: Call | None
    given: dict[str, Any]
    left: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    lines: set[int] = field(default_factory=set)

    def within(self, frame: FrameType, event: str, value: Any) -> Any:
        """Python tells of each line and of the return."""
        if event == "line":
            self.lines.add(frame.f_lineno)
        elif event == "return":
            self.left, self.result = _kept(dict(frame.f_locals)), _kept(value)
        return self.within


class Calls(list[Call]):
    """Calls in the order in which they began."""

    def of(self, function: Callable[..., Any], caller: Call | None = None) -> Calls:
        """The calls of a function, anywhere or straight from one call."""
        code = inspect.unwrap(function).__code__
        return Calls(c for c in self if c.code is code and caller in (None, c.caller))

    def by(self, caller: Call) -> Calls:
        """What a call called that took or gave arrays: no attributes that are looked up."""
        return Calls(c for c in self if c.caller is caller and _has_array((c.given, c.result)))


def trace(run: Callable[[], Any], also: Path | None = None) -> Calls:
    """Run it, and return the calls of this package's functions, and of those in the file `also`.

    >>> from scratchnet.engines import reference
    >>> (call,) = trace(lambda: reference.relu(np.array([-1.0, 2.0])))
    >>> call.given["Z"].tolist(), call.result.tolist(), len(call.lines)
    ([-1.0, 2.0], [0.0, 2.0], 1)
    """
    calls = Calls()
    running: dict[FrameType, Call] = {}

    def enter(frame: FrameType, event: str, value: Any) -> Any:
        code = frame.f_code
        # A comprehension has a frame of its own in Python 3.11; its line is its function's.
        seen = code.co_filename.startswith(str(PACKAGE)) or code.co_filename == str(also)
        if code.co_name.startswith("<") or not seen:
            return None
        caller, up = None, frame.f_back
        while up is not None and caller is None:
            caller, up = running.get(up), up.f_back
        calls.append(Call(code, caller, _kept(dict(frame.f_locals))))
        running[frame] = calls[-1]
        return calls[-1].within

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run()
    finally:
        sys.settrace(before)
    return calls


def _kept(value: Any) -> Any:
    """A copy as deep as arrays are found in what functions take and return."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) is dict:
        return {name: _kept(item) for name, item in value.items()}
    if type(value) is tuple:
        return tuple(_kept(item) for item in value)
    return value


def _has_array(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_array, value.values()))
    if isinstance(value, tuple):
        return any(map(_has_array, value))
    return isinstance(value, np.ndarray)


class Line(NamedTuple):
    """A line of source: `kind` is "ran", "idle" for code that did not run, or "" for all else."""

    number: int
    text: str
    kind: str


class Source(NamedTuple):
    """The text of a function that ran, as it stands in its file, without its doctests."""

    path: str
    """Within the folder that holds the package; the name alone of a file elsewhere."""
    name: str
    lines: list[Line]


def source(calls: list[Call]) -> Source:
    """The source of one function and which of its lines ran in any of its calls.

    >>> from scratchnet.engines import reference
    >>> shown = source(trace(lambda: reference.relu(np.ones(1))))
    >>> shown.path, shown.name, shown.lines[-1].kind
    ('scratchnet/engines/reference.py', 'relu', 'ran')
    """
    code = calls[0].code
    lines, first = inspect.getsourcelines(code)
    text = textwrap.dedent("".join(lines))
    ran = {number - first + 1 for call in calls for number in call.lines}
    function = ast.parse(text).body[0]
    kinds, hidden = dict(_line_kinds(function, ran)), _examples(function, text.splitlines())
    shown = [
        Line(first + i - 1, line, kinds.get(i, ""))
        for i, line in enumerate(text.splitlines(), 1)
        if i not in hidden
    ]
    path = Path(code.co_filename)
    inside = path.is_relative_to(PACKAGE.parent)
    where = path.relative_to(PACKAGE.parent).as_posix() if inside else path.name
    return Source(where, code.co_qualname, shown)


def whole_file(name: str, text: str) -> Source:
    """A file as it stands, of which nothing is known to have run.

    >>> whole_file("a.py", "x = 1").lines
    [Line(number=1, text='x = 1', kind='')]
    """
    lines = [Line(i, line, "") for i, line in enumerate(text.splitlines(), 1)]
    return Source(name, name, lines)


def _examples(function: Any, lines: list[str]) -> range:
    """The lines of a docstring's doctests: from a blank line or the first of them to its last."""
    text = function.body[0]
    inside = range(text.lineno, text.end_lineno) if ast.get_docstring(function) else range(0)
    first = next((i for i in inside if lines[i - 1].lstrip().startswith(">>>")), inside.stop)
    return range(first - (not lines[first - 2].strip()), inside.stop)


def _line_kinds(function: ast.AST, ran: set[int]) -> Iterator[tuple[int, str]]:
    """Each line of each statement: Python names only the lines where a part of it began."""
    for node in ast.walk(function):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not isinstance(node, ast.stmt) or node is function or is_text:
            continue
        body = getattr(node, "body", None)
        end = node.end_lineno if body is None else body[0].lineno - 1
        span = range(node.lineno, (end or node.lineno) + 1)
        kind = "ran" if ran & set(span) else "idle"
        yield from ((number, kind) for number in span)
