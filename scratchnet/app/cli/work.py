"""What `train` and `compare` have in common: from a job to a run folder.

The folder is begun before training and kept up after every epoch, so that Ctrl-C, at any time after
the first, leaves a usable run behind. Which training it is comes as a function: read `runs.alone`
and `keras_ref/compare.py` next.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchnet.app import runs
from scratchnet.app.cli.door import UserError
from scratchnet.app.cli.screen import Screen, say
from scratchnet.app.runs import Job, Outcome
from scratchnet.process import Interruptible

if TYPE_CHECKING:
    from scratchnet.datasets import Choice, Data


@dataclass(frozen=True)
class Task:
    """A job, its data, its folder, and the arguments that asked for it."""

    kind: str
    job: Job
    choice: Choice
    limit: int | None
    path: Path
    arguments: list[str]


def folder_for(kind: str, out: Path | None) -> Path:
    """Where a run may be written; `RunError` if what was named is none of ours."""
    path = out or runs.next_free(Path("runs") / kind)
    runs.check_free(path)
    return path


def has_keras() -> bool:
    """Whether there is anything to compare with."""
    try:
        return all(importlib.util.find_spec(name) for name in ("keras", "tensorflow"))
    except ModuleNotFoundError:  # an installation that is blocked or broken
        return False


def check_engine(name: str) -> None:
    """`UserError` for an engine that can't run here; `auto` always can."""
    if name == "compiled":
        from scratchnet.engines import compiled

        reason = compiled.unavailable()
        if reason:
            raise UserError(f"--engine compiled: {reason}")


def choose(path: Path | None, limit: int | None, quiet: bool) -> Choice:
    """The best data there is, cut to `limit`; a fallback is said even to those who want quiet."""
    from scratchnet import datasets

    choice = datasets.best_available(path, classes=10)
    if choice.reason:
        say(f"WARNING: {choice.line}", style="bold yellow")
    elif not quiet:
        say(choice.line)
    return choice._replace(data=cut(choice.data, limit))


def data_of(run: runs.Run, path: Path | None, limit: int | None, quiet: bool) -> Choice:
    """What `path` names, else the data that a run had, found again by their name."""
    from scratchnet import datasets

    if path is not None:
        return choose(path, limit, quiet)
    try:
        name, before = run.result["data"]["name"], run.result["settings"]["limit"]
    except KeyError as error:
        finding = f"says nothing of its data: no {error}"
        raise runs.RunError(run.path / runs.RESULT, finding, "Name them with --data") from error
    if name == datasets.digits.NAME:
        data = datasets.digits.load_data()
        choice = datasets.Choice(name, f"Data: {name}, as in the run", data)
    elif name == "MNIST":
        origin, data = datasets.mnist.locate()
        choice = datasets.Choice(name, f"Data: MNIST, from {origin.path}", data)
    else:
        there = Path(name).expanduser()
        if not there.exists():
            raise UserError(f"{name}: the run's data are not there. Name them with --data.")
        choice = datasets.best_available(there, classes=10)
    if not quiet:
        say(choice.line)
    smaller = min((n for n in (limit, before) if n is not None), default=None)
    return choice._replace(data=cut(choice.data, smaller))


def cut(data: Data, limit: int | None) -> Data:
    """The first `limit` images, of training and of test."""
    (x, y), (x_test, y_test) = data
    return (x[:limit], y[:limit]), (x_test[:limit], y_test[:limit])


def do(task: Task, train: Callable[..., Outcome], screen: Screen) -> dict[str, Any]:
    """Train, write the folder, and return what its `result.json` says."""
    folder, job = runs.Folder(task.path, task.kind), task.job
    threads = "all threads" if job.threads is None else f"{job.threads} threads at most"
    screen.detail(f"Seed {job.seed}, batches of {job.batch_size}, engine {job.engine}, {threads}")
    screen.detail(f"Run folder: {folder.path}")

    def keep(model: Any, history: dict[str, Any]) -> None:
        folder.save_history(history)
        folder.save_model(model)

    try:
        with screen:
            outcome = train(task.choice.data, job, screen, keep)
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


def _finish(folder: runs.Folder, task: Task, outcome: Outcome, screen: Screen) -> dict[str, Any]:
    """What is left to do after training; the pictures come last, so that nothing waits for them."""
    from scratchnet.app import pictures, report

    histories = list(outcome.histories.values())
    result = {
        "kind": task.kind,
        "command": ["scratchnet", *map(without_home, task.arguments)],
        "settings": {
            **asdict(task.job),
            "limit": task.limit,
            "dtype": outcome.model.theta.dtype.name,
        },
        "data": described(task.choice),
        "interrupted": outcome.interrupted,
        "epochs": len(histories[0]["loss"]) if histories else None,
        **outcome.result,
        "environment": runs.environment(),
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
    report.write(folder.path)
    screen.end()
    return result


def described(choice: Choice) -> dict[str, Any]:
    """Which data a run had, so that it can be found and known again."""
    (x, _), (x_test, _) = choice.data
    return {
        "name": without_home(choice.name),
        "training": len(x),
        "test": len(x_test),
        "shape": x.shape[1:],
        "test_sha256": digest(choice.data),
    }


def digest(data: Data) -> str:
    """SHA-256 of the test images and labels, in C order."""
    x, y = data[1]
    return hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()


def without_home(text: str) -> str:
    """Nothing that is written down names whoever ran it."""
    return text.replace(str(Path.home()), "~")
