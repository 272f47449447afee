"""The command `scratchnet`: options in, a run folder, a table and an exit status out.

The only room that may know all the others; what is slow to import comes inside the command that
needs it, so that `--help` is quick. A user's mistake is one line and status 2, never a traceback.
Results go to standard output, everything about the way there to standard error. Nothing is computed
here: see `runs.py` and `keras_ref/compare.py`.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from scratchnet import __version__, runs
from scratchnet.runs import KERAS, OURS, Histories, Outcome, Watch
from scratchnet.utils import Interruptible

if TYPE_CHECKING:
    from scratchnet.datasets import Choice, Data

HOLDS, DIFFERS, MISTAKE, INTERRUPTED = 0, 1, 2, 130
SHOWN = {OURS: "scratchnet", KERAS: "Keras"}
INSTALL = "pip install 'scratchnet[keras]'"
MISTAKES = (ValueError, TypeError, OSError, ImportError)


class Door(TyperGroup):
    """All commands behind one door: it remembers the arguments, and turns mistakes into a line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.obj = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("Interrupted: what was finished is kept.")
            raise typer.Exit(INTERRUPTED) from None
        except FloatingPointError as error:
            _say(f"Error: {error}", style="bold red")
            raise typer.Exit(DIFFERS) from error
        except MISTAKES as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # whoever read our output has gone, which is no mistake
            _say(f"Error: {' '.join(str(error).split())}", style="bold red")
            raise typer.Exit(MISTAKE) from error


app = typer.Typer(
    cls=Door,
    name="scratchnet",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main() -> None:
    """The entry point."""
    app()


def _say(text: str, style: str | None = None) -> None:
    """A line on standard error, never broken by us: a terminal wraps, a file keeps it whole."""
    Console(stderr=True).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"scratchnet {__version__}")
        raise typer.Exit()


@app.callback()
def scratchnet(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit."),
    ] = False,
) -> None:
    """A dense network from scratch, proved equal to Keras step by step."""


class EngineName(str, Enum):  # noqa: UP042 typer prints a StrEnum's members no better
    auto = "auto"
    reference = "reference"
    compiled = "compiled"


EXAMPLES = """**Examples**

- `scratchnet compare`
- `scratchnet compare --epochs 3 --limit 6000`
- `scratchnet compare --float64`
- `scratchnet compare --data fashion/ --json`

**Exit status**

- 0: parity holds, that is, 200 float64 steps in lockstep within 1e-12, and no more disagreement at
  the end than chance explains (McNemar p >= 0.001). With `--float64` every step and every answer.
  Without Keras: trained.
- 1: it does not hold.
- 2: wrong usage or bad input.
- 130: interrupted; the run folder has the finished epochs.
"""


@app.command(epilog=EXAMPLES)
def compare(
    ctx: typer.Context,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a step.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and order.")] = 0,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="An .npz or a folder of IDX files. Default: MNIST."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="The first N images, of training and of test."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Run folder; an earlier run in it is replaced, anything else refused. Default: "
            "the first free one of runs/compare, runs/compare-2, ...",
        ),
    ] = None,
    no_keras: Annotated[bool, typer.Option("--no-keras", help="Train ours alone.")] = False,
    float64: Annotated[
        bool, typer.Option("--float64", help="The proof: all of training in lockstep.")
    ] = False,
    unscaled: Annotated[
        bool, typer.Option("--unscaled", help="Raw pixels, 0 to 255, as the old script has them.")
    ] = False,
    engine: Annotated[EngineName, typer.Option(help="What computes our side.")] = EngineName.auto,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most N threads on either side.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print result.json, no table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict only.")] = False,
) -> None:
    """Train our network and Keras's side by side, and say whether they are the same.

    Both start from the same weights and see the same samples in the same order. Table, pictures,
    model and numbers go into a run folder.
    """
    lacking = not no_keras and not _has_keras()
    if float64 and no_keras:
        raise ValueError("--float64 with --no-keras: it is a proof against Keras. Drop one.")
    if float64 and lacking:
        raise ValueError(f"--float64 is a proof against Keras, which is not installed: {INSTALL}")
    if float64 and unscaled:
        raise ValueError(
            "--float64 with --unscaled: raw pixels amplify rounding beyond any bound, so there is "
            "nothing to prove. Drop one of them."
        )
    if lacking:
        _say(f"Keras is not installed, so ours trains alone. To compare: {INSTALL}", "bold yellow")
    kind = "proof" if float64 else "compare"
    path = out or runs.next_free(Path("runs") / kind)
    runs.check_free(path)
    choice = _choose(data, limit, quiet)
    job = runs.Job(epochs, batch_size, seed, not unscaled, engine.value, threads)
    folder = runs.Folder(path, kind)

    def keep(model: Any, history: dict[str, Any]) -> None:
        with Interruptible():  # so that the two files always tell of the same epoch
            folder.save_history(history)
            folder.save_model(model)

    train = runs.alone if no_keras or lacking else _beside_keras(float64, threads, quiet)
    with Screen(silent=quiet) as screen:
        outcome = train(choice.data, job, screen, keep)
        screen.begin("drawing", 1)
        folder.save_model(outcome.model)
        pictures = draw(folder, outcome, choice.data)
    result = {
        "command": ["scratchnet", *(_without_home(argument) for argument in ctx.obj)],
        "settings": {**asdict(job), "limit": limit, "dtype": outcome.model.theta.dtype.name},
        "data": _described(choice),
        **outcome.result,
        "environment": runs.environment(),
        "pictures": pictures,
    }
    folder.save_result(result)
    _report(result, path, as_json, quiet)
    if outcome.result["parity"] is False:
        raise typer.Exit(DIFFERS)


