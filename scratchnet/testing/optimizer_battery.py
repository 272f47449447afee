"""`check_optimizer` and `check_batches`: does every step go where the rule says, on every sample?

An optimizer is compared with the rule that its numbers describe, over several steps, several arrays
and gradients from 1e-9 to 100, since one step of Adam shows neither its betas nor its epsilon. Both
places of the epsilon (Keras's, and algorithm 1's) and Keras's float32 roundings are right. A loop
over batches must visit every sample once, with its own label, in batches whose members change.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.adapters import PlainOptimizer, numbers_of
from scratchnet.testing.failure import LawError, Laws
from scratchnet.testing.forms import AdamForm, Form, FormRun, Settings, SGDForm
from scratchnet.testing.museum import of_part
from scratchnet.testing.naming import Evidence, recognise, same

__tracebackhide__ = True  # pytest shows the line that called us, and the message

OPTIMIZER_LAWS = (
    "shapes",
    "inputs not written to",
    "deterministic",
    "steps",
    "zero gradient",
    "dtype kept",
    "bad input refused",
)
STEPS = 7
StepProblem = tuple[list[Array], list[list[Array]]]
"""Arrays to start from, and each step's gradients."""


LEVELS = 8


def problem(level: int, seed: int = 0) -> StepProblem:
    """Level 0: one number, gradients 1, 2, -1; then two arrays of integers; then random ones."""
    if level == 0:
        return [np.zeros(1)], [[np.array([g])] for g in (1.0, 2.0, -1.0, 3.0, 1.0, -2.0, 1.0)]
    shapes = [(1,), (1,)] if level == 1 else [(2, 3), (3,), (3, 1)]
    rng = np.random.default_rng(level + LEVELS * seed)
    arrays = [np.zeros(shape) for shape in shapes]
    if level == 1:
        steps = [[rng.integers(-3, 4, s).astype(float) for s in shapes] for _ in range(STEPS)]
        return arrays, steps
    sizes = [10.0 ** rng.uniform(-9, 2, shape) for shape in shapes]
    return arrays, [
        [size * rng.normal(0, 1, size.shape) * (rng.random(size.shape) < 0.9) for size in sizes]
        for _ in range(STEPS)
    ]


def moves(step: Callable[[list[Array], list[Array]], list[Array]], given: StepProblem) -> Any:
    """name -> displacement of every array by every step: small beside the arrays themselves."""
    arrays, steps = given
    found = {}
    with np.errstate(all="ignore"):
        for t, gradients in enumerate(steps, 1):
            after = step(arrays, gradients)
            for j, (a, b) in enumerate(zip(after, arrays, strict=True)):
                # The arrays start at 0 and stay small, so that displacements keep their digits.
                found[f"step {t}, array {j}"] = np.asarray(a) - b
            arrays = after
    return found


def stepper(form: Form, settings: Settings, given: StepProblem) -> Callable[..., list[Array]]:
    run = FormRun(form, settings, given[0])

    def step(arrays: list[Array], gradients: list[Array]) -> list[Array]:
        run.step(gradients)
        return [array.copy() for array in run.arrays]

    return step


def dialects(rule: str, numbers: dict[str, Any]) -> dict[str, Settings]:
    """The forms of a rule that count as right."""
    if rule == "sgd":
        return {
            "plain": Settings(**numbers),
            "Keras's roundings": Settings(**numbers, keras=True),
        }
    return {
        "algorithm 1": Settings(**numbers, hat=False),
        "epsilon hat": Settings(**numbers),
        "Keras's roundings": Settings(**numbers, keras=True),
    }


def rule_of(optimizer: Any, numbers: dict[str, Any]) -> str:
    """`adam` or `sgd`, from the optimizer's numbers and its class's name."""
    name = type(optimizer).__name__.lower()
    if "beta_2" in numbers or "adam" in name:
        return "adam"
    if "momentum" in numbers or any(word in name for word in ("sgd", "descent", "momentum")):
        return "sgd"
    raise TypeError(
        f"check_optimizer: which rule does {type(optimizer).__name__} follow? Say rule='adam', "
        "'sgd' (with or without momentum), or 'other' for the laws alone."
    )


