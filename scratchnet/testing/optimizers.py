"""An optimizer held to its rule and to the laws of every descent method.

It is asked on arrays and gradients of sizes from 1e-9 to 100, some exactly 0, over several steps,
since one step of Adam shows neither its betas nor its epsilon. Which rule it follows is recognised
by its moves (`rules.py`). One that claims a rule by its name and follows none of its forms fails;
one that claims nothing and is not recognised is held to the laws of descent alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.failure import LawError, Laws
from scratchnet.testing.forms import AdamForm, Form, FormRun, Settings, SGDForm
from scratchnet.testing.museum import of_part
from scratchnet.testing.naming import Evidence, recognise
from scratchnet.testing.rules import RULES, SHARED, Course, claim, recognised
from scratchnet.testing.subjects.names import plain, required
from scratchnet.testing.subjects.options import SubjectError
from scratchnet.testing.subjects.state import walk
from scratchnet.testing.subjects.steppers import Stepper, form_of, maker_of

__tracebackhide__ = True  # pytest shows the line that called us, and the message

MUST = ("shapes", "deterministic", "finite", "steps", "zero gradient", "downhill")
HYGIENE = ("inputs not written to", "arrays apart", "dtype kept", "bad input refused")
OPTIMIZER_LAWS = MUST + HYGIENE
STEPS, LEVELS = 7, 8
Given = tuple[list[Array], list[list[Array]]]
"""Arrays to start from, and each step's gradients."""

SETTING_NAMES = {
    "learning_rate": ("learning_rate", "lr"),
    "beta_1": ("beta_1", "beta1", "b1"),
    "beta_2": ("beta_2", "beta2", "b2"),
    "epsilon": ("epsilon", "eps"),
    "momentum": ("momentum", "mu", "gamma", "beta"),
    "nesterov": ("nesterov",),
    "amsgrad": ("amsgrad",),
}
"""Where optimizers keep their numbers."""

OF_RULE = {"learning_rate": "lr", "beta_1": "b1", "beta_2": "b2"}


def problem(level: int, seed: int = 0, start: float = 0.0) -> Given:
    """Level 0: one number, gradients 1, 2, -1; then two arrays of integers; then random ones."""
    if level == 0:
        return [np.full(1, start)], [[np.array([g])] for g in (1.0, 2.0, -1.0, 3.0, 1.0, -2.0, 1.0)]
    shapes = [(1,), (1,)] if level == 1 else [(2, 3), (3,), (3, 1)]
    rng = np.random.default_rng(level + LEVELS * seed)
    arrays = [np.full(shape, start) for shape in shapes]
    if level == 1:
        steps = [[rng.integers(-3, 4, s).astype(float) for s in shapes] for _ in range(STEPS)]
        return arrays, steps
    sizes = [10.0 ** rng.uniform(-9, 2, shape) for shape in shapes]
    return arrays, [
        [size * rng.normal(0, 1, size.shape) * (rng.random(size.shape) < 0.9) for size in sizes]
        for _ in range(STEPS)
    ]


def displacements(step: Callable[..., list[Array]], given: Given) -> dict[str, Array]:
    """name -> displacement of every array by every step: small beside the arrays themselves."""
    arrays, steps = given
    found = {}
    with np.errstate(all="ignore"):
        for t, gradients in enumerate(steps, 1):
            after = step(arrays, gradients)
            for j, (a, b) in enumerate(zip(after, arrays, strict=True)):
                found[f"step {t}, array {j}"] = np.asarray(a) - b
            arrays = after
    return found


def course_of(given: Given) -> Course:
    arrays, steps = given
    ends = np.cumsum([0, *(a.size for a in arrays)])
    tensors = [slice(a, b) for a, b in pairwise(ends.tolist())]
    flat = [np.concatenate([g.ravel() for g in gradients]) for gradients in steps]
    return Course(np.concatenate([a.ravel() for a in arrays]), flat, tensors)


