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


def dimensions(shape: tuple[int | None, ...]) -> str:
    """A shape as people say it.

    >>> dimensions((28, 28))
    '28 x 28'
    """
    return " x ".join(map(str, shape))


def without_home(text: str) -> str:
    """Nothing that is written down names whoever ran it."""
    return text.replace(str(Path.home()), "~")
