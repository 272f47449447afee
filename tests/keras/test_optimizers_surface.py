"""Optimizers, their options and schedules beside live Keras in float64."""

from __future__ import annotations

import copy
import json

import keras
import numpy as np
import pytest

from scratchnet import optimizers
from scratchnet.engines import reference
from scratchnet.optimizers import schedules

RNG = np.random.default_rng(0)
SHAPES = [(4, 3), (3,), (3, 2), (2,)]
START = [RNG.normal(size=shape) for shape in SHAPES]
GRADS = [[RNG.normal(0, 2.0, shape) for shape in SHAPES] for _ in range(20)]

OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("Adam", {"amsgrad": True}),
    ("RMSprop", {"centered": True, "momentum": 0.5}),
    ("AdamW", {}),
    ("AdamW", {"weight_decay": 0.1, "amsgrad": True, "beta_1": 0.7, "beta_2": 0.95}),
    ("Adagrad", {}),
    ("Adagrad", {"initial_accumulator_value": 0.3, "epsilon": 1e-3}),
    ("Nadam", {}),
    ("Nadam", {"beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-4}),
]
OPTIONS = [
    {"clipnorm": 1.3},
    {"clipnorm": 1e3},
    {"clipvalue": 0.5},
    {"global_clipnorm": 2.0},
    {"global_clipnorm": 1e3},
    {"weight_decay": 0.02},
    {"weight_decay": 0.02, "clipnorm": 1.0},
    {"use_ema": True},
    {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 7},
]
SCHEDULES = [
    ("ExponentialDecay", (0.1, 10, 0.7)),
    ("ExponentialDecay", (0.1, 10, 0.7, True)),
    ("InverseTimeDecay", (0.1, 10, 0.7)),
    ("InverseTimeDecay", (0.1, 10, 0.7, True)),
    ("PiecewiseConstantDecay", ([5, 20], [0.1, 0.05, 0.01])),
    ("PolynomialDecay", (0.1, 20)),
    ("PolynomialDecay", (0.1, 20, 0.01, 2.0)),
    ("PolynomialDecay", (0.1, 20, 0.01, 0.5, True)),
    ("CosineDecay", (0.1, 30)),
    ("CosineDecay", (0.01, 30, 0.2, "c", 0.1, 10)),
    ("CosineDecayRestarts", (0.1, 10)),
    ("CosineDecayRestarts", (0.1, 7, 1.0, 0.8, 0.1)),
    ("CosineDecayRestarts", (0.1, 7, 1.5, 0.8, 0.1)),
]

pytestmark = pytest.mark.usefixtures("float64_in_both")


def both(name, arguments, schedule=None):
    """The same optimizer of both rooms."""
    found = []
    for room in (optimizers, keras.optimizers):
        more = {}
        if schedule is not None:
            kind, numbers = schedule
            more = {"learning_rate": getattr(room.schedules, kind)(*copy.deepcopy(numbers))}
        found.append(getattr(room, name)(**{"learning_rate": 0.05} | arguments | more))
    return found


def unnamed(optimizer):
    """Its configuration but for its name, which Keras numbers."""
    return {key: value for key, value in optimizer.get_config().items() if key != "name"}


def stepped(ours, theirs, tolerance=1e-12):
    """20 steps on four variables, the same after each."""
    mine = [array.copy() for array in START]
    right = [keras.Variable(array, dtype="float64") for array in START]
    for grads in GRADS:
        ours.apply_gradients(zip(grads, mine, strict=True))
        theirs.apply_gradients(zip(map(keras.ops.convert_to_tensor, grads), right, strict=True))
        for a, b in zip(mine, right, strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=tolerance)
    return mine, right


@pytest.mark.parametrize(("name", "arguments"), OPTIMIZERS, ids=str)
def test_twenty_steps_are_keras_s(name, arguments):
    ours, theirs = both(name, arguments)
    stepped(ours, theirs)
    assert ours.iterations == int(theirs.iterations)
    assert unnamed(ours) == unnamed(theirs)
    assert len(ours.variables) == len(theirs.variables) - (name == "Nadam")
    for a, b in zip(ours.variables, theirs.variables, strict=False):
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["SGD", "Adam", "Nadam"])
def test_options_are_keras_s(name, options):
    ours, theirs = both(name, options)
    mine, right = stepped(ours, theirs)
    ours.finalize_variable_values(mine)
    theirs.finalize_variable_values(right)
    for a, b in zip(mine, right, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=1e-12)
    assert unnamed(ours) == unnamed(theirs)


