"""What weights or outputs add to a loss for being large, or for not being orthogonal.

A regularizer makes a number of an array, and has that number's derivative under it. Which layer
applies it to what stands with the layers; `training.py` adds the shares up. Source: Keras,
regularizers/regularizers.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from scratchnet.checks import REGULARIZERS, take_regularizer
from scratchnet.engines.contract import Array
from scratchnet.registry import instance, serialized
from scratchnet.support import through_float32


def non_negative(name: str, value: Any) -> float:
    """A number that is finite and >= 0, as a float.

    >>> non_negative("l1", 1)
    1.0
    """
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise ValueError(
            f"Invalid value for argument {name}: expected a non-negative float, got {value!r}."
        )
    return float(value)


class Regularizer:
    """Subclass it for your own: `r(x)` is a number, `r.gradient(x)` its derivative, of x's shape.

    `r(x)` has to go along with complex x, which the complex step hands over.

    >>> class Cube(Regularizer):
    ...     def __call__(self, x):
    ...         return (x**3).sum()
    ...     def gradient(self, x):
    ...         return 3 * x**2
    >>> Cube()(np.ones(2)), Cube().gradient(np.ones(2)).tolist()
    (np.float64(2.0), [3.0, 3.0])
    """

    def __call__(self, x: Array) -> Any:
        return 0.0

    def gradient(self, x: Array) -> Array:
        if type(self).__call__ is Regularizer.__call__:
            return np.zeros_like(x)
        raise NotImplementedError(f"{type(self).__name__} must define gradient(x), of x's shape.")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """The regularizer that `get_config` described."""
        return cls(**config)

    def get_config(self) -> dict[str, Any]:
        raise NotImplementedError(f"{self} does not implement get_config()")


def magnitude(x: Array) -> Array:
    """|x| continued to complex numbers, with x's sign taken from its real part.

    >>> magnitude(np.array([-2 + 1j])).tolist()
    [(2-1j)]
    """
    return np.where(x.real < 0, -x, x)


class L1L2(Regularizer):
    """l1 sum |x| + l2 sum x^2; l1 and l2 are float32 numbers, in float64 too, as in Keras.

    >>> L1L2(l1=0.5, l2=0.25)(np.array([-2.0, 4.0]))
    np.float64(8.0)
    """

    _names: ClassVar[tuple[str, ...]] = ("l1", "l2")

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        l1, l2 = (0.0 if value is None else value for value in (l1, l2))
        self.l1, self.l2 = non_negative("l1", l1), non_negative("l2", l2)

    def __call__(self, x: Array) -> Any:
        total: Any = np.zeros((), x.dtype)[()]
        if self.l1:
            total = total + through_float32(self.l1) * np.sum(magnitude(x))
        if self.l2:
            total = total + through_float32(self.l2) * np.sum(x * x)
        return total

    def gradient(self, x: Array) -> Array:
        """l1 sum |x| + l2 sum x^2, so l1 sign(x) + 2 l2 x; at 0 itself sign is 0.

        >>> L1L2(l1=0.5, l2=0.25).gradient(np.array([-2.0, 0.0, 4.0])).tolist()
        [-1.5, 0.0, 2.5]
        """
        l1, l2 = through_float32(self.l1), through_float32(self.l2)
        return np.asarray(l1 * np.sign(x) + 2 * l2 * x, x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names}


class L1(L1L2):
    """l1 sum |x|.

    >>> L1(0.5)(np.array([-2.0, 4.0]))
    np.float64(3.0)
    """

    _names = ("l1",)

    def __init__(self, l1: float = 0.01):
        super().__init__(l1=0.01 if l1 is None else l1)


class L2(L1L2):
    """l2 sum x^2.

    >>> L2(0.5)(np.array([-2.0, 4.0])), L2(0.5).gradient(np.array([-2.0, 4.0])).tolist()
    (np.float64(10.0), [-2.0, 4.0])
    """

    _names = ("l2",)

    def __init__(self, l2: float = 0.01):
        super().__init__(l2=0.01 if l2 is None else l2)


class OrthogonalRegularizer(Regularizer):
    """factor / 2 / (pairs) sum |u_i . u_j| over i != j, u the rows (or columns) at length 1.

    A row of 0 stays 0; pairs = n (n - 1) / 2 of the n rows.

    >>> OrthogonalRegularizer(1.0)(np.array([[1.0, 0.0], [3.0, 4.0]])).round(12)
    np.float64(0.6)
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        self.factor = non_negative("factor", factor)
        if mode not in ("rows", "columns"):
            raise ValueError(
                "Invalid value for argument `mode`. Expected one of "
                f'{{"rows", "columns"}}. Received: mode={mode}'
            )
        self.mode = mode

    def _parts(self, x: Array) -> tuple[Array, Array, float]:
        """x by rows, the length of each, and the factor of the sum of products."""
        if x.ndim != 2:
            raise ValueError(
                "Inputs to OrthogonalRegularizer must have rank 2. "
                f"Received: inputs.shape={x.shape}"
            )
        rows = x if self.mode == "rows" else x.T
        length = np.sqrt(np.maximum(np.sum((rows * rows).real, axis=1, keepdims=True), 1e-12))
        if np.iscomplexobj(x):
            length = np.sqrt(np.sum(rows * rows, axis=1, keepdims=True))
        size = len(rows) * (len(rows) - 1) / 2
        return rows, length, self.factor * 0.5 / size if size else 0.0

    def __call__(self, x: Array) -> Any:
        rows, length, factor = self._parts(x)
        products = (rows / length) @ (rows / length).T
        return factor * np.sum(magnitude(products * (1 - np.eye(len(rows)))))

    def gradient(self, x: Array) -> Array:
        """P = U U^T with U = X / |X|: dP = sign(P) off the diagonal, dU = 2 dP U, and dX from dU as
        (dU - U (U . dU)) / |X|."""
        rows, length, factor = self._parts(x)
        U = rows / length
        dU = 2 * factor * (np.sign(U @ U.T) * (1 - np.eye(len(U)))) @ U
        dX: Array = (dU - U * np.sum(U * dU, axis=1, keepdims=True)) / length
        return dX if self.mode == "rows" else dX.T

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "mode": self.mode}


l1, l2, l1_l2, orthogonal_regularizer = L1, L2, L1L2, OrthogonalRegularizer
CLASSES: tuple[type[Regularizer], ...] = (L1, L2, L1L2, OrthogonalRegularizer)
REGULARIZERS.update({kind.__name__: kind for kind in CLASSES})
REGULARIZERS.update({"l1": L1, "l2": L2, "l1l2": L1L2, "l1_l2": L1L2})
REGULARIZERS.update({"orthogonal_regularizer": OrthogonalRegularizer})

get = take_regularizer


def serialize(regularizer: Any) -> dict[str, Any]:
    """The description of a regularizer, in Keras's words.

    >>> serialize(L2(0.5))["config"]
    {'l2': 0.5}
    """
    return serialized("keras.regularizers", regularizer, REGULARIZERS)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The regularizer that `serialize` wrote.

    >>> deserialize({"class_name": "L2", "config": {"l2": 0.5}}).l2
    0.5
    """
    return instance("regularizer", config, REGULARIZERS | dict(custom_objects or {}))
