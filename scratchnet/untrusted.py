"""Bytes from strangers: zip archives, `.npy` headers, JSON, and text on its way to a terminal.

Every size that a header announces is held against the bytes that are there before memory is asked
for, and nothing is executed, imported or unpickled: an `.npy` header is matched, not evaluated, as
NumPy does. What is wrong is a `ForeignBytesError` that says what was found; whoever opened the file
names it.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, Any, NamedTuple

import numpy as np

MAX_MEMBERS = 100_000
MAX_TEXT = 2**24
"""The longest JSON that is read, in bytes; the settings of 10,000 layers have a third of it."""
MAX_DEPTH = 40
"""How deep JSON may nest; the settings of a Keras model nest 9 deep."""
MAX_NPY_HEADER = 2**12

METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
DEFLATE_RATIO = 1032
"""DEFLATE cannot do better than 258 bytes from 2 bits (RFC 1951, section 3.2.5)."""


class ForeignBytesError(ValueError):
    """What is wrong with the bytes of a file, without the file's name.

    >>> issubclass(ForeignBytesError, ValueError)
    True
    """


def printable(text: Any, most: int = 300) -> str:
    """Text with nothing in it that moves a terminal's cursor or begins a line, cut to `most`.

    >>> printable("a\\x1b[2J\\nmodel.npz: forged")
    'a\\\\x1b[2J\\\\nmodel.npz: forged'
    """
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )
    return shown if len(shown) <= most else f"{shown[: most // 2]}...{shown[-most // 2 :]}"


@contextmanager
def as_foreign() -> Iterator[None]:
    """Whatever goes wrong inside becomes a `ForeignBytesError`; Ctrl-C stays what it is.

    zipfile, zlib, struct, json, h5py and NumPy each raise their own kinds on damaged bytes, and
    which of them notices first is an accident.

    >>> with as_foreign():
    ...     raise NotImplementedError("zip file version 9.9")
    Traceback (most recent call last):
    scratchnet.untrusted.ForeignBytesError: NotImplementedError: zip file version 9.9
    """
    try:
        yield
    except ForeignBytesError:
        raise
    except Exception as error:
        raise ForeignBytesError(f"{type(error).__name__}: {printable(error)}") from error


# --- zip archives ---------------------------------------------------------------------------------


class Member(NamedTuple):
    """A file in an archive: what its entry says, held against the archive's own bytes."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def open(self) -> IO[bytes]:
        """Its bytes; never more of them than its entry announces."""
        with as_foreign():
            return self.archive.open(self.info)

    def read(self, most: int) -> bytes:
        """All of its bytes, if its entry announces no more than `most`."""
        if self.info.file_size > most:
            raise ForeignBytesError(
                f"{printable(self.info.filename)} announces {self.info.file_size:,} bytes: "
                f"expected {most:,} at most"
            )
        with as_foreign(), self.open() as stream:
            return stream.read()


@contextmanager
def zip_members(
    file: IO[bytes], size: int, methods: tuple[int, ...] = (zipfile.ZIP_STORED,)
) -> Iterator[dict[str, Member]]:
    """The members of an archive of `size` bytes by name, for as long as the block runs.

    Refused: names that lead elsewhere or come twice, members that overlap or are encrypted or
    packed by another method, sizes that can't be.
    """
    with as_foreign():
        archive = zipfile.ZipFile(file)
    with archive:
        with as_foreign():
            infos = archive.infolist()
            if len(infos) > MAX_MEMBERS:
                raise ForeignBytesError(f"{len(infos):,} members: expected {MAX_MEMBERS:,} at most")
            for info in infos:
                _check_member(info, methods)
            _check_places(file, size, archive, infos)
            members: dict[str, Member] = {}
            for info in infos:
                if info.filename in members:
                    raise ForeignBytesError(f"{printable(info.filename)} is in it twice")
                members[info.filename] = Member(archive, info)
        yield members


def _check_member(info: zipfile.ZipInfo, methods: tuple[int, ...]) -> None:
    """A plain relative name, a known method, and a size that the packed bytes can hold."""
    # The name as it stands in the archive: zipfile cuts it at a NUL byte.
    name = info.orig_filename
    shown = printable(name)
    parts = PureWindowsPath(name).parts
    if "\0" in name or ".." in parts or "\\" in name or not name or name.endswith("/"):
        raise ForeignBytesError(f"{shown} is no plain name of a file")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise ForeignBytesError(f"{shown} is an absolute name")
    if info.flag_bits & 0x1:
        raise ForeignBytesError(f"{shown} is encrypted")
    if info.compress_type not in methods:
        kind = METHODS.get(info.compress_type, str(info.compress_type))
        wanted = " or ".join(METHODS[method] for method in methods)
        raise ForeignBytesError(f"{shown} has compression method {kind}: expected {wanted}")
    stored = info.compress_type == zipfile.ZIP_STORED
    most = info.compress_size * (1 if stored else DEFLATE_RATIO)
    if info.file_size > most or (stored and info.file_size != info.compress_size):
        raise ForeignBytesError(f"{shown} announces {info.file_size:,} bytes and can hold {most:,}")


