"""The report: one HTML page of a run, made from its folder alone, for reading and for showing.

The verdict comes first, then the numbers, the pictures and what they mean, and where it all came
from. Neither the data set nor Keras is needed, and the same folder gives the same bytes. Nothing is
trained or measured here. Read `pages/report.html` next; the commands that write it are `train`,
`compare` and `report`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from scratchnet import atomic
from scratchnet.app import run_folder
from scratchnet.app.pages import figures, render
from scratchnet.app.run_folder import SavedRun
from scratchnet.app.run_training import OURS, SHOWN
from scratchnet.app.verdict import formatted, numbers, verdict
from scratchnet.engines import Array

TITLES = {
    "train": "Training with scratchnet",
    "compare": "scratchnet and Keras, side by side",
    "proof": "scratchnet and Keras, in lockstep",
}
DIGITS_SHOWN = 20
"""Misread images of each kind; of more, so many are taken evenly from first to last."""
FILES = {
    run_folder.RESULT: "every number of this page, as JSON",
    run_folder.HISTORY: "losses, accuracies and seconds, epoch by epoch",
    run_folder.MODEL: "the trained network, with its optimizer, for <code>load_model</code>",
    run_folder.ANSWERS: "what each model says of each test image",
}


class Picture(NamedTuple):
    """A drawing with its words, and the numbers behind it for those who can't see it."""

    drawing: Any
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Make the page of a run, at `out` or as `report.html` in its folder; where it is.

    Raises:
        RunError: where `folder` is no run, or a file of it is damaged.
        OSError: where `out` can't be a file.
    """
    run = run_folder.read_run(folder)
    path = run.path / run_folder.REPORT if out is None else Path(out)
    atomic.check_target(path)
    text = html(run, beside=path.parent)
    atomic.write(path, text)
    return path


def html(run: SavedRun, beside: Path | None = None) -> str:
    """The page as text; its links lead to the run's files from the folder `beside`."""
    result, answers = run.result, run.answers
    kind = result.get("kind", run.history["kind"])
    if result.get("parity") is None:
        kind = "train"
    return render(
        "report.html",
        title=TITLES[kind],
        kind=kind,
        result=result,
        shown=SHOWN,
        verdict=verdict(result) if result else _unfinished(run),
        tone={None: "", True: "good", False: "bad"}[result.get("parity")],
        numbers=numbers(result),
        learning=list(_learning(run)),
        matrices=_matrices(answers),
        misread=_misread(result.get("misread", {}), answers),
        drift=_drift(run),
        confidence=_confidence(answers),
        readings=_readings(answers),
        weights=_weights_picture(run),
        files=_files(run, beside or run.path),
        command=result.get("command"),
        environment=result.get("environment"),
        power=power,
    )


# --- words ----------------------------------------------------------------------------------------


def _unfinished(run: SavedRun) -> str:
    epochs = len(run.history.get(OURS, {}).get("loss", []))
    done = f" after {epochs} epochs" if epochs else ""
    return f"Not finished: training was cut off{done}, so there is no verdict."


def power(value: float) -> Any:
    """A small number as people write it: 1.9 times ten to the minus 15."""
    from markupsafe import Markup

    if not value:
        return "0"
    digits, _, exponent = f"{value:.1e}".partition("e")
    if -3 <= int(exponent) <= 3:
        return f"{value:.2g}"
    sign = "\N{MINUS SIGN}" if int(exponent) < 0 else ""
    whole = "" if digits == "1.0" else f"{digits}&nbsp;\N{MULTIPLICATION SIGN}&nbsp;"
    return Markup(f"{whole}10<sup>{sign}{abs(int(exponent))}</sup>")


# --- pictures -------------------------------------------------------------------------------------


def _learning(run: SavedRun) -> Iterator[Picture]:
    """Loss and accuracy over the epochs, everyone in one picture."""
    from scratchnet import plots

    found = {SHOWN[name]: run.history[name] for name in SHOWN if run.history.get(name)}
    found = {name: history for name, history in found.items() if history["loss"]}
    for metric, form in (("loss", "{:.4f}"), ("accuracy", "{:.2%}")) if found else ():
        with figures.canvas() as figure:
            plots.history(found, metric, ax=figure.subplots())
            ends = ", ".join(
                f"{name} {formatted(history[metric][-1], form)} in training and "
                f"{formatted(history[f'val_{metric}'][-1], form)} on the test set"
                for name, history in found.items()
            )
            alt = f"Curves of the {metric} over the epochs. At the end: {ends}."
            shown = figures.svg(figure, alt)
        parts = [(name, column) for name in found for column in (metric, f"val_{metric}")]
        columns = [f"{name}, {'test' if 'val_' in part else 'training'}" for name, part in parts]
        cells = ([formatted(value, form) for value in found[name][part]] for name, part in parts)
        rows = [[str(epoch), *row] for epoch, row in enumerate(zip(*cells, strict=True), 1)]
        yield Picture(shown, f"The {metric}.", ["epoch", *columns], rows)


