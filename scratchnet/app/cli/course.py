"""`scratchnet course`: write the network yourself, have it marked, prove it.

The exercises are in `app/course/exercises.py`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

import scratchnet.app.cli.inputs as inputs
import scratchnet.app.cli.training as training
from scratchnet import atomic, models
from scratchnet.app import run_training
from scratchnet.app.cli.errors import DIFFERS, UserError
from scratchnet.app.cli.screen import Screen, print_line, say
from scratchnet.app.pages import certificate_page
from scratchnet.app.run_training import Outcome
from scratchnet.app.text import without_home
from scratchnet.datasets import Data

RUN, CERTIFICATE = "run", "certificate.html"

EXAMPLES = """**Examples**

- `scratchnet course start mine`
- `scratchnet course check mine`
- `scratchnet course check mine dense --hint`
- `scratchnet course prove mine`

**Exit status**

- 0: nothing is wrong.
- 1: a function is wrong, or the proof fails.
- 2: no such folder or exercise.
"""

course = typer.Typer(
    help="Write the network yourself: each function is marked, each mistake shown.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where network.py is.")]


def _file(folder: Path) -> Path:
    path = folder / inputs.COURSE_FILE
    if not path.is_file():
        raise UserError(f"{path}: not there. Begin with: scratchnet course start {folder}")
    return path


@course.command()
def start(folder: Folder) -> None:
    """Write a folder with the functions to fill in, a README and a test."""
    from scratchnet.app.course import writing

    try:
        written = writing.start(folder)
    except FileExistsError as error:
        raise UserError(str(error)) from None
    for path in written:
        print_line(str(path))
    print_line(f"Open {written[0]}, write `dense`, then: scratchnet course check {folder}")


@course.command()
def check(
    folder: Folder = Path("."),
    exercise: Annotated[
        str | None, typer.Argument(metavar="EXERCISE", help="One function; default: all.")
    ] = None,
    hint: Annotated[
        int, typer.Option("--hint", count=True, help="A hint; two or three times for more.")
    ] = 0,
    solution: Annotated[bool, typer.Option("--solution", help="Show the reference's.")] = False,
) -> None:
    """Mark what is written: passed, still to write, or wrong, and then where and why."""
    from scratchnet.app.course import running, writing
    from scratchnet.app.course.exercises import EXERCISES

    path = _file(folder)
    if exercise is not None and exercise not in EXERCISES:
        raise UserError(f"{exercise}: no exercise. Expected one of {', '.join(EXERCISES)}.")
    if (hint or solution) and exercise is None:
        raise UserError("--hint and --solution are for one exercise: name it after the folder.")
    if exercise is not None and (hint or solution):
        one = EXERCISES[exercise]
        for k, text in enumerate(one.hints[:hint], 1):
            print_line(f"Hint {k} of 3: {text}")
        if hint:
            print_line(f"A common mistake: {one.mistake}")
        for line in writing.solution(one).splitlines() if solution else ():
            print_line(line)
        return
    marks = running.check(path, [exercise] if exercise else list(EXERCISES))
    for name, found in marks.items():
        print_line(f"{found.state:<9} {name}")
        for line in found.lines:
            print_line(f"    {line}")
    states = [found.state for found in marks.values()]
    if not exercise:
        print_line(f"{states.count('passed')} of {len(states)} passed.")
    if "wrong" in states:
        raise typer.Exit(DIFFERS)


@course.command()
def prove(
    ctx: typer.Context,
    folder: Folder,
    epochs: Annotated[int, typer.Option(min=1, help="Passes of the training in float32.")] = 10,
    quick: Annotated[
        bool, typer.Option("--quick", help="The small bundled digits, even with MNIST.")
    ] = False,
    no_keras: Annotated[bool, typer.Option("--no-keras", help="Leave Keras out.")] = False,
    seconds: Annotated[float, typer.Option(min=1, help="At most so long.")] = 1800.0,
) -> None:
    """Train your network beside the reference and Keras, step by step, and write certificate.html.

    The training's run folder is FOLDER/run: `explain` and `draw` take it, with --course FOLDER.
    """
    from scratchnet.app.course import proving

    path, keras = _file(folder), inputs.has_keras() and not no_keras
    choice = proving.choice(quick)
    say(choice.line)
    if not keras:
        why = "--no-keras" if no_keras else "Keras and TensorFlow are not installed"
        say(f"Keras is left out: {why}.")
    training.check_out(folder / RUN)
    say("Marking, then training in lockstep, then in float32: minutes on MNIST, less with --quick.")
    with tempfile.TemporaryDirectory() as made:
        found = proving.proof(
            path, Path(made), quick=quick, epochs=epochs, seconds=seconds, keras=keras
        )
        if "error" in found:
            print_line(f"Not proved: {found['error']}")
            raise typer.Exit(DIFFERS)
        settings = replace(proving.SETTINGS, epochs=epochs)
        task = training.Task("train", settings, choice, None, folder / RUN, ctx.obj)
        outcome = _outcome(found, Path(made) / proving.MODEL, path, choice.data)
        training.train_into_folder(task, lambda *_, **__: outcome, Screen(quiet=True))
    for line in certificate_page.summary(found, choice.name):
        print_line(line)
    command = ["scratchnet", *map(without_home, ctx.obj)]
    source = path.read_text(encoding="utf-8", errors="replace")
    page = certificate_page.html(found, choice.name, epochs, source, command)
    atomic.write(folder / CERTIFICATE, page)
    print_line(f"{certificate_page.verdict(found)} See {folder / CERTIFICATE}")
    print_line(f"Look inside: scratchnet explain {folder / RUN} --course {folder}")
    if not found["holds"]:
        raise typer.Exit(DIFFERS)


def _outcome(found: dict[str, Any], model_file: Path, source: Path, data: Data) -> Outcome:
    """The learner's training as a run folder keeps it."""
    with run_training.on_engine("reference"):
        model = models.load_model(model_file)
    scores = {run_training.OURS: run_training.scores_of(model, data[1][0])}
    result = {
        "parity": None,
        run_training.OURS: run_training.last_figures(found["history"], 0.0),
        "misread": run_training.misread(data[1][1], scores),
        "course": {"sha256": inputs.digest(source), "passed": found["passed"]},
    }
    return Outcome(model, scores, result, {run_training.OURS: found["history"]})
