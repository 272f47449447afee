"""The layers: what each computes forward, and what it passes back.

A layer owns its description and nothing else: its parameters are views of the model's one vector,
handed in at every call, and its gradients are written into views of a second one. Forward returns
(output, cache) and backward takes the cache, so no state hides between them. The activation is
applied by the model after `forward`, which is how the loss gets to see the logits. The arithmetic
is the engine's (`engines/reference.py`). Read `losses/loss.py` and `objective.py` next; `scratchnet
explain` shows the layers as stages R, X, Z and dW.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import scratchnet.checks as checks
from scratchnet.activations.names import name_of
from scratchnet.checks import NotBuiltError, Shape, check_count
from scratchnet.engines.contract import Array, Engine
from scratchnet.initializers import initializer as initializers
from scratchnet.layers.surface import LayerSurface, Params
from scratchnet.support import SETTLED, Part, reject_unsupported, through_float32

_batch_size = partial(checks.check_batch_size, default=None)


class Input(Part):
    """The shape of one sample, at the head of a Sequential: `Input(shape=(28, 28))`.

    The other arguments are Keras's, at their defaults; `batch_shape` counts the batch axis.

    >>> Input((28, 28)).shape, Input(batch_shape=(None, 3)).shape
    ((28, 28), (3,))
    """

    dtype: Any = None
    _takes: ClassVar = {"dtype": checks.check_input_dtype, "batch_size": _batch_size}
    _fixed: ClassVar = dict.fromkeys(("shape", "name"), SETTLED)

    def __init__(
        self,
        shape: Sequence[int] | int | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        tensor: None = None,
        optional: bool = False,
    ):
        reject_unsupported("Input", sparse=(sparse or None, None), ragged=(ragged or None, None))
        reject_unsupported("Input", tensor=(tensor, None), optional=(optional, False))
        if (shape is None) == (batch_shape is None):
            raise ValueError(
                f"Input: shape={shape!r}, batch_shape={batch_shape!r}: expected one of them."
            )
        self.shape = checks.check_shape(shape if batch_shape is None else tuple(batch_shape)[1:])
        self.name, self.dtype, self.batch_size = name, dtype, batch_size


class Layer(LayerSurface):
    """What a model asks of a layer. Subclass it for your own: `parameters`, `forward`, `backward`.

    `Z, cache = forward(X, params, engine)` and `dX = backward(dZ, cache, params, grads, engine,
    need_dX)`, where backward fills every array of `grads` in place, and may return None where the
    lowest layer that learns needs no dX. Of Keras's options a layer takes `name`,
    `input_shape` (or `input_dim`), and the others at their defaults.

    >>> class Double(Layer):
    ...     def forward(self, X, params, engine):
    ...         return 2 * X, None
    ...     def backward(self, dZ, cache, params, grads, engine, need_dX=True):
    ...         return 2 * dZ
    >>> from scratchnet import Input, Sequential
    >>> Sequential([Input((3,)), Double(), Dense(2)]).count_params()
    8
    """

    def parameters(self, input_shape: Shape) -> dict[str, tuple[Shape, Callable[..., Array]]]:
        """The shape and the initializer of each parameter, in the order of `get_weights()`."""
        return {}

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        raise NotImplementedError(f"{type(self).__name__} must define forward(X, params, engine).")

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> Array | None:
        raise NotImplementedError(f"{type(self).__name__} must define backward(dZ, cache, ...).")


class Flatten(Layer):
    """Z (B, I) = X (B, ...) with all axes but the first laid end to end, the last one fastest.

    >>> Flatten().compute_output_shape((28, 28))
    (784,)
    """

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        return X.reshape(len(X), -1), X.shape

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> Array:
        """Nothing is computed forward, so the gradient only gets its shape back."""
        return dZ.reshape(cache)


class Rescaling(Layer):
    """Z = X scale + offset, for instance `Rescaling(1 / 255)` from pixels to [0, 1].

    Keras rounds both numbers to float32 even in float64: so does this.
    Source: Keras, layers/preprocessing/rescaling.py.

    >>> from scratchnet import Input, Sequential
    >>> Sequential([Input((2,)), Rescaling(0.5, offset=1)]).predict([[4, 8]], verbose=0).tolist()
    [[3.0, 5.0]]
    """

    _takes: ClassVar = Layer._takes | {"scale": float, "offset": float}

    def __init__(self, scale: float, offset: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        return X * through_float32(self.scale) + through_float32(self.offset), None

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> Array:
        """Z = X scale + offset, so dX = dZ scale."""
        return dZ * through_float32(self.scale)

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale, "offset": self.offset} | super().get_config()


class Dense(Layer):
    """Z = X W + b with X (B, I), kernel W (I, O), bias b (O,); the model then applies f(Z).

    Arguments as in Keras; the kernel begins Glorot uniform, the bias at 0.

    Raises:
        ValueError: for units that are not a positive integer, or an unknown name.

    >>> layer = Dense(50, activation="relu")
    >>> layer.compute_output_shape((784,))
    (50,)
    """

    _own: ClassVar[dict[str, Any]] = {
        "units": partial(check_count, "units"),
        "use_bias": bool,
        "kernel_initializer": initializers.get,
        "bias_initializer": initializers.get,
    }
    _takes: ClassVar = Layer._takes | _own
    _fixed: ClassVar = Layer._fixed | dict.fromkeys(_own, SETTLED)

    def __init__(
        self,
        units: int,
        activation: str | Callable[..., Any] | None = None,
        use_bias: bool = True,
        kernel_initializer: str | dict[str, Any] | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | dict[str, Any] | initializers.Initializer = "zeros",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units, self.use_bias = units, use_bias
        self.activation = name_of(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def parameters(self, input_shape: Shape) -> dict[str, tuple[Shape, Callable[..., Array]]]:
        if len(input_shape) != 1:
            raise ValueError(
                f"Dense got samples of shape {input_shape}: expected one axis of features. "
                "Put a Flatten before it."
            )
        kernel, bias = map(initializers.drawn, (self.kernel_initializer, self.bias_initializer))
        specs = {"kernel": ((input_shape[0], self.units), kernel), "bias": ((self.units,), bias)}
        return specs if self.use_bias else {"kernel": specs["kernel"]}

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (self.units,)

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        """Z = X W + b."""
        return engine.dense(X, params["kernel"], params.get("bias")), X

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> Array | None:
        """Z = X W + b, so dW = X^T dZ, db = sum_b dZ_b, dX = dZ W^T."""
        return engine.dense_backward(
            dZ, cache, params["kernel"], grads["kernel"], grads.get("bias"), need_dX
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        } | super().get_config()

    def _made(self, name: str) -> Array:
        if name not in self.params:
            raise NotBuiltError(f"layer {self.name!r} has no {name} yet: give the model an Input.")
        return self.params[name]

    @property
    def kernel(self) -> Array:
        """W (I, O), a view of the model's vector."""
        return self._made("kernel")

    @property
    def bias(self) -> Array | None:
        """b (O,), a view of the model's vector, or None."""
        return self._made("bias") if self.use_bias else None
