"""`scratchnet train`: our network alone, from data to a run folder, in one `fit`."""

from __future__ import annotations

import typer

import scratchnet.app.cli.inputs as inputs
import scratchnet.app.cli.options as options
import scratchnet.app.cli.tables as tables
import scratchnet.app.cli.training as training
from scratchnet.app import run_training
from scratchnet.app.cli.errors import interrupted
from scratchnet.app.cli.options import EngineName
from scratchnet.app.cli.screen import Screen

EXAMPLES = """**Examples**

- `scratchnet train`
- `scratchnet train --epochs 3 --out runs/short`
- `scratchnet train --unscaled`: why raw pixels score so low
- `scratchnet train --augment 3`: for reading photos, with three distorted copies of each image
- `scratchnet train --limit 6000 --json | jq .scratchnet`
- `scratchnet train --checkpoint-every 500 --out runs/long`
- `scratchnet train --resume runs/long`: whatever stopped it

**Then**

- `scratchnet evaluate runs/train`

Ctrl-C or SIGTERM stops training after the current batch, and leaves a run folder with the finished
epochs and a checkpoint. A run that was killed can be evaluated too. `scratchnet train --resume RUN`
continues either, and ends in the same bits as a run that was never stopped.
"""


def train(
    ctx: typer.Context,
    epochs: options.Epochs = 10,
    batch_size: options.BatchSize = 32,
    seed: options.Seed = 0,
    data: options.DataPath = None,
    limit: options.Limit = None,
    out: options.Out = None,
    unscaled: options.Unscaled = False,
    augment: options.Augment = 0,
    engine: options.Engine = EngineName.auto,
    threads: options.Threads = None,
    resume: options.Resume = None,
    checkpoint_every: options.CheckpointEvery = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train our network, and keep model, numbers and pictures in a run folder.

    784-50-50-10 with Adam, as in the well-known script. No Keras needed.
    """
    if resume is not None:
        task = training.resumed_task(ctx, resume, ("train",), data, quiet, checkpoint_every)
    else:
        inputs.check_engine(engine.value)
        training.check_out(out)
        job = run_training.RunSettings(
            epochs, batch_size, seed, not unscaled, engine.value, threads, augment
        )
        choice = inputs.choose_data(data, limit, quiet)
        task = training.Task("train", job, choice, limit, out, ctx.obj, checkpoint_every)
    result, path = training.train_into_folder(task, run_training.train_solo, Screen(quiet, verbose))
    tables.print_result(result, path, as_json, quiet)
    if result["interrupted"]:
        raise typer.Exit(interrupted())
