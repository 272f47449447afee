"""The loop over batches: one step at a time on any engine, or many in one compiled call.

A `Runner` holds one fit's data and takes it batch range by batch range, so that `fit` need not know
which way the batches went. The compiled way is open to stacks of Flatten, Rescaling and Dense that
all learn, with Keras's metrics; anything else is stepped, by the same functions that the proofs
look at. After each range the model's own vectors are up to date, whichever way was taken; after a
batch that leaves numbers that are not finite they are those from before it.
"""

from __future__ import annotations

import math
import time
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

import scratchnet.learning as learning
from scratchnet.checks import Examples
from scratchnet.engines import Array, DenseSpec, Plan, get_engine, reference
from scratchnet.layers import Dense, Flatten, Layer, Rescaling
from scratchnet.losses.loss import Loss
from scratchnet.metrics import CategoricalAccuracy, Meters, SparseCategoricalAccuracy
from scratchnet.model import Network
from scratchnet.objective import LossDescription, Objective
from scratchnet.optimizers import NAMES, OPTIMIZERS, Optimizer
from scratchnet.rescue import Kept
from scratchnet.streams import Stream, ran_out
from scratchnet.support import through_float32, unwarned
from scratchnet.training import TrainingNetwork, asks

SECONDS_PER_CALL = 0.1
"""Seconds of training between two looks at Ctrl-C and the progress bar."""

KEPT_EVERY = 64
"""Steps of a model from one state that is kept to the next, and at most so many are repeated."""

STEPS = (
    learning.train_step,
    TrainingNetwork.gradient,
    Network.forward,
    TrainingNetwork.backward,
    Network.run,
)
"""What a compiled call stands in for; a model that overrides any of these is stepped."""


def patched(thing: Any) -> bool:
    """Whether a method of this very object was replaced, as in `layer.forward = mine`."""
    return any(callable(getattr(type(thing), name, None)) for name in vars(thing))


def dense_specs(layers: list[Layer]) -> tuple[float, float, tuple[DenseSpec, ...]] | None:
    """Scale, offset and dense layers of a stack, or None if it holds anything else."""
    scale, offset, specs = 1.0, 0.0, []
    for i, layer in enumerate(layers):
        if patched(layer) or asks(layer) or _strange_function(layer):
            return None
        if type(layer) is Dense:
            (inputs,) = layer.input_shape or (0,)
            specs.append(DenseSpec(inputs, layer.units, layer.use_bias, layer.activation))
        elif type(layer) is Rescaling and not any(type(x) is not Flatten for x in layers[:i]):
            scale, offset = through_float32(layer.scale), through_float32(layer.offset)
        elif type(layer) is not Flatten:
            return None
    return (scale, offset, tuple(specs)) if specs else None


def unknown_part(model: Network, loss: Loss) -> str | None:
    """The first layer, or the loss, that the model's compiled engine has no code for, or None."""
    if model.engine.fused is None:
        return None
    strange = (layer for layer in model.layers if type(layer) not in (Dense, Flatten, Rescaling))
    layer = next((f"{layer.name!r}, a {type(layer).__name__}," for layer in strange), None)
    if layer is None:
        asking = next((f"a regularizer of {x.name!r}" for x in model.layers if asks(x)), None)
        layer = asking or next(
            map(_strange_function, filter(_strange_function, model.layers)), None
        )
    if layer is None and loss.function(loss.reading(model.layers[-1].activation)) is not None:
        return f"the loss {loss.name!r}"
    return layer or _strange_rule(model.optimizer)


def _strange_rule(optimizer: Optimizer) -> str | None:
    """An optimizer or an option of one that is Keras's, and has no compiled code."""
    option = optimizer.option_in_force()
    if type(optimizer) in NAMES.values() and type(optimizer) not in OPTIMIZERS.values():
        return f"the optimizer {optimizer.name!r}"
    return option and f"{option} of the optimizer {optimizer.name!r}"


def _strange_function(layer: Layer) -> str | None:
    """The activation of a layer, if it is none that the engines have code of their own for."""
    known = layer.activation in reference.ENGINE.activations
    return None if known else f"{layer.activation!r}, the activation of {layer.name!r},"