def test_what_is_excluded_does_not_decay():
    for chosen in ({"var_names": ["bias"]}, {"var_list": [1]}):
        mine = [np.ones(2), np.ones(2)]
        right = [keras.Variable(a, name=n) for a, n in zip(mine, ("kernel", "bias"), strict=True)]
        ours, theirs = both("SGD", {"weight_decay": 0.1})
        for optimizer, arrays in ((ours, mine), (theirs, right)):
            given = {k: [arrays[i] if i == 1 else i for i in v] for k, v in chosen.items()}
            optimizer.exclude_from_weight_decay(**given)
        if "var_names" in chosen:
            continue  # plain arrays have no names; the test of models below has
        zeros = [np.zeros(2), np.zeros(2)]
        ours.apply(zeros, mine)
        theirs.apply(list(map(keras.ops.convert_to_tensor, zeros)), right)
        for a, b in zip(mine, right, strict=True):
            np.testing.assert_array_equal(a, b.numpy())
        assert mine[1].tolist() == [1.0, 1.0] and mine[0][0] < 1


@pytest.mark.parametrize(("kind", "numbers"), SCHEDULES, ids=str)
def test_schedules_are_keras_s(kind, numbers):
    ours = getattr(schedules, kind)(*copy.deepcopy(numbers))
    theirs = getattr(keras.optimizers.schedules, kind)(*copy.deepcopy(numbers))
    for step in range(80):
        np.testing.assert_allclose(float(ours(step)), float(theirs(step)), rtol=3e-7, atol=1e-9)
    assert ours.get_config() == theirs.get_config()
    again = schedules.deserialize(json.loads(json.dumps(schedules.serialize(ours))))
    assert again.get_config() == ours.get_config()
    assert schedules.serialize(ours) == keras.optimizers.schedules.serialize(theirs)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Nadam", "Adagrad", "RMSprop"])
def test_a_schedule_drives_an_optimizer(name):
    ours, theirs = both(name, {}, SCHEDULES[0])
    # A rate is a float32 number: its power may be rounded to the next one in each step.
    stepped(ours, theirs, tolerance=20 * 0.1 * 2.0**-23)
    assert float(ours.learning_rate) == pytest.approx(float(theirs.learning_rate), rel=3e-7)
    assert len(ours.variables) == len(theirs.variables) - (name == "Nadam")
    again = type(ours).from_config(json.loads(json.dumps(ours.get_config())))
    assert again.get_config() == ours.get_config()
    for optimizer in (ours, theirs):
        with pytest.raises(TypeError):
            optimizer.learning_rate = 0.5


def test_the_rate_may_be_a_function():
    ours = optimizers.SGD(lambda: 0.25)
    theta = np.array([1.0])
    ours.step(reference.ENGINE, theta, np.array([2.0]))
    assert theta.tolist() == [0.5] and ours.learning_rate == 0.25
    ours.learning_rate = 0.5  # Keras takes a number in a function's place
    ours.step(reference.ENGINE, theta, np.array([1.0]))
    assert theta.tolist() == [0.0]


WRONG = [
    {"clipnorm": 1.0, "clipvalue": 1.0},
    {"clipnorm": 1.0, "global_clipnorm": 1.0},
    {"use_ema": True, "ema_momentum": 1.5},
    {"use_ema": True, "ema_overwrite_frequency": 1.5},
    {"nonsense": 1},
]


@pytest.mark.parametrize("arguments", WRONG, ids=str)
def test_what_keras_refuses_is_refused(arguments):
    for room in (optimizers, keras.optimizers):
        with pytest.raises(ValueError):
            room.SGD(**arguments)


def test_a_variable_that_it_was_not_built_for_is_refused():
    for room, make in ((optimizers, np.array), (keras.optimizers, keras.Variable)):
        optimizer = room.Adam()
        optimizer.apply([np.ones(2)], [make([1.0, 2.0])])
        with pytest.raises(ValueError, match="Unknown variable"):
            optimizer.apply([np.ones(2)], [make([1.0, 2.0])])
        with pytest.raises(ValueError, match="No gradients"):
            room.SGD().apply([None], [make([1.0, 2.0])])
        with pytest.raises(ValueError, match="must already be"):
            room.SGD().apply([np.ones(2)])
    with pytest.raises(ValueError):
        optimizers.AdamW(weight_decay=None)
