"""The files that a model is written to and read from: which kind, by the ending, as in Keras."""

from __future__ import annotations

import os

from scratchnet import saving
from scratchnet.saving import State

Path = str | os.PathLike[str]


def write_model(path: Path, state: State) -> None:
    """A model's state to a new file, or in place of an old one, whole or not at all.

    >>> write_model("model.h5", State({}, {}))
    Traceback (most recent call last):
    ValueError: model.h5: expected a name that ends in .npz.
    """
    check_ending(path)
    saving.save(path, state)


def read_model(path: Path) -> State:
    """The state in a file; `SavedStateError` where there is none."""
    return saving.load(path)


def check_ending(path: Path) -> None:
    """Refuse a name that promises another kind of file."""
    if not os.fspath(path).endswith(".npz"):
        raise ValueError(f"{path}: expected a name that ends in .npz.")
