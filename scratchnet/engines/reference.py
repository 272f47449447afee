"""The whole of the mathematics, in NumPy: each forward with its backward right under it.

This is the lesson and the oracle: if you read one file, read this one. Every function works in any
floating dtype, and the forwards in complex ones too, so that the complex step (`gradcheck/`) can
differentiate the very code that trains: where a function branches, it branches on the real part.
It refuses to be clever; what speed asks for stands in `compiled/`. `scratchnet explain` shows it
at work in every stage from Z1 to new. Read `layers/core.py` next.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.engines.contract import ActivationFunction, Array, Engine, LossFunction

EPSILON = 1e-7
"""Keras's fuzz: probabilities are kept within [EPSILON, 1 - EPSILON] before a logarithm."""

# --- the dense layer -----------------------------------------------------------------------------


def dense(X: Array, W: Array, b: Array | None) -> Array:
    """Z = X W + b, or Z_bo = sum_i X_bi W_io + b_o.  X (B, I), W (I, O), b (O,) -> Z (B, O).

    >>> dense(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]), np.array([0.5])).tolist()
    [[11.5]]
    """
    Z: Array = X @ W
    if b is not None:
        Z += b
    return Z


def dense_backward(
    dZ: Array, X: Array, W: Array, dW: Array, db: Array | None, need_dX: bool
) -> Array | None:
    """From dZ (B, O) to dW (I, O) and db (O,), written in place, and dX (B, I), returned.

    Z_bo = sum_i X_bi W_io + b_o, so
        dW_io = sum_b X_bi dZ_bo    every sample that used the weight has a say
        db_o  = sum_b dZ_bo
        dX_bi = sum_o dZ_bo W_io    every output that the input fed has a say

    >>> X, W = np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]])
    >>> dW, db = np.zeros((2, 1)), np.zeros(1)
    >>> dense_backward(np.array([[10.0]]), X, W, dW, db, need_dX=True).tolist()
    [[30.0, 40.0]]
    >>> dW.tolist(), db.tolist()
    ([[10.0], [20.0]], [10.0])
    """
    np.matmul(X.T, dZ, out=dW)
    if db is not None:
        np.sum(dZ, axis=0, out=db)
    return dZ @ W.T if need_dX else None


# --- activations: A = f(Z), then dZ = dA f'(Z) ---------------------------------------------------


def linear(Z: Array) -> Array:
    """A = Z.

    >>> linear(np.array([-1.0, 2.0])).tolist()
    [-1.0, 2.0]
    """
    return Z


def linear_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = Z, so dZ = dA.

    >>> Z = np.array([-1.0, 2.0])
    >>> linear_backward(np.array([5.0, 6.0]), Z, linear(Z)).tolist()
    [5.0, 6.0]
    """
    return dA


def relu(Z: Array) -> Array:
    """A = max(Z, 0), and NaN where Z is.

    >>> relu(np.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 2.0]
    """
    return np.where(Z.real <= 0, np.zeros_like(Z), Z)


def relu_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = max(Z, 0), so dZ = dA where Z > 0, else 0. At Z = 0 itself 0, as in TensorFlow.

    >>> Z = np.array([-1.0, 0.0, 2.0])
    >>> relu_backward(np.array([5.0, 6.0, 7.0]), Z, relu(Z)).tolist()
    [0.0, 0.0, 7.0]
    """
    return np.where(Z.real > 0, dA, np.zeros_like(dA))


def leaky_relu(Z: Array, negative_slope: float = 0.2) -> Array:
    """A = Z where Z > 0, else negative_slope Z; the slope is a float32 number, in float64 too.

    Source: Keras, activations/activations.py; TensorFlow's op holds its alpha in float32.

    >>> leaky_relu(np.array([-1.0, 0.0, 2.0])).tolist()
    [-0.20000000298023224, 0.0, 2.0]
    """
    return np.where(Z.real > 0, Z, Z * float(np.float32(negative_slope)))


def leaky_relu_backward(dA: Array, Z: Array, A: Array, negative_slope: float = 0.2) -> Array:
    """A = Z where Z > 0, else slope Z, so dZ = dA or slope dA; slope at Z = 0, as in TensorFlow.

    >>> Z = np.array([-1.0, 0.0, 2.0])
    >>> leaky_relu_backward(np.array([5.0, 5.0, 7.0]), Z, leaky_relu(Z)).round(7).tolist()
    [1.0, 1.0, 7.0]
    """
    return np.where(Z.real > 0, dA, dA * float(np.float32(negative_slope)))


