"""Which check catches which bug of the museum, and whether accuracy alone would have: measured.

Every bug is planted into a small model, every check is run on it, and the same bug, as somebody's
own code, is handed to the batteries to see whether they call it by its name. Then the model is
trained on digits with and without the bug: that most spoiled runs end within two points of the
right ones is why this package exists. Read `museum.py` for the bugs themselves.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable
from json import dumps
from typing import Any

import numpy as np

import scratchnet.testing.batteries as batteries
from scratchnet import config, datasets
from scratchnet.checks import Examples
from scratchnet.engines import Array, reference
from scratchnet.layers import Dense, Flatten, Input, Rescaling
from scratchnet.optimizers import SGD, Adam, Optimizer
from scratchnet.sequential import Sequential
from scratchnet.testing.failure import LawError
from scratchnet.testing.magnitude import gradient_scale
from scratchnet.testing.museum import BUGS, Bench, Bug, Setting
from scratchnet.testing.subjects.own import OwnLayer
from scratchnet.utils import to_categorical

Check = Callable[[Bug], bool]

OPTIMIZER_OF: dict[str, Callable[[], Optimizer]] = {
    "adam": Adam,
    "amsgrad": lambda: Adam(amsgrad=True),
    "sgd": lambda: SGD(0.1),
    "momentum": lambda: SGD(0.02, momentum=0.9),
    "nesterov": lambda: SGD(0.02, momentum=0.9, nesterov=True),
}

NOTICED = 0.02
"""Somebody who only looks at accuracy notices a run this far below the worst right one."""


def build(setting: Setting, shape: tuple[int, ...], hidden: int, classes: int, seed: int) -> Any:
    """A compiled float64 model on the reference engine, with this setting's hidden layer twice."""
    before = config.floatx()
    config.set_floatx("float64")
    middle = [Rescaling(1 / 255), Flatten()] if len(shape) > 1 else []
    stack = [Dense(hidden, setting.hidden), Dense(hidden, setting.hidden)]
    model = Sequential(
        [Input(shape), *middle, *stack, Dense(classes, setting.head)],
        seed=seed,
    )
    config.set_floatx(before)
    optimizer = OPTIMIZER_OF[setting.optimizer]()
    model.compile(optimizer, setting.loss, metrics=["accuracy"], engine="reference")
    return model


def targets(setting: Setting, labels: Array, classes: int) -> Array:
    return to_categorical(labels, classes) if setting.loss == "mse" else labels


# --- checks on a planted model: True where something is wrong -------------------------------------


def _small(bug: Bug, batch: int, plant: bool = True) -> tuple[Any, Examples]:
    """A 3-4-4-3 net and a batch; the first image is blank, so that ReLUs sit at 0 exactly."""
    setting = bug.setting
    model = build(setting, (3,), 4, 3, seed=1)
    rng = np.random.default_rng(batch)
    x = rng.normal(0, 1, (batch, 3))
    if batch > 1:
        x[0] = 0
    data = model.batch(x, targets(setting, rng.integers(0, 3, batch), 3))
    if plant:
        bug.plant(model)
    return model, data


def complex_step(bug: Bug) -> bool:
    """Is some gradient not the complex step of the loss, to 1e-12 S?"""
    for batch in (2, 1, 5):
        model, data = _small(bug, batch, plant=False)
        scale = gradient_scale(model, data)
        model, data = _small(bug, batch)
        model.gradient(data)
        theta, right = model.theta.astype(complex), np.zeros_like(model.theta)
        for k in range(theta.size):
            theta[k] += 1e-20j
            right[k] = model.loss_of(theta, data).imag / 1e-20
            theta[k] = model.theta[k]
        scale = np.maximum(scale, 1e-260)
        if not np.all(np.abs(model.grad - right) <= 1e-12 * scale):
            return True
    return False


def loss_value(bug: Bug) -> bool:
    """Does the training step report another loss than the forward pass alone gives?"""
    model, data = _small(bug, 5)
    loss, _ = model.gradient(data)
    return not abs(loss - model.loss_of(model.theta, data)) <= 1e-13 * abs(loss)


def second_call(bug: Bug) -> bool:
    """Does the same batch give another gradient the second time?"""
    model, data = _small(bug, 5)
    model.gradient(data)
    first = model.grad.copy()
    model.gradient(data)
    return not np.array_equal(first, model.grad)


def sum_of_parts(bug: Bug) -> bool:
    """Is the gradient of a batch something else than the mean of its samples' gradients?"""
    model, data = _small(bug, 5)
    model.gradient(data)
    whole, parts = model.grad.copy(), np.zeros_like(model.grad)
    for i in range(5):
        model.gradient(data.rows(slice(i, i + 1)))
        parts += model.grad / 5
    return not np.max(np.abs(whole - parts)) <= 1e-13 * np.max(np.abs(whole))


