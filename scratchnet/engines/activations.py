"""The activations of Keras that the script does not use: each forward with its backward under it.

They obey the same contract as those of `reference.py` (read it first): any floating dtype, complex
forwards that branch on the real part, NaN passed on. Where a function has a kink its slope there is
that of TensorFlow's gradient. Source: Keras, activations/activations.py, on TensorFlow.
"""

from __future__ import annotations

import math

import numpy as np

from scratchnet.engines.contract import MORE, ActivationFunction, Array
from scratchnet.engines.reference import leaky_relu, leaky_relu_backward, relu, sigmoid

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805
"""Of selu, so that activations keep mean 0 and variance 1 (Klambauer et al. 2017, equation 14)."""

ROOT_HALF, CUBIC = (float(np.float32(x)) for x in (math.sqrt(0.5), 0.044715))
"""Of gelu and of its approximation: TensorFlow rounds these to float32, in float64 too."""


def elu(Z: Array, alpha: float = 1.0) -> Array:
    """A = Z where Z > 0, else alpha (exp(Z) - 1).  Source: Clevert et al. 2016, equation 15.

    >>> elu(np.array([2.0, 0.0, -1000.0])).tolist()
    [2.0, 0.0, -1.0]
    """
    return np.where(Z.real > 0, Z, alpha * np.expm1(np.where(Z.real > 0, 0, Z)))


def elu_backward(dA: Array, Z: Array, A: Array, alpha: float = 1.0) -> Array:
    """A = alpha (exp(Z) - 1) where Z < 0, so dZ = dA alpha exp(Z) there, else dA, also for NaN.

    At 0 itself the slope of Z > 0 holds for alpha = 1, and alpha for any other, as in Keras.

    >>> Z = np.array([2.0, 0.0, -1000.0])
    >>> elu_backward(np.array([5.0, 5.0, 5.0]), Z, elu(Z)).tolist()
    [5.0, 5.0, 0.0]
    """
    below = Z.real <= 0
    return np.where(below, dA * alpha * np.exp(np.where(below, Z, 0)), dA)


def selu(Z: Array) -> Array:
    """A = SCALE Z where Z > 0, else SCALE ALPHA (exp(Z) - 1).  Source: Klambauer et al. 2017.

    >>> selu(np.array([1.0, 0.0])).round(4).tolist()
    [1.0507, 0.0]
    """
    return SCALE * np.where(Z.real >= 0, Z, ALPHA * np.expm1(np.where(Z.real >= 0, 0, Z)))


def selu_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = SCALE ALPHA (exp(Z) - 1) where Z < 0, so dZ = dA (A + SCALE ALPHA) there, else dA SCALE.

    >>> Z = np.array([1.0, -1000.0])
    >>> selu_backward(np.ones(2), Z, selu(Z)).round(4).tolist()
    [1.0507, 0.0]
    """
    return np.where(A < 0, dA * (A + SCALE * ALPHA), dA * SCALE)


def gelu(Z: Array) -> Array:
    """A = Z Phi(Z), Phi(z) = (1 + erf(z / sqrt 2)) / 2.  Source: Hendrycks & Gimpel 2016.

    >>> gelu(np.array([0.0, 1000.0, -1000.0])).tolist()
    [0.0, 1000.0, -0.0]
    """
    return Z * _normal_cdf(Z)


def gelu_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = Z Phi(Z), so dZ = dA (Phi(Z) + Z exp(-Z^2 / 2) / sqrt(2 pi)).

    >>> gelu_backward(np.array([4.0]), np.zeros(1), np.zeros(1)).tolist()
    [2.0]
    """
    # Far out, where the square overflows, the density is 0 long before.
    near = np.clip(Z, -1e3, 1e3) * np.asarray(ROOT_HALF, Z.dtype)
    density = np.exp(-near * near) * np.asarray(ROOT_HALF / math.sqrt(math.pi), Z.dtype)
    return dA * (_normal_cdf(Z) + Z * density)


def gelu_tanh(Z: Array) -> Array:
    """A = Z (1 + tanh(sqrt(2 / pi) (Z + 0.044715 Z^3))) / 2, gelu without erf.

    >>> gelu_tanh(np.array([0.0, 1000.0])).tolist()
    [0.0, 1000.0]
    """
    inner = math.sqrt(2 / math.pi) * (Z + CUBIC * Z * Z * Z)
    return 0.5 * Z * (1 + np.tanh(inner))


