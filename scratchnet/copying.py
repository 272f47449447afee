"""Engines in copies and pickles: by their names, because an engine's record holds a module.

Layers and models see to themselves (`__setstate__`): the arrays of a copy are made views of its own
vectors. Everything else is plain data, which Python copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from scratchnet.engines import ENGINE_NAMES, Engine, get_engine, reference


def described(engine: Engine) -> tuple[Any, ...]:
    """How an engine is copied and pickled: by its name, and with what was swapped in it."""
    base = get_engine(engine.name) if engine.name in ENGINE_NAMES else reference.ENGINE
    functions = ((field.name, getattr(engine, field.name)) for field in fields(Engine))
    swapped = {name: value for name, value in functions if value is not getattr(base, name)}
    return again, (base.name, swapped)


def again(name: str, swapped: dict[str, Any]) -> Engine:
    """That engine; the reference, with a warning, where the compiled one can't run.

    >>> again("reference", {}) is reference.ENGINE
    True
    """
    base = get_engine("auto" if name == "compiled" else name)
    return replace(base, **swapped) if swapped else base


def extends(base: type) -> Callable[[type], type]:
    """Give a class of the core what is defined in a class beside it.

    >>> class Bare: ...
    >>> @extends(Bare)
    ... class More(Bare):
    ...     def hello(self): return "hello"
    >>> Bare().hello()
    'hello'
    """

    def give(kind: type) -> type:
        for name, value in vars(kind).items():
            if name not in ("__module__", "__doc__", "__qualname__", "__annotations__"):
                setattr(base, name, value)
        return kind

    return give
