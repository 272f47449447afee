"""Run a learner's code in a process of its own: time limit, no output, an end whatever it does.

One process marks one exercise after the other. Where it hangs or dies, that exercise is marked so,
and a new process goes on with the next.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scratchnet.app.course.exercises import EXERCISES, IN_ORDER
from scratchnet.app.course.marking import Mark

SECONDS = 5.0
"""For one exercise; the right ones take a hundredth."""

STARTING, BUSY = 60.0, 2.0
"""Seconds for our own imports, which take one; and what a function gets of what they took."""

STACK = ("forward", "backward", "train_step")
"""What calls the functions before it."""


def check(path: Path, asked: list[str], seconds: float = SECONDS) -> dict[str, Mark]:
    """The mark of each exercise that is asked for, in order.

    A function that passes is used by those after it; any other is borrowed from the reference.
    """
    names = [name for name in EXERCISES if name in asked]
    if set(asked) & set(STACK):
        last = max(k for k, one in enumerate(IN_ORDER) if one.name in asked)
        before = {one.name for one in IN_ORDER[: last + 1]}
        names = [name for name in EXERCISES if name in {*asked, *before}]
    marks: dict[str, Mark] = {}
    while len(marks) < len(names):
        had = len(marks)
        left = names[len(marks) :]
        borrowed = [name for name, found in marks.items() if found.state != "passed"]
        events, why = _process(path, left, borrowed, seconds)
        for event in events:
            if "end" in event:
                marks[event["end"]] = Mark(event["state"], event["lines"])
        if not any("loaded" in event for event in events):
            told = Mark("wrong", [f"the file can't be loaded: {why or 'it ends the process.'}"])
            return {name: marks.get(name, told) for name in names if name in asked}
        if len(marks) < len(names) and (why or len(marks) == had):
            # A process that ends with status 0 and no mark was ended by the learner's code too.
            marks[names[len(marks)]] = Mark("wrong", [why or "it ends the whole process."])
    return {name: marks[name] for name in names if name in asked}


def _process(
    path: Path, names: list[str], borrowed: list[str], seconds: float
) -> tuple[list[dict[str, Any]], str]:
    """What one process said, and why it ended early, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said.jsonl"
        said.touch()
        room = [str(path.resolve()), str(said), ",".join(names), ",".join(borrowed)]
        process = start("scratchnet.app.course.sheet", room)
        try:
            why = _watched(process, said, seconds)
        finally:
            process.kill()
            process.wait()
        lines = said.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")], why


def start(module: str, arguments: list[str]) -> subprocess.Popen[bytes]:
    """A process that runs this module; what it prints goes nowhere."""
    # A learner's folder may hold a numpy.py: nothing is imported from where one stands.
    environment = os.environ | {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _watched(process: subprocess.Popen[bytes], said: Path, seconds: float) -> str:
    """Why the process ended early, or ""; each line that it writes gives it more time."""
    size, since, limit = 0, time.monotonic(), STARTING
    while process.poll() is None:
        time.sleep(0.02)
        now, before = time.monotonic(), size
        size = said.stat().st_size
        if size != before:
            if not before:  # our own imports are done; how long they took tells how busy it is here
                limit = max(seconds, BUSY * (now - since))
            since = now
        elif now - since > limit:
            return f"no answer in {limit:.2g} seconds: an endless loop?"
    return (
        f"it ends the whole process, with status {process.returncode}."
        if process.returncode
        else ""
    )
