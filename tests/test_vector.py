"""The vector type: every operation lane by lane against NumPy, in both dtypes, several widths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiler import numba_or_skip

numba = numba_or_skip("there is no vector type")

from scratchnet.engines.compiled import vector  # noqa: E402
from scratchnet.engines.compiled.vector import (  # noqa: E402
    broadcast,
    lanes,
    load,
    load_scalar,
    splat,
    store,
    zeros,
)

DTYPES = [np.float32, np.float64]


def mapped(function: Any, width: int = 32) -> Any:
    """x -> function(x), a vector at a time."""

    @numba.njit
    def run(x: Any, y: Any) -> None:
        like = zeros(x, width)
        for i in range(0, x.size, lanes(like)):
            store(y, i, function(load(x, i, like)))

    def call(x: np.ndarray) -> np.ndarray:
        y = np.full_like(x, 99)
        run(x, y)
        return y

    return call


def ulps(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest error in units of the last place of `found`'s dtype."""
    unit = np.spacing(np.abs(exact).astype(found.dtype)).astype(np.longdouble)
    return float(np.max(np.abs(found - exact) / unit))


def draw(dtype: Any, low: float, high: float, n: int = 4096) -> np.ndarray:
    """Numbers spread over [low, high], half of them near 0, and the limits."""
    rng = np.random.default_rng(3)
    wide = rng.uniform(low, high, n // 2)
    near = np.clip(rng.normal(size=n // 2) * 10.0 ** rng.uniform(-6, 0, n // 2), low, high)
    return np.concatenate([[low, high], wide, near])[:n].astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_is_numpys(dtype: Any) -> None:
    @numba.njit
    def run(x: Any, y: Any, out: Any, code: int) -> None:
        like = zeros(x, 64)
        for i in range(0, x.size, lanes(like)):
            a, b = load(x, i, like), load(y, i, like)
            if code == 0:
                c = a + b
            elif code == 1:
                c = a - b
            elif code == 2:
                c = a * b
            elif code == 3:
                c = a / b
            elif code == 4:
                c = vector.sqrt(vector.fabs(a))
            elif code == 5:
                c = vector.where_gt(a, b, a, b)
            elif code == 6:
                c = vector.where_lt(a, b, splat(1.5, a), b)
            elif code == 7:
                c = vector.where_ge(a, a, b, a)
            else:
                c = vector.rint(a)
            store(out, i, c)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 256)).astype(dtype) * 3
    expected = [x + y, x - y, x * y, x / y, np.sqrt(np.abs(x)), np.maximum(x, y)]
    expected += [np.where(x < y, dtype(1.5), y), y, np.rint(x)]
    for code, wanted in enumerate(expected):
        out = np.empty_like(x)
        run(x, y, out, code)
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fma_rounds_once(dtype: Any) -> None:
    @numba.njit
    def run(x: Any, out: Any) -> None:
        like = zeros(x, 16)
        a = load(x, 0, like)
        store(out, 0, vector.fma(a, a, splat(-1.0, a)))

    one = dtype(1) + np.finfo(dtype).eps
    x = np.full(16, one, dtype)
    out = np.empty_like(x)
    run(x, out)
    eps = np.finfo(dtype).eps
    assert (out[: 64 // x.itemsize] == dtype(2) * eps + eps * eps).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("registers", [1, 2, 4])
def test_lanes_and_places(dtype: Any, registers: int) -> None:
    one, two, four = 1, 2, 4

    @numba.njit
    def width(x: Any, n: int) -> int:
        if n == one:
            return lanes(zeros(x, 16))
        if n == two:
            return lanes(zeros(x, 32))
        return lanes(zeros(x, 64))

    assert width(np.zeros(1, dtype), registers) == registers * 64 // np.dtype(dtype).itemsize
    assert four == 4

    @numba.njit
    def shifted(x: Any, y: Any) -> Any:
        like = zeros(x, 16)
        store(y, 3, load(x, 5, like))
        vector.prefetch(x, 0)
        store(y, 40, broadcast(x, 7, like))
        return load_scalar(x, 9)

    x, y = np.arange(80).astype(dtype), np.zeros(80, dtype)
    n = 64 // x.itemsize
    assert shifted(x, y) == 9
    np.testing.assert_array_equal(y[3 : 3 + n], x[5 : 5 + n])
    np.testing.assert_array_equal(y[40 : 40 + n], 7)
    assert not y[:3].any() and not y[3 + n : 40].any() and not y[40 + n :].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp(dtype: Any) -> None:
    high = 80 if dtype is np.float32 else 700
    x = draw(dtype, -high, high)
    assert ulps(mapped(vector.exp)(x), np.exp(x.astype(np.longdouble))) < 1.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_at_its_ends(dtype: Any) -> None:
    lowest, highest = np.log(np.finfo(dtype).tiny), np.log(np.finfo(dtype).max)
    ends = [0, -0.0, np.inf, -np.inf, np.nan, 1e4, -1e4, lowest * (1 - 1e-4), highest * (1 - 1e-6)]
    x = np.resize(np.array(ends, dtype), 32)
    with np.errstate(all="ignore"):
        expected = np.exp(x)
    np.testing.assert_allclose(mapped(vector.exp)(x), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_makes_no_denormal_number(dtype: Any) -> None:
    """A confident network asks for them in every step, and each costs as much as fifty others."""
    limit = np.log(np.finfo(dtype).tiny)
    found = mapped(vector.exp)(draw(dtype, 1.2 * limit, 0.99 * limit))
    assert np.all((found == 0) | (found >= np.finfo(dtype).tiny))
    assert (found == 0).any() and (found > 0).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_saturates_where_numpys_does(dtype: Any) -> None:
    """Accuracy counts ties at exactly 1, so 1 must begin at the same z up to an ulp."""

    @numba.njit
    def sigmoid(z: Any) -> Any:
        one = splat(1.0, z)
        return one / (one + vector.exp(-z))

    z = np.linspace(14, 18, 4096).astype(np.float32) if dtype is np.float32 else None
    z = np.linspace(34, 40, 4096).astype(dtype) if z is None else z
    expected = 1 / (1 + np.exp(-z))
    found = mapped(sigmoid)(z)
    assert np.max(np.abs(found - expected)) <= np.spacing(dtype(0.5))
    first, wanted = z[np.argmax(found == 1)], z[np.argmax(expected == 1)]
    assert abs(first - wanted) <= 2 * (z[1] - z[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh(dtype: Any) -> None:
    x = draw(dtype, -25, 25)
    assert ulps(mapped(vector.tanh)(x), np.tanh(x.astype(np.longdouble))) < 3
    ends = np.resize(np.array([np.inf, -np.inf, np.nan, 0.0], dtype), 32)
    np.testing.assert_array_equal(mapped(vector.tanh)(ends), np.tanh(ends))


@pytest.mark.parametrize("dtype", DTYPES)
def test_log(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    x = np.exp(rng.uniform(-80, 80, 4096)).astype(dtype)
    x[:2048] = 1 + rng.uniform(-0.4, 0.9, 2048)
    x[0] = 1
    assert ulps(mapped(vector.log)(x[1:4065]), np.log(x[1:4065].astype(np.longdouble))) < 1.5
    assert mapped(vector.log)(np.ones(32, dtype)).max() == 0
    assert np.isnan(mapped(vector.log)(np.full(32, np.nan, dtype))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_reciprocal(dtype: Any) -> None:
    y = np.exp(np.random.default_rng(2).uniform(-16, 30, 4064)).astype(dtype)
    assert ulps(mapped(vector.reciprocal)(y), 1 / y.astype(np.longdouble)) < 2
    ends = np.full(32, np.inf, dtype)
    ends[16:] = np.nan
    assert (mapped(vector.reciprocal)(ends)[:16] == 0).all()
    assert np.isnan(mapped(vector.reciprocal)(ends)[16:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_square_is_turned(dtype: Any) -> None:
    @numba.njit
    def run(x: Any, y: Any) -> None:
        vector.transpose(x, 3, 40, y, 5, 30, zeros(x, 16))

    n = 64 // np.dtype(dtype).itemsize
    x, y = np.arange(40 * n + 40).astype(dtype), np.zeros(30 * n + 40, dtype)
    run(x, y)
    expected = np.zeros_like(y)
    for i in range(n):
        for j in range(n):
            expected[5 + 30 * j + i] = x[3 + 40 * i + j]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_of_registers_stand_behind_the_last_row(dtype: Any) -> None:
    """Three registers and a quarter: rows of the whole ones first, then those of the parts."""

    @numba.njit
    def run(x: Any, y: Any, rows: int) -> Any:
        like = zeros(x, 52)
        total = x.dtype.type(0)
        for row in range(rows):
            z = vector.load_row(x, 8, row, rows, like)
            total += vector.sum_lanes(z)
            vector.store_row(y, 8, rows - 1 - row, rows, z)
            store(y, 8 + rows * lanes(like) + row * lanes(like), z)
        return total

    quarter, rows = 16 // np.dtype(dtype).itemsize, 5
    width = 13 * quarter
    x = np.arange(8 + rows * width).astype(dtype)
    y = np.zeros(8 + 2 * rows * width, dtype)
    assert run(x, y, rows) == x[8:].sum()
    whole = x[8 : 8 + rows * 12 * quarter].reshape(rows, -1)
    parts = x[8 + rows * 12 * quarter :].reshape(rows, -1)
    expected = [x[:8] * 0, whole[::-1].ravel(), parts[::-1].ravel()]
    expected.append(np.concatenate([whole, parts], axis=1).ravel())
    np.testing.assert_array_equal(y, np.concatenate(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_numbers_of_any_kind_come_in(dtype: Any, kind: Any) -> None:
    @numba.njit
    def run(x: Any, y: Any, kept: Any, index: Any, scale: Any) -> Any:
        like = zeros(y, 16)
        for i in range(0, 16, lanes(like)):
            store(y, i, vector.load_converted(x, 3 + i, like))
        return vector.compress_store_nonzero(x, 3, kept, index, 2, 100, scale)

    x = (np.arange(24) % 3 * 7).astype(kind)
    y, codes = np.zeros(16, dtype), kind is np.uint8
    kept = np.zeros(24, np.uint8 if codes else dtype)
    index, scale = np.zeros(24, np.uint8), kept.dtype.type(1 if codes else 0.1)
    some = run(x, y, kept, index, scale)
    here = np.flatnonzero(x[3:19])
    assert some == len(here)
    np.testing.assert_array_equal(y, x[3:19].astype(dtype))
    np.testing.assert_array_equal(index[2 : 2 + some], 100 + here)
    np.testing.assert_array_equal(kept[2 : 2 + some], x[3:19][here].astype(kept.dtype) * scale)
    assert not kept[:2].any() and not kept[18:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_are_codes_of_a_table(dtype: Any) -> None:
    @numba.njit
    def run(values: Any, table: Any, y: Any) -> None:
        store(y, 0, vector.broadcast_decoded(values, 1, table, zeros(y, 16)))

    y, table = np.zeros(16, dtype), np.linspace(0, 1, 256).astype(dtype)
    run(np.array([3, 250], np.uint8), table, y)
    assert (y[: 64 // y.itemsize] == table[250]).all()
    run(np.array([3, 0.7], dtype), table, y)
    assert (y[: 64 // y.itemsize] == dtype(0.7)).all()
