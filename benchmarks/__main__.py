"""Benchmarks: measure one thing or all, then report.

Results go to `benchmarks/results/MACHINE/NAME.json`, and `report` reads those of all machines from
there. With `--cpu` the compiled engine is measured as on another processor. Peers that are not
installed are named and left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import machine, store
from benchmarks.arena import Arena
from benchmarks.commands import accuracy, kernels, memory, predict, scaling, startup, train

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)

Quick = Annotated[bool, typer.Option("--quick", help="Fewer rounds, samples and peers.")]
Peers = Annotated[list[str] | None, typer.Option("--peer", help="Only this peer; may be repeated.")]
Results = Annotated[
    Path, typer.Option("--results", help="Folder of the JSON files: in it one for each machine.")
]
Cpu = Annotated[
    str | None,
    typer.Option("--cpu", help="Compile for this CPU, as haswell (AVX2), instead of the host."),
]

MEASURED: dict[str, Callable[..., dict[str, Any]]] = {
    "train": train.run,
    "predict": predict.run,
    "startup": startup.run,
    "memory": memory.run,
    "accuracy": accuracy.run,
    "kernels": kernels.run,
    "scaling": scaling.run,
}


def measure(names: list[str], quick: bool, results: Path, cpu: str | None, **options: Any) -> None:
    """Run commands, each with its result written and its table shown; processes are shared."""
    from benchmarks.rendering import markdown

    try:
        machine.compile_for(cpu)
        folder = results / machine.machine_name()
        with Arena(Console(stderr=True)) as arena:
            for name in names:
                arena.begin()
                body = MEASURED[name](arena, quick, **options)
                path = store.write(
                    name, quick, body | arena.record(), folder, any(options.values())
                )
                arena.say(f"written: {path.parent.name}/{path.name}")
                print(markdown.table(store.read_file(path)) + "\n", flush=True)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command("train")
def _train(
    quick: Quick = False,
    peer: Peers = None,
    job: Annotated[
        list[str] | None,
        typer.Option(help=f"One of {', '.join([*train.EXPERIMENTS, train.HUNDRED])}."),
    ] = None,
    cpu: Cpu = None,
    results: Results = store.FOLDER,
) -> None:
    """Seconds of an epoch: the script's model and its variants."""
    measure(["train"], quick, results, cpu, peers=peer, jobs=job)


def _as_measured(name: str) -> None:
    """A command without options of its own; its help is the first line of its module."""

    def command(
        quick: Quick = False,
        peer: Peers = None,
        cpu: Cpu = None,
        results: Results = store.FOLDER,
    ) -> None:
        measure([name], quick, results, cpu, peers=peer)

    module = sys.modules[MEASURED[name].__module__]
    app.command(name, help=(module.__doc__ or "").partition("\n")[0])(command)


for _name in ("predict", "startup", "memory", "accuracy"):
    _as_measured(_name)


@app.command("scaling")
def _scaling(
    quick: Quick = False,
    peer: Peers = None,
    axis: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(scaling.AXES)}.")
    ] = None,
    cpu: Cpu = None,
    results: Results = store.FOLDER,
) -> None:
    """Time over batch, width, depth, samples, density and threads."""
    measure(["scaling"], quick, results, cpu, peers=peer, axes=axis)


@app.command("kernels")
def _kernels(quick: Quick = False, cpu: Cpu = None, results: Results = store.FOLDER) -> None:
    """What each trick of the compiled engine buys."""
    measure(["kernels"], quick, results, cpu)


@app.command("all")
def _all(quick: Quick = False, cpu: Cpu = None, results: Results = store.FOLDER) -> None:
    """Everything, one after the other."""
    measure(list(MEASURED), quick, results, cpu)


@app.command("report")
def _report(
    results: Results = store.FOLDER,
    figures: Annotated[Path | None, typer.Option(help="Draw figures into this folder.")] = None,
    readme: Annotated[
        Path | None, typer.Option(help="Rewrite the tables between this file's markers.")
    ] = None,
) -> None:
    """Tables and figures from the JSON files; prints them unless a README is given."""
    from benchmarks.rendering import write

    try:
        write.everything(results, figures, readme, list(MEASURED))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command(
    "findings", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def _findings(context: typer.Context) -> None:
    """What studies found: keep a study, or write the page that quotes them."""
    from benchmarks.findings import findings  # needs the extra `study`

    findings(context.args, prog_name="python -m benchmarks findings")


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
