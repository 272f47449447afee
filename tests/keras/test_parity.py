"""The same call, the same numbers: public functions, gradients, optimizers, fit, callbacks, names.

Bounds are counted in roundings: `EPS` is 2.2e-16, and every bound says how many of what size it
allows. Where a bound is there to tell two formulas apart, the wrong one is shown to break it.
"""

from __future__ import annotations

import inspect
import warnings
from itertools import product
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import scratchnet
from keras_ref import bridge
from scratchnet import (
    Input,
    Sequential,
    activations,
    callbacks,
    config,
    initializers,
    layers,
    losses,
    metrics,
    optimizers,
    utils,
)
from scratchnet.checks import Examples
from scratchnet.engines import reference
from scratchnet.testing.magnitude import gradient_scale
from scratchnet.testing.variants import variants

RNG = np.random.default_rng(3)
EPS = np.finfo(np.float64).eps

pytestmark = pytest.mark.usefixtures("float64_in_both")


def single():
    config.set_floatx("float32")
    keras.config.set_floatx("float32")


# --- activations ------------------------------------------------------------------------------

WIDE = np.concatenate(
    [
        np.linspace(-1000, 1000, 4001),
        np.linspace(-20, 20, 10_001),
        np.logspace(-320, 3, 4000),
        -np.logspace(-320, 3, 4000),
        [0.0, -0.0],
    ]
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in activations.NAMES if name != "softmax"])
def test_activations_agree_on_wide_ranges(name, dtype):
    x = WIDE.astype(dtype)
    theirs = getattr(keras.activations, name)(tf.constant(x)).numpy()
    ours = getattr(activations, name)(x)
    assert ours.dtype == theirs.dtype == dtype
    # TensorFlow flushes denormal numbers to 0 and takes its exp and tanh from polynomials, which
    # are off by a few units in the last place: 6 in float32, 8 in float64 (tanh near -1).
    info = np.finfo(dtype)
    error = np.abs(ours.astype(np.float64) - theirs)
    assert np.all(error <= 8 * np.spacing(np.maximum(np.abs(ours), np.abs(theirs))) + info.tiny)


@pytest.mark.parametrize("name", activations.NAMES)
def test_slopes_at_0_and_at_every_kink_are_keras_s(name):
    Z = np.array([[-1e-09, 1e-09, 0.0, -0.0, *reference.KINKS.get(name, ())]])
    dA = np.arange(1.0, 1 + Z.size).reshape(Z.shape)
    forward, backward = reference.ENGINE.activations[name]
    ours = backward(dA, Z, forward(Z))
    with tf.GradientTape() as tape:
        tape.watch(z := tf.constant(Z))
        outputs = getattr(keras.activations, name)(z)
    theirs = tape.gradient(outputs, z, output_gradients=tf.constant(dA)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_agrees_on_wide_ranges(dtype):
    Z = (RNG.normal(size=(3000, 10)) * 10 ** RNG.uniform(-3, 3, (3000, 1))).astype(dtype)
    theirs = keras.activations.softmax(tf.constant(Z)).numpy()
    ours = activations.softmax(Z)
    assert ours.dtype == theirs.dtype == dtype
    # exp(z) is relatively as wrong as eps (1 + |z|), and the sum adds ten roundings; below e^-80
    # TensorFlow's float32 exp has no normal number left.
    spread = np.max(Z, axis=1, keepdims=True) - Z
    eps = np.finfo(dtype).eps
    bound = eps * (12 + spread) * np.maximum(ours, theirs)
    seen = spread < 80
    assert np.all((np.abs(ours - theirs) <= bound)[seen])
    assert np.all((ours < 1e-30)[~seen]) and np.all((theirs < 1e-30)[~seen])


# --- losses on arrays -------------------------------------------------------------------------

LABELS = RNG.integers(0, 6, 20)
ROWS = np.eye(6)[LABELS]
OUTPUTS = {
    "logits": RNG.normal(size=(20, 6)) * 30,
    "probabilities": np.exp(a := RNG.normal(size=(20, 6))) / np.exp(a).sum(1, keepdims=True),
    "anything positive": np.abs(RNG.normal(size=(20, 6))) ** 9 + [[0, 1e-9, 0, 1, 0, 2]],
}
LOSS_CALLS = {
    "sparse": ("SparseCategoricalCrossentropy", {}, LABELS),
    "sparse, (N, 1)": ("SparseCategoricalCrossentropy", {}, LABELS[:, None]),
    "sparse, float labels": ("SparseCategoricalCrossentropy", {}, LABELS.astype(float)),
    "sparse, logits": ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS),
    "categorical": ("CategoricalCrossentropy", {}, ROWS),
    "categorical, logits": ("CategoricalCrossentropy", {"from_logits": True}, ROWS),
    "categorical, smoothed": (
        "CategoricalCrossentropy",
        {"from_logits": True, "label_smoothing": 0.1},
        ROWS,
    ),
    "squares": ("MeanSquaredError", {}, ROWS),
}
REDUCTIONS = [*losses.REDUCTIONS, None]
WEIGHTS = {"no weights": None, "(N,)": RNG.uniform(0, 2, 20), "zeros": np.zeros(20)}


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("case", LOSS_CALLS)
def test_losses_agree_on_arrays_in_every_reduction_and_weighting(case, outputs):
    name, options, y = LOSS_CALLS[case]
    if outputs == "logits" and "logits" not in case and "smoothed" not in case:
        outputs = "probabilities" if name != "MeanSquaredError" else outputs
    A = OUTPUTS[outputs]
    # A loss is a handful of terms no larger than this, and a sum of them as many roundings.
    largest = max(np.max(np.abs(A)) ** (2 if name == "MeanSquaredError" else 1), 1) * 17
    for reduction, weights in product(REDUCTIONS, WEIGHTS):
        arguments = (y, A, WEIGHTS[weights])
        theirs = getattr(keras.losses, name)(reduction=reduction, **options)(*arguments).numpy()
        ours = getattr(losses, name)(reduction=reduction, **options)(*arguments)
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        count = 20 if reduction == "sum" else 1
        assert np.all(np.abs(ours - theirs) <= 8 * EPS * largest * count), (reduction, weights)
    single()
    A32 = A.astype(np.float32)
    theirs = getattr(keras.losses, name)(**options)(y, A32).numpy()
    ours = getattr(losses, name)(**options)(y, A32)
    assert ours.dtype == theirs.dtype == np.float32
    assert abs(ours - theirs) <= 8 * np.finfo(np.float32).eps * largest