def _drift(run: SavedRun) -> Picture | None:
    """How far the weights of the two are apart, over the steps."""
    from scratchnet import plots

    result = run.result
    stepped, series = result.get("lockstep", {}), {}
    if apart := result.get("weight_difference"):
        settings = result["settings"]
        images = result["data"]["training"] * (1 + settings.get("augment", 0))
        steps = -(-images // settings["batch_size"])
        series["float32 training"] = [(steps * n, most) for n, most in enumerate(apart, 1)]
    if "drift" in stepped:
        series["float64 lockstep"] = [(step, most) for step, most in stepped["drift"]]
    if not series:
        return None
    with figures.canvas((4.4, 3.9)) as figure:
        ax = plots.drift(series, limit=stepped.get("limit"), ax=figure.subplots())
        ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1))
        ends = ", ".join(f"{name} {pairs[-1][1]:.1e}" for name, pairs in series.items())
        shown = figures.svg(figure, f"The largest weight difference over the steps: {ends}.")
    rows = [
        [name, f"{step:,}", f"{most:.2e}"]
        for name, pairs in series.items()
        for step, most in (pairs[i] for i in _evenly(len(pairs), 20))
    ]
    caption = "The largest difference of any weight, step by step, on logarithmic scales."
    return Picture(shown, caption, ["", "step", "largest weight difference"], rows)


def _confidence(answers: dict[str, Array]) -> list[Picture]:
    """Reliability of both readings of the head: softmax of the logits, and normalised outputs."""
    from scratchnet import plots

    pictures = []
    for caption, reading in (
        ("Softmax of the logits: what training minimises.", softmax_of_logits),
        ("The outputs, divided by their sum: nobody trained these.", normalised_outputs),
    ):
        given = {SHOWN[name]: reading(answers, name) for name in _names(answers)}
        if not given:
            continue
        held = {name: plots.reliability(answers["labels"], p, 10) for name, p in given.items()}
        errors = ", ".join(f"{name} {found.ece:.1%}" for name, found in held.items())
        with figures.canvas((4.4, 4.6)) as figure:
            plots.calibration(answers["labels"], given, bins=10, ax=figure.subplots())
            alt = f"Reliability diagram. {caption} Expected calibration error: {errors}."
            shown = figures.svg(figure, alt)
        rows = [
            [name, f"{confidence:.1%}", f"{accuracy:.1%}", f"{count:,}"]
            for name, found in held.items()
            for confidence, accuracy, count in zip(*found[:3], strict=True)
        ]
        pictures.append(
            Picture(shown, caption, ["", "confidence", "accuracy", "images in the bin"], rows)
        )
    return pictures


def _weights_picture(run: SavedRun) -> Picture | None:
    """What the first layer looks for, where its inputs are pixels of an image."""
    from scratchnet import plots

    kernel = run.model().get_weights()[0]
    shape = run.result.get("data", {}).get("shape", [])
    if len(shape) != 2 or kernel.shape[0] != shape[0] * shape[1]:
        return None
    with figures.canvas((8.4, 4.2)) as figure:
        ax = plots.weights(kernel, tuple(shape), ax=figure.subplots())
        ax.images[0].set_interpolation("none")  # a page scales the pixels itself
        units, alt = kernel.shape[1], "Each unit of the first layer as an image of its weights."
        shown = figures.svg(figure, alt)
    caption = (
        f"The {units} units of the first layer: ink on an orange pixel raises a unit, ink on a "
        "purple one lowers it."
    )
    return Picture(shown, caption, [], [])


# --- tables ---------------------------------------------------------------------------------------


def _names(answers: dict[str, Array]) -> list[str]:
    return [name for name in SHOWN if f"{name}_outputs" in answers]


