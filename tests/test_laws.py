"""Named laws that hold for any network of this kind, whatever its numbers.

A gradient may be right at a point and still belong to a function that nobody wanted: these hold the
function itself. Tolerances are multiples of the unit roundoff (1.1e-16) times the number of terms.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scratchnet import Input, Sequential, config, layers
from scratchnet.checks import Examples
from scratchnet.engines import reference
from scratchnet.losses import SparseCategoricalCrossentropy
from scratchnet.model import Stage
from scratchnet.testing.magnitude import (
    backward_scale,
    forward_scale,
    gradient_scale,
    on_a_kink,
)
from scratchnet.testing.strategies import problems

ENGINE = reference.ENGINE
seeds = st.integers(0, 2**32 - 1)


def frozen(batch):
    """The same batch with arrays that can't be written to."""
    for array in batch:
        if array is not None:
            array.flags.writeable = False
    return batch


def turned(model, batch, rows):
    """Whether a ReLU is on for these rows by themselves and off for them in the batch, or back."""
    whole = [Stage(stage.Z[rows], stage.A[rows], None) for stage in model.run(batch.x)]
    return on_a_kink(model, batch.x[rows], model.run(batch.x[rows]), whole)


def whole_and_parts(model, batch, at):
    """The gradient of the batch and its size-weighted mean over rows up to `at` and from there."""
    size = len(batch.x)
    model.gradient(batch)
    whole = model.grad.copy()
    parts = np.zeros_like(whole)
    for rows in (slice(0, at), slice(at, size)):
        part = batch.rows(rows)
        if len(part.x):
            model.gradient(part)
            parts += model.grad * (len(part.x) / size)
    return whole, parts


@given(problems(max_batch=9), st.integers(1, 8))
def test_the_gradient_of_a_batch_is_the_size_weighted_mean_of_its_parts(problem, at):
    model, batch = problem
    vars(model.loss)["reduction"] = "sum_over_batch_size"  # whatever was drawn
    size = len(batch.x)
    at = min(at, size - 1) if size > 1 else 0
    # On a kink BLAS's order of summation decides which slope is taken: both are right.
    assume(not turned(model, batch, slice(0, at)) and not turned(model, batch, slice(at, size)))
    whole, parts = whole_and_parts(model, batch, at)
    # BLAS adds up a batch of another size in another order, forward and back.
    allowed = 1e-13 * np.maximum(gradient_scale(model, batch), 1e-290)
    allowed += 16 * 2.0**-53 * forward_scale(model, batch)
    assert np.all(np.abs(whole - parts) <= allowed)


def test_a_relu_that_is_0_but_for_rounding_is_known_to_be_on_its_kink():
    """Found by Hypothesis: with OpenBLAS the third row's second ReLU is on in the batch only."""
    config.set_floatx("float64")
    dense = [layers.Dense(4, use_bias=False), layers.Dense(2, "relu", use_bias=False)]
    model = Sequential([Input((8,)), *dense])
    first = [[0, 0, 1, 2], [-2, -2, 2, 2], [-1, -1, 2, 0], [-1, 2, -1, 0],
             [1, 0, -2, -2], [2, 1, 2, 0], [2, -1, 0, 1], [-2, -1, -2, 0]]  # fmt: skip
    second = [[2, -2], [-1, 0], [2, -1], [0, -1]]
    model.set_weights([np.array(first) / 10, np.array(second) / 10])
    x = [[2, -1, 2, 2, -1, 0, 0, 1], [1, -2, 0, -2, 2, -1, 0, 2], [0, 1, 0, 2, 0, 1, 0, 0]]
    batch = Examples(np.array(x, float), np.zeros((3, 2)), None)
    z = [model.run(batch.x[rows])[-1].Z[-1, 1] for rows in (slice(0, 3), slice(2, 3))]
    assert not turned(model, batch, slice(0, 2))
    assert turned(model, batch, slice(2, 3)) == ((z[0] > 0) != (z[1] > 0))


@given(problems(), seeds)
def test_permuting_the_rows_permutes_the_outputs(problem, seed):
    model, batch = problem
    order = np.random.default_rng(seed).permutation(len(batch.x))
    Z = model.run(batch.x)[-1].Z
    permuted = model.run(batch.x[order])[-1].Z
    # BLAS may sum another shape in another order: a few roundings for each of the layers' terms.
    assert np.max(np.abs(permuted - Z[order])) <= 1e-13 * (1 + np.max(np.abs(Z)))


