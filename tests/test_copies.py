"""A copy is a whole model of its own: the same to the bit, sharing nothing, training on alike.

However it is made (`copy`, `pickle`, joblib, cloudpickle, another process), of whatever model (not
built, fitted, frozen, in the middle of a fit, of one's own classes), and of the parts alone.
"""

from __future__ import annotations

import copy
import io
import json
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import scratchnet
from scratchnet import Input, Sequential, callbacks, config, initializers, layers, optimizers
from scratchnet.engines import get_engine, reference

cloudpickle = pytest.importorskip("cloudpickle")

RNG = np.random.default_rng(3)
X = RNG.normal(size=(64, 5)).astype(np.float32)
Y = (X.sum(1) > 0).astype(int)
LOSS = "sparse_categorical_crossentropy"


def by_joblib(thing):
    file = io.BytesIO()
    joblib.dump(thing, file)
    file.seek(0)
    return joblib.load(file)


WAYS = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "in a list in a dict": lambda thing: copy.deepcopy({"all": [thing]})["all"][0],
    "joblib": by_joblib,
    "cloudpickle": lambda thing: pickle.loads(cloudpickle.dumps(thing)),
    "a copy of a copy": lambda thing: copy.deepcopy(pickle.loads(pickle.dumps(thing))),
    **{
        f"pickle, protocol {n}": lambda thing, n=n: pickle.loads(pickle.dumps(thing, n))
        for n in (0, 2, pickle.HIGHEST_PROTOCOL)
    },
}


class Shift(layers.Layer):
    """A layer of one's own: learns what to add."""

    def parameters(self, input_shape):
        return {"by": (input_shape, initializers.Zeros())}

    def forward(self, X, params, engine):
        return X + params["by"], None

    def backward(self, dZ, cache, params, grads, engine, need_dX=True):
        grads["by"][...] = dZ.sum(axis=0)
        return dZ


class Careful(Sequential):
    """A model of one's own, with a step of its own and things in its attributes."""

    def __init__(self, stack, seed=None):
        super().__init__(stack, seed=seed)
        self.notes = {"steps": 0, "head": self.layers[-1]}

    def train_step(self, batch):
        self.notes["steps"] += 1
        return super().train_step(batch)


def half(y_true, y_pred):
    return np.full(len(y_true), 0.5)


def network(kind=Sequential, optimizer=None, extra=(), metrics=("accuracy",), **options):
    stack = [layers.Dense(7, "relu"), *extra, layers.Dense(2, "softmax")]
    model = kind([Input((5,)), *stack], seed=options.pop("seed", 4))
    model.compile(optimizer or optimizers.Adam(0.02), LOSS, metrics=list(metrics), **options)
    return model


def fitted(**options):
    model = network(**options)
    model.fit(X, Y, batch_size=10, epochs=2, verbose=0, validation_split=0.2)
    return model


def unbuilt():
    model = Sequential([layers.Dense(7, "relu"), layers.Dense(2, "softmax")], seed=2)
    model.compile("adam", LOSS)
    return model


def uncompiled():
    return Sequential([Input((5,)), layers.Dense(7), layers.Dense(2, "softmax")], seed=2)


def double():
    config.set_floatx("float64")
    return fitted()


def frozen():
    model = network()
    model.layers[0].trainable = False
    model.fit(X, Y, verbose=0)
    return model


def thawed():
    """Frozen after it was fitted, so that slots of the frozen layer rest."""
    model = fitted()
    model.layers[0].trainable = False
    model.fit(X, Y, verbose=0)
    return model


def popped():
    model = fitted(extra=[layers.Dense(3)])
    head = model.pop()
    model.pop()
    model.add(layers.Dense(4, "tanh"))
    model.add(layers.Dense(2, "softmax", name="new"))
    model.compile("adam", LOSS)
    model.fit(X, Y, verbose=0)
    model.removed = head
    return model


