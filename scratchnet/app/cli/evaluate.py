"""`scratchnet evaluate`: a run's model on the test set again, digit by digit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import typer

import scratchnet.app.cli.inputs as inputs
import scratchnet.app.cli.options as options
from scratchnet.app import run_folder, run_training
from scratchnet.app.cli.errors import DIFFERS
from scratchnet.app.cli.screen import busy, new_console, print_line
from scratchnet.app.run_training import OURS
from scratchnet.app.text import to_json
from scratchnet.datasets import Choice
from scratchnet.engines import Array

EXAMPLES = """**Examples**

- `scratchnet evaluate runs/train`
- `scratchnet evaluate runs/train --data fashion/`
- `scratchnet evaluate runs/train --json | jq .accuracy`

**Exit status**

- 0: evaluated; on the run's own data the figures are those of its result.json.
- 1: they differ, though the data are the same.
- 2: wrong usage, no run, or no data.
"""

ROUNDING = 1e-5
"""Relative; another processor or number of threads sums float32 in another order."""


def evaluate(
    run: options.RunPath,
    data: options.DataPath = None,
    limit: options.Limit = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Loss and accuracy of a run's model on the test set, and how each digit fares.

    On the run's own test set unless --data names another; the figures must then be those that the
    run wrote down. A run that was cut off is evaluated after its last finished epoch.
    """
    kept = run_folder.read_run(run)
    with busy("Evaluating ...", quiet):
        choice = inputs.data_of_run(kept, data, limit, quiet)
        found = {"run": str(run), **_tested(kept, choice)}
    if as_json:
        typer.echo(to_json(found), nl=False)
    else:
        _print_digits(found, quiet)
    if found["as_in_result"] == "no":
        raise typer.Exit(DIFFERS)


def _tested(run: run_folder.SavedRun, choice: Choice) -> dict[str, Any]:
    """The figures of all of the test set, and of each digit."""
    x, y = choice.data[1]
    model = run.model(x.shape[1:])
    tested = model.evaluate(x, y, batch_size=run_training.TEST_BATCH, verbose=0, return_dict=True)
    answers = run_training.scores_of(model, x).answers
    tested.setdefault("accuracy", float(np.mean(answers == y)))  # compiled without that metric
    return {
        "data": inputs.identity(choice),
        "loss": tested["loss"],
        "accuracy": tested["accuracy"],
        "as_in_result": _as_written(run, choice, tested),
        "held_against": run_folder.RESULT if run.result else run_folder.HISTORY,
        "digits": per_digit(y, answers),
    }


def _as_written(run: run_folder.SavedRun, choice: Choice, tested: dict[str, float]) -> str | None:
    """How these figures agree with the run's own; None where they are of other data."""
    told, data = _written(run), run.about.get("data", {})
    if told is None or data.get("test_sha256") != inputs.test_set_digest(choice.data):
        return None
    loss, accuracy = told
    if told == (tested["loss"], tested["accuracy"]):
        return "exactly"
    near = loss is not None and math.isclose(loss, tested["loss"], rel_tol=ROUNDING)
    return "up to rounding" if near and accuracy == tested["accuracy"] else "no"


def _written(run: run_folder.SavedRun) -> tuple[float | None, float] | None:
    """Loss and accuracy on the test set as the run wrote them: of its end, or last epoch."""
    if OURS in run.result:
        return run.result[OURS]["test_loss"], run.result[OURS]["test_accuracy"]
    history = run.history.get(OURS)
    if run.result or not history or not history["loss"]:
        return None
    return history["val_loss"][-1], history["val_accuracy"][-1]


def per_digit(truth: Array, answers: Array) -> list[dict[str, Any]]:
    """For each class: how many there are, precision, recall, and what it is mostly taken for.

    >>> per_digit(np.array([0, 0, 1]), np.array([0, 1, 1]))[1]
    {'digit': 1, 'images': 1, 'precision': 0.5, 'recall': 1.0, 'taken_for': None, 'times': 0}
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    names = np.union1d(truth, answers)
    precision, recall, _, images = precision_recall_fscore_support(
        truth, answers, labels=names, zero_division=0
    )
    wrong = confusion_matrix(truth, answers, labels=names)
    np.fill_diagonal(wrong, 0)
    return [
        {
            "digit": int(name),
            "images": int(images[i]),
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "taken_for": int(names[wrong[i].argmax()]) if wrong[i].any() else None,
            "times": int(wrong[i].max()),
        }
        for i, name in enumerate(names)
    ]


def _print_digits(found: dict[str, Any], quiet: bool) -> None:
    """The table of digits, and a line with the figures of all."""
    from rich import box
    from rich.table import Table

    console = new_console()
    if not quiet:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("digit", "images", "precision", "recall", "mostly taken for"):
            table.add_column(title, justify="right")
        for row in found["digits"]:
            taken = "" if row["taken_for"] is None else f"{row['taken_for']} ({row['times']})"
            shares = (f"{row[key]:.2%}" for key in ("precision", "recall"))
            table.add_row(str(row["digit"]), f"{row['images']:,}", *shares, taken)
        console.print(table)
    held = found["held_against"]
    says = {
        "exactly": f", as in {held} to the bit",
        "up to rounding": f", as in {held} up to rounding",
        "no": f". That is NOT what {held} says of the same data",
        None: "",
    }[found["as_in_result"]]
    images = found["data"]["test"]
    line = f"{found['accuracy']:.2%} of {images:,} right, loss {found['loss']:.4f}{says}."
    print_line(line)
