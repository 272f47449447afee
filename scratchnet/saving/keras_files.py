"""Keras's `.keras` and `.weights.h5`, to and from the states that `checkpoint.py` knows.

A `.keras` file is a zip archive of `config.json`, `metadata.json` and `model.weights.h5`. Keras
puts the arrays of a layer at `layers/dense_1/vars/0`, numbered by class, and the optimizer's at
`optimizer/vars/0`: the step count, the learning rate, then a slot for each parameter in turn. What
Keras does not have is refused when it is written. Source: Keras, saving/saving_lib.py.
"""

from __future__ import annotations

import datetime
import io
import json
import re
import warnings
import zipfile
from collections import Counter
from typing import IO, Any, NamedTuple

import numpy as np

from scratchnet.engines import Array
from scratchnet.saving import State
from scratchnet.saving.hdf5 import read_hdf5, write_hdf5
from scratchnet.untrusted import MAX_TEXT, ForeignBytesError, parse_json, printable, zip_members

KERAS_VERSION = "3.15.1"
"""The version of Keras whose files these are; any 3.x reads them."""

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

SLOTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "Adam": (("momentum", "velocity"), ("velocity_hat",)),
    "AdamW": (("momentum", "velocity"), ("velocity_hat",)),
    "SGD": (("momentum",),),
    "RMSprop": (("velocity",), ("momentum",), ("average_gradient",)),
    "Adagrad": (("accumulator",),),
}
"""The order of an optimizer's slots in Keras: those of a group in turn for each parameter."""


STATE = {"BatchNormalization": 2, "Normalization": 3}
"""How many arrays of a layer, the last ones, no optimizer moves."""
SEEDED = ("Dropout", "GaussianDropout", "GaussianNoise")
"""Layers with a generator, whose state Keras keeps as two whole numbers."""


class Weights(NamedTuple):
    """What a weights file holds.

    Attributes:
        layers: (class, name, arrays) of each layer.
        optimizer: None for a model that is not compiled.
    """

    name: str
    layers: list[tuple[str, str, list[Array]]]
    optimizer: OptimizerState | None = None


class OptimizerState(NamedTuple):
    """An optimizer's numbers; a slot is a vector over the parameters of `layers`, end to end.

    Attributes:
        layers: the places of the layers that the optimizer was built for.
    """

    kind: str
    name: str
    iterations: int
    learning_rate: float
    layers: list[int]
    slots: dict[str, Array]


# --- weights --------------------------------------------------------------------------------------


def layer_paths(kinds: list[str]) -> list[str]:
    """Where Keras puts the arrays of layers of these classes.

    >>> layer_paths(["Dense", "BatchNormalization", "Dense"])
    ['layers/dense/vars', 'layers/batch_normalization/vars', 'layers/dense_1/vars']
    """
    count: Counter[str] = Counter()
    paths = []
    for kind in kinds:
        name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
        name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
        paths.append(f"layers/{name}_{count[name]}/vars" if count[name] else f"layers/{name}/vars")
        count[name] += 1
    return paths


def write_weights(weights: Weights) -> bytes:
    """The content of a `.weights.h5`."""
    paths = layer_paths([kind for kind, _, _ in weights.layers])
    names = {"vars": weights.name} | {
        path: name for path, (_, name, _) in zip(paths, weights.layers, strict=True)
    }
    arrays: dict[str, Any] = {
        f"{path}/{j}": array
        for path, (_, _, own) in zip(paths, weights.layers, strict=True)
        for j, array in enumerate(own)
    }
    for path, (kind, name, _) in zip(paths, weights.layers, strict=True):
        if kind in SEEDED:
            seed = f"{path.removesuffix('vars')}seed_generator/vars"
            names[seed], arrays[f"{seed}/0"] = f"{name}_seed", np.zeros(2, np.int64)
    if weights.optimizer is not None:
        names["optimizer/vars"] = weights.optimizer.name
        parameters = [
            array
            for i in weights.optimizer.layers
            for array in moved_by(weights.layers[i][0], weights.layers[i][2])
        ]
        for i, value in enumerate(_optimizer_variables(weights.optimizer, parameters)):
            arrays[f"optimizer/vars/{i}"] = value
    return write_hdf5(arrays, names)


