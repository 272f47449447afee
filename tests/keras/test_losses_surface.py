"""Losses on arrays and within models, beside live Keras: values, shapes, weights, masks, errors."""

from __future__ import annotations

import itertools
import warnings

import keras
import numpy as np
import pytest

import scratchnet
from scratchnet import config, losses

RNG = np.random.default_rng(3)
N, K = 14, 4
LABELS = RNG.integers(0, K, N)
ROWS = np.eye(K)[LABELS]
TARGETS = RNG.integers(0, 2, (N, K)).astype(float)
SOFT = RNG.random((N, K))
LOGITS = RNG.normal(size=(N, K)) * 5
PROBABILITIES = RNG.random((N, K))

pytestmark = pytest.mark.usefixtures("float64_in_both")


def both(name, *arguments, **options):
    """What Keras and what ours gives: a value, or the class of an error."""
    found = []
    for room in (keras, scratchnet):
        try:
            loss = getattr(room.losses, name)(**options)
            found.append(np.asarray(loss(*arguments)))
        except Exception as error:
            found.append(error)
    return found


def agree(theirs, ours, bound=1e-12):
    assert not isinstance(theirs, Exception), theirs
    assert not isinstance(ours, Exception), ours
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    assert np.allclose(ours, theirs, rtol=bound, atol=bound, equal_nan=True)


