"""The anatomy of a training step: every tensor of it, and the code that made each.

A run's training is replayed to the bit, and a few of its steps are taken once more on the reference
engine, or a learner's own, under a witness (`tracing.py`), so that no formula is written twice.
What Keras computes for the same step comes as an argument. It refuses networks other than those
that `run_training.build_model` makes. Read `pages/anatomy_page.py` next.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet import learning
from scratchnet.app import run_training
from scratchnet.app.course import own_code
from scratchnet.app.course.own_code import OwnCode
from scratchnet.app.run_folder import SavedRun
from scratchnet.app.run_training import RunSettings
from scratchnet.app.tracing import Call, Calls, Source, source, trace
from scratchnet.datasets import Data
from scratchnet.engines import Array, Engine, reference
from scratchnet.layers import Dense
from scratchnet.losses import SIGMOID_READINGS, SparseCategoricalCrossentropy
from scratchnet.model import Network
from scratchnet.objective import Objective
from scratchnet.optimizers import Adam, Optimizer
from scratchnet.process import single_threaded_blas
from scratchnet.sequential import Sequential

STEPS = (1, 10, 1000)
"""The steps that are looked at, and the last."""


class ExplainError(ValueError):
    """A run that can't be explained as asked: what is in the way, and the remedy."""


class Tensor(NamedTuple):
    """An array with the name of what each axis counts: image, pixel, or unit1, unit2 ... of the
    dense layers."""

    array: Array
    axes: tuple[str, ...]


@dataclass(eq=False)
class Operation:
    """One thing that happens in a step.

    Attributes:
        key, kind: its name on the page, such as `dW1`, and what is done, such as `kernel`.
        dense: the number of the dense layer that it belongs to, from 1, or 0.
        tensors: what it makes, and what it needs that was not shown before.
        sources: the functions that ran, outermost first.
    """

    key: str
    kind: str
    dense: int
    tensors: dict[str, Tensor]
    sources: list[Source]


@dataclass(eq=False)
class Step:
    """One training step.

    Attributes:
        apart: how far the weights after it are from those of the run's own engine, at most; None
            where the batch is not the run's.
        readings: the loss for each way to read a sigmoid head.
        keras: Keras's tensors for the same step, by our names; its loss is `keras["loss"]`.
    """

    number: int
    loss: float
    scalars: dict[str, float]
    operations: list[Operation]
    readings: dict[str, float]
    apart: float | None = None
    keras: Mapping[str, Array] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {
            name: tensor
            for operation in self.operations
            for name, tensor in operation.tensors.items()
        }


class Ties(NamedTuple):
    """What a trained network says of the test images, by its outputs and by its logits."""

    scaled: bool
    tied: float
    """Share of the images on which two outputs or more are exactly 1."""
    accuracy: float
    accuracy_of_logits: float
    largest: float
    example: int | None
    """The first image that the logits have right and the tie has wrong."""
    label: int
    logits: Array
    outputs: Array


@dataclass(eq=False)
class Explanation:
    """All that the page shows.

    Attributes:
        image: the test image that stands alone in every batch; None for the run's own batches.
        apart: the largest difference of any weight of the replay's end from the run's; 0.0 and
            `exact` where model and moments are the same bits.
        saturation: the smallest number whose sigmoid is exactly 1.
        ties: of the replayed network, and of the same training on the other scaling.
        own: the exercises of the course whose functions computed, where the run is a learner's.
    """

    settings: RunSettings
    data_name: str
    dtype: str
    image: int | None
    steps: list[Step]
    exact: bool
    apart: float
    saturation: float
    ties: list[Ties]
    own: list[str] = field(default_factory=list)


KerasTensors = Callable[[Sequential, Any], Mapping[str, Array]]
"""Keras's tensors for a step of a compiled model on a checked batch; the model stays as it is."""


# --- the run again --------------------------------------------------------------------------------


