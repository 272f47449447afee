"""What belongs to the whole process and is borrowed for a while: BLAS's threads, Ctrl-C, stdout.

Whatever is borrowed is given back as it was, in whatever order the borrowers end: fits in several
threads, fits within fits, errors, generators that nobody runs to their end, forks. `Turn` keeps two
threads from training one model at once. Nothing here knows a model.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache, wraps
from typing import Any, ClassVar, Concatenate, ParamSpec, Protocol, TypeVar

from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
R = TypeVar("R")
Ticket = tuple[int, int]  # a thread's, and one of what it borrows

# --- BLAS's threads -------------------------------------------------------------------------------


class _Pool:
    """One of BLAS's pools of threads: whoever comes first sets it to one, the last sets it back."""

    def __init__(self, controller: Any):
        self.controller = controller
        # OpenMP and MKL keep a number for each thread, the others one for the process.
        self.each = getattr(controller, "threading_layer", "") == "openmp"
        self.each |= controller.internal_api == "mkl"
        self.holders: dict[int, set[Ticket]] = {}
        self.before: dict[int, int] = {}

    def set(self, threads: int) -> None:
        # From threadpoolctl 3.8 on one thread alone may set it, and whom others ask does nothing.
        release = getattr(self.controller, "clear_controlling_thread", lambda force=True: None)
        release(force=True)
        self.controller.set_num_threads(threads)
        release()

    def hold(self, ticket: Ticket) -> None:
        scope = ticket[0] if self.each else 0
        self.holders.setdefault(scope, set()).add(ticket)
        if scope not in self.before:
            self.before[scope] = self.controller.num_threads
            self.set(1)

    def free(self, gone: Callable[[Ticket], bool]) -> None:
        for scope, holders in [*self.holders.items()]:
            holders -= {ticket for ticket in holders if gone(ticket)}
            if not holders:
                threads = self.before.pop(scope)
                del self.holders[scope]
                if self.controller.num_threads == 1:  # else somebody has chosen anew since
                    self.set(threads)


@cache
def _pools() -> list[_Pool]:
    """Looked for once, since every loaded library is looked through."""
    return [*map(_Pool, ThreadpoolController().select(user_api="blas").lib_controllers)]


class _OneThread:
    """One of those who hold BLAS to one thread."""

    # Reentrant: Python may collect one of these while its thread holds the lock.
    lock: ClassVar[Any] = threading.RLock()

    def __enter__(self) -> None:
        with _OneThread.lock:
            self.ticket = threading.get_ident(), id(self)
            for pool in _pools():
                pool.hold(self.ticket)

    def __exit__(self, *_: object) -> None:
        with _OneThread.lock:
            for pool in _pools():
                pool.free(self.ticket.__eq__)
            del self.ticket

    def __del__(self) -> None:
        # Ctrl-C may fall between __enter__ and its block, and a generator may never be run on.
        if hasattr(self, "ticket"):
            self.__exit__()


def _after_fork() -> None:
    """In the child only this thread lives on, and with it what this thread borrowed."""
    _OneThread.lock = threading.RLock()
    if _pools.cache_info().currsize:
        for pool in _pools():
            pool.free(lambda ticket: ticket[0] != threading.get_ident())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def single_threaded_blas() -> AbstractContextManager[None]:
    """Hold BLAS to one thread: it splits sums by its threads, and so would the last bits.

    >>> import numpy as np
    >>> with single_threaded_blas():
    ...     float(np.ones(3) @ np.ones(3))
    3.0
    """
    return _OneThread()


# --- Ctrl-C ---------------------------------------------------------------------------------------


class Interruptible:
    """Ctrl-C put off until a step is whole: `poll()` raises it where the model is consistent.

    Only the main thread gets the signal, and only the default handler is stood in for. One within
    another shares the outer one's signal; a handler that somebody sets meanwhile stays. What
    `interrupt` asks for is put off too, where Ctrl-C is ignored as well.
    """

    running: ClassVar[Interruptible | None] = None
    """The outermost one of the main thread."""

    asked = False

    def __enter__(self) -> Interruptible:
        self.ours, self.outermost = False, self
        if threading.current_thread() is threading.main_thread():
            self.outermost = Interruptible.running or self
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self.ours = True
                signal.signal(signal.SIGINT, self._ask)
            Interruptible.running = self.outermost
        return self

    def _ask(self, *_: Any) -> None:
        self.outermost.asked = True

    def poll(self) -> None:
        if self.outermost.asked:
            self.outermost.asked = False
            raise KeyboardInterrupt

    def __exit__(self, *_: Any) -> None:
        if self.ours and signal.getsignal(signal.SIGINT) == self._ask:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if Interruptible.running is self:
            Interruptible.running = None
            self.poll()


