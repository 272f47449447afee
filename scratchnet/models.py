"""A model to a file and back, whole (`checkpoint.py` says what belongs to it).

`keras.models` has the same names. A model that was saved in the middle of training goes on from
there to the same bits. Classes and functions of your own are saved by their names; `load_model`
takes them in `custom_objects`, and never from anywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from scratchnet.checkpoint import Blueprint, restore
from scratchnet.checkpoint import state_of as state_of
from scratchnet.saving import SAVE_AGAIN, SavedStateError, State, files
from scratchnet.saving.objects import check_custom_objects
from scratchnet.sequential import Sequential
from scratchnet.support import reject_unsupported
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)

__all__ = ["Sequential", "load_model", "save_model"]


def save_model(
    model: Sequential,
    filepath: str | os.PathLike[str],
    overwrite: bool = True,
    zipped: None = None,
) -> None:
    """`model.save(filepath)`.

    >>> import tempfile
    >>> from scratchnet.layers import Dense, Input
    >>> model = Sequential([Input((3,)), Dense(2)], seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, os.path.join(folder, "model.npz"))
    ...     again = load_model(os.path.join(folder, "model.npz"))
    >>> bool((again.theta == model.theta).all())
    True
    """
    model.save(filepath, overwrite, zipped)


def load_model(
    filepath: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Sequential:
    """The model in a file, compiled if it was.

    Args:
        custom_objects: your own classes and functions that the file names, by those names.
        safe_mode: only True; code in a file is never run.

    Raises:
        SavedStateError: for a file that holds no model, or one that can't be made here; it names
            every layer and setting that stands in the way.

    >>> load_model("no-such-file.npz")
    Traceback (most recent call last):
    scratchnet.saving.SavedStateError: no-such-file.npz: no such file. Check the path.
    """
    reject_unsupported("load_model", safe_mode=(safe_mode, True))
    own = check_custom_objects(custom_objects)
    state = files.read_model(filepath)
    # A file may hold any nonsense where a number or a name is due, and an own class raise anything.
    try:
        return model_of(state, compile, own)
    except Exception as error:
        finding = (
            str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        )
        raise SavedStateError(
            filepath, f"not a model that can be rebuilt: {finding}", SAVE_AGAIN
        ) from error


def model_of(
    state: State, compiled: bool = True, custom_objects: Mapping[str, Any] | None = None
) -> Sequential:
    """The model that `checkpoint.state_of` described; not compiled unless wanted."""
    blueprint = Blueprint(state, custom_objects, compiled)
    model = (blueprint.kind or Sequential)()
    if not isinstance(model, Sequential):
        raise ValueError(f"custom_objects: {blueprint.kind!r} is no subclass of Sequential")
    restore(model, blueprint)
    return model