def _check_places(
    file: IO[bytes], size: int, archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]
) -> None:
    """Members one behind the other: overlapping ones unpack the same bytes again and again."""
    end, before = 0, "the archive's start"
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ForeignBytesError(f"{printable(info.filename)} overlaps {before}")
        file.seek(info.header_offset)
        header = file.read(30)
        if len(header) < 30:
            raise ForeignBytesError(f"{printable(info.filename)} lies outside of the file")
        name, extra = struct.unpack("<HH", header[26:30])
        end = info.header_offset + 30 + name + extra + info.compress_size
        before = printable(info.filename)
    if end > min(size, archive.start_dir):
        raise ForeignBytesError(f"{before} reaches over the archive's directory")


# --- .npy -----------------------------------------------------------------------------------------


class Header(NamedTuple):
    """What an `.npy` file says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


_KEYS = {
    "descr": r"'([<>|=]?[a-zA-Z]\d{0,4})'",
    "fortran_order": r"(False|True)",
    "shape": r"\(((?:-?\d{1,19}L?, ?)*(?:-?\d{1,19}L?)?)\)",
}
_ITEMS = re.compile("|".join(f"'{key}': ?{value}" for key, value in _KEYS.items()))


def npy_header(stream: IO[bytes]) -> Header:
    """The header at the start of an `.npy` file of version 1.0; the array's bytes come next.

    Later versions are for structured arrays and headers over 64 KiB: no plain array has them.
    """
    start = stream.read(10)
    if len(start) < 10 or start[:6] != b"\x93NUMPY":
        raise ForeignBytesError("no array in .npy format")
    if start[6:8] != b"\1\0":
        raise ForeignBytesError(f".npy version ({start[6]}, {start[7]}): expected (1, 0)")
    length = int.from_bytes(start[8:], "little")
    text = stream.read(min(length, MAX_NPY_HEADER)).decode("latin-1")
    body = re.fullmatch(r"\{(.*?),? ?\}[ \n]*", text)
    if len(text) < length or body is None:
        raise ForeignBytesError(f"an .npy header that can't be read: {printable(text, 100)}")
    found = {}
    for item in re.split(r", (?=')", body[1]):
        match = _ITEMS.fullmatch(item)
        if match is None:
            raise ForeignBytesError(f"an .npy header says {printable(item, 100)}")
        key = next(key for key in _KEYS if item.startswith(f"'{key}'"))
        found[key] = next(group for group in match.groups() if group is not None)
    if set(found) != set(_KEYS):
        raise ForeignBytesError(f"an .npy header has {', '.join(found) or 'nothing'}")
    shape = tuple(int(n) for n in re.findall(r"-?\d+", found["shape"]))
    if min(shape, default=0) < 0:
        raise ForeignBytesError(f"an array of shape {shape} has no data")
    with as_foreign():
        dtype = np.dtype(found["descr"])
    return Header(shape, found["fortran_order"] == "True", dtype)


# --- JSON -----------------------------------------------------------------------------------------


def parse_json(data: bytes) -> Any:
    """JSON in UTF-8: no deeper than MAX_DEPTH, no name twice in an object, no NaN or Infinity.

    >>> parse_json(b'{"units": 3}')
    {'units': 3}
    >>> parse_json(b"[" * 10_000)
    Traceback (most recent call last):
    scratchnet.untrusted.ForeignBytesError: JSON that nests deeper than 40 levels
    """
    if len(data) > MAX_TEXT:
        raise ForeignBytesError(f"{len(data):,} bytes of JSON: expected {MAX_TEXT:,} at most")
    if _depth(data) > MAX_DEPTH:
        raise ForeignBytesError(f"JSON that nests deeper than {MAX_DEPTH} levels")
    with as_foreign():
        return json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_constant)


def _depth(data: bytes) -> int:
    """How deep brackets nest outside of strings."""
    depth = deepest = 0
    bare = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", data, flags=re.DOTALL)
    for run in re.findall(rb"[\[{]+|[\]}]+", bare):
        depth += len(run) if run[0] in b"[{" else -len(run)
        deepest = max(deepest, depth)
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ForeignBytesError(f"JSON that says {printable(twice)!r} twice")
    return found


def _constant(name: str) -> Any:
    raise ForeignBytesError(f"JSON that holds {name}")
