"""Candidates of one's own, layers of this package, and its compiled models, as subjects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scratchnet import layers
from scratchnet.engines import Array, reference
from scratchnet.model import Network
from scratchnet.testing.subjects.options import Options
from scratchnet.testing.subjects.parameters import Parameter
from scratchnet.testing.subjects.styles import Pass, Style
from scratchnet.testing.subjects.subject import Point, Subject, quiet

Arrays = dict[str, Array]


class Candidate:
    """A layer under test: parameters by name, forward, and backward that gives every gradient.

    Subclass it for code in a shape that is not found.

    Attributes:
        name: for messages.

    >>> class Double(Candidate):
    ...     def forward(self, x):
    ...         return 2 * x
    ...     def backward(self, dy):
    ...         return 2 * dy, {}
    >>> from scratchnet.testing import check
    >>> print(check(Double(), (2, 3)))
    layer: right, X at 4 points (seed 0)
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
        """A gradient that is rebound instead of written into is one that no optimizer sees."""
        activation = self.engine.activations[self.layer.activation]
        dZ = activation.backward(dy, self.Z, self.A)
        views = dict(self.grads)  # kept from call to call, as a model keeps them
        grads = dict(views)
        dX = self.layer.backward(dZ, self.cache, self.params, grads, self.engine, need_dX=True)
        if dX is None:
            raise AssertionError(f"{self.name}: backward returned None for need_dX=True.")
        kept = {key: grads.get(key) is view for key, view in views.items()}
        return dX, {key: view.copy() for key, view in views.items() if kept[key]}


class CandidateStyle(Style):
    """A candidate's forward, and its backward as it is."""

    def __init__(self, candidate: Candidate, options: Options) -> None:
        super().__init__(candidate.name, candidate.forward, candidate.backward, options, candidate)
        self.arguments = ["X"]
        self.candidate = candidate

    def pull(self, done: Pass, dys: list[Any]) -> Any:
        return self.candidate.backward(dys[0])


class CandidateSubject(Subject):
    """A candidate, its parameters set all at once."""

    def __init__(self, candidate: Candidate, given: list[Any], options: Options) -> None:
        super().__init__(CandidateStyle(candidate, options), given)
        self.candidate = candidate
        self.inputs = {"X": 0} if given[0].dtype.kind == "f" else {}
        self.input_gradients = {"X": lambda returned: returned[0]} if self.inputs else {}
        for name, value in candidate.parameters().items():
            look = _keyed(name)
            self.parameters[name] = Parameter(name, np.array(value, np.float64), [], look)

    def prepared(self, point: Point) -> list[Any]:
        self.state.restore()
        self.candidate.set({name: np.array(point[name]) for name in self.parameters})
        return [np.array(point["X"] if self.inputs else self.given[0])]

    def repeated(self, point: Point, dy: Array, times: int) -> list[tuple[Array, Point]]:
        passes = []
        with quiet():
            args = self.prepared(point)
            for _ in range(times):
                self.state.reseed()
                done = self.style.call([arg.copy() for arg in args])
                passes.append(
                    (np.array(done.outputs[0]), self.collect(self.style.pull(done, [dy.copy()])))
                )
            self.state.restore()
        return passes


def _keyed(name: str) -> Callable[[Any], Any]:
    return lambda returned: returned[1].get(name)


class NetworkSubject(Subject):
    """A compiled model of this package: the loss of a batch, by its vector of parameters."""

    def __init__(self, network: Network, given: list[Any], options: Options) -> None:
        name = type(network).__name__
        super().__init__(Style(name, network.loss_of, None, options), given)
        self.style.takes_dy = self.raw = False
        self.network = network
        checked: Any = network
        self.batch = checked._check(*given)
        self.start_values = network.theta.astype(np.float64)
        names = [
            (f"{layer.name or i}.{key}", value.shape)
            for i, (layer, own) in enumerate(zip(network.layers, network.params, strict=True))
            for key, value in own.items()
        ]
        self.shapes = dict(names)
        views = np.split(self.start_values, np.cumsum([int(np.prod(s)) for _, s in names])[:-1])
        for (key, shape), view in zip(names, views, strict=True):
            self.parameters[key] = Parameter(key, view.reshape(shape), [])

    def start(self) -> Point:
        return {name: np.array(p.value) for name, p in self.parameters.items()}

    def _theta(self, point: Point) -> Array:
        return np.concatenate([point[name].ravel() for name in self.parameters])

    def output(self, point: Point) -> Array:
        return np.asarray(self.network.loss_of(self._theta(point), self.batch))

    def gradients(self, point: Point, dy: Array) -> Point:
        kept = self.network.theta.copy()
        self.network.theta[...] = self._theta(point)
        self.network.gradient(self.batch)
        grad = self.network.grad.copy()
        self.network.theta[...] = kept
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])[:-1]
        parts = zip(self.shapes.items(), np.split(grad, ends), strict=True)
        return {name: part.reshape(shape) for (name, shape), part in parts}

    def repeated(self, point: Point, dy: Array, times: int) -> list[tuple[Array, Point]]:
        return [(self.output(point), self.gradients(point, dy)) for _ in range(times)]


def own_subject(subject: Any, args: list[Any], options: Options) -> Subject | None:
    """A subject for what this package itself knows, or None."""
    if isinstance(subject, layers.Layer):
        subject = OwnLayer(subject, np.shape(args[0])[1:])
    if isinstance(subject, Candidate):
        return CandidateSubject(subject, args, options)
    if isinstance(subject, Network):
        return NetworkSubject(subject, args, options)
    return None
