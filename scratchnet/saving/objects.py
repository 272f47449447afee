"""Layers, initializers, losses, metrics and optimizers as JSON, in Keras's words, and back.

A description says module, class_name, config and registered_name, as Keras's files do. Reading
looks names up in fixed tables and in the `custom_objects` that the caller hands over, and nowhere
else: nothing is imported by a name, and no code is kept. Whatever could not come back as it is, is
refused when it is described.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import scratchnet.initializers as initializers
import scratchnet.layers as layers
import scratchnet.losses as losses
import scratchnet.metrics as metrics
import scratchnet.optimizers as optimizers
import scratchnet.regularizers as regularizers
from scratchnet.untrusted import printable

Description = dict[str, Any]
Classes = dict[str, type]


def _classes(table: Mapping[str, type]) -> Classes:
    return {kind.__name__: kind for kind in table.values()}


CLASSES: dict[str, Classes] = {
    "keras.layers": _classes(layers.LAYERS),
    "keras.initializers": _classes(initializers.INITIALIZERS),
    "keras.optimizers": _classes(optimizers.NAMES),
    "keras.optimizers.schedules": {k.__name__: k for k in optimizers.schedules.CLASSES},
    "keras.regularizers": {kind.__name__: kind for kind in regularizers.CLASSES},
    "keras.losses": _classes(losses.CLASSES),
    "keras.metrics": _classes(metrics.CLASSES),
}
"""The classes that a file may name, by Keras's module."""

FUNCTIONS: dict[str, dict[str, Callable[..., Any]]] = {
    "keras.metrics": dict(metrics.FUNCTIONS),
    "keras.losses": {function.__name__: function for function in losses.FUNCTIONS},
}
"""The functions that a file may name."""

BASES: dict[str, type] = {
    "layer": layers.Layer,
    "initializer": initializers.Initializer,
    "optimizer": optimizers.Optimizer,
    "loss": losses.Loss,
}
"""What a thing has to be, by what it is for. A metric is whatever `compile` takes for one."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "kernel_regularizer": (None,),
    "bias_regularizer": (None,),
    "activity_regularizer": (None,),
    "kernel_constraint": (None,),
    "bias_constraint": (None,),
    "lora_rank": (None,),
    "lora_alpha": (None,),
    "quantization_config": (None,),
    "trainable": (True,),
    "data_format": ("channels_last", None),
    "input_axes": (None,),
    "output_axes": (None,),
    "ignore_class": (None,),
    "axis": (-1,),
    "batch_input_shape": (None,),
}
"""Keras's settings that need not be here at these values, which change nothing."""

FLOATS = ("float32", "float64")


# --- out ------------------------------------------------------------------------------------------


