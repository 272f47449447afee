"""`scratchnet explain`: the anatomy of a run's training steps, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import scratchnet.app.cli.inputs as inputs
import scratchnet.app.cli.options as options
from scratchnet import atomic
from scratchnet.app import run_folder
from scratchnet.app.cli.errors import UserError
from scratchnet.app.cli.screen import Screen, say, without_chatter
from scratchnet.app.course import running
from scratchnet.app.course.exercises import EXERCISES
from scratchnet.app.course.own_code import OwnCode, own_code
from scratchnet.app.text import without_home

EXAMPLES = """**Examples**

- `scratchnet explain runs/train`
- `scratchnet explain runs/compare --out anatomy.html`
- `scratchnet explain runs/train --image 8`: one test image alone
- `scratchnet explain mine/run --course mine`: the run of `course prove`, with your own lines

The run is replayed, from its own data. The page is one file that shows every tensor of the first,
10th, 1000th and last step: equation, code that ran, picture, numbers and, where Keras is installed,
Keras's. It needs no network.
"""


def explain(
    ctx: typer.Context,
    run: options.RunPath,
    out: options.Page = Path("explain.html"),
    image: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Use test image N alone as the batch.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Use the batches that the run took (the default).")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Where the run's data are now."),
    ] = None,
    no_keras: Annotated[bool, typer.Option("--no-keras", help="Do not use Keras.")] = False,
    course: options.Course = None,
    quiet: options.Quiet = False,
) -> None:
    """Look into training steps of a run: every tensor, and the code that made it."""
    if batch and image is not None:
        raise UserError(f"--batch with --image {image}: they are two answers to one question.")
    atomic.check_target(out)
    from scratchnet.app.anatomy import dissect
    from scratchnet.app.pages.anatomy_page import html

    kept, arguments = run_folder.read_run(run), ctx.obj
    mine = inputs.course_of_run(kept, course)
    choice = inputs.data_of_run(kept, data, None, quiet)
    with Screen(quiet) as screen:
        own = _own(kept, mine, screen)
        theirs = None if no_keras else _keras(screen)
        found = dissect(kept, choice.data, image, theirs, screen, own)
        screen.begin("writing", 1)
        text = html(found, ["scratchnet", *map(without_home, arguments)])
    atomic.write(out, text)
    if not found.exact:
        say(
            f"WARNING: the replay ended {found.apart:.2g} from the run's weights, not at them: "
            "another machine, engine, version or data set. The page says so.",
            style="bold yellow",
        )
    if not quiet:
        say(f"{out}: {len(text.encode()) / 1e6:.1f} MB, open it in any browser.")


def _own(run: run_folder.SavedRun, path: Path | None, screen: Screen) -> OwnCode | None:
    """The functions of a learner's file that pass, if there is one."""
    if path is None:
        return None
    about = run.result.get("course", {})
    if about.get("sha256") == inputs.digest(path):
        return own_code(path, about["passed"])
    screen.line(f"Marking {path} ...")
    marks = running.check(path, list(EXERCISES))
    return own_code(path, [name for name, found in marks.items() if found.state == "passed"])


def _keras(screen: Screen) -> Any:
    """What gives Keras's tensors, or None where Keras is not installed."""
    if not inputs.has_keras():
        screen.line("Keras is not installed, so the page shows our tensors alone.")
        return None
    screen.line("Starting TensorFlow ...")
    with without_chatter():
        from keras_ref import step_tensors
    return step_tensors.tensors
