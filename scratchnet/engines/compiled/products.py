"""Products of dense matrices: one micro-kernel for forward, backward and the weights' gradient.

`tile` keeps a block of sums in registers. Forward and backward their columns are samples, for the
gradient they are outputs. A sum's terms are added in the order of their index, whatever the block's
shape and the number of threads. `pack_inputs` transposes samples, which come as rows.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return"

from __future__ import annotations

from scratchnet.engines.compiled.block import (
    block_columns,
    block_rows,
    load_block,
    rank1,
    store_block,
    zero_block,
    zeros_like,
)
from scratchnet.engines.compiled.records import (
    BEGIN,
    BIAS,
    COLUMNS,
    DZ,
    DZ_TRANSPOSED,
    END,
    FIRST_OUTPUT,
    FIRST_STRIP,
    FULL_COLUMNS,
    INPUTS,
    ONE,
    OUTPUTS,
    ROWS,
    TAIL_COLUMNS,
    ZERO,
    inlined,
    jitted,
)
from scratchnet.engines.compiled.vector import (
    WIDTH_4,
    WIDTH_16,
    WIDTH_32,
    WIDTH_52,
    WIDTH_64,
    lanes,
    load_converted,
    load_scalar,
    splat,
    store,
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


@inlined
def tile(M, w, down, across, K, x, dx, z, dz, fresh, block):
    """The micro-kernel: Z_tc += sum_k W_kt X_kc for the rows t and columns c of a block.

    W_kt stands at w + k down + t across, X_kc at x + k dx + c, and Z_tc at z + t dz + c.
    """
    sums = zeros_like(block)
    if not fresh:
        sums = load_block(M, z, dz, block)
    for k in range(K):
        sums = rank1(M, w + k * down, across, x + k * dx, sums)
    store_block(M, z, dz, sums)


@jitted
def tile_samples(M, w, down, across, K, x, x_stride, z, z_stride, first, end, fresh, like):
    """`tile` whose columns are samples: those of groups `first` to `end`, in buffers at x and z."""
    wide, narrow, n = zero_block(M, WIDTH_32), zero_block(M, WIDTH_16), lanes(like)
    row, at = 2 * n, first * n
    while at < end * n:
        x_at, z_at = x + at // row * x_stride + at % row, z + at // row * z_stride + at % row
        columns = block_columns(wide)
        if at % columns == 0 and at + columns <= end * n:
            tile(M, w, down, across, K, x_at, row, z_at, row, fresh, wide)
        else:
            columns = block_columns(narrow)
            tile(M, w, down, across, K, x_at, row, z_at, row, fresh, narrow)
        at += columns


@jitted
def group_offset(group, panel_stride, n):
    """Where in a buffer a group of n samples begins. Two groups stand side by side, with all of
    their rows; the next two stand `panel_stride` behind them: so rows are never pages apart."""
    return group // 2 * panel_stride + group % 2 * n


@jitted
def tile_rows(M, x, x_stride, B, d, columns, dW, stride, rows, block):
    """dW_io = sum_b A_ib dZ_bo for as many outputs as a block has columns, a pair of groups after
    the other. Of A, `rows` rows of a buffer from x on; dW may be written to a whole block."""
    n = 2 * lanes(zeros(M, WIDTH_16))
    for i in range(0, rows, block_rows(block)):
        for b in range(0, B, n):
            a, dz = x + i * n + b // n * x_stride, d + b * columns
            tile(M, a, ONE, n, min(n, B - b), dz, columns, dW + i * stride, stride, b == 0, block)


@jitted
def weight_gradient(net, layer, p, x, x_stride, B, rows, dW, height):
    """A panel's part of dW = A^T dZ, for `rows` inputs from the buffer's row at x on."""
    M, columns, full = net.M, net.layers[layer, COLUMNS], net.panels[p, FULL_COLUMNS]
    d = net.layers[layer, DZ_TRANSPOSED] + net.panels[p, FIRST_OUTPUT]
    wide, narrow, part = zero_block(M, WIDTH_32), zero_block(M, WIDTH_16), zero_block(M, WIDTH_4)
    c = ZERO
    while c < full:
        if c + block_columns(wide) <= full:
            tile_rows(M, x, x_stride, B, d + c, columns, dW + c, full, rows, wide)
            c += block_columns(wide)
        else:
            tile_rows(M, x, x_stride, B, d + c, columns, dW + c, full, rows, narrow)
            c += block_columns(narrow)
    if net.panels[p, TAIL_COLUMNS]:
        tail = net.panels[p, TAIL_COLUMNS]
        tile_rows(M, x, x_stride, B, d + c, columns, dW + height * full, tail, rows, part)


@jitted
def dense_forward(net, layer, top, K, a, a_stride, z, first, end, fresh, like):
    """Z += A W over K rows of W from `top` on, A the buffer at a, for groups `first` to `end`."""
    tile_outputs, z_stride = block_rows(zero_block(net.M, WIDTH_32)), net.panel_stride
    for s in range(net.layers[layer, FIRST_STRIP], net.layers[layer + 1, FIRST_STRIP]):
        start, down, left, right = net.strips[s]
        for o in range(left, min(right, net.layers[layer, OUTPUTS]), tile_outputs):
            w, to = start + top * down + o - left, z + o * 2 * lanes(like)
            tile_samples(net.M, w, down, ONE, K, a, a_stride, to, z_stride, first, end, fresh, like)


@jitted
def dense_backward_input(net, layer, first, end, like):
    """dX = dZ W^T of an upper layer, into the gradient of the layer below."""
    stride, panel_stride, strip = 2 * lanes(like), net.panel_stride, net.layers[layer, FIRST_STRIP]
    d, below = net.layers[layer, DZ], net.layers[layer - 1, DZ]
    for i in range(0, net.layers[layer, INPUTS], block_rows(zero_block(net.M, WIDTH_32))):
        for s in range(strip, net.layers[layer + 1, FIRST_STRIP]):
            start, down, left, right = net.strips[s]
            K, w = min(right, net.layers[layer, OUTPUTS]) - left, start + i * down
            dz, to = d + left * stride, below + i * stride
            fresh = s == strip
            tile_samples(
                net.M, w, ONE, down, K, dz, panel_stride, to, panel_stride, first, end, fresh, like
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
