"""`scratchnet study`: many runs over a grid, on this machine or a Dask cluster, and their report.

The rooms behind it are in `scratchnet/app/study/`; `keras_ref` is imported by the workers that run
Keras's cells.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import scratchnet.app.cli.inputs as inputs
import scratchnet.app.cli.options as options
from scratchnet.app.cli.compare import INSTALL as KERAS_INSTALL
from scratchnet.app.cli.errors import DIFFERS, UserError
from scratchnet.app.cli.screen import Screen, print_line, say, without_chatter
from scratchnet.app.run_training import KERAS, OURS
from scratchnet.app.text import to_json

if TYPE_CHECKING:
    from scratchnet.app.study.archive import Archive, StudyPlan
    from scratchnet.app.study.cells import Cell

EXAMPLES = """**Examples**

- `scratchnet study run runs/parity --seeds 30 --framework scratchnet,keras`
- `scratchnet study run runs/batch --seeds 10 --batch-size 16,32,64 --rate-rule fixed,sqrt`
- `scratchnet study run runs/small --seeds 5 --data digits --epochs 3 --dry-run`
- `scratchnet study run runs/parity`: go on after whatever has stopped it
- `scratchnet study run runs/heads --grid heads.toml --scheduler tcp://10.0.0.5:8786`
- `scratchnet study status runs/parity`, `scratchnet study report runs/parity`: at any time

A grid in TOML is one or more `[[grid]]` with values, or lists of them: `seeds = 30`,
`batch_size = [16, 32]`, `head = "softmax"`.

**Exit status**

- 0: every run is there.
- 1: some failed, or are missing.
- 2: wrong usage or bad input.
- 130: interrupted; the runs that were done are kept, and the same command goes on.
"""

study = typer.Typer(
    help="Many seeds and settings, on this machine or a Dask cluster, and what they say.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The study's folder.")]
Values = Annotated[str | None, typer.Option(metavar="A,B...")]


def _values(words: str) -> Any:
    return typer.Option(metavar="A,B", help=f"{words} One value, or several with commas.")


@study.command()
def run(
    folder: Folder,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Seeds 0 to N - 1 of every setting.")
    ] = None,
    framework: Annotated[str | None, _values("scratchnet or keras.")] = None,
    data: Annotated[str | None, _values("mnist, fashion_mnist or digits.")] = None,
    epochs: Annotated[str | None, _values("Passes over the data.")] = None,
    batch_size: Annotated[str | None, _values("Samples in a step.")] = None,
    learning_rate: Annotated[str | None, _values("Of the optimizer.")] = None,
    rate_rule: Annotated[str | None, _values("fixed, or sqrt: times sqrt(batch / 32).")] = None,
    widths: Annotated[str | None, _values("Hidden units, such as 50-50.")] = None,
    scaled: Annotated[str | None, _values("Pixels divided by 255: yes or no.")] = None,
    head: Annotated[
        str | None,
        _values("sigmoid, sigmoid-probabilities, sigmoid-as_logits or softmax."),
    ] = None,
    optimizer: Annotated[str | None, _values("adam, sgd or rmsprop.")] = None,
    engine: Annotated[str | None, _values("auto, reference or compiled.")] = None,
    dtype: Annotated[str | None, _values("float32 or float64.")] = None,
    grid: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Grids in TOML instead of the options.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Equivalent within this; stated once. Default: 0.15."),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Accuracy whose time is looked at. Default: 0.97."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes of one thread each. Default: all CPUs."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler instead: tcp://...")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the runs, time one, and run no more.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Run every cell of a grid that DIR has not yet, and keep each as it comes."""
    from scratchnet.app.study import check_installed

    check_installed()
    given = {name: value for name, value in locals().items() if name in _settings() and value}
    plan = _plan(folder, given, seeds, grid, margin, target)
    _check_runnable(plan)
    if dry_run:
        _print_estimate(folder, plan, workers)
        return
    from scratchnet.app.study import archive

    kept = archive.begin(folder, plan)
    _run_missing(kept, workers, scheduler, Screen(quiet))
    _print_status(kept, quiet)
    if kept.missing():
        raise typer.Exit(DIFFERS)


def run_cell(cell: Cell) -> dict[str, Any]:
    """What a worker runs: the cell's row, by whoever its framework is."""
    if cell.framework == OURS:
        from scratchnet.app.study.cell_run import run as run_ours

        return run_ours(cell)
    with without_chatter():
        from keras_ref.cell_run_keras import run as run_keras
    return run_keras(cell)


def _settings() -> Any:
    from scratchnet.app.study.cells import SETTINGS

    return SETTINGS