@pytest.mark.parametrize(
    "name", ["sparse_categorical_crossentropy", "categorical_crossentropy", "mean_squared_error"]
)
def test_losses_exist_as_functions_too(name):
    y = LABELS if name.startswith("sparse") else ROWS
    for arguments in ((y, OUTPUTS["probabilities"]), (y, OUTPUTS["logits"], True)):
        if name == "mean_squared_error":
            arguments = arguments[:2]
        theirs = getattr(keras.losses, name)(*arguments).numpy()
        ours = getattr(losses, name)(*arguments)
        assert ours.shape == theirs.shape == (20,)
        assert np.max(np.abs(ours - theirs)) <= 8 * EPS * 17 * np.max(np.abs(arguments[1]))
    assert losses.of(getattr(losses, name)).name == name


# --- gradients --------------------------------------------------------------------------------

TRAINED = {
    "sparse": lambda: losses.SparseCategoricalCrossentropy(),
    "sparse, logits": lambda: losses.SparseCategoricalCrossentropy(from_logits=True),
    "sparse, sum": lambda: losses.SparseCategoricalCrossentropy(reduction="sum"),
    "sparse, by weight": lambda: losses.SparseCategoricalCrossentropy(
        reduction="mean_with_sample_weight"
    ),
    "categorical": lambda: losses.CategoricalCrossentropy(),
    "categorical, logits": lambda: losses.CategoricalCrossentropy(from_logits=True),
    "categorical, smoothed": lambda: losses.CategoricalCrossentropy(label_smoothing=0.2),
    "squares": lambda: losses.MeanSquaredError(),
    "probabilities": lambda: losses.SparseCategoricalCrossentropy(sigmoid_head="probabilities"),
    "as_logits": lambda: losses.SparseCategoricalCrossentropy(sigmoid_head="as_logits"),
    "categorical probabilities": lambda: losses.CategoricalCrossentropy(
        sigmoid_head="probabilities"
    ),
    "categorical as_logits": lambda: losses.CategoricalCrossentropy(sigmoid_head="as_logits"),
}
READINGS = ("probabilities", "as_logits")  # of a sigmoid head; the others have one
X = RNG.normal(size=(17, 5))
TARGETS = RNG.integers(0, 6, 17)


