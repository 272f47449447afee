"""The contract of an engine: which functions a backend provides, and what each must return.

An engine is a frozen record of plain functions on arrays; it knows NumPy or Numba and nothing of
layers, models or files. Two engines fulfil the contract, `reference` (NumPy, to be read) and
`compiled` (Numba, to be fast), and one test-suite runs on both. A function may be swapped with
`dataclasses.replace(engine, ...)`: that is how the tests plant bugs. Read `reference.py` next.

Shape alphabet, used everywhere: B batch, I inputs, O outputs, K classes, P parameters.
A gradient is named after its array: `dW` is the gradient of the loss with respect to `W`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

ENGINE_NAMES = ("reference", "compiled")


class ActivationFunction(NamedTuple):
    """A function of the pre-activations and its derivative, one under the other.

    >>> twice = ActivationFunction(lambda Z: 2 * Z, lambda dA, Z, A: 2 * dA)
    >>> twice.backward(np.ones(1), np.ones(1), twice.forward(np.ones(1))).tolist()
    [2.0]
    """

    forward: Callable[[Array], Array]
    """(Z) -> A, any shape (B, ...)."""
    backward: Callable[[Array, Array, Array], Array]
    """(dA, Z, A) -> dZ, the vector-Jacobian product."""


class LossFunction(NamedTuple):
    """A loss of each sample and its derivative. `F` is what the loss reads: Z or A, (B, K).

    >>> from scratchnet.engines import get_engine
    >>> forward, backward = get_engine("reference").losses["mean_squared_error"]
    >>> losses, cache = forward(np.array([[3.0]]), np.array([[1.0]]))
    >>> losses.tolist(), backward(np.ones(1), np.array([[1.0]]), cache).tolist()
    ([4.0], [[4.0]])
    """

    forward: Callable[[Array, Array], tuple[Array, Any]]
    """(F, T) -> losses (B,), cache. T (B, K) holds the targets."""
    backward: Callable[[Array, Array, Any], Array]
    """(dlosses (B,), T, cache) -> dF (B, K)."""


class DenseSpec(NamedTuple):
    """One dense layer as plain data."""

    inputs: int
    outputs: int
    use_bias: bool
    activation: str


class Plan(NamedTuple):
    """A compiled model as plain data: all that an engine has to know to train it by itself."""

    dtype: np.dtype[Any]
    scale: float
    """Inputs enter the first layer as X * scale + offset, in `dtype`."""
    offset: float
    layers: tuple[DenseSpec, ...]
    """At least one; theta holds W then b (if any) of each in turn, rows of W first."""
    loss: str
    """A key of `Engine.losses`."""
    reads: str
    """`"Z"` or `"A"`: whether the loss reads the head's pre-activations or its outputs."""
    optimizer: str
    """A key of `Engine.optimizers`."""
    constants: Mapping[str, Any]
    """What does not change from step to step; see `constants` in `optimizers/updates.py`."""


MORE: dict[str, ActivationFunction] = {}
"""Activations that every engine computes by the same functions (`engines/activations.py`)."""


@dataclass(frozen=True)
class Engine:
    """The contract. Arrays keep their dtype through every function, and inputs are not written to
    except where an argument is said to be updated in place.

    >>> from scratchnet.engines import get_engine
    >>> get_engine("reference").activations["relu"].forward(np.array([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    name: str
    dense: Callable[[Array, Array, Array | None], Array]
    """(X (B, I), W (I, O), b (O,) or None) -> Z (B, O)."""
    dense_backward: Callable[[Array, Array, Array, Array, Array | None, bool], Array | None]
    """(dZ, X, W, dW, db, need_dX) -> dX or None; dW and db are written in place."""
    activations: Mapping[str, ActivationFunction]
    losses: Mapping[str, LossFunction]
    optimizers: Mapping[str, Callable[..., None]]
    """(theta, grad, each slot or None, the step's number, each constant): all but grad in place."""
    fused: Any = None
    """What an engine can do beyond single functions: whole epochs, whole predictions; or None."""

    def activation(self, name: str) -> ActivationFunction:
        return self.activations.get(name) or MORE[name]
