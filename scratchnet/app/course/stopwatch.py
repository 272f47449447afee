"""Time a function beside the right one: the same numbers first, then median against median.

Both take turns, so that a machine that slows down slows both, and the order within a turn changes.
What compiles has compiled before. BLAS runs on one thread, as it does in `fit`.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from scratchnet.app.course import stack
from scratchnet.engines import Array
from scratchnet.process import single_threaded_blas

SAMPLES, INPUTS, OUTPUTS = 32, 784, 50
"""The first layer of the well-known network."""

ROUNDS, CALLS = 41, 5

ROUNDOFF = float(np.finfo(np.float32).eps) / 2


def problem(seed: int = 0) -> tuple[Any, ...]:
    """The arguments of `dense_step`, float32, as they are in the middle of a training."""
    rng = np.random.default_rng(seed)
    shape = INPUTS, OUTPUTS
    arrays = (
        rng.normal(0, 0.01, (SAMPLES, OUTPUTS)),
        rng.random((SAMPLES, INPUTS)) * (rng.random((SAMPLES, INPUTS)) < 0.2),
        *(rng.normal(0, 0.05, shape), rng.normal(0, 1e-3, shape), 1e-5 + 1e-4 * rng.random(shape)),
    )
    return (*(array.astype(np.float32) for array in arrays), 1e-3, 0.1, 0.001, 1e-7)


def bounds() -> dict[str, Array]:
    """How far two right float32 results of `problem` may be apart, entry by entry.

    With u the roundoff a sum of B products is off by at most (B + 1) u times the sum of their
    absolute values, in any order (Higham 2002, section 3.1). From dW on errors are carried through
    to first order, with two more roundings of each operation's terms than there are operations.
    Two results are apart by twice that.
    """
    dZ, X, W, m, v, alpha, first, second, epsilon = (np.asarray(part, float) for part in problem())
    g, u = X.T @ dZ, ROUNDOFF
    off_g = (SAMPLES + 1) * u * (np.abs(X).T @ np.abs(dZ))
    off_m = first * off_g + 5 * u * (np.abs(m) + np.abs(g))
    off_v = second * 2 * np.abs(g) * off_g + 6 * u * (v + g * g)
    m, v = m + first * (g - m), v + second * (g * g - v)
    root = np.sqrt(v)
    step = alpha * m / (root + epsilon)
    off_step = alpha * off_m / root + np.abs(step) * (off_v / (2 * v) + 6 * u)
    off_w = off_step + u * (np.abs(W) + np.abs(step))
    return {"W": 2 * off_w, "m": 2 * off_m, "v": 2 * off_v}


def apart(function: Any) -> str:
    """Which result of `problem` is beyond its bound, as a line; "" where none is."""
    mine, right, allowed = problem(), problem(), bounds()
    function(*mine)
    stack.dense_step(*right)
    for name, own, other in zip(allowed, mine[2:5], right[2:5], strict=True):
        far = ~(np.abs(own.astype(float) - other) <= allowed[name])
        if far.any():
            at = tuple(np.argwhere(far)[0].tolist())
            return (
                f"in float32 {name}[{at[0]}, {at[1]}] becomes {own[at]!s}, where {other[at]!s} "
                f"belongs, within {allowed[name][at]:.1e}"
            )
    return ""


def race(function: Any) -> tuple[float, float]:
    """Seconds of a call, median of `ROUNDS`: of this function, and of the right one."""
    runners = [(function, problem()), (stack.dense_step, problem())]
    taken: list[list[float]] = [[], []]
    for runner, arguments in runners:
        runner(*arguments)  # Numba loads a BLAS of its own when it compiles: it is held below
    with single_threaded_blas():
        for turn in range(ROUNDS):
            for k in (0, 1) if turn % 2 else (1, 0):
                runner, arguments = runners[k]
                began = time.perf_counter()
                for _ in range(CALLS):
                    runner(*arguments)
                taken[k].append((time.perf_counter() - began) / CALLS)
    return statistics.median(taken[0]), statistics.median(taken[1])