def keras_gradients(model, copy, y, weights):
    """Keras's loss and gradients; for the readings it lacks, of outputs that hide their logits."""
    reading = getattr(model.loss, "sigmoid_head", "logits")
    with tf.GradientTape() as tape:
        outputs = copy(X)
        loss = copy.loss
        if reading != "logits":
            outputs = tf.identity(outputs)
            assert not hasattr(outputs, "_keras_logits")
            y = np.eye(6)[TARGETS]  # only this loss normalises, then clips, on TensorFlow
            loss = keras.losses.CategoricalCrossentropy(from_logits=reading == "as_logits")
        value = loss(y, outputs, weights)
    return value, bridge.flat(map(tf.convert_to_tensor, tape.gradient(value, copy.variables)))


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize(
    ("case", "head"),
    [
        (c, h)
        for c in TRAINED
        for h in activations.NAMES
        if h == "sigmoid" or not c.endswith(READINGS)
    ],
)
def test_gradients_of_every_loss_head_and_reading_agree_with_the_tape(case, head, weighted):
    loss = TRAINED[case]()
    model = Sequential([Input((5,)), layers.Dense(7, "tanh"), layers.Dense(6, head)], seed=2)
    model.compile("sgd", loss)
    if head not in (
        "sigmoid",
        "softmax",
        "tanh",
    ):  # mostly within (0, 1), and none so that their sum could cancel
        model.layers[-1].kernel[...] *= 0.4
        model.layers[-1].bias[...] = 0.5
    y = TARGETS if loss.sparse else np.eye(6)[TARGETS]
    weights = RNG.uniform(0, 3, 17) if weighted else None
    copy = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7, "tanh")])
    copy.add(keras.layers.Dense(6, head))
    bridge.carry_weights(model, copy)
    settings = {k: v for k, v in loss.get_config().items() if k != "sigmoid_head"}
    copy.loss = getattr(keras.losses, type(loss).__name__)(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # from_logits with a softmax head: Keras reads logits anyway
        value, theirs = keras_gradients(model, copy, y, weights)
    ours_value, _ = model.loss_and_gradients(X, y, weights)
    scale = gradient_scale(model, Examples(X, y, weights))
    assert np.mean(scale > 0) > 0.8  # where outputs are clipped the gradient is 0, and so is S
    assert np.all(np.abs(model.grad - theirs) <= 1e-12 * scale)
    assert abs(ours_value - float(value)) <= 1e-13 * max(1, abs(float(value)))
    # The next wrong formula, a missing 1 / B, is nowhere near.
    assert not np.all(np.abs(17 * model.grad - theirs) <= 1e-12 * scale)


# --- optimizers -------------------------------------------------------------------------------

STEPS = 40
SIZES = np.repeat(10.0 ** np.arange(-9, 3), 8)
GRADIENTS = RNG.normal(size=(STEPS, SIZES.size)) * SIZES  # signs change at half of the steps


def paths(form, dtype):
    """theta after each step, ours and Keras's, and both optimizers."""
    kind, options = variants()[form]
    ours, theirs = kind(**options), getattr(keras.optimizers, kind.__name__)(**options)
    theta = np.zeros(SIZES.size, dtype)
    variable, path = tf.Variable(theta), []
    engine = Sequential().engine
    for gradient in GRADIENTS.astype(dtype):
        ours.step(engine, theta, gradient)
        theirs.apply([tf.constant(gradient)], [variable])
        path.append((theta.copy(), variable.numpy()))
    return np.array(path).swapaxes(0, 1), ours, theirs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", variants())
def test_optimizers_agree_over_steps_of_gradients_from_1e_9_to_1e2(form, dtype):
    if dtype == "float32":
        single()
    (ours, theirs), optimizer, keras_optimizer = paths(form, dtype)
    assert ours.dtype == theirs.dtype == dtype
    # Step t rounds a dozen times in numbers no larger than the longest way that it can have gone.
    way = np.cumsum(np.abs(np.diff(theirs, axis=0, prepend=0)), axis=0).astype(np.float64)
    t = np.arange(1, STEPS + 1)[:, None]
    assert np.all(np.abs(ours - theirs) <= 12 * np.finfo(dtype).eps * t * way)
    assert optimizer.iterations == int(keras_optimizer.iterations.numpy()) == STEPS
    for name, ours in optimizer.slots.items():
        slot = bridge.slot_variables(keras_optimizer, name)[0].numpy()
        terms = np.max(np.abs(GRADIENTS), axis=0) ** (2 if "velocity" in name else 1)
        bound = 4 * np.finfo(dtype).eps * STEPS * terms
        assert np.all(np.abs(ours - slot) <= bound)


def test_the_bound_on_optimizers_tells_the_two_epsilons_apart():
    """PyTorch's epsilon, before the correction, at every size from 1e-9 to 1e2."""
    (_, theirs), *_ = paths("Adam", "float64")
    m, v, theta = (np.zeros(SIZES.size) for _ in range(3))
    for t, g in enumerate(GRADIENTS, 1):
        m += (1 - 0.9) * (g - m)
        v += (1 - 0.999) * (g * g - v)
        one, two = (1 - float(np.float32(beta)) ** t for beta in (0.9, 0.999))
        theta -= 1e-3 / one * m / (np.sqrt(v / two) + 1e-7)
    way = np.sum(np.abs(np.diff(theirs, axis=0, prepend=0)), axis=0)
    beyond = np.abs(theta - theirs[-1]) / (12 * EPS * STEPS * way)
    # Off by about 1e-7 / |g| relative: 1e-9 at the largest size, still far beyond the bound.
    assert np.all(np.array([np.max(beyond[size == SIZES]) for size in SIZES]) > 100)


# --- initializers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "zeros", "ones"])
@pytest.mark.parametrize("shape", [(300, 500), (700, 40), (20_000,)])
def test_initializers_have_keras_limits_and_variances(name, shape):
    theirs = keras.initializers.get(name)(shape).numpy()
    ours = initializers.get(name)(shape)
    assert ours.dtype == theirs.dtype == np.float64
    if name in ("zeros", "ones"):
        assert np.array_equal(ours, theirs)
        return
    fan_in, fan_out = shape[0], shape[-1]
    n = ours.size
    if name == "glorot_uniform":
        limit, variance, kurtosis = np.sqrt(6 / (fan_in + fan_out)), 2 / (fan_in + fan_out), 1.8
    else:  # cut at two deviations: a normal of deviation s, where s is widened by 0.8796...
        limit, variance, kurtosis = 2 * np.sqrt(2 / fan_in) / 0.8796256610342398, 2 / fan_in, 2.4
    for weights in (ours, theirs):
        # Five standard errors of a mean and of a variance; 1e-3 for the largest to come near.
        assert limit * 0.995 < np.max(np.abs(weights)) <= limit
        assert abs(weights.mean()) < 5 * np.sqrt(variance / n)
        assert abs(weights.var() / variance - 1) < 5 * np.sqrt((kurtosis - 1) / n)


def test_an_initializer_with_a_seed_draws_the_same_at_every_call_in_both():
    for module in (keras.initializers, initializers):
        initializer = module.GlorotUniform(seed=3)
        assert np.array_equal(np.asarray(initializer((4, 5))), np.asarray(initializer((4, 5))))


# --- fit, evaluate, predict -------------------------------------------------------------------

N = 38
IMAGES = RNG.random((N, 3, 4))
DIGITS = RNG.integers(0, 6, N)
ONE_HOT = np.eye(6)[DIGITS]
SAMPLE = RNG.uniform(0, 2, N)
SPARSE, CATEGORICAL = "sparse_categorical_crossentropy", "categorical_crossentropy"


def case(
    loss=SPARSE, y=DIGITS, head="softmax", outputs=6, metrics=("accuracy",), weighted=(), **fit
):
    return SimpleNamespace(**locals())


FITS = {
    "plain": case(),
    "a short last batch": case(batch_size=7, epochs=3),
    "one batch": case(batch_size=100),
    "a sigmoid head": case(head="sigmoid", validation_split=0.2),
    "a linear head, logits": case(losses.SparseCategoricalCrossentropy(True), head="linear"),
    "labels (N, 1)": case(y=DIGITS[:, None]),
    "float labels": case(y=DIGITS.astype(float)),
    "one-hot targets": case(CATEGORICAL, ONE_HOT, metrics=("acc", "categorical_accuracy", "mse")),
    "smoothed targets": case(losses.CategoricalCrossentropy(label_smoothing=0.1), ONE_HOT),
    "squares": case("mse", ONE_HOT, "sigmoid", metrics=("MSE", "mean_squared_error", "accuracy")),
    "one output": case("mse", (DIGITS > 2), "sigmoid", 1, metrics=("accuracy", "binary_accuracy")),
    "one output, (N, 1)": case("mse", (DIGITS > 2)[:, None] * 1.0, "linear", 1),
    "sample weights": case(
        weighted=("acc", "sparse_categorical_accuracy"),
        sample_weight=SAMPLE,
        batch_size=9,
    ),
    "sample weights (N, 1), divided by": case(
        losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight"),
        sample_weight=SAMPLE[:, None],
        batch_size=9,
    ),
    "a summed loss": case(losses.SparseCategoricalCrossentropy(reduction="sum"), batch_size=9),
    "class weights": case(class_weight={0: 3.0, 2: 0.25}, weighted=("acc",), batch_size=9),
    "class weights and one-hot targets": case(
        CATEGORICAL, ONE_HOT, class_weight={1: 2.0, 5: 0.0}, validation_split=0.3
    ),
    "validation_split with weights": case(
        validation_split=0.3, sample_weight=SAMPLE, weighted=("accuracy",), batch_size=5
    ),
    "validation_data": case(
        validation_data=(IMAGES[:9], DIGITS[:9]),
        validation_batch_size=4,
        validation_freq=2,
        epochs=4,
    ),
    "validation_data with weights": case(
        validation_data=(IMAGES[:9], DIGITS[:9], SAMPLE[:9]), weighted=("acc",)
    ),
    "validation at chosen epochs": case(
        validation_split=0.4, validation_freq=[1, 4], epochs=4, validation_steps=1
    ),
    "from a later epoch": case(initial_epoch=2, epochs=5),
    "no epoch": case(initial_epoch=2, epochs=1),
    "steps per epoch": case(steps_per_epoch=2, batch_size=8, epochs=4),
    "too many steps per epoch": case(steps_per_epoch=7, batch_size=8, epochs=2),
    "metrics twice": case(metrics=("accuracy", "acc", "accuracy"), weighted=("accuracy", "acc")),
}


def pair(one, optimizer="adam"):
    """A case's model in both, from the same weights."""
    config.set_floatx("float64")
    model = Sequential(
        [
            layers.Flatten(input_shape=(3, 4)),
            layers.Dense(8, "relu"),
            layers.Dense(one.outputs, one.head),
        ],
        seed=5,
    )
    asked = {"metrics": list(one.metrics), "weighted_metrics": list(one.weighted)}
    model.compile(optimizer, one.loss, **asked)
    return model, bridge.twin(model, **asked)


def agree(ours, theirs, bound=1e-11):
    """Numbers of a few epochs of at most 20 steps: 1e-13 of rounding each, made more of by Adam."""
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    assert ours.shape == theirs.shape
    assert np.all(np.abs(ours - theirs) <= bound * np.maximum(1, np.abs(theirs)))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FITS)
