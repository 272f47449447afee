"""What studies found: kept as one small Parquet file each, and quoted in `docs/study.md`.

`python -m benchmarks findings keep DIR... NAME` copies studies to `results/study/NAME`, their
runs in one file; `scratchnet study report` reads that too. `python -m benchmarks findings write`
computes the tables between the marks of the page, and its figures, from what is kept.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import typer

from benchmarks import store
from scratchnet import atomic, plots
from scratchnet.app.markers import rewrite
from scratchnet.app.pages.study_page import p_number
from scratchnet.app.study import archive, inference
from scratchnet.app.study.inference import Group, SeedComparison

FOLDER = store.FOLDER / "study"
PAGE = store.FOLDER.parents[1] / "docs" / "study.md"

findings = typer.Typer(no_args_is_help=True, help=(__doc__ or "").partition("\n")[0])


@findings.command()
def keep(studies: list[Path], name: str, seeds: int | None = None, folder: Path = FOLDER) -> None:
    """Copy studies of one code and margin, or their first seeds, to where findings are kept."""
    import pyarrow.compute as pc

    found = [archive.Archive(study) for study in studies]
    stated = {(one.plan.code, one.plan.margin, one.plan.target) for one in found}
    if len(stated) > 1:
        raise ValueError(f"{stated}: expected studies of one code, margin and target")
    grids = [grid for one in found for grid in one.plan.grids]
    if seeds is not None:
        grids = [g | {"seed": [s for s in g.get("seed", [0]) if s < seeds]} for g in grids]
    plan = replace(found[0].plan, grids=grids)
    rows = archive.read_rows([path for one in found for path in one.files])
    if seeds is not None:
        rows = rows.filter(pc.less(rows.column("seed"), seeds))
    runs = folder / name / archive.RUNS
    runs.mkdir(parents=True, exist_ok=True)
    rows = rows.sort_by([("framework", "ascending"), ("seed", "ascending"), ("key", "ascending")])
    archive.write_rows(runs / "all.parquet", rows, level=19)
    atomic.write(folder / name / archive.PLAN, archive.plan_text(plan))
    size = (runs / "all.parquet").stat().st_size
    print(f"{name}: {rows.num_rows} runs of {len(plan.cells)}, {size / 1e3:.0f} kB")


@findings.command()
def overhead(cells: int = 200, workers: int = 2) -> None:
    """What a study of so many tiny runs costs beside them, in CPU time and the client's memory."""
    import psutil  # comes with distributed

    from scratchnet.app.run_training import ProgressListener
    from scratchnet.app.study import cell_run, cluster

    grid = {"seed": list(range(cells)), "data": ["digits"], "epochs": [1]}
    client_process = psutil.Process()

    def spent() -> tuple[float, float]:
        """CPU seconds of this process, with client and scheduler in it, and of the workers."""
        each = [p.cpu_times() for p in client_process.children(recursive=True)]
        return time.process_time(), sum(times.user + times.system for times in each)

    with tempfile.TemporaryDirectory() as folder, cluster.connected(workers, None) as client:
        kept = archive.begin(Path(folder) / "study", archive.StudyPlan([grid]))
        client.run(cell_run.run, kept.plan.cells[0])  # loads and compiles, once a worker
        kept.add([cell_run.run(kept.plan.cells[0])])  # and here Arrow is loaded
        before, resident = spent(), client_process.memory_info().rss
        start = time.perf_counter()
        failed = cluster.run_cells(client, kept, kept.missing(), cell_run.run, ProgressListener())
        seconds = time.perf_counter() - start
        ours, theirs = (after - b for after, b in zip(spent(), before, strict=True))
        grown = client_process.memory_info().rss - resident
        computed = float(np.sum(kept.table().column("seconds").to_numpy()))
    print(
        f"{cells:,} runs, {len(failed)} failed: {seconds:.1f} s on {workers} workers; workers "
        f"{theirs:.1f} s of CPU time, of which training {computed:.1f} s of wall time; client and "
        f"scheduler {ours:.1f} s ({ours / theirs:.1%}); client's memory {grown / 1e6:+.1f} MB"
    )


