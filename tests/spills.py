"""Where compiled kernels move vector registers to the stack and back: `python tests/spills.py`.

Numba compiles for the target that NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name, and nothing is run,
so that any machine can look at any other's code. The answer is JSON: for each kernel its innermost
loops, how many vector instructions each has, and which of them read or write the stack. With
`aarch64` as an argument the same kernels, shaped for that architecture, are translated for it; with
`crowded` one is made as if there were four times the registers, to be seen to spill.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import njit, typeof, types

from scratchnet.engines.compiled import block, optimizer, products, records, sparse, threads, vector
from scratchnet.engines.compiled.block import zero_block
from scratchnet.engines.compiled.layout import Layout
from scratchnet.engines.compiled.target import describe, identity
from scratchnet.engines.compiled.vector import WIDTH_4, WIDTH_16, WIDTH_32, zeros
from scratchnet.engines.contract import DenseSpec, Plan

AARCH64 = "aarch64-unknown-linux-gnu", "neoverse-n1", ""
VECTOR = re.compile(r"%[xyz]mm\d|\b[vq]\d+\b")
LABEL = re.compile(r"^(\.L\w+):")
JUMP = re.compile(r"^\s(j\w+|b|b\.\w+|cbn?z|tbn?z)\s(?:.*, )?(\.L\w+)$")
END = re.compile(r"^\s(jmp|b|br|ret\w*|ud2|brk)\b(?!\.)")
FUNCTION = re.compile(r"^([\w.$\"]+):")
FRAMES = re.compile(r"\smovq\s+%rsp, %rbp|\s(?:mov|add)\s+x29, sp")


def functions(assembly: str) -> Iterator[tuple[str, list[str]]]:
    """Each function's name and its lines, without directives."""
    name, lines = "", []
    for line in assembly.splitlines():
        if FUNCTION.match(line) and not LABEL.match(line):
            yield name, lines
            name, lines = line.rstrip(":"), []
        elif LABEL.match(line) or not line.strip().startswith((".", "#", "//")):
            lines.append(re.split(r"\s*(?:#|//)", line)[0].rstrip() if "//" in line else line)
    yield name, lines


def _graph(lines: list[str]) -> tuple[list[list[str]], list[set[int]]]:
    """The basic blocks of a function, and which others may follow each."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if LABEL.match(line) and parts[-1]:
            parts.append([])
        parts[-1].append(line)
        if JUMP.match(line) or END.match(line):
            parts.append([])
    at = {m[1]: n for n, part in enumerate(parts) if part and (m := LABEL.match(part[0]))}
    follow: list[set[int]] = []
    for n, part in enumerate(parts):
        last = part[-1] if part else ""
        found = {at[m[2]]} if (m := JUMP.match(last)) and m[2] in at else set()
        follow.append(found if END.match(last) or n + 1 == len(parts) else found | {n + 1})
    return parts, follow


def _reached(follow: list[set[int]], start: int, without: int) -> set[int]:
    """The blocks that can come after one, itself included, on ways around another."""
    seen, waiting = set(), [start]
    while waiting:
        n = waiting.pop()
        if n not in seen and n != without:
            seen.add(n)
            waiting += follow[n]
    return seen


def innermost_loops(lines: list[str]) -> list[list[str]]:
    """The lines of each natural loop that has no other within: of the blocks from which a jump back
    to the loop's head can be reached, where there is no way in but through its head."""
    parts, follow = _graph(lines)
    before: list[set[int]] = [set() for _ in parts]
    for n, others in enumerate(follow):
        for other in others:
            before[other].add(n)
    loops: dict[int, set[int]] = {}
    for head, into in enumerate(before):
        outside = _reached(follow, 0, without=head)
        for n in (n for n in into if n == head or n not in outside):
            if n == head or n in _reached(follow, 0, without=-1):
                loops.setdefault(head, {head}).update(_reached(before, n, without=head))
    inner = [body for head, body in loops.items() if not (body - {head}) & loops.keys()]
    return [[line for n in sorted(body) for line in parts[n]] for body in inner]


def spills(loop: list[str], frame: bool) -> list[str]:
    """The vector instructions of a loop that read or write the stack; `frame` if the function keeps
    a frame pointer, which is a general register otherwise."""
    stack = re.compile(r"\(%r[sb]p\)|\[(sp|x29)\b" if frame else r"\(%rsp\)|\[sp\b")
    return [line.strip() for line in loop if VECTOR.search(line) and stack.search(line)]


