"""Where everything of a plan stands in the compiled engine's memory; see `records.Net`.

Parameters and moments begin at multiples of 64 bytes, in rows of whole registers. Nothing here is
compiled: the kernels read the tables that it makes.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np

import scratchnet.engines.compiled.records as r
from scratchnet.engines.compiled.elementwise import ACTIVATIONS, LOSSES
from scratchnet.engines.compiled.optimizer import OPTIMIZERS
from scratchnet.engines.compiled.records import Net
from scratchnet.engines.compiled.vector import WIDTH_16, WIDTH_52, WIDTH_64
from scratchnet.engines.contract import Array, Plan
from scratchnet.engines.memory import aligned_zeros

SPARSE_BLOCK_ROWS = 208
"""Inputs of the first layer in a block, where they are compressed: long runs of entries, and no
more than a byte can number."""
DENSE_BLOCK_ROWS = 112
"""The same where they are not: its weights stay in the first-level cache. No bit depends on
either."""
PARALLEL_WORK = 1_000_000
"""Multiplications above the first layer in a batch, from which on threads divide them."""


def check(plan: Plan) -> None:
    """Refuses a plan with something that is not in the tables of `elementwise` or `optimizer`.

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
    if plan.optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer={plan.optimizer!r}: expected one of {[*OPTIMIZERS]}.")


