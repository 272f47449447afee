"""The compiled step: what `reference.py` says (read it first), fused and laid out for the machine.

All numbers stand in one flat array M, and a place in it is a whole number. A layer's parameters are
panels: matrices of 1, 3 1/4 or 4 registers' width, whose row i holds the weights from input i to
those outputs; the bias is the row of an input that is always 1. Between layers samples are lanes: a
row of a node is one output of two registers of samples, so that softmax, losses and the count of
right answers are plain loops too. A step is two phases with a wait after each: `first_phase`
changes all weights, the first layer's block by block, and multiplies the next batch with a block
while it is in the cache; `second_phase` goes up and down the layers above. Sums over the first
layer's inputs run in CHUNKS fixed pieces, whatever the number of threads, and every other sum in
one piece: so threads cannot change a bit.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return"

from __future__ import annotations

from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from scratchnet.engines.compiled import vector
from scratchnet.engines.compiled.vector import (
    convert,
    fabs,
    fma,
    keep_nonzero,
    lanes,
    load,
    load_row,
    pick,
    prefetch,
    reciprocal,
    splat,
    spread,
    spread_coded,
    sqrt,
    store,
    store_row,
    sum_lanes,
    turn,
    where_ge,
    where_gt,
    where_lt,
    zeros,
)

_OPTIONS = {
    "_nrt": False,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""For what owns no memory and is not called by Python: no counts of references, no wrappers. That
is most of the difference between 40 seconds of compiling and 8."""
compiled = njit(**_OPTIONS)
glue = njit(inline="always", **_OPTIONS)
"""For functions that are written into those that call them, and not compiled by themselves."""
CHUNKS = 4
"""Pieces in which the first layer's inputs are summed, and shared among threads."""
SQUARE = 16
"""What the first layer's rows and every node's height are multiples of, for `turn`."""
CROWD = 8
"""Groups of samples that go up and down together: their nodes are in the cache all the way."""
FEW = 64
"""Rows whose gradients are held, where inputs are dense, until the optimizer sees them."""
TILE = 8
"""Outputs (or inputs) that a tile of the upper layers computes at once."""
NARROW, PAIR, TAILED, WIDE = 4, 8, 13, 16
"""Quarters of a register in a panel's row; PAIR: of two groups of samples."""
AHEAD = 96
"""Entries of a block that are asked for a batch ahead."""
EPSILON = 1e-7
"""Keras's fuzz, as in `reference.py`."""
SMALLEST_GRADIENT = 1e-30
"""Gradients of the head below this are taken as 0, as first moments are: denormals are slow."""

NONE, ONE, YES = np.int64(0), np.int64(1), np.bool_(True)
"""To pass on: a plain 0 is a type of its own, for which the other side would be compiled anew."""

LINEAR, RELU, SIGMOID, TANH, SOFTMAX = range(5)
SOFTMAX_CE, NORMALIZED_CE, CLIPPED_CE, SQUARED_ERROR = range(4)
SGD, MOMENTUM, NESTEROV, ADAM, AMSGRAD = range(5)

# columns of Net.layers
INPUTS, OUTPUTS, BIAS, ROWS, ACTIVATION, PANELS, STRIPS, NODE, SLOPES, SIDE, COLUMNS = range(11)
# columns of Net.panels
START, QUARTERS, COLUMN, WHOLE, PART = range(5)
# columns of Net.strips: START, and
DOWN, LEFT, RIGHT = 1, 2, 3
# columns of Net.blocks
TOP, BOTTOM = range(2)


class Net(NamedTuple):
    """A plan and where its numbers stand."""

    M: Any
    """All numbers; the parameters, in panels, from 0 on."""
    layers: Any
    """int64 (layers + 1, 11): INPUTS, OUTPUTS, BIAS (0 or 1); ROWS of a panel; ACTIVATION; its
    first panel and strip (the next layer's are the ends); places of its node, of the node's
    gradient (SLOPES), and of that with outputs as lanes (SIDE: COLUMNS numbers a sample)."""
    panels: Any
    """int64 (panels, 5): place, quarters of a register in a row, first output; columns in whole
    registers, and in the part of one, whose rows stand behind all of the whole ones."""
    strips: Any
    """int64 (strips, 4): the same weights for use one by one: W[i, o] of outputs LEFT to RIGHT
    stands at START + i DOWN + o - LEFT."""
    blocks: Any
    """int64 (blocks, 2): rows of the first layer that are worked on at a time."""
    chunks: Any
    """int64 (CHUNKS + 1,): the blocks of each chunk."""
    constants: Any
    """1 - beta_1, 1 - beta_2, epsilon, momentum, and the smallest moments, first and second, that
    count."""
    live: Any
    """Of four inputs of the first layer each: whether one has an entry or a moment. What has not,
    cannot move."""
    loss: int
    """SOFTMAX_CE and so on."""
    reads_outputs: bool
    """The loss is a function of A, else of Z."""
    optimizer: int
    """SGD and so on."""
    slot: int
    """How far moments stand behind their parameters."""
    far: int
    """How far behind two groups of samples a node has the next two."""
    padded: int
    """Samples of a batch, padded to whole registers."""
    compressed: bool
    """Inputs come as `Rows`."""
    shared: bool
    """Threads share what is above the first layer."""
    parts: int
    """Place of the first layer's sums, one for each chunk."""
    head: int
    """Place of the outputs, a node."""
    targets: int
    """Place of the targets, a node."""
    scores: int
    """Place of each sample's share in the loss, its loss, and 1 if its answer is right."""
    inputs: int
    """Place of inputs that are not compressed, as nodes: this batch's and the next one's."""
    scratch: int
    """Place of each thread's own numbers."""
    each: int
    """How many of its own a thread has."""