class Describer:
    """Describes things, and knows what own classes and functions their descriptions name.

    >>> Describer()(layers.Flatten(name="flat"), "layer")["config"]
    {'name': 'flat', 'trainable': True}
    """

    def __init__(self) -> None:
        self.own: dict[str, Any] = {}

    def __call__(self, thing: Any, what: str) -> Any:
        """The description of a thing, from which `Reader` makes it again.

        Raises:
            ValueError: for what would come back as something else, or not at all.
        """
        name = getattr(thing, "name", None) or getattr(thing, "__name__", None)
        where = f"{what} {name!r}" if isinstance(name, str) else what
        description = json.loads(json.dumps(self._value(thing, where)))
        reader = Reader(self.own)
        again = reader(description, what)
        if reader.problems:
            raise ValueError(f"{where} can't be saved: {'; '.join(reader.problems)}.")
        if hasattr(again, "get_config"):
            self._check_same(thing, again, where)
        return description

    def _check_same(self, thing: Any, again: Any, where: str) -> None:
        ours, theirs = (self._config(one, where) for one in (thing, again))
        changed = [key for key in ours if theirs.get(key, ours) != ours[key]]
        if ours.keys() != theirs.keys() or changed:
            raise ValueError(
                f"{where} can't be saved: made again from its get_config() it has other settings "
                f"({', '.join(changed) or 'more or fewer of them'}). Let get_config() return the "
                f"arguments of {type(thing).__name__}(...)."
            )

    def _value(self, value: Any, where: str) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | float | str):
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{where} can't be saved: it holds {value}, which JSON has not.")
            return value
        if isinstance(value, list | tuple):
            return [self._value(item, where) for item in value]
        if isinstance(value, dict):
            return self._dict(value, where)
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            config = {"value": value.tolist(), "dtype": value.dtype.name}
            return {"class_name": "__numpy__", "config": config}
        if isinstance(value, np.random.Generator):
            return {"class_name": "__generator__", "config": generator_state(value)}
        if hasattr(value, "get_config") and not isinstance(value, type):
            return self._object(value, where)
        if callable(value) and not isinstance(value, type):
            return self._function(value, where)
        raise ValueError(
            f"{where} can't be saved: it holds {value!r}, and JSON has numbers, text, lists and "
            "dicts."
        )

    def _dict(self, value: dict[Any, Any], where: str) -> dict[str, Any]:
        for key in value:
            if not isinstance(key, str):  # JSON would make text of it without a word
                raise ValueError(f"{where} can't be saved: its key {key!r} is no text.")
        return {key: self._value(item, where) for key, item in value.items()}

    def _object(self, value: Any, where: str) -> Description:
        kind = type(value)
        rooms = (room for room, table in CLASSES.items() if table.get(kind.__name__) is kind)
        room = next(rooms, None)
        config = self._config(value, where)
        if room is None:
            self._remember(kind.__name__, kind, where)
            _check_complete(value, config, where)
        return {
            "module": room or kind.__module__,
            "class_name": kind.__name__,
            "config": config,
            "registered_name": None if room else kind.__name__,
        }

    def _config(self, value: Any, where: str) -> dict[str, Any]:
        config = value.get_config()
        if not isinstance(config, dict):
            raise ValueError(f"{where} can't be saved: its get_config() is no dict: {config!r}.")
        # Within a config an object is described already, and only the object says if it is ours.
        parts = {key: getattr(value, key, None) for key, item in config.items() if is_object(item)}
        return self._dict(
            config | {key: part for key, part in parts.items() if hasattr(part, "get_config")},
            where,
        )

    def _function(self, value: Any, where: str) -> Description:
        name = getattr(value, "__name__", None)
        if not isinstance(name, str) or name == "<lambda>":
            raise ValueError(
                f"{where} can't be saved: {value!r} has no name to come back by. Write a function "
                "with def."
            )
        rooms = (room for room, table in FUNCTIONS.items() if table.get(name) is value)
        room = next(rooms, None)
        if room is None:
            self._remember(name, value, where)
        module = room or getattr(value, "__module__", None) or "builtins"
        described = {"module": module, "class_name": "function", "config": name}
        return described | {"registered_name": "function" if room else name}

    def _remember(self, name: str, value: Any, where: str) -> None:
        if self.own.setdefault(name, value) is not value:
            raise ValueError(
                f"{where} can't be saved: two different things are called {name!r}, and a file "
                "tells them apart by their names. Rename one."
            )


def is_object(value: Any) -> bool:
    """Whether a value in a config describes an object.

    >>> is_object({"class_name": "Zeros", "config": {}}), is_object({"a": 1})
    (True, False)
    """
    return isinstance(value, dict) and "class_name" in value and "config" in value


def _check_complete(value: Any, config: dict[str, Any], where: str) -> None:
    """Refuse an own class whose get_config() leaves out an argument: it would get its default."""
    kind = type(value)
    owner = next(base for base in kind.__mro__ if "__init__" in vars(base))
    if owner.__module__.split(".")[0] == "scratchnet" or "from_config" in vars(kind):
        return
    for name, parameter in inspect.signature(kind).parameters.items():
        given = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        default = parameter.default
        if not given or name in config or name in ("name", "dtype"):
            continue
        held = getattr(value, name, getattr(value, f"_{name}", inspect.Parameter.empty))
        if default is parameter.empty or (held is not default and not _equal(held, default)):
            raise ValueError(
                f"{where} can't be saved: get_config() of {kind.__name__} leaves out the argument "
                f"{name!r}. Write one that returns super().get_config() | {{{name!r}: ...}}."
            )


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and isinstance(one, bool | int | float | str) and one == other


# --- in -------------------------------------------------------------------------------------------


