"""The compiled loops over batches, for training and prediction; `session.py` calls them.

A step is forward, backward, update, with a barrier after the first layer's products, which threads
divide, and one after the layers above it; `update_phase` needs none, as each thread changes the
weights that it multiplies with next. Sums over the first layer's inputs
run in CHUNKS fixed pieces, whatever the number of threads, and every other sum in one piece: so
threads cannot change a bit.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload

from scratchnet.engines.compiled.elementwise import (
    apply_activation,
    apply_activation_backward,
    argmax,
    loss_and_gradient,
)
from scratchnet.engines.compiled.optimizer import hyperparameters, update_panel
from scratchnet.engines.compiled.products import (
    dense_backward_input,
    dense_forward,
    dispatch_width,
    group_offset,
    pack_inputs,
    weight_gradient,
)
from scratchnet.engines.compiled.records import (
    ACTIVATION,
    BEGIN,
    BIAS,
    CHUNKS,
    COLUMNS,
    DZ,
    DZ_TRANSPOSED,
    END,
    FIRST_OUTPUT,
    FIRST_PANEL,
    GRADIENT_ROWS,
    GROUPS_PER_PASS,
    INPUTS,
    JIT_OPTIONS,
    ONE,
    OUTPUTS,
    ROWS,
    TRUE,
    WIDTH,
    ZERO,
    SparseSamples,
    Z,
    inlined,
    jitted,
)
from scratchnet.engines.compiled.sparse import sparse_forward, sparse_weight_gradient
from scratchnet.engines.compiled.threads import (
    ABORT,
    CACHE_LINE,
    DECISION,
    GO_ON_SOLO,
    STOP,
    barrier,
    load_acquire,
    others_lag,
    partition,
    ticks,
)
from scratchnet.engines.compiled.vector import (
    WIDTH_16,
    fabs,
    fma,
    lanes,
    load,
    splat,
    store,
    sum_lanes,
    transpose,
    where_lt,
    zeros,
)


@jitted
def partial_sums_at(net, chunk):
    """Where a chunk's sums stand."""
    return net.partial_sums + chunk * (net.layers[0, DZ] - net.layers[0, Z])


@jitted
def gradient_and_update(net, layer, B, a, panel_stride, first, end, hyper, thread):
    """Gradient and optimizer of a layer's rows `first` to `end`; its inputs are the buffer at a."""
    stride, height = 2 * lanes(zeros(net.M, WIDTH_16)), np.int64(GRADIENT_ROWS)
    dW = net.scratch + thread * net.scratch_size + net.gradients
    nonfinite = net.M.dtype.type(0)
    for p in range(net.layers[layer, FIRST_PANEL], net.layers[layer + 1, FIRST_PANEL]):
        for top in range(first, end, GRADIENT_ROWS):
            rows, x = min(end - top, GRADIENT_ROWS), a + top * stride
            weight_gradient(net, layer, p, x, panel_stride, B, rows, dW, height)
            nonfinite += update_panel(net, layer, p, top, top + rows, dW, height, hyper)
    return nonfinite


@jitted
def sparse_learn(net, samples, order, at, B, hyper, block, thread):
    """dW = X^T dZ of one block of compressed inputs, and the optimizer; NaN where a weight is."""
    top, bottom = net.blocks[block, BEGIN], net.blocks[block, END]
    M, height, columns = net.M, bottom - top, net.layers[0, COLUMNS]
    dW, nonfinite = net.scratch + thread * net.scratch_size, net.M.dtype.type(0)
    for p in range(net.layers[0, FIRST_PANEL], net.layers[1, FIRST_PANEL]):
        d = net.layers[0, DZ_TRANSPOSED] + net.panels[p, FIRST_OUTPUT]
        arguments = samples, order, at, B, block, d, columns, dW, height
        dispatch_width(sparse_weight_gradient, M, net.panels[p, WIDTH], arguments)
        nonfinite += update_panel(net, ZERO, p, top, bottom, dW, height, hyper)
    return nonfinite


@jitted
def sparse_multiply(net, samples, order, at, B, block, chunk, thread):
    """Z += X W of one block of compressed inputs."""
    top, columns, rows = net.blocks[block, BEGIN], net.layers[0, COLUMNS], net.layers[0, ROWS]
    for p in range(net.layers[0, FIRST_PANEL], net.layers[1, FIRST_PANEL]):
        start, width, column, _, _ = net.panels[p]
        z, fresh = partial_sums_at(net, chunk) + column, net.chunks[chunk] == block
        size = B if column == 0 else 0
        terms = samples, order, at, B, block, top, start, rows, z, columns, fresh, size
        dispatch_width(sparse_forward, net.M, width, terms)


