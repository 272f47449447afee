"""Random training scripts, run twice by the same lines: with Keras and with scratchnet, in float64.

`random_networks` follows single steps; here everything around them is drawn too: layers, metrics,
weights of samples and classes, validation, callbacks, schedules, batches that don't divide, data of
several types, arrays or generators. What a script says is a function of its seed and the room, so
that both sides run the very same one. History, evaluation, predictions and weights must agree to
BOUND, or to FACTOR times what scratchnet itself moves when each weight starts one ulp away.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import keras
import numpy as np

import scratchnet
from keras_ref.bridge import floatx
from keras_ref.random_networks import FACTOR
from scratchnet import callbacks, config, layers, losses, metrics, optimizers, regularizers

BOUND = 1e-10
"""Relative to the largest number of a kind, or to 1 where that is smaller."""
OURS = SimpleNamespace(
    Sequential=scratchnet.Sequential,
    Input=scratchnet.Input,
    callbacks=callbacks,
    layers=layers,
    losses=losses,
    metrics=metrics,
    optimizers=optimizers,
    regularizers=regularizers,
)
ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "elu", "selu", "gelu", "silu", "softplus")
Room = ModuleType | SimpleNamespace
Numbers = dict[str, np.ndarray[Any, Any]]


class Script(NamedTuple):
    """A drawn script: each part a function of the room that it is made in, or data for both."""

    layers: list[Callable[[Room], Any]]
    optimizer: Callable[[Room], Any]
    loss: Callable[[Room], Any]
    metrics: Callable[[Room], list[Any]]
    weighted: list[str]
    callbacks: Callable[[Room], list[Any]]
    x: Any
    y: Any
    fit: dict[str, Any]
    generator: bool


def draw(seed: int) -> Script:
    """The script of a seed."""
    rng = np.random.default_rng([seed, 13])
    features, classes, samples = (int(rng.integers(*r)) for r in ((2, 9), (2, 6), (30, 90)))
    x = rng.normal(0, 1, (samples, features))
    labels = np.argmax(x @ rng.normal(size=(features, classes)), axis=1)
    kind, loss, head, outputs = _target(rng, classes)
    y = _targets(kind, labels, classes, rng)
    stack = [_hidden(rng) for _ in range(rng.integers(0, 4))]
    stack.append(_dense(outputs, head, rng))
    fit, generator = _fit(rng, x, y, kind)
    return Script(
        stack,
        _optimizer(rng),
        loss,
        _metrics(rng, kind, head, outputs),
        ["accuracy"] if kind != "real" and rng.random() < 0.3 else [],
        _callbacks(rng, "val_loss" if {*fit} & {"validation_split", "validation_data"} else "loss"),
        x.astype(rng.choice(["float32", "float64"])),
        y,
        fit,
        generator,
    )


def _target(rng: Any, classes: int) -> tuple[str, Callable[[Room], Any], str, int]:
    """What y is, the loss, the head that goes with it, and how many outputs."""
    logits, smooth = bool(rng.integers(2)), float(rng.choice([0.0, 0.1]))
    head = "linear" if logits else "softmax"
    rows: list[tuple[str, Callable[[Room], Any], str, int]] = [
        ("sparse", lambda m: m.losses.SparseCategoricalCrossentropy(logits), head, classes),
        ("sparse", lambda m: "sparse_categorical_crossentropy", "sigmoid", classes),
        ("onehot", lambda m: m.losses.CategoricalCrossentropy(logits, smooth), head, classes),
        (
            "binary",
            lambda m: m.losses.BinaryCrossentropy(logits, smooth),
            "linear" if logits else "sigmoid",
            1,
        ),
        ("onehot", lambda m: "kl_divergence", "softmax", classes),
        ("real", lambda m: "mse", "linear", classes),
        ("real", lambda m: "mae", "tanh", classes),
        ("real", lambda m: m.losses.Huber(0.5), "linear", classes),
    ]
    return rows[rng.integers(len(rows))]


def _targets(kind: str, labels: Any, classes: int, rng: Any) -> Any:
    if kind == "sparse":
        labels = labels.astype(rng.choice(["int32", "int64", "uint8", "float32"]))
        return labels[:, None] if rng.integers(2) else labels
    if kind == "binary":
        truths = (labels > 0).astype(rng.choice(["int32", "float64", "bool"]))
        return truths[:, None] if rng.integers(2) else truths
    rows = np.eye(classes)[labels]
    return rows if kind == "onehot" else rows + rng.normal(0, 0.3, rows.shape)


def _dense(units: int, activation: str, rng: Any) -> Callable[[Room], Any]:
    bias, form = bool(rng.random() < 0.8), rng.integers(6)
    strength = float(rng.choice([0.001, 0.05]))

    def make(m: Room) -> Any:
        l2 = m.regularizers.L2(strength)
        extra = ({"kernel_regularizer": l2}, {"activity_regularizer": l2}, {}, {}, {}, {})[form]
        return m.layers.Dense(units, activation, use_bias=bias, **extra)

    return make


def _hidden(rng: Any) -> Callable[[Room], Any]:
    slope, momentum = float(rng.choice([0.1, 0.3])), float(rng.choice([0.8, 0.99]))
    dense = _dense(int(rng.integers(2, 12)), str(rng.choice(ACTIVATIONS)), rng)
    rows: tuple[Callable[[Room], Any], ...] = (
        *(dense, dense, dense, dense),
        lambda m: m.layers.BatchNormalization(momentum=momentum),
        lambda m: m.layers.LeakyReLU(negative_slope=slope),
        lambda m: m.layers.ReLU(max_value=2.0, negative_slope=slope),
        lambda m: m.layers.Rescaling(0.5, offset=slope),
        lambda m: m.layers.ActivityRegularization(l2=0.01),
    )
    return rows[rng.integers(len(rows))]


def _optimizer(rng: Any) -> Callable[[Room], Any]:
    rate = float(10 ** rng.uniform(-3, -1.3))
    kind = str(rng.choice(["SGD", "Adam", "AdamW", "RMSprop", "Nadam", "Adagrad"]))
    options: dict[str, Any] = {}
    options |= ({}, {"clipnorm": 0.5}, {"clipvalue": 0.05}, {"global_clipnorm": 0.7})[
        rng.integers(4)
    ]
    if rng.random() < 0.3:
        options["weight_decay"] = 0.01
    if rng.random() < 0.2:
        options |= {"use_ema": True, "ema_momentum": 0.9}
    if kind == "SGD":
        options |= {"momentum": float(rng.choice([0.0, 0.9])), "nesterov": bool(rng.integers(2))}
    if kind == "RMSprop":
        options |= {"momentum": float(rng.choice([0.0, 0.5])), "centered": bool(rng.integers(2))}
    if kind in ("Adam", "AdamW"):
        options |= {"amsgrad": bool(rng.integers(2))}
    schedule = rng.integers(6)

    def make(m: Room) -> Any:
        schedules = m.optimizers.schedules
        choices = (
            lambda: schedules.ExponentialDecay(rate, 5, 0.8, staircase=True),
            lambda: schedules.CosineDecay(rate, 20),
            lambda: schedules.PiecewiseConstantDecay([4, 9], [rate, rate / 2, rate / 4]),
        )
        chosen = choices[schedule]() if schedule < len(choices) else rate
        return getattr(m.optimizers, kind)(chosen, **options)

    return make


def _metrics(rng: Any, kind: str, head: str, outputs: int) -> Callable[[Room], list[Any]]:
    """Some metrics that go with the targets; docs/differences.md says what is left out."""
    several = outputs > 1
    rows: dict[str, tuple[Callable[[Room], Any], ...]] = {
        "sparse": (
            lambda m: "accuracy",
            lambda m: m.metrics.SparseCategoricalAccuracy(name="right"),
            lambda m: m.metrics.sparse_categorical_crossentropy,
        ),
        "onehot": (
            lambda m: "accuracy",
            lambda m: "categorical_accuracy",
            lambda m: m.metrics.KLDivergence(),
            lambda m: "mae",
        ),
        "binary": (
            lambda m: "accuracy",
            lambda m: m.metrics.BinaryAccuracy(threshold=0.4),
            lambda m: m.metrics.MeanSquaredError(name="brier"),
        ),
        "real": (
            lambda m: "mae",
            lambda m: m.metrics.RootMeanSquaredError(),
            lambda m: m.metrics.mean_squared_error,
        ),
    }
    found = rows[kind][:2] if (kind, head) == ("sparse", "sigmoid") else rows[kind]
    count = int(rng.integers(0, len(found) + 1)) if several else int(rng.integers(0, 3))
    chosen = rng.permutation(len(found))[:count]
    return lambda m: [found[i](m) for i in chosen]


def _callbacks(rng: Any, monitor: str) -> Callable[[Room], list[Any]]:
    rows: tuple[Callable[[Room], list[Any]], ...] = (
        *(lambda m: [], lambda m: []),
        lambda m: [m.callbacks.EarlyStopping(monitor, patience=0, restore_best_weights=True)],
        lambda m: [m.callbacks.EarlyStopping(monitor, min_delta=0.01, patience=1)],
        lambda m: [m.callbacks.TerminateOnNaN()],
    )
    return rows[rng.integers(len(rows))]


def _fit(rng: Any, x: Any, y: Any, kind: str) -> tuple[dict[str, Any], bool]:
    """Arguments of fit; and whether the data come from a generator."""
    samples = len(x)
    fit: dict[str, Any] = {"epochs": int(rng.integers(1, 5)), "shuffle": False, "verbose": 0}
    held = rng.integers(4)
    if held == 0:
        w = (rng.uniform(0, 2, 20),) if rng.integers(2) else ()
        fit["validation_data"] = (rng.permutation(x)[:20], y[:20], *w)
        fit["validation_freq"] = int(rng.integers(1, 3))
    if rng.random() < 0.2:
        fit["steps_per_epoch"] = int(rng.integers(2, 5))
        return fit, True
    fit["batch_size"] = int(rng.choice([1, 7, 16, 32, 100]))
    if held == 1:
        fit["validation_split"] = 0.3
    weighting = rng.integers(4)
    if weighting == 0:
        fit["sample_weight"] = rng.uniform(0, 2, samples)
    elif weighting == 1 and kind != "real":
        fit["class_weight"] = {0: 0.5, 1: 2.0}
    return fit, False


def batches(x: Any, y: Any, size: int = 9) -> Iterator[tuple[Any, Any]]:
    """Without end; the last batch of each pass is a short one."""
    while True:
        for start in range(0, len(x), size):
            yield x[start : start + size], y[start : start + size]


def run(script: Script, room: Room, theta: list[Any], **compiling: Any) -> Numbers:
    """All numbers that the script gives in a room, from these weights."""
    model = room.Sequential([room.Input(script.x.shape[1:])])
    for layer in script.layers:
        model.add(layer(room))
    model.set_weights(theta)
    found = script.metrics(room)
    model.compile(
        script.optimizer(room),
        script.loss(room),
        metrics=found,
        weighted_metrics=script.weighted,
        **compiling,
    )
    data = (batches(script.x, script.y),) if script.generator else (script.x, script.y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = model.fit(*data, callbacks=script.callbacks(room), **script.fit)
        seen = model.evaluate(script.x, script.y, batch_size=13, verbose=0, return_dict=True)
    numbers = {f"history {name}": np.array(v, float) for name, v in history.history.items()}
    numbers |= {f"evaluate {name}": np.array(v, float) for name, v in seen.items()}
    numbers["predict"] = np.asarray(model.predict(script.x, verbose=0))
    numbers |= {f"weights {i}": np.asarray(w) for i, w in enumerate(model.get_weights())}
    return numbers


def distance(a: Numbers, b: Numbers) -> tuple[float, str]:
    """The largest difference, relative to each kind's largest number, and where it is."""
    if a.keys() != b.keys():
        return math.inf, f"names {sorted(a.keys() ^ b.keys())}"
    worst = (0.0, "")
    for name in a:
        if a[name].shape != b[name].shape:
            return math.inf, f"{name} of shapes {a[name].shape} and {b[name].shape}"
        scale = max(1.0, float(np.max(np.abs(b[name]), initial=0)))
        apart = float(np.max(np.abs(a[name] - b[name]), initial=0)) / scale
        worst = max(worst, (math.inf if math.isnan(apart) else apart, name))
    return worst