def optimizer_steps(bug: Bug) -> bool:
    """Does the optimizer go elsewhere than its rule says?"""
    return (
        _fails(lambda: batteries.check_optimizer(lambda: Planted(bug), rule=rule_of(bug)))
        is not None
    )


def rule_of(bug: Bug) -> str:
    """The rule of the optimizer in a bug's setting."""
    return "adam" if bug.setting.optimizer in ("adam", "amsgrad") else "sgd"


def batches(bug: Bug) -> bool:
    """Does `fit` visit samples twice or never, with other labels, or in fixed company?"""
    return _fails(lambda: batteries.check_batches(_fit_batches(bug))) is not None


CHECKS: dict[str, Check] = {
    "complex step": complex_step,
    "loss value": loss_value,
    "second call": second_call,
    "sum of parts": sum_of_parts,
    "optimizer steps": optimizer_steps,
    "batches": batches,
}


class Planted:
    """One of our optimizers with a bug in it, as somebody's own that takes lists of arrays."""

    def __init__(self, bug: Bug):
        self.inner, self.bug = OPTIMIZER_OF[bug.setting.optimizer](), bug
        self.bench: Bench | None = None
        for name in ("beta_1", "beta_2", "epsilon", "amsgrad", "momentum", "nesterov"):
            if hasattr(self.inner, name):
                setattr(self, name, getattr(self.inner, name))
        self.learning_rate = self.inner.learning_rate

    def update(self, params: list[Array], grads: list[Array]) -> None:
        if self.bench is None:
            self.bench = Bench(self.inner, [param.size for param in params])
            if self.bug.part in ("adam", "sgd"):
                self.bug.plant(self.bench)
        theta, grad = (np.concatenate([a.ravel() for a in group]) for group in (params, grads))
        self.inner.step(self.bench.engine, theta, grad)
        start = 0
        for param in params:
            param[...] = theta[start : start + param.size].reshape(param.shape)
            start += param.size


def _fit_batches(bug: Bug) -> Any:
    """The batches that `fit` trains on, with the bug in the model that trains."""
    model: Any = None

    def fit(x: Array, y: Array, size: int) -> Iterable[tuple[Array, Array]]:
        nonlocal model
        if model is None:
            model = Sequential([Input((1,)), Dense(len(x))], seed=0)
            loss = "sparse_categorical_crossentropy"
            model.compile(SGD(0.0), loss, engine="reference")
            if bug.part == "loop":
                bug.plant(model)
        seen: list[tuple[Array, Array]] = []

        def gradient(batch: Examples) -> Any:
            seen.append((batch.x.copy(), batch.y.copy()))
            return type(model).gradient(model, batch)

        model.gradient = gradient
        model.fit(x, y, batch_size=size, verbose=0)
        return seen

    return fit


def _fails(check: Callable[[], None]) -> LawError | None:
    try:
        with np.errstate(all="ignore"):
            check()
    except LawError as failure:
        return failure
    return None


# --- naming: the bug as somebody's own code -------------------------------------------------------


def looks_like(bug: Bug) -> str | None:
    """What the batteries call this bug when it stands in somebody's own code."""
    bench = Bench()
    if bug.part not in ("adam", "sgd", "loop"):
        bug.plant(bench)
    engine = bench.engine
    if bug.part == "dense":
        failure = _fails(
            lambda: batteries.check_layer(lambda i, o: OwnLayer(Dense(o), (i,), engine))
        )
    elif bug.part == "activation":
        kind = "sigmoid" if bug.name == "sigmoid overwrites Z" else bug.setting.hidden
        kind = "softmax" if bug.setting.head == "softmax" else kind
        failure = _fails(lambda: batteries.check_activation(*engine.activations[kind]))
    elif bug.part == "loss":
        failure = _fails(lambda: _loss(engine, bug))
    elif bug.part == "loop":
        failure = _fails(lambda: batteries.check_batches(_fit_batches(bug)))
    else:
        failure = _fails(lambda: batteries.check_optimizer(lambda: Planted(bug), rule=rule_of(bug)))
    return None if failure is None else failure.bug


def _loss(engine: Any, bug: Bug) -> None:
    name = "mean_squared_error" if bug.setting.loss == "mse" else "softmax_cross_entropy"
    function = engine.losses[name]

    def value(p: Array, t: Array) -> Any:
        return np.mean(function.forward(p, t)[0])

    def gradient(p: Array, t: Array) -> Array:
        share = np.full(len(p), 1 / len(p), p.dtype)
        found: Array = function.backward(share, t, function.forward(p, t)[1])
        return found

    batteries.check_loss((value, gradient), against=name)


