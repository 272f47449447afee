"""Layers that change nothing but the shape of a sample, or say it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from scratchnet.checks import Shape
from scratchnet.config import floatx
from scratchnet.engines.contract import Array, Engine
from scratchnet.layers.core import Input, Layer
from scratchnet.layers.surface import Params
from scratchnet.support import SETTLED, reject_unsupported


class InputLayer(Input):
    """`Input`, under the name that Keras gives to what stands at the head of a model.

    >>> InputLayer((28, 28)).get_config()["batch_shape"]
    (None, 28, 28)
    """

    def __init__(
        self,
        shape: Sequence[int] | int | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Sequence[int | None] | None = None,
        input_tensor: None = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ):
        if input_tensor is not None:
            raise ValueError("InputLayer: `input_tensor` must be a KerasTensor, which is not here.")
        given = {name: (value, None) for name, value in kwargs.items() if name != "input_shape"}
        reject_unsupported("InputLayer", **given)
        shape = kwargs.get("input_shape", shape)
        if shape is not None and batch_shape is not None:
            raise ValueError("InputLayer: you cannot pass both `shape` and `batch_shape`.")
        if batch_size is not None and batch_shape is not None:
            raise ValueError("InputLayer: you cannot pass both `batch_size` and `batch_shape`.")
        if shape is None and batch_shape is None:
            raise ValueError("InputLayer: you must pass a `shape`.")
        super().__init__(
            shape, batch_size, dtype, sparse, ragged, batch_shape, name, None, optional
        )
        if batch_shape is not None:
            self.batch_size = batch_shape[0]

    @property
    def batch_shape(self) -> tuple[int | None, ...]:
        return (self.batch_size, *self.shape)

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": self.batch_shape,
            "dtype": floatx() if self.dtype is None else np.dtype(self.dtype).name,
            "sparse": False,
            "ragged": False,
            "name": self.name,
            "optional": False,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InputLayer:
        """The layer that `get_config` described."""
        return cls(**config)


class Reshape(Layer):
    """Z (B, *target_shape) = X (B, ...), the last axis fastest; one -1 stands for what is left.

    Source: Keras, layers/reshaping/reshape.py.

    >>> Reshape((-1, 2)).compute_output_shape((3, 4))
    (6, 2)
    """

    _fixed: ClassVar = Layer._fixed | {"target_shape": SETTLED}

    def __init__(self, target_shape: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        target = tuple(target_shape) if isinstance(target_shape, Sequence) else (target_shape,)
        for size in target:
            if not isinstance(size, int) or isinstance(size, bool) or (size < 1 and size != -1):
                raise ValueError(
                    f"Reshape: target_shape={target_shape!r}: `target_shape` must contain positive "
                    "integers, or a -1 for one unknown dimension."
                )
        if target.count(-1) > 1:
            raise ValueError(
                f"Reshape: target_shape={target_shape!r}: there must be at most one unknown "
                "dimension (-1)."
            )
        self.target_shape = target

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        size, known = math.prod(input_shape), math.prod(n for n in self.target_shape if n != -1)
        left = size // known
        if left * known != size or (left != 1 and -1 not in self.target_shape):
            raise ValueError(
                f"Reshape: the total size must be unchanged: samples of shape {input_shape} can't "
                f"become {self.target_shape}."
            )
        return tuple(left if n == -1 else n for n in self.target_shape)

    def parameters(self, input_shape: Shape) -> dict[str, Any]:
        self.compute_output_shape(input_shape)  # an error now, and not in the first batch
        return {}

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        return X.reshape(len(X), *self.compute_output_shape(X.shape[1:])), X.shape

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

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"target_shape": self.target_shape}
