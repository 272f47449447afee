"""Batches that come one by one: generators, `utils.PyDataset`, torch's loaders, `tf.data`.

What yields them says how many samples a batch has and in which order they come; each batch is
checked as an array would be, when it comes. A generator can be run through once: nothing here can
go back in it, so a fit from one can't be resumed from a checkpoint. What is read again, as a
`PyDataset` is, begins anew with each pass.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from scratchnet.checks import Examples, check_count, check_finite
from scratchnet.data_adapters import first_steps as first_rows
from scratchnet.data_adapters import portions as portions_of
from scratchnet.data_adapters import split_tail as tail_of
from scratchnet.data_adapters import unpack as unpacked
from scratchnet.engines import Array
from scratchnet.utils import PyDataset

RAN_OUT = (
    "Your input ran out of data after {batches} batches: {name}={steps} asked for more. The epoch "
    "ends with them."
)


def is_indexed(x: Any) -> bool:
    """Whether it gives batches by their number; Keras's own class is known by what it has."""
    wanted = ("__getitem__", "num_batches", "on_epoch_end")
    return isinstance(x, PyDataset) or all(hasattr(x, name) for name in wanted)


def yields_batches(x: Any) -> bool:
    """Whether it is no array of samples, and gives batches.

    >>> yields_batches(iter([])), yields_batches([[1.0]])
    (True, False)
    """
    loader = hasattr(x, "__iter__") and hasattr(x, "batch_sampler")
    return isinstance(x, Iterator) or is_indexed(x) or loader or hasattr(x, "element_spec")


def check_alone(x: Any, y: Any, sample_weight: Any, class_weight: Any) -> None:
    """Targets and weights come with the batches; and of a generator Keras takes no class_weight."""
    for name, given in (("y", y), ("sample_weight", sample_weight)):
        if given is not None:
            raise ValueError(
                f"{name} was given beside a {type(x).__name__} as x: expected it within the "
                "batches. Let it yield (x, y) or (x, y, sample_weight)."
            )
    if class_weight is not None and isinstance(x, Iterator):
        raise ValueError(
            f"class_weight={class_weight!r:.80} is not supported with a {type(x).__name__} as x. "
            "Let it yield (x, y, sample_weight)."
        )


class Stream:
    """The batches of one source, checked by `first` and, all but the first, by `later`.

    Attributes:
        batch: the first one; `x`, `y` and `weights` are its own.
        steps: how many batches a pass may have at most; None for all.
    """

    steps: int | None = None
    name = "steps"
    random: Any = None
    """A model whose generator shuffles the batches, or None."""

    def __init__(self, source: Any, first: Callable[..., Any], later: Callable[..., Any]):
        self.source, self.later = source, later
        self.once, self.indexed = isinstance(source, Iterator), is_indexed(source)
        self.running: Iterator[Any] | None = None
        self.number = 0
        self.ahead: list[Any] = []
        self.kept: list[Any] | None = None
        if not self.indexed:
            self.running = iter(source)
        try:
            item = source[0] if self.indexed else next(self.running)  # type: ignore[arg-type]
        except StopIteration:
            raise ValueError(
                f"x is a {type(source).__name__} that yields nothing: expected at least one batch."
            ) from None
        self.batch = self._read(item, first)
        if self.indexed:
            self.number = 0
        else:
            self.ahead.append(self.batch)

    @property
    def x(self) -> Array:
        return self.batch.x

    @property
    def y(self) -> Array:
        return self.batch.y

    @property
    def weights(self) -> Array | None:
        return self.batch.weights

    @property
    def count(self) -> int | None:
        """How many batches a pass has, where that is known."""
        return self.steps or self._length()

    def _length(self) -> int | None:
        if self.indexed:
            length = self.source.num_batches
            return None if length is None else int(length)
        try:
            return len(self.source)
        except TypeError:  # a generator, or a data set of tf.data without end
            return None

    def _read(self, item: Any, check: Callable[..., Any]) -> Any:
        self.number += 1
        parts = self._parts(item)
        try:
            return check(*parts)
        except (TypeError, ValueError) as error:
            kind = type(self.source).__name__
            told = f"batch {self.number - 1} of the {kind}: {error}"
            raise (TypeError if isinstance(error, TypeError) else ValueError)(told) from error

    def _parts(self, item: Any) -> tuple[Any, Any, Any]:
        """x, y and sample_weight of what was yielded, None for what is not there."""
        if not self.once:
            item = tuple(item) if isinstance(item, list | tuple) else (item,)
        if not isinstance(item, tuple) or not 1 <= len(item) <= 3:
            raise ValueError(
                f"batch {self.number - 1} of the {type(self.source).__name__} is {item!r:.80}, a "
                f"{type(item).__name__}: expected a tuple (x,), (x, y) or (x, y, sample_weight)."
            )
        x, y, weights = (*item, None, None)[:3]
        return x, y, weights

    def _items(self) -> Iterator[Any]:
        """A new pass through the source."""
        if not self.indexed:
            yield from self.source
            return
        length = self._length()
        order: Any = itertools.count() if length is None else range(length)
        if length is not None and self.random is not None:
            order = self.random.rng.permutation(length).tolist()
        for index in order:
            yield self.source[index]

    def begin(self) -> None:
        """A new pass, if the source can be read again."""
        if not self.ahead and not (self.once and self.running is not None):
            self.running, self.number = self._items(), 0

    def next(self) -> Any | None:
        """The next batch of this pass, or None after the last."""
        if self.ahead:
            return self.ahead.pop()
        if self.running is None:
            return None
        try:
            item = next(self.running)
        except StopIteration:
            self.running = None
            return None
        return self._read(item, self.later)

    def tell(self, event: str) -> None:
        """Let a `PyDataset` know that an epoch begins or ends."""
        if self.indexed:
            getattr(self.source, event, lambda: None)()

    def batches(self, size: int | None = None) -> Iterator[Any]:
        """One pass, of at most `steps` batches; those of a generator go on where it stands."""
        if self.kept is not None:
            yield from self.kept
            return
        if not self.once:
            self.ahead.clear()
            self.running = None
        self.tell("on_epoch_begin")
        self.begin()
        done = 0
        while self.steps is None or done < self.steps:
            batch = self.next()
            if batch is None:
                if self.steps is not None:
                    ran_out(done, self.name, self.steps)
                break
            done += 1
            yield batch
        self.tell("on_epoch_end")

    def keep(self) -> None:
        """Read a generator's pass now, to go through the same batches time and again."""
        if self.once:
            self.kept = list(self.batches())


