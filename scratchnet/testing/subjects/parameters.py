"""Where somebody's parameters and their gradients live: found by name and by what forward changes.

A parameter is a float array that forward leaves alone, with a gradient beside it: an attribute such
as dW, an entry of a dict or list such as grads, the grad of an object with data and grad, or what
backward returns, or the weights themselves where backward updates them. `arguments.py` of the
caller can say each of these. What influences the output and has no gradient is reported, not
passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from scratchnet.engines import Array
from scratchnet.testing.subjects.names import BOXES, STORES, partner, plain
from scratchnet.testing.subjects.state import Held, Place, Snapshot, walk

Gradient = Callable[[Any], Any]
"""From what backward returned to the gradient; most look elsewhere."""


@dataclass
class Parameter:
    """One array that is learned.

    Attributes:
        value: the array, or the number, as it is held.
        places: every container and key that holds it.
        gradient: gives its gradient after a backward pass.
    """

    name: str
    value: Any
    places: list[Place]
    gradient: Gradient | None = None
    last: Any = None
    """What was put last."""

    def put(self, value: Array) -> None:
        """Use this value from now on: in place where that can hold it, else in every place."""
        own, self.last = self.value, value
        fits = isinstance(own, np.ndarray) and own.dtype == value.dtype and own.flags.writeable
        if fits or not self.places:
            np.copyto(own, value, casting="unsafe")
            return
        new = value.copy() if isinstance(own, np.ndarray) else value[()]
        for container, key in self.places:
            container[key] = new

    def now(self) -> Array:
        """What stands there now."""
        if not self.places:
            return np.asarray(self.value)
        container, key = self.places[0]
        return np.asarray(container[key])


def is_float(value: Any) -> bool:
    """A float array of at least one number."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size > 0


def constants(state: Snapshot, forward: Callable[[], Any]) -> list[Held]:
    """The float arrays, and the numbers beside a `grad`, that forward leaves alone."""
    state.restore()
    before = {id(h.value): np.array(h.value) for h in walk(*state.roots) if is_float(h.value)}
    forward()
    found: list[Held] = []
    for held in walk(*state.roots):
        if is_float(held.value):
            old = before.get(id(held.value))
            same = old is not None and np.array_equal(old, held.value, equal_nan=True)
            if same and all(held.value is not other.value for other in found):
                found.append(held)
        elif boxed(held):
            found.append(held)
    state.restore()
    return [h for h in found if is_float(h.value) or _still(h)]


def boxed(held: Held) -> bool:
    """Whether this is the number of an object that holds a number and its gradient."""
    if (
        held.place is None
        or isinstance(held.value, bool)
        or not isinstance(held.value, int | float)
    ):
        return False
    container, key = held.place
    return isinstance(container, dict) and key in BOXES and BOXES[key] in container


def _still(held: Held) -> bool:
    container, key = held.place or ({}, None)
    return key in container and container[key] is held.value


def short(name: str) -> str:
    """A name as people say it: without the store, and without the box around the number."""
    for box in BOXES:
        name = name.removesuffix(f".{box}")
    for store in ("params", "parameters", "_params", "weights_dict"):
        if name.startswith(f"{store}['") and name.endswith("']"):
            return name[len(store) + 2 : -2]
    return name


# --- gradients beside their parameters ----------------------------------------------------------


def beside(
    held: Held, places: Iterable[Place], state: Snapshot, pattern: str | None
) -> Gradient | None:
    """The gradient of an array, looked for beside each place that holds it."""
    for container, key in places:
        if isinstance(container, dict):
            if key in BOXES and BOXES[key] in container:
                return _entry(container, BOXES[key])
            others = [other for other in container if isinstance(other, str)]
            found = partner(str(key), others, pattern)
            if found is not None and _fits(container[found], held.value):
                return _entry(container, found)
        for outer, store in state.held_at(container):
            if isinstance(outer, dict) and (
                found := _in_store(outer, store, container, key, pattern)
            ):
                return found
    return None


def _fits(gradient: Any, value: Any) -> bool:
    """A gradient is an array of as many numbers; one that is None yet may become one."""
    return gradient is None or (np.size(gradient) in (np.size(value), 1) and not callable(gradient))


def _entry(container: Any, key: Any) -> Gradient:
    return lambda returned: container[key]


def _in_store(
    outer: dict[Any, Any], store: Any, container: Any, key: Any, pattern: str | None
) -> Gradient | None:
    """The gradient in a dict or list that stands beside the one of the parameters."""
    names = [other for other in outer if plain(str(other)) in STORES] or []
    beside_it = partner(str(store), [other for other in outer if isinstance(other, str)])
    for name in dict.fromkeys([*names, *([beside_it] if beside_it else [])]):
        grads = outer[name]
        if name == store or not isinstance(grads, dict | list | tuple):
            continue
        if isinstance(container, dict) and isinstance(grads, dict):
            found = key if key in grads else partner(str(key), grads, pattern)
            if found is not None or not grads:
                return _stored(outer, name, found, key)
        elif isinstance(container, list) and len(grads) in (0, len(container)):
            return _stored(outer, name, key, key)
        elif isinstance(container, dict) and len(grads) in (0, len(container)):
            return _stored(outer, name, list(container).index(key), key)
    return None


def _stored(outer: dict[Any, Any], name: Any, found: Any, key: Any) -> Gradient:
    def look(returned: Any) -> Any:
        grads = outer[name]
        if found is None and isinstance(grads, dict):
            return grads[key if key in grads else partner(str(key), grads)]
        return grads[found]

    return look


# --- gradients that are returned, or only seen in the update ------------------------------------


def flat(returned: Any) -> list[tuple[str, Any]]:
    """What backward returned, as (key, array): dicts, lists, tuples and dataclasses opened."""
    if is_dataclass(returned):
        returned = {field.name: getattr(returned, field.name) for field in fields(returned)}
    elif hasattr(returned, "_asdict"):
        returned = returned._asdict()
    if isinstance(returned, dict):
        return [(str(key), value) for key, one in returned.items() for _, value in flat(one)]
    if isinstance(returned, list | tuple):
        return [pair for one in returned for pair in flat(one)]
    return [("", returned)]


def position(place: int) -> Gradient:
    """The gradient that stands at a place of what is returned."""
    return lambda returned: flat(returned)[place][1]


def among(returned: Any, names: dict[str, Any], skip: int) -> dict[str, Gradient] | None:
    """Which of the arrays returned belongs to which name: by its key, else by order and shape.

    Args:
        names: the array of each name, in order.
        skip: how many of the first arrays belong to the inputs.
    """
    found = flat(returned)
    by_key: dict[str, Gradient] = {}
    keys = [key for key, _ in found]
    for name in names:
        key = next((k for k in keys if k and plain(k) == plain(name)), None) or partner(name, keys)
        if key:
            by_key[name] = position(keys.index(key))
    if len(by_key) == len(names):
        return by_key
    rest = found[skip:]
    if len(rest) != len(names):
        return None
    if all(np.size(g) == np.size(v) for (_, g), v in zip(rest, names.values(), strict=True)):
        return {name: position(skip + place) for place, name in enumerate(names)}
    taken: dict[str, Gradient] = {}
    for name, value in names.items():
        fits = [i for i, (_, g) in enumerate(rest) if np.size(g) == np.size(value)]
        if len(fits) != 1:
            return None
        taken[name] = position(skip + fits[0])
    return taken


def moved(parameter: Parameter, rate: float) -> Gradient:
    """The gradient that a backward pass took its step along: (before - after) / lr."""
    return lambda returned: (parameter.last - parameter.now()) / rate
