"""A network whose layers may ask for more than the core gives: see `TrainingNetwork`.

To compute otherwise while they train (`train_forward`), to add to the loss (regularizers), to keep
statistics that no gradient moves (`state`). A model none of whose layers asks takes the core's own
way, line for line. Read `model.py` first.
"""

from __future__ import annotations

from typing import Any

from scratchnet.checks import REGULARIZED, Examples
from scratchnet.engines import reference
from scratchnet.engines.contract import Array, Engine
from scratchnet.layers import Layer, Params
from scratchnet.layers.alone import regularized
from scratchnet.layers.nested import Nested
from scratchnet.model import Network, Stage, Tape
from scratchnet.objective import Objective


def asks(layer: Layer) -> bool:
    """Whether a layer asks for anything beyond the core.

    >>> from scratchnet import layers
    >>> asks(layers.Dense(3)), asks(layers.Dense(3, kernel_regularizer="l2"))
    (False, True)
    """
    if hasattr(layer, "train_forward") or layer.state:
        return True
    return any(getattr(layer, role, None) is not None for role in REGULARIZED)


class TrainingNetwork(Network):
    """A `Network` in which layers may have more than `forward` and `backward`.

    A layer's `train_forward(X, params, engine, step)` is called in its `forward`'s place for the
    loss that is trained on; `step`, the number of steps taken so far, and the layer's own seed are
    all that its randomness may depend on, so that the loss is a function of theta, and a model that
    is resumed goes on to the same bits. A layer's `state` names parameters that no gradient moves:
    `backward` leaves in their `grads` what a step takes off them. Regularizers add
    r(kernel), r(bias) and r(A) / B to the loss, in `evaluate` too.

    >>> from scratchnet import Input, layers
    >>> import numpy as np
    >>> from scratchnet.losses import MeanSquaredError
    >>> stack = [Input((1,)), layers.Dense(1, kernel_initializer="ones", kernel_regularizer="l2")]
    >>> network = TrainingNetwork(stack)
    >>> network.objective = Objective(MeanSquaredError(), "linear")
    >>> network.gradient(Examples(np.ones((1, 1)), np.ones((1, 1)), None))[0]  # 0 + 0.01 1^2
    np.float32(0.01)
    """

    def add(self, layer: Any) -> None:
        """Put a layer on top, or begin with another model, which then has the same weights."""
        if isinstance(layer, Network):
            if self._stack:
                raise ValueError(
                    f"add: model {getattr(layer, 'name', layer)!r}: a model can only be the first "
                    "layer of another. Add its layers one by one."
                )
            layer = Nested(layer)
        super().add(layer)

    def _hand_out(self, layers: list[Layer], theta: Array, grad: Array) -> None:
        super()._hand_out(layers, theta, grad)
        if layers and isinstance(layers[0], Nested):
            size = layers[0].count_params()
            layers[0].adopt(self.theta[:size], self.grad[:size])

    @property
    def plain(self) -> bool:
        """Whether the core's own way is all that the layers ask for."""
        return not any(map(asks, self._stack))

    @property
    def steps_taken(self) -> int:
        optimizer = getattr(self, "optimizer", None)
        return 0 if optimizer is None else int(optimizer.iterations)

    def train_run(self, X: Array, params: list[Params], engine: Engine) -> Tape:
        """`forward`, each layer as it computes while it trains."""
        tape: Tape = []
        for layer, own in zip(self._stack, params, strict=True):
            below = tape[-1].A if tape else X
            train = getattr(layer, "train_forward", None)
            Z, cache = (
                layer.forward(below, own, engine)
                if train is None
                else train(below, own, engine, self.steps_taken)
            )
            tape.append(Stage(Z, engine.activation(layer.activation).forward(Z), cache))
        return tape

    def penalty(self, tape: Tape, params: list[Params]) -> Any:
        """What the layers add to the loss of a batch."""
        total: Any = 0
        for layer, stage, own in zip(self._stack, tape, params, strict=True):
            total = total + sum(by(own[name]) for name, by in regularized(layer))
            if layer.activity_regularizer is not None:
                total = total + layer.activity_regularizer(stage.A) / len(stage.A)
        return total

    def backward(
        self, dZ: Array, tape: Tape, params: list[Params], grads: list[Params], engine: Engine
    ) -> None:
        if all(getattr(layer, "activity_regularizer", None) is None for layer in self._stack):
            super().backward(dZ, tape, params, grads, engine)
            return
        lowest = next((i for i, own in enumerate(params) if own), len(tape))
        dA: Array | None = None
        for i in reversed(range(lowest, len(tape))):
            layer, stage = self._stack[i], tape[i]
            through = engine.activation(layer.activation).backward
            if dA is not None:
                dZ = through(dA, stage.Z, stage.A)
            if layer.activity_regularizer is not None:
                share = layer.activity_regularizer.gradient(stage.A) / len(stage.A)
                dZ = dZ + through(share, stage.Z, stage.A)
            dA = layer.backward(dZ, stage.cache, params[i], grads[i], engine, need_dX=i > lowest)

    def gradient(self, batch: Examples) -> tuple[Any, Array]:
        if self.plain or not hasattr(self, "objective"):
            return super().gradient(batch)
        X = batch.x.astype(self.theta.dtype, copy=False)
        tape = self.train_run(X, self.params, self.engine)
        head = tape[-1]
        loss, dZ = self.objective.value_and_gradient(head.Z, head.A, batch.y, batch.weights)
        self.backward(dZ, tape, self.params, self.grads, self.engine)
        for layer in self._stack:
            for name, by in regularized(layer):
                layer.grads[name] += by.gradient(layer.params[name])
        return loss + self.penalty(tape, self.params), head.A

    def loss_of(self, theta: Array, batch: Examples) -> Any:
        if self.plain:
            return super().loss_of(theta, batch)
        X, params = batch.x.astype(theta.real.dtype, copy=False), self.views(theta)
        tape = self.train_run(X, params, reference.ENGINE)
        objective = Objective(self.objective.loss, self._stack[-1].activation)
        loss = objective.value(tape[-1].Z, tape[-1].A, batch.y, batch.weights)
        return loss + self.penalty(tape, params)
