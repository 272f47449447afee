"""Training with layers that ask for more, beside live Keras in float64, and by the complex step."""

from __future__ import annotations

import copy

import keras
import numpy as np
import pytest

import scratchnet
from scratchnet import Input, Sequential, layers, regularizers

RNG = np.random.default_rng(0)
X = RNG.normal(0, 2, (48, 6))
Y = RNG.integers(0, 3, 48)
FIT = {"batch_size": 10, "epochs": 8, "shuffle": False, "verbose": 0}


pytestmark = pytest.mark.usefixtures("float64_in_both")


STACKS = {
    "batch normalization": lambda m: [
        *(m.layers.Dense(5), m.layers.BatchNormalization(momentum=0.8), m.layers.ReLU()),
        m.layers.Dense(3, "softmax"),
    ],
    "without gamma and beta": lambda m: [
        *(m.layers.Reshape((2, 3)), m.layers.BatchNormalization(axis=1, scale=False)),
        *(m.layers.BatchNormalization(center=False, epsilon=0.1), m.layers.Flatten()),
        m.layers.Dense(3, "softmax"),
    ],
    "on the input and the head": lambda m: [
        *(m.layers.BatchNormalization(), m.layers.Dense(3), m.layers.BatchNormalization()),
        m.layers.Softmax(),
    ],
    "regularized": lambda m: [
        m.layers.Dense(5, "tanh", kernel_regularizer="l2", bias_regularizer=m.regularizers.L1(0.1)),
        m.layers.Dense(3, "softmax", kernel_regularizer=m.regularizers.L1L2(0.01, 0.02)),
    ],
    "activity": lambda m: [
        m.layers.Dense(5, "gelu", activity_regularizer=m.regularizers.L2(0.05)),
        m.layers.ActivityRegularization(l1=0.01, l2=0.02),
        m.layers.Dense(3, "softmax", activity_regularizer="l1"),
    ],
    "gamma and beta regularized": lambda m: [
        m.layers.Dense(5),
        m.layers.BatchNormalization(gamma_regularizer="l1", beta_regularizer="l2"),
        m.layers.Dense(3, "softmax"),
    ],
    "normalized": lambda m: [
        m.layers.Normalization(mean=[1.0] * 6, variance=[2.0] * 6),
        m.layers.Dense(3, "softmax", kernel_regularizer="l1"),
    ],
}
OPTIMIZERS = {
    "sgd": lambda m: "sgd",
    "adamw": lambda m: m.optimizers.AdamW(0.01, clipnorm=0.5),
    "averages": lambda m: m.optimizers.SGD(
        0.05, momentum=0.9, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=6
    ),
    "rate": lambda m: m.optimizers.Adam(m.optimizers.schedules.InverseTimeDecay(0.01, 5, 0.5)),
    "nadam": lambda m: m.optimizers.Nadam(0.01, global_clipnorm=0.5, weight_decay=0.1),
}


def pair(stack, optimizer, engine="reference", loss="sparse_categorical_crossentropy"):
    """The same model in both, with the same weights."""
    ours = Sequential([Input((6,)), *STACKS[stack](scratchnet)], seed=1)
    theirs = keras.Sequential([keras.Input((6,)), *STACKS[stack](keras)])
    theirs.set_weights(ours.get_weights())
    ours.compile(OPTIMIZERS[optimizer](scratchnet), loss, metrics=["accuracy"], engine=engine)
    theirs.compile(OPTIMIZERS[optimizer](keras), loss, metrics=["accuracy"])
    return ours, theirs


def same(ours, theirs, tolerance=1e-10):
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("stack", "optimizer"),
    [*((stack, "sgd") for stack in STACKS), *(("batch normalization", by) for by in OPTIMIZERS)],
)
@pytest.mark.filterwarnings("ignore:.*not known to the compiled engine")
def test_forty_steps_are_keras_s(stack, optimizer):
    ours, theirs = pair(stack, optimizer)
    again = copy.deepcopy(ours)
    mine = ours.fit(X, Y, validation_data=(X[:7], Y[:7]), **FIT).history
    right = theirs.fit(X, Y, validation_data=(X[:7], Y[:7]), **FIT).history
    assert mine.keys() == right.keys()
    tolerance = 1e-7 if optimizer == "rate" else 1e-10  # a schedule's numbers are float32
    for name in mine:
        np.testing.assert_allclose(mine[name], right[name], rtol=tolerance, err_msg=name)
    same(ours, theirs, tolerance)
    again.compile(again.optimizer, again.loss, metrics=["accuracy"], engine="compiled")
    again.fit(X, Y, **FIT)
    same(ours, again, 0)
    counts = [
        [len(getattr(m, f"{kind}trainable_weights")) for kind in ("", "non_")]
        for m in (ours, theirs)
    ]
    assert counts[0] == counts[1]
    np.testing.assert_allclose(ours.evaluate(X, Y, verbose=0), theirs.evaluate(X, Y, verbose=0))


