"""`scratchnet museum`: real bugs of backprop and optimizers, and which check catches which.

Everything is measured while you wait (`testing/kill_matrix.py`); the bugs are in
`testing/museum.py`.
"""

from __future__ import annotations

from typing import Annotated

import typer

import scratchnet.app.cli.options as options
from scratchnet.app.cli.errors import DIFFERS
from scratchnet.app.cli.screen import Screen

EXAMPLES = """**Examples**

- `scratchnet museum --quick`
- `scratchnet museum --epochs 10 --seeds 3`
- `scratchnet museum --json > museum.json`

**Exit status**

- 0: every bug is caught by a check, and no check reports right code.
- 1: one is not, or one does.
- 130: interrupted.
"""


Quick = Annotated[
    bool, typer.Option("--quick", help="Train on the small bundled digits, even with MNIST.")
]


def museum(
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data. Default: 3 of MNIST, 10 of the digits."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings with and without a bug.")] = 1,
    quick: Quick = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Plant every bug of the museum and print which check catches it: the kill matrix.

    Beside that, what a look at the test accuracy would have shown: on MNIST where it is found
    (some minutes), else on the bundled digits. Mostly nothing, and that is the lesson.
    """
    from scratchnet.testing.kill_matrix import kill_matrix, show
    from scratchnet.testing.museum import BUGS

    with Screen(quiet) as screen:
        screen.begin("The museum", len(BUGS))

        def progress(name: str) -> None:
            screen.now(name)
            screen.advance()

        data = "digits" if quick else "best"
        matrix = kill_matrix(data=data, epochs=epochs, seeds=seeds, progress=progress)
    show(matrix, as_json)
    if matrix["clean"] or not all(bug["caught_by"] for bug in matrix["bugs"]):
        raise typer.Exit(DIFFERS)
