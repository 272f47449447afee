"""Peak memory in `fit` above what stood just before it, and what the data take.

Everyone has trained a little before, so that imports and compiled code stand already. The first fit
on all samples may still compile for their number; the second shows what is left then.
"""

from __future__ import annotations

from typing import Any

from benchmarks.arena import Arena, Row, train_turn
from benchmarks.commands import field as who
from benchmarks.contestants import as_called
from benchmarks.job import BenchmarkJob


def run(arena: Arena, quick: bool, peers: list[str] | None = None) -> dict[str, Any]:
    """Rows with `peaks`, bytes of the first and the second fit, `data_bytes`, `extra_bytes`."""
    job = BenchmarkJob(samples=12_000 if quick else 60_000, checked=(1, 20))
    field = [as_called(entry) for entry in who.wanted(peers, quick, arena, who.FEW)]
    rows: list[Row] = []
    # One after the other: what others keep in memory must not push anyone's pages out.
    for contestant in [*field, *who.own(peers)]:
        arena.dismiss(contestant)  # one that ran before has memory to reuse
        ready = who.prepare_all(arena, [contestant], job, "memory")
        title, turn = f"memory, {contestant.name}", train_turn(1, memory=True)
        rows += arena.rounds(ready, 2, turn, title).values()
        arena.dismiss(contestant)
    return {"job": job.to_json(), "rows": rows}