def test_what_is_not_compiled_is_named():
    for stack, optimizer, said in (
        ("batch normalization", "sgd", "'batchnormalization', a BatchNormalization"),
        ("regularized", "sgd", "a regularizer of 'dense'"),
    ):
        ours, _ = pair(stack, optimizer, "compiled")
        with pytest.warns(UserWarning, match=said):
            ours.fit(X, Y, verbose=0)
    plain = Sequential([Input((6,)), layers.Dense(3)])
    plain.compile(scratchnet.optimizers.Adagrad(), "mse", engine="compiled")
    with pytest.warns(UserWarning, match="the optimizer 'adagrad'"):
        plain.fit(X, np.eye(3)[Y], verbose=0)
    plain.compile(scratchnet.optimizers.Adam(clipvalue=0.5), "mse", engine="compiled")
    with pytest.warns(UserWarning, match="clipvalue of the optimizer 'adam'"):
        plain.fit(X, np.eye(3)[Y], verbose=0)


def test_a_frozen_batch_normalization_neither_learns_nor_moves():
    ours, theirs = pair("batch normalization", "sgd")
    for model in (ours, theirs):
        model.fit(X, Y, **FIT)
        model.layers[1].trainable = False
        model.compile("sgd", "sparse_categorical_crossentropy")
    before = ours.layers[1].get_weights()
    mine, right = (model.fit(X, Y, **FIT).history["loss"] for model in (ours, theirs))
    np.testing.assert_allclose(mine, right, rtol=1e-10)
    same(ours, theirs)
    for a, b in zip(before, ours.layers[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_variables_are_spared_from_decay_by_name():
    ours, theirs = pair("regularized", "sgd")
    for module, model in ((scratchnet, ours), (keras, theirs)):
        optimizer = module.optimizers.AdamW(0.01, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        model.compile(optimizer, "sparse_categorical_crossentropy")
        model.fit(X, Y, **FIT)
    same(ours, theirs)


NOISY = {
    "dropout": lambda: [layers.Dense(5, "tanh"), layers.Dropout(0.4), layers.Dense(3, "softmax")],
    "gaussian": lambda: [
        *(layers.GaussianNoise(0.3, seed=3), layers.Dense(5, "tanh")),
        *(layers.GaussianDropout(0.4), layers.Dense(3, "softmax")),
    ],
    "normalized": lambda: STACKS["gamma and beta regularized"](scratchnet),
    "activity": lambda: STACKS["activity"](scratchnet),
}


def noisy(name, engine="reference"):
    model = Sequential([Input((6,)), *NOISY[name]()], seed=2)
    model.compile("adam", "sparse_categorical_crossentropy", engine=engine)
    return model


@pytest.mark.parametrize("name", NOISY)
def test_the_loss_of_a_step_is_a_function_of_theta_and_its_gradient_the_complex_step_s(name):
    model = noisy(name)
    model.fit(X, Y, verbose=0)
    batch = model.batch(X[:9], Y[:9])
    loss, _ = model.gradient(batch)
    assert loss == pytest.approx(model.loss_of(model.theta, batch), rel=1e-14)
    moved = np.concatenate(
        [np.full(a.size, n not in x.state) for x in model.layers for n, a in x.params.items()]
    )
    gradient, theta = model.grad.copy(), model.theta.astype(complex)
    for k in np.flatnonzero(moved):
        theta[k] += 1e-20j
        right = model.loss_of(theta, batch).imag / 1e-20
        theta[k] = model.theta[k]
        assert abs(gradient[k] - right) <= 1e-12 * np.abs(gradient).max()
    before = model.theta.copy()
    _, grads = model.loss_and_gradients(X[:9], Y[:9])
    assert [g.shape for g in grads] == [w.shape for w in model.trainable_weights]
    np.testing.assert_array_equal(model.theta, before)


def test_noise_is_of_the_seed_and_the_step():
    first, second = noisy("dropout"), noisy("dropout")
    vars(second.layers[1])["key"] = first.layers[1].key
    for _ in range(2):
        first.fit(X, Y, verbose=0)
    second.fit(X, Y, verbose=0)
    again = copy.deepcopy(second)
    for model in (second, again):
        model.fit(X, Y, verbose=0)
        np.testing.assert_array_equal(model.theta, first.theta)
    assert noisy("dropout").layers[1].key != first.layers[1].key


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_dropout_keeps_the_mean_and_is_idle_in_inference(rate):
    layer, ones = layers.Dropout(rate, seed=1), np.ones((400, 50))
    out = layer(ones, training=True)
    theirs = keras.layers.Dropout(rate, seed=1)(ones, training=True).numpy()
    assert set(np.unique(out)) == set(np.unique(theirs))
    if 0 < rate < 1:
        # Standard deviation of the mean of n draws: sqrt(rate / (1 - rate) / n).
        assert abs(out.mean() - 1) < 6 * np.sqrt(rate / (1 - rate) / ones.size)
    np.testing.assert_array_equal(layer(ones), ones)
    again = layers.Dropout(rate, seed=1)
    np.testing.assert_array_equal(again(ones, training=True), out)


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), None])
@pytest.mark.parametrize("invert", [False, True])
def test_a_normalization_adapts_as_keras_s(axis, invert):
    data = RNG.normal(3, 2, (30, 4, 5))
    ours = layers.Normalization(axis=axis, invert=invert)
    theirs = keras.layers.Normalization(axis=axis, invert=invert)
    for given in (data, [data[:7], data[7:]]):
        ours.adapt(given)
        theirs.adapt(given)
        np.testing.assert_allclose(ours(data), theirs(data).numpy(), rtol=1e-6)
        np.testing.assert_allclose(ours.mean, np.asarray(theirs.mean), rtol=1e-6)
    mine, right = (
        {k: v for k, v in layer.get_config().items() if k not in ("name", "dtype")}
        for layer in (ours, theirs)
    )
    assert mine == right


