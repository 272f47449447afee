"""The work itself, the same for every peer: network, data, order, start.

A `BenchmarkJob` travels as JSON to each peer's process, which loads the arrays and draws the
initial weights with the functions here, so that all begin with the same numbers. Everything is
NumPy, nothing is timed. The loss is softmax cross-entropy on the pre-activations of the last layer,
which is what the Keras script trains on TensorFlow; Adam has Keras's defaults. Read `peers/base.py`
next.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

PIXELS, CLASSES = 784, 10
MEAN, DEVIATION = 0.1307, 0.3081
"""Of MNIST's training pixels, as fractions of 255; standardised inputs have no zeros."""

LEARNING_RATE, BETA_1, BETA_2 = 0.001, 0.9, 0.999


@dataclass(frozen=True)
class BenchmarkJob:
    """One piece of work.

    Attributes:
        inputs: `"scaled"` to [0, 1], `"standardised"`, or `"bytes"`, scaled inside the model.
        images: the name of a set that `ImageSets` wrote.
        checked: numbers of steps after which weights are compared with the reference.
    """

    dtype: str = "float32"
    inputs: str = "scaled"
    hidden: tuple[int, ...] = (50, 50)
    batch: int = 32
    samples: int = 60_000
    images: str = "mnist"
    seed: int = 0
    checked: tuple[int, ...] = (1, 20, 300)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> BenchmarkJob:
        lists = {name: tuple(record[name]) for name in ("hidden", "checked")}
        return cls(**{**record, **lists})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of the kernels, first layer first."""
        widths = [PIXELS, *self.hidden, CLASSES]
        return list(itertools.pairwise(widths))

    @property
    def steps(self) -> int:
        """Batches in an epoch, the short last one included."""
        return -(-self.samples // self.batch)

    @property
    def flop_per_sample(self) -> int:
        """Multiplications and additions of a dense step: forward, dW, and dX but for the first."""
        products = [i * o for i, o in self.shapes]
        return 2 * (3 * sum(products) - products[0])

    def shorter(self, samples: int) -> BenchmarkJob:
        """The same on fewer samples, with the first two checks only: for searching settings."""
        return replace(self, samples=min(self.samples, samples), checked=self.checked[:2])


def initial_weights(job: BenchmarkJob) -> list[Array]:
    """Kernel and bias of each layer: Glorot uniform and zeros."""
    rng = np.random.default_rng([job.seed, 0])
    weights: list[Array] = []
    for inputs, outputs in job.shapes:
        limit = np.sqrt(6 / (inputs + outputs))
        weights.append(rng.uniform(-limit, limit, (inputs, outputs)).astype(job.dtype))
        weights.append(np.zeros(outputs, job.dtype))
    return weights


def epoch_rng(job: BenchmarkJob) -> np.random.Generator:
    """Draws the order of each epoch with `permutation`, the same for whoever asks."""
    return np.random.default_rng([job.seed, 1])


def model_inputs(images: Array, job: BenchmarkJob) -> Array:
    """Pixels (N, 28, 28) uint8 as the model gets them."""
    if job.inputs == "bytes":
        return np.ascontiguousarray(images)
    x = images.astype(job.dtype)
    x /= 255
    if job.inputs == "standardised":
        x -= np.dtype(job.dtype).type(MEAN)
        x /= np.dtype(job.dtype).type(DEVIATION)
    return x


def load_arrays(folder: Path, job: BenchmarkJob, part: str = "train") -> tuple[Array, Array]:
    """Inputs as the model gets them, and labels (N,) uint8."""
    x = np.load(folder / f"{job.images}-{part}-x.npy", mmap_mode="r")
    y = np.load(folder / f"{job.images}-{part}-y.npy")
    count = job.samples if part == "train" else len(x)
    if len(x) < count:
        raise ValueError(
            f"samples={count}: the set {job.images!r} has {len(x)}. Ask `ImageSets` for more."
        )
    return model_inputs(x[:count], job), y[:count]
