"""Metrics beside live Keras: values, weights, shapes, configs, names, and those of one's own."""

from __future__ import annotations

import functools
import itertools
import warnings

import keras
import numpy as np
import pytest

import scratchnet
from scratchnet import Input, Sequential, config, layers, losses, metrics, registry

RNG, N, K = np.random.default_rng(4), 40, 5
LABELS = RNG.integers(0, K, N)
ROWS = np.eye(K)[LABELS]
TARGETS = RNG.integers(0, 2, (N, K)).astype(float)
OUTPUTS = RNG.random((N, K))
TIED = RNG.integers(0, 3, (N, K)) / 2  # thresholds and ties are met
ONE, ONE_OUT = TARGETS[:, :1], OUTPUTS[:, :1]

pytestmark = pytest.mark.usefixtures("float64_in_both")


def number(found):
    return np.asarray(found.numpy() if hasattr(found, "numpy") else found, np.float64)


def agree(theirs, ours, bound=1e-12):
    theirs, ours = number(theirs), number(ours)
    bound = bound if config.floatx() == "float64" else 1e-6
    assert ours.shape == theirs.shape
    assert np.allclose(ours, theirs, rtol=bound, atol=bound, equal_nan=True), (theirs, ours)


CASES = {
    "Accuracy": (LABELS, LABELS // 2, [{}]),
    "BinaryAccuracy": (TARGETS, TIED, [{}, {"threshold": 0.2}, {"threshold": 1}]),
    "CategoricalAccuracy": (ROWS, TIED, [{}]),
    "SparseCategoricalAccuracy": (LABELS, TIED, [{}]),
    "TopKCategoricalAccuracy": (ROWS, TIED, [{}, {"k": 1}, {"k": 2}, {"k": 9}]),
    "SparseTopKCategoricalAccuracy": (LABELS, TIED, [{"k": 1}, {"k": 3}]),
    "MeanSquaredError": (TARGETS, OUTPUTS, [{}]),
    "MeanAbsoluteError": (TARGETS, OUTPUTS, [{}]),
    "RootMeanSquaredError": (TARGETS, OUTPUTS, [{}]),
    "KLDivergence": (TARGETS, OUTPUTS, [{}]),
    "BinaryCrossentropy": (
        TARGETS, OUTPUTS, [{}, {"from_logits": True}, {"label_smoothing": 0.1}],
    ),
    "CategoricalCrossentropy": (
        ROWS, OUTPUTS, [{}, {"from_logits": True, "label_smoothing": 0.2}],
    ),
    "SparseCategoricalCrossentropy": (LABELS, OUTPUTS, [{}, {"ignore_class": 1}]),
    "TruePositives": (TARGETS, TIED, [{}, {"thresholds": 0.2}, {"thresholds": [0.0, 0.5, 0.9]}]),
    "FalsePositives": (TARGETS, TIED, [{}, {"thresholds": [0.0, 0.5, 1.0]}]),
    "TrueNegatives": (TARGETS, TIED, [{}, {"thresholds": [0.1, 0.3]}]),
    "FalseNegatives": (TARGETS, TIED, [{}, {"thresholds": [0.1, 0.3]}]),
    "Precision": (TARGETS, OUTPUTS, [
        {}, {"thresholds": [0.2, 0.8]}, {"top_k": 2}, {"class_id": 3}, {"top_k": 2, "class_id": 0},
        {"thresholds": [0.0, 0.25, 0.5, 0.75, 1.0]},
    ]),
    "Recall": (TARGETS, OUTPUTS, [
        {}, {"thresholds": 0.3}, {"top_k": 1}, {"class_id": 1}, {"thresholds": 0.5, "top_k": 3},
    ]),
    "AUC": (TARGETS, OUTPUTS, [
        {}, {"num_thresholds": 3}, {"curve": "PR"}, {"summation_method": "minoring"},
        {"curve": "PR", "summation_method": "majoring"}, {"thresholds": [0.9, 0.1, 0.4]},
        {"multi_label": True}, {"multi_label": True, "num_labels": K, "curve": "PR"},
        {"multi_label": True, "label_weights": list(range(1, K + 1))}, {"from_logits": True},
        {"curve": "PRGAIN"}, {"num_thresholds": 7, "curve": "prgain"},
    ]),
    "FBetaScore": (ROWS, OUTPUTS, [{"beta": 2.0}, {"beta": 0.5, "average": "weighted"}]),
    "F1Score": (TARGETS, OUTPUTS, [
        {}, {"average": "micro"}, {"average": "macro", "threshold": 0.4}, {"average": "weighted"},
    ]),
    "SensitivityAtSpecificity": (TARGETS, OUTPUTS, [
        {"specificity": 0.4}, {"specificity": 0.7, "num_thresholds": 1},
    ]),
    "SpecificityAtSensitivity": (TARGETS, OUTPUTS, [{"sensitivity": 0.6, "class_id": 2}]),
    "PrecisionAtRecall": (TARGETS, OUTPUTS, [{"recall": 0.5}, {"recall": 1.0}]),
    "RecallAtPrecision": (TARGETS, OUTPUTS, [{"precision": 0.5}, {"precision": 0.99}]),
}  # fmt: skip
VARIANTS = [(name, option) for name, (_, _, options) in CASES.items() for option in options]


def single_for(name):
    """TensorFlow's kernel for the k largest knows float32 alone."""
    if "top_k" in name or "TopK" in name:
        config.set_floatx("float32")
        keras.config.set_floatx("float32")


def made(name, options):
    return [getattr(room.metrics, name)(**options, name="m") for room in (keras, scratchnet)]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_updates_weights_and_a_new_beginning_give_keras_numbers(name, options):
    y, outputs, _ = CASES[name]
    single_for(name)
    outputs = outputs.astype(config.floatx())
    theirs, ours = made(name, options)
    weighings = [None, RNG.uniform(0, 2, N), np.zeros(N)]
    for weights in weighings:
        for rows in (slice(7), slice(7, None)):  # two batches of different sizes
            part = None if weights is None else weights[rows]
            theirs.update_state(y[rows], outputs[rows], sample_weight=part)
            ours.update_state(y[rows], outputs[rows], sample_weight=part)
            agree(theirs.result(), ours.result())
    theirs.reset_state()
    ours.reset_state()
    agree(theirs.result(), ours.result())
    agree(theirs(y, outputs), ours(y, outputs))
    assert all(not variable.any() for variable in ours.variables if ours.reset_state())


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_configs_are_kerass_and_make_the_metric_again(name, options):
    theirs, ours = made(name, options)
    expected, found = theirs.get_config(), ours.get_config()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert np.array_equal(np.asarray(found[key], object), np.asarray(value, object)), key
    again = type(ours).from_config(found)
    assert again.get_config() == found
    y, outputs, _ = CASES[name]
    agree(ours(y, outputs), again(y, outputs))
    written = metrics.serialize(ours)
    assert {k: written[k] for k in ("module", "class_name", "registered_name")} == {
        k: keras.metrics.serialize(theirs)[k] for k in ("module", "class_name", "registered_name")
    }
    agree(ours(y, outputs), metrics.deserialize(written)(y, outputs) * 0 + ours.result())


def test_every_metric_has_kerass_name_direction_and_aliases():
    for name, kind in metrics.CLASSES.items():
        theirs = getattr(keras.metrics, name)
        if name == "MeanMetricWrapper" or name not in metrics.METRICS:
            continue  # they can't be made without arguments
        registry.forget_names()
        keras.backend.clear_session()
        ours, theirs = kind(), theirs()
        assert ours.name == theirs.name
        assert ours._direction == getattr(theirs, "_direction", None)
        assert kind().name == type(theirs)().name  # of the second one
    for name in metrics.METRICS:
        assert type(metrics.get(name)).__name__ == type(keras.metrics.get(name)).__name__
    assert type(metrics.get("accuracy")).__name__ == "Accuracy"
    assert metrics.get(None) is keras.metrics.get(None) is None
    for wrong in ("acc", "msee", 3, {}, {"class_name": "Nope", "config": {}}):
        for room in (keras, scratchnet):
            with pytest.raises(ValueError):
                room.metrics.get(wrong)


SHAPES = [
    ("binary_accuracy", (6,), (6,)),
    ("binary_accuracy", (6,), (6, 1)),
    ("binary_accuracy", (6, 1), (6,)),
    ("binary_accuracy", (4, 3, 2), (4, 3, 2)),
    ("accuracy", (6, 1), (6,)),
    ("categorical_accuracy", (4, 3, 2), (4, 3, 2)),
    ("sparse_categorical_accuracy", (6, 1), (6, 3)),
    ("sparse_categorical_accuracy", (6,), (6, 1)),
    ("sparse_categorical_accuracy", (4, 3), (4, 3, 2)),
    ("sparse_categorical_accuracy", (4, 3, 1), (4, 3, 2)),
    ("top_k_categorical_accuracy", (4, 3, 7), (4, 3, 7)),
    ("sparse_top_k_categorical_accuracy", (4, 3), (4, 3, 7)),
    ("mean_squared_error", (4, 1), (4,)),
    ("mean_absolute_error", (2, 3, 4), (2, 3, 4)),
]


@pytest.mark.parametrize(("function", "y_shape", "p_shape"), SHAPES)
def test_functions_keep_kerass_shapes_and_types(function, y_shape, p_shape):
    rng = np.random.default_rng(1)
    single_for(function)
    y, p = rng.integers(0, 2, y_shape), rng.random(p_shape).astype(config.floatx())
    if function == "accuracy":
        theirs = keras.src.metrics.accuracy_metrics.accuracy(y, p.round())
        ours = metrics.accuracy(y, p.round())
    else:
        theirs = getattr(keras.metrics, function)(y, p)
        ours = getattr(metrics, function)(y, p)
    agree(theirs, ours)
    assert ours.dtype == np.asarray(theirs).dtype


def test_sorted_labels_are_looked_up_in_order():
    y, ids = np.array([1, 2, 0]), np.array([[1, 0, 2], [0, 1, 2], [2, 1, 0]])
    options = {"k": 2, "from_sorted_ids": True}
    for room in (keras, scratchnet):
        metric = room.metrics.SparseTopKCategoricalAccuracy(**options)
        agree(1 / 3, metric(y, ids))


@pytest.mark.parametrize("values", [(6,), (6, 3), (2, 3, 4), ()])
@pytest.mark.parametrize("weights", [None, (), (1,), (6,), (6, 1), (6, 3), (2,), (2, 3), (2, 1, 1)])
def test_means_and_sums_weigh_as_kerass_do(values, weights):
    rng = np.random.default_rng(2)
    numbers = rng.normal(size=values)
    given = None if weights is None else rng.random(weights)
    for kind in ("Mean", "Sum"):
        found = []
        for room in (keras, scratchnet):
            metric = getattr(room.metrics, kind)()
            try:
                metric.update_state(numbers, sample_weight=given)
                metric.update_state(numbers * 2)
                found.append(metric.result())
            except Exception as error:
                found.append(error)
        if isinstance(found[0], Exception):
            assert isinstance(found[1], ValueError), found
        else:
            agree(*found)


NAMES = (
    *("SparseCategoricalAccuracy", "CategoricalAccuracy", "BinaryAccuracy", "MeanSquaredError"),
    *("AUC", "Precision", "F1Score", "TopKCategoricalAccuracy", "SparseTopKCategoricalAccuracy"),
)


@pytest.mark.parametrize("name", NAMES)
def test_nan_counts_as_in_keras(name):
    outputs = OUTPUTS.copy()
    for row, place in enumerate(((0,), (K - 1,), (1, 2), tuple(range(K)))):
        outputs[row, place] = np.nan
    outputs[9, 2] = np.inf
    y = LABELS if name.startswith("Sparse") else ROWS
    single_for(name)
    outputs = outputs.astype(config.floatx())
    theirs, ours = made(name, {"k": 2} if "TopK" in name else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's about NaN
        agree(theirs(y, outputs), ours(y, outputs))


# --- in a model -----------------------------------------------------------------------------------

X = RNG.normal(size=(N, 3))


def pair(y_outputs=K, head="softmax", loss="sparse_categorical_crossentropy", **asked):
    """The same compiled model in both; metrics are made for each by a function of the room."""
    models = []
    for room in (keras, scratchnet):
        model = room.Sequential([room.Input((3,)), room.layers.Dense(y_outputs, head)])
        models.append(model)
    weights = [RNG.normal(size=w.shape) for w in models[0].get_weights()]
    for room, model in zip((keras, scratchnet), models, strict=True):
        model.set_weights(weights)
        groups = {key: [m(room) if callable(m) else m for m in ms] for key, ms in asked.items()}
        model.compile(room.optimizers.SGD(0.1), loss, **groups)
    return models


def histories(models, y, **settings):
    settings = {"epochs": 3, "batch_size": 16, "verbose": 0, "shuffle": False} | settings
    return [model.fit(X, y, **settings).history for model in models]


def same(theirs, ours):
    assert list(ours) == list(theirs)
    for key in theirs:
        agree(np.stack(theirs[key]), np.stack(ours[key]), 1e-11)


class Furthest:
    """The largest distance so far, in Keras's style, over each room's own base."""

    @staticmethod
    def of(room):
        ops = keras.ops if room is keras else np

        class Furthest(room.metrics.Metric):
            def __init__(self, name="furthest", **kwargs):
                super().__init__(name=name, **kwargs)
                self.largest = self.add_weight(name="largest", initializer="zeros")
                self.seen = self.add_variable((), "zeros", name="seen")

            def update_state(self, y_true, y_pred, sample_weight=None):
                distance = ops.abs(ops.max(y_pred, axis=-1) - ops.min(y_pred, axis=-1))
                if sample_weight is not None:
                    distance = distance * sample_weight
                self.largest.assign(ops.maximum(self.largest, ops.max(distance)))
                self.seen.assign_add(1.0)

            def result(self):
                # Keras would log the variable itself, as it is after validation.
                return {"largest": self.largest + 0.0, "batches": self.seen + 0.0}

        return Furthest()


def mean_of(room):
    ops = keras.ops if room is keras else np
    return lambda y_true, y_pred: ops.mean(y_pred[:, 0])  # a number a batch


def spread_of(room):
    ops = keras.ops if room is keras else np

    def spread(y_true, y_pred):
        return ops.max(y_pred, axis=-1) - ops.min(y_pred, axis=-1)

    return spread


def partial_of(room):
    ops = keras.ops if room is keras else np
    return functools.partial(lambda y_true, y_pred, k: y_pred[:, k] * ops.ones(1), k=2)


def called_of(room):
    class ShareOfFirst:
        def __call__(self, y_true, y_pred):
            return y_pred[:, 0]

    return ShareOfFirst()


ASKED = {
    "all kinds by name": {
        "metrics": ["accuracy", "sparse_categorical_crossentropy", "SparseCategoricalAccuracy"]
    },
    "functions": {"metrics": [spread_of, mean_of, partial_of, called_of]},
    "functions, weighted": {"weighted_metrics": [spread_of, partial_of]},
    "an own class": {"metrics": [Furthest.of]},
    "an own class, weighted": {"weighted_metrics": [Furthest.of, "accuracy"]},
    "both": {"metrics": [spread_of, "acc"], "weighted_metrics": [spread_of, "acc", "accuracy"]},
    "a loss as a metric": {
        "metrics": [
            lambda room: room.losses.SparseCategoricalCrossentropy(name="as_is"),
            lambda room: room.losses.sparse_categorical_crossentropy,
        ]
    },
    "a class": {"metrics": [lambda room: room.metrics.SparseCategoricalAccuracy]},
}


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize("case", ASKED)
def test_metrics_of_all_kinds_are_logged_as_in_keras(case, engine):
    config.set_engine(engine)
    weighted = "weighted_metrics" in ASKED[case]
    weights = {"sample_weight": np.linspace(0, 2, N)} if weighted else {}
    models = pair(**ASKED[case])
    same(*histories(models, LABELS, validation_split=0.25, **weights))
    theirs, ours = (
        model.evaluate(X, LABELS, 9, verbose=0, return_dict=True, **weights) for model in models
    )
    same({k: [v] for k, v in theirs.items()}, {k: [v] for k, v in ours.items()})
    theirs, ours = (model.evaluate(X, LABELS, 9, verbose=0, **weights) for model in models)
    if case != "both":  # of two metrics of one name Keras's list has the first one twice
        agree(np.array(theirs), np.array(ours), 1e-11)


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize(
    "asked",
    [
        ["sparse_categorical_accuracy"],
        ["categorical_accuracy"],
        ["accuracy", "auc", "precision", "recall", "f1_score"],
        ["binary_accuracy", "mae", "root_mean_squared_error"],
    ],
)
@pytest.mark.parametrize("loss", ["mse", "mae", "binary_crossentropy"])
@pytest.mark.filterwarnings("ignore:the loss:UserWarning")
def test_one_output_is_counted_as_in_keras(loss, asked, engine):
    """An answer of one output is always its first: right where the target is 0."""
    config.set_engine(engine)
    same(*histories(pair(1, "sigmoid", loss, metrics=asked), ONE))


@pytest.mark.parametrize("engine", ["reference", "compiled"])
def test_outputs_and_targets_of_several_columns_are_counted_as_in_keras(engine):
    config.set_engine(engine)
    asked = ["accuracy", "auc", "precision", "f1_score", "mae"]
    same(*histories(pair(K, "softmax", "categorical_crossentropy", metrics=asked), ROWS))


def test_targets_reach_a_function_in_their_shape_and_in_a_type_that_does_not_wrap():
    seen = {}

    def spy(y_true, y_pred):
        seen.update(shape=np.shape(y_true), dtype=np.asarray(y_true).dtype, values=2 * y_true - 1)
        return y_pred[:, 0]

    shapes, outputs = ((N,), (N, 1)), (("mse", 1), ("sparse_categorical_crossentropy", 2))
    kinds = (bool, np.uint8, np.int8, np.uint64, np.int64, np.float16, np.float32, np.float64)
    for (loss, units), shape, dtype in itertools.product(outputs, shapes, kinds):
        y = (LABELS > 1).reshape(shape).astype(dtype)
        model = Sequential([Input((3,)), layers.Dense(units, "sigmoid")])
        model.compile("sgd", loss, metrics=[spy], engine="reference")
        model.fit(X, y, batch_size=N, shuffle=False, verbose=0)
        assert seen["shape"] == shape  # Keras's, which makes nothing of them
        assert np.array_equal(seen["values"], 2.0 * y - 1)
        kind = {"f": "float64", "b": "bool"}.get(np.dtype(dtype).kind, "int64")
        assert seen["dtype"] == kind


def test_an_own_metric_sees_the_batches_and_nothing_else():
    class Strict(metrics.Metric):
        calls: list[int] = []  # noqa: RUF012

        def update_state(self, y_true, y_pred, sample_weight=None):
            assert len(set(np.ravel(y_true))) > 1, "both classes are needed"
            self.calls.append(len(y_true))

        def result(self):
            return float(len(self.calls))

    y = np.arange(N) % 2
    for group in ("metrics", "weighted_metrics"):
        for engine in ("reference", "compiled"):
            Strict.calls.clear()
            model = Sequential([Input((3,)), layers.Dense(2, "softmax")])
            strict = Strict(name="strict")
            model.compile("sgd", "sparse_categorical_crossentropy", engine=engine,
                          **{group: [strict]})  # fmt: skip
            history = model.fit(X, y, batch_size=16, epochs=2, verbose=0, validation_data=(X, y))
            assert Strict.calls == [16, 16, 8, 16, 16, 8] * 2
            assert history.history["strict"] == [3.0, 9.0]
            assert model.metrics[1] is strict


def test_what_has_kerass_three_methods_is_a_metric_whatever_it_is_derived_from():
    class Duck:
        """No base at all."""

        def __init__(self):
            self.resets, self.total = 0, 0.0

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.total += float(np.sum(y_pred))

        def result(self):
            return np.float32(self.total)

        def reset_state(self):
            self.resets, self.total = self.resets + 1, 0.0

    duck = Duck()
    model = Sequential([Input((3,)), layers.Dense(K, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[duck])
    history = model.fit(X, LABELS, epochs=2, verbose=0).history
    assert history["duck"] == pytest.approx([N, N])  # softmaxes add up to 1
    assert duck.resets >= 2
    theirs = keras.metrics.SparseCategoricalAccuracy(name="theirs")
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[theirs, "accuracy"])
    history = model.fit(X, LABELS, epochs=2, verbose=0).history
    assert history["theirs"] == pytest.approx(history["accuracy"])


def test_a_metric_that_keras_refuses_for_its_shapes_is_refused_before_a_weight_moves():
    cases = [
        ("binary_crossentropy", LABELS > 2, 1, "mse", ["binary_crossentropy"]),
        ("mse", ROWS, K, "mse", ["sparse_categorical_accuracy"]),
        ("sparse_categorical_crossentropy", LABELS, K, None, ["f1_score"]),
        ("sparse_categorical_crossentropy", LABELS, K, None, ["auc"]),
        ("sparse_categorical_crossentropy", LABELS, K, None, ["mae"]),
        ("sparse_categorical_crossentropy", LABELS, K, None, ["categorical_crossentropy"]),
    ]
    for loss, y, outputs, other, asked in cases:
        head = "sigmoid" if outputs == 1 else "softmax"
        theirs, ours = pair(outputs, head, other or loss, metrics=asked)
        with pytest.raises(Exception):  # noqa: B017  TensorFlow has many
            theirs.fit(X, y, verbose=0)
        before = ours.theta.copy()
        with pytest.raises(ValueError, match=repr(asked[0])):
            ours.fit(X, y, verbose=0)
        assert np.array_equal(ours.theta, before)


def test_a_losss_class_can_be_a_metric_too():
    model = pair(1, "sigmoid", "mse", metrics=[lambda room: room.losses.MeanAbsoluteError()])
    same(*histories(model, ONE))
    assert metrics.made(losses.Huber())._direction == "down"
