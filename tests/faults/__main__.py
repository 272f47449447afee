"""`python -m tests.faults --kills 200`: trainings killed at random moments end in the same bits.

Each is gone on with after it was killed (or stopped, `--signal TERM` or `INT`), sometimes killed
again, and compared with one that never was: weights, slots, generator, history, answers. The exit
status is 1 if any differs, or left a checkpoint that can't be read.
"""

from __future__ import annotations

import random
import signal
import tempfile
import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tests.faults import harness


class Number(str, Enum):  # noqa: UP042 typer prints a StrEnum's members no better
    KILL = "KILL"
    TERM = "TERM"
    INT = "INT"


def main(
    kills: Annotated[int, typer.Option(min=1, help="How many trainings.")] = 40,
    number: Annotated[Number, typer.Option("--signal", help="What ends them.")] = Number.KILL,
    engine: str = "auto",
    every: Annotated[int, typer.Option(min=1, help="Batches from checkpoint to checkpoint.")] = 50,
    epochs: Annotated[int, typer.Option(min=1)] = 80,
    seed: int = 0,
) -> None:
    """Stop trainings at random moments, go on with them, and compare."""
    rng, sent = random.Random(seed), signal.Signals[f"SIG{number.value}"]
    stopped = resumed = anew = same = 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        training = harness.Training(harness.write_data(home / "data.npz"), epochs, every, engine)
        for _ in range(2):  # the second finds everything compiled
            start = time.monotonic()
            process = harness.begin(training.arguments(home / "whole"))
            assert process.wait(600) == 0, process.communicate()
            longest = time.monotonic() - start
        wanted = harness.left_by(home / "whole")
        for i in range(kills):
            run = home / f"run-{i}"
            try:
                ends = harness.stopped_at_random(training, run, sent, rng, longest)
                found = harness.left_by(run)
            except Exception as error:
                typer.echo(f"{i}: {type(error).__name__}: {error}")
                continue
            stopped, resumed, anew = (
                stopped + ends.stopped,
                resumed + ends.resumed,
                anew + ends.anew,
            )
            same += found == wanted
            if found != wanted:
                typer.echo(f"{i}: other {', '.join(k for k in wanted if found[k] != wanted[k])}")
    typer.echo(
        f"{same} of {kills} trainings end in the same bits: SIG{number.value} {stopped} times, "
        f"gone on with {resumed} times, begun anew {anew} times before the first checkpoint."
    )
    raise typer.Exit(int(same < kills))


if __name__ == "__main__":
    typer.run(main)
