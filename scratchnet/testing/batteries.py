"""Batteries of checks by kind: `check`, for what a layer, a loss or an optimizer usually is.

Each takes your code as it is, holds it to named laws, hygiene included, and raises an
AssertionError with the smallest counterexample found and the likely bug, or "not recognised". In a
test-suite a call is a test. What they add to `check`: sizes from one number upwards for a class,
the law that a batch is the sum of its samples, and losses held against a known one. Read
`checking.py` next.

>>> class Half:
...     def forward(self, x):
...         return x / 2
...     def backward(self, dy):
...         return dy / 2
>>> check_layer(Half)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import scratchnet.testing.optimizers as optimizers
from scratchnet import layers
from scratchnet.engines import Array, reference
from scratchnet.testing.batches import BATCH_LAWS, check_batches
from scratchnet.testing.checking import examined, readings, undisturbed
from scratchnet.testing.examine import HYGIENE, MUST, CheckSettings, Examination
from scratchnet.testing.failure import LawError, Laws
from scratchnet.testing.naming import same
from scratchnet.testing.optimizers import OPTIMIZER_LAWS
from scratchnet.testing.rules import CLAIMS, claim
from scratchnet.testing.subjects.names import required
from scratchnet.testing.subjects.options import Options, SubjectError
from scratchnet.testing.subjects.own import Candidate
from scratchnet.testing.subjects.subject import Subject

__all__ = [
    "BATCH_LAWS",
    "LAYER_LAWS",
    "LOSS_LAWS",
    "OPTIMIZER_LAWS",
    "Candidate",
    "LawError",
    "check_activation",
    "check_batches",
    "check_layer",
    "check_loss",
    "check_optimizer",
]

__tracebackhide__ = True  # pytest shows the line that called us, and the message

MORE = ("sum over samples", "linear in dY")
LAYER_LAWS = MUST + HYGIENE + MORE
"""Linearity in dY follows from the gradients; its name is kept for `skip`."""
LOSS_LAWS = (*MUST, *HYGIENE, "value", "mean over parts")
SIZES = ((1, 1, 1), (2, 1, 1), (1, 2, 1), (3, 2, 3))
"""(B, I, O) of the first problems, the smallest first."""
GENERAL = ((5, 4, 3), (4, 5, 4), (1, 3, 2))
"""(B, I, O) of the others."""
LOSS_SIZES = ((1, 2), (2, 2), (2, 3), (5, 4), (7, 3))
"""(B, K) of the problems of a loss."""

Rng = np.random.Generator | int | None


def _seed(rng: Rng) -> int:
    return int(rng.integers(2**31)) if isinstance(rng, np.random.Generator) else int(rng or 0)


def _asked(laws: Laws, known: tuple[str, ...]) -> tuple[str, ...]:
    """The laws of `examine.py` to leave out."""
    return tuple(law for law in known if law not in laws)


def _early(laws: Laws) -> tuple[str, ...]:
    """What is left out on the smallest problems: hygiene, but for inputs that are written to."""
    kept = "inputs not written to"
    return (*_asked(laws, (*MUST, kept)), *(law for law in HYGIENE if law != kept))


def check_layer(
    layer: Any,
    input_shape: int | tuple[int] | None = None,
    *,
    columns: bool = False,
    rows_independent: bool = True,
    skip: tuple[str, ...] = (),
    examples: int = 12,
    rng: Rng = 0,
) -> None:
    """Hold a layer to its laws: Y = forward(X), X (B, I), and for any dY the right dX, dW, db.

    Args:
        layer: a class, an instance, or `lambda inputs, outputs: instance`; a scratchnet `Layer`, an
            object with forward(x) and backward(dy), or a `Candidate`.
        input_shape: the features of one sample, for an instance.
        columns: samples stand in columns, (I, B).
        rows_independent: False for layers that look at the whole batch.
        skip: laws not to hold it to, of `LAYER_LAWS`.
        examples: random problems after the small ones.

    Raises:
        LawError: an AssertionError with the law, a small counterexample and the likely bug.
        SubjectError: a TypeError for a layer of a shape that is not understood.

    >>> class Half:
    ...     def forward(self, x):
    ...         return 0.5 * x
    ...     def backward(self, dy):
    ...         return dy
    >>> check_layer(Half)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.testing.failure.LawError: Half breaks the law 'gradients': wrong in 1 of 1 ...
      X = [[1.]]
      dY = [[1.]]
      dX[0, 0] = 1, right: 0.5
      likely bug: not recognised
      remark: right values: complex step, confirmed by central differences
    """
    laws = Laws(LAYER_LAWS, skip if rows_independent else (*skip, "sum over samples"))
    inputs = _features(layer, input_shape)
    general = [GENERAL[k % len(GENERAL)] for k in range(-(-examples // 4))]
    options = Options(input_name="X")

    def relatives() -> list[Subject]:
        sizes = ((b, inputs or i, o) for b, i, o in (*GENERAL, (3, 2, 4), (2, 3, 3)))
        made = [(_of_sizes(layer, i, o), (i, b) if columns else (b, i)) for b, i, o in sizes]
        return _bound(made, options)

    for k, (batch, own, outputs) in enumerate([*SIZES, *general]):
        late = k >= len(SIZES)  # what is right or wrong comes first, on the smallest problems
        asked = _asked(laws, MUST + HYGIENE) if late else _early(laws)
        settings = CheckSettings(seed=_seed(rng) + k, strict=True, skip=asked, columns=columns)
        more = [_sum_over_samples] if late and "sum over samples" in laws and not columns else []
        size = inputs or own
        x = (size, batch) if columns else (batch, size)
        _hold(_of_sizes(layer, size, outputs), x, options, settings, more, relatives)


def _features(layer: Any, shape: int | tuple[int] | None) -> int | None:
    """The features of one sample, where they are fixed; an instance has them fixed."""
    if isinstance(shape, int):
        return shape
    if shape is not None and len(shape) != 1:
        raise ValueError(f"input_shape={shape!r}: expected the features of one sample, (I,).")
    if shape is None and not isinstance(layer, type) and hasattr(layer, "forward"):
        raise SubjectError(
            "check_layer: an instance needs input_shape=, the shape of one sample",
            say="input_shape=, the class itself, or lambda inputs, outputs: YourLayer(...)",
        )
    return None if shape is None else shape[0]


def _bound(made: list[tuple[Any, Any]], options: Options) -> list[Subject]:
    """The first reading of each of these subjects on an input of this shape."""
    found = []
    for subject, x in made:
        try:
            found.append(next(readings(subject, x, options, None, 0))[0])
        except SubjectError:
            continue  # it is not made for this size
    return found


def _of_sizes(layer: Any, inputs: int, outputs: int) -> Any:
    """An instance of a class or factory that takes as many of (inputs, outputs) as it requires."""
    if not isinstance(layer, type) and hasattr(layer, "forward"):
        return layer
    if not callable(layer):
        raise SubjectError(
            f"{type(layer).__name__}: there is no forward",
            looked="a class, an instance, or a function that makes one",
            say="lambda inputs, outputs: YourLayer(...)",
        )
    needed = len(required(layer))
    own = isinstance(layer, type) and issubclass(layer, layers.Layer)
    if needed > 2:
        raise SubjectError(
            f"{layer!r} requires {needed} arguments",
            looked="at most (inputs, outputs)",
            say="an instance with input_shape=, or lambda inputs, outputs: ...",
        )
    sizes = (outputs, inputs) if own or needed == 1 else (inputs, outputs)
    return layer(*sizes[:needed])


def _hold(
    subject: Any,
    x: Any,
    options: Options,
    settings: CheckSettings,
    more: Sequence[Callable[[Examination], None]],
    relatives: Callable[[], list[Subject]],
) -> None:
    with undisturbed():
        examined(subject, x, options, settings, more=more, relatives=relatives)


def _sum_over_samples(examination: Examination) -> None:
    """A batch is its rows: outputs row by row, parameters' gradients added up."""
    subject, point = examination.subject, examination.draws.start
    x = next(iter(subject.inputs), None)
    if x is None or point[x].ndim < 2:
        return
    y = subject.output(point)
    dy = examination.dy(y, 3)
    whole, rows = subject.gradients(point, dy), []
    for i in range(len(point[x])):
        at = point | {x: point[x][i : i + 1]}
        rows.append((subject.output(at), subject.gradients(at, dy[i : i + 1])))
    found = {n: sum(r[1][n] for r in rows[1:]) + rows[0][1][n] for n in subject.parameters}
    found[x] = np.concatenate([r[1][x] for r in rows])
    outputs = np.concatenate([r[0] for r in rows])
    sizes = {n: np.abs(v).max(initial=0) for n, v in whole.items()}
    apart = [n for n, v in found.items() if np.abs(v - whole[n]).max(initial=0) > 1e-9 * sizes[n]]
    if apart or not same({"Y": outputs}, {"Y": y}):
        what = "a batch is not the sum of its samples (rows_independent=False allows that)"
        raise LawError(subject.name, "sum over samples", what, {**point, "dY": dy})


