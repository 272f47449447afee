"""Sequential: the network under Keras's names, arguments, defaults and results.

Nothing is computed here. Everything that a user hands over is checked (`checks.py`) before a weight
moves; then this room owns the loop over epochs and batches, and tells callbacks and meters what
happened. Where it differs from Keras on purpose, the README's ledger says so.
"""

from __future__ import annotations

import copyreg
import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

import scratchnet.checkpoint as checkpoint
import scratchnet.checks as checks
import scratchnet.config as config
import scratchnet.copying as copying
import scratchnet.data_adapters as data_adapters
import scratchnet.fitting as fitting
import scratchnet.learning as learning
import scratchnet.losses as losses
import scratchnet.metrics as metrics_room
import scratchnet.optimizers as optimizers
import scratchnet.rescue as rescue
import scratchnet.streams as streams
from scratchnet.callbacks import Callback, CallbackList, History, Logs, Progress
from scratchnet.checks import Examples, NotBuiltError, Shape
from scratchnet.engines import Array, Engine, get_engine, own_engine, reference
from scratchnet.layers import Input, Layer
from scratchnet.metrics.meters import Meters, flat_logs, unique_names
from scratchnet.model import Network
from scratchnet.objective import Objective
from scratchnet.process import Interruptible, Turn, alone, say, single_threaded_blas
from scratchnet.resuming import Keeper
from scratchnet.saving import SavedStateError, files
from scratchnet.saving.keras_files import to_keras
from scratchnet.streams import Stream
from scratchnet.support import check_choice, check_seed, generator, only, reject_unsupported
from scratchnet.training import TrainingNetwork

copyreg.pickle(Engine, copying.described)

NOT_HERE = {
    **dict.fromkeys(("dtype", "dtype_policy"), "call config.set_floatx before the model is made."),
    **dict.fromkeys(("input", "inputs", "output", "outputs", "input_spec"), "begin with an Input."),
    **dict.fromkeys(
        ("train_function", "test_function", "predict_function"),
        "for a step of your own, override train_step in a subclass.",
    ),
}
"""Keras's attributes of a model that would be taken here without effect, and what to do instead."""


def engine_from(engine: Any) -> Engine:
    """What `compile(engine=)` stands for: a name, an engine, or a module that defines one."""
    if isinstance(engine, Engine):
        return engine
    return own_engine(engine) if isinstance(engine, ModuleType) else get_engine(engine)


def take_engine(engine: Any) -> Engine | None:
    """What `model.engine` may be: `compile` takes names."""
    if engine is not None and not isinstance(engine, Engine):
        raise ValueError(f"engine={engine!r}: expected an Engine. For a name call compile(engine=)")
    return engine


def take_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise ValueError(f"name={name!r}: expected text.")
    return name


def take_objective(objective: Any) -> Objective:
    """What `model.objective` may be, for `gradient` and `train_step`; `fit` makes its own."""
    if not isinstance(objective, Objective):
        raise ValueError(f"objective={objective!r}: expected an Objective. For fit call compile.")
    return objective


def take_generator(rng: Any) -> Any:
    """What `model.rng` may be: a Generator, or a seed for a new one."""
    return rng if hasattr(rng, "permutation") else generator(check_seed(rng))


def take_threads(threads: Any) -> int | None:
    return None if threads is None else checks.check_count("threads", threads)