def own_step(model: Network) -> bool:
    """Whether the model steps as `Network` does."""
    return all(getattr(getattr(model, s.__name__), "__func__", None) is s for s in STEPS)


def stack_of(model: Network) -> tuple[float, float, tuple[DenseSpec, ...]] | None:
    """`dense_specs` of a model that one compiled call may stand in for, or None."""
    if not own_step(model):
        return None  # somebody's own step is what they want to see run
    # An engine with a function swapped would not be asked for it by a compiled call.
    if model.engine.fused is None or model.engine is not get_engine(model.engine.name):
        return None
    return dense_specs(model.layers)


def own_targets(loss: LossDescription) -> bool:
    """Whether the loss makes and counts its targets in this package's code, which is known."""
    functions = (getattr(method, "__func__", None) for method in (loss.targets, loss.counted))
    return all(getattr(f, "__module__", "").startswith("scratchnet.losses.") for f in functions)


def plan_of(model: Network) -> Plan | None:
    """What the compiled engine has to know, or None for a model that it can't take whole."""
    stack = stack_of(model)
    # A subclass may compute something else, and must be stepped.
    optimizer = model.optimizer
    known = type(optimizer) in OPTIMIZERS.values() and not patched(optimizer)
    known = known and optimizer.option_in_force() is None
    known = known and own_targets(model.objective.loss)
    if stack is None or not known or model.objective.function not in model.engine.losses:
        return None
    scale, offset, specs = stack
    return Plan(
        dtype=model.theta.dtype,
        scale=scale,
        offset=offset,
        layers=specs,
        loss=model.objective.function,
        reads=model.objective.reads,
        optimizer=model.optimizer.rule,
        constants=model.optimizer.constants(),
    )


class Orders:
    """The rows of each epoch, from the model's generator; None for all of them as they stand.

    With `steps` an epoch is that many batches, from where the last one stopped; a pass that runs
    out ends its epoch early, as in Keras.
    """

    def __init__(self, model: Any, samples: int, size: int, shuffle: bool, steps: int | None):
        self.model, self.samples, self.size = model, samples, size
        self.shuffle, self.steps = shuffle, steps
        self.left = self.drawn = np.arange(0)
        self.before: Any = None
        self.start = self.crc = 0

    def __next__(self) -> Array | None:
        if len(self.left) == 0:
            self._draw()
        self.start = self.samples - len(self.left)
        if self.steps is None:
            order, self.left = self.left, self.left[:0]
            return order if self.shuffle else None
        batches = math.ceil(len(self.left) / self.size)
        if batches < self.steps:
            warnings.warn(
                f"fit: steps_per_epoch={self.steps}, and only {batches} batches are left of this "
                "pass: the epoch ends with them.",
                stacklevel=4,
            )
        count = self.steps * self.size
        order, self.left = self.left[:count], self.left[count:]
        return order

    def _draw(self) -> None:
        """A new pass over all rows; the generator's state from before it is kept."""
        rng = self.model.rng
        bits = getattr(rng, "bit_generator", None)
        self.before = bits.state if self.shuffle and bits is not None else None
        self.left = rng.permutation(self.samples) if self.shuffle else np.arange(self.samples)
        self.drawn, self.crc = self.left, 0

    def place(self, begun: bool) -> dict[str, Any] | None:
        """Where the epoch that has `begun`, or else the next one, takes its rows from; None: from a
        pass that is to be drawn.
        """
        start = self.start if begun else self.samples - len(self.left)
        if start == self.samples:
            return None
        self.crc = self.crc or zlib.crc32(self.drawn.tobytes())
        return {"before": self.before, "start": start, "crc": self.crc}

    def again(self, place: dict[str, Any], before: np.random.Generator | None) -> Array:
        """The rows of the pass of `place`, drawn by a generator as it was before them.

        Raises:
            ValueError: where that draws others than were drawn then, as with another NumPy.
        """
        rows = np.arange(self.samples) if before is None else before.permutation(self.samples)
        if zlib.crc32(rows.tobytes()) != place["crc"] or not 0 <= place["start"] < self.samples:
            raise ValueError("the rows of its epoch can't be drawn again: take the same NumPy")
        return rows

    def restore(self, place: dict[str, Any] | None, rows: Array) -> None:
        """Go on from `place` in the rows of its pass; None: draw new ones."""
        self.left = self.left[:0]
        if place is not None:
            self.drawn, self.crc, self.before = rows, place["crc"], place["before"]
            self.left = rows[place["start"] :]


