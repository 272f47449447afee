"""A style's file as a module, as it is or with a piece of its text exchanged."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def styles(folder: str = "styles") -> list[str]:
    return sorted(path.stem for path in (HERE / folder).glob("*.py"))


def load(style: str, old: str = "", new: str = "", folder: str = "styles") -> Any:
    """The module; with a slip, `old` must stand in its text exactly once."""
    path = HERE / folder / f"{style}.py"
    text = path.read_text()
    if old:
        assert text.count(old) == 1, (style, old, text.count(old))
        text = text.replace(old, new)
    module = types.ModuleType(style)
    exec(compile(text, str(path), "exec"), vars(module))
    return module
