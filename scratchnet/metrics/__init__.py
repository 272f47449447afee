"""The metrics by Keras's names, and how `compile` reads what it is given as one.

What a metric is stands in `metric.py`. `CLASSES` lists all that there are.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

import scratchnet.losses as losses
from scratchnet.engines import Array
from scratchnet.losses import (
    binary_crossentropy,
    categorical_crossentropy,
    huber,
    kl_divergence,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from scratchnet.metrics.accuracies import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from scratchnet.metrics.confusion import (
    AUC,
    F1Score,
    FalseNegatives,
    FalsePositives,
    FBetaScore,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from scratchnet.metrics.errors import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    KLDivergence,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalCrossentropy,
)
from scratchnet.metrics.meters import Meters
from scratchnet.metrics.metric import Mean, MeanMetricWrapper, Metric, Sum
from scratchnet.registry import instance, serialized
from scratchnet.support import check_choice, snake_case
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)

__all__ = [
    "ACCURACY",
    "AUC",
    "CLASSES",
    "FUNCTIONS",
    "METRICS",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "KLDivergence",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Meters",
    "Metric",
    "Precision",
    "PrecisionAtRecall",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "binary_accuracy",
    "binary_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "check",
    "choose",
    "deserialize",
    "directions",
    "get",
    "huber",
    "is_accuracy",
    "kl_divergence",
    "made",
    "mean_absolute_error",
    "mean_squared_error",
    "name_of",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]

CLASSES: dict[str, type[Metric]] = {
    kind.__name__: kind
    for kind in (
        *(Mean, Sum, MeanMetricWrapper),
        *(Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy),
        *(TopKCategoricalAccuracy, SparseTopKCategoricalAccuracy),
        *(MeanSquaredError, MeanAbsoluteError, RootMeanSquaredError, KLDivergence),
        *(BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy),
        *(TruePositives, FalsePositives, TrueNegatives, FalseNegatives),
        *(Precision, Recall, AUC, FBetaScore, F1Score),
        *(SensitivityAtSpecificity, SpecificityAtSensitivity),
        *(PrecisionAtRecall, RecallAtPrecision),
    )
}


def _needs_arguments(kind: type[Metric]) -> bool:
    """Whether a metric can't be made without arguments, and so not by its name alone."""
    parameters = inspect.signature(kind).parameters.values()
    return any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)


SHORT = {"bce": BinaryCrossentropy, "mse": MeanSquaredError, "mae": MeanAbsoluteError}
METRICS: dict[str, type[Metric]] = {
    name: kind
    for proper, kind in CLASSES.items()
    for name in (proper, snake_case(proper))
    if not _needs_arguments(kind)
}
METRICS |= SHORT | {short.upper(): kind for short, kind in SHORT.items()}
"""What a metric may be called by."""
ACCURACY = ("accuracy", "acc")
FUNCTIONS: dict[str, Callable[..., Array]] = {
    function.__name__: function
    for function in (
        *(accuracy, binary_accuracy, categorical_accuracy, sparse_categorical_accuracy),
        *(top_k_categorical_accuracy, sparse_top_k_categorical_accuracy),
        *(binary_crossentropy, categorical_crossentropy, sparse_categorical_crossentropy),
        *(mean_squared_error, mean_absolute_error, huber, kl_divergence),
    )
}
"""The same as functions of arrays."""


def get(identifier: Any) -> Any:
    """What Keras calls so: a metric by its name, class or config, None for None, and the given
    object or function otherwise.

    Raises:
        ValueError: for an unknown name.

    >>> get("mse").name, get(SparseCategoricalAccuracy).name
    ('mean_squared_error', 'sparse_categorical_accuracy')
    """
    if _is_metric(identifier):
        return identifier
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    return instance("metric", identifier, METRICS)


