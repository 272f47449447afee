"""Reference forwards of layers, each with its paths marked and its slips named.

`read` looks at a point and its output and yields the forwards that this kind of layer may be there:
which array plays which role is told by its shape, and a forward only counts if it gives the output.
Read `stops.py` for how a marked path becomes a slip.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.known.stops import Forward, Point, Stops, gradient_of

Wrong = Callable[[Point, Array], Point]
"""(point, dY) -> the gradients that a slip gets wrong."""


class Case(NamedTuple):
    """What a layer is seen to be: the names of its inputs, parameters, and integer arguments."""

    inputs: tuple[str, ...]
    learned: tuple[str, ...]
    indices: tuple[str, ...] = ()


class Known(NamedTuple):
    """A forward, and what each slip makes of its gradient."""

    forward: Forward
    slips: dict[str, Wrong]
    solve: Callable[[Point, Array, Point], dict[str, Wrong]] | None = None
    """Slips with a constant of their own, found from what one problem gave."""


def stopped(forward: Forward, **slips: tuple[str, ...]) -> dict[str, Wrong]:
    """Slips that freeze paths of a forward; a space stands for each underscore of a name."""

    def wrong(frozen: tuple[str, ...]) -> Wrong:
        return lambda point, dy: gradient_of(forward, point, dy, frozen)

    return {name.replace("_", " "): wrong(frozen) for name, frozen in slips.items()}


EPSILONS = (1e-5, 1e-8, 1e-2, 1e-7, 1e-6, 1e-3, 1e-12, 1e-10, 1e-4, 1e-15, 0.0)


def norms(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """gamma (x - mean) / std + beta over any axes, with or without gamma and beta; x / norm."""
    if len(case.inputs) == 0 or point[case.inputs[0]].shape != y.shape:
        return
    x = case.inputs[0]
    rest = [*case.inputs[1:], *case.learned]
    axes = [
        (0,),
        (-1,),
        *itertools.combinations(range(y.ndim), max(y.ndim - 1, 1)),
        *_inner(y.ndim),
    ]
    for roles in itertools.permutations(rest, min(len(rest), 2)):
        gamma, beta = (*roles, None, None)[:2]
        if len(rest) > 2:
            return
        for axis, eps, inside in itertools.product(dict.fromkeys(axes), EPSILONS, (True, False)):
            yield _norm(x, gamma, beta, axis, eps, inside, len(rest))
    if not rest:
        for axis, eps in itertools.product(((-1,), (0,), tuple(range(1, y.ndim))), EPSILONS):
            yield _unit(x, axis, eps)


def _inner(ndim: int) -> list[tuple[int, ...]]:
    return [tuple(range(1, ndim))] + ([tuple(range(2, ndim))] if ndim > 2 else [])


def _norm(
    x: str,
    gamma: str | None,
    beta: str | None,
    axis: tuple[int, ...],
    eps: float,
    inside: bool,
    n: int,
) -> Known:
    def parts(p: Point, stop: Stops) -> tuple[Array, Array]:
        mean = stop("mean", np.mean(p[x], axis=axis, keepdims=True))
        variance = stop("variance", np.mean((p[x] - np.mean(p[x], axis=axis, keepdims=True)) ** 2,
                                            axis=axis, keepdims=True))  # fmt: skip
        std = np.sqrt(variance + eps) if inside else np.sqrt(variance) + eps
        return p[x] - mean, std

    def scaled(p: Point, name: str | None, like: Array) -> Any:
        return 0.0 if name is None else _spread(p[name], like, axis)

    def forward(p: Point, stop: Stops) -> Array:
        centred, std = parts(p, stop)
        unit = centred / std
        scale = 1.0 if gamma is None else _spread(p[gamma], unit, axis)
        return scale * unit + scaled(p, beta, unit)

    slips = stopped(
        forward,
        variance_constant=("variance",),
        mean_constant=("mean",),
        statistics_constant=("mean", "variance"),
    )
    if gamma is not None:
        bare = forward

        def unscaled(p: Point, stop: Stops) -> Array:
            return bare(p | {gamma: np.ones_like(p[gamma])}, stop)

        slips["scale left out"] = lambda p, dy: {x: gradient_of(unscaled, p, dy)[x]}
        slips["gamma of raw x"] = lambda p, dy: {gamma: _shrunk(dy * p[x], p[gamma], axis)}
    return Known(forward, slips)


def _spread(value: Array, like: Array, axis: tuple[int, ...]) -> Array:
    """gamma as it multiplies: one for each entry that is not averaged over, or of the last axis."""
    last = like.ndim - 1 in {a % like.ndim for a in axis}
    if last and value.shape == like.shape[-1:]:
        return np.broadcast_to(value, like.shape)
    kept = [1 if a in {b % like.ndim for b in axis} else n for a, n in enumerate(like.shape)]
    if value.size == int(np.prod(kept)):
        return value.reshape(kept)
    return np.broadcast_to(value, like.shape)


def _shrunk(terms: Array, like: Array, axis: tuple[int, ...]) -> Array:
    total = np.sum(terms, axis=axis)
    return (
        total.reshape(like.shape)
        if total.size == like.size
        else np.sum(terms, axis=0).reshape(like.shape)
    )


def _unit(x: str, axis: tuple[int, ...], eps: float) -> Known:
    def forward(p: Point, stop: Stops) -> Array:
        norm = stop("norm", np.sqrt(np.sum(p[x] ** 2, axis=axis, keepdims=True)))
        return p[x] / (norm + eps)

    return Known(forward, stopped(forward, norm_constant=("norm",)))


def root_mean_square(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """g x / sqrt(mean x^2 + eps)."""
    if len(case.inputs) != 1 or len(case.learned) > 1 or point[case.inputs[0]].shape != y.shape:
        return
    x, g = case.inputs[0], next(iter(case.learned), None)
    for eps in EPSILONS:

        def forward(p: Point, stop: Stops, eps: float = eps) -> Array:
            root = stop("norm", np.sqrt(np.mean(p[x] ** 2, axis=-1, keepdims=True) + eps))
            return p[x] / root * (1.0 if g is None else p[g])

        yield Known(forward, stopped(forward, norm_constant=("norm",)))


def weight_norm(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """x (g V / |V|) + b."""
    arrays = [*case.inputs[1:], *case.learned]
    if not case.inputs:
        return
    for V in (n for n in arrays if point[n].ndim == 2):
        flat = [n for n in arrays if n != V]
        for roles in itertools.permutations(flat, min(len(flat), 2)):
            g, b = (*roles, None, None)[:2]
            for axis in (0, 1):
                yield _weight_norm(case.inputs[0], V, g, b, axis)


def _weight_norm(x: str, V: str, g: str | None, b: str | None, axis: int) -> Known:
    def forward(p: Point, stop: Stops) -> Array:
        norm = stop("norm", np.sqrt(np.sum(p[V] ** 2, axis=axis, keepdims=True)))
        scale = 1.0 if g is None else p[g].reshape(norm.shape)
        W = scale * p[V] / norm
        z = p[x] @ (W if axis == 0 else W.T)
        return z + (0 if b is None else p[b].reshape(1, -1))

    return Known(forward, stopped(forward, norm_constant=("norm",)))


def dropout(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """x mask / keep: the mask is read from the output, as the random numbers are the same."""
    if len(case.inputs) != 1 or case.learned or point[case.inputs[0]].shape != y.shape:
        return
    (x,) = case.inputs
    with np.errstate(all="ignore"):
        factor = y / point[x]
    kept = factor[np.abs(factor) > 1e-12]
    if not kept.size or not np.allclose(kept, kept[0]) or kept.size == factor.size:
        return
    mask, c = np.abs(factor) > 1e-12, float(kept[0])

    def cut(p: Point) -> Array:
        return mask[: len(p[x])]  # fewer samples take the first of the same random numbers

    slips: dict[str, Wrong] = {
        "mask forgotten": lambda p, dy: {x: dy},
        "mask forgotten|scaled": lambda p, dy: {x: c * dy},
    }
    if abs(c - 1) > 1e-9:
        slips["keep rate forgotten"] = lambda p, dy: {x: dy * cut(p)}
    yield Known(lambda p, stop: p[x] * cut(p) * c, slips)


def embedding(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """W[i] for integers i."""
    tables = [n for n in (*case.learned, *case.inputs) if point[n].ndim == 2]
    for i, W in itertools.product(case.indices, tables):

        def overwritten(p: Point, dy: Array, i: str = i, W: str = W) -> Point:
            dW = np.zeros_like(p[W])
            dW[p[i]] = dy.reshape(*p[i].shape, -1)
            return {W: dW}

        def forward(p: Point, stop: Stops, i: str = i, W: str = W) -> Array:
            return p[W][p[i]]

        yield Known(forward, {"repeated rows overwritten": overwritten})


def softmax_attention(case: Case, point: Point, y: Array) -> Iterator[Known]:
    """softmax(Q K^T / sqrt(d)) V."""
    arrays = [n for n in case.inputs if point[n].ndim >= 2]
    if len(arrays) != 3:
        return
    for Q, K, V in itertools.permutations(arrays):

        def forward(p: Point, stop: Stops, Q: str = Q, K: str = K, V: str = V) -> Array:
            return _attention(p[Q], p[K], p[V], stop)

        def unscaled(p: Point, dy: Array, Q: str = Q, K: str = K, f: Forward = forward) -> Point:
            right = gradient_of(f, p, dy)
            factor = np.sqrt(p[Q].shape[-1])
            return {Q: right[Q] * factor, K: right[K] * factor}

        slips = stopped(forward, attention_weights_constant=("weights",))
        yield Known(forward, slips | {"attention scale forgotten": unscaled})


def _attention(q: Array, k: Array, v: Array, stop: Stops) -> Array:
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    e = np.exp(scores - np.max(scores.real, axis=-1, keepdims=True))
    return stop("weights", e / np.sum(e, axis=-1, keepdims=True)) @ v
