"""Files of layers and optimizers beside the core: back to the bit, and Keras's both ways."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest

import scratchnet
from scratchnet import Sequential, models

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
Y = RNG.integers(0, 3, 40)
STACKS = {
    "batch": lambda m: [
        m.layers.Dense(5, kernel_regularizer="l2", activity_regularizer=m.regularizers.L1(0.01)),
        m.layers.BatchNormalization(momentum=0.8, gamma_regularizer="l1"),
        *(m.layers.ReLU(6), m.layers.Dropout(0.3), m.layers.Dense(3), m.layers.Softmax()),
    ],
    "many": lambda m: [
        *(m.layers.Normalization(), m.layers.Reshape((2, 3)), m.layers.Flatten()),
        m.layers.Dense(4, "gelu", kernel_initializer=m.initializers.VarianceScaling(2.0)),
        *(m.layers.LeakyReLU(), m.layers.ELU(0.5), m.layers.GaussianNoise(0.1)),
        *(m.layers.Activation("softplus"), m.layers.ActivityRegularization(l2=0.01)),
        *(m.layers.GaussianDropout(0.2), m.layers.Identity()),
        m.layers.Dense(3, "softmax", bias_initializer=m.initializers.Constant(0.1)),
    ],
    "given": lambda m: [
        m.layers.Normalization(mean=[1.0] * 6, variance=[2.0] * 6),
        m.layers.Dense(3, "softmax"),
    ],
}
OPTIMIZERS = {
    "adamw": lambda m: m.optimizers.AdamW(0.01, clipnorm=1.0),
    "adagrad": lambda m: m.optimizers.Adagrad(0.1),
    "rmsprop": lambda m: m.optimizers.RMSprop(centered=True, momentum=0.3),
    "nadam": lambda m: m.optimizers.Nadam(),
    "rate": lambda m: m.optimizers.SGD(m.optimizers.schedules.CosineDecay(0.1, 10), momentum=0.5),
    "averages": lambda m: m.optimizers.Adam(use_ema=True),
}


@pytest.fixture(autouse=True)
def single():
    """Keras keeps the type that was in force when it was first asked."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy(policy)


def trained(module, stack, optimizer):
    kind = Sequential if module is scratchnet else keras.Sequential
    model = kind([module.layers.Input((6,)), *STACKS[stack](module)])
    model.compile(OPTIMIZERS[optimizer](module), "sparse_categorical_crossentropy")
    model.fit(X, Y, verbose=0)
    return model


@pytest.mark.parametrize("ending", ["npz", "keras"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.filterwarnings("ignore:.*not known to the compiled engine")
def test_a_model_comes_back_and_trains_on_to_the_same_bits(stack, optimizer, ending, tmp_path):
    model = trained(scratchnet, stack, optimizer)
    path = tmp_path / f"model.{ending}"
    model.save(path)
    again, twin = models.load_model(path), copy.deepcopy(model)
    for one in (again, twin):
        one.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(again.theta, twin.theta)


@pytest.mark.parametrize(("stack", "optimizer"), zip(STACKS, OPTIMIZERS, strict=False))
@pytest.mark.filterwarnings("ignore")
def test_keras_reads_our_file_and_we_read_keras_s(stack, optimizer, tmp_path):
    path = tmp_path / "model.keras"
    ours = trained(scratchnet, stack, optimizer)
    ours.save(path)
    theirs = keras.models.load_model(path)
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X, verbose=0), **close)
    theirs.save(path)
    again = models.load_model(path)
    np.testing.assert_allclose(again.predict(X), ours.predict(X), **close)
    theirs = trained(keras, stack, optimizer)
    theirs.save(path)
    again = models.load_model(path)
    np.testing.assert_allclose(again.predict(X), theirs.predict(X, verbose=0), **close)
    assert again.optimizer.iterations == int(theirs.optimizer.iterations)
    if stack == "given":  # without noise both train on alike
        for model in (again, theirs):
            model.fit(X, Y, shuffle=False, verbose=0)
        np.testing.assert_allclose(again.predict(X), theirs.predict(X, verbose=0), **close)
