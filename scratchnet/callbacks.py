"""What happens around training: history, progress, early stopping, schedules, logs to a file.

A callback gets the events that Keras's callbacks get, by the same names; it owns what it records.
Epochs cost one event each; batches cost something only if a callback overrides their events.
"""

from __future__ import annotations

import csv
import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import scratchnet.metrics as metrics
import scratchnet.saving as saving
from scratchnet.checks import check_option
from scratchnet.metrics.meters import Meters, flat_logs
from scratchnet.process import encodable, in_terminal, say
from scratchnet.progress import progress_bar
from scratchnet.saving import SavedStateError, State
from scratchnet.support import reject_unsupported
from scratchnet.unbuilt import refusing
from scratchnet.untrusted import printable

__getattr__ = refusing(__name__)

Logs = dict[str, Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and value == value


def _is_number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_below_one(value: Any) -> bool:
    return _is_number(value) and value < 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_names(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(name, str) for name in value)


def _is_tests(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(callable, value.values()))


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _recalls_count(callback: Any, value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _recalls_number(callback: Any, value: Any) -> bool:
    return value is None or isinstance(value, int | float | np.number)


def _recalls_weights(callback: Any, value: Any) -> bool:
    wanted = [array.shape for array in callback.model.weights]
    fits = isinstance(value, list) and all(isinstance(array, np.ndarray) for array in value)
    return value is None or (fits and [array.shape for array in value] == wanted)


_EXPECTED: dict[Callable[..., bool], str] = {
    _is_number: "a number",
    _is_number_or_none: "a number or None",
    _is_below_one: "a number below 1",
    _is_text: "text",
    _is_names: "names of attributes",
    _is_tests: "functions by the names of attributes",
    _is_path: "the name of a file",
    callable: "a function",
}
"""What a setting that one of these refuses should have been."""


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
    remembered: ClassVar[tuple[str, ...]] = ()
    """Attributes that a checkpoint keeps: numbers, text, arrays, and lists and dicts of them."""
    recalls: ClassVar[Mapping[str, Callable[[Any, Any], bool]]] = {}
    """What those may be that are read from one, told by `test(callback, value)`."""
    _takes: ClassVar[Mapping[str, Callable[[Any], bool]]] = {}
    """What an attribute may be, whenever it is assigned; those of callbacks of your own may be all.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        of_every_callback = {"remembered": _is_names, "recalls": _is_tests}
        test = of_every_callback.get(name) or self._takes.get(name)
        if test is not None and not test(value):
            kind = type(self).__name__
            raise ValueError(f"{kind}: {name}={value!r:.80}: expected {_EXPECTED[test]}.")
        super().__setattr__(name, value)

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
    if isinstance(callback, ModelCheckpoint) and callback.idle(event):
        return False
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
    _takes: ClassVar = {
        "monitor": _is_text,
        **dict.fromkeys(("min_delta", "patience", "start_from_epoch"), _is_number),
        **dict.fromkeys(("cooldown", "min_lr"), _is_number),
        "baseline": _is_number_or_none,
        "factor": _is_below_one,
    }

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        baseline: float | None = None,
        min_delta: float = 0,
    ):
        if mode not in ("auto", "min", "max"):
            kind = type(self).__name__
            warnings.warn(f"{kind} mode {mode!r} is unknown, fallback to auto mode.", stacklevel=3)
            mode = "auto"
        self.monitor, self.mode = monitor, mode
        self.best, self.min_delta = baseline, abs(min_delta)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        check_option(f"{type(self).__name__}: mode", self.mode, ("auto", "min", "max"))
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

    remembered = ("wait", "stopped_epoch", "best_epoch", "best", "best_weights")
    recalls: ClassVar = {
        **dict.fromkeys(("wait", "stopped_epoch", "best_epoch"), _recalls_count),
        **{"best": _recalls_number, "best_weights": _recalls_weights},
    }

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

    remembered = ("best", "cooldown_counter", "wait")
    recalls: ClassVar = {
        "best": _recalls_number,
        **dict.fromkeys(("cooldown_counter", "wait"), _recalls_count),
    }

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

    _takes: ClassVar = {"schedule": callable}

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

    _takes: ClassVar = {"filename": _is_path, "separator": _is_text}

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


def _is_save_freq(value: Any) -> bool:
    return value == "epoch" or isinstance(value, int)


_EXPECTED[_is_save_freq] = "'epoch' or an integer number of batches"


class ModelCheckpoint(MonitorCallback):
    """Save the model, or its weights, now and then: after each epoch, or each `save_freq` batches.

    Arguments, names and moments as in Keras. The path may hold `{epoch}`, `{batch}` and the logged
    numbers, as in `"{epoch:02d}-{val_loss:.2f}.keras"`. With `save_best_only` it is saved where
    `monitor` is better than ever, and than `initial_value_threshold`. Folders are made. To go on
    with a training that was cut off take `BackupAndRestore`.

    Raises:
        ValueError: for a name that does not end in `.weights.h5` (with `save_weights_only`), or in
            `.keras` or `.npz`.
        KeyError: in mid-training, for a placeholder that is no logged number.

    >>> import tempfile
    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saved = ModelCheckpoint(f"{folder}/{{epoch:02d}}.keras")
    ...     _ = model.fit(np.ones((4, 1)), np.ones(4), epochs=2, verbose=0, callbacks=[saved])
    ...     sorted(os.listdir(folder))
    ['01.keras', '02.keras']
    """

    remembered = ("best", "batches_seen")
    recalls: ClassVar = {"best": _recalls_number, "batches_seen": _recalls_count}
    _takes: ClassVar = MonitorCallback._takes | {"filepath": _is_path, "save_freq": _is_save_freq}

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath, self.save_freq = os.fspath(filepath), save_freq
        self.verbose, self.save_best_only = verbose, save_best_only
        self.save_weights_only = save_weights_only
        self.batches_seen, self.epoch = 0, 0
        self._check_ending()

    def _check_ending(self) -> None:
        kinds = (".weights.h5",) if self.save_weights_only else (".keras", ".npz")
        if not str(self.filepath).endswith(kinds):
            weights = self.save_weights_only
            raise ValueError(
                f"ModelCheckpoint: filepath={str(self.filepath)!r}, save_weights_only={weights}: "
                f"expected a name that ends in {' or '.join(kinds)}."
            )

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._check_ending()

    def idle(self, event: str) -> bool:
        """Whether it has nothing to do in that event, and need not be told batch by batch."""
        return event == "on_train_batch_end" and self.save_freq == "epoch"

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            return
        self.batches_seen += 1
        if self.batches_seen >= int(self.save_freq):
            self.batches_seen = 0
            self._save(self.epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: Logs) -> None:
        place = self._place(epoch, batch, logs)
        if self.save_best_only and not self._is_better(epoch, logs, place):
            return
        if self.verbose and not self.save_best_only:
            say(f"\nEpoch {epoch + 1}: saving model to {printable(place)}")
        if os.path.dirname(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(place)
        if self.verbose:
            say(f"\nEpoch {epoch + 1}: finished saving model to {printable(place)}")

    def _place(self, epoch: int, batch: int | None, logs: Logs) -> str:
        own = {} if batch is None or "batch" in logs else {"batch": batch + 1}
        try:
            return str(self.filepath).format(epoch=epoch + 1, **own, **logs)
        except KeyError as error:
            known = ", ".join(["epoch", *own, *logs])
            raise KeyError(
                f"ModelCheckpoint: filepath={str(self.filepath)!r}: {error} is not among {known}."
            ) from error

    def _is_better(self, epoch: int, logs: Logs, place: str) -> bool:
        """Whether to save; where nobody can tell, it is saved with a warning, as in Keras."""
        current = logs.get(self.monitor)
        if current is None or np.ndim(current) > 0:
            found = "not logged" if current is None else f"not one number: {current!r:.80}"
            warnings.warn(
                f"ModelCheckpoint: monitor={self.monitor!r} is {found}, so every model is saved.",
                stacklevel=4,
            )
            return True
        better, before = self.improves(current, self.best), self.best
        best = "None" if before is None else f"{before:.5f}"
        if better:
            self.best = current
        if self.verbose:
            told = f"improved from {best} to {current:.5f}, saving model to {printable(place)}"
            told = told if better else f"did not improve from {best}"
            say(f"\nEpoch {epoch + 1}: {self.monitor} {told}")
        return better


class BackupAndRestore(Callback):
    """Keep a checkpoint of the training in `backup_dir`, and go on from one that is there.

    Written at the end of each epoch, or each `save_freq` batches (False: only when Ctrl-C ends
    `fit`, which always writes one); deleted when training ends, unless `delete_checkpoint=False`.
    With `double_checkpoint` the one before is kept too, for the case that the last can't be read.

    Arguments and moments as in Keras, but it goes on further: a checkpoint, `latest.npz`, holds
    history, running metrics, what other callbacks remember, and the batch. So the same `fit`,
    called again, ends in the very bits that it would have ended in without the interruption. It
    needs the same model, data, batch size and callbacks. Callbacks of your own name the attributes
    that are to be kept in a tuple `remembered`.

    Raises:
        ValueError: for an empty `backup_dir`, or another `save_freq`.
        SavedStateError: from `fit`, for a checkpoint that can't be read, or of another training.

    >>> import tempfile
    >>> from scratchnet import Input, Sequential, layers
    >>> model = Sequential([Input((1,)), layers.Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep = BackupAndRestore(f"{folder}/backup", delete_checkpoint=False)
    ...     for epochs in (1, 3):  # the second call goes on after the first epoch
    ...         print(model.fit(np.ones((4, 1)), np.ones(4), epochs=epochs, verbose=0,
    ...                         callbacks=[keep]).epoch, os.listdir(f"{folder}/backup"))
    [0] ['latest.npz']
    [0, 1, 2] ['latest.npz']
    """

    _takes: ClassVar = {"backup_dir": _is_path, "save_freq": _is_save_freq}
    seen = 0

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):
        if not backup_dir:
            raise ValueError(
                "BackupAndRestore: backup_dir is empty: expected the name of a folder."
            )
        self.backup_dir, self.save_freq = os.fspath(backup_dir), save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint

    @property
    def file(self) -> Path:
        """The last checkpoint."""
        return Path(self.backup_dir) / "latest.npz"

    @property
    def each_epoch(self) -> bool:
        return self.save_freq == "epoch"

    def batches_left(self) -> int | None:
        """Until the next checkpoint; None where no number of batches asks for one."""
        if self.save_freq == "epoch" or self.save_freq is False:
            return None
        return max(1, int(self.save_freq) - self.seen)

    def is_due(self, count: int) -> bool:
        """Whether a checkpoint is due now that `count` more batches were taken."""
        left = self.batches_left()
        due = left is not None and count >= left
        self.seen = 0 if due else self.seen + count
        return due

    def load(self) -> State | None:
        """The last checkpoint, or the one before if that can't be read; None if there is none.

        Raises:
            SavedStateError: where none of those that are there can be read.
        """
        if not self.file.exists():
            return None
        try:
            return saving.load(self.file)
        except SavedStateError as error:
            found = error
        if self._before().exists():
            with suppress(SavedStateError):
                return saving.load(self._before())
        raise self.error(found.finding) from found

    def save(self, state: State) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if self.double_checkpoint and self.file.exists():
            os.replace(self.file, self._before())
        saving.save(self.file, state)

    def error(self, finding: str) -> SavedStateError:
        """A checkpoint that can't be gone on from."""
        remedy = "Call fit as it was called then, or delete the file to begin anew."
        return SavedStateError(self.file, finding, remedy)

    def _before(self) -> Path:
        return self.file.with_name(f"{self.file.name}.bkp")

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.delete_checkpoint:
            for path in (self.file, self._before()):
                path.unlink(missing_ok=True)
            with suppress(OSError):  # somebody else's files are in there
                self.file.parent.rmdir()


class Progress:
    """What `verbose` shows: a bar (1) that becomes a line, a line an epoch (2), or nothing (0).

    The bar is rich's and needs a terminal; elsewhere 1 writes the same plain lines as 2.
    """

    def __init__(self, verbose: int | str, epochs: int, steps: int | None):
        check_option("verbose", verbose, (0, 1, 2, "auto"))
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.epochs, self.steps, self.done = epochs, steps, 0
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
        self.done = done
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
            steps = self.steps or max(self.done, 1)
            spent = f"{steps}/{steps} - {seconds:.2f}s - {1e3 * seconds / steps:.3g}ms/step"
            say(f"{spent} - {self.numbers(logs)}")

    @staticmethod
    def numbers(logs: Logs) -> str:
        return " - ".join(f"{name}: {value:.4f}" for name, value in logs.items())