def moved_by(kind: str, arrays: list[Array]) -> list[Array]:
    """The arrays of a layer that an optimizer moves."""
    return arrays[: max(len(arrays) - STATE.get(kind, 0), 0)]


def _optimizer_variables(optimizer: OptimizerState, parameters: list[Array]) -> list[Any]:
    """Everything that Keras's optimizer holds, in its order."""
    if optimizer.kind not in SLOTS:
        raise ValueError(
            f"optimizer {optimizer.name!r} is a {optimizer.kind}: Keras's files have an order of "
            f"slots for {', '.join(SLOTS)}. Save the model under a name that ends in .npz."
        )
    dtype = parameters[0].dtype if parameters else np.dtype("float32")
    if "average" in optimizer.slots or not isinstance(optimizer.learning_rate, int | float):
        raise ValueError(
            f"optimizer {optimizer.name!r} has averages of weights or a schedule, which are not "
            "written for Keras here. Save the model under a name that ends in .npz."
        )
    variables: list[Any] = [np.int64(optimizer.iterations), dtype.type(optimizer.learning_rate)]
    ends = np.cumsum([array.size for array in parameters])
    for group in SLOTS[optimizer.kind]:
        parts = [
            np.split(optimizer.slots[name], ends[:-1]) for name in group if name in optimizer.slots
        ]
        for i, array in enumerate(parameters):
            variables += [part[i].reshape(array.shape) for part in parts]
    return variables


def read_weights(
    arrays: dict[str, Array], kinds: list[str], optimizer: str | None
) -> tuple[list[list[Array]], list[Array]]:
    """The arrays of layers of these classes, and what the optimizer holds, in Keras's order.

    What belongs to neither stays in `arrays`.
    """
    paths = layer_paths(kinds)
    for kind, path in zip(kinds, paths, strict=True):
        if kind in SEEDED:
            arrays.pop(f"{path.removesuffix('vars')}seed_generator/vars/0", None)
    layers = [_numbered(arrays, path) for path in paths]
    for kind, own in zip(kinds, layers, strict=True):
        if kind == "Normalization" and len(own) == STATE[kind]:
            own[2] = own[2].astype(own[0].dtype)  # a count, which Keras keeps as a whole number
    return layers, [] if optimizer is None else _numbered(arrays, "optimizer/vars")


def _numbered(arrays: dict[str, Array], path: str) -> list[Array]:
    """Take `path/0`, `path/1` and so on."""
    found: list[Array] = []
    while f"{path}/{len(found)}" in arrays:
        found.append(arrays.pop(f"{path}/{len(found)}"))
    return found


def slot_vectors(
    kind: str, variables: list[Array], parameters: list[Array]
) -> dict[str, Array] | None:
    """An optimizer's slots from Keras's variables after the first two; None if they don't fit."""
    order = [name for group in SLOTS.get(kind, ()) for name in group]
    count = len(variables) // len(parameters) if parameters else 0
    if len(variables) != count * len(parameters) or count > len(order):
        return None
    slots, at = {}, 0
    for group in SLOTS.get(kind, ()):
        names = [name for name in group if name in order[:count]]
        for k, name in enumerate(names):
            parts = variables[at + k : at + len(names) * len(parameters) : len(names)]
            if any(p.shape != a.shape for p, a in zip(parts, parameters, strict=True)):
                return None
            slots[name] = np.concatenate([part.ravel() for part in parts])
        at += len(names) * len(parameters)
    return slots


# --- whole models: out ----------------------------------------------------------------------------


def write_model(state: State) -> bytes:
    """The content of a `.keras` file; `ValueError` for what Keras does not have."""
    described = state.config["model"]
    kinds = [layer["class_name"] for layer in _layers(described)]
    extras = {key: state.config[key] for key in ("rng", "keys") if key in state.config}
    metadata = {
        "keras_version": KERAS_VERSION,
        "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S"),
        "scratchnet": extras,
    }
    config = to_keras(described)
    weights = write_weights(_weights(state, kinds))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (
            (METADATA, json.dumps(metadata).encode()),
            (CONFIG, json.dumps(config).encode()),
            (WEIGHTS, weights),
        ):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def _layers(described: dict[str, Any]) -> list[dict[str, Any]]:
    """The descriptions of a model's layers, without its input."""
    found: list[dict[str, Any]] = described["config"]["layers"]
    return [layer for layer in found if layer.get("class_name") != "InputLayer"]


