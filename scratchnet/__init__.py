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
from scratchnet.initializers import Initializer
from scratchnet.layers import Input, Layer
from scratchnet.losses import Loss
from scratchnet.metrics import Metric
from scratchnet.optimizers import Optimizer
from scratchnet.regularizers import Regularizer
from scratchnet.sequential import Sequential
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)
vars(config)["__getattr__"] = refusing("scratchnet.config")  # the core imports config

__version__ = "0.1.0"

__all__ = [
    "Initializer",
    "Input",
    "Layer",
    "Loss",
    "Metric",
    "Optimizer",
    "Regularizer",
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
