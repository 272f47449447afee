"""fit, evaluate and predict on batches that come one by one, beside live Keras in float64."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import scratchnet
from keras_ref import bridge
from scratchnet import Input, Sequential, config, layers, utils
from scratchnet.callbacks import BackupAndRestore, Callback

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 8))
Y = (X.sum(1) > 0).astype("int32")
WEIGHTS = RNG.uniform(0, 2, 70)
BOUND = 1e-12
SIZES = (10, 7, 13, 10, 1, 19, 10)
ENDS = np.cumsum(SIZES)
GONE = "ran out of data"


@pytest.fixture(autouse=True)
def doubles():
    config.set_floatx("float64")
    with bridge.floatx("float64"):
        yield
    config.set_floatx("float32")


def batches(count=7, weighted=False, parts=3):
    """Batches of several sizes; from the eighth on they begin anew."""
    for i in range(count):
        rows = slice(ENDS[i % 7] - SIZES[i % 7], ENDS[i % 7])
        yield (X[rows], Y[rows], WEIGHTS[rows])[: parts if weighted else min(parts, 2)]


class Chunks:
    def __len__(self):
        return 7

    def __getitem__(self, i):
        return list(batches())[i]


class TheirChunks(Chunks, keras.utils.PyDataset):
    pass


class OurChunks(Chunks, utils.PyDataset):
    pass


def pair(engine, metrics=("accuracy",), weighted=("accuracy",), optimizer="adam"):
    ours = Sequential([Input((8,)), layers.Dense(6, "relu"), layers.Dense(2, "softmax")], seed=3)
    ours.compile(optimizer, "sparse_categorical_crossentropy", engine=engine)
    theirs = bridge.twin(ours)
    asked = {"metrics": [*metrics], "weighted_metrics": [*weighted]}
    ours.compile(ours.optimizer, ours.loss, **asked, engine=engine)
    theirs.compile(optimizer, "sparse_categorical_crossentropy", **asked, run_eagerly=True)
    return ours, theirs


def close(ours, theirs):
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=BOUND, atol=BOUND)


def same_history(mine, other):
    assert set(mine) == set(other)
    for name, numbers in other.items():
        np.testing.assert_allclose(mine[name], numbers, rtol=1e-10, err_msg=name)


RUNS = {
    "one pass": (batches, {}),
    "steps": (lambda: batches(21), {"steps_per_epoch": 5, "epochs": 4}),
    "all of them": (lambda: batches(14), {"steps_per_epoch": 7, "epochs": 2}),
    "sample weights": (lambda: batches(9, True), {"steps_per_epoch": 3, "epochs": 3}),
    "runs out": (batches, {"steps_per_epoch": 9}),
    "initial epoch": (lambda: batches(9), {"steps_per_epoch": 3, "epochs": 3, "initial_epoch": 1}),
    "validated": (
        lambda: batches(6),
        {
            "steps_per_epoch": 3,
            "epochs": 2,
            "validation_data": lambda: batches(2, True),
            "validation_steps": 2,
        },
    ),
    "validation on arrays": (
        lambda: batches(6),
        {"steps_per_epoch": 3, "epochs": 2, "validation_data": lambda: (X, Y, WEIGHTS)},
    ),
}


def beside_keras(fit):
    """`fit(model)` on both engines and in Keras: the same weights and history."""
    models, histories = [], []
    for engine in ("compiled", "reference"):
        ours, theirs = pair(engine)
        models.append(ours)
    for model in (*models, theirs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            histories.append(fit(model).history)
    for ours, history in zip(models, histories[:-1], strict=True):
        close(ours, theirs)
        same_history(history, histories[-1])


@pytest.mark.parametrize("run", RUNS)
def test_fit_on_a_generator_is_keras_fit(run):
    make, asked = RUNS[run]

    def fit(model):
        own = {name: v() if callable(v) else v for name, v in asked.items()}
        return model.fit(make(), **own, verbose=0, shuffle=False)

    beside_keras(fit)


PASSES = {
    "whole": {"epochs": 3},
    "steps": {"epochs": 4, "steps_per_epoch": 5},
    "more than there are": {"epochs": 2, "steps_per_epoch": 9},
    "class weights": {"epochs": 2, "class_weight": {0: 1, 1: 3}},
    "validated": {"epochs": 2, "validation_data": None, "validation_steps": 3},
}


@pytest.mark.parametrize("run", PASSES)
def test_fit_on_a_py_dataset_is_keras_fit(run):
    def fit(model):
        kind = OurChunks if isinstance(model, Sequential) else TheirChunks
        asked = PASSES[run] | ({"validation_data": kind()} if run == "validated" else {})
        return model.fit(kind(), **asked, verbose=0, shuffle=False)

    beside_keras(fit)


def test_keras_own_dataset_and_tf_data_are_taken_too():
    table = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    for source in (TheirChunks(), table):
        ours, theirs = pair("reference")
        for model in (ours, theirs):
            model.fit(source, epochs=2, verbose=0, shuffle=False)
        close(ours, theirs)
        np.testing.assert_allclose(
            ours.predict(source), theirs.predict(source, verbose=0), rtol=1e-10
        )


@pytest.mark.parametrize("engine", ["reference", "compiled"])
def test_evaluate_and_predict(engine):
    ours, theirs = pair(engine)
    for make, steps in ((batches, None), (batches, 3), (lambda: batches(7, True), 5)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = {"steps": steps, "verbose": 0, "return_dict": True}
            same_history(*(m.evaluate(make(), **asked) for m in (ours, theirs)))
            mine, other = (m.predict(make(), steps=steps, verbose=0) for m in (ours, theirs))
            np.testing.assert_allclose(mine, other, rtol=BOUND)
    assert ours.predict((x,) for x, _ in batches()).shape == (70, 2)
    with pytest.warns(UserWarning, match="after 7 batches: steps=8 asked"):
        ours.evaluate(batches(), steps=8, verbose=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, b: m.fit(b(), Y),
        lambda m, b: m.fit(b(), sample_weight=WEIGHTS),
        lambda m, b: m.fit(b(), class_weight={0: 1}),
        lambda m, b: m.fit(b(), validation_split=0.2),
        lambda m, b: m.fit(b(0)),
        lambda m, b: m.fit([*batch] for batch in b()),
        lambda m, b: m.fit(batch[0] for batch in b()),
        lambda m, b: m.fit((*batch, 1, 2) for batch in b()),
        lambda m, b: m.fit(b(parts=1)),
        lambda m, b: m.evaluate(b(), Y),
        lambda m, b: m.predict(batch[0] for batch in b()),
    ],
)
def test_refused_as_in_keras(call):
    ours, theirs = pair("reference")
    before = ours.get_weights()
    for model in (theirs, ours):
        with warnings.catch_warnings(), pytest.raises(ValueError):
            warnings.simplefilter("ignore")
            call(model, batches)
    assert all(map(np.array_equal, before, ours.get_weights()))


class Events(Callback):
    def __init__(self):
        self.seen = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(0)

    def on_train_batch_end(self, batch, logs=None):
        self.seen[-1] += 1


def test_a_generator_that_is_at_its_end_ends_training():
    ours, _ = pair("reference")
    events = Events()
    with pytest.warns(UserWarning, match="no batch left for epoch 2 of 3"):
        history = ours.fit(batches(), epochs=3, verbose=0, callbacks=[events])
    assert (events.seen, history.epoch, events.params["steps"]) == ([7], [0], None)
    with pytest.warns(UserWarning) as told:
        ours.fit(batches(), epochs=3, steps_per_epoch=5, verbose=0, callbacks=[events])
    assert events.seen == [7, 5, 2]
    texts = " ".join(str(warning.message) for warning in told)
    assert "after 2 batches: steps_per_epoch=5" in texts and "no batch left for epoch 3" in texts


def test_no_batch_is_taken_beyond_the_steps():
    ours, _ = pair("reference")
    source = batches(20)
    ours.fit(source, epochs=2, steps_per_epoch=3, verbose=0)
    assert len(list(source)) == 14
    source = batches(20)
    ours.evaluate(source, steps=3, verbose=0)
    ours.predict(source, steps=3)
    assert len(list(source)) == 14


def test_a_bad_batch_and_a_generator_that_raises_name_what_went_wrong():
    ours, _ = pair("reference")

    def bad():
        yield from batches(3)
        yield X[:4], Y[:5]

    with pytest.raises(ValueError, match=r"batch 3 of the generator: y has 5 samples, x has 4"):
        ours.fit(bad(), verbose=0)

    def broken():
        yield from batches(3)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        ours.fit(broken(), verbose=0)
    assert np.isfinite(ours.theta).all()

    def not_finite():
        yield from batches(2)
        yield 1e200 * X[:4], Y[:4]

    ours.layers[0].params["kernel"][...] = 1e150
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="epoch 1, batch"):
        ours.fit(not_finite(), verbose=0)


def test_a_fit_from_batches_cannot_be_resumed_and_says_so(tmp_path):
    ours, _ = pair("reference")
    with pytest.raises(ValueError, match="from a generator, which can't be put back"):
        ours.fit(batches(), verbose=0, callbacks=[BackupAndRestore(tmp_path / "b")])
    assert ours.optimizer.iterations == 0


def test_batches_of_a_data_set_are_shuffled_and_told_of_epochs():
    class Told(OurChunks):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __getitem__(self, i):
            self.seen.append(i)
            return super().__getitem__(i)

        def on_epoch_begin(self):
            self.seen.append("begin")

        def on_epoch_end(self):
            self.seen.append("end")

    ours, _ = pair("reference")
    told = Told()
    ours.fit(told, epochs=2, verbose=0)
    first, epochs = told.seen[0], told.seen[1:]
    assert first == 0 and [epochs[0], epochs[8], epochs[9], epochs[17]] == ["begin", "end"] * 2
    passes = epochs[1:8], epochs[10:17]
    assert all(sorted(one) == [*range(7)] for one in passes) and passes[0] != passes[1]


def test_a_model_without_a_shape_is_built_by_the_first_batch():
    model = Sequential([layers.Dense(2, "softmax")], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match="batch_size=4 is ignored"):
        model.fit(batches(), batch_size=4, verbose=0)
    assert model.input_shape == (None, 8)
    assert model.evaluate(batches(), verbose=0) > 0
    with pytest.raises(TypeError):
        model.train_on_batch(batches())


def test_a_model_without_a_loss_predicts_and_says_what_it_lacks(tmp_path):
    model, theirs = Sequential([layers.Dense(2)]), keras.Sequential([keras.layers.Dense(2)])
    for each in (model, theirs):
        each.compile("sgd", metrics=["accuracy"])
        assert each.compiled and each.loss is None
        assert each.predict(X, verbose=0).shape == (70, 2)
        for call in ("fit", "evaluate", "train_on_batch", "test_on_batch"):
            with pytest.raises(ValueError, match=r"(?i)no loss to compute"):
                getattr(each, call)(X, Y)
    for name in ("m.npz", "m.keras"):
        model.save(tmp_path / name)
        again = scratchnet.models.load_model(tmp_path / name)
        assert again.loss is None and np.array_equal(again.predict(X), model.predict(X))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    model.compile("adam")
    assert model.loss is not None


def test_a_validation_generator_is_read_once():
    ours, _ = pair("reference")
    ours.optimizer.learning_rate = 0.0
    source = batches(20)
    history = ours.fit(
        X, Y, epochs=3, verbose=0, validation_data=source, validation_steps=4
    ).history["val_loss"]
    assert len(list(source)) == 16 and history[0] == history[1] == history[2]


def test_any_iterator_is_a_generator():
    first, second = (pair("reference")[0] for _ in range(2))
    parts = [X[:32], X[32:]], [Y[:32], Y[32:]]
    first.fit(zip(*parts, strict=True), verbose=0)
    second.fit(X, Y, batch_size=38, steps_per_epoch=2, shuffle=False, verbose=0)
    assert first.optimizer.iterations == second.optimizer.iterations == 2
    third, _ = pair("reference")
    third.fit(iter([(X[:38], Y[:38]), (X[38:], Y[38:])]), verbose=0)
    assert np.array_equal(second.theta, third.theta)
