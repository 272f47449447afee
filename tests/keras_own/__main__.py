"""`python -m tests.keras_own`: run, count, and say what fails."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Annotated

import typer

from . import report, runner, scope
from .ledger import KINDS


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Files, as shell patterns: 'losses/*'.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write every test's verdict there.")] = None,
    show: Annotated[
        list[str] | None, typer.Option(help=f"Name the tests that are {', '.join(KINDS)}.")
    ] = None,
    wanted: Annotated[int, typer.Option(help="So many of the names asked for most.")] = 0,
    at_least: Annotated[int, typer.Option(help="So many tests have to pass.")] = 0,
    jobs: Annotated[int | None, typer.Option(help="Processes at a time.")] = None,
) -> None:
    """Keras's own tests on scratchnet; status 1 if one fails that is not meant to differ."""
    forms = only or ["*"]
    files = [file for file in scope.FILES if any(fnmatch.fnmatch(file, form) for form in forms)]
    if not files:
        raise typer.BadParameter(f"--only {forms}: expected some of {', '.join(scope.FILES)}")
    if unknown := set(show or ()) - set(KINDS):
        raise typer.BadParameter(f"--show {unknown}: expected some of {', '.join(KINDS)}")
    results, broken = runner.run(files, jobs=jobs)
    if json is not None:
        report.write_json(results, json)
    typer.echo(report.table(results))
    typer.echo(f"\nOut of scope:\n{report.reasons(results)}\n")
    if wanted:
        typer.echo(f"Asked for:\n{report.wanted(results, wanted)}\n")
    for line in report.each(results, show or ()):
        typer.echo(line)
    wrong = list(report.faults(results, broken, scope.DIFFERENCES, at_least))
    for line in wrong:
        typer.echo(line, err=True)
    typer.echo(report.summary(results))
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
