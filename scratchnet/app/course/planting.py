"""The museum's bugs as answers to an exercise, in each form in which people write them.

The museum has one form of each bug, planted into an engine or taken out of an optimizer; the tables
below add what the same mistake gives where it is made in a function that stands alone: gradients
that pile up in db too, moments that are rebound and so never stored, a mean that is forgotten in
`train_step`. A form belongs to a name only if the museum's sentence on it is true of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from scratchnet.app.course import stack
from scratchnet.app.course.exercises import Arguments, Exercise
from scratchnet.engines import Array, Engine, reference
from scratchnet.testing.forms import AdamForm, Settings, SGDForm
from scratchnet.testing.museum import BATCH, BUGS, Setting, planted

Function = Callable[..., Any]


def variants(exercise: Exercise) -> dict[str, list[Function]]:
    """The bugs that touch this exercise: name -> the wrong functions, the museum's own first."""
    found: dict[str, list[Function]] = {}
    for name in BUGS:
        functions = [*_of_the_museum(exercise, name), *FORMS.get((exercise.name, name), ())]
        if functions:
            found[name] = functions
    return found


def _of_the_museum(exercise: Exercise, name: str) -> Iterator[Function]:
    bug = BUGS[name]
    if isinstance(bug.form, AdamForm) and exercise.name == "step_size":
        yield _step_size(bug.form)
    elif isinstance(bug.form, AdamForm) and exercise.name in ("adam", "adam_amsgrad"):
        yield _adam(bug.form)
    elif isinstance(bug.form, SGDForm) and exercise.name in ("sgd", "sgd_momentum"):
        yield _sgd(bug.form)
    elif name == "double softmax":  # planted whole, it keeps a tape of its own
        if exercise.name == "softmax_cross_entropy":
            yield lambda Z, T: reference.softmax_cross_entropy(reference.softmax(Z), T)
    elif bug.part == "loss" and bug.setting.loss != Setting().loss:
        return
    elif exercise.name in STACKS and bug.part in ("activation", "dense", "loss"):
        if name not in TOLD_APART_BY_NOTHING:
            yield STACKS[exercise.name](planted(name))
        for function in FORMS.get(("dense_backward", name), ()):
            yield STACKS[exercise.name](replace(reference.ENGINE, dense_backward=function))
    elif exercise.part is not None and bug.part in ("activation", "dense", "loss"):
        function = exercise.part(planted(name))
        if function is not exercise.right:
            yield function


def _step_size(form: AdamForm) -> Function:
    def wrong(learning_rate: float, t: int, beta_1: float, beta_2: float) -> Any:
        c1, c2 = form.corrections(form.clock(t, 0, 1), beta_1, beta_2)
        return learning_rate * np.sqrt(c2) / c1

    return wrong


def _adam(form: AdamForm) -> Function:
    plain = replace(form, corrections=lambda t, b1, b2: (1.0, 1.0))

    def wrong(theta: Array, grad: Array, m: Array, v: Array, *others: Any) -> None:
        v_hat, alpha, one_minus_1, one_minus_2, epsilon = others
        numbers = Settings(alpha, 1 - one_minus_1, 1 - one_minus_2, epsilon, v_hat is not None)
        slots = {"momentum": m, "velocity": v} | ({} if v_hat is None else {"velocity_hat": v_hat})
        plain.advance(theta, grad, slots, 1, 0, 1, numbers)

    return wrong


def _sgd(form: SGDForm) -> Function:
    def wrong(theta: Array, grad: Array, velocity: Any, *rule: Any) -> None:
        rate, mu, nesterov = rule
        numbers = Settings(rate, momentum=mu, nesterov=nesterov)
        form.advance(theta, grad, {"momentum": velocity}, 1, 0, 1, numbers)

    return wrong


# --- the museum's bugs in a whole stack -----------------------------------------------------------


def _backward(engine: Engine) -> Function:
    """`stack.backward` by the functions of an engine."""

    def wrong(dZ: Array, tape: stack.Tape, layers: stack.Layers) -> list[tuple[Array, Array]]:
        gradients = [(np.zeros_like(W), np.zeros_like(b)) for W, b in layers]
        for i in range(len(layers) - 1, -1, -1):
            X = tape[i][0]
            dX = engine.dense_backward(dZ, X, layers[i][0], *gradients[i], i > 0)
            if dX is not None and i > 0:
                dZ = engine.activations["relu"].backward(dX, tape[i - 1][1], X)
        return gradients

    return wrong