def _has_keras() -> bool:
    return all(importlib.util.find_spec(name) for name in ("keras", "tensorflow"))


def _beside_keras(proof: bool, threads: int | None, quiet: bool) -> Callable[..., Outcome]:
    """The job that needs Keras, with TensorFlow started."""
    if not quiet:
        _say("Starting TensorFlow ...")
    with _without_chatter():
        from keras_ref import compare
    if threads is not None:
        compare.limit_threads(threads)
    return compare.prove if proof else compare.compare


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back what C++ writes to standard error; a block that fails gets it all shown."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _choose(path: Path | None, limit: int | None, quiet: bool) -> Choice:
    """The best data there is, cut to `limit`; a fallback is said even to those who want quiet."""
    from scratchnet import datasets

    choice = datasets.best_available(path, classes=10)
    if choice.reason:
        _say(f"WARNING: {choice.line}", style="bold yellow")
    elif not quiet:
        _say(choice.line)
    (x, y), (x_test, y_test) = choice.data
    cut = (x[:limit], y[:limit]), (x_test[:limit], y_test[:limit])
    return choice._replace(data=cut)


def _described(choice: Choice) -> dict[str, Any]:
    (x, _), (x_test, _) = choice.data
    name = _without_home(choice.name)
    return {"name": name, "training": len(x), "test": len(x_test), "shape": x.shape[1:]}


def _without_home(argument: str) -> str:
    return argument.replace(str(Path.home()), "~")


# --- the way there --------------------------------------------------------------------------------


class Screen(Watch):
    """Progress on standard error: bars with the time left on a terminal, plain lines elsewhere."""

    PAUSE = 10.0
    """Seconds between plain lines within a stretch."""

    def __init__(self, silent: bool = False):
        self.console = Console(stderr=True, quiet=silent)
        self.bar: Any = None
        self.task: Any = None
        self.said, self.done, self.total, self.what, self.note = 0.0, 0, 0, "", ""
        self.header_due = True

    def __enter__(self) -> Screen:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
        from rich.progress import TimeRemainingColumn as Left

        if self.console.is_terminal and not self.console.quiet:
            # Four times a second is live enough, and takes no time from what is being timed.
            columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(None), Left()
            self.bar = Progress(
                *columns, console=self.console, transient=True, refresh_per_second=4, expand=True
            )
            self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begin(self, what: str, total: int) -> None:
        self.what, self.note, self.done, self.total = what, "", 0, total
        self.said = time.monotonic()
        if self.bar is None:
            self._line(f"{what} ...")
            return
        self.end()
        self.task = self.bar.add_task(what, total=total)

    def now(self, what: str) -> None:
        self.note = what
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description=f"{self.what}: {what}")

    def advance(self) -> None:
        self.done += 1
        if self.bar is not None:
            self.bar.advance(self.task)
        elif time.monotonic() - self.said > self.PAUSE:
            self.said = time.monotonic()
            note = f" ({self.note})" if self.note else ""
            self._line(f"{self.what}: {self.done:,} of {self.total:,}{note}")

    def end(self) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None

    def epoch(self, histories: Histories) -> None:
        """A row for the epoch, in the same columns for everyone: 59 characters for two."""
        self.said = time.monotonic()
        everyone = list(histories.values())
        if self.header_due:
            self.header_due = False
            titles = ("loss", "test %", "seconds")
            self._line(" " * 5 + "".join(f"{title:>{9 * len(everyone)}}" for title in titles))
            names = ("ours" if name == OURS else SHOWN[name] for name in histories)
            self._line("epoch" + "".join(f"{name:>9}" for name in names) * len(titles))
        cells = [f"{run['loss'][-1]:9.4f}" for run in everyone]
        cells += [f"{100 * run['val_accuracy'][-1]:9.2f}" for run in everyone]
        cells += [f"{run['seconds'][-1]:9.2f}" for run in everyone]
        self._line(f"{len(everyone[0]['loss']):5d}{''.join(cells)}")

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


# --- pictures -------------------------------------------------------------------------------------