def check_activation(
    f: Callable[..., Any],
    df: Callable[..., Any],
    *,
    fed: str = "input",
    skip: tuple[str, ...] = (),
    rng: Rng = 0,
) -> None:
    """Hold an activation A = f(Z) and its derivative to the laws of a layer without parameters.

    Args:
        df: `df(Z)`, the derivative entry by entry; or `df(dA, Z)` or `df(dA, Z, A)`, giving dZ.
        fed: `"output"` for a `df(A)` that wants f(Z), such as a (1 - a) for the sigmoid.
        skip: laws not to hold it to; `"slope at 0"` asks ReLU'(0) = 0, `"finite far out"` a finite
            f and df at -1000 and 1000.

    Raises:
        LawError: as `check_layer`.

    >>> check_activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2)
    >>> check_activation(np.tanh, lambda z: 1 - z**2)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.testing.failure.LawError: tanh breaks the law 'gradients': wrong in 1 of 1 ...
      ...
      likely bug: looks like "tanh' of Z": dZ = dA (1 - Z^2): ...
      remark: right values: complex step, confirmed by central differences
    """
    if fed not in ("input", "output"):
        raise ValueError(f"fed={fed!r}: expected 'input' or 'output'.")
    laws = Laws(LAYER_LAWS, skip)
    shapes = ((1, 1), (2, 2), (3, 4), (5, 3))
    options = Options(fed=fed, input_name="X", activation=True)

    def relatives() -> list[Subject]:
        return _bound([((f, df), shape) for shape in shapes], options)

    for k, shape in enumerate(shapes):
        asked = _asked(laws, MUST + HYGIENE) if k else _early(laws)
        settings = CheckSettings(seed=_seed(rng) + k, strict=True, skip=asked)
        _hold((f, df), shape, options, settings, [], relatives)


