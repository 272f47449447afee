"""What the harness asks of a peer: build, fit, weights, predict.

A peer file imports its library at the top, so that starting its process is the import that is
timed, and defines `Peer`. It trains in float32 or float64 as the job says, reports running loss and
accuracy of each epoch as its users would see them, and refuses a job that it can't do with
`NotImplementedError`. `numpy_plain.py` is the simplest one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from benchmarks.job import Array, BenchmarkJob


class Laps:
    """The clock of a fit: called at the end of each epoch with its running loss and accuracy.

    It answers whether to stop. What `watch` does between epochs, such as measuring the accuracy on
    test images, is not counted.
    """

    def __init__(self, watch: Callable[[], bool] | None = None):
        self.watch = watch
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.accuracies: list[float | None] = []
        self.began = time.perf_counter()

    def __call__(self, loss: Any, accuracy: Any = None) -> bool:
        self.seconds.append(time.perf_counter() - self.began)
        self.losses.append(float(loss))
        self.accuracies.append(None if accuracy is None else float(accuracy))
        stop = self.watch() if self.watch else False
        self.began = time.perf_counter()
        return stop


class BasePeer:
    """Subclass as `Peer`.

    Attributes:
        adam: whose Adam it is: `"keras"` (powers of beta through float32), `"paper"` (exact powers)
            or `"torch"` (epsilon 1e-8 added after the correction). `oracle.py` knows all three.
        head: what `predict` returns: `"sigmoid"`, `"softmax"` or `"logits"`.
        differs: what is not as in the Keras script, in one phrase; empty if nothing.
        packages: distributions whose versions belong to a result.
        takes_bytes: whether the model scales pixels itself.
    """

    adam = "paper"
    head = "logits"
    differs = ""
    packages: tuple[str, ...] = ("numpy",)
    takes_bytes = False

    def __init__(self, job: BenchmarkJob, weights: list[Array], settings: Mapping[str, Any]):
        if job.inputs == "bytes" and not self.takes_bytes:
            raise NotImplementedError("takes floating inputs only")
        self.job, self.settings = job, settings
        self.build(weights)

    def build(self, weights: list[Array]) -> None:
        """Make the model of `self.job` with these weights, kernel and bias of each layer."""
        raise NotImplementedError

    def hold(self, x: Array, y: Array) -> Any:
        """The data as the library wants it; part of building, not of an epoch."""
        return x, y

    def fit(self, held: Any, epochs: int, rng: np.random.Generator | None, laps: Laps) -> None:
        """Train; `rng` draws the order of each epoch, without one it is that of the data."""
        raise NotImplementedError

    def weights(self) -> list[Array]:
        """Kernel (I, O) and bias (O,) of each layer."""
        raise NotImplementedError

    def predict(self, x: Array) -> Array:
        """(N, 10) of what `head` says, as a NumPy array; x as `load` gives it."""
        raise NotImplementedError

    def extra_bytes(self) -> int:
        """Bytes that the peer keeps of the data in a form of its own."""
        return 0

    @classmethod
    def versions(cls) -> dict[str, str]:
        found = {}
        for package in cls.packages:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = "unknown"
        return found
