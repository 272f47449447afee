"""The rules of optimizers, recognised by what somebody's optimizer does over several steps.

Each rule gives the move of every entry for its gradient. Its numbers are not asked for: those found
in the optimizer and the usual ones are tried in every combination, all at once, one row each. A
rule is recognised where one row gives every move to rounding. What a class is called is no evidence
for it, only a claim that is held against it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet.engines import Array

Numbers = dict[str, Array]
Slots = dict[str, Any]
Move = Callable[[Slots, Array, Array, int, Numbers], Array]
"""(slots, gradient, theta, t from 1, numbers) -> move; rows are combinations of numbers."""

USUAL = {
    "lr": (1.0, 0.1, 0.01, 0.001),
    "mu": (0.9, 0.99, 0.5),
    "rho": (0.9, 0.99, 0.95),
    "b1": (0.9,),
    "b2": (0.999, 0.99),
    "eps": (1e-8, 1e-7, 1e-6, 1e-10, 1e-12, 1e-5, 1e-16),
    "wd": (0.01, 0.0),
}


def _sgd(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
    return -n["lr"] * g


def _sgd_decay(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
    return -n["lr"] * (g + n["wd"] * w)


def _momentum(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
    s["u"] = n["mu"] * s["u"] - n["lr"] * g
    return s["u"]


def _nesterov(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
    s["u"] = n["mu"] * s["u"] - n["lr"] * g
    return n["mu"] * s["u"] - n["lr"] * g


def _average(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
    s["u"] = n["mu"] * s["u"] + (1 - n["mu"]) * g
    return -n["lr"] * s["u"]


def _nesterov_average(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
    s["u"] = n["mu"] * s["u"] + (1 - n["mu"]) * g
    return -n["lr"] * (n["mu"] * s["u"] + (1 - n["mu"]) * g)


def _corrected_average(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
    s["u"] = n["mu"] * s["u"] + (1 - n["mu"]) * g
    return -n["lr"] * s["u"] / (1 - n["mu"] ** t)


def _over(root: Array, eps: Array, inside: bool) -> Array:
    return np.sqrt(root + eps) if inside else np.sqrt(root) + eps


def _adagrad(inside: bool, begin: float = 0.0) -> Move:
    def move(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
        s["h"] = (s["h"] if t > 1 else begin) + g * g
        return -n["lr"] * g / _over(s["h"], n["eps"], inside)

    return move


def _rmsprop(inside: bool, momentum: bool = False) -> Move:
    def move(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
        s["h"] = n["rho"] * s["h"] + (1 - n["rho"]) * g * g
        step = n["lr"] * g / _over(s["h"], n["eps"], inside)
        if not momentum:
            return -step
        s["u"] = n["mu"] * s["u"] - step
        return s["u"]

    return move


def _adadelta(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
    s["h"] = n["rho"] * s["h"] + (1 - n["rho"]) * g * g
    step = np.sqrt(s["d"] + n["eps"]) / np.sqrt(s["h"] + n["eps"]) * g
    s["d"] = n["rho"] * s["d"] + (1 - n["rho"]) * step * step
    return -n["lr"] * step


def _adam(
    hat: bool, amsgrad: bool = False, decay: str = "", nesterov: str = "", keras: bool = False
) -> Move:
    """Kingma & Ba 2015, algorithm 1; `hat` is the last paragraph of its section 2, as in Keras.

    `keras` takes the powers of the betas' float32 roundings, as Keras does.
    """

    def move(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
        g = g + n["wd"] * w if decay == "l2" else g
        b1, b2, eps = n["b1"], n["b2"], n["eps"]
        s["m"] = b1 * s["m"] + (1 - b1) * g
        s["v"] = b2 * s["v"] + (1 - b2) * g * g
        p1, p2 = (b.astype(np.float32).astype(float) if keras else b for b in (b1, b2))
        v, c1, c2 = s["v"], 1 - p1**t, 1 - p2**t
        if amsgrad:
            v = s["top"] = np.maximum(s["top"], v)
        m = s["m"] / c1
        if nesterov == "shifted":
            m = b1 * s["m"] / (1 - b1 ** (t + 1)) + (1 - b1) * g / c1
        elif nesterov:
            m = b1 * m + (1 - b1) * g / c1
        step = n["lr"] * m / (np.sqrt(v) / np.sqrt(c2) + (eps / np.sqrt(c2) if hat else eps))
        return -step - (n["lr"] * n["wd"] * w if decay == "decoupled" else 0)

    return move


def _adamax(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
    s["m"] = n["b1"] * s["m"] + (1 - n["b1"]) * g
    s["v"] = np.maximum(n["b2"] * s["v"], np.abs(g))
    return -n["lr"] / (1 - n["b1"] ** t) * s["m"] / (s["v"] + n["eps"])


class Rule(NamedTuple):
    """A rule with the names of its numbers, and what a class that follows it may be called."""

    move: Move
    numbers: tuple[str, ...]
    families: tuple[str, ...]


ADAM = ("lr", "b1", "b2", "eps")
RULES: dict[str, Rule] = {
    "SGD": Rule(_sgd, ("lr",), ("sgd",)),
    "SGD with weight decay": Rule(_sgd_decay, ("lr", "wd"), ("sgd",)),
    "momentum": Rule(_momentum, ("lr", "mu"), ("sgd", "momentum")),
    "Nesterov": Rule(_nesterov, ("lr", "mu"), ("sgd", "momentum", "nesterov")),
    "momentum as a moving average": Rule(_average, ("lr", "mu"), ("sgd", "momentum")),
    "Nesterov on a moving average": Rule(
        _nesterov_average, ("lr", "mu"), ("sgd", "momentum", "nesterov")
    ),
    "momentum as a corrected average": Rule(_corrected_average, ("lr", "mu"), ("sgd", "momentum")),
    "Adagrad": Rule(_adagrad(False), ("lr", "eps"), ("adagrad",)),
    "Adagrad, epsilon in the root": Rule(_adagrad(True), ("lr", "eps"), ("adagrad",)),
    "Adagrad from 0.1": Rule(_adagrad(False, 0.1), ("lr", "eps"), ("adagrad",)),
    "RMSprop": Rule(_rmsprop(False), ("lr", "rho", "eps"), ("rmsprop",)),
    "RMSprop, epsilon in the root": Rule(_rmsprop(True), ("lr", "rho", "eps"), ("rmsprop",)),
    "RMSprop with momentum": Rule(_rmsprop(False, True), ("lr", "rho", "mu", "eps"), ("rmsprop",)),
    "RMSprop with momentum, epsilon in the root": Rule(
        _rmsprop(True, True), ("lr", "rho", "mu", "eps"), ("rmsprop",)
    ),
    "Adadelta": Rule(_adadelta, ("lr", "rho", "eps"), ("adadelta",)),
    "Adam": Rule(_adam(False), ADAM, ("adam",)),
    "Adam, epsilon hat": Rule(_adam(True), ADAM, ("adam",)),
    "AMSGrad": Rule(_adam(False, True), ADAM, ("adam", "amsgrad")),
    "AMSGrad, epsilon hat": Rule(_adam(True, True), ADAM, ("adam", "amsgrad")),
    "Adam as Keras rounds": Rule(_adam(True, keras=True), ADAM, ("adam",)),
    "AMSGrad as Keras rounds": Rule(_adam(True, True, keras=True), ADAM, ("adam", "amsgrad")),
    "AdamW": Rule(_adam(False, decay="decoupled"), (*ADAM, "wd"), ("adamw", "adam")),
    "AdamW, epsilon hat": Rule(_adam(True, decay="decoupled"), (*ADAM, "wd"), ("adamw", "adam")),
    "Adam with L2": Rule(_adam(False, decay="l2"), (*ADAM, "wd"), ("adam",)),
    "Nadam": Rule(_adam(False, nesterov="shifted"), ADAM, ("nadam", "adam")),
    "Nadam, without the shift": Rule(_adam(False, nesterov="plain"), ADAM, ("nadam", "adam")),
    "Adamax": Rule(_adamax, ADAM, ("adamax", "adam")),
}


def _shared(hat: bool) -> Move:
    """Adam after m = v = zeros: both updates go into one array, and both moments are that array."""

    def move(s: Slots, g: Array, w: Array, t: int, n: Numbers) -> Array:
        s["m"] = n["b1"] * s["m"] + (1 - n["b1"]) * g
        s["m"] = n["b2"] * s["m"] + (1 - n["b2"]) * g * g
        m, c2 = s["m"] / (1 - n["b1"] ** t), 1 - n["b2"] ** t
        root = np.sqrt(s["m"] / c2) + n["eps"] * (1 / np.sqrt(c2) if hat else 1)
        return -n["lr"] * m / root

    return move


SHARED = {f"shared {hat}": Rule(_shared(hat), ADAM, ("adam",)) for hat in (False, True)}
"""Not a rule but a mistake, in the two places of the epsilon."""

CLAIMS = (
    *("adamw", "amsgrad", "nadam", "adamax", "adam", "rmsprop", "adagrad", "adadelta"),
    *("nesterov", "momentum", "sgd"),
)
"""What a name may say that an optimizer is, the longer words first."""


def claim(name: str) -> str | None:
    """What a class or function of this name says that it is.

    >>> claim("MyAdamW"), claim("StochasticGradientDescent"), claim("Optimizer")
    ('adamw', 'sgd', None)
    """
    letters = "".join(letter for letter in name.lower() if letter.isalpha())
    if "gradientdescent" in letters and not any(word in letters for word in CLAIMS):
        return "sgd"
    return next((word for word in CLAIMS if word in letters), None)


class Course(NamedTuple):
    """What an optimizer was asked: where arrays begin, and each step's gradients, as vectors."""

    start: Array
    gradients: Sequence[Array]
    tensors: Sequence[slice]


