"""How often an output is right: accuracies as Keras defines them, as functions and as metrics.

A function gives 1.0 or 0.0 for each answer, in `floatx`; the metric of the same name is the mean.
Of several largest outputs the first one counts; NaN is never the largest.
Source: Keras, metrics/accuracy_metrics.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.config import floatx
from scratchnet.engines import Array
from scratchnet.metrics.metric import MeanMetricWrapper
from scratchnet.support import same_rank


def _outputs(y_pred: Any) -> Array:
    array = np.asarray(y_pred)
    return array if array.dtype.kind == "f" else array.astype(floatx())


def _right(y_true: Array, answers: Array) -> Array:
    """1.0 where they are equal, in `floatx`."""
    try:
        return (y_true == answers).astype(floatx())
    except (AttributeError, ValueError):
        raise ValueError(
            f"targets of shape {y_true.shape} for answers of shape {answers.shape}: expected the "
            "same. Take a metric that goes with the loss, or 'accuracy', which finds its own."
        ) from None


def largest(P: Array) -> Array:
    """The place of the largest of each K outputs, (..., K) -> (...): the first of several.

    >>> largest(np.array([[0.1, 0.7], [0.5, 0.5], [np.nan, 0.1]])).tolist()
    [1, 0, 1]
    """
    places: Array = np.argmax(P, axis=-1)
    found = np.take_along_axis(P, np.expand_dims(places, -1), -1)
    if np.isnan(found).any():  # NumPy takes NaN for the largest, Keras for the smallest
        places = np.argmax(np.where(np.isnan(P), -np.inf, P), axis=-1)
    return places


def accuracy(y_true: Any, y_pred: Any) -> Array:
    """Whether each output equals its target.

    >>> accuracy([1, 2], [1, 3]).tolist()
    [1.0, 0.0]
    """
    return _right(*same_rank(np.asarray(y_true, _outputs(y_pred).dtype), _outputs(y_pred)))


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Array:
    """Whether each output is above the threshold just where its target is 1: (B, K) -> (B, K).

    >>> binary_accuracy([[1], [0]], [[0.9], [0.6]]).tolist()
    [[1.0], [0.0]]
    """
    y, P = same_rank(np.asarray(y_true), _outputs(y_pred))
    return _right(y, threshold < P)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """Whether the largest output stands where the largest target does: (B, K) -> (B,).

    >>> categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.9], [0.1, 0.3]]).tolist()
    [1.0, 0.0]
    """
    return _right(largest(_outputs(y_true)), largest(_outputs(y_pred)))


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """Whether the largest of the K outputs is the integer label's: (B,) or (B, 1) -> (B,).

    >>> sparse_categorical_accuracy([1, 0], [[0.2, 0.9], [1.0, 1.0]]).tolist()
    [1.0, 1.0]
    """
    y, P = np.asarray(y_true), _outputs(y_pred)
    column = y.ndim == P.ndim and y.shape[-1] == 1
    matches: Array = _right(y[..., 0] if column else y, largest(P))
    matches = matches.reshape(y.shape) if column else matches
    single = matches.ndim > 1 and matches.shape[-1:] == (1,)
    return np.squeeze(matches, -1) if single else matches


def _in_top_k(labels: Array, P: Array, k: int) -> Array:
    """Whether fewer than k outputs are larger than the label's; never where one is not finite."""
    rows, places = P.reshape(-1, P.shape[-1]), labels.reshape(-1).astype(np.int64)
    known = (places >= 0) & (places < rows.shape[-1]) & np.isfinite(rows).all(axis=-1)
    own = rows[np.arange(len(rows)), np.where(known, places, 0)]
    with np.errstate(invalid="ignore"):
        ahead = np.sum(rows > own[:, None], axis=-1)
    return (known & (ahead < k)).astype(floatx()).reshape(labels.shape)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Array:
    """Whether the largest target's output is among the k largest: (B, K) -> (B,).

    >>> top_k_categorical_accuracy([[0, 0, 1]], [[0.5, 0.1, 0.4]], k=2).tolist()
    [1.0]
    """
    return _in_top_k(largest(_outputs(y_true)), _outputs(y_pred), k)


def sparse_top_k_categorical_accuracy(
    y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False
) -> Array:
    """Whether the label's output is among the k largest: (B,) -> (B,).

    With `from_sorted_ids` the outputs are labels, the likeliest first.

    >>> sparse_top_k_categorical_accuracy([2], [[0.5, 0.1, 0.4]], k=2).tolist()
    [1.0]
    """
    y, P = np.asarray(y_true), _outputs(y_pred)
    if not from_sorted_ids:
        return _in_top_k(y, P, k)
    found = (y.reshape(-1, 1) == P.reshape(-1, P.shape[-1])[:, :k]).any(axis=1)
    return found.astype(floatx()).reshape(y.shape)


class _Rising(MeanMetricWrapper):
    _direction = "up"


class Accuracy(_Rising):
    """How often an output equals its target; `"accuracy"` in `compile` means another one, which
    fits the loss.

    >>> Accuracy()([1, 2], [1, 3])
    0.5
    """

    def __init__(self, name: str | None = "accuracy", dtype: Any = None):
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(_Rising):
    """How often an output above `threshold` has the target 1, mean over a sample's outputs.

    >>> BinaryAccuracy()([[1], [0]], [[0.9], [0.6]])
    0.5
    """

    def __init__(
        self, name: str | None = "binary_accuracy", dtype: Any = None, threshold: float = 0.5
    ):
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)

    @property
    def threshold(self) -> float:
        """May be assigned: it counts from the next update on."""
        threshold: float = self._fn_kwargs["threshold"]
        return threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not isinstance(value, int | float | np.number):
            raise ValueError(f"threshold={value!r}: expected a number.")
        self._fn_kwargs["threshold"] = value


class CategoricalAccuracy(_Rising):
    """How often the largest output stands where the largest target does.

    >>> CategoricalAccuracy()([[0, 1], [1, 0]], [[0.2, 0.9], [0.1, 0.3]])
    0.5
    """

    def __init__(self, name: str | None = "categorical_accuracy", dtype: Any = None):
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(_Rising):
    """How often the largest of the K outputs is the integer label's; ties go to the lowest index.

    >>> found = SparseCategoricalAccuracy()
    >>> found.update_state([1, 0], [[0.2, 0.9], [1.0, 1.0]])
    >>> found.result()
    1.0
    """

    def __init__(self, name: str | None = "sparse_categorical_accuracy", dtype: Any = None):
        super().__init__(sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(_Rising):
    """How often the largest target's output is among the k largest.

    >>> TopKCategoricalAccuracy(k=1)([[0, 0, 1]], [[0.5, 0.1, 0.4]])
    0.0
    """

    def __init__(
        self, k: int = 5, name: str | None = "top_k_categorical_accuracy", dtype: Any = None
    ):
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k


class SparseTopKCategoricalAccuracy(_Rising):
    """How often the integer label's output is among the k largest.

    >>> SparseTopKCategoricalAccuracy(k=2)([2], [[0.5, 0.1, 0.4]])
    1.0
    """

    def __init__(
        self,
        k: int = 5,
        name: str | None = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ):
        sorted_ids = {"from_sorted_ids": True} if from_sorted_ids else {}
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k, **sorted_ids)
        self.k, self.from_sorted_ids = k, from_sorted_ids
