"""The training of a run: what was asked, epoch by epoch, and what everyone says at the end.

`train_solo` is one `fit` of ours; `train_together` moves any number of models under Keras's names
through the same samples in the same order. Either times nothing but training, and ends at the last
finished epoch when interrupted. Nothing is written here: read `run_folder.py` next, and
`keras_ref/compare.py` for how Keras comes in.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from scratchnet import config, layers, models
from scratchnet.callbacks import BackupAndRestore, Callback, Logs
from scratchnet.datasets import Data, augmentation
from scratchnet.engines import Array, Engine
from scratchnet.process import Interruptible
from scratchnet.saving import State
from scratchnet.sequential import Sequential

COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")
OURS, KERAS = "scratchnet", "keras"
SHOWN = {OURS: "scratchnet", KERAS: "Keras"}
AUGMENTATION = 1
"""The spawn key of the copies' random numbers under the run's seed."""
TEST_BATCH = 1000
"""Samples at once where nothing is learned; the means are those of any other batch size."""

Histories = dict[str, dict[str, list[float]]]
"""For each model, for each of `COLUMNS`, one number an epoch; `val_` is the test set."""


@dataclass(frozen=True)
class RunSettings:
    """What decides a run's numbers, beside the data."""

    epochs: int = 10
    batch_size: int = 32
    seed: int = 0
    scaled: bool = True
    engine: str | None = None
    threads: int | None = None
    augment: int = 0
    """How many distorted copies of the training images `augmented` adds to them."""


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
    """What a settings left: our model, each model's scores on the test set, numbers, drifts.

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


SaveEpoch = Callable[[Sequential, dict[str, Any]], None]
"""Takes the model and the history so far, after each epoch."""


class ProgressListener:
    """What a run tells whoever looks on; a screen overrides what it shows."""

    def begin(self, what: str, total: int) -> None:
        """A phase of `total` units begins."""

    def now(self, what: str) -> None:
        """What is being done within the phase."""

    def advance(self) -> None:
        """One unit of the phase is done."""

    def epoch(self, histories: Histories) -> None:
        """Every model is through another epoch."""

    def end(self) -> None:
        """The phase is over."""


def build_model(
    settings: RunSettings, data: Data, dtype: str = "float32", engine: Engine | None = None
) -> Sequential:
    """The well-known network for these images, compiled; a seed gives the same start in any dtype.

    Flatten, Dense 50 relu, Dense 50 relu, Dense 10 sigmoid, on pixels divided by 255 if scaled.
    An `engine` of one's own takes the place of that in the settings.
    """
    before = config.floatx()
    config.set_floatx(dtype)
    try:
        model = Sequential(
            [
                layers.Input(data[0][0].shape[1:]),
                *([layers.Rescaling(1 / 255)] if settings.scaled else []),
                layers.Flatten(),
                layers.Dense(50, "relu"),
                layers.Dense(50, "relu"),
                layers.Dense(10, "sigmoid"),
            ],
            seed=settings.seed,
        )
    finally:
        config.set_floatx(before)
    loss, threads = "sparse_categorical_crossentropy", settings.threads
    computes = engine or settings.engine
    model.compile("adam", loss, metrics=["accuracy"], engine=computes, threads=threads)
    return model


def augmented(data: Data, settings: RunSettings, progress: ProgressListener | None = None) -> Data:
    """The data that a run is trained on: `settings.augment` affine copies beside the originals.

    Drawn from the run's seed, apart from what it draws for weights and order, so that a run that
    goes on, or is replayed, sees the same images again. The test set stays as it is.
    """
    if not settings.augment:
        return data
    progress = progress or ProgressListener()
    progress.begin("distorting copies of the training images", 1)
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(AUGMENTATION,)))
    training = augmentation.affine_copies(*data[0], settings.augment, rng)
    progress.end()
    return training, data[1]


def train_solo(
    data: Data,
    settings: RunSettings,
    progress: ProgressListener | None = None,
    save_epoch: SaveEpoch | None = None,
    backup: BackupAndRestore | None = None,
    finished_before: tuple[State, dict[str, list[float]]] | None = None,
) -> Outcome:
    """Our network without anyone beside it, in one `fit`.

    Ctrl-C ends it at the last finished epoch; before the first there is nothing to end at. With a
    `backup` it goes on from the checkpoint that is there, and `finished_before` is the model and
    the history after the last epoch that was finished then.
    """
    progress = progress or ProgressListener()
    model = build_model(settings, data)
    progress.begin("compiling" if model.engine.fused else "first batches", 1)
    warm_up = warm_up_ours(model, data, settings)
    progress.end()
    recorder, interrupted = EpochRecorder(progress, save_epoch, finished_before), False
    # Asking for batches would end each compiled call after one of them.
    stepped = [] if model.engine.fused else [BatchCounter(progress)]
    steps = -(-len(data[0][0]) // settings.batch_size) if stepped else 1
    progress.begin("training", settings.epochs * steps)
    for _ in range(len(finished_before[1]["loss"]) * steps if finished_before else 0):
        progress.advance()
    backups = [] if backup is None else [backup]
    try:
        model.fit(
            *data[0],
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            verbose=0,
            callbacks=[recorder, *stepped, *backups],
            validation_data=data[1],
            validation_batch_size=TEST_BATCH,
        )
    except KeyboardInterrupt:
        if recorder.last is None:
            raise
        state, recorder.history = recorder.last
        model, interrupted = restored(state, settings.engine, settings.threads), True
    progress.end()

    def score() -> Outcome:
        scores, histories = {OURS: scores_of(model, data[1][0])}, {OURS: recorder.history}
        numbers = {
            OURS: last_figures(recorder.history, warm_up),
            "misread": misread(data[1][1], scores),
        }
        result = {"parity": None, **numbers}
        return Outcome(model, scores, result, histories, interrupted=interrupted)

    return finished(score)


def finished(score: Callable[[], Outcome]) -> Outcome:
    """The outcome of a training that is over: Ctrl-C waits for it, and is noted in it."""
    outcomes: list[Outcome] = []
    try:
        with Interruptible():
            outcomes.append(score())
    except KeyboardInterrupt:
        if not outcomes:
            raise
        outcomes[0].interrupted = True
    return outcomes[0]


class EpochRecorder(Callback):
    """Our `COLUMNS` from the events of one `fit` that validates; only training is timed.

    Attributes:
        last: the model as the last finished epoch left it, and the history then; or None.
    """

    remembered = ("history", "spent")
    recalls: ClassVar = {
        "history": lambda recorder, value: _is_history(value),
        "spent": lambda recorder, value: type(value) is float,
    }

    def __init__(
        self,
        progress: ProgressListener,
        save_epoch: SaveEpoch | None,
        last: tuple[State, dict[str, list[float]]] | None = None,
    ):
        self.progress, self.save_epoch, self.last = progress, save_epoch, last
        self.history: dict[str, list[float]] = {column: [] for column in COLUMNS}
        self.spent = 0.0

    @property
    def spent(self) -> float:
        """Seconds of this epoch's training so far, those before an interruption among them."""
        return self._before + time.perf_counter() - self._start

    @spent.setter
    def spent(self, seconds: float) -> None:
        self._before, self._start = seconds, time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.progress.now(f"epoch {epoch + 1} of {self.params['epochs']}")
        self.spent = 0.0

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self.seconds = self.spent

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        row = (logs or {}) | {"seconds": self.seconds}
        for column in COLUMNS:
            self.history[column].append(float(row[column]))
        kept = {column: list(values) for column, values in self.history.items()}
        self.last = snapshot(self.model), kept
        if self.save_epoch is not None:
            self.save_epoch(self.model, {OURS: self.history})
        if self.model.engine.fused:
            self.progress.advance()
        self.progress.epoch({OURS: self.history})


