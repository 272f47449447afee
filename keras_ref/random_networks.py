"""Random networks in step with Keras, and how far rounding alone would let them drift.

Training amplifies rounding, sometimes without limit. So each network is trained by ourselves first,
once as it is and then as twins whose weights start one ulp away: how far those end from it is what
no implementation can promise to beat. One twin may be lucky; the farthest of four counts. Tame
networks (a distance up to 1e-13) must stay within 1e-12 of Keras, the others within 30
times their twins' distance. Whatever is registered gets networks of its own, and a new entry
changes none that are there: see `draw_network`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_ref.lockstep import lockstep
from scratchnet import Input, Sequential, activations, config, layers, losses, optimizers
from scratchnet.losses import Loss
from scratchnet.optimizers import SGD, Adam, Optimizer
from scratchnet.utils import to_categorical

STEPS = 200
TAME = 1e-13
BOUND = 1e-12
FACTOR = 30
TWINS = 4

ALPHABET = ("linear", "relu", "sigmoid", "softmax", "tanh")
"""The activations of networks without a feature. It never grows: one entry more would make another
network of every seed. What is registered and not here has networks with it as their feature."""


class NetworkSeed(NamedTuple):
    """Which random network: a seed, and perhaps what it must have in it."""

    seed: int
    feature: str = ""
    """The name of an activation, or of an optimizer's or a loss's class."""

    def __str__(self) -> str:
        return f"{self.seed} {self.feature}".rstrip()


class RandomNetwork(NamedTuple):
    """A compiled float64 model, its data, and the batch size."""

    model: Sequential
    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    weights: np.ndarray[Any, Any] | None
    batch_size: int


def classes_of(table: dict[str, type[Any]]) -> dict[str, type[Any]]:
    """A registry's classes by their own names; it may list one under several."""
    return {kind.__name__: kind for kind in table.values()}


OPTIMIZERS = classes_of(optimizers.OPTIMIZERS)
LOSSES = {
    name: kind
    for name, kind in classes_of(losses.LOSSES).items()
    if kind().function(kind().reading("linear")) is None
}
"""Losses of the engines: only for those does `testing/magnitude.py` say what rounding does."""
FEATURES = (*activations.NAMES, *OPTIMIZERS, *LOSSES)


def draws(networks: int, each: int) -> list[NetworkSeed]:
    """So many networks without a feature, and `each` for everything that is registered."""
    plain = [NetworkSeed(seed) for seed in range(networks)]
    return plain + [NetworkSeed(seed, feature) for feature in FEATURES for seed in range(each)]


def draw_network(key: NetworkSeed, engine: str = "reference") -> RandomNetwork:
    """Depth 1 to 4, widths to 39, odd batch sizes, every activation, loss and optimizer.

    A feature takes its place in the network of its seed, and whatever it needs to be drawn comes
    from generators of its own: so no network depends on what else is registered.
    """
    rng = np.random.default_rng(key.seed)
    pick = rng.choice
    inputs, classes = int(rng.integers(1, 40)), int(rng.integers(2, 12))
    widths = rng.integers(1, 40, rng.integers(0, 4))
    drawn = [(int(n), str(pick(ALPHABET)), bool(pick([0, 1]))) for n in widths]
    head = str(pick(ALPHABET))
    if key.feature in activations.NAMES:
        head = head if drawn else key.feature
        drawn = [(units, key.feature, use_bias) for units, _, use_bias in drawn]
    stack = [layers.Dense(units, kind, use_bias) for units, kind, use_bias in drawn]
    stack.append(layers.Dense(classes, head))
    before = config.floatx()
    config.set_floatx("float64")
    model = Sequential([Input((inputs,)), *stack], seed=key.seed)
    config.set_floatx(before)
    optimizer, loss = _optimizer(rng), _loss(rng, head)
    if key.feature in OPTIMIZERS:
        optimizer = OPTIMIZERS[key.feature](**_options(key, OPTIMIZERS[key.feature]))
    if key.feature in LOSSES:
        options = _options(key, LOSSES[key.feature]) | {"from_logits": _reads_logits(head)}
        known = inspect.signature(LOSSES[key.feature]).parameters
        loss = LOSSES[key.feature](**{name: options[name] for name in options if name in known})
    model.compile(optimizer, loss, engine=engine)
    samples = int(rng.integers(50, 300))
    x = rng.normal(0, float(pick([0.3, 1, 3])), (samples, inputs))
    x[rng.random(x.shape) < 0.3] = 0
    labels = np.argmax(x @ rng.normal(size=(inputs, classes)), axis=1)
    y = labels if model.loss.sparse else to_categorical(labels, classes)
    weights = rng.uniform(0, 2, samples) if rng.random() < 0.3 else None
    return RandomNetwork(model, x, y, weights, int(pick([1, 2, 7, 32, 33, 64])))


def _options(key: NetworkSeed, kind: type[Any]) -> dict[str, Any]:
    """Arguments for a registered class: rates around their default, other numbers, both truths.

    The epsilon stays: a larger one would hide the rest of the rule.
    """
    options: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        rng = np.random.default_rng([key.seed, *f"{key.feature} {name}".encode()])
        default = parameter.default
        if name == "learning_rate":
            options[name] = default * float(10 ** rng.uniform(-1, 2))
        elif isinstance(default, bool):
            options[name] = bool(rng.integers(2))
        elif isinstance(default, float) and name != "epsilon":
            options[name] = float(rng.choice([default, 0.5, 0.9]))
    return options


def _reads_logits(head: str) -> bool:
    return head not in ("softmax", "sigmoid")


def _loss(rng: np.random.Generator, head: str) -> Loss:
    logits = _reads_logits(head)
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


def twin_distance(key: NetworkSeed) -> float:
    """How far the reference engine drifts from itself when every weight starts one ulp away: all of
    them higher, and three times up or down by chance; the largest distance."""
    ends, rng = [], np.random.default_rng(key.seed)
    for twin in range(1 + TWINS):
        model, x, y, weights, size = draw_network(key)
        up = np.ones(model.theta.size, bool) if twin < 2 else rng.random(model.theta.size) < 0.5
        if twin:
            model.theta[...] = np.nextafter(model.theta, np.where(up, np.inf, -np.inf))
        data = model.batch(x, y, weights)
        while model.optimizer.iterations < STEPS:
            for batch in data.batches(size):
                if model.optimizer.iterations < STEPS:
                    model.train_step(batch)
        ends.append(model.theta)
    return float(np.max(np.abs(np.array(ends[1:]) - ends[0])))


@dataclass
class SurveyResult:
    """What a number of draws showed. `worst` is the largest drift among the tame ones, `ratio` the
    largest drift over the twins' distance among the wild ones; `broken` names the draws beyond."""

    tame: int = 0
    wild: int = 0
    overflowed: int = 0
    worst: float = 0.0
    ratio: float = 0.0
    broken: tuple[str, ...] = ()


def survey(networks: Iterable[NetworkSeed], engine: str = "reference") -> SurveyResult:
    """Each of the networks for 200 steps beside Keras, in float64."""
    found = SurveyResult()
    for key in networks:
        with np.errstate(over="ignore", invalid="ignore"):
            distance = twin_distance(key)
        if not np.isfinite(distance):
            found.overflowed += 1
            continue
        model, x, y, weights, size = draw_network(key, engine)
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
            found.broken += (str(key),)
    return found