def settings_of(run: SavedRun) -> RunSettings:
    """What was asked of the run, for the epochs that it finished."""
    if "settings" not in run.about:
        raise ExplainError(
            f"{run.path} was cut off by a version that had not written its settings down yet. "
            "Train it again."
        )
    asked = run.about["settings"]
    settings = RunSettings(
        **{name.name: asked[name.name] for name in fields(RunSettings) if name.name in asked}
    )
    return replace(settings, epochs=run.epochs or settings.epochs)


class BeforeStep(NamedTuple):
    """A training held still before one of its steps."""

    number: int
    rows: Array
    """Which samples the step takes, in its order."""
    theta: Array
    slots: dict[str, Array]
    after: Array
    """The weights after the step."""


def replay(
    settings: RunSettings, data: Data, dtype: str, wanted: set[int], engine: Engine | None = None
) -> tuple[Sequential, list[BeforeStep], int]:
    """Train as the run did: the model at the end, the wanted moments, the number of steps.

    An epoch is taken in pieces that begin and end with a batch, each by the `fit` that the run
    itself repeats. A wanted step 0 stands for the last.
    """
    model, (x, y), size = (
        run_training.build_model(settings, data, dtype, engine),
        data[0],
        settings.batch_size,
    )
    learning.claim(model)
    each = math.ceil(len(x) / size)
    wanted = {number or each * settings.epochs for number in wanted}
    moments = []
    for first in range(1, each * settings.epochs + 1, each):
        order = model.rng.permutation(len(x))
        here = [number - first for number in wanted if first <= number < first + each]
        for start, stop in pairwise(sorted({0, each, *here, *(at + 1 for at in here)})):
            rows = order[start * size : stop * size]
            before = model.theta.copy(), {k: v.copy() for k, v in model.optimizer.slots.items()}
            model.fit(x[rows], y[rows], batch_size=size, shuffle=False, verbose=0)
            if start in here:
                moments.append(BeforeStep(first + start, rows, *before, model.theta.copy()))
    return model, moments, each * settings.epochs


def _saved_and_twin(
    run: SavedRun,
    settings: run_training.RunSettings,
    data: Data,
    dtype: str,
    engine: Engine | None,
) -> tuple[Sequential, Sequential]:
    """The run's model, and an untrained one of the same shapes that looks at the steps."""
    saved = run.model(data[0][0].shape[1:])
    twin = run_training.build_model(replace(settings, engine="reference"), data, dtype, engine)
    if [a.shape for a in saved.weights] != [a.shape for a in twin.weights]:
        raise ExplainError(
            f"{run.path} holds another network than `scratchnet train` makes, which is the only "
            "one that can be replayed. Train a run with it."
        )
    return saved, twin


def dissect(
    run: SavedRun,
    data: Data,
    image: int | None = None,
    keras: KerasTensors | None = None,
    progress: run_training.ProgressListener | None = None,
    own: OwnCode | None = None,
) -> Explanation:
    """Replay the run, and look at some of its steps.

    Args:
        data: what the run was given, without copies; else the page says that it is another.
        image: take this test image alone as the batch, instead of the run's own batches.
        keras: gives Keras's tensors for a step, such as `keras_ref.step_tensors.tensors`.
        own: a learner's functions, which compute, and whose lines are shown.

    Raises:
        ExplainError: for an image that the test set has not, or another network than this one.
    """
    progress = progress or run_training.ProgressListener()
    settings, dtype = settings_of(run), run.about["settings"]["dtype"]
    data = run_training.augmented(data, settings, progress)
    (x, y), (x_test, y_test) = data
    if image is not None and not 0 <= image < len(x_test):
        raise ExplainError(f"image {image}: expected one of the {len(x_test)} test images, from 0.")
    engine, file = (None, None) if own is None else (own.engine, own.path)
    saved, twin = _saved_and_twin(run, settings, data, dtype, engine)
    steps = []
    progress.begin("replaying the run", 2)
    model, moments, last = replay(settings, data, dtype, {0, *STEPS}, engine)
    progress.advance()
    other, _, _ = replay(replace(settings, scaled=not settings.scaled), data, dtype, set())
    progress.begin("looking at steps", len(moments))
    for moment in moments:
        progress.now(f"{moment.number:,} of {last:,}")
        batch = (x[moment.rows], y[moment.rows])
        if image is not None:
            batch = (x_test[image : image + 1], y_test[image : image + 1])
        steps.append(take_step(twin, moment, batch, keras, file))
        if image is None:
            steps[-1].apart = float(np.max(np.abs(twin.theta - moment.after)))
        progress.advance()
    progress.end()
    slots = saved.optimizer.slots
    return Explanation(
        own=[] if own is None else own.passed,
        settings=settings,
        data_name=run.about["data"]["name"],
        dtype=dtype,
        image=image,
        steps=steps,
        exact=np.array_equal(saved.theta, model.theta)
        and all(np.array_equal(slots[k], v) for k, v in model.optimizer.slots.items()),
        apart=float(np.max(np.abs(saved.theta - model.theta))),
        saturation=saturation(model.theta.dtype),
        ties=[
            ties(m, s, data) for m, s in ((model, settings.scaled), (other, not settings.scaled))
        ],
    )


