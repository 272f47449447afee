"""The one progress bar: what is being done, how far it is, and the time left.

`fit`, the commands and downloads all draw it. rich is imported when a bar is made, not before.
"""

from __future__ import annotations

from typing import Any


def progress_bar(console: Any = None, unit: str = "") -> Any:
    """A `rich.progress.Progress` on `console` (default: standard output) that leaves no trace.

    `unit` says what is counted beside the bar: `"steps"`, `"bytes"`, or nothing. Descriptions are
    shown as they are, brackets too. Where the console is no terminal nothing is drawn.

    >>> from rich.console import Console
    >>> import io
    >>> bar = progress_bar(Console(file=io.StringIO()), "steps")
    >>> task = bar.add_task("training", total=10)
    >>> bar.advance(task, 4)
    >>> bar.tasks[0].completed
    4
    """
    from rich import progress
    from rich.console import Console

    counts: dict[str, list[progress.ProgressColumn]] = {
        "": [],
        "steps": [progress.MofNCompleteColumn()],
        "bytes": [progress.DownloadColumn()],
    }
    console = console or Console()
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(30),
        *counts[unit],
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        # Four times a second is live enough, and takes no time from what is being timed.
        refresh_per_second=4,
        transient=True,
    )
