"""Keras's tensors for one step: the same as ours, as the lockstep's, and nothing moves."""

from __future__ import annotations

import numpy as np
import pytest

from keras_ref import bridge, step_tensors
from keras_ref.lockstep import Lockstep
from scratchnet import datasets
from scratchnet.app import anatomy, run_training

JOB = run_training.RunSettings(epochs=1, engine="reference")


@pytest.fixture(scope="module")
def data():
    return tuple((x[:96], y[:96]) for x, y in datasets.digits.load_data())


def moment(data, dtype):
    """The third step, so that the moments are not 0."""
    _, (found,), _ = anatomy.replay(JOB, data, dtype, {2})
    rows = found.rows[:12]  # a batch that is no full one
    return found, (data[0][0][rows], data[0][1][rows])


def test_in_float64_every_tensor_is_keras_s_within_rounding(data):
    model = run_training.build_model(JOB, data, "float64")
    step = anatomy.take_step(model, *moment(data, "float64"), step_tensors.tensors)
    inputs = {"pixels", "y", "T", "log p", "l", "share", "softmax"}
    ours = {name for name in step.tensors if not name.startswith(("dZ3 ", "step "))}
    ours -= inputs | {name for name in ours if "before" in name or name[0] in "Wb"}
    assert set(step.keras) == ours | {"loss"}
    # Z3 and below: sums of at most 784 terms of about their own size, so some 1e-13 of the largest
    for name in ours:
        array, theirs = step.tensors[name].array, step.keras[name]
        assert theirs.dtype == array.dtype == np.float64
        np.testing.assert_allclose(
            array, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max(), err_msg=name
        )
    assert abs(step.loss - step.keras["loss"]) <= 1e-12 * step.loss


def test_they_are_those_that_the_lockstep_compares_and_the_model_stays_as_it_is(data):
    model = run_training.build_model(JOB, data, "float64")
    found, (x, y) = moment(data, "float64")
    anatomy.take_step(model, found, (x, y), None)  # any state will do
    kept = [model.theta.copy(), *(slot.copy() for slot in model.optimizer.slots.values())]
    theirs = step_tensors.tensors(model, model.batch(x, y))
    with bridge.floatx("float64"):
        probe = Lockstep(model).probe
        stages, loss, gradients = probe(x.astype(np.float64), y.astype(np.int64), np.ones(len(x)))
    forward = ["R", "R", "X", "X", "Z1", "A1", "Z2", "A2", "Z3", "A3"]
    names = [*forward, "dW1", "db1", "dW2", "db2", "dW3", "db3", "loss"]
    tensors = [tensor for stage in stages for tensor in stage]
    for name, probed in zip(names, [*tensors, *gradients, loss], strict=True):
        largest = np.abs(probed).max()
        np.testing.assert_allclose(theirs[name], probed, rtol=0, atol=1e-12 * largest)
    for before, now in zip(kept, [model.theta, *model.optimizer.slots.values()], strict=True):
        np.testing.assert_array_equal(now, before)
