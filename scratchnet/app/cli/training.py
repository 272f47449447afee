"""What `train` and `compare` have in common: from the options to a run folder.

The folder is begun before training and kept up after every epoch, so that Ctrl-C, at any time after
the first, leaves a usable run behind. Which training it is comes as a function: read
`run_training.train_solo` and `keras_ref/compare.py` next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scratchnet.app.cli import inputs
from scratchnet.app.cli.screen import Screen, say
from scratchnet.app.environment import environment
from scratchnet.app.run_folder import RunFolder, check_free, next_free
from scratchnet.app.run_training import Outcome, RunSettings
from scratchnet.app.text import without_home
from scratchnet.datasets import Choice
from scratchnet.support import Interruptible


@dataclass(frozen=True)
class Task:
    """Settings, data, folder, and the arguments that asked for it."""

    kind: str
    settings: RunSettings
    choice: Choice
    limit: int | None
    path: Path
    arguments: list[str]


def folder_for(kind: str, out: Path | None) -> Path:
    """Where a run may be written; `RunError` if what was named is none of ours."""
    path = out or next_free(Path("runs") / kind)
    check_free(path)
    return path


def train_into_folder(task: Task, train: Callable[..., Outcome], screen: Screen) -> dict[str, Any]:
    """Train, write the folder, and return what its `result.json` says."""
    folder, settings = RunFolder(task.path, task.kind), task.settings
    threads = "all threads" if settings.threads is None else f"{settings.threads} threads at most"
    screen.detail(
        f"Seed {settings.seed}, batches of {settings.batch_size}, engine {settings.engine}, "
        f"{threads}"
    )
    screen.detail(f"Run folder: {folder.path}")

    def save_epoch(model: Any, history: dict[str, Any]) -> None:
        folder.save_history(history)
        folder.save_model(model)

    try:
        with screen:
            outcome = train(task.choice.data, settings, screen, save_epoch)
            if outcome.interrupted:
                say("Interrupted: writing the run folder (Ctrl-C again to leave out the pictures).")
            return _finish(folder, task, outcome, screen)
    except KeyboardInterrupt:
        if not folder.discard():
            raise
        text = "Interrupted before the first epoch was through: there is nothing to keep."
        raise KeyboardInterrupt(text) from None
    except Exception:
        folder.discard()
        raise


def _finish(folder: RunFolder, task: Task, outcome: Outcome, screen: Screen) -> dict[str, Any]:
    """What is left to do after training; the pictures come last, so that nothing waits for them."""
    from scratchnet.app import pictures
    from scratchnet.app.pages import report_page

    histories = list(outcome.histories.values())
    result = {
        "kind": task.kind,
        "command": ["scratchnet", *map(without_home, task.arguments)],
        "settings": {
            **asdict(task.settings),
            "limit": task.limit,
            "dtype": outcome.model.theta.dtype.name,
        },
        "data": inputs.identity(task.choice),
        "interrupted": outcome.interrupted,
        "epochs": len(histories[0]["loss"]) if histories else None,
        **outcome.result,
        "environment": environment(),
        "pictures": [],
    }
    with Interruptible():
        folder.save_model(outcome.model)
        folder.save_answers(outcome, task.choice.data)
        folder.save_result(result)
    screen.begin("drawing", 2)
    result["pictures"] = pictures.draw(folder, outcome, task.choice.data)
    folder.save_result(result)
    screen.advance()
    report_page.write_report(folder.path)
    screen.end()
    return result
