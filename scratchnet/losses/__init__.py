"""The losses by Keras's names: classes, functions of arrays, and `get`.

What a loss is stands in `loss.py`, and what is computed in `objective.py`. `CLASSES` lists all that
there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scratchnet.engines import Array
from scratchnet.losses.dense_targets import CategoricalCrossentropy, MeanSquaredError
from scratchnet.losses.functions import (
    binary_crossentropy,
    categorical_crossentropy,
    huber,
    kl_divergence,
    mean_absolute_error,
    mean_squared_error,
    sparse_categorical_crossentropy,
)
from scratchnet.losses.loss import (
    REDUCTIONS,
    SIGMOID_READINGS,
    Loss,
    SparseCategoricalCrossentropy,
)
from scratchnet.losses.separable import (
    BinaryCrossentropy,
    Huber,
    KLDivergence,
    MeanAbsoluteError,
)
from scratchnet.registry import instance, serialized
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)

__all__ = [
    "CLASSES",
    "FAMILIES",
    "FUNCTIONS",
    "LOSSES",
    "NAMES",
    "REDUCTIONS",
    "SIGMOID_READINGS",
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Huber",
    "KLDivergence",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "huber",
    "kl_divergence",
    "mean_absolute_error",
    "mean_squared_error",
    "of",
    "serialize",
    "sparse_categorical_crossentropy",
]

KINDS: tuple[type[Loss], ...] = (
    *(SparseCategoricalCrossentropy, CategoricalCrossentropy, BinaryCrossentropy),
    *(MeanSquaredError, MeanAbsoluteError, Huber, KLDivergence),
)
CLASSES = {kind.__name__: kind for kind in KINDS}
FUNCTIONS: tuple[Callable[..., Array], ...] = (
    sparse_categorical_crossentropy,
    categorical_crossentropy,
    binary_crossentropy,
    mean_squared_error,
    mean_absolute_error,
    huber,
    kl_divergence,
)
"""`loss=losses.huber` in `compile` means the class of that family."""
SHORT = {
    "bce": binary_crossentropy,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "kld": kl_divergence,
}
NAMES: dict[str, Any] = {function.__name__: function for function in FUNCTIONS} | SHORT
NAMES |= {short.upper(): function for short, function in SHORT.items()} | CLASSES
"""What `get` finds: a function under its own name, a class under its own."""
FAMILIES = {kind.family: kind for kind in CLASSES.values()}
LOSSES: dict[str, type[Loss]] = {
    name: FAMILIES.get(thing.__name__, thing) for name, thing in NAMES.items()
}
"""The class that is minimised for `compile(loss=name)`."""


def get(identifier: Any) -> Any:
    """What Keras calls so: a function of arrays by its name, a loss by its class's name, class or
    config, None for None, and the given one otherwise.

    Raises:
        ValueError: for an unknown name.

    >>> get("mse") is mean_squared_error, get("MeanSquaredError").get_config()["reduction"]
    (True, 'sum_over_batch_size')
    """
    return instance("loss", identifier, NAMES)


def of(identifier: Any) -> Loss:
    """The loss that a model minimises for `compile(loss=identifier)`.

    >>> of("mse").name, of(Huber(2.0)).name
    ('mean_squared_error', 'huber_loss')
    """
    found = get(identifier)
    if isinstance(found, Loss):
        return found
    if found not in FUNCTIONS:
        raise ValueError(
            f"loss={identifier!r}: expected one of {', '.join(map(repr, NAMES))}, or an object of "
            "one of these classes: a function of your own has no derivative here."
        )
    return FAMILIES[found.__name__]()


def serialize(loss: Any) -> Any:
    """A loss as its class's name and config, a function as its name.

    >>> serialize(Huber())["class_name"], serialize(huber)["config"]
    ('Huber', 'huber')
    """
    return serialized("keras.losses", loss, CLASSES)


def deserialize(name: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The loss that `serialize` wrote.

    >>> deserialize({"class_name": "Huber", "config": {"delta": 2.0}}).delta
    2.0
    """
    return instance("loss", name, NAMES | (custom_objects or {}))
