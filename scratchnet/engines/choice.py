"""Which engine computes: by its name, or the fastest that can run here."""

from __future__ import annotations

import warnings

from scratchnet.engines import reference
from scratchnet.engines.contract import ENGINE_NAMES, Engine


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
    from scratchnet.engines import compiled  # imports Numba, which takes its time

    reason = compiled.unavailable()
    if not reason:
        engine: Engine = compiled.ENGINE
        return engine
    if name == "compiled":
        raise ValueError(reason)
    # One message from one place: Python's filter shows it once.
    warnings.warn(f"{reason} Training goes on with the reference engine.", stacklevel=2)
    return reference.ENGINE