def test_fit_evaluate_and_predict_give_keras_numbers_under_keras_names(name):
    one = FITS[name]
    model, copy = pair(one)
    start = model.theta.copy()
    options = {"epochs": 2, "verbose": 0, "shuffle": False} | one.fit
    theirs = copy.fit(IMAGES, one.y, **options)
    ours = model.fit(IMAGES, one.y, **options)
    assert list(ours.history) == list(theirs.history)
    assert ours.epoch == theirs.epoch
    assert ours.params == theirs.params
    for key, values in theirs.history.items():
        agree(ours.history[key], values)
    agree(model.theta, bridge.flat(copy.trainable_variables))
    if ours.history:  # and they went somewhere
        assert np.max(np.abs(model.theta - start)) > 1e-3


@pytest.mark.parametrize("name", ["plain", "sample weights", "one-hot targets", "one output"])
def test_single_batches_and_evaluation_give_keras_numbers(name):
    one = FITS[name]
    model, copy = pair(one)
    weights = {"sample_weight": SAMPLE} if "sample_weight" in one.fit else {}
    for as_dict in (False, True):
        for call in ("train_on_batch", "test_on_batch", "evaluate"):
            extra = {"verbose": 0, "batch_size": 7} if call == "evaluate" else {}
            arguments = {"return_dict": as_dict} | weights | extra
            ours = getattr(model, call)(IMAGES, one.y, **arguments)
            theirs = getattr(copy, call)(IMAGES, one.y, **arguments)
            assert type(ours) is type(theirs)
            if as_dict:
                assert list(ours) == list(theirs)
                ours, theirs = list(ours.values()), list(theirs.values())
            agree(ours, theirs)
    agree(model.predict(IMAGES, 7), copy.predict(IMAGES, 7, verbose=0))
    agree(model(IMAGES), copy(IMAGES))
    agree(model.predict_on_batch(IMAGES), copy.predict_on_batch(IMAGES))
    assert isinstance(copy.predict_on_batch(IMAGES), np.ndarray)