def known_numbers(rule: str, numbers: dict[str, Any]) -> dict[str, Any]:
    mine = {
        "adam": ("learning_rate", "beta_1", "beta_2", "epsilon", "amsgrad"),
        "sgd": ("learning_rate", "momentum", "nesterov"),
    }[rule]
    kept = {name: numbers[name] for name in mine if name in numbers}
    missing = {"adam": set(mine[:4]), "sgd": {"learning_rate"}}[rule] - set(kept)
    if missing:
        raise TypeError(
            f"check_optimizer: {', '.join(sorted(missing))} not found among the optimizer's "
            "attributes: give them, as in check_optimizer(MyAdam(), learning_rate=0.001)."
        )
    return kept


# --- naming -------------------------------------------------------------------------------------


class Subject:
    """An optimizer that can be had fresh, with the rule it should follow."""

    def __init__(self, optimizer: Any, rule: str | None, given: dict[str, Any]):
        made = isinstance(optimizer, type) or not any(
            hasattr(optimizer, name) for name in ("update", "step", "apply_gradients")
        )
        self.fresh: Callable[[], Any] = optimizer if made else lambda: copy.deepcopy(optimizer)
        first = self.fresh()
        PlainOptimizer(first)  # refuses what has neither update nor step
        numbers = numbers_of(first, given)
        self.name, self.rule = type(first).__name__, rule or rule_of(first, numbers)
        self.dialects: dict[str, Settings] = {}
        if self.rule != "other":
            self.dialects = dialects(self.rule, known_numbers(self.rule, numbers))
        self.form: Form = AdamForm() if self.rule == "adam" else SGDForm()

    def moves(self, given: StepProblem) -> Any:
        return moves(PlainOptimizer(self.fresh()).step, given)

    def right(self, given: StepProblem, settings: Settings) -> Any:
        return moves(stepper(self.form, settings, given), given)

    def variants(self, given: StepProblem) -> dict[str, Any]:
        return {
            f"{bug.name}|{dialect}": moves(stepper(bug.form, settings, given), given)
            for bug in of_part(self.rule)
            for dialect, settings in self.dialects.items()
            if bug.form is not None
        }

    def name_of(self) -> str | None:
        """The bug that explains the moves on all problems, in one dialect."""
        draws = []
        for given in map(problem, range(LEVELS)):
            wrong = self.moves(given)
            draws.append(Evidence({}, wrong, self.variants(given)))
        keys = {key for draw in draws for key in draw.variants}
        return recognise(draws, {key: key.split("|")[0] for key in keys})


# --- the laws -----------------------------------------------------------------------------------


def _steps(subject: Subject, seed: int) -> None:
    """Some dialect of the rule gives every move of every problem."""
    problems = [problem(level, seed) for level in range(LEVELS)]
    got = [subject.moves(given) for given in problems]
    agreed = {}
    for dialect, settings in subject.dialects.items():
        right = [subject.right(given, settings) for given in problems]
        agreed[dialect] = [same(a, b) for a, b in zip(got, right, strict=True)]
    if any(all(fits) for fits in agreed.values()):
        return
    best = max(agreed, key=lambda dialect: agreed[dialect].index(False))
    level = agreed[best].index(False)
    given = problems[level]
    right = subject.right(given, subject.dialects[best])
    first = next(k for k in right if not same({k: got[level][k]}, {k: right[k]}))
    t, j = (int(part.split()[1]) for part in first.split(", "))
    shown = {f"gradients of array {j}, steps 1 to {t}": [g[j].tolist() for g in given[1][:t]]}
    shown |= {f"move in {first}": got[level][first], f"right ({best})": right[first]}
    what = f"{first} goes elsewhere than {subject.rule} with {subject.dialects[best]}"
    raise LawError(subject.name, "steps", what, shown, subject.name_of())


