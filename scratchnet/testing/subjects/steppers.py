"""Somebody's optimizer as one function: arrays and their gradients in, the moved arrays out.

Which form of arguments it takes is tried on copies: dicts, lists, pairs, one array after the other,
a layer or a net that holds arrays and gradients, boxes with data and grad, or a function that
returns the new array and its config. The form that moves every array is taken.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from scratchnet.engines import Array, reference
from scratchnet.testing.subjects import names
from scratchnet.testing.subjects.names import plain, required
from scratchnet.testing.subjects.options import SubjectError
from scratchnet.testing.subjects.subject import quiet

Arrays = list[Array]
Step = Callable[[Arrays, Arrays], Arrays]
KEYS = ("W1", "b1", "W2", "b2")
NUMBERS = {
    **{"t": 0, "learningrate": 0.1, "lr": 0.1, "alpha": 0.1, "eta": 0.1, "beta": 0.9, "mu": 0.9},
    **{"momentum": 0.9, "beta1": 0.9, "beta2": 0.999, "rho": 0.9, "epsilon": 1e-8, "eps": 1e-8},
}
"""What an argument is given that has no default; t counts the steps from 1."""
GRADIENT_ARGUMENTS = {
    *("dw", "grad", "grads", "gradient", "gradients", "g", "dparams", "dx", "gradwrtw", "dtheta"),
    *("paramgrad", "dp", "gw", "nabla"),
}


class Stepper:
    """A fresh optimizer in one form; `step` leaves what it is handed alone."""

    def __init__(self, make: Callable[[], Any], form: str) -> None:
        self.made, self.form = make(), form
        self.copies: list[Any] = []
        self.config: list[Any] = []
        self.held: Any = None
        self.steps = 0
        self.given: Arrays = []
        """The gradients that were handed over in the last step, as the optimizer left them."""

    def step(self, arrays: Arrays, gradients: Arrays) -> Arrays:
        """The arrays after one step."""
        params = [np.array(array) for array in arrays]
        self.given = [np.array(gradient) for gradient in gradients]
        with quiet():
            moved = FORMS[self.form](self, params, self.given)
        return [np.asarray(array) for array in moved]

    def named(self, params: Arrays, grads: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
        """Both as dicts: W1, b1, W2; in pairs with a b2 too, whose gradient is 0."""
        if "in pairs" in self.form and len(params) % 2:
            params, grads = [*params, np.zeros(1)], [*grads, np.zeros(1)]
        d = "d" if "with d" in self.form else ""
        held = dict(zip(KEYS, params, strict=False))
        return held, {f"{d}{key}": grad for key, grad in zip(KEYS, grads, strict=False)}

    def method(self, owner: Any = None) -> Callable[..., Any]:
        """What takes the step."""
        owner = self.made if owner is None else owner
        if inspect.isroutine(owner):
            return owner
        found = names.method(owner, names.STEP)
        assert found is not None
        return found


# --- the forms: (stepper, params, grads) -> params ----------------------------------------------


def _own(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    theta, grad = (np.concatenate([a.ravel() for a in group]) for group in (params, grads))
    self.made.step(reference.ENGINE, theta, grad)
    ends = np.cumsum([a.size for a in params])[:-1]
    return [p.reshape(a.shape) for p, a in zip(np.split(theta, ends), params, strict=True)]


def _dicts(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    held, given = self.named(params, grads)
    returned = self.method()(held, given)
    held = returned if isinstance(returned, dict) and set(returned) >= set(held) else held
    return [held[key] for key in KEYS[: len(params)]]


def _with_state(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    """parameters, v, s = update(parameters, grads, v, s, t), as in Coursera's course."""
    held, given = self.named(params, grads)
    function = self.method()
    wanted = [plain(name) for name in required(function)][2:]
    self.steps += 1
    if not self.config:
        zeros = {key: np.zeros_like(p) for k, p in held.items() for key in (k, f"d{k}")}
        self.config = [copy.deepcopy(zeros) for name in wanted if name not in NUMBERS]
    states = iter(self.config)
    said = NUMBERS | {"t": self.steps}
    returned = function(
        held, given, *(said[name] if name in NUMBERS else next(states) for name in wanted)
    )
    if isinstance(returned, tuple):
        returned, *later = returned
        self.config = later[: len(self.config)] if len(later) >= len(self.config) else self.config
    held = returned if isinstance(returned, dict) and set(returned) >= set(held) else held
    return [held[key] for key in KEYS[: len(params)]]