def softmax_of_logits(answers: dict[str, Array], name: str) -> Array:
    """The probabilities (N, K) whose cross-entropy the training minimises."""
    z = answers[f"{name}_logits"].astype(np.float64)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def normalised_outputs(answers: dict[str, Array], name: str) -> Array:
    """The head's outputs (N, K), each row divided by its sum; a row of zeros stays zeros."""
    outputs = answers[f"{name}_outputs"].astype(np.float64)
    total = outputs.sum(axis=1, keepdims=True)
    return np.divide(outputs, total, out=np.zeros_like(outputs), where=total > 0)


def _readings(answers: dict[str, Array]) -> list[dict[str, Any]]:
    """For each model: ties among its outputs, and accuracy and calibration by either reading."""
    from scratchnet import plots

    rows = []
    for name in _names(answers):
        labels, outputs = answers["labels"], answers[f"{name}_outputs"]
        logits = answers[f"{name}_logits"]
        most = outputs.max(axis=1, keepdims=True)
        rows.append(
            {
                "name": SHOWN[name],
                "tied": int(np.sum(np.sum(outputs == most, axis=1) > 1)),
                "of": len(labels),
                "by_outputs": float(np.mean(outputs.argmax(axis=1) == labels)),
                "by_logits": float(np.mean(logits.argmax(axis=1) == labels)),
                "ece_logits": plots.reliability(labels, softmax_of_logits(answers, name), 10).ece,
                "ece_outputs": plots.reliability(labels, normalised_outputs(answers, name), 10).ece,
            }
        )
    return rows


def _matrices(answers: dict[str, Array]) -> list[dict[str, Any]]:
    """For each model the confusion matrix, each count with the strength of its shade."""
    from sklearn.metrics import confusion_matrix

    made = []
    for name in _names(answers):
        labels, outputs = answers["labels"], answers[f"{name}_outputs"]
        counts = confusion_matrix(labels, outputs.argmax(axis=1), labels=range(outputs.shape[1]))
        mistakes = counts - np.diag(np.diag(counts))
        shade = np.round(45 * np.log1p(mistakes) / max(np.log1p(mistakes.max()), 1)).astype(int)
        made.append(
            {
                "name": SHOWN[name],
                "rows": [
                    list(zip(*row, strict=True))
                    for row in zip(counts.tolist(), shade.tolist(), strict=True)
                ],
                "wrong": int(mistakes.sum()),
            }
        )
    return made


def _misread(columns: dict[str, list[int]], answers: dict[str, Array]) -> list[dict[str, Any]]:
    """The misread images by who has them wrong: how many, and as many of them as are shown."""

    names = [name for name in SHOWN if name in columns]
    if not names or "misread_images" not in answers:
        return []
    kept = dict(zip(answers["misread_index"].tolist(), answers["misread_images"], strict=True))
    brightest = max((int(image.max()) for image in kept.values()), default=0) or 1
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    groups = []
    for title, wrong in _misread_groups(names):
        those = [row for row in rows if {n for n in names if row[n] != row["label"]} == wrong]
        pictured = [row for row in those if row["index"] in kept]
        shown = [pictured[i] for i in _evenly(len(pictured), DIGITS_SHOWN)]
        for row in shown:
            row["image"] = figures.grey_png(np.asarray(kept[row["index"]]) * (255.0 / brightest))
            row["given"] = [(SHOWN[name], row[name], row[name] == row["label"]) for name in names]
        groups.append({"title": title, "of": len(those), "shown": shown})
    return groups


def _misread_groups(names: list[str]) -> list[tuple[str, set[str]]]:
    if len(names) == 1:
        return [("Misread", set(names))]
    return [
        ("Both are wrong", set(names)),
        *((f"Only {SHOWN[name]} is wrong", {name}) for name in names),
    ]


def _evenly(number: int, most: int) -> list[int]:
    """At most `most` of so many places, evenly from first to last."""
    return np.linspace(0, number - 1, min(most, number)).round().astype(int).tolist()


def _files(run: SavedRun, beside: Path) -> list[dict[str, Any]]:
    """What else is in the folder, with links that hold wherever both are moved together."""
    start = os.path.relpath(run.path.absolute(), beside.absolute())
    named = [(name, what) for name, what in FILES.items() if (run.path / name).is_file()]
    named += [(f"{run_folder.PICTURES}/{picture.name}", "a picture") for picture in run.pictures]
    return [
        {
            "name": name,
            "what": what,
            "link": quote(
                os.fsencode(name if start == "." else f"{Path(start).as_posix()}/{name}")
            ),
        }
        for name, what in named
    ]
