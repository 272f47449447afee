"""Who takes part: for each peer how people call it, and the settings to search for its best.

A setting named `cpus` pins the whole process to so many processors; all others go to the peer's
file, which says what they mean. Settings are searched for each job anew, in short runs, and both
the peer as called and at its best are reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A peer in the table.

    Attributes:
        candidates: what may be its best; `called` is always one of those compared.
        guess: its best where there is no time to search (`--quick`); None for as called.
        predict: settings for `predict` at its best.
        quick: whether it takes part with `--quick`.
    """

    peer: str
    title: str
    called: Settings = field(default_factory=dict)
    candidates: tuple[Settings, ...] = ()
    guess: Settings | None = None
    called_words: str = "as called"
    predict: Settings | None = None
    quick: bool = True

    @property
    def search_space(self) -> tuple[Settings, ...]:
        """All settings to try, as called first."""
        others = [settings for settings in self.candidates if settings != self.called]
        return (self.called, *others)

    def narrowed(self, best: Settings) -> Entry:
        """With only the best of another job to try, pinned to one processor and not."""
        free = {name: value for name, value in best.items() if name != "cpus"}
        return replace(self, candidates=(free, free | {"cpus": 1}))


@dataclass(frozen=True)
class Contestant:
    """A peer with settings; `name` is the row's name in tables and results."""

    peer: str
    name: str
    settings: Settings = field(compare=False)

    @property
    def cpus(self) -> int | None:
        return self.settings.get("cpus")

    @property
    def options(self) -> dict[str, Any]:
        """The settings without `cpus`."""
        return {name: value for name, value in self.settings.items() if name != "cpus"}


ENTRIES = (
    Entry(
        "keras_tensorflow",
        "Keras on TensorFlow",
        candidates=(
            {"steps_per_execution": 16},
            {"steps_per_execution": 64},
            {"steps_per_execution": 64, "jit_compile": False},
            {"steps_per_execution": 64, "cpus": 1},
        ),
        guess={"steps_per_execution": 64},
        predict={"predict_batch": 10_000},
    ),
    Entry(
        "keras_jax",
        "Keras on JAX",
        candidates=({"steps_per_execution": 16}, {"cpus": 1}),
        predict={"predict_batch": 10_000},
        quick=False,
    ),
    Entry(
        "keras_torch",
        "Keras on PyTorch",
        predict={"predict_batch": 10_000},
        quick=False,
    ),
    Entry(
        "pytorch",
        "PyTorch",
        candidates=(
            {"loader": "index", "adam": "fused"},
            {"loader": "index", "adam": "fused", "flush": True},
            {"loader": "index", "adam": "fused", "flush": True, "cpus": 1},
            {"loader": "index", "adam": "foreach", "flush": True},
            {"loader": "index", "adam": "fused", "flush": True, "compile": True, "cpus": 1},
        ),
        guess={"loader": "index", "adam": "fused", "flush": True, "cpus": 1},
        called_words="as in its tutorials",
    ),
    Entry(
        "jax_scan",
        "JAX, jit and scan",
        candidates=(
            {"cpus": 1},
            {"gather": "epoch"},
            {"gather": "epoch", "cpus": 1},
            {"unroll": 4, "cpus": 1},
        ),
        guess={"cpus": 1},
    ),
    Entry("sklearn", "scikit-learn", candidates=({"cpus": 1},), guess={"cpus": 1}),
    Entry("numpy_plain", "plain NumPy", candidates=({"cpus": 1},), guess={"cpus": 1}),
)
"""The peers that are not ours."""


def ours(threads: int) -> tuple[Contestant, ...]:
    """scratchnet's rows; `threads` is what the machine has."""
    rows = [
        Contestant("scratchnet", "scratchnet, reference engine", {"engine": "reference"}),
        compiled_contestant(1),
    ]
    return tuple(rows + ([compiled_contestant(threads)] if threads > 1 else []))


def compiled_contestant(threads: int) -> Contestant:
    words = f"scratchnet, compiled, {threads} thread{'s' if threads > 1 else ''}"
    return Contestant("scratchnet", words, {"engine": "compiled", "threads": threads})


def as_called(entry: Entry) -> Contestant:
    return Contestant(entry.peer, f"{entry.title}, {entry.called_words}", entry.called)


def at_best(entry: Entry, settings: Settings) -> Contestant:
    return Contestant(entry.peer, f"{entry.title}, at its best", settings)


def words(settings: Settings) -> str:
    """Settings for a person to read.

    >>> words({"steps_per_execution": 64, "cpus": 1})
    'steps_per_execution=64, on 1 cpu'
    """
    parts = [f"{name}={value}" for name, value in settings.items() if name != "cpus"]
    if settings.get("cpus"):
        parts.append(f"on {settings['cpus']} cpu{'s' if settings['cpus'] > 1 else ''}")
    return ", ".join(parts) or "defaults"


def chosen(peers: list[str] | None) -> tuple[Entry, ...]:
    """The entries of these peers, or all; `ValueError` for an unknown name."""
    known = [entry.peer for entry in ENTRIES]
    unknown = sorted(set(peers or []) - {*known, "scratchnet"})
    if unknown:
        raise ValueError(
            f"peer={unknown[0]!r}: expected one of {', '.join([*known, 'scratchnet'])}."
        )
    return tuple(entry for entry in ENTRIES if not peers or entry.peer in peers)
