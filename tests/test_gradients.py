"""Every gradient against the complex step, an oracle that shares no backward code.

The loss is evaluated at theta + ih e_k by the forward code alone; its imaginary part over h is the
k-th derivative with no subtraction in it, so nothing cancels and there is no step to tune. The
bound is 1e-12 S (`scratchnet/testing/magnitude.py`): about 4,500 roundings of the largest terms.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scratchnet import Input, Sequential, config, layers
from scratchnet.engines import reference
from scratchnet.testing import exact, magnitude
from scratchnet.testing.magnitude import forward_scale, gradient_scale, on_a_kink
from scratchnet.testing.strategies import Problem, problems

H = 1e-20
"""The step: its square vanishes beside 1, and a derivative of 1e-280 times it is still normal."""

FLOOR = 1e-260
"""Where S is smaller (saturated sigmoids), products underflow: then 1e-12 FLOOR is allowed."""


def complex_step(model, batch):
    """All P derivatives of the loss, by P evaluations of the forward code."""
    theta = model.theta.astype(complex)
    gradient = np.empty_like(model.theta)
    for k in range(theta.size):
        theta[k] += 1j * H
        gradient[k] = model.loss_of(theta, batch).imag / H
        theta[k] = model.theta[k]
    return gradient


def worst(problem: Problem) -> float:
    """The largest error of the model's gradient, as a share of what rounding may do.

    That is 1e-12 S, and 16 u of the terms of the forward pass where that cancels: the oracle's
    complex matrix products add up in another order. (10,000 draws find nets where that is all.)
    """
    model, batch = problem
    # On a kink the order of summation decides which slope is taken: both are right.
    oracles = model.forward(batch.x, model.views(model.theta + 0j), reference.ENGINE)
    assume(not on_a_kink(model, batch.x, model.run(batch.x), oracles))
    model.gradient(batch)
    error = np.abs(model.grad - complex_step(model, batch))
    scale = gradient_scale(model, batch)
    assert np.isfinite(model.grad).all() and (np.abs(model.grad) <= scale * (1 + 1e-9)).all()
    allowed = 1e-12 * np.maximum(scale, FLOOR) + 16 * 2.0**-53 * forward_scale(model, batch)
    return float(np.max(error / allowed))


@given(problems())
def test_every_gradient_of_a_fresh_net_is_right_to_1e_12(problem):
    assert worst(problem) <= 1


@given(problems(max_depth=3), st.integers(1, 30))
def test_every_gradient_of_a_trained_net_is_right_to_1e_12(problem, steps):
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            problem.model.train_step(problem.batch)
    assume(np.abs(problem.model.theta).max() < 1e3)  # a step size that blew up says nothing
    assert worst(problem) <= 1


FINITE = st.floats(-1e3, 1e3)


@pytest.mark.parametrize("name", reference.ENGINE.activations)
@given(z=st.lists(FINITE, min_size=1, max_size=4), seed=st.integers(0, 2**32 - 1))
def test_each_activation_differentiates_its_forward(name, z, seed):
    """The vector-Jacobian product for a random dA, on rows from -1000 to 1000, saturated too."""
    forward, backward = reference.ENGINE.activations[name]
    Z = np.array([z])
    dA = np.random.default_rng(seed).normal(size=Z.shape)
    dZ = backward(dA, Z, forward(Z))
    for k in range(Z.size):
        step = np.zeros_like(Z)
        step[0, k] = H
        expected = np.sum(dA * forward(Z + 1j * step).imag) / H
        # dZ is a sum of K products of numbers <= |dA|, each rounded a few times.
        assert abs(dZ[0, k] - expected) <= 1e-14 * Z.size * np.abs(dA).max()


@pytest.mark.parametrize("name", reference.ENGINE.activations)
def test_where_a_slope_jumps_is_said(name):
    """`KINKS` in the reference engine, held against the slopes a little to the left and right."""
    forward, backward = reference.ENGINE.activations[name]
    grid = np.arange(-20, 20, 2.0**-6)

    def slope(z):
        Z = z[:, None]
        return backward(np.ones_like(Z), Z, forward(Z))[:, 0]

    jumps = np.abs(slope(grid + 1e-9) - slope(grid - 1e-9)) > 1e-6
    assert tuple(grid[jumps]) == reference.KINKS.get(name, ())


@pytest.mark.parametrize("name", reference.ENGINE.activations)
def test_an_activation_is_straight_or_has_its_own_scale_and_exact_formula(name):
    """Those that `exact.py` and `magnitude.py` don't list they take for lines through 0."""
    forward, _ = reference.ENGINE.activations[name]
    Z = np.random.default_rng(0).normal(0, 2, (20, 3))
    straight = np.allclose(forward(3 * Z), 3 * forward(Z), rtol=1e-15, atol=0)
    assert straight or name in magnitude.CURVED, f"{name} lacks its slope in magnitude.CURVED"
    row = [exact.dual(float(z)) for z in Z[0]]
    rounded = [float(a.value) for a in exact.ACTIVATIONS[name](row)]
    assert rounded == pytest.approx(forward(Z[:1])[0], rel=1e-15), f"{name} in exact.ACTIVATIONS"


def test_relu_has_slope_0_at_0():
    relu = reference.ENGINE.activations["relu"]
    Z = np.array([[0.0, -0.0, 1e-300, -1e-300]])
    assert relu.backward(np.ones_like(Z), Z, relu.forward(Z)).tolist() == [[0.0, 0.0, 1.0, 0.0]]


def test_a_wrong_gradient_is_seen():
    """The check above can fail: 0.01 % in one coordinate is far beyond its bound."""
    config.set_floatx("float64")
    model = Sequential([Input((3,)), layers.Dense(4, "tanh"), layers.Dense(2, "softmax")], seed=1)
    model.compile("sgd", "sparse_categorical_crossentropy", engine="reference")
    batch = model.batch(np.eye(3), [0, 1, 0])
    model.gradient(batch)
    right = complex_step(model, batch)
    scale = gradient_scale(model, batch)
    k = int(np.argmax(np.abs(right)))
    assert np.max(np.abs(model.grad - right) / np.maximum(scale, FLOOR)) <= 1e-12
    model.grad[k] *= 1.0001
    assert abs(model.grad[k] - right[k]) > 1e6 * 1e-12 * scale[k]
