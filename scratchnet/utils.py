"""Small tools with no home in one room: seeds, one-hot labels, near misses of a name, BLAS threads.

Randomness is handed over as a `numpy.random.Generator`; the one process-wide generator exists only
so that `set_random_seed` works as in Keras.
"""

from __future__ import annotations

import difflib
import random
import signal
import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from scratchnet.engines import Array

_default = {"rng": np.random.default_rng()}


def set_random_seed(seed: int) -> None:
    """Seed everything that is drawn from here on without a seed of its own.

    As in Keras that includes `random` and `numpy.random`, which a script may shuffle with.

    >>> set_random_seed(0)
    """
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r}: expected an integer in [0, 2**32).")
    random.seed(int(seed))
    np.random.seed(seed)
    _default["rng"] = np.random.default_rng(seed)


def generator(seed: int | np.random.Generator | None = None) -> np.random.Generator:
    """A Generator from a seed, the given one, or one spawned from the process-wide stream.

    >>> generator(0).integers(10) == generator(0).integers(10)
    np.True_
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is None:
        return np.random.default_rng(_default["rng"].integers(2**63))
    return np.random.default_rng(seed)


def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """One-hot rows of integer labels: (...,) or (..., 1) -> (..., K), float32 as in Keras.

    Raises:
        ValueError: for labels that are not integers in [0, num_classes).

    >>> to_categorical([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    given = np.asarray(x)
    labels = given.astype(np.int64)
    if labels.size == 0 or not np.array_equal(labels, given) or labels.min() < 0:
        raise ValueError(f"to_categorical: expected integer labels >= 0; got {given!r:.80}.")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    largest = int(labels.max())
    classes = largest + 1 if num_classes is None else num_classes
    if largest >= classes:
        raise ValueError(f"to_categorical: label {largest} needs num_classes > {largest}.")
    return one_hot(labels, classes, np.dtype(np.float32))


def normalize(x: Any, axis: int = -1, order: float = 2) -> Array:
    """x over its norm along `axis`; what has norm 0 stays 0.  Source: Keras, numerical_utils.py.

    >>> normalize([[3.0, 4.0]]).tolist()
    [[0.6, 0.8]]
    """
    array = np.asarray(x)
    norm = np.atleast_1d(np.linalg.norm(array, order, axis))
    norm[norm == 0] = 1
    return array / np.expand_dims(norm, axis)


def one_hot(labels: Array, classes: int, dtype: np.dtype[Any]) -> Array:
    """(...,) integers in [0, classes) -> (..., classes), 1 at the label and 0 elsewhere.

    >>> one_hot(np.array([1]), 3, np.dtype("float64")).tolist()
    [[0.0, 1.0, 0.0]]
    """
    return (labels[..., None] == np.arange(classes)).astype(dtype)


def through_float32(value: float) -> float:
    """The float32 nearest to a Python float: what `tf.cast(value, "float64")` makes of it.

    >>> through_float32(0.9)
    0.8999999761581421
    """
    return float(np.float32(value))


def nearest(what: str, name: Any, names: Iterable[str]) -> str:
    """`name` if it is one of `names`, else a ValueError that offers the closest of them.

    >>> nearest("loss", "msee", ["mse"])
    Traceback (most recent call last):
    ValueError: loss='msee': expected one of 'mse'. Did you mean 'mse'?
    """
    known = list(names)
    if name in known:
        return str(name)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{what}={name!r}: expected one of {', '.join(map(repr, known))}.{hint}")


def meant(what: str, identifier: Any, table: Mapping[str, Any]) -> str:
    """The name in `table` that is meant: by that name, or by the class or function it stands for.

    >>> meant("number type", int, {"int": int, "float": float})
    'int'
    """
    for name, value in table.items():
        if value is identifier:
            return name
    return nearest(what, identifier, table)


def only_default(owner: str, **arguments: tuple[Any, Any]) -> None:
    """Refuse, by name, arguments of Keras's that are taken only at their defaults.

    >>> only_default("fit", steps_per_epoch=(10, None))
    Traceback (most recent call last):
    ValueError: fit: steps_per_epoch=10: only None is supported.
    """
    for name, (value, default) in arguments.items():
        if value != default:
            raise ValueError(f"{owner}: {name}={value!r}: only {default!r} is supported.")


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # looks through every loaded library, so only once


def single_threaded_blas() -> AbstractContextManager[Any]:
    """Hold BLAS to one thread: it splits sums by its threads, and so would the last bits.

    >>> with single_threaded_blas():
    ...     float(np.ones(3) @ np.ones(3))
    3.0
    """
    limiter: AbstractContextManager[Any] = _thread_pools().limit(limits=1, user_api="blas")
    return limiter


class Interruptible:
    """Ctrl-C put off until a step is whole: `poll()` raises it where the model is consistent.

    Only the main thread gets the signal, and only the default handler is stood in for.
    """

    asked = False

    def __enter__(self) -> Interruptible:
        self.ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self.ours:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, *_: Any) -> None:
        self.asked = True

    def poll(self) -> None:
        if self.asked:
            self.asked = False
            raise KeyboardInterrupt

    def __exit__(self, *_: Any) -> None:
        if self.ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.poll()


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """(size,) zeros that begin on a cache line (64 bytes).

    >>> aligned_zeros(3, np.dtype("float64")).ctypes.data % 64
    0
    """
    raw = np.zeros(size * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size * dtype.itemsize].view(dtype)
