"""A model's state as live Keras has it: copies, frozen layers, optimizers' slots, attributes.

Each case is run in Keras and here with the same weights and data, in float64 where numbers are
compared. What is different on purpose is said and shown where it is.
"""

from __future__ import annotations

import copy
import inspect
import pickle

import keras
import numpy as np
import pytest

from keras_ref import bridge
from scratchnet import Input, Sequential, callbacks, config, layers, losses, metrics, optimizers

RNG = np.random.default_rng(5)
X = RNG.normal(size=(48, 6))
Y = RNG.integers(0, 3, 48)
LOSS = "sparse_categorical_crossentropy"
EXACT = 1e-12

pytestmark = pytest.mark.usefixtures("float64_in_both")


def pair(optimizer="adam", compiled=True, engine="reference", trainable=(True, True, True)):
    """A model and Keras's with the same weights, and an optimizer each."""
    sizes, heads = (5, 4, 3), ("relu", "softmax", "softmax")
    stacks = [
        [
            room.Dense(n, f, name=f"layer{i}", trainable=t)
            for i, (n, f, t) in enumerate(zip(sizes, heads, trainable, strict=True))
        ]
        for room in (layers, keras.layers)
    ]
    ours = Sequential([Input((6,)), *stacks[0]], seed=0)
    theirs = keras.Sequential([keras.Input((6,)), *stacks[1]])
    theirs.set_weights(ours.get_weights())
    if compiled:
        ours.compile(made(optimizers, optimizer), LOSS, metrics=["accuracy"], engine=engine)
        theirs.compile(made(keras.optimizers, optimizer), LOSS, metrics=["accuracy"])
    return ours, theirs


def made(room, name):
    return {
        "adam": lambda: room.Adam(0.01),
        "amsgrad": lambda: room.Adam(0.01, amsgrad=True),
        "sgd": lambda: room.SGD(0.1),
        "momentum": lambda: room.SGD(0.1, momentum=0.9, nesterov=True),
    }[name]()


def fit(model, **options):
    options = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0} | options
    return model.fit(X, Y, **options).history


def same(ours, theirs):
    for mine, kerass in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, kerass, rtol=0, atol=EXACT)


# --- frozen layers --------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize("optimizer", ["adam", "amsgrad", "sgd", "momentum"])
@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 1), (1, 2)])
def test_frozen_layers_train_as_in_keras(frozen, optimizer, engine):
    models = pair(optimizer, engine=engine)
    for model in models:
        for i in frozen:
            model.layers[i].trainable = False
    histories = [fit(model) for model in models]
    same(*models)
    for name in histories[1]:
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=EXACT)
    ours, theirs = models
    for kind in ("trainable_weights", "non_trainable_weights", "trainable_variables", "weights"):
        shapes = [[tuple(w.shape) for w in getattr(model, kind)] for model in models]
        assert shapes[0] == shapes[1]
    slots = sum(slot.size for slot in ours.optimizer.slots.values())
    assert slots + 2 == sum(int(np.prod(v.shape)) for v in theirs.optimizer.variables)
    assert ours.optimizer.iterations == int(theirs.optimizer.iterations)


def counts(model):
    lines = []
    model.summary(print_fn=lambda text, **_: lines.extend(text.splitlines()))
    return [line.strip() for line in lines if " params: " in line]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["adam", "amsgrad", "sgd", "momentum"])
def test_the_summary_counts_as_keras_does(optimizer, dtype):
    config.set_floatx(dtype)
    with bridge.floatx(dtype):
        models = pair(optimizer)
        for model in models:
            model.layers[1].trainable = False
        assert counts(models[0]) == counts(models[1])
        for model in models:
            fit(model)
        assert counts(models[0]) == counts(models[1]) and len(counts(models[0])) == 4


def test_flags_of_model_and_layers_as_in_keras():
    def flags(model):
        return model.trainable, [layer.trainable for layer in model.layers]

    steps = [
        lambda model: None,
        lambda model: setattr(model.layers[1], "trainable", False),
        lambda model: setattr(model, "trainable", False),
        lambda model: setattr(model.layers[0], "trainable", True),
        lambda model: setattr(model, "trainable", True),
        lambda model: setattr(model.layers[0], "trainable", 0),
        lambda model: setattr(model.layers[0], "trainable", "yes"),
        lambda model: setattr(model.layers[0], "trainable", None),
    ]
    models = pair()
    for step in steps:
        seen = []
        for model in models:
            step(model)
            seen.append((flags(model), len(model.trainable_weights)))
        assert seen[0] == seen[1]
    for room, kind in ((layers, Sequential), (keras.layers, keras.Sequential)):
        model = kind([room.Dense(3), room.Dense(2)], trainable=False)
        model.build((None, 4))
        assert (flags(model), model.trainable_weights) == ((False, [True, True]), [])
        config_ = room.Dense(3, trainable=False).get_config()
        assert config_["trainable"] is False and room.Dense(3).get_config()["trainable"] is True


