"""The page of a study: one HTML file made from its folder alone, while it runs too.

The verdict comes first where two frameworks are compared, then each setting's runs, the comparisons
with the margin that was stated, and the pictures. The same rows give the same bytes. Nothing is run
here, and no statistic is computed that `study/inference.py` has not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet import atomic
from scratchnet.app.pages import figures, render
from scratchnet.app.study import inference
from scratchnet.app.study.archive import REPORT, Archive
from scratchnet.app.study.cells import SETTINGS
from scratchnet.app.study.inference import Group, SeedComparison

CURVES = 6
"""Groups in one picture of curves, which has as many colours."""
LEAST = 0.0001


class StudyPicture(NamedTuple):
    """A drawing with its caption, and the numbers behind it for those who can't see it."""

    drawing: Any
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_study_report(
    folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None
) -> Path:
    """Make the page of a study, at `out` or as `report.html` in its folder; where it is.

    Raises:
        StudyError: where `folder` is no study, or a file of it is damaged.
        OSError: where `out` can't be a file.
    """
    archive = Archive(folder)
    path = archive.path / REPORT if out is None else Path(out)
    atomic.check_target(path)
    atomic.write(path, html(archive))
    return path


def html(archive: Archive) -> str:
    """The page as text."""
    plan, table = archive.plan, archive.table()
    rows = table.select(["key", "cpu", "system", "versions", "data"]).to_pylist()
    done = {row["key"] for row in rows}
    found = inference.groups(table, plan.target)
    compared = [
        made
        for a, b in inference.pairs(found)
        if (made := inference.compare(a, b, plan.margin)) is not None
    ]
    return render(
        "study.html",
        title="Many runs together",
        data=sorted({row["data"] for row in rows}),
        plan=plan,
        # Cells of other code have other keys, so the plan's are counted by their number.
        done=len(done),
        of=max(len(plan.cells), len(done)),
        verdict=verdict(compared, plan.margin),
        groups=found,
        comparisons=compared,
        layout=inference.layout(found),
        power=(inference.SMALLER, inference.POWER),
        pictures=pictures(found, compared, plan.target),
        machines=sorted({(row["cpu"], row["system"], row["versions"]) for row in rows}),
        mean=lambda values: float(np.mean(values)),
        spread=lambda values: float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        p=p_number,
    )


def verdict(compared: list[SeedComparison], margin: float) -> tuple[str, str]:
    """What the study says of ours and Keras, in a sentence, and whether that is good or bad."""
    sides = [c for c in compared if c.a.startswith("scratchnet") and c.b.startswith("Keras")]
    if not sides:
        return "", ""
    told = []
    for c in sides:
        low, high = c.interval
        where = c.a.removeprefix("scratchnet").removeprefix(", ")
        told.append(
            f"{where + ': ' if where else ''}scratchnet and Keras "
            f"{'are' if c.equivalent else 'are not shown to be'} equally accurate within "
            f"{margin:g} points over {len(c.differences)} paired seeds: mean difference "
            f"{c.differences.mean():+.3f}, 90 % interval {low:+.3f} to {high:+.3f}, two one-sided "
            f"tests p {'' if c.p < LEAST else '= '}{p_number(c.p)}."
        )
    return " ".join(told), "good" if all(c.equivalent for c in sides) else "bad"


def p_number(p: float) -> str:
    """A p value; the smallest are only said to be small.

    >>> p_number(0.0312), p_number(1e-9)
    ('0.031', '< 0.0001')
    """
    return f"< {LEAST}" if p < LEAST else f"{p:.2g}"


# --- pictures -------------------------------------------------------------------------------------


def pictures(
    found: list[Group], compared: list[SeedComparison], target: float
) -> list[tuple[str, list[StudyPicture]]]:
    """The sections of pictures: title and drawings; what can't be drawn yet is left out."""
    if not found:
        return []
    sections = [("Differences", [_differences(compared)] if compared else [])]
    sections.append(("Spread", [_spread(found)]))
    sections.append(("Learning", [_learning(found, target), *_survival(found, target)]))
    sections.append(("Over the grid", _heat(found)))
    return [(title, drawn) for title, drawn in sections if drawn]


def _differences(compared: list[SeedComparison]) -> StudyPicture:
    from scratchnet import plots

    named = {f"{c.a} - {c.b}": c for c in compared}
    letters = {_short(n, len(named)): c for n, c in enumerate(named.values())}
    with figures.canvas((4.4, 1.1 + 0.5 * len(named))) as figure:
        plots.paired_differences(
            {name: c.differences for name, c in letters.items()},
            margin=compared[0].margin,
            intervals={name: c.interval for name, c in letters.items()},
            ax=figure.subplots(),
        )
        alt = "Differences in test accuracy by seed. " + "; ".join(
            f"{name}: mean {c.differences.mean():+.3f} points" for name, c in named.items()
        )
        shown = figures.svg(figure, alt)
    pairs = zip(letters, named, strict=True)
    words = "; ".join(f"{letter}: {name}" if letter else name for letter, name in pairs)
    caption = (
        f"{words}. A dot is a seed, the diamond the mean with its 90 % interval; dotted lines are "
        "the margin."
    )
    rows = [
        [name, *(f"{value:+.3f}" for value in (c.differences.mean(), *c.interval))]
        for name, c in named.items()
    ]
    return StudyPicture(shown, caption, ["", "mean", "from", "to"], rows)


