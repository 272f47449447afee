"""Pictures of training, as functions: each draws on `ax=`, or on a new one, and returns it.

Colours are those of Okabe and Ito, and cividis and PuOr for fields: they stay apart for readers who
are colour-blind, and line styles and words say the same again in grey print. Nothing is saved or
shown here, no backend is chosen, and nothing of this package is known: arrays in, axes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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

    >>> from matplotlib.figure import Figure
    >>> history({"ours": {"loss": [2.0, 0.5]}}, ax=Figure().subplots()).get_ylabel()
    'loss'
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

    >>> from matplotlib.figure import Figure
    >>> ax = confusion_matrix([0, 1, 1], [0, 1, 0], ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['1', '1', '1']
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
    """Images (N, H, W) side by side, dark on light, each with a caption under it.

    >>> from matplotlib.figure import Figure
    >>> ax = digits(np.zeros((2, 8, 8)), ["a", "b"], ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['a', 'b']
    """
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

    >>> from matplotlib.figure import Figure
    >>> images = np.zeros((3, 8, 8))
    >>> misreads(images, [1, 2, 3], {"ours": [1, 2, 0]}, ax=Figure().subplots()).get_title()
    '1 of 3 misread by ours'
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

    >>> from matplotlib.figure import Figure
    >>> ax = weights(np.eye(16, 5), (4, 4), ax=Figure().subplots())
    >>> len(ax.images)
    1
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

    >>> from matplotlib.figure import Figure
    >>> ax = drift({"float64": [(1, 1e-16), (2, 3e-16)]}, limit=1e-12, ax=Figure().subplots())
    >>> ax.get_yscale()
    'log'
    """
    ax = _axes(ax, 7, 4.2)
    for place, (name, pairs) in enumerate(series.items()):
        points = np.array([pair for pair in pairs if pair[1] > 0], float).reshape(-1, 2)
        marker = "os^vDP"[place % 6] if len(points) <= 50 else ""
        ax.plot(*points.T, color=RUNS[place % 6], marker=marker, ms=5, lw=1.6, label=name)
    if limit is not None:
        ax.axhline(limit, color=INK, ls=":", lw=1.2, label=f"limit for float64, {limit:.2g}")
    if not any(difference > 0 for pairs in series.values() for _, difference in pairs):
        steps = [step for pairs in series.values() for step, _ in pairs]
        ax.set(xlim=(1, max([10, *steps])), ylim=(1e-17, 1))  # a logarithm has no scale of its own
    ax.set(xscale="log", yscale="log", xlabel="steps", ylabel="largest weight difference")
    ax.legend(frameon=False)
    return _quiet(ax)


class Reliability(NamedTuple):
    """How confidence and accuracy go together, bin by bin; bins that nobody is in are left out.

    Attributes:
        confidence, accuracy: (b,) the means within each bin.
        count: (b,) samples in it.
        ece: the expected calibration error, the mean of |accuracy - confidence| over the samples
            (C. Guo et al., On Calibration of Modern Neural Networks, 2017, equation 3).

    >>> reliability([0, 1], [[0.75, 0.25], [0.75, 0.25]]).ece
    0.25
    """

    confidence: Any
    accuracy: Any
    count: Any
    ece: float


def reliability(truth: Any, probabilities: Any, bins: int = 15) -> Reliability:
    """Hold confidences against what came true: labels (N,), probabilities (N, K).

    A sample's confidence is its largest probability, in `bins` equal parts of (0, 1]; ties go to
    the lowest class, as in every accuracy here.

    Raises:
        ValueError: where probabilities are outside [0, 1], or are not a row for each label.

    >>> held = reliability([0, 0, 1], [[0.8, 0.2], [0.3, 0.7], [0.3, 0.7]], bins=10)
    >>> held.count.tolist(), held.accuracy.tolist(), round(held.ece, 3)
    ([2, 1], [0.5, 1.0], 0.2)
    """
    truth, given = np.asarray(truth), np.asarray(probabilities, float)
    if given.ndim != 2 or truth.shape != given.shape[:1] or not len(truth):
        raise ValueError(
            f"probabilities have shape {given.shape}, labels {truth.shape}: expected (samples, "
            "classes) and (samples,), at least one."
        )
    if not (np.all(given >= 0) and np.all(given <= 1 + 1e-6)):
        raise ValueError(
            f"probabilities lie in [{given.min():.3g}, {given.max():.3g}]: expected [0, 1]. Pass "
            "logits through softmax first."
        )
    confidence, right = given.max(axis=1), given.argmax(axis=1) == truth
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    here = count > 0
    means = [np.bincount(place, v, bins)[here] / count[here] for v in (confidence, right)]
    ece = float(np.sum(count[here] * np.abs(means[1] - means[0])) / len(truth))
    return Reliability(means[0], means[1], count[here], ece)


def calibration(
    truth: Any, probabilities: Mapping[str, Any], *, bins: int = 15, ax: Axes | None = None
) -> Axes:
    """A reliability diagram: of what was said with so much confidence, how much was right.

    On the diagonal a reader is as good as it says; under it, it is too sure. A dot's area goes with
    the samples in its bin, its whisker is the 95 % interval of their accuracy (Wilson's score), and
    the legend has the expected calibration error.

    Args:
        probabilities: for each reader's name its (N, K).

    >>> from matplotlib.figure import Figure
    >>> ax = calibration([0, 1], {"ours": [[0.75, 0.25], [0.75, 0.25]]}, ax=Figure().subplots())
    >>> ax.get_legend().get_texts()[1].get_text()
    'ours: ECE 25.0%'
    """
    ax = _axes(ax, 5, 5.5)
    ax.plot([0, 1], [0, 1], color=GREY, ls=":", lw=1.2, label="as good as it says")
    for place, (name, given) in enumerate(probabilities.items()):
        held, colour = reliability(truth, given, bins), RUNS[place % len(RUNS)]
        ax.vlines(held.confidence, *_wilson(held.accuracy, held.count), color=colour, lw=1)
        ax.plot(held.confidence, held.accuracy, "--" if place else "-", color=colour, lw=1)
        sizes = 14 + 130 * held.count / held.count.max()
        said, shape = f"{name}: ECE {held.ece:.1%}", "os^vDP"[place % 6]
        ax.scatter(held.confidence, held.accuracy, sizes, color=colour, marker=shape, alpha=0.85)
        ax.plot([], [], shape, color=colour, label=said)  # the legend's, of one size
    ax.set(xlim=(0, 1.04), ylim=(0, 1.04), aspect="equal", xlabel="confidence", ylabel="accuracy")
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    return _quiet(ax)


def _wilson(share: Any, count: Any, z: float = 1.96) -> tuple[Any, Any]:
    """The interval of a share (E. B. Wilson, 1927): it stays within [0, 1], and wide for few."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) * z / (1 + z**2 / count)
    return middle - half, middle + half


def histograms(
    moments: Sequence[Any],
    steps: Sequence[float] | None = None,
    *,
    log: bool = False,
    bins: int = 80,
    ax: Axes | None = None,
) -> Axes:
    """How values spread at each moment of training: one ridge a moment, the first at the back.

    Each ridge is as high as the others: it shows where the values lie, not how many there are.
    Exact zeros (what a ReLU shuts off) would be a spike that hides all the rest, so they are left
    out of the ridge and their share is written at its end.

    Args:
        moments: one array of any shape for each moment: a layer's outputs, or its gradients.
        steps: what to call the moments; 0, 1, 2 ... by default.
        log: spread the absolute values on a logarithmic scale, as suits gradients.

    Raises:
        ValueError: where there is no moment, or steps are not one for each.

    To record them, with the first layer's gradients as example::

        kept = []
        look = lambda epoch, logs: kept.append(model.loss_and_gradients(x[:500], y[:500])[1][0])
        model.fit(x, y, epochs=10, callbacks=[LambdaCallback(on_epoch_end=look)])
        plots.histograms(kept, range(1, 11), log=True)

    >>> from matplotlib.figure import Figure
    >>> ax = histograms([np.array([0.0, 1.0, 2.0, 3.0])], ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['25% zero']
    """
    names = _moments(moments, steps)
    ax = _axes(ax, 6, 0.8 + 0.42 * len(names))
    flat = [np.asarray(values, float).ravel() for values in moments]
    spread = [np.log10(np.abs(v[v != 0])) if log else v[v != 0] for v in flat]
    together = np.concatenate(spread) if any(map(len, spread)) else np.zeros(1)
    low, high = np.percentile(together, [0.1, 99.9])
    room = 0.03 * (high - low) or 0.5
    edges = np.linspace(low - room, high + room, bins + 1)
    counts = [np.histogram(values, edges)[0] for values in spread]
    _draw_ridges(ax, edges, counts, flat)
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0.5 - len(names), 2))
    ax.set_yticks([-place for place in range(len(names))], [f"{name:g}" for name in names])
    if log:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda power, _: f"$10^{{{power:.0f}}}$"))
    ax.set(xlabel="absolute value" if log else "value", ylabel="step")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def _draw_ridges(ax: Axes, edges: Any, counts: Sequence[Any], flat: Sequence[Any]) -> None:
    """A ridge for each moment, and at its end the share of zeros that are not in it."""
    middles = (edges[1:] + edges[:-1]) / 2
    shades = _shades(len(counts))
    for place, (count, values) in enumerate(zip(counts, flat, strict=True)):
        floor, layer = -place, 2 * place
        ridge = floor + 1.8 * count / (count.max() or 1)
        ax.fill_between(middles, floor, ridge, color=shades[place], lw=0, zorder=2 + layer)
        ax.plot(middles, ridge, color="white", lw=1, zorder=3 + layer)
        if len(values) and (zeros := float(np.mean(values == 0))):
            share = f"{zeros:.0%} zero" if zeros >= 0.005 else "<1% zero"
            ax.annotate(
                share, (1.01, floor), xycoords=("axes fraction", "data"), va="bottom", fontsize=8
            )


def gradient_flow(
    gradients: Mapping[str, Sequence[Any]],
    steps: Sequence[float] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Mean (solid) and largest (dashed) absolute gradient of each layer, over training.

    A layer whose line falls away from the others' learns no more; one that climbs is about to
    explode.

    Args:
        gradients: for each layer's name its gradient, of any shape, at each moment.
        steps: what to call the moments; 0, 1, 2 ... by default.

    Raises:
        ValueError: where there is no moment, or steps are not one for each.

    To record them after each epoch, for a model of three Dense layers::

        kept = []
        look = lambda epoch, logs: kept.append(model.loss_and_gradients(x[:500], y[:500])[1])
        model.fit(x, y, epochs=10, callbacks=[LambdaCallback(on_epoch_end=look)])
        names = ["dense", "dense_1", "dense_2"]
        plots.gradient_flow({name: [g[2 * i] for g in kept] for i, name in enumerate(names)})

    >>> from matplotlib.figure import Figure
    >>> flow = {"dense": [np.array([0.5, -1.5])], "dense_1": [np.array([2.0])]}
    >>> ax = gradient_flow(flow, ax=Figure().subplots())
    >>> [line.get_ydata()[0] for line in ax.get_lines()] == [1.0, 1.5, 2.0, 2.0]
    True
    """
    ax = _axes(ax, 6, 4)
    for place, (name, moments) in enumerate(gradients.items()):
        names = _moments(moments, steps)
        if max(names) > 500:
            ax.set_xscale("symlog", linthresh=1)  # most happens in the first steps
        sizes = [np.abs(np.asarray(moment, float)) for moment in moments]
        mean, most = ([float(f(size)) or np.nan for size in sizes] for f in (np.mean, np.max))
        colour, marker = RUNS[place % len(RUNS)], "os^vDP"[place % 6]
        shown: dict[str, Any] = {"color": colour, "marker": marker if len(names) <= 30 else ""}
        ax.plot(names, mean, "-", lw=1.6, ms=4, label=name, **shown)
        ax.plot(names, most, "--", lw=1, ms=4, alpha=0.8, **shown)
    ax.set(yscale="log", xlabel="step", ylabel="|gradient|: mean solid, largest dashed")
    ax.legend(frameon=False)
    return _quiet(ax)


def paired_differences(
    differences: Mapping[str, Any],
    *,
    margin: float | None = None,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Differences between pairs, a row of dots for each comparison, with their mean and interval.

    Args:
        differences: for each comparison's name one number a pair, such as percentage points.
        margin: within which two are called equivalent: dotted lines on both sides of 0.
        intervals: of the means, by the same names; a bar through the mean.

    >>> from matplotlib.figure import Figure
    >>> ax = paired_differences({"a - b": [0.1, -0.2, 0.0]}, margin=0.15, ax=Figure().subplots())
    >>> ax.get_xlabel()
    'difference, percentage points'
    """
    ax = _axes(ax, 6, 0.9 + 0.6 * len(differences))
    ax.axvline(0, color=GREY, lw=1)
    for side in (-1, 1) if margin is not None else ():
        ax.axvline(side * (margin or 0), color=INK, ls=":", lw=1.2)
    for place, (name, given) in enumerate(differences.items()):
        d, colour = np.asarray(given, float), RUNS[place % len(RUNS)]
        ax.plot(d, -place + 0.22 + 0.12 * _spread(len(d)), "o", ms=3.5, color=colour, alpha=0.6)
        low, high = (intervals or {}).get(name, (d.mean(), d.mean()))
        ax.plot([low, high], [-place - 0.12] * 2, color=INK, lw=2, solid_capstyle="butt")
        ax.plot(d.mean(), -place - 0.12, "D", ms=6, color=colour, markeredgecolor=INK)
    ax.set_yticks([-place for place in range(len(differences))], list(differences))
    ax.set(ylim=(0.6 - len(differences), 0.6), xlabel="difference, percentage points")
    return _quiet(ax)


def _spread(number: int) -> Any:
    """Places in (-1, 1) that keep dots apart: the golden ratio's, the same for the same number."""
    return 2 * (np.arange(1, number + 1) * 0.6180339887498949 % 1) - 1


def raincloud(groups: Mapping[str, Any], *, label: str = "", ax: Axes | None = None) -> Axes:
    """How values spread in each group: a cloud of their density, a box of quartiles, every value.

    The whiskers go to the least and the most. A group without spread has no cloud.

    Args:
        groups: for each name its values, one at least.
        label: what the values are, for their axis.

    >>> from matplotlib.figure import Figure
    >>> ax = raincloud({"ours": [1.0, 2.0, 4.0]}, label="seconds", ax=Figure().subplots())
    >>> ax.get_xlabel(), len(ax.collections)
    ('seconds', 1)
    """
    from scipy.stats import gaussian_kde

    ax = _axes(ax, 6, 0.9 + 0.8 * len(groups))
    for place, (_, given) in enumerate(groups.items()):
        values, colour = np.sort(np.asarray(given, float)), RUNS[place % len(RUNS)]
        if len(values) > 2 and np.ptp(values) > 0:
            room = 0.15 * np.ptp(values)
            grid = np.linspace(values[0] - room, values[-1] + room, 120)
            density = gaussian_kde(values)(grid)
            top = -place + 0.12 + 0.36 * density / density.max()
            ax.fill_between(grid, -place + 0.12, top, color=colour, alpha=0.45, lw=0)
        low, first, middle, third, high = np.percentile(values, [0, 25, 50, 75, 100])
        ax.plot([low, high], [-place] * 2, color=INK, lw=1)
        ax.plot([first, third], [-place] * 2, color=colour, lw=7, solid_capstyle="butt")
        ax.plot(middle, -place, "|", color=INK, ms=9, mew=2)
        ax.plot(
            values, -place - 0.24 + 0.1 * _spread(len(values)), "o", ms=3, color=colour, alpha=0.6
        )
    ax.set_yticks([-place for place in range(len(groups))], list(groups))
    ax.set(ylim=(0.6 - len(groups), 0.6), xlabel=label)
    return _quiet(ax)


def learning_bands(
    groups: Mapping[str, Any],
    *,
    label: str = "test accuracy",
    target: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Many learning curves at once: for each group the median and the band of nine runs in ten.

    Args:
        groups: for each name its curves (runs, epochs).
        target: a line to be reached.

    >>> from matplotlib.figure import Figure
    >>> ax = learning_bands({"ours": [[0.9, 0.95], [0.92, 0.96]]}, ax=Figure().subplots())
    >>> ax.get_lines()[0].get_ydata().round(3).tolist()
    [0.91, 0.955]
    """
    from matplotlib.ticker import MaxNLocator

    ax = _axes(ax, 6, 4)
    for place, (name, given) in enumerate(groups.items()):
        curves, colour = np.asarray(given, float), RUNS[place % len(RUNS)]
        low, middle, high = np.percentile(curves, [5, 50, 95], axis=0)
        epochs = np.arange(1, curves.shape[1] + 1)
        style: dict[str, Any] = {
            "marker": "os^vDP"[place % 6],
            "ms": 4,
            "ls": "--" if place % 2 else "-",
        }
        ax.plot(epochs, middle, color=colour, lw=1.6, label=name, **style)
        ax.fill_between(epochs, low, high, color=colour, alpha=0.2, lw=0)
    if target is not None:
        ax.axhline(target, color=INK, ls=":", lw=1.2)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel=label)
    ax.legend(frameon=False)
    return _quiet(ax)


def survival(
    curves: Mapping[str, tuple[Any, Any]], *, label: str = "epochs", ax: Axes | None = None
) -> Axes:
    """The share of runs that have not arrived yet, over time: one staircase a group.

    Args:
        curves: for each name times and shares, (m,) each, as a Kaplan-Meier estimate has them.

    >>> from matplotlib.figure import Figure
    >>> ax = survival({"ours": ([0, 3, 5], [1.0, 0.5, 0.0])}, ax=Figure().subplots())
    >>> ax.get_ylabel()
    'runs not there yet'
    """
    ax = _axes(ax, 6, 4)
    for place, (name, (times, shares)) in enumerate(curves.items()):
        style = "--" if place % 2 else "-"
        colour = RUNS[place % len(RUNS)]
        ax.step(times, shares, style, where="post", color=colour, lw=1.8, label=name)
    ax.set(xlabel=label, ylabel="runs not there yet", ylim=(-0.03, 1.03))
    ax.legend(frameon=False)
    return _quiet(ax)


def heat_map(
    values: Any,
    rows: Sequence[Any],
    columns: Sequence[Any],
    *,
    row_label: str = "",
    column_label: str = "",
    label: str = "",
    form: str = ".2f",
    ax: Axes | None = None,
) -> Axes:
    """A number for each combination of two settings, (R, C), in colour and in figures; NaN is none.

    Raises:
        ValueError: where `values` is not one number for each row and column.

    >>> from matplotlib.figure import Figure
    >>> ax = heat_map([[97.1, 97.3]], ["adam"], [32, 64], ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['97.10', '97.30']
    """
    field = np.asarray(values, float)
    if field.shape != (len(rows), len(columns)):
        raise ValueError(
            f"values have shape {field.shape}: expected ({len(rows)}, {len(columns)}), a number "
            "for each row and column."
        )
    ax = _axes(ax, 1.6 + 0.8 * len(columns), 1.2 + 0.5 * len(rows))
    shown = ax.imshow(field, cmap="cividis", aspect="auto")
    low, high = shown.get_clim()
    for (row, column), value in np.ndenumerate(field):
        if np.isfinite(value):
            colour = "white" if value < low + 0.55 * (high - low) else "black"
            text = f"{value:{form}}"
            ax.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    ax.set_xticks(range(len(columns)), [str(column) for column in columns])
    ax.set_yticks(range(len(rows)), [str(row) for row in rows])
    ax.set(xlabel=column_label, ylabel=row_label)
    ax.figure.colorbar(shown, ax=ax, label=label)
    return ax


def _moments(moments: Sequence[Any], steps: Sequence[float] | None) -> list[float]:
    names = list(range(len(moments)) if steps is None else steps)
    if not names or len(names) != len(moments):
        raise ValueError(
            f"{len(moments)} moments and {len(names)} steps: expected one step for each moment, "
            "and at least one."
        )
    return names


def _shades(number: int) -> Any:
    """From light to dark in the order of time, so that grey print keeps the order."""
    import matplotlib

    return matplotlib.colormaps["cividis_r"](np.linspace(0.15, 0.85, number))


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
