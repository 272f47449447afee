"""A run: what was asked, the training epoch by epoch, and the folder that keeps what came out.

`alone` is one `fit` of ours; `train` moves any number of models under Keras's names through the
same samples in the same order. Either times nothing but training, and ends at the last finished
epoch when interrupted. Each file of a folder is written whole or not at all, and `result.json`
last, so a folder that has one is usable. A folder that holds anything else than a run is refused,
never overwritten. Read `keras_ref/compare.py` next.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scratchnet import __version__, config, layers, models
from scratchnet.callbacks import Callback, Logs
from scratchnet.datasets import Data
from scratchnet.engines import Array
from scratchnet.saving import State
from scratchnet.sequential import Sequential

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "scratchnet run 1"
MODEL, HISTORY, RESULT, PICTURES = "model.npz", "history.json", "result.json", "pictures"
ANSWERS, REPORT = "answers.npz", "report.html"
COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")
OURS, KERAS = "scratchnet", "keras"
SHOWN = {OURS: "scratchnet", KERAS: "Keras"}
PACKAGES = ("numpy", "numba", "scipy", "scikit-learn", "matplotlib", "keras", "tensorflow")
TEST_BATCH = 1000
"""Samples at once where nothing is learned; the means are those of any other batch size."""
SHOWN_MISREADS = 400
"""How many misread images a run folder keeps, so that a page can show them without the data."""

Histories = dict[str, dict[str, list[float]]]
"""For each model, for each of `COLUMNS`, one number an epoch; `val_` is the test set."""


@dataclass(frozen=True)
class Job:
    """What decides a run's numbers, beside the data."""

    epochs: int = 10
    batch_size: int = 32
    seed: int = 0
    scaled: bool = True
    engine: str | None = None
    threads: int | None = None


class Scores(NamedTuple):
    """What a model says of N images, K numbers for each."""

    outputs: Array
    """(N, K), as `predict` gives them."""
    logits: Array
    """(N, K), what stands before the head's activation."""

    @property
    def answers(self) -> Array:
        """The class that is named for each image (N,): ties go to the lowest, as in Keras.

        >>> Scores(np.array([[0.2, 0.9], [1.0, 1.0]]), np.zeros((2, 2))).answers.tolist()
        [1, 0]
        """
        return np.argmax(self.outputs, axis=1)


@dataclass
class Outcome:
    """What a job left: our model, each model's scores on the test set, numbers, drifts.

    Attributes:
        result: what `result.json` is to say; `parity` is None where nothing was compared.
        drifts: for each kind of run its (step, largest weight difference) pairs.
        limit: what the float64 drift must not exceed.
        interrupted: whether Ctrl-C ended it; the rest then tells of the finished epochs.
    """

    model: Sequential
    scores: dict[str, Scores]
    result: dict[str, Any]
    histories: Histories = field(default_factory=dict)
    drifts: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    limit: float | None = None
    interrupted: bool = False

    @property
    def answers(self) -> dict[str, Array]:
        """The classes (N,) that each model names."""
        return {name: scores.answers for name, scores in self.scores.items()}


Keep = Callable[[Sequential, dict[str, Any]], None]
"""Takes the model and the history so far, after each epoch."""


class Watch:
    """What a run tells whoever looks on; a screen overrides what it shows."""

    def begin(self, what: str, total: int) -> None:
        """A stretch of `total` units begins."""

    def now(self, what: str) -> None:
        """What is being done within the stretch."""

    def advance(self) -> None:
        """One unit of the stretch is done."""

    def epoch(self, histories: Histories) -> None:
        """Every model is through another epoch."""

    def end(self) -> None:
        """The stretch is over."""


