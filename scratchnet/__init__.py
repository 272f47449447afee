"""scratchnet: a dense network from scratch, under Keras's names.

Only names live here. To read the code, begin with `engines/reference.py`, then `layers/core.py`,
`losses/loss.py`, `objective.py`, `optimizers/updates.py` and `model.py`.
"""

import scratchnet.activations as activations
import scratchnet.backend as backend
import scratchnet.callbacks as callbacks
import scratchnet.config as config
import scratchnet.datasets as datasets
import scratchnet.initializers as initializers
import scratchnet.layers as layers
import scratchnet.losses as losses
import scratchnet.metrics as metrics
import scratchnet.models as models
import scratchnet.optimizers as optimizers
import scratchnet.regularizers as regularizers
import scratchnet.utils as utils
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
