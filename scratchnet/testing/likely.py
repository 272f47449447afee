"""The likely bug behind wrong gradients: what is known to go wrong, computed and compared.

The code is asked on several random problems with batches of several sizes. What its forward
computes is recognised if it can be (`known/`); then every known slip, and what common slips make of
any tensor, is computed on the same problems. A name is given if one, and only one, explains them
all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from scratchnet import gradcheck
from scratchnet.engines import Array
from scratchnet.testing.known import dense, functions, layers, recurrent, spatial
from scratchnet.testing.known.layers import Case, Known
from scratchnet.testing.known.stops import Point, Stops
from scratchnet.testing.naming import Evidence, LikelyBug, recognise, same, transforms
from scratchnet.testing.shrinking import first_rows
from scratchnet.testing.subjects.subject import Subject
from scratchnet.testing.values import conformed, right_gradients, wide

KINDS: tuple[Callable[[Case, Point, Array], Iterator[Known]], ...] = (
    *(dense.dense, layers.norms, layers.root_mean_square, layers.weight_norm, layers.dropout),
    *(layers.embedding, spatial.convolution, spatial.pooling, recurrent.cells),
    *(recurrent.sequences, layers.softmax_attention),
)
MOST = 240
"""Problems of more entries are not computed whole, and get no name."""


class Asked(NamedTuple):
    """One problem: what was given, and what is right there."""

    subject: Subject
    point: Point
    dy: Array
    got: Point
    right: Point
    y: Array
    exact: bool
    """Whether the right values are the complex step's, and not central differences."""


def likely_bug(
    subject: Subject, point: Point, dy: Array, relatives: Sequence[Subject] = ()
) -> LikelyBug:
    """The one known bug that explains this point and others, or none.

    Args:
        relatives: the same code bound to arrays of other sizes.
    """
    problems = list(asked(subject, point, dy, relatives))
    if not problems or len(problems[0].point) == 0:
        return LikelyBug()
    known = recognised(problems)
    evidence, alias = list[Evidence](), dict[str, str]()
    extra = {} if known is None or known.solve is None else known.solve(*_largest(problems)[1:4])
    suspects = {
        name
        for one in problems
        for name in one.right
        if not same({name: one.got[name]}, {name: one.right[name]}, 1e-8)
    }
    nominal, activations = nominal_size(problems), shown(problems)
    alias |= {name: name.split("|")[0] for a in activations for name in a.slips}
    for one in problems:
        variants = generic(one, alias, suspects)
        if known is not None:
            slips = dict(known.slips) | extra
            for name, wrong in slips.items():
                with np.errstate(all="ignore"):
                    variants[name] = {**one.right, **wrong(one.point | indices(one), one.dy)}
                alias[name] = name.split("|")[0]
        variants |= elementwise(one, activations)
        if not one.subject.takes_dy:
            variants |= of_the_loss(one, nominal)
        evidence.append(Evidence(one.right, one.got, variants))
    tolerance = 1e-9 if all(one.exact for one in problems) else 3e-6
    found = recognise(evidence, alias | preferred(problems, known), tolerance)
    return LikelyBug(found or of_losses(problems))


def _largest(problems: list[Asked]) -> Asked:
    return max(problems, key=lambda one: one.y.size)


# --- problems -------------------------------------------------------------------------------------


def asked(
    subject: Subject, point: Point, dy: Array, relatives: Sequence[Subject]
) -> Iterator[Asked]:
    """The point itself, and random ones with fewer and more samples, as far as they are small."""
    rng = np.random.default_rng(7)
    whole = subject.whole or subject
    others = [_random(one, rng) for one in relatives] or [_random(whole, rng)]
    for other, at in itertools.chain([(subject, point)], *others):
        if sum(value.size for value in at.values()) > MOST:
            continue
        try:
            y = other.output(at)
            here = dy if other is subject and at is point else _dy(other, y, rng)
            got = conformed(other.gradients(at, here), at)
            right, method = right_gradients(other, at, here, got)
        except Exception:  # it takes no such problem: fewer are asked
            continue
        if all(np.isfinite(value).all() for value in right.values()):
            exact = method.startswith("complex")
            yield Asked(other, at, here, got, right, wide(y), exact)


def _dy(subject: Subject, y: Array, rng: np.random.Generator) -> Array:
    if not subject.takes_dy:
        return np.full(y.shape, 1.0 / subject.share)
    return np.asarray(rng.normal(size=y.shape))


