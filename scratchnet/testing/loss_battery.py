"""`check_loss`: is this the gradient of that loss, and if not, what is it the gradient of?

The right gradient is the complex step of the loss's own value. Predictions lie in (0.1, 0.9) and
rows need not sum to 1: a loss on logits, on probabilities and a squared error all take them.
A loss that returns one number a sample may come with the gradient of their sum or of their mean:
both are right. Read `naming.py` for how a wrong gradient gets its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from scratchnet import gradcheck
from scratchnet.engines import Array, reference
from scratchnet.testing.adapters import PlainLoss
from scratchnet.testing.failure import LawError, Laws
from scratchnet.testing.naming import Evidence, recognise, transforms

__tracebackhide__ = True  # pytest shows the line that called us, and the message

LOSS_LAWS = (
    "shapes",
    "inputs not written to",
    "deterministic",
    "gradients",
    "value",
    "mean over parts",
    "dtype kept",
    "bad input refused",
)
SIZES = ((1, 2), (2, 2), (2, 3), (3, 2), (5, 4), (4, 3), (1, 5), (7, 3), (3, 5))
"""(B, K) of the problems, the smallest first."""

ALIASES = {
    "gradient: factor B too large": "missing mean",
    "gradient: factor B too small": "averaged twice",
    "gradient: sign": "sign",
    "gradient: factor 2 too small": "half the square",
    "gradient: factor K too large": "sum over outputs",
}


class LossProblem(NamedTuple):
    """A loss with predictions p (B, K) and targets t."""

    loss: PlainLoss
    p: Array
    t: Array
    share: float
    """What the added up losses of samples are divided by: 1, B or B K."""

    def value(self, p: Array) -> Any:
        return self.loss.value(p, self.t) / self.share

    def gradient(self, p: Array) -> Array:
        return self.loss.gradient(p.copy(), self.t.copy())

    def right(self) -> Array:
        try:
            found: Array = gradcheck.complex_step(self.value, self.p)
        except ValueError:
            found = gradcheck.central_difference(self.value, self.p)
        return found

    def shown(self) -> dict[str, Array]:
        return {"p": self.p, "t": self.t}


def problem_of(
    loss: PlainLoss, size: tuple[int, int], targets: str, seed: int, share: str
) -> LossProblem:
    """Seed 0: quarters and the first classes; others are random."""
    rng = np.random.default_rng(seed)
    B, K = size
    p = rng.uniform(0.1, 0.9, size) if seed else np.resize([0.25, 0.5, 0.75, 0.5, 0.25], size)
    labels = rng.integers(0, K, B) if seed else np.arange(B) % K
    t = labels if targets == "labels" else np.eye(K)[labels]
    if targets == "numbers":
        t = rng.normal(0, 1, size) if seed else np.resize([1.0, 0.0, -1.0], size)
    return LossProblem(
        loss, p, t, {"sum": 1.0, "mean": float(B), "mean of all": float(B * K)}[share]
    )


def targets_of(loss: PlainLoss) -> str:
    """`onehot` if the loss takes such rows and answers with a finite number, else `labels`."""
    errors = []
    for targets in ("onehot", "labels"):
        problem = problem_of(loss, (3, 2), targets, 1, "sum")
        try:
            with np.errstate(all="ignore"):
                if np.isfinite(complex(problem.value(problem.p))):
                    return targets
            errors.append(f"{targets}: not finite")
        except Exception as error:
            errors.append(f"{targets}: {error}")
    raise TypeError(
        f"{loss.name} takes neither one-hot rows nor integer labels ({'; '.join(errors)}): "
        "say targets='numbers', or which argument holds the targets with targets_first=."
    )


def shares_of(loss: PlainLoss, targets: str) -> list[str]:
    """The readings of the loss's value: one for a scalar, several for one number a sample."""
    problem = problem_of(loss, (3, 2), targets, 1, "sum")
    arguments = (problem.t, problem.p) if loss.first else (problem.p, problem.t)
    shape = np.shape(loss.forward(*arguments))
    return ["sum", "mean", "mean of all"][: 1 + len(shape)]


# --- naming -------------------------------------------------------------------------------------

KNOWN: dict[str, Callable[[Array, Array], Array]] = {
    "softmax_cross_entropy": lambda p, t: reference.softmax_cross_entropy(p, t)[0],
    "cross_entropy": lambda p, t: -np.sum(t * np.log(p), axis=-1),
    "mean_squared_error": lambda p, t: np.mean((p - t) ** 2, axis=-1),
    "squared_error": lambda p, t: np.sum((p - t) ** 2, axis=-1),
    "binary_cross_entropy": lambda p, t: -np.sum(t * np.log(p) + (1 - t) * np.log(1 - p), axis=-1),
}
"""Losses of a sample that `against` may name."""


