"""The exact oracle, and the float64 engine measured against it in ulps."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from scratchnet import Input, Sequential, config, layers
from scratchnet.engines import reference
from scratchnet.testing.exact import Dual, errors, exact, exp, log, ulps
from scratchnet.testing.strategies import problems


def weight_of(batch):
    return len(batch.x) if batch.weights is None else float(np.sum(batch.weights))


def net(stack, inputs, loss, weights):
    config.set_floatx("float64")
    model = Sequential([Input((inputs,)), *stack])
    model.compile("sgd", loss, engine="reference")
    model.set_weights([np.array(array, float) for array in weights])
    return model


def test_a_net_worked_out_by_hand():
    """X = (1, 2), W1 = ((1, -1), (1, 1)): Z1 = (3, 1), A1 = Z1; W2 = (2, -3): Z2 = 3, t = 1.

    l = (3 - 1)^2 = 4, dZ2 = 4, dW2 = (12, 4), dA1 = (8, -12), dW1 = ((8, -12), (16, -24)).
    """
    stack = [layers.Dense(2, "relu", False), layers.Dense(1, use_bias=False)]
    model = net(stack, 2, "mse", [[[1, -1], [1, 1]], [[2], [-3]]])
    found = exact(model, model.batch(np.array([[1.0, 2.0]]), np.array([[1.0]])))
    assert found.loss == 4 and found.outputs == [[3]]
    assert found.gradient == [8, -12, 16, -24, 12, 4]


def test_integers_leave_the_engine_no_rounding_at_all():
    stack = [layers.Dense(3, "relu"), layers.Dense(2)]
    rng = np.random.default_rng(0)
    shapes = [(2, 3), (3,), (3, 2), (2,)]
    model = net(stack, 2, "mse", [rng.integers(-2, 3, shape) for shape in shapes])
    batch = model.batch(rng.integers(-3, 4, (4, 2)), rng.integers(-3, 4, (4, 2)))
    assert set(errors(model, batch).values()) == {0.0}


def test_cross_entropy_of_equal_logits_is_log_2_to_60_digits():
    model = net([layers.Dense(2)], 1, "sparse_categorical_crossentropy", [[[0, 0]], [0, 0]])
    model.compile("sgd", type(model.loss)(from_logits=True), engine="reference")
    found = exact(model, model.batch(np.array([[1.0]]), np.array([0])))
    assert abs(found.loss - log(Dual(Fraction(2), Fraction(0))).value) < Fraction(1, 10**59)
    assert [round(float(g), 15) for g in found.gradient] == [-0.5, 0.5, -0.5, 0.5]


def test_exp_and_log_carry_their_slopes():
    x = Dual(Fraction(1, 3), Fraction(1))
    back = log(exp(x))
    assert abs(back.value - x.value) < Fraction(1, 10**58)
    assert abs(back.slope - 1) < Fraction(1, 10**58)


@given(problems(max_depth=2, max_width=3, max_batch=3, margin=1e-9))
def test_loss_outputs_and_gradients_are_right_to_ulps_of_their_terms(problem):
    """Off the kink, where rounding would decide which side of 0 a ReLU is on."""
    found = errors(*problem)
    assert found["outputs"] <= 16
    if problem.model.objective.function in ("softmax_cross_entropy", "mean_squared_error"):
        # The others divide by a probability, which may be as ill-conditioned as it likes.
        assert found["loss"] <= 16 * (1 + weight_of(problem.batch))
        assert found["gradient, in all"] <= 64


@pytest.mark.parametrize("hidden", reference.ENGINE.activations)
@pytest.mark.parametrize("seed", range(4))
def test_in_ordinary_nets_every_coordinate_is_right_to_a_few_ulps_of_its_terms(hidden, seed):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(0, 1, shape) for shape in [(2, 3), (3,), (3, 2), (2,)]]
    model = net([layers.Dense(3, hidden), layers.Dense(2, "softmax")], 2, "mse", weights)
    batch = model.batch(rng.normal(0, 1, (3, 2)), np.eye(2)[rng.integers(0, 2, 3)])
    assert errors(model, batch)["gradient"] <= 16


def test_a_relu_that_rounding_put_on_the_other_side_of_0_is_seen():
    """0.1 + 0.4 - 0.5 is 0 in floats; of the same three floats it is 2.8e-17 exactly, which is on.

    The complex step shares the engine's forward pass and agrees with its gradient of 0.
    """
    stack = [layers.Dense(1, "relu", False), layers.Dense(1, use_bias=False)]
    model = net(stack, 3, "mse", [[[0.1], [0.4], [-0.5]], [[1.0]]])
    batch = model.batch(np.ones((1, 3)), np.array([[1.0]]))
    model.gradient(batch)
    assert model.grad.tolist() == [0, 0, 0, 0]
    assert [round(float(slope), 12) for slope in exact(model, batch).gradient[:3]] == [-2, -2, -2]


def test_a_wrong_gradient_is_seen_in_ulps():
    stack = [layers.Dense(2, "tanh"), layers.Dense(2, "softmax")]
    model = net(stack, 1, "mse", [[[0.3, -0.2]], [0.1, 0.2], [[0.5, 1], [-1, 0.25]], [0, 0.1]])
    batch = model.batch(np.array([[0.7]]), np.array([[1.0, 0.0]]))
    assert errors(model, batch)["gradient"] < 16
    right = exact(model, batch)
    model.gradient(batch)
    assert ulps(model.grad[0] * (1 + 1e-12), right.gradient[0]) > 1000


def test_layers_of_ones_own_are_refused():
    class Own(layers.Layer):
        def forward(self, X, params, engine):
            return X, None

    config.set_floatx("float64")
    model = Sequential([Input((1,)), Own(), layers.Dense(1)])
    model.compile("sgd", "mse", engine="reference")
    with pytest.raises(TypeError, match="Own is not known"):
        exact(model, model.batch(np.array([[1.0]]), np.array([[1.0]])))