class Reader:
    """Makes things from descriptions, and collects in `problems` what can't be made, all of it.

    Attributes:
        dtypes: those that layers were described with.

    >>> reader = Reader({})
    >>> reader({"module": "keras.layers", "class_name": "Conv2D", "config": {}}, "layer")
    >>> reader.problems
    ['layer Conv2D (keras.layers) is not built here']
    """

    def __init__(self, custom_objects: Mapping[str, Any] | None):
        self.own = check_custom_objects(custom_objects)
        self.problems: list[str] = []
        self.dtypes: set[str] = set()

    def __call__(self, description: Any, what: str) -> Any:
        """The thing described, or None and a problem."""
        before = len(self.problems)
        thing = self._value(description, what)
        if len(self.problems) > before:
            return None
        base = BASES.get(what)
        function = what == "loss" and callable(thing)
        if base is not None and not isinstance(thing, base) and not function:
            self._problem(f"{what} {printable(thing, 80)!r} is none")
            return None
        return thing

    def _problem(self, text: str) -> None:
        self.problems.append(printable(text))

    def _value(self, value: Any, what: str) -> Any:
        if isinstance(value, list):
            return [self._value(item, what) for item in value]
        if not isinstance(value, dict):
            return value
        if not is_object(value):
            return {key: self._value(item, what) for key, item in value.items()}
        kind, config = value["class_name"], value["config"]
        if not isinstance(kind, str):
            return self._problem(f"{what}: class_name is {kind!r}: expected a name")
        if kind in ("__numpy__", "__tensor__"):
            return self._array(config, what)
        if kind == "__generator__":
            return self._generator(config, what)
        if kind == "function":
            return self._function(value, what)
        if kind.startswith("__"):
            return self._problem(f"{what}: {kind} is never loaded: it may hold code")
        if not isinstance(config, dict):
            return self._problem(f"{what} {kind}: its config is no dict")
        return self._object(value, kind, config, what)

    def _array(self, config: Any, what: str) -> Any:
        try:
            if config["dtype"] not in (*FLOATS, "int32", "int64", "uint8", "bool"):
                raise ValueError(f"dtype {config['dtype']!r}")
            return np.array(config["value"], dtype=config["dtype"])
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            return self._problem(f"{what}: an array that can't be read ({error})")

    def _generator(self, config: Any, what: str) -> Any:
        try:
            return generator_from(config)
        except ValueError as error:
            return self._problem(f"{what}: {error}")

    def _function(self, value: Description, what: str) -> Any:
        name, module = value["config"], value.get("module")
        if not isinstance(name, str):
            return self._problem(f"{what}: a function named {name!r}")
        if name in self.own:
            return self.own[name]
        for room, table in FUNCTIONS.items():
            if name in table and module in (room, "builtins", "keras", None):
                return table[name]
        if isinstance(module, str) and module.split(".")[0] == "keras":
            return self._problem(f"{what} function {name} ({module}) is not built here")
        return self._unknown(f"{what} function", name)

    def _unknown(self, what: str, name: str) -> None:
        self._problem(
            f"{what} {name} is not one of ours: if it is yours, "
            f"load_model(path, custom_objects={{{name!r}: {name}}})"
        )

    def _object(self, value: Description, kind: str, config: dict[str, Any], what: str) -> Any:
        module, registered = value.get("module"), value.get("registered_name")
        made = CLASSES.get(module, {}).get(kind) if isinstance(module, str) else None
        known = made is not None
        if made is None:
            names = [name for name in (registered, kind) if isinstance(name, str)]
            names += [name.rpartition(">")[2] for name in names]
            made = next((self.own[name] for name in names if name in self.own), None)
        if made is None:
            if isinstance(module, str) and module.split(".")[0] in ("keras", "scratchnet"):
                return self._problem(f"{what} {kind} ({module}) is not built here")
            return self._unknown(f"{what} {printable(config.get('name', ''))}".strip(), kind)
        before = len(self.problems)
        where = f"{what} {config.get('name')!r}" if config.get("name") else what
        options = {
            key: self._value(item, f"{where}: {key}")
            for key, item in self._settings(made, config, what, where).items()
        }
        if len(self.problems) > before:
            return None
        return self._make(made, options, f"{where} ({kind})", known)

    def _settings(self, made: Any, config: dict[str, Any], what: str, where: str) -> dict[str, Any]:
        """The settings that a constructor is to see; a layer's dtype is the model's own affair."""
        settings = {}
        for key, item in config.items():
            if key == "dtype":
                name = self._dtype(item, where)
                if what == "layer" and name is not None:
                    self.dtypes.add(name)
                elif what != "layer" and takes(made, "dtype"):
                    settings[key] = name
            elif key not in NEUTRAL or item not in NEUTRAL[key]:
                settings[key] = item
        return settings

    def _dtype(self, dtype: Any, where: str) -> str | None:
        name = dtype
        if isinstance(dtype, dict):  # a DTypePolicy
            inner = dtype.get("config")
            name = inner.get("name") if isinstance(inner, dict) else ""
        if name is not None and name not in FLOATS:
            self._problem(f"{where}: dtype {printable(name)}: only {' or '.join(FLOATS)}")
            return None
        return name

    def _make(self, kind: Any, options: dict[str, Any], where: str, known: bool) -> Any:
        """`kind(**options)`; every setting that it refuses becomes a problem."""
        maker = kind.from_config if hasattr(kind, "from_config") else lambda config: kind(**config)
        try:
            return maker(dict(options))
        except Exception as error:  # an own class may raise anything
            whole = error
        found = []
        if known:
            needed = {key for key in options if _needed(kind, key)}
            for key in options.keys() - needed:
                try:
                    maker({name: options[name] for name in (*needed, key)})
                except Exception as error:
                    found.append(str(error))
        for text in sorted(set(found)) or [str(whole)]:
            self._problem(f"{where}: {text.rstrip('.')}")
        return None


