"""A plain state, a JSON-able dict and named arrays, to one `.npz` file and back.

It knows no model. A file is whole or absent (`atomic.py`), and read as a stranger's
(`untrusted.py`): nothing is unpickled or imported by a name from the file, and every size that a
header announces is held against the bytes that are there before memory is asked for. Beside it,
`objects.py` knows how layers, losses, metrics and optimizers are described, `keras_files.py` and
`hdf5.py` the files of Keras.
"""

from __future__ import annotations

import json
import os
import zipfile
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

import scratchnet.atomic as atomic
from scratchnet.engines import Array
from scratchnet.unbuilt import refusing
from scratchnet.untrusted import (
    MAX_TEXT,
    ForeignBytesError,
    Member,
    as_foreign,
    npy_header,
    parse_json,
    printable,
    zip_members,
)

__getattr__ = refusing(__name__)

__all__ = ["SavedStateError", "State", "load", "save"]

CONFIG = "config"
MAX_CONFIG = MAX_TEXT + 2**10
DTYPES = ("float32", "float64")


class State(NamedTuple):
    """What is saved: `config` in JSON's types, `arrays` of float32 or float64 by name.

    >>> State({"epoch": 3}, {"theta": np.zeros(2)}).config["epoch"]
    3
    """

    config: dict[str, Any]
    arrays: dict[str, Array]


class SavedStateError(ValueError):
    """A file that is no saved state: which file, what was found, and what to do.

    >>> print(SavedStateError("model.npz", "is empty", "Save it again."))
    model.npz: is empty. Save it again.
    """

    def __init__(self, file: str | os.PathLike[str], finding: str, remedy: str):
        self.file, self.finding, self.remedy = os.fspath(file), finding, remedy
        super().__init__(self.file, finding, remedy)

    def __str__(self) -> str:
        finding = printable(self.finding.rstrip("."), most=4000)
        return f"{printable(self.file)}: {finding}. {self.remedy}"


def save(path: str | os.PathLike[str], state: State) -> None:
    """Write a state to `path`, which is replaced only once everything is on disk.

    Raises:
        OSError: if it can't be written, with `path` as its `filename`; what was there stays.
        ValueError: for a config that JSON can't hold.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "state.npz")
    ...     save(path, State({"epoch": 3}, {"theta": np.zeros(2)}))
    ...     load(path).config
    {'epoch': 3}
    """
    text = np.frombuffer(json.dumps(state.config, allow_nan=False).encode(), np.uint8)
    parse_json(text.tobytes())  # what could not be read again is refused now
    with atomic.replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in {CONFIG: text, **state.arrays}.items():
            # With a date of its own a file would differ from another with the same content.
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as member:
                npy.write_array(member, array, version=(1, 0), allow_pickle=False)


def load(path: str | os.PathLike[str]) -> State:
    """Read a state; `SavedStateError` for a file that is missing, broken or of another kind.

    >>> load("no-such-file.npz")
    Traceback (most recent call last):
    scratchnet.saving.SavedStateError: no-such-file.npz: no such file. Check the path.
    """
    try:
        with (
            open_regular(path) as file,
            zip_members(file, os.fstat(file.fileno()).st_size) as found,
        ):
            arrays = {
                name.removesuffix(".npy"): _array(member)
                for name, member in found.items()
                if name != f"{CONFIG}.npy"
            }
            config = _config(found)
    except ForeignBytesError as error:
        raise SavedStateError(path, f"not a saved model: {error}", SAVE_AGAIN) from error
    return State(config, arrays)


SAVE_AGAIN = "Save it again with model.save(path)."


def size_of(file: IO[bytes]) -> int:
    """The size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """The open file, for reading; `SavedStateError` for anything that is no readable file."""
    # A pipe would be waited for, and a device may have no end.
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "a pipe, socket or device"
        raise SavedStateError(path, f"is {kind}, not a file", "Name the file of a saved model.")
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise SavedStateError(path, "no such file", "Check the path.") from None
    except (OSError, ValueError) as error:
        finding = getattr(error, "strerror", None) or str(error)
        raise SavedStateError(path, f"can't be opened: {finding}", "Check the path.") from error


def _config(members: dict[str, Member]) -> dict[str, Any]:
    member = members.get(f"{CONFIG}.npy")
    if member is None:
        raise ForeignBytesError(f"it has no {CONFIG}")
    if member.info.file_size > MAX_CONFIG:
        raise ForeignBytesError(f"its {CONFIG} has {member.info.file_size:,} bytes")
    config = parse_json(_array(member, ("uint8",)).tobytes())
    if not isinstance(config, dict):
        raise ForeignBytesError(f"its config is a {type(config).__name__}: expected a dict")
    return config


def _array(member: Member, dtypes: tuple[str, ...] = DTYPES) -> Array:
    """One array, if its header and its bytes agree."""
    name = printable(member.info.filename)
    with as_foreign(), member.open() as file:
        header = npy_header(file)
        if header.dtype.hasobject:
            raise ForeignBytesError(f"{name} holds pickled objects, which are never unpickled")
        if header.dtype.name not in dtypes or not header.dtype.isnative:
            raise ForeignBytesError(f"{name} holds {header.dtype}, expected {' or '.join(dtypes)}")
        if header.fortran:
            raise ForeignBytesError(f"{name} is column-major: expected plain rows")
        rest = member.info.file_size - file.tell()
        if header.size != rest:
            raise ForeignBytesError(f"{name} announces {header.size:,} bytes and holds {rest:,}")
        array: Array = np.frombuffer(file.read(rest), header.dtype).reshape(header.shape)
    return array