def _train_step(engine: Engine) -> Function:
    """`stack.train_step` by the functions of an engine."""

    def wrong(X: Array, T: Array, layers: stack.Layers, learning_rate: float) -> float:
        Z, tape = stack.forward(X, layers)
        loss = engine.losses["softmax_cross_entropy"]
        losses, cache = loss.forward(Z, T)
        dZ = loss.backward(np.full(len(X), 1 / len(X)), T, cache)
        gradients = _backward(engine)(dZ, tape, layers)
        for arrays, slopes in zip(layers, gradients, strict=True):
            for array, slope in zip(arrays, slopes, strict=True):
                array -= learning_rate * slope
        return float(np.mean(losses))

    return wrong


STACKS = {"backward": _backward, "train_step": _train_step}
TOLD_APART_BY_NOTHING = ("sign",)
"""In a whole step it is 'uphill in SGD'."""


def _eager_step(X: Array, T: Array, layers: stack.Layers, learning_rate: float) -> float:
    """Each layer's weights move before the gradient is passed down through them."""

    def eager(dZ: Array, X: Array, W: Array, dW: Array, db: Any, need_dX: bool) -> Any:
        reference.dense_backward(dZ, X, W, dW, db, need_dX)
        return dZ @ (W - learning_rate * dW).T

    engine = replace(reference.ENGINE, dense_backward=eager)
    return float(_train_step(engine)(X, T, layers, learning_rate))


# --- other forms of the same mistakes -------------------------------------------------------------


def _dense(change: Callable[..., Any]) -> Function:
    """`change(dW, db, dZ, before)` spoils right gradients in place; db may be None."""

    def wrong(dZ: Array, X: Array, W: Array, dW: Array, db: Any, need_dX: bool) -> Any:
        before = dW.copy(), None if db is None else db.copy()
        dX = reference.dense_backward(dZ, X, W, dW, db, need_dX)
        change(dW, db, dZ, before)
        return dX

    return wrong


def _accumulate(dW: Array, db: Any, dZ: Array, before: Any) -> None:
    dW += before[0]
    _accumulate_bias(dW, db, dZ, before)


def _accumulate_bias(dW: Array, db: Any, dZ: Array, before: Any) -> None:
    if db is not None:
        db += before[1]


def _averaged(dW: Array, db: Any, dZ: Array, before: Any) -> None:
    dW /= len(dZ)
    if db is not None:
        db /= len(dZ)


def _averaged_kernel(dW: Array, db: Any, dZ: Array, before: Any) -> None:
    dW /= len(dZ)


def _bias_left(dW: Array, db: Any, dZ: Array, before: Any) -> None:
    if db is not None and len(dZ) == 1:
        db[...] = before[1]


def _shared(share: Callable[[int], float]) -> Function:
    """The gradient of softmax cross-entropy with a share of each sample that is not dl."""
    return lambda dl, T, log_p: share(len(T)) * (np.exp(log_p) - T)


def _head(change: Callable[[Array, Array], Array]) -> Function:
    """The head's A, and a spoiled dZ: `change(dZ, T)`."""

    def wrong(Z: Array, T: Array) -> tuple[Array, Array]:
        A, dZ = stack.sigmoid_head(Z, T)
        return A, change(dZ, T)

    return wrong


def _climb(X: Array, T: Array, layers: stack.Layers, learning_rate: float) -> float:
    return stack.train_step(X, T, layers, -learning_rate)


def _rebound(theta: Array, grad: Array, m: Array, v: Array, v_hat: Any, *numbers: Any) -> None:
    kept = v_hat if v_hat is None else v_hat.copy()
    reference.adam(theta, grad, m.copy(), v.copy(), kept, *numbers)


def _rebound_but_peak(theta: Array, grad: Array, m: Array, v: Array, *others: Any) -> None:
    reference.adam(theta, grad, m.copy(), v.copy(), *others)


def _momentum(move: Callable[..., Any], velocity: Callable[..., Any] | None = None) -> Function:
    """`theta += move(new, old, g, rate, mu, nesterov)`, where new is the velocity that is kept."""
    right = SGDForm().velocity

    def wrong(theta: Array, grad: Array, u: Array, rate: float, mu: float, nesterov: bool) -> None:
        old = u.copy()
        u[...] = (velocity or right)(old, grad, rate, mu)
        theta += move(u, old, grad, rate, mu, nesterov)

    return wrong


