"""How every command ends: a user's mistake as one line, never a traceback, and an exit status.

A mistake is an error class of this package's own (each says value, expectation and remedy), or what
the machine refuses: a file, memory, a package. Any other exception is a bug of ours, and ends with
a status of its own. `--debug` shows the traceback of either.
"""

from __future__ import annotations

import errno
import logging
import os
import traceback
import warnings
from typing import Any

import typer
from typer.core import TyperGroup

import scratchnet.app.cli.signals as signals
from scratchnet.app.cli.screen import say

DONE, DIFFERS, MISTAKE, INTERNAL = 0, 1, 2, 70

DEBUG = "--debug"


class UserError(ValueError):
    """What was asked for can't be done: the value, what was expected, and the remedy."""


def interrupted() -> int:
    """The exit status after Ctrl-C, 130, or after SIGTERM, 143."""
    return 128 + signals.number()


class ErrorHandler(TyperGroup):
    """The group of all commands: it remembers the arguments, and turns errors into a line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.obj = list(args)
        ctx.meta[DEBUG] = os.environ.get("SCRATCHNET_DEBUG", "0") not in ("", "0")
        ours = args[: args.index("--")] if "--" in args else args
        if DEBUG in ours:  # wherever it stands: people add it to the end of what went wrong
            args = [DEBUG, *(a for a in ours if a != DEBUG), *args[len(ours) :]]
            ctx.meta[DEBUG] = True
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        os.environ["MPLBACKEND"] = "agg"  # files only, on machines without a screen too
        log = logging.getLogger("scratchnet")
        level = log.level
        try:
            with signals.Signals(), warnings.catch_warnings():
                said: set[str] = set()
                warnings.showwarning = lambda message, *_, **__: _warn(str(message), said)
                return self._guarded(ctx)
        finally:
            log.setLevel(level)  # --quiet may have raised it

    def _guarded(self, ctx: Any) -> Any:
        try:
            done = super().invoke(ctx)
            signals.poll()
            return done
        except KeyboardInterrupt as stop:  # raised with words by who knows what was kept
            raise _ended(str(stop)) from None
        except Exception as error:
            status = status_of(error)
            if status is None:
                raise
            if ctx.meta[DEBUG]:
                say(traceback.format_exc().rstrip(), lines=True)
            if status == INTERNAL and signals.is_open():  # what a library made of a Ctrl-C
                raise _ended("") from None
            say(line_of(error, status), style="bold red")
            raise typer.Exit(status) from error


def _ended(text: str) -> typer.Exit:
    signals.settle()
    say(text or "Interrupted.")
    return typer.Exit(interrupted())


def _warn(message: str, said: set[str]) -> None:
    """A warning as one line, once: no user is helped by its place in the code."""
    message = message.partition("Traceback (most recent")[0]  # Numba's have one within
    if message not in said:
        said.add(message)
        say(f"Warning: {' '.join(message.split())}", style="bold yellow")


def status_of(error: Exception) -> int | None:
    """The exit status that an error deserves; None where typer or click knows better."""
    module = type(error).__module__.partition(".")[0]
    if module in ("typer", "click"):
        return None
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return None  # whoever read our output has gone, which is no mistake
    if isinstance(error, FloatingPointError):
        return DIFFERS
    ours = isinstance(error, ValueError) and module in ("scratchnet", "keras_ref")
    if ours or isinstance(error, OSError | MemoryError | ModuleNotFoundError):
        return MISTAKE
    return INTERNAL


def line_of(error: Exception, status: int) -> str:
    """An error as the one line that people read."""
    text = " ".join(str(error).split()).rstrip(".")
    if status == INTERNAL:
        return (
            f"Internal error: {type(error).__name__}: {text}. This is a bug of scratchnet's, not "
            f"of yours: run the command again with {DEBUG} to see where."
        )
    if isinstance(error, MemoryError):
        return f"Error: not enough memory: {text or 'none was left'}. Take less data with --limit."
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{os.fspath(error.filename)}: {error.strerror}"
    return f"Error: {text}."
