"""A run's result on a terminal: its numbers, how far two models agree, and the verdict.

Words and numbers are those of the page; see `verdict.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from scratchnet.app import run_folder
from scratchnet.app.cli.screen import new_console, print_line
from scratchnet.app.run_training import SHOWN
from scratchnet.app.text import to_json
from scratchnet.app.verdict import numbers, verdict
from scratchnet.untrusted import printable


def print_result(result: dict[str, Any], path: Path, as_json: bool, quiet: bool) -> None:
    """The result on standard output: as JSON, as tables and verdict, or the verdict alone."""
    if as_json:
        typer.echo(to_json(result), nl=False)
        return
    console = new_console()
    if not quiet:
        for table in (_last_epoch(result), _agreement(result, path)):
            if table.row_count:
                console.print(table)
    style = {True: "bold green", False: "bold red", None: ""}[result["parity"]]
    print_line(verdict(result), console, style)


def _last_epoch(result: dict[str, Any]) -> Any:
    """The last epoch of everyone side by side."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in SHOWN:
        if name in result:
            table.add_column(SHOWN[name], justify="right")
    for row in numbers(result):
        table.add_row(*row)
    return table


def _agreement(result: dict[str, Any], path: Path) -> Any:
    """How far the two agree, and where to find the rest."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    if "agreement" in result:
        agreed = result["agreement"]
        share = agreed["same"] / agreed["of"]
        table.add_row("same answers", f"{agreed['same']:,} of {agreed['of']:,} ({share:.2%})")
        only = (f"{agreed[f'only_{name}_right']} {SHOWN[name]}" for name in SHOWN)
        table.add_row(
            "only one is right", f"{', '.join(only)}: McNemar p = {agreed['mcnemar_p']:.2g}"
        )
    if "weight_difference" in result:
        apart = result["weight_difference"]
        table.add_row(
            "weights apart", f"{apart[0]:.1e} after epoch 1, {apart[-1]:.1e} after {len(apart)}"
        )
    if "lockstep" in result:
        stepped = result["lockstep"]
        most = stepped["largest_weight_difference"]
        table.add_row(
            "float64 lockstep",
            f"{stepped['steps']:,} steps, weights {most:.1e} apart at most "
            f"(limit {stepped['limit']:.2g})",
        )
    table.add_row("run folder", Text(printable(str(path))))
    table.add_row("to look at", Text(printable(str(path / run_folder.REPORT))))
    return table
