"""How large a gradient's terms are before they cancel: the scale S that rounding is measured by.

A backward pass adds terms of both signs, and what rounding does is in proportion to the terms, not
to their sum: after training, p - 1 is tiny while p and 1 are not, and a correct gradient's relative
error reaches 5e-3. S is what both passes give when every minus is a plus and every array its
absolute value; a correct gradient g in float64 obeys |g - exact| <= 1e-12 S. The way forward counts
too: where outputs cancel, two BLAS kernels already disagree about them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from scratchnet.engines import Activation, Array
from scratchnet.engines.reference import ENGINE
from scratchnet.inputs import Data
from scratchnet.layers import Layer, Params
from scratchnet.model import Network, Stage

# --- derivatives with every minus a plus ----------------------------------------------------------


def _sigmoid(dA: Array, Z: Array, A: Array) -> Array:
    return dA * A * (1 + A)


def _tanh(dA: Array, Z: Array, A: Array) -> Array:
    return dA * (1 + A * A)


def _softmax(dA: Array, Z: Array, A: Array) -> Array:
    return A * (dA + np.sum(dA * A, axis=-1, keepdims=True))


CURVED = {"sigmoid": _sigmoid, "tanh": _tanh, "softmax": _softmax}
MAGNITUDE = replace(
    ENGINE,
    name="magnitude",
    activations={
        name: Activation(a.forward, CURVED.get(name, a.backward))
        for name, a in ENGINE.activations.items()
    },
)
"""The reference engine with every minus of its activations' derivatives turned into a plus."""


def _loss(function: str, dl: Array, T: Array, cache: Any, size: Array) -> Array:
    """dF (B, K) of a loss with every minus a plus, for what it read being rounded by `size` u.

    A logarithm, a quotient or an exponential is relatively as wrong as its argument is absolutely.
    """
    dl = dl[:, None]
    if function == "mean_squared_error":
        return dl * (2 / size.shape[-1]) * (size + T)
    if function == "softmax_cross_entropy":
        sums = np.exp(cache) * np.sum(T, axis=-1, keepdims=True) + T
        return dl * sums * (1 + _largest(size))
    if function == "normalized_cross_entropy":
        Q, total, inside = cache
        P = np.abs(Q * total)
        dQ = np.where(inside, dl * T / np.where(inside, Q, 1), 0)
        rough = 1 + _largest(np.where(inside, size / np.where(inside, P, 1), 0))
        rough = rough + np.sum(size, axis=-1, keepdims=True) / np.abs(total)
        return rough * (dQ + np.sum(dQ * Q, axis=-1, keepdims=True)) / np.abs(total)
    clipped, inside, log_p = cache
    sums = dl * (np.exp(log_p) * np.sum(T, axis=-1, keepdims=True) + T)
    rough = 1 + _largest(np.where(inside, size / clipped, 0))
    return np.where(inside, sums / clipped, 0) * rough


def _largest(size: Array) -> Array:
    return np.max(size, axis=-1, keepdims=True)


# --- both passes ----------------------------------------------------------------------------------


def _absolute_forward(layer: Layer, below: Array, params: Params) -> tuple[Array, Any]:
    """The sums of absolute terms in a layer's Z, and the cache that goes with them."""
    Z, cache = layer.forward(below, params, ENGINE)
    at_0, _ = layer.forward(0 * below, params, ENGINE)
    return np.abs(Z - at_0) + np.abs(at_0), cache


def _sizes(network: Network, tape: list[Stage], X: Array, params: list[Params]) -> list[Stage]:
    """For each layer what Z and A are rounded by, in units of the roundoff, and its cache."""
    sizes: list[Stage] = []
    for layer, own, stage in zip(network.layers, params, tape, strict=True):
        Z, cache = _absolute_forward(layer, sizes[-1].A if sizes else np.abs(X), own)
        slope = MAGNITUDE.activations[layer.activation].backward
        A = np.abs(stage.A) + slope(Z, stage.Z, np.abs(stage.A))
        sizes.append(Stage(Z, A, cache))
    return sizes


