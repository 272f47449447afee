"""Other people's layers, losses and optimizers behind one small interface each.

The batteries understand scratchnet's own contract and the shapes that homework usually has: a layer
with `forward(x)`, `backward(dy)` and W, b, dW, db; a loss with `forward` and `backward` or
`gradient`; an optimizer with `update` or `step`. What fits none of these is refused by a TypeError
that says what was looked for. Nothing is guessed from a value, only from names and arities. Your
own code in another shape: subclass `Candidate`. Read `batteries.py` next.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from scratchnet import layers
from scratchnet.engines import Array, reference

Arrays = dict[str, Array]

GRADIENT_NAMES = ("d{}", "d_{}", "grad_{}", "{}_grad", "grad{}", "dL_d{}", "{}_gradient", "dL{}")
"""Where homework keeps the gradient of the array called {}."""


class Candidate:
    """A layer under test: parameters by name, forward, and backward that gives every gradient.

    Attributes:
        name: for messages.
        integer: whether parameters may be overwritten with small integers.

    >>> class Double(Candidate):
    ...     def forward(self, x):
    ...         return 2 * x
    ...     def backward(self, dy):
    ...         return 2 * dy, {}
    >>> from scratchnet.testing.batteries import check_layer
    >>> check_layer(Double(), input_shape=(3,))
    """

    name = "layer"

    def parameters(self) -> Arrays:
        """The parameters now, by name; {} for a layer that learns nothing."""
        return {}

    def set(self, params: Arrays) -> None:
        """Use these arrays from now on, of whatever dtype they are."""

    def forward(self, x: Array) -> Array:
        raise NotImplementedError

    def backward(self, dy: Array) -> tuple[Array, Arrays]:
        """dX and the gradient of each parameter, for the last `forward`."""
        raise NotImplementedError


class OwnLayer(Candidate):
    """A `scratchnet.layers.Layer`, with its activation after it, as a model applies it."""

    def __init__(self, layer: layers.Layer, shape: tuple[int, ...], engine: Any = None):
        self.name, self.layer = type(layer).__name__, layer
        self.engine = engine or reference.ENGINE
        rng = np.random.default_rng(0)
        specs = layer.parameters(shape)
        self.params = {
            key: init(size, np.dtype("float64"), rng) for key, (size, init) in specs.items()
        }
        self.set(self.params)

    def parameters(self) -> Arrays:
        return dict(self.params)

    def set(self, params: Arrays) -> None:
        self.params = dict(params)
        self.grads = {key: np.zeros_like(value) for key, value in params.items()}

    def forward(self, x: Array) -> Array:
        self.Z, self.cache = self.layer.forward(x, self.params, self.engine)
        self.A: Array = self.engine.activations[self.layer.activation].forward(self.Z)
        return self.A

    def backward(self, dy: Array) -> tuple[Array, Arrays]:
        activation = self.engine.activations[self.layer.activation]
        dZ = activation.backward(dy, self.Z, self.A)
        grads = self.grads  # kept from call to call, as a model keeps them
        dX = self.layer.backward(dZ, self.cache, self.params, grads, self.engine, need_dX=True)
        if dX is None:
            raise AssertionError(f"{self.name}: backward returned None for need_dX=True.")
        return dX, {key: grad.copy() for key, grad in grads.items()}


class PlainLayer(Candidate):
    """An object with `forward(x)` and `backward(dy)`, its parameters in attributes or in dicts.

    Parameters are the entries of `params` (or `parameters`), a dict or a list beside `grads` (or
    `gradients`), or else every array attribute N with a gradient beside it: dN, d_N, grad_N,
    N_grad, gradN, dL_dN. `backward` may also return (dX, dW, db, ...), in the order of parameters.
    """

    def __init__(self, layer: Any):
        self.name, self.layer = type(layer).__name__, layer
        for method in ("forward", "backward"):
            if not callable(getattr(layer, method, None)):
                raise TypeError(
                    f"{self.name} has no method {method!r}: expected forward(x) -> y and "
                    "backward(dy) -> dX, a scratchnet Layer, or a Candidate of your own."
                )
        self.store = next((n for n in ("params", "parameters") if self._holds(n)), None)
        self.keys: list[str] = []
        self.warm = False

    def _holds(self, name: str) -> bool:
        value = getattr(self.layer, name, None)
        return isinstance(value, dict | list) and len(value) > 0

    def _gradient_attribute(self, key: str) -> str | None:
        names = (pattern.format(key) for pattern in GRADIENT_NAMES)
        return next((name for name in names if hasattr(self.layer, name)), None)

    def warm_up(self, x: Array) -> None:
        """One pass both ways, so that attributes which appear only then can be found."""
        y = np.asarray(self.layer.forward(x.copy()))
        self.layer.backward(np.ones_like(y))
        if self.store is not None:
            held = getattr(self.layer, self.store)
            self.keys = [str(key) for key in (held if isinstance(held, dict) else range(len(held)))]
        else:
            arrays = (k for k, v in vars(self.layer).items() if isinstance(v, np.ndarray))
            self.keys = [key for key in arrays if self._gradient_attribute(key)]
        self.warm = True

    def parameters(self) -> Arrays:
        if self.store is None:
            return {key: getattr(self.layer, key) for key in self.keys}
        held = getattr(self.layer, self.store)
        values = held.values() if isinstance(held, dict) else held
        return dict(zip(self.keys, values, strict=True))

    def set(self, params: Arrays) -> None:
        if self.store is None:
            for key, value in params.items():
                setattr(self.layer, key, value)
            return
        held = getattr(self.layer, self.store)
        places = list(held) if isinstance(held, dict) else range(len(held))
        for place, value in zip(places, params.values(), strict=True):
            held[place] = value

    def forward(self, x: Array) -> Array:
        return np.asarray(self.layer.forward(x))

    def backward(self, dy: Array) -> tuple[Array, Arrays]:
        clear = getattr(self.layer, "zero_grad", None)
        if callable(clear):
            clear()  # a layer that offers this means to accumulate
        result = self.layer.backward(dy)
        if isinstance(result, tuple):
            dX, *grads = result
            return np.asarray(dX), dict(zip(self.keys, map(np.asarray, grads), strict=True))
        return np.asarray(result), self._gradients()

    def _gradients(self) -> Arrays:
        if self.store is None:
            found = {key: self._gradient_attribute(key) or "" for key in self.keys}
            return {key: np.array(getattr(self.layer, name)) for key, name in found.items()}
        held = next(
            (getattr(self.layer, n) for n in ("grads", "gradients") if self._holds(n)), None
        )
        if held is None:
            raise TypeError(
                f"{self.name} has {self.store} but neither grads nor gradients after backward."
            )
        values = list(held.values()) if isinstance(held, dict) else held
        if isinstance(held, dict) and set(map(str, held)) == set(self.keys):
            values = [held[key] for key in held if str(key) in self.keys]
            return {str(key): np.array(held[key]) for key in held}
        return dict(zip(self.keys, map(np.array, values), strict=True))


class Columns(Candidate):
    """Another candidate whose samples stand in columns, (I, B), seen as rows."""

    def __init__(self, inner: Candidate):
        self.inner, self.name = inner, inner.name

    def parameters(self) -> Arrays:
        return self.inner.parameters()

    def set(self, params: Arrays) -> None:
        self.inner.set(params)

    def forward(self, x: Array) -> Array:
        return self.inner.forward(np.ascontiguousarray(x.T)).T

    def backward(self, dy: Array) -> tuple[Array, Arrays]:
        dX, grads = self.inner.backward(np.ascontiguousarray(dy.T))
        return dX.T, grads


def candidate_of(layer: Any, inputs: int, outputs: int, batch: int, columns: bool) -> Candidate:
    """A layer, a class or a factory as a candidate for samples of `inputs` features.

    A class or a factory is called with as many of (inputs, outputs) as it requires.
    """
    if isinstance(layer, Candidate):
        return layer
    if isinstance(layer, type) or (callable(layer) and not hasattr(layer, "forward")):
        layer = _made(layer, inputs, outputs)
    if isinstance(layer, Candidate):
        return layer
    if isinstance(layer, layers.Layer):
        return OwnLayer(layer, (inputs,))
    plain = PlainLayer(layer)
    x = np.random.default_rng(0).normal(size=(batch, inputs))
    plain.warm_up(x.T.copy() if columns else x)
    return Columns(plain) if columns else plain


def _made(factory: Callable[..., Any], inputs: int, outputs: int) -> Any:
    needed = required(factory)
    if isinstance(factory, type) and issubclass(factory, layers.Layer):
        return factory(*(outputs, inputs)[:needed])
    if needed > 2:
        raise TypeError(
            f"{factory!r} requires {needed} arguments: expected at most (inputs, outputs). Hand "
            "over an instance with input_shape=, or lambda inputs, outputs: ..."
        )
    return factory(*((inputs, outputs)[:needed] if needed != 1 else (outputs,)))


def required(function: Callable[..., Any]) -> int:
    """How many arguments have to be given."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(p.default is p.empty and p.kind in kinds for p in parameters)


