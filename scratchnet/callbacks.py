"""What happens around training: history, progress, early stopping, schedules, logs to a file.

A callback gets the events that Keras's callbacks get, by the same names; it owns what it records.
Epochs cost one event each; batches cost something only if a callback overrides their events.
"""

from __future__ import annotations

import csv
import itertools
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet import metrics
from scratchnet.checks import check_option
from scratchnet.metrics.meters import Meters, flat_logs
from scratchnet.process import encodable, in_terminal, say
from scratchnet.progress import progress_bar
from scratchnet.support import reject_unsupported
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)

Logs = dict[str, Any]


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

    model: Any = None  # the Sequential in training; `sequential.py` stands above this room
    params: Any = None

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
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params


EVENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))
BATCHES = ("on_train_batch_begin", "on_batch_begin", "on_train_batch_end", "on_batch_end")


class CallbackList(Callback):
    """Passes each event to every callback, in order, with one dict of logs for all of them.

    `callbacks` may be nested; a callback is whatever has Keras's methods.

    >>> told = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs))
    >>> CallbackList([told]).on_epoch_end(0, {"loss": np.float32(0.5)})
    0 {'loss': 0.5}
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ):
        reject_unsupported("CallbackList", add_progbar=(add_progbar, False))
        self.callbacks = _flat(callbacks)
        for callback in self.callbacks:
            missing = [name for name in EVENTS if not callable(getattr(callback, name, None))]
            if missing or isinstance(callback, type):
                lacks = "it is a class" if isinstance(callback, type) else f"no {missing[0]}"
                raise TypeError(
                    f"callbacks holds {callback!r} ({lacks}): expected Callback objects, such as "
                    "callbacks.EarlyStopping()."
                )
        if add_history and not any(isinstance(each, History) for each in self.callbacks):
            self.callbacks.append(History())  # the last: it sees what the others put into logs
        if model is not None:
            self.set_model(model)
        self.set_params(params)
        self.wants_batches = self.listens(*BATCHES)

    def append(self, callback: Any) -> None:
        """One more, at the end."""
        self.callbacks.append(callback)
        self.wants_batches = self.listens(*BATCHES)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        for callback in self.callbacks if params else ():
            callback.set_params(params)

    @property
    def history(self) -> History:
        """The last of the histories, as in Keras."""
        return [each for each in self.callbacks if isinstance(each, History)][-1]

    def listens(self, *events: str) -> bool:
        """Whether any callback overrides one of these events."""
        return any(_overrides(each, event) for each in self.callbacks for event in events)

    def tell(self, event: str, *arguments: Any, **logs: Any) -> None:
        """The event with these very arguments, to each callback in turn."""
        for callback in self.callbacks:
            getattr(callback, event)(*arguments, **logs)


def _flat(callbacks: Any) -> list[Any]:
    """A callback, or nested lists of them, as a list."""
    if callbacks is None:
        return []
    if isinstance(callbacks, dict):
        return _flat(list(callbacks.values()))
    if isinstance(callbacks, Iterable) and not isinstance(callbacks, str):
        return [each for item in callbacks for each in _flat(item)]
    return [callbacks]


def _overrides(callback: Any, event: str) -> bool:
    """Whether this callback has something of its own to do there."""
    method = getattr(callback, event)
    if getattr(method, "_is_default", False):  # how Keras marks what its own base does
        return False
    return getattr(method, "__func__", None) is not getattr(Callback, event)


def _passed_on(event: str) -> Callable[..., None]:
    """The method of a CallbackList that passes this event on: numbers as floats, begin events with
    an empty dict, the logs of a batch by keyword, as in Keras."""

    def plain(self: CallbackList, logs: Logs | None = None) -> None:
        self.tell(event, flat_logs(logs or {}))

    def epoch(self: CallbackList, epoch: int, logs: Logs | None = None) -> None:
        self.tell(event, epoch, flat_logs(logs or {}))

    def batch(self: CallbackList, batch: int, logs: Logs | None = None) -> None:
        self.tell(event, batch, logs=flat_logs(logs or {}))

    return batch if "batch" in event else epoch if "epoch" in event else plain


for _event in EVENTS:
    setattr(CallbackList, _event, _passed_on(_event))


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
        if self.model is not None:
            self.model.history = self


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


class MonitorCallback(Callback):
    """What callbacks that watch a number share: which way it should go, and whether it went there.

    `"auto"` knows the direction of the loss and of the metrics that say theirs. Numbers are
    compared as float32 whatever the model is, as in Keras, which makes tensors of them.

    Raises:
        ValueError: before the first step, for a `monitor` whose direction nobody knows.

    >>> watch = MonitorCallback("loss", mode="min", min_delta=0.1)
    >>> watch.sign = -1  # as set_model does
    >>> watch.improves(0.8, 1.0), watch.improves(0.95, 1.0)
    (True, False)
    """

    sign: int

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        baseline: float | None = None,
        min_delta: float = 0,
    ):
        if mode not in ("auto", "min", "max"):
            kind = type(self).__name__
            warnings.warn(f"{kind}: mode={mode!r} is unknown: 'auto'.", stacklevel=3)
            mode = "auto"
        self.monitor, self.mode = monitor, mode
        self.best, self.min_delta = baseline, abs(min_delta)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        groups = (getattr(model, name, ((), ())) for name in ("metrics_asked", "metrics_made"))
        known = metrics.directions(*(itertools.chain(*group) for group in groups))
        if self.mode == "auto":
            rises = known.get(self.monitor.removeprefix("val_"))
        else:
            rises = self.mode == "max"
        if rises is None:
            raise ValueError(
                f"{type(self).__name__}: monitor={self.monitor!r}: should it rise or fall? Say "
                f"mode='max' or mode='min', or watch one of {', '.join(known)}."
            )
        self.sign = 1 if rises else -1

    def improves(self, value: float, reference: float | None) -> bool:
        if reference is None:
            return True
        least, most = np.float32(reference), np.float32(value - self.sign * self.min_delta)
        return bool(most > least if self.sign > 0 else most < least)


class EarlyStopping(MonitorCallback):
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    Arguments and moments as in Keras: with `restore_best_weights` the best epoch's weights come
    back at the end even if training was not stopped; the first epoch is always the best so far.

    Attributes:
        best, best_epoch, best_weights, wait, stopped_epoch: as Keras names them.

    >>> stopping = EarlyStopping("loss", patience=2, mode="min")
    >>> stopping.patience, stopping.best_epoch
    (2, 0)
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
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait, self.stopped_epoch, self.best_epoch = 0, 0, 0
        self.best: float | None = None
        self.best_weights: list[Any] | None = None

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
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            say(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                say(f"Best weights are back: those of epoch {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(MonitorCallback):
    """Multiply the learning rate by `factor` when `monitor` has not improved for `patience` epochs.

    After that it waits for `cooldown` epochs before it counts again; the rate does not fall below
    `min_lr`. The rate is logged as `learning_rate`.  Source: Keras, callbacks/reduce_lr_on_plateau.

    >>> plateau = ReduceLROnPlateau("loss", factor=0.5, patience=3, mode="min")
    >>> plateau.cooldown, plateau.in_cooldown()
    (0, False)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode, min_delta=min_delta)
        if not factor < 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor={factor!r}: expected a number below 1.")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.best = None
        self.cooldown_counter = self.wait = 0

    def in_cooldown(self) -> bool:
        """Whether it still waits after the last time."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        optimizer = self.model.optimizer
        logs["learning_rate"] = float(optimizer.learning_rate)
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"ReduceLROnPlateau: monitor={self.monitor!r} is not among {', '.join(logs)}, so "
                "it does nothing. For a val_ number give fit a validation set.",
                stacklevel=2,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and optimizer.learning_rate > np.float32(self.min_lr):
                optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    print(
                        f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to "
                        f"{optimizer.learning_rate}."
                    )


class TerminateOnNaN(Callback):
    """End training when the running loss is NaN or infinite: by `stop_training`, or by an error.

    Without it `fit` ends such a training by a FloatingPointError of its own.

    >>> TerminateOnNaN(raise_error=True).on_batch_end(3, {"loss": np.nan})
    Traceback (most recent call last):
    RuntimeError: loss is nan at batch 3: training ends here.
    """

    def __init__(self, raise_error: bool = False):
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or np.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"loss is {loss} at batch {batch}: training ends here.")
        print(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True


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
            self.bar = progress_bar(unit="steps")
            self.task = self.bar.add_task("", total=self.steps)
            self.bar.start()

    def advance(self, done: int, meters: Meters) -> None:
        if self.bar is not None:
            self.bar.update(
                self.task, completed=done, description=encodable(self.numbers(meters.logs()))
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
