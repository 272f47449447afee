"""What `train` and `compare` have in common: from the options to a run folder.

The folder is begun before training and kept up after every epoch, so that Ctrl-C or SIGTERM, at any
time after the first, leaves a usable run behind. Which training it is comes as a function: read
`run_training.train_solo` and `keras_ref/compare.py` next.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import typer

import scratchnet.app.cli.inputs as inputs
import scratchnet.app.cli.signals as signals
from scratchnet.app.cli.errors import UserError
from scratchnet.app.cli.screen import Screen, say
from scratchnet.app.environment import environment
from scratchnet.app.run_folder import (
    PICTURES,
    InUseError,
    Resumable,
    RunCheckpoints,
    RunFolder,
    SavedRun,
    check_free,
    next_free,
    read_resumable,
)
from scratchnet.app.run_training import Outcome, RunSettings, augmented, train_solo
from scratchnet.app.text import without_home
from scratchnet.datasets import Choice
from scratchnet.process import Interruptible
from scratchnet.untrusted import printable


@dataclass(frozen=True)
class Task:
    """Settings, data, the folder that was asked for, and the arguments that asked for it."""

    kind: str
    settings: RunSettings
    choice: Choice
    limit: int | None
    out: Path | None
    arguments: list[str]
    checkpoint_every: int | None = None
    resumed: Resumable | None = None

    @property
    def dtype(self) -> str:
        return "float64" if self.kind == "proof" else "float32"


def check_out(out: Path | None) -> None:
    """`RunError` now, if what was named is none of ours, and not when data are loaded."""
    if out is not None:
        check_free(out)


def train_into_folder(
    task: Task, train: Callable[..., Outcome], screen: Screen
) -> tuple[dict[str, Any], Path]:
    """Train and write the folder: what its `result.json` says, and where it is."""
    about = _about(task)
    with _begun(task, about) as folder:
        try:
            with screen:
                _introduce(task.settings, folder, screen)
                data = augmented(task.choice.data, task.settings, screen)
                outcome = _with_checkpoints(train, task, folder)(
                    data, task.settings, screen, folder.save_epoch
                )
                if outcome.interrupted:
                    signals.settle()
                    say(_stopped())
                return _finish(folder, task, about, outcome, screen), folder.path
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(_kept(folder, str(stop))) from None
        except Exception:
            if not folder.discard() and not folder.finished:
                say(f"The {folder.epochs} finished epochs are kept in {folder.path}.")
            raise


def _with_checkpoints(
    train: Callable[..., Outcome], task: Task, folder: RunFolder
) -> Callable[..., Outcome]:
    """The training, which keeps checkpoints and goes on from one if it can."""
    folder.keeps = task.checkpoint_every is not None or task.resumed is not None
    if task.kind == "proof":
        return train
    kept = RunCheckpoints(folder, task.checkpoint_every)
    if train is not train_solo:
        return partial(train, backup=kept)
    return partial(train, backup=kept, finished_before=task.resumed and task.resumed.last)


def resumed_task(
    ctx: typer.Context,
    run: Path,
    kinds: tuple[str, ...],
    data: Path | None,
    quiet: bool,
    checkpoint_every: int | None,
) -> Task:
    """The rest of a run: its settings, its data, and what of the options may be another."""
    given = [name for name in ctx.params if _given(ctx, name) is not None and name not in FREE]
    if given:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(f"{told} with --resume: a run goes on as it began. Leave it out.")
    found = read_resumable(run, kinds)
    settings = found.about["settings"]
    limit = settings["limit"]
    names = ("epochs", "batch_size", "seed", "scaled", "engine", "threads")
    own = {name: settings[name] for name in names}
    own["augment"] = settings.get("augment", 0)  # runs from before there was one
    own |= {name: v for name in ("engine", "threads") if (v := _given(ctx, name)) is not None}
    inputs.check_engine(own["engine"] or "auto")
    choice = inputs.data_of_run(SavedRun(run, {}, found.about, run), data, limit, quiet)
    for name, value in inputs.identity(choice).items():
        if name != "name" and list_or(value) != found.about["data"][name]:
            raise UserError(
                f"{run} was trained on other data: {name} is {printable(value)}, and was "
                f"{printable(found.about['data'][name])}. Name those data with --data."
            )
    return Task(
        found.about["kind"],
        RunSettings(**own),
        choice,
        limit,
        run,
        ctx.obj,
        checkpoint_every,
        found,
    )


FREE = ("resume", "data", "engine", "threads", "as_json", "quiet", "verbose", "checkpoint_every")
"""Options that may be given with --resume."""


def _given(ctx: typer.Context, name: str) -> Any:
    """What an option was given on the command line, else None."""
    source = ctx.get_parameter_source(name)
    if source is None or source.name != "COMMANDLINE":
        return None
    value = ctx.params[name]
    return getattr(value, "value", value)


def list_or(value: Any) -> Any:
    """A value as JSON has it."""
    return [*value] if isinstance(value, tuple) else value


def _begun(task: Task, about: dict[str, Any]) -> RunFolder:
    """The folder that was named, or a new one in `runs`."""
    while task.out is None:
        try:
            return RunFolder(next_free(Path("runs") / task.kind), task.kind, about)
        except InUseError:  # by somebody who began at the same moment
            continue
    return RunFolder(task.out, task.kind, about, task.resumed is not None)


def _about(task: Task) -> dict[str, Any]:
    """What is known of a run before it is trained; one that is resumed keeps its command."""
    if task.resumed is not None:
        known = {name: task.resumed.about[name] for name in ("command", "settings", "data")}
        return {**known, "environment": environment()}
    return {
        "command": ["scratchnet", *map(without_home, task.arguments)],
        "settings": {**asdict(task.settings), "limit": task.limit, "dtype": task.dtype},
        "data": inputs.identity(task.choice),
        "environment": environment(),
    }


def _introduce(settings: RunSettings, folder: RunFolder, screen: Screen) -> None:
    threads = "all threads" if settings.threads is None else f"{settings.threads} threads at most"
    screen.detail(
        f"Seed {settings.seed}, batches of {settings.batch_size}, engine {settings.engine}, "
        f"{threads}"
    )
    screen.detail(f"Run folder: {folder.path}")


def _stopped() -> str:
    if _in_haste():
        return "Terminated: writing the run folder, without pictures."
    return "Interrupted: writing the run folder (Ctrl-C again to leave out the pictures)."


def _in_haste() -> bool:
    """Whether a machine asked for the end, which won't wait long."""
    return signals.number() != signal.SIGINT