# --- losses ---------------------------------------------------------------------------------------

KNOWN: dict[str, Callable[[Array, Array], Array]] = {
    "softmax_cross_entropy": lambda p, t: reference.softmax_cross_entropy(p, t)[0],
    "cross_entropy": lambda p, t: -np.sum(t * np.log(p), axis=-1),
    "mean_squared_error": lambda p, t: np.mean((p - t) ** 2, axis=-1),
    "squared_error": lambda p, t: np.sum((p - t) ** 2, axis=-1),
    "binary_cross_entropy": lambda p, t: -np.sum(t * np.log(p) + (1 - t) * np.log(1 - p), axis=-1),
}
"""Losses of a sample that `against` may name."""


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
        targets: `"onehot"`, `"labels"`, `"numbers"`, or `"auto"`: what it takes.
        targets_first: whether the targets are the first argument; by default that is read from its
            name (y_true, target, actual, label, t, y).
        against: a loss of `KNOWN` that the value should be, such as `"softmax_cross_entropy"`.
        skip: laws not to hold it to, of `LOSS_LAWS`.
        seed: another one draws other random problems.

    Raises:
        LawError: an AssertionError with the law, a small counterexample and the likely bug.
        SubjectError: a TypeError for a loss of a shape that is not understood.

    >>> def mse(p, t):
    ...     return np.mean((p - t) ** 2)
    >>> check_loss((mse, lambda p, t: 2 * (p - t) / p.size))
    >>> check_loss((mse, lambda p, t: (p - t) / p.size))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.testing.failure.LawError: mse breaks the law 'gradients': wrong in 1 of 2 ...
      p = [[1. 1.]]
      t = [[0. 1.]]
      dp[0, 0] = 0.5, right: 1
      ...
    """
    laws = Laws(LOSS_LAWS, skip)
    if against is not None and against not in KNOWN:
        raise ValueError(f"against={against!r}: expected one of {', '.join(KNOWN)}.")
    if targets not in ("auto", "onehot", "labels", "numbers"):
        raise ValueError(f"targets={targets!r}: expected 'auto', 'onehot', 'labels' or 'numbers'.")
    options = Options(targets=None if targets == "auto" else targets, targets_first=targets_first)
    more: list[Callable[[Examination], None]] = []
    if "value" in laws and against is not None:
        more.append(lambda examination: _value(examination, str(against)))
    if "mean over parts" in laws:
        more.append(_parts)
    if "bad input refused" in laws:
        more.append(_longer)

    def relatives() -> list[Subject]:
        return _bound([(loss, shape) for shape in LOSS_SIZES[1:]], options)

    for k, shape in enumerate(LOSS_SIZES):
        settings = CheckSettings(
            seed=seed + k, strict=True, skip=(*_asked(laws, MUST + HYGIENE), "finite far out")
        )
        _hold(loss, shape, options, settings, more, relatives)


def _predictions(examination: Examination) -> tuple[Array, Array, str]:
    subject = examination.subject
    name = next(iter(subject.inputs))
    return examination.draws.start[name], np.asarray(subject.given[subject.style.targets[0]]), name


def _value(examination: Examination, against: str) -> None:
    """The value is that of a known loss, up to the reduction: mean or sum over B, or over B K."""
    p, t, name = _predictions(examination)
    t = t if t.ndim == 2 else np.eye(p.shape[1])[t]
    value = float(np.sum(examination.subject.output({name: p})))

    def fits(losses: Array) -> bool:
        total = float(np.sum(losses))
        options = (total, total / len(p), total / p.size)
        return any(abs(value - option) <= 1e-9 * abs(option) for option in options)

    if fits(KNOWN[against](p, t)):
        return
    soft = reference.softmax
    twice = against == "softmax_cross_entropy" and fits(KNOWN[against](soft(p), t))
    shown = {"p": p, "t": t, "loss": value, "mean expected": np.mean(KNOWN[against](p, t))}
    bug = "double softmax" if twice else None
    raise LawError(examination.subject.name, "value", f"it is not the {against}", shown, bug)


def _parts(examination: Examination) -> None:
    """The loss of a batch is the mean, or the sum, of its samples'."""
    subject = examination.subject
    p, t, name = _predictions(examination)
    if subject.output({name: p}).ndim or len(t) != len(p):
        return
    each = []
    for i in range(len(p)):
        row = subject.copy()
        row.given = [a[i : i + 1] if isinstance(a, np.ndarray) else a for a in subject.given]
        each.append(float(row.output({name: p[i : i + 1]})))
    value, total, size = float(subject.output({name: p})), sum(each), sum(map(abs, each))
    if min(abs(value - total), abs(value - total / len(each))) > 1e-12 * size:
        shown = {"p": p, "t": t, "loss": value, "losses of the rows": np.array(each)}
        what = "a batch's loss is neither the mean nor the sum of its samples'"
        raise LawError(subject.name, "mean over parts", what, shown)


