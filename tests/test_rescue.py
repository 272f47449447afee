"""After a loss or weights that are not finite: where it began, and the weights from before it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from scratchnet import Input, Sequential, callbacks, config, layers, optimizers
from scratchnet.fitting import KEPT_EVERY

RNG = np.random.default_rng(5)
N, SIZE = 640, 4
X = RNG.normal(size=(N, 3)).astype(np.float32)
Y = RNG.normal(size=(N, 2)).astype(np.float32)
SAID = re.compile(
    r"(?P<trouble>loss is (nan|inf)|weights are not finite) in epoch (?P<epoch>\d+), "
    r"batch (?P<batch>\d+): expected finite numbers, and the first that is not is in "
    r"(?P<where>.*)\. The model has its weights from before that batch"
)


def network(optimizer=None, kind=Sequential, extra=(), **options):
    stack = [layers.Dense(4, "relu", name="below"), *extra, layers.Dense(2, name="head")]
    model = kind([Input((3,)), *stack], seed=0)
    model.compile(optimizer or optimizers.Adam(0.01), "mse", **options)
    return model


def spoiled(at, value=3e38):
    """Data whose sample of batch `at`, in their order, is too large for a float32."""
    x = X.copy()
    x[at * SIZE] = value
    return x


def fit(model, x, epochs=1, y=Y, **options):
    """What the error says, after as much training as there was."""
    with pytest.raises(FloatingPointError) as caught:
        model.fit(x, y, batch_size=SIZE, epochs=epochs, verbose=0, **options)
    found = SAID.match(str(caught.value))
    assert found, caught.value
    return found["trouble"], int(found["epoch"]), int(found["batch"]), found["where"]


def state(model):
    slots = {name: slot.tobytes() for name, slot in model.optimizer.slots.items()}
    return model.theta.tobytes(), slots, model.optimizer.iterations


@pytest.mark.parametrize("at", [0, 1, KEPT_EVERY - 1, KEPT_EVERY, KEPT_EVERY + 1, N // SIZE - 1])
def test_the_weights_are_those_from_before_the_batch_to_the_bit(at, engine):
    model, twin = network(), network()
    trouble, epoch, batch, _ = fit(model, spoiled(at), shuffle=False)
    assert trouble.startswith("loss is") and (epoch, batch) == (1, at)
    if at:
        twin.fit(X[: at * SIZE], Y[: at * SIZE], batch_size=SIZE, shuffle=False, verbose=0)
        assert state(model) == state(twin)
    assert np.isfinite(model.theta).all() and model.optimizer.iterations == at
    model.fit(X, Y, verbose=0)  # and from there it goes on
    assert np.isfinite(model.theta).all()


def test_in_a_later_epoch_too(engine):
    """The generator gives the order; the batch that is named holds the sample."""
    x = spoiled(7)
    model, twin = network(), network()
    order = twin.rng.permutation(N)
    _, epoch, batch, _ = fit(model, x, epochs=3)
    assert epoch == 1 and 7 * SIZE in order[batch * SIZE : (batch + 1) * SIZE]

    class Spoil(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            data[7 * SIZE] = 3e38 if epoch == 2 else X[7 * SIZE]

    data, model, twin = X.copy(), network(), network()
    if engine == "reference":  # the compiled engine has its own copy of the inputs
        _, epoch, batch, _ = fit(model, data, epochs=4, callbacks=[Spoil()])
        twin.fit(X, Y, batch_size=SIZE, epochs=2, verbose=0)
        order = twin.rng.permutation(N)[: batch * SIZE]
        twin.fit(X[order], Y[order], batch_size=SIZE, shuffle=False, verbose=0)
        assert epoch == 3 and state(model) == state(twin)


@pytest.mark.parametrize("optimizer", ["adam", "amsgrad", "sgd", "nesterov"])
def test_with_every_optimizer(optimizer, engine):
    made = {
        "adam": lambda: optimizers.Adam(0.01),
        "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
        "sgd": lambda: optimizers.SGD(0.01),
        "nesterov": lambda: optimizers.SGD(0.01, 0.9, nesterov=True),
    }[optimizer]
    model, twin = network(made()), network(made())
    fit(model, spoiled(70), shuffle=False)
    twin.fit(X[: 70 * SIZE], Y[: 70 * SIZE], batch_size=SIZE, shuffle=False, verbose=0)
    assert state(model) == state(twin)


def test_weights_that_overflow_are_found_where_they_do(engine):
    """A step too large: the loss of that batch is finite, and the weights after it are not."""
    x, y = X[:80].copy(), Y[:80].copy()
    y[40] = 1e15  # its loss is 1e30, its gradient 1e15, and the step 1e39
    model, twin = network(optimizers.SGD(1e-5)), network(optimizers.SGD(1e-5))

    class Faster(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 1e25

    x[:40], y[:40] = 0, 0  # nothing moves before
    twin.set_weights([w * 0 for w in twin.get_weights()])
    model.set_weights(twin.get_weights())
    trouble, epoch, batch, where = fit(model, x, y=y, shuffle=False, callbacks=[Faster()])
    assert (trouble, epoch, batch) == ("weights are not finite", 1, 10)
    assert where.startswith("the new ") and "of layer" in where
    assert not model.theta.any() and model.optimizer.iterations == 10


def test_overflowing_in_the_last_batch_of_all_is_found_too(engine):
    y = Y[:8].copy()
    y[7] = 1e15
    model = network(optimizers.SGD(1e25))
    model.set_weights([w * 0 for w in model.get_weights()])
    x = X[:8].copy()
    x[:7], y[:7] = 0, 0
    trouble, _, batch, _ = fit(model, x, y=y, shuffle=False)
    assert (trouble, batch) == ("weights are not finite", 1) and not model.theta.any()


def test_with_callbacks_for_batches_each_batch_is_looked_at(engine):
    seen = []

    class Look(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((batch, logs["loss"], np.isfinite(self.model.theta).all()))

    model, twin = network(), network()
    _, _, batch, _ = fit(model, spoiled(5), shuffle=False, callbacks=[Look()])
    assert batch == 5 and [b for b, _, _ in seen] == list(range(6))
    assert not np.isfinite(seen[-1][1]) and all(finite for _, _, finite in seen)
    twin.fit(X[: 5 * SIZE], Y[: 5 * SIZE], batch_size=SIZE, shuffle=False, verbose=0)
    assert state(model) == state(twin)


def test_a_callback_that_changes_weights_between_batches_is_not_undone(engine):
    class Halve(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch < 5:
                self.model.theta *= 0.5

    model, twin = network(), network()
    fit(model, spoiled(5), shuffle=False, callbacks=[Halve()])
    twin.fit(
        X[: 5 * SIZE], Y[: 5 * SIZE], batch_size=SIZE, shuffle=False, verbose=0, callbacks=[Halve()]
    )
    assert state(model) == state(twin)


def test_who_stops_by_himself_gets_no_error_and_the_good_weights(engine):
    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if not np.isfinite(logs["loss"]):
                self.model.stop_training = True

    model = network()
    model.fit(spoiled(5), Y, batch_size=SIZE, shuffle=False, verbose=0, callbacks=[Stop()])
    assert np.isfinite(model.theta).all() and model.optimizer.iterations == 5


WHERE = {
    "x": ("x", lambda model: None, 1e300),
    "the first layer": ("Z of layer 'below'", lambda model: model.layers[0].kernel.fill(3e38), 1.0),
    "the head": ("Z of layer 'head'", lambda model: model.layers[1].kernel.fill(3e38), 1e5),
    "a weight": ("kernel of layer 'head'", lambda model: model.layers[1].kernel.fill(np.nan), 1.0),
    "a bias": ("bias of layer 'below'", lambda model: model.layers[0].bias.fill(np.inf), 1.0),
    "the loss": ("the loss", lambda model: model.layers[1].bias.fill(1e30), 1.0),
}


@pytest.mark.parametrize("case", WHERE)
def test_the_first_tensor_that_is_not_finite_is_named_with_its_layer(case, engine):
    expected, spoil, value = WHERE[case]
    model = network()
    model.theta[:] = 1
    spoil(model)
    at = model.theta.copy()
    with np.errstate(over="ignore"):
        *_, where = fit(model, np.full((8, 3), value), y=np.zeros((8, 2)))
    assert where == expected and np.array_equal(model.theta, at, equal_nan=True)


def test_a_gradient_that_overflows_is_named(engine):
    """The loss, 1e32, is finite; dW is 1e30 times an input of 1e15."""
    model = network(optimizers.SGD(1.0))
    model.theta[:] = 0
    model.layers[0].bias[:] = 1
    model.layers[1].kernel[:] = 1e16
    x = np.full((8, 3), 1e15)
    model.layers[0].kernel[:] = 0
    with np.errstate(over="ignore"):
        trouble, _, batch, where = fit(model, x, y=np.zeros((8, 2)))
    assert (trouble, batch) == ("weights are not finite", 0)
    assert where == "the gradient of kernel of layer 'below'"


class Noisy(layers.Layer):
    """Draws at every step: run again, a step would come out otherwise."""

    def __init__(self, seed):
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def forward(self, X, params, engine):
        return X + self.rng.normal(size=X.shape).astype(X.dtype), None

    def backward(self, dZ, cache, params, grads, engine, need_dX=True):
        return dZ


@pytest.mark.filterwarnings("ignore:'noisy', a Noisy:UserWarning")
def test_steps_that_can_not_be_repeated_are_not(engine):
    model, twin = network(extra=[Noisy(1)]), network(extra=[Noisy(1)])
    _, _, batch, _ = fit(model, spoiled(90), shuffle=False)
    twin.fit(X[: 90 * SIZE], Y[: 90 * SIZE], batch_size=SIZE, shuffle=False, verbose=0)
    assert batch == 90 and state(model) == state(twin)


class Counting(Sequential):
    steps = 0

    def train_step(self, batch):
        self.steps += 1
        return super().train_step(batch)


def test_a_step_of_one_s_own_is_taken_once_for_each_batch(engine):
    model, twin = network(kind=Counting), network(kind=Counting)
    fit(model, spoiled(70), shuffle=False)
    twin.fit(X[: 70 * SIZE], Y[: 70 * SIZE], batch_size=SIZE, shuffle=False, verbose=0)
    assert state(model) == state(twin)
    assert model.steps <= 70 + 2  # the bad one, and once more to find the tensor


def test_frozen_layers_too(engine):
    models = [network(), network()]
    for model in models:
        model.layers[0].trainable = False
    fit(models[0], spoiled(70), shuffle=False)
    models[1].fit(X[: 70 * SIZE], Y[: 70 * SIZE], batch_size=SIZE, shuffle=False, verbose=0)
    assert state(models[0]) == state(models[1])


def test_numpy_s_own_errors_leave_the_good_weights_too():
    config.set_engine("reference")
    model = network()
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match=r"overflow.*batch 70"):
        model.fit(spoiled(70), Y, batch_size=SIZE, shuffle=False, verbose=0)
    assert np.isfinite(model.theta).all() and model.optimizer.iterations == 70