@findings.command()
def write(folder: Path = FOLDER, page: Path = PAGE) -> None:
    """Rewrite the page's blocks and figures from what is kept."""
    matplotlib.use("Agg")
    for name, draw in FIGURES.items():
        if not (folder / name).is_dir():
            continue
        found, compared = read(name, folder)
        rewrite(page, f"study:{name}", block(found, compared))
        path = page.parent / f"study-{name}.png"
        axes = draw(found, compared)
        axes.figure.savefig(path, dpi=110, metadata={"Software": None})
        print(f"{page.name}: {name}, {path.name}")


def read(name: str, folder: Path = FOLDER) -> tuple[list[Group], list[SeedComparison]]:
    """The groups and comparisons of a finding."""
    kept = archive.Archive(folder / name)
    found = inference.groups(kept.table(), kept.plan.target)
    compared = [inference.compare(a, b, kept.plan.margin) for a, b in inference.pairs(found)]
    return found, [made for made in compared if made is not None]


def block(found: list[Group], compared: list[SeedComparison]) -> str:
    """The tables of a finding, as Markdown; of many comparisons the page of the study has them."""
    compared = compared if len(compared) <= 4 else []
    lines = [
        "| setting | runs | mean, % | std. dev. | least to most | mean by logits, % | "
        "runs that reach 97 % | median epochs to it |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for group in found:
        median = group.median_epochs()
        spread = np.std(group.points, ddof=1) if len(group.points) > 1 else 0.0
        lines.append(
            f"| {group.label} | {len(group.seeds)} | {group.points.mean():.3f} | {spread:.3f} | "
            f"{group.points.min():.2f} to {group.points.max():.2f} | "
            f"{group.points_by_logits.mean():.3f} | {int(group.reached.sum())} | "
            f"{'not reached' if median is None else f'{median:.0f}'} |"
        )
    if compared:
        lines += [
            "",
            "| first - second | pairs | mean difference | 90 % interval | equivalent within "
            f"{compared[0].margin:g} points | TOST p | only the first right, only the second |",
            "| --- | --: | --: | --: | --: | --: | --: |",
        ]
    lines += [
        f"| {c.a} - {c.b} | {len(c.differences)} | {c.differences.mean():+.3f} | "
        f"{c.interval[0]:+.3f} to {c.interval[1]:+.3f} | {'yes' if c.equivalent else 'not shown'} "
        f"| {p_number(c.p)} | {c.only_a:,}, {c.only_b:,} |"
        for c in compared
    ]
    return "\n".join(lines)


# --- figures --------------------------------------------------------------------------------------


def _differences(found: list[Group], compared: list[SeedComparison]) -> Any:
    named = {f"{c.a} - {c.b}": c for c in compared}
    return plots.paired_differences(
        {name: c.differences for name, c in named.items()},
        margin=compared[0].margin,
        intervals={name: c.interval for name, c in named.items()},
    )


def _readings(found: list[Group], compared: list[SeedComparison]) -> Any:
    """Each setting by its outputs and by its logits."""
    named = {}
    for group in found:
        named[f"{group.label}, by outputs"] = group.points
        named[f"{group.label}, by logits"] = group.points_by_logits
    return plots.raincloud(named, label="test accuracy, %")


def _clouds(found: list[Group], compared: list[SeedComparison]) -> Any:
    return plots.raincloud({g.label: g.points for g in found}, label="test accuracy, %")


def _heat(found: list[Group], compared: list[SeedComparison]) -> Any:
    """Mean accuracy by batch size and by how the rate goes with it."""
    held = {(g.settings["rate_rule"], g.settings["batch_size"]): g.points.mean() for g in found}
    rules, sizes = (list(dict.fromkeys(key[i] for key in held)) for i in (0, 1))
    return plots.heat_map(
        [[held.get((rule, size), np.nan) for size in sizes] for rule in rules],
        rules,
        sizes,
        row_label="learning rate",
        column_label="batch size",
        label="mean test accuracy, %",
    )


FIGURES: dict[str, Callable[[list[Group], list[SeedComparison]], Any]] = {
    "keras": _differences,
    "pixels": _readings,
    "heads": _clouds,
    "batch": _heat,
}
"""Every finding, with its figure."""
