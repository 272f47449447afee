"""The compiled step: what `reference.py` says (read it first), fused and laid out for the machine.

The parameters of a layer are stored as panels: matrices of 4 or 2 registers' width, whose row i
holds the weights from input i to those outputs; the bias is the row of an input that is always 1.
Between layers, samples are lanes: entry (q, o, lane) of a node is output o of sample q * lanes +
lane, so that softmax, losses and the count of right answers are plain loops too.
A step is two parts: `first_layer` (block by block of inputs: gradient, optimizer, and at once the
next batch's products with the new weights, while they are in the cache) and `upper_layers`.
Sums over inputs run in CHUNKS fixed pieces, whatever the number of threads, and every other sum in
one piece: so threads cannot change a bit.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return"

from __future__ import annotations

from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from scratchnet.engines import vector
from scratchnet.engines.vector import (
    fabs,
    fma,
    lanes,
    load,
    pick,
    prefetch,
    put,
    quotient,
    splat,
    spread,
    sqrt,
    store,
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
"""Nothing here owns memory or is called by Python: no counts of references, no wrappers. That is
most of the difference between 40 seconds of compiling and 10."""
compiled = njit(**_OPTIONS)
glue = njit(inline="always", **_OPTIONS)
"""For functions called from one place: not compiled by themselves first."""
CHUNKS = 4
"""Pieces in which the first layer's inputs are summed, and shared among threads."""
GROUP = 2
"""Registers of a group of samples."""
TILE = 8
"""Outputs (or inputs) that a tile of the upper layers computes at once."""
EPSILON = 1e-7
"""Keras's fuzz, as in `reference.py`."""
SMALLEST_GRADIENT = 1e-30
"""Gradients of the head below this are taken as 0, as first moments are: denormals are slow."""

LINEAR, RELU, SIGMOID, TANH, SOFTMAX = range(5)
SOFTMAX_CE, NORMALIZED_CE, CLIPPED_CE, SQUARED_ERROR = range(4)
SGD, MOMENTUM, NESTEROV, ADAM, AMSGRAD = range(5)
FLOAT_INPUT, DOUBLE_INPUT, BYTE_INPUT, COMPRESSED = range(4)

# columns of Net.layers
INPUTS, OUTPUTS, BIAS, ROWS, ACTIVATION, FIRST_PANEL, END_PANEL, NODE, HEIGHT, SIDE = range(10)
# columns of Net.panels
START, REGISTERS, COLUMN = range(3)
# columns of Net.blocks
TOP, BOTTOM = range(2)
# Net.codes
LOSS, READS_OUTPUTS, OPTIMIZER, BATCH, SHARED, SIZE = range(6)


class Net(NamedTuple):
    """A plan and its numbers, padded: arrays are flat unless a shape is given."""

    layers: Any
    """int64 (layers, 10): INPUTS, OUTPUTS, BIAS (0 or 1); ROWS in a panel; ACTIVATION; its panels;
    where its node begins, HEIGHT rows for each group of samples; where its `rows` begin."""
    panels: Any
    """int64 (panels, 3): where it begins, its registers, its first column."""
    blocks: Any
    """int64 (blocks, 2): rows of the first layer that are worked on at a time."""
    chunks: Any
    """int64 (CHUNKS + 1,): the blocks of each chunk."""
    codes: Any
    """int64: loss, whether it reads A, optimizer, padded batch, whether threads share the upper
    layers, batch size."""
    constants: Any
    """1 - beta_1, 1 - beta_2, epsilon, momentum, smallest first moment."""
    theta: Any
    slot_1: Any
    slot_2: Any
    slot_3: Any
    z: Any
    """Nodes: pre-activations, and then outputs, of each layer."""
    dz: Any
    """Nodes' gradients with samples as lanes."""
    rows: Any
    """The same with outputs as lanes, panel by panel: what weights' gradients are made of."""
    parts: Any
    """The first layer's sums, a part for each chunk."""
    head: Any
    """Outputs of the head, as a node."""
    targets: Any
    """Targets of the batch, as a node."""
    scores: Any
    """For each sample of the batch: what its loss weighs; its loss; 1 if its answer is right."""
    live: Any
    """Whether an input of the first layer has an entry or a moment: what has not, cannot move."""
    scratch: Any
    """(threads, numbers): a gradient block and lanes of losses for each thread."""
    inputs: Any
    """(2, padded batch * ROWS): this batch's inputs and the next one's, where not compressed."""


class Vectors(NamedTuple):
    """Parameters and moments alone, for one step of an optimizer."""

    theta: Any
    slot_1: Any
    slot_2: Any
    slot_3: Any


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


class Data(NamedTuple):
    """The samples. Arrays that a kind of input does not need are empty."""

    kind: int
    floats: Any
    doubles: Any
    bytes: Any
    scale: float
    offset: float
    begin: Any
    """Compressed rows: where the entries of a sample begin."""
    cuts: Any
    """int32 (N, blocks + 1): from there, where those of each block begin."""
    index: Any
    """uint16: the row within its block."""
    value: Any
    labels: Any
    targets: Any
    weights: Any


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


