"""The results as a table by file, as a list of what to build next, and as JSON."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .ledger import FAILED, KINDS, MISSING, OUT, PASSED, REFUSED
from .runner import BrokenFile, Result


def table(results: Sequence[Result]) -> str:
    """One row a file, with its tests by verdict, and the sums."""
    files = list(dict.fromkeys(result.file for result in results))
    counts = Counter((result.file, result.kind) for result in results)
    wide = max(map(len, [*files, "together"]))
    rows = [["file".ljust(wide), "total", *KINDS]]
    for file in files:
        row = [counts[file, kind] for kind in KINDS]
        rows.append([file.ljust(wide), *map(str, [sum(row), *row])])
    sums = [sum(counts[file, kind] for file in files) for kind in KINDS]
    rows.append(["together".ljust(wide), *map(str, [sum(sums), *sums])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows
    )


def reasons(results: Iterable[Result]) -> str:
    """Why tests are out of scope, by number."""
    counts = Counter(result.about for result in results if result.kind == OUT)
    return "\n".join(f"{count:6} {reason}" for reason, count in counts.most_common())


def wanted(results: Iterable[Result], most: int | None = None) -> str:
    """The names and arguments that tests in scope ask for and that are not there, by number."""
    asked = [result for result in results if result.kind in (MISSING, REFUSED)]
    counts = Counter((result.about, result.kind) for result in asked)
    return "\n".join(f"{n:6} {about} ({kind})" for (about, kind), n in counts.most_common(most))


def each(results: Iterable[Result], kinds: Iterable[str]) -> Iterator[str]:
    """A line for each test of some kinds."""
    for result in results:
        if result.kind in kinds:
            why = f" [meant: {result.difference}]" if result.difference else ""
            yield f"{result.kind}: {result.test}: {result.about} {result.said}{why}"


def summary(results: Sequence[Result]) -> str:
    """The sums in a sentence or three."""
    counts = Counter(result.kind for result in results)
    built = counts[PASSED] + counts[FAILED]
    share = f"{counts[PASSED] / built:.1%}" if built else "none"
    meant = sum(result.difference is not None for result in results)
    words = sum(result.kind == PASSED and "other words" in result.said for result in results)
    return (
        f"{len(results)} tests, {len(results) - counts[OUT]} in scope. {counts[PASSED]} of "
        f"{built} that ask only for what is built pass ({share}), {words} of them with an error of "
        f"Keras's class in other words; {counts[FAILED]} fail, {meant} of them as meant. "
        f"{counts[REFUSED]} are refused, {counts[MISSING]} ask for what is missing."
    )


def faults(
    results: Sequence[Result],
    broken: Iterable[BrokenFile],
    differences: Mapping[str, str],
    least: int = 0,
) -> Iterator[str]:
    """What makes the command fail."""
    yield from (f"no results from {file.file}: {file.said}" for file in broken)
    yield from each([r for r in results if r.difference is None], [FAILED])
    for form, why in differences.items():
        found = [result for result in results if fnmatch.fnmatch(result.test, form)]
        if found and all(result.kind == PASSED for result in found):
            yield f"{form} passes: delete the difference that it is meant to show, {why!r}"
    passed = sum(result.kind == PASSED for result in results)
    if passed < least:
        yield f"{passed} pass, expected at least {least}"


def write_json(results: Iterable[Result], path: Path) -> None:
    path.write_text(json.dumps([result._asdict() for result in results], indent=1) + "\n")