class Runner:
    """One fit's data, trained batch range by batch range.

    Attributes:
        session: the compiled engine's, or None where batches are stepped.
        loss: of the last batch.
    """

    def __init__(self, model: Network, data: Examples, batch_size: int, meters: Meters):
        self.model, self.data, self.size, self.meters = model, data, batch_size, meters
        self.batches_per_call = 1
        self.kept = Kept(model)
        # Code that isn't ours need not do the same when it is run again.
        self.repeatable = own_step(model) and dense_specs(model.layers) is not None
        self.session = self._open()

    def _open(self) -> Any:
        """A session of the compiled engine, or None where it can't take all of this."""
        model, data = self.model, self.data
        part = learning.claim(model)
        model.optimizer.build(model.theta[part])  # an attribute may ask for other slots by now
        self.optimizer, self.head = model.optimizer, model.layers[-1].activation
        self.plan = plan = self._plan()
        loss = model.objective.loss
        # With this reduction, or labels left out, a batch's divisor would depend on the batch.
        uneven = loss.reduction == "mean_with_sample_weight" and data.weights is not None
        uneven = uneven or loss.counted(data.y[:1]) is not None
        if plan is None or uneven or not countable(self.meters, data, loss.sparse):
            return None
        return model.engine.fused.open(
            plan,
            model.theta,
            model.optimizer.slots,
            flat(data.x),
            targets(model, data),
            data.weights,
            self.size,
            model.threads,
            mean=loss.reduction != "sum",
        )

    def _plan(self) -> Plan | None:
        """The plan to train by; none where layers are frozen, as a compiled step moves all."""
        frozen = len(learning.learners(self.model)) < sum(map(bool, self.model.params))
        return None if frozen else plan_of(self.model)

    def _look_again(self) -> None:
        """What was changed in layers and optimizer since counts from the next batch on."""
        model, head = self.model, self.model.layers[-1].activation
        if head != self.head:
            model.objective = Objective(model.objective.loss, head, model.engine)
        if self.session is None:
            self.head = head
        elif model.optimizer is not self.optimizer or self._plan() != self.plan:
            self.session = self._open()

    def epochs(self, epochs: range) -> Iterator[int]:
        """The epochs to train, as long as there is data for them."""
        yield from epochs

    def begin(self, order: Array | None, meters: Meters) -> None:
        """Start an epoch over the rows of `order` (all, as they stand, for None)."""
        if self.session is None:
            self._look_again()
            self.session = self._open()  # what was frozen may learn again
        self.order, self.meters, self.kept.at = order, meters, -1
        self.samples = len(self.data.x) if order is None else len(order)
        self.steps = math.ceil(self.samples / self.size)

    def reopen(self) -> None:
        """Look at the model anew: what it has may have been replaced."""
        self._look_again()
        self.session, self.kept.at = self._open(), -1

    def show(self, at: int) -> None:
        """Let the meters see batch `at`, without a step."""
        batch = self.batch(at)
        head = self.model.run(batch.x)[-1]
        self.meters.update(batch, 0.0, head.A)

    def run(self, first: int, one: bool = False, most: int | None = None) -> tuple[int, str]:
        """Train from batch `first` on, `one` or as many as fit in SECONDS_PER_CALL, but no more
        than `most`.

        Returns:
            The batches done by then, and what is not finite after the last of them, or "": then
            weights, slots and step count are those from before it.
        """
        self._look_again()
        if self.session is None:
            return self._run_one(first, one)
        clock = time.perf_counter()
        last = min(first + (1 if one else self.batches_per_call), self.steps)
        last = last if most is None else min(last, first + most)
        done, trouble = self._run_compiled(first, last)
        each = (time.perf_counter() - clock) / (last - first)
        self.batches_per_call = max(1, min(8 * self.batches_per_call, int(SECONDS_PER_CALL / each)))
        return done, trouble

    def _run_compiled(self, first: int, last: int) -> tuple[int, str]:
        """Batches `first` to `last` (not included) in one compiled call."""
        optimizer, theta = self.model.optimizer, self.model.theta
        self.session.push()  # a callback may have moved weights since
        rates = np.zeros(last)
        rates[first:] = optimizer.scalars(optimizer.iterations + 1, last - first, theta.dtype)
        order = np.arange(self.samples) if self.order is None else self.order
        result = self.session.epoch(order, rates, first, last)
        done, good = result.done - first, result.done
        if result.bad is not None:  # the model's vectors are still those from before this call
            good = result.bad
            self.session = None  # its memory holds what isn't finite, and would pass it on
            self.session = self._open()
            self.session.epoch(order, rates, first, good)
        self.session.pull()
        optimizer.iterations += good - first
        sizes = np.minimum(self.size, self.samples - self.size * np.arange(first, result.done))
        self.meters.count(result.losses[:done], result.right[:done], sizes)
        self.loss = float(result.losses[done - 1])
        return result.done, "" if result.bad is None else trouble_of(self.loss)

    def batch(self, at: int) -> Examples:
        """The rows of batch `at` of this epoch."""
        rows: Any = slice(at * self.size, (at + 1) * self.size)
        return self.data.rows(rows if self.order is None else self.order[rows])

    def _run_one(self, at: int, one: bool) -> tuple[int, str]:
        """Batch `at` by the model's own step."""
        due = self.kept.at < 0 or at - self.kept.at >= KEPT_EVERY
        if due or one or not self.repeatable:
            self.kept.keep(at)
        trouble = self._step(at, self.meters, careful=one or at + 1 == self.steps)
        if trouble:
            at, trouble = self._go_back(at, trouble)
        return at + 1, trouble

    def _step(self, at: int, meters: Meters | None = None, careful: bool = True) -> str:
        """One step; what is not finite then, or "". Only the careful look at the weights."""
        batch = self.batch(at)
        try:
            with unwarned():
                loss, outputs = self.model.train_step(batch)
        except FloatingPointError as error:  # somebody asked for it, by np.seterr(all="raise")
            return str(error)
        if meters is not None:
            meters.update(batch, loss, outputs)
            self.loss = float(loss)
        good = math.isfinite(loss) and not (careful and not np.isfinite(self.model.theta).all())
        return "" if good else trouble_of(loss)

    def _go_back(self, at: int, trouble: str) -> tuple[int, str]:
        """To before the first batch since the state kept that leaves trouble: which, and what."""
        self.kept.restore()
        for again in range(self.kept.at, at):
            self.kept.keep(again)
            found = self._step(again)
            if found:
                self.kept.restore()
                return again, found
        return at, trouble


