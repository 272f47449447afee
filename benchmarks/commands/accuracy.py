"""Seconds of training until 97 % of the test images are right, for several seeds.

The test accuracy is measured after each epoch, off the clock. A seed gives initial weights and
order; one that never gets there in `EPOCHS` counts as that, not as a time.
"""

from __future__ import annotations

from typing import Any

from benchmarks.arena import Arena, Row, Turn
from benchmarks.commands import field as who
from benchmarks.job import BenchmarkJob
from benchmarks.protocol import Process

TARGET, EPOCHS = 0.97, 15


def target_turn(seed: int) -> Turn:
    def to_target(process: Process, row: Row) -> None:
        answer = process.ask("train", epochs=EPOCHS, target=TARGET)
        reached = answer["scores"][-1] >= TARGET
        row["rounds"].append(answer["seconds"])
        row.setdefault("runs", []).append(
            {
                "seed": seed,
                "seconds": sum(answer["seconds"]) if reached else None,
                "epochs": len(answer["seconds"]),
                "scores": answer["scores"],
            }
        )

    return to_target


def compile_and_forget(job: BenchmarkJob, arena: Arena) -> Turn:
    """An epoch, so that everything is compiled, and then the initial weights again."""

    def forget(process: Process, row: Row) -> None:
        process.ask("train", epochs=1)
        options = {name: value for name, value in row["settings"].items() if name != "cpus"}
        process.ask("prepare", job=job.to_json(), settings=options, folder=str(arena.folder))

    return forget


def run(arena: Arena, quick: bool, peers: list[str] | None = None) -> dict[str, Any]:
    """Rows with `runs`, one for each seed."""
    rows: dict[str, Row] = {}
    entries = who.wanted(peers, quick, arena, who.FEW)
    field = [c for entry in entries for c in who.pair(entry, who.known_best(entry))[-1:]]
    for seed in range(1 if quick else 3):
        job = BenchmarkJob(seed=seed, checked=(1, 20))
        ready = who.prepare_all(arena, [*field, *who.own(peers)], job, f"seed {seed}")
        ready = arena.rounds(ready, 1, compile_and_forget(job, arena), f"seed {seed}, compiling")
        for row in arena.rounds(ready, 1, target_turn(seed), f"to 97 %, seed {seed}").values():
            runs = rows.setdefault(row["name"], row | {"runs": [], "rounds": []})
            runs["runs"] += row["runs"]
    return {"target": TARGET, "epochs": EPOCHS, "rows": list(rows.values())}
