"""Peak memory of a stretch of a process, above what stood just before it.

On Linux the kernel keeps the mark and lets it be reset. Elsewhere the mark is the process's highest
ever, so a stretch that stays below an earlier peak counts as nothing; on Windows there is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _status(field: str) -> int:
    """A line of the kernel's, in bytes."""
    rows = _STATUS.read_text().splitlines()
    return int(next(row for row in rows if row.startswith(field)).split()[1]) * 1024


def _mark() -> tuple[int, int] | None:
    """Bytes in use now, and the highest so far, set back to now where the system can."""
    try:
        _RESET.write_text("5")
        return _status("VmRSS"), _status("VmHWM")
    except (OSError, StopIteration):
        highest = _highest()
        return None if highest is None else (highest, highest)


def _highest() -> int | None:
    if _STATUS.exists():
        return _status("VmHWM")
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass
class Peak:
    """Bytes above what stood before; None where that was not wanted or can't be had."""

    bytes: int | None = None


@contextmanager
def peak_memory(wanted: bool = True) -> Iterator[Peak]:
    """The peak of the block: `with peak_memory() as peak: ...`, then `peak.bytes`."""
    peak, before = Peak(), _mark() if wanted else None
    yield peak
    highest = _highest() if before else None
    if before and highest is not None:
        peak.bytes = max(0, highest - before[0])
