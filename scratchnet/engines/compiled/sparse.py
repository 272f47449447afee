"""The first layer's products where inputs that are 0 cost nothing, and how samples are compressed.

Of an image of MNIST four pixels in five are 0. Samples come in random order, so that the next
batch's entries are prefetched while this one is computed.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return"

from __future__ import annotations

import numpy as np

from scratchnet.engines.compiled.records import (
    BEGIN,
    BIAS,
    END,
    INPUTS,
    PREFETCH_ENTRIES,
    jitted,
)
from scratchnet.engines.compiled.vector import (
    broadcast_decoded,
    compress_store_nonzero,
    fma,
    load,
    load_row,
    load_scalar,
    prefetch,
    splat,
    store,
    store_row,
    two_fit,
)


@jitted
def entry_range(samples, sample, block):
    """The entries of a sample in a block: first and end."""
    at = sample * samples.indptr.shape[1] + block
    return np.int64(load_scalar(samples.indptr, at)), np.int64(load_scalar(samples.indptr, at + 1))


@jitted
def axpy(M, samples, j, top, start, rows, z):
    """z_o + X_i W_io of entry j, i counted from the block's first row `top`."""
    i = top + np.int64(load_scalar(samples.indices, j))
    return fma(
        broadcast_decoded(samples.data, j, samples.table, z), load_row(M, start, i, rows, z), z
    )


@jitted
def sparse_weight_gradient(M, arguments, like):
    """dW_io = sum_b X_bi dZ_bo over the entries that are not 0, for one block of inputs."""
    samples, order, at, B, block, d, columns, dW, rows = arguments
    for b in range(B):
        sample = load_scalar(order, at + b)
        dz = load(M, d + b * columns, like)
        first, end = entry_range(samples, sample, block)
        for j in range(first, end):
            i, x = (
                np.int64(load_scalar(samples.indices, j)),
                broadcast_decoded(samples.data, j, samples.table, like),
            )
            store_row(M, dW, i, rows, fma(x, dz, load_row(M, dW, i, rows, like)))


@jitted
def add_entries(M, samples, first, end, top, start, rows, z):
    """z_o + sum_j X_j W_jo over a sample's entries, first to last."""
    for j in range(first, end):
        z = axpy(M, samples, j, top, start, rows, z)
    return z


@jitted
def sparse_forward(M, arguments, like):
    """Z_bo += X_bi W_io over a block's entries that are not 0; `fresh` starts the sum from 0.

    Two samples side by side, where the registers suffice: a sum alone waits for each of its
    additions. An odd batch's last sample is its own neighbour.
    """
    samples, order, at, B, block, top, start, rows, sums, columns, fresh, size = arguments
    step = 2 if two_fit(like) else 1
    for b in range(0, B, step):
        one, two = sums + b * columns, sums + (b + 1) * columns
        z, y = splat(0.0, like), splat(0.0, like)
        if size:
            prefetch_batch(samples, order, at + b + size, size, block)
        if not fresh:
            z = load(M, one, like)
        j, end = entry_range(samples, load_scalar(order, at + b), block)
        if two_fit(like):
            if size:
                prefetch_batch(samples, order, at + b + 1 + size, size, block)
            if not fresh:
                y = load(M, two, like)
            k, stop = entry_range(samples, load_scalar(order, at + min(b + 1, B - 1)), block)
            for _ in range(min(end - j, stop - k)):
                z = axpy(M, samples, j, top, start, rows, z)
                y = axpy(M, samples, k, top, start, rows, y)
                j, k = j + 1, k + 1
            store(M, two, add_entries(M, samples, k, stop, top, start, rows, y))
        store(M, one, add_entries(M, samples, j, end, top, start, rows, z))


@jitted
def prefetch_batch(samples, order, at, size, block):
    """Prefetches a block's entries of sample order[at], and `indptr` of the batch after.

    As many as most blocks have: a loop of the exact length would end in a mispredicted branch.
    """
    if at < order.size:
        first, end = entry_range(samples, load_scalar(order, at), block)
        for j in range(0, PREFETCH_ENTRIES, 64 // samples.data.itemsize):
            prefetch(samples.data, first + j)
        prefetch(samples.indices, first)
        prefetch(samples.indices, end)
        if block == 0 and at + size < order.size:
            prefetch(samples.indptr, load_scalar(order, at + size) * samples.indptr.shape[1])


def count_nonzero(X, N, inputs, active):
    """How many numbers of N samples are not 0; marks in `active` the inputs that ever are not."""
    total = 0
    for s in range(0, N * inputs, inputs):
        for i in range(inputs):
            some = load_scalar(X, s + i) != 0
            total += some
            active[i] |= some
    return total


def compress_samples(net, dense, sparse):
    """Samples without their zeros, times scale, cut by blocks; the input that is 1 and feeds the
    biases is appended. A register at a time, without a branch to mispredict.

    Bytes stay bytes, codes of a table: a third of the memory to wait for. As no 0 is kept, that
    code stands for the input that is 1.
    """
    indptr, indices, data, _, scale_and_one = sparse
    X, n, at, scale = dense.data, 16, np.int64(0), scale_and_one[0]
    inputs, bias = net.layers[0, INPUTS], net.layers[0, BIAS]
    for s in range(indptr.shape[0]):
        row = s * inputs
        for block in range(net.blocks.shape[0]):
            top, bottom = net.blocks[block, BEGIN], net.blocks[block, END]
            indptr[s, block] = at
            whole = top + max(0, min(bottom, inputs) - top) // n * n
            for i in range(top, whole, n):
                at += compress_store_nonzero(X, row + i, data, indices, at, i - top, scale)
            for i in range(whole, min(bottom, inputs)):
                data[at] = data.dtype.type(load_scalar(X, row + i)) * scale
                indices[at] = i - top
                at += load_scalar(X, row + i) != 0
            if bias and top <= inputs < bottom:
                data[at] = scale_and_one[1]
                indices[at] = inputs - top
                at += 1
        indptr[s, net.blocks.shape[0]] = at
