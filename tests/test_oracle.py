"""All 42,310 gradients of the MNIST script's model on real digits; one wrong one shows."""

from __future__ import annotations

import os

import numpy as np
import oracle
import pytest

from scratchnet import datasets
from scratchnet.testing.magnitude import gradient_scale

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


def test_every_gradient_is_right_and_one_that_is_wrong_by_a_hundredth_of_a_percent_shows(mnist):
    x, y, _, _ = mnist
    model = oracle.scripts_model()
    batch = model.batch(x[:32], y[:32])
    model.gradient(batch)
    right, scale = oracle.complex_step(model.theta, batch), gradient_scale(model, batch)
    assert right.size == 42_310
    assert oracle.judge(model.grad, right, scale).worst <= oracle.BOUND
    alive = np.flatnonzero(right)
    for k in alive[:: len(alive) // 50]:
        wrong = model.grad.copy()
        wrong[k] *= 1.0001
        seen = np.flatnonzero(oracle.judge(wrong, right, scale).errors > oracle.BOUND)
        assert seen.tolist() == [k]


@pytest.mark.skipif(not NIGHTLY, reason="a minute: with HYPOTHESIS_PROFILE=nightly")
def test_every_gradient_is_right_after_ten_epochs(mnist):
    x, y, _, _ = mnist
    model = oracle.scripts_model()
    model.fit(x, y, epochs=10, verbose=0)
    assert oracle.check(model, model.batch(x[:32], y[:32])).worst <= oracle.BOUND


@pytest.mark.parametrize("trained", [False, True], ids=["fresh", "trained"])
def test_the_whole_gradient_is_right_in_random_directions(trained):
    """A projection of all 42,310 entries at once, on the bundled digits: one evaluation each."""
    (x, y), _ = datasets.digits.load_data()
    model = oracle.scripts_model()
    if trained:
        model.fit(x, y, epochs=3, verbose=0)
    batch = model.batch(x[:32], y[:32])
    model.gradient(batch)
    scale = gradient_scale(model, batch)
    rng = np.random.default_rng(0)
    for _ in range(20):
        u = rng.choice([-1.0, 1.0], model.theta.size)
        slope = model.loss_of(model.theta + 1j * oracle.H * u, batch).imag / oracle.H
        # Both sides sum 42,310 terms: the scale of the sum is the sum of the scales.
        assert abs(slope - u @ model.grad) <= 1e-12 * np.sum(scale)
