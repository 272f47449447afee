"""Other processors than this one: what their code keeps in registers, and that it is right.

A process of its own compiles for each, since Numba takes its target from the environment once.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler import numba_or_skip

numba = numba_or_skip()

import spills  # noqa: E402

from scratchnet.engines.compiled import block  # noqa: E402
from scratchnet.engines.compiled.products import tile  # noqa: E402
from scratchnet.engines.compiled.target import Target, describe, target  # noqa: E402
from scratchnet.engines.compiled.vector import WIDTH_4, WIDTH_16, WIDTH_32  # noqa: E402

HERE = Path(__file__).parent
on_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="Numba compiles for its own architecture"
)


def run(script: str, cpu: str, *arguments: str, **environment: str) -> Any:
    """What a script of this folder says, where Numba compiles for `cpu` and all that it has."""
    found = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""} | environment
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, env=found, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- what stays in registers ----------------------------------------------------------------------


def spilling(loops: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The loops that move vectors to the stack or back, each with the first such instruction."""
    return [
        f"{kernel}, in {loop['in'][:100]}: {len(loop['spills'])} of {loop['vectors']} vector "
        f"instructions, as {loop['spills'][0]}"
        for kernel, found in loops.items()
        for loop in found
        if loop["spills"]
    ]


@pytest.mark.parametrize(
    "cpu, shape",
    [
        pytest.param("haswell", (32, 16), marks=on_x86),
        pytest.param("znver3", (32, 16), marks=on_x86),
        pytest.param("skylake-avx512", (64, 32), marks=on_x86),
        pytest.param("aarch64", (16, 32), marks=on_x86),
    ],
)
def test_no_inner_loop_moves_vectors_to_the_stack(cpu: str, shape: tuple[int, int]) -> None:
    foreign = cpu == "aarch64"
    said = run("spills.py", "" if foreign else cpu, *["aarch64"] * foreign)
    assert (said["target"]["register_bytes"], said["target"]["registers"]) == shape
    assert len(said["loops"]) == 2 * 5
    for kernel, loops in said["loops"].items():
        assert loops, f"{kernel}: no loop is found"
    assert not spilling(said["loops"]), "\n".join(spilling(said["loops"]))


def test_a_block_that_does_not_fit_is_found() -> None:
    said = run("spills.py", "", "crowded")
    assert any("gradient" in line for line in spilling(said["loops"]))


LOOPS = """
f:
\tvmovups\t%ymm0, 32(%rsp)
.LBB0_1:
\tvmovups\t32(%rsp), %ymm0
.LBB0_2:
\tvaddps\t(%rdi), %ymm1, %ymm1
\tvaddps\t(%rbp), %ymm1, %ymm1
\tdecq\t%rax
\tjne\t.LBB0_2
\tdecq\t%rbx
\tjne\t.LBB0_1
\tjmp\t.LBB0_4
.LBB0_3:
\tvmulps\t%ymm1, %ymm1, %ymm1
\tvmovups\t%ymm1, 64(%rsp)
.LBB0_4:
\tvaddps\t%ymm1, %ymm1, %ymm1
\tdecq\t%rcx
\tjne\t.LBB0_3
\tretq
.LBB0_5:
\tvmovups\t%ymm1, 96(%rsp)
\tjmp\t.LBB0_1
"""


def test_only_innermost_loops_count() -> None:
    """One loop in another; and one that is entered in its middle by its head, which stands last."""
    inner, rotated = spills.vector_loops(LOOPS)
    assert (inner["in"], inner["vectors"], inner["spills"]) == ("f", 2, [])
    assert (rotated["vectors"], rotated["spills"]) == (3, ["vmovups\t%ymm1, 64(%rsp)"])
    framed = LOOPS.replace("f:\n", "f:\n\tmovq\t%rsp, %rbp\n")
    assert [len(loop["spills"]) for loop in spills.vector_loops(framed)] == [1, 1]


# --- what a target is -----------------------------------------------------------------------------


