"""A plain state, a JSON-able dict and named arrays, to one `.npz` file and back.

It knows no model. A file is written beside its place and then renamed, so it is whole or absent.
Reading never unpickles, imports nothing by a name from the file, and compares every size that a
header announces with the bytes that are there before it asks for memory.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from scratchnet.engines import Array

CONFIG = "config"
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

    >>> issubclass(SavedStateError, ValueError)
    True
    """


def save(path: str | os.PathLike[str], state: State) -> None:
    """Write a state to `path`, which is replaced only once everything is on disk.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder, "state.npz"), State({"epoch": 3}, {"theta": np.zeros(2)}))
    ...     load(Path(folder, "state.npz")).config
    {'epoch': 3}
    """
    target = Path(path)
    config = np.frombuffer(json.dumps(state.config).encode(), np.uint8)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, **{CONFIG: config}, **state.arrays)
        os.chmod(name, 0o644)  # mkstemp's 0o600 is for secrets
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike[str]) -> State:
    """Read a state; `SavedStateError` for a file that is missing, broken or of another kind.

    >>> load("no-such-file.npz")
    Traceback (most recent call last):
    scratchnet.saving.SavedStateError: no-such-file.npz: no such file: expected a saved model.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {
                info.filename.removesuffix(".npy"): _member(archive, info)
                for info in archive.infolist()
            }
        config = json.loads(arrays.pop(CONFIG).tobytes())
    except FileNotFoundError:
        raise SavedStateError(f"{path}: no such file: expected a saved model.") from None
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise SavedStateError(
            f"{path}: not a saved model: {error}. Save it again with model.save(path)."
        ) from error
    if not isinstance(config, dict):
        raise SavedStateError(f"{path}: its config is a {type(config).__name__}: expected a dict.")
    return State(config, arrays)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """One array, if its header and its bytes agree."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed, expected plain")
    with archive.open(info) as file:
        shape, dtype = _header(file)
        if dtype.name not in DTYPES and info.filename != f"{CONFIG}.npy":
            raise ValueError(f"{info.filename} holds {dtype}, expected {' or '.join(DTYPES)}")
        size = math.prod(shape) * dtype.itemsize
        if size != info.file_size - file.tell() or size > os.fstat(archive.fp.fileno()).st_size:  # type: ignore[union-attr]
            raise ValueError(f"{info.filename} announces {size} bytes and holds another number")
        return np.frombuffer(file.read(size), dtype).reshape(shape)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    if npy.read_magic(file) != (1, 0):
        raise ValueError("an array is not in .npy format 1.0")
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    if fortran or dtype.hasobject:
        raise ValueError(f"an array is {dtype}, column-major: {fortran}; expected plain rows")
    return shape, dtype
