"""Checkpoints of a fit: all that decides the rest of it, written now and then, and gone on from.

Weights, slots, step count and numbers of the optimizer, what learns, the generator, the keys of
layers that draw, the rows that the epoch has drawn, epoch and batch, running meters, history, and
what callbacks remember: who goes on from there ends in the same bits, on any number of threads. A
`Keeper` does this for one `fit` and the callbacks that ask for it (`callbacks.BackupAndRestore`),
which own the files.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import scratchnet.learning as learning
from scratchnet.callbacks import BackupAndRestore, CallbackList
from scratchnet.engines import Array
from scratchnet.fitting import Orders, Runner
from scratchnet.saving import State
from scratchnet.saving.objects import generator_from, generator_state
from scratchnet.streams import Stream
from scratchnet.untrusted import printable

FORMAT = "scratchnet training 1"
MOST = 2**53
"""More steps than any training takes, and the last whole number that float64 counts to."""
SAMPLED = 64
"""How many samples are looked at to tell the data from others."""


class Found(NamedTuple):
    """A checkpoint, read and checked, to be gone on from."""

    epoch: int
    batch: int
    begun: bool
    theta: Array
    trainable: list[bool]
    keys: list[int | None]
    numbers: dict[str, Any]
    iterations: int
    slot_layers: list[int]
    slots: dict[str, Array]
    rng: np.random.Generator
    place: dict[str, Any] | None
    rows: Array
    meters: list[list[Array]]
    history: dict[str, list[Any]]
    epochs: list[int]
    stop_training: bool
    callbacks: list[dict[str, Any]]


class Keeper:
    """The checkpoints of one fit.

    Attributes:
        first: the epoch to begin with.
        done: the batches of it that are done already.
    """

    def __init__(self, model: Any, runner: Runner, orders: Orders, events: CallbackList):
        self.model, self.runner, self.orders, self.events = model, runner, orders, events
        self.savers = [each for each in events.callbacks if isinstance(each, BackupAndRestore)]
        self.first = self.done = 0
        self.found: Found | None = None
        self.resumed = False
        self._fit = _fit_of(model, runner, orders) if self.savers else {}

    # --- going on ---------------------------------------------------------------------------------

    def begin(self, initial_epoch: int) -> None:
        """Look for a checkpoint; one of the end of an epoch counts at once.

        Raises:
            SavedStateError: for a damaged one, and for one of another fit.
        """
        self.first = initial_epoch
        for saver in self.savers:
            state = saver.load()
            if state is None:
                continue
            try:
                self.found = self._read(state)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                told = str(error) if isinstance(error, ValueError) else "it is damaged"
                raise saver.error(f"can't be gone on from: {told}") from error
            self.first, self.done = self.found.epoch, self.found.batch
            if not self.found.begun:
                self.resumed = True
                self.take()
            return

    def take(self) -> None:
        """Go on from what was found, if it is of mid-epoch once that epoch has begun anew: what
        callbacks did to the model then, they had done before.
        """
        if self.found is None:
            return
        found, self.found = self.found, None
        model, optimizer = self.model, self.model.optimizer
        model.theta[...] = found.theta
        for layer, learns, key in zip(model.layers, found.trainable, found.keys, strict=True):
            layer.trainable = learns
            if key is not None:
                layer.key = key
        for name, value in found.numbers.items():
            setattr(optimizer, name, value)
        optimizer.iterations = found.iterations
        learning.replace(model, found.slot_layers, found.slots)
        self.runner.reopen()
        self.orders.restore(found.place, found.rows)
        _set_generator(model, found.rng)
        history = self.events.history
        history.history, history.epoch = found.history, found.epochs
        model.stop_training = found.stop_training
        for callback, kept in zip(self._remembering(), found.callbacks, strict=True):
            for name, value in kept.items():
                setattr(callback, name, value)

    def resume(self) -> int:
        """Draw the rows of the epoch that has begun, and say how many of its batches are done."""
        done, self.done = self.done, 0
        meters = [] if self.found is None else self.found.meters
        self.take()
        self.runner.begin(next(self.orders), self.runner.meters)
        if done and meters:
            try:
                self._restore_meters(meters)
            except ValueError as error:
                raise self.savers[0].error("can't be gone on from: its metrics differ") from error
        return done

    def _restore_meters(self, values: list[list[Array]]) -> None:
        """The running numbers of the batches that are done, in meters that stand at 0."""
        meters = self.runner.meters
        if [len(own) for own in values] != [len(_variables(metric)) for metric in meters.all]:
            self.runner.show(0)  # some metrics make their variables when they first see a batch
            meters.reset()
        for metric, own in zip(meters.all, values, strict=True):
            for variable, value in zip(_variables(metric), own, strict=True):
                variable[...] = value

    def _read(self, state: State) -> Found:
        config, arrays = state
        if config["format"] != FORMAT:
            raise ValueError(f"its format is {config['format']!r:.40}, expected {FORMAT!r}")
        for name, value in self._fit.items():
            if config["fit"][name] != value:
                raise ValueError(
                    f"it was written with {name} {config['fit'][name]!r:.80}, and this fit has "
                    f"{value!r:.80}"
                )
        theta = arrays["theta"]
        if theta.shape != self.model.theta.shape or theta.dtype != self.model.theta.dtype:
            raise ValueError(f"its weights are {theta.dtype} {theta.shape}")
        kept = config["callbacks"]
        mine = [type(callback).__name__ for callback in self._remembering()]
        pairs = zip(self._remembering(), kept, strict=True)
        if [name for name, _ in kept] != mine:
            raise ValueError(
                f"it was written with the callbacks {', '.join(n for n, _ in kept) or 'none'}, and "
                f"this fit has {', '.join(mine) or 'none'}"
            )
        numbers = self._numbers(config["optimizer"])
        slots = self._slots(config, arrays, numbers)
        place, rows = config["rows"], np.arange(0)
        if place is not None:
            before = generator_from(place["before"]) if self.orders.shuffle else None
            rows = self.orders.again(place, before)
            _count(place["start"])
        meters = [
            [arrays[f"meters/{i}/{j}"] for j in range(count)]
            for i, count in enumerate(config["meters"])
        ]
        return Found(
            _count(config["epoch"]),
            _count(config["batch"]),
            bool(config["begun"]),
            theta,
            self._one_each("trainable", config["trainable"], bool),
            self._keys(config["keys"]),
            numbers,
            _count(config["iterations"]),
            [_count(i) for i in config["slot_layers"]],
            slots,
            generator_from(config["rng"]),
            place,
            rows,
            meters,
            _columns(decoded(config["history"], arrays)),
            [_count(epoch) for epoch in config["epochs"]],
            bool(config["stop_training"]),
            [self._remembered(callback, decoded(own, arrays)) for callback, (_, own) in pairs],
        )

    def _numbers(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """What a callback may have changed of the optimizer, and nothing else of it."""
        strange = [n for n, v in numbers.items() if type(v) not in (int, float, bool)]
        strange += numbers.keys() - self.model.optimizer.get_config().keys()
        if strange:
            raise ValueError(f"its optimizer has {printable(strange[0])!r:.40}")
        return numbers

    def _remembered(self, callback: Any, kept: Any) -> dict[str, Any]:
        """What a callback remembers, if it is what that callback can."""
        name = type(callback).__name__
        if not isinstance(kept, dict) or kept.keys() != {*callback.remembered}:
            raise ValueError(f"{name} remembers {', '.join(callback.remembered)}, and it differs")
        for attribute, value in kept.items():
            test = getattr(callback, "recalls", {}).get(attribute)
            if test is not None and not test(callback, value):
                raise ValueError(f"{name}: {attribute}={printable(value)!r:.40} can't be")
        return kept

    def _one_each(self, name: str, given: Any, kind: type) -> list[Any]:
        """A list with one thing of a kind for each layer."""
        if len(given) != len(self.model.layers) or any(type(one) is not kind for one in given):
            raise ValueError(f"{name}={printable(given)!r:.60}: expected one for each layer")
        return [*given]

    def _slots(
        self, config: dict[str, Any], arrays: dict[str, Array], numbers: dict[str, Any]
    ) -> dict[str, Array]:
        """The slots, if they are those of the optimizer with its numbers, for the layers named."""
        probe = copy.copy(self.model.optimizer)
        for name, value in numbers.items():
            setattr(probe, name, value)
        places, names = config["slot_layers"], config["slots"]
        size = sum(learning.moved(self.model.layers[i]) for i in places)
        slots = {name: arrays[f"slots/{i}"] for i, name in enumerate(names)}
        kinds = {(slot.shape, slot.dtype) for slot in slots.values()}
        fits = kinds <= {((size,), self.model.theta.dtype)} and len({*places}) == len(places)
        if not fits or tuple(names) not in ((), probe.slots_wanted()):
            raise ValueError("its slots don't fit its optimizer and layers")
        return slots

    def _keys(self, keys: Any) -> list[int | None]:
        """What layers that draw begin their generators from, for those that do."""
        fits = [
            (key is None) == (own is None) for key, own in zip(keys, _keys(self.model), strict=True)
        ]
        if not all(fits) or any(type(key) is not int for key in keys if key is not None):
            raise ValueError(f"keys={keys!r:.60} don't fit its layers")
        return [*keys]

    def until(self, epochs: int) -> int:
        """Where to end: at once if the training had been told to stop."""
        return self.first if self.resumed and self.model.stop_training else epochs

    # --- keeping ----------------------------------------------------------------------------------

    def most(self) -> int | None:
        """How many batches may be taken until a checkpoint is due; None for any number."""
        left = [saver.batches_left() for saver in self.savers]
        return min((count for count in left if count is not None), default=None)

    def passed(self, epoch: int, done: int, count: int) -> None:
        """`count` more batches were taken, and `done` of this epoch are done."""
        self._save(epoch, done, True, [saver for saver in self.savers if saver.is_due(count)])

    def epoch_over(self, epoch: int) -> None:
        """The epoch is over, with all that callbacks do then."""
        self._save(epoch + 1, 0, False, [saver for saver in self.savers if saver.each_epoch])

    def remedy(self) -> str:
        """Where there is a checkpoint to go back to, in a sentence."""
        files = [str(saver.file) for saver in self.savers if saver.file.exists()]
        return f" The last checkpoint is {printable(files[0])}." if files else ""

    def _save(self, epoch: int, done: int, begun: bool, savers: list[BackupAndRestore]) -> None:
        if savers:
            state = self._state(epoch, done, begun)
            for saver in savers:
                saver.save(state)

    @contextmanager
    def on_interrupt(self, epoch: int, done: int, copied: bool = False) -> Iterator[None]:
        """Where Ctrl-C ends the block, the state from before it is kept: a copy, if it may move."""
        state = None
        if copied and self.savers:
            state = self._state(epoch, done, True)
            state = State(state.config, {n: array.copy() for n, array in state.arrays.items()})
        try:
            yield
        except KeyboardInterrupt:
            for saver in self.savers:
                saver.save(state or self._state(epoch, done, True))
            raise

    def _state(self, epoch: int, done: int, begun: bool) -> State:
        """Its arrays are the model's own: to be written before anything moves."""
        model, optimizer = self.model, self.model.optimizer
        places, slots = learning.packed(model)
        arrays = {"theta": model.theta}
        arrays |= {f"slots/{i}": slot for i, slot in enumerate(slots.values())}
        callbacks = [
            [type(callback).__name__, {n: getattr(callback, n) for n in callback.remembered}]
            for callback in self._remembering()
        ]
        meters = [_variables(metric) for metric in self.runner.meters.all] if begun else []
        arrays |= {
            f"meters/{i}/{j}": np.array(variable, np.float64)
            for i, own in enumerate(meters)
            for j, variable in enumerate(own)
        }
        history = self.events.history
        config = {
            "format": FORMAT,
            "fit": self._fit,
            "epoch": epoch,
            "batch": done,
            "begun": begun,
            "trainable": [layer.trainable for layer in model.layers],
            "keys": _keys(model),
            "optimizer": _numbers(optimizer),
            "iterations": optimizer.iterations,
            "slots": list(slots),
            "slot_layers": places,
            "rng": generator_state(model.rng),
            "rows": self._place(begun),
            "meters": [len(own) for own in meters],
            "history": encoded(history.history, arrays, "history"),
            "epochs": list(history.epoch),
            "stop_training": bool(model.stop_training),
            "callbacks": encoded(callbacks, arrays, "callbacks"),
        }
        return State(config, arrays)

    def _place(self, begun: bool) -> dict[str, Any] | None:
        place = self.orders.place(begun)
        if place is None or place["before"] is None:
            return place
        rng = copy.copy(self.model.rng.bit_generator)
        rng.state = place["before"]
        return place | {"before": generator_state(np.random.Generator(rng))}

    def _remembering(self) -> list[Any]:
        return [each for each in self.events.callbacks if getattr(each, "remembered", ())]


