"""Ctrl-C and SIGTERM: both end a command in the same orderly way, and neither is ever lost.

Libraries lose a Ctrl-C that arrives while they run callbacks, or turn it into errors of their own.
So every signal is also noted by the interpreter's wake-up descriptor, and `poll` raises what is
still open. What a command keeps when it is stopped is its own affair: read `training.py`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from scratchnet.process import interrupt

STARTING = "scratchnet_command"
"""The module whose handler is in charge until a command begins."""


class Signals:
    """Within the block SIGTERM and SIGHUP do what Ctrl-C does, whatever that is at the moment.

    Only the main thread gets signals; elsewhere, and for signals that are ignored, nothing changes.

    Attributes:
        number: the signal that asked for an end.
    """

    number = int(signal.SIGINT)

    def __enter__(self) -> Signals:
        self._noted = b""
        self._main = threading.current_thread() is threading.main_thread()
        if not self._main:
            return self
        self._read, self._write = os.pipe()
        for descriptor in (self._read, self._write):
            os.set_blocking(descriptor, False)
        self._woke = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._before: dict[int, Any] = {}
        if getattr(signal.getsignal(signal.SIGINT), "__module__", "") == STARTING:
            self._before[signal.SIGINT] = signal.SIG_IGN  # what is left then is to leave
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                self._before[number] = signal.SIG_DFL
                signal.signal(number, self._stop)
        _in_charge.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        if not self._main:
            return
        _in_charge.remove(self)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook
        signal.set_wakeup_fd(self._woke)
        os.close(self._read)
        os.close(self._write)

    def _stop(self, number: int, frame: Any) -> None:
        self.number = number
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)
        else:  # ignored, or somebody else's in C
            interrupt()

    def _unraisable(self, told: Any) -> None:
        """A Ctrl-C within a callback is not lost, so there is no need to print where it was."""
        if not issubclass(told.exc_type, KeyboardInterrupt):
            self._hook(told)

    @property
    def open(self) -> bool:
        """Whether a signal arrived since the last call of `settle`."""
        if not self._main:
            return False
        with suppress(BlockingIOError):
            self._noted += os.read(self._read, 4096)
        return any(number in self._noted for number in (signal.SIGINT, *self._before))

    def settle(self) -> None:
        """What arrived was answered."""
        if self.open:
            self._noted = b""


_in_charge: list[Signals] = []


def poll() -> None:
    """Raise the KeyboardInterrupt that somebody swallowed."""
    if is_open():
        settle()
        raise KeyboardInterrupt


def is_open() -> bool:
    """Whether a signal arrived that nobody has answered."""
    return bool(_in_charge) and _in_charge[-1].open


def number() -> int:
    """The signal that asked for an end, if any did."""
    return _in_charge[-1].number if _in_charge else int(signal.SIGINT)


def settle() -> None:
    """The signals that arrived were answered."""
    if _in_charge:
        _in_charge[-1].settle()