VALUES = [np.array([[1.0, -2.0], [0.0, 3.0], [0.5, 0.5]]), RNG.normal(size=(4, 3))]
REGULARIZERS = [
    ("L1", {}),
    ("L1", {"l1": 0.3}),
    ("L2", {"l2": 0.3}),
    ("L1L2", {"l1": 0.2, "l2": 0.3}),
    ("L1L2", {}),
    ("OrthogonalRegularizer", {"factor": 0.3}),
    ("OrthogonalRegularizer", {"factor": 0.3, "mode": "columns"}),
]


@pytest.mark.parametrize(("name", "arguments"), REGULARIZERS, ids=str)
def test_a_regularizer_is_keras_s(name, arguments):
    import tensorflow as tf

    ours = getattr(regularizers, name)(**arguments)
    theirs = getattr(keras.regularizers, name)(**arguments)
    # Keras's orthogonal one can't multiply its factor with float64.
    single = name.startswith("Orthogonal")
    for x in VALUES:
        z = tf.constant(x, "float32" if single else "float64")
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = theirs(z)
        rtol, atol = (1e-5, 1e-6) if single else (1e-13, 1e-15)
        np.testing.assert_allclose(ours(x), value.numpy(), rtol, atol)
        slope = tape.gradient(value, z)
        right = np.zeros_like(x) if slope is None else slope.numpy()
        np.testing.assert_allclose(ours.gradient(x), right, rtol, atol)
    again = regularizers.deserialize(regularizers.serialize(ours))
    assert again.get_config() == ours.get_config()
    assert regularizers.serialize(ours)["class_name"] == name


INITIAL = ["RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "GlorotNormal"]
INITIAL += ["GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform", "Orthogonal"]
INITIAL += ["Zeros", "Ones", "Constant", "Identity"]


@pytest.mark.parametrize("name", INITIAL)
def test_an_initializer_has_keras_s_distribution_and_configuration(name):
    ours, theirs = (getattr(m.initializers, name)() for m in (scratchnet, keras))
    shape = (60, 80)
    mine, right = np.asarray(ours(shape)), np.asarray(theirs(shape))
    assert mine.shape == right.shape and mine.dtype == right.dtype
    assert np.std(mine) == pytest.approx(np.std(right), rel=0.1, abs=1e-12)
    if "Normal" not in name and name != "Orthogonal":  # the largest of normal numbers is chance
        largest, theirs_largest = np.abs(mine).max(), np.abs(right).max()
        assert largest == pytest.approx(theirs_largest, rel=0.1)
    np.testing.assert_array_equal(mine, ours(shape))  # an object draws the same again, as Keras's
    theirs_config = theirs.get_config()
    if name != "Identity":  # Keras forgets its gain
        assert ours.get_config().items() <= theirs_config.items()
    for known in (name, keras.src.utils.naming.to_snake_case(name)):
        assert type(scratchnet.initializers.get(known)) is type(ours)
        assert getattr(scratchnet.initializers, known) is type(ours)
    again = scratchnet.initializers.deserialize(scratchnet.initializers.serialize(ours))
    assert again.get_config() == ours.get_config()
    fixed = {"Zeros": 0, "Ones": 0, "Constant": 0, "Identity": 0}
    if name in fixed:
        np.testing.assert_array_equal(mine, right)


def test_a_constant_is_a_float32_number_as_in_keras():
    for value in (0.1, 3, -2.5):
        ours, theirs = (m.initializers.Constant(value)((3,)) for m in (scratchnet, keras))
        np.testing.assert_array_equal(ours, np.asarray(theirs))
