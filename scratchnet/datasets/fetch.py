"""Files from the network into a cache folder: mirrors in turn, hashes checked.

pooch does the work: it writes beside the target, compares the hash and only then renames, so a
file in the cache is whole or absent. This module adds the order of the mirrors, timeouts of
seconds, a progress bar where somebody looks, and one error that lists all that was tried. It knows
nothing about MNIST; `mnist.py` hands it the addresses.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from scratchnet.datasets.formats import DatasetUnavailableError
from scratchnet.progress import progress_bar
from scratchnet.untrusted import printable


class RemoteFile(NamedTuple):
    """One file, the addresses where it lies, and the hash that it must have."""

    name: str
    urls: tuple[str, ...]
    known_hash: str
    """As pooch writes it: `"sha256:..."` or `"md5:..."`."""


def fetch(
    sources: Sequence[Sequence[RemoteFile]], folder: str, timeout: tuple[float, float]
) -> list[str]:
    """The paths of the first source all of whose files could be had, now in `folder`.

    A source is a set of files that belong together; sources are alternatives, best first.
    `timeout` is in seconds: to connect, and between two bytes. A file that is there already with
    the right hash is not fetched again.

    Raises `DatasetUnavailableError` that lists every address and why it failed.
    """
    failures: list[str] = []
    for source in sources:
        paths: list[str] = []
        for file in source:
            path = _fetch_one(file, folder, timeout, failures)
            if path is None:
                break
            paths.append(path)
        else:
            return paths
    raise DatasetUnavailableError(
        folder,
        "nothing could be downloaded into it. Tried:\n  " + "\n  ".join(failures),
        "Check the network, or set SCRATCHNET_DATA to a file you have, "
        "or SCRATCHNET_CACHE to a folder you may write to",
    )


def _fetch_one(
    file: RemoteFile, folder: str, timeout: tuple[float, float], failures: list[str]
) -> str | None:
    """The path of `file` in `folder` from the first mirror that works; the others to `failures`."""
    import pooch

    for url in file.urls:
        bar = _Bar(file.name)
        downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=timeout)
        try:
            path: str = pooch.retrieve(
                url, file.known_hash, file.name, folder, downloader=downloader
            )
            return path
        # requests derives its errors from OSError; a wrong hash is pooch's ValueError.
        except (OSError, ValueError) as error:
            reason = textwrap.shorten(f"{type(error).__name__}: {error}", 300)
            failures.append(printable(f"{url}: {reason}", most=600))
        finally:
            bar.stop()
    return None


class _Bar:
    """What pooch expects of a progress bar (`total`, `update`, `reset`, `close`), drawn by rich.

    Silent where standard error is no terminal: pooch logs one line per address there anyway.
    """

    def __init__(self, name: str) -> None:
        from rich.console import Console

        self.total = 0
        self._progress = progress_bar(Console(stderr=True), "bytes")
        self._task = self._progress.add_task(name, total=None)

    def update(self, amount: int) -> None:
        # Not before the first bytes: pooch's own line comes first and would tear the bar.
        self._progress.start()
        self._progress.update(self._task, total=self.total or None, advance=amount)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self.stop()

    def stop(self) -> None:
        self._progress.stop()
