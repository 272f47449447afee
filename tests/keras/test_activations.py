"""Every activation beside live Keras: values, slopes, kinks, far out, NaN, arguments."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

from scratchnet import Input, Sequential, activations, layers
from scratchnet.engines import activations as others
from scratchnet.engines import reference
from scratchnet.testing import magnitude

RNG = np.random.default_rng(0)
GRID = np.concatenate(
    [np.linspace(-20, 20, 2001), np.linspace(-1000, 1000, 401), RNG.normal(size=200), [-0.0, 1e30]]
)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3.0, -3.0, 6.0, 1e200, -1e200])


def rows(name, x):
    """Single numbers, or for what normalises rows, rows of five."""
    return x[: len(x) // 5 * 5].reshape(-1, 5) if "softmax" in name else x[:, None]


def taped(name, x, dA):
    with tf.GradientTape() as tape:
        z = tf.constant(x)
        tape.watch(z)
        y = getattr(keras.activations, name)(z)
    return y.numpy(), tape.gradient(y, z, tf.constant(dA)).numpy()


def ours(name, x, dA):
    forward, backward = (reference.ENGINE.activations | others.ACTIVATIONS)[name]
    with np.errstate(all="ignore"):
        A = forward(x)
        return A, backward(dA, x, A)


@pytest.mark.parametrize("name", others.ACTIVATIONS)
def test_values_and_slopes_are_keras_s_to_1e_12(name):
    x = rows(name, GRID)
    dA = RNG.normal(size=x.shape)
    theirs, mine = taped(name, x, dA), ours(name, x, dA)
    curved = magnitude.CURVED[name]
    # In Keras's 1 + erf(z), as in ours, the terms cancel where z < 0.
    value = np.abs(x if name == "gelu" else theirs[0])
    with np.errstate(over="ignore"):
        sizes = value, curved(np.abs(dA), x, np.abs(theirs[0]))
    for one, other, size in zip(mine, theirs, sizes, strict=True):
        assert one.dtype == "float64"
        with np.errstate(invalid="ignore"):
            near = np.abs(one - other) <= 1e-12 * np.maximum(size, 1e-290)
        assert np.all(near | (one == other)), x[~(near | (one == other))]


@pytest.mark.parametrize("name", others.ACTIVATIONS)
def test_not_finite_huge_and_on_the_kink_as_in_keras(name):
    x = rows(name, SPECIAL)
    dA = np.full_like(x, 0.5)
    for mine, theirs in zip(ours(name, x, dA), taped(name, x, dA), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", others.ACTIVATIONS)
def test_float32_stays_float32(name):
    x = rows(name, GRID[np.abs(GRID) < 80]).astype("float32")
    dA = RNG.normal(size=x.shape).astype("float32")
    for mine, theirs in zip(ours(name, x, dA), taped(name, x, dA), strict=True):
        assert mine.dtype == theirs.dtype == "float32"
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=4e-6)


CALLS = [
    ("relu", {"negative_slope": 0.1}),
    ("relu", {"max_value": 6}),
    ("relu", {"max_value": 0.5, "threshold": 0.25}),
    ("relu", {"threshold": -1.5}),
    ("relu", {"negative_slope": 0.3, "threshold": 1.0}),
    ("relu", {"negative_slope": 0.3, "max_value": 2.0, "threshold": 1.0}),
    ("leaky_relu", {}),
    ("leaky_relu", {"negative_slope": 0.7}),
    ("elu", {"alpha": 0.3}),
    ("elu", {"alpha": -2.0}),
    ("gelu", {"approximate": True}),
    ("gelu", {"approximate": False}),
    ("softmax", {"axis": 0}),
    ("softmax", {"axis": None}),
    ("softmax", {"axis": (1, 2)}),
    ("log_softmax", {"axis": 1}),
    ("log_softmax", {"axis": None}),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arguments_are_keras_s(name, arguments, dtype):
    x = RNG.normal(0, 3, (4, 5, 6)).astype(dtype)
    x[0, 0, :4] = np.nan, 0, 1, 6
    if "softmax" in name:
        x = np.nan_to_num(x)
    theirs = getattr(keras.activations, name)(tf.constant(x), **arguments).numpy()
    mine = getattr(activations, name)(x, **arguments)
    assert mine.dtype == theirs.dtype == dtype
    tolerance = 1e-12 if dtype == "float64" else 2e-6
    np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [*activations.NAMES, *others.ACTIVATIONS, "swish"])
def test_names_functions_and_descriptions(name):
    function = getattr(activations, name)
    assert activations.get(name) is function is activations.get(function)
    assert activations.serialize(function) == keras.activations.serialize(
        getattr(keras.activations, name)
    )
    assert activations.deserialize(activations.serialize(function)) is function
    assert layers.Dense(3, function).activation == layers.Dense(3, name).activation


@pytest.mark.parametrize("name", others.ACTIVATIONS)
def test_slopes_are_the_complex_step_s(name):
    """Away from its kinks; on rows of five for what normalises them."""
    forward, backward = others.ACTIVATIONS[name]
    Z, dA = RNG.normal(0, 3, (20, 5)), RNG.normal(size=(20, 5))
    dZ = backward(dA, Z, forward(Z))
    scale = magnitude.CURVED[name](np.abs(dA), Z, np.abs(forward(Z)))
    for k in range(5):
        stepped = Z + 1j * 1e-20 * (np.arange(5) == k)
        slope = np.sum(dA * forward(stepped).imag, axis=1) / 1e-20
        assert np.all(np.abs(slope - dZ[:, k]) <= 1e-14 * np.maximum(scale[:, k], 1))


@pytest.mark.parametrize("name", others.ACTIVATIONS)
def test_where_a_slope_jumps_is_said(name):
    forward, backward = others.ACTIVATIONS[name]
    grid = np.linspace(-8, 8, 65)

    def slope(z):
        Z = z[:, None]
        return backward(np.ones_like(Z), Z, forward(Z))[:, 0]

    # Slopes themselves are as large as an exponential; a jump is one beside them.
    above, below = slope(grid + 1e-9), slope(grid - 1e-9)
    jumps = np.abs(above - below) > 1e-6 * np.maximum(1, np.abs(above))
    assert tuple(grid[jumps]) == others.KINKS.get(name, ())


@pytest.mark.parametrize("name", others.ACTIVATIONS)
def test_a_model_with_it_runs_on_the_reference_engine_and_says_so_once(name):
    pytest.importorskip("numba")
    x = RNG.normal(size=(20, 4))
    y = RNG.integers(0, 3, 20)
    stack = [Input((4,)), layers.Dense(5, name), layers.Dense(3, "softmax")]
    fast = Sequential(copy.deepcopy(stack), seed=3)
    fast.compile("adam", "sparse_categorical_crossentropy", engine="compiled")
    fast.predict(x, verbose=0)
    with pytest.warns(UserWarning, match=f"'{name}', the activation of 'dense'") as said:
        fast.fit(x, y, verbose=0)
        fast.evaluate(x, y, verbose=0)
    assert len(said) == 1
    slow = Sequential(copy.deepcopy(stack), seed=3)
    slow.compile("adam", "sparse_categorical_crossentropy", engine="reference")
    slow.fit(x, y, verbose=0)
    np.testing.assert_array_equal(fast.theta, slow.theta)
    np.testing.assert_array_equal(fast.predict(x, verbose=0), slow.predict(x, verbose=0))
