"""The command `scratchnet`: options in, a run folder, a table and an exit status out.

The only package that may know all the others; what is slow to import comes inside the command that
needs it, so that `--help` is quick. Results go to standard output, everything about the way there
to standard error. Nothing is computed here. A command is a function in a file of its own name, with
its examples beside it, listed in `COMMANDS`; read `errors.py` next, then `train.py`.
"""

from __future__ import annotations

from typing import Annotated

import typer

import scratchnet.app.cli.compare as compare
import scratchnet.app.cli.course as course
import scratchnet.app.cli.data as data
import scratchnet.app.cli.doctor as doctor
import scratchnet.app.cli.draw as draw
import scratchnet.app.cli.evaluate as evaluate
import scratchnet.app.cli.explain as explain
import scratchnet.app.cli.museum as museum
import scratchnet.app.cli.predict as predict
import scratchnet.app.cli.report as report
import scratchnet.app.cli.study as study
import scratchnet.app.cli.summary as summary
import scratchnet.app.cli.train as train
from scratchnet import __version__
from scratchnet.app.cli.errors import ErrorHandler
from scratchnet.process import forgive_encodings

HELP = """**A first run**

- `scratchnet doctor`: is everything there?
- `scratchnet train`: ten epochs, into runs/train
- `scratchnet evaluate runs/train`
- `scratchnet COMMAND --help` has examples of each

Add `--json` to have results for machines on standard output; what is said on the way there goes to
standard error. `NO_COLOR` is respected. `SCRATCHNET_DEBUG=1` is `--debug`.

**Exit status**

- 0: done, and what was to hold holds.
- 1: it does not hold (parity, hashes, needs ...), or a loss is not finite.
- 2: wrong usage, or bad input: one line says what and what to do.
- 70: an internal error, a bug of ours.
- 130: interrupted with Ctrl-C; 143: ended by SIGTERM, which does the same.
"""

app = typer.Typer(
    cls=ErrorHandler,
    name="scratchnet",
    epilog=HELP,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

COMMANDS = {
    "Training": (train, compare, study),
    "Looking": (predict, report, evaluate, summary, draw, explain),
    "Checking": (museum, course),
    "This machine": (data, doctor),
}
"""In the order of `--help`. Each room holds a function or a group of its own name, and EXAMPLES."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"scratchnet {__version__}")
        raise typer.Exit()


@app.callback()
def scratchnet(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error arose; at any place in the line.")
    ] = False,
) -> None:
    """A dense network from scratch, proved equal to Keras step by step."""


for _panel, _rooms in COMMANDS.items():
    for _room in _rooms:
        _name = _room.__name__.rpartition(".")[2]
        _command = getattr(_room, _name)
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, epilog=_room.EXAMPLES, rich_help_panel=_panel)
        else:
            app.command(_name, epilog=_room.EXAMPLES, rich_help_panel=_panel)(_command)


def main() -> None:
    """The entry point."""
    forgive_encodings()
    app()