def _weights(state: State, kinds: list[str]) -> Weights:
    config, arrays = state.config, state.arrays
    described = config["model"]
    layers = []
    for i, layer in enumerate(_layers(described)):
        own = [arrays[key] for j in range(len(arrays)) if (key := f"layers/{i}/{j}") in arrays]
        layers.append((kinds[i], layer["config"]["name"], own))
    optimizer = described.get("compile_config", {}).get("optimizer")
    if optimizer is None:
        return Weights(described["config"]["name"], layers)
    slots = {name: arrays[f"slots/{i}"] for i, name in enumerate(config["slots"])}
    held = OptimizerState(
        optimizer["class_name"],
        optimizer["config"]["name"],
        config["iterations"],
        optimizer["config"]["learning_rate"],
        config["slot_layers"],
        slots,
    )
    return Weights(described["config"]["name"], layers, held)


def to_keras(described: dict[str, Any]) -> dict[str, Any]:
    """A model's description with everything that Keras wants to see in it."""
    dtype = described["config"]["dtype"]
    policy = {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }
    config = {**described["config"], "dtype": policy, "trainable": True}
    config["layers"] = [_layer(layer, policy) for layer in config["layers"]]
    model = {**described, "config": config}
    model["build_config"] = {"input_shape": config["build_input_shape"]}
    asked = described.get("compile_config")
    if asked is not None:
        model["compile_config"] = {
            "optimizer": _plain(asked["optimizer"]),
            "loss": asked["loss"] and _loss(asked["loss"]),
            "loss_weights": None,
            "metrics": _plain(asked["metrics"]),
            "weighted_metrics": _plain(asked["weighted_metrics"]),
            "run_eagerly": False,
            "steps_per_execution": 1,
            "jit_compile": "auto",
        }
    return model


def _layer(layer: dict[str, Any], policy: dict[str, Any]) -> dict[str, Any]:
    kind, config = layer["class_name"], layer["config"]
    if kind == "InputLayer":
        return layer
    if "/" in config["name"]:
        raise ValueError(
            f"layer {config['name']!r}: Keras allows no slash in a layer's name. Rename it, or "
            "save the model under a name that ends in .npz."
        )
    if layer["module"].startswith("keras."):
        config = {**config, "dtype": policy}
    return _plain({**layer, "config": config})


def _loss(loss: dict[str, Any]) -> dict[str, Any]:
    config = dict(loss["config"])
    reading = config.pop("sigmoid_head", "logits")
    if reading != "logits" and loss["module"] == "keras.losses":
        raise ValueError(
            f"sigmoid_head={reading!r}: Keras reads a sigmoid head's logits, and its files can't "
            "say otherwise. Save the model under a name that ends in .npz."
        )
    return _plain({**loss, "config": config})


def _plain(described: Any) -> Any:
    """A description without NumPy generators, which Keras can't hold."""
    if isinstance(described, list):
        return [_plain(item) for item in described]
    if not isinstance(described, dict):
        return described
    if described.get("class_name") == "function" and described["module"].startswith("keras."):
        return described | {"module": "builtins"}  # Keras finds its own by their names
    if described.get("class_name") == "__generator__":
        warnings.warn(
            "a .keras file holds no NumPy generator: an initializer is saved without its seed.",
            stacklevel=7,
        )
        return None
    return {key: _plain(item) for key, item in described.items()}


# --- whole models: in -----------------------------------------------------------------------------


