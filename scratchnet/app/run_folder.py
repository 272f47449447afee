"""The folder that keeps a run: its numbers, model, answers and pictures, written and read back.

Each file is written whole or not at all, and `result.json` last, so a folder that has one is
usable. A folder that holds anything else than a run is refused, never overwritten. What stands in
the JSON files is declared in `run_schema.py`.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial as partial_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from scratchnet import atomic, models
from scratchnet.app import run_schema
from scratchnet.app.run_training import SHOWN, Outcome, on_engine
from scratchnet.app.text import dimensions, to_json
from scratchnet.datasets import Data
from scratchnet.engines import Array
from scratchnet.sequential import Sequential

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "scratchnet run 1"
MODEL, HISTORY, RESULT, PICTURES = "model.npz", "history.json", "result.json", "pictures"
ANSWERS, REPORT = "answers.npz", "report.html"
MAX_BYTES = 2**28
"""The largest file that is read into memory, and all arrays of one together."""
SHOWN_MISREADS = 400
"""How many misread images a run folder keeps, so that a page can show them without the data."""


class RunError(ValueError):
    """A folder that is no whole run, or that must not become one: which, what is there, what to do.

    >>> print(RunError("runs/a", "is empty", "Name another"))
    runs/a is empty. Name another.
    """

    def __init__(self, folder: str | os.PathLike[str], finding: str, remedy: str):
        super().__init__(f"{os.fspath(folder)} {finding}. {remedy}.")


class RunFolder:
    """A run being written.

    Args:
        path: a new or empty folder, or an earlier run, which is replaced: its files go first, so
            that old and new never stand side by side.

    Raises:
        RunError: where `path` is a file, or a folder that holds something else.
    """

    def __init__(self, path: str | os.PathLike[str], kind: str):
        self.path, self.kind = Path(path), kind
        check_free(self.path)
        (self.path / PICTURES).mkdir(parents=True, exist_ok=True)
        files = (self.path / name for name in (RESULT, MODEL, ANSWERS, REPORT))
        for old in (*files, *(self.path / PICTURES).glob("*.png")):
            old.unlink(missing_ok=True)
        self.save_history({})

    def save_history(self, history: Mapping[str, Any]) -> None:
        """What is known after each epoch; its first line marks the folder as a run."""
        self._json(HISTORY, history)

    def save_model(self, model: Sequential) -> None:
        models.save_model(model, self.path / MODEL)

    def save_answers(self, outcome: Outcome, data: Data) -> None:
        """What everyone says of the test set, and as many misread images as a page can show."""
        x, y = data[1]
        wrong = np.array(outcome.result["misread"]["index"], np.intp)
        if len(wrong) > SHOWN_MISREADS:
            wrong = wrong[np.linspace(0, len(wrong) - 1, SHOWN_MISREADS).round().astype(int)]
        arrays: dict[str, Any] = {
            "labels": y,
            "misread_index": wrong,
            "misread_images": x[wrong],
        }
        for name, scores in outcome.scores.items():
            arrays |= {f"{name}_outputs": scores.outputs, f"{name}_logits": scores.logits}
        with atomic.replacing(self.path / ANSWERS) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def save_picture(self, name: str, figure: Figure) -> str:
        """Write `pictures/name.png`; its path within the folder."""
        place = f"{PICTURES}/{name}.png"
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=150)
        atomic.write(self.path / place, drawn.getvalue())
        return place

    def save_result(self, result: Mapping[str, Any]) -> None:
        """The last file: from here on the folder is usable."""
        self._json(RESULT, result)

    def discard(self) -> bool:
        """Take the folder away if nothing was kept in it yet; whether that is so."""
        if (self.path / MODEL).exists():
            return False
        if {path.name for path in self.path.rglob("*")} <= {HISTORY, PICTURES}:
            (self.path / HISTORY).unlink()
            (self.path / PICTURES).rmdir()
            self.path.rmdir()
        return True

    def _json(self, name: str, content: Mapping[str, Any]) -> None:
        content = {"format": FORMAT, "kind": self.kind, **content}
        atomic.write(self.path / name, to_json(content))


@dataclass(frozen=True)
class SavedRun:
    """A run that was read back; an unfinished one has an empty `result`."""

    path: Path
    result: dict[str, Any]
    history: dict[str, Any]

    def model(self, shape: tuple[int, ...] | None = None) -> Sequential:
        """Our model as the run left it, on the run's engine as far as it can be had here.

        Raises:
            SavedStateError: if its file is damaged.
            RunError: for a model that no run leaves, or that takes no images of `shape`.
        """
        settings = self.result.get("settings", {})
        with on_engine("reference" if settings.get("engine") == "reference" else "auto"):
            model = models.load_model(self.path / MODEL)
        model.threads = settings.get("threads")
        takes = tuple(model.input_shape[1:])
        if not (model.compiled and model.loss.sparse and model.output_shape[1:] == (10,)):
            raise RunError(self.path / MODEL, "is no model that tells ten digits apart", _BROKEN)
        if shape is not None and takes != tuple(shape):
            finding = (
                f"has a model for images of {dimensions(takes)}, and these are {dimensions(shape)}"
            )
            raise RunError(self.path, finding, "Take the data or the run that belongs to it")
        return model

    @property
    def answers(self) -> dict[str, Array]:
        """The arrays of `answers.npz`, or none if it is missing; `RunError` if it is damaged.

        `labels` (N,); for each model `<name>_outputs` and `<name>_logits` (N, K), on the test set,
        in the model's dtype; `misread_index` (M,) and `misread_images` (M, height, width).
        """
        path = self.path / ANSWERS
        if not path.is_file():
            return {}
        try:
            answers = _read_arrays(path)
            _check_answers(answers)
        # zipfile, zlib, tokenize and NumPy raise errors of many kinds on damaged bytes.
        except Exception as error:
            finding = f"can't be read: {error or type(error).__name__}"
            raise RunError(path, finding, _BROKEN) from error
        return answers

    @property
    def pictures(self) -> list[Path]:
        return sorted((self.path / PICTURES).glob("*.png"))


_BROKEN = "Restore it from a copy, or start the run again"


def read_run(path: str | os.PathLike[str], *, partial: bool = False) -> SavedRun:
    """A run; `RunError` for a folder that is missing, something else or half written.

    With `partial` a run will do whose training did not come to its end, if an epoch was finished.
    """
    folder = Path(path)
    another = "Name a folder that `scratchnet train --out` or `compare --out` wrote"
    if not folder.is_dir():
        raise RunError(path, "is a file" if folder.exists() else "does not exist", another)
    if not (folder / HISTORY).is_file():
        raise RunError(path, f"is not a run: it has no {HISTORY}", another)
    history = _read_json(folder, HISTORY, run_schema.check_history)
    for name in (MODEL,) if partial else (RESULT, MODEL):
        if not (folder / name).is_file():
            raise RunError(
                path, f"is half written: it has no {name}", "Start the run again with --out here"
            )
    if partial and not (folder / RESULT).is_file():
        return SavedRun(folder, {}, history)
    checked = partial_of(run_schema.check_result, history=history)
    return SavedRun(folder, _read_json(folder, RESULT, checked), history)


def next_free(path: str | os.PathLike[str]) -> Path:
    """`path`, or the first of `path-2`, `path-3` ... that does not exist yet."""
    first = Path(path)
    number, free = 1, first
    while free.exists():
        number += 1
        free = first.with_name(f"{first.name}-{number}")
    return free


def check_free(path: str | os.PathLike[str]) -> None:
    """`RunError` unless a run may be written at `path`."""
    folder, another = Path(path), "Name another folder with --out, or move this one away"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(path, "is a file: expected a folder", another)
    if not any(folder.iterdir()):
        return
    try:
        _read_json(folder, HISTORY, lambda _: None)
    except (RunError, FileNotFoundError):
        raise RunError(path, "holds something else than a run", another) from None


def _read_json(folder: Path, name: str, check: Callable[[Any], None]) -> dict[str, Any]:
    """A file of a run, held against its table."""
    place = folder / name
    if place.stat().st_size > MAX_BYTES:
        raise RunError(place, f"has more than the {MAX_BYTES:,} bytes that are read", _BROKEN)
    try:
        content = json.loads(place.read_text(encoding="utf-8"), parse_constant=_refuse)
        json.dumps(content, ensure_ascii=False).encode()  # halves of characters can't be written
    except (ValueError, RecursionError) as error:
        raise RunError(place, f"is not JSON: {error}", _BROKEN) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RunError(place, f"is not of a run: expected format {FORMAT!r}", _BROKEN)
    try:
        check(content)
    except run_schema.SchemaError as error:
        raise RunError(place, f"is not what a run writes: {error}", _BROKEN) from error
    return content


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def _read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an `.npz`, each judged by its header before memory is asked for."""
    arrays: dict[str, Array] = {}
    left = MAX_BYTES
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as file:
                if npy.read_magic(file) != (1, 0):
                    raise ValueError(f"{name} is not in .npy format 1.0")
                shape, fortran, dtype = npy.read_array_header_1_0(file)
                size = math.prod(shape) * dtype.itemsize
                left -= size
                if dtype.kind not in "fui" or fortran or left < 0 or name in arrays:
                    raise ValueError(f"{name} is {dtype} {shape}, or stands there twice")
                # No further than announced: what is compressed may be any length.
                data = file.read(size + 1)
                if len(data) != size:
                    raise ValueError(f"{name} announces {size} bytes and holds another number")
            arrays[name] = np.frombuffer(data, dtype).reshape(shape)
    return arrays