@given(problems(), seeds)
def test_backward_is_linear_in_the_gradient_that_comes_in(problem, seed):
    model, batch = problem
    tape = model.run(batch.x)
    rng = np.random.default_rng(seed)
    one, two = (rng.normal(size=tape[-1].Z.shape) for _ in range(2))

    def grad(dZ):
        out = np.zeros_like(model.grad)
        model.backward(dZ, tape, model.params, model.views(out), model.engine)
        return out

    left, right = grad(2 * one - 3 * two), 2 * grad(one) - 3 * grad(two)
    size = 2 * np.abs(one) + 3 * np.abs(two)
    scale = backward_scale(model, size, tape, model.theta)
    assert np.max(np.abs(left - right) / np.maximum(scale, 1e-290)) <= 1e-14 * scale.size


@given(problems())
def test_inputs_and_parameters_are_never_written_to(problem):
    model, batch = problem
    theta = model.theta.copy()
    model.gradient(frozen(batch))
    model.run(batch.x)
    assert np.array_equal(theta, model.theta)


@given(seeds, st.floats(-1e6, 1e6))
def test_softmax_and_its_cross_entropy_do_not_see_a_shift(seed, shift):
    rng = np.random.default_rng(seed)
    Z, T = rng.normal(0, 3, (4, 5)), np.eye(5)[rng.integers(0, 5, 4)]
    softmax, loss = ENGINE.activations["softmax"].forward, ENGINE.losses["softmax_cross_entropy"]
    roundoff = 2.3e-16 * (1 + abs(shift))  # Z + shift is rounded before anyone sees it
    assert np.max(np.abs(softmax(Z) - softmax(Z + shift))) <= 4 * roundoff
    assert np.max(np.abs(loss.forward(Z, T)[0] - loss.forward(Z + shift, T)[0])) <= 8 * roundoff


@given(seeds)
def test_the_rows_of_the_logits_gradient_sum_to_zero(seed):
    rng = np.random.default_rng(seed)
    Z, T = rng.normal(0, 10, (6, 7)), np.eye(7)[rng.integers(0, 7, 6)]
    forward, backward = ENGINE.losses["softmax_cross_entropy"]
    dZ = backward(np.full(6, 1 / 6), T, forward(Z, T)[1])
    assert np.max(np.abs(dZ.sum(axis=1))) <= 7 * 2.3e-16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
def test_a_dtype_is_kept_through_every_operation_gradient_and_slot(dtype, data):
    model, batch = data.draw(problems(dtype=dtype))
    batch = Examples(
        batch.x, batch.y, None if batch.weights is None else batch.weights.astype(dtype)
    )
    for stage in model.run(batch.x):
        assert stage.Z.dtype == stage.A.dtype == dtype
    loss, outputs = model.train_step(batch)
    slots = model.optimizer.slots.values()
    arrays = [np.asarray(loss), outputs, model.theta, model.grad, *slots]
    assert {array.dtype.name for array in arrays} == {dtype}


def weights_only_scale(model, batch):
    """Twice the weights, twice the gradient: a factor of 2 rounds nothing, but for what underflows.

    Below 2^-1022 numbers are 2^-1074 apart, so a product there is off by 2^-1075, 2e-324. On its
    way down it meets at most three layers of 8 weights (below 10) and an activation (below 1e10) of
    each of 7 samples: less than 1e-300, which is less than one rounding of whatever exceeds 1e-284.
    """
    vars(model.loss)["reduction"] = "sum"
    model.gradient(Examples(batch.x, batch.y, None))
    plain = model.grad.copy()
    model.gradient(Examples(batch.x, batch.y, np.full(len(batch.x), 2.0)))
    assert np.all(np.abs(model.grad - 2 * plain) <= 1e-300)
    return plain


@given(problems())
def test_a_weight_of_0_takes_a_sample_out_and_equal_weights_only_scale(problem):
    model, batch = problem
    weights_only_scale(model, batch)
    model.gradient(Examples(batch.x, batch.y, np.zeros(len(batch.x))))
    assert not model.grad.any()


def test_a_gradient_that_underflows_is_scaled_as_well():
    """Found by Hypothesis: e^-715 / 3 is rounded to 2^-1074, and so is twice that."""
    config.set_floatx("float64")
    model = Sequential([Input((4,)), layers.Dense(2, use_bias=False)])
    model.compile("sgd", SparseCategoricalCrossentropy(from_logits=True), engine="reference")
    x = np.array([[1.0, 1 / 3, 1 / 7, 0.3]])
    model.set_weights([np.array([[-715.0, 0.0], *np.zeros((3, 2))])])
    plain = weights_only_scale(model, model.batch(x, np.array([1])))
    assert not np.array_equal(model.grad, 2 * plain)
