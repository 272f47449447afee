"""The folder that keeps a run: history, model, answers, numbers and pictures, written and read.

A run is written by one process at a time, each epoch in one step, so that history and model always
tell of the same one. `result.json` comes last: with it a run is finished, and without it a run of
the epochs before. Over an earlier run the new one is built in a folder beside its files, and takes
their place once it is finished; then only what that run had written goes, and never through a link.
What stands in the JSON files is declared in `run_schema.py`.
"""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import weakref
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scratchnet import atomic, models, resuming, saving
from scratchnet.app import run_schema
from scratchnet.app.run_training import OURS, SHOWN, Outcome, on_engine
from scratchnet.app.text import dimensions, to_json
from scratchnet.callbacks import BackupAndRestore
from scratchnet.datasets import Data
from scratchnet.engines import Array
from scratchnet.saving import SavedStateError, State
from scratchnet.sequential import Sequential
from scratchnet.untrusted import (
    MAX_TEXT,
    ForeignBytesError,
    npy_header,
    parse_json,
    printable,
    zip_members,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "scratchnet run 1"
MODEL, HISTORY, RESULT, PICTURES = "model.npz", "history.json", "result.json", "pictures"
ANSWERS, REPORT = "answers.npz", "report.html"
CHECKPOINT = "checkpoint.npz"
"""Where a run that is not finished can be gone on from."""
FILES = (MODEL, HISTORY, ANSWERS, RESULT, REPORT, CHECKPOINT)
OURS_ALONE = ".scratchnet-"
"""How the names of what is only there while a run is written begin."""
NEXT = f"{OURS_ALONE}next"
"""Where a run is built that will replace another."""
EPOCH = f"{OURS_ALONE}epoch"
"""A link to the folder of the last finished epoch, through which its two files are seen."""
MAX_BYTES = 2**28
"""What all arrays of `answers.npz` may take together."""
SHOWN_MISREADS = 400
"""How many misread images a run folder keeps, so that a page can show them without the data."""

_BROKEN = "Restore it from a copy, or start the run again"


class RunError(ValueError):
    """A folder that is no whole run, or that must not become one: which, what is there, what to do.

    >>> print(RunError("runs/a", "is empty", "Name another"))
    runs/a is empty. Name another.
    """

    def __init__(self, folder: str | os.PathLike[str], finding: str, remedy: str):
        super().__init__(printable(f"{os.fspath(folder)} {finding}. {remedy}.", 4000))


class InUseError(RunError):
    """A folder in which another process is writing a run.

    >>> issubclass(InUseError, RunError)
    True
    """


# --- written --------------------------------------------------------------------------------------


class RunFolder:
    """A run being written, and its lock, which dies with its process.

    Args:
        path: a new or empty folder, or an earlier run, which stays as it is until `save_result`.
        resumed: go on with the run in `path`, from its checkpoint.
        about: what is known before training, such as settings and data; it stands beside the
            history, so that a run that is cut off can be evaluated.

    Attributes:
        keeps: whether a checkpoint is worth keeping before the first epoch is through.

    Raises:
        RunError: where `path` is a file, a folder that holds something else, or in use.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        kind: str,
        about: Mapping[str, Any] | None = None,
        resumed: bool = False,
    ):
        self.path, self.kind, self.about = Path(path), kind, dict(about or {})
        self.epochs, self.finished, self.resumed = 0, False, resumed
        self.keeps = False
        check_free(self.path)
        self._new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        self._unlock = weakref.finalize(self, os.close, _locked(self.path))
        try:
            self._begin()
        except BaseException:
            if hasattr(self, "home") and not self.resumed:
                self._erase()
            elif self._new:
                with suppress(OSError):
                    self.path.rmdir()
            self._unlock()
            raise

    def _begin(self) -> None:
        if (self.path / NEXT / RESULT).is_file():  # its writer was killed on the last metres
            _publish(self.path)
        if not (self.resumed and (self.path / NEXT / CHECKPOINT).is_file()):
            _delete(self.path / NEXT)
        for folder in (self.path, self.path / PICTURES, self.path / NEXT):
            if folder.is_dir():
                atomic.delete_leftovers(folder)
        if self.resumed:
            return self._go_on()
        self.replaces = any(os.path.lexists(self.path / name) for name in FILES)
        self.home = self.path / NEXT if self.replaces else self.path
        if self.replaces:
            self.home.mkdir()
        else:
            _delete_epochs(self.path)
        self._steps = 0
        self._take_step(None, {})

    def _go_on(self) -> None:
        """Where the checkpoint is; beside a run that was interrupted a copy of it is gone on with.

        Whenever this is cut short there is a checkpoint still.
        """
        beside = self.path / NEXT
        self.home = beside if beside.is_dir() else self.path
        if self.home == self.path and (self.path / RESULT).is_file():
            beside.mkdir()
            for name in (HISTORY, MODEL, CHECKPOINT):
                if (self.path / name).is_file():
                    atomic.write(beside / name, (self.path / name).read_bytes())
            self.home = beside
        self.replaces = self.home != self.path
        _settle(self.home)
        history = _read_json(self.home / HISTORY, run_schema.check_history)
        self._history = {name: history[name] for name in SHOWN if name in history}
        self.epochs = len(self._history.get(OURS, {}).get("loss", []))
        _delete_epochs(self.home)
        self._steps = 0

    @property
    def checkpoint(self) -> Path:
        return self.home / CHECKPOINT

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Let others write here; files that were seen through a link become files."""
        if self._unlock.alive:
            with suppress(OSError):  # a full disk; the links are as good
                _settle(self.home)
            self._unlock()

    def save_epoch(self, model: Sequential, history: Mapping[str, Any]) -> None:
        """The model and the history after an epoch, in one step."""
        self._take_step(model, history)
        self.epochs += 1

    def save_model(self, model: Sequential) -> None:
        """The model as training left it, where that is not at the end of an epoch."""
        self._take_step(model, self._history)

    def _take_step(self, model: Sequential | None, history: Mapping[str, Any]) -> None:
        """Write both files into a folder of their own, then turn the link to it."""
        self._steps, self._history = self._steps + 1, copy.deepcopy(dict(history))
        folder, turned = self.home / f"{EPOCH}-{self._steps}", self.home / f"{EPOCH}-link"
        try:
            os.symlink(folder.name, turned)
        except OSError:  # a file system without links: one file after the other
            folder = self.home
        folder.mkdir(exist_ok=True)
        atomic.write(folder / HISTORY, self._json({**self.about, **history}))
        if model is not None:
            models.save_model(model, folder / MODEL)
        if folder == self.home:
            return
        os.replace(turned, self.home / EPOCH)
        if self._steps == 1:
            for name in (HISTORY, MODEL):
                os.symlink(f"{EPOCH}/{name}", turned)
                os.replace(turned, self.home / name)
        atomic.flush_folder(self.home)
        _delete(self.home / f"{EPOCH}-{self._steps - 2}")  # who reads may be one step behind

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
        with atomic.replacing(self.home / ANSWERS) as file:
            np.savez_compressed(file, **arrays)

    def save_result(self, result: Mapping[str, Any]) -> None:
        """The last file: from here on the run is finished, and an earlier one is replaced."""
        if not result.get("interrupted"):
            self.checkpoint.unlink(missing_ok=True)
        _settle(self.home)
        atomic.write(self.home / RESULT, self._json(result))
        self.finished, self._result = True, result
        if self.home != self.path:
            _publish(self.path)
            self.home = self.path

    def takes_pictures(self) -> bool:
        """Whether `pictures` is the run's own to write into: no link, and no file."""
        folder = self.path / PICTURES
        return not folder.is_symlink() and (folder.is_dir() or not folder.exists())

    def save_pictures(self, figures: Mapping[str, Figure]) -> list[str]:
        """Write each as `pictures/name.png`, or `name-2.png` where that is somebody's: their paths.

        The result names them before they are there, so that they are known for ours whenever the
        writing is cut short.
        """
        folder = self.path / PICTURES
        places = [next_free(folder / f"{name}.png") for name in figures]
        named = [f"{PICTURES}/{place.name}" for place in places]
        self.save_result({**self._result, "pictures": named})
        folder.mkdir(exist_ok=True)
        for place, figure in zip(places, figures.values(), strict=True):
            drawn = io.BytesIO()
            figure.savefig(drawn, format="png", dpi=150)
            atomic.write(place, drawn.getvalue())
        return named

    def discard(self) -> bool:
        """Leave no trace if no epoch was finished, or an earlier run stands here; whether so.

        A run that was gone on with is never given up.
        """
        if self.resumed or self.finished:
            self.close()
            return False
        begun = self.epochs > 0 or (self.keeps and self.checkpoint.is_file())
        if self.home == self.path and begun:
            self.close()
            return False
        self._erase()
        self._unlock()
        return True

    def _erase(self) -> None:
        """Take away what was written, where no epoch was finished or an earlier run stands."""
        if self.home != self.path:
            _delete(self.home)
            return
        for name in (HISTORY, MODEL, CHECKPOINT):
            (self.path / name).unlink(missing_ok=True)
        _delete_epochs(self.path)
        if self._new:
            with suppress(OSError):  # somebody has put something there
                self.path.rmdir()

    def _json(self, content: Mapping[str, Any]) -> str:
        return to_json({"format": FORMAT, "kind": self.kind, **content})


def next_free(path: str | os.PathLike[str]) -> Path:
    """`path`, or the first of `path-2`, `path-3` ... that does not exist yet.

    >>> next_free("no such folder/a.png").name
    'a.png'
    """
    first = Path(path)
    number, free = 1, first
    while os.path.lexists(free):
        number += 1
        free = first.with_name(f"{first.stem}-{number}{first.suffix}")
    return free


def check_free(path: str | os.PathLike[str]) -> None:
    """`RunError` unless a run may be written at `path`."""
    folder, another = Path(path), "Name another folder with --out, or move this one away"
    if not folder.exists():
        if folder.is_symlink():
            raise RunError(path, "is a link to nothing: expected a folder", another)
        return
    if not folder.is_dir():
        raise RunError(path, "is a file: expected a folder", another)
    names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(OURS_ALONE)}
    left = folder / PICTURES
    if names == {PICTURES} and not left.is_symlink() and left.is_dir() and not any(left.iterdir()):
        return
    if not names:
        return
    try:
        _read_json(folder / HISTORY, lambda _: None)
    except (RunError, OSError):
        raise RunError(path, "holds something else than a run", another) from None
    for name in FILES:
        if (folder / name).is_dir():
            raise RunError(folder / name, "is a folder: expected a file of a run", another)


