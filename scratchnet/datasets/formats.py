"""Files to arrays: Keras's `.npz` and the IDX files in which MNIST was first published.

Every size that a header announces is compared with what the file can hold before memory is asked
for, all of them together with what a small file may unpack to, and compressed data is read no
further than announced, so no file can eat the machine. Nothing is ever unpickled (`untrusted.py`).
Whatever is wrong ends in one `DatasetError` that names the file, the finding and the remedy.
Whether the pixels are MNIST's is not judged here; `mnist.py` does that.
"""

from __future__ import annotations

import gzip
import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from scratchnet.untrusted import (
    DEFLATE_RATIO,
    METHODS,
    ForeignBytesError,
    Member,
    npy_header,
    printable,
    zip_members,
)

Bytes: TypeAlias = NDArray[np.uint8]
Data: TypeAlias = tuple[tuple[Bytes, Bytes], tuple[Bytes, Bytes]]

NAMES = ("x_train", "y_train", "x_test", "y_test")
IDX_FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}

MAX_BYTES = 2**30
"""The largest array that is read, in bytes: 1.3 million images of 28 x 28."""

UNPACKED_FREELY, UNPACKED_RATIO = 2**26, 30
"""A file may unpack to so many bytes, and to so many more for each byte of its own. MNIST unpacks
to 5 for each; only images that are nearly blank unpack to more than 30."""

_CHUNK = 2**20
_FETCH_AGAIN = "Delete it and fetch it again"


class DatasetError(ValueError):
    """A data set that cannot be used: `file`, `finding` and `remedy`, and all three as one message.

    >>> print(DatasetError("mnist.npz", "is empty", "Fetch it again"))
    mnist.npz: is empty. Fetch it again.
    """

    def __init__(self, file: str | os.PathLike[str], finding: str, remedy: str) -> None:
        super().__init__(os.fspath(file), finding, remedy)
        self.file, self.finding, self.remedy = os.fspath(file), finding, remedy

    def __str__(self) -> str:
        return f"{printable(self.file)}: {self.finding}. {self.remedy}."


class DatasetUnavailableError(DatasetError):
    """Nothing is broken: the data set is simply nowhere to be had.

    >>> issubclass(DatasetUnavailableError, DatasetError)
    True
    """


class _Array(NamedTuple):
    """One array and, for messages, where it came from."""

    file: str
    name: str
    values: NDArray[Any]


