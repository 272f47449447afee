"""Put tables and figures where they belong: on the screen, in a folder, in the README.

In the README, or another page, a table lives between `<!-- benchmark:MACHINE/NAME -->` and
`<!-- /benchmark -->` (`scratchnet/app/markers.py`). All marks are checked before a byte is written.
`epoch` is the main job of `train` alone, and `machines`, without a machine, that job on all.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import store
from benchmarks.rendering.markdown import epoch_table, machines_table, table
from scratchnet.app.markers import closing, opening, replaced


def everything(
    results: Path, figures: Path | None, readme: Path | None, commands: list[str]
) -> None:
    """Print or insert the tables of all results there are, and draw their figures."""
    found = {
        f"{machine}/{name}": record
        for machine, folder in store.machines(results).items()
        for name in commands
        if (record := store.read(name, folder)) is not None
    }
    if not found:
        raise ValueError(
            "no results: expected JSON files of earlier runs. "
            "Measure first: python -m benchmarks all"
        )
    fragments = {name: table(record) for name, record in found.items()}
    jobs = {
        name.removesuffix("/train"): record
        for name, record in found.items()
        if "mnist" in record.get("jobs", {})
    }
    fragments |= {f"{machine}/epoch": epoch_table(record) for machine, record in jobs.items()}
    if jobs:
        fragments["machines"] = machines_table(jobs)
    if readme is not None:
        text = readme.read_text(encoding="utf-8")
        marks = {name: f"benchmark:{name}" for name in fragments}
        named = [name for name, mark in marks.items() if opening(mark) in text]
        if not named:
            raise ValueError(
                f"{readme.name} has none of {', '.join(map(opening, marks.values()))}: expected at "
                f"least one. Put one where a table belongs, and {closing('benchmark')!r} on a line "
                "below it."
            )
        for name in named:
            text = replaced(text, marks[name], fragments[name])
        readme.write_text(text, encoding="utf-8")
        print(f"{readme.name}: rewrote {', '.join(named)}")
    for name, fragment in fragments.items():
        if readme is None and not name.endswith("/epoch"):
            print(f"## {name}\n\n{fragment}\n")
    for name, record in found.items():
        if figures is not None:
            from benchmarks.rendering.figures import draw_figures

            for path in draw_figures(record, figures / name.partition("/")[0]):
                print(f"drew {name.partition('/')[0]}/{path.name}")
