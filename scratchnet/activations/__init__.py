"""The activation functions by Keras's names, as functions of arrays, with Keras's arguments.

`names.py` says which is meant by what a user hands to a layer; the arithmetic is the engine's, in
`engines/reference.py` and, for those that the script does not use, `engines/activations.py`. The
compiled engine knows the script's and leaky_relu; a model with another runs on the reference
engine. It refuses functions of users' own: those are layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Signature, signature
from typing import Any

import numpy as np

from scratchnet.activations.names import FUNCTIONS, floats, name_of
from scratchnet.engines import activations as others
from scratchnet.engines import reference
from scratchnet.engines.contract import MORE, Array
from scratchnet.registry import instance
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)

NAMES = tuple(reference.ENGINE.activations)
"""Those that every engine has code of its own for."""


def _function(name: str) -> Callable[..., Array]:
    forward = reference.ENGINE.activation(name).forward

    def activation(x: Any, *arguments: Any, **options: Any) -> Array:
        return forward(floats(x), *arguments, **options)

    first, *more = signature(forward).parameters.values()
    activation.__signature__ = Signature([first.replace(name="x"), *more])  # type: ignore[attr-defined]
    activation.__name__ = activation.__qualname__ = name
    activation.__doc__ = forward.__doc__
    return activation


elu = _function("elu")
exponential = _function("exponential")
hard_sigmoid = _function("hard_sigmoid")
leaky_relu = _function("leaky_relu")
linear = _function("linear")
mish = _function("mish")
relu6 = _function("relu6")
selu = _function("selu")
sigmoid = _function("sigmoid")
silu = swish = _function("silu")
"""`swish` is Keras's other name for it."""
softplus = _function("softplus")
softsign = _function("softsign")
tanh = _function("tanh")


def relu(
    x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    """min(x, max_value) where x > threshold, else negative_slope (x - threshold).

    >>> relu([-1.0, 2.0]).tolist(), relu([-1.0, 9.0], 0.5, max_value=6).tolist()
    ([0.0, 2.0], [-0.5, 6.0])
    """
    return others.bent_relu(floats(x), negative_slope, max_value, threshold)


def gelu(x: Any, approximate: bool = False) -> Array:
    """x Phi(x), or with `approximate` x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.

    >>> gelu([1.0]).round(4).tolist(), gelu([1.0], approximate=True).round(4).tolist()
    ([0.8413], [0.8412])
    """
    return (others.gelu_tanh if approximate else others.gelu)(floats(x))


def softmax(x: Any, axis: int | tuple[int, ...] | None = -1) -> Array:
    """exp(x) over its sum along an axis, along several, or over the sum of all for None.

    >>> softmax(np.log([[1.0, 3.0]])).round(12).tolist(), softmax(np.zeros((2, 2)), None).tolist()
    ([[0.25, 0.75]], [[0.25, 0.25], [0.25, 0.25]])
    """
    return along(reference.softmax, floats(x), axis)


def log_softmax(x: Any, axis: int | tuple[int, ...] | None = -1) -> Array:
    """log softmax(x) along an axis, along several, or of all for None.

    >>> np.exp(log_softmax(np.log([[1.0, 3.0]]))).round(12).tolist()
    [[0.25, 0.75]]
    """
    return along(others.log_softmax, floats(x), axis)


def along(function: Callable[..., Array], x: Array, axis: Any, *arrays: Array) -> Array:
    """A function of rows, of what lies along one axis or several; all of it for None.

    >>> along(reference.softmax, np.zeros((2, 4)), 0)[:, 0].tolist()
    [0.5, 0.5]
    """
    axes = [*range(x.ndim)] if axis is None else [axis] if np.ndim(axis) == 0 else [*axis]
    last = [*range(-len(axes), 0)]
    moved = [np.moveaxis(array, axes, last) for array in (x, *arrays)]
    kept = moved[0].shape
    rows = [array.reshape(*kept[: len(kept) - len(axes)], -1) for array in moved]
    return np.moveaxis(function(*rows).reshape(kept), last, axes)


FUNCTIONS.update({name: globals()[name] for name in (*NAMES, *MORE, "swish")})


def get(identifier: Any) -> Callable[..., Array]:
    """The function meant by a name, a function or a description, as `keras.activations.get`.

    Raises:
        ValueError: for one that is not known here, with the nearest name.

    >>> get("relu") is relu, get(None) is linear, get("swish") is silu
    (True, True, True)
    """
    if isinstance(identifier, Mapping):
        identifier = identifier.get("config")
    if identifier is None:
        return linear
    found: Callable[..., Array] = instance("activation", identifier, FUNCTIONS)
    return found


def serialize(activation: Callable[..., Array]) -> str:
    """The name of a function.

    >>> serialize(swish)
    'silu'
    """
    return str(activation.__name__) if callable(activation) else name_of(activation)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The function that `serialize` named.

    >>> deserialize("elu") is elu
    True
    """
    if custom_objects and config in custom_objects:
        return custom_objects[config]
    return get(config)