class OptimizerSubject:
    """Somebody's optimizer: made fresh, stepped in its form, with the numbers found in it."""

    def __init__(self, optimizer: Any, numbers: dict[str, Any]) -> None:
        self.make = maker_of(optimizer)
        first = _made(self.make, optimizer)
        first = getattr(first, "func", first)  # one that is made again with the same numbers
        kind = first if inspect.isroutine(first) or isinstance(first, type) else type(first)
        self.name = kind.__name__
        self.form = form_of(self.make, self.name)
        self.named = dict(numbers)
        self.numbers: list[float] = [float(n) for n in numbers.values()]
        self._look(optimizer)

    def _look(self, optimizer: Any) -> None:
        """The numbers that hang on it after a step, and those of its arguments' defaults."""
        stepper = self.fresh()
        arrays, steps = problem(3)
        stepper.step(arrays, steps[0])
        # What its arguments are called it may have as a property; a name alone can mislead.
        held = [
            (name, getattr(stepper.made, name))
            for name, _ in _defaults(getattr(stepper.made, "__init__", None))
            if hasattr(stepper.made, name)
        ]
        held += [(h.name.split(".")[-1], h.value) for h in walk(stepper.made, stepper.config)]
        for kind in type(stepper.made).__mro__[:-1]:
            held += [(name, value) for name, value in vars(kind).items()]
        for function in (stepper.made, getattr(stepper.made, "__init__", None)):
            held += _defaults(function)
        if isinstance(optimizer, type) and not required(optimizer):
            held = [*_defaults(optimizer), *held]  # made without arguments, it has their defaults
        for name, value in held:
            if isinstance(value, tuple | list) and plain(name) == "betas" and len(value) == 2:
                held += [("beta1", value[0]), ("beta2", value[1])]
        for name, value in held:
            if isinstance(value, bool | int | float) and abs(value) < 1e3:
                self.numbers.append(float(value))
                self._name(plain(name.replace("['", "").replace("']", "")), value)

    def _name(self, name: str, value: float) -> None:
        for setting, known in SETTING_NAMES.items():
            if any(name.endswith(plain(n)) and len(name) - len(plain(n)) < 6 for n in known):
                self.named.setdefault(setting, value)

    def fresh(self) -> Stepper:
        return Stepper(self.make, self.form)

    def moves(self, given: Given) -> dict[str, Array]:
        return displacements(self.fresh().step, given)


def _made(make: Callable[[], Any], optimizer: Any) -> Any:
    try:
        return make()
    except Exception as error:
        name = getattr(optimizer, "__name__", type(optimizer).__name__)
        raise SubjectError(
            f"{name} could not be made: {type(error).__name__}: {error}",
            looked="an optimizer that takes nothing, or the parameters that it is to move",
            found=f"{name}({', '.join(required(optimizer))})",
            say=f"an instance, or lambda params: {name}(...)",
        ) from error


def _defaults(function: Any) -> list[tuple[str, Any]]:
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [(p.name, p.default) for p in given]


# --- which rule ---------------------------------------------------------------------------------


def rules_of(optimizer: OptimizerSubject, seed: int) -> list[tuple[str, dict[str, float]]]:
    """The rules, with their numbers, that give all its moves."""
    givens = [problem(2, seed), problem(5, seed), problem(3, seed, start=1.0)]
    seen = [_vectors(optimizer, given) for given in givens]
    return recognised([course_of(given) for given in givens], seen, optimizer.numbers)


def _vectors(optimizer: OptimizerSubject, given: Given) -> list[Array]:
    """Each step's moves of all arrays, one after the other."""
    moves, arrays = optimizer.moves(given), len(given[0])
    return [
        np.concatenate([moves[f"step {t}, array {j}"].ravel() for j in range(arrays)])
        for t in range(1, STEPS + 1)
    ]


