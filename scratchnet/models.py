"""A model to a file and back, whole: architecture, weights, optimizer, generator.

`keras.models` has the same names. A model that was saved in the middle of training goes on from
there to the same bits. Files name layers, losses and optimizers of this package only; a layer of
your own is refused when saving.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from scratchnet import losses, optimizers, saving
from scratchnet.layers import LAYERS, Input
from scratchnet.saving import SavedStateError, State
from scratchnet.sequential import Sequential
from scratchnet.support import check_choice, reject_unsupported

__all__ = ["Sequential", "load_model", "save_model"]

FORMAT = 1


def save_model(
    model: Sequential,
    filepath: str | os.PathLike[str],
    overwrite: bool = True,
    zipped: None = None,
) -> None:
    """Write `model` to an `.npz` file at `filepath`; without `overwrite` only to a new one.

    >>> import tempfile
    >>> model = Sequential([Input((3,)), LAYERS["Dense"](2)], seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, os.path.join(folder, "model.npz"))
    ...     again = load_model(os.path.join(folder, "model.npz"))
    >>> bool((again.theta == model.theta).all())
    True
    """
    reject_unsupported("save_model", zipped=(zipped, None))
    if not overwrite and os.path.exists(filepath):
        raise FileExistsError(f"{filepath} is there already: take another name, or overwrite=True.")
    saving.save(filepath, state_of(model))


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


def state_of(model: Sequential) -> State:
    """Everything that decides what the model does next, as plain data."""
    model.count_params()  # refuses a model without weights
    for layer in model.layers:
        if LAYERS.get(type(layer).__name__) is not type(layer):
            raise ValueError(
                f"layer {layer.name!r} is a {type(layer).__name__}: only {', '.join(LAYERS)} can "
                "be saved. Save get_weights() instead, and build the model in code."
            )
    config: dict[str, Any] = {
        "format": FORMAT,
        "name": model.name,
        "dtype": model.theta.dtype.name,
        "input_shape": model.input_shape[1:],
        "layers": [[type(layer).__name__, layer.get_config()] for layer in model.layers],
        "rng": model.rng.bit_generator.state,
    }
    arrays = {
        f"{layer.name}/{name}": array
        for layer in model.layers
        for name, array in layer.params.items()
    }
    if model.compiled:
        config["loss"] = [type(model.loss).__name__, model.loss.get_config()]
        config["optimizer"] = [type(model.optimizer).__name__, model.optimizer.get_config()]
        config["iterations"] = model.optimizer.iterations
        config["metrics"] = [[getattr(m, "name", m) for m in ms] for ms in model.metrics_asked]
        arrays |= {f"slots/{name}": slot for name, slot in model.optimizer.slots.items()}
    return State(config, arrays)


def model_of(state: State, compiled: bool = True) -> Sequential:
    """The model that `state_of` described; not compiled unless wanted."""
    config, arrays = state
    if config.get("format") != FORMAT:
        raise ValueError(f"format {config.get('format')!r}: expected {FORMAT}")
    rng = np.random.default_rng()
    stack = [
        LAYERS[check_choice("layer", kind, LAYERS)](**options) for kind, options in config["layers"]
    ]
    model = Sequential(name=str(config["name"]), seed=rng)
    model.theta = model.theta.astype(check_choice("dtype", config["dtype"], saving.DTYPES))
    model.add(Input(config["input_shape"]))
    for layer in stack:
        model.add(layer)
    for layer in model.layers:
        for name, view in layer.params.items():
            _fill(view, arrays, f"{layer.name}/{name}")
    if compiled and "optimizer" in config:
        kind, options = config["optimizer"]
        optimizer = optimizers.OPTIMIZERS[check_choice("optimizer", kind, optimizers.OPTIMIZERS)](
            **options
        )
        kind, options = config["loss"]
        loss = losses.LOSSES[check_choice("loss", kind, losses.LOSSES)](**options)
        plain, weighted = config["metrics"]
        model.compile(optimizer, loss, metrics=plain, weighted_metrics=weighted)
        optimizer.iterations = int(config["iterations"])
        if any(name.startswith("slots/") for name in arrays):
            optimizer.build(model.theta)
            for name, slot in optimizer.slots.items():
                _fill(slot, arrays, f"slots/{name}")
    rng.bit_generator.state = config["rng"]
    return model


def _fill(view: np.ndarray[Any, Any], arrays: dict[str, Any], name: str) -> None:
    array = arrays[name]
    if array.shape != view.shape or array.dtype != view.dtype:
        raise ValueError(
            f"{name} is {array.dtype} {array.shape}, expected {view.dtype} {view.shape}"
        )
    view[...] = array
