"""Losses that look at each output by itself: binary cross-entropy, absolute, Huber, divergence.

Each is a function of one output and one target, its derivative under it, and then a mean (a sum for
the divergence) over the K outputs of a sample. No engine knows them: a model with one of these runs
on the reference engine. As there, what branches branches on the real part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from scratchnet.engines import Array, LossFunction
from scratchnet.engines.reference import EPSILON
from scratchnet.losses.calls import alike
from scratchnet.losses.dense_targets import check_smoothing
from scratchnet.losses.loss import Loss


def _forward(
    value: Callable[[Array, Array], Array], total: Any, F: Array, T: Array
) -> tuple[Array, Array]:
    return total(value(F, T), axis=-1), F


def _backward(
    slope: Callable[[Array, Array], Array], total: Any, dl: Array, T: Array, F: Array
) -> Array:
    """l = total_k value(F_k, T_k), so dF_k = dl slope(F_k, T_k), over K for a mean."""
    dF = dl[:, None] * slope(F, T)
    return dF / F.shape[-1] if total is np.mean else dF


def _pair(value: Any, slope: Any, total: Any = np.mean) -> LossFunction:
    return LossFunction(partial(_forward, value, total), partial(_backward, slope, total))


# --- one output f, one target t: the loss and its derivative by f ---------------------------------


def cross_entropy_of_logits(F: Array, T: Array) -> Array:
    """-t log s(f) - (1 - t) log(1 - s(f)) for the sigmoid s, as max(f, 0) - f t + log(1 + e^-|f|).

    >>> cross_entropy_of_logits(np.array([0.0, 1000.0]), np.array([1.0, 1.0])).round(6).tolist()
    [0.693147, 0.0]
    """
    positive = F.real >= 0
    above = np.where(positive, F, np.zeros_like(F))
    return above - F * T + np.log1p(np.exp(np.where(positive, -F, F)))


def cross_entropy_of_logits_slope(F: Array, T: Array) -> Array:
    """s(f) - t.

    >>> cross_entropy_of_logits_slope(np.array([0.0]), np.array([1.0])).tolist()
    [-0.5]
    """
    e = np.exp(np.where(F >= 0, -F, F))
    return np.where(F >= 0, np.ones_like(e), e) / (1 + e) - T


def cross_entropy_of_probabilities(F: Array, T: Array) -> Array:
    """-t log q - (1 - t) log(1 - q) for q, f clipped to [e, 1 - e].

    >>> cross_entropy_of_probabilities(np.array([0.25]), np.array([0.0])).round(6).tolist()
    [0.287682]
    """
    Q = np.where(_inside(F, 1 - EPSILON), F, np.clip(F.real, EPSILON, 1 - EPSILON))
    return -(T * np.log(Q) + (1 - T) * np.log(1 - Q))


def cross_entropy_of_probabilities_slope(F: Array, T: Array) -> Array:
    """(1 - t) / (1 - f) - t / f, and 0 where f was clipped.

    >>> cross_entropy_of_probabilities_slope(np.array([0.25, 2.0]), np.array([1.0, 0.0])).tolist()
    [-4.0, 0.0]
    """
    inside = _inside(F, 1 - EPSILON)
    Q = np.where(inside, F, np.full_like(F, 0.5))
    return np.where(inside, (1 - T) / (1 - Q) - T / Q, np.zeros_like(F))


def absolute(F: Array, T: Array) -> Array:
    """|f - t|.

    >>> absolute(np.array([1.0, 5.0]), np.array([3.0, 5.0])).tolist()
    [2.0, 0.0]
    """
    D = F - T
    return np.where(D.real >= 0, D, -D)


def absolute_slope(F: Array, T: Array) -> Array:
    """The sign of f - t, 0 for 0.

    >>> absolute_slope(np.array([1.0, 5.0]), np.array([3.0, 5.0])).tolist()
    [-1.0, 0.0]
    """
    return np.sign(F - T)


def huber_value(F: Array, T: Array, delta: float) -> Array:
    """d^2 / 2 for d = f - t within delta, beyond it delta |d| - delta^2 / 2.

    Source: Huber 1964, section 2.

    >>> huber_value(np.array([0.5, 3.0]), np.zeros(2), delta=1.0).tolist()
    [0.125, 2.5]
    """
    D = F - T
    size = np.where(D.real >= 0, D, -D)
    return np.where(size.real <= delta, 0.5 * D * D, delta * size - 0.5 * delta**2)


def huber_slope(F: Array, T: Array, delta: float) -> Array:
    """d within delta, beyond it delta with d's sign.

    >>> huber_slope(np.array([0.5, -3.0]), np.zeros(2), delta=1.0).tolist()
    [0.5, -1.0]
    """
    D = F - T
    return np.where(np.abs(D) <= delta, D, delta * np.sign(D))


def divergence(F: Array, T: Array) -> Array:
    """t log(t / f), both clipped to [e, 1].

    >>> divergence(np.array([0.5]), np.array([1.0])).round(6).tolist()
    [0.693147]
    """
    Q = np.where(_inside(F, 1), F, np.clip(F.real, EPSILON, 1))
    T = np.clip(T, EPSILON, 1)
    return T * np.log(T / Q)


def divergence_slope(F: Array, T: Array) -> Array:
    """-t / f, and 0 where f was clipped.

    >>> divergence_slope(np.array([0.5, 2.0]), np.array([1.0, 1.0])).tolist()
    [-2.0, 0.0]
    """
    inside = _inside(F, 1)
    T = np.clip(T, EPSILON, 1)
    return np.where(inside, -T / np.where(inside, F, np.ones_like(F)), np.zeros_like(F))


def _inside(F: Array, highest: float) -> Array:
    """Where f is from e to `highest`, and is not clipped."""
    return (F.real >= EPSILON) & (F.real <= highest)


LOGITS = _pair(cross_entropy_of_logits, cross_entropy_of_logits_slope)
PROBABILITIES = _pair(cross_entropy_of_probabilities, cross_entropy_of_probabilities_slope)
ABSOLUTE = _pair(absolute, absolute_slope)
DIVERGENCE = _pair(divergence, divergence_slope, np.sum)

# --- the losses -----------------------------------------------------------------------------------


class BinaryCrossentropy(Loss):
    """mean_k of -t_k log p_k - (1 - t_k) log(1 - p_k) for targets t (B, K), 0 or 1 as a rule.

    Within a model a sigmoid head's logits are known and used; and so, as in Keras on TensorFlow,
    are a softmax head's, as if they were a sigmoid's. Other outputs are probabilities, clipped to
    [e, 1 - e], or logits if `from_logits`. Smoothed targets are t (1 - s) + s / 2.

    >>> float(BinaryCrossentropy()([[1.0, 0.0]], [[0.5, 0.5]])).__round__(6)
    0.693147
    """

    family = "binary_crossentropy"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(name, reduction, dtype)
        self.from_logits, self.axis = bool(from_logits), axis
        self.label_smoothing = check_smoothing(label_smoothing)

    def reading(self, head: str) -> str:
        return "Z" if head in ("sigmoid", "softmax") else "A"

    def function(self, reading: str) -> LossFunction:
        return LOGITS if reading == "Z" or self.from_logits else PROBABILITIES

    def targets(self, y: Array, classes: int, dtype: np.dtype[Any]) -> Array:
        s = self.label_smoothing
        return super().targets(y, classes, dtype) * (1.0 - s) + 0.5 * s

    def matched(self, y: Array, outputs: Array) -> tuple[Array, Array]:
        alike(self.name, y, outputs)
        return np.moveaxis(y, self.axis, -1), np.moveaxis(outputs, self.axis, -1)

    def get_config(self) -> dict[str, Any]:
        names = ("from_logits", "label_smoothing", "axis")
        return super().get_config() | {name: getattr(self, name) for name in names}


class _OfOutputs(Loss):
    """A loss that reads every head's outputs, by one function."""

    _pair: LossFunction

    def reading(self, head: str) -> str:
        return "A"

    def function(self, reading: str) -> LossFunction:
        return self._pair