def one_generator():
    """One Generator behind the model and an initializer."""
    rng = np.random.default_rng(8)
    stack = [layers.Dense(7, kernel_initializer=initializers.GlorotUniform(rng)), layers.Dense(2)]
    model = Sequential(stack, seed=rng)
    model.compile("sgd", scratchnet.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


MODELS = {
    "not built": unbuilt,
    "not compiled": uncompiled,
    "compiled": network,
    "fitted": fitted,
    "float64": double,
    "amsgrad": lambda: fitted(optimizer=optimizers.Adam(0.02, amsgrad=True)),
    "nesterov": lambda: fitted(optimizer=optimizers.SGD(0.1, momentum=0.9, nesterov=True)),
    "plain sgd": lambda: fitted(optimizer="sgd"),
    "frozen": frozen,
    "thawed": thawed,
    "popped": popped,
    "of one's own class": lambda: fitted(kind=Careful),
    "with a layer of one's own": lambda: fitted(extra=[Shift()]),
    "with metrics of all kinds": lambda: fitted(
        metrics=["acc", half, scratchnet.metrics.SparseCategoricalAccuracy("mine")]
    ),
    "one generator": one_generator,
    "trained by batches": lambda: stepped(),
}


def stepped():
    model = network()
    for start in range(0, 64, 16):
        model.train_on_batch(X[start : start + 16], Y[start : start + 16])
    return model


def told(config):
    """A config as text: two Generators are the same if their states are."""
    return json.dumps(config, sort_keys=True, default=lambda rng: rng.bit_generator.state)


def state(model):
    """Everything that decides what a model does next, and what it tells."""
    optimizer = getattr(model, "optimizer", None)
    return {
        "theta": model.theta.tobytes(),
        "grad": model.grad.tobytes(),
        "layers": [
            (type(layer), told(layer.get_config()), layer.input_shape) for layer in model.layers
        ],
        "params": [{k: v.tobytes() for k, v in own.items()} for own in model.params],
        "rng": model.rng.bit_generator.state,
        "metrics": [(metric.name, metric.result()) for metric in model.metrics],
        "history": model.history and (model.history.history, model.history.epoch),
        "flags": (model.name, model.built, model.compiled, model.stop_training, model.trainable),
        "optimizer": optimizer
        and (
            optimizer.get_config(),
            optimizer.iterations,
            {name: slot.tobytes() for name, slot in optimizer.slots.items()},
        ),
        "engine": model.engine,
        "threads": model.threads,
    }


def arrays_of(model):
    slots = model.optimizer.slots.values() if model.compiled else ()
    return [model.theta, model.grad, *slots, *model.weights]


def go_on(model):
    """What comes of the model if it is trained from here on."""
    if not model.compiled:
        model.compile("adam", LOSS)
    history = model.fit(X, Y, batch_size=9, epochs=2, verbose=0).history
    return history, state(model), model.predict(X, verbose=0).tobytes()


@pytest.mark.filterwarnings("ignore:'shift', a Shift:UserWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MODELS)
def test_a_copy_is_the_same_shares_nothing_and_goes_on_alike(kind, way, engine):
    model = MODELS[kind]()
    before = state(model)
    twin = WAYS[way](model)
    assert twin is not model and type(twin) is type(model)
    assert state(twin) == before == state(model)
    assert not any(np.shares_memory(a, b) for a in arrays_of(model) for b in arrays_of(twin))
    assert not {*map(id, twin.layers)} & {*map(id, model.layers)}

    trained = go_on(twin)
    assert state(model) == before, "the original moved with its copy"
    assert go_on(model) == trained
    assert all(np.shares_memory(array, twin.theta) for array in twin.weights)
    assert twin.theta.ctypes.data % 64 == 0


def test_a_copy_made_in_the_middle_of_a_fit_is_whole_and_free(engine):
    kept = []

    class Keep(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept.append(copy.deepcopy(self.model))

        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                kept.append(pickle.loads(pickle.dumps(self.model)))

    model = network()
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0, callbacks=[Keep()])
    in_batch, first, _, last = kept
    assert last.theta.tobytes() == model.theta.tobytes() and last.optimizer.iterations == 8
    assert first.optimizer.iterations == 4 and in_batch.optimizer.iterations == 4
    # The order of the second epoch was not drawn yet: a copy draws the same, and goes the same way.
    with ThreadPoolExecutor(1) as pool:  # in a thread other than the one that trained the model
        pool.submit(first.fit, X, Y, batch_size=16, verbose=0).result()
    assert first.theta.tobytes() == model.theta.tobytes()


def test_the_history_and_every_callback_can_be_copied_with_their_model(engine, tmp_path):
    model = network()
    given = [
        callbacks.EarlyStopping("loss", patience=5, restore_best_weights=True),
        callbacks.LearningRateScheduler(rate),
        callbacks.CSVLogger(tmp_path / "log.csv"),
        callbacks.LambdaCallback(on_epoch_end=note),
        callbacks.History(),
    ]
    fit = model.fit(X, Y, epochs=3, verbose=0, callbacks=given)
    for way in WAYS.values():
        for callback in (*given, fit):
            twin = way(callback)
            assert type(twin) is type(callback)
            if way is not copy.copy:  # of a plain object Python's own copy is a shallow one
                assert state(twin.model) == state(model) and twin.model is not model
        again = way(model)
        assert again.history.model is again
    stopping = pickle.loads(pickle.dumps(given[0]))
    assert [w.tobytes() for w in stopping.best_weights] == [
        w.tobytes() for w in given[0].best_weights
    ]
    stopping.model.fit(X, Y, epochs=2, verbose=0, callbacks=[stopping])


def rate(epoch, rate):
    return rate * 0.9


def note(epoch, logs):
    pass


@pytest.mark.parametrize("way", WAYS)
def test_a_layer_alone_is_copied_with_arrays_of_its_own_and_into_no_model(way):
    model = fitted()
    layer = model.layers[0]
    twin = WAYS[way](layer)
    assert [w.tobytes() for w in twin.weights] == [w.tobytes() for w in layer.weights]
    assert not any(np.shares_memory(w, model.theta) for w in twin.weights)
    if way != "a copy of a copy":  # numpy's own bytes: it holds what it has, not a whole theta
        assert len(pickle.dumps(twin)) < len(pickle.dumps(model)) / 2
    other = Sequential([Input((5,))])
    other.add(twin)  # as in Keras, it brings its weights along
    other.add(layers.Dense(2, "softmax"))
    other.compile("adam", LOSS)
    before = layer.kernel.copy()
    other.fit(X, Y, verbose=0)
    assert np.array_equal(layer.kernel, before) and not np.array_equal(twin.kernel, before)
    assert np.shares_memory(twin.kernel, other.theta)


def test_a_layer_that_knows_its_model_is_copied_from_either_end():
    """A circle, which reaches the model before its layers are there again."""
    model = fitted()
    model.layers[0].home = model
    for way in (copy.deepcopy, by_joblib, WAYS["cloudpickle"], WAYS["pickle, protocol 0"]):
        for twin in (way(model), way(model.layers[0]).home, way(model.layers)[0].home):
            assert twin is not model and twin.layers[0].home is twin
            assert state(twin) == state(model)
            assert go_on(twin) == go_on(way(model))


@pytest.mark.parametrize("way", WAYS)
def test_what_two_models_share_is_shared_by_their_copies(way, engine):
    shared = optimizers.Adam(0.02)
    first, second = network(optimizer=shared), network()
    second.compile(shared, LOSS)
    first.fit(X, Y, verbose=0)
    one, two = WAYS[way]([first, second]) if way != "copy" else copy.deepcopy([first, second])
    assert one.optimizer is two.optimizer is not shared
    one.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match="originally built with"):
        two.fit(X, Y, verbose=0)


@pytest.mark.parametrize("way", WAYS)
def test_an_optimizer_alone_keeps_its_state_and_serves_a_model_of_the_same_sizes(way, engine):
    """So that a state can be put by and taken up again. Keras gives a fresh optimizer instead."""
    model = fitted()
    kept, at = WAYS[way](model.optimizer), model.theta.copy()
    assert kept.iterations == model.optimizer.iterations
    assert kept.slots["velocity"].tobytes() == model.optimizer.slots["velocity"].tobytes()
    rng = copy.deepcopy(model.rng)
    model.fit(X, Y, verbose=0)
    went = model.theta.copy()
    model.theta[:], model.rng = at, rng
    model.compile(kept, LOSS)
    model.fit(X, Y, verbose=0)
    assert model.theta.tobytes() == went.tobytes()
    other = Sequential([Input((5,)), layers.Dense(9), layers.Dense(2, "softmax")])
    other.compile(WAYS[way](model.optimizer), LOSS)
    with pytest.raises(ValueError, match="originally built with"):
        other.fit(X, Y, verbose=0)


def test_engines_stay_themselves_and_what_was_swapped_in_them_comes_along():
    for name in ("reference", "compiled"):
        for way in WAYS.values():
            assert way(get_engine(name)) is get_engine(name)
    model = network(engine="compiled")
    model.engine = replace(get_engine("compiled"), dense=twice_dense)
    for way in WAYS.values():
        twin = way(model)
        assert twin.engine.dense is twice_dense and twin.engine.fused is model.engine.fused
        assert np.array_equal(twin(X), model(X))


def twice_dense(X, W, b):
    return reference.dense(X, 2 * W, b)


def train_elsewhere(model):
    return go_on(model)


def test_a_model_trains_in_another_process_as_it_would_here(engine):
    model = fitted(engine=engine)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(train_elsewhere, (model,))
    assert there == go_on(copy.deepcopy(model))


def test_copies_train_side_by_side_in_threads_as_one_after_the_other(engine):
    models = [fitted(seed=seed) for seed in range(4)]
    expected = [go_on(copy.deepcopy(model)) for model in models]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda model: go_on(copy.deepcopy(model)), models)) == expected
    assert (
        joblib.Parallel(2, prefer="threads")(
            joblib.delayed(go_on)(copy.copy(model)) for model in models
        )
        == expected
    )