def round_up(n: int, multiple: int) -> int:
    """The least multiple that is not below n.

    >>> round_up(17, 16)
    32
    """
    return -(-n // multiple) * multiple


def _panels(outputs: int, itemsize: int) -> list[int]:
    """The cheapest panels for so many outputs: the width of each, in lanes of float32.

    One with a part of a register comes last: a tile of outputs reaches beyond that part.
    """
    needed = round_up(outputs * itemsize, 16) // 4
    found = []
    for tailed, narrow in product(range(2), range(4)):
        rest = -(-max(0, needed - WIDTH_52 * tailed - WIDTH_16 * narrow) // WIDTH_64)
        found.append([WIDTH_64] * rest + [WIDTH_16] * narrow + [WIDTH_52] * tailed)
    return min((panels for panels in found if panels), key=_cost)


def _cost(panels: list[int]) -> int:
    """What a row costs: its lanes, and about twelve more to begin each panel."""
    return sum(panels) + 12 * len(panels)


class Layout:
    """A plan's tables and offsets, for batches of one size."""

    def __init__(self, plan: Plan, batch: int, threads: int, compressed: bool) -> None:
        check(plan)
        self.plan, self.dtype, self.batch_size = plan, np.dtype(plan.dtype), batch
        self.layers = np.zeros((len(plan.layers) + 1, 11), np.int64)
        parameters = self._lay_out_weights()
        self.blocks, self.chunks = _blocks(int(self.layers[0, r.ROWS]), compressed)
        code, self.slots, self.constants = OPTIMIZERS[plan.optimizer](plan.constants)
        stride = 2 * 64 // self.dtype.itemsize
        samples = round_up(batch, stride)
        after = parameters * (1 + len(self.slots)) + 8 * 64  # a tile may read beyond the last row
        gradients = (int(np.diff(self.blocks).max()) + 8) * 64
        scratch = gradients + (r.GRADIENT_ROWS + 8) * 64 + 64
        rows = self._lay_out_buffers(after, samples)
        # Threads divide what is above the first layer only where that pays for meeting.
        upper = sum(int(row[r.ROWS] * row[r.COLUMNS]) for row in self.layers[1:-1])
        self.fields: dict[str, Any] = {
            "loss": LOSSES[plan.loss],
            "reads_outputs": plan.reads == "A",
            "optimizer": code,
            "slot_stride": parameters,
            "panel_stride": rows * stride,
            "padded_batch": samples,
            "scratch_size": scratch,
            "gradients": gradients,
            "compressed": compressed,
            "parallel_upper_layers": threads > 1 and upper * batch > PARALLEL_WORK,
        }
        sizes = {
            "partial_sums": r.CHUNKS * rows * samples,
            "head": rows * samples,
            "targets": rows * samples,
            "scores": 3 * samples,
            "scratch": threads * scratch,
            "inputs": 0 if compressed else int(self.layers[0, r.ROWS]) * samples,
        }
        last = self.layers[-2]
        self.numbers = int(last[r.DZ_TRANSPOSED] + last[r.COLUMNS] * samples)
        for name, size in sizes.items():
            self.fields[name] = self.numbers
            self.numbers += size

    def _lay_out_weights(self) -> int:
        """Panels and strips of every layer; returns how many numbers they take."""
        panels: list[tuple[int, ...]] = []
        strips: list[tuple[int, int, int, int]] = []
        at = 0
        for row, spec in zip(self.layers, self.plan.layers, strict=False):
            inputs, outputs, bias, activation = spec
            rows = round_up(inputs + bias, 4 if strips else r.ROW_MULTIPLE)
            row[:7] = inputs, outputs, bias, rows, ACTIVATIONS[activation], len(panels), len(strips)
            column = 0
            for width in _panels(outputs, self.dtype.itemsize):
                lanes = np.array([width // 16 * 16, width % 16]) * 4 // self.dtype.itemsize
                panels.append((at, width, column, *lanes))
                for columns in map(int, lanes):
                    if columns:
                        strips.append((at, columns, column, column + columns))
                    at, column = at + rows * columns, column + columns
            row[r.COLUMNS] = round_up(column, r.ROW_MULTIPLE)
        self.layers[-1, r.FIRST_PANEL : r.FIRST_STRIP + 1] = len(panels), len(strips)
        self.panels, self.strips = np.array(panels, np.int64), np.array(strips, np.int64)
        return at

    def _lay_out_buffers(self, at: int, samples: int) -> int:
        """Every layer's Z, dZ and dZ transposed, from `at` on; how many rows a buffer has, the same
        for all of them."""
        heights = (
            max(round_up(int(row[r.OUTPUTS]) + 1, r.ROW_MULTIPLE), row[r.COLUMNS])
            for row in self.layers
        )
        rows = int(max(heights))
        for row in self.layers[:-1]:
            row[r.Z : r.DZ_TRANSPOSED + 1] = at + np.arange(3) * rows * samples
            at = int(row[r.DZ_TRANSPOSED] + row[r.COLUMNS] * samples)
        return rows

    def pairs(self, flat: Array, M: Array, slot: int = 0) -> list[tuple[Array, Array]]:
        """Each strip of parameters (of moments, slot > 0) twice, as equal matrices: a view of the
        model's flat vector, and one of the memory. W's rows and then b are one matrix."""
        result, first = [], 0
        for layer, after in pairwise(self.layers):
            inputs, outputs, bias, rows = (int(n) for n in layer[:4])
            matrix = flat[first : first + (inputs + bias) * outputs].reshape(-1, outputs)
            first += matrix.size
            strips = self.strips[layer[r.FIRST_STRIP] : after[r.FIRST_STRIP]]
            for start, width, left, right in strips:
                begin = start + slot * self.fields["slot_stride"]
                strip = M[begin : begin + rows * width].reshape(rows, width)
                part = matrix[:, left : min(right, outputs)]
                result.append((part, strip[: len(part), : part.shape[1]]))
        return result

    @property
    def size(self) -> int:
        """P: length of the model's flat vector."""
        return sum((i + bias) * o for i, o, bias, _ in self.plan.layers)

    def net(self, m_threshold: float = 0.0, aligned: bool = True) -> Net:
        """Fresh numbers, all zero, and the tables.

        First moments below `m_threshold` are taken as 0. So are second ones below (1e-8 epsilon)^2,
        where nobody sees them beside epsilon: without a gradient they shrink for ever, and are
        denormal numbers after some 40 epochs. Without `aligned`, numbers begin 8 bytes off a cache
        line, to measure what that costs.
        """
        v_threshold = (1e-8 * self.constants[2]) ** 2 if m_threshold else 0.0
        shift = 0 if aligned else 8 // self.dtype.itemsize
        return Net(
            M=aligned_zeros(shift + self.numbers, self.dtype)[shift:],
            layers=self.layers,
            panels=self.panels,
            strips=self.strips,
            blocks=self.blocks,
            chunks=self.chunks,
            constants=np.array([*self.constants, m_threshold, v_threshold], self.dtype),
            active=np.ones(int(self.layers[0, r.ROWS]) // 4, np.bool_),
            **self.fields,
        )


def _blocks(rows: int, compressed: bool) -> tuple[Array, Array]:
    """The first layer's rows in blocks, and which blocks are a chunk."""
    units, most = rows // r.ROW_MULTIPLE, SPARSE_BLOCK_ROWS if compressed else DENSE_BLOCK_ROWS
    ends = [r.ROW_MULTIPLE * -(-units * c // r.CHUNKS) for c in range(r.CHUNKS + 1)]
    blocks, chunks = [], [0]
    for top, bottom in pairwise(ends):
        parts = -(-(bottom - top) // most)
        height = round_up(-(-(bottom - top) // max(1, parts)), r.ROW_MULTIPLE)
        blocks += [(i, min(i + height, bottom)) for i in range(top, bottom, max(height, 1))]
        chunks.append(len(blocks))
    return np.array(blocks, np.int64), np.array(chunks, np.int64)
