"""scikit-learn's MLPClassifier, as near as it gets: the same loss, and Adam with Keras's epsilon.

Its penalty is switched off and its epsilon set to 1e-7; then it takes the very same steps. It
reports a running loss but no running accuracy, which spares it a little work. `partial_fit` trains
one epoch a call and keeps the moments, as `fit` with `max_iter=1` would not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.job import CLASSES, PIXELS, Array
from benchmarks.peers.base import BasePeer, Laps


class Peer(BasePeer):
    head = "softmax"
    differs = "no running accuracy; shuffles in its own order"
    packages = ("scikit-learn", "numpy")

    def build(self, weights: list[Array]) -> None:
        job = self.job
        self.model = MLPClassifier(
            job.hidden, batch_size=job.batch, alpha=0.0, epsilon=1e-7, random_state=job.seed
        )
        # Its parameters exist only after a first step, which is then undone.
        blank = np.zeros((job.batch, PIXELS), job.dtype)
        labels = np.arange(job.batch) % CLASSES
        self.model.partial_fit(blank, labels, classes=np.arange(CLASSES))
        arrays = [a for p in zip(self.model.coefs_, self.model.intercepts_, strict=True) for a in p]
        for array, w in zip(arrays, weights, strict=True):
            array[...] = w
        del self.model._optimizer

    def hold(self, x: Array, y: Array) -> Any:
        return x.reshape(len(x), -1), y

    def fit(self, held: Any, epochs: int, rng: np.random.Generator | None, laps: Laps) -> None:
        self.model.shuffle = rng is not None
        for _ in range(epochs):
            self.model.partial_fit(*held)
            if laps(self.model.loss_):
                break

    def weights(self) -> list[Array]:
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [array.copy() for pair in pairs for array in pair]

    def predict(self, x: Array) -> Array:
        return self.model.predict_proba(x.reshape(len(x), -1))
