"""How large a gradient's terms are before they cancel: the scale S that rounding is measured by.

A backward pass adds terms of both signs, and what rounding does is in proportion to the terms, not
to their sum: after training, p - 1 is tiny while p and 1 are not, and a correct gradient's relative
error reaches 5e-3. S is what the backward pass gives when every minus is a plus and every array its
absolute value; a correct gradient g in float64 obeys |g - exact| <= 1e-12 S. Where the way forward
cancels, its own rounding counts beside that: see `forward_scale`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from scratchnet.checks import Examples
from scratchnet.engines import ActivationFunction, Array, reference
from scratchnet.engines import activations as others
from scratchnet.engines.contract import MORE
from scratchnet.engines.reference import ENGINE, KINKS
from scratchnet.layers import Params
from scratchnet.model import Network, Stage

# --- derivatives with every minus a plus ----------------------------------------------------------


def _sigmoid(dA: Array, Z: Array, A: Array) -> Array:
    return dA * A * (1 + A)


def _tanh(dA: Array, Z: Array, A: Array) -> Array:
    return dA * (1 + A * A)


def _softmax(dA: Array, Z: Array, A: Array) -> Array:
    return A * (dA + np.sum(dA * A, axis=-1, keepdims=True))


def _elu(dA: Array, Z: Array, A: Array) -> Array:
    return dA * (A + 1)


def _selu(dA: Array, Z: Array, A: Array) -> Array:
    return dA * (A + others.SCALE * others.ALPHA)


def _gelu(dA: Array, Z: Array, A: Array) -> Array:
    return others.gelu_backward(dA, np.abs(Z), A)  # 1 + erf cancels where Z < 0, and not here


def _silu(dA: Array, Z: Array, A: Array) -> Array:
    s = reference.sigmoid(Z)
    return dA * (s + A * (1 + s))


def _mish(dA: Array, Z: Array, A: Array) -> Array:
    t = np.tanh(others.softplus(Z))
    return dA * (t + np.abs(Z) * (1 + t * t) * reference.sigmoid(Z))


def _log_softmax(dA: Array, Z: Array, A: Array) -> Array:
    return dA + np.exp(-A) * np.sum(dA, axis=-1, keepdims=True)  # A is the size of a number <= 0


CURVED = {
    **{"sigmoid": _sigmoid, "tanh": _tanh, "softmax": _softmax, "elu": _elu, "selu": _selu},
    **{"gelu": _gelu, "silu": _silu, "mish": _mish, "log_softmax": _log_softmax},
    "softplus": others.softplus_backward,
    "softsign": others.softsign_backward,
    "hard_sigmoid": others.hard_sigmoid_backward,
    "relu6": others.relu6_backward,
    "exponential": others.exponential_backward,
}
MAGNITUDE = replace(
    ENGINE,
    name="magnitude",
    activations={
        name: ActivationFunction(a.forward, CURVED.get(name, a.backward))
        for name, a in {**ENGINE.activations, **MORE}.items()
    },
)
"""The reference engine with every minus of its activations' derivatives turned into a plus."""


def _loss(function: str, dl: Array, T: Array, cache: Any, read: Array, extra: Array) -> Array:
    """dF (B, K) of a loss with every minus a plus; `extra` is what `read` was rounded by, over u.

    A logarithm, a quotient or an exponential is relatively as wrong as its argument is absolutely.
    """
    dl = dl[:, None]
    if function == "mean_squared_error":
        return dl * (2 / read.shape[-1]) * (read + extra + T)
    if function == "softmax_cross_entropy":
        sums = np.exp(cache) * np.sum(T, axis=-1, keepdims=True) + T
        return dl * sums * (1 + _largest(read) + _largest(extra))
    if function == "normalized_cross_entropy":
        Q, total, inside = cache
        dQ = np.where(inside, dl * T / np.where(inside, Q, 1), 0)
        sums = (dQ + np.sum(dQ * Q, axis=-1, keepdims=True)) / np.abs(total)
        rough = _largest(np.where(inside, extra / np.where(inside, read, 1), 0))
        return sums * (1 + rough + np.sum(extra, axis=-1, keepdims=True) / np.abs(total))
    clipped, inside, log_p = cache
    sums = dl * (np.exp(log_p) * np.sum(T, axis=-1, keepdims=True) + T)
    rough = _largest(np.where(inside, extra / clipped, 0))
    return np.where(inside, sums / clipped, 0) * (1 + rough)