def _random(subject: Subject, rng: np.random.Generator) -> Iterator[tuple[Subject, Point]]:
    start = subject.last_point or subject.start()
    samples = subject.samples()
    for rows in dict.fromkeys(n for n in (samples, 3, 2, samples - 1) if 1 <= n <= samples):
        other, at = first_rows(subject, start, rows) if rows < samples else (subject, start)
        drawn = {name: _redrawn(value, rng) for name, value in at.items()}
        yield other, drawn
        if len(drawn) == 1 and subject.takes_dy:  # an activation, perhaps with an upper bound
            yield other, {name: 6 * value for name, value in drawn.items()}


def _redrawn(value: Array, rng: np.random.Generator) -> Array:
    if value.size and np.all(value > 0):
        top = 1.0 if np.all(value < 1) else 3.0
        return np.asarray(rng.uniform(0.1 * top, 0.9 * top, value.shape))
    return np.asarray(rng.normal(size=value.shape))


def recognised(problems: list[Asked]) -> Known | None:
    """The reference forward that gives every problem's output."""
    first = _largest(problems)
    case = Case(
        tuple(first.subject.inputs),
        tuple(first.subject.parameters),
        tuple(indices(first)),
    )
    for kind in KINDS:
        for known in kind(case, first.point | indices(first), first.y):
            if all(_gives(known, one) for one in (first, *problems)):
                return known
    return None


def indices(one: Asked) -> Point:
    """The integer arguments of forward, under names of their own."""
    given = enumerate(one.subject.given)
    ints = [(at, a) for at, a in given if isinstance(a, np.ndarray) and a.dtype.kind in "iu"]
    return {f"argument {at}": array for at, array in ints}


def _gives(known: Known, one: Asked) -> bool:
    with np.errstate(all="ignore"):
        try:
            y = known.forward(one.point | indices(one), Stops())
        except (ValueError, IndexError, KeyError):
            return False
    if y.size != one.y.size:
        return False
    return same({"y": y.reshape(one.y.shape)}, {"y": one.y}, 1e-9)


# --- what common slips make of any tensor ---------------------------------------------------------


def generic(one: Asked, alias: dict[str, str], suspects: set[str]) -> dict[str, Point]:
    """name -> gradients, for every tensor that a common slip could have spoiled."""
    right, subject = one.right, one.subject
    inputs = [n for n in subject.inputs if n in right]
    samples = subject.samples()
    learned = [n for n in right if n not in inputs[:1]]
    made: dict[str, Point] = {}
    for name, value in right.items():
        parts = _parts(one, name, samples) if name in suspects and name in learned else []
        made[name] = transforms(value, parts, one.dy if name not in learned else None)
        made[name] |= {"factor B too large": value * samples, "factor B too small": value / samples}
        if parts:
            made[name]["last sample dropped"] = value - parts[-1]
        elif name not in learned:
            made[name]["last sample dropped"] = _without_last(value, subject.columns)
    found = {
        f"{n}: {kind}": {**right, n: v} for n, kinds in made.items() for kind, v in kinds.items()
    }
    if len(right) > 1:
        for kind in set.intersection(*(set(kinds) for kinds in made.values())):
            found[f"every gradient: {kind}"] = {n: made[n][kind] for n in right}
        for group, names in (("every parameter", learned), ("inputs", inputs)):
            if 1 < len(names) < len(right):
                for kind in set.intersection(*(set(made[n]) for n in names)):
                    found[f"{group}: {kind}"] = right | {n: made[n][kind] for n in names}
    alias.update(
        {key: "last sample dropped" for key in found if key.endswith("last sample dropped")}
    )
    return found


def _without_last(value: Array, columns: bool) -> Array:
    cut = value.copy()
    if value.ndim > 1 and not columns:
        cut[-1] = 0
    return cut


def _parts(one: Asked, name: str, samples: int) -> list[Array]:
    """What each sample contributes to the right gradient of an array; [] where that takes long."""
    y, array = one.y, one.point[name]
    axis = y.ndim - 1 if one.subject.columns else 0
    if y.ndim == 0 or y.shape[axis] != samples or (not one.exact and samples * array.size > 60):
        return []
    found = []
    for i in range(samples):
        shape = [samples if a == axis else 1 for a in range(y.ndim)]
        mask = (np.arange(samples) == i).astype(float).reshape(shape)

        def value(at: Array, mask: Array = mask, alike: bool = False) -> Any:
            point = {
                key: own.astype(np.result_type(own, at)) if alike and own.dtype.kind == "f" else own
                for key, own in one.point.items()
            }
            return np.sum(one.dy * mask * wide(one.subject.output(point | {name: at})))

        if not one.exact:
            found.append(gradcheck.central_difference(value, array))
            continue
        try:
            found.append(gradcheck.complex_step(value, array))
        except ValueError:  # an in-place sum takes no complex addend: then all arrays are complex
            found.append(gradcheck.complex_step(partial(value, alike=True), array))
    return found


