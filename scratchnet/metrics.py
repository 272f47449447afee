"""Accuracy as Keras defines it, and running means.

An accuracy looks at the outputs as they are: in float32 a saturated sigmoid is exactly 1, several
may tie, and the first of them counts. That is part of what Keras reports, so it is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.engines import Array
from scratchnet.inputs import Data
from scratchnet.utils import nearest


class Metric:
    """A running mean over samples: `update_state` adds, `result` reads, `reset_state` clears.

    Subclasses define `values(y_true, y_pred) -> (B,)`.
    """

    def __init__(self, name: str | None = None):
        self.name = name or self.default_name
        self.reset_state()

    default_name = "metric"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define values(y_true, y_pred).")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.add(self.values(np.asarray(y_true), np.asarray(y_pred)), sample_weight)

    def add(self, values: Any, sample_weight: Any = None) -> None:
        """Let values (B,) into the mean, each with its weight."""
        values = np.asarray(values, np.float64)
        weights = np.broadcast_to(1.0 if sample_weight is None else sample_weight, values.shape)
        self.total += float(np.sum(values * weights))
        self.count += float(np.sum(weights))

    def result(self) -> float:
        return self.total / self.count if self.count else 0.0

    def reset_state(self) -> None:
        self.total = self.count = 0.0


class Mean(Metric):
    """The weighted mean of numbers: `update_state(values, sample_weight=None)`.

    >>> loss = Mean()
    >>> loss.update_state(1.0, sample_weight=32)
    >>> loss.update_state(4.0, sample_weight=16)
    >>> loss.result()
    2.0
    """

    default_name = "mean"

    def update_state(self, values: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        self.add(values, sample_weight)


class SparseCategoricalAccuracy(Metric):
    """How often the largest of the K outputs is the integer label's; ties go to the lowest index.

    >>> accuracy = SparseCategoricalAccuracy()
    >>> accuracy.update_state([1, 0], [[0.2, 0.9], [1.0, 1.0]])
    >>> accuracy.result()
    1.0
    """

    default_name = "sparse_categorical_accuracy"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.argmax(y_pred, axis=-1) == y_true.reshape(len(y_pred))


class CategoricalAccuracy(Metric):
    """How often the largest output stands where the largest target does."""

    default_name = "categorical_accuracy"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.argmax(y_pred, axis=-1) == np.argmax(y_true, axis=-1)


class BinaryAccuracy(Metric):
    """How often an output above 1/2 has the target 1, mean over a sample's outputs."""

    default_name = "binary_accuracy"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.mean((y_pred > 0.5) == y_true.reshape(y_pred.shape), axis=-1)


class MeanSquaredError(Metric):
    """The squared difference from the targets, mean over a sample's outputs."""

    default_name = "mean_squared_error"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.mean((y_pred - y_true.reshape(y_pred.shape)) ** 2, axis=-1)


METRICS: dict[str, type[Metric]] = {
    metric.default_name: metric
    for metric in (SparseCategoricalAccuracy, CategoricalAccuracy, BinaryAccuracy, MeanSquaredError)
}
METRICS |= {"mse": MeanSquaredError, "MSE": MeanSquaredError}
ACCURACY = ("accuracy", "acc")


def get(identifier: str | Metric, y: Array, classes: int) -> Metric:
    """A metric by name, or the given one. `"accuracy"` is chosen by the shapes, as Keras chooses:
    binary for one output, sparse for one label a sample, else categorical."""
    if isinstance(identifier, Metric):
        return identifier
    name = nearest("metric", identifier, (*ACCURACY, *METRICS))
    if name not in ACCURACY:
        return METRICS[name](name)
    if classes == 1:
        return BinaryAccuracy(name)
    sparse = y.ndim < 2 or y.shape[-1] == 1
    return SparseCategoricalAccuracy(name) if sparse else CategoricalAccuracy(name)


class Meters:
    """The running numbers of an epoch: the loss, each batch counting by its size, then the metrics.

    `metrics` see the samples alike, `weighted` with their sample weights, as in Keras.
    """

    def __init__(self, metrics: list[Metric], weighted: list[Metric]):
        self.loss, self.metrics, self.weighted = Mean("loss"), metrics, weighted
        for metric in (*metrics, *weighted):
            metric.reset_state()

    def update(self, batch: Data, loss: float, outputs: Array) -> None:
        self.loss.update_state(loss, sample_weight=len(batch.x))
        for metric in self.metrics:
            metric.update_state(batch.y, outputs)
        for metric in self.weighted:
            metric.update_state(batch.y, outputs, batch.weights)

    def logs(self) -> dict[str, float]:
        return {metric.name: metric.result() for metric in self.all}

    @property
    def all(self) -> list[Metric]:
        return [self.loss, *self.metrics, *self.weighted]
