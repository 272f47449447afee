"""A block of registers: the sums of a micro-kernel, in half of the registers of the target.

A block is a small matrix that lives in registers: `rank1` adds a column times a row to it, and a
product of matrices is a loop of these. Half of the target's registers hold the sums, two to a row,
and the other half is left for what they are made of: so nothing is moved to the stack and back. One
sum depends on its own terms alone, and not on the block's shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from scratchnet.engines.compiled.target import target
from scratchnet.engines.compiled.vector import (
    Vector,
    call_llvm,
    element_pointer,
    llvm_suffix,
    register_types,
    splat_register,
)


class Block(types.Type):
    """The Numba type of a block: `rows` vectors side by side."""

    def __init__(self, rows: int, vector: Vector) -> None:
        self.rows, self.vector = rows, vector
        self.registers = register_types(vector) * rows
        super().__init__(name=f"Block({rows}, {vector})")


@register_model(Block)
class _BlockModel(models.PrimitiveModel):
    def __init__(self, manager: Any, block: Block) -> None:
        super().__init__(manager, block, ir.LiteralStructType(block.registers))


@intrinsic(prefer_literal=True)
def zero_block(typing_context: Any, A: Any, most: Any) -> Any:
    """Zeros: registers / 4 rows of two registers each, or of `most` (a literal) float32 if these
    are fewer."""
    if not isinstance(most, types.IntegerLiteral):
        return None
    bits = min(2 * target().register_bytes * 8, most.literal_value * 32)
    block = Block(target().registers // 4, Vector(A.dtype, bits // A.dtype.bitwidth))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.LiteralStructType(block.registers), None)

    return block(A, most), codegen


@intrinsic
def zeros_like(typing_context: Any, block: Any) -> Any:
    """Zeros of a block's type: a block that is handed on for its type alone takes no register."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.LiteralStructType(block.registers), None)

    return block(block), codegen


@intrinsic
def block_rows(typing_context: Any, block: Any) -> Any:
    """How many rows a block has: a constant to the compiler."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.int64, block.rows)

    return types.int64(block), codegen


@intrinsic
def block_columns(typing_context: Any, block: Any) -> Any:
    """How many columns a block has: a constant to the compiler."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.int64, block.vector.lanes)

    return types.int64(block), codegen


def _row_pointers(
    context: Any, builder: Any, A: Any, array: Any, at: Any, vector: Vector
) -> list[Any]:
    """Where the registers of a vector at A[at] begin."""
    pointers = []
    for kind in register_types(vector):
        pointer = element_pointer(context, builder, A, array, at)
        pointers.append(builder.bitcast(pointer, kind.as_pointer()))
        at = builder.add(at, ir.IntType(64)(kind.count))
    return pointers


def _matrix_pointers(context: Any, builder: Any, A: Any, args: Any, block: Block) -> list[Any]:
    """The same for a block's rows at A[at], A[at + stride] ...; `args` begins with these three."""
    array, at, stride = args[:3]
    pointers = []
    for t in range(block.rows):
        row = builder.add(at, builder.mul(stride, ir.IntType(64)(t)))
        pointers += _row_pointers(context, builder, A, array, row, block.vector)
    return pointers


def _build(builder: Any, block: Block, register: Callable[[int], Any]) -> Any:
    """The block whose n-th register is register(n)."""
    result = ir.Constant(ir.LiteralStructType(block.registers), ir.Undefined)
    for n in range(len(block.registers)):
        result = builder.insert_value(result, register(n), n)
    return result


@intrinsic
def load_block(typing_context: Any, A: Any, at: Any, stride: Any, block: Any) -> Any:
    """The block like `block` whose row t is A[at + t stride : ... + columns]."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointers = _matrix_pointers(context, builder, A, args, block)
        align = A.dtype.bitwidth // 8
        return _build(builder, block, lambda n: builder.load(pointers[n], align=align))

    return block(A, at, stride, block), codegen


@intrinsic
def store_block(typing_context: Any, A: Any, at: Any, stride: Any, block: Any) -> Any:
    """A[at + t stride : ... + columns] = row t of the block."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for n, pointer in enumerate(_matrix_pointers(context, builder, A, args, block)):
            value = builder.extract_value(args[3], n)
            builder.store(value, pointer, align=A.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(A, at, stride, block), codegen


@intrinsic
def rank1(typing_context: Any, A: Any, at: Any, stride: Any, x: Any, block: Any) -> Any:
    """The block plus A[at + t stride] times A[x : x + columns] in its row t, rounded once."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array, at, stride, x, before = args
        align, width = A.dtype.bitwidth // 8, len(register_types(block.vector))
        pointers = _row_pointers(context, builder, A, array, x, block.vector)
        row = [builder.load(pointer, align=align) for pointer in pointers]
        places = [
            builder.add(at, builder.mul(stride, ir.IntType(64)(t))) for t in range(block.rows)
        ]
        column = [
            builder.load(element_pointer(context, builder, A, array, place)) for place in places
        ]

        def register(n: int) -> Any:
            kind = block.registers[n]
            terms = [splat_register(builder, column[n // width], kind), row[n % width]]
            terms.append(builder.extract_value(before, n))
            return call_llvm(builder, f"llvm.fma.{llvm_suffix(kind)}", kind, terms)

        return _build(builder, block, register)

    return block(A, at, stride, x, block), codegen
