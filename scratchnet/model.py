"""The network: one vector of parameters, a stack of layers, backpropagation, one training step.

The model owns the order of things. `theta` holds every parameter and `grad` its gradient; layers
see views of both. `forward` and `backward` are backpropagation, whole; `train_step` is all that is
ever learned from a batch (stage pixels of `scratchnet explain`). It refuses graphs with branches: a
stack is all that this network needs.
This is the last file of the core; `sequential.py` dresses it in Keras's names, and `gradcheck/`
and `keras_ref/lockstep.py` prove it right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import numpy as np

import scratchnet.config as config
from scratchnet.checks import Examples, Shape
from scratchnet.engines import reference
from scratchnet.engines.contract import Array, Engine
from scratchnet.engines.memory import aligned_zeros
from scratchnet.layers.core import Input, Layer
from scratchnet.layers.surface import Params
from scratchnet.objective import Objective
from scratchnet.optimizers.updates import Optimizer
from scratchnet.support import Part, generator


class Stage(NamedTuple):
    """What a layer leaves behind on the way forward, for the way back.

    >>> Stage(Z=np.array([[-1.0]]), A=np.array([[0.0]]), cache=None).A.tolist()
    [[0.0]]
    """

    Z: Array
    A: Array
    cache: Any


Tape = list[Stage]
"""Of every layer, from the inputs on."""


class Network(Part):
    """A stack of layers over one vector, all of which learn (`learning.py` can freeze some).

    Attributes:
        theta, grad: (P,) every parameter, and its gradient after `gradient`; layer by layer, kernel
            before bias, the rows of a kernel one after the other.
        rng: the Generator behind initial weights and shuffling.
        engine, threads: what computes, and on how many threads at most (None: all).
        objective, optimizer: what is minimised, and how.

    >>> from scratchnet.layers import Dense
    >>> network = Network([Input((3,)), Dense(4, "relu"), Dense(2)], seed=0)
    >>> network.theta.shape, [Z.shape for Z, _, _ in network.run(np.ones((5, 3)))]
    ((26,), [(5, 4), (5, 2)])
    """

    engine: Engine = reference.ENGINE
    threads: int | None = None
    objective: Objective
    optimizer: Optimizer
    _fixed: ClassVar = dict.fromkeys(
        ("theta", "grad"), "layers hold views of it. Write into it, as in theta[:] = values."
    )

    def __init__(
        self,
        layers: Iterable[Layer | Input] | None = None,
        seed: int | np.random.Generator | None = None,
    ):
        self.rng = generator(seed)
        self._stack: list[Layer] = []
        self._shapes: list[dict[str, Shape]] = []
        self.theta = self.grad = np.zeros(0, config.floatx())
        self._input_shape: Shape | None = None
        for layer in layers or []:
            self.add(layer)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy or what was unpickled: arrays come one by one, and are made views again."""
        vars(self).update(state)
        self._hand_out(self._stack, self.theta, self.grad)

    # --- building: layers, and one vector under all of their parameters ---------------------------

    def add(self, layer: Layer | Input) -> None:
        """Put a layer on top. Parameters that exist keep their values."""
        if isinstance(layer, Input):
            if self._stack or self._input_shape:
                raise ValueError("add: configured already: an Input is the first thing in a model.")
            self._input_shape = layer.shape
            return
        if not isinstance(layer, Layer):
            raise ValueError(f"add: got {layer!r}: expected a layer, such as Dense(10).")
        taken = {other.name for other in self._stack}
        if layer.in_model or layer.name in taken:
            raise ValueError(
                f"add: layer {layer.name!r} is in a model already, where names are unique: make a "
                "new one, with a name of its own."
            )
        stem = type(layer).__name__.lower()
        names = (stem if n == 0 else f"{stem}_{n}" for n in range(len(taken) + 1))
        name = layer.name or next(name for name in names if name not in taken)
        shape = self._input_shape or layer.given_shape
        if shape is not None:
            self._lay_out(shape, [*self._stack, layer])
        vars(layer).update(in_model=True, name=name)
        self._input_shape = shape
        self._stack.append(layer)

    @property
    def layers(self) -> list[Layer]:
        """The layers, in a new list each time, as in Keras; `add` and `pop` change the model."""
        return list(self._stack)

    def _lay_out(self, shape: Shape, layers: list[Layer]) -> None:
        """Make theta and grad for these layers, and hand each layer its views."""
        inputs, specs = [shape], []
        for layer in layers:
            if layer.built and layer.input_shape != inputs[-1]:
                raise ValueError(
                    f"layer {layer.name!r} was built for samples of shape {layer.input_shape}: "
                    f"got {inputs[-1]}. Make a new one."
                )
            specs.append(layer.parameters(inputs[-1]))
            inputs.append(layer.compute_output_shape(inputs[-1]))
        dtype = self.theta.dtype
        values = [
            layer.params[name] if layer.built else initializer(size, dtype, self.rng)
            for layer, spec in zip(layers, specs, strict=True)
            for name, (size, initializer) in spec.items()
        ]
        theta = np.concatenate([np.zeros(0, dtype), *(v.ravel() for v in values)], dtype=dtype)
        self._shapes = [{name: size for name, (size, _) in spec.items()} for spec in specs]
        for layer, size in zip(layers, inputs, strict=False):
            vars(layer).update(input_shape=size)
        self._hand_out(layers, theta, np.zeros_like(theta))

    def _hand_out(self, layers: list[Layer], theta: Array, grad: Array) -> None:
        """Keep these vectors, each from a cache line on, and hand every layer its views."""
        kept = [aligned_zeros(vector.size, vector.dtype) for vector in (theta, grad)]
        kept[0][:], kept[1][:] = theta, grad
        vars(self).update(theta=kept[0], grad=kept[1])
        params, grads = ([*self.views(vector), *({} for _ in layers)] for vector in kept)
        for layer, own, gradients in zip(layers, params, grads, strict=False):
            vars(layer).update(params=own, grads=gradients, in_model=True)

    def views(self, vector: Array) -> list[Params]:
        """A vector of all parameters (P,), of any dtype, as each layer's named arrays."""
        views, start = [], 0
        for shapes in self._shapes:
            params = {}
            for name, shape in shapes.items():
                stop = start + math.prod(shape)
                params[name] = vector[start:stop].reshape(shape)
                start = stop
            views.append(params)
        return views

    @property
    def built(self) -> bool:
        return bool(self._stack) and all(layer.built for layer in self._stack)

    @property
    def weights(self) -> list[Array]:
        """Every parameter, layer by layer: views, so that writing to them changes the model."""
        return [array for layer in self._stack for array in layer.weights]

    # --- backpropagation --------------------------------------------------------------------------

    def forward(self, X: Array, params: list[Params], engine: Engine) -> Tape:
        """X (B, ...) through every layer: Z = layer(A below), A = f(Z), kept for the way back."""
        tape: Tape = []
        for layer, own in zip(self._stack, params, strict=True):
            Z, cache = layer.forward(tape[-1].A if tape else X, own, engine)
            tape.append(Stage(Z, engine.activation(layer.activation).forward(Z), cache))
        return tape

    def backward(
        self, dZ: Array, tape: Tape, params: list[Params], grads: list[Params], engine: Engine
    ) -> None:
        """dZ of the head back through every layer: fills `grads`, stops where nothing learns."""
        lowest = next((i for i, own in enumerate(params) if own), len(tape))
        for i in reversed(range(lowest, len(tape))):
            below = tape[i - 1] if i > lowest else None
            dA = self._stack[i].backward(
                dZ, tape[i].cache, params[i], grads[i], engine, need_dX=below is not None
            )
            if below is not None and dA is not None:
                activation = engine.activation(self._stack[i - 1].activation)
                dZ = activation.backward(dA, below.Z, below.A)

    @property
    def params(self) -> list[Params]:
        """The named arrays of each layer, views of `theta`."""
        return [layer.params for layer in self._stack]

    @property
    def grads(self) -> list[Params]:
        """Their gradients, views of `grad`."""
        return [layer.grads for layer in self._stack]

    def run(self, X: Array) -> Tape:
        """`forward` in the model's dtype, on its own parameters and engine."""
        return self.forward(X.astype(self.theta.dtype, copy=False), self.params, self.engine)

    def gradient(self, batch: Examples) -> tuple[Any, Array]:
        """The loss and the outputs (B, K) of a batch; its gradient is left in `grad`."""
        if not hasattr(self, "objective"):
            raise ValueError(
                "gradient: no objective yet: expected a loss to differentiate. Call "
                "compile(optimizer, loss) and batch(x, y), or set network.objective = "
                "Objective(loss, head activation)."
            )
        tape = self.run(batch.x)
        head = tape[-1]
        loss, dZ = self.objective.value_and_gradient(head.Z, head.A, batch.y, batch.weights)
        self.backward(dZ, tape, self.params, self.grads, self.engine)
        return loss, head.A

    def train_step(self, batch: Examples) -> tuple[Any, Array]:
        """Forward, backward, update: one step. Loss and outputs are those from before the step."""
        loss, outputs = self.gradient(batch)
        self.optimizer.step(self.engine, self.theta, self.grad)
        return loss, outputs

    def loss_of(self, theta: Array, batch: Examples) -> Any:
        """The loss of a batch as a pure function of a vector (P,), real or complex.

        It computes in theta's dtype, always on the reference engine, and changes nothing. With a
        step of ih in one entry, the imaginary part over h is the derivative (Squire & Trapp 1998).
        """
        X = batch.x.astype(theta.real.dtype, copy=False)
        head = self.forward(X, self.views(theta), reference.ENGINE)[-1]
        objective = Objective(self.objective.loss, self._stack[-1].activation)
        return objective.value(head.Z, head.A, batch.y, batch.weights)
