"""Analytic gradients beside three oracles that share no backward code with them or each other.

Complex step (our forward, complex numbers), GradientTape (TensorFlow's own reverse mode), and on
tiny nets exact arithmetic. All 42,310 parameters of the known network are compared with the tape;
the complex step takes them in blocks, or one by one with SCRATCHNET_ALL_COORDINATES=1.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from keras_ref import bridge
from keras_ref.lockstep import Lockstep
from keras_ref.random_networks import FEATURES, NetworkSeed, draw_network
from scratchnet import config, datasets
from scratchnet.activations import NAMES
from scratchnet.checks import Examples
from scratchnet.gradcheck import check_gradients, complex_step
from scratchnet.testing.exact import exact
from scratchnet.testing.kill_matrix import build
from scratchnet.testing.magnitude import gradient_scale
from scratchnet.testing.museum import Setting

EVERY = os.environ.get("SCRATCHNET_ALL_COORDINATES") == "1"
BOUND = 1e-12
"""As a share of S, the size of the terms that a gradient is the sum of."""


def taped(model, batch):
    """Keras's loss and its gradient by GradientTape, as one vector."""
    with bridge.floatx(model.theta.dtype):
        step = Lockstep(model)
        weights = np.ones(len(batch.x)) if batch.weights is None else batch.weights
        y = batch.y if model.loss.sparse else batch.y.astype(model.theta.dtype)
        _, loss, gradients = step.probe(batch.x.astype(model.theta.dtype), y, weights)
        return float(loss), bridge.flat(gradients)


def stepped(model, batch):
    """Our loss's gradient by the complex step, coordinate by coordinate."""
    return complex_step(lambda theta: model.loss_of(theta, batch), model.theta)


def worst(one, other, scale):
    return float(np.max(np.abs(one - other) / np.maximum(scale, 1e-260)))


@pytest.mark.parametrize("hidden", [name for name in NAMES if name != "softmax"])
@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_four_ways_to_one_gradient_on_a_tiny_net(hidden, head):
    """3-4-4-3, a blank sample among five: analytic, complex step, tape and exact."""
    config.set_floatx("float64")
    setting = Setting(hidden=hidden, head=head)
    model = build(setting, (3,), 4, 3, seed=2)
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (5, 3))
    batch = model.batch(x, rng.integers(0, 3, 5))
    scale = gradient_scale(model, batch)
    loss, _ = model.gradient(batch)
    right = exact(model, batch)
    truth = np.array([float(slope) for slope in right.gradient])
    keras_loss, tape = taped(model, batch)
    for ours in (loss, model.loss_of(model.theta, batch), keras_loss):
        assert abs(ours - float(right.loss)) <= 1e-14 * float(right.loss)
    for gradient in (model.grad, stepped(model, batch), tape):
        assert worst(gradient, truth, scale) <= 1e-14  # some 45 ulps of S


@pytest.mark.parametrize(
    "key",
    [NetworkSeed(seed) for seed in range(6)] + [NetworkSeed(0, name) for name in FEATURES],
    ids=str,
)
def test_random_nets_of_every_kind_agree_with_the_tape_and_the_complex_step(key):
    config.set_floatx("float64")
    model, x, y, weights, size = draw_network(key)
    batch = model.batch(x[:size], y[:size], None if weights is None else weights[:size])
    scale = gradient_scale(model, batch)
    model.gradient(batch)
    _, tape = taped(model, batch)
    assert worst(model.grad, tape, scale) <= BOUND
    assert worst(model.grad, stepped(model, batch), scale) <= BOUND


@pytest.fixture(scope="module")
def digits():
    (x, y), _ = datasets.digits.load_data()
    return x, y


@pytest.mark.parametrize("trained", [False, True], ids=["fresh", "trained"])
def test_every_parameter_of_the_known_network_agrees_with_the_tape_and_the_complex_step(
    trained, digits
):
    config.set_floatx("float64")
    model = build(Setting(), (28, 28), 50, 10, seed=0)
    assert model.count_params() == 42_310
    x, y = digits
    if trained:
        model.fit(x, y, epochs=3, verbose=0)
    batch = model.batch(x[:32], y[:32])
    scale = gradient_scale(model, batch)
    model.gradient(batch)
    _, tape = taped(model, batch)
    assert worst(model.grad, tape, scale) <= BOUND
    report = check_gradients(
        lambda theta: model.loss_of(theta, batch),
        model.theta,
        model.grad.copy(),
        scale=scale,
        coordinates="all" if EVERY else "blocks",
    )
    assert report.ok and report.size == 42_310
    assert report.oracle.startswith("complex step")


def test_a_coordinate_wrong_by_a_hundredth_of_a_percent_is_seen_by_both(digits):
    """The comparisons above can fail."""
    config.set_floatx("float64")
    model = build(Setting(), (28, 28), 50, 10, seed=0)
    batch = Examples(digits[0][:32], digits[1][:32].astype(np.int64), None)
    model.batch(batch.x, batch.y)
    scale = gradient_scale(model, batch)
    model.gradient(batch)
    spoiled = model.grad.copy()
    k = int(np.argmax(np.abs(spoiled)))
    spoiled[k] *= 1.0001
    _, tape = taped(model, batch)
    assert worst(spoiled, tape, scale) > 1e3 * BOUND
    with pytest.raises(AssertionError, match="WRONG in 1 of 42,310"):
        check_gradients(lambda t: model.loss_of(t, batch), model.theta, spoiled, scale=scale)
