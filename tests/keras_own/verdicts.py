"""From an exception to a verdict: is a name missing, was something refused, or is it wrong?

What is looked at is who raised it. A test that asks scratchnet for a name that is not there meets
Python's own errors; a refusal is scratchnet's own error with a sentence that says so; anything else
is a behaviour that differs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

import numpy as np

import scratchnet

from . import scope
from .ledger import FAILED, MISSING, OUT, REFUSED, Absence, Verdict

PACKAGE = str(Path(scratchnet.__file__).parent)
NOT_BUILT = re.compile(r"\b(is|are) not (built|there|here)\b")
REFUSALS = re.compile(
    r"only .* (is|are) (supported|taken|built)|not supported|is refused|can't be saved"
    r"|which holds for the whole model|argument='\w+': expected one of"
)
UNKNOWN = re.compile(r"(?P<what>[\w :]+)=(?P<value>.+?): expected one of ", re.S)
SIGNATURE = (
    re.compile(r"(?:(?P<callee>[\w.<>]+)\(\) )?got an unexpected keyword argument '(?P<name>\w+)'"),
    re.compile(r"(?P<callee>[\w.<>]+)\(\) takes .*positional arguments? but (?P<name>.+) given"),
    re.compile(r"(?P<callee>[\w.<>]+)\(\) missing \d+ required .*: (?P<name>.+)"),
    re.compile(r"(?P<callee>[\w.<>]+)\(\) takes (?P<name>no) (keyword )?arguments"),
)
HALF = re.compile(r"='?(mixed_)?b?float16|data type '\w*bfloat16'")
NOT_CALLABLE = re.compile(r"'(\w+)' object is not callable")
NO_SETTER = re.compile(r"property '(?P<name>\w+)' of '(?P<owner>\w+)' object has no setter")
BASES = ("Callback", "Initializer", "Layer", "Loss", "Metric", "Optimizer", "Sequential")
VARIABLE = ("assign", "assign_add", "assign_sub", "name", "numpy", "path", "trainable", "value")
"""What a variable of Keras's has and an array has not."""


def of_error(error: BaseException, traceback: TracebackType | None) -> Verdict:
    """The verdict on a test that ended in this."""
    if isinstance(error, Absence):
        return error.verdict
    said, codes = str(error), list(walk(traceback))
    inside = bool(codes) and is_path_ours(codes[-1].f_code)
    wrong = Verdict(FAILED, type(error).__name__, shortened(f"{type(error).__name__}: {said}"))
    if NOT_BUILT.search(said):
        return Verdict(MISSING, about_unbuilt(error), shortened(said))
    if isinstance(error, AttributeError):
        return of_attribute(error, inside) or wrong
    if isinstance(error, NotImplementedError) and inside:
        return Verdict(MISSING, f"a protocol: {said or codes[-1].f_code.co_qualname}", "")
    if isinstance(error, TypeError) and (found := of_call(said, codes)):
        return found
    if inside and (found := of_refusal(said)):
        return found
    return wrong


def of_attribute(error: AttributeError, inside: bool) -> Verdict | None:
    """A name asked of scratchnet's objects, or of an array as if it were a variable."""
    owner, name, said = error.obj, str(error.name), str(error)
    if found := NO_SETTER.match(said):
        return Verdict(REFUSED, f"{found['owner']}.{found['name']} = ...", said)
    if isinstance(owner, np.ndarray | np.generic | float | int) and name in VARIABLE:
        return Verdict(OUT, "methods of a variable", f".{name} of {type(owner).__name__}")
    if not is_ours(owner) or inside:
        return None
    label = f"{label_of(owner)}.{name}"
    reason = scope.reason(label)
    return Verdict(OUT, reason, label) if reason else Verdict(MISSING, label, "")