def test_a_loss_alone_is_a_number_and_not_a_list():
    model, copy = pair(case(metrics=()))
    for network in (model, copy):
        assert isinstance(network.evaluate(IMAGES, DIGITS, verbose=0), float)
        assert isinstance(network.train_on_batch(IMAGES, DIGITS), float | np.floating)


def test_evaluate_takes_steps():
    model, copy = pair(case())
    options = {"batch_size": 8, "steps": 2, "verbose": 0}
    agree(model.evaluate(IMAGES, DIGITS, **options), copy.evaluate(IMAGES, DIGITS, **options))
    del options["verbose"]
    agree(model.predict(IMAGES, **options), copy.predict(IMAGES, verbose=0, **options))


def test_weights_have_keras_order_and_shapes_both_ways():
    model, copy = pair(case())
    ours, theirs = model.get_weights(), copy.get_weights()
    assert [w.shape for w in ours] == [w.shape for w in theirs]
    changed = [RNG.normal(size=w.shape) for w in theirs]
    copy.set_weights(changed)
    model.set_weights(copy.get_weights())
    agree(model.predict(IMAGES), copy.predict(IMAGES, verbose=0))
    assert model.count_params() == copy.count_params()
    for mine, his in zip(model.layers, copy.layers, strict=True):
        for a, b in zip(mine.get_weights(), his.get_weights(), strict=True):
            assert np.array_equal(a, b)


def test_a_last_axis_of_one_is_taken_or_given_as_in_keras():
    for shape, given in (((3, 4), (9, 3, 4, 1)), ((3, 4, 1), (9, 3, 4)), ((1,), (9,))):
        x = RNG.random(given)
        model = Sequential([Input(shape), layers.Flatten(), layers.Dense(2)], seed=0)
        copy = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(2)])
        bridge.carry_weights(model, copy)
        agree(model.predict(x), copy.predict(x, verbose=0))


# --- metrics and tools ------------------------------------------------------------------------

