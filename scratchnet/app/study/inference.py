"""What many runs say together: equivalence, disagreement, power, time to a target, a layout.

Every statistic is SciPy's or statsmodels'; here is only which runs go into it. Two settings are
compared seed by seed, since runs of one seed start and shuffle alike. Accuracy is in percentage
points. Read `pages/study_page.py` next, which shows it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scratchnet.app.run_training import OURS, SHOWN
from scratchnet.app.study.cells import NAMES, SETTINGS
from scratchnet.engines import Array

ALPHA = 0.05
POWER = 0.8
"""The chance of finding what is there that the power analysis asks for."""
SMALLER = 0.1
"""Percentage points: the margin for which the power analysis names the seeds."""


@dataclass
class SeedComparison:
    """Two settings, a minus b, over the seeds that both have; accuracy in percentage points.

    Attributes:
        differences: (n,) by seed.
        interval: of the mean difference, 90 %, that of two one-sided tests at 5 %, by Student's t.
        bootstrap: of the mean difference, 95 %, bias-corrected and accelerated.
        p: of two one-sided t-tests that the mean difference is within the margin.
        seeds_needed: pairs with which two one-sided tests at 5 % find equivalence within
            `SMALLER`, with 80 % chance at least, if the true difference is 0 and the spread this.
        only_a, only_b: test images that only one has right, over all seeds.
        mcnemar: the exact test's p of those two.
        logrank: the log-rank test's p that both take as many epochs to the target; None where
            no run of either reached it, or all did in the same epoch.
    """

    a: str
    b: str
    differences: Array
    margin: float
    interval: tuple[float, float]
    bootstrap: tuple[float, float]
    p: float
    seeds_needed: int
    only_a: int
    only_b: int
    mcnemar: float
    logrank: float | None

    @property
    def equivalent(self) -> bool:
        """Whether the two are within the margin: p below 5 %."""
        return self.p < ALPHA


@dataclass
class Group:
    """The runs of one setting, by seed.

    Attributes:
        settings: what of it varies in the study.
        points, points_by_logits: (n,) test accuracy by outputs and by logits.
        learning: (n, epochs) test accuracy after each epoch.
        epochs_to, seconds_to: (n,) until the target, or until the end where it was not reached.
        reached: (n,) whether it was.
        wrong: (n, images) whether each answer is wrong.
    """

    label: str
    settings: dict[str, Any]
    seeds: list[int]
    points: Array
    points_by_logits: Array
    learning: Array
    seconds: Array
    epochs_to: Array
    seconds_to: Array
    reached: Array
    wrong: Array

    def survival(self, unit: str) -> tuple[Array, Array]:
        """Times, and the share of runs that take longer (Kaplan-Meier): (m,) each, from 0 on."""
        from statsmodels.duration.survfunc import SurvfuncRight

        times = self.epochs_to if unit == "epochs" else self.seconds_to
        if not self.reached.any():
            return np.array([0.0, times.max()]), np.ones(2)
        curve = SurvfuncRight(times, self.reached.astype(int))
        steps = np.concatenate([[0.0], curve.surv_times, [times.max()]])
        shares = np.concatenate([[1.0], curve.surv_prob, curve.surv_prob[-1:]])
        return steps, shares

    def median_epochs(self) -> float | None:
        """The epochs that half of the runs need, or None where fewer reach the target."""
        steps, shares = self.survival("epochs")
        below = steps[shares <= 0.5]
        return float(below[0]) if len(below) else None


def groups(table: Any, target: float) -> list[Group]:
    """The settings of a study's rows, each with its runs; in the order of the rows."""
    rows = sorted(table.to_pylist(), key=lambda row: row["seed"])
    names = varied(rows)
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(str(row[name]) for name in names), []).append(row)
    made = [_group(names, held, target) for held in found.values()]
    return sorted(made, key=_place)


def _place(group: Group) -> tuple[Any, ...]:
    """Ours before Keras's, small before large, what is scaled first."""
    return tuple(
        -value if isinstance(value, bool) else (value != OURS, value) if name == "framework"
        else value
        for name, value in group.settings.items()
    )  # fmt: skip


def varied(rows: list[dict[str, Any]]) -> list[str]:
    """The settings, beside the seed, of which the rows have more than one value."""
    return [name for name in NAMES if name != "seed" and len({str(row[name]) for row in rows}) > 1]


def _group(names: list[str], rows: list[dict[str, Any]], target: float) -> Group:
    settings = {name: _plain(rows[0][name]) for name in names}
    learning = [np.array(row["val_accuracy"]) for row in rows]
    reached = np.array([bool((curve >= target).any()) for curve in learning])
    firsts = [int(np.argmax(curve >= target)) + 1 for curve in learning]
    epochs = np.where(reached, firsts, [len(curve) for curve in learning])
    seconds = [float(np.sum(row["epoch_seconds"][:n])) for row, n in zip(rows, epochs, strict=True)]
    return Group(
        label=", ".join(words(name, value) for name, value in settings.items()) or "all runs",
        settings=settings,
        seeds=[row["seed"] for row in rows],
        points=100 * np.array([row["test_accuracy"] for row in rows]),
        points_by_logits=100 * np.array([row["logits_accuracy"] for row in rows]),
        learning=np.array(learning),
        seconds=np.array([row["seconds"] for row in rows]),
        epochs_to=epochs,
        seconds_to=np.array(seconds),
        reached=reached,
        wrong=np.array([np.frombuffer(row["answers"], np.uint8) != 0 for row in rows]),
    )