def silu(Z: Array) -> Array:
    """A = Z sigmoid(Z), also called swish.  Source: Ramachandran et al. 2017, beta = 1.

    >>> silu(np.array([0.0, 1000.0])).tolist()
    [0.0, 1000.0]
    """
    return Z * sigmoid(Z)


def silu_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = Z s with s = sigmoid(Z), so dZ = dA (s + A (1 - s)).

    >>> silu_backward(np.array([4.0]), np.zeros(1), np.zeros(1)).tolist()
    [2.0]
    """
    s = sigmoid(Z)
    return dA * (s + A * (1 - s))


def softplus(Z: Array) -> Array:
    """A = log(1 + exp(Z)) = max(Z, 0) + log(1 + exp(-|Z|)).

    >>> softplus(np.array([-1000.0, 1000.0])).tolist()
    [0.0, 1000.0]
    """
    positive = Z.real > 0
    return np.where(positive, Z, 0) + np.log1p(np.exp(np.where(positive, -Z, Z)))


def softplus_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = log(1 + exp(Z)), so dZ = dA sigmoid(Z).

    >>> softplus_backward(np.array([4.0]), np.zeros(1), np.zeros(1)).tolist()
    [2.0]
    """
    return dA * sigmoid(Z)


def softsign(Z: Array) -> Array:
    """A = Z / (1 + |Z|).

    >>> softsign(np.array([1.0, -3.0])).tolist()
    [0.5, -0.75]
    """
    return Z / (1 + _absolute(Z))


