"""Results as JSON files: raw samples and the environment that they came from.

Each machine has a folder of its own, `results/MACHINE/`, so that none overwrites another's.

Numbers are kept to five digits, so that files stay small enough to commit. `rendering/` reads them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
FORMAT = 1


def _short(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, int | str):
        return value
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {str(name): _short(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return float(f"{float(value):.5g}")


def write(
    command: str, quick: bool, body: dict[str, Any], folder: Path = FOLDER, partial: bool = False
) -> Path:
    """Write a command's result, in place of the last one of its kind; its path.

    A partial one, of some peers or jobs, has a file of its own that no report reads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    record = {"format": FORMAT, "command": command, "quick": quick, "when": when, **body}
    path = folder / f"{command}{'-quick' if quick else ''}{'-partial' if partial else ''}.json"
    text = json.dumps(_short(record), indent=1)
    path.write_text(_joined(text) + "\n", encoding="utf-8")
    return path


def _joined(text: str) -> str:
    """JSON with lists of plain numbers on one line each."""
    lines, held = [], ""
    for line in text.splitlines():
        word = line.strip()
        number = word.rstrip(",").lstrip("-")[:1].isdigit()
        if held and (number or word.startswith("]")):
            held += (" " if number and not held.endswith("[") else "") + word
            if word.startswith("]"):
                lines.append(held)
                held = ""
        elif held:
            lines += [held, line]
            held = ""
        elif word.endswith("["):
            held = line
        else:
            lines.append(line)
    return "\n".join([*lines, held] if held else lines)


def read_file(path: Path) -> dict[str, Any]:
    """One result; `ValueError` for one of another format."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if record.get("format") != FORMAT:
        raise ValueError(
            f"{path.name} has format {record.get('format')!r}: expected {FORMAT}. "
            "Measure again: python -m benchmarks all"
        )
    return record


def read(command: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    """The last full result of a command, else its last quick one, else None."""
    for name in (f"{command}.json", f"{command}-quick.json"):
        if (folder / name).exists():
            return read_file(folder / name)
    return None


def machines(folder: Path = FOLDER) -> dict[str, Path]:
    """The folders with results in them, by their machines' names."""
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/*.json"))}
