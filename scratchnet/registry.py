"""Names as Keras has them: what a name, class or config stands for, and what has no name.

It knows no room's contents; each room hands its table over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scratchnet.support import check_choice


def instance(what: str, identifier: Any, table: Mapping[str, Any]) -> Any:
    """What Keras's `get` returns: an object for a class, its name or its config; the function of
    that name; None for None; and whatever else can be called as it is.

    Raises:
        ValueError: for anything else.

    >>> instance("number type", "int", {"int": int}), instance("number type", 1.5.hex, {})()
    (0, '0x1.8000000000000p+0')
    """
    found = identifier
    if isinstance(identifier, Mapping):
        name, config = identifier.get("class_name"), identifier.get("config")
        if name != "function":
            return table[check_choice(what, name, table)].from_config(config or {})
        found = config
    if isinstance(found, str):
        found = table[check_choice(what, found, table)]
    if found is None or (callable(found) and not isinstance(found, type)):
        return found
    if isinstance(found, type) and callable(found):
        return found()
    raise ValueError(
        f"{what}={identifier!r:.80}: expected one of {', '.join(map(repr, table))}, or an object."
    )


def serialized(room: str, thing: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """A thing of a room as Keras writes it: its class's name and config, or a function's name.

    >>> serialized("keras.losses", abs, {"abs": abs})["config"]
    'abs'
    """
    if hasattr(thing, "get_config"):
        name, config = type(thing).__name__, thing.get_config()
        ours = known.get(name) is type(thing)
        config = {k: serialized(room, v, known) if callable(v) else v for k, v in config.items()}
        return {
            "module": room if ours else type(thing).__module__,
            "class_name": name,
            "config": config,
            "registered_name": None if ours else name,
        }
    name = getattr(thing, "__name__", type(thing).__name__)
    kind = {"module": "builtins", "class_name": "function"}
    return kind | {"config": name, "registered_name": "function"}


_names: dict[str, int] = {}


def unique_name(stem: str) -> str:
    """`stem`, and from its second use in this process on `stem_1`, `stem_2`, as Keras names what
    was given no name.

    >>> forget_names()
    >>> unique_name("auc"), unique_name("auc")
    ('auc', 'auc_1')
    """
    count = _names.get(stem, 0)
    _names[stem] = count + 1
    return f"{stem}_{count}" if count else stem


def forget_names() -> None:
    """Begin to count names anew, as Keras's `clear_session` does.

    >>> forget_names()
    """
    _names.clear()
