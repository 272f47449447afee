"""Numba, for test files that are about compiled code."""

from __future__ import annotations

from typing import Any

import pytest


def numba_or_skip(why: str = "nothing is compiled") -> Any:
    """The package; a file that asks for it is skipped where there is none, or it is turned off."""
    numba = pytest.importorskip("numba")
    if numba.config.DISABLE_JIT:
        pytest.skip(f"NUMBA_DISABLE_JIT=1: {why}.", allow_module_level=True)
    return numba
