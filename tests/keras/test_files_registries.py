"""Every registered optimizer, layer, loss and so on in a `.keras` file, which live Keras reads,
goes on from and writes again; who registers another without a case here is told its name.
"""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest

from keras_ref import bridge
from scratchnet import (
    Input,
    Sequential,
    activations,
    config,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    regularizers,
)
from scratchnet.optimizers import schedules
from scratchnet.optimizers.options import OPTIONS
from scratchnet.saving import keras_files

RNG = np.random.default_rng(11)
X = RNG.normal(size=(60, 6))
Y = RNG.integers(0, 3, 60)
HOT = np.eye(3)[Y]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*not known to the compiled engine"),
    pytest.mark.filterwarnings("ignore:.*holds no NumPy generator"),
]


@pytest.fixture(autouse=True)
def doubles():
    config.set_floatx("float64")
    with bridge.floatx("float64"):
        yield
    config.set_floatx("float32")


def fit(model, y, epochs=4, **options):
    options = {"shuffle": False, "verbose": 0} | options
    return model.fit(X, y, 8, epochs=epochs, **options).history


def close(mine, theirs):
    for ours, other in zip(mine.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(ours, other, rtol=0, atol=1e-12 * max(np.abs(other).max(), 1e-3))


def walk(mine, folder, y=Y, epochs=4, eager=False):
    """We train and write, Keras reads and goes on beside us and writes, we read and go on beside
    Keras; what we write then Keras reads to the bit.
    """
    there, back = folder / "there.keras", folder / "back.keras"
    fit(mine, y, epochs)
    mine.save(there)
    theirs = keras.models.load_model(there)
    theirs.jit_compile = False  # which rounds otherwise, and takes longer than the steps
    theirs.run_eagerly = eager
    for model in (mine, theirs):
        history = fit(model, y, epochs)
    close(mine, theirs)
    theirs.save(back)
    again = models.load_model(back)
    assert again.optimizer.iterations == int(theirs.optimizer.iterations) > 0
    assert fit(again, y, epochs).keys() == history.keys() == fit(theirs, y, epochs).keys()
    close(again, theirs)
    again.save(there)
    last = keras.models.load_model(there)
    for ours, other in zip(again.get_weights(), last.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, other)
    for ours, other in zip(again.optimizer.variables, last.optimizer.variables, strict=False):
        np.testing.assert_array_equal(ours, other.numpy())


def stack(optimizer="adam", loss="sparse_categorical_crossentropy", between=(), **options):
    model = Sequential(
        [Input((6,)), *between, layers.Dense(5, "tanh"), layers.Dense(3, "softmax")], seed=2
    )
    model.compile(optimizer, loss, **options)
    return model


# --- optimizers -----------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "Adam": {"amsgrad": True},
    "RMSprop": {},
    "AdamW": {"weight_decay": 0.02, "amsgrad": True},
    "Adagrad": {"initial_accumulator_value": 0.3},
    "Nadam": {"beta_1": 0.8},
}
VARIANTS = {
    "RMSprop centered, averaged": ("RMSprop", {"centered": True, "use_ema": True}),
    "RMSprop with momentum, centered": ("RMSprop", {"momentum": 0.5, "centered": True}),
    "Nadam averaged": ("Nadam", {"use_ema": True, "ema_momentum": 0.8}),
    "SGD averaged": ("SGD", {"use_ema": True, "ema_overwrite_frequency": 3}),
    "Adam that decays, clipped": ("Adam", {"weight_decay": 0.01, "clipnorm": 0.1}),
    "Adagrad clipped": ("Adagrad", {"clipvalue": 0.02}),
    "AdamW clipped": ("AdamW", {"global_clipnorm": 0.1}),
}
REFUSED_OPTIONS = ("loss_scale_factor", "gradient_accumulation_steps")
"""The one changes nothing of a step but rounding, the other is not taken here."""


@pytest.mark.parametrize("name", [kind.__name__ for kind in optimizers.KINDS])
def test_every_optimizer_goes_on_for_500_steps_on_either_side(name, tmp_path):
    optimizer = getattr(optimizers, name)(0.005, **OPTIMIZERS[name])
    walk(stack(optimizer), tmp_path, epochs=63)  # of 8 batches each