def _is_history(value: Any) -> bool:
    """Whether it is a list of numbers for each column, all of one length."""
    if not isinstance(value, dict) or value.keys() != {*COLUMNS}:
        return False
    lists = all(type(column) is list for column in value.values())
    numbers = lists and all(type(x) in (int, float) for column in value.values() for x in column)
    return numbers and len({len(column) for column in value.values()}) == 1


class BatchCounter(Callback):
    """One unit of the phase for each batch."""

    def __init__(self, progress: ProgressListener):
        self.progress = progress

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.progress.advance()


def train_together(
    contestants: Mapping[str, Any],
    data: Data,
    settings: RunSettings,
    rng: np.random.Generator,
    progress: ProgressListener | None = None,
    before: Histories | None = None,
) -> Iterator[Histories]:
    """Train every model on the same samples in the same order; yield all histories each epoch.

    With the histories `before` it goes on after their last epoch.

    Each epoch's order is drawn from `rng` as `fit(shuffle=True)` draws it, so with the model's own
    generator our weights end at the bits of a plain `fit`. Shuffling and testing are not timed. An
    epoch enters the histories once everyone is through it.
    """
    (x, y), (x_test, y_test) = data
    progress = progress or ProgressListener()
    histories: Histories = {
        name: {column: list(before[name][column]) if before else [] for column in COLUMNS}
        for name in contestants
    }
    first = len(before[OURS]["loss"]) if before else 0
    progress.begin("training", (settings.epochs - first) * len(contestants))
    for epoch in range(first, settings.epochs):
        order = rng.permutation(len(x))
        samples, labels = x[order], y[order]
        rows: dict[str, tuple[float, ...]] = {}
        for name, model in contestants.items():
            progress.now(f"epoch {epoch + 1} of {settings.epochs}, {name}")
            start = time.perf_counter()
            log = model.fit(
                samples, labels, batch_size=settings.batch_size, shuffle=False, verbose=0
            ).history
            seconds = time.perf_counter() - start
            tested = model.evaluate(
                x_test, y_test, batch_size=TEST_BATCH, verbose=0, return_dict=True
            )
            numbers = (log["loss"][0], log["accuracy"][0], tested["loss"], tested["accuracy"])
            rows[name] = (*numbers, seconds)
            progress.advance()
        for name, row in rows.items():
            for column, value in zip(COLUMNS, row, strict=True):
                histories[name][column].append(float(value))
        progress.epoch(histories)
        yield histories
    progress.end()


def warm_up_ours(model: Sequential, data: Data, settings: RunSettings) -> float:
    """Seconds for a throwaway copy's first batches, where an engine compiles."""
    return first_batches(
        restored(snapshot(model), settings.engine, settings.threads), data, settings
    )


def first_batches(model: Any, data: Data, settings: RunSettings) -> float:
    """Train on two batches, and say how many seconds they took."""
    (x, y), size = data[0], settings.batch_size
    start = time.perf_counter()
    model.fit(x[: 2 * size], y[: 2 * size], batch_size=size, shuffle=False, verbose=0)
    return time.perf_counter() - start


def snapshot(model: Sequential) -> State:
    """The model's state now, which training on leaves alone."""
    config, arrays = models.state_of(model)
    return State(config, {name: array.copy() for name, array in arrays.items()})


def restored(state: State, engine: str | None, threads: int | None) -> Sequential:
    """The model of a state, on that engine."""
    with on_engine(engine):
        model = models.model_of(state)
    model.threads = threads
    return model


@contextmanager
def on_engine(name: str | None) -> Iterator[None]:
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


def last_figures(history: Mapping[str, list[float]], warm_up: float) -> dict[str, Any]:
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
