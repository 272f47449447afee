"""NaN and infinity in both engines: never swallowed, and told of with the same epoch and batch.

Each test runs `fit`, `predict` or `evaluate` twice, by NumPy's steps and by the compiled loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scratchnet import Input, Sequential, callbacks, layers, optimizers
from scratchnet.engines import get_engine

pytest.importorskip("numba")
if get_engine("auto").name != "compiled":
    pytest.skip("the compiled engine can't run here", allow_module_level=True)

ENGINES = ("reference", "compiled")
ACTIVATIONS = ("linear", "relu", "sigmoid", "softmax", "tanh")
DEAD = 5
"""An input that is 0 in every sample: left out by the compiled engine, and 0 times NaN is NaN."""
RNG = np.random.default_rng(0)
X = (RNG.normal(size=(96, 8)) * (RNG.random((96, 8)) < 0.3)).astype(np.float32)
X[:, DEAD] = 0
Y = (X.sum(axis=1) > 0).astype(int)
PLACES = {
    "a weight of an input": (0, (1, 3)),
    "a weight of an input that is always 0": (0, (DEAD, 3)),
    "a hidden bias": (1, (2,)),
    "a weight of the head": (2, (4, 1)),
    "the head's bias": (3, (0,)),
}


def network(engine: str, activation: str = "relu", optimizer: Any = "adam", **options: Any) -> Any:
    stack = [Input((8,)), layers.Dense(16, activation), layers.Dense(2, "softmax")]
    model = Sequential(stack, seed=0)
    options = {"loss": "sparse_categorical_crossentropy"} | options
    model.compile(optimizer, metrics=["accuracy"], engine=engine, **options)
    return model


def set_weight(model: Any, place: str, number: float) -> None:
    array, index = PLACES[place]
    model.weights[array][index] = number


def told(model: Any, x: Any = X, y: Any = Y, *watching: Any) -> str:
    """What `fit` says, or that it went through."""
    try:
        model.fit(x, y, epochs=3, batch_size=16, shuffle=False, verbose=0, callbacks=list(watching))
    except FloatingPointError as error:
        return str(error)
    return "trained"


def both(run: Callable[[str], Any]) -> Any:
    """What both engines say, which must be the same."""
    first, second = (run(engine) for engine in ENGINES)
    assert first == second
    return first


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_weight_that_is_not_finite_ends_fit_at_once(
    activation: str, place: str, number: float
) -> None:
    def run(engine: str) -> str:
        model = network(engine, activation)
        set_weight(model, place, number)
        return told(model)

    words = both(run)
    assert "in epoch 1, batch 0:" in words
    assert words.startswith("loss is nan") or not np.isnan(number)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("when", ["an epoch's begin", "a batch's begin"])
def test_a_callback_that_spoils_a_weight_ends_fit_there(
    when: str, place: str, number: float
) -> None:
    class Spoil(callbacks.Callback):
        epoch = 0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch
            if epoch == 1 and when == "an epoch's begin":
                set_weight(self.model, place, number)

    class SpoilBatch(Spoil):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if (self.epoch, batch) == (1, 2):
                set_weight(self.model, place, number)

    spoil = Spoil if when == "an epoch's begin" else SpoilBatch
    words = both(lambda engine: told(network(engine), X, Y, spoil()))
    assert f"in epoch 2, batch {0 if spoil is Spoil else 2}:" in words


@pytest.mark.parametrize("name", ["momentum", "velocity", "velocity_hat"])
@pytest.mark.parametrize("parameter", [3, DEAD * 16 + 3, 8 * 16 + 2, -1])
def test_a_slot_that_is_not_a_number_reaches_the_weights(name: str, parameter: int) -> None:
    """The loss of that batch is still finite: it is the weights that are told of."""

    def run(engine: str) -> str:
        model = network(engine, optimizer=optimizers.Adam(0.01, amsgrad=True))
        model.train_on_batch(X[:1], Y[:1])
        model.optimizer.slots[name][parameter] = np.nan
        return told(model)

    assert "weights are not finite in epoch 1, batch 0:" in both(run)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rate", [1e20, 1e38])
def test_a_rate_that_overflows_is_told_of_in_the_same_batch(
    rate: float, activation: str, momentum: float
) -> None:
    def run(engine: str) -> str:
        model = network(engine, activation, optimizers.SGD(rate, momentum=momentum), loss="mse")
        return told(model, X, np.eye(2)[Y])

    both(run)


def test_weights_that_overflow_in_the_last_batch_are_told_of_too() -> None:
    """Their loss was finite, and there is no next one."""
    model_inputs = np.full((4, 8), 3e38, np.float32)

    def run(engine: str) -> str:
        stack = [Input((8,)), layers.Dense(2, kernel_initializer="zeros")]
        model = Sequential(stack, seed=0)
        model.compile(optimizers.SGD(1.0), "mse", engine=engine)
        return told(model, model_inputs, np.full((4, 2), 4.0))

    assert "weights are not finite in epoch 1, batch 0:" in both(run)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_predict_and_evaluate_show_a_weight_that_is_not_a_number(
    activation: str, place: str
) -> None:
    """Behind a relu above all: it gave 0, and the softmax two halves."""
    for engine in ENGINES:
        model = network(engine, activation)
        set_weight(model, place, np.nan)
        assert np.isnan(model.predict(X, verbose=0)).all()
        assert np.isnan(model.evaluate(X, Y, verbose=0)[0])
