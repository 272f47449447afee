"""Mark one function: on every case its results beside the right ones, and which bug explains them.

A function is wrong where it parts from the right one by more than float32 rounding: code that
computes in float32, or sums in another order, is right too. The first case that fails is the
smallest. A bug gets a name only where one of the museum's explains every case; see
`testing/naming.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from scratchnet.app.course.exercises import Arguments, Exercise
from scratchnet.app.course.planting import fitted, variants
from scratchnet.engines import Array
from scratchnet.testing.failure import digits, shown
from scratchnet.testing.museum import BUGS
from scratchnet.testing.naming import Evidence, recognise, same, sentence

TOLERANCE = 64 * float(np.finfo(np.float32).eps)
"""Relative to a tensor's largest entry: no case sums more than 64 terms, each rounded once."""

MOST = 6
"""Entries that are shown of those that differ."""


class Mark(NamedTuple):
    """`passed`, `to write` or `wrong`, and the lines that say why."""

    state: str
    lines: list[str]


class UnusableError(Exception):
    """What a function gives can't be compared; the text says why."""


class WrittenError(UnusableError):
    """An argument was written to that others still read."""


Tensors = dict[str, Array]


def flattened(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A value's arrays by name: lists and tuples by index."""
    if isinstance(value, list | tuple):
        for k, part in enumerate(value):
            yield from flattened(f"{name}[{k}]", part)
    else:
        yield name, value


def numbers(name: str, value: Any, right: Any = None) -> Tensors:
    """The arrays in a value.

    Raises:
        UnusableError: for what is no number, or has another shape or length than the right one.
    """
    found: Tensors = {}
    expected = None if right is None else dict(flattened(name, right))
    for key, part in flattened(name, value):
        if part is None and (expected is None or expected.get(key, 0) is None):
            continue
        array = np.asarray(part)
        if array.dtype.kind not in "fiub":
            what = "None" if part is None else f"{type(part).__name__}"
            raise UnusableError(f"{key} is {what}, where an array of numbers belongs")
        found[key] = array.astype(float)
    if expected is None:
        return found
    shapes = {key: np.shape(part) for key, part in expected.items() if part is not None}
    for key, shape in shapes.items():
        if key not in found:
            raise UnusableError(f"{key} is missing; it should be an array of shape {shape}")
        if found[key].shape != shape:
            raise UnusableError(f"{key} has shape {found[key].shape}, where {shape} belongs")
    for key in found.keys() - shapes.keys():
        raise UnusableError(f"{key} should not be there: None, or nothing, belongs there")
    return found


def results(
    exercise: Exercise, function: Any, case: Arguments, right: Any = None, strict: bool = True
) -> tuple[Any, ...]:
    """(raw result, tensors) of a call on copies of the arguments.

    Raises:
        UnusableError: as `numbers`.
        WrittenError: where it is strict, for an argument that was written to.
    """
    given = copy.deepcopy(case)
    with np.errstate(all="ignore"):
        returned = function(*given)
    after = dict(zip(exercise.parameters, given, strict=True))
    raw: dict[str, Any] = {name: after[name] for name in exercise.writes}
    if len(exercise.returns) == 1:
        raw[exercise.returns[0]] = returned
    elif exercise.returns:
        if not isinstance(returned, tuple) or len(returned) != len(exercise.returns):
            wanted = ", ".join(exercise.returns)
            what = "None" if returned is None else type(returned).__name__
            raise UnusableError(f"it returns {what}, where the tuple ({wanted}) belongs")
        raw |= dict(zip(exercise.returns, returned, strict=True))
    found: Tensors = {}
    for name, value in raw.items():
        found |= numbers(name, value, None if right is None else right[name])
    for name, before, now in zip(exercise.parameters, case, given, strict=True):
        if not strict:
            break
        kept = numbers(name, before), numbers(name, now)
        if name not in exercise.writes and not _equal(*kept):
            raise WrittenError(f"it writes to its argument {name}, which others still read")
    return raw, found


def _equal(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=True) for name in one
    )


