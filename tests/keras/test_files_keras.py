"""Files to and from live Keras: what one writes the other loads, and both train on in step."""

from __future__ import annotations

import json
import zipfile
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_ref import bridge
from scratchnet import Input, Sequential, config, layers, losses, metrics, models, optimizers
from scratchnet.saving import SavedStateError

RNG = np.random.default_rng(11)
BATCHES, SIZE = 50, 16
X = RNG.random((BATCHES * SIZE, 7))
Y = RNG.integers(0, 4, BATCHES * SIZE)
EPOCHS = 10
"""Of 50 batches each: 500 steps."""


pytestmark = pytest.mark.usefixtures("float64_in_both")


OPTIMIZERS = {
    "adam": lambda room: room.Adam(0.002),
    "amsgrad": lambda room: room.Adam(0.002, amsgrad=True),
    "momentum": lambda room: room.SGD(0.05, momentum=0.9),
    "nesterov": lambda room: room.SGD(0.05, momentum=0.8, nesterov=True),
    "plain": lambda room: room.SGD(0.1),
}


def stack(kind, head="softmax"):
    """The same layers from either side."""
    return [
        kind.Rescaling(2.0, offset=-1.0),
        kind.Flatten(),
        kind.Dense(6, activation="tanh"),
        kind.Dense(5, activation="sigmoid", use_bias=False),
        kind.Dense(4, activation=head),
    ]


def theirs(optimizer="adam", head="softmax", **options):
    model = keras.Sequential([keras.Input((7,)), *stack(keras.layers, head)])
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | options
    model.compile(OPTIMIZERS[optimizer](keras.optimizers), jit_compile=False, **options)
    return model


def ours(optimizer="adam", head="softmax", **options):
    model = Sequential([Input((7,)), *stack(layers, head)], seed=2)
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | options
    model.compile(OPTIMIZERS[optimizer](optimizers), **options)
    return model


def steps(model, epochs=EPOCHS):
    return model.fit(X, Y, SIZE, epochs=epochs, shuffle=False, verbose=0)


def apart(one, other):
    return max(
        float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True)
    )


def slots(model):
    return [variable.numpy() for variable in model.optimizer.variables]


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize("kind", ["adam", "amsgrad", "momentum"])
def test_keras_writes_we_train_500_steps_and_keras_500_more(kind, engine, tmp_path):
    """Within 1e-12 of Keras going on alone for 1,000 steps."""
    config.set_engine(engine)
    there, back = tmp_path / "there.keras", tmp_path / "back.keras"
    alone = theirs(kind)
    steps(alone, 2)
    alone.save(there)
    mine = models.load_model(there)
    assert mine.optimizer.iterations == 100
    steps(mine)
    mine.save(back)
    again = keras.models.load_model(back)
    steps(again)
    steps(alone, 2 * EPOCHS)
    assert int(again.optimizer.iterations) == int(alone.optimizer.iterations) == 1100
    assert apart(again, alone) <= 1e-12
    for left, right in zip(slots(again), slots(alone), strict=True):
        assert np.max(np.abs(left - right)) <= 1e-12 * max(np.max(np.abs(right)), 1e-3)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_we_write_and_keras_trains_on_as_we_do(kind, tmp_path):
    path = tmp_path / "model.keras"
    mine = ours(kind)
    steps(mine, 1)
    mine.save(path)
    copy = keras.models.load_model(path)
    assert [w.tolist() for w in copy.get_weights()] == [w.tolist() for w in mine.get_weights()]
    for model in (mine, copy):
        steps(model, 4)
    assert apart(mine, copy) <= 1e-12
    assert copy.optimizer.get_config()["learning_rate"] == mine.optimizer.learning_rate