def _steps(optimizer: OptimizerSubject, rule: str | None, seed: int, said: dict[str, Any]) -> str:
    """The rule that it follows; a failure where it claims one and follows none of its forms."""
    asked = rule or claim(optimizer.name)
    if asked == "other":
        return "any rule"
    found = rules_of(optimizer, seed)
    allowed = [
        (name, numbers)
        for name, numbers in found
        if asked is None or asked in RULES[name].families
        if rule is None or "average" not in name
    ]
    fitting = [(n, numbers) for n, numbers in allowed if _numbers_fit(optimizer, numbers, said)]
    if fitting:
        return told(*fitting[0])
    if asked is None and not found:
        bug = _known_bug(optimizer)
        if bug is None:
            return "an unknown rule"
        raise LawError(optimizer.name, "steps", "its moves are those of a known mistake", bug=bug)
    raise _wrong_steps(optimizer, asked or "", found, seed)


def _known_bug(optimizer: OptimizerSubject) -> str | None:
    """A bug of Adam or SGD that explains all its moves, whatever it is called."""
    return bug_of(optimizer, "adam") or bug_of(optimizer, "sgd")


def _numbers_fit(
    optimizer: OptimizerSubject, numbers: dict[str, float], said: dict[str, Any]
) -> bool:
    """Whether learning rate and betas are those that it is said to have."""
    for name, short in OF_RULE.items():
        wanted = said.get(name, optimizer.named.get(name))
        if short in numbers and wanted is not None and abs(numbers[short] - wanted) > 1e-6 * wanted:
            return False
    return True


def told(name: str, numbers: dict[str, float]) -> str:
    """A rule with its numbers, for people.

    >>> told("SGD", {"lr": 0.1})
    'SGD (lr 0.1)'
    """
    return f"{name} ({', '.join(f'{key} {value:.6g}' for key, value in numbers.items())})"


def _wrong_steps(
    optimizer: OptimizerSubject, asked: str, found: list[tuple[str, dict[str, float]]], seed: int
) -> LawError:
    """Where it leaves the nearest form of the rule that it should follow."""
    if found:
        name, numbers = found[0]
        held = ", ".join(f"{k} {v:g}" for k, v in optimizer.named.items() if k in OF_RULE)
        meant = asked or f"what its numbers say ({held})"
        swapped = numbers.get("b1") == optimizer.named.get("beta_2", 0.0)
        bug = (
            "betas swapped"
            if swapped and numbers.get("b2") == optimizer.named.get("beta_1")
            else None
        )
        bug = bug or (bug_of(optimizer, asked) if asked else None)
        return LawError(
            optimizer.name, "steps", f"it should be {meant}, and is {told(name, numbers)}", bug=bug
        )
    form: Form = AdamForm() if "ada" in asked or asked in ("amsgrad",) else SGDForm()
    forms = dialects(asked, optimizer.named)
    shown: dict[str, Any] = {}
    what = f"no form of {asked} gives its steps"
    for level in range(LEVELS):
        given = problem(level, seed)
        got = optimizer.moves(given)
        best = _farthest(got, given, form, forms)
        if best is not None:
            dialect, first, right = best
            t, j = (int(part.split()[1]) for part in first.split(", "))
            shown = {
                f"gradients of array {j}, steps 1 to {t}": [g[j].tolist() for g in given[1][:t]]
            }
            shown |= {f"move in {first}": got[first], f"right ({dialect})": right[first]}
            what = f"{first} goes elsewhere than {asked}"
            break
    return LawError(optimizer.name, "steps", what, shown, bug_of(optimizer, asked))


def _farthest(
    got: dict[str, Array], given: Given, form: Form, forms: dict[str, Settings]
) -> tuple[str, str, dict[str, Array]] | None:
    """The dialect that it follows longest, and where it leaves it; None where one gives all."""
    best: tuple[int, str, str, dict[str, Array]] | None = None
    for dialect, settings in forms.items():
        right = displacements(stepper(form, settings, given), given)
        apart = [k for k in right if not _same(got[k], right[k])]
        if not apart:
            return None
        place = list(right).index(apart[0])
        if best is None or place > best[0]:
            best = place, dialect, apart[0], right
    return None if best is None else best[1:]


