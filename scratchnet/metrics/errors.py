"""How far outputs are from targets: means of the losses' functions, and the root of one.

A metric sees outputs as they are, never the logits behind them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import scratchnet.losses as losses
from scratchnet.metrics.metric import Mean, MeanMetricWrapper
from scratchnet.support import same_rank


class _Falling(MeanMetricWrapper):
    _direction = "down"


class MeanSquaredError(_Falling):
    """The squared difference from the targets, mean over a sample's outputs.

    >>> MeanSquaredError()([[1.0, 2.0]], [[3.0, 2.0]])
    2.0
    """

    def __init__(self, name: str | None = "mean_squared_error", dtype: Any = None):
        super().__init__(losses.mean_squared_error, name, dtype)


class MeanAbsoluteError(_Falling):
    """The distance from the targets, mean over a sample's outputs.

    >>> MeanAbsoluteError()([[1.0, 2.0]], [[3.0, 2.0]])
    1.0
    """

    def __init__(self, name: str | None = "mean_absolute_error", dtype: Any = None):
        super().__init__(losses.mean_absolute_error, name, dtype)


class RootMeanSquaredError(Mean):
    """The root of the mean squared difference from the targets, over all outputs of all samples.

    >>> RootMeanSquaredError()([[1.0, 2.0]], [[3.0, 4.0]])
    2.0
    """

    _direction = "down"

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None):
        super().__init__(name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        y, P = same_rank(np.asarray(y_true, self.dtype), np.asarray(y_pred, self.dtype))
        super().update_state(np.square(P - y), sample_weight)

    def result(self) -> float:
        return math.sqrt(super().result())


class KLDivergence(_Falling):
    """sum_k t_k log(t_k / a_k), mean over samples.

    >>> round(KLDivergence()([[1.0, 0.0]], [[0.5, 0.5]]), 4)
    0.6931
    """

    def __init__(self, name: str | None = "kl_divergence", dtype: Any = None):
        super().__init__(losses.kl_divergence, name, dtype)


class BinaryCrossentropy(_Falling):
    """-t log p - (1 - t) log(1 - p), mean over a sample's outputs.

    >>> round(BinaryCrossentropy()([[0, 1]], [[0.25, 0.75]]), 6)
    0.287682
    """

    def __init__(
        self,
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ):
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing}
        super().__init__(losses.binary_crossentropy, name, dtype, **options)
        self.from_logits, self.label_smoothing = from_logits, label_smoothing


class CategoricalCrossentropy(_Falling):
    """-sum_k t_k log p_k for targets t (B, K).

    >>> round(CategoricalCrossentropy()([[0, 1]], [[0.25, 0.75]]), 6)
    0.287682
    """

    def __init__(
        self,
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ):
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(losses.categorical_crossentropy, name, dtype, **options)
        self.from_logits, self.label_smoothing, self.axis = from_logits, label_smoothing, axis


class SparseCategoricalCrossentropy(_Falling):
    """-log p_y for integer labels y. Samples of the class `ignore_class` count with a loss of 0
    or, with sample weights, not at all, as in Keras.

    >>> round(SparseCategoricalCrossentropy()([1], [[0.25, 0.75]]), 6)
    0.287682
    """

    def __init__(
        self,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ):
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(losses.sparse_categorical_crossentropy, name, dtype, **options)
        self.from_logits, self.ignore_class, self.axis = from_logits, ignore_class, axis

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        if sample_weight is not None and self.ignore_class is not None:
            y = np.asarray(y_true)
            y = y[..., 0] if y.ndim == np.ndim(y_pred) else y
            weights = np.asarray(sample_weight, np.float64)
            counted, weights = same_rank(y != self.ignore_class, weights)
            sample_weight = weights * counted
        super().update_state(y_true, y_pred, sample_weight)
