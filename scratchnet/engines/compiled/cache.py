"""Compiled code kept on disk, where there is a place for it, and what is said about compiling."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import event

log = logging.getLogger("scratchnet")


class CompileNotice(event.Listener):
    """Says once in a process, in the log `scratchnet`, that something is being compiled."""

    said = False

    def on_start(self, given: Any) -> None:
        if not CompileNotice.said:
            CompileNotice.said = True
            log.warning("Compiling for this machine: some ten seconds, kept for the next time.")

    def on_end(self, given: Any) -> None: ...


_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
_DIGEST = hashlib.sha256(b"".join(source.read_bytes() for source in _SOURCES)).hexdigest()[:16]


def compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled without Python's lock, kept on disk where there is a place for it.

    Numba finds what it kept by the function's name, and looks for changes in that function's own
    file alone: so the name has a digest of all sources. What was kept of others stays on disk.
    """
    options = {"nogil": True, "_nrt": False, "error_model": "numpy"}
    function.__qualname__ = f"{function.__name__}-{_DIGEST}"
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written
        return njit(**options)(function)


def cache_folder(function: Any) -> str | None:
    """Where Numba keeps a compiled function; None where it can't."""
    folder: str | None = function.stats.cache_path
    return folder


def compiled_before(function: Any) -> bool:
    """Whether there is kept code of this source."""
    module = function.py_func.__module__.rpartition(".")[2]
    name = f"{module}.{function.py_func.__qualname__}-*.nbc"
    return any(Path(cache_folder(function) or os.devnull).glob(name))
