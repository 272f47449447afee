"""The ledger: what Keras on TensorFlow really computes, one convention a test.

Each is shown in live Keras and in scratchnet, and the formula that one would expect instead is
shown to be measurably off, so that no test could pass on both. Everything is in float64 except
where float32 is the point. Names of tests are what the README's table points at.
"""

from __future__ import annotations

import ast
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ref import bridge, script
from scratchnet import Input, Sequential, activations, config, layers, losses, optimizers
from scratchnet.engines import reference

RNG = np.random.default_rng(11)
X = RNG.random((44, 12))
Y = RNG.integers(0, 10, 44)
EXACT = 1e-13
"""Relative: a few hundred float64 roundings of 1.1e-16, one step's worth. Wrong formulas are off by
1e-9 (a rounding to float32) or more."""

pytestmark = pytest.mark.usefixtures("float64_in_both")


def network(head="sigmoid", optimizer="adam", **loss_options) -> Sequential:
    model = Sequential([Input((12,)), layers.Dense(9, "relu"), layers.Dense(10, head)], seed=1)
    loss = losses.SparseCategoricalCrossentropy(**loss_options)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def near(value, expected, bound=EXACT) -> bool:
    """Equal up to `bound`, relative to the largest entry expected."""
    value, expected = np.asarray(value), np.asarray(expected)
    assert value.shape == expected.shape
    return bool(np.max(np.abs(value - expected)) <= bound * np.max(np.abs(expected)))


def log_softmax(Z):
    shifted = Z - Z.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def true_entries(table, labels=Y):
    return table[np.arange(len(labels)), labels]


# --- the loss ---------------------------------------------------------------------------------


def test_the_reference_runs_on_tensorflow():
    assert keras.backend.backend() == "tensorflow"


def test_the_float_type_of_layers_is_fixed_apart_from_floatx():
    """Keras keeps the policy of the first layer ever made: `set_floatx` alone comes too late."""
    with bridge.floatx("float32"):
        keras.config.set_floatx("float64")
        assert keras.layers.Dense(1).dtype == "float32"
        with bridge.floatx("float64"):
            assert keras.layers.Dense(1).dtype == "float64"
        assert bridge.twin(network()).weights[0].dtype == "float64"
    config.set_floatx("float64")
    assert Sequential([Input((1,)), layers.Dense(1)]).theta.dtype == np.float64


def test_a_sigmoid_head_is_trained_on_its_hidden_logits():
    model = network()
    copy = bridge.twin(model)
    stages = model.activations(X)
    Z, A = stages["dense_1/Z"], stages["dense_1/A"]
    on_logits = -true_entries(log_softmax(Z)).mean()
    on_sigmoids = -np.log(true_entries(A / A.sum(-1, keepdims=True))).mean()
    assert near(copy.test_on_batch(X, Y)[0], on_logits)
    assert near(model.test_on_batch(X, Y)[0], on_logits)
    assert abs(on_sigmoids - on_logits) > 1e-3


def test_the_gradient_of_a_sigmoid_head_is_that_of_softmax():
    model = network()
    copy = bridge.twin(model)
    Z, A = (model.activations(X)[f"dense_1/{stage}"] for stage in "ZA")
    wanted = (np.exp(log_softmax(Z)) - np.eye(10)[Y]) / len(Y)
    with tf.GradientTape() as tape:
        loss = copy.compute_loss(y=Y, y_pred=copy(X))
    theirs = tape.gradient(loss, copy.layers[-1].bias)
    ours = model.loss_and_gradients(X, Y)[1][-1]
    assert near(theirs, wanted.sum(0))
    assert near(ours, wanted.sum(0))
    assert not near((wanted * A * (1 - A)).sum(0), wanted.sum(0), 0.5)


def test_evaluate_reads_logits_and_a_loss_from_predict_does_not():
    model = network()
    copy = bridge.twin(model)
    evaluated = copy.evaluate(X, Y, verbose=0)[0]
    predicted = float(keras.losses.SparseCategoricalCrossentropy()(Y, copy.predict(X, verbose=0)))
    assert near(model.evaluate(X, Y, verbose=0)[0], evaluated)
    assert near(losses.SparseCategoricalCrossentropy()(Y, model.predict(X)), predicted)
    assert abs(predicted - evaluated) > 1e-3


