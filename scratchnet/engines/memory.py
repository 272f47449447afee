"""Memory that begins on a cache line: vectors of the model, of optimizers and of compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.engines.contract import Array


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """(size,) zeros that begin on a cache line (64 bytes).

    >>> aligned_zeros(3, np.dtype("float64")).ctypes.data % 64
    0
    """
    raw = np.zeros(size * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)