# --- one step -------------------------------------------------------------------------------------


def take_step(
    model: Sequential,
    moment: BeforeStep,
    given: tuple[Array, Array],
    keras: KerasTensors | None,
    file: Path | None = None,
) -> Step:
    """Take the step from this moment on the model's engine, and tell what happened.

    The engine is the reference, or one whose own functions stand in `file`.
    """
    model.theta[...] = moment.theta
    learning.claim(model)
    model.optimizer.iterations = moment.number - 1
    for name, slot in model.optimizer.slots.items():
        slot[...] = moment.slots[name]
    batch = model.batch(*given)
    with single_threaded_blas():
        theirs = {} if keras is None else keras(model, batch)
        calls = trace(lambda: model.train_step(batch), file)
    operations = [
        *_forward(calls),
        *_loss_operations(calls),
        *_backward(calls),
        *_update(calls, model),
    ]
    head, readings = _head(calls)
    scalars = _scalars(calls)
    return Step(
        moment.number, readings["logits"], scalars, [*operations, head], readings, keras=theirs
    )


def _units(n: int) -> tuple[str, str]:
    """The axes of dense layer n's kernel."""
    return (f"unit{n - 1}" if n > 1 else "pixel"), f"unit{n}"


def _sources(calls: Calls, *shown: Call) -> list[Source]:
    """The functions that ran, outermost first; a learner's own and not the line that calls it."""
    return [source([call]) for one in shown for call in (_inside(calls, one) or [one])]


def _inside(calls: Calls, call: Call) -> list[Call]:
    """The learner's function behind `through`; nothing where it is none in Python."""
    if not own_code.is_through(call.code):
        return []
    return [other for other in calls if other.caller is call][:1]


ADAM = tuple(inspect.signature(reference.adam).parameters)
DENSE = tuple(inspect.signature(reference.dense_backward).parameters)


def _arrays(names: tuple[str, ...], call: Call, after: bool = False) -> dict[str, Any]:
    """What a function of the engine was given by the contract's names, and then after it."""
    found = call.left if after else call.given
    if own_code.is_through(call.code):
        return dict(zip(names, found["arguments"], strict=True))
    return found


