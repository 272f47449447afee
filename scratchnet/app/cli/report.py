"""`scratchnet report`: the page of a run, made again from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import scratchnet.app.cli.options as options
from scratchnet.app.cli.screen import say

EXAMPLES = """**Examples**

- `scratchnet report runs/compare`: writes runs/compare/report.html
- `scratchnet report runs/train --out talk.html`

`train` and `compare` write the page themselves. It is one file and asks no network for anything:
open it in any browser, print it, or send it. The data set is not needed to make it, nor is Keras.
"""


Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The page. Default: report.html in the run folder."),
]


def report(
    run: options.RunPath,
    out: Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Make the page of a run: verdict, numbers, curves, misread digits, calibration."""
    from scratchnet.app.pages.report_page import write_report

    path = write_report(run, out)
    if not quiet:
        say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, open it in any browser.")
