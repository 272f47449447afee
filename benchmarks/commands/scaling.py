"""How the time of a sample changes with batch, width, depth, samples, threads and density.

Each point is a job of its own, checked like any other, on so many samples that it stays short;
contestants stay alive and are prepared anew. Along `samples` memory is measured too: beside the
data it must not grow. Images are made up where MNIST's do not serve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from benchmarks import machine
from benchmarks.arena import Arena, train_turn
from benchmarks.commands import field as who
from benchmarks.commands.train import warm_up
from benchmarks.contestants import Contestant, compiled_contestant
from benchmarks.image_sets import ImageSets
from benchmarks.job import BenchmarkJob

BASE = BenchmarkJob(samples=9_600, checked=(1, 20))
LARGEST_FOR_OTHERS = 100_000
"""Samples that peers may be asked to hold; beyond it we run alone, to spare the machine."""
PEERS = ("keras_tensorflow", "pytorch", "jax_scan")

Point = tuple[float, BenchmarkJob]


def batches(images: ImageSets, quick: bool) -> Iterable[Point]:
    for size in (1, 32, 1024) if quick else (1, 8, 32, 128, 512, 1024, 4096):
        yield size, replace(BASE, batch=size, samples=min(32_768, max(2_000, 300 * size)))


def widths(images: ImageSets, quick: bool) -> Iterable[Point]:
    for width in (16, 128) if quick else (16, 50, 128, 256, 512, 1024):
        yield width, replace(BASE, hidden=(width, width))


def depths(images: ImageSets, quick: bool) -> Iterable[Point]:
    for depth in (0, 4) if quick else (0, 1, 2, 4, 8):
        yield depth, replace(BASE, hidden=(50,) * depth)


def samples(images: ImageSets, quick: bool) -> Iterable[Point]:
    for count in (1_000, 10_000) if quick else (1_000, 10_000, 100_000, 1_000_000):
        name = images.synthetic(count)
        yield count, replace(BASE, samples=count, images=name)
        images.forget(name)


def densities(images: ImageSets, quick: bool) -> Iterable[Point]:
    shares = (0.0, 0.2, 1.0) if quick else (0.0, 0.05, 0.2, 0.5, 0.75, 1.0)
    for share in shares:
        yield share, replace(BASE, images=images.with_density(share, BASE.samples))


def threads(images: ImageSets, quick: bool) -> Iterable[Point]:
    yield machine.cpus(), replace(BASE, samples=30_000)


AXES: dict[str, Callable[[ImageSets, bool], Iterable[Point]]] = {
    "batch": batches,
    "width": widths,
    "depth": depths,
    "samples": samples,
    "density": densities,
    "threads": threads,
}


def contestants_at(
    axis: str, value: float, others: list[Contestant], alone: tuple[Contestant, ...]
) -> list[Contestant]:
    """Who runs at a point."""
    if axis == "threads":
        return [compiled_contestant(count) for count in range(1, int(value) + 1)]
    if axis == "samples" and value > LARGEST_FOR_OTHERS:
        return [c for c in alone if c.settings.get("engine") == "compiled"]
    return [*others, *alone]


def run(
    arena: Arena, quick: bool, peers: list[str] | None = None, axes: list[str] | None = None
) -> dict[str, Any]:
    """For each axis its points, each with the rows of those who ran."""
    unknown = sorted(set(axes or []) - set(AXES))
    if unknown:
        raise ValueError(f"axis={unknown[0]!r}: expected one of {', '.join(AXES)}.")
    names = peers if peers else list(PEERS[2:] if quick else PEERS)
    entries = who.wanted(names, quick, arena)
    others = [who.pair(entry, who.known_best(entry))[-1] for entry in entries]
    alone = tuple(c for c in who.own(peers) if c.settings.get("engine") == "compiled")
    alone = alone or who.own(peers)
    results: dict[str, Any] = {}
    for axis in axes or (["batch", "width", "density"] if quick else list(AXES)):
        results[axis] = []
        for value, job in AXES[axis](arena.images, quick):
            title = f"{axis} {value:g}"
            field = contestants_at(axis, value, others, alone)
            ready = who.prepare_all(arena, field, job, title)
            ready = arena.rounds(ready, 1, warm_up, f"{title}, warming up")
            turn = train_turn(2, memory=axis == "samples")
            rows = list(arena.rounds(ready, 1 if quick else 2, turn, title).values())
            results[axis].append({"value": value, "job": job.to_json(), "rows": rows})
    return {"axes": results}
