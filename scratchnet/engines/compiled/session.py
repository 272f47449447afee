"""Sessions: whole epochs in one compiled call, and predictions in a few, for any plan.

A `Session` owns a private copy of parameters and moments, padded and aligned as `layout.py` says,
trains it a range of batches at a time without Python's lock, and writes it back on `pull()`. It
refuses what it cannot do exactly, by a ValueError, before anything is touched. Models, layers and
callbacks are none of its business. Read `records.py` next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from numba import config
from numba.core import event

import scratchnet.engines.compiled.cache as cache
import scratchnet.engines.compiled.records as r
import scratchnet.engines.compiled.sparse as sparse
import scratchnet.engines.compiled.step as step
from scratchnet.engines.compiled.cache import CompileNotice
from scratchnet.engines.compiled.elementwise import ACTIVATIONS, LOSSES
from scratchnet.engines.compiled.layout import Layout, check, round_up
from scratchnet.engines.compiled.records import BatchRun, DenseSamples, Net, SparseSamples, Targets
from scratchnet.engines.compiled.threads import (
    ABORT,
    CACHE_LINE,
    COUNTERS,
    DECISION,
    GO_ON_SOLO,
)
from scratchnet.engines.contract import Array, Plan
from scratchnet.engines.memory import aligned_zeros
from scratchnet.engines.reference import TINY

__all__ = ["ACTIVATIONS", "LOSSES", "check"]

SPARSE_BELOW_DENSITY = 0.5
"""Share of inputs that are not 0 from which on the dense kernel is the faster one."""
SECONDS_PER_CALL = 0.06
"""Between two moments at which Python may act (Ctrl-C, progress)."""
PREDICT_BATCH, PREDICT_NUMBERS = 64, 2**20
"""Samples in a batch of a prediction, and about how many numbers of X a call reads: so many that
their rows without zeros stay in the cache."""

_train_batches = cache.compiled(step.train_batches)
_predict_batches = cache.compiled(step.predict_batches)
_count_nonzero = cache.compiled(sparse.count_nonzero)
_compress_samples = cache.compiled(sparse.compress_samples)


def cache_folder() -> str | None:
    """Where Numba keeps what it compiled; None where it can't."""
    return cache.cache_folder(_train_batches)


def compiled_before() -> bool:
    """Whether there is kept code of this source."""
    return cache.compiled_before(_train_batches)


def cache_damage() -> dict[str, str]:
    """The damaged files of kept code, which will be compiled anew: path -> what is wrong."""
    return cache.damage(_train_batches, _predict_batches, _count_nonzero, _compress_samples)


class _View:
    """Another array's memory, not marked read-only: Numba would compile anew for that mark."""

    def __init__(self, array: Array) -> None:
        self.base = array
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def _plain(array: Any, dtype: Any) -> Array:
    """`array` in C order and native bytes as `dtype`, as Numba knows it; no copy if it is so."""
    result = np.ascontiguousarray(array, dtype)
    return result if result.flags.writeable or not result.size else np.asarray(_View(result))


def threads_allowed(asked: int | None = None) -> int:
    """Threads to use: what was asked for, or NUMBA_NUM_THREADS; never more than the process may.

    Raises:
        ValueError: for fewer than one.
    """
    if asked is not None and asked < 1:
        raise ValueError(f"threads={asked}: expected 1 or more, or None for all.")
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such limit
        pass
    return max(1, min(asked or config.NUMBA_NUM_THREADS, cores, r.CHUNKS))


# --- data -----------------------------------------------------------------------------------------


