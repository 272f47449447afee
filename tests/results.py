"""What `result.json` says of a run, for tests that write run folders by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from scratchnet.app.run_training import RunSettings


def a_result(asked: RunSettings | None = None, **changes: Any) -> dict[str, Any]:
    """A whole one of a plain training on the digits; `changes` go into it, and into its objects."""
    made: dict[str, Any] = {
        "settings": {**asdict(asked or RunSettings()), "limit": None, "dtype": "float32"},
        "data": {
            "name": "scikit-learn digits",
            "training": 1437,
            "test": 360,
            "shape": [28, 28],
            "test_sha256": "",
        },
        "interrupted": False,
        "epochs": None,
        "parity": None,
        "scratchnet": {
            "loss": 0.5,
            "accuracy": 0.75,
            "test_loss": 0.5,
            "test_accuracy": 0.75,
            "seconds_per_epoch": 0.5,
            "warm_up_seconds": 0.5,
        },
    }
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(made.get(name), dict)
        made[name] = made[name] | value if both else value
    return made