@pytest.mark.parametrize("case", VARIANTS)
def test_whatever_slots_an_optimizer_has(case, tmp_path):
    name, options = VARIANTS[case]
    walk(stack(getattr(optimizers, name)(0.01, **options)), tmp_path)


def test_every_option_has_a_case():
    tried = {option for _, options in VARIANTS.values() for option in options}
    assert OPTIONS.keys() - tried == {*REFUSED_OPTIONS}


SCHEDULES = {
    "CosineDecay": (0.01, 30, 0.2, "c", 0.05, 10),
    "CosineDecayRestarts": (0.02, 7, 1.5, 0.8, 0.1),
    "ExponentialDecay": (0.02, 10, 0.7, True),
    "InverseTimeDecay": (0.02, 10, 0.7),
    "PiecewiseConstantDecay": ([5, 20], [0.02, 0.01, 0.005]),
    "PolynomialDecay": (0.02, 20, 0.001, 2.0),
}


@pytest.mark.parametrize("name", [kind.__name__ for kind in schedules.CLASSES])
def test_every_schedule(name, tmp_path):
    """Step by step: in a graph TensorFlow multiplies by reciprocals, in float32."""
    schedule = getattr(schedules, name)(*SCHEDULES[name])
    walk(stack(optimizers.SGD(schedule, momentum=0.5)), tmp_path, epochs=2, eager=True)


# --- layers ---------------------------------------------------------------------------------------

STACKS = {
    "shapes": lambda: [
        *(layers.Rescaling(0.5, offset=0.1), layers.Reshape((2, 3)), layers.Flatten()),
        *(layers.Identity(), layers.Dense(4, "relu", use_bias=False), layers.ELU(0.7)),
        *(layers.Dense(4), layers.Activation("softplus"), layers.Reshape((2, -1))),
        *(layers.Softmax(), layers.Flatten()),
    ],
    "bends": lambda: [
        layers.Normalization(mean=[0.5] * 6, variance=[2.0] * 6),
        *(layers.Dense(4), layers.LeakyReLU(0.2), layers.ActivityRegularization(0.01, 0.02)),
        *(layers.Dense(4), layers.ReLU(1.5, negative_slope=0.1, threshold=0.05)),
    ],
    "statistics": lambda: [
        # Before the mean is taken off a bias has a gradient of rounding alone.
        layers.Dense(4, use_bias=False),
        layers.BatchNormalization(momentum=0.7, gamma_regularizer="l2", center=False),
        layers.Dense(4, use_bias=False),
        *(layers.BatchNormalization(scale=False), layers.GaussianNoise(0.0)),
        *(layers.Dropout(0.0), layers.GaussianDropout(0.0)),
    ],
}


@pytest.mark.parametrize("name", STACKS)
def test_every_layer(name, tmp_path):
    walk(stack(between=STACKS[name]()), tmp_path)


def test_every_layer_has_a_case():
    tried = {type(layer).__name__ for make in STACKS.values() for layer in make()}
    assert layers.LAYERS.keys() - tried == set()


def test_a_normalization_that_has_adapted(tmp_path):
    layer = layers.Normalization()
    layer.adapt(X)
    walk(stack(between=[layer]), tmp_path)


def test_frozen_layers_stand_still_on_either_side(tmp_path):
    between = [layers.Dense(4, trainable=False), layers.BatchNormalization(trainable=False)]
    mine = stack(between=between)
    before = [array.copy() for layer in mine.layers[:2] for array in layer.weights]
    walk(mine, tmp_path)
    after = [array for layer in mine.layers[:2] for array in layer.weights]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_activation(tmp_path):
    """What they compute one behind the other, in a file from either side."""
    path, names = tmp_path / "model.keras", sorted(activations.FUNCTIONS)
    stack = [layer for name in names for layer in (layers.Dense(4, name), layers.Activation(name))]
    mine = Sequential([Input((6,)), *stack], seed=0)
    mine.save(path)
    theirs = keras.models.load_model(path)
    np.testing.assert_allclose(theirs.predict(X, verbose=0), mine.predict(X), rtol=1e-11)
    assert np.ptp(mine.predict(X)) > 1e-6
    theirs.save(path)
    again = models.load_model(path)
    assert [x.activation for x in again.layers] == [x.activation for x in mine.layers]
    np.testing.assert_array_equal(again.predict(X), mine.predict(X))


