"""A model's whole state, out and in: architecture, weights, optimizer, generator, as plain data.

`state_of` and `restore` are each other's reverse, to the bit: what is restored trains on as the
original would. They know no files (`saving/` does). A model is whatever has the attributes of
`Sequential`, which stands above this room.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

import scratchnet.learning as learning
import scratchnet.metrics as metrics
from scratchnet.checks import check_shape
from scratchnet.engines import Array
from scratchnet.saving import DTYPES, State
from scratchnet.saving.keras_files import (
    OptimizerState,
    Weights,
    read_weights,
    slot_vectors,
)
from scratchnet.saving.objects import (
    NEUTRAL,
    Describer,
    Reader,
    generator_from,
    generator_state,
)
from scratchnet.untrusted import printable

FORMAT = 2


def state_of(model: Any, built: bool = False) -> State:
    """Everything that decides what the model does next, as plain data.

    With `built`, an optimizer that has not stepped yet has the slots that its first step makes.

    `config["model"]` is what Keras's `config.json` says; the weights of layer i are the arrays
    `layers/i/0` and so on, the optimizer's slots `slots/0` and so on, in the order of
    `config["slots"]`, over the parameters of the layers at `config["slot_layers"]`.

    Raises:
        ValueError: for what could not be made again from plain data.
    """
    model.count_params()  # refuses a model without weights
    describe = Describer()
    config: dict[str, Any] = {
        "format": FORMAT,
        "model": _model(model, describe),
        "rng": generator_state(model.rng),
    }
    keys = [getattr(layer, "key", None) for layer in model.layers]
    if any(key is not None for key in keys):
        config["keys"] = keys
    arrays = {
        f"layers/{i}/{j}": array
        for i, layer in enumerate(model.layers)
        for j, array in enumerate(layer.weights)
    }
    if model.compiled:
        places, slots = slots_of(model) if built else learning.packed(model)
        config |= {"iterations": model.optimizer.iterations, "slots": list(slots)}
        config["slot_layers"] = places
        arrays |= {f"slots/{i}": slot for i, slot in enumerate(slots.values())}
    return State(config, arrays)


def _model(model: Any, describe: Describer) -> dict[str, Any]:
    """The model in Keras's words: its class, layers, and what it is compiled with."""
    kind = type(model)
    ours = kind.__module__ == "scratchnet.sequential"
    if not ours:
        try:
            inspect.signature(kind).bind()
        except TypeError as error:
            raise ValueError(
                f"model {model.name!r} can't be saved: load_model could not make a {kind.__name__} "
                f"without arguments ({error}). Give its arguments defaults, or use save_weights."
            ) from error
        describe.own[kind.__name__] = kind
    shape = [None, *model.input_shape[1:]]
    entrance = {"batch_shape": shape, "dtype": model.theta.dtype.name}
    described: dict[str, Any] = {
        "module": "keras" if ours else kind.__module__,
        "class_name": kind.__name__,
        "registered_name": None if ours else kind.__name__,
        "config": {
            "name": model.name,
            "dtype": model.theta.dtype.name,
            "layers": [
                {
                    "module": "keras.layers",
                    "class_name": "InputLayer",
                    "config": entrance,
                    "registered_name": None,
                },
                *(describe(layer, "layer") for layer in model.layers),
            ],
            "build_input_shape": shape,
        },
    }
    if model.compiled:
        plain, weighted = (
            [_metric(metric, describe) for metric in group] for group in model.metrics_asked
        )
        described["compile_config"] = {
            "optimizer": describe(model.optimizer, "optimizer"),
            "loss": model.loss and describe(model.loss, "loss"),
            "metrics": plain,
            "weighted_metrics": weighted,
        }
    return described


def _metric(identifier: Any, describe: Describer) -> Any:
    """A metric as it was asked for: by name, class, function or object."""
    if isinstance(identifier, type):
        identifier = metrics.get(identifier)
    return describe(identifier, "metric")