METRIC_CALLS = {
    "SparseCategoricalAccuracy": (DIGITS, RNG.random((N, 6))),
    "CategoricalAccuracy": (ONE_HOT, RNG.random((N, 6))),
    "BinaryAccuracy": (ONE_HOT, RNG.random((N, 6))),
    "MeanSquaredError": (ONE_HOT, RNG.random((N, 6))),
}


@pytest.mark.parametrize("name", METRIC_CALLS)
def test_metrics_count_as_keras_do_and_begin_again(name):
    y, outputs = METRIC_CALLS[name]
    ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
    assert ours.name == theirs.name
    for weights in (None, SAMPLE, SAMPLE[:, None], 1 - SAMPLE.round()):
        ours.update_state(y, outputs, sample_weight=weights)
        theirs.update_state(y, outputs, sample_weight=weights)
        agree(ours.result(), theirs.result(), 40 * EPS)
    ours.reset_state()
    theirs.reset_state()
    assert ours.result() == float(theirs.result()) == 0.0
    agree(ours(y, outputs), theirs(y, outputs), 40 * EPS)


def test_means_take_weights_of_fewer_axes():
    ours, theirs = metrics.Mean(), keras.metrics.Mean()
    values = RNG.normal(size=(5, 3))
    for weights in (None, np.arange(5.0), RNG.random((5, 3)), RNG.random((5, 1))):
        if weights is not None and weights.shape == (5, 1):
            continue  # Keras spreads it over the axis; refused here
        agree(ours(values, sample_weight=weights), theirs(values, sample_weight=weights), 40 * EPS)
    agree(ours(7.0, sample_weight=3), theirs(7.0, sample_weight=3), 40 * EPS)


def test_tools_agree():
    for labels in ([0, 2, 1], [[1], [3]], np.array([[0, 1], [2, 0]])):
        ours, theirs = utils.to_categorical(labels), keras.utils.to_categorical(labels)
        assert np.array_equal(ours, theirs)
        assert utils.to_categorical(labels, 5).shape == keras.utils.to_categorical(labels, 5).shape
    for axis, order in ((-1, 2), (1, 1)):  # Keras takes axis=0 for -1, by mistake
        x = np.concatenate([RNG.normal(size=(4, 3)), np.zeros((1, 3))])
        agree(utils.normalize(x, axis, order), keras.utils.normalize(x, axis, order), 4 * EPS)
    assert config.epsilon() == keras.config.epsilon()
    assert config.floatx() == keras.config.floatx()


# --- callbacks --------------------------------------------------------------------------------


class Stub:
    """What an EarlyStopping asks of a model; its weights are the number of the epoch."""

    def __init__(self):
        self.stop_training, self.epoch = False, -1
        self.metrics, self.metrics_asked = [], ((), ())

    def get_weights(self):
        return self.epoch

    def set_weights(self, weights):
        self.epoch = weights


def watched(stopping, numbers):
    """Everything that can be seen of an EarlyStopping that is told these numbers."""
    stub = Stub()
    stopping.set_model(stub)
    stopping.on_train_begin()
    for epoch, number in enumerate(numbers):
        stub.epoch = epoch
        stopping.on_epoch_end(epoch, {"watched": number})
        if stub.stop_training:
            break
    last = stub.epoch
    stopping.on_train_end()
    best = None if stopping.best is None else float(stopping.best)
    return last, stub.epoch, best, stopping.wait, stopping.stopped_epoch, stopping.best_epoch


def test_early_stopping_does_what_keras_does_on_many_histories():
    seen = set()
    for seed in range(400):
        rng = np.random.default_rng(seed)
        options = {
            "mode": str(rng.choice(["min", "max"])),
            "patience": int(rng.integers(0, 4)),
            "min_delta": float(rng.choice([0, 0.15, -0.25])),
            "baseline": None if rng.random() < 0.5 else float(rng.integers(0, 10) / 10 + 0.07),
            "restore_best_weights": bool(rng.integers(2)),
            "start_from_epoch": int(rng.choice([0, 0, 2])),
        }
        numbers = rng.integers(0, 10, 12) / 10  # no sum of these ties with another
        theirs = watched(keras.callbacks.EarlyStopping("watched", **options), numbers)
        assert watched(callbacks.EarlyStopping("watched", **options), numbers) == theirs, options
        seen.add(theirs)
    assert len(seen) > 200


def test_a_csv_log_is_keras_byte_for_byte(tmp_path):
    logs = [{"loss": 0.5, "accuracy": 0.25}, {"loss": 1 / 3, "accuracy": 1.0}]
    with_val = [{"loss": 0.5, "val_loss": 1e-7}, {"loss": 2.0}]
    for number, (told, options) in enumerate(
        product((logs, with_val), ({}, {"separator": ";"}, {"append": True}))
    ):
        paths = tmp_path / f"ours{number}.csv", tmp_path / f"theirs{number}.csv"
        loggers = (
            callbacks.CSVLogger(paths[0], **options),
            keras.callbacks.CSVLogger(paths[1], **options),
        )
        for logger in loggers * 2:  # the second time `append` finds a file, the others overwrite
            logger.on_train_begin()
            for epoch, numbers in enumerate(told):
                logger.on_epoch_end(epoch, dict(numbers))
            logger.on_train_end()
        assert paths[0].read_bytes() == paths[1].read_bytes()


