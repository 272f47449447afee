"""The page that `scratchnet course prove` writes: what was written, what was proved, how fast."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, NamedTuple

from scratchnet.app import pages
from scratchnet.app.course.exercises import EXERCISES, IN_ORDER
from scratchnet.app.course.proving import LARGEST
from scratchnet.app.pages.highlighting import highlighted
from scratchnet.app.run_training import OURS
from scratchnet.app.tracing import whole_file

PARTS = {
    "network": "your functions as the engine, with Adam, beside the reference",
    "rival": "the same, beside Keras",
    "stack": "your train_step with two layers, beside ours",
}
"""What is compared in float64, in this order."""

RUNS = {
    OURS: "your functions",
    "reference": "the reference",
    "compiled": "the compiled engine",
    "keras": "Keras",
}
"""Who trains in float32."""


class Proved(NamedTuple):
    """One comparison in float64."""

    what: str
    steps: int
    largest: float


class Written(NamedTuple):
    """One exercise: `lines` of its function in the file, without blank ones; 0 if there is none."""

    name: str
    state: str
    lines: int


def rows(found: dict[str, Any]) -> list[Proved]:
    """The comparisons that were made."""
    parts = [(what, found[name]) for name, what in PARTS.items() if name in found]
    return [Proved(what, part["steps"], part["largest"]) for what, part in parts]


def verdict(found: dict[str, Any]) -> str:
    """The outcome in two sentences at most."""
    everyone, s = ("the reference", "s")
    if "rival" in found:
        everyone, s = ("the reference and Keras", "")
    if not found["agree"]:
        return f"Not proved: your network parts from {everyone}."
    agree = f"Your network computes what {everyone} compute{s}: every tensor of every step agrees."
    if found["borrowed"]:
        return f"Not proved yet: {len(found['borrowed'])} functions are borrowed. What runs agrees."
    return f"Proved. {agree}"


def summary(found: dict[str, Any], data: str) -> list[str]:
    """What a terminal shows."""
    lines = [
        f"{row.what}: {row.steps:,} steps, largest difference {row.largest:.1e}"
        for row in rows(found)
    ]
    if found.get("rival", {}).get("difference"):
        lines.append(found["rival"]["difference"])
    for name, run in found["runs"].items():
        seconds = f"{run['seconds']:.2f} s an epoch"
        lines.append(f"{RUNS[name]}: {run['accuracy']:.2%} right, {seconds} ({data})")
    if found["borrowed"]:
        lines.append(f"Borrowed from the reference: {', '.join(found['borrowed'])}")
    return lines


def written(source: str, passed: Sequence[str]) -> list[Written]:
    """Every exercise of the path, and of the others those that are passed."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        body = []
    lines = source.splitlines()
    sizes = {
        node.name: sum(
            bool(line.strip()) for line in lines[node.lineno - 1 : node.end_lineno or node.lineno]
        )
        for node in body
        if isinstance(node, ast.FunctionDef)
    }
    asked = [name for name in EXERCISES if EXERCISES[name] in IN_ORDER or name in passed]
    return [
        Written(name, "passed" if name in passed else "borrowed", sizes.get(name, 0))
        for name in asked
    ]


def html(
    found: dict[str, Any], data: str, epochs: int, source: str, command: Sequence[str] | None = None
) -> str:
    """The page, as text."""
    fast = found["runs"]
    return pages.render(
        "certificate.html",
        title="A network of your own",
        good=found["holds"],
        verdict=verdict(found),
        rows=rows(found),
        limit=LARGEST,
        difference=found.get("rival", {}).get("difference"),
        runs=[
            (RUNS[name], run, run["seconds"] / fast[OURS]["seconds"]) for name, run in fast.items()
        ],
        written=written(source, found["passed"]),
        took=found["seconds"],
        data=data,
        epochs=epochs,
        source=highlighted(whole_file("network.py", source)),
        command=command,
    )
