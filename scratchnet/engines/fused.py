"""Sessions: whole epochs and whole predictions as one compiled call, for any plan.

A `Session` owns a private copy of parameters and moments, padded and aligned as `kernels.py` wants
them, trains it batch range by batch range without Python's lock, and writes it back on `pull()`.
It refuses what it cannot do exactly, by a ValueError, before anything is touched. Models, layers
and callbacks are none of its business. Read `kernels.py` next.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit

from scratchnet.engines import Array, Plan
from scratchnet.engines import kernels as k
from scratchnet.engines.kernels import Data, Net
from scratchnet.engines.reference import TINY

ALIGNMENT = 64
BLOCK_ROWS = 200
"""Inputs of the first layer in a block, where they are compressed: long runs of entries."""
DENSE_ROWS = 100
"""The same where they are not: its weights stay in the first cache. No bit depends on either."""
SPARSE_BELOW = 0.5
"""Share of inputs that are not 0 from which the dense kernel is the faster one."""
PAUSE = 0.06
"""Seconds between two moments at which Python may act (Ctrl-C, progress)."""
LOOK = 64
"""Samples in a batch of a prediction."""

ACTIVATIONS = {
    "linear": k.LINEAR,
    "relu": k.RELU,
    "sigmoid": k.SIGMOID,
    "tanh": k.TANH,
    "softmax": k.SOFTMAX,
}
LOSSES = {
    "softmax_cross_entropy": k.SOFTMAX_CE,
    "normalized_cross_entropy": k.NORMALIZED_CE,
    "clipped_cross_entropy": k.CLIPPED_CE,
    "mean_squared_error": k.SQUARED_ERROR,
}

# --- compiling, once ------------------------------------------------------------------------------


def _cached(function: Callable[..., Any]) -> Any:
    """`function` compiled without Python's lock, kept on disk where there is a place for it."""
    try:
        return njit(nogil=True, _nrt=False, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder that can be written
        return njit(nogil=True, _nrt=False, error_model="numpy")(function)


def _digest() -> str:
    """A digest of the sources that are compiled."""
    here = Path(__file__).parent
    names = ("vector.py", "kernels.py", "fused.py")
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in names)).hexdigest()


def _entries(version: str) -> tuple[Any, Any, Any, Any]:
    """The compiled entry points: training, looking, compressing, one optimizer step.

    Numba finds a kept function by that function's own file and the values that it closes over, and
    would miss an edit in `kernels.py`: so each of them closes over a digest of all sources.
    """

    @_cached
    def train(
        net: Any, data: Any, job: Any, control: Any, first: int, last: int, thread: int, team: int
    ) -> Any:
        _ = version
        return k.train(net, data, job, control, first, last, thread, team)

    @_cached
    def look(
        net: Any, data: Any, job: Any, control: Any, first: int, last: int, outputs: Any
    ) -> Any:
        _ = version
        return k.look(net, data, job, control, first, last, outputs)

    @_cached
    def compress(
        X: Any,
        scale: Any,
        bias: int,
        blocks: Any,
        begin: Any,
        cuts: Any,
        index: Any,
        value: Any,
        live: Any,
    ) -> Any:
        _ = version
        return k.compress(X, scale, bias, blocks, begin, cuts, index, value, live)

    @_cached
    def optimize(net: Any, grad: Any, code: int, rate: float, constants: Any) -> Any:
        _ = version
        return k.optimize(net, grad, code, rate, constants)

    return train, look, compress, optimize


_train, _look, _compress, _optimize = _entries(_digest())

# --- memory ---------------------------------------------------------------------------------------


def _zeros(n: int, dtype: Any, shift: int = 0) -> Array:
    """n zeros whose address is a multiple of ALIGNMENT (plus `shift` bytes, to measure that)."""
    dtype = np.dtype(dtype)
    raw = np.zeros(n * dtype.itemsize + 2 * ALIGNMENT, np.uint8)
    first = -raw.ctypes.data % ALIGNMENT + shift
    return raw[first : first + n * dtype.itemsize].view(dtype)


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


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


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
    return max(1, min(asked or config.NUMBA_NUM_THREADS, cores, k.CHUNKS))