def read(path: str | os.PathLike[str], *, classes: int = 256) -> Data:
    """Any data set in one of the two formats, for example Fashion-MNIST or one's own.

    `path` is an `.npz` with the arrays x_train, y_train, x_test, y_test, or a folder with an
    `mnist.npz` or the four IDX files, gzipped or not. Images are (N, height, width) uint8, of one
    size in both parts; labels are (N,) integers in 0 .. classes - 1 and come back as uint8.

    Raises `DatasetError` for everything else.

    >>> read("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.datasets.formats.DatasetError: ...
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        npz = os.path.join(path, "mnist.npz")
        return (
            read_npz(npz, classes=classes)
            if os.path.isfile(npz)
            else read_idx(path, classes=classes)
        )
    return read_npz(path, classes=classes)


def read_npz(path: str, *, classes: int = 256) -> Data:
    """The four arrays of an `.npz`, as `read` describes them; other arrays in it are left alone."""
    with _opened(path) as (file, size):
        if not zipfile.is_zipfile(file):
            raise DatasetError(
                path,
                "is not an .npz: no zip archive, or one that breaks off",
                "Name a whole .npz file, or the folder that holds the four IDX files",
            )
        with zip_members(file, size, tuple(METHODS)) as members:
            arrays = _read_members(path, members, size)
    return _checked(arrays, classes)


def read_idx(folder: str, *, classes: int = 256) -> Data:
    """The four IDX files of a folder, as `read` describes them; each may be gzipped."""
    files = {name: _idx_file(folder, stem) for name, stem in IDX_FILES.items()}
    missing = [IDX_FILES[name] for name, file in files.items() if file is None]
    if missing:
        raise DatasetError(
            folder,
            f"holds no mnist.npz and lacks these IDX files: {', '.join(missing)}",
            "Name an .npz file, or a folder with all four IDX files, each with or without .gz",
        )
    arrays = [
        _Array(file, name, _read_idx_file(file, name)) for name, file in files.items() if file
    ]
    return _checked(arrays, classes)


def _idx_file(folder: str, stem: str) -> str | None:
    # Some mirrors write a dot where the original names have a dash.
    for name in (stem, stem.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            file = os.path.join(folder, name + suffix)
            if os.path.isfile(file):
                return file
    return None


@contextmanager
def _opened(path: str) -> Iterator[tuple[IO[bytes], int]]:
    """The open file and its size in bytes; every failure inside becomes one `DatasetError`."""
    if not os.path.isfile(path):
        finding = "is neither a file nor a folder" if os.path.exists(path) else "does not exist"
        raise DatasetError(path, finding, "Check the path for a typing error")
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise DatasetError(path, "is empty, 0 bytes", _FETCH_AGAIN)
            yield file, size
    except DatasetError:
        raise
    except PermissionError as error:
        raise DatasetError(
            path, "may not be read by this user", "Change its permissions"
        ) from error
    # zipfile, gzip, zlib, struct, tokenize and NumPy each raise their own kinds on damaged bytes,
    # and which of them notices first is an accident.
    except Exception as error:
        kind = "" if isinstance(error, ForeignBytesError) else f"{type(error).__name__}: "
        raise DatasetError(path, f"is damaged ({kind}{printable(error)})", _FETCH_AGAIN) from error


def _read_members(path: str, members: dict[str, Member], file_size: int) -> list[_Array]:
    """The four arrays of an `.npz`: every header first, judged, then the data."""
    missing = [name for name in NAMES if f"{name}.npy" not in members]
    if missing:
        there = printable(", ".join(list(members)[:8]) or "none")
        raise DatasetError(
            path,
            f"has no array {missing[0]}; it has {there}",
            f"An .npz needs the arrays {', '.join(NAMES)}",
        )
    headers = {}
    for name in NAMES:
        with members[f"{name}.npy"].open() as stream:
            headers[name] = npy_header(stream)
        _check_header(path, name, headers[name].shape, headers[name].dtype)
    _check_total(path, sum(header.size for header in headers.values()), file_size)
    arrays = []
    for name, (shape, fortran, dtype) in headers.items():
        member = members[f"{name}.npy"]
        with member.open() as stream:
            npy_header(stream)
            most = member.info.file_size - stream.tell()
            data = _take(stream, path, name, math.prod(shape) * dtype.itemsize, most)
        values = data.view(dtype).reshape(shape, order="F" if fortran else "C")
        arrays.append(_Array(path, name, values))
    return arrays


def _check_total(path: str, announced: int, file_size: int) -> None:
    most = UNPACKED_FREELY + UNPACKED_RATIO * file_size
    if announced > most:
        raise DatasetError(
            path,
            f"announces {announced:,} bytes, more than the {most:,} that {file_size:,} bytes "
            "may unpack to",
            "Save it again with numpy.savez, which does not compress",
        )


def _check_header(path: str, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Images (N, height, width) uint8, labels (N,) of any integer type, N >= 1."""
    images = name.startswith("x")
    if dtype.hasobject:
        raise DatasetError(
            path,
            f"array {name} holds pickled Python objects, which are never unpickled",
            "Save plain integer arrays",
        )
    if images and dtype != np.uint8:
        raise DatasetError(
            path,
            f"array {name} is {dtype}, and images are uint8, 0 to 255",
            f"Scale {name} to 0..255, round it, and save {name}.astype(numpy.uint8)",
        )
    if not images and dtype.kind not in "iu":
        raise DatasetError(
            path,
            f"array {name} is {dtype}, and labels are integers",
            f"Save {name}.astype(numpy.uint8)",
        )
    if len(shape) != (3 if images else 1):
        wanted = "(N, height, width)" if images else "(N,)"
        raise DatasetError(
            path, f"array {name} has shape {shape}, expected {wanted}", "Reshape it and save again"
        )
    if min(shape) < 1:
        raise DatasetError(
            path, f"array {name} has shape {shape} and so no data", "Save at least one example"
        )


