"""The activation functions by Keras's names, as functions of arrays.

The formulas and their derivatives stand in `engines/reference.py`; here they only get the names and
argument checks that a user meets. An activation is known to a layer by its name. `scratchnet
explain` shows them as stages A1 to A3.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Signature, signature
from typing import Any

import numpy as np

from scratchnet.config import floatx
from scratchnet.engines import reference
from scratchnet.engines.contract import Array
from scratchnet.support import check_choice

NAMES = tuple(reference.ENGINE.activations)


def _function(name: str) -> Callable[..., Array]:
    forward = reference.ENGINE.activations[name].forward

    def activation(x: Any, *arguments: Any, **options: Any) -> Array:
        array = np.asarray(x)
        array = array if array.dtype.kind in "fc" else array.astype(floatx())
        return forward(array, *arguments, **options)

    first, *others = signature(forward).parameters.values()
    activation.__signature__ = Signature([first.replace(name="x"), *others])  # type: ignore[attr-defined]
    activation.__name__ = activation.__qualname__ = name
    activation.__doc__ = forward.__doc__
    return activation


linear = _function("linear")
relu = _function("relu")
leaky_relu = _function("leaky_relu")
sigmoid = _function("sigmoid")
softmax = _function("softmax")
tanh = _function("tanh")


def name_of(identifier: str | Callable[[Any], Array] | None) -> str:
    """The name of an activation given as Keras takes it: a name, a function of this room, or None.

    Raises:
        ValueError: for an unknown name or function, with the nearest known one.

    >>> name_of(None), name_of(relu), name_of("tanh")
    ('linear', 'relu', 'tanh')
    """
    if identifier is None:
        return "linear"
    if callable(identifier):
        name = getattr(identifier, "__name__", "")
        if globals().get(name) is not identifier or name not in NAMES:
            raise ValueError(
                f"activation={identifier!r}: expected one of {', '.join(NAMES)}. "
                "For a function of your own, write a Layer with a forward and a backward."
            )
        return str(name)
    return check_choice("activation", identifier, NAMES)


def get(identifier: str | Callable[[Any], Array] | None) -> Callable[[Any], Array]:
    """The function of that name, as `keras.activations.get`.

    >>> get("relu") is relu, get(None) is linear
    (True, True)
    """
    function: Callable[[Any], Array] = globals()[name_of(identifier)]
    return function
