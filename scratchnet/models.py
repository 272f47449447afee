"""A model to a file and back, whole (`checkpoint.py` says what belongs to it).

`keras.models` has the same names. A model that was saved in the middle of training goes on from
there to the same bits. Classes and functions of your own are saved by their names; `load_model`
takes them in `custom_objects`, and never from anywhere else.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

from scratchnet.checkpoint import Blueprint, restore
from scratchnet.checkpoint import state_of as state_of
from scratchnet.saving import SAVE_AGAIN, SavedStateError, State, files
from scratchnet.saving.objects import Reader, check_custom_objects
from scratchnet.sequential import Sequential
from scratchnet.support import reject_unsupported
from scratchnet.unbuilt import refusing
from scratchnet.untrusted import ForeignBytesError, parse_json

__getattr__ = refusing(__name__)

__all__ = ["Sequential", "clone_model", "load_model", "model_from_json", "save_model"]


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


def clone_model(model: Sequential, **others: Any) -> Sequential:
    """A new model of the same layers, each made by its configuration, with weights of its own.

    As in Keras it is compiled alike, with an optimizer of its own, where the model is.

    >>> from scratchnet.layers import Dense, Input
    >>> model = Sequential([Input((3,)), Dense(2)])
    >>> clone = clone_model(model)
    >>> clone.count_params(), bool((clone.theta == model.theta).all())
    (8, False)
    """
    for name, value in others.items():
        reject_unsupported("clone_model", **{name: (value, None)})
    if not isinstance(model, Sequential):
        raise ValueError(f"clone_model: got {model!r:.80}: expected a Sequential.")
    clone = Sequential(name=model.name)
    for layer in model.layers:
        clone.add(type(layer).from_config(layer.get_config()))
    if model.built:
        clone.build(model.input_shape)
    if model.compiled:
        kind: Any = type(model.optimizer)
        optimizer = kind.from_config(model.optimizer.get_config())
        loss, asked = copy.deepcopy((model.loss, model.metrics_asked))
        metrics, weighted = map(list, asked)
        clone.compile(
            optimizer, loss, metrics=metrics, weighted_metrics=weighted, engine=model.engine
        )
    return clone


def model_from_json(
    json_string: str, custom_objects: Mapping[str, Any] | None = None
) -> Sequential:
    """The model that `model.to_json()` described, with weights of its own; not compiled.

    Raises:
        ValueError: for text that describes no model that can be made here, with all that stands in
            the way.

    >>> from scratchnet.layers import Dense, Input
    >>> model_from_json(Sequential([Input((3,)), Dense(2)]).to_json()).count_params()
    8
    """
    reader = Reader(custom_objects)
    try:
        described = parse_json(json_string.encode())
        settings = described["config"]
        found = [item for item in settings["layers"] if item["class_name"] != "InputLayer"]
        layers = [reader(item, "layer") for item in found]
        shape, name = settings["build_input_shape"], settings["name"]
    except (ForeignBytesError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"model_from_json: no model as to_json writes it ({error}).") from error
    if reader.problems:
        raise ValueError(f"model_from_json: {'; '.join(reader.problems)}.")
    model = Sequential(layers, name=name)
    model.build(shape)
    return model