def _short(place: int, number: int) -> str:
    return "" if number == 1 else chr(ord("A") + place % 26) + "'" * (place // 26)


def _spread(found: list[Group]) -> StudyPicture:
    from scratchnet import plots

    with figures.canvas((4.4, 1.1 + 0.7 * len(found))) as figure:
        named = {_wrapped(group.label): group.points for group in found}
        plots.raincloud(named, label="test accuracy, %", ax=figure.subplots())
        alt = "Test accuracies of the runs. " + "; ".join(
            f"{group.label}: {group.points.min():.2f} to {group.points.max():.2f} %"
            for group in found
        )
        shown = figures.svg(figure, alt)
    rows = [
        [group.label, *(f"{v:.2f}" for v in np.percentile(group.points, [0, 25, 50, 75, 100]))]
        for group in found
    ]
    columns = ["", "least", "quartile", "median", "quartile", "most"]
    caption = "Every run's test accuracy: cloud, quartiles and median, and a dot a run."
    return StudyPicture(shown, caption, columns, rows)


def _wrapped(label: str) -> str:
    """A label in short lines, so that the picture has room on a telephone."""
    return "\n".join(label.split(", "))


def _learning(found: list[Group], target: float) -> StudyPicture:
    from scratchnet import plots

    most = max(group.learning.shape[1] for group in found)
    shown_groups = [g for g in found if g.learning.shape[1] == most][:CURVES]
    with figures.canvas((4.4, 3.6)) as figure:
        named = {group.label: group.learning for group in shown_groups}
        plots.learning_bands(named, target=target, ax=figure.subplots())
        alt = "Median test accuracy after each epoch. " + "; ".join(
            f"{group.label}: {np.median(group.learning[:, -1]):.2%} at the end"
            for group in shown_groups
        )
        shown = figures.svg(figure, alt)
    medians = [np.median(group.learning, axis=0) for group in shown_groups]
    rows = [[str(n + 1), *(f"{m[n]:.2%}" for m in medians)] for n in range(most)]
    few = f" The first {CURVES} settings." if len(found) > len(shown_groups) else ""
    caption = f"Test accuracy: the median run, and the band of nine runs in ten.{few}"
    return StudyPicture(shown, caption, ["epoch", *named], rows)


def _survival(found: list[Group], target: float) -> list[StudyPicture]:
    """Kaplan-Meier curves of epochs and of seconds to the target, where any run reached it."""
    from scratchnet import plots

    groups, made = found[:CURVES], []
    if not any(group.reached.any() for group in groups):
        return []
    for unit in ("epochs", "seconds"):
        curves = {group.label: group.survival(unit) for group in groups}
        with figures.canvas((4.4, 3.6)) as figure:
            ax = plots.survival(curves, label=f"{unit} of training", ax=figure.subplots())
            if unit == "seconds":
                first = min(float(times[1]) for times, _ in curves.values())
                ax.set_xscale("log")
                ax.set_xlim(left=first / 1.5)
            arrived = "; ".join(
                f"{group.label}: {int(group.reached.sum())} of {len(group.seeds)} arrived"
                for group in groups
            )
            shown = figures.svg(figure, f"Runs below {target:.0%} over {unit}. {arrived}.")
        caption = f"Runs that have not reached {target:.0%} yet (Kaplan-Meier), over {unit}."
        rows = [
            [label, f"{time:.4g}", f"{share:.0%}"]
            for label, (times, shares) in curves.items()
            for time, share in _thinned(times, shares)
        ]
        made.append(StudyPicture(shown, caption, ["", unit, "not there yet"], rows))
    return made


def _thinned(times: Any, shares: Any) -> list[tuple[float, float]]:
    places = np.unique(np.linspace(0, len(times) - 1, min(12, len(times))).round().astype(int))
    return [(float(times[i]), float(shares[i])) for i in places]


def _heat(found: list[Group]) -> list[StudyPicture]:
    """The mean accuracy over two settings, where exactly two vary."""
    from scratchnet import plots

    names = list(found[0].settings)
    if len(names) != 2:
        return []
    held = {tuple(group.settings[name] for name in names): group for group in found}
    rows, columns = (list(dict.fromkeys(key[i] for key in held)) for i in (1, 0))
    means = [
        [held[c, r].points.mean() if (c, r) in held else np.nan for c in columns] for r in rows
    ]
    words = [SETTINGS[name].words for name in names]
    with figures.canvas((4.4, 1.3 + 0.5 * len(rows))) as figure:
        plots.heat_map(
            means,
            rows,
            columns,
            row_label=words[1],
            column_label=words[0],
            label="mean test accuracy, %",
            ax=figure.subplots(),
        )
        shown = figures.svg(figure, f"Mean test accuracy by {words[0]} and {words[1]}.")
    cells = [
        [str(row), *("" if np.isnan(v) else f"{v:.2f}" for v in line)]
        for row, line in zip(rows, means, strict=True)
    ]
    caption = f"Mean test accuracy in percent, by {words[0]} and {words[1]}."
    return [StudyPicture(shown, caption, [words[1], *map(str, columns)], cells)]
