"""Who runs: each peer as called, at its best, and ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks import machine, store
from benchmarks.arena import Arena, Row, fastest
from benchmarks.contestants import (
    Contestant,
    Entry,
    Settings,
    as_called,
    at_best,
    chosen,
    ours,
    words,
)
from benchmarks.job import BenchmarkJob


def wanted(
    peers: list[str] | None, quick: bool, arena: Arena, few: tuple[str, ...] | None = None
) -> tuple[Entry, ...]:
    """The entries that take part; with `--quick` only `few`, and those that it drops are named."""
    entries = chosen(peers)
    if peers or not quick:
        return entries
    kept = tuple(e for e in entries if e.quick and (few is None or e.peer in few))
    for entry in (e for e in entries if e not in kept):
        arena.left_out.append({"name": entry.title, "why": "spared by --quick", "job": ""})
    return kept


FEW = ("keras_tensorflow", "jax_scan")
"""Those that stand for all where `--quick` has time for two."""


def own(peers: list[str] | None) -> tuple[Contestant, ...]:
    """Our rows, unless only others were asked for."""
    return ours(machine.cpus()) if not peers or "scratchnet" in peers else ()


def pair(entry: Entry, best: Settings | None) -> list[Contestant]:
    """As called, and at its best if that is something else."""
    if best is None or dict(best) == dict(entry.called):
        return [as_called(entry)]
    return [as_called(entry), at_best(entry, best)]


def known_best(entry: Entry) -> Settings | None:
    """What the last full `train` found, else the guess."""
    record = store.read("train") or {}
    for search in record.get("jobs", {}).get("mnist", {}).get("searches", []):
        if search["peer"] == entry.peer:
            best: Settings = search["best"]
            return best
    return entry.guess


def search_all(
    arena: Arena, entries: Iterable[Entry], job: BenchmarkJob
) -> tuple[list[Contestant], list[dict[str, Any]]]:
    """Each peer as called and at the best that short runs find; and what was tried."""
    field, searches = [], []
    for entry in entries:
        tried = arena.search(entry, job)
        best = fastest(tried, entry.called)
        searches.append({"peer": entry.peer, "tried": tried, "best": dict(best)})
        arena.say(f"searched {entry.title}: {words(best)}")
        field += pair(entry, best)
    return field, searches


def prepare_all(
    arena: Arena, field: Iterable[Contestant], job: BenchmarkJob, title: str, first: bool = False
) -> dict[Contestant, Row]:
    """The rows of those that are ready and right."""
    ready = {}
    for contestant in field:
        row = arena.prepare(contestant, job, title, first)
        if row is not None:
            ready[contestant] = row
            arena.say(f"{title}: ready and right, {contestant.name} ({row['check']['words']})")
    return ready