CASES = {
    "sparse": ("SparseCategoricalCrossentropy", LABELS, PROBABILITIES, {}),
    "sparse, logits": ("SparseCategoricalCrossentropy", LABELS, LOGITS, {"from_logits": True}),
    "sparse, ignoring a class": (
        "SparseCategoricalCrossentropy", LABELS, LOGITS, {"from_logits": True, "ignore_class": 2},
    ),
    "sparse, ignoring -1": (
        "SparseCategoricalCrossentropy",
        np.where(np.arange(N) % 3, LABELS, -1), PROBABILITIES, {"ignore_class": -1},
    ),
    "sparse, ignoring all": (
        "SparseCategoricalCrossentropy", np.full(N, 255), PROBABILITIES, {"ignore_class": 255},
    ),
    "categorical": ("CategoricalCrossentropy", ROWS, PROBABILITIES, {}),
    "categorical, smoothed": ("CategoricalCrossentropy", ROWS, LOGITS,
                              {"from_logits": True, "label_smoothing": 0.3}),
    "categorical, over samples": ("CategoricalCrossentropy", SOFT, PROBABILITIES, {"axis": 0}),
    "binary": ("BinaryCrossentropy", TARGETS, PROBABILITIES, {}),
    "binary, logits": ("BinaryCrossentropy", TARGETS, LOGITS, {"from_logits": True}),
    "binary, clipped": ("BinaryCrossentropy", TARGETS, LOGITS, {}),
    "binary, smoothed": ("BinaryCrossentropy", TARGETS, PROBABILITIES, {"label_smoothing": 0.1}),
    "binary, over samples": ("BinaryCrossentropy", SOFT, PROBABILITIES, {"axis": 0}),
    "squares": ("MeanSquaredError", SOFT, LOGITS, {}),
    "distances": ("MeanAbsoluteError", SOFT, LOGITS, {}),
    "huber": ("Huber", SOFT, LOGITS, {}),
    "huber, narrow": ("Huber", SOFT, LOGITS, {"delta": 0.3}),
    "divergence": ("KLDivergence", SOFT, PROBABILITIES, {}),
    "divergence, clipped": ("KLDivergence", ROWS, LOGITS, {}),
}  # fmt: skip
REDUCTIONS = [*losses.REDUCTIONS, None]
WEIGHTS = {
    "none": lambda n: None,
    "a number": lambda n: 2.3,
    "one a sample": lambda n: np.linspace(0, 3, n),
    "a column": lambda n: np.linspace(1, 3, n)[:, None],
    "a list": lambda n: list(range(n)),
    "one number in a list": lambda n: [0.25],
    "zeros": np.zeros,
    "booleans": lambda n: np.arange(n) % 2 == 0,
    "negative": lambda n: np.linspace(-1, 2, n),
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("case", CASES)
def test_every_weight_and_reduction_gives_keras_number(case, weights):
    name, y, outputs, options = CASES[case]
    n = K if options.get("axis") == 0 else N
    for reduction in REDUCTIONS:
        theirs, ours = both(name, y, outputs, WEIGHTS[weights](n), reduction=reduction, **options)
        agree(theirs, ours)


def test_kerass_golden_number_for_a_scalar_weight():
    p = np.array([[0.9, 0.05, 0.05], [0.5, 0.89, 0.6], [0.05, 0.01, 0.94]])
    for name, y in (("Sparse", [[0], [1], [2]]), ("", np.eye(3))):
        theirs, ours = both(f"{name}CategoricalCrossentropy", np.array(y), p, 2.3)
        agree(theirs, ours)
        assert ours == pytest.approx(0.7449, abs=5e-4)


SHAPES = {
    # targets, outputs, weights
    "a vector for a column": ((5,), (5, 1), None),
    "a column for a vector": ((5, 1), (5,), None),
    "vectors": ((5,), (5,), None),
    "numbers": ((), (), None),
    "three axes": ((2, 3, 4), (2, 3, 4), None),
    "three axes, one weight a sample": ((2, 3, 4), (2, 3, 4), (2,)),
    "three axes, one weight a vector": ((2, 3, 4), (2, 3, 4), (2, 3)),
    "three axes, a column of weights": ((2, 3, 4), (2, 3, 4), (2, 1)),
    "a last axis of one": ((2, 3, 1), (2, 3), None),
    "a row for all": ((4,), (3, 4), None),
    "a number for all": ((1,), (3, 4), None),
    "labels for vectors": ((3,), (3, 3, 4), None),
    "two axes too few": ((3,), (3, 2, 4), None),
    "other columns": ((3, 2), (3, 4), None),
    "other samples": ((2, 4), (3, 4), None),
    "too many weights": ((3, 4), (3, 4), (5,)),
    "nothing": ((0, 4), (0, 4), None),
}


def of_shapes(shapes, sparse):
    """Targets or labels, outputs, and weights or None."""
    sizes = SHAPES[shapes]
    rng = np.random.default_rng(0)
    y, outputs = rng.random(sizes[0]), rng.random(sizes[1])
    if sparse:
        y = np.zeros(sizes[0][:-1] if sizes[0] == sizes[1] else sizes[0])
    return y, outputs, None if sizes[2] is None else rng.random(sizes[2])


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("name", [*losses.CLASSES])
def test_arrays_of_any_shape_give_keras_number_or_are_refused_as_there(name, shapes):
    theirs, ours = both(name, *of_shapes(shapes, name.startswith("Sparse")))
    if isinstance(theirs, Exception):
        assert isinstance(ours, ValueError), (theirs, ours)
    else:
        agree(theirs, ours)


@pytest.mark.parametrize("function", [f.__name__ for f in losses.FUNCTIONS])
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_functions_of_arrays_are_kerass(function, shapes):
    y, outputs, _ = of_shapes(shapes, function.startswith("sparse"))
    found = []
    for room in (keras, scratchnet):
        try:
            found.append(np.asarray(getattr(room.losses, function)(y, outputs)))
        except Exception as error:
            found.append(error)
    theirs, ours = found
    if isinstance(theirs, Exception):
        assert isinstance(ours, ValueError), (theirs, ours)
    else:
        agree(theirs, ours)


@pytest.mark.parametrize("name", losses.CLASSES)
def test_nan_is_passed_on_where_keras_passes_it_on(name):
    for place, value in itertools.product(((0, 0), (2, 3)), (np.nan, np.inf, -np.inf)):
        outputs = PROBABILITIES.copy()
        outputs[place] = value
        y = LABELS if name.startswith("Sparse") else ROWS
        options = [{}, {"from_logits": True}] if "entropy" in name else [{}]
        if y is LABELS and value == -np.inf:
            options.pop()  # 0 times it is NaN here, and Keras looks at the label's logit alone
        for option in options:
            theirs, ours = both(name, y, outputs, reduction=None, **option)
            assert np.array_equal(np.isnan(ours), np.isnan(theirs)), (option, value)
            finite = np.isfinite(theirs)
            assert np.allclose(ours[finite], theirs[finite], rtol=1e-12)


@pytest.mark.parametrize("name", losses.CLASSES)
def test_a_loss_computes_in_floatx_or_the_dtype_it_was_given(name):
    y = LABELS if name.startswith("Sparse") else ROWS
    for floatx, dtype in itertools.product(("float32", "float64"), (None, "float32", "float64")):
        config.set_floatx(floatx)
        keras.config.set_floatx(floatx)
        theirs, ours = both(name, y, PROBABILITIES, dtype=dtype)
        assert ours.dtype == theirs.dtype == (dtype or floatx)
        assert ours == pytest.approx(theirs, rel=1e-6)


def test_names_configs_and_ways_to_name_a_loss_are_kerass():
    for name in losses.NAMES:
        ours, theirs = losses.get(name), keras.losses.get(name)
        assert isinstance(ours, losses.Loss) == isinstance(theirs, keras.losses.Loss)
        assert getattr(ours, "__name__", None) == getattr(theirs, "__name__", None)
    for name, kind in losses.CLASSES.items():
        ours, theirs = kind(), getattr(keras.losses, name)()
        assert ours.name == theirs.name
        assert ours.get_config() == theirs.get_config()
        assert kind.from_config(ours.get_config()).get_config() == ours.get_config()
        assert losses.get(kind).get_config() == ours.get_config()
        assert losses.serialize(ours) == keras.losses.serialize(theirs)
        assert losses.deserialize(losses.serialize(ours)).get_config() == ours.get_config()
    for function in losses.FUNCTIONS:
        theirs = keras.losses.serialize(getattr(keras.losses, function.__name__))
        assert losses.serialize(function) == theirs
        assert losses.deserialize(losses.serialize(function)) is function
    assert losses.get(None) is keras.losses.get(None) is None
    for wrong in ("mses", 3, {}, {"class_name": "Nope", "config": {}}, [1]):
        for room in (keras.losses, losses):
            with pytest.raises(ValueError):
                room.get(wrong)


def test_an_own_loss_by_kerass_protocol_gives_kerass_number():
    def made(room):
        class Cubes(room.losses.Loss):
            def call(self, y_true, y_pred):
                return (
                    ((y_pred - y_true) ** 2 * abs(y_pred - y_true)).mean(axis=-1)
                    if (room is scratchnet)
                    else keras.ops.mean(keras.ops.abs(y_pred - y_true) ** 3, axis=-1)
                )

        return Cubes

    for reduction, weights in itertools.product(REDUCTIONS, (None, np.linspace(0, 2, N))):
        theirs, ours = (
            np.asarray(made(room)(reduction=reduction)(SOFT, LOGITS, weights))
            for room in (keras, scratchnet)
        )
        agree(theirs, ours)
    assert made(scratchnet)().name == "cubes"


# --- within a model -------------------------------------------------------------------------------

X = RNG.normal(size=(N, 5))
HEADS = ("linear", "relu", "sigmoid", "softmax", "tanh")
TRAINED = {
    "ignoring -1": ("SparseCategoricalCrossentropy", CASES["sparse, ignoring -1"][1],
                    {"ignore_class": -1}),
    "ignoring -1, logits": ("SparseCategoricalCrossentropy", CASES["sparse, ignoring -1"][1],
                            {"ignore_class": -1, "from_logits": True}),
    "ignoring -1, by weight": ("SparseCategoricalCrossentropy", CASES["sparse, ignoring -1"][1],
                               {"ignore_class": -1, "reduction": "mean_with_sample_weight"}),
    "binary": ("BinaryCrossentropy", TARGETS, {}),
    "binary, logits, smoothed": ("BinaryCrossentropy", TARGETS,
                                 {"from_logits": True, "label_smoothing": 0.2}),
    "binary, summed": ("BinaryCrossentropy", TARGETS, {"reduction": "sum"}),
    "distances": ("MeanAbsoluteError", SOFT, {}),
    "huber": ("Huber", SOFT * 3, {"delta": 0.7}),
    "divergence": ("KLDivergence", SOFT, {}),
}  # fmt: skip


def pair(name, options, head, outputs=K, **asked):
    """The same model in both, from the same weights."""
    found = []
    for room in (scratchnet, keras):
        first = room.layers.Dense(6, "tanh")
        model = room.Sequential([room.Input((5,)), first, room.layers.Dense(outputs, head)])
        found.append(model)
    model, copy = found
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=w.shape) / 2 for w in copy.get_weights()]
    model.set_weights(weights)
    copy.set_weights(weights)
    for room, each in zip((scratchnet, keras), found, strict=True):
        loss = getattr(room.losses, name)(**options)
        each.compile(room.optimizers.Adam(0.02), loss, **asked)
    return model, copy


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("case", TRAINED)
def test_a_model_trains_on_every_head_as_in_keras(case, head, engine):
    config.set_engine(engine)
    name, y, options = TRAINED[case]
    model, copy = pair(name, options, head)
    weights = np.linspace(0.1, 2, N)
    settings = {"epochs": 5, "batch_size": 5, "shuffle": False, "verbose": 0}
    for given in ({}, {"sample_weight": weights}):
        theirs = copy.fit(X, y, **settings, **given).history
        ours = model.fit(X, y, **settings, **given).history
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert np.allclose(ours[key], theirs[key], rtol=1e-10, atol=1e-12), key
    for mine, his in zip(model.get_weights(), copy.get_weights(), strict=True):
        assert np.allclose(mine, his, rtol=1e-9, atol=1e-11)
    ours = model.evaluate(X, y, 4, sample_weight=weights, verbose=0)
    theirs = copy.evaluate(X, y, 4, sample_weight=weights, verbose=0)
    assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.filterwarnings("ignore:the loss:UserWarning")
