"""The losses as functions of arrays: one number a sample, in the outputs' own dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.config import floatx
from scratchnet.engines import Array
from scratchnet.losses.dense_targets import CategoricalCrossentropy, MeanSquaredError
from scratchnet.losses.loss import Loss, SparseCategoricalCrossentropy
from scratchnet.losses.separable import (
    BinaryCrossentropy,
    Huber,
    KLDivergence,
    MeanAbsoluteError,
)
from scratchnet.support import unwarned


def _called(loss: Loss, y_true: Any, y_pred: Any, squeezes: bool = False) -> Array:
    """The losses; `squeezes` is for those that let a vector stand for a column, as in Keras."""
    y, outputs = np.asarray(y_true), np.asarray(y_pred)
    if outputs.dtype.kind != "f" or isinstance(y_pred, list | tuple | float):
        outputs = outputs.astype(floatx())
    y = y if loss.sparse else y.astype(outputs.dtype)
    with unwarned():
        return (loss.call if squeezes else loss.of_arrays)(y, outputs)


def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Array:
    """-log p_y for labels (B,) and outputs (B, K) -> (B,).

    >>> sparse_categorical_crossentropy([1], np.array([[0.25, 0.75]])).round(6).tolist()
    [0.287682]
    """
    loss = SparseCategoricalCrossentropy(from_logits, ignore_class, axis=axis)
    return _called(loss, y_true, y_pred)


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """-sum_k t_k log p_k for targets and outputs (B, K) -> (B,).

    >>> categorical_crossentropy([[0, 1]], np.array([[0.25, 0.75]])).round(6).tolist()
    [0.287682]
    """
    return _called(CategoricalCrossentropy(from_logits, label_smoothing, axis), y_true, y_pred)


def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """mean_k of -t_k log p_k - (1 - t_k) log(1 - p_k) for targets and outputs (B, K) -> (B,).

    >>> binary_crossentropy([[0, 1]], np.array([[0.25, 0.75]])).round(6).tolist()
    [0.287682]
    """
    return _called(BinaryCrossentropy(from_logits, label_smoothing, axis), y_true, y_pred)


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """mean_k (a_k - t_k)^2 for targets and outputs (B, K) -> (B,).

    >>> mean_squared_error([[1.0, 2.0]], [[3.0, 2.0]]).tolist()
    [2.0]
    """
    return _called(MeanSquaredError(), y_true, y_pred, squeezes=True)


def mean_absolute_error(y_true: Any, y_pred: Any) -> Array:
    """mean_k |a_k - t_k| for targets and outputs (B, K) -> (B,).

    >>> mean_absolute_error([[1.0, 2.0]], [[3.0, 2.0]]).tolist()
    [1.0]
    """
    return _called(MeanAbsoluteError(), y_true, y_pred, squeezes=True)


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Array:
    """mean_k of the squared difference, halved, within delta and linear beyond: (B, K) -> (B,).

    >>> huber([[0.0, 0.0]], [[0.5, 3.0]]).tolist()
    [1.3125]
    """
    return _called(Huber(delta), y_true, y_pred, squeezes=True)


def kl_divergence(y_true: Any, y_pred: Any) -> Array:
    """sum_k t_k log(t_k / a_k) for targets and outputs (B, K) -> (B,).

    >>> kl_divergence([[1.0, 0.0]], np.array([[0.5, 0.5]])).round(4).tolist()
    [0.6931]
    """
    return _called(KLDivergence(), y_true, y_pred)
