"""Which activation is meant: by its name, or by the function that stands for it.

An activation is known to a layer by its name. The formulas and their derivatives stand in
`engines/reference.py`; `scratchnet explain` shows them as stages A1 to A3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scratchnet.config import floatx
from scratchnet.engines.contract import Array
from scratchnet.support import check_choice

FUNCTIONS: dict[str, Callable[..., Array]] = {}
"""What may be named, and the function that may stand for the name (`activations/__init__.py`)."""


def floats(x: Any) -> Array:
    """Numbers of any kind as an array of real or complex floats.

    >>> floats([1, 2]).dtype
    dtype('float32')
    """
    array = np.asarray(x)
    return array if array.dtype.kind in "fc" else array.astype(floatx())


def name_of(identifier: str | Callable[..., Array] | None) -> str:
    """The name of an activation given as Keras takes it: a name, a function of this room, or None.

    Raises:
        ValueError: for an unknown name or function, with the nearest known one.

    >>> name_of(None), name_of(FUNCTIONS["relu"]), name_of("swish")
    ('linear', 'relu', 'silu')
    """
    if identifier is None:
        return "linear"
    if callable(identifier):
        known = [name for name, function in FUNCTIONS.items() if function is identifier]
        if not known:
            raise ValueError(
                f"activation={identifier!r}: expected one of {', '.join(FUNCTIONS)}. "
                "For a function of your own, write a Layer with a forward and a backward."
            )
        return known[0]
    return name_of(FUNCTIONS[check_choice("activation", identifier, FUNCTIONS)])
