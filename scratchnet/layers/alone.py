"""A layer that is in no model: it may be built, called and asked for its losses by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

import scratchnet.checks as checks
from scratchnet.activations.names import floats
from scratchnet.config import floatx
from scratchnet.copying import extends
from scratchnet.engines import reference
from scratchnet.engines.contract import Array
from scratchnet.layers.core import Layer
from scratchnet.support import generator


def regularized(layer: Layer) -> list[tuple[str, Any]]:
    """The parameters that are regularized, by name, each with its regularizer."""
    found = [(name, getattr(layer, f"{name}_regularizer", None)) for name in layer.params]
    return [(name, by) for name, by in found if by is not None and layer.trainable]


@extends(Layer)
class Alone(Layer):
    """What `Layer` gains here."""

    _calls = 0
    _activity: Any = None

    def build(self, input_shape: Iterable[int | None]) -> None:
        """Draw the parameters of a layer alone; `input_shape` counts the batch axis."""
        _, *sizes = input_shape
        if self.built:
            return
        shape = checks.check_shape(sizes) if sizes else ()
        dtype, rng = np.dtype(floatx()), generator()
        self.compute_output_shape(shape)
        drawn = {n: draw(size, dtype, rng) for n, (size, draw) in self.parameters(shape).items()}
        zeros = {name: np.zeros_like(array) for name, array in drawn.items()}
        vars(self).update(input_shape=shape, params=drawn, grads=zeros)

    def __call__(self, inputs: Any, training: bool | None = None) -> Array:
        """The outputs of this layer by itself for one batch, by the reference engine.

        With `training` it computes as it does while a model trains, and its statistics move.
        """
        X, engine = floats(inputs), reference.ENGINE
        self.build(X.shape)
        dtype = next((array.dtype for array in self.params.values()), np.dtype(floatx()))
        X = X.astype(dtype, copy=False)
        train = getattr(self, "train_forward", None) if training else None
        if train is None:
            Z, cache = self.forward(X, self.params, engine)
        else:
            Z, cache = train(X, self.params, engine, self._calls)
            vars(self)["_calls"] = self._calls + 1
        A = engine.activation(self.activation).forward(Z)
        if train is not None and self.state:
            self.backward(np.zeros_like(Z), cache, self.params, self.grads, engine)
            for name in self.state:
                self.params[name] -= self.grads[name]
        by = self.activity_regularizer
        vars(self)["_activity"] = None if by is None else by(A) / len(A)
        return A

    @property
    def losses(self) -> list[Any]:
        """What the layer adds to a loss: for its parameters, and for its last call's outputs."""
        own = [by(self.params[name]) for name, by in regularized(self)]
        return own if self._activity is None else [*own, self._activity]

    @property
    def variables(self) -> list[Array]:
        """The parameters, as `weights`."""
        return self.weights