@on_x86
@pytest.mark.parametrize(
    "cpu, features, expected",
    [
        ("core2", "", (16, 16, False)),
        ("haswell", "", (32, 16, False)),
        ("haswell", "-avx2,-avx", (16, 16, False)),
        ("knl", "", (64, 32, False)),  # AVX-512 without the instructions on narrower registers
        ("skylake-avx512", "", (64, 32, True)),
        ("skylake-avx512", "-avx512f", (32, 16, False)),
    ],
)
def test_a_target_is_what_llvm_compiles_for(cpu: str, features: str, expected: Any) -> None:
    assert describe("x86_64-unknown-linux-gnu", cpu, features) == Target(True, *expected)


@on_x86
def test_other_targets_are_right_and_kept_apart(tmp_path: Path) -> None:
    """Haswell and the oldest x86 give the same bits, as both divide; and neither takes the other's
    code from the disk."""
    kept = {"NUMBA_CACHE_DIR": str(tmp_path)}
    old, new = (run("on_a_target.py", cpu, **kept) for cpu in ("generic", "haswell"))
    for said, width in ((old, 16), (new, 32)):
        assert said["target"]["register_bytes"] == width
        assert not said["target"]["has_rcp14"]
        assert max(said["differences"].values()) < 1e-12, said["differences"]
        assert (said["before"], said["damage"]) == (True, {})
    assert old["bits"] == new["bits"]
    assert old["kept as"] != new["kept as"]
    assert len([*tmp_path.rglob("step.train_batches-*.nbi")]) == 2
    assert len([*tmp_path.rglob("step.train_batches-*.nbc")]) == 2


# --- a block is a small matrix --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_tile_is_a_product_of_matrices(dtype: Any, fresh: bool) -> None:
    """On whole numbers, so that every sum is exact; what is around the block stays as it was."""

    @numba.njit
    def sizes(M: Any) -> Any:
        a, b, c = (
            block.zero_block(M, WIDTH_32),
            block.zero_block(M, WIDTH_16),
            block.zero_block(M, WIDTH_4),
        )
        columns = block.block_columns(a), block.block_columns(b), block.block_columns(c)
        return block.block_rows(a), columns

    @numba.njit
    def run_tile(M: Any, which: int, W: int, X: int, Z: int, K: int, fresh: bool) -> None:
        if which == 0:
            tile(M, W, 1, K, K, X, 40, Z, 50, fresh, block.zero_block(M, WIDTH_32))
        elif which == 1:
            tile(M, W, 1, K, K, X, 40, Z, 50, fresh, block.zero_block(M, WIDTH_16))
        else:
            tile(M, W, 1, K, K, X, 40, Z, 50, fresh, block.zero_block(M, WIDTH_4))

    rng = np.random.default_rng(1)
    rows, widths = sizes(np.zeros(1, dtype))
    size, most = np.dtype(dtype).itemsize, 2 * target().register_bytes
    assert rows == target().registers // 4
    assert widths == tuple(min(most, 4 * width) // size for width in (32, 16, 4))
    for which, columns in enumerate(widths):
        for K in (0, 1, 7):
            M = rng.integers(-9, 9, 3000).astype(dtype)
            W, X = M[: rows * K].reshape(rows, K), M[100 : 100 + 40 * K].reshape(K, 40)
            expected = M.copy()
            Z = expected[1000 : 1000 + 50 * rows].reshape(rows, 50)[:, :columns]
            Z[:] = (0 if fresh else Z) + W @ X[:, :columns]
            run_tile(M, which, 0, 100, 1000, K, fresh)
            np.testing.assert_array_equal(M, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_block_is_loaded_multiplied_and_stored(dtype: Any) -> None:
    @numba.njit
    def run_block(M: Any) -> None:
        sums = block.load_block(M, 0, 20, block.zero_block(M, WIDTH_16))
        block.store_block(M, 1000, 30, block.rank1(M, 2000, 3, 5, sums))

    M = np.random.default_rng(2).integers(-9, 9, 3000).astype(dtype)
    columns = min(2 * target().register_bytes, 64) // M.itemsize
    rows, expected = target().registers // 4, M.copy()
    for t in range(rows):
        product = M[2000 + 3 * t] * M[5 : 5 + columns]
        expected[1000 + 30 * t :][:columns] = M[20 * t :][:columns] + product
    run_block(M)
    np.testing.assert_array_equal(M, expected)