def build_model(job: Job, data: Data, dtype: str = "float32") -> Sequential:
    """The well-known network for these images, compiled; a seed gives the same start in any dtype.

    Flatten, Dense 50 relu, Dense 50 relu, Dense 10 sigmoid, on pixels divided by 255 if scaled.
    """
    before = config.floatx()
    config.set_floatx(dtype)
    try:
        model = Sequential(
            [
                layers.Input(data[0][0].shape[1:]),
                *([layers.Rescaling(1 / 255)] if job.scaled else []),
                layers.Flatten(),
                layers.Dense(50, "relu"),
                layers.Dense(50, "relu"),
                layers.Dense(10, "sigmoid"),
            ],
            seed=job.seed,
        )
    finally:
        config.set_floatx(before)
    loss, engine, threads = "sparse_categorical_crossentropy", job.engine, job.threads
    model.compile("adam", loss, metrics=["accuracy"], engine=engine, threads=threads)
    return model


def alone(data: Data, job: Job, watch: Watch | None = None, keep: Keep | None = None) -> Outcome:
    """Our network without anyone beside it, in one `fit`.

    Ctrl-C ends it at the last finished epoch; before the first there is nothing to end at.
    """
    watch = watch or Watch()
    model = build_model(job, data)
    watch.begin("compiling" if model.engine.fused else "first batches", 1)
    warm_up = warm_up_ours(model, data, job)
    watch.end()
    recorder, interrupted = Recorder(watch, keep), False
    # Asking for batches would end each compiled call after one of them.
    stepped = [] if model.engine.fused else [Ticker(watch)]
    steps = -(-len(data[0][0]) // job.batch_size) if stepped else 1
    watch.begin("training", job.epochs * steps)
    try:
        model.fit(
            *data[0],
            batch_size=job.batch_size,
            epochs=job.epochs,
            verbose=0,
            callbacks=[recorder, *stepped],
            validation_data=data[1],
            validation_batch_size=TEST_BATCH,
        )
    except KeyboardInterrupt:
        if recorder.state is None:
            raise
        model, interrupted = model_of(recorder.state, job.engine, job.threads), True
    watch.end()
    scores, histories = {OURS: scores_of(model, data[1][0])}, {OURS: recorder.history}
    numbers = {OURS: figures(recorder.history, warm_up), "misread": misread(data[1][1], scores)}
    result = {"parity": None, **numbers}
    return Outcome(model, scores, result, histories, interrupted=interrupted)


class Recorder(Callback):
    """Our `COLUMNS` from the events of one `fit` that validates; only training is timed.

    Attributes:
        state: the model as the last finished epoch left it, or None.
    """

    def __init__(self, watch: Watch, keep: Keep | None):
        self.watch, self.keep = watch, keep
        self.history: dict[str, list[float]] = {column: [] for column in COLUMNS}
        self.state: State | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.watch.now(f"epoch {epoch + 1} of {self.params['epochs']}")
        self.start = time.perf_counter()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self.seconds = time.perf_counter() - self.start

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        row = (logs or {}) | {"seconds": self.seconds}
        for column in COLUMNS:
            self.history[column].append(float(row[column]))
        self.state = frozen(self.model)
        if self.keep is not None:
            self.keep(self.model, {OURS: self.history})
        if self.model.engine.fused:
            self.watch.advance()
        self.watch.epoch({OURS: self.history})


class Ticker(Callback):
    """One unit of the stretch for each batch."""

    def __init__(self, watch: Watch):
        self.watch = watch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.watch.advance()


def train(
    contestants: Mapping[str, Any],
    data: Data,
    job: Job,
    rng: np.random.Generator,
    watch: Watch | None = None,
) -> Iterator[Histories]:
    """Train every model on the same samples in the same order; yield all histories each epoch.

    Each epoch's order is drawn from `rng` as `fit(shuffle=True)` draws it, so with the model's own
    generator our weights end at the bits of a plain `fit`. Shuffling and testing are not timed. An
    epoch enters the histories once everyone is through it.
    """
    (x, y), (x_test, y_test) = data
    watch = watch or Watch()
    histories: Histories = {name: {column: [] for column in COLUMNS} for name in contestants}
    watch.begin("training", job.epochs * len(contestants))
    for epoch in range(job.epochs):
        order = rng.permutation(len(x))
        samples, labels = x[order], y[order]
        rows: dict[str, tuple[float, ...]] = {}
        for name, model in contestants.items():
            watch.now(f"epoch {epoch + 1} of {job.epochs}, {name}")
            start = time.perf_counter()
            log = model.fit(
                samples, labels, batch_size=job.batch_size, shuffle=False, verbose=0
            ).history
            seconds = time.perf_counter() - start
            tested = model.evaluate(
                x_test, y_test, batch_size=TEST_BATCH, verbose=0, return_dict=True
            )
            numbers = (log["loss"][0], log["accuracy"][0], tested["loss"], tested["accuracy"])
            rows[name] = (*numbers, seconds)
            watch.advance()
        for name, row in rows.items():
            for column, value in zip(COLUMNS, row, strict=True):
                histories[name][column].append(float(value))
        watch.epoch(histories)
        yield histories
    watch.end()


def warm_up_ours(model: Sequential, data: Data, job: Job) -> float:
    """Seconds for a throwaway copy's first batches, where an engine compiles."""
    return first_batches(model_of(frozen(model), job.engine, job.threads), data, job)


def first_batches(model: Any, data: Data, job: Job) -> float:
    """Train on two batches, and say how many seconds they took."""
    (x, y), size = data[0], job.batch_size
    start = time.perf_counter()
    model.fit(x[: 2 * size], y[: 2 * size], batch_size=size, shuffle=False, verbose=0)
    return time.perf_counter() - start


def frozen(model: Sequential) -> State:
    """The model's state now, which training on leaves alone."""
    config, arrays = models.state_of(model)
    return State(config, {name: array.copy() for name, array in arrays.items()})


def model_of(state: State, engine: str | None, threads: int | None) -> Sequential:
    """The model of a state, on that engine."""
    with _on_engine(engine):
        model = models.model_of(state)
    model.threads = threads
    return model


@contextmanager
def _on_engine(name: str | None) -> Iterator[None]:
    """Models that are read within run on this engine; a file doesn't say which."""
    before = config.engine()
    config.set_engine(name or before)
    try:
        yield
    finally:
        config.set_engine(before)


def scores_of(model: Sequential, x: Array) -> Scores:
    """Our model's scores of x (N, ...)."""
    outputs = model.predict(x, batch_size=TEST_BATCH, verbose=0)
    parts = [model.run(x[i : i + TEST_BATCH])[-1].Z for i in range(0, len(x), TEST_BATCH)]
    return Scores(outputs, np.concatenate(parts))


def misread(truth: Array, scores: Mapping[str, Scores]) -> dict[str, list[int]]:
    """What anyone has wrong, as columns; with the labels it holds all the answers.

    >>> certain = np.eye(4)[[1, 2, 0]]
    >>> misread(np.array([1, 2, 3]), {"a": Scores(certain, certain)})
    {'index': [2], 'label': [3], 'a': [0]}
    """
    found = {name: given.answers for name, given in scores.items()}
    wrong = np.flatnonzero(np.any([given != truth for given in found.values()], axis=0))
    columns = {"index": wrong, "label": truth[wrong]}
    columns |= {name: given[wrong] for name, given in found.items()}
    return {name: column.tolist() for name, column in columns.items()}


def figures(history: Mapping[str, list[float]], warm_up: float) -> dict[str, Any]:
    """The numbers of the last epoch, and the seconds of all; `warm_up` is what compiling took."""
    last = {column: values[-1] for column, values in history.items()}
    return {
        "loss": last["loss"],
        "accuracy": last["accuracy"],
        "test_loss": last["val_loss"],
        "test_accuracy": last["val_accuracy"],
        "seconds_per_epoch": statistics.median(history["seconds"]),
        "warm_up_seconds": warm_up,
    }


# --- the folder -----------------------------------------------------------------------------------


class RunError(ValueError):
    """A folder that is no whole run, or that must not become one: which, what is there, what to do.

    >>> print(RunError("runs/a", "is empty", "Name another"))
    runs/a is empty. Name another.
    """

    def __init__(self, folder: str | os.PathLike[str], finding: str, remedy: str):
        super().__init__(f"{os.fspath(folder)} {finding}. {remedy}.")


class Folder:
    """A run being written.

    Args:
        path: a new or empty folder, or an earlier run, which is replaced: its files go first, so
            that old and new never stand side by side.

    Raises:
        RunError: where `path` is a file, or a folder that holds something else.
    """

    def __init__(self, path: str | os.PathLike[str], kind: str):
        self.path, self.kind = Path(path), kind
        check_free(self.path)
        (self.path / PICTURES).mkdir(parents=True, exist_ok=True)
        files = (self.path / name for name in (RESULT, MODEL, ANSWERS, REPORT))
        for old in (*files, *(self.path / PICTURES).glob("*.png")):
            old.unlink(missing_ok=True)
        self.save_history({})

    def save_history(self, history: Mapping[str, Any]) -> None:
        """What is known after each epoch; its first line marks the folder as a run."""
        self._json(HISTORY, history)

    def save_model(self, model: Sequential) -> None:
        models.save_model(model, self.path / MODEL)

    def save_answers(self, outcome: Outcome, data: Data) -> None:
        """What everyone says of the test set, and as many misread images as a page can show."""
        x, y = data[1]
        wrong = np.array(outcome.result["misread"]["index"], np.intp)
        if len(wrong) > SHOWN_MISREADS:
            wrong = wrong[np.linspace(0, len(wrong) - 1, SHOWN_MISREADS).round().astype(int)]
        arrays: dict[str, Any] = {
            "labels": y,
            "misread_index": wrong,
            "misread_images": x[wrong],
        }
        for name, scores in outcome.scores.items():
            arrays |= {f"{name}_outputs": scores.outputs, f"{name}_logits": scores.logits}
        with replacing(self.path / ANSWERS) as beside, beside.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def save_picture(self, name: str, figure: Figure) -> str:
        """Write `pictures/name.png`; its path within the folder."""
        place = f"{PICTURES}/{name}.png"
        with replacing(self.path / place) as beside:
            figure.savefig(beside, format="png", dpi=150)
        return place

    def save_result(self, result: Mapping[str, Any]) -> None:
        """The last file: from here on the folder is usable."""
        self._json(RESULT, result)

    def discard(self) -> bool:
        """Take the folder away if nothing was kept in it yet; whether that is so."""
        if (self.path / MODEL).exists():
            return False
        if {path.name for path in self.path.rglob("*")} <= {HISTORY, PICTURES}:
            (self.path / HISTORY).unlink()
            (self.path / PICTURES).rmdir()
            self.path.rmdir()
        return True

    def _json(self, name: str, content: Mapping[str, Any]) -> None:
        with replacing(self.path / name) as beside:
            beside.write_text(as_json({"format": FORMAT, "kind": self.kind, **content}))


@dataclass(frozen=True)
class Run:
    """A run that was read back; an unfinished one has an empty `result`."""

    path: Path
    result: dict[str, Any]
    history: dict[str, Any]

    def model(self, shape: tuple[int, ...] | None = None) -> Sequential:
        """Our model as the run left it, on the run's engine as far as it can be had here.

        Raises:
            SavedStateError: if its file is damaged.
            RunError: for a model that no run leaves, or that takes no images of `shape`.
        """
        settings = self.result.get("settings", {})
        with _on_engine("reference" if settings.get("engine") == "reference" else "auto"):
            model = models.load_model(self.path / MODEL)
        model.threads = settings.get("threads")
        takes = tuple(model.input_shape[1:])
        if not (model.compiled and model.loss.sparse and model.output_shape[1:] == (10,)):
            raise RunError(self.path / MODEL, "is no model that tells ten digits apart", _BROKEN)
        if shape is not None and takes != tuple(shape):
            finding = f"has a model for images of {times(takes)}, and these are {times(shape)}"
            raise RunError(self.path, finding, "Take the data or the run that belongs to it")
        return model

    @property
    def answers(self) -> dict[str, Array]:
        """The arrays of `answers.npz`, or none if it is missing; `RunError` if it is damaged.

        `labels` (N,); for each model `<name>_outputs` and `<name>_logits` (N, K), on the test set,
        in the model's dtype; `misread_index` (M,) and `misread_images` (M, ...).
        """
        path = self.path / ANSWERS
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise RunError(path, f"can't be read: {error}", _BROKEN) from error

    @property
    def pictures(self) -> list[Path]:
        return sorted((self.path / PICTURES).glob("*.png"))


def times(shape: tuple[int | None, ...]) -> str:
    """A shape as people say it.

    >>> times((28, 28))
    '28 x 28'
    """
    return " x ".join(map(str, shape))


_BROKEN = "Restore it from a copy, or start the run again"


def read(path: str | os.PathLike[str], *, partial: bool = False) -> Run:
    """A run; `RunError` for a folder that is missing, something else or half written.

    With `partial` a run will do whose training did not come to its end, if an epoch was finished.
    """
    folder = Path(path)
    another = "Name a folder that `scratchnet train --out` or `compare --out` wrote"
    if not folder.is_dir():
        raise RunError(path, "is a file" if folder.exists() else "does not exist", another)
    if not (folder / HISTORY).is_file():
        raise RunError(path, f"is not a run: it has no {HISTORY}", another)
    history = _read_json(folder, HISTORY)
    for name in (MODEL,) if partial else (RESULT, MODEL):
        if not (folder / name).is_file():
            raise RunError(
                path, f"is half written: it has no {name}", "Start the run again with --out here"
            )
    unfinished = partial and not (folder / RESULT).is_file()
    return Run(folder, {} if unfinished else _read_json(folder, RESULT), history)


def next_free(path: str | os.PathLike[str]) -> Path:
    """`path`, or the first of `path-2`, `path-3` ... that does not exist yet."""
    first = Path(path)
    number, free = 1, first
    while free.exists():
        number += 1
        free = first.with_name(f"{first.name}-{number}")
    return free


def check_free(path: str | os.PathLike[str]) -> None:
    """`RunError` unless a run may be written at `path`."""
    folder, another = Path(path), "Name another folder with --out, or move this one away"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(path, "is a file: expected a folder", another)
    if not any(folder.iterdir()):
        return
    try:
        _read_json(folder, HISTORY)
    except (RunError, FileNotFoundError):
        raise RunError(path, "holds something else than a run", another) from None


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_text())
    except ValueError as error:
        raise RunError(folder / name, f"is not JSON: {error}", _BROKEN) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RunError(folder / name, f"is not of a run: expected format {FORMAT!r}", _BROKEN)
    return content