def gradient_scale(network: Network, batch: Data, theta: Array | None = None) -> Array:
    """S (P,) for the gradient of a batch at theta (by default the network's); entries are >= 0.

    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> model.set_weights([np.array([[2.0]]), np.array([1.0])])
    >>> batch = model._check(np.array([[3.0]]), np.array([[5.0]]))
    >>> gradient_scale(model, batch).tolist()  # 2 (7 + 7 + 5) (|x|, 1): A is Z and its rounding
    [114.0, 38.0]
    """
    theta = network.theta if theta is None else theta
    X = batch.x.astype(theta.dtype)
    tape = network.forward(X, network.views(theta), ENGINE)
    sizes = _sizes(network, tape, X, network.views(np.abs(theta)))
    head, size, objective = tape[-1], sizes[-1], network.objective
    losses, T, cache = objective.losses(head.Z, head.A, batch.y)
    share = np.abs(objective.share(batch.weights, losses))
    read = size.Z if objective.reads == "Z" else size.A
    dF = _loss(objective.function, share, np.abs(T), cache, read)
    if objective.reads == "A":
        dF = _through(network.layers[-1].activation, dF, head, size.Z)
    absolute = [stage._replace(cache=s.cache) for stage, s in zip(tape, sizes, strict=True)]
    return _back(network, dF, absolute, theta, [s.Z for s in sizes])


def backward_scale(network: Network, dZ: Array, tape: list[Stage], theta: Array) -> Array:
    """S (P,) for what a backward pass makes of a head gradient of size dZ (B, K), dZ >= 0, with
    the way forward taken as given."""
    absolute = [stage._replace(cache=_absolute(stage.cache)) for stage in tape]
    return _back(network, dZ, absolute, theta, [np.zeros(1)] * len(tape))


def _back(
    network: Network, dZ: Array, tape: list[Stage], theta: Array, sizes: list[Array]
) -> Array:
    scale = np.zeros_like(theta)
    params, grads = network.views(np.abs(theta)), network.views(scale)
    for i in reversed(range(len(tape))):
        dA = network.layers[i].backward(dZ, tape[i].cache, params[i], grads[i], ENGINE, i > 0)
        if i > 0 and dA is not None:
            dZ = _through(network.layers[i - 1].activation, np.abs(dA), tape[i - 1], sizes[i - 1])
    return scale


def _through(activation: str, dA: Array, stage: Stage, size: Array) -> Array:
    """dA back through an activation; a curved one's slope is as wrong as Z is rounded."""
    dZ = MAGNITUDE.activations[activation].backward(dA, stage.Z, np.abs(stage.A))
    if activation not in CURVED:
        return dZ
    return dZ * (1 + (_largest(size) if activation == "softmax" else size))


def stage_scales(network: Network, batch: Data, theta: Array | None = None) -> list[float]:
    """The largest sum of absolute terms in each layer's Z; no activation's slope exceeds 1.

    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> model.set_weights([np.array([[-2.0]]), np.array([1.0])])
    >>> stage_scales(model, model._check(np.array([[3.0]]), np.array([[5.0]])))  # |3| |-2| + |1|
    [7.0]
    """
    theta = network.theta if theta is None else theta
    X, scales = batch.x.astype(theta.dtype), []
    below, params = np.abs(X), network.views(np.abs(theta))
    tape = network.forward(X, network.views(theta), MAGNITUDE)
    for layer, own, stage in zip(network.layers, params, tape, strict=True):
        Z, _ = layer.forward(below, own, MAGNITUDE)
        scales.append(float(np.max(np.abs(Z))))
        below = np.abs(stage.A)
    return scales


def _absolute(cache: Any) -> Any:
    return np.abs(cache) if isinstance(cache, np.ndarray) else cache
