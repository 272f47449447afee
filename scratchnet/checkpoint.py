"""A model's whole state, out and in: architecture, weights, optimizer, generator, as plain data.

`state_of` and `restore` are each other's reverse, to the bit: what is restored trains on as the
original would. It knows no files (`saving.py` does). A model is whatever has the attributes of
`Sequential`, which stands above this room.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet import learning, losses, optimizers, saving
from scratchnet.layers import LAYERS, Input
from scratchnet.saving import State
from scratchnet.support import check_choice

FORMAT = 1


def state_of(model: Any) -> State:
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
        config["slot_layers"], slots = learning.packed(model)
        arrays |= {f"slots/{name}": slot for name, slot in slots.items()}
    return State(config, arrays)


def restore(model: Any, state: State, compiled: bool = True) -> None:
    """Make an empty model the one that `state_of` described; not compiled unless wanted."""
    config, arrays = state
    if config.get("format") != FORMAT:
        raise ValueError(f"format {config.get('format')!r}: expected {FORMAT}")
    rng = np.random.default_rng()
    stack = [
        LAYERS[check_choice("layer", kind, LAYERS)](**options) for kind, options in config["layers"]
    ]
    model.name, model.rng = str(config["name"]), rng
    dtype = check_choice("dtype", config["dtype"], saving.DTYPES)
    vars(model).update(theta=model.theta.astype(dtype))
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
        slots = {n.removeprefix("slots/"): a for n, a in arrays.items() if n.startswith("slots/")}
        if slots:
            learners = [i for i, layer in enumerate(model.layers) if layer.params]
            learning.unpack(model, config.get("slot_layers", learners), slots)
    rng.bit_generator.state = config["rng"]


def _fill(view: np.ndarray[Any, Any], arrays: dict[str, Any], name: str) -> None:
    array = arrays[name]
    if array.shape != view.shape or array.dtype != view.dtype:
        raise ValueError(
            f"{name} is {array.dtype} {array.shape}, expected {view.dtype} {view.shape}"
        )
    view[...] = array
