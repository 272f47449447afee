"""Random training scripts agree with live Keras in float64, on both engines."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_ref import bridge, random_scripts
from scratchnet import Input, Sequential, layers, optimizers


@pytest.mark.parametrize("seed", range(12))
def test_a_random_script_gives_keras_numbers(seed):
    outcome = random_scripts.compare(seed)
    assert not outcome.wrong


def test_a_slip_in_a_script_is_found(monkeypatch):
    """A learning rate that is off by a millionth, on our side alone."""
    adjusted = random_scripts.run

    def run(script, room, theta, **compiling):
        if room is not keras:
            script = script._replace(optimizer=lambda m: m.optimizers.SGD(0.010_000_01))
        else:
            script = script._replace(optimizer=lambda m: m.optimizers.SGD(0.01))
        return adjusted(script, room, theta, **compiling)

    monkeypatch.setattr(random_scripts, "run", run)
    assert "apart in" in random_scripts.compare(0).wrong


def test_numbers_of_another_name_or_shape_are_infinitely_far():
    a, b = {"loss": np.ones(2)}, {"loss": np.ones(3)}
    assert random_scripts.distance(a, b)[0] == np.inf
    assert random_scripts.distance(a, {"val_loss": np.ones(2)})[0] == np.inf
    assert random_scripts.distance(a, {"loss": np.full(2, np.nan)})[0] == np.inf


def test_accumulation_of_gradients_is_refused_by_name():
    with pytest.raises(ValueError, match=r"gradient_accumulation_steps.*Make batch_size larger"):
        optimizers.Adam(gradient_accumulation_steps=2)


def test_a_crossentropy_as_a_metric_reads_the_outputs():
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 4
    ours = Sequential([Input((3,)), layers.Dense(4, "sigmoid")], seed=0)
    name = "sparse_categorical_crossentropy"
    ours.compile("sgd", name, metrics=[name])
    theirs = bridge.twin(ours, metrics=[name])
    mine, other = (m.evaluate(x, y, verbose=0, return_dict=True) for m in (ours, theirs))
    assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert other[name] == pytest.approx(other["loss"], rel=1e-5)
    outputs = ours.predict(x).astype(float)
    right = np.take_along_axis(outputs / outputs.sum(1, keepdims=True), y[:, None], 1)
    assert mine[name] == pytest.approx(-np.log(right).mean(), rel=1e-5)
