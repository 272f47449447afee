"""What `train` and `compare` have in common: from the options to a run folder.

The folder is begun before training and kept up after every epoch, so that Ctrl-C or SIGTERM, at any
time after the first, leaves a usable run behind. Which training it is comes as a function: read
`run_training.train_solo` and `keras_ref/compare.py` next.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scratchnet.app.cli import inputs, signals
from scratchnet.app.cli.screen import Screen, say
from scratchnet.app.environment import environment
from scratchnet.app.run_folder import PICTURES, InUseError, RunFolder, check_free, next_free
from scratchnet.app.run_training import Outcome, RunSettings
from scratchnet.app.text import without_home
from scratchnet.datasets import Choice
from scratchnet.process import Interruptible


@dataclass(frozen=True)
class Task:
    """Settings, data, the folder that was asked for, and the arguments that asked for it."""

    kind: str
    settings: RunSettings
    choice: Choice
    limit: int | None
    out: Path | None
    arguments: list[str]

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
                outcome = train(task.choice.data, task.settings, screen, folder.save_epoch)
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


def _begun(task: Task, about: dict[str, Any]) -> RunFolder:
    """The folder that was named, or a new one in `runs`."""
    while task.out is None:
        try:
            return RunFolder(next_free(Path("runs") / task.kind), task.kind, about)
        except InUseError:  # by somebody who began at the same moment
            continue
    return RunFolder(task.out, task.kind, about)


def _about(task: Task) -> dict[str, Any]:
    """What is known of a run before it is trained."""
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
