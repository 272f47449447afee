"""`keras`, `keras.src` and what lies below them, as rooms whose names are scratchnet's.

A name is looked up when it is asked for: a stand-in first, then a module where Keras has one, then
scratchnet. A name that is nowhere becomes a placeholder, so that one absent name does not take a
whole file with it: using the placeholder in a test is what counts. Keras itself is never imported,
nor is TensorFlow.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from . import scope
from .ledger import LEDGER, MISSING, OUT, Absence, Verdict

FOREIGN = ("tensorflow", "jax", "torch", "grain", "openvino", "orbax", "pandas")
"""Frameworks that tests import at their head; only those that use one are out of scope."""

OURS = {
    "backend": ("backend", "utils", "config"),
    "optimizers.schedules": ("optimizers.schedules", "schedules"),
    "saving": ("saving", "models", "utils"),
}
"""Where the names of a room of Keras's are looked for, if not in the room of the same name."""

LOADED = ("testing.test_case", "testing.test_utils")
"""Files of Keras's that run as they are: tools for tests. `testing` takes its names from them."""


def use(verdict: Verdict) -> Any:
    """A placeholder is used: in a test that decides it; before, it only passes on."""
    if not LEDGER.running:
        return placeholder(verdict)
    LEDGER.ask(verdict)
    raise Absence(verdict)


class Placeholder(ABCMeta):
    """The type of what stands for an absent name: may be imported, passed on and subclassed.

    What it gives when it is called while files are imported is a placeholder too, so that it may
    decorate a class or be among the parameters of tests.
    """

    verdict: Verdict

    def __call__(cls, /, *args: Any, **kwargs: Any) -> Any:
        return use(cls.verdict)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or name in ("pytestmark", "verdict"):
            raise AttributeError(name)
        return placeholder(cls.verdict, name) if not LEDGER.running else use(cls.verdict)

    def __getitem__(cls, key: Any) -> Any:
        return use(cls.verdict)

    def __iter__(cls) -> Iterator[Any]:
        use(cls.verdict)
        raise TypeError(f"{cls!r} among the parameters of tests: nobody knows how many there are.")

    def __instancecheck__(cls, thing: Any) -> bool:
        # SciPy asks such questions of every framework that it finds imported.
        if cls.verdict.said.partition(".")[0] in FOREIGN or not LEDGER.running:
            return False
        use(cls.verdict)
        return False

    def __repr__(cls) -> str:
        LEDGER.ask(cls.verdict)
        return f"<{cls.verdict.about}, {cls.verdict.kind}>"


def placeholder(verdict: Verdict, name: str = "placeholder") -> Any:
    return Placeholder(name, (), {"verdict": verdict})


def absent(dotted: str, said: str = "") -> Any:
    """A placeholder for a name of Keras's."""
    reason = scope.reason(dotted)
    name = dotted.rpartition(".")[2]
    public = f"{room_of(dotted)}.{name}".removeprefix(f"{name}.")
    verdict = Verdict(MISSING, public, said) if reason is None else Verdict(OUT, reason, dotted)
    return placeholder(verdict, name)


def room_of(dotted: str) -> str:
    """The public room that a name of Keras's inner layout belongs to."""
    head = next((room for room in OURS if f"{dotted}.".startswith(f"{room}.")), None)
    return head or dotted.partition(".")[0]


class Room(ModuleType):
    """A module of Keras's, as `keras.src.<dotted>` or `keras.<dotted>`."""

    def __init__(self, name: str, dotted: str, finder: Finder):
        super().__init__(name)
        self.__path__: list[str] = []
        self.__dict__["_dotted"], self.__dict__["_finder"] = dotted, finder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self._finder.find(self.__name__, self._dotted, name)
        setattr(self, name, value)
        return value


class Foreign(ModuleType):
    """A framework that is not ours, or a module of one."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return absent(f"{self.__name__}.{name}")


class Finder(MetaPathFinder, Loader):
    """Answers imports of Keras and of other frameworks.

    Args:
        keras: the folder of the installed package, for its layout and its tools for tests.
        standins: names by the dotted name of their room; they come before scratchnet's.
        adapt: changes one of the LOADED modules, by its dotted name.
    """

    def __init__(
        self,
        keras: Path,
        standins: Mapping[str, SimpleNamespace],
        adapt: Callable[[str, ModuleType], None],
    ):
        self.keras, self.standins, self.adapt = keras, standins, adapt

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        root = name.partition(".")[0]
        if root == "keras" or root in FOREIGN:
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        name = spec.name
        if name.partition(".")[0] in FOREIGN:
            return Foreign(name)
        dotted = name.removeprefix("keras").removeprefix(".src").removeprefix(".")
        if name.startswith("keras.src.") and dotted in LOADED:
            return ModuleType(name)
        return Room(name, dotted, self)

    def exec_module(self, module: ModuleType) -> None:
        dotted = module.__name__.removeprefix("keras.src.")
        if dotted in LOADED:
            source = self.keras.joinpath("src", *dotted.split(".")).with_suffix(".py")
            exec(compile(source.read_text(), str(source), "exec"), module.__dict__)
            self.adapt(dotted, module)

    def find(self, room: str, dotted: str, name: str) -> Any:
        """A name in a room: a stand-in, a room below it, scratchnet's, or a placeholder."""
        full = f"{dotted}.{name}".removeprefix(".")
        if dotted in self.standins and hasattr(self.standins[dotted], name):
            return getattr(self.standins[dotted], name)
        if self.is_room(full):
            return importlib.import_module(f"{room}.{name}")
        if dotted == "testing":
            return getattr(importlib.import_module("keras.src.testing.test_case"), name)
        said = ""
        for place in ours(dotted):
            try:
                value = getattr(place, name)
            except AttributeError as error:
                said = said or (str(error) if "built" in str(error) else "")
            else:
                if not isinstance(value, ModuleType):
                    return value
        return absent(full, said=said)

    def is_room(self, dotted: str) -> bool:
        """Whether Keras has a module there, in its public layout or its inner one."""
        places = (self.keras.joinpath(*inner, *dotted.split(".")) for inner in ((), ("src",)))
        return any(place.is_dir() or place.with_suffix(".py").is_file() for place in places)


def ours(dotted: str) -> Iterator[Any]:
    """The modules of scratchnet that stand for a room of Keras's, as far as they are there."""
    room = room_of(dotted)
    for name in OURS.get(room, (room,)):
        if not name:
            yield importlib.import_module("scratchnet")
            continue
        try:
            yield importlib.import_module(f"scratchnet.{name}")
        except ModuleNotFoundError as error:
            if not f"scratchnet.{name}.".startswith(f"{error.name}."):
                raise
            parent, _, last = name.rpartition(".")
            if parent and hasattr(place := importlib.import_module(f"scratchnet.{parent}"), last):
                yield getattr(place, last)


def install(
    keras: Path,
    standins: Mapping[str, SimpleNamespace],
    adapt: Callable[[str, ModuleType], None],
) -> None:
    """From here on, `import keras` means scratchnet in this process."""
    taken = [name for name in sys.modules if name.partition(".")[0] in ("keras", *FOREIGN)]
    if taken:
        raise RuntimeError(f"{taken[:3]} imported before the stand-ins: expected a new process.")
    sys.meta_path.insert(0, Finder(keras, standins, adapt))