def ran_out(batches: int, name: str, steps: int | float) -> None:
    warnings.warn(RAN_OUT.format(batches=batches, name=name, steps=steps), stacklevel=6)


# --- what `fit`, `evaluate` and `predict` ask of arrays and of these ------------------------------


def portions(
    data: Examples | Array | Stream, batch_size: Any, steps: Any, name: str = "steps_per_epoch"
) -> tuple[int, int | None]:
    """The size of a batch, and the number of batches or None where only the end will tell."""
    if not isinstance(data, Stream):
        samples = data if isinstance(data, np.ndarray) else data.x
        return portions_of(len(samples), batch_size, steps, name)
    if batch_size is not None and name != "validation_steps":  # there it may be that of x
        check_count("batch_size", batch_size)
        warnings.warn(
            f"batch_size={batch_size} is ignored: x is a {type(data.source).__name__}, which makes "
            "the batches.",
            stacklevel=4,
        )
    if steps is not None:
        check_count(name, steps)
    data.steps, data.name = steps, name
    return 0, data.count


def first_steps(
    data: Examples | Stream, batch_size: Any, steps: Any, name: str
) -> tuple[Any, int, int | None]:
    """What the first `steps` batches hold, the size of a batch and how many there are."""
    if isinstance(data, Stream):
        size, count = portions(data, batch_size, steps, name)
        return data, size, count
    rows, size = first_rows(data, batch_size, steps, name)
    return rows, size, portions_of(len(data.x), batch_size, steps, name)[1]


def unpack(validation_data: Any) -> tuple[Any, Any, Any]:
    """x, y and sample_weight of `validation_data`; a source of batches is x alone."""
    if yields_batches(validation_data):
        return validation_data, None, None
    return unpacked(validation_data)


def split_tail(data: Examples | Stream, fraction: float) -> tuple[Examples, Examples]:
    if isinstance(data, Stream):
        raise ValueError(
            f"validation_split={fraction!r} is only supported for arrays, and x is a "
            f"{type(data.source).__name__}. Pass validation_data."
        )
    return tail_of(data, fraction)


def keep(held_out: Examples | Stream | None) -> None:
    """Have the samples to validate on at hand for every epoch."""
    if isinstance(held_out, Stream):
        held_out.keep()


def parts(samples: Array | Stream, size: int, count: int | None) -> Iterator[Array]:
    """The samples batch by batch, `count` batches at most."""
    if isinstance(samples, Stream):
        return samples.batches()
    check_finite("x", samples)
    starts = range(0, min(len(samples), (count or 0) * size), size)
    return (samples[start : start + size] for start in starts)