def products_(M: Any, w: Any, a: Any, B: Any, z: Any, hyper: Any) -> None:
    like = zeros(M, WIDTH_16)
    products.tile_samples(M, w, B, w, a, z, B, a, w, z, B, B > 3, like)
    products.tile_samples(M, w, w, records.ONE, a, z, B, a, w, z, B, records.TRUE, like)


def gradient(M: Any, w: Any, a: Any, B: Any, z: Any, hyper: Any) -> None:
    products.tile_rows(M, w, a, B, z, w, a, B, z, zero_block(M, WIDTH_32))
    products.tile_rows(M, w, a, B, z, w, a, B, z, zero_block(M, WIDTH_16))
    products.tile_rows(M, w, a, B, z, w, a, B, z, zero_block(M, WIDTH_4))


def optimizer_(net: Any, w: Any, a: Any, B: Any, z: Any, hyper: Any) -> None:
    optimizer.update_panel(net, w, a, B, z, w, a, hyper)


def net_type(dtype: Any) -> Any:
    """The type of a net, which is the same for all that have one dtype."""
    constants = {"one_minus_beta_1": 0.1, "one_minus_beta_2": 0.001, "epsilon": 1e-7}
    layers = (DenseSpec(8, 4, True, "relu"),)
    plan = Plan(
        np.dtype(str(dtype)), 1.0, 0.0, layers, "mean_squared_error", "A", "adam", constants
    )
    return typeof(Layout(plan, 4, 1, True).net())


def kernels(dtype: Any) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """Each kernel's name, its function, and the types of its arguments."""
    i, flat = types.int64, dtype[::1]
    hyper = types.Tuple([i, dtype])
    for name, function in (("products", products_), ("gradient", gradient)):
        yield name, function, (flat, i, i, i, i, hyper)
    yield "optimizer", optimizer_, (net_type(dtype), i, i, i, i, hyper)
    entries = types.uint8[::1]
    samples = types.NamedTuple(
        [types.uint32[:, ::1], entries, entries, flat, flat], records.SparseSamples
    )
    order = types.int64[::1]
    learn = types.Tuple([samples, order, i, i, i, i, i, i, i])
    multiply = types.Tuple([samples, order, i, i, i, i, i, i, i, i, types.boolean, i])
    for kernel, given in (
        (sparse.sparse_weight_gradient, learn),
        (sparse.sparse_forward, multiply),
    ):
        yield kernel.__name__, _every_width(kernel), (flat, given, i)


def _every_width(kernel: Any) -> Callable[..., None]:
    def run(M: Any, arguments: Any, width: Any) -> None:
        products.dispatch_width(kernel, M, width, arguments)

    return run


def assembly(function: Callable[..., Any], given: tuple[Any, ...], foreign: bool = False) -> str:
    """What a function is compiled to."""
    compiled: Any = njit(nogil=True, _nrt=False, error_model="numpy")(function)
    compiled.compile(given)
    library = compiled.overloads[compiled.signatures[0]].library
    if not foreign:
        return str(library.get_asm_str())
    triple, cpu, features = AARCH64
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3
    )
    module = llvm.parse_assembly(library.get_llvm_str())
    module.triple, module.data_layout = triple, str(machine.target_data)
    return str(machine.emit_assembly(module))


def vector_loops(text: str) -> Iterator[dict[str, Any]]:
    """The innermost loops of an assembly that have two vector instructions or more."""
    for name, lines in functions(text):
        if "cpython" in name or name.startswith("cfunc"):
            continue
        frame = any(map(FRAMES.match, lines))
        for loop in innermost_loops(lines):
            vectors = sum(bool(VECTOR.search(line)) for line in loop)
            if vectors > 1:
                yield {"in": name, "vectors": vectors, "spills": spills(loop, frame)}


def look(foreign: bool, only: str) -> dict[str, list[dict[str, Any]]]:
    """The vector loops of each kernel in each dtype; of one alone, if it is named."""
    return {
        f"{kernel} {dtype}": [*vector_loops(assembly(function, given, foreign))]
        for dtype in (types.float32, types.float64)
        for kernel, function, given in kernels(dtype)
        if only in ("", f"{kernel} {dtype}")
    }


def main() -> None:
    foreign, crowded = (sys.argv[1:] == [word] for word in ("aarch64", "crowded"))
    shape = describe(*identity())
    if foreign:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        shape = describe(*AARCH64)
    if crowded:
        shape = shape._replace(registers=4 * shape.registers)
    for module in (block, vector, threads):
        module.target = lambda: shape  # type: ignore[attr-defined]
    loops = look(foreign, "gradient float32" if crowded else "")
    print(json.dumps({"target": shape._asdict(), "loops": loops}))


if __name__ == "__main__":
    main()