def _kept(folder: RunFolder, said: str) -> str:
    """What is left after an end before the end."""
    if folder.finished:
        return said or "Interrupted: what was finished is kept."
    replaces = folder.replaces
    if folder.discard():
        where = f"{folder.path} is as it was" if replaces else "there is nothing to keep"
        return f"Interrupted before the first epoch was through: {where}."
    if folder.checkpoint.is_file():
        command = f"scratchnet {folder.kind} --resume {folder.path}"
        return f"Interrupted after {folder.epochs} epochs: go on with `{command}`."
    return f"Interrupted: the {folder.epochs} finished epochs are kept in {folder.path}."


def _finish(
    folder: RunFolder, task: Task, about: dict[str, Any], outcome: Outcome, screen: Screen
) -> dict[str, Any]:
    """What is left to do after training; the pictures come last, so that nothing waits for them."""
    from scratchnet.app import pictures
    from scratchnet.app.pages import report_page

    histories = list(outcome.histories.values())
    result = {
        "kind": task.kind,
        **about,
        "interrupted": outcome.interrupted,
        "epochs": len(histories[0]["loss"]) if histories else None,
        **outcome.result,
        "pictures": [],
    }
    with Interruptible():
        folder.save_model(outcome.model)
        folder.save_answers(outcome, task.choice.data)
        folder.save_result(result)
    if outcome.interrupted and _in_haste():
        return result
    screen.begin("drawing", 2)
    if folder.takes_pictures():
        result["pictures"] = pictures.draw(folder, outcome, task.choice.data)
    else:
        say(f"WARNING: {folder.path / PICTURES} is a link or a file, so no pictures were drawn.")
    screen.advance()
    report_page.write_report(folder.path)
    screen.end()
    return result