def test_a_softmax_head_is_trained_on_its_logits_where_probabilities_would_be_clipped():
    model = network("softmax")
    model.layers[-1].kernel[...] *= 60  # so that some probabilities are below 1e-7
    copy = bridge.twin(model)
    Z, A = (model.activations(X)[f"dense_1/{stage}"] for stage in "ZA")
    on_logits = -true_entries(log_softmax(Z)).mean()
    on_outputs = -np.log(np.clip(true_entries(A), 1e-7, 1 - 1e-7)).mean()
    assert near(copy.evaluate(X, Y, verbose=0)[0], on_logits)
    assert near(model.evaluate(X, Y, verbose=0)[0], on_logits)
    assert abs(on_outputs - on_logits) > 1e-3


def test_other_backends_normalise_the_sigmoids():
    """JAX and PyTorch need not be here: Keras's NumPy backend has their formula, and is plain."""
    backends = Path(keras.__file__).parent / "src" / "backend"
    hidden = {name: (backends / name / "nn.py").read_text() for name in ("jax", "torch", "numpy")}
    assert all("_keras_logits" not in source for source in hidden.values())
    assert "_keras_logits" in (backends / "tensorflow" / "nn.py").read_text()
    names = {"np": np, "backend": keras.config, "one_hot": lambda y, n, axis: np.eye(n)[y]}
    for node in ast.parse(hidden["numpy"]).body:
        if isinstance(node, ast.FunctionDef) and node.name == "sparse_categorical_crossentropy":
            exec(compile(ast.Module([node], []), "nn.py", "exec"), names)
    model = network(sigmoid_head="probabilities")
    model.layers[-1].kernel[...] *= (
        60  # so that some sigmoids are below 1e-7, where they are clipped
    )
    theirs = names["sparse_categorical_crossentropy"](Y, model.predict(X)).mean()
    assert near(model.evaluate(X, Y, verbose=0)[0], theirs)
    clipped_first = losses.SparseCategoricalCrossentropy()(Y, model.predict(X))
    logits = network()
    logits.set_weights(model.get_weights())
    assert abs(logits.evaluate(X, Y, verbose=0)[0] - theirs) > 1e-3
    assert abs(clipped_first - theirs) > 1e-3


def test_sparse_cross_entropy_clips_then_normalises_and_categorical_normalises_then_clips():
    P = RNG.random((44, 10)) ** 12  # far from sum 1, with entries below 1e-7
    P[0, 0] = 0
    T = np.eye(10)[Y]
    clip = 1e-7, 1 - 1e-7
    clipped = np.clip(P, *clip)
    clipped_first = -true_entries(np.log(clipped / clipped.sum(-1, keepdims=True))).mean()
    normalised_first = -true_entries(np.log(np.clip(P / P.sum(-1, keepdims=True), *clip))).mean()
    assert near(keras.losses.SparseCategoricalCrossentropy()(Y, P), clipped_first)
    assert near(losses.SparseCategoricalCrossentropy()(Y, P), clipped_first)
    assert near(keras.losses.CategoricalCrossentropy()(T, P), normalised_first)
    assert near(losses.CategoricalCrossentropy()(T, P), normalised_first)
    assert abs(clipped_first - normalised_first) > 1e-3


WEIGHTS = RNG.uniform(0.1, 2, 44)


def test_a_batch_loss_is_divided_by_its_size_and_not_by_its_weights():
    model = network()
    copy = bridge.twin(model)
    each = -true_entries(log_softmax(model.activations(X)["dense_1/Z"]))
    by_size, by_weights = (WEIGHTS * each).sum() / 44, (WEIGHTS * each).sum() / WEIGHTS.sum()
    assert near(copy.test_on_batch(X, Y, sample_weight=WEIGHTS)[0], by_size)
    assert near(model.test_on_batch(X, Y, sample_weight=WEIGHTS)[0], by_size)
    assert abs(by_weights - by_size) > 1e-2