class Net(ClassifierMixin, BaseEstimator):
    """What people write around a model to use it in scikit-learn."""

    def __init__(self, model=None):
        self.model = model

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.model_ = copy.deepcopy(self.model)
        self.model_.fit(X, y, epochs=3, verbose=0)
        return self

    def predict(self, X):
        return self.model_.predict(X, verbose=0).argmax(axis=1)


def test_scikit_learn_clones_fits_and_stores_pipelines_of_models():
    model = network()
    before = state(model)
    pipeline = make_pipeline(StandardScaler(), Net(model))
    twin = clone(pipeline)
    assert twin[-1].model is not model and state(twin[-1].model) == before
    assert state(clone(model, safe=False)) == before
    scores = cross_val_score(pipeline, X, Y, cv=3)
    assert list(cross_val_score(clone(pipeline), X, Y, cv=3)) == list(scores)
    pipeline.fit(X, Y)
    for way in (by_joblib, copy.deepcopy):
        again = way(pipeline)
        assert np.array_equal(again.predict(X), pipeline.predict(X))
        assert go_on(again[-1].model_) == go_on(copy.deepcopy(pipeline[-1].model_))
    assert state(model) == before


def test_a_lambda_is_refused_by_pickle_and_copied_by_who_can():
    model = fitted(metrics=[lambda y_true, y_pred: np.ones(len(y_true))])
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(model)
    for way in ("deepcopy", "copy", "cloudpickle"):
        assert state(WAYS[way](model)) == state(model)


def test_a_layer_belongs_to_one_model():
    shared = layers.Dense(3)
    Sequential([shared])  # not built: it would be, twice
    for model in (Sequential(), Sequential([Input((5,))])):
        with pytest.raises(ValueError, match=r"in a model already.*: make a new one"):
            model.add(shared)
        assert not model.layers
    model = Sequential([Input((5,)), layers.Dense(4), layers.Dense(2)], seed=0)
    top = model.pop()
    kernel = top.kernel.copy()
    with pytest.raises(ValueError, match=r"built for samples of shape \(4,\): got \(5,\)"):
        Sequential([Input((5,))]).add(top)
    assert not top.in_model and np.array_equal(top.kernel, kernel)
    model.add(top)
    assert np.array_equal(model.weights[2], kernel) and np.shares_memory(top.kernel, model.theta)
