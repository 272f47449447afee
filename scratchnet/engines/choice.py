"""Which engine computes: by its name, or the fastest that can run here."""

from __future__ import annotations

import types
import warnings
from dataclasses import replace

import scratchnet.engines.reference as reference
from scratchnet.engines.contract import ENGINE_NAMES, ActivationFunction, Engine, LossFunction


def get_engine(name: str) -> Engine:
    """The engine of that name; `"auto"` is `"compiled"` where it can run, else `"reference"`.

    Raises:
        ValueError: for a name that is none of these, or `"compiled"` where it can't run.

    >>> get_engine("reference").name
    'reference'
    """
    if name not in ("auto", *ENGINE_NAMES):
        raise ValueError(f"engine={name!r}: expected 'auto', 'reference' or 'compiled'.")
    if name == "reference":
        return reference.ENGINE
    import scratchnet.engines.compiled as compiled  # imports Numba, which takes its time

    reason = compiled.unavailable()
    if not reason:
        engine: Engine = compiled.ENGINE
        return engine
    if name == "compiled":
        raise ValueError(reason)
    # One message from one place: Python's filter shows it once.
    warnings.warn(f"{reason} Training goes on with the reference engine.", stacklevel=2)
    return reference.ENGINE


def own_engine(module: types.ModuleType) -> Engine:
    """The reference engine with every function replaced that `module` defines under its name.

    Looked for: dense, dense_backward, each activation and loss (`relu`, `relu_backward` ...) and
    each optimizer (`sgd`, `adam` ...), with the signatures of `reference.py`.

    Raises:
        ValueError: where the module has none of them, or one that can't be called.

    >>> mine = types.ModuleType("mine")
    >>> mine.linear = lambda Z: 2 * Z
    >>> own_engine(mine).activations["linear"].forward(3.0)
    6.0
    """
    base = reference.ENGINE
    pairs = [*base.activations, *base.losses]
    names = ["dense", *pairs, *base.optimizers]
    names += [f"{name}_backward" for name in ("dense", *pairs)]
    found = {name: getattr(module, name) for name in names if hasattr(module, name)}
    wrong = [name for name, function in found.items() if not callable(function)]
    if wrong or not found:
        what = f"{wrong[0]} is no function" if wrong else "it defines no function of an engine"
        raise ValueError(
            f"engine={module.__name__}: {what}. Expected functions such as dense, relu_backward or "
            "adam, with the signatures of scratchnet/engines/reference.py."
        )

    def pick(name: str, right: tuple[object, object]) -> tuple[object, object]:
        return found.get(name, right[0]), found.get(f"{name}_backward", right[1])

    return replace(
        base,
        name=module.__name__,
        dense=found.get("dense", base.dense),
        dense_backward=found.get("dense_backward", base.dense_backward),
        activations={
            name: ActivationFunction(*pick(name, pair))  # type: ignore[arg-type]  # checked above
            for name, pair in base.activations.items()
        },
        losses={
            name: LossFunction(*pick(name, pair))  # type: ignore[arg-type]  # checked above
            for name, pair in base.losses.items()
        },
        optimizers={name: found.get(name, right) for name, right in base.optimizers.items()},
    )
