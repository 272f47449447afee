"""One cell, run: the network of its settings, trained and tested, as one row of plain values.

A pure function: the same cell gives the same bits on any worker and any number of threads, but for
the seconds. Start and order come from the cell's seed as in `run_training.py`, so that Keras
(`keras_ref/cell_run_keras.py`) starts from the same weights and sees the same samples in the same
order. Nothing is written here.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np

from scratchnet import config, datasets, layers, losses, optimizers
from scratchnet.app.environment import environment
from scratchnet.app.run_training import TEST_BATCH, Scores, scores_of
from scratchnet.app.study.cells import HEADS, Cell, code_version
from scratchnet.callbacks import Callback, Logs
from scratchnet.datasets import Data
from scratchnet.engines import Array
from scratchnet.sequential import Sequential

HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy")

Row = dict[str, Any]
"""The columns of `archive.py`'s schema."""


@cache
def load(name: str) -> Data:
    """The data of that name, once a process."""
    data: Data = getattr(datasets, name).load_data()
    return data


def build(cell: Cell, shape: tuple[int, ...], threads: int | None = 1) -> Sequential:
    """The cell's network for images of `shape`, compiled, before its first step."""
    activation, reading = HEADS[cell.head]
    before = config.floatx()
    config.set_floatx(cell.dtype)
    try:
        model = Sequential(
            [
                layers.Input(shape),
                *([layers.Rescaling(1 / 255)] if cell.scaled else []),
                layers.Flatten(),
                *(layers.Dense(units, "relu") for units in cell.widths),
                layers.Dense(10, activation),
            ],
            seed=cell.seed,
        )
    finally:
        config.set_floatx(before)
    optimizer = optimizers.get(
        {"class_name": cell.optimizer, "config": {"learning_rate": cell.rate}}
    )
    loss = losses.SparseCategoricalCrossentropy(sigmoid_head=reading)
    model.compile(optimizer, loss, metrics=["accuracy"], engine=cell.engine, threads=threads)
    return model


def run(cell: Cell, threads: int | None = 1) -> Row:
    """Train and test the cell's network with scratchnet; its row."""
    (x, y), (x_test, y_test) = data = load(cell.data)
    model, clock = build(cell, x.shape[1:], threads), _Clock()
    history = model.fit(
        x,
        y,
        batch_size=cell.batch_size,
        epochs=cell.epochs,
        verbose=0,
        callbacks=[clock],
        validation_data=(x_test, y_test),
        validation_batch_size=TEST_BATCH,
    ).history
    return row(cell, history, clock.seconds, scores_of(model, x_test), data, model.engine.name)


class _Clock(Callback):
    """The seconds of each epoch's training, without its test."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._start = time.perf_counter()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._start)


def row(
    cell: Cell,
    history: dict[str, list[float]],
    seconds: list[float],
    scores: Scores,
    data: Data,
    engine: str,
) -> Row:
    """The row of a cell that was run, whoever ran it."""
    labels, machine = data[1][1], _machine()
    by_logits = np.argmax(scores.logits, axis=1)
    return {
        "key": cell.key,
        "code": code_version(),
        **(asdict(cell) | {"widths": list(cell.widths)}),
        **{name: [float(value) for value in history[name]] for name in HISTORY},
        "epoch_seconds": [float(value) for value in seconds],
        "test_accuracy": float(np.mean(scores.answers == labels)),
        "logits_accuracy": float(np.mean(by_logits == labels)),
        "answers": packed(scores.answers, labels),
        "answers_by_logits": packed(by_logits, labels),
        "seconds": float(sum(seconds)),
        "ran_on": engine,
        **machine,
    }


def packed(answers: Array, labels: Array) -> bytes:
    """Answers (N,) as N bytes, (answer - label) mod 10: 0 is right, and zeros compress well.

    >>> packed(np.array([1, 2, 3]), np.array([1, 3, 0], np.uint8))
    b'\\x00\\t\\x03'
    """
    return ((answers.astype(np.int16) - labels) % 10).astype(np.uint8).tobytes()


def unpacked(held: bytes, labels: Array) -> Array:
    """The answers (N,) that `packed` held.

    >>> unpacked(packed(np.array([1, 2]), np.array([1, 3])), np.array([1, 3])).tolist()
    [1, 2]
    """
    return ((np.frombuffer(held, np.uint8) + np.asarray(labels, np.int16)) % 10).astype(np.uint8)


@cache
def _machine() -> Row:
    """Where this process runs: looked up once."""
    found = environment()
    versions = " ".join(f"{name} {version}" for name, version in found["versions"].items())
    return {"cpu": found["cpu"], "system": found["system"], "versions": versions}