def as_json(content: Mapping[str, Any]) -> str:
    """JSON with one line for each name at the top, since a list of numbers reads best as a line."""
    lines = (f"{json.dumps(name)}: {_dumps(value)}" for name, value in content.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dumps(value: Any) -> str:
    return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, and what JSON can't say (NaN, infinity) as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class replacing:  # noqa: N801 a context manager reads as a verb
    """A new file beside `target` that takes its place once the block has ended well."""

    def __init__(self, target: Path):
        self.target = target

    def __enter__(self) -> Path:
        handle, name = tempfile.mkstemp(dir=self.target.parent, prefix=f".{self.target.name}.")
        os.close(handle)
        self.beside = Path(name)
        return self.beside

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            self.beside.chmod(0o644)  # mkstemp's 0o600 is for secrets
            self.beside.replace(self.target)
        self.beside.unlink(missing_ok=True)


# --- where it ran ---------------------------------------------------------------------------------


def environment() -> dict[str, Any]:
    """Versions, processor and threads; nothing that tells one person's machine from another's."""
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "scratchnet": __version__,
    }
    versions |= {package: _version(package) for package in PACKAGES}
    usable = getattr(os, "sched_getaffinity", None)
    return {
        "versions": {name: version for name, version in versions.items() if version},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cpus": len(usable(0)) if usable else os.cpu_count(),
        "blas_threads_in_fit": 1,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """The processor's name as its maker writes it, where the system tells."""
    try:
        if platform.system() == "Darwin":
            asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, subprocess.SubprocessError):
        pass
    return platform.processor() or platform.machine()
