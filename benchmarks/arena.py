"""Where peers take turns: start, prepare, check, then time in interleaved rounds.

Nobody is timed whose weights are wrong, and who can't take part is named in `left_out`. In each
round everyone trains the same epochs of its own course, in an order that is drawn anew, with a
pause in between so that threads of the one before have gone to sleep; before each round the control
is measured. A peer that keeps its processors busy while it waits is stopped between its turns.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.contestants import Contestant, Entry, Settings, words
from benchmarks.image_sets import ImageSets
from benchmarks.job import BenchmarkJob
from benchmarks.machine import Control, describe_machine
from benchmarks.oracle import Oracle
from benchmarks.protocol import LeftOut, Process

PAUSE = 0.1
"""Seconds between two turns: longer than idle worker threads spin."""
BUSY = 0.05
"""CPU seconds used for each second of waiting from which on a peer is stopped between turns."""

SEARCH_SAMPLES = 6_400
"""Samples of the short runs in which settings are searched."""

Row = dict[str, Any]
Turn = Callable[[Process, Row], None]


class Arena:
    """Processes, data and reference of one command; a context manager that ends what it began."""

    def __init__(
        self, console: Console | None = None, factory: Callable[..., Process] = Process
    ) -> None:
        self.console = console or Console(stderr=True)
        self.factory = factory
        self.alive: dict[tuple[Any, ...], Process] = {}
        self.left_out: list[dict[str, str]] = []
        self.control = Control()
        self.rng = np.random.default_rng(0)
        self.began = time.perf_counter()

    def __enter__(self) -> Arena:
        self.scratch = tempfile.TemporaryDirectory(prefix="benchmarks-")
        self.folder = Path(self.scratch.name)
        self.images = ImageSets(self.folder)
        self.oracle = Oracle(self.folder)
        self.say(f"Data: {self.images.origin}")
        return self

    def __exit__(self, *error: object) -> None:
        self.dismiss()
        self.scratch.cleanup()

    def say(self, line: str) -> None:
        self.console.print(f"[dim]{time.perf_counter() - self.began:6.1f} s[/]  {line}")

    def begin(self) -> None:
        """Forget what belongs to the command before; processes stay."""
        self.control, self.left_out, self.began = Control(), [], time.perf_counter()

    def record(self) -> dict[str, Any]:
        """What belongs beside the samples of a command."""
        return {
            "data": self.images.origin,
            "environment": describe_machine(),
            "control": self.control.report(),
            "left_out": self.left_out,
            "whole_seconds": time.perf_counter() - self.began,
        }

    # --- processes --------------------------------------------------------------------------------

    def process(self, contestant: Contestant) -> Process:
        """Its process, started if need be; two rows never share one."""
        key = (contestant.peer, contestant.name, contestant.cpus)
        if key not in self.alive:
            self.alive[key] = self.factory(contestant.peer, self.folder, contestant.cpus)
        return self.alive[key]

    def dismiss(self, contestant: Contestant | None = None) -> None:
        """End a contestant's process, or all."""
        for key, process in list(self.alive.items()):
            if contestant is None or key[:2] == (contestant.peer, contestant.name):
                _wake(process)
                process.close()
                del self.alive[key]

    def leave_out(self, contestant: Contestant, error: LeftOut, job: str = "") -> None:
        entry = {"name": contestant.name, "why": f"{error.kind}: {error.reason}", "job": job}
        self.left_out.append(entry)
        self.say(f"[yellow]left out: {contestant.name}, {entry['why']}[/]")
        self.dismiss(contestant)

    # --- before the clock -------------------------------------------------------------------------

    def prepare(
        self, contestant: Contestant, job: BenchmarkJob, title: str = "", first: bool = False
    ) -> Row | None:
        """A row for a contestant that is ready and right; None for one that was left out.

        With `first` the very first epoch, which compiles, is timed before the check uses the model;
        the check leaves initial weights behind, whatever came before.
        """
        try:
            process = self.process(contestant)
            _wake(process)
            built = process.ask(
                "prepare", job=job.to_json(), settings=contestant.options, folder=str(self.folder)
            )
            if first:
                built["first_epoch_seconds"] = process.ask("train", epochs=1)["seconds"][0]
            verdict = self.check(process, job)
        except LeftOut as error:
            self.leave_out(contestant, error, title)
            return None
        return {
            "name": contestant.name,
            "peer": contestant.peer,
            "settings": dict(contestant.settings),
            "differs": process.hello.get("differs", ""),
            "versions": process.hello.get("versions", {}),
            "import_seconds": process.hello.get("import_seconds"),
            **built,
            "check": verdict,
            "rounds": [],
            "fits": [],
        }

    def check(self, process: Process, job: BenchmarkJob) -> dict[str, Any]:
        """Compare its weights with the reference; `LeftOut` if they are wrong."""
        adam, path = process.hello["adam"], self.folder / "weights.npz"
        order = str(self.oracle.order(job, adam))
        seconds = process.ask("check", order=order, to=str(path)).get("check_seconds")
        verdict = self.oracle.weights(job, adam, path)
        if not verdict.right:
            raise LeftOut(process.peer, "wrong result", verdict.words)
        return {"share": verdict.share, "words": verdict.words, "seconds": seconds}

    def check_outputs(self, process: Process, job: BenchmarkJob) -> None:
        """Compare its predictions with the reference; `LeftOut` if they are wrong."""
        path = self.folder / "outputs.npz"
        process.ask("predict", repeats=1, seconds=0, to=str(path))
        verdict = self.oracle.outputs(job, process.hello["head"], path)
        if not verdict.right:
            raise LeftOut(process.peer, "wrong result", verdict.words)

    # --- the clock --------------------------------------------------------------------------------

    def rounds(
        self, ready: Mapping[Contestant, Row], count: int, turn: Turn, title: str = ""
    ) -> dict[Contestant, Row]:
        """Let everyone take `count` turns; those who came through, with their rows."""
        field = dict(ready)
        for number in range(count):
            time.sleep(PAUSE)
            self.control.measure()
            order = list(field)
            for contestant in (order[i] for i in self.rng.permutation(len(order))):
                try:
                    self._turn(self.process(contestant), field[contestant], turn)
                except LeftOut as error:
                    self.leave_out(contestant, error, title)
                    del field[contestant]
            self.say(f"{title}: round {number + 1} of {count}")
        self.control.measure()
        return field

    def _turn(self, process: Process, row: Row, turn: Turn) -> None:
        _wake(process)
        time.sleep(PAUSE)
        turn(process, row)
        row["busy_share"] = process.busy_share
        if process.busy_share > BUSY:
            row["stopped_between_turns"] = _stop(process)

    # --- the best settings ------------------------------------------------------------------------

    def search(self, entry: Entry, job: BenchmarkJob) -> list[dict[str, Any]]:
        """Short runs of each of a peer's settings: `settings` and `seconds` of those that ran."""
        short, tried = job.shorter(SEARCH_SAMPLES), []
        for settings in entry.search_space:
            contestant = Contestant(entry.peer, f"{entry.title}, {words(settings)}", settings)
            row = self.prepare(contestant, short, "search")
            if row is None:
                continue
            try:
                process = self.process(contestant)
                process.ask("train", epochs=1)
                time.sleep(PAUSE)
                seconds = process.ask("train", epochs=4)["seconds"][1:]
                tried.append({"settings": dict(settings), "seconds": seconds})
            except LeftOut as error:
                self.leave_out(contestant, error, "search")
            self.dismiss(contestant)
        return tried


