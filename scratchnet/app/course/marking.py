"""Mark one function: on every case its results beside the right ones, and which bug explains them.

A function is wrong where it parts from the right one by more than float32 rounding: code that
computes in float32, or sums in another order, is right too. The first case that fails is the
smallest. A bug gets a name only where one of the museum's explains every case; see
`testing/naming.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from scratchnet.app.course.exercises import Arguments, Exercise
from scratchnet.engines import Array, reference
from scratchnet.testing.failure import digits, shown
from scratchnet.testing.forms import AdamForm, Settings, SGDForm
from scratchnet.testing.museum import BUGS, Setting, planted
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
    exercise: Exercise, function: Any, case: Arguments, right: Any = None
) -> tuple[Any, ...]:
    """(raw result, tensors) of a call on copies of the arguments.

    Raises:
        UnusableError: as `numbers`, and for an argument that was written to.
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
        kept = numbers(name, before), numbers(name, now)
        if name not in exercise.writes and not _equal(*kept):
            raise UnusableError(f"it writes to its argument {name}, which others still read")
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
    found = []
    for name, function in variants(exercise).items():
        try:
            results(exercise, function, case, raw)
        except UnusableError as error:
            found += [name] if str(error) == text else []
        except (ValueError, ArithmeticError):
            continue
    return found[0] if len(found) == 1 else None


# --- the museum's bugs, as answers to an exercise -------------------------------------------------


def variants(exercise: Exercise) -> dict[str, Callable[..., Any]]:
    """The museum's bugs that touch this exercise: name -> the wrong function."""
    found: dict[str, Callable[..., Any]] = {}
    for name, bug in BUGS.items():
        if isinstance(bug.form, AdamForm) and exercise.name == "step_size":
            found[name] = _step_size(bug.form)
        elif isinstance(bug.form, AdamForm) and exercise.name in ("adam", "adam_amsgrad"):
            found[name] = _adam(bug.form)
        elif isinstance(bug.form, SGDForm) and exercise.name in ("sgd", "sgd_momentum"):
            found[name] = _sgd(bug.form)
        elif name == "double softmax":  # planted whole, it keeps a tape of its own
            if exercise.name == "softmax_cross_entropy":
                found[name] = lambda Z, T: reference.softmax_cross_entropy(reference.softmax(Z), T)
        elif bug.part == "loss" and bug.setting.loss != Setting().loss:
            continue
        elif exercise.part is not None and bug.part in ("activation", "dense", "loss"):
            function = exercise.part(planted(name))
            if function is not exercise.right:
                found[name] = function
    return found


def _step_size(form: AdamForm) -> Callable[..., Any]:
    def wrong(learning_rate: float, t: int, beta_1: float, beta_2: float) -> Any:
        c1, c2 = form.corrections(form.clock(t, 0, 1), beta_1, beta_2)
        return learning_rate * np.sqrt(c2) / c1

    return wrong


def _adam(form: AdamForm) -> Callable[..., Any]:
    plain = replace(form, corrections=lambda t, b1, b2: (1.0, 1.0))

    def wrong(theta: Array, grad: Array, m: Array, v: Array, *others: Any) -> None:
        v_hat, alpha, one_minus_1, one_minus_2, epsilon = others
        numbers = Settings(alpha, 1 - one_minus_1, 1 - one_minus_2, epsilon, v_hat is not None)
        slots = {"momentum": m, "velocity": v} | ({} if v_hat is None else {"velocity_hat": v_hat})
        plain.advance(theta, grad, slots, 1, 0, 1, numbers)

    return wrong


def _sgd(form: SGDForm) -> Callable[..., Any]:
    def wrong(theta: Array, grad: Array, velocity: Any, *rule: Any) -> None:
        rate, mu, nesterov = rule
        numbers = Settings(rate, momentum=mu, nesterov=nesterov)
        form.advance(theta, grad, {"momentum": velocity}, 1, 0, 1, numbers)

    return wrong


def name_of(exercise: Exercise, cases: list[Arguments], evidence: list[Evidence]) -> str | None:
    """The one bug of the museum that gives what was given on every case, or None."""
    known = variants(exercise)
    drawn = []
    for case, one in zip(cases, evidence, strict=True):
        made: dict[str, Tensors] = {}
        for name, function in known.items():
            try:
                made[name] = results(exercise, function, case)[1]
            except (UnusableError, ValueError, ArithmeticError):
                continue  # it does not explain this case
        drawn.append(Evidence(one.right, one.wrong, made))
    telling = [one for one in drawn if all(np.isfinite(a).all() for a in one.wrong.values())]
    return recognise(telling)