def _plain(subject: Subject, laws: Laws) -> None:
    """Shapes, untouched gradients, the same numbers twice, no move without a gradient."""
    arrays, steps = problem(3)
    optimizer = PlainOptimizer(subject.fresh())
    grads = [g.copy() for g in steps[0]]
    after = optimizer.step(arrays, grads)
    if "shapes" in laws and [a.shape for a in after] != [a.shape for a in arrays]:
        what = f"shapes {[a.shape for a in arrays]} became {[a.shape for a in after]}"
        raise LawError(subject.name, "shapes", what)
    one, two = (subject.moves((arrays, steps)) for _ in range(2))
    if "deterministic" in laws and any(not np.array_equal(one[k], two[k]) for k in one):
        raise LawError(subject.name, "deterministic", "two runs on the same gradients differ")
    still = PlainOptimizer(subject.fresh())
    still.shape = optimizer.shape
    rest = still.step(arrays, [0 * g for g in grads])
    if "zero gradient" in laws and any(np.any(a != b) for a, b in zip(rest, arrays, strict=True)):
        what = "the first step moves although every gradient is 0"
        raise LawError(subject.name, "zero gradient", what, {"after": rest[0]})


def _untouched(subject: Subject) -> None:
    """The gradients handed over are read, not written to."""
    arrays, steps = problem(3)
    optimizer = PlainOptimizer(subject.fresh())
    optimizer.step(arrays, steps[0])
    if optimizer.own or optimizer.shape is None:
        return
    again = PlainOptimizer(subject.fresh())
    params, grads = [a.copy() for a in arrays], [g.copy() for g in steps[0]]
    again._take(params, grads, optimizer.shape)
    if any(not np.array_equal(a, b) for a, b in zip(grads, steps[0], strict=True)):
        what = "the gradients are changed"
        shown = {"gradient": steps[0][0], "gradient after": grads[0]}
        raise LawError(subject.name, "inputs not written to", what, shown)


def _dtype(subject: Subject) -> None:
    arrays, steps = problem(3)
    optimizer = PlainOptimizer(subject.fresh())
    small = [a.astype(np.float32) for a in arrays]
    with np.errstate(all="ignore"):
        for gradients in steps[:2]:
            small = optimizer.step(small, [g.astype(np.float32) for g in gradients])
    kinds = {str(a.dtype) for a in small}
    if kinds != {"float32"}:
        raise LawError(subject.name, "dtype kept", f"float32 goes in, {sorted(kinds)} comes out")


def _bad_input(subject: Subject) -> None:
    optimizer = PlainOptimizer(subject.fresh())
    arrays, steps = problem(3)
    optimizer.step(arrays, steps[0])
    fresh = PlainOptimizer(subject.fresh())
    fresh.shape = optimizer.shape
    wrong = [np.ones(a.size + 1) for a in arrays]
    try:
        fresh.step(arrays, wrong)
    except Exception:
        return
    what = "gradients of another shape than their parameters are taken without an error"
    raise LawError(subject.name, "bad input refused", what)


def check_optimizer(
    optimizer: Any,
    *,
    rule: str | None = None,
    skip: tuple[str, ...] = (),
    seed: int = 0,
    **numbers: Any,
) -> None:
    """Hold an optimizer to its rule and its laws.

    Args:
        optimizer: an instance, or a class or function that makes one without arguments: one of our
            own, or an object with update, step or apply_gradients taking (params, grads) as lists
            or dicts, in place or returning new ones, or one array and its gradient.
        rule: `"adam"`, `"sgd"` (with momentum and Nesterov's, as its numbers say), or `"other"` for
            the laws alone; by default read from the numbers and the name.
        skip: laws not to hold it to, of `OPTIMIZER_LAWS`.
        seed: another one draws other random gradients.
        numbers: learning_rate, beta_1, beta_2, epsilon, amsgrad, momentum, nesterov, where the
            optimizer has no attributes that say (lr, beta1, betas, eps, mu and others are known).

    Raises:
        LawError: an AssertionError with the law, the first wrong step and the likely bug.
        TypeError: for an optimizer whose shape or rule is not understood.

    >>> class Sgd:
    ...     lr, momentum = 0.5, 0.9
    ...     def __init__(self):
    ...         self.u = {}
    ...     def update(self, params, grads):
    ...         for key in params:
    ...             u = self.momentum * self.u.get(key, 0) - self.lr * 0.1 * grads[key]
    ...             params[key] += u
    ...             self.u[key] = u
    >>> check_optimizer(Sgd)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.testing.failure.LawError: Sgd breaks the law 'steps': step 1, array 0 ...
      gradients of array 0, steps 1 to 1 = [[1.0]]
      move in step 1, array 0 = [-0.05]
      right (plain) = [-0.5]
      likely bug: looks like 'momentum scaled twice': u = mu u - (1 - mu) lr g: ...
    """
    if rule not in (None, "adam", "sgd", "other"):
        raise ValueError(f"rule={rule!r}: expected 'adam', 'sgd' or 'other'.")
    laws = Laws(OPTIMIZER_LAWS, skip)
    subject = Subject(optimizer, rule, numbers)
    _plain(subject, laws)
    if "inputs not written to" in laws:
        _untouched(subject)
    if "steps" in laws and subject.rule != "other":
        _steps(subject, seed)
    if "dtype kept" in laws:
        _dtype(subject)
    if "bad input refused" in laws:
        _bad_input(subject)