def test_a_model_of_frozen_layers_warns_and_takes_no_step_in_keras_too():
    models = pair()
    for model in models:
        model.trainable = False
        with pytest.warns(UserWarning, match="does not have any trainable weights"):
            fit(model)
        assert int(model.optimizer.iterations) == 0
    same(*models)


def test_freezing_after_compile_and_before_the_first_fit_counts_as_in_keras():
    models = pair()
    for model in models:
        model.layers[0].trainable = False
        fit(model)
    same(*models)


def test_freezing_after_a_fit_counts_at_once_and_in_keras_only_at_its_next_trace():
    """On purpose. Keras goes on with the function that it traced, until `compile`, or until a batch
    of another size is traced anew: then it, too, leaves frozen layers alone."""
    ours, theirs = pair()
    for model in (ours, theirs):
        fit(model)
        model.layers[0].trainable = False
    before = [model.get_weights() for model in (ours, theirs)]
    for model in (ours, theirs):
        fit(model)
    assert np.array_equal(ours.get_weights()[0], before[0][0])
    assert not np.array_equal(theirs.get_weights()[0], before[1][0])
    for model in (ours, theirs):  # with a compile between, both do the same
        model.set_weights(before[0])
        model.compile(model.optimizer, LOSS)
    at = theirs.get_weights()
    for model in (ours, theirs):
        fit(model)
        assert np.array_equal(model.get_weights()[0], at[0])


# --- whom an optimizer serves ---------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "momentum"])
def test_an_optimizer_is_refused_where_keras_refuses_it(optimizer):
    """Another model, a copy, pop and add: the same class of error with the same words."""

    def another_model(room, model):
        other = twin_of(room)
        other.compile(model.optimizer, LOSS)
        return other

    def a_copy(room, model):
        other = copy.deepcopy(model)
        other.compile(model.optimizer, LOSS)
        return other

    def pop_and_add(room, model):
        model.pop()
        model.add(room.Dense(3, "softmax"))
        model.compile(model.optimizer, LOSS)
        return model

    def as_many_parameters(room, model):
        kind, given = kinds(room)
        other = kind([given((6,)), room.Dense(6), room.Dense(3), room.Dense(5, "softmax")])
        assert other.count_params() == 83 and model.count_params() == 74
        other.compile(model.optimizer, LOSS)
        return other

    for case in (another_model, a_copy, pop_and_add, as_many_parameters):
        for room, model in zip((layers, keras.layers), pair(optimizer), strict=True):
            fit(model)
            other = case(room, model)
            for train in (fit, lambda m: m.train_on_batch(X, Y)):
                with pytest.raises(ValueError, match="Unknown variable") as caught:
                    train(other)
                assert "can only be called for the variables it was originally built with" in (
                    str(caught.value)
                )


def kinds(room):
    return (Sequential, Input) if room is layers else (keras.Sequential, keras.Input)


def twin_of(room):
    kind, given = kinds(room)
    return kind([given((6,)), room.Dense(5), room.Dense(4), room.Dense(3, "softmax")])


def test_unfreezing_what_the_optimizer_does_not_know_is_refused_after_compile():
    for model in pair():
        model.layers[0].trainable = False
        fit(model)
        model.layers[0].trainable = True
        model.compile(model.optimizer, LOSS)
        with pytest.raises(ValueError, match="Unknown variable"):
            fit(model)


@pytest.mark.parametrize("optimizer", ["adam", "amsgrad", "sgd", "momentum"])
def test_an_optimizer_goes_on_where_keras_s_goes_on(optimizer):
    """Recompiled, with a layer frozen and thawed, popped, and put back."""
    models = pair(optimizer)

    def step(act):
        for model in models:
            act(model)
            model.compile(model.optimizer, LOSS)
            fit(model)
        same(*models)
        assert models[0].optimizer.iterations == int(models[1].optimizer.iterations)

    step(lambda model: None)
    step(lambda model: setattr(model.layers[0], "trainable", False))
    step(lambda model: setattr(model.layers[2], "trainable", False))
    step(lambda model: setattr(model, "trainable", True))  # it is already: nothing, in both
    assert [layer.trainable for layer in models[0].layers] == [False, True, False]
    step(lambda model: setattr(model.layers[2], "trainable", True))
    step(lambda model: [setattr(model, "trainable", flag) for flag in (False, True)])
    removed = []
    step(lambda model: removed.append(model.pop()))
    step(lambda model: model.add(removed[-2 if model is models[0] else -1]))


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["deepcopy", "copy", "pickle"])
def test_a_copy_goes_on_as_keras_s_does(way):
    ways = {
        "deepcopy": copy.deepcopy,
        "copy": copy.copy,
        "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    }
    models = pair()
    for model in models:
        fit(model)
    twins = [ways[way](model) for model in models]
    before = [model.get_weights() for model in models]
    for twin in twins:
        assert int(twin.optimizer.iterations) == 6
        fit(twin)
    same(*twins)
    for model, weights in zip(models, before, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights, strict=True))


