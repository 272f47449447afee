"""The layers of Keras's that are here; `core.py` holds those of the script, and what a layer is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import scratchnet.layers.alone as alone  # noqa: F401  gives `Layer` what it may do in no model
from scratchnet.layers.core import Dense, Flatten, Input, Layer, Rescaling
from scratchnet.layers.normalization import BatchNormalization, Normalization
from scratchnet.layers.pointwise import ELU, Activation, Identity, LeakyReLU, ReLU, Softmax
from scratchnet.layers.regularization import (
    ActivityRegularization,
    Dropout,
    GaussianDropout,
    GaussianNoise,
)
from scratchnet.layers.reshaping import InputLayer, Reshape
from scratchnet.layers.surface import Params
from scratchnet.registry import instance, serialized
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)

__all__ = [
    "ELU",
    "LAYERS",
    "Activation",
    "ActivityRegularization",
    "BatchNormalization",
    "Dense",
    "Dropout",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "Input",
    "InputLayer",
    "Layer",
    "LeakyReLU",
    "Normalization",
    "Params",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Softmax",
    "deserialize",
    "serialize",
]

KINDS: tuple[type[Layer], ...] = (
    *(Flatten, Rescaling, Dense),
    *(Activation, ELU, Identity, LeakyReLU, ReLU, Reshape, Softmax),
    *(ActivityRegularization, BatchNormalization, Dropout, GaussianDropout, GaussianNoise),
    Normalization,
)
LAYERS: dict[str, type[Layer]] = {kind.__name__: kind for kind in KINDS}
"""The layers that a saved file may name."""


def serialize(layer: Layer) -> dict[str, Any]:
    """The description of a layer, in Keras's words.

    >>> serialize(Dense(3))["config"]["units"]
    3
    """
    return serialized("keras.layers", layer, LAYERS)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The layer that `serialize` described.

    >>> deserialize(serialize(Dense(3))).units
    3
    """
    return instance("layer", config, LAYERS | dict(custom_objects or {}))
