"""The readers of files, each with a small corpus that is made here, and what it may raise."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from scratchnet import Input, Sequential, callbacks, datasets, layers, models, optimizers
from scratchnet.app import images, run_folder, run_training
from scratchnet.callbacks import BackupAndRestore
from scratchnet.datasets import DatasetError
from scratchnet.saving import SavedStateError
from tests import hostile
from tests.fuzz import mutations
from tests.fuzz.mutations import Mutation

Files = dict[str, bytes]
"""The files of a folder, by name; one of them is damaged."""


class Reader(NamedTuple):
    """`read(folder)` reads what is in it, and raises nothing but `errors`.

    Attributes:
        corpus: good files, each to be damaged under the names in `damaged` (all, if empty).
        hand_made: hostile files as they are.
        mutate: what happens to a file, by the ending of its name.
    """

    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]
    corpus: Callable[[], list[Files]]
    mutate: dict[str, Mutation]
    hand_made: Callable[[], list[Files]] = list
    damaged: tuple[str, ...] = ()


# --- data sets ------------------------------------------------------------------------------------


@cache
def small_data() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (7, 5, 4), np.uint8),
        "y_train": rng.integers(0, 10, 7).astype(np.uint8),
        "x_test": rng.integers(0, 256, (3, 5, 4), np.uint8),
        "y_test": rng.integers(0, 10, 3),
    }


def npz_data() -> list[Files]:
    found = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **small_data())
        found.append({"data.npz": buffer.getvalue()})
    return found


def idx_data() -> list[Files]:
    plain = {}
    for name, stem in datasets.formats.IDX_FILES.items():
        array = small_data()[name].astype(np.uint8)
        head = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
        plain[stem] = head + array.tobytes()
    packed = {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in plain.items()}
    return [plain, packed]


# --- models ---------------------------------------------------------------------------------------


@cache
def small_models() -> list[Sequential]:
    found = []
    for optimizer in (optimizers.Adam(0.01, amsgrad=True), optimizers.SGD(0.1, momentum=0.5)):
        model = Sequential(
            [Input((2, 2)), layers.Rescaling(0.5), layers.Flatten(), layers.Dense(3, "relu")],
            seed=np.random.Generator(np.random.MT19937(1)) if found else 0,
        )
        model.add(layers.Dense(3, "softmax", use_bias=False))
        model.compile(
            optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], engine="reference"
        )
        model.fit(np.ones((4, 2, 2)), [0, 1, 2, 0], verbose=0)
        found.append(model)
    return found


def saved(name: str) -> list[Files]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for model in small_models():
            path = Path(folder, name)
            (model.save_weights if name.endswith(".weights.h5") else model.save)(path)
            found.append({name: path.read_bytes()})
    return found


def hand_made(ending: str) -> list[Files]:
    cases = [case for case in hostile.CASES.values() if case.file.endswith(ending)]
    return [{f"model{ending}": case.make("/nowhere/marker")} for case in cases]


def load_model(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        model = models.load_model(folder / name)
        model.rng.random()
        return model

    return read


def load_weights(folder: Path) -> Any:
    model = small_models()[0]
    before = model.theta.copy()
    try:
        model.load_weights(folder / "model.weights.h5")
    except SavedStateError:
        assert np.array_equal(model.theta, before), "weights moved though the file was refused"
        raise
    finally:
        model.theta[...] = before


# --- pictures -------------------------------------------------------------------------------------


def pictures() -> list[Files]:
    from PIL import Image

    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (20, 16), np.uint8))
    colour = Image.fromarray(rng.integers(0, 256, (20, 16, 3), np.uint8))
    found = []
    kinds = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "PCX")
    for kind in kinds:
        for image in (grey, colour):
            buffer = io.BytesIO()
            image.save(buffer, kind)
            found.append({"photo": buffer.getvalue()})
    for image in (
        grey.convert("1"),
        colour.convert("P"),
        colour.convert("RGBA"),
        Image.fromarray(rng.integers(0, 2**16, (20, 16), np.uint16)),
    ):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        found.append({"photo": buffer.getvalue()})
    return found


def read_picture(folder: Path) -> Any:
    return images.to_mnist(images.read(folder / "photo"))


# --- checkpoints ----------------------------------------------------------------------------------

CHECKPOINT = "latest.npz"


class Silent(BackupAndRestore):
    """Goes on from the checkpoint of a folder, and writes none."""

    def save(self, state: Any) -> None:
        """What is written is not looked at here."""


def go_on(folder: Path, batches: int, backup: type[BackupAndRestore] = Silent) -> Sequential:
    """The fit whose checkpoint is in a folder, gone on with; every kind of state is in it."""
    model = Sequential(
        [Input((3,)), layers.Dense(4, "relu"), layers.BatchNormalization(), layers.Dropout(0.2)],
        seed=1,
    )
    model.add(layers.Dense(2, "softmax"))
    loss, frequency = "sparse_categorical_crossentropy", batches or "epoch"
    model.compile(optimizers.Nadam(0.01), loss, metrics=["accuracy"], engine="reference")
    x = np.arange(30.0).reshape(10, 3) / 30
    model.fit(
        *(x, np.arange(10) % 2, 3),
        epochs=3,
        verbose=0,
        callbacks=[
            callbacks.EarlyStopping("loss", patience=5, restore_best_weights=True),
            callbacks.ReduceLROnPlateau("loss", patience=1),
            backup(folder, frequency, delete_checkpoint=False),
        ],
    )
    return model


class CutOffError(Exception):
    """Ends a fit at its second checkpoint."""


class CutOff(BackupAndRestore):
    saved = 0

    def save(self, state: Any) -> None:
        super().save(state)
        self.saved += 1
        if self.saved == 2:
            raise CutOffError


@cache
def checkpoints() -> list[Files]:
    """Of the end of an epoch, and of its middle."""
    found = []
    for batches in (0, 3):
        with tempfile.TemporaryDirectory() as folder:
            with contextlib.suppress(CutOffError):
                go_on(Path(folder), batches, CutOff)
            found.append({CHECKPOINT: Path(folder, CHECKPOINT).read_bytes()})
    return found


# --- runs -----------------------------------------------------------------------------------------


@cache
def run() -> Files:
    """A run of one epoch on a few digits, as the command leaves it."""
    import subprocess

    (x, y), (x_test, y_test) = datasets.digits.load_data()
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder, "data.npz"), Path(folder, "run")
        np.savez(data, x_train=x[:64], y_train=y[:64], x_test=x_test[:32], y_test=y_test[:32])
        command = ["train", "--epochs", "1", "--engine", "reference", "--data", str(data)]
        code = "from scratchnet.app.cli import main; main()"
        subprocess.run(
            [sys.executable, "-c", code, *command, "--out", str(out), "-q"],
            check=True,
            capture_output=True,
        )
        wanted = ("result.json", "history.json", "model.npz", "answers.npz")
        return {name: (out / name).read_bytes() for name in wanted if (out / name).exists()}


def unfinished() -> Files:
    return {name: data for name, data in run().items() if name in ("history.json", "model.npz")}


@cache
def unfinished_with_checkpoint() -> list[Files]:
    """A run that was cut off after an epoch, and one within the next."""
    found = []
    for every in (None, 3):
        with tempfile.TemporaryDirectory() as place:
            with run_folder.RunFolder(Path(place, "run"), "train", about()) as folder:
                kept = run_folder.RunCheckpoints(folder, every)
                with contextlib.suppress(CutOffError):
                    train(kept, save_epoch=folder.save_epoch, most=1 if every is None else 4)
            files = sorted(Path(place, "run").rglob("*.*"))
            found.append({path.name: path.read_bytes() for path in files if path.is_file()})
    return found


def about() -> dict[str, Any]:
    settings = {**dataclasses.asdict(SETTINGS), "limit": None, "dtype": "float32"}
    data = {"name": "a", "training": 64, "test": 32, "shape": [8, 8], "test_sha256": ""}
    return {"command": ["scratchnet", "train"], "settings": settings, "data": data}


SETTINGS = run_training.RunSettings(epochs=3, batch_size=16, engine="reference")


def train(backup: run_folder.RunCheckpoints, most: int = 10**9, **options: Any) -> Any:
    """The training of a run; cut off at checkpoint number `most`."""
    written, write = [], backup.save

    def save(state: Any) -> None:
        write(state)
        written.append(state)
        if len(written) == most:
            raise CutOffError

    vars(backup)["save"] = save
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    data = (x[:64], y[:64]), (x_test[:32], y_test[:32])
    return run_training.train_solo(data, SETTINGS, backup=backup, **options)


def resume(folder: Path) -> Any:
    """As `train --resume` does, but that nothing is written."""
    found = run_folder.read_resumable(folder, ("train",))
    place = SimpleNamespace(path=folder, checkpoint=folder / "checkpoint.npz", resumed=True)
    backup = run_folder.RunCheckpoints(place)  # type: ignore[arg-type]
    vars(backup)["save"] = lambda state: None
    return train(backup, finished_before=found.last)


def read_run(folder: Path) -> Any:
    found = run_folder.read_run(folder)
    return found.about, found.epochs, found.answers, found.model()


NPY = {".npy": mutations.npy}

READERS: dict[str, Reader] = {
    "idx": Reader(
        lambda folder: datasets.load(folder),
        (DatasetError,),
        idx_data,
        {".gz": mutations.gzipped},
    ),
    "data": Reader(
        lambda folder: datasets.load(folder / "data.npz"),
        (DatasetError,),
        npz_data,
        {".npz": mutations.zip_archive(NPY)},
    ),
    "model": Reader(
        load_model("model.npz"),
        (SavedStateError,),
        lambda: saved("model.npz"),
        {".npz": mutations.zip_archive(NPY)},
        lambda: hand_made(".npz"),
    ),
    "keras": Reader(
        load_model("model.keras"),
        (SavedStateError,),
        lambda: saved("model.keras"),
        {".keras": mutations.zip_archive({".json": mutations.json_text})},
        lambda: hand_made(".keras"),
    ),
    "weights": Reader(
        load_weights,
        (SavedStateError,),
        lambda: saved("model.weights.h5"),
        {},
        lambda: hand_made(".weights.h5"),
    ),
    "checkpoints": Reader(
        lambda folder: go_on(folder, 0),
        (SavedStateError, FloatingPointError),
        checkpoints,
        {".npz": mutations.zip_archive(NPY)},
    ),
    "images": Reader(read_picture, (images.ImageError,), pictures, {"photo": mutations.png}),
    "runs": Reader(
        read_run,
        (run_folder.RunError, SavedStateError),
        lambda: [run(), unfinished()],
        {".json": mutations.json_text, ".npz": mutations.zip_archive(NPY)},
    ),
    "resumed": Reader(
        resume,
        (run_folder.RunError, SavedStateError, FloatingPointError),
        unfinished_with_checkpoint,
        {".json": mutations.json_text, ".npz": mutations.zip_archive(NPY)},
        damaged=("history.json", "model.npz", "checkpoint.npz"),
    ),
}


def warm(reader: Reader) -> None:
    """Read the good files once: what is imported or compiled then counts for no input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for files in reader.corpus():
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), files)
                reader.read(Path(folder))


def write(folder: Path, files: Files) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)
