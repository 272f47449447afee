"""Everything that hangs on somebody's object, so that each pass can begin from the same state.

A layer may cache, count, accumulate, draw random numbers or update its weights: `Snapshot`
remembers all of it, puts it back, and finds the places where an array is held. It follows
attributes, dicts, lists, tuples, closures and bound methods; modules and classes it leaves alone.
"""

from __future__ import annotations

import functools
import random
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from scratchnet.engines import Array

Place = tuple[Any, Any]  # a dict or a list, and the key under which it holds something

ATOMS = (type, types.ModuleType, str, bytes, int, float, complex, bool, type(None), np.generic)
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)


class Held(NamedTuple):
    """Something that hangs on the object: by which name, in which container, under which key."""

    name: str
    place: Place | None
    value: Any


def container(thing: Any) -> Any:
    """The dict or list in which a thing holds what is its own, or None."""
    if isinstance(thing, dict | list):
        return thing
    return None if isinstance(thing, ATOMS) else getattr(thing, "__dict__", None)


def slots(thing: Any) -> list[str]:
    """The attributes of a thing without a dict."""
    names: Any = getattr(type(thing), "__slots__", ())
    return [] if isinstance(thing, ATOMS) else [n for n in names if hasattr(thing, n)]


def children(thing: Any) -> Iterator[tuple[str, Any, Any]]:
    """(how it is written after the parent's name, key in the parent's container, child)."""
    if isinstance(thing, dict):
        yield from ((f"[{key!r}]", key, child) for key, child in thing.items())
    elif isinstance(thing, list):
        yield from ((f"[{place}]", place, child) for place, child in enumerate(thing))
    elif isinstance(thing, tuple | set | frozenset | deque):
        yield from ((f"[{place}]", None, child) for place, child in enumerate(thing))
    elif isinstance(thing, types.FunctionType):
        yield "", None, (thing.__defaults__, thing.__kwdefaults__)
        for cell in thing.__closure__ or ():
            try:
                yield "", None, cell.cell_contents
            except ValueError:
                continue  # a cell that is not filled yet
    elif isinstance(thing, types.MethodType):
        yield "", None, thing.__self__
    elif isinstance(thing, functools.partial):
        yield "", None, (thing.func, thing.args, thing.keywords)
    elif hasattr(thing, "__dict__") and not isinstance(thing, ATOMS):
        yield from ((f".{key}", key, child) for key, child in vars(thing).items())
    else:
        for key in slots(thing):
            yield f".{key}", None, getattr(thing, key)


def walk(*roots: Any) -> Iterator[Held]:
    """All that hangs on the roots, each thing once, the shallow things first."""
    seen: dict[int, Any] = {}  # the things themselves too: an id is only unique while they live
    queue = deque(Held("", None, root) for root in roots)
    while queue:
        held = queue.popleft()
        yield held
        if id(held.value) in seen or isinstance(held.value, ATOMS):
            continue
        seen[id(held.value)] = held.value
        if isinstance(held.value, np.ndarray):
            continue
        own = container(held.value)
        for name, key, child in children(held.value):
            place = None if own is None or key is None else (own, key)
            queue.append(Held((held.name + name).lstrip("."), place, child))


def _named_generators(roots: tuple[Any, ...]) -> Iterator[Any]:
    """Generators of random numbers that the code of the roots names, as a module's own."""
    for root in roots:
        functions = [root, getattr(root, "__func__", None), *_own_of(type(root))]
        for function in functions:
            if isinstance(function, types.FunctionType):
                named = (function.__globals__.get(name) for name in function.__code__.co_names)
                yield from (value for value in named if isinstance(value, GENERATORS))


def _own_of(kind: type) -> list[Any]:
    return [value for base in kind.__mro__[:-1] for value in vars(base).values()]


class Snapshot:
    """What hangs on the roots now; `restore` puts it back, in place.

    >>> class Counter:
    ...     def __init__(self):
    ...         self.calls, self.seen = 0, []
    >>> counter = Counter()
    >>> state = Snapshot(counter)
    >>> counter.calls, counter.new = 5, "later"
    >>> counter.seen.append(1)
    >>> state.restore()
    >>> vars(counter)
    {'calls': 0, 'seen': []}
    """

    def __init__(self, *roots: Any) -> None:
        self.roots = roots
        self.arrays: list[tuple[Array, Array]] = []
        self.containers: list[tuple[Any, Any]] = []
        self.slots: list[tuple[Any, dict[str, Any]]] = []
        self.generators: list[tuple[Callable[[Any], None], Any]] = []
        self.places: dict[int, list[Place]] = {}
        kept: set[int] = set()
        for kind in {type(root) for root in roots}:
            for value in _own_of(kind):
                if isinstance(value, GENERATORS):
                    self._remember(value)  # one for all instances
        for generator in _named_generators(roots):
            self._remember(generator)
        for held in walk(*roots):
            if held.place is not None:
                self.places.setdefault(id(held.value), []).append(held.place)
            if id(held.value) not in kept:
                kept.add(id(held.value))
                self._remember(held.value)

    def _remember(self, thing: Any) -> None:
        if isinstance(thing, np.ndarray):
            if thing.flags.writeable:
                self.arrays.append((thing, thing.copy()))
        elif isinstance(thing, np.random.Generator):
            bits = thing.bit_generator
            self.generators.append((functools.partial(setattr, bits, "state"), bits.state))
        elif isinstance(thing, np.random.RandomState):
            self.generators.append((thing.set_state, thing.get_state()))
        elif isinstance(thing, random.Random):
            self.generators.append((thing.setstate, thing.getstate()))
        elif isinstance(thing, deque | set):
            self.containers.append((thing, thing.copy()))
        elif (own := container(thing)) is not None:
            self.containers.append((own, own.copy()))
        elif keys := slots(thing):
            self.slots.append((thing, {key: getattr(thing, key) for key in keys}))

    def reseed(self) -> None:
        """Random generators back to where they were, the global ones to a fixed state."""
        for put, state in self.generators:
            put(state)
        np.random.set_state(FIXED)
        random.setstate(FIXED_PYTHON)

    def restore(self) -> None:
        for own, before in self.containers:
            if isinstance(own, dict):
                if len(own) != len(before) or any(own.get(k, own) is not before[k] for k in before):
                    own.clear()
                    own.update(before)
            elif isinstance(own, list):
                own[:] = before
            else:
                own.clear()
                own.extend(before) if isinstance(own, deque) else own.update(before)
        for thing, values in self.slots:
            for key, value in values.items():
                setattr(thing, key, value)
        for array, copy in self.arrays:
            np.copyto(array, copy)
        self.reseed()

    def held_at(self, thing: Any) -> list[Place]:
        """Every place where this very object is held."""
        return self.places.get(id(thing), [])


FIXED = np.random.RandomState(0).get_state()
FIXED_PYTHON = random.Random(0).getstate()
