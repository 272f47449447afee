"""A model as the first layer of another, as in `Sequential([model, Softmax()])`.

Both have the same weights: the inner model's vector becomes a stretch of the outer one's, so that
training either trains both. It refuses what it could not do rightly: a model on top of other
layers, one whose layers train otherwise than they predict or are regularized, one that is partly
frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from scratchnet.checks import Shape
from scratchnet.engines.contract import Array, Engine
from scratchnet.layers.core import Layer
from scratchnet.layers.surface import Params
from scratchnet.support import SETTLED


def _as_it_is(array: Array, shape: Shape, dtype: Any = None, rng: Any = None) -> Array:
    return array.astype(dtype or array.dtype)


class Nested(Layer):
    """What stands for a model that was added to another; `model` is the model itself.

    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((2,)), layers.Dense(3)])
    >>> outer = Sequential([model, layers.Softmax()])
    >>> outer.set_weights([2 * w for w in outer.get_weights()])
    >>> bool((model.theta == outer.theta).all())
    True
    """

    _fixed: ClassVar = Layer._fixed | {"model": SETTLED}

    def __init__(self, model: Any):
        if not model.built:
            raise ValueError(f"add: model {model.name!r} has no weights yet: build it first.")
        if getattr(model, "within", False):
            raise ValueError(
                f"add: model {model.name!r} is in a model already, and its weights can't be in two."
            )
        if not model.plain:
            raise ValueError(
                f"add: model {model.name!r} has layers that train otherwise than they predict, or "
                "regularizers, and as a part of another model it can't: add its layers one by one."
            )
        flags = {layer.trainable for layer in model.layers if layer.params}
        if len(flags) > 1:
            raise ValueError(f"add: model {model.name!r} is partly frozen: add its layers instead.")
        frozen = False in flags or not model.trainable
        super().__init__(name=model.name, trainable=not frozen)
        self.model = model
        self.given_shape = model.input_shape[1:]
        self.activation = model.layers[-1].activation

    def parameters(self, input_shape: Shape) -> dict[str, tuple[Shape, Callable[..., Array]]]:
        if input_shape != self.model.input_shape[1:]:
            raise ValueError(
                f"add: model {self.model.name!r} takes samples of {self.model.input_shape[1:]}: "
                f"got {input_shape}."
            )
        return {
            f"{i}/{name}": (array.shape, partial(_as_it_is, array))
            for i, layer in enumerate(self.model.layers)
            for name, array in layer.params.items()
        }

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape: Shape = self.model.output_shape[1:]
        return shape

    def _split(self, params: Params) -> list[Params]:
        """The arrays of each layer of the inner model."""
        parts: list[Params] = [{} for _ in self.model.layers]
        for key, array in params.items():
            place, _, name = key.partition("/")
            parts[int(place)][name] = array
        return parts

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        tape = self.model.forward(X, self._split(params), engine)
        return tape[-1].Z, tape

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> None:
        """The inner model's own backward; nothing below it learns."""
        self.model.backward(dZ, cache, self._split(params), self._split(grads), engine)

    def adopt(self, theta: Array, grad: Array) -> None:
        """Let the inner model live in these stretches of the outer one's vectors."""
        vars(self.model).update(theta=theta, grad=grad, within=True)
        views = zip(self.model.views(theta), self.model.views(grad), strict=True)
        for layer, (own, gradients) in zip(self.model.layers, views, strict=True):
            vars(layer).update(params=own, grads=gradients)