def rows(problem: LossProblem) -> Array:
    t = problem.t
    return t if t.ndim == 2 else np.eye(problem.p.shape[1])[t]


def loss_variants(
    problem: LossProblem, right: Array, nominal: float
) -> dict[str, dict[str, Array]]:
    B, K = problem.p.shape
    t = rows(problem)
    made = transforms(right, [], None)
    made |= {
        "factor B too large": right * B,
        "factor B too small": right / B,
        "factor K too large": right * K,
        "p - t": problem.p - t,
    }
    made.pop("transposed", None)
    found = {f"gradient: {kind}": {"gradient": value} for kind, value in made.items()}
    found["gradient: p - t / B"] = {"gradient": (problem.p - t) / B}
    found["only the true class"] = {"gradient": right * (t != 0)}
    if nominal:
        found["nominal batch size"] = {"gradient": right * B / nominal}
    return found


def nominal_size(draws: list[tuple[Array, Array]]) -> float:
    """The c of a gradient that is divided by c instead of B, from the first draw; 0 for none."""
    right, wrong = draws[0]
    if right.shape != wrong.shape or not np.any(wrong):
        return 0.0
    c = len(right) * float(np.vdot(right, right) / np.vdot(right, wrong))
    # Dividing by 1 or 2 has names of its own.
    return c if abs(c) > 2 + 1e-6 else 0.0


def likely_loss_bug(loss: PlainLoss, targets: str, shares: list[str]) -> str | None:
    """The likely bug, under whichever reading of the value one variant explains everything."""
    found = set()
    for share in shares:
        problems = [problem_of(loss, size, targets, seed, share)
                    for seed, size in enumerate(SIZES, 1)]  # fmt: skip
        pairs = [(problem.right(), problem.gradient(problem.p)) for problem in problems]
        c = nominal_size(pairs)
        draws = [
            Evidence({"gradient": right}, {"gradient": wrong}, loss_variants(problem, right, c))
            for problem, (right, wrong) in zip(problems, pairs, strict=True)
        ]
        alias = ALIASES | {"gradient: p - t / B": "gradient: p - t"}
        found.add(recognise(draws, alias))
    found.discard(None)
    return found.pop() if len(found) == 1 else None


# --- the laws -----------------------------------------------------------------------------------


def _wrong(problem: LossProblem) -> bool:
    try:
        gradcheck.check_gradients(problem.value, problem.p, problem.gradient)
    except gradcheck.GradientError:
        return True
    return False


def _gradients(loss: PlainLoss, targets: str, shares: list[str], first: int) -> None:
    bad: dict[str, LossProblem] = {}
    for share in shares:
        for seed, size in [(0, s) for s in SIZES] + list(enumerate(SIZES, first)):
            problem = problem_of(loss, size, targets, seed, share)
            if _wrong(problem):
                bad[share] = problem
                break
        else:
            return
    problem = bad[shares[-1]] if len(shares) > 1 else bad[shares[0]]
    shown = problem.shown() | {
        "gradient given": problem.gradient(problem.p),
        "gradient right": problem.right(),
    }
    what = "it is not the gradient of the value"
    raise LawError(loss.name, "gradients", what, shown, likely_loss_bug(loss, targets, shares))


def _plain(problem: LossProblem, laws: Laws) -> None:
    """Shapes, untouched inputs, the same numbers twice."""
    p, t, loss = problem.p.copy(), problem.t.copy(), problem.loss
    value, gradient = loss.value(p, t), loss.gradient(p, t).copy()
    if "inputs not written to" in laws and not (
        np.array_equal(p, problem.p) and np.array_equal(t, problem.t)
    ):
        shown = problem.shown() | {"p after": p, "t after": t}
        raise LawError(loss.name, "inputs not written to", "p or t is changed", shown)
    if "shapes" in laws and gradient.shape != problem.p.shape:
        what = f"the gradient has shape {gradient.shape}, expected {problem.p.shape}"
        raise LawError(loss.name, "shapes", what, problem.shown())
    again = loss.value(p, t), loss.gradient(p, t)
    if "deterministic" in laws and (again[0] != value or not np.array_equal(again[1], gradient)):
        raise LawError(loss.name, "deterministic", "two calls differ", problem.shown())


def _parts(problem: LossProblem, scalar: bool) -> None:
    """The loss of a batch is the mean, or the sum, of its samples'."""
    if not scalar:
        return
    each = [
        problem.loss.value(problem.p[i : i + 1], problem.t[i : i + 1])
        for i in range(len(problem.p))
    ]
    value, total = float(problem.loss.value(problem.p, problem.t)), float(np.sum(each))
    size = float(np.sum(np.abs(each)))
    if min(abs(value - total), abs(value - total / len(each))) > 1e-12 * size:
        shown = problem.shown() | {"loss": value, "losses of the rows": np.array(each)}
        what = "a batch's loss is neither the mean nor the sum of its samples'"
        raise LawError(problem.loss.name, "mean over parts", what, shown)


