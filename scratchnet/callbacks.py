"""What happens around training: history, progress, early stopping, schedules, logs to a file.

A callback gets the events that Keras's callbacks get, by the same names; it owns what it records.
Epochs cost one event each; batches cost something only if a callback overrides their events.
"""

from __future__ import annotations

import csv
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet import metrics
from scratchnet.checks import check_option
from scratchnet.metrics import Meters
from scratchnet.process import in_terminal, printable, say

Logs = dict[str, float]


class Callback:
    """Override the events that you want; `self.model` and `self.params` are set before the first.

    `params` holds verbose, epochs and steps, as in Keras. Test events come from `evaluate`, and
    from `fit` when it validates.

    >>> class Count(Callback):
    ...     batches = 0
    ...     def on_train_batch_end(self, batch, logs=None):
    ...         self.batches += 1
    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(2)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> count = Count()
    >>> _ = model.fit(np.ones((10, 1)), np.ones((10, 2)), 4, epochs=2, verbose=0, callbacks=[count])
    >>> count.batches  # of 4, 4 and 2 samples, twice
    6
    """

    model: Any  # the Sequential in training; `sequential.py` stands above this room
    params: dict[str, Any]

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_end(batch, logs=logs)

    def on_test_begin(self, logs: Logs | None = None) -> None: ...
    def on_test_end(self, logs: Logs | None = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_begin(self, logs: Logs | None = None) -> None: ...
    def on_predict_end(self, logs: Logs | None = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None: ...

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params


class CallbackList:
    """Passes each event to every callback, in order; made before anything moves."""

    def __init__(
        self,
        callbacks: Callback | Iterable[Callback] | None,
        model: Any,
        params: dict[str, Any],
        add_history: bool = False,
    ):
        given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
        for callback in given:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks holds {callback!r}: expected Callback objects.")
        if add_history and not any(isinstance(callback, History) for callback in given):
            given.append(History())  # the last, so that it sees what the others put into logs
        self.callbacks = given
        for callback in given:
            callback.set_model(model)
            callback.set_params(params)
        self.wants_batches = self.listens("on_train_batch_begin", "on_batch_begin") or self.listens(
            "on_train_batch_end", "on_batch_end"
        )

    @property
    def history(self) -> History:
        return next(c for c in self.callbacks if isinstance(c, History))

    def listens(self, *events: str) -> bool:
        """Whether any callback overrides one of these events."""
        return any(
            getattr(getattr(callback, event), "__func__", None) is not getattr(Callback, event)
            for callback in self.callbacks
            for event in events
        )

    def call(self, event: str, *arguments: Any, **logs: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*arguments, **logs)


class History(Callback):
    """What `fit` returns: `history`, a list of each logged number by name, and `epoch`.

    >>> history = History()
    >>> history.on_epoch_end(0, {"loss": 0.5}); history.on_epoch_end(1, {"loss": 0.25})
    >>> history.epoch, history.history
    ([0, 1], {'loss': [0.5, 0.25]})
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """A callback of functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: ...)`.

    >>> told = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs))
    >>> told.on_epoch_end(0, {"loss": 0.5})
    0 {'loss': 0.5}
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **others: Callable[..., Any],
    ):
        named = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        for event, function in (named | others).items():
            if function is not None:
                setattr(self, event, function)


class EarlyStopping(Callback):
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    Arguments and moments as in Keras: `"auto"` knows the direction of the loss and of our metrics;
    with `restore_best_weights` the best epoch's weights come back at the end even if training was
    not stopped; the first epoch is always the best so far.

    Attributes:
        best, best_epoch, best_weights, wait, stopped_epoch: as Keras names them.

    Raises:
        ValueError: before the first step, for a `monitor` whose direction nobody knows.

    >>> stopping = EarlyStopping("loss", min_delta=0.1, mode="min")
    >>> stopping.sign = -1  # as set_model does
    >>> stopping.improves(0.8, 1.0), stopping.improves(0.95, 1.0)
    (True, False)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        if mode not in ("auto", "min", "max"):
            warnings.warn(f"EarlyStopping: mode={mode!r} is unknown: 'auto'.", stacklevel=2)
            mode = "auto"
        self.monitor, self.mode = monitor, mode
        self.min_delta, self.patience = abs(min_delta), patience
        self.verbose, self.baseline = verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.on_train_begin()

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        check_option("EarlyStopping: mode", self.mode, ("auto", "min", "max"))
        known = metrics.directions(*model.metrics_asked)
        if self.mode == "auto":
            rises = known.get(self.monitor.removeprefix("val_"))
        else:
            rises = self.mode == "max"
        if rises is None:
            raise ValueError(
                f"EarlyStopping: monitor={self.monitor!r}: should it rise or fall? Say mode='max' "
                f"or mode='min', or watch one of {', '.join(known)}."
            )
        self.sign = 1 if rises else -1

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait, self.stopped_epoch, self.best_epoch = 0, 0, 0
        self.best: float | None = None
        self.best_weights: list[Any] | None = None

    def improves(self, value: float, reference: float | None) -> bool:
        if reference is None:
            return True
        return self.sign * value - self.min_delta > self.sign * reference

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        current = (logs or {}).get(self.monitor)
        if current is None:
            warnings.warn(
                f"EarlyStopping: monitor={self.monitor!r} is not among {', '.join(logs or {})}, so "
                "it does nothing. For a val_ number give fit a validation set.",
                stacklevel=2,
            )
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self.improves(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.improves(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                say(f"Best weights are back: those of epoch {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch to `schedule(epoch, learning_rate)`.

    The rate is logged as `learning_rate`. A schedule of the epoch alone is taken too, as in Keras.

    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> halved = LearningRateScheduler(lambda epoch, rate: rate / 2)
    >>> fitted = model.fit(np.ones((4, 1)), np.ones(4), epochs=2, verbose=0, callbacks=[halved])
    >>> fitted.history["learning_rate"]
    [0.005, 0.0025]
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        try:
            rate = self.schedule(epoch, optimizer.learning_rate)
        except TypeError:
            rate = self.schedule(epoch)
        if not isinstance(rate, float | np.floating):
            raise ValueError(
                f"LearningRateScheduler: the schedule gave {rate!r}: expected a float."
            )
        optimizer.learning_rate = float(rate)
        if self.verbose:
            say(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


class CSVLogger(Callback):
    """One row an epoch into a CSV file: epoch, then the logged numbers by name.

    The columns are those of the first epoch; without val_ numbers there they get theirs all the
    same, and a number that lacks is NA, as in Keras.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     logger = CSVLogger(Path(folder, "log.csv"))
    ...     logger.on_train_begin()
    ...     logger.on_epoch_end(0, {"loss": 0.5})
    ...     print(logger.filename.read_text())
    epoch,loss,val_loss
    0,0.5,NA
    """

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False):
        self.filename, self.separator, self.append = Path(filename), separator, append

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.names: list[str] = []
        self.filename = Path(self.filename)
        held = self.append and self.filename.exists() and self.filename.stat().st_size > 0
        self.header = not held
        if not held:
            self.filename.write_text("")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        if not self.names:
            self.names = sorted(logs)
            if not any(name.startswith("val_") for name in logs):
                self.names += [f"val_{name}" for name in self.names]
        with self.filename.open("a", newline="") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if self.header:
                writer.writerow(["epoch", *self.names])
                self.header = False
            writer.writerow([epoch, *(logs.get(name, "NA") for name in self.names)])


class Progress:
    """What `verbose` shows: a bar (1) that becomes a line, a line an epoch (2), or nothing (0).

    The bar is rich's and needs a terminal; elsewhere 1 writes the same plain lines as 2.
    """

    def __init__(self, verbose: int | str, epochs: int, steps: int):
        check_option("verbose", verbose, (0, 1, 2, "auto"))
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.epochs, self.steps = epochs, steps
        self.bar: Any = None

    def begin(self, epoch: int | None = None) -> None:
        self.start = time.perf_counter()
        if self.verbose and epoch is not None and self.epochs > 1:
            say(f"Epoch {epoch + 1}/{self.epochs}")
        if self.verbose == 1 and in_terminal():
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            numbers = TextColumn("{task.description}")
            self.bar = Progress(
                MofNCompleteColumn(), BarColumn(30), TimeRemainingColumn(), numbers, transient=True
            )
            self.task = self.bar.add_task("", total=self.steps)
            self.bar.start()

    def advance(self, done: int, meters: Meters) -> None:
        if self.bar is not None:
            self.bar.update(
                self.task, completed=done, description=printable(self.numbers(meters.logs()))
            )

    def end(self, logs: Logs | None = None) -> None:
        """Take the bar away and, unless interrupted, write the line."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        if self.verbose and logs is not None:
            seconds = time.perf_counter() - self.start
            each = 1e3 * seconds / max(self.steps, 1)
            spent = f"{self.steps}/{self.steps} - {seconds:.2f}s - {each:.3g}ms/step"
            say(f"{spent} - {self.numbers(logs)}")

    @staticmethod
    def numbers(logs: Logs) -> str:
        return " - ".join(f"{name}: {value:.4f}" for name, value in logs.items())