def fastest(tried: list[dict[str, Any]], otherwise: Settings) -> Settings:
    """The settings with the least median."""
    if not tried:
        return otherwise
    best: Settings = min(tried, key=lambda one: float(np.median(one["seconds"])))["settings"]
    return best


def train_turn(epochs: int, **options: Any) -> Turn:
    """A turn of so many epochs in one fit, kept in the row."""

    def turn(process: Process, row: Row) -> None:
        answer = process.ask("train", epochs=epochs, **options)
        row["rounds"].append(answer["seconds"])
        row["fits"].append(answer["fit_seconds"])
        row["loss"], row["accuracy"] = answer["losses"][-1], answer["accuracies"][-1]
        row["extra_bytes"] = answer["extra_bytes"]
        if answer["peak_bytes"] is not None:
            row.setdefault("peaks", []).append(answer["peak_bytes"])

    return turn


def _signal(process: Process, number: int) -> bool:
    popen = getattr(process, "process", None)
    if popen is None or popen.poll() is not None:
        return False
    popen.send_signal(number)
    return True


def _stop(process: Process) -> bool:
    return hasattr(signal, "SIGSTOP") and _signal(process, signal.SIGSTOP)


def _wake(process: Process) -> None:
    if hasattr(signal, "SIGCONT"):
        _signal(process, signal.SIGCONT)