class Blueprint:
    """What a state describes, read and checked; nothing of any size has been made.

    Attributes:
        layers: not built yet.
        weights: the arrays of each layer.
        compiled: the arguments of `compile`, or None.
    """

    def __init__(self, state: State, custom_objects: Mapping[str, Any] | None, compiled: bool):
        config, self.arrays = current(state)
        self.reader = Reader(custom_objects)
        described = config["model"]
        settings = described["config"]
        self.name = settings.get("name")
        if not isinstance(self.name, str):
            raise ValueError(f"the model's name is {self.name!r}: expected text")
        self.kind = self._class(described)
        self.shape = self._layers(settings)
        asked = described.get("compile_config")
        self.compiled = self._compile(asked) if compiled and asked else None
        if self.reader.problems:
            raise ValueError("; ".join(dict.fromkeys(self.reader.problems)))
        self.dtype = self._dtype(settings)
        self.weights = self._weights()
        self.rng = generator_from(config["rng"]) if "rng" in config else None
        self._keys(config.get("keys", []))
        self.slots, self.iterations = self._slots(config)
        self.slot_layers = self._slot_layers(config)
        if self.arrays:
            raise ValueError(f"{next(iter(self.arrays))!r} belongs to no layer and no slot")

    def _class(self, described: dict[str, Any]) -> type | None:
        """The own class that the model was of, or None for Sequential."""
        name = described.get("class_name")
        if described.get("module") in ("keras", "keras.models") and name == "Sequential":
            return None
        for known in (described.get("registered_name"), name):
            kind = self.reader.own.get(known) if isinstance(known, str) else None
            if isinstance(kind, type):
                return kind
        self.reader.problems.append(
            f"model {name} is no Sequential: if the class is yours, "
            f"load_model(path, custom_objects={{{name!r}: {name}}})"
        )
        return None

    def _layers(self, settings: dict[str, Any]) -> tuple[int, ...]:
        """Read the layers; the shape of a sample."""
        for key, value in settings.items():
            plain = key in ("name", "dtype", "layers", "build_input_shape")
            if not plain and value not in NEUTRAL.get(key, ()):
                self.reader.problems.append(printable(f"Sequential: {key}={value!r}"))
        found = settings["layers"]
        shape = settings.get("build_input_shape")
        if found and found[0].get("class_name") == "InputLayer":
            given = found[0]["config"]
            shape = given.get("batch_shape") or given.get("batch_input_shape")
            for option in ("sparse", "ragged", "optional"):
                if given.get(option):
                    self.reader.problems.append(f"InputLayer: {option}=True is not built here")
            found = found[1:]
        self.layers = [self.reader(item, "layer") for item in found]
        if not isinstance(shape, list):
            raise ValueError("no input shape: expected an InputLayer, or build_input_shape")
        return check_shape(tuple(shape)[1:])

    def _dtype(self, settings: dict[str, Any]) -> np.dtype[Any]:
        given = settings.get("dtype")
        if isinstance(given, dict):
            given = given["config"]["name"]
        dtypes = self.reader.dtypes or {given or "float32"}
        if len(dtypes) > 1 or not dtypes <= set(DTYPES):
            raise ValueError(
                f"layers of {' and '.join(sorted(map(str, dtypes)))}: a model here computes in "
                f"one of {' and '.join(DTYPES)}"
            )
        return np.dtype(dtypes.pop())

    def _weights(self) -> list[dict[str, Array]]:
        """Each layer's arrays by name, if they are all there, in their shapes and dtype."""
        names = {layer.name for layer in self.layers}
        if len(names) < len(self.layers) or "" in names:
            raise ValueError("layers without a name, or two of one name")
        shape, weights = self.shape, []
        for i, layer in enumerate(self.layers):
            own = {}
            for j, (name, (size, _)) in enumerate(layer.parameters(shape).items()):
                what = f"weight {name!r} of layer {layer.name!r}"
                own[name] = self._array(f"layers/{i}/{j}", tuple(size), what)
            weights.append(own)
            shape = layer.compute_output_shape(shape)
        return weights

    def _keys(self, keys: Any) -> None:
        """What layers that draw begin their generators from."""
        if not isinstance(keys, list) or len(keys) not in (0, len(self.layers)):
            raise ValueError(f"keys={printable(str(keys))}: expected one for each layer")
        for layer, key in zip(self.layers, keys, strict=False):
            if key is not None:
                if type(key) is not int or not hasattr(layer, "key"):
                    raise ValueError(f"layer {layer.name!r} can't draw from key {key!r:.40}")
                layer.key = key

    def _array(self, name: str, shape: tuple[int, ...], what: str) -> Array:
        array = self.arrays.pop(name, None)
        if array is None:
            raise ValueError(f"{what} is not there: expected {self.dtype} {shape}")
        if array.shape != shape or array.dtype != self.dtype:
            raise ValueError(
                f"{what} is {array.dtype} {array.shape}: expected {self.dtype} {shape}"
            )
        return array

    def _compile(self, given: Any) -> dict[str, Any]:
        settings = dict(given)
        optimizer, loss = settings.pop("optimizer", None), settings.pop("loss", None)
        read: dict[str, Any] = {
            "optimizer": self._named(optimizer, "optimizer"),
            "loss": None if loss is None else self._named(loss, "loss"),
        }
        for group in ("metrics", "weighted_metrics"):
            found = settings.pop(group, None) or []
            if len(found) == 1 and isinstance(found[0], list):  # one output's, as Keras allows
                found = found[0]
            if not isinstance(found, list):
                self.reader.problems.append(f"{group} by output: expected a list")
                found = []
            read[group] = [self._named(item, "metric") for item in found]
        if settings.pop("loss_weights", None) is not None:
            self.reader.problems.append("compile: loss_weights is not built here")
        return read

    def _named(self, given: Any, what: str) -> Any:
        """An object, or the name that `compile` will look up."""
        if not isinstance(given, str):
            return self.reader(given, what)
        if given in self.reader.own:
            return self.reader.own[given]
        return given

    def _slots(self, config: dict[str, Any]) -> tuple[dict[str, Array], int]:
        names, iterations = config.get("slots", []), config.get("iterations", 0)
        if type(iterations) is not int or not 0 <= iterations < 2**63:
            raise ValueError(f"iterations={iterations!r}: expected a whole number >= 0")
        missing = [name for i, name in enumerate(names) if f"slots/{i}" not in self.arrays]
        if missing or len(set(names)) < len(names):
            raise ValueError(f"the optimizer's slots {', '.join(names)}: not all are there")
        return {name: self.arrays.pop(f"slots/{i}") for i, name in enumerate(names)}, iterations

    def _slot_layers(self, config: dict[str, Any]) -> list[int]:
        """The places of the layers that the slots go with, all that have parameters if not said."""
        filled = [i for i, own in enumerate(self.weights) if own]
        given = config.get("slot_layers", filled)
        known = isinstance(given, list) and all(type(i) is int and i in filled for i in given)
        if not known or len({*given}) < len(given):
            raise ValueError(f"slot_layers={given!r:.60}: expected some of the places {filled}")
        return [*given]


