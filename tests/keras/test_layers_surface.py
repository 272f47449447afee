"""Layers beside live Keras in float64: values, slopes, training, configurations, errors."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from scratchnet import Input, Sequential, layers

RNG = np.random.default_rng(0)
X = RNG.normal(0, 3, (40, 4, 3))
X[0, 0], X[1, 0] = [0.0, 1.0, 6.0], [2.0, -1.0, 0.5]

LAYERS = [
    ("Activation", {"activation": "relu"}),
    ("Activation", {"activation": "gelu"}),
    ("Activation", {"activation": None}),
    ("ReLU", {}),
    ("ReLU", {"max_value": 6}),
    ("ReLU", {"max_value": 2.0, "negative_slope": 0.3, "threshold": 1.0}),
    ("ReLU", {"negative_slope": 0.3}),
    ("ReLU", {"threshold": 1.0}),
    ("ReLU", {"max_value": 6.0, "negative_slope": 0.25}),
    ("LeakyReLU", {}),
    ("LeakyReLU", {"negative_slope": 0.7}),
    ("ELU", {}),
    ("ELU", {"alpha": 0.4}),
    ("Softmax", {}),
    ("Softmax", {"axis": 1}),
    ("Softmax", {"axis": (1, 2)}),
    ("Softmax", {"axis": -2}),
    ("Identity", {}),
    ("Reshape", {"target_shape": (3, 4)}),
    ("Reshape", {"target_shape": (-1,)}),
    ("Reshape", {"target_shape": (2, -1, 2)}),
    ("Flatten", {}),
]

pytestmark = pytest.mark.usefixtures("float64_in_both")


def close(ours, theirs, tolerance=1e-12):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "arguments"), LAYERS)
def test_values_slopes_and_configurations_are_keras_s(name, arguments):
    layer = getattr(layers, name)(**arguments, name="it")
    theirs = getattr(keras.layers, name)(**arguments, name="it")
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        A = theirs(x)
    close(layer(X), A)
    model = Sequential([Input(X.shape[1:]), layer])
    dA = RNG.normal(size=A.shape)
    (stage,) = model.run(X)
    dZ = model.engine.activation(layer.activation).backward(dA, stage.Z, stage.A)
    close(layer.backward(dZ, stage.cache, {}, {}, model.engine), tape.gradient(A, x, dA))
    assert (None, *layer.output_shape) == theirs.compute_output_shape((None, *X.shape[1:]))
    mine, right = layer.get_config(), theirs.get_config()
    assert mine.items() <= {k: v for k, v in right.items() if k != "dtype"}.items()
    again = type(layer).from_config(json.loads(json.dumps(mine)))
    assert json.dumps(again.get_config()) == json.dumps(mine)


HEADS = [
    ([("Activation", "softmax")], "sparse_categorical_crossentropy"),
    ([("Softmax", -1)], "sparse_categorical_crossentropy"),
    ([("Activation", "sigmoid")], "sparse_categorical_crossentropy"),
    ([("Activation", "tanh"), ("Softmax", -1)], "mse"),
    ([("ReLU", 2.0), ("Softmax", -1)], "categorical_crossentropy"),
    ([("Activation", "log_softmax")], "mse"),
]


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize(("heads", "loss"), HEADS, ids=str)
@pytest.mark.filterwarnings("ignore:.*not known to the compiled engine")
def test_a_model_with_them_trains_as_in_keras(heads, loss, engine):
    """40 steps of SGD; a loss behind Softmax or Activation sees the logits, as in Keras."""
    y = RNG.integers(0, 3, 40)
    y = y if loss.startswith("sparse") else np.eye(3)[y]
    pair = []
    for room, start in ((layers, Input), (keras.layers, keras.Input)):
        stack = [start((4, 3)), room.Reshape((2, 6)), room.Flatten(), room.Dense(5), room.ELU(0.5)]
        stack += [room.Dense(3), *(getattr(room, name)(given) for name, given in heads)]
        pair.append((Sequential if room is layers else keras.Sequential)(stack))
    ours, theirs = pair
    theirs.set_weights(ours.get_weights())
    ours.compile("sgd", loss, metrics=["accuracy"], engine=engine)
    theirs.compile("sgd", loss, metrics=["accuracy"])
    arguments = {"batch_size": 8, "epochs": 8, "shuffle": False, "verbose": 0}
    mine, right = (model.fit(X, y, **arguments).history for model in pair)
    assert mine.keys() == right.keys()
    for name in mine:
        np.testing.assert_allclose(mine[name], right[name], rtol=1e-10, err_msg=name)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        close(a, b, 1e-11)


WRONG = [
    ("ReLU", {"max_value": -1.0}),
    ("ReLU", {"negative_slope": None}),
    ("ReLU", {"threshold": -0.5}),
    ("LeakyReLU", {"negative_slope": -0.5}),
    ("LeakyReLU", {"negative_slope": None}),
    ("Reshape", {"target_shape": (-1, -1)}),
    ("Reshape", {"target_shape": (-2, 2)}),
    ("Activation", {"activation": "no such"}),
    ("Dense", {"units": 3, "trainable": "yes"}),
]


@pytest.mark.parametrize(("name", "arguments"), WRONG, ids=str)
def test_what_keras_refuses_is_refused(name, arguments):
    for room in (layers, keras.layers):
        with pytest.raises(ValueError):
            getattr(room, name)(**arguments)


def test_a_shape_that_does_not_fit_is_refused_before_a_weight_is_made():
    with pytest.raises(ValueError, match="total size must be unchanged"):
        Sequential([Input((4,)), layers.Reshape((3,))])
    with pytest.raises(ValueError, match="axis=3"):
        Sequential([Input((4,)), layers.Softmax(axis=3)])


INPUTS = [{"shape": (3, 4)}, {"batch_shape": (7, 3)}, {"shape": (3,), "batch_size": 5}]


@pytest.mark.parametrize("arguments", INPUTS, ids=str)
@pytest.mark.parametrize("dtype", [None, "uint8", "float32"])
def test_an_input_layer_is_keras_s(arguments, dtype):
    mine, right = (
        room.InputLayer(**arguments, dtype=dtype, name="x").get_config()
        for room in (layers, keras.layers)
    )
    assert mine == right
    assert layers.InputLayer.from_config(mine).get_config() == mine


def test_pixels_may_be_announced_as_bytes():
    pixels = RNG.integers(0, 256, (5, 4), dtype=np.uint8)
    stack = [Input((4,), dtype="uint8"), layers.Rescaling(1 / 255), layers.Dense(2)]
    ours = Sequential(stack)
    theirs = keras.Sequential(
        [keras.Input((4,), dtype="uint8"), keras.layers.Rescaling(1 / 255), keras.layers.Dense(2)]
    )
    theirs.set_weights(ours.get_weights())
    close(ours.predict(pixels, verbose=0), theirs.predict(pixels, verbose=0))
    with pytest.raises(ValueError, match="dtype='words'"):
        Input((4,), dtype="words")
