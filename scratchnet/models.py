"""A model to a file and back, whole (`checkpoint.py` says what belongs to it).

`keras.models` has the same names. A model that was saved in the middle of training goes on from
there to the same bits. Files name layers, losses and optimizers of this package only; a layer of
your own is refused when saving.
"""

from __future__ import annotations

import os

from scratchnet import saving
from scratchnet.checkpoint import restore
from scratchnet.checkpoint import state_of as state_of
from scratchnet.saving import SavedStateError, State
from scratchnet.sequential import Sequential
from scratchnet.support import reject_unsupported

__all__ = ["Sequential", "load_model", "save_model"]


def save_model(
    model: Sequential,
    filepath: str | os.PathLike[str],
    overwrite: bool = True,
    zipped: None = None,
) -> None:
    """Write `model` to an `.npz` file at `filepath`; without `overwrite` only to a new one.

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
    custom_objects: None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Sequential:
    """The model in a file, compiled if it was; `SavedStateError` for a file that holds none.

    >>> load_model("no-such-file.npz")
    Traceback (most recent call last):
    scratchnet.saving.SavedStateError: no-such-file.npz: no such file: expected a saved model.
    """
    reject_unsupported(
        "load_model", custom_objects=(custom_objects, None), safe_mode=(safe_mode, True)
    )
    state = saving.load(filepath)
    try:
        return model_of(state, compile)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise SavedStateError(f"{filepath}: not a model that can be rebuilt: {error}") from error


def model_of(state: State, compiled: bool = True) -> Sequential:
    """The model that `checkpoint.state_of` described; not compiled unless wanted."""
    model = Sequential()
    restore(model, state, compiled)
    return model