def draw(folder: runs.Folder, outcome: Outcome, data: Data) -> list[str]:
    """Every picture that the outcome allows, into the folder; their paths within it."""
    import matplotlib

    matplotlib.use("Agg")  # files only, on machines without a screen too
    from matplotlib.figure import Figure

    from scratchnet import plots

    _, (x_test, y_test) = data
    found = {SHOWN[name]: given for name, given in outcome.answers.items()}
    pictures: list[tuple[str, Figure]] = []

    def figure(name: str, width: float, height: float, columns: int = 1) -> Any:
        drawn = Figure(figsize=(width, height), layout="constrained")
        pictures.append((name, drawn))
        return drawn.subplots(1, columns, squeeze=False)[0]

    if outcome.histories:
        axes = figure("curves", 10, 4, 2)
        histories = {SHOWN[name]: run for name, run in outcome.histories.items()}
        for ax, metric in zip(axes, ("loss", "accuracy"), strict=True):
            plots.history(histories, metric, ax=ax)
    axes = figure("confusion", 5 * len(found), 5.2, len(found))
    for ax, (name, given) in zip(axes, found.items(), strict=True):
        plots.confusion_matrix(y_test, given, title=name, ax=ax)
    height = 1 + 1.25 * min(4, -(-len(outcome.result["misread"]["index"]) // 10))
    plots.misreads(x_test, y_test, found, ax=figure("misread", 9.5, height)[0])
    kernel = next(layer.params["kernel"] for layer in outcome.model.layers if layer.params)
    plots.weights(kernel, x_test.shape[1:], ax=figure("weights", 10, 4.8)[0])
    if outcome.drifts:
        plots.drift(outcome.drifts, limit=outcome.limit, ax=figure("drift", 7, 4.2)[0])
    return [folder.save_picture(name, drawn) for name, drawn in pictures]


# --- what came out --------------------------------------------------------------------------------


def _report(result: dict[str, Any], path: Path, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(runs.as_json(result), nl=False)
        return
    console = Console()
    if not quiet:
        for table in (_numbers(result), _findings(result, path)):
            if table.row_count:
                console.print(table)
    style = {True: "bold green", False: "bold red", None: ""}[result["parity"]]
    console.print(verdict(result), style=style, markup=False, highlight=False)


def _numbers(result: dict[str, Any]) -> Any:
    """The last epoch of everyone side by side."""
    from rich import box
    from rich.table import Table

    names = [name for name in SHOWN if name in result]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(SHOWN[name], justify="right")
    rows: Sequence[tuple[str, str, str]] = (
        ("training loss", "loss", "{:.4f}"),
        ("training accuracy", "accuracy", "{:.2%}"),
        ("test loss", "test_loss", "{:.4f}"),
        ("test accuracy", "test_accuracy", "{:.2%}"),
        ("seconds per epoch (median)", "seconds_per_epoch", "{:.3f}"),
        ("compiling, tracing: seconds before", "warm_up_seconds", "{:.3f}"),
    )
    for title, key, form in rows if names else ():
        table.add_row(title, *(form.format(result[name][key]) for name in names))
    if "speed_ratio" in result:
        table.add_row("times as fast as Keras", f"{result['speed_ratio']:.1f}", "1.0")
    return table


def _findings(result: dict[str, Any], path: Path) -> Any:
    """How far the two agree, and where to find the rest."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    if "agreement" in result:
        agreed = result["agreement"]
        share = agreed["same"] / agreed["of"]
        table.add_row("same answers", f"{agreed['same']:,} of {agreed['of']:,} ({share:.2%})")
        only = (f"{agreed[f'only_{name}_right']} {SHOWN[name]}" for name in SHOWN)
        table.add_row("only one is right", f"{', '.join(only)}: McNemar p = {_p(agreed)}")
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
    table.add_row("run folder", str(path))
    return table


def _p(agreed: dict[str, Any]) -> str:
    return f"{agreed['mcnemar_p']:.2g}"


def verdict(result: dict[str, Any]) -> str:
    """One line on whether the two are the same, with the reason if they are not."""
    if result["parity"] is None:
        accuracy = result[OURS]["test_accuracy"]
        return f"Trained alone: {accuracy:.2%} on the test set. Nothing was compared."
    if result["parity"]:
        return "Parity holds."
    stepped, agreed = result["lockstep"], result["agreement"]
    if stepped["difference"]:
        return f"Parity does not hold: {stepped['difference']}."
    if not stepped["holds"]:
        most = stepped["largest_weight_difference"]
        return f"Parity does not hold: weights {most:.2g} apart, limit {stepped['limit']:.2g}."
    if "speed_ratio" in result:
        return f"Parity does not hold: the answers disagree beyond chance, p = {_p(agreed)}."
    return f"Parity does not hold: {agreed['of'] - agreed['same']} answers differ."
