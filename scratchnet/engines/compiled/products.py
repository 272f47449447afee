"""Products of dense matrices: register tiles over batches whose samples are lanes.

A weight that is broadcast serves two groups of samples. A sum's terms are added in the order of
their index, whatever the number of threads. `pack_inputs` transposes samples, which come as rows.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return"

from __future__ import annotations

from scratchnet.engines.compiled.records import (
    BEGIN,
    BIAS,
    DZ,
    END,
    FIRST_STRIP,
    INPUTS,
    ONE,
    OUTPUTS,
    ROWS,
    TILE,
    inlined,
    jitted,
)
from scratchnet.engines.compiled.vector import (
    WIDTH_16,
    WIDTH_32,
    WIDTH_52,
    WIDTH_64,
    broadcast,
    fma,
    lanes,
    load,
    load_converted,
    load_scalar,
    splat,
    store,
    store_row,
    transpose,
    zeros,
)


@inlined
def dispatch_width(kernel, M, width, arguments):
    """`kernel` for panels of that width: compiled once for each of the three, and its caller only
    once."""
    if width == WIDTH_64:
        kernel(M, arguments, zeros(M, WIDTH_64))
    elif width == WIDTH_52:
        kernel(M, arguments, zeros(M, WIDTH_52))
    else:
        kernel(M, arguments, zeros(M, WIDTH_16))


@jitted
def weight_gradient(M, arguments, like):
    """dW_io = sum_b A_ib dZ_bo for four inputs, the first at x, into four rows from `row` on."""
    x, panel_stride, d, columns, B, dW, row, rows = arguments
    zero, n = splat(0.0, like), 2 * lanes(zeros(M, WIDTH_16))
    g0, g1, g2, g3 = zero, zero, zero, zero
    for first in range(0, B, n):
        for b in range(x, x + min(n, B - first)):
            dz = load(M, d, like)
            g0 = fma(broadcast(M, b, like), dz, g0)
            g1 = fma(broadcast(M, b + n, like), dz, g1)
            g2 = fma(broadcast(M, b + 2 * n, like), dz, g2)
            g3 = fma(broadcast(M, b + 3 * n, like), dz, g3)
            d += columns
        x += panel_stride
    store_row(M, dW, row, rows, g0)
    store_row(M, dW, row + 1, rows, g1)
    store_row(M, dW, row + 2, rows, g2)
    store_row(M, dW, row + 3, rows, g3)


@jitted
def group_offset(group, panel_stride, n):
    """Where in a buffer a group of n samples begins. Two groups stand side by side, with all of
    their rows; the next two stand `panel_stride` behind them: so rows are never pages apart."""
    return group // 2 * panel_stride + group % 2 * n


@jitted
def tile(M, w, down, across, a, K, z, stride, fresh, like):
    """Z_t += sum_k W[w + t * across + k * down] A_k for eight t, k from first to last."""
    zero = splat(0.0, like)
    z0, z1, z2, z3, z4, z5, z6, z7 = zero, zero, zero, zero, zero, zero, zero, zero
    if not fresh:
        z0, z1 = load(M, z, like), load(M, z + stride, like)
        z2, z3 = load(M, z + 2 * stride, like), load(M, z + 3 * stride, like)
        z4, z5 = load(M, z + 4 * stride, like), load(M, z + 5 * stride, like)
        z6, z7 = load(M, z + 6 * stride, like), load(M, z + 7 * stride, like)
    for k in range(K):
        x, c = load(M, a + k * stride, like), w + k * down
        z0 = fma(broadcast(M, c, like), x, z0)
        z1 = fma(broadcast(M, c + across, like), x, z1)
        z2 = fma(broadcast(M, c + 2 * across, like), x, z2)
        z3 = fma(broadcast(M, c + 3 * across, like), x, z3)
        z4 = fma(broadcast(M, c + 4 * across, like), x, z4)
        z5 = fma(broadcast(M, c + 5 * across, like), x, z5)
        z6 = fma(broadcast(M, c + 6 * across, like), x, z6)
        z7 = fma(broadcast(M, c + 7 * across, like), x, z7)
    store(M, z, z0)
    store(M, z + stride, z1)
    store(M, z + 2 * stride, z2)
    store(M, z + 3 * stride, z3)
    store(M, z + 4 * stride, z4)
    store(M, z + 5 * stride, z5)
    store(M, z + 6 * stride, z6)
    store(M, z + 7 * stride, z7)


@jitted
def tile_groups(M, w, down, across, a, a_stride, K, z, z_stride, first, end, fresh, like):
    """`tile` for groups `first` to `end`, two at a time where both are wanted."""
    n, g = lanes(like), first
    while g < end:
        x, to = a + group_offset(g, a_stride, n), z + group_offset(g, z_stride, n)
        if g % 2 == 0 and g + 1 < end:
            tile(M, w, down, across, x, K, to, 2 * n, fresh, zeros(M, WIDTH_32))
            g += 1
        else:
            tile(M, w, down, across, x, K, to, 2 * n, fresh, like)
        g += 1


@jitted
def dense_forward(net, layer, top, K, a, a_stride, z, first, end, fresh, like):
    """Z += A W over K rows of W from `top` on, A the buffer at a, for groups `first` to `end`."""
    for s in range(net.layers[layer, FIRST_STRIP], net.layers[layer + 1, FIRST_STRIP]):
        start, down, left, right = net.strips[s]
        for o in range(left, min(right, net.layers[layer, OUTPUTS]), TILE):
            w, to = start + top * down + o - left, z + o * 2 * lanes(like)
            z_stride = net.panel_stride
            tile_groups(net.M, w, down, ONE, a, a_stride, K, to, z_stride, first, end, fresh, like)


@jitted
def dense_backward_input(net, layer, first, end, like):
    """dX = dZ W^T of an upper layer, into the gradient of the layer below."""
    stride, panel_stride, strip = 2 * lanes(like), net.panel_stride, net.layers[layer, FIRST_STRIP]
    d, below = net.layers[layer, DZ], net.layers[layer - 1, DZ]
    for i in range(0, net.layers[layer, INPUTS], TILE):
        for s in range(strip, net.layers[layer + 1, FIRST_STRIP]):
            start, down, left, right = net.strips[s]
            K, w = min(right, net.layers[layer, OUTPUTS]) - left, start + i * down
            dz, to = d + left * stride, below + i * stride
            fresh = s == strip
            tile_groups(
                net.M, w, ONE, down, dz, panel_stride, K, to, panel_stride, first, end, fresh, like
            )


@jitted
def pack_inputs(net, dense, order, at, B, block, X, scratch, like):
    """A block of inputs of a batch as a buffer: X * scale + offset, from samples of any dtype."""
    M, A, n, inputs = net.M, dense.data, lanes(like), net.layers[0, INPUTS]
    scale, offset = M.dtype.type(dense.scale), M.dtype.type(dense.offset)
    top, bottom = net.blocks[block, BEGIN], net.blocks[block, END]
    wide, whole = bottom - top, top + max(0, min(bottom, inputs) - top) // n * n
    for first in range(0, B, n):
        for b in range(min(n, B - first)):
            to, begin = scratch + b * wide - top, load_scalar(order, at + first + b) * inputs
            for i in range(top, whole, n):
                x = load_converted(A, begin + i, like) * splat(scale, like) + splat(offset, like)
                store(M, to + i, x)
            for i in range(whole, min(bottom, inputs)):
                M[to + i] = M.dtype.type(load_scalar(A, begin + i)) * scale + offset
            for i in range(max(top, inputs), bottom):
                M[to + i] = net.layers[0, BIAS] * (i == inputs)
        for i in range(0, wide, n):
            to = X + group_offset(first // n, net.layers[0, ROWS] * 2 * n, n) + (top + i) * 2 * n
            transpose(M, scratch + i, wide, M, to, 2 * n, like)