def _through(activation: str, dA: Array, stage: Stage, extra: Array) -> Array:
    """dA back through an activation; a curved one's slope is as wrong as Z is rounded."""
    dZ = MAGNITUDE.activations[activation].backward(dA, stage.Z, np.abs(stage.A))
    if activation == "softmax":
        return dZ * (1 + _largest(np.abs(stage.Z)) + _largest(extra))
    return dZ * (1 + extra) if activation in CURVED else dZ


def _largest(size: Array) -> Array:
    return np.max(size, axis=-1, keepdims=True)


# --- both passes ----------------------------------------------------------------------------------


def gradient_scale(network: Network, batch: Examples, theta: Array | None = None) -> Array:
    """S (P,) for the gradient of a batch at theta (by default the network's); entries are >= 0.

    The numbers of the forward pass are taken as given.

    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> model.set_weights([np.array([[2.0]]), np.array([1.0])])
    >>> batch = model.batch(np.array([[3.0]]), np.array([[5.0]]))
    >>> gradient_scale(model, batch).tolist()  # 2 (|a| + |t|) (|x|, 1), where a = 7
    [72.0, 24.0]
    """
    return _scale(network, batch, theta, forward=False)


def forward_scale(network: Network, batch: Examples, theta: Array | None = None) -> Array:
    """The same with the forward pass in absolute values too; (P,).

    Two BLAS kernels may already disagree about outputs that cancel, by a few roundings of the terms
    that went into them. A correct gradient g obeys |g - exact| <= 1e-12 S + 16 u times this.

    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((2,)), layers.Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> model.set_weights([np.array([[2.0], [-2.0]]), np.array([0.0])])
    >>> batch = model.batch(np.array([[3.0, 3.0]]), np.array([[0.0]]))
    >>> gradient_scale(model, batch).tolist(), forward_scale(model, batch).tolist()  # 6 - 6 is 0
    ([0.0, 0.0, 0.0], [72.0, 72.0, 24.0])
    """
    return _scale(network, batch, theta, forward=True)


def _scale(network: Network, batch: Examples, theta: Array | None, forward: bool) -> Array:
    theta = network.theta if theta is None else theta
    X, objective = batch.x.astype(theta.dtype), network.objective
    tape = network.forward(X, network.views(theta), ENGINE)
    sizes = [Stage(0 * np.abs(s.Z), 0 * np.abs(s.A), _absolute(s.cache)) for s in tape]
    if forward:
        sizes = _sizes(network, tape, X, network.views(np.abs(theta)))
    head, size = tape[-1], sizes[-1]
    losses, T, cache = objective.losses(head.Z, head.A, batch.y)
    share = np.abs(objective.share(batch.weights, losses))
    read, extra = (head.Z, size.Z) if objective.reads == "Z" else (head.A, size.A)
    dZ = _loss(objective.function, share, np.abs(T), cache, np.abs(read), extra)
    if objective.reads == "A":
        dZ = _through(network.layers[-1].activation, dZ, head, size.Z)
    return _back(network, dZ, tape, sizes, theta)


def backward_scale(network: Network, dZ: Array, tape: list[Stage], theta: Array) -> Array:
    """S (P,) for what a backward pass makes of a head gradient of size dZ (B, K), dZ >= 0."""
    sizes = [Stage(0 * np.abs(s.Z), 0 * np.abs(s.A), _absolute(s.cache)) for s in tape]
    return _back(network, dZ, tape, sizes, theta)