def test_what_never_trained_begins_at_step_0_on_both_sides(tmp_path):
    path = tmp_path / "model.keras"
    mine = ours()
    mine.save(path)
    copy = keras.models.load_model(path)
    for model in (mine, copy):
        steps(model, 2)
    assert apart(mine, copy) <= 1e-12
    fresh = theirs()
    fresh.save(path)
    mine = models.load_model(path)
    for model in (mine, fresh):
        steps(model, 2)
    assert apart(mine, fresh) <= 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_file_says_what_it_is_whatever_the_setting(dtype, tmp_path):
    path = tmp_path / "model.keras"
    config.set_floatx(dtype)
    with bridge.floatx(dtype):
        for model in (theirs(), ours()):
            model.save(path)
            other = "float64" if dtype == "float32" else "float32"
            config.set_floatx(other)
            with bridge.floatx(other):
                assert models.load_model(path).theta.dtype == dtype
                assert keras.models.load_model(path).layers[-1].kernel.dtype == dtype
            config.set_floatx(dtype)


COMPILED = {
    "metrics by name": {"metrics": ["accuracy", "sparse_categorical_accuracy"]},
    "a metric's own name": {
        "metrics": lambda room: [room.SparseCategoricalAccuracy(name="mine")],
    },
    "weighted metrics": {"weighted_metrics": ["acc"], "metrics": None},
    "a threshold": {
        "metrics": lambda room: [room.BinaryAccuracy(threshold=0.75, name="b")],
        "loss": "mean_squared_error",
    },
    "a function": {"metrics": lambda room: [room.sparse_categorical_crossentropy]},
    "no metrics": {"metrics": None},
}


def compiled(make, room, options):
    options = {k: v(room) if callable(v) else v for k, v in options.items()}
    return make(head="sigmoid" if "loss" in options else "softmax", **options)


def fitted(model, squared):
    targets = np.eye(4)[Y] if squared else Y
    return model.fit(X, targets, SIZE, shuffle=False, verbose=0).history


def alike(one, other, squared):
    """Both train an epoch and report the same numbers under the same names."""
    left, right = fitted(one, squared), fitted(other, squared)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name] == pytest.approx(right[name], rel=1e-12)


@pytest.mark.parametrize("case", COMPILED)
def test_what_was_compiled_goes_both_ways(case, tmp_path):
    options, path = COMPILED[case], tmp_path / "model.keras"
    squared = "loss" in options
    room = SimpleNamespace(**{**vars(losses), **vars(metrics)})
    first = compiled(ours, room, options)
    first.save(path)
    alike(keras.models.load_model(path), first, squared)
    second = compiled(theirs, keras.metrics, options)
    second.save(path)
    alike(models.load_model(path), second, squared)
    second.save(path)
    third = models.load_model(path)
    third.save(path)
    alike(keras.models.load_model(path), third, squared)


def test_weights_alone_go_both_ways(tmp_path):
    path = tmp_path / "model.weights.h5"
    mine, copy = ours(), theirs()
    for model in (mine, copy):
        steps(model, 1)
    mine.save_weights(path)
    copy.load_weights(path)
    assert [w.tolist() for w in copy.get_weights()] == [w.tolist() for w in mine.get_weights()]
    assert int(copy.optimizer.iterations) == mine.optimizer.iterations
    steps(copy, 1)
    copy.save_weights(path)
    mine.load_weights(path)
    for model in (mine, copy):
        steps(model, 2)
    assert apart(mine, copy) <= 1e-12
    copy.save(tmp_path / "model.keras")
    fresh = ours("plain")
    fresh.load_weights(tmp_path / "model.keras")  # as Keras, only the weights if the state is none
    assert apart(fresh, copy) == 0


def test_an_optimizer_that_has_not_stepped_takes_no_state_as_in_keras(tmp_path):
    path = tmp_path / "model.weights.h5"
    mine = ours()
    steps(mine, 1)
    mine.save_weights(path)
    for fresh in (ours(), theirs()):
        with pytest.warns(UserWarning, match="optimizer"):
            fresh.load_weights(path)
        assert int(fresh.optimizer.iterations) == 0
        assert apart(fresh, mine) == 0


