"""What a study says: statistics on made-up runs whose answers are known, and the page of them."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats
from typer.testing import CliRunner

from scratchnet import plots
from scratchnet.app import cli
from scratchnet.app.pages import study_page
from scratchnet.app.study import archive, inference
from scratchnet.app.study.cells import Cell, code_version

pytest_plugins = ["browser"]

IMAGES = 400


def row(cell: Cell, wrong: int, epochs_to: int | None = 2, shift: int = 0) -> dict:
    """A run that has `wrong` images wrong, from image `shift` on, at 97 % after so many epochs."""
    answers = np.zeros(IMAGES, np.uint8)
    answers[shift : shift + wrong] = 1
    reached = [epochs_to is not None and n >= epochs_to for n in range(1, cell.epochs + 1)]
    made = dict.fromkeys(archive.HISTORY, [0.5] * cell.epochs)
    accuracy = 1 - wrong / IMAGES
    return {
        "key": cell.key,
        "code": code_version(),
        **(asdict(cell) | {"widths": list(cell.widths)}),
        **made,
        "val_accuracy": [0.98 if there else 0.9 for there in reached],
        "epoch_seconds": [0.5] * cell.epochs,
        "test_accuracy": accuracy,
        "logits_accuracy": accuracy,
        "answers": answers.tobytes(),
        "answers_by_logits": answers.tobytes(),
        "seconds": 0.5 * cell.epochs,
        **dict.fromkeys(("ran_on", "cpu", "system", "versions"), "<b>any</b>"),
    }


def pairs(seeds: int = 8, gap: int = 0, **keras: object) -> list[dict]:
    """Ours and Keras's by seed: Keras has `gap` more wrong, and one more or less by turns."""
    made = []
    for seed in range(seeds):
        ours = Cell(seed=seed, data="digits", epochs=4)
        turn = (1, -1, 0)[seed % 3]
        made.append(row(ours, 20, 2 + seed % 2))
        made.append(row(replace(ours, framework="keras"), 20 + gap + turn, **keras))
    return made


def study(tmp_path, rows: list[dict], grids: list[dict] | None = None) -> archive.Archive:
    default = {"framework": ["scratchnet", "keras"], "data": ["digits"], "epochs": [4]}
    grids = grids or [{"seed": list(range(8)), **default}]
    kept = archive.begin(tmp_path / "study", archive.StudyPlan(grids, margin=0.25))
    if rows:
        kept.add(rows)
    kept.release()
    return kept


def compared(tmp_path, rows: list[dict], margin: float = 0.25) -> inference.SeedComparison:
    found = inference.groups(study(tmp_path, rows).table(), 0.97)
    ((a, b),) = inference.pairs(found)
    made = inference.compare(a, b, margin)
    assert made is not None
    return made


# --- statistics -----------------------------------------------------------------------------------


def test_equivalence_is_two_one_sided_t_tests_on_differences_by_seed(tmp_path):
    c = compared(tmp_path, pairs())
    d = 100 / IMAGES * np.array([1, -1, 0, 1, -1, 0, 1, -1])
    assert (c.a, c.b) == ("scratchnet", "Keras") and np.allclose(c.differences, d, atol=1e-12)
    below = stats.ttest_1samp(d, -0.25, alternative="greater").pvalue
    above = stats.ttest_1samp(d, 0.25, alternative="less").pvalue
    assert c.p == pytest.approx(max(below, above), rel=1e-9)
    mean, error = d.mean(), stats.sem(d)
    assert c.interval == pytest.approx(stats.t.interval(0.9, 7, mean, error), rel=1e-9)
    assert c.equivalent == (c.p < 0.05) == (c.interval[0] > -0.25 and c.interval[1] < 0.25)
    assert c.bootstrap[0] < mean < c.bootstrap[1]


@pytest.mark.parametrize(("gap", "equal"), [(0, True), (4, False), (-4, False)])
def test_a_gap_beyond_the_margin_is_found_on_either_side(tmp_path, gap, equal):
    c = compared(tmp_path, pairs(gap=gap))
    assert c.equivalent == equal and np.sign(c.differences.mean().round(1)) == np.sign(gap)


def test_disagreements_are_pooled_over_the_seeds(tmp_path):
    c = compared(tmp_path, pairs(shift=10))
    wrong_ours, wrong_keras = 8 * 20, 8 * 20 + sum((1, -1, 0)[s % 3] for s in range(8))
    both = 8 * 10
    assert (c.only_a, c.only_b) == (wrong_keras - both, wrong_ours - both)
    exact = stats.binomtest(c.only_a, c.only_a + c.only_b).pvalue
    assert c.mcnemar == pytest.approx(exact, rel=1e-9)


def test_the_seeds_that_are_needed_give_the_power_that_is_promised():
    rng, spread = np.random.default_rng(1), 0.2
    n = inference.seeds_needed(spread, 0.1)
    draws = rng.normal(0, spread, (4000, n))
    half = stats.t.ppf(0.95, n - 1) * stats.sem(draws, axis=1)
    held = np.mean(np.abs(draws.mean(axis=1)) + half < 0.1)
    assert 0.78 < held < 0.86  # 80 % or a little more; 4,000 draws are good to 0.013 (2 sigma)
    assert (
        n == 36 and inference.seeds_needed(0.0, 0.1) == 3 and inference.seeds_needed(1e-3, 0.1) == 3
    )