def _same(a: Array, b: Array) -> bool:
    size = max(np.abs(a).max(), np.abs(b).max())
    return bool(np.all(np.abs(a - b) <= 1e-9 * size))


# --- which bug ------------------------------------------------------------------------------------


def dialects(rule: str, named: dict[str, Any]) -> dict[str, Settings]:
    """The forms of a rule that count as right, with the numbers found by name."""
    kept = {name: named[name] for name in ("learning_rate",) if name in named}
    if "adam" in rule or rule == "amsgrad":
        kept |= {n: named[n] for n in ("beta_1", "beta_2", "epsilon", "amsgrad") if n in named}
        if rule == "amsgrad":
            kept["amsgrad"] = True
        return {
            "algorithm 1": Settings(**kept, hat=False),
            "epsilon hat": Settings(**kept),
            "Keras's roundings": Settings(**kept, keras=True),
        }
    kept |= {n: named[n] for n in ("momentum", "nesterov") if n in named}
    if rule == "nesterov":
        kept["nesterov"] = True
    return {"plain": Settings(**kept), "Keras's roundings": Settings(**kept, keras=True)}


def stepper(form: Form, settings: Settings, given: Given) -> Callable[..., list[Array]]:
    run = FormRun(form, settings, given[0])

    def step(arrays: list[Array], gradients: list[Array]) -> list[Array]:
        run.step(gradients)
        return [array.copy() for array in run.arrays]

    return step


def bug_of(optimizer: OptimizerSubject, rule: str) -> str | None:
    """The bug of the museum that explains its moves on all problems, in one dialect."""
    if "adam" in rule and shares_moments(optimizer):
        return "two moments in one array"
    part = "adam" if "adam" in rule or rule == "amsgrad" else "sgd"
    if rule not in ("adam", "amsgrad", "adamw", "sgd", "momentum", "nesterov"):
        return None
    forms = dialects(rule, optimizer.named)
    evidence = []
    for given in map(problem, range(LEVELS)):
        variants = {
            f"{bug.name}|{dialect}": displacements(stepper(bug.form, settings, given), given)
            for bug in of_part(part)
            for dialect, settings in forms.items()
            if bug.form is not None
        }
        evidence.append(Evidence({}, optimizer.moves(given), variants))
    keys = {key for one in evidence for key in one.variants}
    return recognise(evidence, {key: key.split("|")[0] for key in keys})


def shares_moments(optimizer: OptimizerSubject) -> bool:
    """Whether its moves are those of an Adam whose m and v are one and the same array."""
    givens = [problem(2), problem(3)]
    seen = [_vectors(optimizer, given) for given in givens]
    courses = [course_of(given) for given in givens]
    return bool(recognised(courses, seen, optimizer.numbers, SHARED))


# --- the laws of every descent method -------------------------------------------------------------


def _plain(optimizer: OptimizerSubject, laws: Laws) -> None:
    """Shapes, finite moves, the same numbers twice, no move without a gradient, downhill."""
    arrays, steps = given = problem(3)
    after = optimizer.fresh().step(arrays, steps[0])
    if "shapes" in laws and [a.shape for a in after] != [a.shape for a in arrays]:
        what = f"shapes {[a.shape for a in arrays]} became {[a.shape for a in after]}"
        raise LawError(optimizer.name, "shapes", what)
    one, two = optimizer.moves(given), optimizer.moves(given)
    if "deterministic" in laws and any(
        not np.array_equal(one[k], two[k], equal_nan=True) for k in one
    ):
        raise LawError(optimizer.name, "deterministic", "two runs on the same gradients differ")
    rest = optimizer.fresh().step(arrays, [0 * g for g in steps[0]])
    if "finite" in laws:
        for name, move in {**one, "step 1 without a gradient": rest[0]}.items():
            if not np.isfinite(move).all():
                raise LawError(optimizer.name, "finite", f"{name} is not finite", {"move": move})
    if "zero gradient" in laws and any(np.any(a != b) for a, b in zip(rest, arrays, strict=True)):
        what = "the first step moves although every gradient is 0"
        raise LawError(optimizer.name, "zero gradient", what, {"after": rest[0]})
    if "downhill" in laws:
        _downhill(optimizer)


