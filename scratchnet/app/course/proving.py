"""Train the learner's network beside the reference: every tensor of every step, in float64.

Two models with the same start get the same batches; one computes with the learner's functions as
its engine, the other with the reference. Then the learner's engine trains in float32, epoch by
epoch in turn with the reference, the compiled engine and, where it comes in as a `Rival`, Keras.
This runs in a process of its own, started by `proof`. Read `sheet.py` for how the file is loaded.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet import models
from scratchnet.app import run_training
from scratchnet.app.course import running, stack
from scratchnet.app.course.exercises import EXERCISES, IN_ORDER
from scratchnet.app.course.sheet import load, told
from scratchnet.app.run_training import OURS, Histories, RunSettings
from scratchnet.checks import Examples
from scratchnet.datasets import Choice, Data, best_available, digits
from scratchnet.engines import Array, Engine, compiled, own_engine
from scratchnet.sequential import Sequential
from scratchnet.testing.magnitude import gradient_scale, stage_scales

LARGEST = 1e-12
"""Of a tensor's scale: what float64 leaves of other orders of sums over an epoch."""

SETTINGS = RunSettings(engine="reference")
"""The well-known job; how many epochs is asked for."""

HIDDEN = 50
"""Units between the two layers that `train_step` trains."""

ALONE, BESIDE_KERAS = "scratchnet.app.course.proving", "keras_ref.course"
"""What runs the proof: by itself, or with Keras beside it."""

RESULTS, MODEL = "proof.json", "model.npz"


class Rival(NamedTuple):
    """Somebody else's network beside the learner's.

    Attributes:
        lockstep: trains a float64 model of ours for an epoch beside its twin: steps, the largest
            difference, and the first one beyond `LARGEST` as text, or None.
        twin: the network of a float32 model of ours, ready to be timed.
    """

    name: str
    lockstep: Callable[[Sequential, Data, RunSettings], dict[str, Any]]
    twin: Callable[[Sequential, Data, RunSettings], Any]


def choice(quick: bool) -> Choice:
    """What is trained on: MNIST where it is on this machine, unless the small digits are asked."""
    if quick:
        return Choice(digits.NAME, f"Data: {digits.NAME}", digits.load_data())
    return best_available(download=False, classes=10)


def apart(one: Array, other: Array, scale: Callable[[], float] = lambda: 0.0) -> float:
    """The largest difference as a share of the largest entry; infinite for what is not finite.

    Where that is too much, as a share of `scale`, the largest sum of absolute terms in an entry.
    """
    if not np.isfinite(one).all():
        return float("inf")
    worst = float(np.max(np.abs(one - other)))
    size = max(float(np.max(np.abs(other))), 1e-300)
    return worst / size if worst <= LARGEST * size else worst / max(size, scale())


def lockstep(engine: Engine, data: Data, settings: RunSettings = SETTINGS) -> dict[str, Any]:
    """One epoch in float64: the number of steps, and the largest difference of any tensor."""
    (x, y), size = data[0], settings.batch_size
    mine = run_training.build_model(settings, data, "float64", engine)
    right = run_training.build_model(settings, data, "float64")
    largest, steps = 0.0, 0
    for at in range(0, len(x), size):
        batch = right.batch(x[at : at + size], y[at : at + size])
        largest = max(largest, *differences(mine, right, batch))
        steps += 1
        if largest > LARGEST:
            break
    return {"steps": steps, "largest": largest}


def differences(mine: Sequential, right: Sequential, batch: Examples) -> Iterator[float]:
    """Both models take a step: how far apart each tensor of it is."""
    theta = right.theta.copy()

    def stage(i: int) -> Callable[[], float]:
        return lambda: stage_scales(right, batch, theta)[i]

    def gradient(i: int, name: str, power: int) -> Callable[[], float]:
        def largest() -> float:
            scales = right.views(gradient_scale(right, batch, theta))
            return float(np.max(scales[i][name])) ** power

        return largest

    for i, (own, other) in enumerate(zip(mine.run(batch.x), right.run(batch.x), strict=True)):
        yield apart(own.Z, other.Z, stage(i))
        yield apart(own.A, other.A, stage(i))
    losses = [np.asarray(one.train_on_batch(batch.x, batch.y)[0]) for one in (mine, right)]
    yield apart(losses[0], losses[1], lambda: 1 + max(stage_scales(right, batch, theta)))
    vectors: list[tuple[Array, Array, int]] = [
        (mine.grad, right.grad, 1),
        (mine.theta, right.theta, 0),
    ]
    for name, slot in right.optimizer.slots.items():
        vectors.append((mine.optimizer.slots[name], slot, 2 if name == "velocity" else 1))
    for vector, expected, power in vectors:
        pairs = zip(mine.views(vector), right.views(expected), strict=True)
        for i, (ours, theirs) in enumerate(pairs):
            for name, array in theirs.items():
                scale = gradient(i, name, power) if power else lambda: 0.0
                yield apart(ours[name], array, scale)