def test_runs_that_never_arrive_are_censored(tmp_path):
    rows = pairs(epochs_to=None)
    ours, theirs = inference.groups(study(tmp_path, rows).table(), 0.97)
    assert ours.median_epochs() == 2 and theirs.median_epochs() is None
    assert ours.epochs_to.tolist() == [2, 3] * 4 and not theirs.reached.any()
    times, shares = ours.survival("epochs")
    assert dict(zip(times, shares, strict=True)) == {0: 1.0, 2: 0.5, 3: 0.0}
    assert ours.seconds_to.tolist() == [1.0, 1.5] * 4
    c = inference.compare(ours, theirs, 0.25)
    assert c is not None and c.logrank is not None and c.logrank < 0.001
    none = compared(tmp_path / "b", [r | {"val_accuracy": [0.5] * 4} for r in pairs()])
    assert none.logrank is None


def test_no_spread_is_no_division_by_it(tmp_path):
    rows = [r for r in pairs() if r["seed"] % 3 == 2]
    more = [{**r, "seed": r["seed"] + 9, "key": r["key"][::-1]} for r in rows]
    c = compared(tmp_path, [*rows, *more])
    assert (c.p, c.interval, c.seeds_needed) == (0.0, (0.0, 0.0), 3)


def grid_rows() -> tuple[list[dict], list[dict]]:
    """Batch sizes times widths: wider is better, and batch size does nothing."""
    grid = {"seed": [0, 1, 2, 3], "data": ["digits"], "epochs": [4]}
    grid |= {"batch_size": [16, 32], "widths": [(20,), (50, 50)]}
    rows = [
        row(cell, 40 + cell.seed - 30 * (len(cell.widths) == 2))
        for cell in archive.StudyPlan([grid]).cells
    ]
    return rows, [grid]


def test_the_layout_finds_what_matters(tmp_path):
    rows, grids = grid_rows()
    found = inference.groups(study(tmp_path, rows, grids).table(), 0.97)
    assert [g.settings["batch_size"] for g in found] == [16, 16, 32, 32]
    effects = {name: (share, p) for name, share, _, p in inference.layout(found)}
    assert effects["hidden units"][0] > 0.98 and effects["hidden units"][1] < 1e-9
    assert effects["batch size"][0] == pytest.approx(0, abs=1e-12)
    assert sum(share for share, _ in effects.values()) == pytest.approx(1)
    assert math.isnan(effects["between seeds"][1])
    assert len(list(inference.pairs(found))) == 4
    assert inference.layout(found[:3]) == []  # a combination is missing


# --- the page -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_is_readable_offline(visit, tmp_path, width):
    kept = study(tmp_path, pairs())
    study_page.write_study_report(kept.path)
    seen = visit(kept.path / "report.html", width)
    assert seen.faults() == {}
    assert "equally accurate within 0.25 points over 8 paired seeds" in seen.page.inner_text("h1+p")
    assert seen.page.locator("svg").count() == 5
    assert seen.page.locator("b").count() == 0  # names are text


def test_the_page_of_a_grid(visit, tmp_path):
    kept = study(tmp_path, *grid_rows())
    seen = visit(study_page.html(kept), 375, "dark")
    assert seen.faults() == {} and seen.page.locator("h1+p").count() == 0
    assert "hidden units 50-50" in seen.page.inner_text("main")
    assert "Over the grid" in seen.page.inner_text("main")


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_study_that_has_hardly_begun_has_a_page_too(tmp_path, number):
    kept = study(tmp_path, pairs()[:number])
    first, again = study_page.html(kept), study_page.html(kept)
    assert first == again and f"{number} are done" in first


def test_the_command_makes_it_from_the_folder_alone(tmp_path):
    kept = study(tmp_path, pairs(gap=4))
    out = tmp_path / "page.html"
    done = CliRunner().invoke(cli.app, ["study", "report", str(kept.path), "--out", str(out)])
    assert done.exit_code == 0 and "are not shown to be equally accurate" in out.read_text()
    missing = CliRunner().invoke(cli.app, ["study", "report", str(tmp_path / "none")])
    assert missing.exit_code == 2 and "no study there" in missing.stderr


# --- pictures -------------------------------------------------------------------------------------


def test_the_pictures_show_every_number():
    ax = plots.paired_differences({"a": [1.0, 2.0], "b": [0.0]}, margin=3, ax=Figure().subplots())
    drawn = np.concatenate([line.get_xdata() for line in ax.get_lines()])
    assert {1.0, 2.0, 0.0, 3.0, -3.0, 1.5} <= set(drawn.tolist())
    ax = plots.raincloud({"a": [3.0, 1.0, 2.0], "b": [5.0, 5.0, 5.0]}, ax=Figure().subplots())
    assert len(ax.collections) == 1  # no density of one value
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    with pytest.raises(ValueError, match="expected \\(1, 2\\)"):
        plots.heat_map([[1.0]], ["a"], [1, 2], ax=Figure().subplots())
    ax = plots.heat_map([[1.0, np.nan]], ["a"], [1, 2], ax=Figure().subplots())
    assert [t.get_text() for t in ax.texts] == ["1.00"]
