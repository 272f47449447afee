"""The compiled loops over batches, for training and prediction; `session.py` calls them.

A step is two phases with a barrier after each. `update_phase` changes all weights, the first
layer's block by block, and multiplies the next batch with a block while it is in the cache;
`upper_phase` goes forward and backward through the layers above. Sums over the first layer's inputs
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
    FIRST_PANEL,
    GRADIENT_ROWS,
    GROUPS_PER_PASS,
    INPUTS,
    JIT_OPTIONS,
    ONE,
    OUTPUTS,
    ROWS,
    TRUE,
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
def sparse_block(net, samples, work, hyper, block, chunk, thread):
    """One block of compressed inputs: dW = X^T dZ of the old batch and the optimizer, then
    Z += X W of the new batch with the new weights."""
    order, old, old_B, new, new_B, _ = work
    top, bottom = net.blocks[block, BEGIN], net.blocks[block, END]
    M, height, columns, rows = net.M, bottom - top, net.layers[0, COLUMNS], net.layers[0, ROWS]
    dW, nonfinite = net.scratch + thread * net.scratch_size, net.M.dtype.type(0)
    for p in range(net.layers[0, FIRST_PANEL], net.layers[1, FIRST_PANEL]):
        start, width, column, _, _ = net.panels[p]
        if old_B:
            d = net.layers[0, DZ_TRANSPOSED] + column
            arguments = samples, order, old, old_B, block, d, columns, dW, height
            dispatch_width(sparse_weight_gradient, M, width, arguments)
            nonfinite += update_panel(net, ZERO, p, top, bottom, dW, height, hyper)
        if new_B:
            z, fresh = partial_sums_at(net, chunk) + column, net.chunks[chunk] == block
            size = new_B if column == 0 else 0
            terms = samples, order, new, new_B, block, top, start, rows, z, columns, fresh, size
            dispatch_width(sparse_forward, M, width, terms)
    return nonfinite


@jitted
def dense_block(net, dense, work, hyper, block, chunk, thread):
    """The same for a block of inputs that are not compressed: they are packed first."""
    order, _, old_B, new, new_B, parity = work
    like = zeros(net.M, WIDTH_16)
    stride, rows, nonfinite = 2 * lanes(like), net.layers[0, ROWS], net.M.dtype.type(0)
    panel_stride, inputs = rows * stride, rows * net.padded_batch
    old_X, X = net.inputs + (1 - parity) * inputs, net.inputs + parity * inputs
    top, bottom = net.blocks[block, BEGIN], net.blocks[block, END]
    if old_B:
        nonfinite = gradient_and_update(
            net, ZERO, old_B, old_X, panel_stride, top, bottom, hyper, thread
        )
    if new_B:
        scratch = net.scratch + thread * net.scratch_size
        pack_inputs(net, dense, order, new, new_B, block, X, scratch, like)
        fresh, groups = block == net.chunks[chunk], -(-new_B // lanes(like))
        a, z = X + top * stride, partial_sums_at(net, chunk)
        dense_forward(net, ZERO, top, bottom - top, a, panel_stride, z, ZERO, groups, fresh, like)
    return nonfinite


def first_layer(net, samples, work, hyper, thread, threads):
    """The first layer on this thread's chunks: weights learn from the old batch, and multiply the
    new one.

    `work` is (order, old batch's begin, its size, new batch's begin, its size, which of the two
    input buffers is the new batch's).
    """


@overload(first_layer, jit_options=JIT_OPTIONS)
def _first_layer(net, samples, work, hyper, thread, threads):
    """Chosen by the type of the samples: nothing is compiled for the other one."""
    block_kernel = sparse_block if samples.instance_class is SparseSamples else dense_block

    def implementation(net, samples, work, hyper, thread, threads):
        nonfinite = net.M.dtype.type(0)
        first, end = partition(np.int64(CHUNKS), thread, threads)
        for chunk in range(first, end):
            for block in range(net.chunks[chunk], net.chunks[chunk + 1]):
                nonfinite += block_kernel(net, samples, work, hyper, block, chunk, thread)
        return nonfinite

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
def update_phase(net, samples, work, hyper, thread, threads, upper_threads, fused):
    """All that changes weights, and the first layer's products with the new ones.

    Returns NaN if a weight that was written is not finite, else 0.
    """
    order, old, old_B, new, new_B, parity = work
    nonfinite = net.M.dtype.type(0)
    if old_B:
        for layer in range(1, net.layers.shape[0] - 1):
            first, end = partition(net.layers[layer, ROWS] // 4, thread, upper_threads)
            a = net.layers[layer - 1, Z]
            nonfinite += gradient_and_update(
                net, layer, old_B, a, net.panel_stride, 4 * first, 4 * end, hyper, thread
            )
    passes = 1 if fused else 2
    for n in range(passes):
        learned, multiplied = old_B * (n == 0), new_B * (n == passes - 1)
        work = order, old, learned, new, multiplied, parity
        nonfinite += first_layer(net, samples, work, hyper, thread, threads)
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
    order, rates, size, mean, fused, losses, correct, progress = run
    parity: Any = np.int64(0)
    old_B: Any = np.int64(0)
    bad: Any = np.int64(-1)
    asked, hyper, since = threads, hyperparameters(net, 0.0), ticks()
    for k in range(first, last + 1):
        at, old = k * size, (k - 1) * size
        B = min(size, order.size - at) if k < last else 0
        if thread == 0 and old_B:
            losses[k - 1], correct[k - 1] = batch_score(net, old_B)
        work = (order, old, old_B, at, B, parity)
        upper_threads = threads if net.parallel_upper_layers else 1
        nonfinite = update_phase(net, samples, work, hyper, thread, threads, upper_threads, fused)
        net.M[net.scratch + (thread + 1) * net.scratch_size - 1] += nonfinite
        barrier(control, thread, threads)
        if thread == 0:
            progress[0] = k
            if old_B and not all_finite(net, losses, k - 1, asked):
                bad = np.int64(k - 1)
                control[DECISION * CACHE_LINE] = STOP
            elif others_lag(control, since):
                control[DECISION * CACHE_LINE] = GO_ON_SOLO
        if B:
            hyper = hyperparameters(net, rates[k])
            divisor = float(B) if mean else 1.0
            upper_phase(net, targets, order, at, B, divisor, thread, upper_threads)
        barrier(control, thread, threads)
        if control[DECISION * CACHE_LINE] == STOP or load_acquire(control, ABORT * CACHE_LINE) != 0:
            break
        if control[DECISION * CACHE_LINE] == GO_ON_SOLO:
            if thread > 0:
                break
            threads = 1
        old_B, parity = B, 1 - parity
    return bad


def predict_batches(net, samples, targets, run, outputs):
    """Outputs of all samples; their losses and right answers too, with targets. Returns 0, or NaN
    if a sum of the first layer's is not finite.

    A thread calls it with a net of its own, so there is nobody to wait for.
    """
    order, _, size, _, _, losses, correct, _ = run
    with_loss = targets.labels.size > 0 or targets.targets.size > 0
    K, like, nonfinite = net.layers[-2, OUTPUTS], zeros(net.M, WIDTH_16), 0.0
    n, hyper = lanes(like), hyperparameters(net, 0.0)
    for k in range(losses.size):
        at = k * size
        B = min(size, order.size - at)
        first_layer(net, samples, (order, ZERO, ZERO, at, B, ZERO), hyper, ZERO, ONE)
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
