"""`scratchnet draw`: a page on which one draws digits for a run's network to read."""

from __future__ import annotations

from pathlib import Path

import typer

import scratchnet.app.cli.inputs as inputs
import scratchnet.app.cli.options as options
from scratchnet import atomic
from scratchnet.app import run_folder
from scratchnet.app.cli.screen import say
from scratchnet.app.text import without_home

EXAMPLES = """**Examples**

- `scratchnet draw runs/train`
- `scratchnet draw runs/compare --out digits.html`
- `scratchnet draw mine/run --course mine`: the run of `course prove`, with your own lines

The page is one file with the trained weights in it. It needs no server and no network: open it from
the disk, send it, or copy it to a phone.
"""


def draw(
    ctx: typer.Context,
    run: options.RunPath,
    out: options.Page = Path("draw.html"),
    course: options.Course = None,
    quiet: options.Quiet = False,
) -> None:
    """A page to draw digits on: the network reads them, shows how, and can be taught."""
    from scratchnet.app.pages.drawing_page import html

    arguments: list[str] = ctx.obj
    atomic.check_target(out)
    kept = run_folder.read_run(run)
    mine = inputs.course_of_run(kept, course)
    source = None if mine is None else mine.read_text(encoding="utf-8", errors="replace")
    text = html(kept, ["scratchnet", *map(without_home, arguments)], source)
    atomic.write(out, text)
    if not quiet:
        say(f"{out}: {len(text.encode()) / 1e6:.1f} MB, open it in any browser.")