# --- accuracy ------------------------------------------------------------------------------------

Arrays = tuple[tuple[Array, Array], tuple[Array, Array]]


def load(name: str) -> tuple[str, Arrays]:
    """Its name and arrays: `digits` (bundled), `mnist`, or `best`, which is MNIST where found."""
    if name == "digits":
        return datasets.digits.NAME, datasets.digits.load_data()
    if name == "mnist":
        return "MNIST", datasets.mnist.load_data()
    if name == "best":
        found = datasets.best_available(download=False)
        return found.name, found.data
    raise ValueError(f"data={name!r}: expected 'digits', 'mnist' or 'best'.")


def accuracy(setting: Setting, data: Arrays, epochs: int, seed: int, bug: Bug | None) -> float:
    """Test accuracy after training; 0 where the loss stopped being finite."""
    (x, y), (x_test, y_test) = data
    model = build(setting, x.shape[1:], 32, 10, seed)
    if bug is not None:
        bug.plant(model)
    try:
        with np.errstate(all="ignore"):
            model.fit(x, targets(setting, y, 10), epochs=epochs, verbose=0)
    except FloatingPointError:
        return 0.0
    # The right forward pass judges the weights, whatever they were learned with.
    model.engine = reference.ENGINE
    guesses = np.argmax(model.predict(x_test), axis=1)
    return float(np.mean(guesses == y_test))


class Accuracies:
    """Right runs, trained once for each setting and kept."""

    def __init__(self, data: str, epochs: int | None, seeds: int):
        self.name, self.data = load(data)
        self.epochs = epochs or (3 if self.name == "MNIST" else 10)
        self.seeds = seeds
        self.kept: dict[Setting, list[float]] = {}

    def of(self, bug: Bug) -> dict[str, Any]:
        setting = bug.setting
        if setting not in self.kept:
            self.kept[setting] = [
                accuracy(setting, self.data, self.epochs, seed, None) for seed in range(self.seeds)
            ]
        right = self.kept[setting]
        spoiled = [
            accuracy(setting, self.data, self.epochs, seed, bug) for seed in range(self.seeds)
        ]
        return {
            "right": right,
            "spoiled": spoiled,
            "noticed": statistics.median(spoiled) < min(right) - NOTICED,
        }


# --- the matrix ----------------------------------------------------------------------------------


