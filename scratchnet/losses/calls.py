"""Losses called on arrays, as Keras's are: no logits are known, the values are what they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.copying import extends
from scratchnet.engines.contract import Array
from scratchnet.losses.loss import Loss, SparseCategoricalCrossentropy
from scratchnet.objective import Objective, share
from scratchnet.support import same_rank, unwarned


@extends(Loss)
class CalledLoss(Loss):
    """What `Loss` gains here."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        """The loss of outputs given as an array: no logits are known, the values are what they are.

        Returns:
            A scalar of `dtype`, or an array of one number a sample without a reduction.
        """
        y, outputs = np.asarray(y_true, self.dtype), np.asarray(y_pred, self.dtype)
        with unwarned():
            losses, weights = self.call(y, outputs), None
        if sample_weight is not None:
            losses, weights = same_rank(losses, np.asarray(sample_weight, self.dtype))
            losses, weights = spread("sample_weight", losses, weights, whole=False)
        if losses.shape in ((), (0,)) or self.reduction in ("none", None):  # as in Keras
            return losses if weights is None else losses * weights
        counted = self.counted(y)
        counted = None if counted is None else counted.reshape(losses.shape)
        return np.sum(losses * share(self.reduction, weights, losses, counted))

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """One loss for each vector of K outputs: (..., K) -> (...)."""
        return self.of_arrays(*same_rank(y_true, y_pred))

    def of_arrays(self, y_true: Array, y_pred: Array) -> Array:
        """The same for targets and outputs that have as many axes as they should."""
        if not y_pred.ndim:
            raise ValueError(
                f"{self.name}: outputs of no axis: expected at least one, of K outputs."
            )
        y, outputs = self.matched(y_true, y_pred)
        flat = outputs.reshape(-1, outputs.shape[-1])
        y = y.reshape(-1) if self.sparse else y.reshape(flat.shape)
        losses, _, _ = Objective(self, "linear").losses(flat, flat, y)
        counted = self.counted(y)
        losses = losses if counted is None else np.where(counted, losses, np.zeros_like(losses))
        return losses.reshape(outputs.shape[:-1])

    def matched(self, y: Array, outputs: Array) -> tuple[Array, Array]:
        """Targets and outputs of one shape, the K of each vector last."""
        return spread(self.name, y, outputs)


@extends(SparseCategoricalCrossentropy)
class CalledOnLabels(SparseCategoricalCrossentropy):
    """What a loss of labels gains here."""

    def matched(self, y: Array, outputs: Array) -> tuple[Array, Array]:
        """Labels (...) and outputs (..., K) of the same leading axes."""
        if self.axis not in (-1, outputs.ndim - 1):
            raise ValueError(f"{self.name}: axis={self.axis!r}: only the last axis, -1, is taken.")
        if y.ndim == outputs.ndim and y.shape[-1:] == (1,):
            y = y[..., 0]
        y = y.astype(np.int64)
        alike(self.name, y, outputs[..., 0])
        wrong = (y < 0) | (y >= outputs.shape[-1])
        if self.ignore_class is not None:
            wrong &= y != self.ignore_class
        if wrong.any():
            raise ValueError(
                f"{self.name}: label {y[wrong][0]}: expected 0 to {outputs.shape[-1] - 1}."
            )
        return y, outputs


def alike(name: str, y: Array, outputs: Array) -> None:
    """Refuse targets of another shape than the outputs', which NumPy would broadcast."""
    if y.shape != outputs.shape:
        raise ValueError(
            f"{name}: targets of shape {y.shape}, outputs of {outputs.shape}: expected the same."
        )


def spread(name: str, a: Array, b: Array, whole: bool = True) -> tuple[Array, Array]:
    """Two arrays in the shape that both broadcast to; the second as it is unless `whole`."""
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"{name}: shapes {a.shape} and {b.shape} don't go together: expected the same, or one "
            "that NumPy broadcasts to the other."
        ) from None
    return np.broadcast_to(a, shape), np.broadcast_to(b, shape) if whole else b