@jitted
def dense_learn(net, dense, order, at, B, hyper, block, thread):
    """The gradient and the optimizer for inputs that are not compressed, as they were packed."""
    panel_stride = net.layers[0, ROWS] * 2 * lanes(zeros(net.M, WIDTH_16))
    top, bottom = net.blocks[block, BEGIN], net.blocks[block, END]
    return gradient_and_update(net, ZERO, B, net.inputs, panel_stride, top, bottom, hyper, thread)


@jitted
def dense_multiply(net, dense, order, at, B, block, chunk, thread):
    """Z += X W of one block of inputs, which are packed first."""
    like = zeros(net.M, WIDTH_16)
    stride, scratch = 2 * lanes(like), net.scratch + thread * net.scratch_size
    top, bottom = net.blocks[block, BEGIN], net.blocks[block, END]
    pack_inputs(net, dense, order, at, B, block, net.inputs, scratch, like)
    fresh, groups = block == net.chunks[chunk], -(-B // lanes(like))
    a, z, panel_stride = (
        net.inputs + top * stride,
        partial_sums_at(net, chunk),
        net.layers[0, ROWS] * stride,
    )
    dense_forward(net, ZERO, top, bottom - top, a, panel_stride, z, ZERO, groups, fresh, like)


def learn_first_layer(net, samples, order, at, B, hyper, thread, threads):
    """Gradient and optimizer of this thread's chunks of the first layer; NaN where a weight is."""


@overload(learn_first_layer, jit_options=JIT_OPTIONS)
def _learn_first_layer(net, samples, order, at, B, hyper, thread, threads):
    """Chosen by the type of the samples: nothing is compiled for the other one."""
    learn = sparse_learn if samples.instance_class is SparseSamples else dense_learn

    def implementation(net, samples, order, at, B, hyper, thread, threads):
        nonfinite = net.M.dtype.type(0)
        first, end = partition(np.int64(CHUNKS), thread, threads)
        for block in range(net.chunks[first], net.chunks[end]):
            nonfinite += learn(net, samples, order, at, B, hyper, block, thread)
        return nonfinite

    return implementation


def multiply_first_layer(net, samples, order, at, B, thread, threads):
    """The sums of this thread's chunks of the first layer."""


@overload(multiply_first_layer, jit_options=JIT_OPTIONS)
def _multiply_first_layer(net, samples, order, at, B, thread, threads):
    multiply = sparse_multiply if samples.instance_class is SparseSamples else dense_multiply

    def implementation(net, samples, order, at, B, thread, threads):
        first, end = partition(np.int64(CHUNKS), thread, threads)
        for chunk in range(first, end):
            for block in range(net.chunks[chunk], net.chunks[chunk + 1]):
                multiply(net, samples, order, at, B, block, chunk, thread)

    return implementation


@jitted
def sum_partials(net, group, like):
    """Z of the first layer for a group of samples: the chunks' sums added, first to last.
    Returns 0 in every lane, or NaN where a sum is not finite."""
    M, n, columns, sums = net.M, lanes(like), net.layers[0, COLUMNS], net.partial_sums
    q, size = group_offset(group, net.panel_stride, n), partial_sums_at(net, 1) - sums
    to, nonfinite = net.layers[0, Z] + q, splat(0.0, like)
    # a buffer, or where inputs are compressed samples' rows, to be transposed
    first, stride, end = sums + q, 2 * n, net.layers[0, OUTPUTS]
    if net.compressed:
        first, stride, end = sums + group * n * columns, n, columns
    for at in range(first, first + end * stride, stride):
        z = load(M, at, like)
        for chunk in range(1, CHUNKS):
            z = z + load(M, at + chunk * size, like)
        nonfinite = fma(z, splat(0.0, like), nonfinite)
        store(M, at if net.compressed else to + at - first, z)
    if net.compressed:
        for o in range(0, columns, n):
            transpose(M, first + o, columns, M, to + o * 2 * n, 2 * n, like)
    return nonfinite


@jitted
def transpose_dz(net, layer, group, like):
    """A layer's dZ of a group, from samples as lanes to outputs as lanes; 0 where there is none."""
    M, n, columns = net.M, lanes(like), net.layers[layer, COLUMNS]
    d = net.layers[layer, DZ] + group_offset(group, net.panel_stride, n)
    to, stride = net.layers[layer, DZ_TRANSPOSED] + group * n * columns, 2 * n
    for o in range(net.layers[layer, OUTPUTS], columns):
        store(M, d + o * stride, splat(0.0, like))
    for o in range(0, columns, n):
        transpose(M, d + o * stride, stride, M, to + o, columns, like)


@jitted
def load_targets(net, targets, order, at, B, group, divisor, like):
    """One group's targets, as a buffer, and each sample's weight in the loss: w_b / divisor."""
    M, n, first = net.M, lanes(like), group * lanes(like)
    t, K = net.targets + group_offset(group, net.panel_stride, n), net.layers[-2, OUTPUTS]
    if targets.labels.size:
        for k in range(t, t + K * 2 * n, 2 * n):
            store(M, k, splat(0.0, like))
    for b in range(min(n, B - first)):
        sample = order[at + first + b]
        if targets.labels.size:
            M[t + targets.labels[sample] * 2 * n + b] = 1
        else:
            for k in range(K):
                M[t + k * 2 * n + b] = targets.targets[sample, k]
        weight = targets.weights[sample] if targets.weights.size else M.dtype.type(1)
        M[net.scores + first + b] = weight / M.dtype.type(divisor)


@jitted
def head_and_loss(net, with_loss, group, like):
    """Outputs of the last layer; with_loss, also losses, their gradient, and right answers."""
    M, n, last = net.M, lanes(like), net.layers.shape[0] - 2
    stride, q = 2 * n, group_offset(group, net.panel_stride, n)
    K, code = net.layers[last, OUTPUTS], net.layers[last, ACTIVATION]
    z, d = net.layers[last, Z] + q, net.layers[last, DZ] + q
    a, t = net.head + q, net.targets + q
    apply_activation(M, code, z, a, K, stride, like)
    if not with_loss:
        return
    scores = net.scores + group * n
    dl = load(M, scores, like)
    loss = loss_and_gradient(M, net.loss, a if net.reads_outputs else z, t, d, K, stride, dl)
    if net.reads_outputs:
        apply_activation_backward(M, code, a, d, K, stride, like)
    apart = fabs(argmax(M, a, K, stride, like) - argmax(M, t, K, stride, like))
    correct = where_lt(apart, splat(0.5, like), splat(1.0, like), splat(0.0, like))
    store(M, scores + net.padded_batch, loss)
    store(M, scores + 2 * net.padded_batch, correct)


@jitted
def forward(net, with_loss, first, end, like):
    """From the first layer's sums to outputs and losses, for groups `first` to `end`. Returns 0, or
    NaN if a sum is not finite."""
    M, n, panel_stride, last = net.M, lanes(like), net.panel_stride, net.layers.shape[0] - 2
    nonfinite = splat(0.0, like)
    for group in range(first, end):
        nonfinite = nonfinite + sum_partials(net, group, like)
    for layer in range(1, last + 1):
        K, a, code = net.layers[layer, INPUTS], net.layers[layer - 1, Z], layer - 1
        for group in range(first, end):
            x = a + group_offset(group, panel_stride, n)
            apply_activation(M, net.layers[code, ACTIVATION], x, x, K, 2 * n, like)
            store(M, x + K * 2 * n, splat(1.0, like))  # what feeds the bias
        K += net.layers[layer, BIAS]
        z = net.layers[layer, Z]
        dense_forward(net, layer, ZERO, K, a, panel_stride, z, first, end, TRUE, like)
    for group in range(first, end):
        head_and_loss(net, with_loss, group, like)
    return sum_lanes(nonfinite)


@jitted
def backward(net, first, end, like):
    """From the head's gradient down to the first layer's, for groups `first` to `end`."""
    n, last = lanes(like), net.layers.shape[0] - 2
    for layer in range(last, -1, -1):
        a, d = net.layers[layer, Z], net.layers[layer, DZ]
        K, code = net.layers[layer, OUTPUTS], net.layers[layer, ACTIVATION]
        for group in range(first, end):
            if layer < last:
                q = group_offset(group, net.panel_stride, n)
                apply_activation_backward(net.M, code, a + q, d + q, K, 2 * n, like)
            transpose_dz(net, layer, group, like)
        if layer:
            dense_backward_input(net, layer, first, end, like)


@inlined
def update_phase(net, samples, order, at, B, hyper, thread, threads, upper_threads):
    """All that changes weights. Returns NaN if one that was written is not finite, else 0."""
    nonfinite = learn_first_layer(net, samples, order, at, B, hyper, thread, threads)
    for layer in range(1, net.layers.shape[0] - 1):
        first, end = partition(net.layers[layer, ROWS] // 4, thread, upper_threads)
        a = net.layers[layer - 1, Z]
        nonfinite += gradient_and_update(
            net, layer, B, a, net.panel_stride, 4 * first, 4 * end, hyper, thread
        )
    return nonfinite


@inlined
def upper_phase(net, targets, order, at, B, divisor, thread, threads):
    """Forward and backward above the first layer, on this thread's groups of samples."""
    like = zeros(net.M, WIDTH_16)
    n = lanes(like)
    first, end = partition((B + n - 1) // n, thread, threads)
    for group in range(first, end):
        load_targets(net, targets, order, at, B, group, divisor, like)
    for begin in range(first, end, GROUPS_PER_PASS):
        stop = min(begin + GROUPS_PER_PASS, end)
        forward(net, TRUE, begin, stop, like)
        backward(net, begin, stop, like)


@jitted
def batch_score(net, B):
    """Sum of weighted losses over the divisor, and right answers, of a batch; first to last."""
    loss, correct, n, s = 0.0, 0, net.padded_batch, net.scores
    for b in range(s, s + B):
        loss += float(net.M[b]) * float(net.M[b + n])
        correct += int(net.M[b + 2 * n])
    return loss, correct


@jitted
def all_finite(net, losses, k, threads):
    """Whether batch k's loss and the weights after it are finite."""
    nonfinite = net.M.dtype.type(0)
    for thread in range(threads):
        nonfinite += net.M[net.scratch + (thread + 1) * net.scratch_size - 1]
    return bool(np.isfinite(nonfinite)) and bool(np.isfinite(losses[k]))


def train_batches(net, samples, targets, run, control, first, last, thread, threads):
    """Batches first to last of an epoch; every one of `threads` calls it with its number.

    Returns the first batch whose loss, or whose update's weights, are not finite; or -1.
    """
    order, rates, size, mean, losses, correct, progress = run
    bad: Any = np.int64(-1)
    asked, since = threads, ticks()
    for k in range(first, last + 1):
        at = k * size
        B = min(size, order.size - at) if k < last else 0
        if B:
            multiply_first_layer(net, samples, order, at, B, thread, threads)
        barrier(control, thread, threads)
        if thread == 0:
            progress[0] = k
            if k > first and not all_finite(net, losses, k - 1, asked):
                bad = np.int64(k - 1)
                control[DECISION * CACHE_LINE] = STOP
            elif others_lag(control, since):
                control[DECISION * CACHE_LINE] = GO_ON_SOLO
        upper_threads = threads if net.parallel_upper_layers else 1
        if B:
            divisor = float(B) if mean else 1.0
            upper_phase(net, targets, order, at, B, divisor, thread, upper_threads)
        barrier(control, thread, threads)
        if control[DECISION * CACHE_LINE] == STOP or load_acquire(control, ABORT * CACHE_LINE) != 0:
            break
        if control[DECISION * CACHE_LINE] == GO_ON_SOLO:
            if thread > 0:
                break
            threads = upper_threads = 1
        if B:
            if thread == 0:
                losses[k], correct[k] = batch_score(net, B)
            hyper = hyperparameters(net, rates[k])
            nonfinite = update_phase(
                net, samples, order, at, B, hyper, thread, threads, upper_threads
            )
            net.M[net.scratch + (thread + 1) * net.scratch_size - 1] += nonfinite
    return bad


def predict_batches(net, samples, targets, run, outputs):
    """Outputs of all samples; their losses and right answers too, with targets. Returns 0, or NaN
    if a sum of the first layer's is not finite.

    A thread calls it with a net of its own, so there is nobody to wait for.
    """
    order, _, size, _, losses, correct, _ = run
    with_loss = targets.labels.size > 0 or targets.targets.size > 0
    K, like, nonfinite = net.layers[-2, OUTPUTS], zeros(net.M, WIDTH_16), 0.0
    n = lanes(like)
    for k in range(losses.size):
        at = k * size
        B = min(size, order.size - at)
        multiply_first_layer(net, samples, order, at, B, ZERO, ONE)
        groups = (B + n - 1) // n
        if with_loss:
            for group in range(groups):
                load_targets(net, targets, order, at, B, group, 1.0, like)
        nonfinite += forward(net, with_loss, ZERO, groups, like)
        if with_loss:
            losses[k], correct[k] = batch_score(net, B)
        if outputs.size:
            for b in range(B):
                a = net.head + group_offset(b // n, net.panel_stride, n) + b % n
                for o in range(K):
                    outputs[at + b, o] = net.M[a + o * 2 * n]
    return nonfinite
