"""The processor that code is compiled for: Numba's target, which need not be this machine's.

NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name another one. A CPU's name alone does not say how wide its
registers are, and a list of features may take some away: so LLVM is asked to compile two functions
for the target, and the registers that it takes are read off.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core.registry import cpu_target

X86 = ("x86_64", "i686", "i386")


class Target(NamedTuple):
    """What kernels are shaped by."""

    is_x86: bool
    register_bytes: int
    """Of the widest vector register."""
    registers: int
    """How many of them there are."""
    has_rcp14: bool
    """AVX-512's estimate of a reciprocal, for registers of any width (AVX512VL)."""


def _probe() -> str:
    """LLVM's text of a sum of 64 bytes, and of a choice between two numbers in 16 bytes."""
    module = ir.Module()
    for lanes in (16, 4):
        kind = ir.VectorType(ir.FloatType(), lanes)
        function = ir.Function(module, ir.FunctionType(kind, [kind] * 3), f"with_{lanes}_lanes")
        x, y, z = function.args
        builder = ir.IRBuilder(function.append_basic_block())
        total = builder.fadd(x, y)
        builder.ret(
            total if lanes == 16 else builder.select(builder.fcmp_ordered("<", x, y), total, z)
        )
    return str(module)


def describe(triple: str, cpu: str, features: str) -> Target:
    """A target in LLVM's words; one that is not known to it counts as 16 registers of 16 bytes.

    >>> describe("x86_64-unknown-linux-gnu", "haswell", "")
    Target(is_x86=True, register_bytes=32, registers=16, has_rcp14=False)
    """
    module = llvm.parse_assembly(_probe())
    module.triple = triple
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(module)
    widths = [n for n, name in ((64, "zmm"), (32, "ymm")) if name in assembly]
    has_masks = re.search(r"xmm\d+ \{%k\d\}", assembly) is not None
    many = has_masks or "zmm" in assembly or triple.startswith("aarch64")
    return Target(triple.startswith(X86), max(widths, default=16), 32 if many else 16, has_masks)


def identity() -> tuple[str, str, str]:
    """Numba's target: its triple, CPU and features."""
    codegen: Any = cpu_target.target_context.codegen()
    triple, cpu, features = codegen.magic_tuple()
    return triple, cpu, features


@functools.cache
def target() -> Target:
    """Numba's target."""
    return describe(*identity())