def mark(exercise: Exercise, function: Any) -> Mark:
    """Whether this function is right, and if not, where, and why."""
    cases = exercise.cases()
    rights = [results(exercise, exercise.right, case) for case in cases]
    wrongs: list[Tensors] = []
    first: int | None = None
    for k, (case, (raw, right)) in enumerate(zip(cases, rights, strict=True)):
        try:
            _, got = results(exercise, function, case, raw)
        except NotImplementedError:
            raise
        except Exception as error:
            if first is not None:
                break  # a smaller case went wrong already: that one is shown
            if not isinstance(error, UnusableError):
                for line in _inputs(exercise, case):
                    error.add_note(line)
                raise
            lines = [f"{error}.", *_inputs(exercise, case), *_broken(exercise)]
            name = _unusable_too(exercise, case, raw, str(error))
            if name is None and isinstance(error, WrittenError):
                name = _beside_the_write(exercise, function, rights)
            return Mark("wrong", lines + (_named(name) if name else []))
        wrongs.append(got)
        if first is None and not same(right, got, TOLERANCE):
            first = k
    if first is None:
        return Mark("passed", [])
    evidence = [Evidence(right, got, {}) for (_, right), got in zip(rights, wrongs, strict=False)]
    right, got = rights[first][1], wrongs[first]
    lines = [*_inputs(exercise, cases[first]), *table(right, got), *_broken(exercise)]
    return Mark("wrong", [*lines, *_named(name_of(exercise, cases[: len(wrongs)], evidence))])


def _inputs(exercise: Exercise, case: Arguments) -> list[str]:
    found = dict(zip(exercise.parameters, case, strict=True))
    given = [(key, part) for name in found for key, part in flattened(name, found[name])]
    return [f"{key} = {shown(part)}" for key, part in given][:12]


def table(right: Tensors, got: Tensors) -> list[str]:
    """The entries that differ: yours beside the right one."""
    rows = []
    for name, expected in right.items():
        scale = max(np.max(np.abs(expected), initial=0), np.max(np.abs(got[name]), initial=0))
        apart = ~(np.abs(expected - got[name]) <= TOLERANCE * scale)
        for index in np.argwhere(apart).tolist():
            at = tuple(index)
            label = f"{name}[{', '.join(map(str, at))}]" if at else name
            rows.append((label, *digits(float(got[name][at]), float(expected[at]))))
    more = [f"... and {len(rows) - MOST} more entries"] if len(rows) > MOST else []
    head = [f"{'':<14} {'yours':>16} {'right':>16}"]
    return head + [f"{name:<14} {a:>16} {b:>16}" for name, a, b in rows[:MOST]] + more


def _broken(exercise: Exercise) -> list[str]:
    return [f"What should hold: {exercise.law}."]


def _named(name: str | None) -> list[str]:
    if name is None:
        return [sentence(None)]
    good = ["You are in good company: it stood in public code."] if BUGS[name].documented else []
    return [sentence(name), *good]


def _unusable_too(exercise: Exercise, case: Arguments, raw: Any, text: str) -> str | None:
    """The one bug of the museum that fails on this case with the same words, or None."""
    found = set()
    for name, functions in variants(exercise).items():
        for function in functions:
            try:
                results(exercise, function, case, raw)
            except UnusableError as error:
                found |= {name} if str(error) == text else set()
            except (ValueError, ArithmeticError):
                continue
    return found.pop() if len(found) == 1 else None


def _beside_the_write(exercise: Exercise, function: Any, rights: list[Any]) -> str | None:
    """The bug in what a function gives that also writes where it must not."""
    cases, evidence = [], []
    for case, (raw, right) in zip(exercise.cases(), rights, strict=True):
        try:
            _, got = results(exercise, function, case, raw, strict=False)
        except Exception:
            break  # as far as it goes
        cases.append(case)
        evidence.append(Evidence(right, got, {}))
    return name_of(exercise, cases, evidence)


def name_of(exercise: Exercise, cases: list[Arguments], evidence: list[Evidence]) -> str | None:
    """The one bug of the museum that gives what was given on every case, or None."""
    known = {
        f"{name} {k}": (name, function)
        for name, functions in variants(exercise).items()
        for k, function in enumerate(functions)
    }
    if exercise.name == "dense_backward":
        known |= {
            f"updated {k}": ("dX after the update", function)
            for k, (case, one) in enumerate(zip(cases, evidence, strict=True))
            if "dX" in one.right
            and (function := fitted(case, one.right["dX"], one.wrong["dX"])) is not None
        }
    drawn = []
    for case, one in zip(cases, evidence, strict=True):
        made: dict[str, Tensors] = {}
        for key, (_, function) in known.items():
            try:
                made[key] = results(exercise, function, case)[1]
            except (UnusableError, ValueError, ArithmeticError):
                continue  # it does not explain this case
        drawn.append(Evidence(one.right, one.wrong, made))
    telling = [one for one in drawn if all(np.isfinite(a).all() for a in one.wrong.values())]
    return recognise(telling, {key: name for key, (name, _) in known.items()})