# --- attributes -----------------------------------------------------------------------------------

STEERING = {
    # They steer TensorFlow, and `compile` takes them without effect as well.
    *("run_eagerly", "jit_compile", "steps_per_execution", "unrolled_steps_per_execution"),
    *("distribute_reduction_method", "supports_jit", "auto_scale_loss"),
    # Told by Keras to itself.
    *("call_signature_parameters", "supports_masking", "input_spec", "compiled", "built"),
    *("lora_enabled", "backend", "compiled_metrics", "distribute_strategy"),
    *("variable_serialization_spec", "metrics", "metrics_names"),
}
"""Attributes of Keras's that may be assigned there and mean nothing for what a model computes."""


def named(thing):
    """Its public attributes that are no methods; what is fixed in Keras is refused here as well."""
    for name in dir(thing):
        found = inspect.getattr_static(type(thing), name, None)
        if not name.startswith("_") and not inspect.isroutine(found) and name not in STEERING:
            yield name


def objects():
    ours, theirs = pair()
    for model in (ours, theirs):
        fit(model)
    yield "model", ours, theirs
    yield "dense", ours.layers[0], theirs.layers[0]
    for name in ("Flatten",):
        yield name, getattr(layers, name)(), getattr(keras.layers, name)()
    yield "Rescaling", layers.Rescaling(2), keras.layers.Rescaling(2)
    yield "adam", ours.optimizer, theirs.optimizer
    for kind in ("BinaryAccuracy", "Mean", "SparseCategoricalAccuracy", "MeanSquaredError"):
        yield f"metric {kind}", getattr(metrics, kind)(), getattr(keras.metrics, kind)()
    for kind in ("SparseCategoricalCrossentropy", "CategoricalCrossentropy", "MeanSquaredError"):
        yield kind, getattr(losses, kind)(), getattr(keras.losses, kind)()


def test_what_keras_lets_people_assign_is_here_or_refused_by_name():
    """Nothing of Keras's is taken as an attribute that nobody reads."""
    silent = []
    for where, mine, kerass in objects():
        for name in named(kerass):
            if name in dir(type(mine)) or name in vars(mine):
                continue  # an attribute here: see tests/test_attributes.py
            try:
                setattr(mine, name, "something")
            except (AttributeError, ValueError, TypeError) as error:
                assert name in str(error)
            else:
                silent.append(f"{where}.{name}")
    assert not silent


def test_hasattr_as_in_keras():
    for named in ("kernel", "bias", "output_shape"):
        assert hasattr(layers.Dense(3), named) == hasattr(keras.layers.Dense(3), named) is False
    unbuilt = Sequential([layers.Dense(3)]), keras.Sequential([keras.layers.Dense(3)])
    for named in ("input_shape", "output_shape", "optimizer", "weights", "built", "layers"):
        assert hasattr(unbuilt[0], named) == hasattr(unbuilt[1], named)
    for model in unbuilt:
        with pytest.raises(ValueError):
            model.count_params()


def test_the_list_of_layers_is_a_new_one_as_in_keras():
    for model in pair():
        model.layers.pop()
        model.layers.append("x")
        assert len(model.layers) == 3
        with pytest.raises(AttributeError, match=r"add.*pop"):
            model.layers = []


def test_a_learning_rate_counts_from_the_next_batch_on_in_keras_too():
    class Slow(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer.learning_rate = 0.0

    class KerasSlow(keras.callbacks.Callback):
        on_epoch_begin = Slow.on_epoch_begin

    for engine in ("reference", "compiled"):
        models = pair(engine=engine)
        for model, slow in zip(models, (Slow(), KerasSlow()), strict=True):
            fit(model, callbacks=[slow])
        same(*models)


def test_metrics_keep_their_threshold_as_in_keras():
    for room in (metrics, keras.metrics):
        metric = room.BinaryAccuracy(threshold=0.9)
        assert float(metric.threshold) == 0.9
