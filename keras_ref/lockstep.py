"""Two trainings in step: the same batches, the same start, and every tensor compared on the way.

Our side takes the very step that `fit` repeats (`scratchnet/fitting.py`), Keras's side its own
`train_on_batch`. Of a step everything is compared in the order in which it is computed: layer by
layer what is made on the way forward, the loss, the gradients from the head back, then the
optimizer's slots and the weights. The first tensor beyond the tolerance ends the run and is named.
Differences are measured against the scale S that rounding works on (`testing/magnitude.py`), since
a batch that is already learned has a gradient made of little else than rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_ref import bridge
from scratchnet import Sequential
from scratchnet.checks import Examples
from scratchnet.engines import Array
from scratchnet.fitting import Runner
from scratchnet.process import single_threaded_blas
from scratchnet.testing.magnitude import gradient_scale, stage_scales


class Difference(NamedTuple):
    """One entry that differs: where, both values, and how much would have been allowed."""

    step: int
    layer: str
    tensor: str
    at: tuple[int, ...]
    ours: float
    keras: float
    allowed: float

    @property
    def ulps(self) -> float:
        """How many floating-point numbers apart the two values are, in their dtype's spacing."""
        return abs(self.ours - self.keras) / float(np.spacing(np.abs(self.keras)))

    def __str__(self) -> str:
        return (
            f"step {self.step}: {self.layer} {self.tensor}{list(self.at)} is {self.ours!r} here "
            f"and {self.keras!r} in Keras: {abs(self.ours - self.keras):.3g} apart "
            f"({self.ulps:.3g} ulps), {self.allowed:.3g} allowed"
        )


@dataclass
class LockstepReport:
    """What a run in lockstep found.

    Attributes:
        steps: steps taken by both.
        drift: (step, largest difference of any weight) for each compared step.
        largest: for each kind of tensor, the largest difference over its scale.
        difference: the first one beyond the tolerance, or None.
    """

    steps: int = 0
    drift: list[tuple[int, float]] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)
    difference: Difference | None = None

    @property
    def largest_drift(self) -> float:
        return max((drift for _, drift in self.drift), default=0.0)


class Scales:
    """The scales of one batch at the weights of now, worked out only if somebody asks later."""

    def __init__(self, model: Sequential, batch: Examples):
        self.model, self.batch, self.theta = model, batch, model.theta.copy()

    @cached_property
    def stages(self) -> list[float]:
        return stage_scales(self.model, self.batch, self.theta)

    @cached_property
    def gradient(self) -> list[dict[str, Array]]:
        return self.model.views(gradient_scale(self.model, self.batch, self.theta))


class Pair(NamedTuple):
    """One tensor on both sides; `scale` is asked for only if the plain comparison fails."""

    layer: str
    tensor: str
    ours: Array
    keras: Array
    scale: Callable[[], float]