def _optax(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    """updates, state = update(grads, state, params), after state = init(params)."""
    held, given = self.named(params, grads)
    if not self.config:
        self.config = [self.made.init(held)]
    more = [held] if len(names.parameters(self.made.update)) > 2 else []
    updates, self.config[0] = self.made.update(given, self.config[0], *more)
    return [p + updates[key] for key, p in zip(KEYS, params, strict=False)]


def _lists(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    given = list(params)
    returned = self.method()(given, list(grads))
    return list(returned) if isinstance(returned, list | tuple) else given


def _nested(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    """A list of layers, each a list of its arrays."""
    layers, given = [params[:2], params[2:]], [grads[:2], grads[2:]]
    self.method()([one for one in layers if one], [one for one in given if one])
    return [array for layer in layers for array in layer]


def _pairs(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    """apply_gradients(zip(grads, params))"""
    self.method()(list(zip(grads, params, strict=True)))
    return params


def _each(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    """One optimizer for each array, as every layer has its own in such code."""
    if not self.copies:
        self.copies = [copy.deepcopy(self.made) for _ in params]
    after = []
    for own, param, grad in zip(self.copies, params, grads, strict=True):
        returned = self.method(own)(param, grad)
        after.append(param if returned is None else np.asarray(returned))
    return after


def _keyed(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    """update(w, dw, name)"""
    after = []
    for key, param, grad in zip(KEYS, params, grads, strict=False):
        returned = self.method()(param, grad, key)
        after.append(param if returned is None else np.asarray(returned))
    return after


def _configured(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    """w, config = f(w, dw, config)"""
    if not self.config:
        self.config = [None for _ in params]
    after = []
    for j, (param, grad) in enumerate(zip(params, grads, strict=True)):
        function = self.method()
        given = (param, grad) if self.config[j] is None else (param, grad, self.config[j])
        if self.config[j] is None and len(required(function)) > 2:
            given = (param, grad, {})
        moved = function(*given)
        if isinstance(moved, tuple):
            moved, self.config[j] = moved
        elif len(given) > 2:
            self.config[j] = given[2]  # it is written to in place
        after.append(param if moved is None else np.asarray(moved))
    return after


def _held(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    """step(net), or update_params(layer): the arrays and gradients hang on an object."""
    odd = len(params) % 2
    params, grads = (group + [np.zeros(1)] * odd for group in (params, grads))
    if self.held is None:
        self.held = [_OneLayer() for _ in range(0, len(params), 2)]
    for at, layer in enumerate(self.held):
        layer.take(params[2 * at : 2 * at + 2], grads[2 * at : 2 * at + 2])
    for name in ("pre_update_params", "pre_step", "pre_update"):
        if (before := getattr(self.made, name, None)) is not None:
            before()
    if self.form == "net kept":
        self.made = self.made(_OneNet(self.held)) if self.steps == 0 else self.made
        self.steps += 1
        self.method()()
    elif self.form == "layers":
        for layer in self.held:
            self.method()(layer)
    else:
        self.method()(_OneNet(self.held))
    for name in ("post_update_params", "post_step", "post_update"):
        if (later := getattr(self.made, name, None)) is not None:
            later()
    return [array for layer in self.held for array in layer.now()][: len(params) - odd]


def _boxes(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    """Optimizer(params).step(), where each of params has data and grad."""
    if self.held is None:
        self.held = [Box() for _ in params]
        for box, param in zip(self.held, params, strict=True):
            box.take(param, np.zeros_like(param))
        self.made = self.made(self.held)
    for box, param, grad in zip(self.held, params, grads, strict=True):
        box.take(param, grad)
    self.method()()
    return [box.now() for box in self.held]


def _kept(self: Stepper, params: Arrays, grads: Arrays) -> Arrays:
    """Optimizer(params).step(grads): it holds the arrays themselves, in a list or a dict."""
    named = self.form == "kept dict"
    if self.held is None:
        self.held = dict(zip(KEYS, params, strict=False)) if named else params
        self.made = self.made(self.held)
    own = [self.held[key] for key in KEYS[: len(params)]] if named else self.held
    for array, param in zip(own, params, strict=True):
        array[...] = param
    self.method()(dict(zip(KEYS, grads, strict=False)) if named else grads)
    own = [self.held[key] for key in KEYS[: len(params)]] if named else self.held
    return [array.copy() for array in own]


class Box:
    """A parameter with its gradient, by all the names that an optimizer may ask for."""

    requires_grad = trainable = True

    def take(self, param: Array, grad: Array) -> None:
        self.before = param
        vars(self).update(dict.fromkeys(names.BOXES, param))
        vars(self).update(dict.fromkeys(names.BOXES.values(), grad))
        self.shape = param.shape

    def now(self) -> Array:
        """The array, wherever a new one was put."""
        held = [getattr(self, name) for name in names.BOXES]
        return next((value for value in held if value is not self.before), self.before)


class _OneLayer:
    """A layer by all the names that an optimizer may ask for."""

    ALIASES = (("weights", "W", "w", "weight"), ("biases", "b", "bias"))
    GRADIENTS = (
        ("dweights", "dW", "dw", "grad_W", "dweight"),
        ("dbiases", "db", "grad_b", "dbias"),
    )

    def take(self, params: Arrays, grads: Arrays) -> None:
        self.before = params
        self.trainable = True
        for aliases, value in zip(self.ALIASES, params, strict=False):
            vars(self).update(dict.fromkeys(aliases, value))
        for aliases, value in zip(self.GRADIENTS, grads, strict=False):
            vars(self).update(dict.fromkeys(aliases, value))
        self.params = dict(zip(("W", "b"), params, strict=False))
        self.grads = dict(zip(("W", "b"), grads, strict=False))

    def now(self) -> Arrays:
        """The arrays, wherever new ones were put."""
        found = []
        for aliases, key, old in zip(self.ALIASES, ("W", "b"), self.before, strict=False):
            held = [*(getattr(self, name) for name in aliases), self.params[key]]
            found.append(next((value for value in held if value is not old), old))
        return found


class _OneNet:
    """A net of such layers."""

    def __init__(self, layers: list[_OneLayer]) -> None:
        self.layers = layers
        self.params = {
            f"{k}{i}": p for i, layer in enumerate(layers, 1) for k, p in layer.params.items()
        }
        self.grads = {
            f"{k}{i}": g for i, layer in enumerate(layers, 1) for k, g in layer.grads.items()
        }

    def params_and_grads(self) -> Iterator[tuple[Array, Array]]:
        for layer in self.layers:
            for key, param in layer.params.items():
                yield param, layer.grads[key]

    def parameters(self) -> Arrays:
        return list(self.params.values())

    def gradients(self) -> Arrays:
        return list(self.grads.values())


FORMS: dict[str, Callable[[Stepper, Arrays, Arrays], Arrays]] = {
    "own": _own,
    "dicts": _dicts,
    "dicts with d": _dicts,
    "dicts with d in pairs": _dicts,
    "dicts in pairs": _dicts,
    "dicts with d and state": _with_state,
    "dicts with d and state in pairs": _with_state,
    "dicts and state": _with_state,
    "optax": _optax,
    "lists": _lists,
    "nested lists": _nested,
    "keyed": _keyed,
    "config": _configured,
    "pairs": _pairs,
    "net": _held,
    "layers": _held,
    "boxes": _boxes,
    "kept list": _kept,
    "kept dict": _kept,
    "net kept": _held,
    "each": _each,
}
"""How an optimizer may be called, in the order in which it is tried."""


def is_optimizer(subject: Any) -> bool:
    """Whether this steps and has no forward."""
    one = subject() if _makes(subject) else subject
    if inspect.isroutine(one):
        wanted = [plain(name) for name in required(one)]
        if len(wanted) == 1 and wanted[0] in PARAMETER_ARGUMENTS:
            return True  # lambda params: Adam(params, lr=0.1)
        return len(wanted) > 1 and wanted[1] in GRADIENT_ARGUMENTS
    if isinstance(one, tuple | list) or names.method(one, names.FORWARD[:-1]) is not None:
        return False
    called = getattr(type(one) if not isinstance(one, type) else one, "__call__", None)  # noqa: B004
    wanted = [plain(name) for name in required(called)] if inspect.isfunction(called) else []
    steps = len(wanted) > 2 and wanted[2] in GRADIENT_ARGUMENTS  # (self, w, dw)
    return steps or names.method(one, names.STEP[:-1]) is not None


def _makes(subject: Any) -> bool:
    """Whether this is a factory that needs nothing."""
    if isinstance(subject, type):
        return False  # its methods can be looked at as they are
    return (
        inspect.isroutine(subject)
        and not required(subject)
        and bool(names.parameters(subject) == [])
    )


def maker_of(optimizer: Any) -> Callable[[], Any]:
    """A function that makes a fresh optimizer each time."""
    if isinstance(optimizer, type):
        return (lambda: optimizer) if _takes_parameters(optimizer) else optimizer
    if inspect.isroutine(optimizer) and required(optimizer):
        return lambda: optimizer
    if inspect.isroutine(optimizer):
        return optimizer
    if _takes_parameters(type(optimizer)):
        return lambda: _made_again(optimizer)
    return lambda: copy.deepcopy(optimizer)


def _takes_parameters(factory: Any) -> bool:
    """Whether an optimizer is made of the parameters that it is to move."""
    wanted = required(factory)
    return len(wanted) == 1 and plain(wanted[0]) in PARAMETER_ARGUMENTS


PARAMETER_ARGUMENTS = {
    *("params", "parameters", "weights", "variables", "tensors", "parameterlist"),
    *("model", "net", "network", "nn"),
}


def _made_again(optimizer: Any) -> Callable[[Any], Any]:
    """What makes one with the same numbers for other parameters."""
    kind: Any = type(optimizer)
    numbers = {
        p.name: copy.deepcopy(getattr(optimizer, p.name))
        for p in names.parameters(kind)[1:]
        if hasattr(optimizer, p.name)
    }
    return functools.partial(kind, **numbers)


def form_of(make: Callable[[], Any], name: str) -> str:
    """The first form in which every array moves."""
    probe = make()
    if hasattr(probe, "slot_names"):
        return "own"
    start = [np.zeros((2, 3)), np.zeros(3), np.zeros((3, 1))]
    ones = [np.ones_like(array) for array in start]
    raised = []
    for form in FORMS:
        if form == "own" or not _possible(form, probe):
            continue
        try:
            stepper, after = Stepper(make, form), start
            for _ in range(2):  # some rules, right or wrong, rest at their first step
                after = stepper.step(after, ones)
            fits = [a.shape == b.shape for a, b in zip(after, start, strict=True)]
            if all(fits) and all(np.any(a != 0) for a in after):
                return form
            raised.append(f"{form}: nothing moved")
        except Exception as error:
            raised.append(f"{form}: {type(error).__name__}")
    method = probe if inspect.isroutine(probe) else names.method(probe, names.STEP)
    if method is None:
        raise SubjectError(
            f"{name}: there is neither update nor step",
            looked=", ".join(names.STEP[:-1]),
            found=", ".join(n for n in dir(probe) if not n.startswith("_"))[:200],
            say="an object with update(params, grads), or a function f(w, dw, config)",
        )
    raise SubjectError(
        f"{name}: no form of arguments moves the arrays",
        looked=", ".join(form for form in FORMS if form != "own"),
        found="; ".join(raised)[:300],
        say="a function (params, grads) -> params around it, for two lists of arrays",
    )


def _possible(form: str, probe: Any) -> bool:
    """By the number of arguments: what takes one array and one gradient takes no third thing."""
    if form in ("boxes", "kept list", "kept dict", "net kept"):
        factory = isinstance(probe, type | functools.partial) or inspect.isroutine(probe)
        return factory and len(required(probe)) == 1
    if isinstance(probe, type | functools.partial):
        return False
    method = probe if inspect.isroutine(probe) else names.method(probe, names.STEP)
    if method is None:
        return False
    needs, takes = len(required(method)), len(names.parameters(method))
    if form == "optax":
        return hasattr(probe, "init") and hasattr(probe, "update")
    if "state" in form:
        wanted = [plain(name) for name in required(method)]
        return len(wanted) > 2 and (len(wanted) > 3 or wanted[2] not in names.CACHE)
    if form in ("pairs", "net", "layers"):
        return needs <= 1 <= takes
    if form == "keyed":
        return needs in (2, 3) and takes >= 3 and not inspect.isroutine(probe)
    if form == "config":
        return inspect.isroutine(probe) and needs in (2, 3)
    return needs <= 2 <= takes