def _plan(
    folder: Path,
    given: dict[str, str],
    seeds: int | None,
    grid: Path | None,
    margin: float | None,
    target: float | None,
) -> StudyPlan:
    """What is asked: by options, by a file, or, where neither is given, by the folder."""
    from scratchnet.app.study import archive, cells

    beside: dict[str, Any] = {}
    old = archive.Archive(folder).plan if (folder / archive.PLAN).is_file() else None
    if grid is not None and (given or seeds):
        raise UserError("--grid with other settings: a file says all of them. Drop one")
    if grid is not None:
        grids, beside = cells.read_file(grid)
    elif given or seeds:
        listed: dict[str, Any] = {name: value.split(",") for name, value in given.items()}
        grids = [cells.read_grid(({"seeds": seeds} if seeds else {}) | listed)]
    elif old is not None:
        grids = old.grids
    else:
        raise UserError(f"{folder}: no study there, and none described. Add, say, --seeds 30")
    stated = {"margin": margin, "target": target}
    for name, default in (("margin", 0.15), ("target", 0.97)):
        if stated[name] is None:
            stated[name] = beside.pop(name, getattr(old, name) if old else default)
        else:
            beside.pop(name, None)
    if beside:
        raise UserError(f"{grid}: {', '.join(beside)}: expected [[grid]], margin and target only")
    for name, most in (("margin", 100.0), ("target", 1.0)):
        value = stated[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < most:
            raise UserError(f"{name} {value!r}: expected a number between 0 and {most:g}")
    return archive.StudyPlan(grids, float(stated["margin"]), float(stated["target"]))  # type: ignore[arg-type]


def _check_runnable(plan: StudyPlan) -> None:
    """Refuse what would fail in every worker."""
    from scratchnet.app.study import cell_run

    if any(cell.framework == KERAS for cell in plan.cells) and not inputs.has_keras():
        raise UserError(f"framework keras: Keras is not installed: {KERAS_INSTALL}")
    for name in {cell.engine for cell in plan.cells}:
        inputs.check_engine(name)
    for name in {cell.data for cell in plan.cells}:
        cell_run.load(name)  # fetched once, not by every worker


def _run_missing(kept: Archive, workers: int | None, scheduler: str | None, screen: Screen) -> None:
    from scratchnet.app.study import cluster

    missing = kept.missing()
    if not missing:
        return
    with screen, cluster.connected(workers, scheduler) as client:
        screen.line(f"Dask dashboard: {client.dashboard_link} (it needs the package bokeh)")
        screen.begin("Runs", len(missing))
        failed = cluster.run_cells(client, kept, missing, run_cell, screen)
        screen.end()
    for told in list(failed.values())[:3]:
        say(f"Failed: {told}", style="bold red")
    if len(failed) > 3:
        say(f"... and {len(failed) - 3} more", style="bold red")


def _print_estimate(folder: Path, plan: StudyPlan, workers: int | None) -> None:
    """The cells that are missing, and how long they will take by an epoch of each framework."""
    from scratchnet.app.study import archive, cluster

    there = (folder / archive.PLAN).is_file()
    done = archive.Archive(folder).keys() if there else set()
    cells = [cell for cell in plan.cells if cell.key not in done]
    for cell in cells:
        print_line(", ".join(f"{name} {value}" for name, value in asdict(cell).items()))
    seconds: dict[str, float] = {}
    for cell in cells:
        if cell.framework not in seconds:
            short = replace(cell, epochs=1)
            run_cell(short)  # compiles, traces and loads
            start = time.perf_counter()
            run_cell(short)
            seconds[cell.framework] = time.perf_counter() - start
    side_by_side = workers or cluster.default_workers()
    total = sum(seconds[cell.framework] * cell.epochs for cell in cells) / side_by_side
    print_line(f"{len(cells):,} runs to do, {len(done):,} done.")
    if cells:
        timed = ", ".join(f"{name} {value:.2g} s" for name, value in seconds.items())
        print_line(f"An epoch takes {timed}: about {total:,.0f} s on {side_by_side} workers.")


# --- from the folder alone ------------------------------------------------------------------------


@study.command()
def status(folder: Folder, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """How far a study is, from its folder alone, while it runs too."""
    from scratchnet.app.study import archive, check_installed

    check_installed()
    kept = archive.Archive(folder)
    if as_json:
        typer.echo(to_json(_status(kept)), nl=False)
    else:
        _print_status(kept, quiet)


def _status(kept: Archive) -> dict[str, Any]:
    keys = kept.keys()
    done = sum(cell.key in keys for cell in kept.plan.cells)
    return {
        "folder": str(kept.path),
        "code": kept.plan.code,
        "margin": kept.plan.margin,
        "target": kept.plan.target,
        "done": done,
        "of": len(kept.plan.cells),
    }


def _print_status(kept: Archive, quiet: bool) -> None:
    found = _status(kept)
    line = f"{kept.path}: {found['done']:,} of {found['of']:,} runs are done."
    if found["done"] < found["of"]:
        line += f" To go on: scratchnet study run {kept.path}"
    elif not quiet:
        line += f" To read them: scratchnet study report {kept.path}"
    print_line(line)


@study.command()
def report(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page. Default: report.html in the folder."),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Make the page of a study from its folder alone, while it runs too."""
    from scratchnet.app.study import check_installed

    check_installed()
    from scratchnet.app.pages.study_page import write_study_report

    path = write_study_report(folder, out)
    if not quiet:
        say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, open it in any browser.")
