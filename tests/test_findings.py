"""What studies found: the page says what the kept runs say, and they are few bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import findings
from scratchnet.app.markers import between
from scratchnet.app.study import archive, cell_run
from scratchnet.app.study.cells import Cell

PAGE = findings.PAGE.read_text()
KEPT = sorted(path.name for path in findings.FOLDER.iterdir())


@pytest.mark.parametrize("name", findings.FIGURES)
def test_the_page_quotes_what_is_kept(name):
    assert between(PAGE, f"study:{name}") == findings.block(*findings.read(name))
    assert (findings.PAGE.parent / f"study-{name}.png").is_file()


def test_every_finding_is_whole_runs_once_each_and_all_are_small():
    assert set(KEPT) == set(findings.FIGURES)
    for name in KEPT:
        kept = archive.Archive(findings.FOLDER / name)
        rows = kept.table().to_pylist()
        assert len({row["key"] for row in rows}) == len(rows) == len(kept.plan.cells)
        assert {row["code"] for row in rows} == {kept.plan.code}
        assert {(row["seed"], row["framework"]) for row in rows} == {
            (cell.seed, cell.framework) for cell in kept.plan.cells
        }
    size = sum(path.stat().st_size for path in findings.FOLDER.rglob("*") if path.is_file())
    assert size < 2e6


def test_the_main_finding_has_thirty_pairs_within_the_margin():
    _, (c,) = findings.read("keras")
    assert len(c.differences) >= 30 and c.margin == 0.15
    assert c.p < 0.01 and -0.15 < c.interval[0] < c.interval[1] < 0.15


def test_studies_are_kept_as_one(tmp_path):
    made = []
    for seeds in ([0], [0, 1]):
        grid = {"seed": seeds, "data": ["digits"], "epochs": [1], "engine": ["reference"]}
        kept = archive.begin(tmp_path / f"s{len(seeds)}", archive.StudyPlan([grid]))
        for seed in seeds:
            kept.add([cell_run.run(Cell(seed, data="digits", epochs=1, engine="reference"))])
        made.append(kept.path)
    findings.keep(made, "both", folder=tmp_path)
    both = archive.Archive(tmp_path / "both")
    assert [path.name for path in both.files] == ["all.parquet"]
    assert both.table().column("seed").to_pylist() == [0, 1] and len(both.plan.cells) == 2
    findings.keep(made, "one", 1, tmp_path)
    one = archive.Archive(tmp_path / "one")
    assert one.table().num_rows == 1 == len(one.plan.cells)
    other = replace(both.plan, margin=1.0)
    Path(made[0] / archive.PLAN).write_text(archive.plan_text(other))
    with pytest.raises(ValueError, match="one code, margin and target"):
        findings.keep(made, "both", folder=tmp_path)