# --- what layers are made with --------------------------------------------------------------------

INITIALIZERS = {
    "Constant": {"value": 0.3},
    "Identity": {"gain": 2.0},
    "Orthogonal": {"gain": 1.5, "seed": 3},
    "RandomNormal": {"mean": 0.1, "stddev": 0.2, "seed": 3},
    "RandomUniform": {"minval": -0.2, "maxval": 0.3, "seed": 3},
    "TruncatedNormal": {"mean": 0.1, "stddev": 0.2, "seed": 3},
    "VarianceScaling": {
        "scale": 2.0,
        "mode": "fan_avg",
        "distribution": "uniform",
        "seed": 3,
    },
}
REGULARIZERS = {
    "L1": {"l1": 0.02},
    "L2": {"l2": 0.03},
    "L1L2": {"l1": 0.02, "l2": 0.03},
    "OrthogonalRegularizer": {"factor": 0.02, "mode": "columns"},
}


def arguments_there(thing, theirs):
    """Both have the same arguments, as far as Keras has them."""
    found = theirs.get_config()
    for key, value in thing.get_config().items():
        assert found.get(key, value) == value, key


@pytest.mark.parametrize(
    "name", sorted({kind.__name__ for kind in initializers.INITIALIZERS.values()})
)
def test_every_initializer_keeps_its_arguments(name, tmp_path):
    path, kind = tmp_path / "model.keras", getattr(initializers, name)
    seeded = "seed" in inspect.signature(kind).parameters
    given = kind(**INITIALIZERS.get(name, {"seed": 4} if seeded else {}))
    Sequential([Input((6,)), layers.Dense(6, kernel_initializer=given)]).save(path)
    theirs = keras.models.load_model(path)
    arguments_there(given, theirs.layers[0].kernel_initializer)
    if name == "Identity":  # whose gain Keras reads, and does not write
        assert theirs.layers[0].kernel_initializer.gain == given.gain
        return
    theirs.save(path)
    again = models.load_model(path).layers[0].kernel_initializer
    assert type(again) is kind
    assert again.get_config() == given.get_config()


def test_every_regularizer_in_every_place(tmp_path):
    between = []
    for kind in regularizers.CLASSES:
        by = kind(**REGULARIZERS[kind.__name__])
        options = dict.fromkeys(("kernel_regularizer", "bias_regularizer"), by)
        options |= {"activity_regularizer": by}
        if kind is not regularizers.OrthogonalRegularizer:
            between.append(layers.Dense(4, "tanh", **options))
    walk(stack(between=between), tmp_path)


def test_a_regularizer_that_keras_computes_in_float32_alone_keeps_its_arguments(tmp_path):
    path = tmp_path / "model.keras"
    by = regularizers.OrthogonalRegularizer(**REGULARIZERS["OrthogonalRegularizer"])
    Sequential([Input((6,)), layers.Dense(4, kernel_regularizer=by)]).save(path)
    theirs = keras.models.load_model(path)
    assert theirs.layers[0].kernel_regularizer.mode == by.mode
    theirs.save(path)
    again = models.load_model(path).layers[0].kernel_regularizer
    assert (again.mode, again.factor) == (by.mode, pytest.approx(by.factor, rel=1e-7))


# --- what a model is compiled with ----------------------------------------------------------------

