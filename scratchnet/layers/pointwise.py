"""Layers that are an activation and nothing else, with Keras's arguments.

One that an engine knows by name leaves Z = X and lets the model apply it, as Dense does, so that a
loss behind it sees the logits. The formulas stand in `engines/activations.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

from scratchnet.activations import along
from scratchnet.activations.names import name_of
from scratchnet.checks import Shape
from scratchnet.engines import activations as formulas
from scratchnet.engines import reference
from scratchnet.engines.contract import Array, Engine
from scratchnet.layers.core import Layer
from scratchnet.layers.surface import Params
from scratchnet.support import SETTLED


class Identity(Layer):
    """Z = X.

    >>> Identity().compute_output_shape((3,))
    (3,)
    """

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        return X, None

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> Array:
        """Z = X, so dX = dZ."""
        return dZ


class Activation(Identity):
    """Z = X, and the model applies f(Z), as after a Dense.

    Source: Keras, layers/activations/activation.py.

    >>> from scratchnet import Input, Sequential
    >>> Sequential([Input((2,)), Activation("relu")]).predict([[-1.0, 2.0]], verbose=0).tolist()
    [[0.0, 2.0]]
    """

    def __init__(self, activation: str | Callable[..., Any] | None, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = name_of(activation)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"activation": self.activation}


class _Slopes(Layer):
    """A layer that is a function of single numbers: `_formula`, `_slope` and their `_numbers`."""

    _formula: ClassVar[Callable[..., Array]]
    _slope: ClassVar[Callable[..., Array]]
    _numbers: ClassVar[tuple[str, ...]]

    def _given(self) -> list[Any]:
        return [getattr(self, name) for name in self._numbers]

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        return type(self)._formula(X, *self._given()), X

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> Array:
        return type(self)._slope(dZ, cache, *self._given())

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in self._numbers}


def _at_least_0(value: Any) -> Any:
    if value is None or isinstance(value, bool) or not value >= 0:
        raise ValueError("cannot be None or a negative value: expected a number >= 0.")
    return value


class ReLU(_Slopes):
    """Z = min(X, max_value) where X > threshold, else negative_slope (X - threshold).

    Source: Keras, layers/activations/relu.py.

    >>> ReLU(max_value=6)([[-1.0, 7.0]]).tolist()
    [[0.0, 6.0]]
    """

    _formula, _slope = formulas.bent_relu, formulas.bent_relu_backward
    _numbers = ("negative_slope", "max_value", "threshold")
    _takes: ClassVar = Layer._takes | {
        "max_value": lambda value: None if value is None else _at_least_0(value),
        "negative_slope": _at_least_0,
        "threshold": _at_least_0,
    }

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.max_value, self.negative_slope = max_value, negative_slope
        self.threshold = threshold


class LeakyReLU(_Slopes):
    """Z = X where X > 0, else negative_slope X; the slope is a float32 number, in float64 too.

    Source: Keras, layers/activations/leaky_relu.py.

    >>> LeakyReLU(0.5)([[-1.0, 7.0]]).tolist()
    [[-0.5, 7.0]]
    """

    _formula = reference.leaky_relu
    _numbers = ("negative_slope",)
    _takes: ClassVar = Layer._takes | {"negative_slope": _at_least_0}

    @staticmethod
    def _slope(dZ: Array, X: Array, negative_slope: float) -> Array:
        return reference.leaky_relu_backward(dZ, X, X, negative_slope)

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
            warnings.warn(
                "Argument `alpha` is deprecated. Use `negative_slope` instead.", stacklevel=2
            )
        super().__init__(**kwargs)
        self.negative_slope = negative_slope


class ELU(_Slopes):
    """Z = X where X > 0, else alpha (exp(X) - 1).  Source: Keras, layers/activations/elu.py.

    >>> ELU(0.5)([[-1000.0, 7.0]]).tolist()
    [[-0.5, 7.0]]
    """

    _formula = formulas.elu
    _numbers = ("alpha",)

    @staticmethod
    def _slope(dZ: Array, X: Array, alpha: float) -> Array:
        return formulas.elu_backward(dZ, X, X, alpha)

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = alpha


class Softmax(Layer):
    """Z = X, and the model applies softmax(Z), so that a loss sees the logits; or along other axes.

    Source: Keras, layers/activations/softmax.py.

    >>> Softmax()([[0.0, 0.0]]).tolist(), Softmax(axis=1)([[[0.0], [0.0]]]).tolist()
    ([[0.5, 0.5]], [[[0.5], [0.5]]])
    """

    _fixed: ClassVar = Layer._fixed | {"axis": SETTLED}

    def __init__(self, axis: int | tuple[int, ...] = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis
        self.activation = "softmax" if axis in (-1, [-1], (-1,)) else "linear"

    def parameters(self, input_shape: Shape) -> dict[str, Any]:
        axes = [self.axis] if isinstance(self.axis, int) else [*self.axis]
        size = len(input_shape) + 1
        if not all(-size <= axis < size for axis in axes):
            raise ValueError(
                f"Softmax: axis={self.axis!r}: samples of shape {input_shape} have axes up to "
                f"{size - 1}, the batch's counted."
            )
        if axes in ([-1], [size - 1]):
            self.activation = "softmax"
        return {}

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        if self.activation == "softmax":
            return X, None
        A = along(reference.softmax, X, self.axis)
        return A, A

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> Array:
        """A = softmax(X) along the axes, as `softmax_backward` has it for rows."""
        if cache is None:
            return dZ
        return along(lambda d, A: reference.softmax_backward(d, A, A), dZ, self.axis, cache)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"axis": self.axis}