def _fit_of(model: Any, runner: Runner, orders: Orders) -> dict[str, Any]:
    """What a fit is told by from others that it can't go on from.

    Raises:
        ValueError: for batches that come one by one: there is no going back to where they were.
    """
    if isinstance(runner.data, Stream):
        raise ValueError(
            f"BackupAndRestore: the batches come from a {type(runner.data.source).__name__}, which "
            "can't be put back to where it stood when a checkpoint was written, so that this fit "
            "can't be resumed. Train on arrays, or keep the "
            "weights alone, with ModelCheckpoint, and go on with initial_epoch."
        )
    x, y, weights = runner.data
    rows = np.linspace(0, max(len(x) - 1, 0), SAMPLED).astype(int)
    seen = [x[rows], y, *([] if weights is None else [weights])]
    return {
        "layers": [[type(layer).__name__, [*layer.output_shape]] for layer in model.layers],
        "dtype": model.theta.dtype.name,
        "loss": type(model.loss).__name__,
        "optimizer": type(model.optimizer).__name__,
        "samples": len(x),
        "batch_size": runner.size,
        "steps_per_epoch": orders.steps,
        "shuffle": orders.shuffle,
        "data": [zlib.crc32(np.ascontiguousarray(array).tobytes()) for array in seen],
    }