# --- optimizers: one row of a panel ---------------------------------------------------------------


@compiled
def update(net, at, g, step, wrong):
    """One optimizer step on the parameters from `at` on, as `sgd` and `adam` of the reference.

    Returns `wrong` + 0 w: a NaN from the first weight on that is not finite.
    """
    code, rate, c1, c2, epsilon, momentum, tiny = step
    w = load(net.theta, at, g)
    zero = splat(0.0, g)
    if code >= ADAM:
        m, v = load(net.slot_1, at, g), load(net.slot_2, at, g)
        m = fma(g - m, splat(c1, g), m)
        m = where_lt(fabs(m), splat(tiny, g), zero, m)
        v = fma(g * g - v, splat(c2, g), v)
        store(net.slot_1, at, m)
        store(net.slot_2, at, v)
        if code == AMSGRAD:
            top = load(net.slot_3, at, g)
            v = where_lt(v, top, top, v)
            store(net.slot_3, at, v)
        w = w - quotient(m * splat(rate, g), sqrt(v) + splat(epsilon, g))
    else:
        change = g * splat(rate, g)
        if code == SGD:
            w = w - change
        else:
            u = load(net.slot_1, at, g) * splat(momentum, g) - change
            store(net.slot_1, at, u)
            w = w + (u * splat(momentum, g) - change if code == NESTEROV else u)
    store(net.theta, at, w)
    return fma(w, zero, wrong)


@compiled
def update_four(net, at, g0, g1, g2, g3, step, dW, wrong):
    """`update` of four rows, by way of memory: one copy of its code instead of four."""
    width = lanes(g0)
    store(dW, 0, g0)
    store(dW, width, g1)
    store(dW, 2 * width, g2)
    store(dW, 3 * width, g3)
    for i in range(0, 4 * width, width):
        g = load(dW, i, g0)
        store(dW, i, splat(0.0, g))
        wrong = update(net, at + i, g, step, wrong)
    return wrong


@glue
def optimize(net, grad, code, rate, constants):
    """One step on whole registers of flat vectors; returns where it stopped short of the end.

    `net` needs theta and its slots only.
    """
    like = zeros(net.theta, GROUP)
    n, wrong, c = lanes(like), zeros(net.theta, GROUP), constants
    step = (code, c.dtype.type(rate), c[0], c[1], c[2], c[3], c[4])
    end = grad.size // n * n
    for at in range(0, end, n):
        wrong = update(net, at, load(grad, at, like), step, wrong)
    return end


# --- part one: the first layer, by blocks of its inputs -------------------------------------------


@compiled
def learn_compressed(net, data, order, at, B, block, panel, thread, like):
    """dW_io = sum_b X_bi dZ_bo over the entries that are not 0, into the thread's scratch."""
    width = lanes(like)
    dW = net.scratch[thread]
    rows = panel[COLUMN] * net.codes[BATCH]
    for b in range(B):
        sample = order[at + b]
        d = load(net.rows, rows + b * width, like)
        begin = data.begin[sample]
        for j in range(begin + data.cuts[sample, block], begin + data.cuts[sample, block + 1]):
            to = np.int64(pick(data.index, j)) * width
            store(dW, to, fma(spread(data.value, j, like), d, load(dW, to, like)))


@compiled
def update_compressed(net, block, panel, step, thread, like):
    """The optimizer on a block of rows; clears the gradient as it goes."""
    width, zero = lanes(like), splat(0.0, like)
    dW, wrong = net.scratch[thread], zero
    top, bottom = net.blocks[block, TOP], net.blocks[block, BOTTOM]
    for i in range(top, bottom):
        if not net.live[i]:
            continue
        g = load(dW, (i - top) * width, like)
        store(dW, (i - top) * width, zero)
        wrong = update(net, panel[START] + i * width, g, step, wrong)
    return wrong