# --- losses -------------------------------------------------------------------------------------

TARGETS = ("y_true", "target", "targets", "actual", "label", "labels", "true", "t", "y")


class PlainLoss:
    """A loss under test: `value(p, t)` and `gradient(p, t)` of it by p.

    An object with forward, loss, or __call__, beside backward, grad or gradient; or a pair of
    functions. Which argument holds the targets is read from the names of the parameters: the first
    does if it is called y_true, target, actual, label, t or y.
    """

    def __init__(self, loss: Any, targets_first: bool | None):
        if isinstance(loss, type):
            loss = loss()
        self.name = type(loss).__name__
        if isinstance(loss, tuple):
            self.forward, self.backward = loss[:2]
            self.name = getattr(self.forward, "__name__", "loss")
        else:
            self.forward = self._method(loss, ("forward", "loss", "__call__"))
            self.backward = self._method(loss, ("backward", "gradient", "grad"))
        self.first = self._targets_first(self.forward) if targets_first is None else targets_first
        self.own = targets_first
        self.arity = required(self.backward)

    def _method(self, loss: Any, names: tuple[str, ...]) -> Callable[..., Any]:
        found = next((getattr(loss, n) for n in names if callable(getattr(loss, n, None))), None)
        if found is None:
            raise TypeError(f"{self.name} has none of {', '.join(names)}: expected one of them.")
        method: Callable[..., Any] = found
        return method

    @staticmethod
    def _targets_first(function: Callable[..., Any]) -> bool:
        return next(iter(inspect.signature(function).parameters), "").lower() in TARGETS

    def value(self, p: Array, t: Array) -> Any:
        """The loss as the code gives it; losses of samples are added up."""
        return np.sum(np.asarray(self.forward(*((t, p) if self.first else (p, t)))))

    def gradient(self, p: Array, t: Array) -> Array:
        self.value(p, t)
        if self.arity == 0:
            return np.asarray(self.backward())
        first = self._targets_first(self.backward) if self.own is None else self.own
        if self.arity == 1:
            raise TypeError(
                f"{self.name}: backward takes one argument: expected none, or predictions and "
                "targets. Hand over a pair of functions (value, gradient) instead."
            )
        return np.asarray(self.backward(*((t, p) if first else (p, t))))