def restore(model: Any, plan: Blueprint) -> None:
    """Make an empty model the one that a plan describes."""
    model.name = plan.name
    empty = np.zeros(0, plan.dtype)
    vars(model).update(_stack=plan.layers, _input_shape=plan.shape, theta=empty, grad=empty)
    shape = plan.shape
    for layer, own in zip(plan.layers, plan.weights, strict=True):
        # With values of its own a layer is not drawn anew.
        vars(layer).update(params=own, input_shape=shape)
        shape = layer.compute_output_shape(shape)
    model._lay_out(plan.shape, plan.layers)
    if plan.compiled:
        model.compile(**plan.compiled)
        optimizer = model.optimizer
        optimizer.iterations = plan.iterations
        if plan.slots:
            learning.unpack(model, plan.slot_layers, plan.slots)
    if plan.rng is not None:
        model.rng = plan.rng


def weights_of(model: Any) -> Weights:
    """The weights and, of a compiled model, what the optimizer holds."""
    model.count_params()
    layers = [(type(layer).__name__, layer.name, layer.weights) for layer in model.layers]
    if not model.compiled:
        return Weights(model.name, layers)
    optimizer = model.optimizer
    held = OptimizerState(
        type(optimizer).__name__,
        optimizer.name,
        optimizer.iterations,
        optimizer.learning_rate if optimizer.schedule is None else optimizer.schedule,
        *slots_of(model),
    )
    return Weights(model.name, layers, held)


def slots_of(model: Any) -> tuple[list[int], dict[str, Array]]:
    """The optimizer's slots as `learning.packed` gives them, or those that its first step makes."""
    if model.optimizer.slots:
        return learning.packed(model)
    fresh = copy.copy(model.optimizer)
    vars(fresh).update(slots={}, owners=None)
    learners = learning.learners(model)
    fresh.build(np.zeros(sum(map(learning.moved, learners)), model.theta.dtype))
    return [i for i, layer in enumerate(model.layers) if layer in learners], dict(fresh.slots)