def _numbers(optimizer: Any) -> dict[str, Any]:
    return {name: v for name, v in optimizer.get_config().items() if type(v) in (int, float, bool)}


def _keys(model: Any) -> list[int | None]:
    return [getattr(layer, "key", None) for layer in model.layers]


def _variables(metric: Any) -> list[Any]:
    return list(getattr(metric, "variables", ()))


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MOST:
        raise ValueError(f"{value!r:.40} is no count")
    return value


def _columns(history: Any) -> dict[str, list[Any]]:
    if not isinstance(history, dict) or any(type(v) is not list for v in history.values()):
        raise ValueError("its history is no table of numbers")
    return history


def _set_generator(model: Any, rng: np.random.Generator) -> None:
    """Into the generator that the model shares with others, if it is of that kind."""
    if type(model.rng.bit_generator) is type(rng.bit_generator):
        model.rng.bit_generator.state = rng.bit_generator.state
    else:
        model.rng = rng


# --- values in JSON -------------------------------------------------------------------------------


def encoded(value: Any, arrays: dict[str, Array], place: str) -> Any:
    """A value of JSON's types, numbers that are not finite and arrays among them, as plain JSON;
    arrays go into `arrays` under names that begin with `place`.

    Raises:
        ValueError: for a value of another type.

    >>> encoded({"best": float("inf"), "wait": 2}, {}, "")
    {'best': {'float': 'inf'}, 'wait': 2}
    """
    if isinstance(value, np.bool | np.integer | np.floating):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {"array": place}
    if isinstance(value, list | tuple):
        return [encoded(item, arrays, f"{place}/{i}") for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {
            str(k): encoded(v, arrays, f"{place}/{i}") for i, (k, v) in enumerate(value.items())
        }
    raise ValueError(f"{place}: {value!r:.80}: a checkpoint holds numbers, text and arrays.")


def decoded(value: Any, arrays: dict[str, Array]) -> Any:
    """What `encoded` was given.

    >>> decoded({"best": {"float": "inf"}}, {})
    {'best': inf}
    """
    if isinstance(value, list):
        return [decoded(item, arrays) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"float"}:
            return float(value["float"])
        if value.keys() == {"array"}:
            return np.array(arrays[value["array"]])
        return {name: decoded(item, arrays) for name, item in value.items()}
    return value
