"""Somebody's optimizer as one function: arrays and their gradients in, the moved arrays out.

Which form of arguments it takes is tried on copies: dicts, lists, pairs, one array after the other,
a layer or a net that holds arrays and gradients, boxes with data and grad, or a function that
returns the new array and its config. The form that moves every array is taken.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from scratchnet.engines import Array, reference
from scratchnet.testing.subjects import names
from scratchnet.testing.subjects.names import plain, required
from scratchnet.testing.subjects.options import SubjectError
from scratchnet.testing.subjects.subject import quiet

Arrays = list[Array]
Step = Callable[[Arrays, Arrays], Arrays]
KEYS = ("W1", "b1", "W2")
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
        self.given: Arrays = []
        """The gradients that were handed over in the last step, as the optimizer left them."""

    def step(self, arrays: Arrays, gradients: Arrays) -> Arrays:
        """The arrays after one step."""
        params = [np.array(array) for array in arrays]
        self.given = [np.array(gradient) for gradient in gradients]
        with quiet():
            moved = FORMS[self.form](self, params, self.given)
        return [np.asarray(array) for array in moved]

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
    held = dict(zip(KEYS, params, strict=False))
    given = dict(zip(KEYS, grads, strict=False))
    if self.form == "dicts with d":
        given = {f"d{key}": grad for key, grad in given.items()}
    returned = self.method()(held, given)
    held = returned if isinstance(returned, dict) and set(returned) >= set(held) else held
    return [held[key] for key in KEYS[: len(params)]]


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
        moved, self.config[j] = function(*given)
        after.append(np.asarray(moved))
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
    if self.form == "layers":
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
        self.held = [
            SimpleNamespace(data=p, grad=None, value=p, requires_grad=True) for p in params
        ]
        self.made = self.made(self.held)
    for box, param, grad in zip(self.held, params, grads, strict=True):
        box.data, box.grad = param, grad
    self.method()()
    return [box.data for box in self.held]


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
    "lists": _lists,
    "nested lists": _nested,
    "keyed": _keyed,
    "config": _configured,
    "pairs": _pairs,
    "net": _held,
    "layers": _held,
    "boxes": _boxes,
    "each": _each,
}
"""How an optimizer may be called, in the order in which it is tried."""


def is_optimizer(subject: Any) -> bool:
    """Whether this steps and has no forward."""
    one = subject() if _makes(subject) else subject
    if inspect.isroutine(one):
        wanted = [plain(name) for name in required(one)]
        return len(wanted) > 1 and wanted[1] in GRADIENT_ARGUMENTS
    if isinstance(one, tuple | list) or names.method(one, names.FORWARD[:-1]) is not None:
        return False
    return names.method(one, names.STEP[:-1]) is not None


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
        needs = required(optimizer)
        if needs and plain(needs[0]) in {"params", "parameters", "weights"}:
            return lambda: optimizer
        return optimizer
    if inspect.isroutine(optimizer) and required(optimizer):
        return lambda: optimizer
    if inspect.isroutine(optimizer):
        return optimizer
    return lambda: copy.deepcopy(optimizer)


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
    if form == "boxes":
        return isinstance(probe, type) or (inspect.isroutine(probe) and len(required(probe)) == 1)
    if isinstance(probe, type):
        return False
    method = probe if inspect.isroutine(probe) else names.method(probe, names.STEP)
    if method is None:
        return False
    needs, takes = len(required(method)), len(names.parameters(method))
    if form in ("pairs", "net", "layers"):
        return needs <= 1 <= takes
    if form == "keyed":
        return needs in (2, 3) and takes >= 3 and not inspect.isroutine(probe)
    if form == "config":
        return inspect.isroutine(probe) and needs in (2, 3)
    return needs <= 2 <= takes
