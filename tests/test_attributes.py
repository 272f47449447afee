"""Every public attribute of every public object, assigned: it has its effect, or is refused.

Before and after building, compiling and fitting, on both engines. An attribute that is new stands
under `test_nonsense_is_refused` by itself; what takes anything is listed in `ANYTHING`, and what
has an effect in `EFFECTS`. `tests/keras/test_state.py` goes through the attributes of Keras.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import scratchnet
from scratchnet import Input, Sequential, callbacks, initializers, layers, optimizers
from scratchnet.engines import get_engine
from scratchnet.objective import Objective

RNG = np.random.default_rng(5)
X = RNG.normal(size=(48, 4, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 48)
LOSS = "sparse_categorical_crossentropy"
STAGES = ("new", "built", "compiled", "fitted")


def network(stage="fitted", optimizer="adam", loss=LOSS, seed=0):
    stack = [
        layers.Flatten(),
        layers.Rescaling(0.5, offset=0.1),
        layers.Dense(5, "relu"),
        layers.Dense(3, "softmax"),
    ]
    model = Sequential(stack, seed=seed)
    if stage in STAGES[1:]:
        model.build((None, 4, 2))
    if stage in STAGES[2:]:
        model.compile(optimizer, loss, metrics=["accuracy"])
    if stage == "fitted":
        model.fit(X, Y, verbose=0)
    return model


def parts(stage):
    """Every public object, as it is at that stage."""
    model = network(stage)
    found = {"model": model, **{type(layer).__name__: layer for layer in model.layers}}
    found |= {"Input": Input((3,)), "SGD": optimizers.SGD(momentum=0.9)}
    found["RMSprop"] = optimizers.RMSprop()
    found |= {
        type(loss).__name__: loss
        for loss in (kind() for kind in {*scratchnet.losses.LOSSES.values()})
    }
    found |= {
        f"metric {kind.__name__}": made(kind) for kind in {*scratchnet.metrics.CLASSES.values()}
    }
    kinds = {*initializers.INITIALIZERS.values()}
    found |= {f"initializer {kind.__name__}": kind() for kind in kinds}
    found |= {f"callback {type(callback).__name__}": callback for callback in callbacks_of()}
    if model.compiled:
        found |= {"Adam": model.optimizer, "loss in use": model.loss}
    return found


def callbacks_of():
    return [
        callbacks.History(),
        callbacks.EarlyStopping("loss"),
        callbacks.ReduceLROnPlateau("loss"),
        callbacks.TerminateOnNaN(),
        callbacks.LearningRateScheduler(lambda epoch, rate: 0.1),
        callbacks.CSVLogger("log.csv"),
        callbacks.ModelCheckpoint("m.keras"),
        callbacks.BackupAndRestore("backup"),
    ]


def made(kind):
    """A metric, with its arguments that have no default."""
    needed = inspect.signature(kind).parameters.values()
    return kind(*(0.5 for parameter in needed if parameter.default is parameter.empty))


def attributes(thing):
    """Its public attributes that are neither methods nor constants."""
    for name in dir(thing):
        if not name.startswith("_") and not name.isupper():
            found = inspect.getattr_static(thing, name, None)
            if not inspect.isroutine(found) and not callable(found):
                yield name


ANYTHING = {
    # Flags: their truth counts, as in Keras.
    *("trainable", "use_bias", "nesterov", "amsgrad", "centered"),
    *("stop_training", "stop_evaluating", "stop_predicting"),
    # What is only told, or overwritten by the next fit.
    *("history", "name", "rises", "total", "count", "default_name"),
    *("model", "params", "epoch", "sign", "best", "wait", "best_epoch", "best_weights"),
    *("stopped_epoch", "cooldown_counter", "verbose", "restore_best_weights", "raise_error"),
    *("save_best_only", "double_checkpoint", "delete_checkpoint", "batches_seen", "seen"),
    # What the next fit looks at, and refuses: `test_callbacks_are_what_their_attributes_say`.
    *("mode", "append", "save_weights_only"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_nonsense_is_refused(stage):
    for where, thing in parts(stage).items():
        before = dict(vars(thing))
        for name in attributes(thing):
            if name in ANYTHING:
                continue
            try:
                setattr(thing, name, object())
            except (AttributeError, ValueError, TypeError) as error:
                said = str(error)
            else:
                pytest.fail(f"{where}.{name} takes anything")
            assert name in said and remedy_in(said), f"{where}.{name}: {said}"
        assert vars(thing).keys() == before.keys(), where
        assert all(vars(thing)[name] is value for name, value in before.items()), where


def remedy_in(said):
    """Whether an error says what is expected, or what to do; a number that is none says it all."""
    words = ("expected", "all ", "Make ", "compile", "rite ", "number", "integer", "no setter")
    return any(word in said for word in words)


def test_what_is_refused_once_it_is_settled_says_what_to_do():
    model = network()
    dense, flatten = model.layers[2], model.layers[0]
    for thing, name, value, remedy in [
        (model, "theta", np.zeros(model.theta.size), "theta[:] = values"),
        (model, "grad", np.zeros(model.theta.size), "theta[:] = values"),
        (model, "loss", "mse", "call compile"),
        (model, "metrics", [], "call compile"),
        (model, "layers", [], "call add and pop"),
        (model, "weights", [], "set_weights"),
        (model, "params", [], "set_weights"),
        (model, "input_shape", (None, 3), "call build"),
        (model, "output_shape", (None, 3), "call add and pop"),
        (model, "built", False, "call build"),
        (model, "engine", "compiled", "compile(engine=)"),
        (dense, "units", 9, "Make a new one"),
        (dense, "use_bias", False, "Make a new one"),
        (dense, "kernel_initializer", "ones", "Make a new one"),
        (dense, "kernel", np.zeros((8, 5)), "write into"),
        (dense, "bias", None, "write into"),
        (dense, "params", {}, "write into"),
        (dense, "input_shape", (3,), "Make a new one"),
        (dense, "built", False, "Make a new one"),
        (flatten, "name", "x", "Make a new one"),
        (flatten, "in_model", False, "Make a new one"),
        (model.optimizer, "slots", {}, "write into"),
        (model.loss, "from_logits", True, "compile with a new"),
        (model.loss, "reduction", "sum", "compile with a new"),
        (scratchnet.losses.CategoricalCrossentropy(), "label_smoothing", 0.1, "compile with a new"),
        (Input((3,)), "shape", (4,), "Make a new one"),
    ]:
        with pytest.raises((AttributeError, ValueError)) as caught:
            setattr(thing, name, value)
        assert remedy in str(caught.value)


def test_what_is_not_here_is_refused_by_its_name_unless_it_is_the_default():
    model = network()
    dense, adam = model.layers[2], model.optimizer
    for thing, name, value, default in [
        (adam, "gradient_accumulation_steps", 2, None),
        (dense, "kernel_constraint", "non_neg", None),
        (dense, "lora_rank", 4, None),
    ]:
        with pytest.raises(ValueError, match=f"{name}.*only {default!r} is supported"):
            setattr(thing, name, value)
        setattr(thing, name, default)
    with pytest.raises(ValueError, match=r"lr.*learning_rate"):
        adam.lr = 0.1
    for name in ("dtype", "input", "outputs", "variables", "train_function", "losses"):
        with pytest.raises(ValueError, match=f"{name}="):
            setattr(model, name, "float64")
    for name in ("ignore_class", "axis", "fn", "dtype"):
        with pytest.raises(AttributeError, match=name):
            setattr(model.loss, name, 3)


def test_numbers_of_optimizers_are_checked_whenever_they_are_assigned():
    adam, sgd = network().optimizer, network(optimizer="sgd").optimizer
    for optimizer, name, values in [
        (adam, "learning_rate", (-1, float("nan"), float("inf"), "0.1", None)),
        (adam, "beta_1", (1.0, -0.1, 2, "x", float("nan"))),
        (adam, "beta_2", (1.0, None)),
        (adam, "epsilon", (0, -1e-7, float("inf"))),
        (sgd, "momentum", (1.1, -0.1, "0.9")),
        (sgd, "iterations", (1.5, "3", None)),
    ]:
        before = getattr(optimizer, name)
        for value in values:
            with pytest.raises((ValueError, TypeError), match=name):
                setattr(optimizer, name, value)
        assert getattr(optimizer, name) == before
    adam.learning_rate = np.float32(0.25)
    assert adam.learning_rate == 0.25 and type(adam.learning_rate) is float


def test_what_a_user_adds_is_the_user_s():
    model = network()
    model.class_names = ["a", "b", "c"]
    model.layers[0].note = {"mine": 1}
    model.optimizer.tag = "x"
    assert model.class_names == ["a", "b", "c"] and model.layers[0].note == {"mine": 1}


def test_arrays_are_written_into_where_they_are(engine):
    model = network()
    kernel = model.layers[2].kernel
    model.theta *= 2
    model.layers[2].kernel *= 0.5
    model.layers[2].kernel[...] = 1
    assert model.layers[2].kernel is kernel and (kernel == 1).all()
    assert np.shares_memory(kernel, model.theta)


# --- what has an effect, has the same on both engines ---------------------------------------------


def nothing(model): ...


def new_activation(model):
    model.layers[2].activation = "tanh"


def new_activation_function(model):
    model.layers[2].activation = scratchnet.activations.sigmoid


def new_head(model):
    model.layers[-1].activation = "linear"


def new_scale(model):
    model.layers[1].scale, model.layers[1].offset = 2, -0.5


def freeze(model):
    model.layers[2].trainable = False


def freeze_all_but_one(model):
    model.trainable = False
    model.trainable = True
    model.layers[3].trainable = False


def learning_rate(model):
    model.optimizer.learning_rate = 0.5


def betas(model):
    model.optimizer.beta_1, model.optimizer.beta_2, model.optimizer.epsilon = 0.5, 0.6, 0.1


def iterations(model):
    model.optimizer.iterations = 100


def another_optimizer(model):
    model.optimizer = optimizers.SGD(0.3)


def optimizer_by_name(model):
    model.optimizer = "sgd"


def decays_of_rmsprop(model):
    model.optimizer = optimizers.RMSprop(0.01, momentum=0.5)
    model.optimizer.rho, model.optimizer.momentum, model.optimizer.epsilon = 0.3, 0.8, 0.1


def centered_rmsprop(model):
    model.optimizer = "rmsprop"
    model.optimizer.centered = True


def another_generator(model):
    model.rng = np.random.default_rng(77)


def seed(model):
    model.rng = 77


def own_forward(model):
    layer = model.layers[2]
    layer.forward = lambda X, params, engine: type(layer).forward(layer, 3 * X, params, engine)


def own_update(model):
    model.optimizer.update = lambda engine, theta, grad, scalar: np.subtract(theta, grad, out=theta)


def own_scalars(model):
    model.optimizer.scalars = lambda first, count, dtype: np.full(count, 0.5, dtype)


def own_targets(model):
    model.loss.targets = lambda y, classes, dtype: np.full((len(y), classes), 0.25, dtype)


EFFECTS = [
    new_activation,
    new_activation_function,
    new_head,
    new_scale,
    freeze,
    freeze_all_but_one,
    learning_rate,
    betas,
    iterations,
    another_optimizer,
    optimizer_by_name,
    decays_of_rmsprop,
    centered_rmsprop,
    another_generator,
    seed,
    own_forward,
    own_update,
    own_scalars,
    own_targets,
]
SAME = {"rtol": 2e-4, "atol": 2e-6}
"""Two engines after a few steps in float32."""


def outcome(change, stage, name, midway=False):
    """Weights and outputs after a change and a fit."""

    class Change(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                change(self.model)

    model = network("built")
    model.compile("adam", LOSS, metrics=["accuracy"], engine=name)
    if stage == "fitted":
        model.fit(X, Y, verbose=0)
    if not midway:
        change(model)
    history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[Change()] if midway else [])
    after = model.theta.copy(), np.array(history.history["loss"])
    return *after, model.predict(X, verbose=0), np.array(model.evaluate(X, Y, verbose=0))


@pytest.mark.parametrize("when", ["compiled", "fitted", "in the middle of a fit"])
@pytest.mark.parametrize("change", EFFECTS, ids=lambda change: change.__name__)
def test_an_assignment_counts_and_alike_on_both_engines(change, when):
    midway = when.startswith("in")
    stage = "compiled" if midway else when
    reference, compiled = (outcome(change, stage, e, midway) for e in ("reference", "compiled"))
    for one, other in zip(reference, compiled, strict=True):
        np.testing.assert_allclose(one, other, **SAME)
    if not (midway and change in (another_generator, seed)):  # its order was drawn before
        unchanged = outcome(nothing, stage, "reference", midway)
        assert not np.allclose(reference[0], unchanged[0], **SAME)


def test_a_head_that_is_changed_midway_changes_the_objective_with_it(engine):
    """Else the gradient would go through the old head's derivative."""
    seen = {}

    class Change(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.layers[-1].activation = "tanh"
                seen["before"] = self.model.theta.copy()

    def run(loss):
        model = Sequential([Input((4,)), layers.Dense(2, "sigmoid")], seed=0)
        model.compile(optimizers.SGD(0.1), loss, engine=engine)
        return model

    x, y = X[:, :, 0], np.eye(2)[Y % 2]
    model, twin = run("mse"), run("mse")
    model.fit(x, y, epochs=2, shuffle=False, verbose=0, callbacks=[Change()])
    twin.theta[:] = seen["before"]
    twin.layers[-1].activation = "tanh"
    twin.fit(x, y, shuffle=False, verbose=0)
    np.testing.assert_allclose(model.theta, twin.theta, **SAME)


@pytest.mark.parametrize("stage", ["new", "before the first batch"])
def test_before_building_a_layer_is_what_its_attributes_say(stage, engine):
    dense = layers.Dense(4)
    model = Sequential([dense, layers.Dense(3, "softmax")])
    if stage != "new":
        model.compile("sgd", LOSS)
    dense.units, dense.use_bias, dense.activation = 6, False, "relu"
    dense.kernel_initializer, dense.trainable = "ones", False
    model.compile("sgd", LOSS)
    model.fit(X[:, :, 0], Y, verbose=0)
    assert dense.kernel.shape == (4, 6) and dense.bias is None and (dense.kernel == 1).all()
    assert (model.predict(-np.abs(X[:, :, 0]), verbose=0) == model.predict(X[:1, :, 0] * 0)).all()
    with pytest.raises(ValueError, match="units=0"):
        layers.Dense(4).units = 0
    with pytest.raises(ValueError, match=r"activation='rely'.*Did you mean 'relu'"):
        layers.Dense(4).activation = "rely"


@pytest.mark.parametrize("stage", STAGES)
def test_the_list_of_layers_is_the_caller_s(stage, engine):
    """As in Keras: what is done to it changes nothing, and half of nothing even less."""
    model = network(stage)
    top = model.layers[-1]
    model.layers.pop()
    model.layers.append(layers.Dense(3))
    model.layers.insert(0, layers.Flatten())
    model.layers.clear()
    model.layers[0] = None
    assert len(model.layers) == 4 and model.layers[-1] is top
    if model.compiled:
        model.fit(X, Y, verbose=0)
        assert model.predict(X, verbose=0).shape == (48, 3)
    assert Sequential(model.layers[:0]).layers == []


@pytest.mark.parametrize("name", ["momentum", "amsgrad"])
def test_slots_that_would_be_missing_are_told_of_before_a_weight_moves(name, engine):
    optimizer = optimizers.Adam() if name == "amsgrad" else optimizers.SGD(momentum=0.9)
    model = network(optimizer=optimizer)
    setattr(optimizer, name, name == "amsgrad")
    at = model.theta.copy()
    with pytest.raises(ValueError, match="compile with a new optimizer"):
        model.fit(X, Y, verbose=0)
    assert np.array_equal(model.theta, at)


def test_momentum_that_is_switched_on_begins_at_rest():
    trained = []
    for engine in ("reference", "compiled"):
        model = network("built")
        model.compile(optimizers.SGD(0.1), LOSS, engine=engine)
        model.fit(X, Y, verbose=0)
        model.optimizer.momentum = 0.9
        model.fit(X, Y, verbose=0)
        assert model.optimizer.slots["momentum"].any()
        trained.append(model.theta)
    np.testing.assert_allclose(*trained, **SAME)


def test_callbacks_are_what_their_attributes_say(engine, tmp_path):
    stopping = callbacks.EarlyStopping("loss", patience=100)
    stopping.patience, stopping.mode, stopping.min_delta = 1, "max", 1e-3
    model = network("compiled")
    assert len(model.fit(X, Y, epochs=9, verbose=0, callbacks=[stopping]).epoch) == 2
    stopping.mode = "upwards"
    with pytest.raises(ValueError, match="mode='upwards'"):
        model.fit(X, Y, verbose=0, callbacks=[stopping])
    logger = callbacks.CSVLogger(tmp_path / "a.csv")
    logger.filename, logger.separator = str(tmp_path / "b.csv"), ";"
    model.fit(X, Y, verbose=0, callbacks=[logger])
    assert (tmp_path / "b.csv").read_text().startswith("epoch;") and not list(
        tmp_path.glob("a.csv")
    )
    scheduler = callbacks.LearningRateScheduler(lambda epoch, rate: 0.1)
    scheduler.schedule = lambda epoch, rate: 0.25
    model.fit(X, Y, verbose=0, callbacks=[scheduler])
    assert model.optimizer.learning_rate == 0.25


def test_metrics_and_initializers_are_what_their_attributes_say():
    binary = scratchnet.metrics.BinaryAccuracy()
    binary.threshold = 0.9
    assert binary([[1.0], [1.0]], [[0.8], [0.95]]) == 0.5
    with pytest.raises((TypeError, ValueError)):
        binary.threshold = "high"
    glorot = initializers.GlorotUniform(seed=1)
    glorot.seed = 2
    assert np.array_equal(glorot((3, 2)), initializers.GlorotUniform(seed=2)((3, 2)))
    for wrong in ("x", -1, 1.5, True, object()):
        with pytest.raises(ValueError, match="seed="):
            glorot.seed = wrong
        with pytest.raises(ValueError, match="seed="):
            initializers.HeNormal(seed=wrong)


def test_an_engine_and_an_objective_may_be_handed_over():
    model = network()
    model.engine = get_engine("reference")
    model.objective = Objective(model.loss, "softmax")
    model.threads = 1
    model.fit(X, Y, verbose=0)
    for name in ("threads", "engine", "objective", "optimizer"):
        with pytest.raises(ValueError, match=name):
            setattr(model, name, "none")


# --- what is not there yet ------------------------------------------------------------------------


def test_hasattr_says_whether_it_is_there_and_never_raises():
    unbuilt, empty = network("new"), Sequential()
    for model in (unbuilt, empty):
        for name in dir(model):
            hasattr(model, name)
        for name in ("input_shape", "output_shape", "optimizer", "loss", "objective"):
            assert not hasattr(model, name)
        assert model.weights == [] == model.trainable_weights and not model.built
    dense = layers.Dense(3)
    for layer in (dense, layers.Flatten(), layers.Rescaling(2)):
        for name in dir(layer):
            hasattr(layer, name)
        assert not hasattr(layer, "output_shape")
    assert not hasattr(dense, "kernel") and not hasattr(dense, "bias")
    assert getattr(unbuilt, "output_shape", "none") == "none"
    with pytest.raises(AttributeError, match="has no weights yet: give it an Input"):
        unbuilt.input_shape  # noqa: B018
    with pytest.raises(ValueError, match="has no weights yet"):
        unbuilt.count_params()
    built = network("built")
    for name in ("input_shape", "output_shape"):
        assert hasattr(built, name)
    assert hasattr(built.layers[2], "kernel") and hasattr(built.layers[2], "bias")
