"""A SIMD vector type for Numba: registers of 64 bytes, and the operations on their lanes.

Numba has no public way to promise that two arrays do not overlap, so LLVM rarely vectorises a loop
over several arrays. Here the instructions are asked for by name: `load` makes a vector, `+ - * /`
and `fma` work lane by lane, `store` writes it back. A vector has no memory and no address; it is a
few registers and, if its width asks for it, a part of one, and LLVM splits registers for narrower
machines (64 bytes are one AVX-512 register, two of AVX2, four of SSE or NEON). There is no check of
bounds. The kernels are written in it.
"""

from __future__ import annotations

import math
import operator
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from scratchnet.engines.compiled.target import target

REGISTER_BYTES = 64
WIDTH_4, WIDTH_16, WIDTH_32, WIDTH_52, WIDTH_64 = 4, 16, 32, 52, 64
"""Widths of the vectors in use, in lanes of float32 (half as many of float64): a quarter of a
register, one register, two, three and a quarter, four."""


class Vector(types.Type):
    """The Numba type of a vector: `lanes` numbers of one floating `dtype`."""

    def __init__(self, dtype: types.Float, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        full = REGISTER_BYTES * 8 // dtype.bitwidth
        self.registers = [full] * (lanes // full) + [lanes % full] * (lanes % full > 0)
        super().__init__(name=f"Vector({dtype}, {lanes})")


def _register_type(vector: Vector, lanes: int) -> ir.VectorType:
    """The LLVM type of a register of that many lanes."""
    real = ir.FloatType() if vector.dtype is types.float32 else ir.DoubleType()
    return ir.VectorType(real, lanes)


def _integer_type(kind: ir.VectorType) -> ir.VectorType:
    """The LLVM type of a register of integers as wide as its floats."""
    return ir.VectorType(ir.IntType(32 if kind.element == ir.FloatType() else 64), kind.count)


def register_types(vector: Vector) -> list[ir.VectorType]:
    """The LLVM types of a vector's registers."""
    return [_register_type(vector, n) for n in vector.registers]


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, ir.LiteralStructType(register_types(vector)))


def _map_registers(builder: Any, vector: Vector, function: Any, *values: Any) -> Any:
    """The vector made of function(type, *registers) for each register of the values in turn."""
    kinds = register_types(vector)
    result = ir.Constant(ir.LiteralStructType(kinds), ir.Undefined)
    for place, kind in enumerate(kinds):
        registers = [builder.extract_value(value, place) for value in values]
        result = builder.insert_value(result, function(kind, *registers), place)
    return result


def splat_register(builder: Any, scalar: Any, kind: ir.VectorType) -> Any:
    """A register with a number in every lane."""
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
    zero = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), None)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zero)


def _constant(kind: ir.VectorType, number: float) -> ir.Constant:
    return ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count)


def element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index], inbounds=True)


def _register_pointer(
    context: Any, builder: Any, sig: Any, args: Any, kind: Any
) -> tuple[Any, int]:
    """Where the register of array `args[0]` at `args[1]` begins, and how it is aligned."""
    at = element_pointer(context, builder, sig.args[0], args[0], args[1])
    return builder.bitcast(at, kind.as_pointer()), sig.args[0].dtype.bitwidth // 8


def call_llvm(builder: Any, name: str, result: Any, args: list[Any]) -> Any:
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def llvm_suffix(kind: ir.VectorType) -> str:
    return f"v{kind.count}f{32 if kind.element == ir.FloatType() else 64}"


def _lane_numbers(*lanes: int) -> ir.Constant:
    """A shuffle's mask: a constant vector of lane numbers."""
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)