def _moved(new: Array, old: Array, g: Array, rate: float, mu: float, nesterov: bool) -> Array:
    return mu * new - rate * g if nesterov else new


FORMS: dict[tuple[str, str], tuple[Function, ...]] = {
    ("dense_backward", "gradients accumulate"): (_dense(_accumulate), _dense(_accumulate_bias)),
    ("dense_backward", "averaged twice"): (_dense(_averaged), _dense(_averaged_kernel)),
    ("dense_backward", "no bias at batch 1"): (_dense(_bias_left),),
    # dl is left out: with it goes the 1 / B that it carries.
    ("softmax_cross_entropy_backward", "missing mean"): (_shared(lambda B: 1.0),),
    ("softmax_cross_entropy_backward", "nominal batch size"): (_shared(lambda B: 1 / BATCH),),
    ("softmax_cross_entropy_backward", "averaged twice"): (_shared(lambda B: 1 / B**2),),
    ("sigmoid_head", "missing mean"): (_head(lambda dZ, T: dZ * len(T)),),
    ("sigmoid_head", "averaged twice"): (_head(lambda dZ, T: dZ / len(T)),),
    ("sigmoid_head", "sign"): (_head(lambda dZ, T: -dZ),),
    ("sigmoid_head", "only the true class"): (_head(lambda dZ, T: dZ * T),),
    ("sigmoid_head", "nominal batch size"): (_head(lambda dZ, T: dZ * (len(T) / BATCH)),),
    ("train_step", "uphill in SGD"): (_climb,),
    ("train_step", "dX after the update"): (_eager_step,),
    ("adam", "moments forgotten"): (_rebound,),
    ("adam_amsgrad", "moments forgotten"): (_rebound, _rebound_but_peak),
    ("sgd_momentum", "momentum scaled twice"): (
        _momentum(
            # As PyTorch keeps its velocity: uphill, and without the learning rate.
            lambda u, old, g, rate, mu, ahead: -rate * (mu * u + (1 - mu) * g if ahead else u),
            lambda u, g, rate, mu: mu * u + (1 - mu) * g,
        ),
        _momentum(
            lambda u, old, g, rate, mu, ahead: mu * u - (1 - mu) * rate * g if ahead else u,
            lambda u, g, rate, mu: mu * u - (1 - mu) * rate * g,
        ),
    ),
    ("sgd_momentum", "momentum damped twice"): (
        _momentum(
            lambda u, old, g, rate, mu, ahead: (1 - mu) * _moved(u, old, g, rate, mu, ahead),
            lambda u, g, rate, mu: mu * u - (1 - mu) * rate * g,
        ),
    ),
    ("sgd_momentum", "velocity of the last step"): (
        _momentum(lambda u, old, g, rate, mu, ahead: mu * old - rate * g if ahead else old),
        _momentum(lambda u, old, g, rate, mu, ahead: mu * u - rate * g if ahead else old),
        # With old in the look ahead alone it would be a step without Nesterov: another mistake.
    ),
    ("sgd_momentum", "nesterov backwards"): (
        _momentum(lambda u, old, g, rate, mu, ahead: -mu * u - rate * g if ahead else u),
    ),
    ("sgd_momentum", "uphill in SGD"): (
        _momentum(lambda u, old, g, rate, mu, ahead: -_moved(u, old, g, rate, mu, ahead)),
    ),
}
"""(exercise, bug) -> more functions with that bug."""


def fitted(case: Arguments, right: Array, given: Array) -> Function | None:
    """'dX after the update' at the learning rate that explains this dX, which may be any."""
    dZ, X, *_ = case
    step = dZ @ (X.T @ dZ).T
    size = float(np.sum(step * step))
    rate = float(np.sum((right - given) * step)) / size if size else 0.0
    if not np.isfinite(rate) or rate <= 0:
        return None

    def wrong(dZ: Array, X: Array, W: Array, dW: Array, db: Any, need_dX: bool) -> Any:
        dX = reference.dense_backward(dZ, X, W, dW, db, need_dX)
        return None if dX is None else dZ @ (W - rate * dW).T

    return wrong