class ScriptOutcome(NamedTuple):
    """How far Keras and each engine are apart, what rounding alone does, and what went wrong."""

    seed: int
    apart: float
    twin: float
    wrong: str


def compare(seed: int) -> ScriptOutcome:
    """The script of a seed in Keras and on both engines."""
    script = draw(seed)
    with floatx("float64"):
        config.set_floatx("float64")
        try:
            model = OURS.Sequential([OURS.Input(script.x.shape[1:])], seed=seed)
            for layer in script.layers:
                model.add(layer(OURS))
            start = model.get_weights()
            theirs = run(script, keras, start, run_eagerly=True)
            up = [np.nextafter(w, np.inf) for w in start]
            mine = run(script, OURS, start, engine="reference")
            twin, _ = distance(run(script, OURS, up, engine="reference"), mine)
            fused = run(script, OURS, start, engine="compiled")
        finally:
            config.set_floatx("float32")
    limit = max(BOUND, FACTOR * twin)
    found = [distance(numbers, theirs) for numbers in (mine, fused)]
    wrong = "; ".join(
        f"{engine}: {apart:.2g} apart in {where}"
        for engine, (apart, where) in zip(("reference", "compiled"), found, strict=True)
        if not apart <= limit
    )
    return ScriptOutcome(seed, max(apart for apart, _ in found), twin, wrong)
