"""Threads in step: a barrier of counters, and which part of the work is whose.

Every thread of a training runs the same compiled loop and meets the others at a barrier twice a
batch; nothing is scheduled. Waiting spins, because what is waited for takes microseconds.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from scratchnet.engines.compiled.records import jitted
from scratchnet.engines.compiled.target import target
from scratchnet.engines.compiled.vector import call_llvm, element_pointer

CACHE_LINE = 8
"""int64 in a cache line: counters stand one line apart."""
ABORT, DECISION, WAITED, COUNTERS = range(4)
"""Lines of `control`: set from outside to end the waiting; what the first thread decided; for how
many ticks it waited; and from there a counter for each thread."""
STOP, GO_ON_SOLO = 1, 2
LAG_TICKS = 4_000_000
"""Ticks after which the first thread asks whether the others lag: 1 to 2 milliseconds."""
SPINS_BEFORE_YIELD = 2000
"""Spins after which a waiting thread lets others run."""
_sched_yield = types.ExternalFunction("sched_yield", types.int32())


@intrinsic
def load_acquire(typing_context: Any, A: Any, i: Any) -> Any:
    """A[i], after which everything that its writer wrote before is seen (acquire)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = element_pointer(context, builder, A, args[0], args[1])
        return builder.load_atomic(at, "acquire", 8)

    return types.int64(A, i), codegen


@intrinsic
def store_release(typing_context: Any, A: Any, i: Any, x: Any) -> Any:
    """A[i] = x, once everything before is written (release)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        at = element_pointer(context, builder, A, args[0], args[1])
        builder.store_atomic(args[2], at, "release", 8)
        return context.get_dummy_value()

    return types.none(A, i, types.int64), codegen


@intrinsic
def _spin_hint(typing_context: Any) -> Any:
    """Tell the core that this is a spin loop."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if target().is_x86:
            call_llvm(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        return context.get_dummy_value()

    return types.none(), codegen


@intrinsic
def ticks(typing_context: Any) -> Any:
    """The core's time stamp; 0 where a program may not read it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not target().is_x86:
            return context.get_constant(types.int64, 0)
        return call_llvm(builder, "llvm.readcyclecounter", ir.IntType(64), [])

    return types.int64(), codegen


@jitted
def barrier(control, thread, threads):
    """Wait until every thread is here. A single thread passes; so does everyone on an abort."""
    if threads == 1:
        return
    own = (COUNTERS + thread) * CACHE_LINE
    arrived = control[own] + 1
    store_release(control, own, arrived)
    for other in range(threads):
        spins, since = 0, ticks()
        while load_acquire(control, (COUNTERS + other) * CACHE_LINE) < arrived:
            if load_acquire(control, ABORT * CACHE_LINE) != 0:
                return
            spins += 1
            _spin_hint()
            if spins % SPINS_BEFORE_YIELD == 0:
                _sched_yield()
        if thread == 0:
            control[WAITED * CACHE_LINE] += ticks() - since


@jitted
def others_lag(control, since):
    """Whether the first thread spent more than a third of its time waiting for the others."""
    elapsed = ticks() - since
    return elapsed > LAG_TICKS and 3 * control[WAITED * CACHE_LINE] > elapsed


@jitted
def partition(n, thread, threads):
    """Which of n tasks are this thread's: first and end."""
    if thread >= threads:
        return 0, 0
    return n * thread // threads, n * (thread + 1) // threads