class StreamOrders:
    """What `Orders` is to arrays: a stream's rows come as they come."""

    shuffle = False

    def __init__(self, steps: int | None):
        self.steps = steps

    def __next__(self) -> None:
        return None


class StreamRunner(Runner):
    """A `Runner` of batches that come one by one: each is stepped by the model's own step.

    One batch is read ahead within an epoch, and none beyond it, so that the last is known as such.
    """

    def __init__(self, model: Network, data: Stream, meters: Meters):
        super().__init__(model, data, 0, meters)  # type: ignore[arg-type]
        self.stream, self.limit = data, data.steps
        self.repeatable = False
        self.current: Any = None

    def _open(self) -> None:
        """There is no session for batches of any size; the optimizer is built."""
        model = self.model
        model.optimizer.build(model.theta[learning.claim(model)])
        self.optimizer, self.head = model.optimizer, model.layers[-1].activation

    def begin(self, order: Array | None, meters: Meters) -> None:
        """Start an epoch: a new pass, or with steps_per_epoch where the last one stopped."""
        self._look_again()
        self._open()
        self.meters, self.kept.at = meters, -1
        stream = self.stream
        stream.tell("on_epoch_begin")
        if self.limit is None or stream.running is None:
            stream.begin()
        self.ahead = stream.next()
        if self.ahead is None:  # the last epoch took all of its pass, and not more
            stream.begin()
            self.ahead = stream.next()
        self.steps: Any = math.inf if self.limit is None else self.limit

    def epochs(self, epochs: range) -> Iterator[int]:
        for epoch in epochs:
            stream = self.stream
            if epoch > epochs.start and stream.once and not stream.ahead:
                batch = stream.next()
                if batch is None:
                    warnings.warn(
                        f"Your input ran out of data: the {type(stream.source).__name__} has no "
                        f"batch left for epoch {epoch + 1} of {epochs.stop}, and training ends. A "
                        "generator can be run through once: let it go on for ever, with "
                        "steps_per_epoch, or write a utils.PyDataset.",
                        stacklevel=4,
                    )
                    return
                stream.ahead.append(batch)
            yield epoch

    def batch(self, at: int) -> Examples:
        return self.current

    def _run_one(self, at: int, one: bool) -> tuple[int, str]:
        self.current, self.ahead = self.ahead, None
        if at + 1 < self.steps:
            self.ahead = self.stream.next()
            if self.ahead is None:
                if self.limit is not None:
                    ran_out(at + 1, self.stream.name, self.limit)
                self.steps = at + 1
        done, trouble = super()._run_one(at, one)
        if done == self.steps:
            self.stream.tell("on_epoch_end")
        return done, trouble


