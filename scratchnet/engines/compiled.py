"""The fast engine: the mathematics of `reference.py` (read it first), compiled by Numba.

`ENGINE` fulfils the contract function by function; its `fused` trains whole epochs and predicts
whole data sets in one compiled call. Single functions are the reference's own where compiling gains
nothing: products are BLAS already, and activations and losses must take complex numbers for the
gradient check. `vector.py` is the vector type, `kernels.py` the step, `fused.py` the sessions.

What was changed against the reference, and what each change bought: processor seconds of an epoch
of MNIST (784-50-50-10, batch 32, Adam, float32, one thread, fifth to eighth epoch, a busy machine),
0.100 with all of them; `fused.Switches` turns each off.

- First moments below 1e-30 are 0 (`flush`, 0.195 without): denormal numbers cost a hundred times a
  normal one, and grow common after some epochs. The reference does it too.
- Inputs that are 0 are left out of both products of the first layer (`zeros`, 0.141): an image of
  MNIST has 150 of 784 pixels that are not.
- Python is left once for many batches, not a dozen times for each (`one_call`, 0.128 with a call
  for each batch).
- Gradient, optimizer and the next batch's products for a block of inputs follow one another while
  its weights are in the cache (`fused`, 0.104).
- Parameters and moments begin at multiples of 64 bytes, in rows of whole registers (`aligned`,
  0.107 with all of them 8 bytes off).
- The next batch's entries are asked for from memory a step ahead, and the optimizer's quotient is
  refined from a guess because a core has a single divider: 19.5 to 13.7 microseconds a step for the
  first layer's Adam, which is then bound by the second cache. No switch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scratchnet.engines import Engine
from scratchnet.engines import reference as ref

try:
    from numba import config

    _HAS_NUMBA = True
except ImportError:
    _HAS_NUMBA = False


def unavailable() -> str | None:
    """Why this engine cannot run here, in one sentence; None where it can."""
    if not _HAS_NUMBA:
        return "the compiled engine needs Numba: install numba, or take engine='reference'."
    if config.DISABLE_JIT:
        return (
            "the compiled engine cannot run under NUMBA_DISABLE_JIT=1: unset it, "
            "or take engine='reference'."
        )
    return None


def _engine() -> Engine:
    """The record, once it is known that Numba compiles."""
    from scratchnet.engines import fused

    return replace(ref.ENGINE, name="compiled", fused=fused)


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
