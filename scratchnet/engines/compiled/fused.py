"""Sessions: whole epochs in one compiled call, and predictions in a few, for any plan.

A `Session` owns a private copy of parameters and moments, padded and aligned as `kernels.py` wants
them, trains it batch range by batch range without Python's lock, and writes it back on `pull()`.
It refuses what it cannot do exactly, by a ValueError, before anything is touched. Models, layers
and callbacks are none of its business. Read `kernels.py` next.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit
from numba.core import event

from scratchnet.engines.compiled import kernels as k
from scratchnet.engines.compiled.kernels import Dense, Net, Rows, Targets
from scratchnet.engines.contract import Array, Plan
from scratchnet.engines.reference import TINY

log = logging.getLogger("scratchnet")
ALIGNMENT = 64
BLOCK_ROWS = 208
"""Inputs of the first layer in a block, where they are compressed: long runs of entries, and no
more than a byte can number."""
DENSE_ROWS = 112
"""The same where they are not: its weights stay in the first cache. No bit depends on either."""
SPARSE_BELOW = 0.5
"""Share of inputs that are not 0 from which the dense kernel is the faster one."""
PAUSE = 0.06
"""Seconds between two moments at which Python may act (Ctrl-C, progress)."""
SHARED_WORK = 1_000_000
"""Multiplications above the first layer in a batch, from which on threads share them."""
LOOK, PIECE = 64, 2**20
"""Samples in a batch of a prediction, and about how many numbers of X are looked at in a call: so
many that their rows without zeros stay in the cache."""

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


class _Teller(event.Listener):
    """Says once in a process, in the log `scratchnet`, that something is being compiled."""

    said = False

    def on_start(self, given: Any) -> None:
        if not _Teller.said:
            _Teller.said = True
            log.warning("Compiling for this machine: some ten seconds, kept for the next time.")

    def on_end(self, given: Any) -> None: ...


_SOURCES = [Path(__file__).with_name(name).read_bytes() for name in ("vector.py", "kernels.py")]
_DIGEST = hashlib.sha256(b"".join(_SOURCES)).hexdigest()[:16]


def _compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled without Python's lock, kept on disk where there is a place for it.

    Numba finds what it kept by the function's name, and looks for changes in that function's own
    file alone: so the name has a digest of all sources. What was kept of others stays on disk.
    """
    options = {"nogil": True, "_nrt": False, "error_model": "numpy"}
    function.__qualname__ = f"{function.__name__}-{_DIGEST}"
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written
        return njit(**options)(function)


_train, _look = _compiled(k.train), _compiled(k.look)
_count, _compress = _compiled(k.count), _compiled(k.compress)


def cache_folder() -> str | None:
    """Where Numba keeps what it compiled; None where it can't."""
    folder: str | None = _train.stats.cache_path
    return folder


def compiled_before() -> bool:
    """Whether there is kept code of this source."""
    name = f"kernels.{_train.py_func.__qualname__}-*.nbc"
    return any(Path(cache_folder() or os.devnull).glob(name))


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