def combinations(rule: Rule, found: Iterable[float]) -> Numbers:
    """Every combination of the numbers found and the usual ones, as columns (C, 1)."""
    held = list(dict.fromkeys(float(n) for n in found))
    options = []
    for name in rule.numbers:
        own = [n for n in held if _fits(name, n)][:6]
        own += [float(np.float32(n)) for n in own if name == "mu"]  # as Keras rounds it
        options.append(list(dict.fromkeys([*own, *USUAL[name]])))
    rows = np.array(list(itertools.product(*options)))
    return {name: rows[:, i : i + 1] for i, name in enumerate(rule.numbers)}


def _fits(name: str, number: float) -> bool:
    if name == "lr":
        return number > 0
    if name == "eps":
        return 0 <= number <= 1e-2
    return 0 <= number < 1


def moves(rule: Rule, course: Course, numbers: Numbers) -> list[Array]:
    """Each step's moves, (C, N)."""
    slots: Slots = dict.fromkeys(("u", "h", "d", "m", "v", "top"), 0.0)
    w = np.broadcast_to(course.start, (len(numbers["lr"]), course.start.size)).copy()
    made = []
    with np.errstate(all="ignore"):
        for t, gradient in enumerate(course.gradients, 1):
            move = rule.move(slots, gradient[None, :], w, t, numbers) + 0 * w  # NaN stays NaN
            made.append(np.broadcast_to(move, w.shape))
            w = w + move
    return made


