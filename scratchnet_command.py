"""The command `scratchnet` until its package is loaded: Ctrl-C ends it at once, in one line.

A module of its own, because whatever is imported from `scratchnet` first loads NumPy and more, and
a Ctrl-C meanwhile would end in a traceback from the middle of a library, or be lost in one.
"""

from __future__ import annotations

import os
import signal
from typing import Any


def main() -> None:
    """The entry point: the same as `scratchnet.app.cli.main`, quiet from the first moment."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    try:
        from scratchnet.app import cli

        cli.main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is to leave


def _leave(*_: Any) -> None:
    """Nothing was begun, so there is nothing to put in order."""
    os.write(2, b"Interrupted before anything was begun.\n")
    os._exit(130)


if __name__ == "__main__":
    main()
