"""Every registered optimizer in all its variants, read off its own signature.

What proves optimizers (the live comparison with Keras, saved files, Hypothesis strategies) must try
momentum and no momentum, centred and not, and so on, of everything that is registered. No list says
so by hand: an optimizer that is registered is tried, with each of its arguments.
"""

from __future__ import annotations

import inspect
from typing import Any

from scratchnet.optimizers import OPTIMIZERS, Optimizer

KINDS: dict[str, type[Optimizer]] = {kind.__name__: kind for kind in OPTIMIZERS.values()}
"""The registered classes by their own names."""

SHARES = (0.0, 0.5, 0.9, 0.99)
"""What a decay rate or a momentum is tried at, beside its default."""


def values(kind: type[Optimizer]) -> dict[str, tuple[Any, ...]]:
    """What each argument is tried at, its default first.

    >>> values(KINDS["SGD"])["momentum"], values(KINDS["SGD"])["nesterov"]
    ((0.0, 0.5, 0.9, 0.99), (False, True))
    """
    tried: dict[str, tuple[Any, ...]] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        default = parameter.default
        if isinstance(default, bool):
            tried[name] = (default, not default)
        elif name == "learning_rate":
            tried[name] = (default, default / 10, default * 10)
        elif name == "epsilon":
            tried[name] = (default, 1e-3)
        elif isinstance(default, float):
            tried[name] = (default, *(share for share in SHARES if share != default))
    return tried


def moderate(kind: type[Optimizer]) -> dict[str, Any]:
    """Every argument away from its default, and none at an extreme.

    >>> moderate(KINDS["SGD"])
    {'learning_rate': 0.001, 'momentum': 0.9, 'nesterov': True}
    """
    return {argument: tried[len(tried) // 2] for argument, tried in values(kind).items()}


def variants() -> dict[str, tuple[type[Optimizer], dict[str, Any]]]:
    """Each class with its defaults, with each argument alone at another value, and with all.

    >>> list(variants())[:4]
    ['SGD', 'SGD(learning_rate=0.1)', 'SGD(momentum=0.99)', 'SGD(nesterov=True)']
    """
    found: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {}
    for name, kind in KINDS.items():
        others = {argument: tried[-1] for argument, tried in values(kind).items()}
        found[name] = kind, {}
        for options in [*({argument: value} for argument, value in others.items()), others]:
            words = ", ".join(f"{argument}={value}" for argument, value in options.items())
            found[f"{name}({words})"] = kind, options
    return found
