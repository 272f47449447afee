"""Compiled code kept on disk, where there is a place for it, and what is said about compiling.

Numba's own cache trusts what it finds. A file that was cut off, or changed where it lies, ends
every later call with whatever unpickling it raises, or runs other code than was compiled; a full
disk ends the call that compiled. Here each file carries a checksum, what is damaged is compiled
anew and overwritten, and what can't be kept is done without; each is said once, in the log
`scratchnet`. Checksums are against accidents: files from strangers don't belong in such a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from numba import njit
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile

from scratchnet.engines.compiled.target import identity

log = logging.getLogger("scratchnet")
CHECKSUM_BYTES = hashlib.sha256().digest_size

_said: set[str] = set()


def _warn_once(about: str, text: str) -> None:
    """One line of each kind in a process."""
    if about not in _said:
        _said.add(about)
        log.warning(text)


class CompileNotice(event.Listener):
    """Says that something is being compiled."""

    def on_start(self, given: Any) -> None:
        kept = ", kept for the next time" if given.data["dispatcher"].stats.cache_path else ""
        _warn_once("compiling", f"Compiling for this machine: some ten seconds{kept}.")

    def on_end(self, given: Any) -> None: ...


# --- files with a checksum ------------------------------------------------------------------------


class DamagedFileError(Exception):
    """A file of kept code that is not what was written: its path, and what is wrong with it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path} {what}")
        self.path, self.what = str(path), what


def _checksum(name: str, contents: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + contents).digest()


def verify(path: Path) -> None:
    """Whether a file is as `CheckedFiles` wrote it, under the name that it had then.

    Raises:
        DamagedFileError: for one that is not, or can't be read.
        FileNotFoundError: where there is none.
    """
    try:
        if not path.is_file() and path.exists():  # to read a pipe would never end
            raise DamagedFileError(path, "is not a file")
        whole = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFileError(path, f"can't be read ({error.strerror})") from error
    if _checksum(path.name, whole[:-CHECKSUM_BYTES]) != whole[-CHECKSUM_BYTES:]:
        raise DamagedFileError(path, "is cut off, or not what was written")


class CheckedFiles(IndexDataCacheFile):
    """Numba's two kinds of files, an index and the code it names, each with a checksum at its end.

    Unpickling stops where the pickle ends, so that Numba reads them as its own.
    """

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[IO[bytes]]:
        with contextlib.suppress(OSError):
            os.rmdir(filepath)  # an empty folder in its place; anything else stays
        with super()._open_for_write(filepath) as file:
            contents = io.BytesIO()
            yield contents
            file.write(contents.getvalue())
            file.write(_checksum(Path(filepath).name, contents.getvalue()))

    def _load_index(self) -> dict[Any, str]:
        with contextlib.suppress(FileNotFoundError):
            verify(Path(self._index_path))
        index: dict[Any, str] = super()._load_index()
        return index

    def _verify_data(self, name: str) -> None:
        path = Path(self._data_path(name))
        try:
            verify(path)
        except FileNotFoundError as error:
            raise DamagedFileError(path, "is missing, though the index names it") from error

    def _load_data(self, name: str) -> Any:
        self._verify_data(name)
        return super()._load_data(name)

    def save(self, key: Any, data: Any) -> None:
        try:
            super().save(key, data)
        except DamagedFileError:  # the index; what else it named is compiled anew as well
            self.flush()
            super().save(key, data)

    def damage(self) -> Iterator[DamagedFileError]:
        """Each file that is not what was written."""
        try:
            names = sorted(set(self._load_index().values()))
        except DamagedFileError as error:
            yield error
            return
        for name in names:
            try:
                self._verify_data(name)
            except DamagedFileError as error:
                yield error


class CheckedCache(FunctionCache):
    """Numba's cache of a function's code, on `CheckedFiles`; it never raises for a file."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = CheckedFiles(
            self._cache_path, self._impl.filename_base, locator.get_source_stamp()
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except Exception as error:  # whole, and yet another LLVM, say, can't load it
            what = error if isinstance(error, DamagedFileError) else f"{self.cache_path}: {error!r}"
            _warn_once("damaged", f"Compiled code is damaged: {what}. Compiling anew.")
            return None
        # Two processes that fill one cache at once may give two signatures the same file.
        same = found is None or tuple(found.signature.args) == tuple(sig)
        return found if same else None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except (OSError, DamagedFileError) as error:
            why = getattr(error, "strerror", None) or error
            _warn_once(
                "not kept",
                f"Compiled code can't be kept in {self.cache_path} ({why}): "
                "each process compiles anew, until it can or NUMBA_CACHE_DIR names another folder.",
            )


# --- compiling, once ------------------------------------------------------------------------------

_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
_WHAT = [*(source.read_bytes() for source in _SOURCES), *(part.encode() for part in identity())]
_DIGEST = hashlib.sha256(b"".join(_WHAT)).hexdigest()[:16]


def compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled without Python's lock, kept on disk where there is a place for it.

    Numba finds what it kept by the function's name, and looks for changes in that function's own
    file alone: so the name has a digest of all sources, and of the processor that they are compiled
    for, so that no two of these write one file. What was kept of others stays on disk.
    """
    function.__qualname__ = f"{function.__name__}-{_DIGEST}"
    dispatcher = njit(nogil=True, _nrt=False, error_model="numpy")(function)
    with contextlib.suppress(Exception):  # no folder that can be written, or a locator that fails
        dispatcher._cache = CheckedCache(function)  # what `cache=True` does with Numba's own
    return dispatcher


def cache_folder(function: Any) -> str | None:
    """Where a compiled function is kept; None where it can't be."""
    folder: str | None = function.stats.cache_path
    return folder


def compiled_before(function: Any) -> bool:
    """Whether there is kept code of this source."""
    module = function.py_func.__module__.rpartition(".")[2]
    name = f"{module}.{function.py_func.__qualname__}-*.nbc"
    return any(Path(cache_folder(function) or os.devnull).glob(name))


def damage(*functions: Any) -> dict[str, str]:
    """The damaged files of these functions' kept code: path -> what is wrong."""
    caches = [function._cache for function in functions]
    files = [cache._cache_file for cache in caches if isinstance(cache, CheckedCache)]
    return {error.path: error.what for file in files for error in file.damage()}
