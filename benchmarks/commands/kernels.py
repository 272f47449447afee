"""The compiled engine with parts switched off.

What a switch buys shows only in a whole epoch, and denormal numbers only after several, so that
each is trained like everybody else in `train.py`, from the seventh epoch on.
"""

from __future__ import annotations

from typing import Any

from benchmarks import machine
from benchmarks.ablations import contestants
from benchmarks.arena import Arena, Row, train_turn
from benchmarks.commands import field as who
from benchmarks.job import BenchmarkJob
from benchmarks.protocol import Process


def ablation(arena: Arena, quick: bool) -> list[Row]:
    """An epoch of the compiled engine, whole and with each switch off."""
    job = BenchmarkJob(samples=12_000) if quick else BenchmarkJob()
    rows: list[Row] = []

    def settle(process: Process, row: Row) -> None:
        process.ask("train", epochs=6)

    for threads in [1] if quick else sorted({1, machine.cpus()}):
        ready = who.prepare_all(arena, contestants(threads), job, "ablation")
        ready = arena.rounds(ready, 1, settle, "ablation, first six epochs")
        rows += arena.rounds(ready, 2 if quick else 5, train_turn(3), "ablation").values()
    return rows


def run(arena: Arena, quick: bool, peers: list[str] | None = None) -> dict[str, Any]:
    """`ablation` and the machine's peaks."""
    return {"peaks": machine.peaks(), "ablation": ablation(arena, quick)}
