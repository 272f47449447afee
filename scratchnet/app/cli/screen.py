"""What a command shows on its way: standard error only, so that results can be piped.

On a terminal it is a bar with the time left, elsewhere plain lines; rich respects NO_COLOR and the
width. A quiet screen shows nothing, a verbose one also how long each phase took.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

import scratchnet.app.cli.signals as signals
from scratchnet.app.run_training import OURS, SHOWN, Histories, ProgressListener
from scratchnet.progress import progress_bar
from scratchnet.untrusted import printable


def new_console(**options: Any) -> Console:
    """Standard output, or what the options say; COLUMNS=0, as some shells have it, is no width."""
    console = Console(**options)
    if console.width < 1:
        console = Console(**options, width=80)
    return console


LONGEST = 10_000
"""Characters of a line."""


def say(text: str, style: str | None = None, lines: bool = False) -> None:
    """A line on standard error, or several where `lines` says so."""
    console = new_console(stderr=True)
    for line in text.splitlines() if lines else [text]:
        print_line(line, console, style)


def print_line(text: str, console: Console | None = None, style: str | None = None) -> None:
    """The one place where a line is printed: whatever is in it, it stays one, and a line only.

    It is never broken by us: a terminal wraps, a file keeps it whole. On standard output unless
    there is another console.
    """
    console = console or new_console()
    console.print(
        printable(text, LONGEST), style=style, markup=False, highlight=False, soft_wrap=True
    )


@contextmanager
def busy(what: str, quiet: bool = False) -> Iterator[None]:
    """A word on a terminal while something takes a second or two; nothing elsewhere."""
    console = new_console(stderr=True, quiet=quiet)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


@contextmanager
def without_chatter() -> Iterator[None]:
    """Hold back what C++ writes to standard error; a block that fails gets it all shown."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class Screen(ProgressListener):
    """Progress on standard error: bars with the time left on a terminal, plain lines elsewhere."""

    PAUSE = 10.0
    """Seconds between plain lines within a phase."""

    def __init__(self, quiet: bool = False, verbose: bool = False):
        self.console = new_console(stderr=True, quiet=quiet)
        self.verbose = verbose
        self.bar: Any = None
        self.task: Any = None
        self.began, self.said, self.done, self.total, self.what, self.note = 0.0, 0.0, 0, 0, "", ""
        self.header_due = True

    def __enter__(self) -> Screen:
        if self.console.is_terminal and not self.console.quiet:
            self.bar = progress_bar(self.console)
            self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begin(self, what: str, total: int) -> None:
        signals.poll()
        self.what, self.note, self.done, self.total = what, "", 0, total
        self.began = self.said = time.monotonic()
        if self.bar is None:
            self.line(f"{what} ...")
        else:
            self._take_away()
            self.task = self.bar.add_task(what, total=total)

    def now(self, what: str) -> None:
        self.note = what
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description=f"{self.what}: {what}")

    def advance(self) -> None:
        self.done += 1
        if self.bar is not None:
            self.bar.advance(self.task)
        elif time.monotonic() - self.said > self.PAUSE:
            self.said = time.monotonic()
            note = f" ({self.note})" if self.note else ""
            self.line(f"{self.what}: {self.done:,} of {self.total:,}{note}")

    def end(self) -> None:
        self.detail(f"{self.what}: {time.monotonic() - self.began:.1f} s")
        self._take_away()

    def _take_away(self) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None

    def epoch(self, histories: Histories) -> None:
        """A row for the epoch, in the same columns for everyone: 59 characters for two."""
        signals.poll()
        self.said = time.monotonic()
        everyone = list(histories.values())
        if self.header_due:
            self.header_due = False
            titles = ("loss", "test %", "seconds")
            self.line(" " * 5 + "".join(f"{title:>{9 * len(everyone)}}" for title in titles))
            names = ("ours" if name == OURS else SHOWN[name] for name in histories)
            self.line("epoch" + "".join(f"{name:>9}" for name in names) * len(titles))
        cells = [f"{run['loss'][-1]:9.4f}" for run in everyone]
        cells += [f"{100 * run['val_accuracy'][-1]:9.2f}" for run in everyone]
        cells += [f"{run['seconds'][-1]:9.2f}" for run in everyone]
        self.line(f"{len(everyone[0]['loss']):5d}{''.join(cells)}")

    def detail(self, text: str) -> None:
        """A line for those who asked for more."""
        if self.verbose:
            self.line(text)

    def line(self, text: str) -> None:
        print_line(text, self.console)