def _plain(value: Any) -> Any:
    """A setting as a key and a word: widths as 50-50."""
    return "-".join(map(str, value)) if isinstance(value, list) else value


def words(name: str, value: Any) -> str:
    """A setting as a reader knows it.

    >>> words("batch_size", 32), words("scaled", False), words("framework", "keras")
    ('batch size 32', 'raw pixels', 'Keras')
    """
    if name == "framework":
        return SHOWN[value]
    if name == "scaled":
        return "pixels / 255" if value else "raw pixels"
    if name == "rate_rule":
        return {"fixed": "rate fixed", "sqrt": "rate by sqrt(batch / 32)"}[value]
    return f"{SETTINGS[name].words} {value}"


def pairs(found: list[Group]) -> Iterator[tuple[Group, Group]]:
    """The groups that differ in one setting: each against the first, and ours against Keras."""
    for name in found[0].settings if found else ():
        first: dict[tuple[str, ...], Group] = {}
        for group in found:
            others = tuple(str(v) for n, v in group.settings.items() if n != name)
            base = first.setdefault(others, group)
            if base is not group:
                yield (base, group) if name == "framework" else (group, base)


def compare(a: Group, b: Group, margin: float) -> SeedComparison | None:
    """a against b over their common seeds; None where there are fewer than three."""
    seeds = sorted(set(a.seeds) & set(b.seeds))
    if len(seeds) < 3:
        return None
    rows_a, rows_b = ([g.seeds.index(seed) for seed in seeds] for g in (a, b))
    d = a.points[rows_a] - b.points[rows_b]
    from scipy import stats
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.weightstats import DescrStatsW

    if np.ptp(d) == 0:  # no spread: the tests would divide by it
        inside = bool(abs(d[0]) < margin)
        interval = bootstrap = (float(d[0]), float(d[0]))
        p = 0.0 if inside else 1.0
    else:
        held = DescrStatsW(d)
        interval = held.tconfint_mean(alpha=2 * ALPHA)
        p = held.ttost_mean(-margin, margin)[0]
        rng = np.random.default_rng(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # too few seeds for it: NaN, and shown as such
            resampled = stats.bootstrap((d,), np.mean, confidence_level=0.95, random_state=rng)
        bootstrap = resampled.confidence_interval
    wrong_a, wrong_b = a.wrong[rows_a], b.wrong[rows_b]
    only_a, only_b = int(np.sum(~wrong_a & wrong_b)), int(np.sum(wrong_a & ~wrong_b))
    table = [[int(np.sum(~wrong_a & ~wrong_b)), only_a], [only_b, int(np.sum(wrong_a & wrong_b))]]
    return SeedComparison(
        a.label,
        b.label,
        d,
        margin,
        (float(interval[0]), float(interval[1])),
        (float(bootstrap[0]), float(bootstrap[1])),
        float(p),
        seeds_needed(float(np.std(d, ddof=1)), SMALLER),
        only_a,
        only_b,
        float(mcnemar(table, exact=True).pvalue),
        _logrank(a, b),
    )


def seeds_needed(spread: float, margin: float) -> int:
    """Pairs for equivalence within a margin, where the differences have this standard deviation.

    Two one-sided t-tests at 5 % both succeed with a chance of 80 % or more if each does with 90 %;
    the true difference is taken as 0.
    """
    from statsmodels.stats.power import TTestPower

    if spread <= margin / 6:
        return 3  # each test has over 99 % with them, and the solver finds no root so far off
    each = 1 - (1 - POWER) / 2
    number = TTestPower().solve_power(margin / spread, None, ALPHA, each, "larger")
    return max(3, math.ceil(float(np.ravel(number)[0])))


def _logrank(a: Group, b: Group) -> float | None:
    from statsmodels.duration.survfunc import survdiff

    reached = np.concatenate([a.reached, b.reached])
    if not reached.any():
        return None
    times = np.concatenate([a.epochs_to, b.epochs_to])
    which = np.repeat([0, 1], [len(a.reached), len(b.reached)])
    try:
        p = float(survdiff(times, reached.astype(int), which)[1])
    except np.linalg.LinAlgError:  # all arrived at once
        return None
    return p if math.isfinite(p) else None


def layout(found: list[Group]) -> list[tuple[str, float, float, float]]:
    """The layout over what varies: (effect, share of the sum of squares, F, p), type II.

    Main effects and interactions of two settings on the accuracy, by least squares; nothing where
    nothing varies, a setting's combinations are not all there, or one has a single run.
    """
    names = list(found[0].settings) if found else []
    levels = [{str(group.settings[name]) for group in found} for name in names]
    whole = len(found) == math.prod(map(len, levels)) and min(len(g.seeds) for g in found) > 1
    if not names or not whole:
        return []
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    frame = pd.DataFrame(
        [
            {"points": point, **{n: str(v) for n, v in group.settings.items()}}
            for group in found
            for point in group.points
        ]
    )
    factors = " + ".join(f"C({name})" for name in names)
    formula = f"points ~ ({factors}) ** 2" if len(names) > 1 else f"points ~ {factors}"
    table = anova_lm(ols(formula, frame).fit(), typ=2)
    total = float(table["sum_sq"].sum())
    rows = []
    for effect, line in table.iterrows():
        name = str(effect).replace("C(", "").replace(")", "")
        shown = " with ".join(
            SETTINGS[n].words if n in SETTINGS else "between seeds" for n in name.split(":")
        )
        share = float(line["sum_sq"]) / total if total else 0.0
        rows.append((shown, share, float(line["F"]), float(line["PR(>F)"])))
    return rows
