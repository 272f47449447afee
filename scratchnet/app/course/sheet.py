"""Load a learner's file and mark it: this runs in a process of its own, started by `running.py`.

What is broken at the top of the file, a syntax error or an import of what is not there, is left out
and remembered, so that everything else can still be marked.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import inspect
import json
import re
import sys
import traceback
import types
from pathlib import Path
from typing import Any

from scratchnet.app.course.exercises import EXERCISES, Exercise
from scratchnet.app.course.marking import Mark, mark

SHORT = 160
"""Characters of somebody's error message."""

START = re.compile(r"(?!(?:else|elif|except|finally)\b)[A-Za-z_@]")
"""How a statement at the left margin begins."""


class Text(importlib.abc.InspectLoader):
    """Gives the import system a text that is not quite the file's."""

    def __init__(self, text: str, path: Path):
        self.text, self.path = text, path

    def get_source(self, fullname: str) -> str:
        return self.text

    def get_code(self, fullname: str) -> types.CodeType:
        return self.source_to_code(self.text, str(self.path))


class Counter:
    """A standard output that keeps nothing but the number of characters."""

    def __init__(self) -> None:
        self.characters = 0

    def write(self, text: str) -> int:
        self.characters += len(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def statements(text: str) -> list[tuple[int, int]]:
    """(first line, line after the last) of each piece that begins at the left margin, from 0."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        lines = text.splitlines()
        starts = [k for k, line in enumerate(lines) if START.match(line)]
        return list(zip(starts, [*starts[1:], len(lines)], strict=True))
    return [(node.lineno - 1, node.end_lineno or node.lineno) for node in body]


def line_of(error: BaseException, path: Path) -> int | None:
    """The last line of the learner's file that the error came through."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)


def told(error: BaseException, path: Path) -> str:
    """An error of the learner's code as one line."""
    at = line_of(error, path)
    where = f" at line {at}" if at else ""
    text = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())[:SHORT]
    if isinstance(error, SystemExit):
        return f"it ends the program{where}: exit({text}). A function returns instead."
    if isinstance(error, SyntaxError):
        return f"syntax error{where}: {text}."
    return f"it raises {type(error).__name__}{where}: {text or 'no message'}"


def load(path: Path) -> tuple[types.ModuleType, dict[str, str]]:
    """The module without its broken pieces, and what is wrong: function's name, or "" -> a line."""
    text = path.read_text(encoding="utf-8", errors="replace")
    broken: dict[str, str] = {}
    for _ in range(text.count("\n") + 2):
        module = types.ModuleType("network")
        module.__file__ = str(path)
        try:
            Text(text, path).exec_module(module)
        except BaseException as error:  # SystemExit too
            lines = text.splitlines()
            at = min((line_of(error, path) or 1), len(lines) or 1) - 1
            pieces = statements(text)
            start, end = max((p for p in pieces if p[0] <= at), default=(0, len(lines)))
            found = re.search(r"^def\s+(\w+)", "\n".join(lines[start:end]), re.MULTILINE)
            name = found[1] if found else ""
            broken.setdefault(name, told(error, path))
            lines[start:end] = [""] * (end - start)
            text = "\n".join(lines)
            continue
        return module, broken
    return module, broken


def judge(exercise: Exercise, module: types.ModuleType, broken: dict[str, str]) -> Mark:
    """The mark of one function, with whatever it does besides as a line."""
    if exercise.name in broken:
        return Mark("wrong", [broken[exercise.name]])
    function = getattr(module, exercise.name, None)
    if function is None:
        return Mark("to write", [f"there is no function {exercise.name} in the file"])
    printed = Counter()
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = printed
    try:
        found = _asked(exercise, function)
    except NotImplementedError:
        found = Mark("to write", [])
    except BaseException as error:  # SystemExit and KeyboardInterrupt of the learner's too
        notes = list(getattr(error, "__notes__", []))  # the arguments it was given
        found = Mark("wrong", [told(error, Path(str(module.__file__))), *notes])
        if isinstance(error, NameError) and "" in broken:
            found.lines.append(f"At the top of the file: {broken['']}")
    finally:
        sys.stdout, sys.stderr = before
    if printed.characters:
        found.lines.append(f"Note: it prints {printed.characters:,} characters; leave that out.")
    return found


def _asked(exercise: Exercise, function: Any) -> Mark:
    if not callable(function):
        return Mark("wrong", [f"{exercise.name} is {type(function).__name__}, no function"])
    try:
        signature = inspect.signature(function)
        signature.bind(*exercise.parameters)
    except TypeError:
        wanted = ", ".join(exercise.parameters)
        return Mark("wrong", [f"its parameters are {signature}, where ({wanted}) belong"])
    except ValueError:
        pass  # compiled code that tells no signature
    return mark(exercise, function)


def main(path: str, results: str, names: str, borrowed: str) -> None:
    """Mark these exercises and write a line of JSON for each beginning and each end."""
    with Path(results).open("a", encoding="utf-8") as out:

        def say(**fields: Any) -> None:
            out.write(json.dumps(fields) + "\n")
            out.flush()

        say(started=True)
        module, broken = load(Path(path))
        say(loaded=broken.get("", ""))
        for name in filter(None, borrowed.split(",")):
            setattr(module, name, EXERCISES[name].right)
        for name in names.split(","):
            say(begin=name)
            found = judge(EXERCISES[name], module, broken)
            if found.state != "passed":
                setattr(module, name, EXERCISES[name].right)
            say(end=name, state=found.state, lines=found.lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
