"""One training, stopped at random moments and gone on with, held against one that never was.

Every command is a process of its own; after each end of one, whatever checkpoint is there must be
readable, and where there is none nothing may have been kept but finished epochs.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet import saving
from scratchnet.app.run_folder import CHECKPOINT, NEXT, read_run

COMMAND = (sys.executable, "-m", "scratchnet_command")
STATUS = {signal.SIGKILL: {-9}, signal.SIGTERM: {143}, signal.SIGINT: {130}}
"""How a command ends that the signal has ended."""
EARLY = {-signal.SIGTERM, -signal.SIGINT, 130}
"""The same before the command is begun, and before Python has begun to run."""


class Training(NamedTuple):
    """What is trained: on which data, and how."""

    data: Path
    epochs: int = 6
    every: int = 50
    engine: str = "auto"

    def arguments(self, out: Path) -> list[str]:
        options = ["--data", str(self.data), "--epochs", str(self.epochs), "--engine", self.engine]
        return ["train", *options, *self.checkpoints(), "--out", str(out)]

    def checkpoints(self) -> list[str]:
        return ["--checkpoint-every", str(self.every), "--quiet"]


def write_data(path: Path, samples: int = 4000) -> Path:
    """Images of noise around ten patterns, as an `.npz`."""
    rng = np.random.default_rng(4)
    patterns = rng.integers(0, 200, (10, 28, 28))
    arrays = {}
    for name, count in (("train", samples), ("test", 300)):
        labels = rng.integers(0, 10, count)
        images = patterns[labels] + rng.integers(-40, 40, (count, 28, 28))
        arrays |= {f"x_{name}": images.clip(0, 255).astype(np.uint8), f"y_{name}": labels}
    np.savez(path, **arrays)
    return path


def environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "PYTHONWARNINGS": "ignore", "COLUMNS": "100"}


def begin(arguments: list[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=pipe, stderr=pipe, text=True, env=environment()
    )


def left_by(run: Path) -> dict[str, Any]:
    """All that a finished run tells of its training, without times."""
    kept = read_run(run)
    assert kept.result and not kept.result["interrupted"], "the run is not finished"
    state = saving.load(kept.model_file)
    history = {name: v for name, v in kept.history["scratchnet"].items() if name != "seconds"}
    return {
        "config": json.dumps(state.config, sort_keys=True),
        "arrays": {name: array.tobytes() for name, array in state.arrays.items()},
        "history": history,
        "answers": {name: array.tobytes() for name, array in kept.answers.items()},
    }


def checkpoint_of(run: Path) -> Path | None:
    """The run's checkpoint, if there is one; one that can't be read is an error."""
    there = [place for place in (run / NEXT / CHECKPOINT, run / CHECKPOINT) if place.exists()]
    for place in there:
        saving.load(place)
    return there[0] if there else None


class Outcome(NamedTuple):
    """One training's ends: how often it was stopped, gone on with, and begun anew."""

    stopped: int
    resumed: int
    anew: int


def stopped_at_random(
    training: Training,
    out: Path,
    number: signal.Signals,
    rng: random.Random,
    longest: float,
    again: float = 0.4,
    most: int = 6,
) -> Outcome:
    """Train to the end, with at least one end before it; each may be followed by another."""
    stopped = resumed = anew = 0
    wanted = 1
    while True:
        usable = checkpoint_of(out) is not None
        if usable:
            arguments = ["train", "--resume", str(out), *training.checkpoints()]
            resumed += 1
        else:
            arguments = training.arguments(out)
            anew += stopped > 0
        process = begin(arguments)
        if stopped < wanted:
            wait(process, rng.uniform(0, longest))
            process.send_signal(number)
        printed, said = process.communicate(timeout=120)
        status = process.returncode
        if status == 0:
            return Outcome(stopped, resumed, anew)
        assert status in STATUS[number] | EARLY, f"status {status}: {printed}{said}"
        assert "Traceback" not in said, said
        stopped += 1
        if stopped == wanted and stopped < most and rng.random() < again:
            wanted += 1
        if usable:
            assert checkpoint_of(out) is not None, "the checkpoint is gone"
        if out.is_dir() and (out / "model.npz").exists():
            read_run(out)


def wait(process: subprocess.Popen[str], seconds: float) -> None:
    """For so long, or until the process has ended."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
