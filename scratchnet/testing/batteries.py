"""Batteries of checks for anyone's layers, activations, losses, optimizers and batch loops.

Each takes your code as it is, holds it to named laws, and raises an AssertionError with the
smallest counterexample it found and the likely bug, or "not recognised". They need NumPy alone; in
a test-suite a call is a test. They refuse to guess: code in an unknown shape is a TypeError that
says what was looked for. Read `layer_battery.py` first; strategies for Hypothesis stand in
`strategies.py`.

>>> class Dense:
...     def __init__(self, inputs, outputs):
...         self.W, self.b = np.zeros((inputs, outputs)), np.zeros(outputs)
...     def forward(self, x):
...         self.x = x
...         return x @ self.W + self.b
...     def backward(self, dy):
...         self.dW, self.db = self.x.T @ dy, dy.sum(axis=0)
...         return dy @ self.W.T
>>> import numpy as np
>>> check_layer(Dense)
"""

from scratchnet.testing.adapters import Candidate
from scratchnet.testing.failure import LawError
from scratchnet.testing.layer_battery import LAYER_LAWS, check_activation, check_layer
from scratchnet.testing.loss_battery import LOSS_LAWS, check_loss
from scratchnet.testing.optimizer_battery import (
    BATCH_LAWS,
    OPTIMIZER_LAWS,
    check_batches,
    check_optimizer,
)

__all__ = [
    "BATCH_LAWS",
    "LAYER_LAWS",
    "LOSS_LAWS",
    "OPTIMIZER_LAWS",
    "Candidate",
    "LawError",
    "check_activation",
    "check_batches",
    "check_layer",
    "check_loss",
    "check_optimizer",
]
