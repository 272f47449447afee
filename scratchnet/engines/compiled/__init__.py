"""The fast engine: the mathematics of `reference.py` (read it first), compiled by Numba.

`ENGINE` fulfils the contract function by function with the reference's own functions: products are
BLAS already, and activations and losses must take complex numbers for the gradient check. Its
`fused` trains whole epochs in one compiled call, and predicts whole data sets in a few. The way in
is `session.py`; `layout.py` says where numbers stand and `records.py` what kernels are told;
`step.py` is the loop over batches, which calls `threads.py`, `products.py`, `sparse.py`,
`elementwise.py` and `optimizer.py`; all of these are written in the SIMD vectors of `vector.py` and
the register blocks of `block.py`, which `target.py` shapes; `cache.py` keeps what is compiled.

What was changed against the reference; `python -m benchmarks kernels` measures an epoch of MNIST
with each of the first four turned off (`session.Switches`), and docs/speed.md shows what came out:

- First moments below 1e-30 are 0 (`flush`): denormal numbers cost a hundred times a normal one, and
  grow common after some epochs. The reference does it too.
- Inputs that are 0 are left out of both products of the first layer (`zeros`): of an image of MNIST
  four pixels in five.
- Python is left once for many batches, not a dozen times for each (`one_call`).
- Parameters and moments begin at multiples of 64 bytes, in rows of whole registers (`aligned`).

Without a switch: Adam takes a reciprocal refined from an estimate, because a core has a single
divider; it is bound then by the second-level cache, so that 50 weights take 3 1/4 registers and not
4, and the tails of four rows are updated as one register. Bytes stay bytes, codes of a table,
because samples in random order are waited for: the next batch is prefetched, without a loop, since
a loop of unpredictable length costs more than it brings. Two samples stand side by side in the
sparse product, as one sum alone waits for each of its additions. Between layers samples are lanes,
squares of 16 x 16 numbers are transposed in registers, and dense products keep their sums in half
of the registers that the processor has. Threads divide what is above the first layer only where it
is large: small layers take longer to divide than to compute.

What did not help: the next batch's products with a block of weights while it is in the cache from
its update (on either kind of processor, at any width), to copy a batch's samples to where they are
used one after the other (it costs what it saves), to find codes for floats of few values
(likewise), smaller blocks (each begins anew for every sample), the square root from an estimate
(the two ports that multiply are busy already), other distances between moments, huge pages, the
next sample's entries in the first-level cache.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import scratchnet.engines.reference as ref
from scratchnet.engines.contract import Engine


def unavailable() -> str | None:
    """Why this engine cannot run here, in one sentence; None where it can."""
    threads = os.environ.get("NUMBA_NUM_THREADS")
    if threads is not None and not _is_positive(threads):  # before Numba sees it, and fails
        return (
            f"the compiled engine cannot run under NUMBA_NUM_THREADS={threads!r}: expected a whole "
            "number of 1 or more; set it so or unset it, or take engine='reference'."
        )
    try:
        from numba import config  # takes its time, and may fail for reasons of its own
    except ModuleNotFoundError:
        return "the compiled engine needs Numba: install numba, or take engine='reference'."
    except Exception as error:
        said = str(error).strip().splitlines() or [repr(error)]
        return (
            f"the compiled engine needs Numba, which says on import {said[-1]!r}: mend that, "
            "or take engine='reference'."
        )
    if config.DISABLE_JIT:
        return (
            "the compiled engine cannot run under NUMBA_DISABLE_JIT=1: unset it, "
            "or take engine='reference'."
        )
    return None


def _is_positive(number: str) -> bool:
    """Whether a setting is a whole number of 1 or more, as Numba reads it."""
    try:
        return int(number) >= 1
    except ValueError:
        return False


def _engine() -> Engine:
    """The record, once it is known that Numba compiles."""
    import scratchnet.engines.compiled.session as session

    return replace(ref.ENGINE, name="compiled", fused=session)


def __getattr__(name: str) -> Any:
    """`ENGINE`, made when it is asked for, so that this module can be imported anywhere.

    Raises:
        RuntimeError: where the engine cannot run, saying why.
    """
    if name != "ENGINE":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    reason = unavailable()
    if reason:
        raise RuntimeError(reason)
    globals()["ENGINE"] = engine = _engine()
    return engine