class Sequential(TrainingNetwork):
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

    loss: Any
    """A `losses.Loss`, or None."""
    metrics_asked: tuple[tuple[Any, ...], tuple[Any, ...]]
    metrics_made: Any
    _takes: ClassVar = {
        "engine": take_engine,
        "name": take_name,
        "objective": take_objective,
        "optimizer": optimizers.of,
        "rng": take_generator,
        "threads": take_threads,
        **{name: only(instead=why) for name, why in NOT_HERE.items()},
    }
    _fixed: ClassVar = Network._fixed | {
        **dict.fromkeys(
            ("loss", "metrics", "metrics_asked", "metrics_made", "compiled"), "call compile."
        ),
        **dict.fromkeys(("layers", "output_shape"), "call add and pop."),
        **dict.fromkeys(("weights", "params", "grads"), "call set_weights, or write into them."),
        **dict.fromkeys(("built", "input_shape"), "call build, or begin with an Input."),
    }

    def __init__(
        self,
        layers: Iterable[Layer | Input] | None = None,
        trainable: bool = True,
        name: str | None = None,
        *,
        seed: int | np.random.Generator | None = None,
    ):
        self.name = name or "sequential"
        self._trainable, self._turn = bool(trainable), Turn()
        self.history: History | None = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self._meters_seen: Meters | None = None
        super().__init__(layers, seed)

    def __getstate__(self) -> dict[str, Any]:
        self._turn.check("copy")  # of what another thread is writing to, a copy would be torn
        return dict(vars(self))

    def _settled(self, name: str) -> bool:
        return "grad" in vars(self)

    # --- the stack --------------------------------------------------------------------------------

    def build(self, input_shape: Iterable[int | None] | None = None) -> None:
        """Give the model its shape; `input_shape` counts the batch axis, as in (None, 28, 28)."""
        shape = self._sample_shape(())
        if input_shape is not None:
            shape = checks.check_shape(tuple(input_shape)[1:])
        if not self.built:
            self._output_shape(checks.check_shape(shape))
            with self._turn.taken("build"):
                self._lay_out(shape, self.layers)
                self._input_shape = shape
        elif shape != self._input_shape:
            raise ValueError(
                f"build: input_shape={input_shape!r}: the model is already built for "
                f"{self.input_shape}."
            )

    @alone
    def add(self, layer: Any) -> None:
        """Put a layer on top; first an `Input` or a model. Parameters keep their values."""
        super().add(layer)

    @alone
    def pop(self, rebuild: bool = True) -> Layer:
        """Take the top layer off and return it; the others keep their weights.

        The optimizer goes on with those, and so does a layer that is put back; for new layers a
        compiled model needs a new optimizer.
        """
        reject_unsupported("pop", rebuild=(rebuild, True))
        self._sample_shape(())
        *rest, layer = self.layers
        if self._input_shape is not None:
            self._lay_out(self._input_shape, rest)
        self._stack.pop()
        for name in ("params", "grads"):
            vars(layer)[name] = {k: array.copy() for k, array in getattr(layer, name).items()}
        vars(layer).update(in_model=False)
        return layer

    @property
    def trainable(self) -> bool:
        """Whether anything learns; another value is assigned to every layer too, as in Keras."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: Any) -> None:
        if value is self._trainable:
            return  # then Keras on TensorFlow asks no layer either
        self._trainable = bool(value)
        for layer in self.layers:
            layer.trainable = value

    @property
    def trainable_weights(self) -> list[Array]:
        """The parameters that learn: views, in the order of `weights`."""
        return [a for layer in learning.learners(self) for a in layer.trainable_weights]

    @property
    def non_trainable_weights(self) -> list[Array]:
        """The parameters that stand still."""
        learners = learning.learners(self)
        still = (x.non_trainable_weights if x in learners else x.weights for x in self.layers)
        return [array for arrays in still for array in arrays]

    trainable_variables, non_trainable_variables = trainable_weights, non_trainable_weights

    @property
    def compiled(self) -> bool:
        return hasattr(self, "loss")

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

    @alone
    def set_weights(self, weights: Iterable[Any]) -> None:
        """Take arrays in the order and of the shapes of `get_weights()`; all of them or none."""
        self._require_built()
        checks.assign(self.weights, weights)

    def count_params(self) -> int:
        """P, the number of parameters."""
        self._require_built()
        return self.theta.size

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place."""
        if (name is None) == (index is None):
            raise ValueError(f"get_layer: name={name!r}, index={index!r}: expected one of them.")
        if index is None:
            names = [layer.name for layer in self.layers]
            return self.layers[names.index(check_choice("get_layer: name", name, names))]
        if not -len(self.layers) <= index < len(self.layers):
            raise ValueError(f"get_layer: index={index!r}: there are {len(self.layers)} layers.")
        return self.layers[index]

    def summary(
        self,
        line_length: int | None = None,
        positions: None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: None = None,
    ) -> None:
        """Print layers, output shapes and parameters, as Keras does."""
        from scratchnet.summary import summary_text  # imports rich, for this alone

        reject_unsupported("summary", positions=(positions, None), layer_range=(layer_range, None))
        (print_fn or say)(summary_text(self, self.name, line_length or 78, show_trainable))

    @alone
    def save(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, zipped: None = None
    ) -> None:
        """Write the whole model to a file that `models.load_model` reads.

        The ending says which kind: `.keras` is Keras's own, which Keras loads and trains on;
        `.npz` is ours and holds all that a model may have here. A file that is there keeps its
        permissions, a symbolic link stays one; whatever goes wrong, the old file is as it was.

        Raises:
            OSError: where the file can't be written.
            ValueError: for another ending, and for what could not be loaded again, such as a
                lambda.
        """
        reject_unsupported("save", zipped=(zipped or None, None))
        kind = files.ending(filepath, files.MODELS)
        refuse_overwriting(filepath, overwrite)
        files.write_model(filepath, checkpoint.state_of(self, built=kind == ".keras"))

    def to_json(self, **kwargs: Any) -> str:
        """Layers and what the model is compiled with, as Keras writes them; no weights.

        `kwargs` go to `json.dumps`. `models.model_from_json` makes the model again.
        """
        described = to_keras(checkpoint.state_of(self).config["model"])
        return json.dumps(described, **kwargs)

    def save_weights(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        max_shard_size: None = None,
    ) -> None:
        """Write the weights, and the optimizer's state if compiled, to a `.weights.h5` of Keras's.

        Raises:
            OSError: where the file can't be written.
            ValueError: for another ending.
        """
        reject_unsupported("save_weights", max_shard_size=(max_shard_size, None))
        files.ending(filepath, (files.WEIGHTS,))
        refuse_overwriting(filepath, overwrite)
        files.write_weights(filepath, checkpoint.weights_of(self))

    def load_weights(
        self, filepath: str | os.PathLike[str], skip_mismatch: bool = False, **others: Any
    ) -> None:
        """Take the weights of a `.weights.h5` or `.keras` file: all of them or none.

        As in Keras, an optimizer that has stepped takes its state from the file, and
        `skip_mismatch` leaves layers as they are that the file does not fit, with a warning.

        Raises:
            SavedStateError: for a damaged file, and for weights of another model; nothing moves.
        """
        for name, value in others.items():
            reject_unsupported("load_weights", **{name: (value, None)})
        self._require_built()
        arrays = files.read_arrays(filepath)
        try:
            checkpoint.load_weights(self, arrays, skip_mismatch)
        except ValueError as error:
            raise SavedStateError(
                filepath,
                f"does not fit model {self.name!r}: {error}",
                "Load it into a model of the same layers, or with skip_mismatch=True.",
            ) from error

    # --- beyond Keras: what learners and provers look at ------------------------------------------

    def batch(self, x: Any, y: Any, sample_weight: Any = None) -> Examples:
        """(x, y) checked as `fit` checks them: what `gradient`, `train_step` and proofs take.

        >>> from scratchnet.layers import Dense
        >>> model = Sequential([Input((1,)), Dense(1, kernel_initializer="ones")])
        >>> model.compile("sgd", "mse")
        >>> model.gradient(model.batch([[3.0]], [[1.0]]))[0]  # (3 - 1)^2
        np.float32(4.0)
        """
        return self._check(x, y, sample_weight, caller="batch")

    @alone
    def loss_and_gradients(
        self, x: Any, y: Any, sample_weight: Any = None
    ) -> tuple[float, list[Array]]:
        """The loss and its gradients, in the order of `trainable_weights`; no weight moves."""
        batch = self._check(x, y, sample_weight, caller="loss_and_gradients")
        with single_threaded_blas():
            loss, _ = self.gradient(batch)
        return float(loss), [
            grad.copy()
            for layer in learning.learners(self)
            for name, grad in layer.grads.items()
            if name not in layer.state
        ]

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

    train_step = learning.train_step

    # --- training ---------------------------------------------------------------------------------

    @alone
    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: None = None,
        metrics: Iterable[Any] | None = None,
        weighted_metrics: Iterable[Any] | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        *,
        engine: str | Engine | ModuleType | None = None,
        threads: int | None = None,
    ) -> None:
        """Choose what `fit` minimises, how, and on which engine.

        Args:
            optimizer: by name, such as `"sgd"`, `"adam"` or `"rmsprop"`, or an object.
            loss, metrics, weighted_metrics: by name, class, function or object, as in Keras; and as
                there, compiling again without a loss, or without both kinds of metrics, keeps them.
                A model that never had a loss predicts; `fit` and `evaluate` refuse it.
            engine: `"auto"`, `"reference"` or `"compiled"`; `config.set_engine` sets the default.
                Or an engine of your own: an `Engine`, or a module (see `engines.own_engine`).
            threads: at most so many threads in the compiled engine; all that the process may use.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: taken so that scripts
                run; they steer TensorFlow and have no effect here.
        """
        reject_unsupported("compile", loss_weights=(loss_weights, None))
        loss = self.loss if loss is None and self.compiled else loss
        for name, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            if given is not None and not isinstance(given, list | tuple):
                raise ValueError(f"compile: {name}={given!r}: expected a list, [{given!r}].")
        asked = (tuple(metrics or ()), tuple(weighted_metrics or ()))
        made = [[metrics_room.made(metric) for metric in group] for group in asked]
        if self.compiled and metrics is None and weighted_metrics is None:
            asked, made = self.metrics_asked, self.metrics_made
        chosen_optimizer = optimizers.of(optimizer)
        chosen_loss = None if loss is None else losses.of(loss)
        if chosen_loss is not None and chosen_loss.reduction in ("none", None):
            raise ValueError("compile: a loss with reduction='none' is no number to minimise.")
        axis = getattr(chosen_loss, "axis", -1)
        if axis not in (-1, 1):
            raise ValueError(f"compile: a loss with axis={axis}: only the last axis, -1.")
        chosen_engine = engine_from(config.engine() if engine is None else engine)
        self.threads = threads
        self.engine, self.optimizer = chosen_engine, chosen_optimizer
        vars(self).update(loss=chosen_loss, metrics_asked=asked)
        vars(self).update(metrics_made=made, _meters_seen=None, stop_training=False)

    @property
    def metrics_names(self) -> list[str]:
        """The names of what `evaluate` returns, in its order."""
        if not self.compiled:
            return []
        groups = zip(self.metrics_asked, self.metrics_made, strict=True)
        names = (list(map(metrics_room.name_of, asked, made)) for asked, made in groups)
        return ["loss", *unique_names(*names)]

    @property
    def metrics(self) -> list[Any]:
        """The meters of the last epoch or evaluation: the loss's, then those of the metrics."""
        return [] if self._meters_seen is None else self._meters_seen.all

    def reset_metrics(self) -> None:
        """Let all metrics begin anew, as `fit` and `evaluate` do by themselves."""
        if self._meters_seen is not None:
            self._meters_seen.reset()

    @alone
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Callback | Iterable[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: tuple[Any, ...] | None = None,
        shuffle: bool = True,
        class_weight: Mapping[Any, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | list[int] = 1,
    ) -> History:
        """Train for `epochs` passes over (x, y) in batches of `batch_size` (32).

        The loss and the metrics of an epoch are means over its samples, taken while the weights
        move. `validation_split` cuts off the tail before any shuffling; `class_weight` leaves
        validation alone. With `steps_per_epoch` an epoch goes on in the pass that the last one
        began. All is checked before a weight moves; a loss that stops being finite ends training.
        Batches may come one by one, from a generator of (x, y) or (x, y, sample_weight), a
        `utils.PyDataset`, a tf.data dataset or a torch DataLoader, and are checked as they come;
        shuffle counts for a PyDataset alone, batch_size not at all. Each takes a step of NumPy's.

        Returns:
            History: `history["loss"]` and so on, one number an epoch.

        Raises:
            ValueError, TypeError: for data or arguments that don't fit.
            FloatingPointError: where loss or weights stop being finite, with epoch, batch, layer
                and tensor; weights, slots and step count are those from before that batch.
            RuntimeError: where another thread is training the model.
        """
        check_loop(epochs, initial_epoch, shuffle, validation_freq)
        taken = self._taken(x, y, sample_weight, class_weight, "fit", build=False)
        data, held_out = self._hold_out(taken, validation_data, validation_split, class_weight)
        size, steps = streams.portions(data, batch_size, steps_per_epoch)
        test_size: Any = batch_size if validation_batch_size is None else validation_batch_size
        if held_out is not None:
            wanted = (test_size, validation_steps, "validation_steps")
            held_out, test_size, _ = streams.first_steps(held_out, *wanted)
        progress = Progress(verbose, epochs, steps)
        events = self._events(callbacks, True, verbose=verbose, epochs=epochs, steps=steps)
        self.build((None, *data.x.shape[1:]))
        streams.keep(held_out)
        learning.claim(self)
        self._tell_if_all_are_frozen()
        self.history, self.stop_training = events.history, False
        with Interruptible() as interrupt, single_threaded_blas():
            meters = self.meters(data)
            opened = fitting.opened(self, data, size, shuffle, steps_per_epoch, meters)
            keeper = Keeper(self, *opened, events)
            validate = partial(self._validation_logs, held_out, test_size, validation_freq, events)
            self._train_epochs(keeper, initial_epoch, epochs, validate, progress, interrupt)
        return events.history

    def _hold_out(
        self, data: Examples | Stream, given: Any, split: float, class_weight: Any
    ) -> tuple[Examples | Stream, Examples | Stream | None]:
        """What is trained on, and what is validated on: data given for it, the tail, or nothing."""
        if given is not None:
            x, y, weights = streams.unpack(given)
            return data, self._taken(x, y, weights, shape=data.x.shape[1:], build=False)
        if not split:
            return data, None
        data, tail = streams.split_tail(data, split)
        return data, tail if class_weight is None else tail._replace(weights=None)

    def _validation_logs(
        self,
        data: Examples | Stream | None,
        size: int,
        frequency: Any,
        events: CallbackList,
        epoch: int,
    ) -> Logs:
        """What an epoch's logs gain from the data that are held out, where it is due."""
        if data is None or not due(epoch + 1, frequency):
            return {}
        return {f"val_{name}": value for name, value in self._test(data, size, events).items()}

    def _train_epochs(
        self,
        keeper: Keeper,
        first: int,
        epochs: int,
        validate: Callable[[int], Logs],
        progress: Progress,
        interrupt: Interruptible,
    ) -> None:
        """The epochs from `first`, or from where a resumed fit goes on, and what callbacks hear."""
        events, logs = keeper.events, Logs()
        events.on_train_begin()
        keeper.begin(first)
        for epoch in keeper.runner.epochs(range(keeper.first, keeper.until(epochs))):
            logs = self._train_epoch(keeper, epoch, progress, interrupt)
            with keeper.on_interrupt(epoch, keeper.runner.steps, copied=True):
                logs |= validate(epoch)
                shown = flat_logs(logs)  # and what callbacks write into it
                events.tell("on_epoch_end", epoch, shown)
            progress.end(shown)
            keeper.epoch_over(epoch)
            if self.stop_training:
                break
        learning.finalize(self)
        events.on_train_end(logs)

    def _tell_if_all_are_frozen(self) -> None:
        if not learning.learners(self):
            warnings.warn("The model does not have any trainable weights.", stacklevel=4)

    def _train_epoch(
        self,
        keeper: Keeper,
        epoch: int,
        progress: Progress,
        interrupt: Interruptible,
    ) -> Logs:
        """The next rows, batch by batch."""
        runner, events, meters = keeper.runner, keeper.events, keeper.runner.meters
        self.reset_metrics()
        events.on_epoch_begin(epoch)
        done = keeper.resume()
        stopped = done > 0 and self.stop_training  # when the checkpoint was written
        progress.begin(epoch)
        progress.advance(done, meters)
        try:
            while done < runner.steps and not stopped:
                with keeper.on_interrupt(epoch, done):
                    interrupt.poll()
                if events.wants_batches:
                    events.on_train_batch_begin(done)
                if self._meters_seen is not meters:
                    raise TypeError(
                        f"fit: compile was called while the model trains, before batch {done} of "
                        f"epoch {epoch + 1}: call it before or after fit. A number of the "
                        "optimizer may change at any time: model.optimizer.learning_rate = 0.1."
                    )
                # Who asked to stop before this batch, as Keras has it, still gets it.
                one = events.wants_batches or self.stop_training
                before = done
                done, trouble = runner.run(done, one, keeper.most())
                if events.wants_batches:
                    events.on_train_batch_end(done - 1, meters.logs())
                if trouble and not self.stop_training:
                    bad = rescue.first_bad(self, runner.batch(done - 1))
                    raise FloatingPointError(
                        f"{trouble} in epoch {epoch + 1}, batch {done - 1}: expected finite "
                        f"numbers{bad and f', and the first that is not is in {bad}'}. The model "
                        "has its weights from before that batch. Lower the learning rate, or scale "
                        f"the inputs.{keeper.remedy()}"
                    )
                keeper.passed(epoch, done, done - before)
                progress.advance(done, meters)
                if self.stop_training:
                    break
        finally:
            progress.end()
        return meters.logs()

    @alone
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
        self._tell_if_all_are_frozen()
        with Interruptible(), single_threaded_blas():
            loss, outputs = self.train_step(batch)
        meters = self.meters(batch)
        meters.update(batch, loss, outputs)
        return self._results(return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of one batch; nothing moves."""
        batch = self._check(x, y, sample_weight, caller="test_on_batch")
        with single_threaded_blas():
            self._test(batch, len(batch.x), self._events(None))
        return self._results(return_dict)

    # --- evaluation -------------------------------------------------------------------------------

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics over (x, y): a list in the order of `metrics_names`, or a dict."""
        data = self._taken(x, y, sample_weight, caller="evaluate")
        data, size, count = streams.first_steps(data, batch_size, steps, "steps")
        progress = Progress(verbose, 1, count)
        events = self._events(callbacks, verbose=verbose, epochs=1, steps=count)
        progress.begin()
        with single_threaded_blas():
            logs = self._test(data, size, events)
        progress.end(logs)
        return self._results(return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
    ) -> Array:
        """The outputs of x (N, ...), in the model's dtype; nothing is printed at any `verbose`."""
        samples: Any = self._taken_samples(x)
        size, count = streams.portions(samples, batch_size, steps, "steps")
        Progress(verbose, 1, count)
        events = self._events(callbacks, verbose=verbose, epochs=1, steps=count)
        outputs: list[Array] = []
        if not events.callbacks and steps is None and isinstance(samples, np.ndarray):
            whole = fitting.predict(self, samples)
            if whole is not None:
                return whole
        self.stop_predicting = False
        batches = streams.parts(samples, size, count)
        with single_threaded_blas():
            events.on_predict_begin()
            for step, batch in enumerate(batches):
                events.on_predict_batch_begin(step)
                outputs.append(self.run(batch)[-1].A)
                events.on_predict_batch_end(step, {"outputs": outputs[-1]})
                if self.stop_predicting:
                    break
            events.on_predict_end()
        return np.concatenate(outputs)

    def predict_on_batch(self, x: Any) -> Array:
        """The outputs of one batch."""
        return self(x)

    def __call__(self, x: Any, training: bool = False) -> Array:
        """The outputs of one batch; `training` changes nothing, no layer here behaves otherwise."""
        samples = self._check_samples(x)
        with single_threaded_blas():
            return self.run(samples)[-1].A

    def _test(self, data: Examples | Stream, size: int, events: CallbackList) -> Logs:
        """Loss and metrics of all data, by name."""
        meters = self.meters(data)
        self.stop_evaluating = False
        events.on_test_begin()
        one = self.stop_evaluating or events.listens("on_test_batch_begin", "on_test_batch_end")
        whole = not one and fitting.evaluate(self, data, meters)
        for step, batch in enumerate(() if whole else data.batches(size)):
            events.on_test_batch_begin(step)
            tape = self.run(batch.x)
            head = tape[-1]
            loss = self.objective.value(head.Z, head.A, batch.y, batch.weights)
            loss += self.penalty(tape, self.params)
            meters.update(batch, loss, head.A)
            if one:
                events.on_test_batch_end(step, meters.logs())
            if self.stop_evaluating:
                break
        logs = meters.logs()
        events.on_test_end(logs)
        return logs

    def _results(self, as_dict: bool) -> Any:
        """The meters' numbers in Keras's forms: a dict, a list, or the loss alone."""
        meters = self._meters_seen
        assert meters is not None
        values = meters.values()
        return meters.logs() if as_dict else values if len(values) > 1 else values[0]

    def _events(self, callbacks: Any, history: bool = False, **params: Any) -> CallbackList:
        """The callbacks with this model; a CallbackList as it is, as in Keras."""
        if isinstance(callbacks, CallbackList):
            return callbacks
        return CallbackList(callbacks, add_history=history, model=self, **params)

    # --- at the door ------------------------------------------------------------------------------

    def meters(self, data: Examples | Stream) -> Meters:
        """The model's meters at 0; what they are is decided by the first data after `compile`."""
        if self._meters_seen is None:
            self._meters_seen = Meters(*self._chosen(data.y, self.layers[-1].output_shape))
        self._meters_seen.reset()
        return self._meters_seen

    def _chosen(self, y: Array, outputs: Shape) -> list[list[Any]]:
        """The metrics and the weighted ones, for targets and outputs like these."""
        groups = zip(self.metrics_made, self.metrics_asked, strict=True)
        return [
            [metrics_room.choose(*pair, y, outputs) for pair in zip(*group, strict=True)]
            for group in groups
        ]

    def _require_built(self) -> None:
        if not self.built:
            raise NotBuiltError(
                f"model {self.name!r} has no weights yet: give it an Input(shape=...) first, call "
                "build((None, ...)), or show it data."
            )

    def _require_compiled(self, caller: str) -> None:
        if not self.compiled:
            raise ValueError(f"{caller}: the model is not compiled: call compile(optimizer, loss).")
        if self.loss is None:
            raise ValueError(
                f"{caller}: no loss to compute: compile was given none. Call compile(optimizer, "
                "loss), with loss='sparse_categorical_crossentropy' for integer labels, say."
            )

    def _sample_shape(self, x: Any) -> Shape:
        """The shape of one sample: the model's or, as long as it has none, that of x."""
        if not self.layers:
            raise ValueError(f"model {self.name!r} has no layers: add some.")
        return self._input_shape or np.shape(x)[1:]

    def _output_shape(self, shape: Shape) -> Shape:
        """What becomes of samples of this shape, found without making a weight."""
        for layer in self.layers:
            layer.parameters(shape)
            shape = layer.compute_output_shape(shape)
        return shape

    def _check_samples(self, x: Any, finite: bool = True) -> Array:
        array = self._as_array(x)
        shape = self._sample_shape(array)
        samples = data_adapters.check_samples(array, shape, finite)
        self.build((None, *shape))
        return samples

    def _taken_samples(self, x: Any) -> Array | Stream:
        """The samples that `predict` is given, in an array or batch by batch."""
        if not streams.yields_batches(x):
            return self._check_samples(x, finite=not self.built)

        def samples(x: Any, *_: Any) -> Array:
            return self._check_samples(x)

        return Stream(x, samples, samples)

    def _as_array(self, x: Any) -> Array:
        """Samples of any kind as an array of numbers."""
        sample = self._input_shape
        if sample is None and isinstance(x, list | tuple) and len(x) == 1 and np.ndim(x[0]) == 1:
            sample = np.shape(x[0])  # a lone row of features, for a model that knows no shape yet
        return data_adapters.as_array("x", data_adapters.only(x, sample))

    def _taken(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | None = None,
        caller: str = "fit",
        shape: Shape | None = None,
        build: bool = True,
    ) -> Examples | Stream:
        """`_check` of all samples, or of the first batch where they come batch by batch."""
        if not streams.yields_batches(x):
            return self._check(x, y, sample_weight, class_weight, caller, shape, build)
        self._require_compiled(caller)
        streams.check_alone(x, y, sample_weight, class_weight)

        def first(x: Any, y: Any, weights: Any) -> Examples:
            return self._check(x, y, weights, class_weight, caller, shape, build)

        def later(x: Any, y: Any, weights: Any) -> Examples:
            return self._examples(x, y, weights, class_weight)

        return Stream(x, first, later)

    def _examples(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: Mapping[Any, float] | None,
        shape: Shape | None = None,
    ) -> Examples:
        """Samples of a shape, the model's own if none is given, with what goes with them."""
        array = self._as_array(x)
        shape = shape or self._sample_shape(array)
        samples = data_adapters.check_samples(array, shape)
        wanted = data_adapters.Wanted(
            self._output_shape(shape),
            self.loss.name,
            self.loss.sparse,
            getattr(self.loss, "ignore_class", None),
            self.theta.dtype,
        )
        return data_adapters.check_data(samples, y, sample_weight, class_weight, wanted)

    def _check(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[Any, float] | None = None,
        caller: str = "fit",
        shape: Shape | None = None,
        build: bool = True,
    ) -> Examples:
        """Everything that a user hands over, checked before anything moves; and the objective."""
        self._require_compiled(caller)
        data = self._examples(x, y, sample_weight, class_weight, shape)
        shape = data.x.shape[1:]
        output = self._output_shape(shape)
        strange = fitting.unknown_part(self, self.loss)
        if strange is not None:
            warnings.warn(
                f"{strange} is not known to the compiled engine: the model runs on the reference "
                "engine.",
                stacklevel=3,
            )
            self.engine = reference.ENGINE
        if output == (1,) and self.loss.family == "categorical_crossentropy":
            warnings.warn(
                f"loss {self.loss.name!r} with one output is 0 whatever the model does: for two "
                "classes take 'binary_crossentropy'.",
                SyntaxWarning,
                stacklevel=3,
            )
        if len(output) != 1:
            raise ValueError(
                f"{caller}: outputs of shape {(None, *output)}: only (None, K) is supported. Put a "
                "Flatten at the end."
            )
        objective = Objective(self.loss, self.layers[-1].activation, self.engine)
        for metric in itertools.chain(*self._chosen(data.y, output)):
            metrics_room.check(metric, data.y, output)
        if build:
            self.build((None, *shape))
        self.objective = objective
        return data


def refuse_overwriting(filepath: str | os.PathLike[str], overwrite: bool) -> None:
    if not overwrite and os.path.exists(filepath):
        raise FileExistsError(f"{filepath} is there already: take another name, or overwrite=True.")


def check_loop(epochs: Any, initial_epoch: Any, shuffle: Any, validation_freq: Any) -> None:
    """The arguments of `fit` that steer its loop."""
    checks.check_count("epochs", epochs, least=0)
    checks.check_count("initial_epoch", initial_epoch, least=0)
    checks.check_option("shuffle", shuffle, (True, False))
    several = isinstance(validation_freq, list | tuple)
    for epoch in validation_freq if several else [validation_freq]:
        checks.check_count("validation_freq", epoch)


def due(epoch: int, frequency: int | list[int] | tuple[int, ...]) -> bool:
    """Whether to validate after this epoch, counted from 1."""
    return epoch in frequency if isinstance(frequency, list | tuple) else epoch % frequency == 0
