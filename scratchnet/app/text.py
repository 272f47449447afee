"""How values are written down: as JSON, as words, and without the name of whoever ran it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def to_json(content: Mapping[str, Any]) -> str:
    """JSON with one line for each name at the top, since a list of numbers reads best as a line."""
    lines = (f"{json.dumps(name)}: {_dumps(value)}" for name, value in content.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dumps(value: Any) -> str:
    return json.dumps(jsonable(value), allow_nan=False)


def jsonable(value: Any) -> Any:
    """NumPy's numbers as Python's, and what JSON can't say (NaN, infinity) as null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [jsonable(item) for item in value]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def trained(about: Mapping[str, Any], epochs: int | None) -> str:
    """How a run was trained, in a few words; nothing where it does not say so.

    >>> trained({"settings": {"augment": 3}, "data": {"name": "MNIST"}}, 10)
    'trained for 10 epochs on MNIST and 3 distorted copies of each image'
    """
    settings, data = about.get("settings", {}), about.get("data", {})
    epochs = epochs or settings.get("epochs")
    if not epochs or "name" not in data:
        return ""
    copies = settings.get("augment", 0)
    more = f" and {copies} distorted cop{'ies' if copies > 1 else 'y'} of each image"
    return f"trained for {epochs} epoch{'s' * (epochs > 1)} on {data['name']}{more * bool(copies)}"


def dimensions(shape: tuple[int | None, ...]) -> str:
    """A shape as people say it.

    >>> dimensions((28, 28))
    '28 x 28'
    """
    return " x ".join(map(str, shape))


def without_home(text: str) -> str:
    """Nothing that is written down names whoever ran it."""
    return text.replace(str(Path.home()), "~")
