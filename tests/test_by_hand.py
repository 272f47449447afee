"""Small cases worked by hand, so that a reader can follow every number with a pencil."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scratchnet import Input, Sequential, config, layers
from scratchnet.engines import get_engine, reference
from scratchnet.losses import (
    CategoricalCrossentropy,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from scratchnet.optimizers import SGD, Adam


@pytest.fixture
def net():
    """Two inputs, two ReLUs, one linear output; every number is a small integer or a half."""
    model = Sequential([Input((2,)), layers.Dense(2, "relu"), layers.Dense(1)])
    W1, b1 = [[1.0, -1.0], [2.0, 1.0]], [0.0, 1.0]
    W2, b2 = [[3.0], [-2.0]], [0.5]
    model.set_weights([np.array(a) for a in (W1, b1, W2, b2)])
    model.compile(SGD(0.5), "mse", engine="reference")
    return model


def test_one_step_of_a_two_layer_net(net):
    # x = (1, 2) and (2, -1), targets 10 and 4.
    # Z1 = x W1 + b1:   (1 + 4, -1 + 2 + 1) = (5, 2)     (2 - 2, -2 - 1 + 1) = (0, -2)
    # A1 = relu(Z1):    (5, 2)                           (0, 0), both off: slope 0 at 0 too
    # Z2 = A1 W2 + b2:  15 - 4 + 0.5 = 11.5              0.5
    # loss = ((11.5 - 10)^2 + (0.5 - 4)^2) / 2 = (2.25 + 12.25) / 2 = 7.25
    # dZ2 = 2 (Z2 - t) / (1 * 2):  1.5                   -3.5
    # dW2 = A1^T dZ2 = (5 * 1.5, 2 * 1.5) = (7.5, 3);  db2 = 1.5 - 3.5 = -2
    # dA1 = dZ2 W2^T: (4.5, -3) and (-10.5, 7);  dZ1 = dA1 where Z1 > 0: (4.5, -3) and (0, 0)
    # dW1 = x^T dZ1 = [[1 * 4.5, 1 * -3], [2 * 4.5, 2 * -3]];  db1 = (4.5, -3)
    x, y = np.array([[1.0, 2.0], [2.0, -1.0]]), np.array([10.0, 4.0])
    loss, gradients = net.loss_and_gradients(x, y)
    assert loss == 7.25
    assert [g.tolist() for g in gradients] == [
        [[4.5, -3.0], [9.0, -6.0]],
        [4.5, -3.0],
        [[7.5], [3.0]],
        [-2.0],
    ]
    # SGD with rate 1/2: every weight less half of its gradient.
    assert net.train_on_batch(x, y) == 7.25
    assert [w.tolist() for w in net.get_weights()] == [
        [[-1.25, 0.5], [-2.5, 4.0]],
        [-2.25, 2.5],
        [[-0.75], [-3.5]],
        [1.5],
    ]


def test_a_sample_weight_scales_its_sample_and_the_loss_still_divides_by_the_batch(net):
    # Losses 2.25 and 12.25 with weights 4 and 0: (9 + 0) / 2, not 9 / 4.
    x, y = np.array([[1.0, 2.0], [2.0, -1.0]]), np.array([10.0, 4.0])
    loss, gradients = net.loss_and_gradients(x, y, sample_weight=[4.0, 0.0])
    assert loss == 4.5
    assert gradients[3].tolist() == [6.0]  # 4 * 1.5, and nothing from the second sample


def test_the_three_readings_of_a_sigmoid_head():
    # z = (0, log 3): sigmoids 1/2 and 3/4. The label is 1.
    # "logits":        softmax(z) = (1, 3) / 4, so the loss is log 4/3.
    # "probabilities": (1/2, 3/4) / (5/4) = (2, 3) / 5, so the loss is log 5/3.
    # "as_logits":     log(e^(1/2) + e^(3/4)) - 3/4 = log(1 + e^(-1/4)).
    expected = {
        "logits": math.log(4 / 3),
        "probabilities": math.log(5 / 3),
        "as_logits": math.log1p(math.exp(-0.25)),
    }
    for reading, value in expected.items():
        model = Sequential([Input((2,)), layers.Dense(2, "sigmoid")])
        model.set_weights([np.eye(2), np.zeros(2)])
        loss = SparseCategoricalCrossentropy(sigmoid_head=reading)
        model.compile("sgd", loss, engine="reference")
        got, gradients = model.loss_and_gradients([[0.0, math.log(3)]], [1])
        assert got == pytest.approx(value, rel=1e-6)
        if reading == "logits":  # softmax - onehot = (1/4, -1/4): no sigmoid' anywhere
            assert gradients[1] == pytest.approx([0.25, -0.25], rel=1e-6)


def test_softmax_of_sigmoids_has_a_floor():
    config.set_floatx("float64")
    # The best it can do is one sigmoid at 1 and nine at 0: log(e + 9) - 1 = 1.4612.
    saturated = np.where(np.arange(10) == 3, 1.0, 0.0)[None]
    loss = SparseCategoricalCrossentropy(from_logits=True)([3], saturated)
    assert loss == pytest.approx(math.log(math.e + 9) - 1, abs=1e-12)


def test_losses_called_on_arrays():
    config.set_floatx("float64")
    # Sparse: clip, then divide by the sum: 0.2 / 0.8. Categorical: divide first; here the same.
    p = np.array([[0.2, 0.6]])
    assert SparseCategoricalCrossentropy()([0], p) == pytest.approx(math.log(4), abs=1e-12)
    assert CategoricalCrossentropy()([[1, 0]], p) == pytest.approx(math.log(4), abs=1e-12)
    # Where clipping bites they part: 0 becomes 1e-7 before or after the division by 2.
    q = np.array([[0.0, 2.0]])
    sparse, dense = SparseCategoricalCrossentropy()([0], q), CategoricalCrossentropy()([[1, 0]], q)
    assert sparse == pytest.approx(-math.log(1e-7 / (1e-7 + 1 - 1e-7)), abs=1e-12)
    assert dense == pytest.approx(-math.log(1e-7), abs=1e-12)
    # Smoothing by 0.2 over two classes: 0.9 and 0.1.
    smooth = CategoricalCrossentropy(label_smoothing=0.2)([[1, 0]], [[0.5, 0.5]])
    assert smooth == pytest.approx(math.log(2), abs=1e-6)
    a, t = np.array([[1.0, 3.0], [0.0, 0.0]]), np.array([[0.0, 1.0], [2.0, 0.0]])
    assert MeanSquaredError()(t, a) == (2.5 + 2) / 2
    assert MeanSquaredError(reduction="sum")(t, a) == 4.5
    assert MeanSquaredError(reduction="none")(t, a).tolist() == [2.5, 2.0]
    assert MeanSquaredError()(t, a, sample_weight=[2, 0]) == 2.5
    assert MeanSquaredError(reduction="mean_with_sample_weight")(t, a, [3, 1]) == (7.5 + 2) / 4


def test_adam_by_hand_for_two_steps():
    # lr 0.1, betas 1/2 and 3/4 (exact in float32), eps 1e-7 outside the root.
    # t = 1, g = 2:  m = 1, v = 1;  alpha = 0.1 sqrt(1/4) / (1/2) = 0.1;  step 0.1 * 1 / 1
    # t = 2, g = -4: m = 1/2 - 2 = -1.5, v = 3/4 + 4 = 4.75
    #                alpha = 0.1 sqrt(7/16) / (3/4);  step alpha * -1.5 / sqrt(4.75)
    theta, engine = np.array([1.0]), get_engine("reference")
    adam = Adam(0.1, beta_1=0.5, beta_2=0.75)
    adam.step(engine, theta, np.array([2.0]))
    assert theta[0] == pytest.approx(1 - 0.1 / (1 + 1e-7), abs=1e-15)
    adam.step(engine, theta, np.array([-4.0]))
    assert (adam.slots["momentum"][0], adam.slots["velocity"][0]) == (-1.5, 4.75)
    alpha = 0.1 * math.sqrt(7 / 16) / 0.75
    expected = 1 - 0.1 / (1 + 1e-7) + alpha * 1.5 / (math.sqrt(4.75) + 1e-7)
    assert theta[0] == pytest.approx(expected, abs=1e-15)


def test_amsgrad_keeps_the_largest_second_moment():
    # v rises to 4 (beta_2 = 0), then g = 0 would let it fall to 0; v_hat stays 4.
    theta, engine = np.array([0.0]), get_engine("reference")
    adam = Adam(0.1, beta_1=0.5, beta_2=0.0, amsgrad=True)
    adam.step(engine, theta, np.array([2.0]))
    adam.step(engine, theta, np.array([0.0]))
    assert adam.slots["velocity"][0] == 0.0
    assert adam.slots["velocity_hat"][0] == 4.0


def test_momentum_and_nesterov_by_hand():
    # lr 1/2, mu 1/2, g = 2 twice.  Plain: u = -1, theta = -1; u = -1.5, theta = -2.5.
    # Nesterov: u = -1, theta += -0.5 - 1 = -1.5; u = -1.5, theta += -0.75 - 1 = -3.25.
    for nesterov, expected in ((False, -2.5), (True, -3.25)):
        theta = np.array([0.0])
        sgd = SGD(0.5, momentum=0.5, nesterov=nesterov)
        for _ in range(2):
            sgd.step(get_engine("reference"), theta, np.array([2.0]))
        assert theta[0] == expected


def test_first_moments_too_small_to_matter_become_zero():
    # 1e-30 is where the reference cuts: below it m is 0, above it m stays.
    m, v = np.array([1e-31, 2e-30]), np.zeros(2)
    zeros = np.zeros(2)
    reference.adam(zeros.copy(), zeros, m, v, None, 0.001, 0.1, 0.001, 1e-7)
    assert m[0] == 0 and m[1] == pytest.approx(1.8e-30)