def serialize(metric: Any) -> Any:
    """A metric as its class's name and config, a function as its name.

    >>> serialize(BinaryAccuracy(threshold=0.9))["config"]["threshold"]
    0.9
    """
    return serialized("keras.metrics", metric, CLASSES)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The metric that `serialize` wrote.

    >>> deserialize(serialize(BinaryAccuracy(threshold=0.9))).threshold
    0.9
    """
    own = custom_objects or {}
    if isinstance(config, Mapping) and config.get("class_name") == "MeanMetricWrapper":
        options = dict(config.get("config") or {})
        function = instance("function", options.pop("fn", None), FUNCTIONS | own)
        return MeanMetricWrapper(function, **options)
    return instance("metric", config, FUNCTIONS | METRICS | CLASSES | own)


# --- what `compile` is given ----------------------------------------------------------------------


def _is_metric(thing: Any) -> bool:
    """An object with Keras's three methods, whatever it is derived from."""
    methods = ("update_state", "result", "reset_state")
    return not isinstance(thing, type) and all(callable(getattr(thing, m, None)) for m in methods)


def is_accuracy(identifier: Any) -> bool:
    """Whether it is the word that stands for the accuracy that fits the shapes."""
    return isinstance(identifier, str) and identifier.lower() in ACCURACY


def made(identifier: Any) -> Any:
    """The metric that is meant, named as Keras names it, or None for the word accuracy, which is
    decided by the data (`choose`)."""
    if is_accuracy(identifier):
        return None
    if identifier is None:
        raise ValueError("metric None: expected a name, a function, a class or a metric.")
    if isinstance(identifier, str):
        check_choice("metric", identifier, dict.fromkeys(ACCURACY) | METRICS)
    found = get(identifier)
    if not _is_metric(found):
        name = snake_case(getattr(found, "__name__", type(found).__name__))
        wrapper = MeanMetricWrapper(found, getattr(found, "name", name))
        if isinstance(found, losses.Loss) or found in losses.FUNCTIONS:
            wrapper._direction = "down"
        return wrapper
    if isinstance(identifier, str):
        found.name = identifier
    elif not hasattr(found, "name"):
        found.name = snake_case(type(found).__name__)
    return found


def choose(metric: Any, identifier: Any, y: Array, outputs: tuple[int, ...]) -> Any:
    """The metric, and for the word accuracy the one that Keras chooses by the shapes: binary for
    one output, sparse for one label a sample, else categorical."""
    if metric is not None:
        return metric
    if outputs[-1] == 1:
        return BinaryAccuracy(identifier)
    sparse = y.ndim < len(outputs) + 1 or y.shape[-1] == 1
    return SparseCategoricalAccuracy(identifier) if sparse else CategoricalAccuracy(identifier)


def check(metric: Any, y: Array, outputs: tuple[int, ...]) -> None:
    """Refuse a metric of ours that can't read such targets, before anything moves. Nobody else's
    code is called: a metric or function of the user's own sees real batches alone."""
    ours = type(metric).__module__.startswith(__name__)
    function = getattr(metric, "_fn", None)
    named = function is None or isinstance(function, losses.Loss) or function in FUNCTIONS.values()
    if not ours or not named:
        return
    samples = outputs[-1] + 1  # so that samples are not taken for outputs
    even = np.full((samples, *outputs), 1 / outputs[-1])
    try:
        copy.deepcopy(metric).update_state(np.repeat(y[:1], samples, axis=0), even)
    except ValueError as error:
        raise ValueError(
            f"metric {metric.name!r}: targets of shape {y.shape} don't go with outputs of shape "
            f"{(len(y), *outputs)}. Take a metric that goes with the loss, or 'accuracy', which "
            "finds its own."
        ) from error


def name_of(identifier: Any, metric: Any) -> str:
    """The name under which a metric will be logged."""
    return str(identifier) if metric is None else metric.name


def directions(identifiers: Iterable[Any], found: Iterable[Any]) -> dict[str, bool | None]:
    """Whether each logged number rises as a model gets better, by its name; None for unknown."""
    known: dict[str, bool | None] = {"loss": False}
    for identifier, metric in zip(identifiers, found, strict=True):
        way = "up" if metric is None else getattr(metric, "_direction", None)
        known[name_of(identifier, metric)] = None if way is None else way == "up"
    return known