# --- the layout of a plan -------------------------------------------------------------------------


def check(plan: Plan) -> None:
    """Refuses a plan with something that is not in the tables above.

    Raises:
        ValueError: naming what is not known.
    """
    if np.dtype(plan.dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype={plan.dtype}: the compiled engine takes float32 or float64.")
    for spec in plan.layers:
        if spec.activation not in ACTIVATIONS:
            raise ValueError(f"activation={spec.activation!r}: expected one of {[*ACTIVATIONS]}.")
    if plan.loss not in LOSSES:
        raise ValueError(f"loss={plan.loss!r}: expected one of {[*LOSSES]}.")
    if plan.reads not in ("Z", "A"):
        raise ValueError(f"reads={plan.reads!r}: expected 'Z' or 'A'.")
    if plan.optimizer not in ("sgd", "adam"):
        raise ValueError(f"optimizer={plan.optimizer!r}: expected 'sgd' or 'adam'.")


def _optimizer(name: str, constants: Mapping[str, Any]) -> tuple[int, list[str], list[float]]:
    """The optimizer's code, the slots it needs in the order of Net's, and Net's constants."""
    names = ("one_minus_beta_1", "one_minus_beta_2", "epsilon", "momentum")
    numbers = [float(constants.get(name, 0) or 0) for name in names]
    if name == "adam":
        if constants.get("amsgrad"):
            return k.AMSGRAD, ["m", "v", "v_hat"], numbers
        return k.ADAM, ["m", "v"], numbers
    if not constants.get("momentum"):
        return k.SGD, [], numbers
    return (k.NESTEROV if constants.get("nesterov") else k.MOMENTUM), ["velocity"], numbers


def optimize(
    name: str,
    constants: Mapping[str, Any],
    theta: Array,
    grad: Array,
    slots: list[Array | None],
    rate: float,
) -> int:
    """One step of `sgd` or `adam` in place on the first n numbers; returns n, a few short of P."""
    code, names, numbers = _optimizer(name, constants)
    none = theta[:0]
    used = [s if s is not None and i < len(names) else none for i, s in enumerate(slots)]
    net = k.Vectors(theta, *used, *[none] * (3 - len(used)))
    done: int = _optimize(net, grad, code, float(rate), np.array([*numbers, TINY], theta.dtype))
    return done


class Layout:
    """Where everything of a plan stands in the private arrays; see `kernels.Net`."""

    def __init__(self, plan: Plan, batch: int, tallest: int = DENSE_ROWS) -> None:
        check(plan)
        self.plan, self.dtype = plan, np.dtype(plan.dtype)
        one = ALIGNMENT // self.dtype.itemsize
        self.size_of_batch = batch
        self.batch = _up(batch, k.GROUP * one)
        self.layers = np.zeros((len(plan.layers), 10), np.int64)
        panels: list[tuple[int, int, int]] = []
        self.parameters = self.nodes = self.sides = 0
        for row, (inputs, outputs, bias, activation) in zip(self.layers, plan.layers, strict=True):
            height, rows = _up(outputs + 1, 2 * one), _up(inputs + bias, k.TILE)
            row[:6] = inputs, outputs, bias, rows, ACTIVATIONS[activation], len(panels)
            column = 0
            while column < outputs:
                registers = 4 if outputs - column > 2 * one else 2
                panels.append((self.parameters, registers, column))
                self.parameters += rows * registers * one
                column += registers * one
            row[6:] = len(panels), self.nodes, height, self.sides
            self.nodes += self.batch * height
            self.sides += self.batch * column
        self.panels = np.array(panels, np.int64)
        units = int(self.layers[0, k.ROWS]) // 4
        cuts = [4 * -(-units * c // k.CHUNKS) for c in range(k.CHUNKS + 1)]
        blocks, self.chunks = [], np.zeros(k.CHUNKS + 1, np.int64)
        for c, (top, bottom) in enumerate(pairwise(cuts)):
            tall = _up(-(-(bottom - top) // max(1, -(-(bottom - top) // tallest))), 4)
            blocks += [(i, min(i + tall, bottom)) for i in range(top, bottom, max(tall, 4))]
            self.chunks[c + 1] = len(blocks)
        self.blocks = np.array(blocks, np.int64)

    def _places(self) -> list[tuple[slice, tuple[int, int], slice, slice]]:
        """For each panel: its part of the padded vector, its shape, used columns, layer's slice."""
        result, first = [], 0
        for layer in self.layers:
            inputs, outputs, bias, rows = (int(n) for n in layer[:4])
            size = (inputs + bias) * outputs
            for p in range(layer[k.FIRST_PANEL], layer[k.END_PANEL]):
                start, registers, column = (int(n) for n in self.panels[p])
                width = registers * ALIGNMENT // self.dtype.itemsize
                used = slice(column, min(column + width, outputs))
                whole = slice(start, start + rows * width)
                result.append((whole, (rows, width), used, slice(first, first + size)))
            first += size
        return result

    def pack(self, flat: Array, padded: Array) -> None:
        """From the model's flat vector to the padded one. W's rows then b is one matrix."""
        for whole, shape, used, part in self._places():
            outputs = self._outputs(part)
            matrix = flat[part].reshape(-1, outputs)
            target = padded[whole].reshape(shape)
            target[: len(matrix), : used.stop - used.start] = matrix[:, used]

    def unpack(self, padded: Array, flat: Array) -> None:
        """The inverse of `pack`, in place."""
        for whole, shape, used, part in self._places():
            matrix = flat[part].reshape(-1, self._outputs(part))
            source = padded[whole].reshape(shape)
            matrix[:, used] = source[: len(matrix), : used.stop - used.start]

    def _outputs(self, part: slice) -> int:
        first = 0
        for inputs, outputs, bias, _ in self.plan.layers:
            if first == part.start:
                return outputs
            first += (inputs + bias) * outputs
        raise AssertionError(part)

    @property
    def size(self) -> int:
        """P: length of the model's flat vector."""
        return sum((i + bias) * o for i, o, bias, _ in self.plan.layers)

    def net(self, threads: int, compressed: bool, slots: int, tiny: float, shift: int) -> Net:
        """Fresh arrays, all zero, and the tables."""
        code, _, numbers = _optimizer(self.plan.optimizer, self.plan.constants)
        first, last = self.layers[0], self.layers[-1]
        work = 6 * self.size * self.batch
        shared = int(work > 6e6 and len(self.layers) > 1 and work > 12 * self.batch * 45e3)
        codes = [LOSSES[self.plan.loss], self.plan.reads == "A", code, self.batch]
        slack = 4 * ALIGNMENT * k.TILE
        wide = ALIGNMENT * 4 // self.dtype.itemsize

        def fresh(n: int) -> Array:
            return _zeros(int(n), self.dtype)

        def parameters(wanted: bool) -> Array:
            return _zeros(self.parameters + slack if wanted else 0, self.dtype, shift)

        scratch = fresh(threads * ((BLOCK_ROWS + 8) * wide + 128)).reshape(threads, -1)
        inputs = fresh(0 if compressed else 2 * self.batch * first[k.ROWS]).reshape(2, -1)
        if first[k.BIAS] and not compressed:
            inputs[:, first[k.INPUTS] :: first[k.ROWS]] = 1
        return Net(
            layers=self.layers,
            panels=self.panels,
            blocks=self.blocks,
            chunks=self.chunks,
            codes=np.array([*codes, shared, self.size_of_batch], np.int64),
            constants=np.array([*numbers, tiny], self.dtype),
            theta=parameters(True),
            slot_1=parameters(slots > 0),
            slot_2=parameters(slots > 1),
            slot_3=parameters(slots > 2),
            z=fresh(self.nodes),
            dz=fresh(self.nodes),
            rows=fresh(self.sides),
            parts=fresh(k.CHUNKS * first[k.HEIGHT] * self.batch),
            head=fresh(last[k.HEIGHT] * self.batch),
            targets=fresh(last[k.HEIGHT] * self.batch),
            scores=fresh(3 * self.batch).reshape(3, -1),
            live=np.ones(int(first[k.ROWS]), np.bool_),
            scratch=scratch,
            inputs=inputs,
        )


# --- data -----------------------------------------------------------------------------------------


def _data(plan: Plan, X: Any, T: Any, weights: Any) -> Data:
    """Inputs (N, I) of any kind, labels (N,) or targets (N, K) or None, weights (N,) or None.

    Raises:
        ValueError: when shapes do not go together, or a label is none of the K classes.
    """
    dtype, inputs = np.dtype(plan.dtype), plan.layers[0].inputs
    K = plan.layers[-1].outputs
    X = np.asarray(X)
    if X.ndim != 2 or X.shape[1] != inputs:
        raise ValueError(f"X has shape {X.shape}: expected (N, {inputs}); flatten each sample.")
    kinds = {np.dtype(np.uint8): k.BYTE_INPUT, np.dtype(np.float64): k.DOUBLE_INPUT}
    kind = kinds.get(X.dtype, k.FLOAT_INPUT if X.dtype == np.float32 else -1)
    if kind < 0:
        X, kind = X.astype(dtype), kinds.get(dtype, k.FLOAT_INPUT)
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

    def if_kind(wanted: int, kind_dtype: Any) -> Array:
        return _plain(X, kind_dtype) if kind == wanted else np.zeros((0, 0), kind_dtype)

    return Data(
        kind=kind,
        floats=if_kind(k.FLOAT_INPUT, np.float32),
        doubles=if_kind(k.DOUBLE_INPUT, np.float64),
        bytes=if_kind(k.BYTE_INPUT, np.uint8),
        scale=float(plan.scale),
        offset=float(plan.offset),
        begin=np.zeros(0, np.int64),
        cuts=np.zeros((0, 0), np.int32),
        index=np.zeros(0, np.uint16),
        value=np.zeros(0, dtype),
        labels=labels,
        targets=targets,
        weights=np.zeros(0, dtype) if weights is None else _plain(weights, dtype),
    )


def _inputs_of(data: Data) -> Array:
    found: Array = (data.floats, data.doubles, data.bytes)[data.kind]
    return found


def _compressed(layout: Layout, data: Data) -> tuple[Data, Array]:
    """The same data by rows without zeros, for which the inputs are not needed any more; and
    which inputs have an entry at all."""
    X = _inputs_of(data)
    bias = int(layout.layers[0, k.BIAS])
    N, none = len(X), np.zeros((0, 0))
    begin = np.zeros(N + 1, np.int64)
    np.cumsum(np.count_nonzero(X, axis=1) + bias, out=begin[1:])
    cuts = np.empty((N, len(layout.blocks) + 1), np.int32)
    index = np.empty(begin[-1] + 16, np.uint16)
    value = np.empty(begin[-1] + 16, layout.dtype)
    scale = layout.dtype.type(layout.plan.scale)
    live = np.zeros(int(layout.layers[0, k.ROWS]), np.bool_)
    live[X.shape[1] : X.shape[1] + bias] = True
    _compress(X, scale, bias, layout.blocks, begin, cuts, index, value, live)
    return data._replace(
        kind=k.COMPRESSED,
        floats=none.astype(np.float32),
        doubles=none,
        bytes=none.astype(np.uint8),
        begin=begin,
        cuts=cuts,
        index=index,
        value=value,
    ), live


def unavailable() -> str | None:
    """As `compiled.unavailable`."""
    from scratchnet.engines import compiled

    return compiled.unavailable()


def density(X: Array) -> float:
    """Share of the numbers of X that are not 0, from at most 1,000 rows spread over it."""
    some = X[:: max(1, len(X) // 1000)]
    return float(np.count_nonzero(some)) / max(1, some.size)


# --- training -------------------------------------------------------------------------------------


class Switches(NamedTuple):
    """What makes it fast, each to be switched off to measure what it bought; bits stay the same,
    except that `flush` keeps first moments that the reference takes as 0."""

    flush: bool = True
    """First moments below 1e-30 are 0: no denormal numbers."""
    zeros: bool = True
    """Inputs that are 0 cost nothing."""
    fused: bool = True
    """The next batch's products while the new weights are in the cache."""
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
        data = _data(plan, X, T, weights)
        self.samples, self.batch_size = len(_inputs_of(data)), int(batch_size)
        self.mean = mean
        self.threads = threads_allowed(threads)
        self.theta = theta
        # 0 times an infinite weight is NaN: only where all are finite may zeros be left out.
        self.density = density(_inputs_of(data))
        self.compressed = bool(
            self.switches.zeros
            and plan.offset == 0
            and self.density < SPARSE_BELOW
            and np.isfinite(theta).all()
        )
        tallest = BLOCK_ROWS if self.compressed else DENSE_ROWS
        self.layout = Layout(plan, min(self.batch_size, max(1, self.samples)), tallest)
        names = _optimizer(plan.optimizer, plan.constants)[1]
        for name in names:
            if name not in slots:
                raise ValueError(f"slots has {sorted(slots)}: {plan.optimizer} needs {name!r}.")
        self.slots = {name: slots[name] for name in names}
        for name, array in (("theta", theta), *self.slots.items()):
            if array.shape != (self.layout.size,) or array.dtype != self.layout.dtype:
                raise ValueError(
                    f"{name} is {array.dtype} {array.shape}: expected {self.layout.dtype} "
                    f"({self.layout.size},) for these layers."
                )
        self.data, self._on = data, np.ones(int(self.layout.layers[0, k.ROWS]), np.bool_)
        if self.compressed:
            self.data, self._on = _compressed(self.layout, data)
        tiny, shift = (TINY if self.switches.flush else 0.0), (0 if self.switches.aligned else 8)
        self.net = self.layout.net(self.threads, self.compressed, len(names), tiny, shift)
        self._progress = np.zeros(1, np.int64)
        self._late, self._alone = 0, 0
        self.push()

    def _pairs(self) -> list[tuple[Array, Array]]:
        """The caller's arrays with the private ones."""
        mine = (self.net.slot_1, self.net.slot_2, self.net.slot_3)
        pairs = zip(self.slots.values(), mine, strict=False)
        return [(self.theta, self.net.theta), *pairs]

    def push(self) -> None:
        """Takes the caller's theta and slots anew, as after a callback that changed them."""
        for flat, padded in self._pairs():
            self.layout.pack(flat, padded)
        # An input that is never on, without moments, has a step of exactly 0 (unless 0 / 0).
        first = self.layout.plan.layers[0]
        live = self._on | (self.net.constants[2] == 0)
        for moment in self.slots.values():
            rows = moment[: first.inputs * first.outputs].reshape(first.inputs, first.outputs)
            live[: first.inputs] |= rows.any(axis=1)
        self.net.live[:] = live

    def pull(self) -> None:
        """Writes theta and slots back, in place."""
        for flat, padded in self._pairs():
            self.layout.unpack(padded, flat)

    @property
    def done(self) -> int:
        """The end of the batches that the private arrays have seen; true at any moment."""
        return int(self._progress[0])

    @property
    def extra_bytes(self) -> int:
        """Bytes of compressed rows, which count as data."""
        d = self.data
        return sum(a.nbytes for a in (d.begin, d.cuts, d.index, d.value)) if self.compressed else 0

    def epoch(self, order: Array, rates: Array, start: int = 0, stop: int | None = None) -> Epoch:
        """Trains batches `start` to `stop` of the samples in `order`; rates[k] is batch k's alpha
        (adam) or learning rate (sgd).

        Between pieces of PAUSE seconds Python runs: a KeyboardInterrupt leaves the session as it
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
        if min(order.size, self.batch_size) > self.layout.size_of_batch:
            raise ValueError(
                f"an order of {order.size} in batches of {self.batch_size}, with {self.samples} "
                "samples: expected no batch larger than the samples; repeat the samples instead."
            )
        if len(rates) < stop:
            raise ValueError(f"{len(rates)} rates: expected one for each of {stop} batches.")
        losses, right = np.zeros(batches), np.zeros(batches, np.int64)
        job = k.Job(
            order,
            rates,
            self.batch_size,
            self.mean,
            self.switches.fused,
            losses,
            right,
            self._progress,
        )
        piece, at, bad = 1, start, -1
        self._progress[0] = start
        while at < stop and bad < 0:
            end = min(stop, at + piece)
            clock = time.perf_counter()
            bad = self._piece(job, at, end)
            each = (time.perf_counter() - clock) / (end - at)
            piece = min(8 * piece, max(1, int(PAUSE / each))) if self.switches.one_call else 1
            at = end
        part = slice(start, stop)
        if bad < 0:
            return Epoch(losses[part], right[part], at, None, "")
        what = "weights" if np.isfinite(losses[bad]) else "loss"
        return Epoch(losses[part], right[part], bad + 1, bad, what)

    def _piece(self, job: k.Job, first: int, last: int) -> int:
        """One call of the compiled loop by each thread."""
        team = 1 if self._alone > 0 else self.threads
        self._alone -= 1
        control = _zeros((k.COUNTERS + team) * k.LINE, np.int64)

        def run(thread: int) -> int:
            bad: int = _train(self.net, self.data, job, control, first, last, thread, team)
            return bad

        def help_out(thread: int) -> None:
            try:
                run(thread)
            except BaseException as error:
                failed.append(error)
                control[k.ABORT * k.LINE] = 1
                raise

        failed: list[BaseException] = []

        if team == 1:
            return run(0)
        others = [
            threading.Thread(target=run, args=(n,), name=f"scratchnet-{n}", daemon=True)
            for n in range(1, team)
        ]
        try:
            for other in others:
                other.start()
            bad = run(0)
        finally:
            # Whatever happened to this thread, the others must not wait for it.
            control[k.ABORT * k.LINE] = 1
            for other in others:
                if other.ident is not None:
                    other.join()
        if failed:
            raise RuntimeError(
                f"a training thread failed: {failed[0]!r}; the session's weights are not to be "
                "used, fit again (threads=1 needs no helpers)."
            )
        late = control[k.VERDICT * k.LINE] == k.HELP_IS_LATE
        self._late = min(self._late + 1, 4) if late else 0
        self._alone = 2**self._late if late else 0
        return bad

    def close(self) -> None:
        """Lets go of the private arrays."""
        del self.net, self.data


def open(*args: Any, **kwargs: Any) -> Session:
    """A `Session`; the arguments are those of its constructor."""
    return Session(*args, **kwargs)


# --- looking --------------------------------------------------------------------------------------


def _looked(
    plan: Plan, theta: Array, X: Any, T: Any, weights: Any, threads: int | None, wanted: bool
) -> tuple[Array, Array, Array]:
    """Outputs (if `wanted`), and each batch's loss and right answers (if T is given)."""
    layout, data = Layout(plan, LOOK), _data(plan, X, T, weights)
    N, K = len(_inputs_of(data)), plan.layers[-1].outputs
    batches = -(-N // LOOK)
    team = min(threads_allowed(threads), max(1, batches // 4))
    outputs = np.empty((N, K) if wanted else (0, 0), layout.dtype)
    losses, right = np.zeros(batches), np.zeros(batches, np.int64)
    job = k.Job(np.arange(N), np.zeros(0), LOOK, False, True, losses, right, right)
    shared = layout.net(1, False, 0, 0.0, 0)
    layout.pack(theta, shared.theta)

    def run(thread: int) -> None:
        net = shared if thread == 0 else layout.net(1, False, 0, 0.0, 0)
        net = net._replace(theta=shared.theta)
        first, last = batches * thread // team, batches * (thread + 1) // team
        control = _zeros((k.COUNTERS + 1) * k.LINE, np.int64)
        _look(net, data, job, control, first, last, outputs)

    others = [
        threading.Thread(target=run, args=(n,), name=f"scratchnet-{n}", daemon=True)
        for n in range(1, team)
    ]
    for other in others:
        other.start()
    try:
        run(0)
    finally:
        for other in others:
            other.join()
    return outputs, losses, right


def predict(plan: Plan, theta: Array, X: Any, threads: int | None = None) -> Array:
    """X (N, I), uint8 or floating -> outputs of the head (N, K)."""
    return _looked(plan, theta, X, None, None, threads, True)[0]


def evaluate(
    plan: Plan, theta: Array, X: Any, T: Any, weights: Any = None, threads: int | None = None
) -> tuple[float, int]:
    """Sum of the (weighted) losses of all samples, and the number of right answers."""
    _, losses, right = _looked(plan, theta, X, T, weights, threads, False)
    return float(losses.sum()), int(right.sum())
