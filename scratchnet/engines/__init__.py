"""Two engines under one contract: what an engine is, the lesson, and the fast one.

Read `contract.py` next, then `reference.py`; `compiled/` is the fast one.
"""

from scratchnet.engines.choice import get_engine, own_engine
from scratchnet.engines.contract import (
    ENGINE_NAMES,
    ActivationFunction,
    Array,
    DenseSpec,
    Engine,
    LossFunction,
    Plan,
)

__all__ = [
    "ENGINE_NAMES",
    "ActivationFunction",
    "Array",
    "DenseSpec",
    "Engine",
    "LossFunction",
    "Plan",
    "get_engine",
    "own_engine",
]