def of_call(said: str, frames: list[FrameType]) -> Verdict | None:
    """An argument that scratchnet's function does not take, or an object that can't be called."""
    if found := NOT_CALLABLE.match(said):
        kinds = names()
        for frame in frames[-1:]:
            kinds |= frame.f_globals | frame.f_locals
        kind = kinds.get(found[1])
        return Verdict(MISSING, f"{label_of(kind)}(...)", said) if is_ours(kind) else None
    for form in SIGNATURE:
        if (found := form.search(said)) and found["callee"]:
            owner, _, method = found["callee"].rpartition(".")
            if (owner or method).split(".")[0] in names():
                return Verdict(REFUSED, f"{found['callee']}({found['name']})", shortened(said))
    return None


def of_refusal(said: str) -> Verdict | None:
    """A refusal in scratchnet's own words, or a name that only Keras knows."""
    if HALF.search(said):
        return Verdict(OUT, "mixed precision and policies of types", shortened(said))
    if REFUSALS.search(said):
        return Verdict(REFUSED, re.split(r"(?<=\w)=|: only", said)[0], shortened(said))
    if "shape=" in said and "None" in said and "expected positive integers" in said:
        return Verdict(OUT, "an axis of unknown length", shortened(said))
    if (found := UNKNOWN.match(said)) is None:
        return None
    what = found["what"].split(":")[-1].strip()
    if found["value"].startswith("{'class_name'"):
        return Verdict(MISSING, f"{what} by its configuration", shortened(said))
    known = keras_name(found["value"])
    return Verdict(MISSING, f"{what} {known!r}", "") if known else None


def walk(traceback: TracebackType | None) -> Iterator[FrameType]:
    """The frames that an error went through, from the outermost on."""
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def is_path_ours(code: CodeType) -> bool:
    return code.co_filename.startswith(PACKAGE)


def is_ours(thing: Any) -> bool:
    """Whether it is a module, a class or an object of scratchnet's, or of a subclass."""
    if isinstance(thing, ModuleType):
        return thing.__name__.partition(".")[0] == "scratchnet"
    kind = thing if isinstance(thing, type) else type(thing)
    if getattr(thing, "__module__", "").partition(".")[0] == "scratchnet":
        return True
    return any(base.__module__.partition(".")[0] == "scratchnet" for base in kind.__mro__)


def label_of(thing: Any) -> str:
    """A module's name without the package's, a function's, or the class of scratchnet's whose
    subclasses all have what is asked for."""
    if isinstance(thing, ModuleType):
        return thing.__name__.removeprefix("scratchnet.")
    if callable(thing) and not isinstance(thing, type) and hasattr(thing, "__qualname__"):
        return thing.__qualname__
    kind = thing if isinstance(thing, type) else type(thing)
    ours = [c.__name__ for c in kind.__mro__ if c.__module__.partition(".")[0] == "scratchnet"]
    return next((name for name in ours if name in BASES), ours[0])


def about_unbuilt(error: BaseException) -> str:
    """The name that a sentence of refusal is about."""
    name = getattr(error, "name", None)
    owner = getattr(error, "obj", None)
    if name and isinstance(owner, ModuleType):
        return f"{label_of(owner)}.{name}"
    return str(name or re.split(r"[:,]? (?:is|are) not ", str(error))[0])


def names() -> dict[str, Any]:
    """scratchnet's classes and functions by their names; the uppermost of several wins."""
    modules = [m for m in list(sys.modules.values()) if isinstance(m, ModuleType) and is_ours(m)]
    return {
        name: value
        for module in sorted(modules, key=lambda module: -module.__name__.count("."))
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "").startswith("scratchnet")
    }


def keras_name(value: str) -> str | None:
    """The name in quotes or the class or function, if Keras has one like it."""
    found = re.match(r"'(\w+)'|<(?:class|function) '?([\w.]+)", value)
    name = (found[1] or found[2]).rpartition(".")[2] if found else ""
    return name if plain(name) in public_names() else None


def plain(name: str) -> str:
    return name.lower().replace("_", "")


@cache
def public_names() -> frozenset[str]:
    """Every name that Keras exports, without case and underscores."""
    files = [scope.keras_folder() / room / "__init__.py" for room in scope.NAMED]
    found = (re.findall(r"\bas (\w+)", path.read_text()) for path in files)
    return frozenset(plain(name) for names in found for name in names) | scope.SHORT


def shortened(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines)[:300]