def _downhill(optimizer: OptimizerSubject) -> None:
    """Under one and the same gradient every entry goes against its sign."""
    rng = np.random.default_rng(1)
    arrays = [np.zeros((2, 3)), np.zeros(3), np.zeros((3, 1))]
    gradients = [rng.uniform(0.5, 2, a.shape) * rng.choice([-1.0, 1.0], a.shape) for a in arrays]
    after, fresh = arrays, optimizer.fresh()
    for _ in range(4):
        after = fresh.step(after, gradients)
    for a, g in zip(after, gradients, strict=True):
        if np.any(a * g > 0):
            shown = {"gradient, four times": g, "moved by": a}
            part = "adam" if claim(optimizer.name) == "adam" else "sgd"
            bug = {"adam": "uphill", "sgd": "uphill in SGD"}[part] if np.all(a * g > 0) else None
            raise LawError(
                optimizer.name, "downhill", "it climbs: moves have the gradient's sign", shown, bug
            )


def _hygiene(optimizer: OptimizerSubject) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(law, what, arrays to show) of every law of hygiene that does not hold."""
    arrays, steps = problem(3)
    first = optimizer.fresh()
    first.step(arrays, steps[0])
    for before, after in zip(steps[0], first.given, strict=True):
        if optimizer.form != "own" and not np.array_equal(before, after):
            shown = {"gradient": before, "gradient after": after}
            yield "inputs not written to", "the gradients are changed", shown
            break
    yield from _apart(optimizer)
    small = [a.astype(np.float32) for a in arrays]
    fresh = optimizer.fresh()
    for gradients in steps[:2]:
        small = fresh.step(small, [g.astype(np.float32) for g in gradients])
    kinds = sorted({str(a.dtype) for a in small})
    if kinds != ["float32"]:
        yield "dtype kept", f"float32 goes in, {kinds} comes out", {}
    try:
        optimizer.fresh().step(arrays, [np.ones(a.size + 1) for a in arrays])
    except Exception:
        return
    what = "gradients of another shape than their parameters are taken without an error"
    yield "bad input refused", what, {}


def _apart(optimizer: OptimizerSubject) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """An array's moves do not depend on which others there are."""
    arrays, steps = problem(4)
    whole = optimizer.moves((arrays, steps))
    alone = optimizer.moves((arrays[:2], [gradients[:2] for gradients in steps]))
    if any(not _same(whole[name], alone[name]) for name in alone):
        yield "arrays apart", "an array moves otherwise when there is one array less", {}


def examine(
    optimizer: Any,
    *,
    rule: str | None,
    seed: int,
    strict: bool,
    skip: tuple[str, ...],
    numbers: dict[str, Any],
) -> tuple[str, str, list[str]]:
    """Name, rule and remarks of an optimizer that breaks no law.

    Raises:
        LawError: for one that does.
    """
    laws = Laws(OPTIMIZER_LAWS, skip)
    found = OptimizerSubject(optimizer, numbers)
    follows, late = "an unknown rule", None
    if "steps" in laws:
        try:
            follows = _steps(found, rule, seed, numbers)
        except LawError as error:
            late = error  # first what is wrong under every rule
    if late is not None and late.bug:
        raise late
    _plain(found, laws)
    if late is not None and not strict:
        raise late
    remarks = []
    for law, what, shown in _hygiene(found):
        if law not in laws:
            continue
        if strict and (late is None or law == "inputs not written to"):
            raise LawError(found.name, law, what, shown)
        remarks.append(f"{law}: {what}")
    if late is not None:
        raise late
    return found.name, follows, remarks
