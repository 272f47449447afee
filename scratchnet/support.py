"""Small tools that are nobody's public name: generators, names, threads and signals.

Randomness is handed over as a `numpy.random.Generator`; the one process-wide generator exists only
so that `utils.set_random_seed` works as in Keras. It knows no layer, no loss and no model.
"""

from __future__ import annotations

import difflib
import re
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


def reseed(seed: int) -> None:
    """Begin the process-wide stream anew.

    >>> reseed(0)
    """
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


def one_hot(labels: Array, classes: int, dtype: np.dtype[Any]) -> Array:
    """(...,) integers in [0, classes) -> (..., classes), 1 at the label and 0 elsewhere.

    >>> one_hot(np.array([1]), 3, np.dtype("float64")).tolist()
    [[0.0, 1.0, 0.0]]
    """
    return (labels[..., None] == np.arange(classes)).astype(dtype)


def same_rank(a: Array, b: Array) -> tuple[Array, Array]:
    """Two arrays brought to as many axes by a last axis of 1, where one has one axis more: a vector
    gets it, anything else loses it.  Source: Keras, losses/loss.py, squeeze_or_expand_to_same_rank.

    >>> a, b = same_rank(np.ones(3), np.ones((3, 1)))
    >>> a.shape, b.shape
    ((3, 1), (3, 1))
    """
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b[:, None]) if b.ndim == 1 else (a[..., 0], b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a[:, None], b) if a.ndim == 1 else (a, b[..., 0])
    return a, b


def through_float32(value: float) -> float:
    """The float32 nearest to a Python float: what `tf.cast(value, "float64")` makes of it.

    >>> through_float32(0.9)
    0.8999999761581421
    """
    return float(np.float32(value))


def snake_case(name: str) -> str:
    """The name that Keras gives to what is called so.  Source: Keras, utils/naming.py.

    >>> snake_case("MeanSquaredError"), snake_case("<lambda>")
    ('mean_squared_error', 'lambda')
    """
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def unwarned() -> np.errstate:
    """Without NumPy's warnings: what overflows or is 0 / 0 ends in a loss that `fit` checks.

    Whoever asked for more than a warning, by `np.seterr(all="raise")` say, still gets it.

    >>> with unwarned():
    ...     (np.array([0.0]) / 0).tolist()
    [nan]
    """
    warned: Any = {kind: "ignore" for kind, how in np.geterr().items() if how == "warn"}
    return np.errstate(**warned)


def check_choice(what: str, name: Any, names: Iterable[str]) -> str:
    """`name` if it is one of `names`, else a ValueError that offers the closest of them.

    >>> check_choice("loss", "msee", ["mse"])
    Traceback (most recent call last):
    ValueError: loss='msee': expected one of 'mse'. Did you mean 'mse'?
    """
    known = list(names)
    if name in known:
        return str(name)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{what}={name!r}: expected one of {', '.join(map(repr, known))}.{hint}")


def resolve(what: str, identifier: Any, table: Mapping[str, Any]) -> str:
    """The name in `table` that is meant: by that name, or by the class or function it stands for.

    >>> resolve("number type", int, {"int": int, "float": float})
    'int'
    """
    for name, value in table.items():
        if value is identifier:
            return name
    return check_choice(what, identifier, table)


def reject_unsupported(owner: str, **arguments: tuple[Any, Any]) -> None:
    """Refuse, by name, arguments of Keras's that are taken only at their defaults.

    >>> reject_unsupported("fit", steps_per_epoch=(10, None))
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
