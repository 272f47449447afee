"""`keras.backend` as far as it is here: settings, and the names that Keras counts."""

from __future__ import annotations

from scratchnet.config import epsilon, floatx, set_floatx
from scratchnet.registry import forget_names
from scratchnet.unbuilt import refusing

__all__ = ["clear_session", "epsilon", "floatx", "set_floatx"]

__getattr__ = refusing(__name__)


def clear_session(free_memory: bool = True) -> None:
    """Begin to count names anew; models and their memory are Python's to keep or free.

    >>> clear_session()
    """
    forget_names()