@pytest.mark.parametrize("spelling", ["binary_crossentropy", "bce", "BCE", "BinaryCrossentropy"])
@pytest.mark.parametrize("shape", [(N,), (N, 1)])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_one_output_and_binary_cross_entropy_is_what_a_beginner_writes(spelling, shape, dtype):
    y = (LABELS > 1).reshape(shape).astype(dtype)
    model, copy = pair("BinaryCrossentropy", {}, "sigmoid", 1)
    for each in (model, copy):
        each.compile("adam", spelling, metrics=["accuracy"])
    settings = {"epochs": 4, "batch_size": 4, "shuffle": False, "verbose": 0}
    theirs, ours = (each.fit(X, y, **settings).history for each in (copy, model))
    for key in theirs:
        assert np.allclose(ours[key], theirs[key], rtol=1e-10, atol=1e-12), key


def test_a_loss_that_the_compiled_engine_does_not_know_is_said_once_and_trained():
    config.set_engine("compiled")
    model, _ = pair("Huber", {}, "linear")
    with pytest.warns(UserWarning, match="'huber_loss' is not known to the compiled engine"):
        model.fit(X, SOFT, verbose=0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, SOFT, verbose=0)
        model.evaluate(X, SOFT, verbose=0)
    assert model.engine.name == "reference"


@pytest.mark.filterwarnings("ignore:You are using a softmax")
def test_with_one_output_a_categorical_loss_is_warned_about_as_in_keras():
    for room in (keras, scratchnet):
        model = room.Sequential([room.Input((5,)), room.layers.Dense(1, "softmax")])
        model.compile("sgd", "categorical_crossentropy")
        with pytest.warns(SyntaxWarning, match="binary_crossentropy"):
            model.fit(X, np.ones((N, 1)), verbose=0)