@pytest.mark.parametrize(
    ("reduction", "divisor"),
    [
        ("sum_over_batch_size", 44),
        ("mean", 44),
        ("mean_with_sample_weight", WEIGHTS.sum()),
        ("sum", 1),
    ],
)
def test_reductions_divide_by_what_their_names_do_not_quite_say(reduction, divisor):
    model = network(reduction=reduction)
    copy = bridge.twin(model)
    each = -true_entries(log_softmax(model.activations(X)["dense_1/Z"]))
    wanted = (WEIGHTS * each).sum() / divisor
    assert near(copy.test_on_batch(X, Y, sample_weight=WEIGHTS)[0], wanted)
    assert near(model.test_on_batch(X, Y, sample_weight=WEIGHTS)[0], wanted)


# --- the optimizers ---------------------------------------------------------------------------


def steps(optimizer, keras_optimizer, gradients):
    """Where both optimizers take a vector of zeros, after each of the gradients."""
    theta = np.zeros_like(gradients[0])
    model = Sequential([Input((1,)), layers.Dense(1)])
    variable = tf.Variable(theta)
    ours, theirs = [], []
    for gradient in gradients:
        optimizer.step(model.engine, theta, gradient)
        keras_optimizer.apply([tf.constant(gradient)], [variable])
        ours.append(theta.copy())
        theirs.append(variable.numpy())
    return np.array(ours), np.array(theirs)


def adam(gradients, epsilon_hat=True, through=np.float32, rate=1e-3):
    """Adam with its two knobs: where the epsilon goes, and what the betas go through."""
    beta_1, beta_2 = float(through(0.9)), float(through(0.999))
    theta, m, v = (np.zeros_like(gradients[0]) for _ in range(3))
    path = []
    for t, g in enumerate(gradients, 1):
        m += (1 - 0.9) * (g - m)
        v += (1 - 0.999) * (g * g - v)
        root = np.sqrt(1 - beta_2**t)
        if epsilon_hat:
            theta = theta - rate * root / (1 - beta_1**t) * m / (np.sqrt(v) + 1e-7)
        else:
            theta = theta - rate / (1 - beta_1**t) * m / (np.sqrt(v) / root + 1e-7)
        path.append(theta)
    return np.array(path)


GRADIENTS = RNG.normal(size=(30, 40)) * 10.0 ** RNG.uniform(-9, 2, 40)


def test_adams_epsilon_is_added_to_the_root_of_the_uncorrected_second_moment():
    ours, theirs = steps(optimizers.Adam(), keras.optimizers.Adam(), GRADIENTS)
    assert near(ours, theirs)
    assert near(adam(GRADIENTS), theirs)
    assert not near(adam(GRADIENTS, epsilon_hat=False), theirs, 1e-3)


def test_where_epsilon_stands_changes_a_step_sixteenfold():
    """g = epsilon, lr = 1, t = 1: v = 0.001 g^2, so its root is 0.0316 g, and corrected it is g."""
    g = np.array([1e-7])
    ours, theirs = steps(optimizers.Adam(1.0), keras.optimizers.Adam(1.0), [g])
    assert near(ours, theirs)
    root = math.sqrt(0.001)
    assert -ours[0, 0] == pytest.approx(root / (root + 1), rel=1e-5)  # Keras: 0.0307
    assert -adam([g], epsilon_hat=False, rate=1.0)[0, 0] == pytest.approx(0.5, rel=1e-5)  # PyTorch


def test_powers_of_beta_pass_through_float32():
    ours, theirs = steps(optimizers.Adam(), keras.optimizers.Adam(), GRADIENTS)
    assert near(ours[0], theirs[0])
    assert not near(adam(GRADIENTS, through=float)[0], theirs[0], 1e-9)
    assert not near(adam(GRADIENTS, through=float), theirs, 1e-7)