class MeanAbsoluteError(_OfOutputs):
    """mean_k |a_k - t_k| for targets t (B, K); its slope at 0 is 0.

    >>> float(MeanAbsoluteError()([[1.0, 2.0]], [[3.0, 2.0]]))
    1.0
    """

    family, _pair = "mean_absolute_error", ABSOLUTE

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_error",
        dtype: Any = None,
    ):
        super().__init__(name, reduction, dtype)


class Huber(_OfOutputs):
    """mean_k of d_k^2 / 2 where |d_k| <= delta, else delta |d_k| - delta^2 / 2, for d = a - t.

    As in Keras, `get_config` doesn't tell `delta` unless it is another than 1.

    >>> float(Huber()([[0.0, 0.0]], [[0.5, 3.0]]))
    1.3125
    """

    family = "huber"

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ):
        super().__init__(name, reduction, dtype)
        if not isinstance(delta, int | float | np.number) or not delta > 0:
            raise ValueError(f"Huber: delta={delta!r}: expected a number > 0.")
        self.delta = float(delta)
        self._pair = _pair(
            partial(huber_value, delta=self.delta), partial(huber_slope, delta=self.delta)
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | ({} if self.delta == 1 else {"delta": self.delta})


class KLDivergence(_OfOutputs):
    """sum_k t_k log(t_k / a_k) for targets t and outputs a (B, K), both clipped to [e, 1].

    >>> float(KLDivergence()([[1.0, 0.0]], [[0.5, 0.5]])).__round__(4)
    0.6931
    """

    family, _pair = "kl_divergence", DIVERGENCE

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "kl_divergence",
        dtype: Any = None,
    ):
        super().__init__(name, reduction, dtype)
