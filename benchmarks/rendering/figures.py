"""Figures: bars with their spread, lines along an axis, and the roofline of a run.

Time axes are logarithmic, because peers are two powers of ten apart; bars show medians and whiskers
the least and the most. Colours: ours, Keras, and everyone else.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import itertools

from matplotlib import pyplot as plt

from benchmarks.commands.train import HUNDRED, steady
from benchmarks.stats import FiveNumbers, pooled, significant, summarise

Record = dict[str, Any]
OURS, KERAS, OTHERS = "#1b6ca8", "#c44536", "#8a8f98"


def colour(name: str) -> str:
    if name.startswith("scratchnet"):
        return OURS
    return KERAS if name.startswith("Keras") else OTHERS


def bars(
    found: dict[str, FiveNumbers], title: str, unit: str, path: Path, scale: float = 1
) -> None:
    """Horizontal bars, the slowest on top, with the median written beside each."""
    names = sorted(found, key=lambda name: found[name].median)
    medians = [scale * found[name].median for name in names]
    below = [scale * (found[name].median - found[name].least) for name in names]
    above = [scale * (found[name].most - found[name].median) for name in names]
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.36 * len(names)), layout="constrained")
    axes.barh(names, medians, color=[colour(name) for name in names])
    axes.errorbar(medians, names, xerr=[below, above], fmt="none", ecolor="black", capsize=3, lw=1)
    axes.set_xscale("log")
    for i, name in enumerate(names):
        axes.annotate(
            f" {significant(medians[i])}", (scale * found[name].most, i), va="center", fontsize=9
        )
    axes.set_xlim(min(medians) / 2, max(scale * s.most for s in found.values()) * 2)
    axes.set_xlabel(f"{unit}, logarithmic; median, least and most")
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def train_figures(record: Record, folder: Path) -> Iterable[Path]:
    for name, job in record["jobs"].items():
        if name == HUNDRED:
            yield hundred_figure(job, folder / "train-hundred.png")
            continue
        if not job["rows"]:
            continue
        path = folder / f"train-{name}.png"
        found = {r["name"]: summarise(steady(r["rounds"])) for r in job["rows"]}
        bars(found, f"{job['words']}, {job['job']['samples']:,} samples", "s per epoch", path)
        yield path
    yield roofline(record, folder / "roofline.png")


def hundred_figure(job: Record, path: Path) -> Path:
    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    for r in job["rows"]:
        seconds = r["rounds"][0]
        axes.plot(range(1, len(seconds) + 1), seconds, lw=1, label=r["name"])
    axes.set(xlabel="epoch", ylabel="s", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def roofline(record: Record, path: Path) -> Path:
    """Dense FLOP/s of everyone's epochs against their arithmetic intensity, and the peaks."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    marks = "osD^vPX*"
    for i, (name, job) in enumerate((n, j) for n, j in record["jobs"].items() if n != HUNDRED):
        flop = job["flop_per_epoch"]
        for r in job["rows"]:
            rate = flop / summarise(steady(r["rounds"])).median / 1e9
            axes.plot(
                intensity(job), rate, marks[i % len(marks)], color=colour(r["name"]), alpha=0.8
            )
        axes.plot([], [], marks[i % len(marks)], color="black", label=name)
    for peak, rate in record["peaks"].items():
        if rate is not None:
            style = "-" if peak.startswith("fma") else "--"
            axes.axhline(rate, color="black", lw=0.8, ls=style)
            kind, threads = peak.split("_")
            text = f"{kind}, {'1 thread' if threads == '1' else 'all threads'}: {rate:.0f}"
            axes.annotate(text, (0.99, rate), xycoords=("axes fraction", "data"), ha="right",
                          va="bottom", fontsize=8)  # fmt: skip
    axes.set(xscale="log", yscale="log", ylabel="GFLOP/s of the dense algorithm")
    axes.set_xlabel("FLOP per byte of parameters and moments read and written in a step")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.set_title("Blue: scratchnet; red: Keras; grey: others", loc="left", fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def intensity(job: Record) -> float:
    """FLOP of a step over the bytes that Adam must move: w, m and v, there and back."""
    widths = [784, *job["job"]["hidden"], 10]
    count = sum(i * o + o for i, o in itertools.pairwise(widths))
    size = 8 if job["job"]["dtype"] == "float64" else 4
    return float(job["flop_per_epoch"] / job["steps"] / (6 * size * count))


def predict_figures(record: Record, folder: Path) -> Iterable[Path]:
    path = folder / "predict.png"
    found = {r["name"]: summarise(pooled(r["rounds"])) for r in record["rows"]}
    bars(found, f"Predicting {record['images']:,} images", "ms", path, 1000)
    yield path


def startup_figures(record: Record, folder: Path) -> Iterable[Path]:
    path = folder / "startup.png"
    found = {r["name"]: summarise(s["whole"] for s in r["samples"]) for r in record["rows"]}
    bars(found, "From a new process to the end of its first epoch", "s", path)
    yield path


def accuracy_figures(record: Record, folder: Path) -> Iterable[Path]:
    path, found = folder / "accuracy.png", {}
    for r in record["rows"]:
        seconds = [run["seconds"] for run in r["runs"] if run["seconds"] is not None]
        if seconds:
            found[r["name"]] = summarise(seconds)
    if found:
        bars(found, f"To {record['target']:.0%} test accuracy", "s of training", path)
        yield path


def kernels_figures(record: Record, folder: Path) -> Iterable[Path]:
    if record["ablation"]:
        path = folder / "ablation.png"
        found = {r["name"]: summarise(steady(r["rounds"])) for r in record["ablation"]}
        bars(found, "The compiled engine with parts switched off", "s per epoch", path)
        yield path


def scaling_figures(record: Record, folder: Path) -> Iterable[Path]:
    for axis, points in record["axes"].items():
        path = folder / f"scaling-{axis}.png"
        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        lines: dict[str, list[tuple[float, FiveNumbers]]] = {}
        for point in points:
            for r in point["rows"]:
                summary = summarise(s / point["job"]["samples"] for s in steady(r["rounds"]))
                lines.setdefault(r["name"], []).append((point["value"], summary))
        for i, (name, line) in enumerate(lines.items()):
            x = [value for value, _ in line]
            axes.plot(x, [1e6 * s.median for _, s in line], f"C{i}o-", ms=4, label=name)
            low, high = [1e6 * s.least for _, s in line], [1e6 * s.most for _, s in line]
            axes.fill_between(x, low, high, color=f"C{i}", alpha=0.15)
        axes.set(xlabel=axis, ylabel="us per sample; median, least and most", yscale="log")
        if axis in ("batch", "width", "samples"):
            axes.set_xscale("log", base=10 if axis == "samples" else 2)
        axes.legend(frameon=False, fontsize=8)
        figure.savefig(path, dpi=150)
        plt.close(figure)
        yield path


FIGURES = {
    "train": train_figures,
    "predict": predict_figures,
    "startup": startup_figures,
    "accuracy": accuracy_figures,
    "kernels": kernels_figures,
    "scaling": scaling_figures,
}


def draw_figures(record: Record, folder: Path) -> list[Path]:
    """All figures of a result; a command without any gives none."""
    folder.mkdir(parents=True, exist_ok=True)
    function = FIGURES.get(record["command"])
    return [] if function is None else list(function(record, folder))
