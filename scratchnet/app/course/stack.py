"""What the exercises ask for beyond a single function of the engine, solved with the reference.

Layers are pairs (W, b), a relu stands between two of them, and the tape is a list of (input, Z).
These are the solutions that `scratchnet course check --solution` shows.
"""

from __future__ import annotations

import numpy as np

from scratchnet.engines import Array
from scratchnet.engines.reference import (
    adam,
    dense,
    dense_backward,
    relu,
    relu_backward,
    sgd,
    sigmoid,
    softmax,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)

Layers = list[tuple[Array, Array]]
Tape = list[tuple[Array, Array]]


def step_size(learning_rate: float, t: int, beta_1: float, beta_2: float) -> float:
    """alpha = learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t).

    >>> step_size(1.0, 1, 0.5, 0.75)
    1.0
    """
    return float(learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t))


def forward(X: Array, layers: Layers) -> tuple[Array, Tape]:
    """The logits Z (B, K) and the tape.

    >>> forward(np.ones((1, 1)), [(np.array([[2.0]]), np.array([1.0]))])[0].tolist()
    [[3.0]]
    """
    A, tape = X, []
    for W, b in layers:
        Z = dense(A, W, b)
        tape.append((A, Z))
        A = relu(Z)
    return Z, tape


def backward(dZ: Array, tape: Tape, layers: Layers) -> list[tuple[Array, Array]]:
    """[(dW, db) of each layer], in the order of layers.

    >>> layers = [(np.array([[2.0]]), np.array([1.0]))]
    >>> (dW, db), = backward(np.ones((1, 1)), forward(np.ones((1, 1)), layers)[1], layers)
    >>> dW.tolist(), db.tolist()
    ([[1.0]], [1.0])
    """
    gradients = [(np.empty_like(W), np.empty_like(b)) for W, b in layers]
    for i in range(len(layers) - 1, -1, -1):
        X = tape[i][0]
        dX = dense_backward(dZ, X, layers[i][0], *gradients[i], i > 0)
        if dX is not None:
            dZ = relu_backward(dX, tape[i - 1][1], X)
    return gradients


def train_step(X: Array, T: Array, layers: Layers, learning_rate: float) -> float:
    """One step on the mean loss, in place; the loss before it.

    >>> layers = [(np.zeros((1, 2)), np.zeros(2))]
    >>> round(train_step(np.ones((1, 1)), np.array([[1.0, 0.0]]), layers, 1.0), 6)
    0.693147
    >>> layers[0][0].tolist()
    [[0.5, -0.5]]
    """
    Z, tape = forward(X, layers)
    losses, log_p = softmax_cross_entropy(Z, T)
    dl = np.full(len(X), 1 / len(X), dtype=Z.dtype)
    gradients = backward(softmax_cross_entropy_backward(dl, T, log_p), tape, layers)
    for arrays, slopes in zip(layers, gradients, strict=True):
        for array, slope in zip(arrays, slopes, strict=True):
            sgd(array, slope, None, learning_rate, 0.0, False)
    return float(np.mean(losses))


def sigmoid_head(Z: Array, T: Array) -> tuple[Array, Array]:
    """A = sigmoid(Z) is shown, dZ = (softmax(Z) - T) / B is learned.

    >>> A, dZ = sigmoid_head(np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    >>> A.tolist(), dZ.tolist()
    ([[0.5, 0.5]], [[-0.5, 0.5]])
    """
    return sigmoid(Z), (softmax(Z) - T) / len(Z)


def dense_step(
    dZ: Array,
    X: Array,
    W: Array,
    m: Array,
    v: Array,
    alpha: float,
    one_minus_beta_1: float,
    one_minus_beta_2: float,
    epsilon: float,
) -> None:
    """Adam's step of W (I, O) along X^T dZ; W, m and v (I, O) in place.

    >>> one = np.ones((1, 1))
    >>> W, m, v = 3 * one, 0 * one, 0 * one
    >>> dense_step(one, 2 * one, W, m, v, 1.0, 0.5, 0.25, 1.0)
    >>> W.tolist(), m.tolist(), v.tolist()
    ([[2.5]], [[1.0]], [[1.0]])
    """
    dW = np.empty_like(W)
    dense_backward(dZ, X, W, dW, None, False)
    adam(W, dW, m, v, None, alpha, one_minus_beta_1, one_minus_beta_2, epsilon)


def dropout(X: Array, mask: Array, rate: float) -> Array:
    """A = X mask / (1 - rate).

    >>> dropout(np.array([1.0, 2.0]), np.array([1.0, 0.0]), 0.5).tolist()
    [2.0, 0.0]
    """
    return X * mask / (1 - rate)
