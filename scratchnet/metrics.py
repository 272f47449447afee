"""Accuracy as Keras defines it, and running means.

An accuracy looks at the outputs as they are: in float32 a saturated sigmoid is exactly 1, several
may tie, and the first of them counts. That is part of what Keras reports, so it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from scratchnet.checks import Examples
from scratchnet.config import floatx
from scratchnet.engines import Array
from scratchnet.support import reject_unsupported, resolve


class Metric:
    """A running mean over samples: `update_state` adds, `result` reads, `reset_state` clears.

    Subclasses define `values(y_true, y_pred) -> (B,)`. The sums are float64 whatever the model is;
    Keras's are of its float type.

    >>> class Offset(Metric):
    ...     default_name = "offset"
    ...     def values(self, y_true, y_pred):
    ...         return (y_pred - y_true)[:, 0]
    >>> Offset()([[1.0], [2.0]], [[2.0], [5.0]])
    2.0
    """

    total: float
    count: float
    default_name = "metric"
    rises: bool | None = None
    """Whether more is better, for callbacks that watch it; None for unknown."""

    def __init__(self, name: str | None = None, dtype: None = None):
        reject_unsupported(type(self).__name__, dtype=(dtype, None))
        self.name = name or self.default_name
        self.reset_state()

    @property
    def dtype(self) -> str:
        """Of the sums."""
        return "float64"

    @property
    def variables(self) -> list[float]:
        """The sums: of the weighted values, and of the weights."""
        return [self.total, self.count]

    def values(self, y_true: Array, y_pred: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define values(y_true, y_pred).")

    def targets(self, y_true: Array, like: Array) -> Array:
        """The targets in the shape that this metric compares with."""
        if y_true.size != like.size or len(y_true) != len(like):
            raise ValueError(
                f"metric {self.name!r}: targets of shape {y_true.shape}: expected {like.shape}. "
                "Take a metric that goes with the loss, or 'accuracy', which finds its own."
            )
        return y_true.reshape(like.shape)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.add(self.values(np.asarray(y_true), np.asarray(y_pred)), sample_weight)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """`update_state`, then `result`."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def add(self, values: Any, sample_weight: Any = None) -> None:
        """Let values (B,) into the mean, each with its weight; further axes are averaged."""
        values = np.asarray(values, np.float64)
        if sample_weight is None:
            weights = np.ones(values.shape[:1])
        else:
            weights = np.asarray(sample_weight, np.float64)
        if weights.size == values.size:
            weights = weights.reshape(values.shape)
        elif weights.shape != values.shape[: weights.ndim]:
            raise ValueError(
                f"sample_weight has shape {weights.shape}, the values {values.shape}: expected "
                "one weight for each value, or for each sample."
            )
        else:
            values = values.mean(axis=tuple(range(weights.ndim, values.ndim)))
        if values.ndim > 1:
            values, weights = (
                array.mean(axis=tuple(range(1, array.ndim)))
                for array in (values * weights, weights)
            )
            self.total += float(np.sum(values))
        else:
            self.total += float(np.sum(values * weights))
        self.count += float(np.sum(weights))

    def extend(self, totals: Array, counts: Any) -> None:
        """Let sums over batches in, one after the other: to the same bits, however many at once."""
        self.total = float(np.cumsum([self.total, *totals])[-1])
        self.count += float(np.sum(counts))

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

    def __call__(self, values: Any, sample_weight: Any = None) -> float:  # type: ignore[override]
        """`update_state`, then `result`."""
        self.update_state(values, sample_weight)
        return self.result()

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
    rises = True

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.argmax(y_pred, axis=-1) == self.targets(y_true, y_pred[..., 0])


class CategoricalAccuracy(Metric):
    """How often the largest output stands where the largest target does.

    >>> CategoricalAccuracy()([[0, 1], [1, 0]], [[0.2, 0.9], [0.1, 0.3]])
    0.5
    """

    default_name = "categorical_accuracy"
    rises = True

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.argmax(y_pred, axis=-1) == np.argmax(self.targets(y_true, y_pred), axis=-1)


class BinaryAccuracy(Metric):
    """How often an output above `threshold` has the target 1, mean over a sample's outputs.

    >>> BinaryAccuracy()([[1], [0]], [[0.9], [0.6]])
    0.5
    """

    default_name = "binary_accuracy"
    rises = True

    def __init__(self, name: str | None = None, dtype: None = None, threshold: float = 0.5):
        super().__init__(name, dtype)
        self.threshold = threshold

    @property
    def threshold(self) -> float:
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if not isinstance(value, int | float | np.number):
            raise ValueError(f"threshold={value!r}: expected a number.")
        self._threshold = float(value)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.mean((y_pred > self.threshold) == self.targets(y_true, y_pred), axis=-1)


class MeanSquaredError(Metric):
    """The squared difference from the targets, mean over a sample's outputs.

    >>> MeanSquaredError()([[1.0, 2.0]], [[3.0, 2.0]])
    2.0
    """

    default_name = "mean_squared_error"
    rises = False

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.mean((y_pred - self.targets(y_true, y_pred)) ** 2, axis=-1)


