"""What a command works on: which data, on which engine, and whether Keras is there to compare with.

Errors are a user's: what was asked for, what was found, and the remedy.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from scratchnet.app import run_folder
from scratchnet.app.cli.errors import UserError
from scratchnet.app.cli.screen import say
from scratchnet.app.text import without_home
from scratchnet.datasets import Choice, Data


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


def choose_data(path: Path | None, limit: int | None, quiet: bool) -> Choice:
    """The best data there is, cut to `limit`; a fallback is said even to those who want quiet."""
    from scratchnet import datasets

    choice = datasets.best_available(path, classes=10)
    if choice.reason:
        say(f"WARNING: {choice.line}", style="bold yellow")
    elif not quiet:
        say(choice.line)
    return choice._replace(data=first_images(choice.data, limit))


def data_of_run(
    run: run_folder.SavedRun, path: Path | None, limit: int | None, quiet: bool
) -> Choice:
    """What `path` names, else the data that a run had, found again by their name."""
    from scratchnet import datasets

    if path is not None:
        return choose_data(path, limit, quiet)
    if not {"data", "settings"} <= run.about.keys():
        raise UserError(f"{run.path} does not say which data it had. Name them with --data.")
    name, before = run.about["data"]["name"], run.about["settings"]["limit"]
    if name == datasets.digits.NAME:
        data = datasets.digits.load_data()
        choice = datasets.Choice(name, f"Data: {name}, as in the run", data)
    elif name == "MNIST":
        origin, data = datasets.mnist.locate()
        choice = datasets.Choice(name, f"Data: MNIST, from {origin.path}", data)
    else:
        there = Path(name.replace("~", str(Path.home()), 1) if name.startswith("~/") else name)
        if not there.exists():
            raise UserError(f"{name}: the run's data are not there. Name them with --data.")
        choice = datasets.best_available(there, classes=10)
    if not quiet:
        say(choice.line)
    smaller = min((n for n in (limit, before) if n is not None), default=None)
    return choice._replace(data=first_images(choice.data, smaller))


def course_of_run(run: run_folder.SavedRun, folder: Path | None) -> Path | None:
    """The learner's file in the folder that the user names; None where none is named.

    What a run says of a learner's code is compared, and never led to.
    """
    about = run.result.get("course")
    if folder is None:
        if about is not None:
            say(f"{run.path} was trained by code of your own: --course FOLDER shows its lines.")
        return None
    path = folder / COURSE_FILE
    if not path.is_file():
        raise UserError(f"{path}: not there. Name the folder that `scratchnet course start` wrote.")
    if about is None:
        say(f"WARNING: {run.path} was not trained by {path}.", style="bold yellow")
    elif about["sha256"] != digest(path):
        say(f"WARNING: {path} has changed since {run.path} was trained.", style="bold yellow")
    return path


def first_images(data: Data, limit: int | None) -> Data:
    """The first `limit` images, of training and of test."""
    (x, y), (x_test, y_test) = data
    return (x[:limit], y[:limit]), (x_test[:limit], y_test[:limit])


def identity(choice: Choice) -> dict[str, Any]:
    """Which data a run had, so that it can be found and known again."""
    (x, _), (x_test, _) = choice.data
    return {
        "name": without_home(choice.name),
        "training": len(x),
        "test": len(x_test),
        "shape": x.shape[1:],
        "test_sha256": test_set_digest(choice.data),
    }


COURSE_FILE = "network.py"
"""What `scratchnet course start` writes for the learner to fill in."""


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_set_digest(data: Data) -> str:
    """SHA-256 of the test images and labels, in C order."""
    x, y = data[1]
    return hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
