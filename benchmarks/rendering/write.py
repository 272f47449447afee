"""Put tables and figures where they belong: on the screen, in a folder, in the README.

In the README, or another page, a table lives between `<!-- benchmark:NAME -->` and
`<!-- /benchmark -->`; everything else stays as it is. All markers are checked before a byte is
written. `epoch` is the main job of `train` alone.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import store
from benchmarks.rendering.markdown import epoch_table, table

END = "<!-- /benchmark -->"


def opening(name: str) -> str:
    return f"<!-- benchmark:{name} -->"


def between_markers(text: str, name: str, fragment: str) -> str:
    """The text with the fragment between the markers of that name.

    Raises:
        ValueError: where a marker is missing or stands twice.

    >>> old = "before\\n<!-- benchmark:x -->\\nold\\n<!-- /benchmark -->\\nafter"
    >>> old = "before <!-- benchmark:x -->...<!-- /benchmark --> after"
    >>> print(between_markers(old, "x", "new"))
    before <!-- benchmark:x -->
    new
    <!-- /benchmark --> after
    """
    start = opening(name)
    if text.count(start) != 1:
        raise ValueError(
            f"{text.count(start)} lines {start!r}: expected exactly one. Put it where the table "
            f"belongs, and {END!r} on a line below it."
        )
    head, rest = text.split(start)
    body, end, tail = rest.partition(END)
    if not end or "<!-- benchmark:" in body:
        raise ValueError(f"no {END!r} after {start!r}: expected one. Put it on a line below.")
    return f"{head}{start}\n{fragment}\n{END}{tail}"


def everything(
    results: Path, figures: Path | None, readme: Path | None, commands: list[str]
) -> None:
    """Print or insert the tables of all results there are, and draw their figures."""
    records = {name: store.read(name, results) for name in commands}
    found = {name: record for name, record in records.items() if record is not None}
    if not found:
        raise ValueError(
            "no results: expected JSON files of earlier runs. "
            "Measure first: python -m benchmarks all"
        )
    fragments = {name: table(record) for name, record in found.items()}
    if "mnist" in found.get("train", {}).get("jobs", {}):
        fragments["epoch"] = epoch_table(found["train"])
    if readme is not None:
        text = readme.read_text(encoding="utf-8")
        named = [name for name in fragments if opening(name) in text]
        if not named:
            raise ValueError(
                f"{readme.name} has none of {', '.join(map(opening, fragments))}: expected at "
                f"least one. Put a marker where a table belongs, and {END!r} on a line below it."
            )
        for name in named:
            text = between_markers(text, name, fragments[name])
        readme.write_text(text, encoding="utf-8")
        print(f"{readme.name}: rewrote {', '.join(named)}")
    for name, record in found.items():
        if readme is None:
            print(f"## {name}\n\n{fragments[name]}\n")
        if figures is not None:
            from benchmarks.rendering.figures import draw_figures

            for path in draw_figures(record, figures):
                print(f"drew {path.name}")