def opened(
    model: Any, data: Examples | Stream, size: int, shuffle: bool, steps: int | None, meters: Meters
) -> tuple[Runner, Any]:
    """The runner of one fit, and what gives it the rows of each epoch."""
    if isinstance(data, Stream):
        data.random = model if shuffle else None
        return StreamRunner(model, data, meters), StreamOrders(steps)
    orders = Orders(model, len(data.x), size, shuffle, steps)
    return Runner(model, data, size, meters), orders


def trouble_of(loss: Any) -> str:
    return "weights are not finite" if math.isfinite(loss) else f"loss is {float(loss)}"


def countable(meters: Meters, data: Examples, sparse: bool) -> bool:
    """Whether the count of right answers is all that the metrics need."""
    counted = SparseCategoricalAccuracy if sparse else CategoricalAccuracy
    weighted = data.weights is not None and meters.weighted
    metrics = (*meters.metrics, *meters.weighted)
    return not weighted and all(type(m) is counted and not patched(m) for m in metrics)


def targets(model: Network, data: Examples) -> Array:
    """Labels (N,) for a sparse loss, else targets (N, K)."""
    loss = model.objective.loss
    if loss.sparse:
        return data.y.reshape(len(data.y))
    return loss.targets(data.y, model.layers[-1].output_shape[-1], model.theta.dtype)


def flat(samples: Array) -> Array:
    """(N, ...) -> (N, I), without a copy where there need be none."""
    return np.ascontiguousarray(samples).reshape(len(samples), -1)


def predict(model: Network, samples: Array) -> Array | None:
    """All outputs by compiled code; None where there is none for this model and these x."""
    stack = stack_of(model)
    if stack is None:
        return None
    scale, offset, specs = stack
    plan = Plan(model.theta.dtype, scale, offset, specs, "mean_squared_error", "A", "sgd", {})
    try:
        outputs: Array = model.engine.fused.predict(plan, model.theta, flat(samples), model.threads)
    except FloatingPointError:
        return None
    return outputs


def evaluate(model: Network, data: Examples | Stream, meters: Meters) -> bool:
    """Loss and metrics of all data by compiled code; False where there is none for this."""
    if isinstance(data, Stream):
        return False
    loss = model.objective.loss
    plan = plan_of(model) if countable(meters, data, loss.sparse) else None
    if plan is None or loss.reduction not in ("sum_over_batch_size", "mean"):
        return False
    if loss.counted(data.y[:1]) is not None:
        return False
    try:
        total, right = model.engine.fused.evaluate(
            plan, model.theta, flat(data.x), targets(model, data), data.weights, model.threads
        )
    except FloatingPointError:
        return False
    samples = np.array([len(data.x)])
    meters.count(np.array([total]) / samples, np.array([right]), samples)
    return True