def takes(kind: Any, name: str) -> bool:
    """Whether a class can be called with this argument.

    >>> takes(dict, "a"), takes(layers.Input, "b")
    (True, False)
    """
    if "from_config" in vars(kind):
        return True
    try:
        parameters = inspect.signature(kind).parameters.values()
    except ValueError:  # of a class in C nothing is known
        return True
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def _needed(kind: Any, key: str) -> bool:
    parameter = inspect.signature(kind).parameters.get(key)
    return parameter is not None and parameter.default is inspect.Parameter.empty


def check_custom_objects(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """A dict of names and the classes or functions that they stand for, as Keras takes it."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(
            f"custom_objects={given!r}: expected a dict, {{'Name': class_or_function}}."
        )
    for name, value in given.items():
        if not isinstance(name, str) or not callable(value):
            raise TypeError(
                f"custom_objects holds {name!r}: {value!r}: expected names, and classes or "
                "functions."
            )
    return dict(given)


# --- generators -----------------------------------------------------------------------------------

BIT_GENERATORS: dict[str, Callable[..., np.random.BitGenerator]] = {
    kind.__name__: kind
    for kind in (
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.MT19937,
        np.random.Philox,
        np.random.SFC64,
    )
}
LARGEST = {"has_uint32": 1, "uinteger": 2**32 - 1, "pos": 624, "buffer_pos": 4}
"""NumPy takes any number for these, and reads outside of its arrays with others."""


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """The state of a Generator, as JSON takes it.

    >>> generator_state(np.random.default_rng(0))["bit_generator"]
    'PCG64'
    """
    bits = generator.bit_generator
    name = type(bits).__name__
    if BIT_GENERATORS.get(name) is not type(bits):
        raise ValueError(
            f"a Generator over {name} can't be saved: expected one of "
            f"{', '.join(BIT_GENERATORS)}. Make the model with seed=numpy.random.default_rng(n)."
        )

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    state: dict[str, Any] = plain(bits.state)
    return state


def generator_from(state: Any) -> np.random.Generator:
    """A Generator in the state that `generator_state` gave; `ValueError` for any other.

    >>> rng = np.random.default_rng(0)
    >>> generator_from(generator_state(rng)).random() == rng.random()
    True
    """
    name = state.get("bit_generator") if isinstance(state, dict) else None
    if not isinstance(name, str) or name not in BIT_GENERATORS:
        raise ValueError(f"bit generator {name!r}: expected one of {', '.join(BIT_GENERATORS)}")
    bits = BIT_GENERATORS[name](0)
    _check_like(state, bits.state, name)
    bits.state = _arrays_as(state, bits.state)
    return np.random.Generator(bits)


def _arrays_as(given: Any, like: Any) -> Any:
    """Lists as arrays where `like` has arrays."""
    if isinstance(like, dict):
        return {key: _arrays_as(given[key], item) for key, item in like.items()}
    return np.array(given, like.dtype) if isinstance(like, np.ndarray) else given


def _check_like(given: Any, like: Any, where: str) -> None:
    """Refuse a state that is not built as `like` is, or holds a number that can't be there."""
    if isinstance(like, dict):
        if not isinstance(given, dict) or given.keys() != like.keys():
            raise ValueError(f"the state of {where} has other parts than {', '.join(like)}")
        for key, item in like.items():
            _check_like(given[key], item, key)
    elif isinstance(like, np.ndarray):
        if not isinstance(given, list) or len(given) != like.size:
            raise ValueError(f"the generator's {where}: expected {like.size} numbers")
        for item in given:
            _check_number(item, where, int(np.iinfo(like.dtype).max))
    elif isinstance(like, str):
        if given != like:
            raise ValueError(f"the generator's {where} is {given!r}: expected {like!r}")
    else:
        _check_number(given, where, LARGEST.get(where, 2**128 - 1))


def _check_number(given: Any, where: str, most: int) -> None:
    if type(given) is not int or not 0 <= given <= most:
        raise ValueError(f"the generator's {where} holds {given!r}: expected 0 to {most}")