def kill_matrix(
    *,
    names: Iterable[str] | None = None,
    with_accuracy: bool = True,
    data: str = "digits",
    epochs: int | None = None,
    seeds: int = 3,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Bugs by checks, as plain data.

    Args:
        names: some of the museum's bugs; all of them by default.
        with_accuracy: train with and without each bug, too.
        data: `"digits"`, `"mnist"`, or `"best"`: MNIST where it is found, else the digits.
        epochs, seeds: of those trainings; epochs are 3 on MNIST and 10 on the digits by default.
        progress: told each bug's name as its turn comes.

    Returns:
        `checks`: their names; `clean`: those that report something on right code (none should);
        `trained_on`: None, or `data`, `epochs` and `seeds` of the accuracies;
        `bugs`: dicts of name, part, wrong, source, documented, caught_by (names of checks), named
        (whether the batteries call it by its name), looks_like, and accuracy: None, or `right` and
        `spoiled` (one test accuracy a seed) and `noticed`.

    Raises:
        ValueError: for an unknown bug or data set.

    >>> matrix = kill_matrix(names=["mean bias"], with_accuracy=False)
    >>> matrix["bugs"][0]["caught_by"], matrix["bugs"][0]["named"], matrix["clean"]
    (['complex step', 'sum of parts'], True, [])
    """
    chosen = list(BUGS) if names is None else list(names)
    unknown = [name for name in chosen if name not in BUGS]
    if unknown:
        raise ValueError(f"names={unknown}: no such bug. The museum has {', '.join(BUGS)}.")
    trained = Accuracies(data, epochs, seeds) if with_accuracy else None
    rows = []
    for bug in (BUGS[name] for name in chosen):
        if progress is not None:
            progress(bug.name)
        rows.append(_row(bug, trained))
    sound = [_sound(setting) for setting in {BUGS[name].setting: None for name in chosen}]
    clean = [n for n, check in CHECKS.items() if any(_caught(check, bug) for bug in sound)]
    trained_on = None
    if trained is not None:
        trained_on = {"data": trained.name, "epochs": trained.epochs, "seeds": seeds}
    return {"checks": list(CHECKS), "clean": clean, "trained_on": trained_on, "bugs": rows}


def _row(bug: Bug, trained: Accuracies | None) -> dict[str, Any]:
    """What is known of one bug."""
    called = looks_like(bug)
    return {
        "name": bug.name,
        "part": bug.part,
        "wrong": bug.wrong,
        "source": bug.source,
        "documented": bug.documented,
        "caught_by": [name for name, check in CHECKS.items() if _caught(check, bug)],
        "named": called == bug.name,
        "looks_like": called,
        "accuracy": None if trained is None else trained.of(bug),
    }


def _sound(setting: Setting) -> Bug:
    """No bug at all: what stands on the bench where right code is checked."""
    return Bug("none", "nothing", "", lambda network: None, "adam", setting)


def _caught(check: Check, bug: Bug) -> bool:
    with np.errstate(all="ignore"):
        return check(bug)


WIDE, NARROW = 120, 80
"""From `WIDE` columns on the sources fit in; below `NARROW` accuracies are differences."""


def print_matrix(matrix: dict[str, Any]) -> None:
    """The matrix as a table: a cross where a check catches a bug, numbered as in the legend."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=WIDE, highlight=False)
    numbers = range(1, len(matrix["checks"]) + 1)
    table = Table(title="The museum of bugs", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("bug", no_wrap=True)
    table.add_column(" ".join(map(str, numbers)), no_wrap=True)
    table.add_column("named")
    trained, narrow = matrix["trained_on"], console.width < NARROW
    if trained:
        title = "points" if narrow else f"accuracy, {trained['data']}"
        table.add_column(title, justify="right", no_wrap=True)
    if console.width >= WIDE:
        table.add_column("source", overflow="fold")
    for bug in matrix["bugs"]:
        crosses = " ".join("x" if c in bug["caught_by"] else "." for c in matrix["checks"])
        cells = [bug["name"], crosses, "x" if bug["named"] else "."]
        cells += [_accuracies(bug, narrow)] if trained else []
        table.add_row(*[*cells, bug["source"]][: len(table.columns)])
    console.print(table)
    legend = ", ".join(f"{i} {check}" for i, check in zip(numbers, matrix["checks"], strict=True))
    console.print(f"Caught by: {legend}.")
    console.print(caption(matrix))


def _accuracies(bug: dict[str, Any], narrow: bool) -> str:
    """`95.8 of 96.1` with the bug and without, or `-0.3`; ! where somebody would notice."""
    spoiled, right = (100 * statistics.median(bug["accuracy"][k]) for k in ("spoiled", "right"))
    text = f"{spoiled - right:+.1f}" if narrow else f"{spoiled:.1f} of {right:.1f}"
    return f"!{'' if narrow else ' '}{text}" if bug["accuracy"]["noticed"] else text


def caption(matrix: dict[str, Any]) -> str:
    """How many were caught and named, and how many accuracy alone would have shown."""
    bugs, trained = matrix["bugs"], matrix["trained_on"]
    caught = sum(bool(bug["caught_by"]) for bug in bugs)
    named = sum(bug["named"] for bug in bugs)
    text = f"{caught} of {len(bugs)} caught by a check, {named} called by their names."
    if matrix["clean"]:
        text += f" Right code was reported by {', '.join(matrix['clean'])}."
    if trained:
        noticed = sum(bug["accuracy"]["noticed"] for bug in bugs)
        text += (
            f" Test accuracy alone shows {noticed} (!): more than {100 * NOTICED:.0f} points below"
            f" right code ({trained['data']}; epochs: {trained['epochs']}, seeds:"
            f" {trained['seeds']})."
        )
    return text


def run(json: bool = False, **options: Any) -> dict[str, Any]:
    """Measure and print the kill matrix: bugs by checks, and what accuracy alone would have said.

    Args:
        json: print it as JSON instead of a table.
        options: of `kill_matrix`: names, with_accuracy, data, epochs, seeds, progress.

    Returns:
        What `kill_matrix` does.

    >>> matrix = run(json=True, names=["sign"], with_accuracy=False)  # doctest: +ELLIPSIS
    {
      "checks": [
      ...
    >>> matrix["bugs"][0]["named"]
    True
    """
    matrix = kill_matrix(**options)
    show(matrix, json)
    return matrix


def show(matrix: dict[str, Any], json: bool = False) -> None:
    """Print a kill matrix that was measured: a table, or JSON.

    >>> show({"checks": [], "clean": [], "trained_on": None, "bugs": []}, json=True)
    {
      "checks": [],
      "clean": [],
      "trained_on": null,
      "bugs": []
    }
    """
    if json:
        print(dumps(matrix, indent=2))
    else:
        print_matrix(matrix)
