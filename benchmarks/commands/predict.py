"""Milliseconds of predicting the 10,000 test images, as called and in one batch."""

from __future__ import annotations

from typing import Any

from benchmarks.arena import Arena, Row
from benchmarks.commands import field as who
from benchmarks.contestants import Contestant
from benchmarks.job import BenchmarkJob
from benchmarks.protocol import LeftOut, Process

JOB = BenchmarkJob(samples=6_400, checked=(1, 20))


def predict_turn(process: Process, row: Row) -> None:
    row["rounds"].append(process.ask("predict", repeats=3, seconds=0.2)["seconds"])


def run(arena: Arena, quick: bool, peers: list[str] | None = None) -> dict[str, Any]:
    """Rows whose rounds hold seconds of single predictions."""
    entries = who.wanted(peers, quick, arena)
    field = [c for entry in entries for c in who.pair(entry, entry.predict)]
    right: dict[Contestant, Row] = {}
    for contestant, row in who.prepare_all(
        arena, [*field, *who.own(peers)], JOB, "predict"
    ).items():
        process = arena.process(contestant)
        try:
            process.ask("train", epochs=1)
            arena.check_outputs(process, JOB)
            right[contestant] = row
        except LeftOut as error:
            arena.leave_out(contestant, error, "predict")
    rows = arena.rounds(right, 2 if quick else 7, predict_turn, "predict")
    return {"images": 10_000, "rows": list(rows.values())}
