"""The Keras script, for whichever backend the importing file has chosen.

Settings: `steps_per_execution` and `jit_compile` go to `compile`, `predict_batch` to `predict`;
without them everything is as called. `fit` shuffles by itself, in an order that can't be told.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from benchmarks.job import CLASSES, Array
from benchmarks.peers.base import BasePeer, Laps


class Clock(keras.callbacks.Callback):
    def __init__(self, laps: Laps):
        super().__init__()
        self.laps = laps

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.laps(logs["loss"], logs["accuracy"]):
            self.model.stop_training = True


class KerasPeer(BasePeer):
    hidden_logits = False
    """Whether the backend trains a sigmoid head on its logits, as TensorFlow's does."""
    packages: tuple[str, ...] = ("keras", "numpy")
    takes_bytes = True

    def build(self, weights: list[Array]) -> None:
        job, settings = self.job, self.settings
        keras.backend.clear_session()
        keras.config.set_floatx(job.dtype)
        keras.utils.set_random_seed(job.seed)
        scaling = [keras.layers.Rescaling(1 / 255)] if job.inputs == "bytes" else []
        head = "sigmoid" if self.hidden_logits else None
        self.model = keras.Sequential(
            [
                keras.Input((28, 28)),
                *scaling,
                keras.layers.Flatten(),
                *(keras.layers.Dense(width, activation="relu") for width in job.hidden),
                keras.layers.Dense(CLASSES, activation=head),
            ]
        )
        known = {k: settings[k] for k in ("steps_per_execution", "jit_compile") if k in settings}
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(
            optimizer="adam",
            loss="sparse_categorical_crossentropy" if self.hidden_logits else loss,
            metrics=["accuracy"],
            **known,
        )
        self.model.set_weights(weights)

    def fit(self, held: Any, epochs: int, rng: np.random.Generator | None, laps: Laps) -> None:
        x, y = held
        self.model.fit(
            x,
            y,
            batch_size=self.job.batch,
            epochs=epochs,
            shuffle=rng is not None,
            callbacks=[Clock(laps)],
        )

    def weights(self) -> list[Array]:
        return [np.asarray(w) for w in self.model.get_weights()]

    def predict(self, x: Array) -> Array:
        return self.model.predict(x, batch_size=self.settings.get("predict_batch"))
