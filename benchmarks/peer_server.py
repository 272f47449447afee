"""The process of one peer: reads requests as JSON lines, answers each with one line.

Started as `python -m benchmarks.peer_server NAME`, it imports the peer's file, says hello, and
serves until its input ends. What libraries print goes nowhere, since standard output belongs to the
protocol. An exception becomes an answer, never half a line. `protocol.py` is the other end.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.job import Array, BenchmarkJob, epoch_rng, initial_weights, load_arrays
from benchmarks.peak_memory import peak_memory
from benchmarks.peers.base import Laps

Request = Mapping[str, Any]
Answer = dict[str, Any]


class PeerServer:
    """One peer and what it was prepared for."""

    def __init__(self, kind: Any):
        self.kind = kind
        self.peer: Any = None
        self.held: Any = None
        self.test: Any = None

    def answer(self, request: Request) -> Answer:
        known: dict[str, Callable[[Request], Answer]] = {
            "prepare": self.prepare,
            "check": self.check,
            "train": self.train,
            "predict": self.predict,
            "score": lambda request: {"accuracy": self.accuracy()},
        }
        wanted = request.get("do")
        if wanted not in known:
            raise ValueError(f"do={wanted!r}: expected one of {', '.join(known)}.")
        return known[wanted](request)

    def prepare(self, request: Request) -> Answer:
        """Load the data and build the model, in place of what was there."""
        self.peer = self.held = self.test = None
        gc.collect()
        self.job = BenchmarkJob.from_json(request["job"])
        self.folder, self.settings = Path(request["folder"]), request["settings"]
        start = time.perf_counter()
        self.x, self.y = load_arrays(self.folder, self.job)
        loaded = time.perf_counter()
        self.build()
        self.held = self.peer.hold(self.x, self.y)
        return {
            "data_seconds": loaded - start,
            "build_seconds": time.perf_counter() - loaded,
            "data_bytes": self.x.nbytes + self.y.nbytes,
        }

    def build(self) -> None:
        self.peer = self.kind(self.job, initial_weights(self.job), self.settings)
        self.rng = epoch_rng(self.job)

    def check(self, request: Request) -> Answer:
        """From initial weights train the checked steps as ordered, keep the weights; begin anew."""
        self.build()
        order, done = np.load(request["order"]), 0
        found: dict[str, Array] = {}
        start = time.perf_counter()
        for steps in self.job.checked:
            rows = order[done * self.job.batch : steps * self.job.batch]
            self.peer.fit(self.peer.hold(self.x[rows], self.y[rows]), 1, None, Laps())
            found |= {f"{steps}/{i}": w for i, w in enumerate(self.peer.weights())}
            done = steps
        np.savez(request["to"], **found)
        self.build()
        return {"check_seconds": time.perf_counter() - start}

    def train(self, request: Request) -> Answer:
        """So many epochs in one fit; `target` stops at a test accuracy, measured off the clock."""
        target: float | None = request.get("target")
        scores: list[float] = []

        def watch() -> bool:
            scores.append(self.accuracy())
            return target is not None and scores[-1] >= target

        laps = Laps(None if target is None else watch)
        gc.collect()
        with peak_memory(bool(request.get("memory"))) as peak:
            laps.began = start = time.perf_counter()
            self.peer.fit(self.held, request["epochs"], self.rng, laps)
            whole = time.perf_counter() - start
        return {
            "seconds": laps.seconds,
            "fit_seconds": whole,
            "losses": laps.losses,
            "accuracies": laps.accuracies,
            "scores": scores,
            "peak_bytes": peak.bytes,
            "extra_bytes": self.peer.extra_bytes(),
        }

    def predict(self, request: Request) -> Answer:
        """The test images again and again, at least `repeats` times and for `seconds`."""
        x, _ = self.test_set()
        seconds: list[float] = []
        while len(seconds) < request["repeats"] or sum(seconds) < request["seconds"]:
            start = time.perf_counter()
            outputs = self.peer.predict(x)
            seconds.append(time.perf_counter() - start)
        if request.get("to"):
            weights = {str(i): w for i, w in enumerate(self.peer.weights())}
            np.savez(request["to"], outputs=outputs, **weights)
        return {"seconds": seconds}

    def test_set(self) -> Any:
        if self.test is None:
            self.test = load_arrays(self.folder, self.job, "test")
        return self.test

    def accuracy(self) -> float:
        x, y = self.test_set()
        return float((self.peer.predict(x).argmax(axis=1) == y).mean())


def pin(cpus: int | None) -> None:
    """Keep this process on its first `cpus` processors, where the system lets us."""
    if cpus is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])


def failure(error: BaseException) -> Answer:
    kind = "crashed"
    if isinstance(error, ImportError):
        kind = "missing"
    elif isinstance(error, NotImplementedError):
        kind = "refuses"
    first = (str(error).strip() or "no message").splitlines()[0]
    return {"failed": kind, "reason": f"{type(error).__name__}: {first[:200]}"}


def hello(name: str) -> tuple[Answer, PeerServer | None]:
    try:
        kind = importlib.import_module(f"benchmarks.peers.{name}").Peer
    except Exception as error:
        return failure(error), None
    about = {"adam": kind.adam, "head": kind.head, "differs": kind.differs}
    return {"versions": kind.versions(), **about}, PeerServer(kind)


def main() -> None:
    """Serve; every answer also says how busy the process was while it waited."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    pin(int(sys.argv[2]) if len(sys.argv) > 2 else None)
    answer, server = hello(sys.argv[1])
    while True:
        print(json.dumps(answer), file=lines)
        idle = time.perf_counter(), time.process_time()
        line = sys.stdin.readline()
        if not line or server is None:
            return
        waited = time.perf_counter() - idle[0], time.process_time() - idle[1]
        try:
            answer = server.answer(json.loads(line))
        except Exception as error:
            answer = failure(error)
        answer |= {"waited_seconds": waited[0], "busy_seconds": waited[1]}


if __name__ == "__main__":
    main()