def _value(problem: LossProblem, against: str) -> None:
    """The value is that of a known loss, up to the reduction: mean or sum over B, or over B K."""
    t, value = rows(problem), float(problem.loss.value(problem.p, problem.t).real)

    def fits(losses: Array) -> bool:
        total = float(np.sum(losses))
        options = (total, total / len(problem.p), total / problem.p.size)
        return any(abs(value - option) <= 1e-9 * abs(option) for option in options)

    if fits(KNOWN[against](problem.p, t)):
        return
    twice = against == "softmax_cross_entropy" and fits(
        KNOWN[against](reference.softmax(problem.p), t)
    )
    shown = problem.shown() | {
        "loss": value,
        "mean expected": np.mean(KNOWN[against](problem.p, t)),
    }
    bug = "double softmax" if twice else None
    raise LawError(problem.loss.name, "value", f"it is not the {against}", shown, bug)


def _dtype(problem: LossProblem) -> None:
    t = problem.t.astype(np.float32) if problem.t.dtype.kind == "f" else problem.t
    gradient = problem.loss.gradient(problem.p.astype(np.float32), t)
    if gradient.dtype != np.float32:
        what = f"float32 goes in, a gradient of {gradient.dtype} comes out"
        raise LawError(problem.loss.name, "dtype kept", what)


def _bad_input(problem: LossProblem) -> None:
    long = np.concatenate([problem.p, problem.p[:1]])
    try:
        problem.loss.value(long, problem.t)
    except Exception:
        return
    what = "more predictions than targets are taken without an error"
    shown = {"p": long, "t": problem.t}
    raise LawError(problem.loss.name, "bad input refused", what, shown)


def check_loss(
    loss: Any,
    *,
    targets: str = "auto",
    targets_first: bool | None = None,
    against: str | None = None,
    skip: tuple[str, ...] = (),
    seed: int = 0,
) -> None:
    """Hold a loss l(p, t) and its gradient by p, p (B, K), to their laws.

    Args:
        loss: a class or object with forward, loss or __call__, beside backward, gradient or grad
            (taking p and t, or nothing after a forward); or a pair of functions (value, gradient).
        targets: `"onehot"`, `"labels"`, `"numbers"`, or `"auto"`: one-hot if the loss takes it.
        targets_first: whether the targets are the first argument; by default that is read from its
            name (y_true, target, actual, label, t, y).
        against: a loss of `KNOWN` that the value should be, such as `"softmax_cross_entropy"`.
        skip: laws not to hold it to, of `LOSS_LAWS`.
        seed: another one draws other random problems.

    Raises:
        LawError: an AssertionError with the law, a small counterexample and the likely bug.
        TypeError: for a loss of a shape that is not understood.

    >>> def mse(p, t):
    ...     return np.mean((p - t) ** 2)
    >>> check_loss((mse, lambda p, t: 2 * (p - t) / p.size))
    >>> check_loss((mse, lambda p, t: (p - t) / p.size))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.testing.failure.LawError: mse breaks the law 'gradients': it is not the gradient ...
      p = [[0.25 0.5 ]]
      t = [[1. 0.]]
      gradient given = [[-0.375 0.25 ]]
      gradient right = [[-0.75 0.5 ]]
      likely bug: looks like 'half the square': the 2 of (a - t)^2 is dropped ...
    """
    laws = Laws(LOSS_LAWS, skip)
    if against is not None and against not in KNOWN:
        raise ValueError(f"against={against!r}: expected one of {', '.join(KNOWN)}.")
    plain = PlainLoss(loss, targets_first)
    if targets not in ("auto", "onehot", "labels", "numbers"):
        raise ValueError(f"targets={targets!r}: expected 'auto', 'onehot', 'labels' or 'numbers'.")
    kind = targets_of(plain) if targets == "auto" else targets
    shares = shares_of(plain, kind)
    first = 1 + len(SIZES) * seed
    problems = [
        problem_of(plain, size, kind, k and first + k, "sum") for k, size in enumerate(SIZES)
    ]
    for problem in problems:
        _plain(problem, laws)
    if "gradients" in laws:
        _gradients(plain, kind, shares, first)
    for problem in problems:
        if "value" in laws and against is not None:
            _value(problem, against)
        if "mean over parts" in laws:
            _parts(problem, len(shares) == 1)
        if "dtype kept" in laws:
            _dtype(problem)
    if "bad input refused" in laws:
        _bad_input(problems[3])
