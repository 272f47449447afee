"""A learner's file as an engine for `explain`: the functions that pass, and where their lines are.

The folder is one that a user names on the command line; no run folder ever names code. Every
function is called by a line of ours, so that a witness (`app/tracing.py`) sees its arguments in
the contract's order whatever the learner calls them, and what was written in place afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from scratchnet.app.course.exercises import EXERCISES
from scratchnet.app.course.sheet import load
from scratchnet.engines import Engine, own_engine


class OwnCodeError(ValueError):
    """A learner's file that can't take the reference's place: which, and the remedy."""


class OwnCode(NamedTuple):
    """An engine of a learner's own, and the file that it is from."""

    engine: Engine
    path: Path
    passed: list[str]


def through(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, called by a line of ours."""

    def own(*arguments: Any) -> Any:
        return function(*arguments)

    return own


CALLS = through(len).__code__


def is_through(code: CodeType) -> bool:
    """Whether this is the line of `through`."""
    return code is CALLS


def own_code(path: Path, names: Iterable[str]) -> OwnCode:
    """These functions of this file; the reference's in the place of all others.

    Raises:
        OwnCodeError: where none of them is an engine's.
    """
    module, _ = load(path.resolve())
    mine = ModuleType("network")
    passed = [name for name in EXERCISES if name in names and callable(getattr(module, name, None))]
    for name in passed:
        setattr(mine, name, through(getattr(module, name)))
    try:
        return OwnCode(own_engine(mine), path.resolve(), passed)
    except ValueError:
        raise OwnCodeError(
            f"{path}: no function of an engine passes. See: scratchnet course check {path.parent}"
        ) from None