LOSSES = {
    "SparseCategoricalCrossentropy": {"reduction": "sum", "name": "mine"},
    "CategoricalCrossentropy": {"label_smoothing": 0.1},
    "BinaryCrossentropy": {"label_smoothing": 0.1},
    "MeanSquaredError": {"reduction": "mean"},
    "MeanAbsoluteError": {},
    "Huber": {},
    "KLDivergence": {"reduction": "mean_with_sample_weight"},
}
METRICS = {
    "TopKCategoricalAccuracy": {"k": 2},
    "SparseTopKCategoricalAccuracy": {"k": 2},
    "BinaryAccuracy": {"threshold": 0.4},
    "BinaryCrossentropy": {"label_smoothing": 0.1},
    "CategoricalCrossentropy": {"label_smoothing": 0.1},
    "Precision": {"thresholds": 0.4, "class_id": 1},
    "Recall": {"top_k": 2},
    "AUC": {"num_thresholds": 50, "curve": "PR"},
    "FBetaScore": {"average": "macro", "beta": 2.0},
    "F1Score": {"average": "micro", "threshold": 0.4},
    "SensitivityAtSpecificity": {"specificity": 0.4, "num_thresholds": 30},
    "SpecificityAtSensitivity": {"sensitivity": 0.4, "num_thresholds": 30},
    "PrecisionAtRecall": {"recall": 0.4, "num_thresholds": 30},
    "RecallAtPrecision": {"precision": 0.4, "num_thresholds": 30},
}
COUNTED = ("Mean", "Sum", "MeanMetricWrapper", "Accuracy")
"""Metrics that `compile` takes no model's outputs for, or that take a function."""


@pytest.mark.parametrize("name", sorted({kind.__name__ for kind in losses.CLASSES.values()}))
def test_every_loss(name, tmp_path):
    loss = getattr(losses, name)(**LOSSES[name])
    walk(stack("adam", loss), tmp_path, Y if loss.sparse else HOT, epochs=2)


def test_keras_reads_hubers_delta_though_it_writes_none(tmp_path):
    path = tmp_path / "model.keras"
    stack("sgd", losses.Huber(delta=0.3)).save(path)
    theirs = keras.models.load_model(path)
    one, other = np.zeros((2, 3)), np.arange(6.0).reshape(2, 3)
    assert float(theirs.loss(one, other)) == pytest.approx(losses.Huber(delta=0.3)(one, other))
    theirs.save(path)
    for read in (keras.models.load_model, models.load_model):
        assert float(read(path).loss(one, other)) == pytest.approx(losses.Huber()(one, other))


def test_a_loss_that_reads_logits(tmp_path):
    mine = Sequential([Input((6,)), layers.Dense(4, "tanh"), layers.Dense(3)], seed=1)
    mine.compile("adam", losses.SparseCategoricalCrossentropy(from_logits=True))
    walk(mine, tmp_path)


@pytest.mark.parametrize("sparse", [True, False])
def test_every_metric(sparse, tmp_path):
    """All at once, under their own names and with their arguments: the same numbers, in float32,
    since TensorFlow knows the k largest of no other.
    """
    config.set_floatx("float32")
    names = {kind.__name__ for kind in metrics.CLASSES.values()} - {*COUNTED}
    names = sorted(name for name in names if ("Sparse" in name) == sparse)
    asked = [getattr(metrics, name)(**METRICS.get(name, {})) for name in names]
    path, y = tmp_path / "model.keras", Y if sparse else HOT
    loss = "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy"
    weights = np.linspace(0.5, 1.5, len(X))
    with bridge.floatx("float32"):
        mine = stack("sgd", loss, metrics=["accuracy"], weighted_metrics=asked)
        fit(mine, y, 1)
        mine.save(path)
        theirs = keras.models.load_model(path)
        rows = [fit(model, y, 1, sample_weight=weights) for model in (mine, theirs)]
        theirs.save(path)
        again = models.load_model(path)
        rows += [fit(model, y, 1, sample_weight=weights) for model in (again, theirs)]
    before, after = ([m.get_config() for m in one.metrics_asked[1]] for one in (mine, again))
    assert before == after
    for one, other in (rows[:2], rows[2:]):
        assert one.keys() == other.keys()
        # Of a softmax's outputs Keras takes the logits for those of sigmoids, as a metric too.
        for name in one.keys() - {"binary_crossentropy"}:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5, err_msg=name)


def test_every_optimizer_has_an_order_of_slots():
    assert keras_files.SLOTS.keys() == {kind.__name__ for kind in optimizers.KINDS}
