"""What happens around training: history, progress, early stopping, schedules, logs to a file.

A callback gets the events that Keras's callbacks get, by the same names; it owns what it records.
Epochs cost one event each; batches cost something only if a callback overrides their events.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchnet.utils import nearest

if TYPE_CHECKING:
    from scratchnet.metrics import Meters
    from scratchnet.sequential import Sequential

Logs = dict[str, float]


class Callback:
    """Override the events that you want; `self.model` and `self.params` are set before the first.

    `params` holds verbose, epochs and steps, as in Keras.
    """

    model: Sequential
    params: dict[str, Any]

    def on_train_begin(self, logs: Logs | None = None) -> None: ...
    def on_train_end(self, logs: Logs | None = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def set_model(self, model: Sequential) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params


class CallbackList:
    """Passes each event to every callback, in order."""

    def __init__(self, callbacks: Iterable[Callback], model: Sequential, params: dict[str, Any]):
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks holds {callback!r}: expected Callback objects.")
            callback.set_model(model)
            callback.set_params(params)
        events = (Callback.on_train_batch_begin, Callback.on_train_batch_end)
        self.wants_batches = any(
            getattr(getattr(callback, event.__name__), "__func__", None) is not event
            for callback in self.callbacks
            for event in events
        )

    def call(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*arguments)


class History(Callback):
    """What `fit` returns: `history`, a list of each logged number by name, and `epoch`."""

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
    """A callback of functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: ...)`."""

    def __init__(self, **events: Callable[..., None]):
        known = [name for name in vars(Callback) if name.startswith("on_")]
        for name, function in events.items():
            setattr(self, nearest("LambdaCallback: event", name, known), function)


class EarlyStopping(Callback):
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    Arguments and moments as in Keras: with `restore_best_weights` the best epoch's weights come
    back at the end even if training was not stopped.
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
        nearest("mode", mode, ("auto", "min", "max"))
        rises = mode == "max" or (mode == "auto" and monitor.endswith(("acc", "accuracy")))
        self.sign = 1 if rises else -1
        self.monitor, self.min_delta, self.patience = monitor, abs(min_delta), patience
        self.verbose, self.baseline = verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best, self.wait, self.stopped_epoch, self.best_epoch = -math.inf, 0, 0, 0
        self.best_weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.monitor not in (logs or {}):
            raise ValueError(
                f"EarlyStopping: monitor={self.monitor!r} is not logged: expected one of "
                f"{', '.join(logs or {})}. For a val_ number, give fit a validation set."
            )
        if epoch < self.start_from_epoch:
            return
        current = self.sign * (logs or {})[self.monitor]
        self.wait += 1
        improved = current - self.min_delta > self.best
        if self.restore_best_weights and (improved or self.best_weights is None):
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        if improved:
            self.best = current
            if self.baseline is None or current - self.min_delta > self.sign * self.baseline:
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch to `schedule(epoch, learning_rate)`."""

    def __init__(self, schedule: Callable[[int, float], float], verbose: int = 0):
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        optimizer.learning_rate = self.schedule(epoch, optimizer.learning_rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {optimizer.learning_rate}")


class CSVLogger(Callback):
    """One row an epoch into a CSV file: epoch, then the logged numbers by name."""

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False):
        self.path, self.separator, self.append = Path(filename), separator, append

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.fresh = not (self.append and self.path.exists())
        if self.fresh:
            self.path.write_text("")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        row: dict[str, float] = {"epoch": epoch, **dict(sorted((logs or {}).items()))}
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row), delimiter=self.separator)
            if self.fresh:
                writer.writeheader()
                self.fresh = False
            writer.writerow(row)


class Progress:
    """What `verbose` shows: a bar (1) that becomes a line, a line an epoch (2), or nothing (0).

    The bar is rich's and needs a terminal; elsewhere 1 writes the same plain lines as 2.
    """

    def __init__(self, verbose: int | str, epochs: int, steps: int):
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.epochs, self.steps = epochs, steps
        self.bar: Any = None

    def begin(self, epoch: int | None = None) -> None:
        self.start = time.perf_counter()
        if self.verbose and epoch is not None:
            print(f"Epoch {epoch + 1}/{self.epochs}")
        if self.verbose == 1 and sys.stdout.isatty():
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
            self.bar.update(self.task, completed=done, description=self.numbers(meters.logs()))

    def end(self, logs: Logs | None = None) -> None:
        """Take the bar away and, unless interrupted, write the line."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        if self.verbose and logs is not None:
            seconds = time.perf_counter() - self.start
            each = 1e3 * seconds / max(self.steps, 1)
            spent = f"{self.steps}/{self.steps} - {seconds:.2f}s - {each:.3g}ms/step"
            print(f"{spent} - {self.numbers(logs)}")

    @staticmethod
    def numbers(logs: Logs) -> str:
        return " - ".join(f"{name}: {value:.4f}" for name, value in logs.items())
