"""The losses as functions of arrays, by Keras's names: one number a sample, no reduction.

`loss=losses.mean_squared_error` in `compile` means the class of that name. The functions are made
of the classes in `losses.py`, which is the file to read.
"""

from __future__ import annotations

from typing import Any

from scratchnet.engines import Array


def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: None = None,
    axis: int = -1,
) -> Array:
    """-log p_y for labels (B,) and outputs (B, K) -> (B,).

    >>> sparse_categorical_crossentropy([1], [[0.25, 0.75]]).round(6).tolist()  # log 4/3
    [0.287682]
    """
    from scratchnet.losses import SparseCategoricalCrossentropy

    return SparseCategoricalCrossentropy(from_logits, ignore_class, "none", axis)(y_true, y_pred)


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """-sum_k t_k log p_k for targets and outputs (B, K) -> (B,).

    >>> categorical_crossentropy([[0, 1]], [[0.25, 0.75]]).round(6).tolist()
    [0.287682]
    """
    from scratchnet.losses import CategoricalCrossentropy

    return CategoricalCrossentropy(from_logits, label_smoothing, axis, "none")(y_true, y_pred)


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """mean_k (a_k - t_k)^2 for targets and outputs (B, K) -> (B,).

    >>> mean_squared_error([[1.0, 2.0]], [[3.0, 2.0]]).tolist()
    [2.0]
    """
    from scratchnet.losses import MeanSquaredError

    return MeanSquaredError("none")(y_true, y_pred)


FUNCTIONS = (sparse_categorical_crossentropy, categorical_crossentropy, mean_squared_error)


def name_of(identifier: Any) -> Any:
    """The name of one of these functions; anything else as it is."""
    return identifier.__name__ if identifier in FUNCTIONS else identifier