def events_of(module, network):
    """Every event of a fit with validation, an evaluation and a prediction, and what is logged."""
    seen = []

    class Listener(module.callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            seen.append(("on_batch_end", batch))

    def listen(event):
        def method(self, *arguments, logs=None):
            if arguments and isinstance(arguments[-1], dict):
                *arguments, logs = arguments
            seen.append((event, *filter(None, arguments), *(logs or {})))
            if event == "on_train_batch_end":
                super(Listener, self).on_train_batch_end(*arguments, logs)

        return method

    for name in dir(module.callbacks.Callback):
        if name.startswith("on_") and name not in ("on_batch_begin", "on_batch_end"):
            setattr(Listener, name, listen(name))
    listener = Listener()
    network.fit(
        IMAGES, DIGITS, epochs=2, batch_size=20, validation_split=0.2, verbose=0, callbacks=listener
    )
    params = dict(listener.params)
    network.evaluate(IMAGES, DIGITS, batch_size=20, verbose=0, callbacks=[listener])
    network.predict(IMAGES, batch_size=20, verbose=0, callbacks=[listener])
    return seen, params, listener.params


def test_callbacks_get_keras_events_in_keras_order():
    model, copy = pair(case())
    ours, theirs = events_of(scratchnet, model), events_of(keras, copy)
    assert ours == theirs
    assert len({event[0] for event in ours[0]}) == 15


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_schedules_and_lambdas_write_into_the_history_as_in_keras(capsys):
    model, copy = pair(case(metrics=()), optimizer=optimizers.SGD(0.5))
    outputs = []
    for module, network in ((scratchnet, model), (keras, copy)):
        schedule = module.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.3, verbose=1)
        twice = module.callbacks.LambdaCallback(
            None, lambda epoch, logs: logs.update(twice=2 * epoch), on_train_end=lambda logs: None
        )
        history = network.fit(
            IMAGES, DIGITS, epochs=3, verbose=0, shuffle=False, callbacks=[schedule, twice]
        ).history
        outputs.append((history, capsys.readouterr().out.splitlines()))
    (ours, said), (theirs, keras_said) = outputs
    assert list(ours) == list(theirs) == ["loss", "learning_rate", "twice"]
    agree(list(ours.values()), list(theirs.values()))
    assert [line.split(" to ")[0] for line in said] == [
        line.split(" to ")[0] for line in keras_said
    ]


# --- names, arguments, defaults ---------------------------------------------------------------

ALIASES = {
    "losses": (losses.LOSSES, lambda module, name: module.losses.get(name)),
    "metrics": (metrics.METRICS, lambda module, name: module.metrics.get(name)),
    "optimizers": (optimizers.OPTIMIZERS, lambda module, name: module.optimizers.get(name)),
    "activations": (activations.NAMES, lambda module, name: module.activations.get(name)),
    "initializers": (
        initializers.INITIALIZERS,
        lambda module, name: module.initializers.get(name),
    ),
}


@pytest.mark.parametrize("room", ALIASES)
def test_every_alias_that_we_take_keras_takes_for_the_same_thing(room):
    names, get = ALIASES[room]
    for name in names:
        if name.lower() == "constant":
            continue  # Keras can't make one by its name alone: KeyError: 'value'
        ours, theirs = get(scratchnet, name), get(keras, name)
        kinds = {getattr(one, "__name__", type(one).__name__) for one in (ours, theirs)}
        plain = {kind.lower().replace("_", "") for kind in kinds}
        assert len(plain) == 1, kinds