def test_one_minus_beta_stays_double():
    keras_adam = keras.optimizers.Adam()
    ours = optimizers.Adam()
    steps(ours, keras_adam, GRADIENTS[:1])
    m, v = (1 - 0.9) * GRADIENTS[0], (1 - 0.999) * GRADIENTS[0] ** 2
    assert near(keras_adam._momentums[0], m) and near(ours.slots["momentum"], m)
    assert near(keras_adam._velocities[0], v) and near(ours.slots["velocity"], v)
    assert not near((1 - float(np.float32(0.999))) * GRADIENTS[0] ** 2, v, 1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_passes_through_float32(nesterov):
    ours, theirs = steps(
        optimizers.SGD(0.1, 0.9, nesterov), keras.optimizers.SGD(0.1, 0.9, nesterov), GRADIENTS
    )
    assert near(ours, theirs)

    def sgd(momentum):
        theta, u, path = np.zeros(40), np.zeros(40), []
        for g in GRADIENTS:
            u = momentum * u - 0.1 * g
            theta = theta + (momentum * u - 0.1 * g if nesterov else u)
            path.append(theta)
        return np.array(path)

    assert near(sgd(float(np.float32(0.9))), theirs)
    assert not near(sgd(0.9), theirs, 1e-9)


def test_the_learning_rate_stays_double():
    ours, theirs = steps(optimizers.SGD(0.1), keras.optimizers.SGD(0.1), GRADIENTS[:1])
    assert near(ours[0], theirs[0], 0)
    assert near(-0.1 * GRADIENTS[0], theirs[0], 0)
    assert not near(-float(np.float32(0.1)) * GRADIENTS[0], theirs[0], 1e-9)


def test_rmsprops_rho_and_momentum_stay_double_and_its_epsilon_stands_inside_the_root():
    ours, theirs = steps(
        optimizers.RMSprop(0.01, 0.9, 0.9), keras.optimizers.RMSprop(0.01, 0.9, 0.9), GRADIENTS
    )
    assert near(ours, theirs)

    def rmsprop(rho, momentum, inside=True):
        theta, v, u, path = np.zeros(40), np.zeros(40), np.zeros(40), []
        for g in GRADIENTS:
            v = rho * v + (1 - rho) * g * g
            u = momentum * u + 0.01 * g / (np.sqrt(v + 1e-7) if inside else np.sqrt(v) + 1e-7)
            theta = theta - u
            path.append(theta)
        return np.array(path)

    single = float(np.float32(0.9))
    assert near(rmsprop(0.9, 0.9), theirs)
    assert not near(rmsprop(single, 0.9), theirs, 1e-9)
    assert not near(rmsprop(0.9, single), theirs, 1e-9)
    assert not near(rmsprop(0.9, 0.9, inside=False), theirs, 1e-9)


# --- layers -----------------------------------------------------------------------------------


def test_rescaling_rounds_its_numbers_to_float32_in_float64_too():
    pixels = np.arange(256.0)[:, None]
    ours = Sequential([Input((1,)), layers.Rescaling(1 / 255, 0.1)]).predict(pixels)
    theirs = keras.layers.Rescaling(1 / 255, 0.1)(pixels).numpy()
    assert near(ours, theirs, 0)
    assert not near(pixels / 255 + 0.1, theirs, 1e-9)


def test_the_slope_of_relu_at_zero_is_zero():
    model = Sequential([Input((2,)), layers.Dense(3, "relu", use_bias=False)], seed=0)
    model.compile("sgd", "mse")
    copy = bridge.twin(model)
    x, y = np.zeros((1, 2)), np.ones((1, 3))
    x[0, 0] = 1
    model.layers[0].kernel[0] = [0.0, -0.0, 2.0]
    bridge.carry_weights(model, copy)
    with tf.GradientTape() as tape:
        loss = copy.compute_loss(y=y, y_pred=copy(x))
    theirs = tape.gradient(loss, copy.trainable_variables)[0].numpy()
    ours = model.loss_and_gradients(x, y)[1][0]
    assert theirs[0].tolist() == ours[0].tolist() == [0, 0, 2 / 3]
    # With a slope of 1 there it would be 2 (0 - 1) / 3, and a central difference gives half of it.


def test_the_slope_of_leaky_relu_passes_through_float32_and_holds_at_zero():
    Z = np.array([-1.0, 0.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(z := tf.constant(Z))
        outputs = keras.activations.leaky_relu(z)
    A, slope = activations.leaky_relu(Z), float(np.float32(0.2))
    assert outputs.numpy().tolist() == A.tolist() == [-slope, 0, 1]
    ours = reference.leaky_relu_backward(np.ones(3), Z, A)
    assert tape.gradient(outputs, z).numpy().tolist() == ours.tolist() == [slope, slope, 1]
    assert slope != 0.2


def test_a_kernel_is_inputs_by_outputs_uniform_within_glorots_limit_and_biases_begin_at_zero():
    ours = Sequential(
        [Input((28, 28)), layers.Flatten(), *map(layers.Dense, (50, 50, 10))], seed=0
    ).get_weights()
    theirs = script.build(scaled=False).get_weights()
    for weights in (ours, theirs):
        assert [w.shape for w in weights] == [
            (784, 50), (50,), (50, 50), (50,), (50, 10), (10,)
        ]  # fmt: skip
        assert sum(w.size for w in weights) == 42_310
        limit = np.sqrt(6 / (784 + 50))
        kernel = weights[0]
        # The largest of n uniform numbers falls short of the limit by about limit / n.
        assert limit * (1 - 20 / kernel.size) < np.abs(kernel).max() <= limit
        # A variance of n uniform numbers is limit^2 / 3 (1 +- 0.9 / sqrt(n)); a normal's of the
        # same spread would reach beyond the limit, He's would be 2.1 times this one.
        assert abs(kernel.var() * 3 / limit**2 - 1) < 5 * 0.9 / np.sqrt(kernel.size)
        assert all(not w.any() for w in weights[1::2])


# --- accuracy ---------------------------------------------------------------------------------


def test_float32_sigmoids_are_exactly_one_from_about_16_64_on():
    config.set_floatx("float32")
    Z = np.array([15.9, 17.0, 40.0], np.float32)
    with bridge.floatx("float32"):
        theirs = keras.activations.sigmoid(tf.constant(Z)).numpy()
    assert (theirs == 1).tolist() == [False, True, True]
    assert (activations.sigmoid(Z) == 1).tolist() == [False, True, True]
    assert activations.sigmoid(Z.astype(np.float64))[1] < 1


def test_accuracy_takes_the_first_of_tied_sigmoids_on_unscaled_pixels():
    config.set_floatx("float32")
    pixels = RNG.integers(0, 256, (400, 12)).astype(np.float32)
    with bridge.floatx("float32"):
        model = network()
        Z = model.activations(pixels)["dense_1/Z"]
        labels = np.argmax(Z, axis=1)
        tied = np.sort(model.predict(pixels), axis=1)[:, -2] == 1
        assert tied.mean() > 0.3
        theirs = bridge.twin(model).evaluate(pixels, labels, verbose=0)[1]
        ours = model.evaluate(pixels, labels, verbose=0)[1]
    first = np.argmax(model.predict(pixels), axis=1)
    assert np.array_equal(first[tied], np.argmax(Z[tied] > 16.7, axis=1))
    assert ours == np.mean(first == labels)
    assert theirs == pytest.approx(ours, abs=1e-6)  # Keras sums in float32
    assert ours < 0.95  # the argmax of the logits would be right every time


# --- fit and evaluate -------------------------------------------------------------------------


def test_epoch_numbers_are_running_means_while_the_weights_move():
    model = network(optimizer=optimizers.SGD(0.5))
    copy = bridge.twin(model)
    loss_before = model.evaluate(X, Y, verbose=0)[0]
    options = {"batch_size": 11, "shuffle": False, "verbose": 0}
    theirs = copy.fit(X, Y, **options).history
    ours = model.fit(X, Y, **options).history
    loss_after = model.evaluate(X, Y, verbose=0)[0]
    assert near(ours["loss"], theirs["loss"])
    assert near(ours["accuracy"], theirs["accuracy"])
    assert min(abs(ours["loss"][0] - loss) for loss in (loss_before, loss_after)) > 1e-3


def test_a_short_last_batch_counts_by_its_size():
    model = network(optimizer=optimizers.SGD(0.0))
    copy = bridge.twin(model)
    each = [model.evaluate(X[a:b], Y[a:b], verbose=0)[0] for a, b in ((0, 20), (20, 40), (40, 44))]
    by_size, alike = np.dot(each, [20, 20, 4]) / 44, np.mean(each)
    options = {"batch_size": 20, "shuffle": False, "verbose": 0}
    assert near(copy.fit(X, Y, **options).history["loss"], [by_size])
    assert near(model.fit(X, Y, **options).history["loss"], [by_size])
    assert near(copy.evaluate(X, Y, batch_size=20, verbose=0)[0], by_size)
    assert near(model.evaluate(X, Y, batch_size=20, verbose=0)[0], by_size)
    assert abs(alike - by_size) > 1e-3


def test_validation_split_takes_the_tail_before_any_shuffling():
    model = network(optimizer=optimizers.SGD(0.0))
    copy = bridge.twin(model)
    tail, head = (model.evaluate(X[s], Y[s], verbose=0)[0] for s in (np.s_[33:], np.s_[:11]))
    options = {"validation_split": 0.25, "shuffle": True, "verbose": 0}
    assert near(copy.fit(X, Y, **options).history["val_loss"], [tail])
    assert near(model.fit(X, Y, **options).history["val_loss"], [tail])
    assert abs(head - tail) > 1e-3


def test_a_class_without_a_weight_counts_one():
    model = network()
    copy = bridge.twin(model)
    each = -true_entries(log_softmax(model.activations(X)["dense_1/Z"]))
    table = {3: 5.0, 4: 0.0}
    one, nothing = (
        np.mean(each * [table.get(label, missing) for label in Y]) for missing in (1.0, 0.0)
    )
    assert near(copy.train_on_batch(X, Y, class_weight=table)[0], one)
    assert near(model.train_on_batch(X, Y, class_weight=table)[0], one)
    assert abs(nothing - one) > 1e-2


def test_class_weights_leave_validation_alone():
    model = network(optimizer=optimizers.SGD(0.0))
    copy = bridge.twin(model)
    plain = model.evaluate(X[22:], Y[22:], verbose=0)[0]
    table = dict.fromkeys(range(10), 3.0)
    options = {"validation_split": 0.5, "class_weight": table, "verbose": 0}
    assert near(copy.fit(X, Y, **options).history["val_loss"], [plain])
    assert near(model.fit(X, Y, **options).history["val_loss"], [plain])


def test_sample_weights_reach_the_loss_and_weighted_metrics_but_not_metrics():
    model = network()
    hits = np.argmax(model.predict(X), axis=1) == Y
    weights = np.where(hits, 3.0, 0.5)
    model.compile(
        "sgd",
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=["accuracy"],
    )
    copy = bridge.twin(model, weighted_metrics=["accuracy"])
    theirs = copy.evaluate(X, Y, sample_weight=weights, verbose=0, return_dict=True)
    ours = model.evaluate(X, Y, sample_weight=weights, verbose=0, return_dict=True)
    assert list(ours) == list(theirs) == ["accuracy", "loss", "weighted_accuracy"]
    assert near(list(ours.values()), list(theirs.values()))
    assert near(ours["accuracy"], hits.mean())
    assert near(ours["weighted_accuracy"], (weights * hits).sum() / weights.sum())
    assert ours["weighted_accuracy"] - ours["accuracy"] > 1e-2


def test_the_order_of_samples_is_ours_and_keras_follows_it_unshuffled():
    model = network()
    again, copy = network(), bridge.twin(model)
    order = again.rng.permutation(44)
    history = model.fit(X, Y, batch_size=8, verbose=0).history
    followed = copy.fit(X[order], Y[order], batch_size=8, verbose=0, shuffle=False).history
    assert near(history["loss"], followed["loss"])
    assert near(model.theta, bridge.flat(copy.trainable_variables))
    bridge.carry_weights(again, copy)
    by_keras = copy.fit(X[order], Y[order], batch_size=8, verbose=0, shuffle=True).history
    assert not near(history["loss"], by_keras["loss"], 1e-6)


def test_with_all_of_this_an_epoch_of_the_known_network_ends_on_the_same_weights():
    images, labels = RNG.integers(0, 256, (640, 28, 28)), RNG.integers(0, 10, 640)
    model = Sequential(
        [
            Input((28, 28)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(50, "relu"),
            layers.Dense(50, "relu"),
            layers.Dense(10, "sigmoid"),
        ],
        seed=0,
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    copy = bridge.twin(model)
    start = model.theta.copy()
    options = {"shuffle": False, "verbose": 0}
    copy.fit(images, labels, **options)
    model.fit(images, labels, **options)
    weights = bridge.flat(copy.trainable_variables)
    assert np.max(np.abs(weights - start)) > 1e-2
    # 20 steps: Adam divides by a root that may be tiny, which makes more of a rounding than SGD
    # would. 1e-13 is 1e-11 of the way gone; the nearest wrong formula (double betas) ends 1e-8 off.
    assert np.max(np.abs(model.theta - weights)) <= 1e-13
    assert np.array_equal(
        np.argmax(model.predict(images), axis=1), np.argmax(copy.predict(images, verbose=0), axis=1)
    )
