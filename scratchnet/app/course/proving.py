"""Train the learner's network beside the reference: every parameter after every step, in float64.

Two models with the same start get the same batches; one computes with the learner's functions as
its engine, the other with the reference. Then the learner's engine trains in float32, as people do.
This runs in a process of its own, started by `proof`. Read `sheet.py` for how the file is loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet import config
from scratchnet.app.course import running, stack
from scratchnet.app.course.exercises import EXERCISES, IN_ORDER
from scratchnet.app.course.sheet import load, told
from scratchnet.datasets import best_available, digits
from scratchnet.engines import Array, Engine, get_engine, own_engine
from scratchnet.layers import Dense, Flatten, Input, Rescaling
from scratchnet.sequential import Sequential

LARGEST = 1e-12
"""Of a tensor's largest entry: what float64 leaves of other orders of sums over an epoch."""

BATCH, HIDDEN, SEED = 32, 50, 0


def model(engine: Engine) -> Sequential:
    """The well-known network, with Adam, on this engine."""
    made = Sequential(
        [
            Input((28, 28)), Flatten(), Rescaling(1 / 255),
            Dense(HIDDEN, activation="relu"), Dense(10, activation="sigmoid"),
        ],
        seed=SEED,
    )  # fmt: skip
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], engine=engine)
    return made


def apart(one: Array, other: Array) -> float:
    """The largest difference as a share of the largest entry; infinite for what is not finite."""
    if not np.isfinite(one).all():
        return float("inf")
    return float(np.max(np.abs(one - other)) / max(float(np.max(np.abs(other))), 1e-300))


def lockstep(engine: Engine, x: Array, y: Array) -> dict[str, Any]:
    """One epoch in float64: the number of steps, and the largest difference of theta and grad."""
    config.set_floatx("float64")
    try:
        mine, right = model(engine), model(get_engine("reference"))
    finally:
        config.set_floatx("float32")
    largest, steps = 0.0, 0
    for at in range(0, len(x), BATCH):
        for one in (mine, right):
            one.train_on_batch(x[at : at + BATCH], y[at : at + BATCH])
        steps += 1
        found = (apart(mine.grad, right.grad), apart(mine.theta, right.theta))
        largest = max(largest, *found)
        if largest > LARGEST:
            break
    return {"steps": steps, "largest": largest}


def own_stack(train_step: Any, x: Array, y: Array) -> dict[str, Any]:
    """The same of the learner's train_step beside ours, with plain gradient descent."""
    rng = np.random.default_rng(SEED)
    mine: stack.Layers = [
        (rng.normal(0, 0.05, (inputs, outputs)), np.zeros(outputs))
        for inputs, outputs in ((784, HIDDEN), (HIDDEN, 10))
    ]
    right: stack.Layers = [(W.copy(), b.copy()) for W, b in mine]
    X, T = x.reshape(len(x), -1) / 255.0, np.eye(10)[y]
    largest, steps = 0.0, 0
    for at in range(0, len(X), BATCH):
        batch = X[at : at + BATCH], T[at : at + BATCH]
        train_step(*batch, mine, 0.1)
        stack.train_step(*batch, right, 0.1)
        steps += 1
        pairs = zip(mine, right, strict=True)
        largest = max(
            largest, *(apart(a, b) for own, ours in pairs for a, b in zip(own, ours, strict=True))
        )
        if largest > LARGEST:
            break
    return {"steps": steps, "largest": largest}


def training(engine: Engine, data: Any, epochs: int) -> dict[str, Any]:
    """Test accuracy and seconds of ordinary training in float32."""
    (x, y), (x_test, y_test) = data
    made = model(engine)
    began = time.perf_counter()
    made.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - began
    accuracy = made.evaluate(x_test, y_test, verbose=0)[1]
    return {"seconds": seconds, "accuracy": float(accuracy)}


def main(path: str, results: str, passed: str, quick: str, epochs: str) -> None:
    """The whole proof, as JSON into `results`."""
    module, _ = load(Path(path))
    for name in EXERCISES.keys() - set(passed.split(",")):
        setattr(module, name, EXERCISES[name].right)
    name, data = ("scikit-learn digits", digits.load_data())
    if not quick:
        choice = best_available(download=False)
        name, data = choice.name, choice.data
    found: dict[str, Any] = {"data": name, "epochs": int(epochs)}
    try:
        engine = own_engine(module)
        found["network"] = lockstep(engine, *data[0])
        found["stack"] = own_stack(module.train_step, *data[0])
        found["yours"] = training(engine, data, int(epochs))
        found["reference"] = training(get_engine("reference"), data, int(epochs))
    except BaseException as error:  # the learner's SystemExit too
        found["error"] = told(error, Path(path))
    Path(results).write_text(json.dumps(found), encoding="utf-8")


def proof(path: Path, *, quick: bool, epochs: int, seconds: float) -> dict[str, Any]:
    """What was proved of this file: marks, differences, times; `holds` sums it up."""
    marks = running.check(path, list(EXERCISES))
    passed = [name for name, found in marks.items() if found.state == "passed"]
    needed = [one.name for one in IN_ORDER]
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said.json"
        arguments = [str(path.resolve()), str(said), ",".join(passed), "quick" * quick, str(epochs)]
        process = running.start("scratchnet.app.course.proving", arguments)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return {"passed": passed, "error": f"no end in {seconds:g} seconds", "holds": False}
        finally:
            process.kill()
            process.wait()
        ended = {"error": f"the process ended with status {process.returncode}"}
        found: dict[str, Any] = json.loads(said.read_text()) if said.exists() else ended
    found |= {"passed": passed, "borrowed": [name for name in needed if name not in passed]}
    close = "error" not in found and all(
        found[part]["largest"] <= LARGEST for part in ("network", "stack")
    )
    return found | {"holds": close and not found["borrowed"]}


if __name__ == "__main__":
    main(*sys.argv[1:])
