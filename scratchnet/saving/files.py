"""The files that a model is written to and read from: which kind, by the ending, as in Keras."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import scratchnet.atomic as atomic
import scratchnet.saving as saving
from scratchnet.engines import Array
from scratchnet.saving import SavedStateError, State, keras_files
from scratchnet.saving.hdf5 import read_hdf5
from scratchnet.saving.keras_files import Weights
from scratchnet.untrusted import ForeignBytesError, as_foreign, printable

Path = str | os.PathLike[str]

MODELS = (".npz", ".keras")
WEIGHTS = ".weights.h5"
LEGACY = (".h5", ".hdf5")
KERAS_AGAIN = "Load it with Keras, and save it again under a name that ends in .keras."


def ending(path: Path, known: tuple[str, ...]) -> str:
    """Which of the known endings a path has; `ValueError` for a name that promises another kind.

    >>> ending("model.keras", MODELS)
    '.keras'
    >>> ending("model.h5", MODELS)
    Traceback (most recent call last):
    ValueError: model.h5: unknown extension or format: expected a name that ends in .npz or .keras.
    """
    name = os.fspath(path)
    for end in known:
        if name.endswith(end):
            return end
    raise ValueError(
        f"{printable(name)}: unknown extension or format: expected a name that ends in "
        f"{' or '.join(known)}."
    )


def write_model(path: Path, state: State) -> None:
    """A model's state to a new file, or in place of an old one, whole or not at all."""
    if ending(path, MODELS) == ".keras":
        atomic.write(path, keras_files.write_model(state))
    else:
        saving.save(path, state)


def read_model(path: Path) -> State:
    """The state in a file; `SavedStateError` where there is none."""
    name = os.fspath(path)
    if name.endswith(".keras"):
        with opened(path) as (file, size):
            return keras_files.read_model(file, size)
    if name.endswith(WEIGHTS):
        raise SavedStateError(
            path, "holds weights only", "Build the model, and call model.load_weights(path)."
        )
    refuse_legacy(path)
    return saving.load(path)


def write_weights(path: Path, weights: Weights) -> None:
    """Weights to a `.weights.h5`, whole or not at all."""
    ending(path, (WEIGHTS,))
    atomic.write(path, keras_files.write_weights(weights))


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays in a `.weights.h5` or `.keras` file by Keras's paths."""
    name = os.fspath(path)
    if name.endswith((".keras", WEIGHTS)):
        with opened(path) as (file, size):
            if name.endswith(WEIGHTS):
                return read_hdf5(file, size)
            arrays: dict[str, Array] = keras_files.read_archive(file, size)[2]
            return arrays
    refuse_legacy(path)
    raise ValueError(
        f"{printable(name)}: unknown extension or format: expected a name that ends in "
        f"{WEIGHTS} or .keras."
    )


def refuse_legacy(path: Path) -> None:
    """Refuse Keras's files from before version 3, whose layout depends on who wrote them."""
    if os.fspath(path).endswith(LEGACY):
        raise SavedStateError(path, "is in Keras's old HDF5 format, which is not read", KERAS_AGAIN)


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """A file of Keras's and its size; what is wrong with it becomes a `SavedStateError`."""
    with saving.open_regular(path) as file:
        try:
            with as_foreign():
                yield file, saving.size_of(file)
        except ForeignBytesError as error:
            raise SavedStateError(path, f"not a file of Keras's: {error}", KERAS_AGAIN) from error
