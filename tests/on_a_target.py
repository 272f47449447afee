"""The compiled engine against the reference, and its weights: `python tests/on_a_target.py`.

Numba compiles for the target that NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name. The answer is JSON:
the target's shape, for each training the largest difference from the reference's weights beside
their size, and all the bits of the weights; and where code is kept, the names of its files.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from scratchnet import Input, Sequential, config
from scratchnet.engines.compiled import session
from scratchnet.engines.compiled.target import target
from scratchnet.layers import Dense
from scratchnet.optimizers import SGD, Adam, RMSprop

INPUTS, WIDTHS, SAMPLES, BATCH = 70, (52, 67), 150, 33


def train(engine: str, optimizer: Any) -> np.ndarray:
    """Weights after two epochs on samples of which three numbers in four are 0."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(SAMPLES, INPUTS)) * (rng.random((SAMPLES, INPUTS)) < 0.25)
    y = rng.integers(0, 10, SAMPLES)
    body = [Dense(width, "tanh") for width in WIDTHS]
    model = Sequential([Input((INPUTS,)), *body, Dense(10, "softmax")], seed=3)
    model.compile(optimizer, "sparse_categorical_crossentropy", engine=engine)
    model.fit(X, y, epochs=2, batch_size=BATCH, verbose=0)
    weights: np.ndarray = model.theta.copy()
    return weights


def main() -> None:
    config.set_floatx("float64")
    differences, digest = {}, hashlib.sha256()
    for make in (Adam, RMSprop, lambda: SGD(0.1, momentum=0.9)):
        found, expected = train("compiled", make()), train("reference", make())
        name = type(make()).__name__
        differences[name] = float(np.abs(found - expected).max() / np.abs(expected).max())
        digest.update(found.tobytes())
    print(
        json.dumps(
            {
                "target": target()._asdict(),
                "differences": differences,
                "bits": digest.hexdigest(),
                "kept as": session._train_batches.py_func.__qualname__,
                "damage": session.cache_damage(),
                "before": session.compiled_before(),
            }
        )
    )


if __name__ == "__main__":
    main()
