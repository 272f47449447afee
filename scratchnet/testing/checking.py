"""`check`: one call for anyone's layer, activation, loss, optimizer or model.

It finds out how the code is called, draws numbers, and holds it to its laws: `subjects/` for the
first, `draws.py` for the second, `examine.py` and `optimizers.py` for the third. It refuses to
guess: what can't be found is an error that says what was looked for and which argument would tell.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import scratchnet.testing.optimizers as optimizers
from scratchnet import layers
from scratchnet.process import single_threaded_blas
from scratchnet.testing.draws import Domain, Draws, arguments, is_shape
from scratchnet.testing.examine import CheckSettings, Examination
from scratchnet.testing.failure import LawError
from scratchnet.testing.likely import likely_bug
from scratchnet.testing.losses import domain_of, not_targets, readings_of, with_targets
from scratchnet.testing.naming import LikelyBug
from scratchnet.testing.subjects.binding import bind
from scratchnet.testing.subjects.names import required
from scratchnet.testing.subjects.options import Options, SubjectError
from scratchnet.testing.subjects.own import Candidate, own_subject
from scratchnet.testing.subjects.resolve import forward_of, made, styles_of
from scratchnet.testing.subjects.steppers import is_optimizer
from scratchnet.testing.subjects.subject import Subject

__tracebackhide__ = True  # pytest shows the line that called us, and the message


class Passed:
    """What was asked and what is worth a remark, of a subject that broke no law.

    >>> print(Passed("Dense: right, x and W at 4 points", ["x is asked for on (0, 1)"], []))
    Dense: right, x and W at 4 points
      note: x is asked for on (0, 1)
    """

    def __init__(self, what: str, notes: Sequence[str], remarks: Sequence[str]) -> None:
        self.what, self.notes, self.remarks = what, tuple(notes), tuple(remarks)

    def __str__(self) -> str:
        lines = [self.what, *(f"  note: {note}" for note in self.notes)]
        return "\n".join(lines + [f"  remark: {remark}" for remark in self.remarks])

    __repr__ = __str__


@contextmanager
def undisturbed() -> Iterator[None]:
    """The global random generators are left as they were found, and BLAS sums in one order."""
    numpy, python = np.random.get_state(), random.getstate()
    try:
        with single_threaded_blas():
            yield
    finally:
        np.random.set_state(numpy)
        random.setstate(python)


def check(
    subject: Any,
    x: Any = None,
    *,
    params: Any = None,
    grads: Any = None,
    lr: float | None = None,
    forward: str | Callable[..., Any] | None = None,
    backward: str | Callable[..., Any] | None = None,
    output: Any = None,
    input_gradient: Any = None,
    extra: Mapping[str, Any] | Sequence[Any] = (),
    reset: str | Callable[..., Any] | None = None,
    train: bool | None = None,
    wrap: Callable[[Any], Any] | None = None,
    targets: Any = None,
    fed: str = "input",
    mean_gradients: bool = False,
    columns: bool = False,
    rule: str | None = None,
    domain: Any = None,
    tolerance: float | None = None,
    seed: int = 0,
    strict: bool = False,
    skip: Sequence[str] = (),
) -> Passed:
    """Hold somebody's layer, activation, loss, optimizer or model to its laws.

    The gradients are judged by `gradcheck.check_vjp`: backward(dY) must be dY J, for the code's own
    forward. Laws in two ranks: what is right or wrong raises; what is hygiene (a dtype that is not
    kept, an input that is written to, overflow far out ...) is a remark, unless `strict`.

    Args:
        subject: an object, a class, a factory, a pair `(forward, backward)`, a function that gives
            (y, pullback) or (loss, gradients), or a torch-like Function. An optimizer needs no x.
        x: an array, a shape such as (4, 3), several of them in a list, or a Hypothesis strategy.
        params, grads, ..., columns: how the code is called, where that can't be found: `Options`.
        rule: for an optimizer, the rule it should follow, or `"other"`.
        domain: where inputs lie: "positive", "unit", (low, high); by default what suits the code.
        tolerance: relative, where what float64 or float32 allows is not what you want.
        seed, skip: other numbers; laws not to hold it to.

    Returns:
        What was asked and every remark; it prints as text.

    Raises:
        LawError: an AssertionError with the law, a small counterexample and the likely bug.
        SubjectError: a TypeError where the code could not be called: it says what would tell.

    >>> class Dense:
    ...     def __init__(self, inputs, outputs):
    ...         self.W, self.b = np.ones((inputs, outputs)), np.zeros(outputs)
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x @ self.W + self.b
    ...     def backward(self, dy):
    ...         self.dW, self.db = self.x.T @ dy, dy.mean(axis=0)
    ...         return dy @ self.W.T
    >>> check(Dense, (4, 2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.testing.failure.LawError: Dense breaks the law 'gradients': wrong in 2 of 2 ...
      ...
      db[0] = 2, right: 4
      db[1] = 0.5, right: 1
      ...
      likely bug: looks like 'mean bias': ...
    """
    options = Options(
        params=params, grads=grads, lr=lr, forward=forward, backward=backward, output=output,
        input_gradient=input_gradient, extra=extra, reset=reset, train=train, wrap=wrap,
        targets=targets, fed=fed, mean_gradients=mean_gradients, columns=columns,
    )  # fmt: skip
    settings = CheckSettings(
        seed=seed, tolerance=tolerance, strict=strict, skip=tuple(skip), columns=columns
    )
    if hasattr(x, "example") and hasattr(x, "map"):
        return by_strategy(subject, x, options, settings, domain)
    with undisturbed():
        if x is None:
            return examined_optimizer(subject, rule, settings)
        return examined(subject, x, options, settings, domain)


def examined_optimizer(subject: Any, rule: str | None, settings: CheckSettings) -> Passed:
    """What was found of an optimizer that breaks no law."""
    if not is_optimizer(subject):
        raise SubjectError(
            "x is missing",
            looked="an optimizer, which needs none",
            found=type(subject).__name__,
            say="check(layer, (4, 3)): the shape of an input, or an array",
        )
    name, follows, remarks = optimizers.examine(
        subject,
        rule=rule,
        seed=settings.seed,
        strict=settings.strict,
        skip=settings.skip,
        numbers={},
    )
    return Passed(f"{name}: right, it follows {follows} (seed {settings.seed})", [], remarks)


def examined(
    subject: Any,
    x: Any,
    options: Options,
    settings: CheckSettings,
    domain: Any = None,
    more: Sequence[Callable[[Examination], None]] = (),
    relatives: Callable[[], list[Subject]] = list,
    name_bug: Callable[..., LikelyBug] | None = likely_bug,
) -> Passed:
    """A layer, an activation, a loss or a model, in the first reading that is right throughout.

    `more` are laws beside those of `examine.py`, `relatives` the code bound to other sizes.
    """
    errors: list[LawError] = []
    for bound, kind in readings(subject, x, options, domain, settings.seed):
        if not (bound.inputs or bound.parameters):
            raise nothing_found(bound)
        draws = draws_for(bound, domain, settings.seed, x, bool(kind))
        examination = Examination(bound, draws, settings, name_bug, relatives)
        try:
            points = examination.run()
            for law in more:
                law(examination)
        except LawError as error:
            errors.append(error)
            continue
        finally:
            bound.leave()
        arrays = listed([*bound.inputs, *bound.parameters])
        notes = [*bound.notes, *draws.notes()] + ([f"targets: {kind}"] if kind else [])
        what = f"{bound.name}: right, {arrays} at {points} points (seed {settings.seed})"
        return Passed(what, notes, examination.remarks)
    raise next((error for error in errors if error.bug), errors[0])


def nothing_found(bound: Subject) -> SubjectError:
    """No gradient of anything was found, and a check of nothing passes nothing."""
    given = ", ".join(bound.style.arguments[: len(bound.given)])
    return SubjectError(
        f"{bound.name}: no gradient of anything was found",
        looked="gradients of its arguments and of the arrays that they or the object hold",
        found=f"forward({given})",
        say="grads=, input_gradient=, or arguments that are arrays of floats",
    )


def listed(words: Sequence[str]) -> str:
    """`x, W and b`"""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


def readings(
    subject: Any, x: Any, options: Options, domain: Any, seed: int
) -> Iterator[tuple[Subject, str]]:
    """Every way to read the code that can be tried."""
    tried: list[SubjectError] = []
    inputs = arguments(x, Domain.of(domain), np.random.default_rng(seed))
    called = forward_of(subject, options)
    if isinstance(x, list) and called is not None and 1 < len(x) == len(required(called)):
        inputs = arguments(tuple(x), Domain.of(domain), np.random.default_rng(seed))
    for trial in with_targets(subject, inputs, options, np.random.default_rng(seed)):
        found = False
        try:
            for bound in bounds(subject, trial.args, options, trial.targets_at):
                if trial.kind and not acceptable(bound):
                    raise SubjectError(f"{trial.kind}: the loss is not finite")
                found = True
                for reading in (bound,) if bound.takes_dy else readings_of(bound):
                    yield reading, trial.kind
        except SubjectError as error:
            tried.append(error)
        if found:
            return
    raise tried[0] if len(tried) == 1 else not_targets(tried)


def bounds(
    subject: Any, args: list[Any], options: Options, targets_at: tuple[int, ...]
) -> Iterator[Subject]:
    """The code bound to these arguments in each of its styles."""
    if isinstance(subject, type) and issubclass(subject, layers.Layer | Candidate):
        subject = made(subject, args)
    own = own_subject(subject, args, options)
    if own is not None:
        yield own
        return
    for style in styles_of(subject, args, options):
        bound = bind(style, args, options, targets_at)
        if not (style.slope and bound.parameters):  # f' is of what learns nothing
            yield bound


def acceptable(bound: Subject) -> bool:
    """Whether targets of this kind give a finite loss somewhere."""
    start = bound.start()
    for domain in (Domain(), Domain(0.0, 1.0)):
        rng = np.random.default_rng(0)
        drawn = {name: domain.draw(rng, start[name].shape, 1.0) for name in bound.inputs}
        y = bound.output(start | drawn)
        if np.isfinite(y).all() and y.dtype.kind == "f":
            return True
    return False


def draws_for(bound: Subject, domain: Any, seed: int, x: Any, is_loss: bool) -> Draws:
    """Where to ask: the domain that was said, or that the numbers or the code suggest."""
    start, domains = bound.start(), dict[str, Domain]()
    for name, at in bound.inputs.items():
        if domain is not None:
            domains[name] = Domain.of(domain)
        elif is_loss and not bound.takes_dy:
            domains[name] = domain_of(bound, name)
        elif given(x, at):
            domains[name] = Domain.around(start[name])
        else:
            domains[name] = finite_domain(bound, start, name)
        if not given(x, at) and domains[name] != Domain() and domain is None:
            rng = np.random.default_rng(seed)
            start[name] = domains[name].draw(rng, start[name].shape, 1.0)
    return Draws(start, domains, frozenset(bound.parameters), seed)


def finite_domain(bound: Subject, start: dict[str, Any], name: str) -> Domain:
    """The widest of all numbers, positive ones and (0, 1) on which the output is finite."""
    for domain in (Domain(), Domain(0.0), Domain(0.0, 1.0)):
        value = domain.draw(np.random.default_rng(1), start[name].shape, 1.0)
        try:
            if np.isfinite(bound.output(start | {name: value})).all():
                return domain
        except Exception:
            continue
    return Domain()


def given(x: Any, at: int) -> bool:
    """Whether this argument was handed over as numbers."""
    one = x[at] if isinstance(x, tuple | list) and not is_shape(x) and at < len(x) else x
    return not is_shape(one)


def by_strategy(
    subject: Any, x: Any, options: Options, settings: CheckSettings, domain: Any
) -> Passed:
    """Every example that Hypothesis draws, shrunk to the smallest that fails.

    Only that one is explained, which takes longer than all the rest of a check.
    """
    import hypothesis

    last: list[Passed] = []
    smallest: Any = None

    @hypothesis.settings(
        deadline=None, database=None, max_examples=25, derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
    )  # fmt: skip
    @hypothesis.given(x)
    def every(drawn: Any) -> None:
        nonlocal smallest
        smallest = drawn
        with undisturbed():
            last.append(examined(subject, drawn, options, settings, domain, name_bug=None))

    failure: LawError | None = None
    try:
        every()
    except LawError as error:
        failure = error
    if failure is not None:
        with undisturbed():
            examined(subject, smallest, options, settings, domain)
        raise failure  # should it be right now, it was wrong all the same
    return last[-1]