def shown(problems: list[Asked]) -> list[functions.KnownActivation]:
    """The known activations that give every problem's output, entry by entry."""
    pairs = []
    for one in problems:
        if one.subject.parameters or len(one.subject.inputs) != 1:
            return []
        (x,) = one.subject.inputs
        if one.point[x].shape != one.y.shape:
            return []
        pairs.append((one.point[x].ravel(), one.y.ravel()))
    z, y = (np.concatenate(group) for group in zip(*pairs, strict=True))
    with np.errstate(all="ignore"):
        return [
            activation
            for activation in functions.activations()
            if z.max() > activation.top and same({"y": y}, {"y": activation.f(z)})
        ]


def elementwise(one: Asked, activations: list[functions.KnownActivation]) -> dict[str, Point]:
    """The wrong slopes of the activations that the output shows."""
    found: dict[str, Point] = {}
    for activation in activations:
        (x,) = one.point
        for name, slope in activation.slips.items():
            with np.errstate(all="ignore"):
                found[name] = {x: one.dy * slope(one.point[x], one.y)}
    return found


def of_the_loss(one: Asked, nominal: float) -> dict[str, Point]:
    """What slips of a loss make of its gradient by the predictions."""
    x = next(iter(one.subject.inputs), None)
    if x is None or len(one.point) != 1:
        return {}
    right, p = one.right[x], one.point[x]
    found = {}
    if p.ndim == 2:
        found[f"{x}: factor K too large"] = {x: right * p.shape[1]}
        found[f"{x}: factor K too small"] = {x: right / p.shape[1]}
    targets = [one.subject.given[at] for at in one.subject.style.targets]
    if targets and isinstance(targets[0], np.ndarray) and p.ndim == 2:
        t = targets[0]
        t = np.eye(p.shape[1])[t.reshape(-1)] if t.dtype.kind in "iu" else t
        if t.shape == p.shape:
            found["only the true class"] = {x: right * (t != 0)}
            if not _proportional(p - t, right):
                found[f"{x}: p - t"] = {x: p - t}
                found[f"{x}: p - t / B"] = {x: (p - t) / len(p)}
    if nominal:
        found["nominal batch size"] = {x: right * len(p) / nominal}
    return found


def _proportional(one: Array, other: Array) -> bool:
    c = float(np.vdot(one, other) / max(float(np.vdot(one, one)), 1e-300))
    return bool(np.allclose(c * one, other, rtol=1e-9, atol=1e-12))


def nominal_size(problems: list[Asked]) -> float:
    """The c of a gradient that is divided by c instead of B, from the first problem; 0 for none."""
    one = problems[-1]
    x = next(iter(one.subject.inputs), None)
    if x is None or one.subject.takes_dy or not np.any(one.got[x]):
        return 0.0
    right, got = one.right[x], one.got[x]
    c = len(right) * float(np.vdot(right, right) / np.vdot(right, got))
    return c if abs(c) > 2 + 1e-6 else 0.0  # dividing by 1 or 2 has names of its own


# --- which of several descriptions is the name ----------------------------------------------------

OF_LOSSES = {
    "factor B too large": "missing mean",
    "factor B too small": "averaged twice",
    "sign": "sign",
    "factor 2 too small": "half the square",
    "factor K too large": "sum over outputs",
}


def preferred(problems: list[Asked], known: Known | None) -> dict[str, str]:
    """Descriptions of single tensors that are the museum's bugs."""
    one = problems[-1]
    subject, found = one.subject, dict[str, str]()
    arrays = [n for n in one.point if n in subject.parameters or n in list(subject.inputs)[1:]]
    if not subject.takes_dy and len(subject.inputs) == 1 and not subject.parameters:
        (x,) = subject.inputs
        names = {f"{x}: {kind}": name for kind, name in OF_LOSSES.items()}
        return names | {f"{x}: p - t / B": f"{x}: p - t"}
    for name in arrays:
        if one.point[name].ndim == 2 and min(one.point[name].shape) > 1:
            found[f"{name}: transposed"] = "dW transposed"
        elif one.point[name].ndim <= 2:
            found[f"{name}: first sample"] = "bias of one sample"
            found[f"{name}: factor B too small"] = "mean bias"
            found[f"{name}: one for all"] = "one bias for all"
    if known is not None and len(one.point) == 1 and known.slips:
        (x,) = one.point
        forgotten = [
            n for n in ("relu passes everything", "sigmoid' forgotten") if n in known.slips
        ]
        found |= {f"{x}: dY": n for n in forgotten[:1]}
    slope = ["slope forgotten", "mask forgotten", "masks forgotten", "relu passes everything"]
    here = {name for activation in shown(problems) for name in activation.slips}
    here |= set() if known is None else set(known.slips)
    if len(one.point) == 1:
        (x,) = one.point
        for name in slope:
            if name in here:
                found.setdefault(f"{x}: dY", name)
    return found