def own_stack(train_step: Any, x: Array, y: Array) -> dict[str, Any]:
    """The same of the learner's train_step beside ours, with plain gradient descent."""
    rng = np.random.default_rng(SETTINGS.seed)
    mine: stack.Layers = [
        (rng.normal(0, 0.05, (inputs, outputs)), np.zeros(outputs))
        for inputs, outputs in ((784, HIDDEN), (HIDDEN, 10))
    ]
    right: stack.Layers = [(W.copy(), b.copy()) for W, b in mine]
    X, T = x.reshape(len(x), -1) / 255.0, np.eye(10)[y]
    largest, steps, size = 0.0, 0, SETTINGS.batch_size
    for at in range(0, len(X), size):
        batch = X[at : at + size], T[at : at + size]
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


def side_by_side(
    engine: Engine, data: Data, settings: RunSettings, rival: Rival | None
) -> tuple[Sequential, Histories]:
    """Ordinary training in float32: the learner's model, and everyone's history.

    In each epoch everyone trains once, one after the other, on the same samples in the same order.
    What compiles or traces has done so before.
    """
    mine = run_training.build_model(settings, data, engine=engine)
    everyone: dict[str, Any] = {OURS: mine, "reference": run_training.build_model(settings, data)}
    if not compiled.unavailable():
        fast = replace(settings, engine="compiled")
        everyone["compiled"] = run_training.build_model(fast, data)
        run_training.warm_up_ours(everyone["compiled"], data, fast)
    if rival is not None:
        everyone[rival.name] = rival.twin(mine, data, settings)
    *_, histories = run_training.train_together(everyone, data, settings, mine.rng)
    return mine, histories


def figures(history: dict[str, list[float]]) -> dict[str, float]:
    """Seconds of the median epoch, and test accuracy at the end."""
    return {
        "seconds": statistics.median(history["seconds"]),
        "accuracy": history["val_accuracy"][-1],
    }


def main(arguments: list[str], rival: Rival | None = None) -> None:
    """The whole proof: its results as JSON and the trained model, into a folder."""
    path, folder, passed, quick, epochs = arguments
    module, _ = load(Path(path))
    for name in EXERCISES.keys() - set(passed.split(",")):
        setattr(module, name, EXERCISES[name].right)
    data, settings = choice(bool(quick)).data, replace(SETTINGS, epochs=int(epochs))
    found: dict[str, Any] = {}
    try:
        engine = own_engine(module)
        found["network"] = lockstep(engine, data)
        found["stack"] = own_stack(module.train_step, *data[0])
        if rival is not None:
            own = run_training.build_model(settings, data, "float64", engine)
            found["rival"] = rival.lockstep(own, data, settings)
        mine, histories = side_by_side(engine, data, settings, rival)
        found["runs"] = {name: figures(history) for name, history in histories.items()}
        found["history"] = histories[OURS]
        models.save_model(mine, Path(folder) / MODEL)
    except BaseException as error:  # the learner's SystemExit too
        found["error"] = told(error, Path(path))
    (Path(folder) / RESULTS).write_text(json.dumps(found), encoding="utf-8")


def proof(
    path: Path,
    folder: Path,
    *,
    quick: bool = False,
    epochs: int = 10,
    seconds: float = 1800.0,
    keras: bool = False,
) -> dict[str, Any]:
    """What was proved of this file: marks, differences, times; `holds` sums it up.

    The trained model is left in `folder`, as `MODEL`.
    """
    began = time.perf_counter()
    marks = running.check(path, list(EXERCISES))
    passed = [name for name, found in marks.items() if found.state == "passed"]
    borrowed = [one.name for one in IN_ORDER if one.name not in passed]
    arguments = [str(path.resolve()), str(folder), ",".join(passed), "quick" * quick, str(epochs)]
    process = running.start(BESIDE_KERAS if keras else ALONE, arguments)
    said = folder / RESULTS
    found: dict[str, Any]
    try:
        process.wait(seconds)
        found = {"error": f"the process ended with status {process.returncode}"}
        if said.exists():
            found = json.loads(said.read_text(encoding="utf-8"))
    except subprocess.TimeoutExpired:
        remedy = "Try --quick or --epochs 1, or give it more with --seconds"
        found = {"error": f"no end in {seconds:g} seconds. {remedy}"}
    finally:
        process.kill()
        process.wait()
    parts = [found[part] for part in ("network", "stack", "rival") if part in found]
    agree = "error" not in found and all(part["largest"] <= LARGEST for part in parts)
    return found | {
        "passed": passed,
        "borrowed": borrowed,
        "agree": agree,
        "holds": agree and not borrowed,
        "seconds": time.perf_counter() - began,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
