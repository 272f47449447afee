"""A model as the first layer of another, beside live Keras in float64."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest

from scratchnet import Input, Sequential, layers

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 4)), RNG.integers(0, 3, 30)
FIT = {"batch_size": 8, "epochs": 5, "shuffle": False, "verbose": 0}

pytestmark = pytest.mark.usefixtures("float64_in_both")


def pairs(top):
    """(inner, outer) of both rooms, with the same weights."""
    mine = Sequential([Input((4,)), layers.Dense(5, "tanh"), layers.Dense(3)], seed=0)
    right = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(3)]
    )
    right.set_weights(mine.get_weights())
    ours = Sequential([mine, *(getattr(layers, n)(*a) for n, a in top)], seed=1)
    theirs = keras.Sequential(
        [keras.Input((4,)), right, *(getattr(keras.layers, n)(*a) for n, a in top)]
    )
    theirs.set_weights(ours.get_weights())
    return mine, ours, right, theirs


@pytest.mark.parametrize("top", [[("Softmax", ())], [("Dense", (3, "softmax"))]], ids=str)
@pytest.mark.filterwarnings("ignore:.*not known to the compiled engine")
def test_the_outer_model_trains_the_inner_one_as_in_keras(top):
    mine, ours, right, theirs = pairs(top)
    for model in (ours, theirs):
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X, verbose=0), rtol=1e-12)
    a, b = (model.fit(X, Y, **FIT).history for model in (ours, theirs))
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-10)
    for one, other in ((mine, right), (ours, theirs)):
        for u, v in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(u, v, rtol=1e-9, atol=1e-12)
    assert np.shares_memory(mine.theta, ours.theta)
    mine.compile("sgd", "sparse_categorical_crossentropy")
    before = ours.predict(X)
    mine.fit(X, Y, **FIT)
    assert np.abs(ours.predict(X) - before).max() > 1e-4


def test_a_copy_is_whole_and_its_own():
    mine, ours, _, _ = pairs([("Softmax", ())])
    again = copy.deepcopy(ours)
    inner = again.layers[0].model
    assert np.shares_memory(inner.theta, again.theta)
    assert not np.shares_memory(inner.theta, mine.theta)
    inner.theta[:] = 0
    np.testing.assert_allclose(again.predict(X), 1 / 3)
    assert np.abs(ours.theta).max() > 0


def test_a_frozen_inner_model_stands_still():
    base = Sequential([Input((4,)), layers.Dense(5, "tanh")], seed=0)
    base.trainable = False
    ours = Sequential([base, layers.Dense(3, "softmax")], seed=1)
    ours.compile("adam", "sparse_categorical_crossentropy", engine="reference")
    before = base.theta.copy()
    ours.fit(X, Y, **FIT)
    np.testing.assert_array_equal(base.theta, before)
    assert len(ours.trainable_weights) == 2


def test_what_it_could_not_do_rightly_is_refused():
    inner = Sequential([Input((4,)), layers.Dense(4)])
    with pytest.raises(ValueError, match="first layer"):
        Sequential([Input((4,)), layers.Dense(4), inner])
    with pytest.raises(ValueError, match="build it first"):
        Sequential([Sequential([layers.Dense(4)])])
    noisy = Sequential([Input((4,)), layers.Dropout(0.5), layers.Dense(4)])
    with pytest.raises(ValueError, match="one by one"):
        Sequential([noisy])
    with pytest.raises(ValueError, match=r"takes samples of \(4,\)"):
        Sequential([Input((5,)), inner])
    outer = Sequential([inner, layers.Dense(2)])
    assert outer.count_params() == 30
    with pytest.raises(ValueError, match="in a model already"):
        Sequential([inner, layers.Softmax()])
    outer.compile("sgd", "mse")
    with pytest.raises(ValueError, match="can't be saved"):
        outer.save("never.npz")