def layer_scale(
    activation: str, X: Array, W: Array | None, b: Array | None, dY: Array, *, forward: bool = False
) -> tuple[Array, Array, Array]:
    """S of (dX, dW, db) of one layer f(X W + b), or f(X), for a gradient dY that comes in.

    With `forward` the way forward is in absolute values too, as in `forward_scale`.

    >>> X, W, dY = np.array([[4.0]]), np.array([[-2.0]]), np.array([[1.0]])
    >>> S = layer_scale("tanh", X, W, None, dY)  # dY (1 + a^2) times |w|, |x| and 1; a is -1
    >>> [size.round(3).tolist() for size in S]
    [[[4.0]], [[8.0]], [2.0]]
    >>> S = layer_scale("tanh", X, W, None, dY, forward=True)  # z is rounded as |x| |w| is
    >>> [size.round(3).tolist() for size in S]
    [[[36.0]], [[72.0]], [18.0]]
    """
    W = np.eye(X.shape[-1]) if W is None else W
    Z = ENGINE.dense(X, W, b)
    terms = ENGINE.dense(np.abs(X), np.abs(W), None if b is None else np.abs(b))
    stage = Stage(Z, ENGINE.activations[activation].forward(Z), None)
    dZ = _through(activation, np.abs(dY), stage, terms if forward else 0 * terms)
    dW, db = np.zeros_like(W), np.zeros(W.shape[1])
    dX = ENGINE.dense_backward(dZ, np.abs(X), np.abs(W), dW, db, True)
    return np.asarray(dX), dW, db


def _sizes(network: Network, tape: list[Stage], X: Array, params: list[Params]) -> list[Stage]:
    """For each layer what Z and A are rounded by, in units of the roundoff, and its cache."""
    sizes: list[Stage] = []
    for layer, own, stage in zip(network.layers, params, tape, strict=True):
        below = sizes[-1].A if sizes else np.abs(X)
        Z, cache = layer.forward(below, own, ENGINE)
        at_0, _ = layer.forward(0 * below, own, ENGINE)
        Z = np.abs(Z - at_0) + np.abs(at_0)
        A = np.abs(stage.A) + _through(layer.activation, Z, stage, 0 * Z)
        sizes.append(Stage(Z, A, cache))
    return sizes


def on_a_kink(network: Network, X: Array, one: list[Stage], other: list[Stage]) -> bool:
    """Whether some Z is above a kink in one run of X (B, ...) and not above it in the other.

    Then it is on the kink but for the order of summation, and the gradients of both runs are right.
    An AssertionError where that doesn't explain it: two sums of n numbers and a bias differ by at
    most 2 (n + 1) u of their terms.

    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(1, "relu")])
    >>> model.set_weights([np.array([[1.0]]), np.array([-1.0])])
    >>> X = np.array([[1.0]])
    >>> zero = model.run(X)
    >>> near = [stage._replace(Z=stage.Z + 2.0**-52) for stage in zero]
    >>> on_a_kink(model, X, zero, zero), on_a_kink(model, X, zero, near)
    (False, True)
    """
    found, params = False, network.views(np.abs(network.theta))
    sizes = _sizes(network, one, X, params)
    width = max((len(array) for own in params for array in own.values()), default=0)
    most = 2 * (width + 1) * 2.0**-53
    for layer, a, b, size in zip(network.layers, one, other, sizes, strict=True):
        for kink in (KINKS | others.KINKS).get(layer.activation, ()):
            turned = (a.Z.real > kink) != (b.Z.real > kink)
            assert np.all(np.abs(a.Z - b.Z)[turned] <= most * size.Z[turned])
            found |= bool(turned.any())
    return found


def _back(
    network: Network, dZ: Array, tape: list[Stage], sizes: list[Stage], theta: Array
) -> Array:
    scale = np.zeros_like(theta)
    params, grads = network.views(np.abs(theta)), network.views(scale)
    for i in reversed(range(len(tape))):
        dA = network.layers[i].backward(dZ, sizes[i].cache, params[i], grads[i], ENGINE, i > 0)
        if i > 0 and dA is not None:
            activation = network.layers[i - 1].activation
            dZ = _through(activation, np.abs(dA), tape[i - 1], sizes[i - 1].Z)
    return scale


def stage_scales(network: Network, batch: Examples, theta: Array | None = None) -> list[float]:
    """The largest sum of absolute terms in each layer's Z; no activation's slope exceeds 1.

    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> model.set_weights([np.array([[-2.0]]), np.array([1.0])])
    >>> stage_scales(model, model.batch(np.array([[3.0]]), np.array([[5.0]])))  # |3| |-2| + |1|
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
