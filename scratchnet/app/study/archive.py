"""The folder of a study: what was asked, and a row for each run that is done, in Parquet files.

`study.json` holds the grids, the margin, the target and the code's version, stated before the first
run. `runs/` is a Parquet data set: each file takes its place at once, with the rows that came in
together, and is never touched again, so that a study goes on, and is read, from whatever is there.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scratchnet import atomic
from scratchnet.app.study import StudyError
from scratchnet.app.study.cell_run import HISTORY, Row
from scratchnet.app.study.cells import NAMES, Cell, Grid, code_version, expand, read_grid
from scratchnet.app.text import to_json
from scratchnet.untrusted import MAX_TEXT, ForeignBytesError, parse_json

FORMAT = "scratchnet study 1"
PLAN, RUNS, REPORT = "study.json", "runs", "report.html"


@dataclass
class StudyPlan:
    """What a study asks, stated before it begins.

    Attributes:
        grids: what varies; a study may be given more of them later.
        margin: percentage points of accuracy within which two are called equivalent.
        target: the accuracy whose time is looked at.
    """

    grids: list[Grid]
    margin: float = 0.15
    target: float = 0.97
    code: str = ""

    @property
    def cells(self) -> list[Cell]:
        """Every run that is asked for, once."""
        return expand(self.grids)


@cache
def schema() -> Any:
    """The columns of a row, as Arrow has them."""
    import pyarrow as pa

    numbers, text = pa.list_(pa.float64()), pa.string()
    kinds = {
        **dict.fromkeys(("seed", "epochs", "batch_size"), pa.int64()),
        "learning_rate": pa.float64(),
        "widths": pa.list_(pa.int64()),
        "scaled": pa.bool_(),
    }
    columns = {"key": text, "code": text, **{name: kinds.get(name, text) for name in NAMES}}
    columns |= dict.fromkeys((*HISTORY, "epoch_seconds"), numbers)
    columns |= dict.fromkeys(("test_accuracy", "logits_accuracy", "seconds"), pa.float64())
    columns |= dict.fromkeys(("answers", "answers_by_logits"), pa.binary())
    columns |= dict.fromkeys(("ran_on", "cpu", "system", "versions"), text)
    return pa.schema(list(columns.items()))


def write_rows(path: Path, rows: Any, level: int = 3) -> None:
    """Make rows, or a table of them, a Parquet file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema())
    with atomic.replacing(path) as file:
        pq.write_table(table, file, compression="zstd", compression_level=level)


def read_rows(files: Sequence[Path], columns: Sequence[str] | None = None) -> Any:
    """The rows of Parquet files as one Arrow table, each key once.

    Raises:
        StudyError: for a file that is not one of a study's.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for path in files:
        try:
            found = pq.read_schema(path)
            if not found.equals(schema()):
                raise StudyError(f"{path}: other columns than a study's. Move it out of the folder")
            tables.append(pq.ParquetFile(path).read(columns=list(columns) if columns else None))
        except pa.ArrowException as error:
            told = str(error).splitlines()[0]
            raise StudyError(
                f"{path}: no whole Parquet file: {told} Delete it, and go on with the study: only "
                "its runs are run again."
            ) from error
    wanted = schema() if columns is None else pa.schema([schema().field(c) for c in columns])
    table = pa.concat_tables([wanted.empty_table(), *tables])
    keys = table.column("key").to_pylist()
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    return table if len(first) == len(keys) else table.take(sorted(first.values()))


class Archive:
    """A study's folder, read; `begin` or `open_for_writing` it to add rows.

    Raises:
        StudyError: where the folder is no study's, or its plan can't be read.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.plan = _read_plan(self.path)

    @property
    def files(self) -> list[Path]:
        """The files of the data set, in the order of their names."""
        return sorted((self.path / RUNS).glob("*.parquet"))

    def keys(self) -> set[str]:
        """The keys of the runs that are done."""
        return set(read_rows(self.files, ["key"]).column("key").to_pylist())

    def table(self) -> Any:
        """All rows as an Arrow table."""
        return read_rows(self.files)

    def missing(self) -> list[Cell]:
        """The runs that are asked for and not there.

        Raises:
            StudyError: where the study was begun with other code.
        """
        if self.plan.code != code_version():
            raise StudyError(
                f"{self.path} was begun with scratchnet {self.plan.code}, and this is "
                f"{code_version()}: their runs are not of one study. Name another folder"
            )
        done = self.keys()
        return [cell for cell in self.plan.cells if cell.key not in done]

    def hold(self) -> None:
        """Keep other writers out until this process ends or `release` is called."""
        (self.path / RUNS).mkdir(exist_ok=True)
        descriptor = os.open(self.path, os.O_RDONLY)
        if atomic.lock(descriptor) is False:
            os.close(descriptor)
            raise StudyError(
                f"{self.path} is in use: another process is writing a study there. Wait for it, or "
                "name another folder"
            )
        self.release = weakref.finalize(self, os.close, descriptor)
        atomic.delete_leftovers(self.path / RUNS)

    def add(self, rows: Iterable[Row]) -> None:
        """Keep rows that came in together, in one file of their own."""
        held = list(rows)
        write_rows(self.path / RUNS / f"{held[0]['key']}-{len(held)}.parquet", held)


def begin(path: str | os.PathLike[str], plan: StudyPlan) -> Archive:
    """The folder of a study, new or to be gone on with: grids that it has not had are added.

    Raises:
        StudyError: where the folder holds something else, or another margin or target was stated.
    """
    folder = Path(path)
    if (folder / PLAN).is_file():
        archive = Archive(folder)
        for name in ("margin", "target"):
            before, now = getattr(archive.plan, name), getattr(plan, name)
            if before != now:
                raise StudyError(
                    f"{folder}: {name} {now:g}, and {before:g} was stated when the study began. "
                    "It holds to the end: leave it out, or name another folder"
                )
        grids = archive.plan.grids + [g for g in plan.grids if g not in archive.plan.grids]
        archive.plan.grids = grids
        archive.missing()  # other code is refused before anything is written
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"{folder} is there and no study. Name a new folder")
    else:
        plan.code = code_version()
        plan.cells  # noqa: B018 what can't be run is refused before there is a folder
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write(folder / PLAN, plan_text(plan))
        archive = Archive(folder)
    archive.hold()
    atomic.write(folder / PLAN, plan_text(archive.plan))
    return archive


def plan_text(plan: StudyPlan) -> str:
    """`study.json` of a plan."""
    content = {"format": FORMAT, "code": plan.code, "margin": plan.margin, "target": plan.target}
    return to_json({**content, "grids": plan.grids})


def _read_plan(folder: Path) -> StudyPlan:
    path = folder / PLAN
    if not path.is_file():
        raise StudyError(f"{folder}: no study there. Begin one: scratchnet study run {folder}")
    try:
        if path.stat().st_size > MAX_TEXT:
            raise ForeignBytesError(f"it has more than {MAX_TEXT} bytes")
        content = parse_json(path.read_bytes())
        if content.get("format") != FORMAT:
            raise ForeignBytesError(f"its format is not {FORMAT!r}")
        grids = [read_grid(grid) for grid in content["grids"]]
        margin, target = float(content["margin"]), float(content["target"])
        return StudyPlan(grids, margin, target, str(content["code"]))
    except (ForeignBytesError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise StudyError(f"{path} can't be read: {error}. Restore it from a copy") from error