class Lockstep:
    """A model and its Keras twin, stepped together.

    Args:
        model: compiled; it is trained, as by `fit`.
        tolerance: the largest difference allowed, as a share of the tensor's scale.
        copy: the Keras model, unless a fresh twin with the same weights and slots.
    """

    def __init__(
        self, model: Sequential, tolerance: float = 1e-12, copy: keras.Sequential | None = None
    ):
        self.model, self.tolerance = model, tolerance
        self.copy = bridge.twin(model) if copy is None else copy
        self.report = LockstepReport()
        dtype, classes = model.theta.dtype, model.output_shape[1:]
        sparse = model.loss.sparse
        signature = [
            tf.TensorSpec((None, *model.input_shape[1:]), dtype),
            tf.TensorSpec((None,) if sparse else (None, *classes), tf.int64 if sparse else dtype),
            tf.TensorSpec((None,), dtype),
        ]
        self.probe = tf.function(self._probe, input_signature=signature, jit_compile=False)

    def _probe(self, x: Any, y: Any, weights: Any) -> tuple[list[Any], Any, list[Any]]:
        """Keras's own Z and A of each layer, loss and gradients for a batch; nothing moves."""
        stages, A = [], x
        with tf.GradientTape() as tape:
            for layer in self.copy.layers:
                Z, A = bridge.in_two(layer, A)
                stages.append((Z, A))
            loss = self.copy.compute_loss(x=x, y=y, y_pred=A, sample_weight=weights)
        return stages, loss, tape.gradient(loss, self.copy.trainable_variables)

    def step(self, runner: Runner, at: int, compare: bool = True) -> Difference | None:
        """Batch `at` on both sides; the first difference found, or None."""
        batch, dtype = runner.batch(at), self.model.theta.dtype
        x = batch.x.astype(dtype, copy=False)
        y = batch.y if self.model.loss.sparse else batch.y.astype(dtype)
        if compare:
            scales = Scales(self.model, batch)
            weights = np.ones(len(x), dtype) if batch.weights is None else batch.weights
            probed = self.probe(x, y, weights)
            stages = self.model.run(batch.x)
        runner.run(at, one=True)
        self.copy.train_on_batch(x, y, sample_weight=batch.weights)
        self.report.steps += 1
        if not compare:
            return None
        pairs = chain(self._before(runner, stages, probed, scales), self._after(scales))
        return next(filter(None, map(self._difference, pairs)), None)

    def _before(self, runner: Runner, stages: Any, probed: Any, scales: Scales) -> Iterator[Pair]:
        """What was computed from the weights before the step: Z and A, loss, gradients.

        A compiled epoch keeps its gradients to itself; they show in the moments.
        """
        their_stages, their_loss, gradients = probed
        for i, (layer, (Z, A)) in enumerate(zip(self.model.layers, their_stages, strict=True)):
            scale = partial(lambda i: scales.stages[i], i)
            yield Pair(layer.name, "pre-activations", stages[i].Z, Z.numpy(), scale)
            yield Pair(layer.name, "activations", stages[i].A, A.numpy(), scale)
        losses = np.asarray(runner.loss), their_loss.numpy()
        yield Pair("model", "loss", *losses, lambda: 1 + max(scales.stages))
        if runner.session is None:
            found = self.model.grad, bridge.flat(gradients)
            yield from self._vectors("gradient", *found, scales, from_the_head=True)

    def _after(self, scales: Scales) -> Iterator[Pair]:
        """What the step left behind: the optimizer's slots and the weights."""
        moved = bridge.flat(self.copy.trainable_variables)
        drift = float(np.max(np.abs(self.model.theta - moved)))
        self.report.drift.append((self.report.steps, drift))
        for name, vector in bridge.keras_slots(self.copy, self.model.optimizer).items():
            power = 2 if name.startswith("velocity") else 1
            yield from self._vectors(name, self.model.optimizer.slots[name], vector, scales, power)
        yield from self._vectors("weights", self.model.theta, moved)

    def _vectors(
        self,
        tensor: str,
        ours: Array,
        theirs: Array,
        scales: Scales | None = None,
        power: int = 1,
        from_the_head: bool = False,
    ) -> Iterator[Pair]:
        """Vectors of all parameters, as a pair for each layer's kernel and bias."""

        def scale(i: int, name: str) -> float:
            return float(np.max(scales.gradient[i][name])) ** power if scales else 1.0

        mine, other = self.model.views(ours), self.model.views(theirs)
        layers = list(enumerate(self.model.layers))
        for i, layer in reversed(layers) if from_the_head else layers:
            for name in mine[i]:
                pair = mine[i][name], other[i][name]
                yield Pair(layer.name, f"{name} {tensor}", *pair, partial(scale, i, name))

    def _difference(self, pair: Pair) -> Difference | None:
        """The worst entry of a pair if it is beyond the tolerance; the report learns how far."""
        apart = np.abs(pair.ours - pair.keras)
        worst, scale = float(np.max(apart)), float(np.max(np.abs(pair.keras)))
        if not worst <= self.tolerance * scale:
            scale = max(scale, pair.scale())
        kind = pair.tensor.split()[-1]
        share = worst / scale if scale else worst
        self.report.largest[kind] = max(self.report.largest.get(kind, 0.0), share)
        if worst <= self.tolerance * scale:
            return None
        index = np.unravel_index(int(np.argmax(apart)), apart.shape)  # argmax finds a NaN first
        return Difference(
            self.report.steps,
            pair.layer,
            pair.tensor,
            tuple(int(i) for i in index),
            pair.ours[index].item(),
            pair.keras[index].item(),
            self.tolerance * scale,
        )

    def run(
        self,
        data: Examples,
        *,
        steps: int | None = None,
        epochs: int = 1,
        batch_size: int = 32,
        every: int = 1,
        rng: np.random.Generator | None = None,
        on_step: Callable[[LockstepReport], None] | None = None,
    ) -> LockstepReport:
        """Train both until `steps` or `epochs` are done, or a difference is found."""
        self.model.optimizer.build(self.model.theta)
        with bridge.floatx(self.model.theta.dtype), single_threaded_blas():
            runner = Runner(self.model, data, batch_size, self.model.meters(data))
            total = epochs * math.ceil(len(data.x) / batch_size) if steps is None else steps
            while self.report.steps < total and self.report.difference is None:
                order = None if rng is None else rng.permutation(len(data.x))
                runner.begin(order, self.model.meters(data))
                for at in range(min(runner.steps, total - self.report.steps)):
                    compare = (self.report.steps + 1) % every == 0
                    self.report.difference = self.step(runner, at, compare)
                    if on_step is not None:
                        on_step(self.report)
                    if self.report.difference is not None:
                        break
        return self.report


def lockstep(
    model: Sequential,
    x: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    tolerance: float = 1e-12,
    copy: keras.Sequential | None = None,
    **options: Any,
) -> LockstepReport:
    """Train `model` and its Keras twin on (x, y) in step, and report.

    Args:
        options: of `Lockstep.run`: steps or epochs, batch_size, every (compare each n-th step), rng
            (shuffles each epoch; without one the order is that of x), on_step.
    """
    data = model.batch(x, y, sample_weight)
    return Lockstep(model, tolerance, copy).run(data, **options)