def interrupt() -> None:
    """End what the main thread does as Ctrl-C would, from a signal's handler.

    Raises:
        KeyboardInterrupt: at once, or by an `Interruptible` when its step is whole.

    >>> with suppress(KeyboardInterrupt):
    ...     with Interruptible():
    ...         interrupt()
    ...         print("the rest of the step")
    ...     print("never")
    the rest of the step
    """
    if Interruptible.running is None:
        raise KeyboardInterrupt
    Interruptible.running.asked = True


# --- standard output ------------------------------------------------------------------------------


def encodable(text: str) -> str:
    """`text` with ? for whatever standard output's encoding lacks.

    >>> encodable("loss: 0.5")
    'loss: 0.5'
    """
    stream = getattr(sys.stdout, "rich_proxied_file", sys.stdout)  # under a progress bar
    encoding = getattr(stream, "encoding", None)
    if not isinstance(encoding, str) or getattr(stream, "errors", "strict") != "strict":
        return text
    try:
        return text.encode(encoding, "replace").decode(encoding)
    except LookupError:  # an encoding that nobody knows
        return text


def say(text: str) -> None:
    """Print a line, where there is a standard output to print to.

    Under pythonw it is None, and it may be closed: then nothing is printed, as by `print` itself
    in the first case.

    >>> say("epoch 1")
    epoch 1
    """
    try:
        print(encodable(text))
    except ValueError:
        if not _is_gone(sys.stdout):
            raise


def _is_gone(stream: Any) -> bool:
    """Whether a stream can't be written to for good: closed, or its buffer detached."""
    try:
        return bool(getattr(stream, "closed", False))
    except ValueError:  # detached
        return True


def in_terminal() -> bool:
    """Whether standard output is a terminal; what stands in for it need not say."""
    with suppress(ValueError, AttributeError):  # closed; None or without isatty
        return bool(sys.stdout.isatty())
    return False


def forgive_encodings() -> None:
    """Have standard output and error print ? for what their encodings lack, from here on."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError, AttributeError):  # closed; None, or no text over bytes
            if stream.errors == "strict":
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]


# --- one thread a model ---------------------------------------------------------------------------


class Turn:
    """Whose turn it is with a model: one thread's at a time, which may take it again within.

    A copy is free, and so is what a fork finds in the child.

    >>> turn = Turn()
    >>> with turn.taken("fit"), turn.taken("set_weights"):
    ...     turn.holder == (os.getpid(), threading.get_ident())
    True
    """

    holder: tuple[int, int] | None = None

    def __getstate__(self) -> None:
        return None

    def check(self, caller: str) -> None:
        """Refuse `caller` while another thread has its turn.

        Raises:
            RuntimeError: naming that thread.
        """
        process, thread = self.holder or (None, None)
        if process == os.getpid() and thread != threading.get_ident():
            names = {other.ident: other.name for other in threading.enumerate()}
            raise RuntimeError(
                f"{caller}: the model is in use by thread {names.get(thread, thread)!r}: expected "
                "one thread at a time for whatever trains or changes it. Wait for that thread, or "
                "give each thread a copy, made before: copy.deepcopy(model)."
            )

    @contextmanager
    def taken(self, caller: str) -> Iterator[None]:
        """Have it for a block; as `check` where another thread has it."""
        mine = os.getpid(), threading.get_ident()
        # Of two threads that come at once one finds the other's: setdefault is atomic.
        while (holder := vars(self).setdefault("holder", mine)) != mine:
            if holder[0] != mine[0]:  # forked away from its thread
                del self.holder
            self.check(caller)
        try:
            yield
        finally:
            if holder is mine:
                del self.holder


class _TakesTurns(Protocol):
    _turn: Turn


M = TypeVar("M", bound=_TakesTurns)


def alone(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """A method of what has a `_turn`, which it takes for as long as it runs."""

    @wraps(method)
    def taking_turns(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._turn.taken(method.__name__):
            return method(self, *args, **kwargs)

    return taking_turns