def load_weights(model: Any, arrays: dict[str, Array], skip_mismatch: bool = False) -> None:
    """Take the arrays of a file of Keras's: all of them or none, as `set_weights` does.

    With `skip_mismatch` layers that the arrays don't fit keep their weights, and are named in a
    warning. An optimizer that has stepped takes its own state, as in Keras; where that does not
    fit, a warning says so.

    Raises:
        ValueError: for arrays that are missing, of another shape, or of no layer.
    """
    model.count_params()
    kinds = [type(layer).__name__ for layer in model.layers]
    found, variables = read_weights(arrays, kinds, "optimizer")
    wrong = [
        f"{layer.name} has variables {[w.shape for w in layer.weights]}, which must match "
        f"the file's {[a.shape for a in own]}"
        for layer, own in zip(model.layers, found, strict=True)
        if [w.shape for w in layer.weights] != [a.shape for a in own]
    ]
    wrong += [f"{path} in the file belongs to no layer" for path in arrays]
    if wrong and not skip_mismatch:
        raise ValueError("; ".join(wrong))
    if wrong:
        warnings.warn(f"load_weights: skipped: {printable('; '.join(wrong))}", stacklevel=3)
    for layer, own in zip(model.layers, found, strict=True):
        if [w.shape for w in layer.weights] == [a.shape for a in own]:
            for view, array in zip(layer.weights, own, strict=True):
                view[...] = array
    if model.compiled and variables:
        _load_optimizer(model, variables)


def _load_optimizer(model: Any, variables: list[Array]) -> None:
    optimizer = model.optimizer
    places, _ = learning.packed(model)
    served = [
        array
        for i in places
        for name, array in model.layers[i].params.items()
        if name not in model.layers[i].state
    ]
    slots = slot_vectors(type(optimizer).__name__, variables[2:], served)
    scalars = len(variables) >= 2 and not any(v.ndim for v in variables[:2])
    if slots is None or not scalars or slots.keys() != optimizer.slots.keys():
        warnings.warn(
            f"load_weights: the file's state of an optimizer, {len(variables)} arrays, does not "
            f"fit {optimizer.name!r} as it is now and is left out. An optimizer has a state once "
            "it has taken a step; load_model brings it back whole.",
            stacklevel=4,
        )
        return
    optimizer.iterations = int(variables[0])
    optimizer.learning_rate = float(variables[1])
    learning.refill(model, places, slots)


def current(state: State) -> State:
    """A state in the form of today; those of version 0.1.0, format 1, are rewritten."""
    config, arrays = state.config, dict(state.arrays)
    if config.get("format") == FORMAT:
        return State(config, arrays)
    if config.get("format") != 1:
        raise ValueError(f"format {config.get('format')!r}: expected 1 or {FORMAT}")
    layers = [
        {"module": "keras.layers", "class_name": kind, "config": options}
        for kind, options in config["layers"]
    ]
    moved = {
        f"layers/{i}/{j}": arrays[f"{layer['config']['name']}/{part}"]
        for i, layer in enumerate(layers)
        if layer["class_name"] == "Dense"
        for j, part in enumerate(("kernel", "bias")[: 1 + layer["config"]["use_bias"]])
    }
    slots = [name for name in arrays if name.startswith("slots/")]
    moved |= {f"slots/{i}": arrays[name] for i, name in enumerate(slots)}
    shape = [None, *config["input_shape"]]
    settings = {
        "name": config["name"],
        "dtype": config["dtype"],
        "layers": layers,
        "build_input_shape": shape,
    }
    described = {"module": "keras", "class_name": "Sequential", "config": settings}
    new = {"format": FORMAT, "model": described, "rng": config["rng"]}
    if "optimizer" in config:
        optimizer, loss = (
            {"module": f"keras.{room}", "class_name": kind, "config": options}
            for room, (kind, options) in (
                ("optimizers", config["optimizer"]),
                ("losses", config["loss"]),
            )
        )
        plain, weighted = config["metrics"]
        described["compile_config"] = {
            "optimizer": optimizer,
            "loss": loss,
            "metrics": plain,
            "weighted_metrics": weighted,
        }
        new |= {"iterations": config["iterations"]}
        new |= {"slots": [name.removeprefix("slots/") for name in slots]}
    return State(new, moved)