def _longer(examination: Examination) -> None:
    """More predictions than targets are refused."""
    subject = examination.subject
    p, t, name = _predictions(examination)
    if len(p) < 2:
        return
    long = np.concatenate([p, p[:1]])
    try:
        subject.output({name: long})
    except Exception:
        return
    what = "more predictions than targets are taken without an error"
    raise LawError(subject.name, "bad input refused", what, {"p": long, "t": t})


# --- optimizers -----------------------------------------------------------------------------------


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
        optimizer: an instance, or a class or function that makes one without arguments, in any form
            of `subjects/steppers.py`.
        rule: what it should follow: `"adam"`, `"sgd"` (with momentum and Nesterov's), `"rmsprop"`
            and others of `rules.CLAIMS`, or `"other"` for the laws alone; by default what its
            class's name says, else whatever its moves show.
        skip: laws not to hold it to, of `OPTIMIZER_LAWS`.
        seed: another one draws other random gradients.
        numbers: learning_rate, beta_1, beta_2 and others that it should have.

    Raises:
        LawError: an AssertionError with the law, the first wrong step and the likely bug.
        SubjectError: a TypeError for an optimizer whose form is not understood.

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
    scratchnet.testing.failure.LawError: Sgd breaks the law 'steps': it should be sgd, and is
    momentum as a moving average (lr 0.5, mu 0.9)
      likely bug: looks like 'momentum scaled twice': u = mu u - (1 - mu) lr g: ...
    """
    if rule not in (None, "other", *CLAIMS):
        known = ", ".join(map(repr, CLAIMS))
        raise ValueError(f"rule={rule!r}: expected {known} or 'other'.")
    with undisturbed():
        optimizers.examine(
            optimizer,
            rule=rule or _said(optimizer),
            seed=seed,
            strict=True,
            skip=skip,
            numbers=numbers,
        )


def _said(optimizer: Any) -> str | None:
    """What the class of an optimizer says that it is: of these two the plain forms are meant."""
    name = optimizer.__name__ if isinstance(optimizer, type) else type(optimizer).__name__
    found = claim(name)
    return found if found in ("sgd", "momentum", "nesterov", "adam") else None