@compiled
def fetch_ahead(data, order, at, size, block):
    """Asks for a block's entries of sample order[at], and for the tables of the batch after."""
    if at < order.size:
        sample = pick(order, at)
        begin = pick(data.begin, sample)
        first = begin + pick(data.cuts, sample * data.cuts.shape[1] + block)
        prefetch(data.index, first)
        prefetch(data.value, first)
        prefetch(data.value, first + 64 // data.value.itemsize)
        if block == 0 and at + size < order.size:
            prefetch(data.begin, pick(order, at + size))
            prefetch(data.cuts, pick(order, at + size) * data.cuts.shape[1])


@compiled
def forward_compressed(net, data, order, at, B, block, panel, part, fresh, like):
    """Z_bo += X_bi W_io over a block's entries that are not 0; `fresh` starts the sum from 0."""
    width = lanes(like)
    W, size = panel[START] + net.blocks[block, TOP] * width, net.codes[SIZE]
    for b in range(B):
        if panel[COLUMN] == 0:
            fetch_ahead(data, order, at + b + size, size, block)
        sample = order[at + b]
        to = part + b * width
        z = splat(0.0, like) if fresh else load(net.parts, to, like)
        begin = data.begin[sample]
        for j in range(begin + data.cuts[sample, block], begin + data.cuts[sample, block + 1]):
            w = load(net.theta, W + np.int64(pick(data.index, j)) * width, like)
            z = fma(spread(data.value, j, like), w, z)
        store(net.parts, to, z)


@compiled
def learn_dense(net, X, B, stride, block, panel, step, dW, like):
    """dW_io = sum_b X_bi dZ_bo for four inputs at a time, which are updated on the spot."""
    width, zero = lanes(like), splat(0.0, like)
    wrong = zero
    rows = panel[COLUMN] * net.codes[BATCH]
    for i in range(net.blocks[block, TOP], net.blocks[block, BOTTOM], 4):
        a0, a1, a2, a3 = zero, zero, zero, zero
        for b in range(B):
            d, x = load(net.rows, rows + b * width, like), b * stride + i
            a0 = fma(spread(X, x, like), d, a0)
            a1 = fma(spread(X, x + 1, like), d, a1)
            a2 = fma(spread(X, x + 2, like), d, a2)
            a3 = fma(spread(X, x + 3, like), d, a3)
        at = panel[START] + i * width
        wrong = update_four(net, at, a0, a1, a2, a3, step, dW, wrong)
    return wrong


@compiled
def forward_dense(net, X, B, stride, block, panel, part, fresh, like):
    """Z_bo += sum_i X_bi W_io over a block, for four samples at a time."""
    width, zero = lanes(like), splat(0.0, like)
    for b in range(0, B, 4):
        to, x = part + b * width, b * stride
        z0, z1, z2, z3 = zero, zero, zero, zero
        if not fresh:
            z0, z1 = load(net.parts, to, like), load(net.parts, to + width, like)
            z2 = load(net.parts, to + 2 * width, like)
            z3 = load(net.parts, to + 3 * width, like)
        for i in range(net.blocks[block, TOP], net.blocks[block, BOTTOM]):
            w = load(net.theta, panel[START] + i * width, like)
            z0 = fma(spread(X, x + i, like), w, z0)
            z1 = fma(spread(X, x + stride + i, like), w, z1)
            z2 = fma(spread(X, x + 2 * stride + i, like), w, z2)
            z3 = fma(spread(X, x + 3 * stride + i, like), w, z3)
        store(net.parts, to, z0)
        store(net.parts, to + width, z1)
        store(net.parts, to + 2 * width, z2)
        store(net.parts, to + 3 * width, z3)


@compiled
def scaled(A, a, n, scale, offset, X, x):
    """X[x : x + n] = A[a : a + n] * scale + offset, A of any dtype."""
    for i in range(n):
        put(X, x + i, X.dtype.type(pick(A, a + i)) * scale + offset)


@compiled
def gather(net, data, order, at, B, left, right, X):
    """Columns left to right of a batch of inputs, X * scale + offset, into X (batch, ROWS)."""
    inputs, rows = net.layers[0, INPUTS], net.layers[0, ROWS]
    scale, offset = X.dtype.type(data.scale), X.dtype.type(data.offset)
    n = min(right, inputs) - left
    for b in range(B):
        a, x = order[at + b] * inputs + left, b * rows + left
        if data.kind == BYTE_INPUT:
            scaled(data.bytes, a, n, scale, offset, X, x)
        elif data.kind == FLOAT_INPUT:
            scaled(data.floats, a, n, scale, offset, X, x)
        else:
            scaled(data.doubles, a, n, scale, offset, X, x)


@compiled
def one_block(net, data, work, step, block, chunk, p, thread, like):
    """Learn from the old batch, then multiply the new one, on one block of one panel."""
    order, old, old_B, new, new_B, turn = work
    panel = net.panels[p]
    batch, columns = net.codes[BATCH], net.layers[0, HEIGHT]
    part = (chunk * columns + panel[COLUMN]) * batch
    fresh = block == net.chunks[chunk]
    wrong = splat(0.0, like)
    stride = net.layers[0, ROWS]
    if data.kind == COMPRESSED:
        if old_B:
            learn_compressed(net, data, order, old, old_B, block, panel, thread, like)
            wrong = update_compressed(net, block, panel, step, thread, like)
        if new_B:
            forward_compressed(net, data, order, new, new_B, block, panel, part, fresh, like)
    else:
        if old_B:
            X, dW = net.inputs[1 - turn], net.scratch[thread]
            wrong = learn_dense(net, X, old_B, stride, block, panel, step, dW, like)
        if new_B:
            X = net.inputs[turn]
            forward_dense(net, X, new_B, stride, block, panel, part, fresh, like)
    return wrong


@compiled
def first_layer(net, data, work, step, thread, team):
    """Part one, on this thread's chunks. `work` is (order, old, its size, new, its size, turn)."""
    order, _, _, new, new_B, turn = work
    wrong = net.theta.dtype.type(0)
    lane = net.scratch[thread, -64:]
    mine, end = share(CHUNKS, thread, team)
    for chunk in range(mine, end):
        for block in range(net.chunks[chunk], net.chunks[chunk + 1]):
            if data.kind != COMPRESSED and new_B:
                left, right = net.blocks[block, TOP], net.blocks[block, BOTTOM]
                gather(net, data, order, new, new_B, left, right, net.inputs[turn])
            for p in range(net.layers[0, FIRST_PANEL], net.layers[0, END_PANEL]):
                if net.panels[p, REGISTERS] == 4:
                    like = zeros(net.theta, 4)
                    bad = one_block(net, data, work, step, block, chunk, p, thread, like)
                    wrong += total(bad, lane)
                else:
                    half = zeros(net.theta, 2)
                    bad_2 = one_block(net, data, work, step, block, chunk, p, thread, half)
                    wrong += total(bad_2, lane)
    net.scratch[thread, -65] += wrong


@compiled
def total(x, lane):
    """The sum of a vector's lanes, first to last."""
    store(lane, 0, x)
    result = lane[0]
    for k in range(1, lanes(x)):
        result += lane[k]
    return result


# --- activations and losses: samples are lanes ----------------------------------------------------


@compiled
def squash(code, z):
    """A = f(Z), for the activations that look at one number."""
    zero, one = splat(0.0, z), splat(1.0, z)
    if code == RELU:
        return where_gt(z, zero, z, zero)
    if code == SIGMOID:
        e = vector.exp(zero - fabs(z))
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
def shifted_exp(Z, z, K, E, e, like):
    """E_k = exp(Z_k - max Z); returns the maximum and the sum. E may be Z."""
    n = lanes(like)
    top = load(Z, z, like)
    for k in range(1, K):
        x = load(Z, z + k * n, like)
        top = where_gt(x, top, x, top)
    total = splat(0.0, like)
    for k in range(K):
        x = vector.exp(load(Z, z + k * n, like) - top)
        store(E, e + k * n, x)
        total = total + x
    return top, total


@compiled
def activate(code, Z, z, K, A, a, like):
    """A = f(Z) for K outputs of one group of samples."""
    n = lanes(like)
    if code == SOFTMAX:
        _, total = shifted_exp(Z, z, K, A, a, like)
        for k in range(a, a + K * n, n):
            store(A, k, load(A, k, like) / total)
    else:
        for k in range(0, K * n, n):
            store(A, a + k, squash(code, load(Z, z + k, like)))


@compiled
def derive(code, A, a, K, D, d, like):
    """dZ = dA f'(Z) in place, D holding dA."""
    n = lanes(like)
    if code == SOFTMAX:
        inner = splat(0.0, like)
        for k in range(0, K * n, n):
            inner = fma(load(D, d + k, like), load(A, a + k, like), inner)
        for k in range(0, K * n, n):
            store(D, d + k, load(A, a + k, like) * (load(D, d + k, like) - inner))
    elif code != LINEAR:
        for k in range(0, K * n, n):
            store(D, d + k, slope(code, load(D, d + k, like), load(A, a + k, like)))


@compiled
def softmax_loss(F, f, T, t, K, dl, D, d):
    """l = -sum_k T_k log softmax(F)_k and dF = dl (softmax(F) sum(T) - T). D may be F."""
    n, zero = lanes(dl), splat(0.0, dl)
    weight, inner = zero, zero
    top, _ = zero, zero
    top = load(F, f, dl)
    for k in range(n, K * n, n):
        x = load(F, f + k, dl)
        top = where_gt(x, top, x, top)
    for k in range(0, K * n, n):
        target = load(T, t + k, dl)
        weight = weight + target
        inner = fma(target, load(F, f + k, dl) - top, inner)
    _, total = shifted_exp(F, f, K, D, d, dl)
    part = weight / total
    for k in range(0, K * n, n):
        x = dl * fma(load(D, d + k, dl), part, zero - load(T, t + k, dl))
        store(D, d + k, where_lt(fabs(x), splat(SMALLEST_GRADIENT, dl), zero, x))
    return fma(weight, vector.log(total), zero - inner)


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
def clipped_loss(P, p, T, t, K, dl, D, d):
    """F = log clip(P), then as softmax_loss; dP = dF / P where P was not clipped."""
    n = lanes(dl)
    for k in range(0, K * n, n):
        store(D, d + k, vector.log(clip(load(P, p + k, dl))))
    loss = softmax_loss(D, d, T, t, K, dl, D, d)
    for k in range(0, K * n, n):
        x = load(P, p + k, dl)
        store(D, d + k, if_inside(x, load(D, d + k, dl) / clip(x)))
    return loss


@compiled
def normalized_loss(P, p, T, t, K, dl, D, d):
    """Q = P / sum(P), l = -sum_k T_k log clip(Q_k), dP = (dQ - sum_k dQ_k Q_k) / sum(P)."""
    n, zero = lanes(dl), splat(0.0, dl)
    total, loss, inner = zero, zero, zero
    for k in range(0, K * n, n):
        total = total + load(P, p + k, dl)
    for k in range(0, K * n, n):
        q, target = load(P, p + k, dl) / total, load(T, t + k, dl)
        loss = loss - target * vector.log(clip(q))
        dq = if_inside(q, zero - dl * target / clip(q))
        inner = fma(dq, q, inner)
        store(D, d + k, dq)
    for k in range(0, K * n, n):
        store(D, d + k, (load(D, d + k, dl) - inner) / total)
    return loss


@compiled
def squared_loss(A, a, T, t, K, dl, D, d):
    """l = mean_k (A_k - T_k)^2 and dA = dl 2 (A - T) / K."""
    n, loss = lanes(dl), splat(0.0, dl)
    for k in range(0, K * n, n):
        difference = load(A, a + k, dl) - load(T, t + k, dl)
        loss = fma(difference, difference, loss)
        store(D, d + k, dl * splat(2.0 / K, dl) * difference)
    return loss / splat(float(K), dl)


@compiled
def loss_and_gradient(net, F, f, t, K, dl, d):
    """The losses of one group of samples; dF into the head's gradient."""
    code, T, D = net.codes[LOSS], net.targets, net.dz
    if code == SOFTMAX_CE:
        return softmax_loss(F, f, T, t, K, dl, D, d)
    if code == NORMALIZED_CE:
        return normalized_loss(F, f, T, t, K, dl, D, d)
    if code == CLIPPED_CE:
        return clipped_loss(F, f, T, t, K, dl, D, d)
    return squared_loss(F, f, T, t, K, dl, D, d)


@compiled
def largest(A, a, K, like):
    """The lowest k whose A_k is the largest, as a float."""
    best, which = load(A, a, like), splat(0.0, like)
    for k in range(1, K):
        x = load(A, a + k * lanes(like), like)
        which = where_gt(x, best, splat(float(k), like), which)
        best = where_gt(x, best, x, best)
    return which


# --- part two: the layers above -------------------------------------------------------------------


@compiled
def collect(net, B, q, like):
    """Z of the first layer: the chunks' parts summed in order, and turned: samples are lanes."""
    n, batch, columns = lanes(like), net.codes[BATCH], net.layers[0, HEIGHT]
    node = net.layers[0, NODE] + q * columns * n
    one = zeros(net.theta, 1)
    width = lanes(one)
    for p in range(net.layers[0, FIRST_PANEL], net.layers[0, END_PANEL]):
        column, wide = net.panels[p, COLUMN], net.panels[p, REGISTERS] * width
        for b in range(q * n, min(B, (q + 1) * n)):
            at = column * batch + b * wide
            for k in range(at, at + wide, width):
                z = load(net.parts, k, one)
                for chunk in range(1, CHUNKS):
                    z = z + load(net.parts, chunk * columns * batch + k, one)
                store(net.parts, k, z)
            for o in range(min(wide, net.layers[0, OUTPUTS] - column)):
                net.z[node + (column + o) * n + b - q * n] = net.parts[at + o]


@compiled
def turn_rows(net, layer, B, q, like):
    """A layer's dZ from samples as lanes to outputs as lanes."""
    n, batch, height = lanes(like), net.codes[BATCH], net.layers[layer, HEIGHT]
    node = net.layers[layer, NODE] + q * height * n
    width = lanes(zeros(net.theta, 1))
    for p in range(net.layers[layer, FIRST_PANEL], net.layers[layer, END_PANEL]):
        column, wide = net.panels[p, COLUMN], net.panels[p, REGISTERS] * width
        for b in range(q * n, min(B, (q + 1) * n)):
            at = net.layers[layer, SIDE] + column * batch + b * wide
            for o in range(min(wide, net.layers[layer, OUTPUTS] - column)):
                net.rows[at + o] = net.dz[node + (column + o) * n + b - q * n]


@compiled
def tile(W, w, down, across, A, a, K, Z, z, fresh, like):
    """Z_t += sum_k W[w + t across + k down] A_k for eight t, k from first to last."""
    n, zero = lanes(like), splat(0.0, like)
    z0, z1, z2, z3, z4, z5, z6, z7 = zero, zero, zero, zero, zero, zero, zero, zero
    if not fresh:
        z0, z1, z2 = load(Z, z, like), load(Z, z + n, like), load(Z, z + 2 * n, like)
        z3, z4, z5 = load(Z, z + 3 * n, like), load(Z, z + 4 * n, like), load(Z, z + 5 * n, like)
        z6, z7 = load(Z, z + 6 * n, like), load(Z, z + 7 * n, like)
    for k in range(K):
        x, c = load(A, a + k * n, like), w + k * down
        z0 = fma(spread(W, c, like), x, z0)
        z1 = fma(spread(W, c + across, like), x, z1)
        z2 = fma(spread(W, c + 2 * across, like), x, z2)
        z3 = fma(spread(W, c + 3 * across, like), x, z3)
        z4 = fma(spread(W, c + 4 * across, like), x, z4)
        z5 = fma(spread(W, c + 5 * across, like), x, z5)
        z6 = fma(spread(W, c + 6 * across, like), x, z6)
        z7 = fma(spread(W, c + 7 * across, like), x, z7)
    store(Z, z, z0)
    store(Z, z + n, z1)
    store(Z, z + 2 * n, z2)
    store(Z, z + 3 * n, z3)
    store(Z, z + 4 * n, z4)
    store(Z, z + 5 * n, z5)
    store(Z, z + 6 * n, z6)
    store(Z, z + 7 * n, z7)


@compiled
def forward_tiles(net, layer, groups, thread, team, like):
    """Z = A W of an upper layer, this thread's tiles of eight outputs."""
    n, below = lanes(like), layer - 1
    height, under = net.layers[layer, HEIGHT], net.layers[below, HEIGHT]
    tiles = (net.layers[layer, OUTPUTS] + TILE - 1) // TILE
    width = lanes(zeros(net.theta, 1))
    K = net.layers[layer, INPUTS] + net.layers[layer, BIAS]
    mine, end = share(groups * tiles, thread, team)
    for task in range(mine, end):
        q, column = task // tiles, task % tiles * TILE
        p = net.layers[layer, FIRST_PANEL]
        while p + 1 < net.layers[layer, END_PANEL] and net.panels[p + 1, COLUMN] <= column:
            p += 1
        w = net.panels[p, START] + column - net.panels[p, COLUMN]
        a = net.layers[below, NODE] + q * under * n
        z = net.layers[layer, NODE] + (q * height + column) * n
        wide = net.panels[p, REGISTERS] * width
        tile(net.theta, w, wide, 1, net.z, a, K, net.z, z, True, like)


@compiled
def backward_tiles(net, layer, groups, thread, team, like):
    """dX = dZ W^T of an upper layer, into the gradient of the layer below."""
    n, below = lanes(like), layer - 1
    height, under = net.layers[layer, HEIGHT], net.layers[below, HEIGHT]
    tiles = (net.layers[layer, INPUTS] + TILE - 1) // TILE
    width = lanes(zeros(net.theta, 1))
    mine, end = share(groups * tiles, thread, team)
    for task in range(mine, end):
        q, i = task // tiles, task % tiles * TILE
        to = net.layers[below, NODE] + (q * under + i) * n
        for p in range(net.layers[layer, FIRST_PANEL], net.layers[layer, END_PANEL]):
            column, wide = net.panels[p, COLUMN], net.panels[p, REGISTERS] * width
            K = min(wide, net.layers[layer, OUTPUTS] - column)
            d = net.layers[layer, NODE] + (q * height + column) * n
            w = net.panels[p, START] + i * wide
            tile(net.theta, w, 1, wide, net.dz, d, K, net.dz, to, column == 0, like)


@compiled
def learn_upper(net, layer, B, p, step, lo, hi, group, dW, like):
    """dW_io = sum_b A_bi dZ_bo and the optimizer, for a panel's inputs lo to hi, four at a time."""
    width, zero = lanes(like), splat(0.0, like)
    wrong, A = zero, net.z
    rows = net.layers[layer, SIDE] + net.panels[p, COLUMN] * net.codes[BATCH]
    under = net.layers[layer - 1, HEIGHT] * group
    for i in range(lo, hi, 4):
        a0, a1, a2, a3 = zero, zero, zero, zero
        for q in range((B + group - 1) // group):
            x = net.layers[layer - 1, NODE] + q * under + i * group
            for b in range(q * group, min(B, (q + 1) * group)):
                d = load(net.rows, rows + b * width, like)
                a0 = fma(spread(A, x, like), d, a0)
                a1 = fma(spread(A, x + group, like), d, a1)
                a2 = fma(spread(A, x + 2 * group, like), d, a2)
                a3 = fma(spread(A, x + 3 * group, like), d, a3)
                x += 1
        at = net.panels[p, START] + i * width
        wrong = update_four(net, at, a0, a1, a2, a3, step, dW, wrong)
    return wrong


@glue
def learn_tiles(net, layer, B, step, group, thread, team):
    """Gradient and optimizer of an upper layer: this thread's inputs, all panels."""
    wrong, lane = net.theta.dtype.type(0), net.scratch[thread, -64:]
    dW = net.scratch[thread]
    mine, end = share(net.layers[layer, ROWS] // 4, thread, team)
    lo, hi = 4 * mine, 4 * end
    for p in range(net.layers[layer, FIRST_PANEL], net.layers[layer, END_PANEL]):
        if net.panels[p, REGISTERS] == 4:
            like = zeros(net.theta, 4)
            wrong += total(learn_upper(net, layer, B, p, step, lo, hi, group, dW, like), lane)
        else:
            half = zeros(net.theta, 2)
            wrong += total(learn_upper(net, layer, B, p, step, lo, hi, group, dW, half), lane)
    net.scratch[thread, -65] += wrong


@compiled
def activate_node(net, layer, q, like):
    """A = f(Z) of a hidden layer in place, and the 1 that feeds the next layer's bias."""
    n, K = lanes(like), net.layers[layer, OUTPUTS]
    z = net.layers[layer, NODE] + q * net.layers[layer, HEIGHT] * n
    activate(net.layers[layer, ACTIVATION], net.z, z, K, net.z, z, like)
    store(net.z, z + K * n, splat(1.0, like))


@compiled
def derive_node(net, layer, q, like):
    """dZ = dA f'(Z) of a hidden layer in place."""
    n, K = lanes(like), net.layers[layer, OUTPUTS]
    at = net.layers[layer, NODE] + q * net.layers[layer, HEIGHT] * n
    derive(net.layers[layer, ACTIVATION], net.z, at, K, net.dz, at, like)


@compiled
def aim(net, data, order, at, B, q, divisor, like):
    """One group's targets, as a node, and what each sample's loss weighs: w_b / divisor."""
    n, K = lanes(like), net.layers[-1, OUTPUTS]
    t = q * net.layers[-1, HEIGHT] * n
    if data.labels.size:
        net.targets[t : t + K * n] = 0
    for b in range(q * n, min(B, (q + 1) * n)):
        sample, lane = order[at + b], t + b - q * n
        if data.labels.size:
            net.targets[lane + data.labels[sample] * n] = 1
        else:
            for k in range(K):
                net.targets[lane + k * n] = data.targets[sample, k]
        weight = data.weights[sample] if data.weights.size else net.theta.dtype.type(1)
        net.scores[0, b] = weight / net.theta.dtype.type(divisor)


@compiled
def head(net, scored, q, like):
    """Outputs of the last layer; with `scored`, also losses, their gradient, and right answers."""
    n, last = lanes(like), net.layers.shape[0] - 1
    K, code = net.layers[last, OUTPUTS], net.layers[last, ACTIVATION]
    t = q * net.layers[last, HEIGHT] * n
    at = net.layers[last, NODE] + t
    activate(code, net.z, at, K, net.head, t, like)
    if not scored:
        return
    dl = load(net.scores[0], q * n, like)
    if net.codes[READS_OUTPUTS]:
        loss = loss_and_gradient(net, net.head, t, t, K, dl, at)
        derive(code, net.head, t, K, net.dz, at, like)
    else:
        loss = loss_and_gradient(net, net.z, at, t, K, dl, at)
    far = fabs(largest(net.head, t, K, like) - largest(net.targets, t, K, like))
    store(net.scores[1], q * n, loss)
    store(net.scores[2], q * n, where_lt(far, splat(0.5, like), splat(1.0, like), splat(0.0, like)))


@compiled
def upper_forward(net, B, scored, control, thread, team, like):
    """From the first layer's sums to outputs and losses."""
    groups = (B + lanes(like) - 1) // lanes(like)
    mine, end = share(groups, thread, team)
    last = net.layers.shape[0] - 1
    for q in range(mine, end):
        collect(net, B, q, like)
    for layer in range(1, last + 1):
        for q in range(mine, end):
            activate_node(net, layer - 1, q, like)
        sync(control, thread, team)
        forward_tiles(net, layer, groups, thread, team, like)
        sync(control, thread, team)
    for q in range(mine, end):
        head(net, scored, q, like)


@glue
def upper_backward(net, B, step, control, thread, team, like):
    """From the head's gradient down to the first layer's, updating every layer above it."""
    groups = (B + lanes(like) - 1) // lanes(like)
    mine, end = share(groups, thread, team)
    last = net.layers.shape[0] - 1
    for q in range(mine, end):
        turn_rows(net, last, B, q, like)
    for layer in range(last, 0, -1):
        sync(control, thread, team)
        backward_tiles(net, layer, groups, thread, team, like)
        sync(control, thread, team)
        learn_tiles(net, layer, B, step, lanes(like), thread, team)
        for q in range(mine, end):
            derive_node(net, layer - 1, q, like)
            turn_rows(net, layer - 1, B, q, like)


@glue
def upper_layers(net, data, order, at, B, divisor, step, control, thread, team, like):
    """Part two of a training step."""
    mine, end = share((B + lanes(like) - 1) // lanes(like), thread, team)
    for q in range(mine, end):
        aim(net, data, order, at, B, q, divisor, like)
    upper_forward(net, B, True, control, thread, team, like)
    upper_backward(net, B, step, control, thread, team, like)


# --- whole calls ----------------------------------------------------------------------------------


@compiled
def scored(net, B):
    """Sum of weighted losses over the divisor, and right answers, of a batch; first to last."""
    loss, right = 0.0, 0
    for b in range(B):
        loss += float(net.scores[0, b]) * float(net.scores[1, b])
        right += int(net.scores[2, b])
    return loss, right


@compiled
def sound(net, team):
    """Whether the weights that the last update wrote are finite."""
    wrong = net.theta.dtype.type(0)
    for thread in range(team):
        wrong += net.scratch[thread, -65]
    return bool(np.isfinite(wrong))


@compiled
def settings(net, rate):
    """What `update` is told."""
    c = net.constants
    return net.codes[OPTIMIZER], c.dtype.type(rate), c[0], c[1], c[2], c[3], c[4]


@glue
def train(net, data, job, control, first, last, thread, team):
    """Batches first to last of an epoch; every thread of the team calls it with its number.

    Returns the first batch whose loss, or whose update's weights, are not finite; or -1.
    """
    # np.int64 because a plain 0 has a type of its own, for which all would be compiled once more.
    order, rates, size, mean, fused, losses, right, progress = job
    none: Any = np.int64(0)
    turn: Any = np.int64(0)
    old_B: Any = np.int64(0)
    bad: Any = np.int64(-1)
    asked, samples, step, since = team, order.size, settings(net, 0.0), _ticks()
    for k in range(first, last + 1):
        at, old = k * size, (k - 1) * size
        B = min(size, samples - at) if k < last else 0
        if fused:
            first_layer(net, data, (order, old, old_B, at, B, turn), step, thread, team)
        else:
            first_layer(net, data, (order, old, old_B, at, none, turn), step, thread, team)
            first_layer(net, data, (order, old, none, at, B, turn), step, thread, team)
        sync(control, thread, team)
        if thread == 0:
            progress[0] = k
            if not sound(net, asked):
                bad = k - 1
        if B:
            step = settings(net, rates[k])
            divisor = float(B) if mean else 1.0
            crew = team if net.codes[SHARED] else 1
            like = zeros(net.theta, GROUP)
            upper_layers(net, data, order, at, B, divisor, step, control, thread, crew, like)
        if thread == 0:
            if B:
                losses[k], right[k] = scored(net, B)
                if bad < 0 and not np.isfinite(losses[k]):
                    bad = k
            if bad >= 0:
                control[VERDICT * LINE] = LEAVE
            elif late(control, since):
                control[VERDICT * LINE] = HELP_IS_LATE
        sync(control, thread, team)
        if control[VERDICT * LINE] == LEAVE or _read(control, ABORT * LINE) != 0:
            break
        if control[VERDICT * LINE] == HELP_IS_LATE:
            if thread > 0:
                break
            team = 1
        old_B, turn = B, 1 - turn
    return bad


@glue
def look(net, data, job, control, first, last, outputs):
    """Outputs of batches first to last of the samples in order; loss and answers too, with targets.

    A thread calls it with a net whose buffers are its own, so there is nobody to wait for.
    """
    order, _, size, _, _, losses, right, _ = job
    judged = data.labels.size > 0 or data.targets.size > 0
    K, height, like = net.layers[-1, OUTPUTS], net.layers[-1, HEIGHT], zeros(net.theta, GROUP)
    n, step, none, alone = lanes(like), settings(net, 0.0), np.int64(0), np.int64(1)
    for k in range(first, last):
        at = k * size
        B = min(size, order.size - at)
        first_layer(net, data, (order, none, none, at, B, none), step, none, alone)
        if judged:
            for q in range((B + n - 1) // n):
                aim(net, data, order, at, B, q, 1.0, like)
        upper_forward(net, B, judged, control, none, alone, like)
        if judged:
            losses[k], right[k] = scored(net, B)
        if outputs.size:
            for b in range(B):
                h = b // n * height * n + b % n
                for o in range(K):
                    outputs[at + b, o] = net.head[h + o * n]


@glue
def compress(X, scale, bias, blocks, begin, cuts, index, value, live):
    """Rows of X * scale without their zeros, cut by blocks; `bias` appends the input that is 1.

    Every number is written, and the place moves on only past one that is not 0: no guessing of
    branches.
    """
    inputs = X.shape[1]
    for s in range(X.shape[0]):
        at = begin[s]
        for block in range(blocks.shape[0]):
            top = blocks[block, TOP]
            cuts[s, block] = at - begin[s]
            for i in range(top, min(blocks[block, BOTTOM], inputs)):
                x = value.dtype.type(X[s, i]) * scale
                value[at] = x
                index[at] = i - top
                some = X[s, i] != 0
                live[i] |= some
                at += some
            if bias and top <= inputs < blocks[block, BOTTOM]:
                value[at] = 1
                index[at] = inputs - top
                at += 1
        cuts[s, blocks.shape[0]] = at - begin[s]
