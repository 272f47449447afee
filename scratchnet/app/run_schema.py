"""What the files of a run may say: one table for each JSON file, held against it when it is read.

A spec is a type (`object` for anything), a `Whole` or `Number` with its bounds, `OneOf`, `Maybe`
for what may be null, a list `[spec]`, a list of fixed length `(spec, spec)`, `Each` for an object
of any names, or an object `{"name": spec, "name?": spec}` whose fields with a question mark may be
missing. Fields that no spec names are left alone. What fields must have in common stands below, in
`check_history` and `check_result`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

KINDS = ("train", "compare", "proof")
MODELS = ("scratchnet", "keras")
LARGEST = 1e100
"""Beyond it no loss of float32 is, and no axis can be drawn."""


class SchemaError(ValueError):
    """A field that is missing or not what it must be: where, what was found, what was expected."""


@dataclass(frozen=True)
class Whole:
    """An integer from `low` to `high`."""

    low: int = 0
    high: int = 2**53

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high:,}"


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`."""

    low: float = 0.0
    high: float = LARGEST

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class OneOf:
    """One of these values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.values))}"


@dataclass(frozen=True)
class Maybe:
    """What `spec` says, or null."""

    spec: Any


@dataclass(frozen=True)
class Each:
    """An object of any names, each of which holds what `spec` says."""

    spec: Any


SHARE = Number(0, 1)
MEASURED = Maybe(Number())
"""A loss, null where it was not finite; or seconds."""
MISREAD = ("index", "label", *MODELS)
DRIFT = [(Whole(1), Number())]
"""Pairs of a step and the largest weight difference after it."""

SETTINGS = {
    "epochs": Whole(1),
    "batch_size": Whole(1),
    "seed": Whole(0, 10**4000),
    "scaled": bool,
    "engine": Maybe(OneOf(("auto", "reference", "compiled"))),
    "threads": Maybe(Whole(1)),
    "augment?": Whole(0),
    "limit": Maybe(Whole(1)),
    "dtype": OneOf(("float32", "float64")),
}
DATA = {
    "name": str,
    "training": Whole(1),
    "test": Whole(1),
    "shape": [Whole(1, 2**20)],
    "test_sha256": str,
}
LAST_EPOCH = {
    "loss": MEASURED,
    "accuracy": SHARE,
    "test_loss": MEASURED,
    "test_accuracy": SHARE,
    "seconds_per_epoch": Number(),
    "warm_up_seconds": Number(),
}
LOCKSTEP = {
    "holds": bool,
    "steps": Whole(),
    "limit": Number(),
    "largest_weight_difference": MEASURED,
    "largest?": Each(MEASURED),
    "difference": Maybe(str),
    "drift?": DRIFT,
}
AGREEMENT = {
    "same": Whole(),
    "of": Whole(1),
    "only_scratchnet_right": Whole(),
    "only_keras_right": Whole(),
    "mcnemar_p": SHARE,
}
ENVIRONMENT = {"versions": Each(str), "system": str, "cpu": str, "cpus": Whole(1)}
RESULT = {
    "kind": OneOf(KINDS),
    "command?": [str],
    "settings": SETTINGS,
    "data": DATA,
    "interrupted": bool,
    "epochs": Maybe(Whole(1)),
    "parity": Maybe(bool),
    "misread?": {"index": [Whole()]} | {f"{name}?": [Whole(0, 9)] for name in MISREAD[1:]},
    "lockstep?": LOCKSTEP,
    "agreement?": AGREEMENT,
    "speed_ratio?": Number(),
    "weight_difference?": [Number()],
    "tensorflow?": Each(object),
    "environment?": ENVIRONMENT,
    "pictures?": [str],
    "course?": {"sha256": str, "passed": [str]},
} | {f"{name}?": LAST_EPOCH for name in MODELS}
"""`result.json`."""

COLUMNS = {
    "loss": [MEASURED],
    "accuracy": [SHARE],
    "val_loss": [MEASURED],
    "val_accuracy": [SHARE],
    "seconds": [Number()],
}
HISTORY = {
    "kind": OneOf(KINDS),
    "command?": [str],
    "settings?": SETTINGS,
    "data?": DATA,
    "environment?": ENVIRONMENT,
    "weight_difference?": [Number()],
    "lockstep?": DRIFT,
} | {f"{name}?": COLUMNS for name in MODELS}
"""`history.json`."""


def check(value: Any, spec: Any, where: str = "") -> None:
    """Hold a value that came from JSON against a spec.

    Raises:
        SchemaError: for the first field that is missing or wrong.

    >>> check({"epochs": 3}, {"epochs": Whole(1), "note?": str})
    >>> check({"epochs": True}, {"epochs": Whole(1, 9)})
    Traceback (most recent call last):
    scratchnet.app.run_schema.SchemaError: epochs is True: expected a whole number from 1 to 9
    """
    if isinstance(spec, Maybe):
        if value is not None:
            check(value, spec.spec, where)
    elif isinstance(spec, dict):
        _expect(type(value) is dict, value, "an object", where)
        for name, inner in spec.items():
            plain = name.removesuffix("?")
            if plain in value:
                check(value[plain], inner, _within(where, plain))
            elif plain == name:
                raise SchemaError(f"{_within(where, name)} is missing")
    elif isinstance(spec, Each):
        _expect(type(value) is dict, value, "an object", where)
        for name, item in value.items():
            check(item, spec.spec, _within(where, name))
    elif isinstance(spec, list):
        _expect(type(value) is list, value, "a list", where)
        for number, item in enumerate(value):
            check(item, spec[0], f"{where}[{number}]")
    elif isinstance(spec, tuple):
        _expect(type(value) is list and len(value) == len(spec), value, f"{len(spec)} items", where)
        for number, (item, inner) in enumerate(zip(value, spec, strict=True)):
            check(item, inner, f"{where}[{number}]")
    else:
        _expect(_fits(value, spec), value, NAMES.get(spec) or str(spec), where)


NAMES = {str: "a text", bool: "true or false", object: "anything"}


def _fits(value: Any, spec: Any) -> bool:
    """Whether a value that is no list and no object is what the spec says."""
    if isinstance(spec, OneOf):
        return type(value) in {type(v) for v in spec.values} and value in spec.values
    if isinstance(spec, Whole):
        return type(value) is int and spec.low <= value <= spec.high
    if isinstance(spec, Number):
        return type(value) in (int, float) and spec.low <= value <= spec.high
    return type(value) is spec or spec is object


def _expect(holds: bool, value: Any, wanted: str, where: str) -> None:
    if not holds:
        found = repr(value)
        found = found if len(found) <= 60 else f"{found[:57]}..."
        raise SchemaError(f"{where or 'it'} is {found}: expected {wanted}")


def _within(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def check_history(history: Any) -> None:
    """Hold `history.json` against the table, and its columns against each other."""
    check(history, HISTORY)
    counts = {
        f"{model}.{column}": len(values)
        for model in MODELS
        for column, values in history.get(model, {}).items()
        if column in COLUMNS
    }
    if "weight_difference" in history:
        counts["weight_difference"] = len(history["weight_difference"])
    _equally_long(counts)


def check_result(result: Any, history: Any) -> None:
    """Hold `result.json` against the table, its fields against each other and the history."""
    check(result, RESULT)
    columns = result.get("misread", {})
    _equally_long({f"misread.{name}": len(columns[name]) for name in columns if name in MISREAD})
    needed = ["scratchnet"] if result["parity"] is None else ["lockstep", "agreement"]
    if result["epochs"] is None and result["interrupted"]:
        needed.append("lockstep")
    for name in needed:
        if name not in result:
            raise SchemaError(f"{name} is missing, and parity is {result['parity']}")
    for name in ("same", "only_scratchnet_right", "only_keras_right"):
        agreed = result.get("agreement", {"of": 0, name: 0})
        if agreed[name] > agreed["of"]:
            raise SchemaError(f"agreement.{name} is {agreed[name]} of {agreed['of']}")
    if result["epochs"] is not None:
        counts = {"epochs": result["epochs"]}
        if "weight_difference" in result:
            counts["weight_difference"] = len(result["weight_difference"])
        counts |= {f"{m} in history.json": len(history[m]["loss"]) for m in MODELS if m in history}
        _equally_long(counts)


def _equally_long(counts: dict[str, int]) -> None:
    """All these numbers of entries are the same."""
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise SchemaError(f"the numbers of entries differ: {told}")
