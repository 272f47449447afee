"""The course's proof beside Keras: the learner's network is Keras's, or where it is not."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest

from keras_ref import course
from scratchnet.app import run_training
from scratchnet.app.course import proving
from scratchnet.datasets import digits
from scratchnet.engines import own_engine, reference

TWO_EPOCHS = replace(proving.SETTINGS, epochs=2)


def mine(**functions):
    return own_engine(types.SimpleNamespace(__name__="mine", **functions))


@pytest.fixture(scope="module")
def data():
    (x, y), test = digits.load_data()
    return (x[:320], y[:320]), test


def in_lockstep(engine, data):
    model = run_training.build_model(proving.SETTINGS, data, "float64", engine)
    return course.in_lockstep(model, data, proving.SETTINGS)


def test_functions_in_another_order_of_sums_are_keras_s_to_1e_12(data):
    def dense(X, W, b):
        return X[:, ::-1] @ W[::-1] + b

    found = in_lockstep(mine(dense=dense), data)
    assert found["difference"] is None and found["steps"] == 10
    assert 0 < found["largest"] <= proving.LARGEST


def test_a_fault_of_a_billionth_is_named_with_its_step_and_tensor(data):
    def relu_backward(dA, Z, A):
        return reference.relu_backward(dA, Z, A) * (1 + 1e-9)

    found = in_lockstep(mine(relu_backward=relu_backward), data)
    assert "step 1:" in found["difference"] and "gradient" in found["difference"]
    assert found["largest"] > proving.LARGEST


def test_keras_takes_its_turn_and_starts_from_the_same_weights(data):
    rival = proving.Rival("keras", course.in_lockstep, course.twin)
    _, histories = proving.side_by_side(mine(dense=reference.dense), data, TWO_EPOCHS, rival)
    assert set(histories) == {"scratchnet", "reference", "compiled", "keras"}
    assert histories["scratchnet"]["loss"] == histories["reference"]["loss"]
    for name in ("compiled", "keras"):
        assert histories[name]["loss"][0] == pytest.approx(histories["scratchnet"]["loss"][0], 1e-4)