def _forward(calls: Calls) -> Iterator[Operation]:
    """From the pixels to the outputs: each layer, then its activation."""
    (whole,) = calls.of(Network.forward)
    (step,), (run,) = calls.of(learning.train_step), calls.of(Network.run)
    batch, n, axes = step.given["batch"], 0, ("image", "pixel")
    tensors = {"pixels": Tensor(batch.x, axes), "y": Tensor(batch.y, axes[:1])}
    (gradient,) = calls.of(Network.gradient)
    yield Operation("pixels", "batch", 0, tensors, _sources(calls, step, gradient, run, whole))
    steps = calls.by(whole)
    for forward, activation in zip(steps[::2], steps[1::2], strict=True):
        layer, Z = forward.given["self"], forward.result[0]
        if not isinstance(layer, Dense):
            kind = type(layer).__name__.lower()
            key = {"rescaling": "R", "flatten": "X"}[kind]
            yield Operation(
                key, kind, 0, {key: Tensor(Z, axes)}, _sources(calls, forward, activation)
            )
            continue
        n += 1
        kernel, params = _units(n), forward.given["params"]
        axes = ("image", kernel[1])
        tensors = {
            f"Z{n}": Tensor(Z, axes),
            f"W{n}": Tensor(params["kernel"], kernel),
            f"b{n}": Tensor(params["bias"], kernel[1:]),
        }
        yield Operation(f"Z{n}", "dense", n, tensors, _sources(calls, forward, *calls.by(forward)))
        tensors = {f"A{n}": Tensor(activation.result, axes)}
        yield Operation(f"A{n}", layer.activation, n, tensors, _sources(calls, activation))


def _loss_operations(calls: Calls) -> Iterator[Operation]:
    """What the loss makes of the head's pre-activations, and the way back to them."""
    (whole,) = calls.of(Objective.value_and_gradient)
    (losses,), (share,) = calls.of(Objective.losses), calls.of(Objective.share)
    n = len(calls.of(Dense.forward))
    l, T, log_p = losses.result
    forward, backward = calls.by(losses)[-1], calls.by(whole)[-1]
    axes = ("image", f"unit{n}")
    tensors = {
        "T": Tensor(T, axes),
        "log p": Tensor(log_p, axes),
        "l": Tensor(l, axes[:1]),
        "share": Tensor(share.result, axes[:1]),
    }
    yield Operation("loss", "loss", n, tensors, _sources(calls, losses, forward, share))
    tensors = {f"dZ{n}": Tensor(whole.result[1], axes)}
    yield Operation(f"dZ{n}", "logits", n, tensors, _sources(calls, whole, backward))


def _backward(calls: Calls) -> Iterator[Operation]:
    """From the logits' gradient down: dW and db, dX, and through the activation below."""
    (whole,) = calls.of(Network.backward)
    n = len(calls.of(Dense.backward)) + 1
    for call in calls.by(whole):
        if not isinstance(call.given.get("self"), Dense):
            tensors = {f"dZ{n - 1}": Tensor(call.result, ("image", f"unit{n - 1}"))}
            yield Operation(f"dZ{n - 1}", "relu'", n - 1, tensors, _sources(calls, call))
            continue
        n -= 1
        (product,) = calls.by(call)
        left, kernel = _arrays(DENSE, product, after=True), _units(n)
        tensors = {
            f"dW{n}": Tensor(left["dW"], kernel),
            f"db{n}": Tensor(left["db"], kernel[1:]),
        }
        yield Operation(f"dW{n}", "kernel", n, tensors, _sources(calls, call, product))
        if product.result is not None:
            tensors = {f"dA{n - 1}": Tensor(product.result, ("image", kernel[0]))}
            yield Operation(f"dA{n - 1}", "inputs", n - 1, tensors, _sources(calls, whole, product))


def _update(calls: Calls, model: Sequential) -> Iterator[Operation]:
    """Adam: its one number for the step, its moments, and how far each weight goes."""
    (step,), (scalars,) = calls.of(Optimizer.step), calls.of(Adam.scalars)
    (update,), adam = calls.of(Adam.update), _adam(calls)
    given, left = _arrays(ADAM, adam), _arrays(ADAM, adam, after=True)
    axes = {
        f"{kind}{n}": _units(n) if kind == "W" else _units(n)[1:]
        for n in range(1, len(calls.of(Dense.forward)) + 1)
        for kind in "Wb"
    }

    def cut(name: str, vector: Array) -> dict[str, Tensor]:
        """A vector of all parameters, as the tensors `name W1`, `name b1` ..."""
        arrays = [a for views in model.views(vector) for a in views.values()]
        each = zip(axes.items(), arrays, strict=True)
        return {f"{name} {key}": Tensor(array, names) for (key, names), array in each}

    yield Operation("alpha", "alpha", 0, {}, _sources(calls, step, scalars))
    moments: dict[str, Tensor] = {}
    for name in ("m", "v"):
        moments |= cut(f"{name} before", given[name]) | cut(name, left[name])
    yield Operation("moments", "moments", 0, moments, _sources(calls, update, adam))
    again: dict[str, Any] = copy.deepcopy(given)
    again["theta"][...] = 0
    # From 0, the step itself is all that is left.
    model.engine.optimizers["adam"](*(again[name] for name in ADAM))
    moved = cut("step", 0 - again["theta"]) | cut("new", left["theta"])
    yield Operation("new", "new", 0, moved, _sources(calls, adam))


