"""Pictures of training, as functions: each draws on `ax=`, or on a new one, and returns it.

Colours are those of Okabe and Ito, and cividis and PuOr for fields: they stay apart for readers who
are colour-blind, and line styles and words say the same again in grey print. Nothing is saved or
shown here, no backend is chosen, and nothing of this package is known: arrays in, axes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
GREY, INK = "#8C8C8C", "#222222"
RUNS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", RED)
"""One colour a run, after M. Okabe and K. Ito, Color Universal Design, 2008."""


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def history(
    runs: Mapping[str, Mapping[str, Sequence[float]]],
    metric: str = "loss",
    *,
    ax: Axes | None = None,
) -> Axes:
    """One metric over the epochs for several runs: training solid, `val_` dashed.

    Args:
        runs: for each run's name its history, as `fit` returns it. Where curves cover each other,
            the first stays visible as a broad band under the others.

    Raises:
        ValueError: where no run has the metric.
    """
    from matplotlib.ticker import MaxNLocator

    found = {name: history for name, history in runs.items() if metric in history}
    if not found:
        known = sorted({column for history in runs.values() for column in history})
        raise ValueError(f"metric={metric!r}: expected one of {', '.join(known) or 'no metrics'}.")
    ax = _axes(ax, 6, 4)
    for place, (name, columns) in enumerate(found.items()):
        for column, style, part in ((metric, "-", "training"), (f"val_{metric}", "--", "test")):
            if column in columns:
                values = np.asarray(columns[column], float)
                first = place == 0 and len(found) > 1
                ax.plot(
                    np.arange(1, len(values) + 1),
                    values,
                    style,
                    color=RUNS[place % len(RUNS)],
                    lw=5 if first else 1.6,
                    alpha=0.45 if first else 1,
                    marker="" if first else "os^vDP"[place % 6],
                    ms=4,
                    label=f"{name}, {part}",
                )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel=metric)
    ax.legend(frameon=False)
    return _quiet(ax)


def _quiet(ax: Axes) -> Axes:
    ax.grid(True, color="#E5E5E5", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def confusion_matrix(truth: Any, answers: Any, *, title: str = "", ax: Axes | None = None) -> Axes:
    """How often each class (row) was given each answer (column).

    Colour is on a logarithmic scale: the diagonal is a hundred times the rest, and on a linear one
    every mistake would look like none.
    """
    from matplotlib.colors import LogNorm
    from sklearn.metrics import ConfusionMatrixDisplay

    ax = _axes(ax, 5, 5)
    counts = ConfusionMatrixDisplay.from_predictions(
        truth, answers, ax=ax, cmap="cividis", colorbar=False, include_values=False
    ).confusion_matrix
    scale = LogNorm(0.7, max(int(counts.max()), 2))
    ax.images[0].set(data=np.where(counts, counts, np.nan), norm=scale)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if scale(count) < 0.55 else "black"
            ax.text(column, row, f"{count}", ha="center", va="center", fontsize=7, color=colour)
    ax.set(xlabel="answer", ylabel="digit", title=title)
    return ax


def digits(
    images: Any,
    captions: Sequence[str] = (),
    *,
    columns: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Images (N, H, W) side by side, dark on light, each with a caption under it."""
    lines = [[(line, INK) for line in caption.split("\n")] for caption in captions]
    return _captioned(np.asarray(images, float), lines, columns, ax)


