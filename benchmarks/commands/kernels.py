"""The contract's functions in both engines, and the compiled engine with parts switched off.

Functions are called in this process on the shapes of the script's model, checked against float64
first. What a switch buys shows only in a whole epoch, and denormal numbers only after several, so
ablations train like everybody else in `train.py`, from the seventh epoch on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks import machine
from benchmarks.ablations import contestants
from benchmarks.arena import Arena, Row, train_turn
from benchmarks.commands import field as who
from benchmarks.job import BenchmarkJob
from benchmarks.protocol import Process
from scratchnet.engines import ENGINE_NAMES, Engine, get_engine
from scratchnet.support import single_threaded_blas

BATCH = 32
TOLERANCE = 1e-5
"""Of the largest entry of a result, in float32."""


class Kernel(NamedTuple):
    """A call of the contract; `call(engine, arrays)` returns what is compared."""

    name: str
    arrays: tuple[Any, ...]
    call: Callable[[Engine, tuple[Any, ...]], Any]
    flop: int


def _dense_backward(engine: Engine, a: tuple[Any, ...]) -> Any:
    return engine.dense_backward(*a, True), a[3], a[4]


def _adam(engine: Engine, a: tuple[Any, ...]) -> Any:
    engine.optimizers["adam"](*a, None, 1e-3, 0.1, 1e-3, 1e-7)
    return a[0], a[2], a[3]


def _cross_entropy(engine: Engine, a: tuple[Any, ...]) -> Any:
    loss = engine.losses["softmax_cross_entropy"]
    losses, cache = loss.forward(*a)
    return losses, loss.backward(np.full_like(losses, 1 / len(losses)), a[1], cache)


def _activation(name: str) -> Callable[[Engine, tuple[Any, ...]], Any]:
    def call(engine: Engine, a: tuple[Any, ...]) -> Any:
        activation = engine.activations[name]
        A = activation.forward(a[0])
        return A, activation.backward(a[1], a[0], A)

    return call


def kernels(rng: np.random.Generator) -> Iterator[Kernel]:
    """The calls of one step of the script's model."""

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    for inputs, outputs in BenchmarkJob().shapes:
        X, W, b = normal(BATCH, inputs), normal(inputs, outputs), normal(outputs)
        size, flop = f"{BATCH} x {inputs} x {outputs}", 2 * BATCH * inputs * outputs
        yield Kernel(f"dense {size}", (X, W, b), lambda e, a: (e.dense(*a),), flop)
        dZ = normal(BATCH, outputs)
        back = (dZ, X, W, np.empty_like(W), np.empty_like(b))
        yield Kernel(f"dense_backward {size}", back, _dense_backward, 2 * flop)
    for name in ("relu", "sigmoid", "tanh", "softmax"):
        pair = normal(BATCH, 50), normal(BATCH, 50)
        yield Kernel(f"{name} and back, {BATCH} x 50", pair, _activation(name), 0)
    targets = np.eye(10, dtype=np.float32)[rng.integers(10, size=BATCH)]
    head = normal(BATCH, 10), targets
    yield Kernel(f"softmax_cross_entropy and back, {BATCH} x 10", head, _cross_entropy, 0)
    count = sum(i * o + o for i, o in BenchmarkJob().shapes)
    vectors = normal(count), normal(count), normal(count), np.abs(normal(count))
    yield Kernel(f"adam, {count:,} parameters", vectors, _adam, 0)


def _copies(arrays: tuple[Any, ...], dtype: Any = np.float32) -> tuple[Any, ...]:
    return tuple(array.astype(dtype) for array in arrays)


def right(kernel: Kernel, engine: Engine) -> bool:
    """Whether an engine's results are those of the reference in float64."""
    reference = get_engine("reference")
    expected = kernel.call(reference, _copies(kernel.arrays, np.float64))
    got = kernel.call(engine, _copies(kernel.arrays))
    return all(
        float(np.max(np.abs(g - e))) <= TOLERANCE * max(1e-30, float(np.max(np.abs(e))))
        for g, e in zip(got, expected, strict=True)
    )


def seconds_of(kernel: Kernel, engine: Engine, least: float) -> float:
    """Seconds of a call, from enough calls to fill `least` seconds."""
    arrays, calls = _copies(kernel.arrays), 1
    while True:
        start = time.perf_counter()
        for _ in range(calls):
            kernel.call(engine, arrays)
        passed = time.perf_counter() - start
        if passed >= least:
            return passed / calls
        calls = max(2 * calls, int(calls * 1.2 * least / max(passed, 1e-9)))


def engines(arena: Arena) -> list[Engine]:
    """Those that can be had here; the others are named."""
    found = []
    for name in ENGINE_NAMES:
        try:
            found.append(get_engine(name))
        except ImportError as error:
            reason = f"missing: {error}"
            arena.left_out.append({"name": f"{name} engine", "why": reason, "job": "kernels"})
    return found


def functions(arena: Arena, quick: bool) -> list[dict[str, Any]]:
    """For each kernel and engine, seconds of a call in interleaved rounds."""
    rows, least = [], 0.002 if quick else 0.01
    available = engines(arena)
    with single_threaded_blas():
        for kernel in kernels(np.random.default_rng(0)):
            timed = {engine.name: engine for engine in available if right(kernel, engine)}
            for engine in available:
                if engine.name not in timed:
                    why = "wrong result"
                    entry = {"name": f"{kernel.name}, {engine.name}", "why": why, "job": "kernels"}
                    arena.left_out.append(entry)
            samples: dict[str, list[float]] = {name: [] for name in timed}
            for _ in range(5 if quick else 11):
                for name, engine in timed.items():
                    samples[name].append(seconds_of(kernel, engine, least))
            rows.append({"name": kernel.name, "flop": kernel.flop, "samples": samples})
    return rows


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
    """`functions`, `ablation` and the machine's peaks."""
    return {
        "batch": BATCH,
        "peaks": machine.peaks(),
        "functions": functions(arena, quick),
        "ablation": ablation(arena, quick),
    }