def read_archive(file: IO[bytes], size: int) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """`config.json`, `metadata.json` and the arrays of a `.keras` file of `size` bytes."""
    with zip_members(file, size) as members:
        strange = members.keys() - {CONFIG, METADATA, WEIGHTS}
        missing = {CONFIG, METADATA, WEIGHTS} - members.keys()
        if strange or missing:
            raise ForeignBytesError(
                f"it has {printable(', '.join(sorted(members)) or 'nothing')}: expected "
                f"{METADATA}, {CONFIG} and {WEIGHTS}, and nothing else"
            )
        config, metadata = (parse_json(members[m].read(MAX_TEXT)) for m in (CONFIG, METADATA))
        for name, found in ((CONFIG, config), (METADATA, metadata)):
            if not isinstance(found, dict):
                raise ForeignBytesError(f"{name} is a {type(found).__name__}: expected a dict")
        content = members[WEIGHTS].read(size)
    return config, metadata, read_hdf5(io.BytesIO(content), len(content))


def read_model(file: IO[bytes], size: int) -> State:
    """The state in a `.keras` file; what it means is for `checkpoint.Blueprint` to say."""
    config, metadata, arrays = read_archive(file, size)
    version = metadata.get("keras_version")
    if not isinstance(version, str) or not version.startswith("3."):
        raise ForeignBytesError(f"it is of Keras {printable(version)!r}: expected one of Keras 3")
    settings = config.get("config")
    layers = settings.get("layers") if isinstance(settings, dict) else None
    if not isinstance(layers, list):
        raise ForeignBytesError(
            f"it holds a model of class {printable(config.get('class_name'))!r} without layers: "
            "expected a Sequential"
        )
    if any(not isinstance(layer, dict) for layer in layers):
        raise ForeignBytesError("a layer is described by something else than an object")
    kinds = [str(layer.get("class_name")) for layer in _layers(config)]
    asked = config.get("compile_config")
    optimizer = asked.get("optimizer") if isinstance(asked, dict) else None
    kind = optimizer.get("class_name") if isinstance(optimizer, dict) else None
    own, variables = read_weights(arrays, kinds, kind)
    moved = {f"layers/{i}/{j}": a for i, part in enumerate(own) for j, a in enumerate(part)}
    found: dict[str, Any] = {"format": 2, "model": config}
    if variables and isinstance(optimizer, dict):
        moving = [moved_by(kind, part) for kind, part in zip(kinds, own, strict=True)]
        filled = [i for i, part in enumerate(moving) if part]
        found |= _resumed(optimizer, variables, moving, _served(config, filled), moved, arrays)
    ours = metadata.get("scratchnet")
    if isinstance(ours, dict):
        found |= {key: ours[key] for key in ("rng", "keys") if key in ours}
    return State(found, moved | arrays)


def _resumed(
    optimizer: dict[str, Any],
    variables: list[Array],
    layers: list[list[Array]],
    places: list[list[int]],
    moved: dict[str, Array],
    arrays: dict[str, Array],
) -> dict[str, Any]:
    """What the optimizer's variables say; those that fit nothing go back into `arrays`."""
    if any(variable.ndim for variable in variables[:2]) or len(variables) < 2:
        arrays |= {f"optimizer/vars/{i}": array for i, array in enumerate(variables)}
        return {}
    settings = optimizer.get("config")
    if isinstance(settings, dict) and isinstance(settings.get("learning_rate"), int | float):
        # The config says 0.01 and the variable 0.009999999776482582: the same number in float32.
        rate = variables[1]
        if rate != rate.dtype.type(settings["learning_rate"]):
            settings["learning_rate"] = float(rate)
    kind = optimizer.get("class_name")
    for served in places if isinstance(kind, str) else []:
        parameters = [array for i in served for array in layers[i]]
        slots = slot_vectors(str(kind), variables[2:], parameters)
        if slots is not None:
            moved |= {f"slots/{i}": slot for i, slot in enumerate(slots.values())}
            named = {"slots": list(slots), "slot_layers": served}
            return {"iterations": int(variables[0]), **named}
    arrays |= {f"optimizer/vars/{i}": a for i, a in enumerate(variables[2:], 2)}
    return {"iterations": int(variables[0])}


def _served(described: dict[str, Any], filled: list[int]) -> list[list[int]]:
    """Whom an optimizer was built for, the likelier first: what learns, or all with parameters."""
    configs = enumerate(layer.get("config") for layer in _layers(described))
    frozen = {i for i, own in configs if isinstance(own, dict) and own.get("trainable") is False}
    return [[i for i in filled if i not in frozen], filled]