def _check_answers(answers: dict[str, Array]) -> None:
    """`ValueError` where the arrays don't go with each other."""
    number = len(answers.get("labels", ()))
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {"labels": ("ui", (max(number, 1),))}
    for name in SHOWN:
        if {f"{name}_outputs", f"{name}_logits"} & answers.keys():
            wanted |= {f"{name}_{part}": ("f", (number, 10)) for part in ("outputs", "logits")}
    if {"misread_index", "misread_images"} & answers.keys():
        images = answers.get("misread_images", np.zeros(0))
        sides = images.shape[1:] if images.ndim == 3 else (28, 28)
        wanted["misread_index"] = ("ui", images.shape[:1])
        wanted["misread_images"] = ("u", (*images.shape[:1], *sides))
    for name, (kinds, shape) in wanted.items():
        found = answers.get(name)
        if found is None or found.shape != shape or found.dtype.kind not in kinds:
            told = "missing" if found is None else f"{found.dtype} {found.shape}"
            kind = "float" if kinds == "f" else "whole numbers"
            raise ValueError(f"{name} is {told}, expected {kind} of shape {shape}")
        if not np.isfinite(found).all():
            raise ValueError(f"{name} has numbers that are not finite")
    if answers["labels"].min() < 0 or answers["labels"].max() > 9:
        raise ValueError("labels has numbers that are no digits")