def test_a_model_built_by_its_first_data_is_read(tmp_path):
    path = tmp_path / "model.keras"
    model = keras.Sequential([keras.layers.Dense(3, "relu"), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(X, X[:, :2], verbose=0)
    model.save(path)
    mine = models.load_model(path)
    assert mine.input_shape == (None, 7)
    assert mine.predict(X) == pytest.approx(model.predict(X, verbose=0), rel=1e-12)


def test_losses_keep_their_settings(tmp_path):
    path = tmp_path / "model.keras"
    for make in (
        lambda room: room.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
        lambda room: room.CategoricalCrossentropy(label_smoothing=0.2, name="smooth"),
        lambda room: room.MeanSquaredError(reduction="mean", name="m"),
    ):
        for model, room in ((theirs, keras.losses), (ours, losses)):
            model(loss=make(room), metrics=None).save(path)
            one, other = models.load_model(path).loss, keras.models.load_model(path).loss
            found = other.get_config()
            for key, value in one.get_config().items():
                if key != "sigmoid_head":
                    assert found.get(key, value) == value == make(room).get_config().get(key, value)


class Own(keras.layers.Layer):
    pass


def furthest(y_true, y_pred):
    return keras.ops.max(y_pred, axis=-1)


def test_everything_that_is_not_built_is_named_at_once(tmp_path):
    path = tmp_path / "model.keras"
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(2, 3, name="eye"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, "gelu", kernel_constraint="max_norm", name="bent"),
            Own(name="mine"),
            keras.layers.UnitNormalization(name="unit"),
        ]
    )
    model.compile(
        keras.optimizers.Lion(0.01),
        "cosine_similarity",
        metrics=[keras.metrics.CosineSimilarity(name="cos"), furthest],
    )
    model.save(path)
    with pytest.raises(SavedStateError) as found:
        models.load_model(path)
    for name in ("Conv2D", "MaxNorm", "Own", "UnitNormalization", "Lion", "CosineSimilarity"):
        assert name in str(found.value)
    assert "furthest" in str(found.value)


REFUSED = {
    "a functional model": lambda: keras.Model(
        inputs := keras.Input((3,)), keras.layers.Dense(2)(inputs)
    ),
    "half precision": lambda: keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, dtype="float16")]
    ),
    "mixed precision": lambda: keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, dtype="mixed_float16")]
    ),
    "two dtypes": lambda: keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(2, dtype="float32"),
            keras.layers.Dense(2, dtype="float64"),
        ]
    ),
    "a sparse input": lambda: keras.Sequential(
        [keras.Input((3,), sparse=True), keras.layers.Dense(2)]
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_can_not_be_one_here_is_refused(case, tmp_path):
    path = tmp_path / "model.keras"
    REFUSED[case]().save(path)
    with pytest.raises(SavedStateError, match=r"model\.keras"):
        models.load_model(path)


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5"])
def test_the_old_format_is_refused_with_its_remedy(name, tmp_path):
    theirs().save(tmp_path / name)
    for read in (models.load_model, ours().load_weights):
        with pytest.raises(SavedStateError, match=r"save it again under a name .* \.keras"):
            read(tmp_path / name)
    with pytest.raises(ValueError, match=r"ends in \.npz or \.keras"):
        ours().save(tmp_path / name)


def test_a_lambda_is_never_made(tmp_path):
    """Keras writes its byte code into the file; safe_mode=False would run it."""
    path = tmp_path / "model.keras"
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(path)
    with pytest.raises(SavedStateError, match="Lambda"):
        models.load_model(path)
    with pytest.raises(ValueError, match="safe_mode"):
        models.load_model(path, safe_mode=False)


def test_our_extras_ride_in_the_metadata_and_come_back(tmp_path):
    """The Generator decides the next order of samples; Keras has none, and ignores it."""
    path = tmp_path / "model.keras"
    mine = ours()
    steps(mine, 1)
    mine.rng.integers(9, size=5)
    mine.save(path)
    again = models.load_model(path)
    for model in (mine, again):
        model.fit(X, Y, SIZE, epochs=2, verbose=0)
    assert again.theta.tobytes() == mine.theta.tobytes()
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("metadata.json"))["keras_version"].startswith("3.")
