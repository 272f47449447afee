"""Where the gradients of the inputs and of the parameters are, in somebody's attributes or returns.

By name where names say it, by order and shape where backward returns them, by the step that
backward takes where it updates the weights itself. What influences the output and has no gradient
is an error that names it, and not passed over.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.testing.subjects import names
from scratchnet.testing.subjects.names import partner, plain
from scratchnet.testing.subjects.options import Options, SubjectError
from scratchnet.testing.subjects.parameters import (
    Gradient,
    Parameter,
    among,
    beside,
    flat,
    is_float,
    moved,
    position,
    short,
)
from scratchnet.testing.subjects.state import Held, Place, Snapshot, container
from scratchnet.testing.subjects.styles import Style
from scratchnet.testing.subjects.subject import Subject, copies

# --- gradients of inputs --------------------------------------------------------------------------


def inputs(subject: Subject, returned: Any, options: Options) -> None:
    """Which arguments of forward have a gradient, and where it is."""
    style = subject.style
    floats = {
        _argument(style, at, options): at
        for at, arg in enumerate(subject.given)
        if isinstance(arg, np.ndarray) and arg.dtype.kind == "f" and at not in style.targets
    }
    if options.input_gradient == ():
        found = {}
    elif options.input_gradient is not None:
        found = {name: _said(style, options.input_gradient) for name in list(floats)[:1]}
    else:
        found = {}
        if returned is None or (style.owner is not None and isinstance(returned, dict)):
            found = _in_attributes(subject, floats)
        if not found and returned is not None:
            found = _in_returned(subject, floats, returned)
            subject.returned_inputs = len(found)
    subject.input_gradients = found
    subject.inputs = {name: floats[name] for name in found}
    missing = [name for name in floats if name not in found]
    if missing:
        subject.notes.append(f"no gradient of {', '.join(missing)} is given: not asked")


def _in_attributes(subject: Subject, floats: dict[str, int]) -> dict[str, Gradient]:
    """dX as an attribute, by the input's name or by a usual one."""
    owner, found = subject.style.owner, dict[str, Gradient]()
    held = vars(owner) if hasattr(owner, "__dict__") else {}
    for name, at in floats.items():
        usual = [n for n in names.INPUT_GRADIENT if n in held and len(floats) == 1]
        key = partner(name, held) or next(iter(usual), None)
        if key is not None and np.shape(held[key]) == np.shape(subject.given[at]):
            found[name] = _attribute(owner, key)
    return found


def _attribute(owner: Any, name: str) -> Gradient:
    return lambda returned: getattr(owner, name)


def _in_returned(subject: Subject, floats: dict[str, int], returned: Any) -> dict[str, Gradient]:
    """dX among what backward returns: by key, by argument, or the first ones."""
    pairs, found = flat(returned), dict[str, Gradient]()
    keys = [key for key, _ in pairs]
    if any(keys):
        for name in floats:
            same = [key for key in keys if key and plain(key) == plain(name)]
            key = next(iter(same), None) or partner(name, keys)
            if key:
                found[name] = position(keys.index(key))
        unnamed = iter([place for place, key in enumerate(keys) if not key])
        for name, at in floats.items():  # (dx, {"w": dw})
            here = None if name in found else next(unnamed, None)
            if here is not None and np.shape(pairs[here][1]) == np.shape(subject.given[at]):
                found[name] = position(here)
        return found
    if len(pairs) == 1 and len(floats) > 1:
        floats = _of_one_gradient(floats)
    whole = len(pairs) == len(subject.given)  # a gradient, or None, for every argument
    for place, (name, at) in enumerate(floats.items()):
        here = at if whole else place
        if here >= len(pairs) or pairs[here][1] is None:
            continue
        if len(pairs) == 1 or np.size(pairs[here][1]) == np.size(subject.given[at]):
            found[name] = position(here)
    return found


def _of_one_gradient(floats: dict[str, int]) -> dict[str, int]:
    """The argument that a single gradient is of: a loss's prediction, wherever it stands.

    >>> _of_one_gradient({"y_true": 0, "y_pred": 1}), _of_one_gradient({"x": 0, "h": 1})
    ({'y_pred': 1}, {'x': 0, 'h': 1})
    """
    said = {name: at for name, at in floats.items() if plain(name) in names.PREDICTIONS}
    return (
        said
        or {name: at for name, at in floats.items() if plain(name) not in names.TARGETS}
        or floats
    )


