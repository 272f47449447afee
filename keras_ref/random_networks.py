"""Random networks in step with Keras, and how far rounding alone would let them drift.

Training amplifies rounding, sometimes without limit. So each draw is run twice by ourselves first,
the second time from weights one ulp higher: the distance between the two ends is what no
implementation can promise to beat. Tame draws (distance up to 1e-13) must stay within 1e-12 of
Keras, the others within 30 times their twin's distance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_ref.lockstep import lockstep
from scratchnet import Input, Sequential, config, layers, losses
from scratchnet.activations import NAMES
from scratchnet.optimizers import SGD, Adam, Optimizer
from scratchnet.utils import to_categorical

STEPS = 200
TAME = 1e-13
BOUND = 1e-12
FACTOR = 30


class RandomNetwork(NamedTuple):
    """A compiled float64 model, its data, and the batch size."""

    model: Sequential
    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    weights: np.ndarray[Any, Any] | None
    batch_size: int


def draw_network(seed: int, engine: str = "reference") -> RandomNetwork:
    """Depth 1 to 4, widths to 39, every activation, loss and optimizer, odd batch sizes."""
    rng = np.random.default_rng(seed)
    pick = rng.choice
    inputs, classes = int(rng.integers(1, 40)), int(rng.integers(2, 12))
    widths = rng.integers(1, 40, rng.integers(0, 4))
    stack = [layers.Dense(int(n), str(pick(NAMES)), bool(pick([0, 1]))) for n in widths]
    head = layers.Dense(classes, str(pick(NAMES)))
    before = config.floatx()
    config.set_floatx("float64")
    model = Sequential([Input((inputs,)), *stack, head], seed=seed)
    config.set_floatx(before)
    model.compile(_optimizer(rng), _loss(rng, head.activation), engine=engine)
    samples = int(rng.integers(50, 300))
    x = rng.normal(0, float(pick([0.3, 1, 3])), (samples, inputs))
    x[rng.random(x.shape) < 0.3] = 0
    labels = np.argmax(x @ rng.normal(size=(inputs, classes)), axis=1)
    y = labels if model.loss.sparse else to_categorical(labels, classes)
    weights = rng.uniform(0, 2, samples) if rng.random() < 0.3 else None
    return RandomNetwork(model, x, y, weights, int(pick([1, 2, 7, 32, 33, 64])))


def _loss(rng: np.random.Generator, head: str) -> losses.Loss:
    logits = head not in ("softmax", "sigmoid")
    reduction = str(rng.choice(["sum_over_batch_size", "mean_with_sample_weight"]))
    smoothing = float(rng.choice([0, 0.1]))
    kinds = (
        losses.SparseCategoricalCrossentropy(logits, reduction=reduction),
        losses.CategoricalCrossentropy(logits, smoothing, reduction=reduction),
        losses.MeanSquaredError(reduction),
    )
    return kinds[rng.integers(len(kinds))]


def _optimizer(rng: np.random.Generator) -> Optimizer:
    """Adam with rates from 1e-4 to 0.1, or SGD from 1e-3 to 1."""
    rate = float(10 ** rng.uniform(-4, -1))
    betas = float(rng.choice([0.8, 0.9])), float(rng.choice([0.99, 0.999]))
    form = bool(rng.choice([0, 1]))
    if rng.random() < 0.5:
        return Adam(rate, *betas, amsgrad=form)
    return SGD(rate * 10, float(rng.choice([0, 0.5, 0.9])), form)


def twin_distance(seed: int) -> float:
    """How far the reference engine drifts from itself when every weight starts one ulp higher."""
    ends = []
    for direction in (0.0, np.inf):
        model, x, y, weights, size = draw_network(seed)
        if direction:
            model.theta[...] = np.nextafter(model.theta, direction)
        data = model.batch(x, y, weights)
        while model.optimizer.iterations < STEPS:
            for batch in data.batches(size):
                if model.optimizer.iterations < STEPS:
                    model.train_step(batch)
        ends.append(model.theta)
    return float(np.max(np.abs(ends[0] - ends[1])))


@dataclass
class SurveyResult:
    """What a number of draws showed. `worst` is the largest drift among the tame ones, `ratio` the
    largest drift over the twin's distance among the wild ones; `broken` lists the seeds beyond."""

    tame: int = 0
    wild: int = 0
    overflowed: int = 0
    worst: float = 0.0
    ratio: float = 0.0
    broken: tuple[int, ...] = ()


def survey(seeds: Iterable[int]) -> SurveyResult:
    """Each seed's network for 200 steps beside Keras, in float64."""
    found = SurveyResult()
    for seed in seeds:
        with np.errstate(over="ignore", invalid="ignore"):
            distance = twin_distance(seed)
        if not np.isfinite(distance):
            found.overflowed += 1
            continue
        model, x, y, weights, size = draw_network(seed)
        report = lockstep(
            model,
            x,
            y,
            sample_weight=weights,
            steps=STEPS,
            batch_size=size,
            tolerance=np.inf,
            every=20,
        )
        drift = report.largest_drift
        if distance <= TAME:
            found.tame, found.worst = found.tame + 1, max(found.worst, drift)
        else:
            found.wild, found.ratio = found.wild + 1, max(found.ratio, drift / distance)
        if drift > (BOUND if distance <= TAME else FACTOR * distance):
            found.broken += (seed,)
    return found
