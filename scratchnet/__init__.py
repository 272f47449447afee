"""scratchnet: a dense network from scratch, under Keras's names.

Only names live here. To read the code, begin with `engines/reference.py`, then `layers/core.py`,
`losses/loss.py`, `objective.py`, `optimizers/updates.py` and `model.py`.
"""

from scratchnet import (
    activations,
    backend,
    callbacks,
    config,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
    utils,
)
from scratchnet.layers import Input
from scratchnet.sequential import Sequential
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)

__version__ = "0.1.0"

__all__ = [
    "Input",
    "Sequential",
    "activations",
    "backend",
    "callbacks",
    "config",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "regularizers",
    "utils",
]