def softsign_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = Z / (1 + |Z|), so dZ = dA / (1 + |Z|)^2.

    >>> softsign_backward(np.array([8.0]), np.array([-1.0]), np.array([-0.5])).tolist()
    [2.0]
    """
    return dA / (1 + _absolute(Z)) ** 2


def hard_sigmoid(Z: Array) -> Array:
    """A = relu6(Z + 3) / 6.

    >>> hard_sigmoid(np.array([-4.0, 0.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return relu6(Z + 3) / 6


def hard_sigmoid_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = relu6(Z + 3) / 6, so dZ = dA / 6 where -3 < Z < 3, else 0.

    >>> hard_sigmoid_backward(np.full(3, 6.0), np.array([-3.0, 0.0, 3.0]), np.zeros(3)).tolist()
    [0.0, 1.0, 0.0]
    """
    return relu6_backward(dA / 6, Z + 3, A)


def mish(Z: Array) -> Array:
    """A = Z tanh(softplus(Z)).  Source: Misra 2019.

    >>> mish(np.array([0.0, 1000.0])).tolist()
    [0.0, 1000.0]
    """
    return Z * np.tanh(softplus(Z))


def mish_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = Z t with t = tanh(softplus(Z)), so dZ = dA (t + Z (1 - t^2) sigmoid(Z)).

    >>> mish_backward(np.array([5.0]), np.zeros(1), np.zeros(1)).round(12).tolist()  # tanh(log 2)
    [3.0]
    """
    t = np.tanh(softplus(Z))
    return dA * (t + Z * (1 - t * t) * sigmoid(Z))


def relu6(Z: Array) -> Array:
    """A = min(max(Z, 0), 6).

    >>> relu6(np.array([-1.0, 2.0, 7.0])).tolist()
    [0.0, 2.0, 6.0]
    """
    return np.where(Z.real <= 0, np.zeros_like(Z), np.where(Z.real >= 6, np.full_like(Z, 6), Z))


def relu6_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = min(max(Z, 0), 6), so dZ = dA where 0 < Z < 6, else 0, as in TensorFlow.

    >>> relu6_backward(np.ones(3), np.array([0.0, 2.0, 6.0]), np.zeros(3)).tolist()
    [0.0, 1.0, 0.0]
    """
    return np.where((Z.real > 0) & (Z.real < 6), dA, np.zeros_like(dA))


def bent_relu(
    Z: Array, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    """A = min(Z, max_value) where Z > threshold, else negative_slope (Z - threshold).

    NaN stays NaN; beside a threshold that is not 0 it gives 0, as in Keras on TensorFlow.

    >>> bent_relu(np.array([-1.0, 0.5, 9.0]), 0.5, 6.0, 1.0).tolist()
    [-1.0, -0.25, 6.0]
    """
    if negative_slope and max_value is None and not threshold:
        return leaky_relu(Z, negative_slope)
    edge = np.asarray(threshold, Z.real.dtype)
    above = np.where(Z.real > edge, Z, np.zeros_like(Z)) if threshold else relu(Z)
    if max_value is not None:
        above = np.where(above.real > max_value, np.full_like(Z, max_value), above)
        above = np.where(above.real < 0, np.zeros_like(Z), above)
    return above - negative_slope * relu(edge - Z) if negative_slope else above


def bent_relu_backward(
    dA: Array,
    Z: Array,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
) -> Array:
    """A = min(Z, max_value) where Z > threshold, else slope (Z - threshold): dZ = dA, 0, slope dA.

    At max_value itself dA passes, but for max_value = 6 without a threshold; at the threshold
    nothing does, but with a slope alone. All of it as TensorFlow has it.

    >>> bent_relu_backward(np.ones(3), np.array([-1.0, 0.5, 9.0]), 0.5, 6.0, 1.0).tolist()
    [0.5, 0.5, 0.0]
    """
    if negative_slope and max_value is None and not threshold:
        return leaky_relu_backward(dA, Z, Z, negative_slope)
    passes = threshold < Z
    if max_value is not None:
        native = max_value == 6 and not threshold
        passes &= (max_value > Z if native else max_value >= Z) & (Z >= 0)
    dZ = np.where(passes, dA, np.zeros_like(dA))
    return dZ + np.where(threshold > Z, dA * negative_slope, 0) if negative_slope else dZ


def exponential(Z: Array) -> Array:
    """A = exp(Z).

    >>> exponential(np.zeros(1)).tolist()
    [1.0]
    """
    return np.exp(Z)


def exponential_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A = exp(Z), so dZ = dA A.

    >>> exponential_backward(np.array([3.0]), np.zeros(1), np.ones(1)).tolist()
    [3.0]
    """
    return dA * A


def log_softmax(Z: Array) -> Array:
    """A_k = Z_k - log sum_j exp(Z_j); the largest Z is taken off first, so that exp <= 1.

    >>> np.exp(log_softmax(np.log(np.array([[1.0, 3.0]])))).round(12).tolist()
    [[0.25, 0.75]]
    """
    shifted = Z - np.max(Z.real, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def log_softmax_backward(dA: Array, Z: Array, A: Array) -> Array:
    """A_k = Z_k - log sum_j exp(Z_j), so dZ = dA - exp(A) sum_k dA_k.

    >>> A = np.log(np.array([[0.25, 0.75]]))
    >>> log_softmax_backward(np.array([[4.0, 0.0]]), A, A).round(12).tolist()
    [[3.0, -3.0]]
    """
    return dA - np.exp(A) * np.sum(dA, axis=-1, keepdims=True)


def _absolute(Z: Array) -> Array:
    """|Z| continued to complex numbers: -Z where the real part is negative."""
    return np.where(Z.real < 0, -Z, Z)


def _normal_cdf(Z: Array) -> Array:
    """Phi(Z) = (1 + erf(Z / sqrt 2)) / 2, of complex numbers too."""
    from scipy.special import erf  # NumPy has none; SciPy is imported when it is first asked for

    phi: Array = 0.5 * (1 + erf(Z * np.asarray(ROOT_HALF, Z.dtype)))
    return phi


ACTIVATIONS = {
    "elu": ActivationFunction(elu, elu_backward),
    "selu": ActivationFunction(selu, selu_backward),
    "gelu": ActivationFunction(gelu, gelu_backward),
    "silu": ActivationFunction(silu, silu_backward),
    "softplus": ActivationFunction(softplus, softplus_backward),
    "softsign": ActivationFunction(softsign, softsign_backward),
    "hard_sigmoid": ActivationFunction(hard_sigmoid, hard_sigmoid_backward),
    "mish": ActivationFunction(mish, mish_backward),
    "relu6": ActivationFunction(relu6, relu6_backward),
    "exponential": ActivationFunction(exponential, exponential_backward),
    "log_softmax": ActivationFunction(log_softmax, log_softmax_backward),
}
"""By Keras's names."""
MORE.update(ACTIVATIONS)

KINKS = {
    "hard_sigmoid": (-3.0, 3.0),
    "relu6": (0.0, 6.0),
    "selu": (0.0,),
}
"""Where slopes jump, as in `reference.KINKS`."""