MORE_LAYERS = (
    "Activation", "ActivityRegularization", "BatchNormalization", "Dropout", "ELU",
    "GaussianDropout", "GaussianNoise", "Identity", "LeakyReLU", "Normalization", "ReLU",
    "Reshape", "Softmax",
)  # fmt: skip
SHARED = [
    "Input",
    "Sequential.__init__",
    "Sequential.add",
    "Sequential.pop",
    "Sequential.build",
    "Sequential.compile",
    "Sequential.fit",
    "Sequential.evaluate",
    "Sequential.predict",
    "Sequential.train_on_batch",
    "Sequential.test_on_batch",
    "Sequential.predict_on_batch",
    "Sequential.summary",
    "Sequential.get_weights",
    "Sequential.set_weights",
    "Sequential.count_params",
    "Sequential.get_layer",
    "Sequential.save",
    "models.Sequential.__init__",
    "models.load_model",
    "models.save_model",
    "layers.Input",
    "layers.Dense",
    "layers.Flatten",
    "layers.Rescaling",
    "layers.Dense.get_weights",
    "layers.Dense.set_weights",
    "layers.Dense.count_params",
    "layers.Dense.compute_output_shape",
    "layers.Dense.get_config",
    *(f"activations.{name}" for name in activations.NAMES),
    "activations.get",
    "initializers.GlorotUniform",
    "initializers.HeNormal",
    "initializers.get",
    "losses.Loss",
    "losses.MeanSquaredError.__call__",
    "losses.MeanSquaredError.call",
    "losses.MeanSquaredError.get_config",
    *(f"losses.{name}" for name in losses.CLASSES),
    *(f"losses.{function.__name__}" for function in losses.FUNCTIONS),
    *(f"losses.{name}" for name in ("get", "serialize", "deserialize")),
    *(f"optimizers.{kind.__name__}" for kind in optimizers.KINDS),
    "optimizers.get",
    *(f"layers.{name}" for name in MORE_LAYERS),
    "metrics.Metric",
    *(f"metrics.Metric.{name}" for name in ("add_variable", "add_weight", "get_config")),
    *(f"metrics.{name}" for name in metrics.CLASSES),
    *(
        f"metrics.{kind}.{method}"
        for kind in ("Mean", "Sum", "MeanSquaredError", "AUC", "Precision", "F1Score")
        for method in ("update_state", "result", "reset_state")
    ),
    *(f"metrics.{name}" for name in metrics.FUNCTIONS if hasattr(keras.metrics, name)),
    *(f"metrics.{name}" for name in ("get", "serialize", "deserialize")),
    "callbacks.Callback",
    "callbacks.Callback.on_epoch_end",
    "callbacks.Callback.on_train_batch_end",
    "callbacks.Callback.set_model",
    "callbacks.Callback.set_params",
    "callbacks.CallbackList",
    "callbacks.CallbackList.on_train_batch_end",
    "callbacks.CallbackList.on_epoch_begin",
    "callbacks.CallbackList.on_test_end",
    "callbacks.ReduceLROnPlateau",
    "callbacks.TerminateOnNaN",
    "callbacks.History",
    "callbacks.EarlyStopping",
    "callbacks.LearningRateScheduler",
    "callbacks.CSVLogger",
    "callbacks.LambdaCallback",
    "utils.to_categorical",
    "utils.set_random_seed",
    "utils.normalize",
    "config.floatx",
    "config.set_floatx",
    "config.epsilon",
    "datasets.mnist.load_data",
]

AT_DEFAULTS = "taken by name and only at its default; anything else is refused by name"
OPTION = "taken as a keyword, from the one table of what every optimizer has"
INITIALIZER_AXES = "for convolutions and attention, whose kernels have other axes"
ALLOWED = {
    # (function, parameter of Keras's): why ours lacks it, or has another default
    **{
        ("layers.Dense", name): AT_DEFAULTS
        for name in (
            "kernel_regularizer", "bias_regularizer", "activity_regularizer",
            "kernel_constraint", "bias_constraint", "lora_rank", "lora_alpha",
            "quantization_config",
        )
    },
    ("layers.Flatten", "data_format"): AT_DEFAULTS,
    **{
        (f"initializers.{kind}", name): INITIALIZER_AXES
        for kind in ("GlorotUniform", "HeNormal")
        for name in ("input_axes", "output_axes")
    },
    **{
        (f"optimizers.{kind.__name__}", name): OPTION
        for kind in optimizers.KINDS
        for name in (
            "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum",
            "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps", "name",
        )
        if (kind, name) != (optimizers.AdamW, "weight_decay")
    },
    ("Sequential.add", "rebuild"): "weights are made as soon as they can be",
}  # fmt: skip
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def public(module, path):
    for part in path.split("."):
        module = getattr(module, part)
    return inspect.signature(module).parameters


def test_every_shared_name_has_keras_arguments_defaults_and_positions():
    unexplained, used = [], set()
    for path in SHARED:
        ours, theirs = public(scratchnet, path), public(keras, path)
        theirs = [p for p in theirs.values() if p.kind not in VARIADIC]
        lacking = False
        for place, parameter in enumerate(theirs):
            mine = ours.get(parameter.name)
            key = (path, parameter.name)
            if mine is not None and mine.default == parameter.default:
                positional = list(ours).index(parameter.name) == place
                if not positional and not lacking:
                    unexplained.append((*key, "position"))
                continue
            lacking = lacking or mine is None
            if key in ALLOWED:
                used.add(key)
            else:
                unexplained.append((*key, parameter.default, mine and mine.default))
        extra = [
            name
            for name, p in ours.items()
            if name not in {q.name for q in theirs}
            and p.kind not in VARIADIC
            # What we add must be optional and out of the way of positions.
            and (p.default is inspect.Parameter.empty or p.kind is not p.KEYWORD_ONLY)
        ]
        if extra and path not in {"callbacks.LambdaCallback"}:
            unexplained.append((path, "ours alone", extra))
    assert not unexplained
    assert used == set(ALLOWED)
