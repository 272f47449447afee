"""Training that stops being finite: back to the last good weights, and the first bad tensor.

A state is kept to go back to every so many steps, and the steps since are taken again, one at a
time: so that the fast way pays almost nothing, and the state is exactly that from before the step
that went wrong. It knows no files and no engine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scratchnet.checks import Examples
from scratchnet.engines import Array
from scratchnet.model import Network


class Kept:
    """Weights, slots and step count of a model from before batch `at`, to go back to; -1: none."""

    at = -1

    def __init__(self, model: Network):
        self.model = model
        self.copies: list[Array] = []

    def _vectors(self) -> list[Array]:
        return [self.model.theta, *self.model.optimizer.slots.values()]

    def keep(self, at: int) -> None:
        vectors = self._vectors()
        if [copy.shape for copy in self.copies] != [vector.shape for vector in vectors]:
            self.copies = [vector.copy() for vector in vectors]
        for copy, vector in zip(self.copies, vectors, strict=True):
            copy[:] = vector
        self.iterations, self.at = self.model.optimizer.iterations, at

    def restore(self) -> None:
        for copy, vector in zip(self.copies, self._vectors(), strict=True):
            vector[:] = copy
        self.model.optimizer.iterations = self.iterations


def first_bad(model: Network, batch: Examples) -> str:
    """The first tensor of a step on this batch that is not finite, or ""; the model stays as it is.

    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(1, kernel_initializer="ones")])
    >>> model.compile("sgd", "mse")
    >>> first_bad(model, model.batch([[3e38]], [[-3e38]]))
    'the loss'
    """
    kept = Kept(model)
    kept.keep(0)
    with np.errstate(all="ignore"):
        tensors = _tensors(model, batch)
        found = next((name for name, array in tensors if not np.isfinite(array).all()), "")
    kept.restore()
    return found


def _tensors(model: Network, batch: Examples) -> Iterator[tuple[str, Array]]:
    """What a step computes, in its order."""
    yield "x", batch.x.astype(model.theta.dtype, copy=False)
    for layer in model.layers:
        for name, array in layer.params.items():
            yield f"{name} of layer {layer.name!r}", array
    for layer, stage in zip(model.layers, model.run(batch.x), strict=True):
        yield f"Z of layer {layer.name!r}", stage.Z
        yield f"A of layer {layer.name!r}", stage.A
    yield "the loss", model.gradient(batch)[0]
    for layer in reversed(model.layers):
        for name, array in layer.grads.items():
            yield f"the gradient of {name} of layer {layer.name!r}", array
    model.train_step(batch)
    for layer in model.layers:
        for name, array in layer.params.items():
            yield f"the new {name} of layer {layer.name!r}", array