class FunctionMetric(Metric):
    """The mean of a function `(y_true, y_pred) -> (B,)` on arrays, for `metrics=[function]`.

    >>> furthest = FunctionMetric(lambda y_true, y_pred: abs(y_pred - y_true).max(axis=1))
    >>> furthest(np.array([[1.0, 2.0]]), np.array([[1.5, 4.0]]))
    2.0
    """

    def __init__(self, function: Callable[[Array, Array], Any]):
        super().__init__(getattr(function, "__name__", "metric"))
        self.function = function

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(self.function(y_true, y_pred))


def _function(metric: type[Metric]) -> Callable[[Any, Any], Array]:
    def function(y_true: Any, y_pred: Any) -> Array:
        return metric().values(np.asarray(y_true), np.asarray(y_pred)).astype(floatx())

    function.__name__ = function.__qualname__ = metric.default_name
    function.__doc__ = f"{metric.__doc__}\n\n    (B, ...), (B, K) -> (B,)."
    return function


sparse_categorical_accuracy = _function(SparseCategoricalAccuracy)
categorical_accuracy = _function(CategoricalAccuracy)
binary_accuracy = _function(BinaryAccuracy)
mean_squared_error = _function(MeanSquaredError)

METRICS: dict[str, type[Metric]] = {"mse": MeanSquaredError, "MSE": MeanSquaredError}
for _kind in (SparseCategoricalAccuracy, CategoricalAccuracy, BinaryAccuracy, MeanSquaredError):
    METRICS |= {_kind.default_name: _kind, _kind.__name__: _kind}
ACCURACY = ("accuracy", "acc")


def get(identifier: Any) -> Metric:
    """A metric by its name, class or function, or the given one; `ValueError` for an unknown one.

    >>> get("mse").name, get(SparseCategoricalAccuracy).name
    ('mse', 'sparse_categorical_accuracy')
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, type):
        return METRICS[resolve("metric", identifier, METRICS)]()
    if callable(identifier):
        return FunctionMetric(identifier)
    name = resolve("metric", identifier, dict.fromkeys(ACCURACY) | METRICS)
    return METRICS[name](name)


def is_accuracy(identifier: Any) -> bool:
    """Whether it is the word that stands for the accuracy that fits the shapes."""
    return isinstance(identifier, str) and identifier.lower() in ACCURACY


def choose(identifier: Any, y: Array, classes: int) -> Metric:
    """`get`, and for `"accuracy"` the one that Keras chooses by the shapes: binary for one output,
    sparse for one label a sample, else categorical."""
    if not is_accuracy(identifier):
        return get(identifier)
    if classes == 1:
        return BinaryAccuracy(identifier)
    sparse = y.ndim < 2 or y.shape[-1] == 1
    return SparseCategoricalAccuracy(identifier) if sparse else CategoricalAccuracy(identifier)


def name_of(identifier: Any) -> str:
    """The name under which a metric will be logged."""
    return str(identifier) if is_accuracy(identifier) else get(identifier).name


def directions(metrics: Iterable[Any], weighted: Iterable[Any]) -> dict[str, bool | None]:
    """Whether each logged number rises as a model gets better, by its name."""
    found: dict[str, bool | None] = {"loss": False}
    for identifier in (*metrics, *weighted):
        found[name_of(identifier)] = is_accuracy(identifier) or get(identifier).rises
    return found


def unique_names(plain: list[str], weighted: list[str]) -> list[str]:
    """Keras's names where several metrics have the same: `_1`, `_2`, and `weighted_`.

    >>> unique_names(["acc", "mse", "acc"], ["acc", "acc"])
    ['acc', 'mse', 'acc_1', 'weighted_acc', 'weighted_acc_1']
    """
    taken: dict[str, int] = {}
    names = []
    for name, prefix in [(n, "") for n in plain] + [(n, "weighted_") for n in weighted]:
        if name in taken:
            name = prefix + name
        count = taken.setdefault(name, 0)
        taken[name] += 1
        names.append(f"{name}_{count}" if count else name)
    return names


class Meters:
    """The running numbers of an epoch: the loss, each batch counting by its size, then the metrics.

    `metrics` see the samples alike, `weighted` with their sample weights, as in Keras.
    """

    def __init__(self, metrics: list[Metric], weighted: list[Metric]):
        self.loss, self.metrics, self.weighted = Mean("loss"), metrics, weighted
        names = ([metric.name for metric in group] for group in (metrics, weighted))
        self.names = ["loss", *unique_names(*names)]
        for metric in (*metrics, *weighted):
            metric.reset_state()

    def update(self, batch: Examples, loss: float, outputs: Array) -> None:
        self.loss.update_state(loss, sample_weight=len(batch.x))
        for metric in self.metrics:
            metric.update_state(batch.y, outputs)
        for metric in self.weighted:
            metric.update_state(batch.y, outputs, batch.weights)

    def count(self, losses: Array, right: Array, sizes: Array) -> None:
        """The same for whole batches at once: their losses, right answers and sizes, (n,) each.

        Only for metrics that are accuracies of one answer a sample.
        """
        self.loss.extend(losses * sizes, sizes)
        for metric in (*self.metrics, *self.weighted):
            metric.extend(right, sizes)

    def logs(self) -> dict[str, float]:
        """The numbers so far by name, in Keras's order, which is the alphabet's."""
        return dict(sorted(zip(self.names, self.values(), strict=True)))

    def values(self) -> list[float]:
        """The numbers so far: the loss, then the metrics in the order of `compile`."""
        return [metric.result() for metric in self.all]

    @property
    def all(self) -> list[Metric]:
        return [self.loss, *self.metrics, *self.weighted]
