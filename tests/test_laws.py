"""Named laws that hold for any network of this kind, whatever its numbers.

A gradient may be right at a point and still belong to a function that nobody wanted: these hold the
function itself. Tolerances are multiples of the unit roundoff (1.1e-16) times the number of terms.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchnet.engines import get_engine, reference
from scratchnet.inputs import Data
from scratchnet.testing.magnitude import backward_scale, forward_scale, gradient_scale
from scratchnet.testing.strategies import problems

ENGINE = reference.ENGINE
seeds = st.integers(0, 2**32 - 1)


def frozen(batch):
    """The same batch with arrays that can't be written to."""
    for array in batch:
        if array is not None:
            array.flags.writeable = False
    return batch


@given(problems(max_batch=9), st.integers(1, 8))
def test_the_gradient_of_a_batch_is_the_size_weighted_mean_of_its_parts(problem, at):
    model, batch = problem
    model.loss.reduction = "sum_over_batch_size"
    size = len(batch.x)
    at = min(at, size - 1) if size > 1 else 0
    model.gradient(batch)
    whole = model.grad.copy()
    # BLAS adds up a batch of another size in another order, forward and back.
    allowed = 1e-13 * np.maximum(gradient_scale(model, batch), 1e-290)
    allowed += 16 * 2.0**-53 * forward_scale(model, batch)
    parts = np.zeros_like(whole)
    for rows in (slice(0, at), slice(at, size)):
        part = batch.rows(rows)
        if len(part.x):
            model.gradient(part)
            parts += model.grad * (len(part.x) / size)
    assert np.all(np.abs(whole - parts) <= allowed)


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
    batch = Data(batch.x, batch.y, None if batch.weights is None else batch.weights.astype(dtype))
    for stage in model.run(batch.x):
        assert stage.Z.dtype == stage.A.dtype == dtype
    loss, outputs = model.train_step(batch)
    slots = model.optimizer.slots.values()
    arrays = [np.asarray(loss), outputs, model.theta, model.grad, *slots]
    assert {array.dtype.name for array in arrays} == {dtype}


@given(problems())
def test_a_weight_of_0_takes_a_sample_out_and_equal_weights_only_scale(problem):
    model, batch = problem
    model.loss.reduction = "sum"
    doubled = Data(batch.x, batch.y, np.full(len(batch.x), 2.0))
    model.gradient(Data(batch.x, batch.y, None))
    plain = model.grad.copy()
    model.gradient(doubled)
    assert np.array_equal(model.grad, 2 * plain)  # a factor of 2 rounds nothing
    model.gradient(Data(batch.x, batch.y, np.zeros(len(batch.x))))
    assert not model.grad.any()


def test_engines_offer_the_same_functions():
    for name in ("reference",):
        engine = get_engine(name)
        assert engine.activations.keys() == ENGINE.activations.keys()
        assert engine.losses.keys() == ENGINE.losses.keys()