def misreads(
    images: Any,
    truth: Any,
    answers: Mapping[str, Any],
    *,
    limit: int = 40,
    columns: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Images (N, H, W) that at least one reader has wrong, with the truth and every answer.

    Of more than `limit` they are taken evenly from first to last, so that none is picked by hand.
    A right answer has a tick, a wrong one is red.
    """
    truth = np.asarray(truth)
    given = {name: np.asarray(answer) for name, answer in answers.items()}
    wrong = np.flatnonzero(np.any([answer != truth for answer in given.values()], axis=0))
    if len(wrong):
        evenly = np.linspace(0, len(wrong) - 1, min(limit, len(wrong))).round().astype(int)
        shown = wrong[evenly]
        captions = [
            [(f"this is {truth[i]}", INK)]
            + [
                (f"{name} {answer[i]} \N{CHECK MARK}", INK)
                if answer[i] == truth[i]
                else (f"{name} {answer[i]}", RED)
                for name, answer in given.items()
            ]
            for i in shown
        ]
        ax = _captioned(np.asarray(images, float)[shown], captions, columns, ax)
    else:
        shown, ax = wrong, _axes(ax, 6, 1)
        ax.set_axis_off()
    part = f" ({len(shown)} of them here)" if len(shown) < len(wrong) else ""
    ax.set_title(f"{len(wrong):,} of {len(truth):,} misread by {' or '.join(given)}{part}")
    return ax


def weights(
    kernel: Any,
    shape: tuple[int, int] = (28, 28),
    *,
    columns: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """A first layer's kernel (I, O) as O images of `shape`.

    Ink on an orange pixel (positive weight) raises a unit, on a purple one it lowers it.

    Raises:
        ValueError: where the images don't have I pixels.
    """
    kernel = np.asarray(kernel, float)
    if kernel.ndim != 2 or kernel.shape[0] != shape[0] * shape[1]:
        raise ValueError(
            f"kernel has shape {kernel.shape}: expected ({shape[0] * shape[1]}, units) for images "
            f"of {shape[0]} x {shape[1]}. Say their shape, as in shape=(28, 28)."
        )
    most = float(np.percentile(np.abs(kernel), 99.8)) or 1.0
    ax, _ = _mosaic(
        kernel.T.reshape(-1, *shape), columns, 0, ax, cmap="PuOr_r", vmin=-most, vmax=most
    )
    ax.figure.colorbar(ax.images[0], ax=ax, shrink=0.8, pad=0.02, label="weight", extend="both")
    return ax


def drift(
    series: Mapping[str, Sequence[tuple[int, float]]],
    *,
    limit: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The largest weight difference after so many steps, both on logarithmic scales.

    Args:
        series: for each name its (step, difference) pairs; a difference of 0 can't be drawn.
        limit: a line that is not to be crossed.
    """
    ax = _axes(ax, 7, 4.2)
    for place, (name, pairs) in enumerate(series.items()):
        points = np.array([pair for pair in pairs if pair[1] > 0], float).reshape(-1, 2)
        marker = "os^vDP"[place % 6] if len(points) <= 50 else ""
        ax.plot(*points.T, color=RUNS[place % 6], marker=marker, ms=5, lw=1.6, label=name)
    if limit is not None:
        ax.axhline(limit, color=INK, ls=":", lw=1.2, label=f"limit for float64, {limit:.2g}")
    ax.set(xscale="log", yscale="log", xlabel="steps", ylabel="largest weight difference")
    ax.legend(frameon=False)
    return _quiet(ax)


# --- many images in one picture -------------------------------------------------------------------


def _captioned(
    images: Any, captions: Sequence[Sequence[tuple[str, str]]], columns: int, ax: Axes | None
) -> Axes:
    """Images with lines of (text, colour) under them."""
    lines = max((len(lines) for lines in captions), default=0)
    pitch = 0.185 * images.shape[1] if images.ndim == 3 else 0
    ax, places = _mosaic(images, columns, round(pitch * lines), ax, cmap="Greys")
    for (left, bottom), caption in zip(places, captions, strict=False):
        for row, (text, colour) in enumerate(caption):
            at = left + images.shape[2] / 2 - 0.5, bottom + pitch * row + 0.5
            ax.text(*at, text, ha="center", va="top", fontsize=7, color=colour)
    return ax


def _mosaic(
    images: Any, columns: int, below: int, ax: Axes | None, **options: Any
) -> tuple[Axes, list[tuple[int, int]]]:
    """All images in one, with room below each; and the left and lower edge of each."""
    if images.ndim != 3 or not len(images):
        raise ValueError(f"images have shape {images.shape}: expected (images, height, width).")
    number, height, width = images.shape
    gap, columns = -(-height // 9), min(columns, number)
    rows = -(-number // columns)
    field = np.full((rows * (height + below + gap), columns * (width + gap)), np.nan)
    places = []
    for place, image in enumerate(images):
        top, left = place // columns * (height + below + gap), place % columns * (width + gap)
        field[top : top + height, left : left + width] = image
        places.append((left, top + height))
    ax = _axes(ax, 0.9 * columns, 0.5 + 0.9 * columns * field.shape[0] / field.shape[1])
    ax.imshow(field, interpolation="nearest", **options)
    ax.set_axis_off()
    return ax, places