def _data(plan: Plan, X: Any, T: Any, weights: Any) -> tuple[DenseSamples, Targets, int]:
    """Inputs (N, I) of any kind, labels (N,) or targets (N, K) or None, weights (N,) or None.

    Raises:
        ValueError: when shapes do not go together, or a label is none of the K classes.
    """
    dtype, inputs = np.dtype(plan.dtype), plan.layers[0].inputs
    K = plan.layers[-1].outputs
    X = np.asarray(X)
    if X.ndim != 2 or X.shape[1] != inputs:
        raise ValueError(f"X has shape {X.shape}: expected (N, {inputs}); flatten each sample.")
    if X.dtype not in (np.uint8, np.float32, np.float64):
        X = X.astype(dtype)
    labels, targets = np.zeros(0, np.int64), np.zeros((0, 0), dtype)
    if T is not None and np.ndim(T) == 1:
        labels = _plain(T, np.int64)
        if labels.size and not 0 <= labels.min() <= labels.max() < K:
            raise ValueError(
                f"labels from {labels.min()} to {labels.max()}: expected 0 to {K - 1}, "
                f"for a model with {K} outputs."
            )
    elif T is not None:
        targets = _plain(T, dtype)
    for name, given in (("T", T), ("weights", weights)):
        if given is not None and len(given) != len(X):
            raise ValueError(f"{name} has {len(given)} rows and X {len(X)}: expected as many.")
    if targets.size and targets.shape[1] != K:
        raise ValueError(f"T has shape {targets.shape}: expected ({len(X)}, {K}).")

    flat = _plain(X, X.dtype).ravel()
    dense = DenseSamples(flat, float(plan.scale), float(plan.offset))
    weights = np.zeros(0, dtype) if weights is None else _plain(weights, dtype)
    return dense, Targets(labels, targets, weights), len(X)


def _allocate_sparse(
    given: np.dtype[Any], plan: Plan, N: int, blocks: int, entries: int
) -> SparseSamples:
    """Memory for N samples of the given dtype without their zeros."""
    codes = given == np.uint8
    table = (np.arange(256) if codes else np.ones(1)).astype(plan.dtype)
    table *= plan.dtype.type(plan.scale)
    table[0] = 1
    dtype = np.uint8 if codes else plan.dtype
    return SparseSamples(
        indptr=np.empty((N, blocks + 1), np.uint32),
        indices=np.empty(
            entries + r.ROW_MULTIPLE, np.uint8
        ),  # the last register may be written whole
        data=np.empty(entries + r.ROW_MULTIPLE, dtype),
        table=table,
        scale_and_one=np.array([1, 0] if codes else [plan.scale, 1], dtype),
    )


def _compressed(
    layout: Layout, net: Net, dense: DenseSamples, N: int, nonzero: Array
) -> SparseSamples:
    """The same samples without zeros; says in `nonzero` which inputs have an entry at all."""
    inputs, _, bias = (int(n) for n in layout.layers[0, :3])
    nonzero[:] = False
    nonzero[inputs : inputs + bias] = True
    entries = _count_nonzero(dense.data, N, inputs, nonzero) + N * bias
    samples = _allocate_sparse(dense.data.dtype, layout.plan, N, len(layout.blocks), entries)
    _compress_samples(net, dense, samples)
    return samples


