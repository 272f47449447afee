"""Optimizers by Keras's names: `updates.py` has those of the script, `schedules.py` the rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import scratchnet.optimizers.options as options  # noqa: F401  gives `Optimizer` its options
import scratchnet.optimizers.schedules as schedules
from scratchnet.optimizers.rules import Adagrad, AdamW, Nadam, RMSprop
from scratchnet.optimizers.updates import SGD, Adam, Optimizer
from scratchnet.registry import instance, serialized
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

OPTIMIZERS: dict[str, type[SGD] | type[Adam] | type[RMSprop]] = {
    "sgd": SGD,
    "SGD": SGD,
    "adam": Adam,
    "Adam": Adam,
    "rmsprop": RMSprop,
    "RMSprop": RMSprop,
}
"""Those that both engines have code for."""
KINDS: tuple[type[Optimizer], ...] = (SGD, Adam, RMSprop, AdamW, Adagrad, Nadam)
NAMES: dict[str, type[Optimizer]] = {
    name: kind for kind in KINDS for name in (kind.__name__.lower(), kind.__name__)
}
"""Every optimizer, by Keras's names."""


def get(identifier: Any) -> Any:
    """An optimizer by name, class or configuration, or the given one; None for None.

    Raises:
        ValueError: for an unknown name.

    >>> get("adam").get_config()["epsilon"]
    1e-07
    """
    if isinstance(identifier, Optimizer):
        return identifier
    found = instance("optimizer", identifier, NAMES)
    if found is not None and not isinstance(found, Optimizer):
        raise ValueError(f"optimizer={identifier!r}: expected an optimizer, or the name of one.")
    return found


def of(identifier: Any) -> Optimizer:
    """As `get`, for a model that needs one.

    >>> of("sgd").name
    'sgd'
    """
    found = get(identifier)
    if found is None:
        raise ValueError("optimizer=None: expected an optimizer, or the name of one.")
    return found


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """The description of an optimizer, in Keras's words.

    >>> serialize(SGD(0.5))["config"]["learning_rate"]
    0.5
    """
    return serialized("keras.optimizers", optimizer, NAMES)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The optimizer that `serialize` described; class names in any case, as in Keras.

    >>> deserialize({"class_name": "SGD", "config": {"learning_rate": 0.5}}).learning_rate
    0.5
    """
    return instance("optimizer", config, NAMES | dict(custom_objects or {}))
