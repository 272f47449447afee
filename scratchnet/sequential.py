"""Sequential: the network under Keras's names, arguments, defaults and results.

Nothing is computed here. Everything that a user hands over is checked (`inputs.py`) before a weight
moves; then this room owns the loop over epochs and batches, and tells callbacks and meters what
happened. Where it differs from Keras on purpose, the README's ledger says so.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from scratchnet import config, inputs, losses, metrics, optimizers
from scratchnet.callbacks import Callback, CallbackList, History, Progress
from scratchnet.engines import Array, get_engine
from scratchnet.inputs import Data
from scratchnet.layers import Input, Layer
from scratchnet.model import Network
from scratchnet.objective import Objective
from scratchnet.utils import only_default, single_threaded_blas

Logs = dict[str, float]


class Sequential(Network):
    """A stack of layers, trained as in Keras.

    Args:
        layers: an optional `Input`, then layers. Without an input shape (an `Input`, or
            `input_shape=` on the first layer) the model is built by the first data it sees.
        seed: a number or a Generator for the initial weights and the shuffling.

    >>> from scratchnet.layers import Dense, Flatten
    >>> model = Sequential([Input((28, 28)), Flatten(), Dense(50, "relu"), Dense(10)], seed=0)
    >>> model.count_params()
    39760
    """

    def __init__(
        self,
        layers: Iterable[Layer | Input] | None = None,
        trainable: bool = True,
        name: str | None = None,
        *,
        seed: int | np.random.Generator | None = None,
    ):
        only_default("Sequential", trainable=(trainable, True))
        self.name = name or "sequential"
        self.history: History | None = None
        self.stop_training = False
        super().__init__(layers, seed)

    # --- the stack --------------------------------------------------------------------------------

    def build(self, input_shape: Iterable[int | None]) -> None:
        """Give the model its shape; `input_shape` counts the batch axis, as in (None, 28, 28)."""
        if not self.layers:
            raise ValueError(f"model {self.name!r} has no layers: add some.")
        if not self.built:
            self._input_shape = inputs.check_shape(tuple(input_shape)[1:])
            self._lay_out(self._input_shape, self.layers)

    @property
    def compiled(self) -> bool:
        return hasattr(self, "optimizer")

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        self._require_built()
        return (None, *self._input_shape)  # type: ignore[misc]

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        self._require_built()
        return (None, *self.layers[-1].output_shape)

    def get_weights(self) -> list[Array]:
        """Copies of the parameters, kernel and bias of each layer in turn."""
        return [array.copy() for array in self.weights]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Take arrays in the order and of the shapes of `get_weights()`; all of them or none."""
        self._require_built()
        arrays = [np.asarray(array) for array in weights]
        wanted, got = [a.shape for a in self.weights], [a.shape for a in arrays]
        if wanted != got:
            raise ValueError(f"set_weights: got shapes {got}: expected {wanted}.")
        for view, array in zip(self.weights, arrays, strict=True):
            view[...] = array

    def count_params(self) -> int:
        """P, the number of parameters."""
        self._require_built()
        return self.theta.size

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place."""
        if index is not None:
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"get_layer: no {name!r} among {[layer.name for layer in self.layers]}.")

    def summary(self, print_fn: Callable[[str], Any] | None = None) -> None:
        """Print layers, output shapes and parameters, as Keras does."""
        from scratchnet.summary import summary_text

        (print_fn or print)(summary_text(self))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole model to an `.npz` file; `models.load_model` reads it."""
        from scratchnet.models import save_model

        save_model(self, path)

    # --- beyond Keras: what learners and provers look at ------------------------------------------

    def loss_and_gradients(
        self, x: Any, y: Any, sample_weight: Any = None
    ) -> tuple[float, list[Array]]:
        """The loss and its gradients, in the order of `get_weights()`; no weight moves."""
        batch = self._check(x, y, sample_weight, caller="loss_and_gradients")
        with single_threaded_blas():
            loss, _ = self.gradient(batch)
        return float(loss), [grad.copy() for layer in self.layers for grad in layer.grads.values()]

    def loss_at(self, theta: Array, x: Any, y: Any, sample_weight: Any = None) -> Any:
        """The loss as a pure function of all parameters, (P,), of any dtype, complex too."""
        batch = self._check(x, y, sample_weight, caller="loss_at")
        if np.shape(theta) != self.theta.shape:
            raise ValueError(f"theta has shape {np.shape(theta)}: expected {self.theta.shape}.")
        return self.loss_of(theta, batch)

    def activations(self, x: Any) -> dict[str, Array]:
        """Every stage of the way forward by name: for each layer `name/Z`, then `name/A` = f(Z)."""
        samples = self._check_samples(x)
        with single_threaded_blas():
            stages = zip(self.layers, self.run(samples), strict=True)
        return {f"{layer.name}/{k}": getattr(s, k) for layer, s in stages for k in "ZA"}

    # --- training ---------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "adam",
        loss: str | losses.Loss | None = None,
        metrics: Iterable[str | metrics.Metric] | None = None,
        weighted_metrics: Iterable[str | metrics.Metric] | None = None,
        *,
        engine: str | None = None,
        threads: int | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
    ) -> None:
        """Choose what `fit` minimises, how, and on which engine.

        Args:
            engine: `"auto"`, `"reference"` or `"compiled"`; `config.set_engine` sets the default.
            threads: at most so many threads in the compiled engine; all that the process may use.
            run_eagerly, steps_per_execution, jit_compile: taken so that scripts run; they steer
                TensorFlow and have no effect here.
        """
        if loss is None:
            raise ValueError("compile: loss=None: expected one, such as 'mse'.")
        for name, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            if isinstance(given, str):
                raise ValueError(f"compile: {name}={given!r}: expected a list, [{given!r}].")
        chosen_loss, chosen_optimizer = losses.get(loss), optimizers.get(optimizer)
        if chosen_loss.reduction == "none":
            raise ValueError("compile: a loss with reduction='none' is no number to minimise.")
        self.engine = get_engine(engine or config.engine())
        self.threads = None if threads is None else inputs.check_count("threads", threads)
        self.optimizer = chosen_optimizer
        self.loss = chosen_loss
        self.metrics_asked = (tuple(metrics or ()), tuple(weighted_metrics or ()))

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Iterable[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: tuple[Any, ...] | None = None,
        shuffle: bool = True,
        class_weight: Mapping[Any, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> History:
        """Train for `epochs` passes over (x, y) in batches of `batch_size` (32).

        The loss and the metrics of an epoch are means over its samples, taken while the weights
        move. `validation_split` cuts off the tail before any shuffling. Everything is checked
        before a weight moves; a loss that stops being finite ends training.

        Returns:
            History: `history["loss"]` and so on, one number an epoch.

        Raises:
            ValueError, TypeError: for data or arguments that don't fit.
            FloatingPointError: where loss or weights stop being finite, with epoch and batch.
        """
        size = inputs.check_count("batch_size", 32 if batch_size is None else batch_size)
        inputs.check_count("epochs", epochs, least=0)
        data = self._check(x, y, sample_weight, class_weight, "fit")
        held_out = None if validation_data is None else self._check(*validation_data)
        if validation_split and held_out is None:
            data, held_out = inputs.split_tail(data, validation_split)
        steps = math.ceil(len(data.x) / size)
        self.history, self.stop_training = History(), False
        events = CallbackList(
            [self.history, *(callbacks or ())],
            self,
            {"verbose": verbose, "epochs": epochs, "steps": steps},
        )
        progress = Progress(verbose, epochs, steps)
        self.optimizer.build(self.theta)
        logs: Logs = {}
        with single_threaded_blas():
            events.call("on_train_begin")
            for epoch in range(initial_epoch, epochs):
                events.call("on_epoch_begin", epoch)
                logs = self._train_epoch(data, size, shuffle, epoch, events, progress)
                if held_out is not None and (epoch + 1) % validation_freq == 0:
                    seen = self._test(held_out, validation_batch_size or size)
                    logs |= {f"val_{name}": value for name, value in seen.items()}
                progress.end(logs)
                events.call("on_epoch_end", epoch, logs)
                if self.stop_training:
                    break
            events.call("on_train_end", logs)
        return self.history

    def _train_epoch(
        self,
        data: Data,
        size: int,
        shuffle: bool,
        epoch: int,
        events: CallbackList,
        progress: Progress,
    ) -> Logs:
        """Every sample once, in an order drawn from the model's generator."""
        order = self.rng.permutation(len(data.x)) if shuffle else None
        meters = self._meters(data)
        progress.begin(epoch)
        try:
            for step, batch in enumerate(data.batches(size, order)):
                events.call("on_train_batch_begin", step)
                loss, outputs = self.train_step(batch)
                meters.update(batch, loss, outputs)
                if events.wants_batches:
                    events.call("on_train_batch_end", step, meters.logs())
                if not math.isfinite(loss) and not self.stop_training:
                    raise FloatingPointError(
                        f"loss is {loss} in epoch {epoch + 1}, batch {step}: expected a finite "
                        "number. Lower the learning rate, or scale the inputs."
                    )
                progress.advance(step + 1, meters)
                if self.stop_training:
                    break
        except BaseException:
            progress.end()
            raise
        return meters.logs()

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on one batch; its loss and metrics, taken before the step."""
        batch = self._check(x, y, sample_weight, class_weight, "train_on_batch")
        with single_threaded_blas():
            loss, outputs = self.train_step(batch)
        meters = self._meters(batch)
        meters.update(batch, loss, outputs)
        return results(meters.logs(), return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of one batch; nothing moves."""
        batch = self._check(x, y, sample_weight, caller="test_on_batch")
        with single_threaded_blas():
            return results(self._test(batch, len(batch.x)), return_dict)

    # --- evaluation -------------------------------------------------------------------------------

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics over (x, y): a list in the order of their names, or a dict."""
        size = inputs.check_count("batch_size", 32 if batch_size is None else batch_size)
        data = self._check(x, y, sample_weight, caller="evaluate")
        progress = Progress(verbose, 1, math.ceil(len(data.x) / size))
        progress.begin()
        with single_threaded_blas():
            logs = self._test(data, size)
        progress.end(logs)
        return results(logs, return_dict)

    def predict(self, x: Any, batch_size: int | None = None, verbose: int | str = "auto") -> Array:
        """The outputs of x (N, ...), in the model's dtype."""
        samples = self._check_samples(x)
        size = inputs.check_count("batch_size", 32 if batch_size is None else batch_size)
        starts = range(0, len(samples), size)
        with single_threaded_blas():
            return np.concatenate([self.run(samples[i : i + size])[-1].A for i in starts])

    def predict_on_batch(self, x: Any) -> Array:
        """The outputs of one batch."""
        return self(x)

    def __call__(self, x: Any, training: bool = False) -> Array:
        """The outputs of one batch; `training` changes nothing, no layer here behaves otherwise."""
        samples = self._check_samples(x)
        with single_threaded_blas():
            return self.run(samples)[-1].A

    def _test(self, data: Data, size: int) -> Logs:
        meters = self._meters(data)
        for batch in data.batches(size):
            head = self.run(batch.x)[-1]
            loss = self.objective.value(head.Z, head.A, batch.y, batch.weights)
            meters.update(batch, loss, head.A)
        return meters.logs()

    # --- at the door ------------------------------------------------------------------------------

    def _meters(self, data: Data) -> metrics.Meters:
        classes = self.layers[-1].output_shape[-1]
        plain, weighted = (
            [metrics.get(m, data.y, classes) for m in ms] for ms in self.metrics_asked
        )
        return metrics.Meters(plain, weighted)

    def _require_built(self) -> None:
        if not self.built:
            raise ValueError(
                f"model {self.name!r} has no weights yet: give it an Input(shape=...) first, call "
                "build((None, ...)), or show it data."
            )

    def _check_samples(self, x: Any) -> Array:
        self.build(np.shape(x))
        return inputs.check_samples(x, self._input_shape or ())

    def _check(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | None = None,
        caller: str = "fit",
    ) -> Data:
        """Everything that a user hands over, checked before anything moves; and the objective."""
        if not self.compiled:
            raise ValueError(f"{caller}: the model is not compiled: call compile(optimizer, loss).")
        samples = self._check_samples(x)
        head = self.layers[-1]
        self.objective = Objective(self.loss, head.activation, self.engine)
        return inputs.check_data(
            samples, y, sample_weight, class_weight, head.output_shape, self.loss, self.theta.dtype
        )


def results(logs: Logs, as_dict: bool) -> Any:
    """Keras's way to return numbers: a dict, a list, or the loss alone."""
    values = list(logs.values())
    return logs if as_dict else values if len(values) > 1 else values[0]
