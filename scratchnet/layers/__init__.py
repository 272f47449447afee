"""The layers of Keras's that are here; `core.py` holds those of the script, and what a layer is."""

from __future__ import annotations

from scratchnet.layers.core import Dense, Flatten, Input, Layer, Rescaling
from scratchnet.layers.pointwise import ELU, Activation, Identity, LeakyReLU, ReLU, Softmax
from scratchnet.layers.reshaping import InputLayer, Reshape
from scratchnet.layers.surface import Params

KINDS: tuple[type[Layer], ...] = (
    *(Flatten, Rescaling, Dense),
    *(Activation, ELU, Identity, LeakyReLU, ReLU, Reshape, Softmax),
)
LAYERS: dict[str, type[Layer]] = {kind.__name__: kind for kind in KINDS}
"""The layers that a saved file may name."""

__all__ = [
    "ELU",
    "LAYERS",
    "Activation",
    "Dense",
    "Flatten",
    "Identity",
    "Input",
    "InputLayer",
    "Layer",
    "LeakyReLU",
    "Params",
    "ReLU",
    "Rescaling",
    "Reshape",
    "Softmax",
]
