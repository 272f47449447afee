"""A vector type for Numba: values of one or more registers of 64 bytes, and what is done with them.

Numba has no public way to promise that two arrays do not overlap, so LLVM rarely turns a loop
over several arrays into the instructions that the machine has. Here they are asked for by name:
`load` makes a vector, `+ - * /` and `fma` work lane by lane, `store` writes it back. A vector has
no memory and no address: it lives in registers, and one longer than a register is split by LLVM,
so that the same source runs on any machine (64 bytes are one AVX-512 register, two of AVX2, four
of SSE or NEON). There is no check of bounds. `kernels.py` is written in it.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

REGISTER_BYTES = 64
"""Bytes of one register: `zeros(A, n)` has n * 64 / itemsize lanes."""


class Vector(types.Type):
    """The Numba type of a vector: `lanes` numbers of one floating `dtype`."""

    def __init__(self, dtype: types.Float, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


def _llvm(vector: Vector) -> ir.VectorType:
    real = ir.FloatType() if vector.dtype is types.float32 else ir.DoubleType()
    return ir.VectorType(real, vector.lanes)


def _integers(vector: Vector) -> ir.VectorType:
    return ir.VectorType(ir.IntType(vector.dtype.bitwidth), vector.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, _llvm(vector))


def _splat(builder: Any, scalar: Any, lanes: int) -> Any:
    kind = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
    zero = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zero)


def _same(kind: ir.VectorType, number: float) -> ir.Constant:
    return ir.Constant(kind, [ir.Constant(kind.element, number)] * kind.count)


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index], inbounds=True)


def _call(builder: Any, name: str, result: Any, args: list[Any]) -> Any:
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def _suffix(vector: Vector) -> str:
    return f"v{vector.lanes}f{vector.dtype.bitwidth}"


# --- making, loading, storing --------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def zeros(typing_context: Any, A: Any, registers: Any) -> Any:
    """A vector of `registers` (a literal) registers of A's dtype, all 0."""
    if not isinstance(registers, types.IntegerLiteral):
        return None
    vector = Vector(A.dtype, registers.literal_value * REGISTER_BYTES * 8 // A.dtype.bitwidth)

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(_llvm(vector), None)

    return vector(A, registers), code


@intrinsic
def lanes(typing_context: Any, like: Any) -> Any:
    """The number of lanes of a vector: a constant to the compiler."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.int64, like.lanes)

    return types.int64(like), code


@intrinsic
def is_double(typing_context: Any, x: Any) -> Any:
    """Whether a vector holds float64: a constant to the compiler."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.boolean, x.dtype is types.float64)

    return types.boolean(x), code


@intrinsic
def splat(typing_context: Any, x: Any, like: Any) -> Any:
    """A vector like `like` with x in every lane."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, context.cast(builder, args[0], x, like.dtype), like.lanes)

    return like(x, like), code


@intrinsic
def load(typing_context: Any, A: Any, i: Any, like: Any) -> Any:
    """A[i : i + lanes] of a flat array; fast where the address is a multiple of 64."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = _address(context, builder, A, args[0], args[1])
        pointer = builder.bitcast(at, _llvm(like).as_pointer())
        return builder.load(pointer, align=like.dtype.bitwidth // 8)

    return like(A, i, like), code


@intrinsic
def pick(typing_context: Any, A: Any, i: Any) -> Any:
    """A[i] of a flat array, i >= 0: without Python's question whether i counts from the end."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, A, args[0], args[1]))

    return A.dtype(A, i), code


@intrinsic
def put(typing_context: Any, A: Any, i: Any, x: Any) -> Any:
    """A[i] = x, i >= 0, likewise."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, A, args[0], args[1]))
        return context.get_dummy_value()

    return types.none(A, i, A.dtype), code


@intrinsic
def spread(typing_context: Any, A: Any, i: Any, like: Any) -> Any:
    """A[i], i >= 0, in every lane of a vector like `like`."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = builder.load(_address(context, builder, A, args[0], args[1]))
        return _splat(builder, number, like.lanes)

    return like(A, i, like), code


@intrinsic
def store(typing_context: Any, A: Any, i: Any, x: Any) -> Any:
    """A[i : i + lanes] = x."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = _address(context, builder, A, args[0], args[1])
        pointer = builder.bitcast(at, _llvm(x).as_pointer())
        builder.store(args[2], pointer, align=x.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(A, i, x), code


@intrinsic
def prefetch(typing_context: Any, A: Any, i: Any) -> Any:
    """Ask for the cache line of A[i] in the second cache; no effect on any number."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = _address(context, builder, A, args[0], args[1])
        byte = builder.bitcast(at, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        _call(builder, "llvm.prefetch.p0i8", ir.VoidType(), [byte, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.none(A, i), code


# --- arithmetic: + - * / and what has no sign ----------------------------------------------------


def _operator(function: Any, instruction: str) -> None:
    @infer_global(function)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(function, Vector, Vector)
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


def _lanewise(name: str, arity: int) -> Any:
    """The LLVM intrinsic of that name on `arity` equal vectors."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = sig.return_type
        return _call(builder, f"llvm.{name}.{_suffix(vector)}", _llvm(vector), list(args))

    def one(typing_context: Any, x: Any) -> Any:
        return x(x), code

    def three(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
        return x(x, y, z), code

    return intrinsic(one if arity == 1 else three)


fma = _lanewise("fma", 3)
"""fma(x, y, z) = x y + z, rounded once."""
sqrt = _lanewise("sqrt", 1)
"""Square root, correctly rounded."""
fabs = _lanewise("fabs", 1)
"""|x|."""
rint = _lanewise("rint", 1)
"""x rounded to a whole number, halves to even."""


def _choice(comparison: str) -> Any:
    def typing(typing_context: Any, x: Any, y: Any, yes: Any, no: Any) -> Any:
        def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            mask = builder.fcmp_ordered(comparison, args[0], args[1])
            return builder.select(mask, args[2], args[3])

        return yes(x, y, yes, no), code

    return intrinsic(typing)


where_gt = _choice(">")
"""where_gt(x, y, yes, no): yes where x > y, else no; a NaN compares as false."""
where_ge = _choice(">=")
"""where_ge(x, y, yes, no): yes where x >= y, else no; a NaN compares as false."""
where_lt = _choice("<")
"""where_lt(x, y, yes, no): yes where x < y, else no; a NaN compares as false."""


# --- a fast quotient -----------------------------------------------------------------------------


@intrinsic
def _reciprocal_guess(typing_context: Any, x: Any) -> Any:
    """1 / x to 14 bits by AVX-512's own instruction, a register at a time."""
    bits = x.dtype.bitwidth
    part = ir.VectorType(_llvm(x).element, REGISTER_BYTES * 8 // bits)
    name = f"llvm.x86.avx512.rcp14.p{'s' if bits == 32 else 'd'}.512"
    index = ir.IntType(32)

    def pick(builder: Any, a: Any, b: Any, lanes: range) -> Any:
        mask = ir.Constant(ir.VectorType(index, len(lanes)), [index(k) for k in lanes])
        return builder.shuffle_vector(a, b, mask)

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole, nothing = args[0], ir.Constant(part, ir.Undefined)
        parts = []
        for first in range(0, x.lanes, part.count):
            one = pick(builder, whole, whole, range(first, first + part.count))
            every = ir.IntType(part.count)(-1)
            parts.append(_call(builder, name, part, [one, nothing, every]))
        while len(parts) > 1:
            two = range(2 * parts[0].type.count)
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [pick(builder, a, b, two) for a, b in pairs]
        return parts[0]

    return x(x), code


HAS_RCP14 = bool(llvm.get_host_cpu_features().get("avx512f", False))


@njit
def _refine(y: Any, x: Any) -> Any:
    """Newton's step for 1 / x: twice the bits of the guess y."""
    one = splat(1.0, x)
    return fma(y, fma(splat(0.0, x) - x, y, one), y)


@njit
def _divide(x: Any, y: Any) -> Any:
    return x / y


@njit
def _divide_by_guess(x: Any, y: Any) -> Any:
    guess = _reciprocal_guess(y)
    better = _refine(guess, y)
    if is_double(y):
        better = _refine(better, y)
    return x * where_lt(y, splat(1e30, y), better, guess)


quotient = _divide_by_guess if HAS_RCP14 else _divide
"""quotient(x, y): x / y for y > 0 within 2 ulp; not bound by the one divider of a core."""


# --- exp, log, tanh ------------------------------------------------------------------------------

_INVERSE_FACTORIALS = [1 / math.factorial(k) for k in range(2, 14)]
_CONSTANTS: dict[str, tuple[list[float], list[float]]] = {
    # name: coefficients for float32, for float64; lowest power first
    "log2(e)": ([math.log2(math.e)],) * 2,
    "ln2 high": ([0.693359375], [float.fromhex("0x1.62e42fee00000p-1")]),
    "ln2 low": ([-2.12194440054690583e-4], [float.fromhex("0x1.a39ef35793c76p-33")]),
    "expm1": (_INVERSE_FACTORIALS[:6], _INVERSE_FACTORIALS),
    "atanh": ([2 / (2 * k + 1) for k in range(1, 5)], [2 / (2 * k + 1) for k in range(1, 12)]),
    "exp lowest": ([-104.0], [-746.0]),
    "exp highest": ([89.0], [710.0]),
    "tanh is 1": ([10.0], [20.0]),
}


@intrinsic(prefer_literal=True)
def _series(typing_context: Any, name: Any, x: Any) -> Any:
    """The polynomial of that name in x, by Horner's rule; one of degree 0 is a constant."""
    if not isinstance(name, types.StringLiteral):
        return None

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = _llvm(x)
        table = _CONSTANTS[name.literal_value][0 if x.dtype is types.float32 else 1]
        result = _same(kind, table[-1])
        for number in reversed(table[:-1]):
            terms = [result, args[1], _same(kind, number)]
            result = _call(builder, f"llvm.fma.{_suffix(x)}", kind, terms)
        return result

    return x(name, x), code


def _layout(vector: Vector) -> tuple[int, int]:
    """Bits of the fraction, and the bias of the exponent, of IEEE 754."""
    return (23, 127) if vector.dtype is types.float32 else (52, 1023)


@intrinsic
def power_of_two(typing_context: Any, k: Any) -> Any:
    """2**k for whole k in the range of normal numbers.

    Adding 1.5 * 2**fraction puts k, as an integer, in the last bits of the sum: from there it is
    shifted into the exponent. A NaN gives some number, never a trap.
    """

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        fraction, bias = _layout(k)
        whole = _integers(k)
        shifted = builder.fadd(args[0], _same(_llvm(k), 1.5 * 2.0**fraction))
        bits = builder.add(builder.bitcast(shifted, whole), _same(whole, bias))
        return builder.bitcast(builder.shl(bits, _same(whole, fraction)), _llvm(k))

    return k(k), code


@intrinsic
def exponent(typing_context: Any, x: Any) -> Any:
    """The whole k for which x / 2**k lies in about [0.7, 1.41], as a float; normal x > 0."""

    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        fraction, bias = _layout(x)
        whole = _integers(x)
        bits = builder.bitcast(args[0], whole)
        up = builder.add(bits, _same(whole, int((2 - math.sqrt(2)) * 2**fraction)))
        k = builder.sub(builder.ashr(up, _same(whole, fraction)), _same(whole, bias))
        return builder.sitofp(k, _llvm(x))

    return x(x), code


@njit
def _reduced(x: Any) -> Any:
    """Whole k and p = exp(x - k ln 2) - 1, with ln 2 in two parts so that k ln 2 is exact."""
    k = rint(x * _series("log2(e)", x))
    minus = splat(0.0, x) - k
    r = fma(minus, _series("ln2 low", x), fma(minus, _series("ln2 high", x), x))
    return k, fma(r * r, _series("expm1", r), r)


@njit
def exp(x: Any) -> Any:
    """e**x within 2 ulp; 0 and inf where it leaves the range, NaN stays NaN.

    2**k is applied in two halves, so that results below the normal numbers come out as well.
    """
    lowest, highest = _series("exp lowest", x), _series("exp highest", x)
    k, p = _reduced(where_gt(x, highest, highest, where_lt(x, lowest, lowest, x)))
    half = rint(k * splat(0.5, x))
    scale = power_of_two(half)
    return fma(p, scale, scale) * power_of_two(k - half)


@njit
def tanh(x: Any) -> Any:
    """(e - 1) / (e + 1) with e = exp(2 |x|), whose e - 1 keeps its digits near 0; 3 ulp."""
    size, limit, zero = fabs(x), _series("tanh is 1", x), splat(0.0, x)
    k, p = _reduced(splat(2.0, x) * where_gt(size, limit, limit, size))
    scale = power_of_two(k)
    e = fma(p, scale, scale - splat(1.0, x))
    t = e / (e + splat(2.0, x))
    return where_lt(x, zero, zero - t, t)


@njit
def log(x: Any) -> Any:
    """Natural logarithm of normal x > 0 within 2 ulp; NaN for NaN and inf.

    x = 2**k m with m in about [0.7, 1.41] and s = (m - 1) / (m + 1), so log m = 2 atanh(s).
    """
    k = exponent(x)
    half = rint(k * splat(0.5, x))
    zero = splat(0.0, x)
    f = x * power_of_two(zero - half) * power_of_two(half - k) - splat(1.0, x)
    s = f / (f + splat(2.0, x))
    z = s * s
    square = splat(0.5, x) * f * f
    tail = fma(s, fma(z, _series("atanh", z), square), k * _series("ln2 low", x))
    return fma(k, _series("ln2 high", x), f - (square - tail)) + (x - x)
