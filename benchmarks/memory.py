"""Peak memory of a stretch of a process, above what stood just before it.

On Linux the kernel keeps the mark and lets it be reset. Elsewhere the mark is the process's highest
ever, so a stretch that stays below an earlier peak counts as nothing; on Windows there is none.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

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


class Peak:
    """`with Peak() as peak: ...`, then `peak.bytes`; None where it was not wanted or can't be."""

    def __init__(self, wanted: bool = True):
        self.wanted = wanted
        self.bytes: int | None = None

    def __enter__(self) -> Peak:
        self.before = _mark() if self.wanted else None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        highest = _highest() if self.before else None
        if self.before and highest is not None:
            self.bytes = max(0, highest - self.before[0])
