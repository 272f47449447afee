"""`scratchnet explain`: the anatomy of a run's training steps, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from scratchnet.app import runs
from scratchnet.app.cli import options, work
from scratchnet.app.cli.door import UserError
from scratchnet.app.cli.screen import Screen, say, without_chatter

EXAMPLES = """**Examples**

- `scratchnet explain runs/train`
- `scratchnet explain runs/compare --out anatomy.html`
- `scratchnet explain runs/train --image 8`: one test image alone

The run is replayed, from its own data. The page is one file that shows every tensor of the first,
10th, 1000th and last step: equation, code that ran, picture, numbers and, where Keras is installed,
Keras's. It needs no network.
"""


def explain(
    ctx: typer.Context,
    run: options.RunFolder,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The page; a file that is there is replaced.")
    ] = Path("explain.html"),
    image: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Test image N alone as the batch.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="The batches that the run took; the default.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The run's own data, where they have moved.")
    ] = None,
    no_keras: Annotated[bool, typer.Option("--no-keras", help="Leave Keras out.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Look into training steps of a run: every tensor, and the code that made it."""
    if batch and image is not None:
        raise UserError(f"--batch with --image {image}: they are two answers to one question.")
    from scratchnet.app.anatomy import explain as explained
    from scratchnet.app.pages.explain import html

    kept, arguments = runs.read(run), ctx.obj
    choice = work.data_of(kept, data, None, quiet)
    with Screen(quiet) as screen:
        found = explained(kept, choice.data, image, None if no_keras else _keras(screen), screen)
        screen.begin("writing", 1)
        text = html(found, ["scratchnet", *map(work.without_home, arguments)])
    with runs.replacing(out) as beside:
        beside.write_text(text, encoding="utf-8")
    if not found.exact:
        say(
            f"WARNING: the replay ended {found.apart:.2g} from the run's weights, not at them: "
            "another machine, engine, version or data set. The page says so.",
            style="bold yellow",
        )
    if not quiet:
        say(f"{out}: {len(text.encode()) / 1e6:.1f} MB, open it in any browser.")


def _keras(screen: Screen) -> Any:
    """What gives Keras's tensors, or None where Keras is not installed."""
    if not work.has_keras():
        screen.line("Keras is not installed, so the page shows our tensors alone.")
        return None
    screen.line("Starting TensorFlow ...")
    with without_chatter():
        from keras_ref import step_tensors
    return step_tensors.tensors