def _adam(calls: Calls) -> Call:
    """The engine's function for Adam's step."""
    (update,) = calls.of(Adam.update)
    return calls.by(update)[-1]


def _scalars(calls: Calls) -> dict[str, float]:
    """The numbers of Adam's step."""
    (update,), adam = calls.of(Adam.update), _arrays(ADAM, _adam(calls))
    optimizer, dtype = update.given["self"], adam["theta"].dtype
    return {
        "t": float(optimizer.iterations),
        "alpha": float(adam["alpha"]),
        "learning_rate": optimizer.learning_rate,
        "one_minus_beta_1": float(dtype.type(adam["one_minus_beta_1"])),
        "one_minus_beta_2": float(dtype.type(adam["one_minus_beta_2"])),
        "epsilon": float(dtype.type(adam["epsilon"])),
    }


# --- two stories ----------------------------------------------------------------------------------


def _head(calls: Calls) -> tuple[Operation, dict[str, float]]:
    """The same logits under each reading of a sigmoid head (`losses/loss.py`), with losses."""
    (taken,) = calls.of(Objective.value_and_gradient)
    n = len(calls.of(Dense.forward))
    Z, A, y = (taken.given[name] for name in ("Z", "A", "y"))
    arrays, sources, losses = {"softmax": reference.softmax(Z)}, [], {}
    for reading in SIGMOID_READINGS:
        objective = Objective(SparseCategoricalCrossentropy(sigmoid_head=reading), "sigmoid")
        seen = trace(partial(objective.value_and_gradient, Z, A, y, None))
        losses[reading], arrays[f"dZ{n} {reading}"] = float(seen[0].result[0]), seen[0].result[1]
        if reading == "probabilities":  # Keras elsewhere: through the derivative after all
            sources = _sources(seen, *seen.by(seen[0])[-2:])
    tensors = {name: Tensor(array, ("image", f"unit{n}")) for name, array in arrays.items()}
    return Operation("head", "head", n, tensors, sources), losses


def saturation(dtype: np.dtype[Any]) -> float:
    """The smallest number whose sigmoid, in this dtype, is exactly 1.

    >>> round(saturation(np.dtype(np.float32)), 2)
    16.64
    """
    low, high = np.array([1.0], dtype), np.array([100.0], dtype)
    while np.nextafter(low, high) < high:
        middle = (low + high) / 2
        low, high = (low, middle) if reference.sigmoid(middle)[0] == 1 else (middle, high)
    return float(high[0])


def ties(model: Sequential, scaled: bool, data: Data) -> Ties:
    """How often outputs tie at 1 on the test set, and what that costs."""
    x, y = data[1]
    outputs, logits = run_training.scores_of(model, x)
    tied = np.sum(outputs == 1, axis=1) > 1
    by_outputs, by_logits = np.argmax(outputs, axis=1) == y, np.argmax(logits, axis=1) == y
    cases = np.flatnonzero(tied & by_logits & ~by_outputs)
    at = int(cases[0]) if len(cases) else int(np.argmax(logits.max(axis=1)))
    return Ties(
        scaled=scaled,
        tied=float(np.mean(tied)),
        accuracy=float(np.mean(by_outputs)),
        accuracy_of_logits=float(np.mean(by_logits)),
        largest=float(logits.max()),
        example=at if len(cases) else None,
        label=int(y[at]),
        logits=logits[at],
        outputs=outputs[at],
    )