# --- batches ------------------------------------------------------------------------------------

BATCH_LAWS = ("own labels", "every sample once", "members change")
Batches = Callable[[Array, Array, int], Iterable[tuple[Array, Array]]]


def check_batches(batches: Batches, *, samples: int = 71, size: int = 32, epochs: int = 6) -> None:
    """Hold a loop over batches to its laws: each epoch visits every sample once, with its label.

    Args:
        batches: (x (N, 1), y (N,), batch size) -> an epoch's batches (x, y); called once an epoch,
            it shuffles by itself.
        samples, size: how many samples, in batches of how many; the last one is short.

    Raises:
        LawError: an AssertionError with the law, the rows of the first batches and the likely bug.

    >>> def epoch(x, y, size, rng=np.random.default_rng(0)):
    ...     order = rng.permutation(len(x))
    ...     for start in range(0, len(x), size):
    ...         rows = order[start : start + size]
    ...         yield x[rows], y[rows]
    >>> check_batches(epoch)
    """
    x, y = np.arange(samples, dtype=float)[:, None], np.arange(samples)
    name = getattr(batches, "__name__", type(batches).__name__)
    seen = []
    for _ in range(epochs):
        rows = []
        for bx, by in batches(x.copy(), y.copy(), size):
            rows.append(np.asarray(bx)[:, 0].astype(int))
            if not np.array_equal(rows[-1], np.asarray(by).reshape(-1)):
                shown = {"rows of x": rows[-1][:8], "rows of y": np.asarray(by)[:8]}
                what = "samples come with the labels of others"
                raise LawError(name, "own labels", what, shown, "labels shuffled apart")
        seen.append(rows)
    _once(name, seen, samples, size)
    _members(name, seen, size)


def _once(name: str, seen: list[list[Array]], samples: int, size: int) -> None:
    for rows in seen:
        counts = np.bincount(np.concatenate([*rows, np.zeros(0, int)]), minlength=samples)
        if np.all(counts == 1):
            continue
        missing, twice = np.flatnonzero(counts == 0), np.flatnonzero(counts > 1)
        short = not len(twice) and len(missing) == samples % size
        bug = "last batch dropped" if short else "rows repeated" if len(twice) else None
        shown = {"never": missing[:8], "more than once": twice[:8]}
        raise LawError(name, "every sample once", "an epoch is not a permutation", shown, bug)


def _members(name: str, seen: list[list[Array]], size: int) -> None:
    """Which samples meet in a batch must differ from epoch to epoch."""
    groups = [{frozenset(rows.tolist()) for rows in epoch if len(rows) == size} for epoch in seen]
    if len(groups) < 2 or any(group != groups[0] for group in groups[1:]):
        return
    orders = {tuple(int(rows[0]) for rows in epoch) for epoch in seen}
    bug = "only batch starts shuffled" if len(orders) > 1 else None
    what = "the same samples meet in a batch in every epoch"
    raise LawError(name, "members change", what, {"a batch": seen[0][0][:8]}, bug)