def density(X: Array) -> float:
    """Share of the numbers of X, flat, that are not 0, from some 20 parts of 4,096."""
    starts = range(0, X.size, max(4096, X.size // 20))
    parts = [X[at : at + 4096] for at in starts] or [X]
    return sum(np.count_nonzero(part) for part in parts) / max(1, sum(part.size for part in parts))


def _may_compress(plan: Plan, theta: Array, X: Array) -> bool:
    """Whether leaving zeros out pays, changes nothing (0 times an infinite weight is NaN), and the
    entries can be numbered by `indptr`."""
    pays = plan.offset == 0 and density(X) < SPARSE_BELOW_DENSITY and X.size < 2**31
    return bool(pays and np.isfinite(theta).all())


# --- training -------------------------------------------------------------------------------------


class Switches(NamedTuple):
    """What makes it fast, each to be switched off to measure what it bought; bits stay the same,
    except that `flush` keeps moments that are taken as 0 otherwise."""

    flush: bool = True
    """First moments below 1e-30, and second ones that epsilon hides, are 0: no denormal numbers."""
    zeros: bool = True
    """Inputs that are 0 cost nothing."""
    aligned: bool = True
    """Parameters and moments at multiples of 64 bytes."""
    one_call: bool = True
    """Many batches in a call; else Python is back after each."""


class Epoch(NamedTuple):
    """What a range of batches gave."""

    losses: Array
    """float64, one per batch: sum(w l) / B, or the sum where `mean` is False."""
    right: Array
    """int64, one per batch: samples whose largest output is at their target's place."""
    done: int
    """The end of the batches that were trained; less than asked for after `bad`."""
    bad: int | None
    """The first batch whose loss, or weights after its update, were not finite."""
    what: str
    """`"loss"` or `"weights"` for `bad`, else empty."""


class Session:
    """A plan in training; see `open`. Not for use from two threads at once."""

    def __init__(
        self,
        plan: Plan,
        theta: Array,
        slots: Mapping[str, Array],
        X: Any,
        T: Any,
        weights: Any = None,
        batch_size: int = 32,
        threads: int | None = None,
        mean: bool = True,
        switches: Switches | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected 1 or more.")
        self.switches = switches or Switches()
        self._dense, self.targets, self.samples = _data(plan, X, T, weights)
        self.batch_size, self.mean, self.theta = int(batch_size), mean, theta
        self.threads = threads_allowed(threads)
        self.density = density(self._dense.data)
        self.compressed = self.switches.zeros and _may_compress(plan, theta, self._dense.data)
        self.layout = self._layout(plan)
        for name in self.layout.slots:
            if name not in slots:
                raise ValueError(f"slots has {sorted(slots)}: {plan.optimizer} needs {name!r}.")
        self.slots = {name: slots[name] for name in self.layout.slots}
        for name, array in (("theta", theta), *self.slots.items()):
            if array.shape != (self.layout.size,) or array.dtype != self.layout.dtype:
                raise ValueError(
                    f"{name} is {array.dtype} {array.shape}: expected {self.layout.dtype} "
                    f"({self.layout.size},) for these layers."
                )
        self._allocate()
        self._progress = np.zeros(1, np.int64)
        self._lag, self._solo, self._batches_per_call = 0, 0, 1
        self.push()

    def _layout(self, plan: Plan) -> Layout:
        batch = min(self.batch_size, max(1, self.samples))
        return Layout(plan, batch, self.threads, self.compressed)

    def _allocate(self) -> None:
        """The private memory, and the samples in the form that the layout is for."""
        self.net = self.layout.net(TINY if self.switches.flush else 0.0, self.switches.aligned)
        self._nonzero = np.ones(self.layout.layers[0, r.ROWS], np.bool_)
        self.data: DenseSamples | SparseSamples = self._dense
        if self.compressed:
            self.data = _compressed(self.layout, self.net, self._dense, self.samples, self._nonzero)

    def _pairs(self) -> list[tuple[Array, Array]]:
        """The caller's matrices with the private ones."""
        arrays = [self.theta, *self.slots.values()]
        each = (self.layout.pairs(array, self.net.M, n) for n, array in enumerate(arrays))
        return [pair for pairs in each for pair in pairs]

    def push(self) -> None:
        """Takes the caller's theta and slots anew, as after a callback that changed them."""
        if self.compressed and not np.isfinite(self.theta).all():  # 0 times such a weight is NaN
            self.compressed = False
            self.layout = self._layout(self.layout.plan)
            self._allocate()
        for model, private in self._pairs():
            private[:] = model
        # An input that is always 0, without moments, has a step of exactly 0 (unless 0 / 0).
        first = self.layout.plan.layers[0]
        active = self._nonzero | (self.net.constants[2] == 0)
        for moment in self.slots.values():
            rows = moment[: first.inputs * first.outputs].reshape(first.inputs, first.outputs)
            active[: first.inputs] |= rows.any(axis=1)
        self.net.active[:] = active.reshape(-1, 4).any(axis=1)

    def pull(self) -> None:
        """Writes theta and slots back, in place."""
        for model, private in self._pairs():
            model[:] = private

    @property
    def done(self) -> int:
        """The end of the batches that the private arrays have seen; true at any moment."""
        return int(self._progress[0])

    @property
    def extra_bytes(self) -> int:
        """Bytes of compressed samples, which count as data."""
        if not isinstance(self.data, SparseSamples):
            return 0
        return sum(array.nbytes for array in self.data)

    def epoch(self, order: Array, rates: Array, start: int = 0, stop: int | None = None) -> Epoch:
        """Trains batches `start` to `stop` of the samples in `order`; rates[k] is batch k's alpha
        (adam) or learning rate (sgd).

        Between calls of SECONDS_PER_CALL Python runs: a KeyboardInterrupt leaves the session as it
        was after a whole number of batches, `self.done`, and `pull()` gives it.

        Raises:
            ValueError: for an order that names other samples, or too few rates.
        """
        order, rates = _plain(order, np.int64), _plain(rates, np.float64)
        batches = -(-order.size // self.batch_size)
        stop = batches if stop is None else min(stop, batches)
        if order.size and not 0 <= order.min() <= order.max() < self.samples:
            raise ValueError(
                f"order names samples {order.min()} to {order.max()}: there are {self.samples}."
            )
        if min(order.size, self.batch_size) > self.layout.batch_size:
            raise ValueError(
                f"an order of {order.size} in batches of {self.batch_size}, with {self.samples} "
                "samples: expected no batch larger than the samples; repeat the samples instead."
            )
        if len(rates) < stop:
            raise ValueError(f"{len(rates)} rates: expected one for each of {stop} batches.")
        losses, right = np.zeros(batches), np.zeros(batches, np.int64)
        run = BatchRun(
            order,
            rates,
            self.batch_size,
            self.mean,
            losses,
            right,
            self._progress,
        )
        at, bad = start, -1
        self._progress[0] = start
        while at < stop and bad < 0:
            end = min(stop, at + self._batches_per_call)
            clock = time.perf_counter()
            bad = self._call(run, at, end)
            each = (time.perf_counter() - clock) / (end - at)
            most = max(1, int(SECONDS_PER_CALL / each)) if self.switches.one_call else 1
            self._batches_per_call = min(8 * self._batches_per_call, most)
            at = end
        part = slice(start, stop)
        if bad < 0:
            return Epoch(losses[part], right[part], at, None, "")
        what = "weights" if np.isfinite(losses[bad]) else "loss"
        return Epoch(losses[part], right[part], bad + 1, bad, what)

    def _call(self, run: BatchRun, first: int, last: int) -> int:
        """One call of the compiled loop by each thread."""
        count = 1 if self._solo > 0 else self.threads
        self._solo -= 1
        control = aligned_zeros((COUNTERS + count) * CACHE_LINE, np.dtype(np.int64))

        def train(thread: int) -> int:
            with event.install_listener("numba:compile", CompileNotice()):
                whole = self.net, self.data, self.targets, run
                bad: int = _train_batches(*whole, control, first, last, thread, count)
            return bad

        def work(thread: int) -> None:
            try:
                train(thread)
            except BaseException as error:
                failed.append(error)
                control[ABORT * CACHE_LINE] = 1

        failed: list[BaseException] = []

        if count == 1:
            return train(0)
        others = [
            Thread(target=work, args=(n,), name=f"scratchnet-{n}", daemon=True)
            for n in range(1, count)
        ]
        try:
            for other in others:
                other.start()
            bad = train(0)
        finally:
            # Whatever happened to this thread, the others must not wait for it.
            control[ABORT * CACHE_LINE] = 1
            for other in others:
                if other.ident is not None:
                    other.join()
        if failed:
            raise RuntimeError(
                f"a training thread failed: {failed[0]!r}; the session's weights are not to be "
                "used, fit again (threads=1 needs no other threads)."
            )
        lagged = control[DECISION * CACHE_LINE] == GO_ON_SOLO
        self._lag = min(self._lag + 1, 4) if lagged else 0
        self._solo = 2**self._lag if lagged else 0
        return bad

    def close(self) -> None:
        """Lets go of the private arrays."""
        del self.net, self.data, self.targets, self._dense


def open(*args: Any, **kwargs: Any) -> Session:
    """A `Session`; the arguments are those of its constructor."""
    return Session(*args, **kwargs)


# --- prediction -----------------------------------------------------------------------------------


def _predict(
    plan: Plan, theta: Array, X: Any, T: Any, weights: Any, threads: int | None, outputs_too: bool
) -> tuple[Array, Array, Array]:
    """Outputs (if `outputs_too`), and each batch's loss and right answers (if T is given)."""
    (dense, targets, N), K = _data(plan, X, T, weights), plan.layers[-1].outputs
    inputs, compressed = plan.layers[0].inputs, _may_compress(plan, theta, dense.data)
    layout, batches = Layout(plan, PREDICT_BATCH, 1, compressed), -(-N // PREDICT_BATCH)
    count = min(threads_allowed(threads), max(1, batches // 4))
    each, most = max(1, -(-N // count)), max(PREDICT_BATCH, PREDICT_NUMBERS // inputs)
    piece = round_up(-(-each // -(-each // most)), PREDICT_BATCH)  # of no batch are two threads
    outputs = np.empty((N, K) if outputs_too else (0, 0), layout.dtype)
    losses, right = np.zeros(batches), np.zeros(batches, np.int64)

    def work(thread: int) -> bool:
        """This thread's pieces; whether their inputs are finite."""
        net = layout.net()
        for model, private in layout.pairs(theta, net.M):
            private[:] = model
        height = min(piece, N) if compressed else 0
        entries = height * int(layout.layers[0, r.ROWS])
        memory = _allocate_sparse(dense.data.dtype, plan, height, len(layout.blocks), entries)
        for at in range(thread * piece, N, count * piece):
            n = min(piece, N - at)
            here = slice(at, at + n)
            here_batches = slice(at // PREDICT_BATCH, -(-(at + n) // PREDICT_BATCH))
            part = dense._replace(data=dense.data[at * inputs : (at + n) * inputs])
            given = Targets(*(array[here] for array in targets))
            found = losses[here_batches], right[here_batches]
            run = BatchRun(np.arange(n), np.zeros(0), PREDICT_BATCH, False, *found, right)
            samples: DenseSamples | SparseSamples = part
            if compressed:
                samples = memory._replace(indptr=memory.indptr[:n])
                _compress_samples(net, part, samples)
            bad = _predict_batches(net, samples, given, run, outputs[here]) != 0
            if bad and not _finite(part, layout):
                return False
        return True

    with (
        event.install_listener("numba:compile", CompileNotice()),
        ThreadPoolExecutor(count, "scratchnet") as pool,
    ):
        others = [pool.submit(work, thread) for thread in range(1, count)]
        finite = [work(0), *(other.result() for other in others)]
    if not all(finite):
        raise FloatingPointError(f"X holds numbers that are not finite {layout.dtype} numbers.")
    return outputs, losses, right


def _finite(dense: DenseSamples, layout: Layout) -> bool:
    """Whether samples are finite numbers of the plan's dtype."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(dense.data.astype(layout.dtype)).all())


def predict(plan: Plan, theta: Array, X: Any, threads: int | None = None) -> Array:
    """X (N, I), uint8 or floating -> outputs of the head (N, K).

    Raises:
        FloatingPointError: for an X that is not finite. The first layer's sums tell; X itself is
            read again only where one of them is not finite.
    """
    return _predict(plan, theta, X, None, None, threads, True)[0]


def evaluate(
    plan: Plan, theta: Array, X: Any, T: Any, weights: Any = None, threads: int | None = None
) -> tuple[float, int]:
    """Sum of the (weighted) losses of all samples, and the number of right answers.

    Raises:
        FloatingPointError: as `predict`.
    """
    _, losses, right = _predict(plan, theta, X, T, weights, threads, False)
    return float(losses.sum()), int(right.sum())
