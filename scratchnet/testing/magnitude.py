"""How large a gradient's terms are before they cancel: the scale S that rounding is measured by.

A backward pass adds terms of both signs, and what rounding does is in proportion to the terms, not
to their sum: after training, p - 1 is tiny while p and 1 are not, and a correct gradient's relative
error reaches 5e-3. S is what the backward pass gives when every minus is a plus and every array its
absolute value; a correct gradient g in float64 obeys |g - exact| <= 1e-12 S.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from scratchnet.engines import Activation, Array, Loss
from scratchnet.engines.reference import ENGINE
from scratchnet.inputs import Data
from scratchnet.model import Network, Stage


def _sigmoid(dA: Array, Z: Array, A: Array) -> Array:
    return dA * A * (1 + A)


def _tanh(dA: Array, Z: Array, A: Array) -> Array:
    return dA * (1 + A * A)


def _softmax(dA: Array, Z: Array, A: Array) -> Array:
    return _exponent(Z) * A * (dA + np.sum(dA * A, axis=-1, keepdims=True))


def _exponent(Z: Array) -> Array:
    """exp(Z) is relatively as wrong as Z is absolutely: Z's rounding, in units of Z's roundoff."""
    return 1 + np.max(np.abs(Z), axis=-1, keepdims=True)


def _softmax_cross_entropy(dl: Array, T: Array, log_p: Array) -> Array:
    return dl[:, None] * (np.exp(log_p) * np.sum(T, axis=-1, keepdims=True) + T)


def _normalized_cross_entropy(dl: Array, T: Array, cache: Any) -> Array:
    Q, total, inside = cache
    dQ = np.where(inside, dl[:, None] * T / np.where(inside, Q, 1), 0)
    return (dQ + np.sum(dQ * Q, axis=-1, keepdims=True)) / np.abs(total)


def _clipped_cross_entropy(dl: Array, T: Array, cache: Any) -> Array:
    clipped, inside, log_p = cache
    return np.where(inside, _softmax_cross_entropy(dl, T, log_p) / clipped, 0)


def _mean_squared_error(dl: Array, T: Array, difference: Array) -> Array:
    A = difference + T
    return dl[:, None] * (2 / difference.shape[-1]) * (np.abs(A) + np.abs(T))


_DERIVATIVES = {"sigmoid": _sigmoid, "tanh": _tanh, "softmax": _softmax}
_LOSSES = {
    "softmax_cross_entropy": _softmax_cross_entropy,
    "normalized_cross_entropy": _normalized_cross_entropy,
    "clipped_cross_entropy": _clipped_cross_entropy,
    "mean_squared_error": _mean_squared_error,
}
MAGNITUDE = replace(
    ENGINE,
    name="magnitude",
    activations={
        name: Activation(a.forward, _DERIVATIVES.get(name, a.backward))
        for name, a in ENGINE.activations.items()
    },
    losses={name: Loss(loss.forward, _LOSSES[name]) for name, loss in ENGINE.losses.items()},
)
"""The reference engine with every minus of its backward functions turned into a plus."""


def gradient_scale(network: Network, batch: Data, theta: Array | None = None) -> Array:
    """S (P,) for the gradient of a batch at theta (by default the network's); entries are >= 0.

    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> model.set_weights([np.array([[2.0]]), np.array([1.0])])
    >>> batch = model._check(np.array([[3.0]]), np.array([[5.0]]))
    >>> gradient_scale(model, batch).tolist()  # 2 (|a| + |t|) (|x|, 1), where a = 7
    [72.0, 24.0]
    """
    theta = network.theta if theta is None else theta
    tape = network.forward(batch.x.astype(theta.dtype), network.views(theta), MAGNITUDE)
    head, objective = tape[-1], network.objective
    losses, T, cache = objective.losses(head.Z, head.A, batch.y)
    dF = MAGNITUDE.losses[objective.function].backward(
        np.abs(objective.share(batch.weights, losses)), np.abs(T), cache
    )
    if objective.function == "softmax_cross_entropy":
        dF *= _exponent(head.Z if objective.reads == "Z" else head.A)
    if objective.reads == "A":
        name = network.layers[-1].activation
        dF = MAGNITUDE.activations[name].backward(dF, head.Z, np.abs(head.A))
    return backward_scale(network, dF, tape, theta)


def backward_scale(network: Network, dZ: Array, tape: list[Stage], theta: Array) -> Array:
    """S (P,) for what a backward pass makes of a head gradient of size dZ (B, K), dZ >= 0."""
    scale = np.zeros_like(theta)
    absolute = [Stage(s.Z, np.abs(s.A), _absolute(s.cache)) for s in tape]
    params = network.views(np.abs(theta))
    network.backward(dZ, absolute, params, network.views(scale), MAGNITUDE)
    return scale


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