def _panels(outputs: int, quarter: int) -> list[int]:
    """The cheapest panels for so many outputs: the quarters of a register in a row of each.

    One with a part of a register comes last: a tile of outputs reaches beyond that part.
    """
    wide = -(-outputs // quarter)
    found = []
    for tailed, narrow in product(range(2), range(4)):
        rest = -(-max(0, wide - k.TAILED * tailed - k.NARROW * narrow) // k.WIDE)
        found.append([k.WIDE] * rest + [k.NARROW] * narrow + [k.TAILED] * tailed)
    return min((panels for panels in found if panels), key=_cost)


def _cost(panels: list[int]) -> int:
    """What a row costs: its quarters, and about three more to begin each panel."""
    return sum(panels) + 3 * len(panels)


class Layout:
    """Where everything of a plan stands in the private memory; see `kernels.Net`."""

    def __init__(self, plan: Plan, batch: int, threads: int, compressed: bool) -> None:
        check(plan)
        self.plan, self.dtype, self.size_of_batch = plan, np.dtype(plan.dtype), batch
        self.layers = np.zeros((len(plan.layers) + 1, 11), np.int64)
        parameters = self._lay_out_weights()
        self.blocks, self.chunks = _blocks(int(self.layers[0, k.ROWS]), compressed)
        code, self.slots, self.constants = _optimizer(plan.optimizer, plan.constants)
        stride = 2 * ALIGNMENT // self.dtype.itemsize
        samples = _up(batch, stride)
        after = parameters * (1 + len(self.slots)) + 8 * 64  # a tile may read beyond the last row
        scratch = (max(int(np.diff(self.blocks).max()), k.FEW) + 8) * 64 + 64
        height = self._lay_out_nodes(after, samples)
        # Threads share what is above the first layer only where it takes longer than to share it.
        upper = sum(int(row[k.ROWS] * row[k.COLUMNS]) for row in self.layers[1:-1])
        self.fields: dict[str, Any] = {
            "loss": LOSSES[plan.loss],
            "reads_outputs": plan.reads == "A",
            "optimizer": code,
            "slot": parameters,
            "far": height * stride,
            "padded": samples,
            "each": scratch,
            "compressed": compressed,
            "shared": threads > 1 and upper * batch > SHARED_WORK,
        }
        sizes = {
            "parts": k.CHUNKS * height * samples,
            "head": height * samples,
            "targets": height * samples,
            "scores": 3 * samples,
            "scratch": threads * scratch,
            "inputs": 0 if compressed else 2 * int(self.layers[0, k.ROWS]) * samples,
        }
        self.numbers = int(self.layers[-2, k.SIDE] + self.layers[-2, k.COLUMNS] * samples)
        for name, size in sizes.items():
            self.fields[name] = self.numbers
            self.numbers += size

    def _lay_out_weights(self) -> int:
        """Panels and strips of every layer; returns how many numbers they take."""
        quarter = 16 // self.dtype.itemsize
        panels: list[tuple[int, ...]] = []
        strips: list[tuple[int, int, int, int]] = []
        at = 0
        for row, spec in zip(self.layers, self.plan.layers, strict=False):
            inputs, outputs, bias, activation = spec
            rows = _up(inputs + bias, 4 if strips else k.SQUARE)
            row[:7] = inputs, outputs, bias, rows, ACTIVATIONS[activation], len(panels), len(strips)
            column = 0
            for quarters in _panels(outputs, quarter):
                widths = quarters // 4 * 4 * quarter, quarters % 4 * quarter
                panels.append((at, quarters, column, *widths))
                for width in widths:
                    if width:
                        strips.append((at, width, column, column + width))
                    at, column = at + rows * width, column + width
            row[k.COLUMNS] = _up(column, k.SQUARE)
        self.layers[-1, k.PANELS : k.STRIPS + 1] = len(panels), len(strips)
        self.panels, self.strips = np.array(panels, np.int64), np.array(strips, np.int64)
        return at

    def _lay_out_nodes(self, at: int, samples: int) -> int:
        """Every layer's node, its gradient and the rows of that from `at` on; how many rows a node
        has, the same for all of them."""
        rows = (max(_up(int(row[k.OUTPUTS]) + 1, k.SQUARE), row[k.COLUMNS]) for row in self.layers)
        height = int(max(rows))
        for row in self.layers[:-1]:
            row[k.NODE : k.SIDE + 1] = at + np.arange(3) * height * samples
            at = int(row[k.SIDE] + row[k.COLUMNS] * samples)
        return height

    def pairs(self, flat: Array, M: Array, slot: int = 0) -> list[tuple[Array, Array]]:
        """Each strip of parameters (of moments, slot > 0) twice, as equal matrices: a view of the
        model's flat vector, and one of the memory. W's rows and then b are one matrix."""
        result, first = [], 0
        for layer, after in pairwise(self.layers):
            inputs, outputs, bias, rows = (int(n) for n in layer[:4])
            matrix = flat[first : first + (inputs + bias) * outputs].reshape(-1, outputs)
            first += matrix.size
            for start, width, left, right in self.strips[layer[k.STRIPS] : after[k.STRIPS]]:
                begin = start + slot * self.fields["slot"]
                mine = M[begin : begin + rows * width].reshape(rows, width)
                part = matrix[:, left : min(right, outputs)]
                result.append((part, mine[: len(part), : part.shape[1]]))
        return result

    @property
    def size(self) -> int:
        """P: length of the model's flat vector."""
        return sum((i + bias) * o for i, o, bias, _ in self.plan.layers)

    def net(self, tiny: float = 0.0, shift: int = 0) -> Net:
        """Fresh numbers, all zero, and the tables.

        First moments below `tiny` are taken as 0. So are second ones below (1e-8 epsilon)^2, where
        nobody sees them beside epsilon: without a gradient they shrink for ever, and are denormal
        numbers after some 40 epochs.
        """
        faint = (1e-8 * self.constants[2]) ** 2 if tiny else 0.0
        return Net(
            M=_zeros(self.numbers, self.dtype, shift),
            layers=self.layers,
            panels=self.panels,
            strips=self.strips,
            blocks=self.blocks,
            chunks=self.chunks,
            constants=np.array([*self.constants, tiny, faint], self.dtype),
            live=np.ones(int(self.layers[0, k.ROWS]) // 4, np.bool_),
            **self.fields,
        )


def _blocks(rows: int, compressed: bool) -> tuple[Array, Array]:
    """The first layer's rows in blocks, and which blocks are a chunk."""
    units, tallest = rows // k.SQUARE, BLOCK_ROWS if compressed else DENSE_ROWS
    cuts = [k.SQUARE * -(-units * c // k.CHUNKS) for c in range(k.CHUNKS + 1)]
    blocks, chunks = [], [0]
    for top, bottom in pairwise(cuts):
        parts = -(-(bottom - top) // tallest)
        tall = _up(-(-(bottom - top) // max(1, parts)), k.SQUARE)
        blocks += [(i, min(i + tall, bottom)) for i in range(top, bottom, max(tall, 1))]
        chunks.append(len(blocks))
    return np.array(blocks, np.int64), np.array(chunks, np.int64)


# --- data -----------------------------------------------------------------------------------------


def _data(plan: Plan, X: Any, T: Any, weights: Any) -> tuple[Dense, Targets, int]:
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

    dense = Dense(_plain(X, X.dtype).ravel(), float(plan.scale), float(plan.offset))
    weights = np.zeros(0, dtype) if weights is None else _plain(weights, dtype)
    return dense, Targets(labels, targets, weights), len(X)


def _room(kind: Any, plan: Plan, N: int, blocks: int, entries: int) -> Rows:
    """Memory for N samples of that dtype without their zeros."""
    codes = kind == np.uint8
    table = (np.arange(256) if codes else np.ones(1)).astype(plan.dtype)
    table *= plan.dtype.type(plan.scale)
    table[0] = 1
    dtype = np.uint8 if codes else plan.dtype
    return Rows(
        cuts=np.empty((N, blocks + 1), np.uint32),
        index=np.empty(entries + k.SQUARE, np.uint8),  # the last register may be written whole
        value=np.empty(entries + k.SQUARE, dtype),
        table=table,
        unit=np.array([1, 0] if codes else [plan.scale, 1], dtype),
    )


def _compressed(layout: Layout, net: Net, dense: Dense, N: int, on: Array) -> Rows:
    """The same samples without zeros; says in `on` which inputs have an entry at all."""
    inputs, _, bias = (int(n) for n in layout.layers[0, :3])
    on[:] = False
    on[inputs : inputs + bias] = True
    entries = _count(dense.value, N, inputs, on) + N * bias
    rows = _room(dense.value.dtype, layout.plan, N, len(layout.blocks), entries)
    _compress(net, dense, rows)
    return rows


def density(X: Array) -> float:
    """Share of the numbers of X, flat, that are not 0, from some 20 stretches of 4,096."""
    stretches = range(0, X.size, max(4096, X.size // 20))
    some = [X[at : at + 4096] for at in stretches] or [X]
    return sum(np.count_nonzero(part) for part in some) / max(1, sum(part.size for part in some))


def _zeros_may_be_left_out(plan: Plan, theta: Array, X: Array) -> bool:
    """Whether that pays, changes nothing (0 times an infinite weight is NaN), and fits `cuts`."""
    sparse = plan.offset == 0 and density(X) < SPARSE_BELOW and X.size < 2**31
    return bool(sparse and np.isfinite(theta).all())


# --- training -------------------------------------------------------------------------------------


class Switches(NamedTuple):
    """What makes it fast, each to be switched off to measure what it bought; bits stay the same,
    except that `flush` keeps moments that are taken as 0 otherwise."""

    flush: bool = True
    """First moments below 1e-30, and second ones that epsilon hides, are 0: no denormal numbers."""
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
        dense, self.targets, self.samples = _data(plan, X, T, weights)
        self.batch_size, self.mean, self.theta = int(batch_size), mean, theta
        self.threads = threads_allowed(threads)
        self.density = density(dense.value)
        self.compressed = self.switches.zeros and _zeros_may_be_left_out(plan, theta, dense.value)
        batch = min(self.batch_size, max(1, self.samples))
        self.layout = Layout(plan, batch, self.threads, self.compressed)
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
        tiny, shift = (TINY if self.switches.flush else 0.0), (0 if self.switches.aligned else 8)
        self.net = self.layout.net(tiny, shift)
        self._on = np.ones(self.layout.layers[0, k.ROWS], np.bool_)
        self.given: Dense | Rows = dense
        if self.compressed:
            self.given = _compressed(self.layout, self.net, dense, self.samples, self._on)
        self._progress = np.zeros(1, np.int64)
        self._late, self._alone, self._stretch = 0, 0, 1
        self.push()

    def _pairs(self) -> list[tuple[Array, Array]]:
        """The caller's matrices with the private ones."""
        arrays = [self.theta, *self.slots.values()]
        each = (self.layout.pairs(array, self.net.M, n) for n, array in enumerate(arrays))
        return [pair for pairs in each for pair in pairs]

    def push(self) -> None:
        """Takes the caller's theta and slots anew, as after a callback that changed them."""
        for theirs, mine in self._pairs():
            mine[:] = theirs
        # An input that is never on, without moments, has a step of exactly 0 (unless 0 / 0).
        first = self.layout.plan.layers[0]
        live = self._on | (self.net.constants[2] == 0)
        for moment in self.slots.values():
            rows = moment[: first.inputs * first.outputs].reshape(first.inputs, first.outputs)
            live[: first.inputs] |= rows.any(axis=1)
        self.net.live[:] = live.reshape(-1, 4).any(axis=1)

    def pull(self) -> None:
        """Writes theta and slots back, in place."""
        for theirs, mine in self._pairs():
            theirs[:] = mine

    @property
    def done(self) -> int:
        """The end of the batches that the private arrays have seen; true at any moment."""
        return int(self._progress[0])

    @property
    def extra_bytes(self) -> int:
        """Bytes of compressed rows, which count as data."""
        return sum(array.nbytes for array in self.given) if isinstance(self.given, Rows) else 0

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
        at, bad = start, -1
        self._progress[0] = start
        while at < stop and bad < 0:
            end = min(stop, at + self._stretch)
            clock = time.perf_counter()
            bad = self._piece(job, at, end)
            each = (time.perf_counter() - clock) / (end - at)
            longest = max(1, int(PAUSE / each)) if self.switches.one_call else 1
            self._stretch = min(8 * self._stretch, longest)
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
            with event.install_listener("numba:compile", _Teller()):
                whole = self.net, self.given, self.targets, job
                bad: int = _train(*whole, control, first, last, thread, team)
            return bad

        def help_out(thread: int) -> None:
            try:
                run(thread)
            except BaseException as error:
                failed.append(error)
                control[k.ABORT * k.LINE] = 1

        failed: list[BaseException] = []

        if team == 1:
            return run(0)
        others = [
            threading.Thread(target=help_out, args=(n,), name=f"scratchnet-{n}", daemon=True)
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
        del self.net, self.given, self.targets


def open(*args: Any, **kwargs: Any) -> Session:
    """A `Session`; the arguments are those of its constructor."""
    return Session(*args, **kwargs)


# --- looking --------------------------------------------------------------------------------------


def _looked(
    plan: Plan, theta: Array, X: Any, T: Any, weights: Any, threads: int | None, wanted: bool
) -> tuple[Array, Array, Array]:
    """Outputs (if `wanted`), and each batch's loss and right answers (if T is given)."""
    (dense, targets, N), K = _data(plan, X, T, weights), plan.layers[-1].outputs
    inputs, compressed = plan.layers[0].inputs, _zeros_may_be_left_out(plan, theta, dense.value)
    layout, batches = Layout(plan, LOOK, 1, compressed), -(-N // LOOK)
    team = min(threads_allowed(threads), max(1, batches // 4))
    share, most = max(1, -(-N // team)), max(LOOK, PIECE // inputs)
    piece = _up(-(-share // -(-share // most)), LOOK)  # whole batches: threads share none
    outputs = np.empty((N, K) if wanted else (0, 0), layout.dtype)
    losses, right = np.zeros(batches), np.zeros(batches, np.int64)

    def run(thread: int) -> bool:
        """This thread's pieces; whether their inputs are finite."""
        net = layout.net()
        for theirs, mine in layout.pairs(theta, net.M):
            mine[:] = theirs
        height = min(piece, N) if compressed else 0
        entries = height * int(layout.layers[0, k.ROWS])
        room = _room(dense.value.dtype, plan, height, len(layout.blocks), entries)
        for at in range(thread * piece, N, team * piece):
            n = min(piece, N - at)
            here, looks = slice(at, at + n), slice(at // LOOK, -(-(at + n) // LOOK))
            part = dense._replace(value=dense.value[at * inputs : (at + n) * inputs])
            given = Targets(*(array[here] for array in targets))
            found = losses[looks], right[looks]
            job = k.Job(np.arange(n), np.zeros(0), LOOK, False, True, *found, right)
            samples: Dense | Rows = part
            if compressed:
                samples = room._replace(cuts=room.cuts[:n])
                _compress(net, part, samples)
            if _look(net, samples, given, job, outputs[here]) != 0 and not _finite(part, layout):
                return False
        return True

    with (
        event.install_listener("numba:compile", _Teller()),
        ThreadPoolExecutor(team, "scratchnet") as pool,
    ):
        others = [pool.submit(run, thread) for thread in range(1, team)]
        finite = [run(0), *(other.result() for other in others)]
    if not all(finite):
        raise FloatingPointError(f"X holds numbers that are not finite {layout.dtype} numbers.")
    return outputs, losses, right


def _finite(dense: Dense, layout: Layout) -> bool:
    """Whether samples are finite numbers of the plan's dtype."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(dense.value.astype(layout.dtype)).all())


def predict(plan: Plan, theta: Array, X: Any, threads: int | None = None) -> Array:
    """X (N, I), uint8 or floating -> outputs of the head (N, K).

    Raises:
        FloatingPointError: for an X that is not finite. The first layer's sums tell; X itself is
            read again only where one of them is not finite.
    """
    return _looked(plan, theta, X, None, None, threads, True)[0]


def evaluate(
    plan: Plan, theta: Array, X: Any, T: Any, weights: Any = None, threads: int | None = None
) -> tuple[float, int]:
    """Sum of the (weighted) losses of all samples, and the number of right answers.

    Raises:
        FloatingPointError: as `predict`.
    """
    _, losses, right = _looked(plan, theta, X, T, weights, threads, False)
    return float(losses.sum()), int(right.sum())
