"""The machine of a run: what it is, how fast it could be, and whether it is quiet.

The control is a fixed matrix product, timed in every round while all peers are idle: if it varies,
so does everything. Its peaks are measured in the same run as the peers, because a share of a peak
from another day means nothing: sgemm by NumPy's BLAS, and fused multiply-adds that never leave the
registers. It keeps no name of the machine and no path.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.stats import summarise

NOISY = 0.10
"""Spread of the control from which on a run is called noisy."""
TARGET = "NUMBA_CPU_NAME"
"""The variable that names the CPU that Numba compiles for; it reads it once."""
PACKAGES = (
    "scratchnet",
    "numpy",
    "numba",
    "llvmlite",
    "keras",
    "tensorflow",
    "jax",
    "jaxlib",
    "torch",
    "scikit-learn",
)


def cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def compile_for(cpu: str | None) -> None:
    """Have Numba compile for another CPU of this architecture: here, and in peers started later.

    Raises:
        ValueError: for a name that LLVM does not know, which it would take for the oldest.
    """
    if cpu is None:
        return
    ask = (
        "import llvmlite.binding as l, sys; l.initialize_native_target(); "
        "l.Target.from_default_triple().create_target_machine(cpu=sys.argv[1])"
    )
    asked = subprocess.run([sys.executable, "-c", ask, cpu], capture_output=True, text=True)
    if asked.returncode or asked.stderr:
        raise ValueError(
            f"cpu={cpu!r}: expected a name that LLVM knows, as haswell, znver3 or skylake-avx512, "
            "of a processor whose instructions this one has."
        )
    os.environ |= {TARGET: cpu, "NUMBA_CPU_FEATURES": ""}


def machine_name() -> str:
    """The folder of this machine's results: its CPU, and what Numba compiles for if not for that.

    Two machines of one kind share it: give one of them another `--results`.
    """
    words = f"{_cpu_model().replace('(R)', '')} {cpus()} threads"
    if os.environ.get(TARGET):
        words += f" as {os.environ[TARGET]}"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def describe_machine() -> dict[str, Any]:
    """What belongs beside every number."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "cpu": _cpu_model(),
        "target": os.environ.get(TARGET, ""),
        "threads": cpus(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line.split(":", 1) for line in info.read_text().splitlines() if ":" in line]
        fields = {name.strip(): value.strip() for name, value in lines}
        return f"{fields.get('model name', platform.processor())} ({_vectors(fields)})"
    return platform.processor() or platform.machine()


def _vectors(fields: dict[str, str]) -> str:
    flags = fields.get("flags", fields.get("Features", "")).split()
    return next((name for name in ("avx512f", "avx2", "avx", "asimd") if name in flags), "scalar")


class Control:
    """A fixed product of matrices, on one thread: 33 million multiply-adds, a hundred times."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.a, self.b = (rng.random((320, 320), np.float32) for _ in range(2))
        self.out = np.empty_like(self.a)
        self.samples: list[float] = []

    def measure(self) -> float:
        """Seconds, kept in `samples`."""
        with threadpool_limits(1, "blas"):
            np.matmul(self.a, self.b, out=self.out)
            start = time.perf_counter()
            for _ in range(100):
                np.matmul(self.a, self.b, out=self.out)
            self.samples.append(time.perf_counter() - start)
        return self.samples[-1]

    def report(self) -> dict[str, Any]:
        spread = summarise(self.samples).spread if self.samples else 0.0
        worst = max(self.samples) / min(self.samples) if self.samples else 1.0
        noisy = spread > NOISY or worst > 1 + 3 * NOISY
        return {"samples": self.samples, "spread": spread, "worst": worst, "noisy": noisy}


def _best_rate(flop: float, work: Callable[[], Any], seconds: float = 0.3) -> float:
    """GFLOP/s of the fastest of many repetitions: a peak is what is reached once."""
    work()
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return float(flop / best / 1e9)


def sgemm_peak(threads: int) -> float:
    """GFLOP/s of NumPy's BLAS on 1024 x 1024 float32 matrices."""
    a = np.random.default_rng(0).random((1024, 1024), np.float32)
    out = np.empty_like(a)
    with threadpool_limits(threads, "blas"):
        return _best_rate(2 * 1024**3, lambda: np.matmul(a, a, out=out))


def _fma_loop() -> tuple[Callable[..., Any], int]:
    """A compiled loop of independent multiply-adds, and the FLOP of one of its turns."""
    from numba import njit

    from scratchnet.engines.compiled.vector import WIDTH_16, fma, load, store, zeros

    @njit(nogil=True)
    def loop(A: Any, turns: int) -> None:
        x = load(A, 0, zeros(A, WIDTH_16))
        a, b, c, d, e, f, g, h, i, j = x, x, x, x, x, x, x, x, x, x
        for _ in range(turns):
            a, b, c, d, e = fma(a, x, x), fma(b, x, x), fma(c, x, x), fma(d, x, x), fma(e, x, x)
            f, g, h, i, j = fma(f, x, x), fma(g, x, x), fma(h, x, x), fma(i, x, x), fma(j, x, x)
        store(A, 0, a + b + c + d + e + f + g + h + i + j)

    return loop, 10 * 16 * 2


def fma_peak(threads: int) -> float | None:
    """GFLOP/s of float32 multiply-adds in registers; None without Numba and the vector type."""
    try:
        loop, flop = _fma_loop()
        arrays = [np.full(16, 0.5, np.float32) for _ in range(threads)]
        loop(arrays[0], 1)
    except Exception:  # the vector type belongs to an engine that may not be there
        return None
    turns = 2_000_000

    def work() -> None:
        team = [threading.Thread(target=loop, args=(array, turns)) for array in arrays]
        for member in team:
            member.start()
        for member in team:
            member.join()

    return _best_rate(flop * turns * threads, work)


def peaks() -> dict[str, float | None]:
    """Rates of this machine now, on one thread and on all."""
    every = cpus()
    return {
        "sgemm_1": sgemm_peak(1),
        "sgemm_all": sgemm_peak(every),
        "fma_1": fma_peak(1),
        "fma_all": fma_peak(every),
    }


def higher(
    before: dict[str, float | None], after: dict[str, float | None]
) -> dict[str, float | None]:
    """Of two measurements the better: noise only ever lowers a peak."""
    pairs = ((name, before[name], after[name]) for name in before)
    return {name: max(filter(None, (a, b)), default=None) for name, a, b in pairs}
