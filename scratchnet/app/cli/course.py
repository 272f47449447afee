"""`scratchnet course`: write the network yourself, have it marked, prove it.

The exercises are in `app/course/exercises.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scratchnet.app.cli.errors import DIFFERS, UserError
from scratchnet.app.cli.screen import print_line

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
    from scratchnet.app.course.writing import FILE

    if not (folder / FILE).is_file():
        raise UserError(f"{folder / FILE}: not there. Begin with: scratchnet course start {folder}")
    return folder / FILE


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