def _argument(style: Style, at: int, options: Options) -> str:
    if at == 0 and options.input_name:
        return options.input_name
    return style.arguments[at] if at < len(style.arguments) else f"x{at}"


def _said(style: Style, chosen: Any) -> Gradient:
    if callable(chosen):
        return lambda returned: chosen(returned)
    if isinstance(chosen, int):
        return position(chosen)
    return _attribute(style.owner, chosen)


# --- gradients of parameters ----------------------------------------------------------------------


def parameters(
    subject: Subject, stays: list[Held], state: Snapshot, returned: Any, options: Options
) -> None:
    """Each array that is learned, with where its gradient is."""
    wanted = options.names()
    if wanted is not None:
        stays = _named(subject, stays, wanted)
    elif options.params is not None and not options.params:
        return
    pattern = options.grads if isinstance(options.grads, str) and "{}" in options.grads else None
    store = options.grads if isinstance(options.grads, str) and pattern is None else None
    rest: list[Held] = []
    for held in stays:
        places = _places(held, state)
        gradient = None
        if store not in ("returned", "updated"):
            gradient = _from_store(subject, store, held, places) if store else None
            gradient = gradient or beside(held, places, state, pattern)
        if gradient is None:
            rest.append(held)
        else:
            _keep(subject, held, places, gradient)
    rest = [held for held in rest if not _is_a_gradient(subject, held, returned, wanted)]
    _from_returned(subject, rest, state, returned, options)


def _places(held: Held, state: Snapshot) -> list[Place]:
    if is_float(held.value):
        return state.held_at(held.value)
    return [] if held.place is None else [held.place]


def _keep(subject: Subject, held: Held, places: list[Any], gradient: Gradient | None) -> None:
    name = short(held.name) or "parameter"
    subject.parameters[name] = Parameter(name, held.value, places, gradient)


def _named(subject: Subject, stays: list[Held], wanted: list[str]) -> list[Held]:
    found = []
    for name in wanted:
        fits = [
            held for held in stays
            if name in (held.name, short(held.name))
            or held.name.startswith((f"{name}[", f"{name}."))
            or held.name.endswith(f".{name}")
        ]  # fmt: skip
        if not fits:
            own = container(subject.style.owner)
            value = own.get(name) if isinstance(own, dict) else None
            if isinstance(value, float | np.floating):
                fits = [Held(name, (own, name), value)]
        if not fits:
            known = ", ".join(short(held.name) for held in stays) or "no float array"
            raise SubjectError(
                f"{subject.name}: there is no parameter {name!r}",
                looked="a float array by that name that forward leaves as it is",
                found=known,
                say=f'params="{" ".join(short(h.name) for h in stays)}"' if stays else "params=()",
            )
        found += fits
    return found


def _from_store(subject: Subject, store: str, held: Held, places: list[Any]) -> Gradient | None:
    """The gradient under the array's key in a dict or list that the caller named."""
    owner = subject.style.owner
    for _, key in places:
        grads = getattr(owner, store, None)
        if isinstance(grads, dict):
            found = key if key in grads else partner(str(key), grads)
            if found is not None:
                return _item(owner, store, found)
        elif isinstance(grads, list) and isinstance(key, int):
            return _item(owner, store, key)
    return None


def _item(owner: Any, store: str, key: Any) -> Gradient:
    return lambda returned: getattr(owner, store)[key]


def _is_a_gradient(subject: Subject, held: Held, returned: Any, wanted: list[str] | None) -> bool:
    """What holds a gradient, or shares the memory of a parameter, is no parameter itself."""
    if wanted is not None:
        return False
    for parameter in subject.parameters.values():
        if parameter.gradient is not None and parameter.gradient(returned) is held.value:
            return True
        shares = isinstance(parameter.value, np.ndarray) and is_float(held.value)
        if shares and np.may_share_memory(parameter.value, held.value):
            return True
    return not is_float(held.value)


