"""Seconds of an epoch: the script's job, and what changes with dtype, inputs, width and batch.

The very first epoch compiles and is kept on its own. After the check and a warm-up everyone trains
the same epochs in each round. The first epoch of a fit holds what `fit` does once; steady epochs
are the others.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.arena import Arena, Row, train_turn
from benchmarks.commands import field as who
from benchmarks.contestants import ENTRIES, Contestant, compiled_contestant
from benchmarks.job import BenchmarkJob
from benchmarks.protocol import LeftOut, Process


class Experiment(NamedTuple):
    """A job, what to call it, how often to measure it, whether settings are searched anew (without
    a search they are the best of the first job), and which peers take part (none named: all)."""

    words: str
    job: BenchmarkJob
    rounds: int = 3
    epochs: int = 3
    search: bool = False
    peers: tuple[str, ...] = ()


KERAS, JAX, TORCH = "keras_tensorflow", "jax_scan", "pytorch"
_WIDE = BenchmarkJob(hidden=(512, 512), samples=9_600, checked=(1, 20, 100))
EXPERIMENTS = {
    "mnist": Experiment("784-50-50-10, batch 32, float32", BenchmarkJob(), rounds=4, search=True),
    "float64": Experiment(
        "the same in float64",
        BenchmarkJob(dtype="float64", samples=12_000),
        peers=(KERAS, "numpy_plain"),
    ),
    "standardised": Experiment(
        "the same on standardised pixels, none of them 0",
        BenchmarkJob(inputs="standardised", samples=12_000),
        peers=(KERAS, JAX, TORCH),
    ),
    "bytes": Experiment(
        "the same from bytes, scaled in the model",
        BenchmarkJob(inputs="bytes", samples=12_000),
        peers=(KERAS,),
    ),
    "single": Experiment(
        "the same with batch 1", BenchmarkJob(batch=1, samples=1_000), peers=(KERAS, JAX, TORCH)
    ),
    "wide-32": Experiment("784-512-512-10, batch 32", _WIDE, peers=(KERAS, JAX, TORCH)),
    "wide-128": Experiment(
        "784-512-512-10, batch 128",
        replace(_WIDE, batch=128, checked=(1, 20)),
        search=True,
        peers=(KERAS, JAX, TORCH),
    ),
    "wide-1024": Experiment(
        "784-512-512-10, batch 1024",
        replace(_WIDE, batch=1024, samples=20_480, checked=(1, 20)),
        peers=(KERAS, JAX, TORCH),
    ),
}
HUNDRED = "hundred"
"""A hundred epochs in one fit, of ours: is the last as fast as the second?"""


def quick_version(experiment: Experiment) -> Experiment:
    job = replace(experiment.job, samples=min(experiment.job.samples, 12_000))
    return Experiment(experiment.words, job, rounds=2, epochs=3)


def warm_up(process: Process, row: Row) -> None:
    """An epoch that is not kept."""
    process.ask("train", epochs=1)


def score(arena: Arena, ready: dict[Contestant, Row], title: str) -> None:
    """Test accuracy after all epochs, into the rows."""
    for contestant, row in ready.items():
        try:
            row["test_accuracy"] = arena.process(contestant).ask("score")["accuracy"]
        except LeftOut as error:
            arena.leave_out(contestant, error, title)


def one_job(
    arena: Arena, name: str, experiment: Experiment, field: list[Contestant], searches: list[Any]
) -> dict[str, Any]:
    ready = who.prepare_all(arena, field, experiment.job, name, first=True)
    ready = arena.rounds(ready, 1, warm_up, f"{name}, warming up")
    ready = arena.rounds(ready, experiment.rounds, train_turn(experiment.epochs), name)
    score(arena, ready, name)
    return {
        "words": experiment.words,
        "job": experiment.job.to_json(),
        "steps": experiment.job.steps,
        "flop_per_epoch": experiment.job.flop_per_sample * experiment.job.samples,
        "epochs_in_a_turn": experiment.epochs,
        "rows": list(ready.values()),
        "searches": searches,
    }


def hundred(arena: Arena) -> dict[str, Any]:
    """Rows of the compiled engine with one round of 100 epochs."""
    field = [compiled_contestant(n) for n in sorted({1, machine.cpus()})]
    ready = who.prepare_all(arena, field, BenchmarkJob(), HUNDRED)
    rows = arena.rounds(ready, 1, train_turn(100), HUNDRED)
    words = "a hundred epochs in one fit"
    return {"words": words, "job": BenchmarkJob().to_json(), "rows": list(rows.values())}


def run(
    arena: Arena, quick: bool, peers: list[str] | None = None, jobs: list[str] | None = None
) -> dict[str, Any]:
    """The jobs by name, each with its rows; quick is the first alone, on 12,000 samples."""
    unknown = sorted(set(jobs or []) - {*EXPERIMENTS, HUNDRED})
    if unknown:
        raise ValueError(
            f"job={unknown[0]!r}: expected one of {', '.join([*EXPERIMENTS, HUNDRED])}."
        )
    names = jobs or (["mnist"] if quick else [*EXPERIMENTS, HUNDRED])
    entries, results = who.wanted(peers, quick, arena), {}
    peaks = machine.peaks()
    best = {entry.peer: who.known_best(entry) for entry in ENTRIES}
    for name in (n for n in names if n in EXPERIMENTS):
        experiment = quick_version(EXPERIMENTS[name]) if quick else EXPERIMENTS[name]
        searches: list[Any] = []
        some = [e for e in entries if not experiment.peers or e.peer in experiment.peers]
        if quick or not experiment.search:
            field = [c for entry in some for c in who.pair(entry, best[entry.peer])]
        else:
            narrowed = [
                entry if name == "mnist" else entry.narrowed(best[entry.peer] or entry.called)
                for entry in some
            ]
            field, searches = who.search_all(arena, narrowed, experiment.job)
        if searches:
            best |= {search["peer"]: search["best"] for search in searches}
        results[name] = one_job(arena, name, experiment, [*field, *who.own(peers)], searches)
    if HUNDRED in names and (not peers or "scratchnet" in peers):
        results[HUNDRED] = hundred(arena)
    return {"peaks": machine.higher(peaks, machine.peaks()), "jobs": results}


def steady(rounds: list[list[float]]) -> list[float]:
    """The epochs that hold no start of a fit."""
    return [seconds for one in rounds for seconds in (one[1:] or one)]


def starts(rounds: list[list[float]]) -> float:
    """Seconds that the first epoch of a fit takes beyond a steady one, the median over rounds."""
    extra = sorted(one[0] - min(one[1:]) for one in rounds if len(one) > 1)
    return extra[len(extra) // 2] if extra else math.nan