# --- making, loading, storing --------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def zeros(typing_context: Any, A: Any, width: Any) -> Any:
    """A vector of A's dtype, all 0, as wide as `width` (a literal) float32: a multiple of 4."""
    if not isinstance(width, types.IntegerLiteral):
        return None
    vector = Vector(A.dtype, width.literal_value * 32 // A.dtype.bitwidth)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _map_registers(builder, vector, lambda kind: ir.Constant(kind, None))

    return vector(A, width), codegen


@intrinsic
def zero_register(typing_context: Any, A: Any) -> Any:
    """The same, as wide as one register of the target."""
    vector = Vector(A.dtype, target().register_bytes * 8 // A.dtype.bitwidth)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _map_registers(builder, vector, lambda kind: ir.Constant(kind, None))

    return vector(A), codegen


@intrinsic
def lanes(typing_context: Any, like: Any) -> Any:
    """The number of lanes of a vector: a constant to the compiler."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.int64, like.lanes)

    return types.int64(like), codegen


@intrinsic
def two_fit(typing_context: Any, x: Any) -> Any:
    """Whether the target has registers for two vectors like x that are summed side by side: a
    constant to the compiler. x86 multiplies what is in memory; others must load a row of weights.
    """
    chip, bits = target(), x.dtype.bitwidth
    each = sum(-(-n * bits // (8 * chip.register_bytes)) for n in x.registers)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        needed = 2 * each + 2 if chip.is_x86 else 3 * each + 1
        return context.get_constant(types.boolean, needed <= chip.registers)

    return types.boolean(x), codegen


@intrinsic
def is_double(typing_context: Any, x: Any) -> Any:
    """Whether a vector holds float64: a constant to the compiler."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.boolean, x.dtype is types.float64)

    return types.boolean(x), codegen


@intrinsic
def splat(typing_context: Any, x: Any, like: Any) -> Any:
    """A vector like `like` with x in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = context.cast(builder, args[0], x, like.dtype)
        return _map_registers(builder, like, lambda kind: splat_register(builder, number, kind))

    return like(x, like), codegen


@intrinsic
def broadcast(typing_context: Any, A: Any, i: Any, like: Any) -> Any:
    """A[i], i >= 0, in every lane of a vector like `like`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = builder.load(element_pointer(context, builder, A, args[0], args[1]))
        return _map_registers(builder, like, lambda kind: splat_register(builder, number, kind))

    return like(A, i, like), codegen


def _row_offsets(builder: Any, vector: Vector, start: Any, row: Any, rows: Any) -> list[Any]:
    """Where the registers of a matrix's row begin: whole registers side by side, and the parts of
    registers of all rows behind the last row, so that every whole one is aligned."""
    whole = [n for n in vector.registers if n == max(vector.registers)]
    width = sum(whole)
    number = ir.IntType(64)
    first = builder.add(start, builder.mul(row, number(width)))
    places = [builder.add(first, number(sum(whole[:k]))) for k in range(len(whole))]
    for n in vector.registers[len(whole) :]:
        behind = builder.add(start, builder.mul(rows, number(width)))
        places.append(builder.add(behind, builder.mul(row, number(n))))
    return places


def _single_row(builder: Any, args: Any) -> tuple[Any, Any, Any]:
    number = ir.IntType(64)
    return args[1], number(0), number(1)


def _load_registers(
    context: Any, builder: Any, A: Any, array: Any, places: Any, like: Vector
) -> Any:
    following = iter(places)

    def one(kind: ir.VectorType) -> Any:
        at = builder.bitcast(
            element_pointer(context, builder, A, array, next(following)), kind.as_pointer()
        )
        return builder.load(at, align=A.dtype.bitwidth // 8)

    return _map_registers(builder, like, one)


def _store_registers(
    context: Any, builder: Any, A: Any, array: Any, places: Any, x: Any, value: Any
) -> Any:
    for place, (at, lanes) in enumerate(zip(places, x.registers, strict=True)):
        address = element_pointer(context, builder, A, array, at)
        pointer = builder.bitcast(address, _register_type(x, lanes).as_pointer())
        builder.store(builder.extract_value(value, place), pointer, align=A.dtype.bitwidth // 8)
    return context.get_dummy_value()


@intrinsic
def load(typing_context: Any, A: Any, i: Any, like: Any) -> Any:
    """A[i : i + lanes] of a flat array; fast where the address is a multiple of 64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = _row_offsets(builder, like, *_single_row(builder, args))
        return _load_registers(context, builder, A, args[0], places, like)

    return like(A, i, like), codegen


@intrinsic
def store(typing_context: Any, A: Any, i: Any, x: Any) -> Any:
    """A[i : i + lanes] = x."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = _row_offsets(builder, x, *_single_row(builder, args))
        return _store_registers(context, builder, A, args[0], places, x, args[2])

    return types.none(A, i, x), codegen


@intrinsic
def load_row(typing_context: Any, A: Any, start: Any, row: Any, rows: Any, like: Any) -> Any:
    """A row of the matrix of `rows` rows that begins at A[start], laid out as `_places` says."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _load_registers(
            context, builder, A, args[0], _row_offsets(builder, like, *args[1:4]), like
        )

    return like(A, start, row, rows, like), codegen


@intrinsic
def store_row(typing_context: Any, A: Any, start: Any, row: Any, rows: Any, x: Any) -> Any:
    """That row = x."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = _row_offsets(builder, x, *args[1:4])
        return _store_registers(context, builder, A, args[0], places, x, args[4])

    return types.none(A, start, row, rows, x), codegen


@intrinsic
def load_scalar(typing_context: Any, A: Any, i: Any) -> Any:
    """A[i] of a flat array, i >= 0: without Python's check for an i that counts from the end."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(element_pointer(context, builder, A, args[0], args[1]))

    return A.dtype(A, i), codegen


@intrinsic
def prefetch(typing_context: Any, A: Any, i: Any) -> Any:
    """Fetch the cache line of A[i] into the second-level cache; no effect on any number."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = element_pointer(context, builder, A, args[0], args[1])
        byte = builder.bitcast(at, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        call_llvm(
            builder, "llvm.prefetch.p0i8", ir.VoidType(), [byte, number(0), number(2), number(1)]
        )
        return context.get_dummy_value()

    return types.none(A, i), codegen


@intrinsic
def load_converted(typing_context: Any, A: Any, i: Any, like: Any) -> Any:
    """A[i : i + lanes] of unsigned bytes or floats of any width, in like's dtype."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _map_registers(
            builder, like, lambda kind: _converted_register(context, builder, sig, args, kind)
        )

    return like(A, i, like), codegen


def _converted_register(
    context: Any, builder: Any, sig: Any, args: Any, kind: ir.VectorType
) -> Any:
    array, like = sig.args[0], sig.args[2]
    raw = ir.VectorType(context.get_data_type(array.dtype), kind.count)
    at, align = _register_pointer(context, builder, sig, args, raw)
    found = builder.load(at, align=align)
    if isinstance(array.dtype, types.Integer):
        return builder.uitofp(found, kind)
    if array.dtype.bitwidth == like.dtype.bitwidth:
        return found
    narrower = array.dtype.bitwidth > like.dtype.bitwidth
    return (builder.fptrunc if narrower else builder.fpext)(found, kind)


@intrinsic
def broadcast_decoded(typing_context: Any, V: Any, i: Any, table: Any, like: Any) -> Any:
    """V[i] in every lane; where V holds bytes, which are codes, table[V[i]]."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = builder.load(element_pointer(context, builder, V, args[0], args[1]))
        if isinstance(V.dtype, types.Integer):
            place = builder.zext(number, ir.IntType(64))
            number = builder.load(element_pointer(context, builder, table, args[2], place))
        return _map_registers(builder, like, lambda kind: splat_register(builder, number, kind))

    return like(V, i, table, like), codegen


@intrinsic
def compress_store_nonzero(
    typing_context: Any, A: Any, i: Any, V: Any, I: Any, at: Any, base: Any, scale: Any
) -> Any:
    """Of the 16 numbers from A[i] on, those that are not 0, side by side from V[at] on; floats in
    V's dtype and times scale. From I[at] on, in bytes, base + their place among the 16.

    Returns how many there are.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        n, number, byte = 16, ir.IntType(64), ir.IntType(8)
        raw = ir.VectorType(context.get_data_type(A.dtype), n)
        at, align = _register_pointer(context, builder, sig, args, raw)
        found, none = builder.load(at, align=align), ir.Constant(raw, None)
        whole = isinstance(A.dtype, types.Integer)
        compare = builder.icmp_unsigned if whole else builder.fcmp_unordered
        mask = compare("!=", found, none)
        bytes_ = ir.VectorType(byte, n)
        first = splat_register(builder, builder.trunc(args[5], byte), bytes_)
        index = builder.add(first, ir.Constant(bytes_, list(range(n))))
        if not whole:
            kind = ir.VectorType(context.get_data_type(V.dtype), n)
            if V.dtype is not A.dtype:
                narrower = A.dtype.bitwidth > V.dtype.bitwidth
                found = (builder.fptrunc if narrower else builder.fpext)(found, kind)
            found = builder.fmul(found, splat_register(builder, args[6], kind))
        kept = "i8" if whole else f"f{V.dtype.bitwidth}"
        for array, given, name in ((2, found, kept), (3, index, "i8")):
            to = element_pointer(context, builder, sig.args[array], args[array], args[4])
            store = f"llvm.masked.compressstore.v{n}{name}"
            call_llvm(builder, store, ir.VoidType(), [given, to, mask])
        bits = builder.zext(builder.bitcast(mask, ir.IntType(n)), number)
        return call_llvm(builder, "llvm.ctpop.i64", number, [bits])

    return types.int64(A, i, V, I, at, base, scale), codegen


@intrinsic
def transpose(
    typing_context: Any, A: Any, a: Any, da: Any, B: Any, b: Any, db: Any, like: Any
) -> Any:
    """B[b + j db + i] = A[a + i da + j] for i and j up to the lanes of one register.

    Halves of rows are exchanged with halves of the rows half the square away, then quarters within
    each half, and so on: log2(lanes) rounds of two-register shuffles.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind, number = _register_type(like, like.lanes), ir.IntType(64)
        n = like.lanes

        def place(array: int, at: int, step: int, row: int) -> Any:
            index = builder.add(args[at], builder.mul(args[step], number(row)))
            address = element_pointer(context, builder, sig.args[array], args[array], index)
            return builder.bitcast(address, kind.as_pointer())

        rows = [builder.load(place(0, 1, 2, r), align=A.dtype.bitwidth // 8) for r in range(n)]
        half = n // 2
        while half:
            low = _lane_numbers(*(k if not k & half else n + k - half for k in range(n)))
            high = _lane_numbers(*(k + half if not k & half else n + k for k in range(n)))
            for r in (r for r in range(n) if not r & half):
                pair = rows[r], rows[r + half]
                rows[r] = builder.shuffle_vector(*pair, low)
                rows[r + half] = builder.shuffle_vector(*pair, high)
            half //= 2
        for r, row in enumerate(rows):
            builder.store(row, place(3, 4, 5, r), align=A.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(A, a, da, B, b, db, like), codegen


@intrinsic
def sum_lanes(typing_context: Any, x: Any) -> Any:
    """The sum of all lanes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        total = context.get_constant(x.dtype, 0)
        for place, n in enumerate(x.registers):
            kind = _register_type(x, n)
            part = builder.extract_value(args[0], place)
            name = f"llvm.vector.reduce.fadd.{llvm_suffix(kind)}"
            total = call_llvm(builder, name, kind.element, [total, part])
        return total

    return x.dtype(x), codegen


# --- arithmetic ----------------------------------------------------------------------------------


def _operator(function: Any, instruction: str, arity: int = 2) -> None:
    @infer_global(function)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if isinstance(args[0], Vector) and list(args) == [args[0]] * arity:
                return signature(args[0], *args)
            return None

    @lower_builtin(function, *[Vector] * arity)
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        operation = getattr(builder, instruction)
        return _map_registers(builder, sig.return_type, lambda kind, *xs: operation(*xs), *args)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")
_operator(operator.neg, "fneg", arity=1)


def _lanewise(name: str, arity: int) -> Any:
    """The LLVM intrinsic of that name on `arity` equal vectors."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def one_register(kind: ir.VectorType, *registers: Any) -> Any:
            return call_llvm(builder, f"llvm.{name}.{llvm_suffix(kind)}", kind, list(registers))

        return _map_registers(builder, sig.return_type, one_register, *args)

    def one(typing_context: Any, x: Any) -> Any:
        return x(x), codegen

    def three(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
        return x(x, y, z), codegen

    return intrinsic(one if arity == 1 else three)


fma = _lanewise("fma", 3)
"""fma(x, y, z) = x y + z, rounded once."""
sqrt = _lanewise("sqrt", 1)
"""The square root, correctly rounded."""
fabs = _lanewise("fabs", 1)
"""|x|."""
rint = _lanewise("rint", 1)
"""x rounded to a whole number, halves to even."""


def _select(comparison: str) -> Any:
    def typing(typing_context: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            def one_register(kind: ir.VectorType, x: Any, y: Any, yes: Any, no: Any) -> Any:
                return builder.select(builder.fcmp_ordered(comparison, x, y), yes, no)

            return _map_registers(builder, yes, one_register, *args)

        return yes(x, y, yes, no), codegen

    return intrinsic(typing)


where_gt = _select(">")
"""where_gt(x, y, yes, no): yes where x > y, else no; a NaN compares as false."""
where_ge = _select(">=")
"""where_ge(x, y, yes, no): yes where x >= y, else no; a NaN compares as false."""
where_lt = _select("<")
"""where_lt(x, y, yes, no): yes where x < y, else no; a NaN compares as false."""


# --- a fast reciprocal ---------------------------------------------------------------------------


@intrinsic
def _has_estimate(typing_context: Any, x: Any) -> Any:
    """Whether the target estimates reciprocals: a constant to the compiler."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.boolean, target().has_rcp14)

    return types.boolean(x), codegen


@intrinsic
def _reciprocal_estimate(typing_context: Any, x: Any) -> Any:
    """1 / x: to 14 bits by AVX-512's instruction if the target has it, else correctly rounded."""

    def one_register(builder: Any, kind: ir.VectorType, y: Any) -> Any:
        if not target().has_rcp14:
            return builder.fdiv(_constant(kind, 1.0), y)
        bits = 8 * REGISTER_BYTES if kind.count * x.dtype.bitwidth == 8 * REGISTER_BYTES else 128
        name = f"llvm.x86.avx512.rcp14.p{'s' if x.dtype is types.float32 else 'd'}.{bits}"
        every = ir.IntType(max(8, kind.count))(-1)
        return call_llvm(builder, name, kind, [y, ir.Constant(kind, ir.Undefined), every])

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _map_registers(builder, x, lambda kind, y: one_register(builder, kind, y), *args)

    return x(x), codegen


@njit
def _newton_step(y: Any, x: Any) -> Any:
    """Newton's step for 1 / x: twice the bits of the estimate y."""
    return fma(y, fma(-x, y, splat(1.0, x)), y)


@njit
def reciprocal(x: Any) -> Any:
    """1 / x for x > 0 within 2 ulp; where the target can estimate, not limited by its divider."""
    estimate = _reciprocal_estimate(x)
    if not _has_estimate(x):
        return estimate
    refined = _newton_step(estimate, x)
    if is_double(x):
        refined = _newton_step(refined, x)
    return where_lt(x, splat(1e30, x), refined, estimate)


# --- exp, log, tanh ------------------------------------------------------------------------------

_INVERSE_FACTORIALS = [1 / math.factorial(k) for k in range(2, 14)]
_COEFFICIENTS: dict[str, tuple[list[float], list[float]]] = {
    # name: coefficients for float32, for float64; lowest power first
    "log2(e)": ([math.log2(math.e)],) * 2,
    "ln2 high": ([0.693359375], [float.fromhex("0x1.62e42fee00000p-1")]),
    "ln2 low": ([-2.12194440054690583e-4], [float.fromhex("0x1.a39ef35793c76p-33")]),
    "expm1": (_INVERSE_FACTORIALS[:6], _INVERSE_FACTORIALS),
    "atanh": ([2 / (2 * k + 1) for k in range(1, 5)], [2 / (2 * k + 1) for k in range(1, 12)]),
    "exp lowest": ([-87.33], [-708.39]),
    "exp highest": ([89.0], [710.0]),
    "tanh is 1": ([10.0], [20.0]),
}


@intrinsic(prefer_literal=True)
def _polynomial(typing_context: Any, name: Any, x: Any) -> Any:
    """The polynomial of that name in x, by Horner's rule; of degree 0, a constant."""
    if not isinstance(name, types.StringLiteral):
        return None

    table = _COEFFICIENTS[name.literal_value][0 if x.dtype is types.float32 else 1]

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def one_register(kind: ir.VectorType, y: Any) -> Any:
            result = _constant(kind, table[-1])
            for number in reversed(table[:-1]):
                terms = [result, y, _constant(kind, number)]
                result = call_llvm(builder, f"llvm.fma.{llvm_suffix(kind)}", kind, terms)
            return result

        return _map_registers(builder, x, one_register, args[1])

    return x(name, x), codegen


def _float_format(kind: ir.VectorType) -> tuple[int, int]:
    """Bits of the fraction, and the exponent's bias, in IEEE 754."""
    return (23, 127) if kind.element == ir.FloatType() else (52, 1023)


@intrinsic
def power_of_two(typing_context: Any, k: Any) -> Any:
    """2**k for whole k in the range of normal numbers.

    Adding 1.5 * 2**fraction puts k, as an integer, in the last bits of the sum: from there it is
    shifted into the exponent. A NaN gives some number, never a trap.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def one_register(kind: ir.VectorType, y: Any) -> Any:
            (fraction, bias), whole = _float_format(kind), _integer_type(kind)
            shifted = builder.fadd(y, _constant(kind, 1.5 * 2.0**fraction))
            bits = builder.add(builder.bitcast(shifted, whole), _constant(whole, bias))
            return builder.bitcast(builder.shl(bits, _constant(whole, fraction)), kind)

        return _map_registers(builder, k, one_register, *args)

    return k(k), codegen


@intrinsic
def exponent(typing_context: Any, x: Any) -> Any:
    """The whole k for which x / 2**k lies in about [0.7, 1.41], as a float; normal x > 0."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def one_register(kind: ir.VectorType, y: Any) -> Any:
            (fraction, bias), whole = _float_format(kind), _integer_type(kind)
            bits = builder.bitcast(y, whole)
            up = builder.add(bits, _constant(whole, int((2 - math.sqrt(2)) * 2**fraction)))
            k = builder.sub(builder.ashr(up, _constant(whole, fraction)), _constant(whole, bias))
            return builder.sitofp(k, kind)

        return _map_registers(builder, x, one_register, *args)

    return x(x), codegen


@njit
def _reduced_expm1(x: Any) -> Any:
    """Whole k and p = exp(x - k ln 2) - 1, with ln 2 in two parts so that k ln 2 is exact."""
    k = rint(x * _polynomial("log2(e)", x))
    r = fma(-k, _polynomial("ln2 low", x), fma(-k, _polynomial("ln2 high", x), x))
    return k, fma(r * r, _polynomial("expm1", r), r)


@njit
def exp(x: Any) -> Any:
    """e**x within 2 ulp; 0 and inf where it leaves the normal numbers, NaN stays NaN.

    2**k is applied in two halves, as 2**128 is no number of its own and half of it times 2 is.
    """
    lowest, highest = _polynomial("exp lowest", x), _polynomial("exp highest", x)
    k, p = _reduced_expm1(where_gt(x, highest, highest, where_lt(x, lowest, lowest, x)))
    half = rint(k * splat(0.5, x))
    scale = power_of_two(half)
    result = fma(p, scale, scale) * power_of_two(k - half)
    return where_lt(x, lowest, splat(0.0, x), result)


@njit
def tanh(x: Any) -> Any:
    """(e - 1) / (e + 1) with e = exp(2 |x|), whose e - 1 keeps its digits near 0; 3 ulp."""
    size, limit, zero = fabs(x), _polynomial("tanh is 1", x), splat(0.0, x)
    k, p = _reduced_expm1(splat(2.0, x) * where_gt(size, limit, limit, size))
    scale = power_of_two(k)
    e = fma(p, scale, scale - splat(1.0, x))
    t = e / (e + splat(2.0, x))
    return where_lt(x, zero, -t, t)


@njit
def log(x: Any) -> Any:
    """Natural logarithm of normal x > 0 within 2 ulp; NaN for NaN and inf.

    x = 2**k m with m in about [0.7, 1.41] and s = (m - 1) / (m + 1), so log m = 2 atanh(s).
    """
    k = exponent(x)
    half = rint(k * splat(0.5, x))
    f = x * power_of_two(-half) * power_of_two(half - k) - splat(1.0, x)
    s = f / (f + splat(2.0, x))
    z = s * s
    square = splat(0.5, x) * f * f
    tail = fma(s, fma(z, _polynomial("atanh", z), square), k * _polynomial("ln2 low", x))
    return fma(k, _polynomial("ln2 high", x), f - (square - tail)) + (x - x)