class Job(NamedTuple):
    """What is asked for."""

    order: Any
    rates: Any
    size: int
    """Samples of a batch."""
    mean: bool
    """A batch's loss is the mean over its samples, else the sum."""
    fused: bool
    losses: Any
    right: Any
    progress: Any
    """(1,): how many batches are in the weights."""


class Rows(NamedTuple):
    """Samples without their zeros."""

    cuts: Any
    """uint32 (N, blocks + 1): where a sample's entries of each block begin, and where they end."""
    index: Any
    """uint8: the row within its block."""
    value: Any
    """Numbers, or if the samples are bytes, these: codes of numbers in the table."""
    table: Any
    """(256,): the number of each code, scaled."""
    unit: Any
    """In the dtype of `value`: what numbers are multiplied by, and what stands for 1."""


class Dense(NamedTuple):
    """Samples as they came."""

    value: Any
    """Flat, one sample after the other: uint8, float32 or float64."""
    scale: float
    offset: float


class Targets(NamedTuple):
    """What samples should give, and how much each counts; what is not asked for, is empty."""

    labels: Any
    """int64 (N,): the class of each sample; or else"""
    targets: Any
    """(N, K): what each output should be."""
    weights: Any
    """(N,)."""


# --- threads: a barrier of counters ---------------------------------------------------------------

LINE = 8
"""int64 in a cache line: counters stand one line apart."""
ABORT, VERDICT, WAITED, COUNTERS = range(4)
"""Lines of `control`: set from outside to end the waiting; what the first thread decided; for how
many ticks it waited; and from there a counter for each thread."""
LEAVE, HELP_IS_LATE = 1, 2
TRIAL = 4_000_000
"""Ticks after which the first thread asks whether its helpers help: 1 to 2 milliseconds."""
SPINS = 2000
"""Spins after which a waiting thread lets others run."""


@intrinsic
def _read(typing_context: Any, A: Any, i: Any) -> Any:
    """A[i], after which everything that its writer wrote before is seen (acquire)."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = vector._address(context, builder, A, args[0], args[1])
        return builder.load_atomic(at, "acquire", 8)

    return types.int64(A, i), code


@intrinsic
def _write(typing_context: Any, A: Any, i: Any, x: Any) -> Any:
    """A[i] = x, once everything before is written (release)."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = vector._address(context, builder, A, args[0], args[1])
        builder.store_atomic(args[2], at, "release", 8)
        return context.get_dummy_value()

    return types.none(A, i, types.int64), code


@intrinsic
def _pause(typing_context: Any) -> Any:
    """Tell the core that this is a loop of waiting."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if HAS_PAUSE:
            vector._call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        return context.get_dummy_value()

    return types.none(), code


@intrinsic
def _ticks(typing_context: Any) -> Any:
    """The core's time stamp; 0 where a program may not read it."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not HAS_PAUSE:
            return context.get_constant(types.int64, 0)
        return vector._call(builder, "llvm.readcyclecounter", ir.IntType(64), [])

    return types.int64(), code


HAS_PAUSE = llvm.get_process_triple().startswith(("x86_64", "i686"))
_yield = types.ExternalFunction("sched_yield", types.int32())


@compiled
def sync(control, thread, team):
    """Wait until every thread of the team is here. A team of one passes; so does an abort."""
    if team == 1:
        return
    mine = (COUNTERS + thread) * LINE
    count = control[mine] + 1
    _write(control, mine, count)
    for other in range(team):
        spins, since = 0, _ticks()
        while _read(control, (COUNTERS + other) * LINE) < count:
            if _read(control, ABORT * LINE) != 0:
                return
            spins += 1
            _pause()
            if spins % SPINS == 0:
                _yield()
        if thread == 0:
            control[WAITED * LINE] += _ticks() - since


@compiled
def late(control, since):
    """Whether the first thread spent more than a third of its time waiting for the others."""
    elapsed = _ticks() - since
    return elapsed > TRIAL and 3 * control[WAITED * LINE] > elapsed


@compiled
def share(n, thread, team):
    """Which of n tasks are this thread's: first and end."""
    if thread >= team:
        return 0, 0
    return n * thread // team, n * (thread + 1) // team


# --- optimizers -----------------------------------------------------------------------------------


@compiled
def update(M, at, slot, dW, n, step, wrong):
    """One optimizer step on n weights from `at` on, as `sgd` and `adam` of the reference; clears
    their gradient. `wrong` becomes NaN with the first weight that is not finite."""
    code, rate, c1, c2, epsilon, momentum, tiny, faint = step
    zero = splat(0.0, wrong)
    for i in range(at, at + n, lanes(wrong)):
        w, g = load(M, i, wrong), load(M, dW + i - at, wrong)
        store(M, dW + i - at, zero)
        if code >= ADAM:
            m, v = load(M, i + slot, wrong), load(M, i + 2 * slot, wrong)
            m = fma(g - m, splat(c1, g), m)
            m = where_lt(fabs(m), splat(tiny, g), zero, m)
            v = fma(fma(g, g, -v), splat(c2, g), v)
            v = where_lt(v, splat(faint, g), zero, v)
            store(M, i + slot, m)
            store(M, i + 2 * slot, v)
            if code == AMSGRAD:
                top = load(M, i + 3 * slot, g)
                v = where_lt(v, top, top, v)
                store(M, i + 3 * slot, v)
            w = fma(-(m * splat(rate, g)), reciprocal(sqrt(v) + splat(epsilon, g)), w)
        else:
            change = g * splat(rate, g)
            if code == SGD:
                w = w - change
            else:
                u = load(M, i + slot, g) * splat(momentum, g) - change
                store(M, i + slot, u)
                w = w + (u * splat(momentum, g) - change if code == NESTEROV else u)
        store(M, i, w)
        wrong = fma(w, zero, wrong)
    return wrong