# --- optimizers ---------------------------------------------------------------------------------


class PlainOptimizer:
    """An optimizer under test: `step(arrays, gradients) -> arrays`.

    One of our own; or an object with `update` or `step` that takes (params, grads) as lists or
    dicts, changed in place or returned; or `update(w, grad_w)` for one array, with a copy of the
    optimizer for each array, as every layer has its own in such code.
    """

    def __init__(self, optimizer: Any):
        self.optimizer, self.name = optimizer, type(optimizer).__name__
        names = ("update", "step", "apply_gradients", "__call__")
        found = next((getattr(optimizer, n) for n in names if hasattr(optimizer, n)), None)
        if found is None:
            raise TypeError(
                f"{self.name} has neither update nor step: expected update(params, grads)."
            )
        self.call: Callable[..., Any] = found
        self.own = hasattr(optimizer, "slot_names")
        self.shape: str | None = None
        self.copies: list[Any] = []

    def step(self, arrays: list[Array], gradients: list[Array]) -> list[Array]:
        """The arrays after one step; the ones handed over are not changed."""
        params = [array.copy() for array in arrays]
        grads = [gradient.copy() for gradient in gradients]
        if self.own:
            theta, grad = (np.concatenate([a.ravel() for a in group]) for group in (params, grads))
            self.optimizer.step(reference.ENGINE, theta, grad)
            ends = np.cumsum([a.size for a in params])[:-1]
            return [
                part.reshape(a.shape) for part, a in zip(np.split(theta, ends), params, strict=True)
            ]
        if self.shape is None:
            self.shape = self._probe(params)
        return self._take(params, grads, self.shape)

    def _probe(self, params: list[Array]) -> str:
        """Which shape of arguments a fresh copy of the optimizer takes."""
        for shape in ("dict", "list", "array"):
            trial = copy.deepcopy(self)
            trial.call = getattr(trial.optimizer, self.call.__name__)
            try:
                ones = [np.ones_like(p) for p in params]
                after = [p.copy() for p in params]
                for _ in range(2):  # some rules, right or wrong, rest at their first step
                    after = trial._take([p.copy() for p in after], ones, shape)
            except Exception:
                continue  # another shape may fit; none does, and the error below says so
            moved = [not np.array_equal(a, p) for a, p in zip(after, params, strict=True)]
            if all(moved):
                return shape
        raise TypeError(
            f"{self.name}.{self.call.__name__} moves nothing when handed (params, grads) as dicts, "
            "as lists, or as one array after the other. Give it one of these forms."
        )

    def _take(self, params: list[Array], grads: list[Array], shape: str) -> list[Array]:
        if shape == "array":
            if not self.copies:
                self.copies = [copy.deepcopy(self.optimizer) for _ in params]
            calls = [getattr(own, self.call.__name__) for own in self.copies]
            after = [f(p, g) for f, p, g in zip(calls, params, grads, strict=True)]
            return [p if a is None else np.asarray(a) for p, a in zip(params, after, strict=True)]
        names = ["W1", "b1", "W2"][: len(params)]
        if shape == "list":
            returned = self.call(params, grads)
            return params if returned is None else [np.asarray(a) for a in returned]
        # Gradients are looked up under the parameter's name or under d + name.
        held = dict(zip(names, params, strict=True))
        given = dict(zip(names, grads, strict=True))
        given |= {f"d{name}": grad for name, grad in given.items()}
        returned = self.call(held, given)
        return [np.asarray((held if returned is None else returned)[name]) for name in names]


SETTING_NAMES = {
    "learning_rate": ("learning_rate", "lr", "alpha", "eta", "step_size"),
    "beta_1": ("beta_1", "beta1", "b1"),
    "beta_2": ("beta_2", "beta2", "b2"),
    "epsilon": ("epsilon", "eps"),
    "momentum": ("momentum", "mu", "gamma", "beta"),
    "nesterov": ("nesterov",),
    "amsgrad": ("amsgrad",),
}
"""Where optimizers keep their numbers."""


def numbers_of(optimizer: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of an optimizer: those given, else its attributes (betas may be a pair)."""
    found = dict(given)
    betas = getattr(optimizer, "betas", None)
    if isinstance(betas, tuple | list) and len(betas) == 2:
        found = {"beta_1": betas[0], "beta_2": betas[1]} | found
    for setting, names in SETTING_NAMES.items():
        for name in names:
            value = getattr(optimizer, name, None)
            if setting not in found and isinstance(value, int | float):
                found[setting] = value
    return found