def _read_idx_file(path: str, name: str) -> Bytes:
    """One IDX file: magic 0 0 8 rank, each dimension as a big-endian uint32, then the bytes.

    Source: the format's description on the MNIST page of LeCun, Cortes and Burges.
    """
    rank = 3 if name.startswith("x") else 1
    with _opened(path) as (file, size):
        # Browsers unpack a .gz and keep its name, so the bytes decide.
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if zipped else file
        header = stream.read(4 + 4 * rank)
        magic = int.from_bytes(header[:4], "big")
        if len(header) < 4 or magic != 0x800 + rank:
            raise DatasetError(
                path,
                f"has magic number {magic}, expected {0x800 + rank} for {name}",
                "Check that images and labels are not swapped, or fetch it again",
            )
        if len(header) < 4 + 4 * rank:
            raise DatasetError(path, "breaks off inside its header", _FETCH_AGAIN)
        shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4))
        _check_header(path, name, shape, np.dtype(np.uint8))
        most = DEFLATE_RATIO * size if zipped else size - len(header)
        if zipped and math.prod(shape) <= MAX_BYTES:
            _check_total(path, math.prod(shape), size)
        return _take(stream, path, name, math.prod(shape), most).reshape(shape)


def _take(stream: IO[bytes], path: str, name: str, size: int, most: int) -> Bytes:
    """`size` bytes, and the stream must end there; `most` is what it can hold at best."""
    if size > MAX_BYTES:
        raise DatasetError(
            path,
            f"announces {size:,} bytes for {name}, more than the {MAX_BYTES:,} that are read",
            "Split the data set",
        )
    if size > most:
        raise DatasetError(
            path, f"announces {size:,} bytes for {name} and can hold {most:,}", _FETCH_AGAIN
        )
    data = np.empty(size, np.uint8)
    done = 0
    while done < size and (chunk := stream.read(min(_CHUNK, size - done))):
        data[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    if done < size:
        raise DatasetError(
            path, f"announces {size:,} bytes for {name} and ends after {done:,}", _FETCH_AGAIN
        )
    # Reading past the end is also what makes gzip and zipfile compare their checksums.
    if stream.read(1):
        raise DatasetError(
            path, f"announces {size:,} bytes for {name} and goes on after them", _FETCH_AGAIN
        )
    return data


def _checked(arrays: list[_Array], classes: int) -> Data:
    """The four arrays held against each other, labels as uint8."""
    if not 1 <= classes <= 256:
        raise ValueError(f"classes={classes}, expected 1 to 256: labels are stored as uint8")
    x_train, y_train, x_test, y_test = arrays
    for x, y in ((x_train, y_train), (x_test, y_test)):
        if len(x.values) != len(y.values):
            raise DatasetError(
                y.file,
                f"{len(y.values):,} labels in {y.name} for {len(x.values):,} images in {x.name}",
                "Take images and labels from the same data set",
            )
        low, high = int(y.values.min()), int(y.values.max())
        if low < 0 or high >= classes:
            raise DatasetError(
                y.file,
                f"labels in {y.name} run from {low} to {high}, expected 0 to {classes - 1}",
                "Number the classes from 0, without gaps",
            )
    train_size, test_size = x_train.values.shape[1:], x_test.values.shape[1:]
    if train_size != test_size:
        raise DatasetError(
            x_test.file,
            f"test images are {test_size}, training images {train_size}",
            "Bring all images to one size",
        )
    x1, y1, x2, y2 = (np.ascontiguousarray(a.values, dtype=np.uint8) for a in arrays)
    return (x1, y1), (x2, y2)