def agreeing(rule: Rule, course: Course, seen: list[Array], numbers: Numbers) -> Array:
    """The rows of numbers that give every move that was seen."""
    kept = np.ones(len(numbers["lr"]), bool)
    drift = np.abs(course.start).max(initial=0) * 2.0**-50
    for move, observed in zip(moves(rule, course, numbers), seen, strict=True):
        for part in course.tensors:
            mine, seen_there = np.abs(move[:, part]), np.abs(observed[part])
            size = np.maximum(np.nanmax(seen_there, initial=0), np.nanmax(mine, 1, initial=0))
            off = np.abs(move[:, part] - observed[part])
            off[np.isnan(mine) & np.isnan(seen_there)] = 0  # a root of less than 0 on both sides
            off = off.max(axis=1)
            kept &= off <= 1e-9 * size + drift
    return kept


def recognised(
    courses: Sequence[Course],
    seen: Sequence[list[Array]],
    found: Iterable[float],
    rules: dict[str, Rule] | None = None,
) -> list[tuple[str, dict[str, float]]]:
    """The rules, with their numbers, that explain every move of every course."""
    answers = []
    held = list(found)
    for name, rule in (RULES if rules is None else rules).items():
        numbers = combinations(rule, held)
        for course, observed in zip(courses, seen, strict=True):
            kept = agreeing(rule, course, observed, numbers)
            numbers = {key: column[kept] for key, column in numbers.items()}
            if not kept.any():
                break
        else:
            answers.append((name, {key: float(column[0, 0]) for key, column in numbers.items()}))
    return answers