def of_losses(problems: list[Asked]) -> str | None:
    """Slips of losses and of models with a loss, which take a constant that only they know."""
    if problems[0].subject.takes_dy:
        return None
    with np.errstate(all="ignore"):
        found = {name for name, explains in LOSS_SLIPS.items() if explains(problems)}
    return found.pop() if len(found) == 1 else None


def _penalty(problems: list[Asked]) -> list[tuple[int, float]]:
    """(samples, c) where the parameters' gradients are off by c times the parameters; [] if not."""
    found = []
    for one in problems:
        names = [
            n for n in one.subject.parameters if not same({n: one.got[n]}, {n: one.right[n]}, 1e-8)
        ]
        inputs = [n for n in one.point if n not in one.subject.parameters]
        if not names or any(not same({n: one.got[n]}, {n: one.right[n]}, 1e-6) for n in inputs):
            return []
        W = np.concatenate([one.point[n].ravel() for n in names])
        off = np.concatenate([(one.got[n] - one.right[n]).ravel() for n in names])
        c = float(np.vdot(W, off) / np.vdot(W, W))
        if np.max(np.abs(off - c * W)) > 1e-6 * np.max(np.abs(off)):
            return []
        found.append((_samples(one), c))
    return found


def _samples(one: Asked) -> int:
    return next((len(a) for a in one.subject.given if isinstance(a, np.ndarray) and a.ndim > 1), 1)


def _strength(one: Asked) -> float:
    """The c of a penalty c |W|^2 / 2 in the loss: its slope far out along one array, over |W|."""
    names = list(one.subject.parameters) or list(one.point)
    name = max(names, key=lambda n: np.sum(one.got[n] != one.right[n]) and one.point[n].size)
    W, far, h = one.point[name], 1e7, 1e-3

    def value(t: float) -> float:
        return float(np.sum(one.subject.output(one.point | {name: t * W})))

    slope = (value(far * (1 + h)) - value(far * (1 - h))) / (2 * h * far)
    return slope / (far * float(np.vdot(W, W)))


def _penalty_times(factor: Callable[[int], float]) -> Callable[[list[Asked]], bool]:
    """Whether gradients are off by this many times the penalty's, for every number of samples."""

    def explains(problems: list[Asked]) -> bool:
        found = _penalty(problems)
        told = [
            (factor(n), c / _strength(one)) for (n, c), one in zip(found, problems, strict=False)
        ]
        return bool(found) and all(abs(c - f) <= 1e-2 * abs(f) for f, c in told)

    return explains


def _class_weights(problems: list[Asked]) -> bool:
    """Each row is the right one divided by the weight of its label."""
    told = 0
    for one in problems:
        rows = [np.asarray(one.got[n]) / one.right[n] for n in one.subject.inputs]
        labels = [
            a for a in one.subject.given if isinstance(a, np.ndarray) and a.dtype.kind in "iu"
        ]
        weights = [np.asarray(w) for w in one.subject.constants()]
        if not rows or not labels or rows[0].ndim != 2 or len(labels[0]) != len(rows[0]):
            return False
        ratio = rows[0]
        if not np.allclose(ratio, ratio[:, :1], rtol=1e-6):
            return False
        fits = [
            w[labels[0].ravel()] * ratio[:, 0]
            for w in weights
            if w.ndim == 1 and w.size > labels[0].max()
        ]
        if not any(np.allclose(f, f[0], rtol=1e-6) for f in fits):
            return False
        told += not np.allclose(ratio, 1)
    return told > 0


def _square(problems: list[Asked]) -> bool:
    """The gradient is that of every prediction held against every target."""
    told = 0
    for one in problems:
        p = next(iter(one.point.values())).ravel()
        t = next(
            (
                np.ravel(a)
                for i, a in enumerate(one.subject.given)
                if i in one.subject.style.targets
            ),
            None,
        )
        if t is None or len(t) != len(p) or len(p) < 2:
            continue
        pairs = np.sum(p[:, None] - t[None, :], axis=1)
        got = next(iter(one.got.values())).ravel()
        ratio = got / pairs
        if not np.allclose(ratio, ratio[0], rtol=1e-6):
            return False
        told += not same(one.got, one.right)
    return told > 1


LOSS_SLIPS: dict[str, Callable[[list[Asked]], bool]] = {
    "L2 forgotten": _penalty_times(lambda samples: -1.0),
    "L2 subtracted": _penalty_times(lambda samples: -2.0),
    "L2 a sample": _penalty_times(lambda samples: samples - 1.0),
    "class weights forgotten": _class_weights,
    "broadcast to a square": _square,
}
