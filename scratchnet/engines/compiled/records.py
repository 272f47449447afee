"""What compiled code is told: records of arrays and numbers, their codes, and what Numba is asked.

All numbers of a net stand in one flat array M, and an offset into it is a whole number. A layer's
weights are panels: matrices as wide as one to four registers, whose row i holds the weights from
input i to those outputs; the bias is the row of an input that is always 1. What belongs to a batch
stands in buffers: a row of a buffer is one output of a *group*, as many samples as a register has
lanes, so that softmax, losses and the count of right answers are plain loops over rows. Two groups
stand side by side, and such pairs `panel_stride` numbers apart. Read `step.py` next.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

JIT_OPTIONS = {
    "_nrt": False,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""For what owns no memory and is not called by Python: no reference counts, no wrappers. That is
most of the difference between 40 seconds of compiling and 8."""
jitted = njit(**JIT_OPTIONS)
inlined = njit(inline="always", **JIT_OPTIONS)
"""For functions that are written into their callers, and not compiled by themselves."""

CHUNKS = 4
"""Pieces in which the first layer's inputs are summed, and divided among threads."""
ROW_MULTIPLE = 16
"""What the first layer's rows and every buffer's rows are multiples of, for `transpose`."""
GRADIENT_ROWS = 64
"""Rows whose gradients are held, where inputs are dense, until the optimizer sees them."""
GROUPS_PER_PASS = 8
"""Groups of samples that go forward and backward together, so that their buffers stay cached."""
PREFETCH_ENTRIES = 96
"""Entries of a block that are prefetched a batch ahead."""
EPSILON = 1e-7
"""Keras's fuzz, as in `reference.py`."""
SMALLEST_GRADIENT = 1e-30
"""Gradients of the head below this are taken as 0, as first moments are: denormals are slow."""

ZERO, ONE, TRUE = np.int64(0), np.int64(1), np.bool_(True)
"""As arguments: a plain 0 has a type of its own, for which the callee would be compiled anew."""

# columns of Net.layers
INPUTS, OUTPUTS, BIAS, ROWS, ACTIVATION, FIRST_PANEL, FIRST_STRIP, Z, DZ, DZ_TRANSPOSED, COLUMNS = (
    range(11)
)
# columns of Net.panels
START, WIDTH, FIRST_OUTPUT, FULL_COLUMNS, TAIL_COLUMNS = range(5)
# columns of Net.blocks
BEGIN, END = range(2)


class Net(NamedTuple):
    """A plan and where its numbers stand."""

    M: Any
    """All numbers; the parameters, in panels, from 0 on."""
    layers: Any
    """int64 (layers + 1, 11): INPUTS, OUTPUTS, BIAS (0 or 1); ROWS of a panel; ACTIVATION; its
    first panel and strip (the next layer's are the ends); offsets of its buffer Z, which A
    overwrites, of the gradient DZ, and of dZ transposed, outputs as lanes: COLUMNS a sample."""
    panels: Any
    """int64 (panels, 5): offset, width in lanes of float32, first output; columns in whole
    registers, and in the part of one, whose rows stand behind all of the whole ones."""
    strips: Any
    """int64 (strips, 4): the same weights for use one by one, as offset, row stride, first output
    and end: W[i, o] stands at offset + i * stride + o - first."""
    blocks: Any
    """int64 (blocks, 2): rows of the first layer that are worked on at a time, BEGIN to END."""
    chunks: Any
    """int64 (CHUNKS + 1,): the blocks of each chunk."""
    constants: Any
    """Two decay rates as the optimizer's rule takes them, epsilon, momentum, and the thresholds of
    first and second moments below which they are taken as 0."""
    active: Any
    """Of four inputs of the first layer each: whether one has an entry or a moment. What has not,
    cannot move."""
    loss: int
    """A code of `elementwise.LOSSES`."""
    reads_outputs: bool
    """The loss is a function of A, else of Z."""
    optimizer: int
    """A code of `optimizer.py`."""
    slot_stride: int
    """From parameters to their first moments, and from those to the second."""
    panel_stride: int
    """From two groups of samples to the next two in a buffer."""
    padded_batch: int
    """Samples of a batch, padded to whole registers."""
    compressed: bool
    """Inputs come as `SparseSamples`."""
    parallel_upper_layers: bool
    """Threads divide what is above the first layer."""
    partial_sums: int
    """Offset of the first layer's sums, one for each chunk."""
    head: int
    """Offset of the outputs, a buffer."""
    targets: int
    """Offset of the targets, a buffer."""
    scores: int
    """Offset of each sample's weight in the loss, its loss, and 1 if its answer is right."""
    inputs: int
    """Offset of inputs that are not compressed, as a buffer."""
    scratch: int
    """Offset of each thread's own numbers."""
    scratch_size: int
    """How many of its own a thread has."""
    gradients: int
    """Of these, where gradients from dense inputs begin: whole blocks are written, and what stands
    before, gradients from compressed inputs, is to be 0 where it is not in use."""


class BatchRun(NamedTuple):
    """Which batches to go through, how, and where their results go."""

    order: Any
    rates: Any
    batch_size: int
    mean: bool
    """A batch's loss is the mean over its samples, else the sum."""
    losses: Any
    correct: Any
    progress: Any
    """(1,): how many batches are in the weights."""


class SparseSamples(NamedTuple):
    """Samples without their zeros: compressed sparse rows, cut by blocks of inputs."""

    indptr: Any
    """uint32 (N, blocks + 1): where a sample's entries of each block begin, and where they end."""
    indices: Any
    """uint8: the row within its block."""
    data: Any
    """Numbers, or if the samples are bytes, these: codes of numbers in the table."""
    table: Any
    """(256,): the number of each code, scaled."""
    scale_and_one: Any
    """In the dtype of `data`: what numbers are multiplied by, and what stands for 1."""


class DenseSamples(NamedTuple):
    """Samples as they came."""

    data: Any
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
