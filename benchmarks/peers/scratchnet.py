"""scratchnet under Keras's names.

Settings: `engine` and `threads` go to `compile`; `switches` turns parts of the compiled engine off,
by their names in `engines/compiled/session.py`, so that each can be measured by its absence.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

import scratchnet
from benchmarks.job import CLASSES, Array
from benchmarks.peers.base import BasePeer, Laps
from scratchnet import callbacks, config, layers
from scratchnet.engines import get_engine


def switch(off: Mapping[str, bool]) -> None:
    """Give the compiled engine other switches than all on, for the rest of this process."""
    session: Any = import_module("scratchnet.engines.compiled.session")
    whole = getattr(session.Switches, "func", session.Switches)  # it may have been done before
    unknown = sorted(set(off) - set(whole._fields))
    if unknown:
        raise NotImplementedError(
            f"the compiled engine has no switch {unknown[0]!r}: it has {', '.join(whole._fields)}"
        )
    session.Switches = partial(whole, **off)


def watch_sessions() -> None:
    """Make the compiled engine's sessions tell `Peer` what they keep beside the data."""
    session: Any = import_module("scratchnet.engines.compiled.session")
    if hasattr(session.Session, "watched"):
        return

    class Watched(session.Session):  # type: ignore[misc, name-defined]
        watched = True

        def __init__(self, *args: Any, **options: Any):
            super().__init__(*args, **options)
            Peer.kept_bytes = int(self.extra_bytes)

    session.Session = Watched


class Peer(BasePeer):
    adam = "keras"
    kept_bytes = 0
    head = "sigmoid"
    packages = ("numpy", "numba", "llvmlite")
    takes_bytes = True

    def build(self, weights: list[Array]) -> None:
        job, settings = self.job, self.settings
        name = settings.get("engine", "auto")
        if get_engine(name).name == "compiled":
            watch_sessions()
        if settings.get("switches"):
            switch(settings["switches"])
        config.set_floatx(job.dtype)
        scaling = [layers.Rescaling(1 / 255)] if job.inputs == "bytes" else []
        self.model = scratchnet.Sequential(
            [
                scratchnet.Input((28, 28)),
                *scaling,
                layers.Flatten(),
                *(layers.Dense(width, "relu") for width in job.hidden),
                layers.Dense(CLASSES, "sigmoid"),
            ]
        )
        self.model.set_weights(weights)
        self.model.compile(
            "adam",
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            engine=name,
            threads=settings.get("threads"),
        )

    def fit(self, held: Any, epochs: int, rng: np.random.Generator | None, laps: Laps) -> None:
        def end(epoch: int, logs: Mapping[str, float]) -> None:
            if laps(logs["loss"], logs["accuracy"]):
                self.model.stop_training = True

        if rng is not None:
            self.model.rng = rng
        x, y = held
        self.model.fit(
            x,
            y,
            batch_size=self.job.batch,
            epochs=epochs,
            shuffle=rng is not None,
            callbacks=[callbacks.LambdaCallback(on_epoch_end=end)],
        )

    def weights(self) -> list[Array]:
        return self.model.get_weights()

    def predict(self, x: Array) -> Array:
        batch = self.settings.get("predict_batch")
        return self.model.predict(x, batch_size=batch, verbose=0)

    def extra_bytes(self) -> int:
        return Peer.kept_bytes

    @classmethod
    def versions(cls) -> dict[str, str]:
        return {"scratchnet": scratchnet.__version__, **super().versions()}
