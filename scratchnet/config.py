"""Process-wide settings, as `keras.config` has them: the float type, the fuzz, the engine.

A setting is read when a model is built (`floatx`) or compiled (`engine`); changing it later leaves
existing models as they are. It refuses to hold anything that belongs to one model.
"""

from __future__ import annotations

from typing import Any

from scratchnet.engines.contract import ENGINE_NAMES
from scratchnet.engines.reference import EPSILON
from scratchnet.support import check_choice

_FLOAT_TYPES = ("float32", "float64")
_settings = {"floatx": "float32", "engine": "auto"}


def floatx() -> str:
    """The dtype of new models, `"float32"` unless set.

    >>> floatx()
    'float32'
    """
    return _settings["floatx"]


def set_floatx(value: str) -> None:
    """Make new models compute in `"float32"` or `"float64"`.

    Raises:
        ValueError: for another dtype. Half precision is refused: nothing here is derived for it.

    >>> set_floatx("float64")
    >>> floatx()
    'float64'
    >>> set_floatx("float32")
    """
    _settings["floatx"] = check_choice("floatx", value, _FLOAT_TYPES)


def float_type(dtype: Any = None) -> str:
    """The name of a float type that was asked for by name or as NumPy's; `floatx` for None.

    >>> float_type(), float_type("float64")
    ('float32', 'float64')
    """
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", dtype)
    return check_choice("dtype", floatx() if dtype is None else name, _FLOAT_TYPES)


def epsilon() -> float:
    """The fuzz that keeps probabilities off 0 and 1 before a logarithm, 1e-7 as in Keras.

    >>> epsilon()
    1e-07
    """
    return EPSILON


def engine() -> str:
    """The engine that `compile` takes unless told otherwise.

    >>> engine()
    'auto'
    """
    return _settings["engine"]


def set_engine(name: str) -> None:
    """Choose `"auto"` (compiled where it applies), `"reference"` or `"compiled"`.

    >>> set_engine("reference")
    >>> engine()
    'reference'
    >>> set_engine("auto")
    """
    _settings["engine"] = check_choice("engine", name, ("auto", *ENGINE_NAMES))