def sigmoid(Z: Array) -> Array:
    """A = 1 / (1 + exp(-Z)).

    With e = exp(-|Z|), which can't overflow: 1 / (1 + e) where Z >= 0, else e / (1 + e).

    >>> sigmoid(np.array([0.0, -1000.0, 1000.0])).tolist()
    [0.5, 0.0, 1.0]
    """
    e = np.exp(np.where(Z.real >= 0, -Z, Z))
    return np.where(Z.real >= 0, np.ones_like(e), e) / (1 + e)


def sigmoid_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = 1 / (1 + exp(-Z)), so dZ = dA A (1 - A).

    >>> Z = np.array([0.0, 1000.0])
    >>> sigmoid_backward(np.array([8.0, 8.0]), Z, sigmoid(Z)).tolist()
    [2.0, 0.0]
    """
    return dA * A * (1 - A)


def tanh(Z: Array) -> Array:
    """A = tanh(Z).

    >>> tanh(np.array([0.0, 1000.0])).tolist()
    [0.0, 1.0]
    """
    return np.tanh(Z)


def tanh_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = tanh(Z), so dZ = dA (1 - A^2).

    >>> Z = np.array([0.0, 1000.0])
    >>> tanh_backward(np.array([5.0, 5.0]), Z, tanh(Z)).tolist()
    [5.0, 0.0]
    """
    return dA * (1 - A * A)