def _locked(folder: Path) -> int:
    """An open, locked descriptor of the folder."""
    while True:
        descriptor = os.open(folder, os.O_RDONLY)
        if atomic.lock(descriptor) is False:
            os.close(descriptor)
            finding = "is in use: another process is writing a run there"
            raise InUseError(folder, finding, "Wait for it, or name another folder with --out")
        try:
            if os.path.samestat(os.stat(folder), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:  # whoever had the lock has taken the folder away
            folder.mkdir(parents=True, exist_ok=True)
        os.close(descriptor)


def _settle(home: Path) -> None:
    """The two files that are seen through the link become files; nothing else moves."""
    if not (home / EPOCH).is_symlink():
        return
    for name in (MODEL, HISTORY):
        if (home / EPOCH / name).is_file():
            os.replace(home / EPOCH / name, home / name)
    _delete_epochs(home)
    atomic.flush_folder(home)


def _publish(path: Path) -> None:
    """Put the finished run in `NEXT` in the place of the one before it.

    Whenever this is cut short, `NEXT` is still whole, is what is read, and is published by the next
    writer.
    """
    source = path / NEXT
    for picture in _pictures_of(path):
        picture.unlink(missing_ok=True)
    for name in (RESULT, REPORT):
        (path / name).unlink(missing_ok=True)
    for name in (MODEL, ANSWERS, HISTORY, CHECKPOINT, RESULT):
        if not (source / name).exists():
            (path / name).unlink(missing_ok=True)
            continue
        beside = path / f"{OURS_ALONE}{name}"
        beside.unlink(missing_ok=True)
        try:
            os.link(source / name, beside)
        except OSError:  # a file system without hard links
            shutil.copyfile(source / name, beside)
        os.replace(beside, path / name)
        beside.unlink(missing_ok=True)  # where both are one file, `replace` does nothing
    _delete_epochs(path)
    atomic.flush_folder(path)
    (source / RESULT).unlink()
    _delete(source)


def _pictures_of(path: Path) -> list[Path]:
    """The pictures that the run at `path` says it has drawn: plain files in a folder of its own."""
    try:
        named = _read_json(path / RESULT, lambda _: None).get("pictures")
    except (RunError, OSError):
        return []
    folder = path / PICTURES
    if folder.is_symlink() or not isinstance(named, list):
        return []
    places = [path / name for name in named if isinstance(name, str)]
    return [p for p in places if p.parent == folder and p.suffix == ".png" and _is_plain(p)]


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _delete_epochs(home: Path) -> None:
    for place in home.glob(f"{EPOCH}*"):
        _delete(place)


def _delete(place: Path) -> None:
    """Something of ours with all that is in it, never what a link leads to."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


# --- read -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SavedRun:
    """A run that was read back; an unfinished one has an empty `result`."""

    path: Path
    result: dict[str, Any]
    history: dict[str, Any]
    model_file: Path

    @property
    def about(self) -> dict[str, Any]:
        """Settings and data, which an unfinished run keeps beside its history."""
        return self.result or self.history

    @property
    def epochs(self) -> int | None:
        """How many were finished; None where the history doesn't count them."""
        finished = len(self.history.get(OURS, {}).get("loss", []))
        return self.result.get("epochs") or finished or None

    def model(self, shape: tuple[int, ...] | None = None) -> Sequential:
        """Our model as the run left it, on the run's engine as far as it can be had here.

        Raises:
            SavedStateError: if its file is damaged.
            RunError: for a model that no run leaves, or that takes no images of `shape`.
        """
        settings = self.about.get("settings", {})
        with on_engine("reference" if settings.get("engine") == "reference" else "auto"):
            model = models.load_model(self.model_file)
        model.threads = settings.get("threads")
        takes = tuple(model.input_shape[1:])
        if not (
            model.compiled and model.loss and model.loss.sparse and model.output_shape[1:] == (10,)
        ):
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
        path = _home(self.path) / ANSWERS
        if not self.result or not path.is_file():
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


def read_run(path: str | os.PathLike[str]) -> SavedRun:
    """A run, finished or with epochs that are; `RunError` for a folder that is something else."""
    folder = Path(path)
    another = "Name a folder that `scratchnet train --out` or `compare --out` wrote"
    if not folder.is_dir():
        raise RunError(path, "is a file" if folder.exists() else "does not exist", another)
    home = _home(folder)
    # Resolved once: the link may turn while the files behind it are read.
    epoch = home / EPOCH
    files = epoch.resolve() if epoch.is_symlink() and epoch.is_dir() else home
    if not (files / HISTORY).is_file():
        files = home
    if not (files / HISTORY).is_file():
        raise RunError(path, f"is not a run: it has no {HISTORY}", another)
    history = _read_json(files / HISTORY, run_schema.check_history)
    model = next((f / MODEL for f in (files, home) if (f / MODEL).is_file()), None)
    if model is None and (home / CHECKPOINT).is_file():
        finding = f"has no finished epoch, and so no {MODEL}"
        raise RunError(path, finding, "Go on with `scratchnet train --resume` and this folder")
    if model is None:
        finding = f"is half written: it has no {MODEL}"
        raise RunError(path, finding, "Start the run again with --out here")
    if not (home / RESULT).is_file():
        return SavedRun(folder, {}, history, model)
    check = partial(run_schema.check_result, history=history)
    return SavedRun(folder, _read_json(home / RESULT, check), history, model)


@dataclass(frozen=True)
class Resumable:
    """A run that can be gone on with.

    Attributes:
        about: its settings, data and command.
        alone: whether our network was trained without Keras's.
        last: the model and the history after the last finished epoch, or None.
    """

    path: Path
    about: dict[str, Any]
    alone: bool
    last: tuple[State, dict[str, list[float]]] | None


def read_resumable(path: str | os.PathLike[str], kinds: tuple[str, ...]) -> Resumable:
    """A run with a checkpoint; `RunError` where there is nothing to go on with."""
    folder, another = Path(path), "Name a run folder, or train anew with --out"
    if not folder.is_dir():
        raise RunError(path, "is a file" if folder.exists() else "does not exist", another)
    home = folder / NEXT if (folder / NEXT / CHECKPOINT).is_file() else _home(folder)
    if not (home / HISTORY).is_file():
        raise RunError(path, f"is not a run: it has no {HISTORY}", another)
    files = (home / EPOCH).resolve() if (home / EPOCH / HISTORY).is_file() else home
    about = _read_json(files / HISTORY, run_schema.check_history)
    if not (home / CHECKPOINT).is_file():
        finished = (home / RESULT).is_file()
        finding = "is finished" if finished else f"has no {CHECKPOINT}"
        remedy = "Train anew with --out" if finished else "Start the run again with --out here"
        raise RunError(path, finding, remedy)
    if about["kind"] not in kinds:
        finding = f"was written by `scratchnet {COMMANDS[about['kind']]}`"
        raise RunError(path, finding, "Go on with that command, and --resume")
    if not {"settings", "data", "command"} <= about.keys():
        raise RunError(path, "does not say how it was trained", "Start the run again with --out")
    columns, last = about.get(OURS), None
    model = next((f / MODEL for f in (files, home) if (f / MODEL).is_file()), None)
    if columns and columns["loss"] and model is not None:
        last = saving.load(model), columns
    alone = saving.load(home / CHECKPOINT).config.get("format") == resuming.FORMAT
    return Resumable(folder, about, alone, last)


COMMANDS = {"train": "train", "compare": "compare", "proof": "compare --float64"}
"""What writes runs of each kind."""


class RunCheckpoints(BackupAndRestore):
    """The checkpoint of a run folder, at the end of each epoch and every so many batches.

    >>> RunCheckpoints.__mro__[1] is BackupAndRestore
    True
    """

    def __init__(self, folder: RunFolder, every: int | None = None):
        super().__init__(folder.path, every or False)
        self.folder = folder

    @property
    def each_epoch(self) -> bool:
        return True

    @property
    def file(self) -> Path:
        return self.folder.checkpoint

    def load(self) -> State | None:
        return super().load() if self.folder.resumed else None

    def error(self, finding: str) -> SavedStateError:
        return SavedStateError(self.file, finding, "Start the run again with --out.")

    def on_train_end(self, logs: Any = None) -> None:
        """It stays until the result is written."""


def _home(folder: Path) -> Path:
    """Where the run's files are: beside the earlier run's if they are just taking their place."""
    return folder / NEXT if (folder / NEXT / RESULT).is_file() else folder


def _read_json(place: Path, check: Callable[[Any], None]) -> dict[str, Any]:
    """A file of a run, held against its table."""
    try:
        with place.open("rb") as file:
            content = parse_json(file.read(MAX_TEXT + 1))
        # Halves of characters can't be shown; bytes of a file's name that are no text can.
        json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except ValueError as error:
        raise RunError(place, f"is not JSON: {error}", _BROKEN) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RunError(place, f"is not of a run: expected format {FORMAT!r}", _BROKEN)
    try:
        check(content)
    except run_schema.SchemaError as error:
        raise RunError(place, f"is not what a run writes: {error}", _BROKEN) from error
    return content


def _read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an `.npz`, each judged by its header before memory is asked for."""
    arrays: dict[str, Array] = {}
    packed = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    with path.open("rb") as file, zip_members(file, path.stat().st_size, packed) as members:
        left = MAX_BYTES
        for name, member in members.items():
            with member.open() as stream:
                header = npy_header(stream)
                left -= header.size
                if header.dtype.kind not in "fui" or header.fortran or left < 0:
                    raise ForeignBytesError(f"{name} is {header.dtype} {header.shape}")
                # No further than announced: what is compressed may be any length.
                data = stream.read(header.size + 1)
            if len(data) != header.size:
                raise ForeignBytesError(f"{name} does not hold the bytes that it announces")
            array = np.frombuffer(data, header.dtype).reshape(header.shape)
            arrays[name.removesuffix(".npy")] = array
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
