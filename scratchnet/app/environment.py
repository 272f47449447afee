"""Where a run ran: versions, processor and threads, and nothing that names a person's machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from scratchnet import __version__

PACKAGES = ("numpy", "numba", "scipy", "scikit-learn", "matplotlib", "keras", "tensorflow")


def environment() -> dict[str, Any]:
    """Versions, processor and threads; nothing that tells one person's machine from another's."""
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "scratchnet": __version__,
    }
    versions |= {package: _package_version(package) for package in PACKAGES}
    usable = getattr(os, "sched_getaffinity", None)
    return {
        "versions": {name: version for name, version in versions.items() if version},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cpus": len(usable(0)) if usable else os.cpu_count(),
        "blas_threads_in_fit": 1,
    }


def _package_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """The processor's name as its maker writes it, where the system tells."""
    try:
        if platform.system() == "Darwin":
            asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, subprocess.SubprocessError):
        pass
    return platform.processor() or platform.machine()
