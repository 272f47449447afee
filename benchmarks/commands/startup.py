"""Seconds from starting a process to the end of its first epoch, import and data included.

Every sample is a process of its own. The compiled engine is shown with an empty cache of compiled
code and with one that an earlier process has filled; other peers keep whatever caches they keep.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

from benchmarks import machine
from benchmarks.arena import PAUSE, Arena, Row
from benchmarks.commands import field as who
from benchmarks.contestants import Contestant, as_called, compiled_contestant, ours
from benchmarks.job import BenchmarkJob
from benchmarks.protocol import LeftOut, Process

COLD, WARM = "cold cache", "warm cache"


def first_result(
    arena: Arena, contestant: Contestant, job: BenchmarkJob, cache: str | None = None
) -> dict[str, float]:
    """The phases of one process, in seconds."""
    environment = {} if cache is None else {"NUMBA_CACHE_DIR": cache}
    start = time.perf_counter()
    process = Process(contestant.peer, arena.folder, contestant.cpus, environment)
    try:
        built = process.ask(
            "prepare", job=job.to_json(), settings=contestant.options, folder=str(arena.folder)
        )
        answer = process.ask("train", epochs=1)
        whole = time.perf_counter() - start
    finally:
        process.close()
    return {
        "whole": whole,
        "import": process.hello["import_seconds"],
        "data": built["data_seconds"],
        "build": built["build_seconds"],
        "first_epoch": answer["seconds"][0],
    }


def rows_to_measure(
    arena: Arena, peers: list[str] | None, quick: bool
) -> list[tuple[str, Contestant]]:
    """Names of rows and who stands behind them."""
    threads = machine.cpus()
    pairs = [(e.title, as_called(e)) for e in who.wanted(peers, quick, arena, who.FEW)]
    if not peers or "scratchnet" in peers:
        reference, fast = ours(threads)[0], compiled_contestant(threads)
        pairs += [(reference.name, reference)]
        pairs += [(f"{fast.name}, {state}", fast) for state in (WARM, COLD)]
    return pairs


def run(arena: Arena, quick: bool, peers: list[str] | None = None) -> dict[str, Any]:
    """Rows whose samples are the phases of whole processes; each was checked first."""
    job = BenchmarkJob(samples=12_000, checked=(1, 20)) if quick else BenchmarkJob(checked=(1, 20))
    pairs = rows_to_measure(arena, peers, quick)
    ready: dict[Contestant, Row] = {}
    for contestant in dict.fromkeys(contestant for _, contestant in pairs):
        ready |= who.prepare_all(arena, [contestant], job, "startup")
        arena.dismiss(contestant)
    rows: dict[str, Row] = {
        name: ready[contestant] | {"name": name, "samples": []}
        for name, contestant in pairs
        if contestant in ready
    }
    with tempfile.TemporaryDirectory(prefix="cache-") as warm:
        for number in range(1 if quick else 3):
            arena.control.measure()
            for i in arena.rng.permutation(len(pairs)):
                name, contestant = pairs[i]
                if name in rows:
                    _sample(arena, rows, name, contestant, job, warm)
            arena.say(f"startup: round {number + 1}")
    return {"job": job.to_json(), "rows": [row for row in rows.values() if row["samples"]]}


def _sample(
    arena: Arena,
    rows: dict[str, Row],
    name: str,
    contestant: Contestant,
    job: BenchmarkJob,
    warm: str,
) -> None:
    try:
        time.sleep(PAUSE)
        if name.endswith(WARM) and not rows[name]["samples"]:
            first_result(arena, contestant, job, warm)
        if name.endswith(COLD):
            with tempfile.TemporaryDirectory(prefix="cache-") as empty:
                rows[name]["samples"].append(first_result(arena, contestant, job, empty))
        else:
            cache = warm if name.endswith(WARM) else None
            rows[name]["samples"].append(first_result(arena, contestant, job, cache))
    except LeftOut as error:
        arena.leave_out(contestant, error, "startup")
        del rows[name]
