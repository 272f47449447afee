"""`scratchnet course`: write the network yourself, have it marked, prove it.

The exercises are in `app/course/exercises.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scratchnet import atomic
from scratchnet.app.cli.errors import DIFFERS, UserError
from scratchnet.app.cli.screen import print_line
from scratchnet.app.text import without_home

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


@course.command()
def prove(
    ctx: typer.Context,
    folder: Folder,
    epochs: Annotated[int, typer.Option(min=1, help="Passes of the training in float32.")] = 10,
    quick: Annotated[
        bool, typer.Option("--quick", help="The small bundled digits, even with MNIST.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=1, help="At most so long.")] = 1800.0,
) -> None:
    """Train your network beside the reference, step by step, and write certificate.html."""
    from scratchnet.app.course import proving
    from scratchnet.app.pages import render

    path = _file(folder)
    found = proving.proof(path, quick=quick, epochs=epochs, seconds=seconds)
    if "error" in found:
        print_line(f"Not proved: {found['error']}")
        raise typer.Exit(DIFFERS)
    rows = [("the network, with Adam", found["network"]), ("your train_step", found["stack"])]
    runs = [("your functions", found["yours"]), ("the reference", found["reference"])]
    held = "Every parameter agrees after every step of an epoch."
    why = "Proved." if found["holds"] else "Not proved."
    agree = all(row["largest"] <= proving.LARGEST for _, row in rows)
    verdict = f"{why} {held if agree else 'The two part.'}"
    for name, row in rows:
        print_line(f"{name}: {row['steps']} steps, largest difference {row['largest']:.1e}")
    for name, row in runs:
        print_line(f"{name}: {row['accuracy']:.2%} in {row['seconds']:.1f} s ({found['data']})")
    if found["borrowed"]:
        print_line(f"Borrowed from the reference: {', '.join(found['borrowed'])}")
    arguments: list[str] = ctx.find_root().obj
    page = render(
        "certificate.html",
        **{"title": "A network of your own", "verdict": verdict, "rows": rows, "runs": runs},
        **{name: found[name] for name in ("data", "epochs", "passed", "borrowed")},
        source=path.read_text(encoding="utf-8", errors="replace"),
        command=["scratchnet", *map(without_home, arguments)],
    )
    atomic.write(folder / "certificate.html", page)
    print_line(f"{verdict} See {folder / 'certificate.html'}")
    if not found["holds"]:
        raise typer.Exit(DIFFERS)