def _from_returned(
    subject: Subject, rest: list[Held], state: Snapshot, returned: Any, options: Options
) -> None:
    """Parameters whose gradient is returned, or seen in the update; and those that have none."""
    taken = subject.returned_inputs
    rate = options.lr
    changed = [held for held in rest if _moved(held, state)]
    if subject.random:
        return
    live = [
        held for held in rest if options.names() is not None or influences(subject, state, held)
    ]
    if not live:
        return
    if options.grads != "updated":
        arrays = {short(held.name): held.value for held in live}
        found = among(returned, arrays, taken)
        if found is not None:
            for held in live:
                places = state.held_at(held.value)
                _keep(subject, held, places, found[short(held.name)])
            return
    rate = _rate(subject, state, rate)
    told = []
    for held in live:
        if options.grads == "updated" or any(held.value is other.value for other in changed):
            if rate is None:
                raise _no_rate(subject, held)
            _keep(subject, held, state.held_at(held.value), None)
            parameter = subject.parameters[short(held.name)]
            parameter.last = held.value
            parameter.gradient = moved(parameter, rate)
            subject.updates = True
        elif _beside_learned(subject, held, state):
            _keep(subject, held, state.held_at(held.value), _nothing)
        elif not _buffer(held.name):
            told.append(held)
        else:
            subject.notes.append(f"{short(held.name)} is taken as fixed")
    if told:
        raise _no_gradient(subject, told, options)
    if changed:
        subject.notes.append(f"gradients are read from the update, (before - after) / {rate:g}")


def _beside_learned(subject: Subject, held: Held, state: Snapshot) -> bool:
    """Whether other arrays of the same dict or list of parameters do have gradients."""
    stores = [own for own, _ in state.held_at(held.value) if state.held_at(own)]
    return any(
        own is store for p in subject.parameters.values() for own, _ in p.places for store in stores
    )


def _nothing(returned: Any) -> None:
    """No gradient."""


def _moved(held: Held, state: Snapshot) -> bool:
    """Whether the array that stands in its place now is another than the one that was held."""
    before = next((copy for own, copy in state.arrays if own is held.value), held.value)
    now = Parameter(held.name, held.value, state.held_at(held.value)).now()
    return not np.array_equal(now, before)


def _rate(subject: Subject, state: Snapshot, said: float | None) -> float | None:
    """The learning rate of a layer that updates itself: said, an argument of backward, or held."""
    if said is not None:
        return said
    backward = subject.style.backward
    if backward and any(plain(n) in names.LEARNING_RATE for n in names.required(backward)):
        return 1.0
    from_state = [
        (key, value)
        for own, _ in state.containers
        if isinstance(own, dict)
        for key, value in own.items()
        if plain(str(key)) in names.LEARNING_RATE and isinstance(value, int | float) and value > 0
    ]
    return float(from_state[0][1]) if from_state else None


def _buffer(name: str) -> bool:
    return any(word in name.lower() for word in names.BUFFERS)


def _no_rate(subject: Subject, held: Held) -> SubjectError:
    return SubjectError(
        f"{subject.name}: backward changes {short(held.name)}, and the learning rate is unknown",
        looked=f"an attribute or argument: {', '.join(sorted(names.LEARNING_RATE))}",
        found="none",
        say='grads="updated", lr=0.01 (its learning rate, of plain gradient descent)',
    )


def _no_gradient(subject: Subject, held: list[Held], options: Options) -> SubjectError:
    missing = ", ".join(short(h.name) for h in held)
    first = short(held[0].name)
    own = container(subject.style.owner)
    there = ", ".join(str(k) for k in own) if isinstance(own, dict) else "no attributes"
    return SubjectError(
        f"{subject.name}: {missing} influences the output, and no gradient of it was found",
        looked=f"d{first}, grad_{first}, {first}_grad, ..., grads, or what backward returns",
        found=there[:300],
        say=f'params="{first}" with grads="d{{}}" (a pattern), "returned" or "updated"; '
        "or params=() if nothing is learned",
    )


def influences(subject: Subject, state: Snapshot, held: Held) -> bool:
    """Whether the outputs change with this array."""
    style = subject.style
    state.restore()
    before = [np.array(y) for y in style.call(copies(subject.given)).outputs]
    state.restore()
    parameter = Parameter(held.name, held.value, state.held_at(held.value))
    value = np.asarray(held.value, np.float64)
    parameter.put(value + 0.37 * (1 + np.abs(value)))
    try:
        after = style.call(copies(subject.given)).outputs
    except Exception:
        after = []
    state.restore()
    return len(after) != len(before) or any(
        not np.array_equal(a, b, equal_nan=True) for a, b in zip(after, before, strict=True)
    )
