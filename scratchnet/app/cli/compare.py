"""`scratchnet compare`: our network and Keras's side by side, the main job of this project.

The one command that knows `keras_ref`, and imports it only when there is something to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

import scratchnet.app.cli.inputs as inputs
import scratchnet.app.cli.options as options
import scratchnet.app.cli.tables as tables
import scratchnet.app.cli.training as training
from scratchnet.app import run_training
from scratchnet.app.cli.errors import DIFFERS, UserError, interrupted
from scratchnet.app.cli.options import EngineName
from scratchnet.app.cli.screen import Screen, say, without_chatter

INSTALL = "pip install 'keras>=3.10,<4' 'tensorflow>=2.20,<3'"

EXAMPLES = """**Examples**

- `scratchnet compare`
- `scratchnet compare --epochs 3 --limit 6000`
- `scratchnet compare --float64`
- `scratchnet compare --data fashion/ --json`
- `scratchnet compare --resume runs/compare`: from the last epoch that both finished

**Exit status**

- 0: parity holds, that is, 200 float64 steps in lockstep within 1e-12, and no more disagreement at
  the end than chance explains (McNemar p >= 0.001). With `--float64` every step and every answer.
  With `--unscaled` the lockstep alone: on raw pixels accuracy depends far more on the seed than on
  whose code it is.
  Without Keras: trained.
- 1: it does not hold.
- 2: wrong usage or bad input.
- 130: interrupted; the run folder has the finished epochs.
"""


def compare(
    ctx: typer.Context,
    epochs: options.Epochs = 10,
    batch_size: options.BatchSize = 32,
    seed: options.Seed = 0,
    data: options.DataPath = None,
    limit: options.Limit = None,
    out: options.Out = None,
    no_keras: Annotated[bool, typer.Option("--no-keras", help="Train only our network.")] = False,
    float64: Annotated[
        bool, typer.Option("--float64", help="The proof: the whole training in lockstep.")
    ] = False,
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
    """Train our network and Keras's side by side, and say whether they are the same.

    Both start from the same weights and see the same samples in the same order. Table, pictures,
    model and numbers go into a run folder.
    """
    lacking = not no_keras and not inputs.has_keras()
    _check(float64, no_keras, unscaled, lacking)
    screen = Screen(quiet, verbose)
    if resume is not None:
        task = training.resumed_task(ctx, resume, ("compare",), data, quiet, checkpoint_every)
        alone = task.resumed is not None and task.resumed.alone
        if lacking and not alone:
            raise UserError(f"{resume} was begun beside Keras, which is not installed: {INSTALL}")
    else:
        alone = no_keras or lacking
        if lacking:
            told = f"Keras is not installed, so ours trains alone. To compare: {INSTALL}"
            say(told, "bold yellow")
        inputs.check_engine(engine.value)
        training.check_out(out)
        job = run_training.RunSettings(
            epochs, batch_size, seed, not unscaled, engine.value, threads, augment
        )
        choice, kind = inputs.choose_data(data, limit, quiet), "proof" if float64 else "compare"
        task = training.Task(kind, job, choice, limit, out, ctx.obj, checkpoint_every)
    threads = task.settings.threads
    train = run_training.train_solo if alone else _beside_keras(float64, threads, screen)
    result, path = training.train_into_folder(task, train, screen)
    tables.print_result(result, path, as_json, quiet)
    if result["interrupted"]:
        raise typer.Exit(interrupted())
    if result["parity"] is False:
        raise typer.Exit(DIFFERS)


def _check(float64: bool, no_keras: bool, unscaled: bool, lacking: bool) -> None:
    """Refuse what contradicts itself, before anything is loaded."""
    if float64 and no_keras:
        raise UserError("--float64 with --no-keras: it is a proof against Keras. Drop one.")
    if float64 and lacking:
        raise UserError(f"--float64 is a proof against Keras, which is not installed: {INSTALL}")
    if float64 and unscaled:
        raise UserError(
            "--float64 with --unscaled: raw pixels amplify rounding beyond any bound, so there is "
            "nothing to prove. Drop one of them."
        )


def _beside_keras(
    proof: bool, threads: int | None, screen: Screen
) -> Callable[..., run_training.Outcome]:
    """The job that needs Keras, with TensorFlow started."""
    screen.line("Starting TensorFlow ...")
    with without_chatter():
        from keras_ref import compare
    if threads is not None:
        compare.limit_threads(threads)
    return compare.prove if proof else compare.compare