def softmax(Z: Array) -> Array:
    """A_bk = exp(Z_bk) / sum_j exp(Z_bj); the largest Z is taken off first, so that exp <= 1.

    >>> softmax(np.log(np.array([[1.0, 3.0]]))).round(12).tolist()
    [[0.25, 0.75]]
    """
    e = np.exp(Z - np.max(Z.real, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def softmax_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A_k = exp(Z_k) / sum, so dA_k/dZ_j = A_k ([k = j] - A_j) and dZ = A (dA - sum_k dA_k A_k).

    >>> A = np.array([[0.25, 0.75]])
    >>> softmax_backward(np.array([[16.0, 0.0]]), np.log(A), A).tolist()  # 16 * 1/4 * (1 - 1/4)
    [[3.0, -3.0]]
    """
    return A * (dA - np.sum(dA * A, axis=-1, keepdims=True))


# --- losses: l_b = loss of sample b, then dF_bk = dl_b (d l_b / d F_bk) --------------------------


def softmax_cross_entropy(Z: Array, T: Array) -> tuple[Array, Array]:
    """l_b = -sum_k T_bk log softmax(Z)_bk.  Z, T (B, K) -> l (B,), cache log softmax(Z) (B, K).

    >>> losses, _ = softmax_cross_entropy(np.log(np.array([[1.0, 3.0]])), np.array([[0.0, 1.0]]))
    >>> np.exp(-losses).round(12).tolist()
    [0.75]
    """
    shifted = Z - np.max(Z.real, axis=-1, keepdims=True)
    log_p = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    return -np.sum(T * log_p, axis=-1), log_p


def softmax_cross_entropy_backward(dl: Array, T: Array, log_p: Array) -> Array:
    """l = -sum_k T_k log softmax(Z)_k, so dZ = dl (softmax(Z) sum(T) - T); sum(T) is 1 for labels.

    The derivative of the softmax cancels against that of the logarithm. A sigmoid head's own
    derivative does not appear: this loss reads the logits, and no sigmoid is in it.

    >>> T = np.array([[0.0, 1.0]])
    >>> _, log_p = softmax_cross_entropy(np.log(np.array([[1.0, 3.0]])), T)
    >>> softmax_cross_entropy_backward(np.ones(1), T, log_p).round(12).tolist()
    [[0.25, -0.25]]
    """
    return dl[:, None] * (np.exp(log_p) * np.sum(T, axis=-1, keepdims=True) - T)


def normalized_cross_entropy(P: Array, T: Array) -> tuple[Array, Any]:
    """l_b = -sum_k T_bk log clip(P_bk / sum_j P_bj).  First normalise, then clip to [e, 1 - e].

    Keras's JAX and PyTorch backends, and `categorical_crossentropy` on all of them.

    >>> losses, _ = normalized_cross_entropy(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]]))
    >>> np.exp(-losses).round(12).tolist()
    [0.75]
    """
    total = np.sum(P, axis=-1, keepdims=True)
    Q = P / total
    inside = (Q.real >= EPSILON) & (Q.real <= 1 - EPSILON)
    clipped = np.where(inside, Q, np.clip(Q.real, EPSILON, 1 - EPSILON))
    return -np.sum(T * np.log(clipped), axis=-1), (Q, total, inside)


def normalized_cross_entropy_backward(dl: Array, T: Array, cache: Any) -> Array:
    """l = -sum_k T_k log Q_k with Q = P / sum(P), so dQ = -dl T / Q where Q was not clipped, and
    dP = (dQ - sum_k dQ_k Q_k) / sum(P).

    >>> P, T = np.array([[1.0, 3.0]]), np.array([[1.0, 0.0]])
    >>> _, cache = normalized_cross_entropy(P, T)
    >>> normalized_cross_entropy_backward(np.ones(1), T, cache).tolist()
    [[-0.75, 0.25]]
    """
    Q, total, inside = cache
    dQ = np.where(inside, -dl[:, None] * T / np.where(inside, Q, 1), np.zeros_like(Q))
    return (dQ - np.sum(dQ * Q, axis=-1, keepdims=True)) / total


def clipped_cross_entropy(P: Array, T: Array) -> tuple[Array, Any]:
    """l_b = -sum_k T_bk log softmax(log clip(P))_bk.  First clip to [e, 1 - e], then normalise.

    `sparse_categorical_crossentropy` of Keras on TensorFlow, for outputs without known logits.

    >>> losses, _ = clipped_cross_entropy(np.array([[0.2, 0.6]]), np.array([[0.0, 1.0]]))
    >>> np.exp(-losses).round(12).tolist()
    [0.75]
    """
    inside = (P.real >= EPSILON) & (P.real <= 1 - EPSILON)
    clipped = np.where(inside, P, np.clip(P.real, EPSILON, 1 - EPSILON))
    losses, log_p = softmax_cross_entropy(np.log(clipped), T)
    return losses, (clipped, inside, log_p)


def clipped_cross_entropy_backward(dl: Array, T: Array, cache: Any) -> Array:
    """With F = log clip(P): dP = dF / P where P was not clipped, else 0.

    >>> P, T = np.array([[0.2, 0.6]]), np.array([[1.0, 0.0]])
    >>> _, cache = clipped_cross_entropy(P, T)
    >>> clipped_cross_entropy_backward(np.ones(1), T, cache).round(12).tolist()
    [[-3.75, 1.25]]
    """
    clipped, inside, log_p = cache
    return np.where(inside, softmax_cross_entropy_backward(dl, T, log_p) / clipped, 0)


def mean_squared_error(A: Array, T: Array) -> tuple[Array, Array]:
    """l_b = mean_k (A_bk - T_bk)^2.

    >>> losses, _ = mean_squared_error(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]]))
    >>> losses.tolist()
    [2.5]
    """
    difference = A - T
    return np.mean(difference * difference, axis=-1), difference


def mean_squared_error_backward(dl: Array, T: Array, difference: Array) -> Array:
    """l = sum_k (A_k - T_k)^2 / K, so dA = dl 2 (A - T) / K.

    >>> A, T = np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]])
    >>> mean_squared_error_backward(np.ones(1), T, mean_squared_error(A, T)[1]).tolist()
    [[1.0, 2.0]]
    """
    return dl[:, None] * (2 / difference.shape[-1]) * difference


# --- optimizers: one step on the flat vector of all parameters, in place -------------------------


def sgd(
    theta: Array,
    grad: Array,
    velocity: Array | None,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
) -> None:
    """theta -= lr g; with momentum: u = mu u - lr g, then theta += u, or mu u - lr g (Nesterov).

    Source: Keras, optimizers/sgd.py; Sutskever et al. 2013, section 2, for Nesterov's form.

    >>> theta, velocity = np.array([1.0]), np.zeros(1)
    >>> sgd(theta, np.array([2.0]), velocity, learning_rate=0.5, momentum=0.5, nesterov=False)
    >>> theta.tolist(), velocity.tolist()
    ([0.0], [-1.0])
    """
    step = grad * learning_rate
    if velocity is None:
        theta -= step
        return
    velocity *= momentum
    velocity -= step
    theta += velocity * momentum - step if nesterov else velocity


def adam(
    theta: Array,
    grad: Array,
    m: Array,
    v: Array,
    v_hat: Array | None,
    alpha: float,
    one_minus_beta_1: float,
    one_minus_beta_2: float,
    epsilon: float,
) -> None:
    """m += (1 - beta_1)(g - m);  v += (1 - beta_2)(g^2 - v);  theta -= alpha m / (sqrt(v) + eps).

    alpha_t = lr sqrt(1 - beta_2^t) / (1 - beta_1^t) comes from the optimizer. The epsilon is added
    to the root of the uncorrected v, and the correction multiplies afterwards ("epsilon hat");
    PyTorch corrects v first and adds epsilon then. With v_hat
    (AMSGrad) the root is taken of the largest v so far.
    Source: Kingma & Ba 2015, section 2, last paragraph; Reddi et al. 2018, algorithm 2; Keras,
    optimizers/adam.py.

    >>> theta, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> adam(theta, np.array([2.0]), m, v, None, 0.5, 0.5, 0.25, 1.0)
    >>> theta.tolist(), m.tolist(), v.tolist()  # 1 - 0.5 * 1 / (sqrt(1) + 1)
    ([0.75], [1.0], [1.0])
    """
    m += (grad - m) * one_minus_beta_1
    # Pixels that are never on have gradients that only decay: their m would sink into denormal
    # numbers, on which a CPU is a hundred times slower. Nothing this small can move a weight.
    m[np.abs(m) < TINY] = 0
    v += (grad * grad - v) * one_minus_beta_2
    if v_hat is not None:
        v = np.maximum(v_hat, v, out=v_hat)
    theta -= m * alpha / (np.sqrt(v) + epsilon)


def rmsprop(
    theta: Array,
    grad: Array,
    v: Array,
    u: Array | None,
    mean: Array | None,
    learning_rate: float,
    rho: float,
    one_minus_rho: float,
    momentum: float,
    epsilon: float,
) -> None:
    """v = rho v + (1 - rho) g^2;  step = lr g / sqrt(v + eps);  theta -= step.

    The epsilon stands inside the root, unlike Adam's. With momentum: u = mu u + step, theta -= u.
    With a mean (centered): mean = rho mean + (1 - rho) g, and the root is of v - mean^2 + eps.
    Source: Hinton 2012, lecture 6e; Graves 2013, section 4.2 (centered); Keras,
    optimizers/rmsprop.py.

    >>> theta, v = np.array([1.0]), np.zeros(1)
    >>> rmsprop(theta, np.array([4.0]), v, None, None, 0.5, 0.75, 0.25, 0.0, 12.0)
    >>> theta.tolist(), v.tolist()  # 1 - 0.5 * 4 / sqrt(4 + 12)
    ([0.5], [4.0])
    """
    v *= rho
    v += grad * grad * one_minus_rho
    spread = v
    if mean is not None:
        mean *= rho
        mean += grad * one_minus_rho
        spread = v - mean * mean
    step = grad * learning_rate / np.sqrt(spread + epsilon)
    if u is not None:
        u *= momentum
        u += step
        step = u
    theta -= step
    # As in adam: what only decays would end in denormal numbers.
    v[v < np.finfo(v.dtype).tiny] = 0
    for slot in (u, mean):
        if slot is not None:
            slot[np.abs(slot) < TINY] = 0


KINKS = {"relu": (0.0,), "leaky_relu": (0.0,)}
"""Where slopes jump: on a kink, rounding alone may decide which slope holds."""

TINY = 1e-30
"""First moments below this are taken as 0: they would move a weight by less than 1e-23 lr."""

ENGINE = Engine(
    name="reference",
    dense=dense,
    dense_backward=dense_backward,
    activations={
        "linear": ActivationFunction(linear, linear_backward),
        "relu": ActivationFunction(relu, relu_backward),
        "leaky_relu": ActivationFunction(leaky_relu, leaky_relu_backward),
        "sigmoid": ActivationFunction(sigmoid, sigmoid_backward),
        "softmax": ActivationFunction(softmax, softmax_backward),
        "tanh": ActivationFunction(tanh, tanh_backward),
    },
    losses={
        "softmax_cross_entropy": LossFunction(
            softmax_cross_entropy, softmax_cross_entropy_backward
        ),
        "normalized_cross_entropy": LossFunction(
            normalized_cross_entropy, normalized_cross_entropy_backward
        ),
        "clipped_cross_entropy": LossFunction(
            clipped_cross_entropy, clipped_cross_entropy_backward
        ),
        "mean_squared_error": LossFunction(mean_squared_error, mean_squared_error_backward),
    },
    optimizers={"sgd": sgd, "adam": adam, "rmsprop": rmsprop},
)
