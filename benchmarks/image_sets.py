"""The images of a run, written once as files that every peer's process reads.

MNIST where it is, else made-up images of its shape and density, and the run says which. Images of
any number or density are made up for scaling. Peers do not import this: `job.load` reads the files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.job import CLASSES, Array
from scratchnet import datasets


class ImageSets:
    """The sets of images of a run, as files that every process reads."""

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            train, test = datasets.mnist.load_data(download=False)
            self.origin = "MNIST"
        except datasets.DatasetUnavailableError:
            train, test = datasets.synthetic.load_data()
            self.origin = (
                "made-up images with MNIST's shape and density, because there is no MNIST "
                "(set SCRATCHNET_DATA): accuracies say nothing"
            )
        self._write("mnist", train, test)
        self.test = test

    def _write(self, name: str, train: tuple[Array, Array], test: tuple[Array, Array]) -> None:
        for part, (x, y) in (("train", train), ("test", test)):
            np.save(self.folder / f"{name}-{part}-x.npy", x)
            np.save(self.folder / f"{name}-{part}-y.npy", y)

    def synthetic(self, samples: int) -> str:
        """The name of a set of so many made-up images of MNIST's density."""
        name = f"synthetic-{samples}"
        if not (self.folder / f"{name}-train-x.npy").exists():
            train, _ = datasets.synthetic.load_data((samples, 1))
            self._write(name, train, self.test)
        return name

    def with_density(self, density: float, samples: int) -> str:
        """The name of a set in which each pixel is set with that probability, 0 and 1 included."""
        if not 0 <= density <= 1:
            raise ValueError(f"density={density}: expected a share from 0 to 1.")
        name = f"density-{density:g}-{samples}"
        if not (self.folder / f"{name}-train-x.npy").exists():
            rng = np.random.default_rng(0)
            x = rng.integers(1, 256, (samples, 28, 28), dtype=np.uint8)
            x *= rng.random(x.shape, dtype=np.float32) < density
            y = rng.integers(CLASSES, size=samples, dtype=np.uint8)
            self._write(name, (x, y), self.test)
        return name

    def forget(self, name: str) -> None:
        """Delete a set's files; a million images take 800 MB."""
        for path in self.folder.glob(f"{name}-*.npy"):
            path.unlink()