@compiled
def update_rows(net, layer, p, top, bottom, dW, tall, step):
    """The optimizer on rows top to bottom of a panel, four at a time: so parts of registers are
    whole ones. Whether a weight is not finite then: NaN if so, else 0."""
    M, slot, rows = net.M, net.slot, net.layers[layer, ROWS]
    start, wide, part = net.panels[p, START], net.panels[p, WHOLE], net.panels[p, PART]
    wrong, i = zeros(M, NARROW), top
    while i < bottom:
        n = np.int64(0)
        while i + n < bottom and (layer or net.live[(i + n) // 4]):
            n += 4
        at, g = start + i * wide, dW + (i - top) * wide
        wrong = update(M, at, slot, g, n * wide, step, wrong)
        at, g = start + rows * wide + i * part, dW + tall * wide + (i - top) * part
        wrong = update(M, at, slot, g, n * part, step, wrong)
        i += n + 4
    return sum_lanes(wrong)


# --- weights' gradients, and the optimizer on the spot --------------------------------------------


@compiled
def learn(M, arguments, like):
    """dW_io = sum_b A_ib dZ_bo for four inputs, the first at x, into four rows from `row` on."""
    x, far, d, columns, B, dW, row, tall = arguments
    zero, n = splat(0.0, like), 2 * lanes(zeros(M, NARROW))
    g0, g1, g2, g3 = zero, zero, zero, zero
    for first in range(0, B, n):
        for b in range(x, x + min(n, B - first)):
            dz = load(M, d, like)
            g0 = fma(spread(M, b, like), dz, g0)
            g1 = fma(spread(M, b + n, like), dz, g1)
            g2 = fma(spread(M, b + 2 * n, like), dz, g2)
            g3 = fma(spread(M, b + 3 * n, like), dz, g3)
            d += columns
        x += far
    store_row(M, dW, row, tall, g0)
    store_row(M, dW, row + 1, tall, g1)
    store_row(M, dW, row + 2, tall, g2)
    store_row(M, dW, row + 3, tall, g3)


@compiled
def learn_compressed(M, arguments, like):
    """dW_io = sum_b X_bi dZ_bo over the entries that are not 0, for one block of inputs."""
    rows, order, at, B, block, d, columns, dW, tall = arguments
    for b in range(B):
        sample = pick(order, at + b)
        dz = load(M, d + b * columns, like)
        first, end = span(rows, sample, block)
        for j in range(first, end):
            i, x = np.int64(pick(rows.index, j)), spread_coded(rows.value, j, rows.table, like)
            store_row(M, dW, i, tall, fma(x, dz, load_row(M, dW, i, tall, like)))


@compiled
def span(rows, sample, block):
    """The entries of a sample in a block: first and end."""
    at = sample * rows.cuts.shape[1] + block
    return np.int64(pick(rows.cuts, at)), np.int64(pick(rows.cuts, at + 1))


@compiled
def weighed(M, rows, j, top, start, tall, z):
    """z_o + X_i W_io of entry j."""
    i = top + np.int64(pick(rows.index, j))
    return fma(spread_coded(rows.value, j, rows.table, z), load_row(M, start, i, tall, z), z)


@compiled
def forward_compressed(M, arguments, like):
    """Z_bo += X_bi W_io over a block's entries that are not 0; `fresh` starts the sum from 0.

    Two samples side by side: a sum alone waits for each of its additions. An odd batch's last
    sample is its own neighbour.
    """
    rows, order, at, B, block, top, start, tall, part, columns, fresh, size = arguments
    for b in range(0, B, 2):
        if size:
            fetch_ahead(rows, order, at + b + size, size, block)
            fetch_ahead(rows, order, at + b + 1 + size, size, block)
        one, two = part + b * columns, part + (b + 1) * columns
        z, y = splat(0.0, like), splat(0.0, like)
        if not fresh:
            z, y = load(M, one, like), load(M, two, like)
        j, end = span(rows, pick(order, at + b), block)
        k, stop = span(rows, pick(order, at + min(b + 1, B - 1)), block)
        for _ in range(min(end - j, stop - k)):
            z = weighed(M, rows, j, top, start, tall, z)
            y = weighed(M, rows, k, top, start, tall, y)
            j, k = j + 1, k + 1
        for n in range(j, end):
            z = weighed(M, rows, n, top, start, tall, z)
        for n in range(k, stop):
            y = weighed(M, rows, n, top, start, tall, y)
        store(M, one, z)
        store(M, two, y)


@compiled
def fetch_ahead(rows, order, at, size, block):
    """Asks for a block's entries of sample order[at], and for the tables of the batch after.

    As many as most blocks have: a loop of the right length would guess its end wrongly each time.
    """
    if at < order.size:
        first, end = span(rows, pick(order, at), block)
        for j in range(0, AHEAD, 64 // rows.value.itemsize):
            prefetch(rows.value, first + j)
        prefetch(rows.index, first)
        prefetch(rows.index, end)
        if block == 0 and at + size < order.size:
            prefetch(rows.cuts, pick(order, at + size) * rows.cuts.shape[1])


# --- the first layer, by blocks of its inputs -----------------------------------------------------


@compiled
def gather(net, dense, order, at, B, block, X, aside, like):
    """A block of inputs of a batch as a node: X * scale + offset, from samples of any dtype."""
    M, A, n, inputs = net.M, dense.value, lanes(like), net.layers[0, INPUTS]
    scale, offset = M.dtype.type(dense.scale), M.dtype.type(dense.offset)
    left, right = net.blocks[block, TOP], net.blocks[block, BOTTOM]
    wide, whole = right - left, left + max(0, min(right, inputs) - left) // n * n
    for first in range(0, B, n):
        for b in range(min(n, B - first)):
            to, begin = aside + b * wide - left, pick(order, at + first + b) * inputs
            for i in range(left, whole, n):
                x = convert(A, begin + i, like) * splat(scale, like) + splat(offset, like)
                store(M, to + i, x)
            for i in range(whole, min(right, inputs)):
                M[to + i] = M.dtype.type(pick(A, begin + i)) * scale + offset
            for i in range(max(left, inputs), right):
                M[to + i] = net.layers[0, BIAS] * (i == inputs)
        for i in range(0, wide, n):
            to = X + place(first // n, net.layers[0, ROWS] * 2 * n, n) + (left + i) * 2 * n
            turn(M, aside + i, wide, M, to, 2 * n, like)


@compiled
def part_of(net, chunk):
    """Where a chunk's sums stand."""
    return net.parts + chunk * (net.layers[0, SLOPES] - net.layers[0, NODE])


@glue
def by_width(kernel, M, quarters, arguments):
    """`kernel` for panels of that many quarters of a register: compiled once for each of the three
    widths, and what calls it only once."""
    if quarters == WIDE:
        kernel(M, arguments, zeros(M, WIDE))
    elif quarters == TAILED:
        kernel(M, arguments, zeros(M, TAILED))
    else:
        kernel(M, arguments, zeros(M, NARROW))


@compiled
def learn_rows(net, layer, B, a, far, lo, hi, step, thread):
    """Gradient and optimizer of a layer's rows lo to hi, whose inputs are the node at a."""
    M, columns, stride = net.M, net.layers[layer, COLUMNS], 2 * lanes(zeros(net.M, NARROW))
    dW, wrong = net.scratch + thread * net.each, net.M.dtype.type(0)
    for p in range(net.layers[layer, PANELS], net.layers[layer + 1, PANELS]):
        d, quarters = net.layers[layer, SIDE] + net.panels[p, COLUMN], net.panels[p, QUARTERS]
        for top in range(lo, hi, FEW):
            tall = min(hi - top, FEW)
            for i in range(0, tall, 4):
                arguments = a + (top + i) * stride, far, d, columns, B, dW, i, tall
                by_width(learn, M, quarters, arguments)
            wrong += update_rows(net, layer, p, top, top + tall, dW, tall, step)
    return wrong


@compiled
def compressed_block(net, rows, work, step, block, chunk, thread):
    """One block of compressed inputs: dW = X^T dZ of the old batch and the optimizer, then
    Z += X W of the new batch with the new weights."""
    order, old, old_B, new, new_B, _ = work
    top, bottom = net.blocks[block, TOP], net.blocks[block, BOTTOM]
    M, high, columns, tall = net.M, bottom - top, net.layers[0, COLUMNS], net.layers[0, ROWS]
    dW, wrong = net.scratch + thread * net.each, net.M.dtype.type(0)
    for p in range(net.layers[0, PANELS], net.layers[1, PANELS]):
        start, quarters, column, _, _ = net.panels[p]
        if old_B:
            d = net.layers[0, SIDE] + column
            learning = rows, order, old, old_B, block, d, columns, dW, high
            by_width(learn_compressed, M, quarters, learning)
            wrong += update_rows(net, NONE, p, top, bottom, dW, high, step)
        if new_B:
            z, fresh = part_of(net, chunk) + column, net.chunks[chunk] == block
            size = new_B if column == 0 else 0
            going = rows, order, new, new_B, block, top, start, tall, z, columns, fresh, size
            by_width(forward_compressed, M, quarters, going)
    return wrong


@compiled
def dense_block(net, dense, work, step, block, chunk, thread):
    """The same for a block of inputs that are not compressed: they are made a node first."""
    order, _, old_B, new, new_B, side = work
    like = zeros(net.M, NARROW)
    stride, height, wrong = 2 * lanes(like), net.layers[0, ROWS], net.M.dtype.type(0)
    far, inputs = height * stride, height * net.padded
    old_X, X = net.inputs + (1 - side) * inputs, net.inputs + side * inputs
    top, bottom = net.blocks[block, TOP], net.blocks[block, BOTTOM]
    if old_B:
        wrong = learn_rows(net, NONE, old_B, old_X, far, top, bottom, step, thread)
    if new_B:
        aside = net.scratch + thread * net.each
        gather(net, dense, order, new, new_B, block, X, aside, like)
        fresh, groups = block == net.chunks[chunk], -(-new_B // lanes(like))
        a, z = X + top * stride, part_of(net, chunk)
        multiply(net, NONE, top, bottom - top, a, far, z, NONE, groups, fresh, like)
    return wrong


def first_layer(net, samples, work, step, thread, team):
    """The first layer on this thread's chunks: what is old is learned, what is new multiplied.

    `work` is (order, old batch's begin, its size, new batch's begin, its size, turn).
    """


@overload(first_layer, jit_options=_OPTIONS)
def _first_layer(net, samples, work, step, thread, team):
    """Chosen by the type of the samples: nothing is compiled for the other one."""
    one_block = compressed_block if samples.instance_class is Rows else dense_block

    def code(net, samples, work, step, thread, team):
        wrong = net.M.dtype.type(0)
        mine, end = share(np.int64(CHUNKS), thread, team)
        for chunk in range(mine, end):
            for block in range(net.chunks[chunk], net.chunks[chunk + 1]):
                wrong += one_block(net, samples, work, step, block, chunk, thread)
        return wrong

    return code


# --- activations and losses: samples are lanes, rows of a node `stride` apart ---------------------


@compiled
def squash(code, z):
    """A = f(Z), for the activations that look at one number."""
    zero, one = splat(0.0, z), splat(1.0, z)
    if code == RELU:
        return where_gt(z, zero, z, zero)
    if code == SIGMOID:
        e = vector.exp(-fabs(z))
        return where_ge(z, zero, one, e) / (one + e)
    if code == TANH:
        return vector.tanh(z)
    return z


@compiled
def slope(code, da, a):
    """dZ = dA f'(Z), told by A = f(Z) alone."""
    zero, one = splat(0.0, a), splat(1.0, a)
    if code == RELU:
        return where_gt(a, zero, da, zero)
    if code == SIGMOID:
        return da * a * (one - a)
    if code == TANH:
        return da * (one - a * a)
    return da


@compiled
def shifted_exp(M, z, e, K, stride, like):
    """E_k = exp(Z_k - max Z); returns the maximum and the sum. E may be Z."""
    top = load(M, z, like)
    for k in range(stride, K * stride, stride):
        x = load(M, z + k, like)
        top = where_gt(x, top, x, top)
    total = splat(0.0, like)
    for k in range(0, K * stride, stride):
        x = vector.exp(load(M, z + k, like) - top)
        store(M, e + k, x)
        total = total + x
    return top, total


@compiled
def activate(M, code, z, a, K, stride, like):
    """A = f(Z) for K outputs of one group of samples."""
    if code == SOFTMAX:
        _, total = shifted_exp(M, z, a, K, stride, like)
        for k in range(a, a + K * stride, stride):
            store(M, k, load(M, k, like) / total)
    elif code != LINEAR or a != z:
        for k in range(0, K * stride, stride):
            store(M, a + k, squash(code, load(M, z + k, like)))


@compiled
def derive(M, code, a, d, K, stride, like):
    """dZ = dA f'(Z) in place, D holding dA."""
    if code == SOFTMAX:
        inner = splat(0.0, like)
        for k in range(0, K * stride, stride):
            inner = fma(load(M, d + k, like), load(M, a + k, like), inner)
        for k in range(0, K * stride, stride):
            store(M, d + k, load(M, a + k, like) * (load(M, d + k, like) - inner))
    elif code != LINEAR:
        for k in range(0, K * stride, stride):
            store(M, d + k, slope(code, load(M, d + k, like), load(M, a + k, like)))


@compiled
def softmax_loss(M, f, t, d, K, stride, dl):
    """l = -sum_k T_k log softmax(F)_k and dF = dl (softmax(F) sum(T) - T). D may be F."""
    zero = splat(0.0, dl)
    weight, inner, top = zero, zero, load(M, f, dl)
    for k in range(stride, K * stride, stride):
        x = load(M, f + k, dl)
        top = where_gt(x, top, x, top)
    for k in range(0, K * stride, stride):
        target = load(M, t + k, dl)
        weight = weight + target
        inner = fma(target, load(M, f + k, dl) - top, inner)
    _, total = shifted_exp(M, f, d, K, stride, dl)
    part = weight / total
    for k in range(0, K * stride, stride):
        x = dl * fma(load(M, d + k, dl), part, -load(M, t + k, dl))
        store(M, d + k, where_lt(fabs(x), splat(SMALLEST_GRADIENT, dl), zero, x))
    return fma(weight, vector.log(total), -inner)


@compiled
def clip(x):
    """x within [EPSILON, 1 - EPSILON]."""
    low, high = splat(EPSILON, x), splat(1 - EPSILON, x)
    return where_gt(x, high, high, where_lt(x, low, low, x))


@compiled
def if_inside(x, yes):
    """`yes` where x was not clipped, else 0."""
    zero = splat(0.0, x)
    low, high = splat(EPSILON, x), splat(1 - EPSILON, x)
    return where_ge(x, low, where_ge(high, x, yes, zero), zero)


@compiled
def clipped_loss(M, p, t, d, K, stride, dl):
    """F = log clip(P), then as softmax_loss; dP = dF / P where P was not clipped."""
    for k in range(0, K * stride, stride):
        store(M, d + k, vector.log(clip(load(M, p + k, dl))))
    loss = softmax_loss(M, d, t, d, K, stride, dl)
    for k in range(0, K * stride, stride):
        x = load(M, p + k, dl)
        store(M, d + k, if_inside(x, load(M, d + k, dl) / clip(x)))
    return loss


@compiled
def normalized_loss(M, p, t, d, K, stride, dl):
    """Q = P / sum(P), l = -sum_k T_k log clip(Q_k), dP = (dQ - sum_k dQ_k Q_k) / sum(P)."""
    zero = splat(0.0, dl)
    total, loss, inner = zero, zero, zero
    for k in range(0, K * stride, stride):
        total = total + load(M, p + k, dl)
    for k in range(0, K * stride, stride):
        q, target = load(M, p + k, dl) / total, load(M, t + k, dl)
        loss = loss - target * vector.log(clip(q))
        dq = if_inside(q, -(dl * target / clip(q)))
        inner = fma(dq, q, inner)
        store(M, d + k, dq)
    for k in range(0, K * stride, stride):
        store(M, d + k, (load(M, d + k, dl) - inner) / total)
    return loss


@compiled
def squared_loss(M, a, t, d, K, stride, dl):
    """l = mean_k (A_k - T_k)^2 and dA = dl 2 (A - T) / K."""
    loss = splat(0.0, dl)
    for k in range(0, K * stride, stride):
        difference = load(M, a + k, dl) - load(M, t + k, dl)
        loss = fma(difference, difference, loss)
        store(M, d + k, dl * splat(2.0 / K, dl) * difference)
    return loss / splat(float(K), dl)


@compiled
def loss_and_gradient(M, code, f, t, d, K, stride, dl):
    """The losses of one group of samples, which read F; dF into D."""
    if code == SOFTMAX_CE:
        return softmax_loss(M, f, t, d, K, stride, dl)
    if code == NORMALIZED_CE:
        return normalized_loss(M, f, t, d, K, stride, dl)
    if code == CLIPPED_CE:
        return clipped_loss(M, f, t, d, K, stride, dl)
    return squared_loss(M, f, t, d, K, stride, dl)


@compiled
def largest(M, a, K, stride, like):
    """The lowest k whose A_k is the largest, as a float."""
    best, which = load(M, a, like), splat(0.0, like)
    for k in range(1, K):
        x = load(M, a + k * stride, like)
        which = where_gt(x, best, splat(float(k), like), which)
        best = where_gt(x, best, x, best)
    return which


# --- the layers above -----------------------------------------------------------------------------


@compiled
def tile(M, w, down, across, a, K, z, stride, fresh, like):
    """Z_t += sum_k W[w + t across + k down] A_k for eight t, k from first to last."""
    zero = splat(0.0, like)
    z0, z1, z2, z3, z4, z5, z6, z7 = zero, zero, zero, zero, zero, zero, zero, zero
    if not fresh:
        z0, z1 = load(M, z, like), load(M, z + stride, like)
        z2, z3 = load(M, z + 2 * stride, like), load(M, z + 3 * stride, like)
        z4, z5 = load(M, z + 4 * stride, like), load(M, z + 5 * stride, like)
        z6, z7 = load(M, z + 6 * stride, like), load(M, z + 7 * stride, like)
    for k in range(K):
        x, c = load(M, a + k * stride, like), w + k * down
        z0 = fma(spread(M, c, like), x, z0)
        z1 = fma(spread(M, c + across, like), x, z1)
        z2 = fma(spread(M, c + 2 * across, like), x, z2)
        z3 = fma(spread(M, c + 3 * across, like), x, z3)
        z4 = fma(spread(M, c + 4 * across, like), x, z4)
        z5 = fma(spread(M, c + 5 * across, like), x, z5)
        z6 = fma(spread(M, c + 6 * across, like), x, z6)
        z7 = fma(spread(M, c + 7 * across, like), x, z7)
    store(M, z, z0)
    store(M, z + stride, z1)
    store(M, z + 2 * stride, z2)
    store(M, z + 3 * stride, z3)
    store(M, z + 4 * stride, z4)
    store(M, z + 5 * stride, z5)
    store(M, z + 6 * stride, z6)
    store(M, z + 7 * stride, z7)


@compiled
def place(group, far, n):
    """Where in a node a group of n samples begins. Two groups stand side by side, with all rows of
    the node; the next two stand `far` behind them: so a node's rows are never pages apart."""
    return group // 2 * far + group % 2 * n


@compiled
def tiles(M, w, down, across, a, far, K, z, z_far, mine, end, fresh, like):
    """`tile` for groups of samples, two at a time where both are wanted."""
    n, g = lanes(like), mine
    while g < end:
        x, to = a + place(g, far, n), z + place(g, z_far, n)
        if g % 2 == 0 and g + 1 < end:
            tile(M, w, down, across, x, K, to, 2 * n, fresh, zeros(M, PAIR))
            g += 1
        else:
            tile(M, w, down, across, x, K, to, 2 * n, fresh, like)
        g += 1


@compiled
def multiply(net, layer, top, K, a, far, z, mine, end, fresh, like):
    """Z += A W over K rows of W from `top` on, A the node at a, for groups of samples."""
    for s in range(net.layers[layer, STRIPS], net.layers[layer + 1, STRIPS]):
        start, down, left, right = net.strips[s]
        for column in range(left, min(right, net.layers[layer, OUTPUTS]), TILE):
            w, to = start + top * down + column - left, z + column * 2 * lanes(like)
            tiles(net.M, w, down, ONE, a, far, K, to, net.far, mine, end, fresh, like)


@compiled
def multiply_back(net, layer, mine, end, like):
    """dX = dZ W^T of an upper layer, into the gradient of the layer below."""
    stride, far, first = 2 * lanes(like), net.far, net.layers[layer, STRIPS]
    d, below = net.layers[layer, SLOPES], net.layers[layer - 1, SLOPES]
    for i in range(0, net.layers[layer, INPUTS], TILE):
        for s in range(first, net.layers[layer + 1, STRIPS]):
            start, down, left, right = net.strips[s]
            K, w = min(right, net.layers[layer, OUTPUTS]) - left, start + i * down
            dz, to = d + left * stride, below + i * stride
            tiles(net.M, w, ONE, down, dz, far, K, to, far, mine, end, s == first, like)


@compiled
def collect(net, group, like):
    """Z of the first layer for a group of samples: the chunks' parts summed, first to last.
    Returns 0 in every lane, or NaN where a sum is not finite."""
    M, n, columns, part = net.M, lanes(like), net.layers[0, COLUMNS], net.parts
    q, size = place(group, net.far, n), part_of(net, 1) - part
    node, wrong = net.layers[0, NODE] + q, splat(0.0, like)
    # samples' rows, to be turned, or a node
    first, stride, end = part + q, 2 * n, net.layers[0, OUTPUTS]
    if net.compressed:
        first, stride, end = part + group * n * columns, n, columns
    for at in range(first, first + end * stride, stride):
        z = load(M, at, like)
        for chunk in range(1, CHUNKS):
            z = z + load(M, at + chunk * size, like)
        wrong = fma(z, splat(0.0, like), wrong)
        store(M, at if net.compressed else node + at - first, z)
    if net.compressed:
        for o in range(0, columns, n):
            turn(M, first + o, columns, M, node + o * 2 * n, 2 * n, like)
    return wrong


@compiled
def turn_side(net, layer, group, like):
    """A layer's dZ of a group, from samples as lanes to outputs as lanes; 0 where there is none."""
    M, n, columns = net.M, lanes(like), net.layers[layer, COLUMNS]
    d = net.layers[layer, SLOPES] + place(group, net.far, n)
    side, stride = net.layers[layer, SIDE] + group * n * columns, 2 * n
    for o in range(net.layers[layer, OUTPUTS], columns):
        store(M, d + o * stride, splat(0.0, like))
    for o in range(0, columns, n):
        turn(M, d + o * stride, stride, M, side + o, columns, like)


@compiled
def aim(net, given, order, at, B, group, divisor, like):
    """One group's targets, as a node, and what each sample's loss weighs: w_b / divisor."""
    M, n, first = net.M, lanes(like), group * lanes(like)
    t, K = net.targets + place(group, net.far, n), net.layers[-2, OUTPUTS]
    if given.labels.size:
        for k in range(t, t + K * 2 * n, 2 * n):
            store(M, k, splat(0.0, like))
    for b in range(min(n, B - first)):
        sample = order[at + first + b]
        if given.labels.size:
            M[t + given.labels[sample] * 2 * n + b] = 1
        else:
            for k in range(K):
                M[t + k * 2 * n + b] = given.targets[sample, k]
        weight = given.weights[sample] if given.weights.size else M.dtype.type(1)
        M[net.scores + first + b] = weight / M.dtype.type(divisor)


@compiled
def head(net, judged, group, like):
    """Outputs of the last layer; if judged, also losses, their gradient, and right answers."""
    M, n, last = net.M, lanes(like), net.layers.shape[0] - 2
    stride, q = 2 * n, place(group, net.far, n)
    K, code = net.layers[last, OUTPUTS], net.layers[last, ACTIVATION]
    z, d = net.layers[last, NODE] + q, net.layers[last, SLOPES] + q
    a, t = net.head + q, net.targets + q
    activate(M, code, z, a, K, stride, like)
    if not judged:
        return
    scores = net.scores + group * n
    dl = load(M, scores, like)
    loss = loss_and_gradient(M, net.loss, a if net.reads_outputs else z, t, d, K, stride, dl)
    if net.reads_outputs:
        derive(M, code, a, d, K, stride, like)
    apart = fabs(largest(M, a, K, stride, like) - largest(M, t, K, stride, like))
    yes = where_lt(apart, splat(0.5, like), splat(1.0, like), splat(0.0, like))
    store(M, scores + net.padded, loss)
    store(M, scores + 2 * net.padded, yes)


@compiled
def upward(net, judged, mine, end, like):
    """From the first layer's sums to outputs and losses, for groups `mine` to `end`; 0, or NaN
    if a sum is not finite."""
    M, n, far, last = net.M, lanes(like), net.far, net.layers.shape[0] - 2
    wrong = splat(0.0, like)
    for group in range(mine, end):
        wrong = wrong + collect(net, group, like)
    for layer in range(1, last + 1):
        K, a, code = net.layers[layer, INPUTS], net.layers[layer - 1, NODE], layer - 1
        for group in range(mine, end):
            x = a + place(group, far, n)
            activate(M, net.layers[code, ACTIVATION], x, x, K, 2 * n, like)
            store(M, x + K * 2 * n, splat(1.0, like))  # what feeds the bias
        K += net.layers[layer, BIAS]
        multiply(net, layer, NONE, K, a, far, net.layers[layer, NODE], mine, end, YES, like)
    for group in range(mine, end):
        head(net, judged, group, like)
    return sum_lanes(wrong)


@compiled
def downward(net, mine, end, like):
    """From the head's gradient down to the first layer's, for groups `mine` to `end`."""
    n, last = lanes(like), net.layers.shape[0] - 2
    for layer in range(last, -1, -1):
        a, d = net.layers[layer, NODE], net.layers[layer, SLOPES]
        K, code = net.layers[layer, OUTPUTS], net.layers[layer, ACTIVATION]
        for group in range(mine, end):
            if layer < last:
                q = place(group, net.far, n)
                derive(net.M, code, a + q, d + q, K, 2 * n, like)
            turn_side(net, layer, group, like)
        if layer:
            multiply_back(net, layer, mine, end, like)


# --- whole calls: `fused` compiles the last four --------------------------------------------------


@glue
def first_phase(net, samples, work, step, thread, team, crew, fused):
    """All that changes weights, and the first layer's products with the new ones.

    Whether a weight that was written is not finite: NaN if so, else 0.
    """
    order, old, old_B, new, new_B, side = work
    wrong = net.M.dtype.type(0)
    if old_B:
        for layer in range(1, net.layers.shape[0] - 1):
            lo, hi = share(net.layers[layer, ROWS] // 4, thread, crew)
            a = net.layers[layer - 1, NODE]
            wrong += learn_rows(net, layer, old_B, a, net.far, 4 * lo, 4 * hi, step, thread)
    halves = 1 if fused else 2
    for half in range(halves):
        learned, multiplied = old_B * (half == 0), new_B * (half == halves - 1)
        work = order, old, learned, new, multiplied, side
        wrong += first_layer(net, samples, work, step, thread, team)
    return wrong


@glue
def second_phase(net, targets, order, at, B, divisor, thread, team):
    """Up and down the layers above the first, on this thread's groups of samples."""
    like = zeros(net.M, NARROW)
    n = lanes(like)
    mine, end = share((B + n - 1) // n, thread, team)
    for group in range(mine, end):
        aim(net, targets, order, at, B, group, divisor, like)
    for few in range(mine, end, CROWD):
        last = min(few + CROWD, end)
        upward(net, YES, few, last, like)
        downward(net, few, last, like)


@compiled
def scored(net, B):
    """Sum of weighted losses over the divisor, and right answers, of a batch; first to last."""
    loss, right, far, s = 0.0, 0, net.padded, net.scores
    for b in range(s, s + B):
        loss += float(net.M[b]) * float(net.M[b + far])
        right += int(net.M[b + 2 * far])
    return loss, right


@compiled
def sound(net, losses, k, team):
    """Whether batch k's loss and the weights after it are finite."""
    wrong = net.M.dtype.type(0)
    for thread in range(team):
        wrong += net.M[net.scratch + (thread + 1) * net.each - 1]
    return bool(np.isfinite(wrong)) and bool(np.isfinite(losses[k]))


@compiled
def settings(net, rate):
    """What `update` is told."""
    c = net.constants
    return net.optimizer, c.dtype.type(rate), c[0], c[1], c[2], c[3], c[4], c[5]


def train(net, samples, targets, job, control, first, last, thread, team):
    """Batches first to last of an epoch; every thread of the team calls it with its number.

    Returns the first batch whose loss, or whose update's weights, are not finite; or -1.
    """
    order, rates, size, mean, fused, losses, right, progress = job
    side: Any = np.int64(0)
    old_B: Any = np.int64(0)
    bad: Any = np.int64(-1)
    asked, step, since = team, settings(net, 0.0), _ticks()
    for k in range(first, last + 1):
        at, old = k * size, (k - 1) * size
        B = min(size, order.size - at) if k < last else 0
        if thread == 0 and old_B:
            losses[k - 1], right[k - 1] = scored(net, old_B)
        work = (order, old, old_B, at, B, side)
        crew = team if net.shared else 1
        wrong = first_phase(net, samples, work, step, thread, team, crew, fused)
        net.M[net.scratch + (thread + 1) * net.each - 1] += wrong
        sync(control, thread, team)
        if thread == 0:
            progress[0] = k
            if old_B and not sound(net, losses, k - 1, asked):
                bad = np.int64(k - 1)
                control[VERDICT * LINE] = LEAVE
            elif late(control, since):
                control[VERDICT * LINE] = HELP_IS_LATE
        if B:
            step = settings(net, rates[k])
            second_phase(net, targets, order, at, B, float(B) if mean else 1.0, thread, crew)
        sync(control, thread, team)
        if control[VERDICT * LINE] == LEAVE or _read(control, ABORT * LINE) != 0:
            break
        if control[VERDICT * LINE] == HELP_IS_LATE:
            if thread > 0:
                break
            team = 1
        old_B, side = B, 1 - side
    return bad


def look(net, samples, targets, job, outputs):
    """Outputs of all samples; their losses and right answers too, with targets. Returns 0, or NaN
    if a sum of the first layer's is not finite.

    A thread calls it with a net of its own, so there is nobody to wait for.
    """
    order, _, size, _, _, losses, right, _ = job
    judged = targets.labels.size > 0 or targets.targets.size > 0
    K, like, wrong = net.layers[-2, OUTPUTS], zeros(net.M, NARROW), 0.0
    n, step = lanes(like), settings(net, 0.0)
    for k in range(losses.size):
        at = k * size
        B = min(size, order.size - at)
        first_layer(net, samples, (order, NONE, NONE, at, B, NONE), step, NONE, ONE)
        groups = (B + n - 1) // n
        if judged:
            for group in range(groups):
                aim(net, targets, order, at, B, group, 1.0, like)
        wrong += upward(net, judged, NONE, groups, like)
        if judged:
            losses[k], right[k] = scored(net, B)
        if outputs.size:
            for b in range(B):
                a = net.head + place(b // n, net.far, n) + b % n
                for o in range(K):
                    outputs[at + b, o] = net.M[a + o * 2 * n]
    return wrong


def count(X, N, inputs, live):
    """How many numbers of N rows are not 0; marks in `live` the inputs that ever are not."""
    total = 0
    for s in range(0, N * inputs, inputs):
        for i in range(inputs):
            some = pick(X, s + i) != 0
            total += some
            live[i] |= some
    return total


def compress(net, dense, rows):
    """Samples without their zeros, times scale, cut by blocks; the input that is 1 and feeds the
    biases is appended. A register at a time: no guessing of branches.

    Bytes stay bytes, codes of a table: a third of the memory to wait for. As no 0 is kept, that
    code stands for the input that is 1.
    """
    cuts, index, value, _, unit = rows
    X, n, at, scale = dense.value, 16, np.int64(0), unit[0]
    inputs, bias = net.layers[0, INPUTS], net.layers[0, BIAS]
    for s in range(cuts.shape[0]):
        row = s * inputs
        for block in range(net.blocks.shape[0]):
            top, bottom = net.blocks[block, TOP], net.blocks[block, BOTTOM]
            cuts[s, block] = at
            whole = top + max(0, min(bottom, inputs) - top) // n * n
            for i in range(top, whole, n):
                at += keep_nonzero(X, row + i, value, index, at, i - top, scale)
            for i in range(whole, min(bottom, inputs)):
                value[at] = value.dtype.type(pick(X, row + i)) * scale
                index[at] = i - top
                at += pick(X, row + i) != 0
            if bias and top <= inputs < bottom:
                value[at] = unit[1]
                index[at] = inputs - top
                at += 1
        cuts[s, net.blocks.shape[0]] = at
