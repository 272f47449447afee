"""What the core promises beside its gradients: edges, names, defaults, refusals, known numbers.

A gradient check holds a backward pass against its own forward, so a function that is wrong in both
the same way passes it. Every expected value here is worked out by hand or stands in Keras's
documentation; those tests that mutation testing asked for stand here too (`tests/mutation`).
"""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from scratchnet import activations, config, layers, losses, optimizers
from scratchnet.engines import reference
from scratchnet.losses import (
    CategoricalCrossentropy,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from scratchnet.objective import Objective
from scratchnet.optimizers import SGD, Adam
from scratchnet.optimizers.options import OPTIONS

ENGINE = reference.ENGINE
EPS = 1e-7
ONE = np.ones(1)


def near(expected):
    return pytest.approx(np.asarray(expected), rel=1e-12, abs=1e-300)


# --- the engine's functions at their edges --------------------------------------------------------


def test_softmax_works_along_the_last_axis_whatever_the_others():
    Z = np.log(np.array([[[1.0, 3.0], [1.0, 1.0]], [[4.0, 1.0], [2.0, 6.0]]]))
    A = reference.softmax(Z)
    right = near(np.array([[[1, 3], [2, 2]], [[3.2, 0.8], [1, 3]]]) / 4)
    assert right == A
    # dZ = A (dA - sum dA A); with dA = (1, 0): A_0 (1 - A_0), -A_1 A_0
    dZ = reference.softmax_backward(np.array([1.0, 0.0]) + 0 * Z, Z, A)
    assert dZ[..., 0] == near(A[..., 0] * A[..., 1])
    assert dZ[..., 1] == near(-A[..., 0] * A[..., 1])


def test_targets_that_do_not_sum_to_1_keep_their_weight_in_the_gradient():
    # softmax = (1/4, 3/4), T = (1, 2): dZ = 3 (1/4, 3/4) - (1, 2) = (-1/4, 1/4)
    Z, T = np.log(np.array([[1.0, 3.0]])), np.array([[1.0, 2.0]])
    losses_, cache = reference.softmax_cross_entropy(Z, T)
    assert losses_ == near([math.log(4) + 2 * math.log(4 / 3)])
    assert reference.softmax_cross_entropy_backward(ONE, T, cache) == near([[-0.25, 0.25]])


CLIPPED = [
    # beyond [eps, 1 - eps] the loss stays where it is and nothing flows back
    ([1, 0], [1, 0], -math.log(1 - EPS), [0, 0]),
    ([0, 1], [1, 0], -math.log(EPS), [0, 0]),
    # on the edges themselves it still flows: -1 / Q + 1 for the first, 1 for the second
    ([EPS, 1 - EPS], [1, 0], -math.log(EPS), [1 - 1 / EPS, 1]),
    ([EPS, 1 - EPS], [0, 1], -math.log(1 - EPS), [1, 1 - 1 / (1 - EPS)]),
]


@pytest.mark.parametrize(
    ("P", "T", "loss", "dP"),
    [
        # Q = (1/4, 3/4), dQ = (-4, 0): dP = (dQ - sum dQ Q) / 4 = (-4 + 1, 1) / 4
        ([1, 3], [1, 0], math.log(4), [-0.75, 0.25]),
        *CLIPPED,
    ],
)
def test_normalised_cross_entropy_and_its_clipping(P, T, loss, dP):
    P, T = np.array([P], float), np.array([T], float)
    assert P.sum() in (1.0, 4.0)
    got, cache = reference.normalized_cross_entropy(P, T)
    assert got == pytest.approx([loss], rel=1e-9)
    back = reference.normalized_cross_entropy_backward(ONE, T, cache)
    assert back == pytest.approx(np.array([dP]), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("P", "T", "loss", "dP"),
    [
        # softmax(log P) = (1/4, 3/4), dF = (-3/4, 3/4), dP = dF / P
        ([0.2, 0.6], [1, 0], math.log(4), [-3.75, 1.25]),
        *CLIPPED,  # 1 becomes 1 - eps, 0 becomes eps, and they sum to 1
    ],
)
def test_clipped_cross_entropy_and_its_clipping(P, T, loss, dP):
    P, T = np.array([P], float), np.array([T], float)
    got, cache = reference.clipped_cross_entropy(P, T)
    assert got == pytest.approx([loss], rel=1e-9)
    back = reference.clipped_cross_entropy_backward(ONE, T, cache)
    assert back == pytest.approx(np.array([dP]), rel=1e-9, abs=1e-12)


def test_a_first_moment_on_the_edge_is_kept_and_one_below_it_is_not():
    tiny = 1e-30
    m, v = np.array([tiny, -tiny, tiny / 2]), np.zeros(3)
    reference.adam(np.zeros(3), m.copy(), m, v, None, 0.001, 0.5, 0.5, 1e-7)
    assert m.tolist() == [tiny, -tiny, 0]


def test_a_dense_layer_writes_where_it_is_told_and_computes_dX_on_request_only():
    X, W = np.array([[1.0, 2.0]]), np.array([[3.0], [5.0]])
    dW, db = np.full((2, 1), 9.0), np.full(1, 9.0)
    assert reference.dense(X, W, None).tolist() == [[13.0]]
    assert reference.dense(X, W, np.array([2.0])).tolist() == [[15.0]]
    dX = reference.dense_backward(np.array([[2.0]]), X, W, dW, db, True)
    assert dX.tolist() == [[6.0, 10.0]] and dW.tolist() == [[2.0], [4.0]] and db.tolist() == [2.0]
    assert reference.dense_backward(np.array([[2.0]]), X, W, dW, None, False) is None


# --- activations ----------------------------------------------------------------------------------


def test_activations_take_what_keras_takes_and_keep_a_float_dtype():
    assert activations.relu([1, -2]).dtype == "float32"
    config.set_floatx("float64")
    assert activations.relu([1, -2]).dtype == "float64"
    assert activations.relu(np.array([1 + 1j, -1 + 1j])).tolist() == [1 + 1j, 0]
    assert activations.tanh(np.zeros(1, np.float32)).dtype == "float32"
    assert activations.sigmoid.__name__ == activations.sigmoid.__qualname__ == "sigmoid"
    assert activations.sigmoid.__doc__ == reference.sigmoid.__doc__
    assert activations.get("relu") is activations.relu
    assert activations.get(None) is activations.linear
    assert activations.get(activations.tanh) is activations.tanh


@pytest.mark.parametrize("unknown", ["rleu", np.tanh, lambda x: x, config.floatx])
def test_an_unknown_activation_is_refused(unknown):
    with pytest.raises(ValueError, match="expected one of"):
        activations.name_of(unknown)


def test_a_function_that_only_shares_a_name_is_refused():
    def relu(x):
        return x

    def name_of(x):
        return x

    for stranger in (relu, name_of, activations.name_of):
        with pytest.raises(ValueError, match="write a Layer"):
            activations.name_of(stranger)


# --- layers ---------------------------------------------------------------------------------------


def test_a_bare_layer_has_no_parameters_and_asks_for_a_forward_and_a_backward():
    layer = layers.Layer(name="own")
    assert layer.parameters((3,)) == {} and layer.compute_output_shape((3,)) == (3,)
    assert layer.get_config() == {"name": "own", "trainable": True} and not layer.built
    assert layer.weights == layer.get_weights() == [] and layer.count_params() == 0
    with pytest.raises(NotImplementedError, match="Layer must define forward"):
        layer.forward(np.ones((1, 3)), {}, ENGINE)
    with pytest.raises(NotImplementedError, match="Layer must define backward"):
        layer.backward(np.ones((1, 3)), None, {}, {}, ENGINE)
    with pytest.raises(ValueError, match="'own' has no shape yet"):
        _ = layer.output_shape
    layer.input_shape = (3,)
    assert layer.built and layer.output_shape == (3,)
    assert layers.Layer().name == ""
    with pytest.raises(TypeError, match="positional"):
        layers.Layer("own")


def test_a_layer_knows_the_shape_that_it_was_given_and_refuses_strange_options():
    assert layers.Dense(2, input_dim=3).given_shape == (3,)
    assert layers.Flatten(input_shape=(2, 3)).given_shape == (2, 3)
    with pytest.raises(ValueError, match="Dense: argument='dropout'"):
        layers.Dense(2, dropout=0.5)


def test_flatten_lays_axes_end_to_end_and_gives_the_gradient_its_shape_back():
    layer, X = layers.Flatten(), np.arange(12.0).reshape(2, 2, 3)
    Z, cache = layer.forward(X, {}, ENGINE)
    assert Z.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert np.array_equal(layer.backward(Z, cache, {}, {}, ENGINE), X)
    assert layer.compute_output_shape((2, 3)) == (6,)


def test_rescaling_scales_then_shifts_with_float32_numbers():
    layer = layers.Rescaling(0.1, 0.7)
    Z, cache = layer.forward(np.array([[3.0]]), {}, ENGINE)
    tenth, shift = float(np.float32(0.1)), float(np.float32(0.7))
    assert Z.tolist() == [[3 * tenth + shift]] and tenth != 0.1 and shift != 0.7
    assert layer.backward(np.array([[2.0]]), cache, {}, {}, ENGINE).tolist() == [[2 * tenth]]
    assert layer.get_config() == {"scale": 0.1, "offset": 0.7, "name": "", "trainable": True}
    assert layers.Rescaling(2).get_config() == {
        "scale": 2.0,
        "offset": 0.0,
        "name": "",
        "trainable": True,
    }


def test_dense_has_a_kernel_and_a_bias_unless_told_otherwise():
    layer = layers.Dense(4, "tanh", name="hidden")
    assert {key: shape for key, (shape, _) in layer.parameters((3,)).items()} == {
        "kernel": (3, 4),
        "bias": (4,),
    }
    config = layer.get_config()
    initializers = {
        key: config.pop(f"{key}_initializer")["class_name"] for key in ("kernel", "bias")
    }
    assert config == {
        "units": 4,
        "activation": "tanh",
        "use_bias": True,
        "name": "hidden",
        "trainable": True,
    }
    assert initializers == {"kernel": "GlorotUniform", "bias": "Zeros"}
    bare = layers.Dense(4, use_bias=False)
    assert list(bare.parameters((3,))) == ["kernel"] and bare.activation == "linear"
    assert not bare.get_config()["use_bias"] and layer.compute_output_shape((3,)) == (4,)
    kernel, bias = (draw for _, draw in layer.parameters((3,)).values())
    assert type(kernel).__name__ == "GlorotUniform" and type(bias).__name__ == "Zeros"
    for shape in ((2, 3), ()):
        with pytest.raises(ValueError, match=rf"samples of shape {re.escape(str(shape))}.*Flatten"):
            layer.parameters(shape)
    for units in (0, -1, 2.0, True, "3"):
        with pytest.raises(ValueError, match="Dense: units"):
            layers.Dense(units)


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_hands_its_own_arrays_to_the_engine(use_bias):
    layer = layers.Dense(1, use_bias=use_bias)
    params = {"kernel": np.array([[2.0], [3.0]])} | ({"bias": np.array([7.0])} if use_bias else {})
    grads = {key: np.zeros_like(value) for key, value in params.items()}
    layer.params, layer.grads = params, grads
    X, dZ = np.array([[1.0, 1.0], [2.0, 0.0]]), np.array([[1.0], [10.0]])
    Z, cache = layer.forward(X, params, ENGINE)
    assert Z.tolist() == ([[12.0], [11.0]] if use_bias else [[5.0], [4.0]])
    dX = layer.backward(dZ, cache, params, grads, ENGINE)
    assert dX.tolist() == [[2.0, 3.0], [20.0, 30.0]]
    assert grads["kernel"].tolist() == [[21.0], [1.0]]
    assert layer.backward(dZ, cache, params, grads, ENGINE, need_dX=False) is None
    assert layer.kernel is params["kernel"] and layer.bias is params.get("bias")
    assert layer.count_params() == (3 if use_bias else 2)
    if use_bias:
        assert grads["bias"].tolist() == [11.0]
    layer.get_weights()[0][...] = 0  # a copy
    assert layer.kernel[0, 0] == 2
    layer.set_weights([np.ones((2, 1)), np.zeros(1)][: 1 + use_bias])
    assert layer.kernel.tolist() == [[1.0], [1.0]] and layer.kernel is params["kernel"]


# --- losses ---------------------------------------------------------------------------------------


def test_a_loss_is_found_by_every_name_that_keras_gives_it():
    for name in ("mse", "MSE", "mean_squared_error", "MeanSquaredError", losses.mean_squared_error):
        assert type(losses.of(name)) is MeanSquaredError
    for name in ("mse", "MSE", "mean_squared_error"):  # Keras means the function
        assert losses.get(name) is losses.mean_squared_error
    assert type(losses.get("MeanSquaredError")) is MeanSquaredError
    for kind in (SparseCategoricalCrossentropy, CategoricalCrossentropy):
        assert type(losses.of(kind.family)) is type(losses.get(kind.__name__)) is kind
        assert type(losses.get(kind)) is kind
    given = MeanSquaredError()
    assert losses.get(given) is given
    with pytest.raises(ValueError, match="expected one of"):
        losses.get("hinge")


def test_what_a_loss_says_about_itself():
    plain = {"reduction": "sum_over_batch_size", "name": "mean_squared_error"}
    assert MeanSquaredError().get_config() == plain
    assert MeanSquaredError(None, "mine").get_config() == {"reduction": None, "name": "mine"}
    sparse = SparseCategoricalCrossentropy().get_config()
    assert sparse == {
        "reduction": "sum_over_batch_size",
        "name": "sparse_categorical_crossentropy",
        "from_logits": False,
        "ignore_class": None,
    }
    dense = CategoricalCrossentropy(True, 0.25, sigmoid_head="as_logits").get_config()
    assert dense == {
        "reduction": "sum_over_batch_size",
        "name": "categorical_crossentropy",
        "from_logits": True,
        "sigmoid_head": "as_logits",
        "label_smoothing": 0.25,
        "axis": -1,
    }
    assert CategoricalCrossentropy().get_config()["label_smoothing"] == 0
    assert not CategoricalCrossentropy().get_config()["from_logits"]


def test_arguments_of_a_loss_that_are_not_built_are_refused():
    with pytest.raises(ValueError, match="reduction='median'"):
        MeanSquaredError("median")
    with pytest.raises(ValueError, match="sigmoid_head='guess'"):
        SparseCategoricalCrossentropy(sigmoid_head="guess")
    with pytest.raises(ValueError, match="axis=0"):
        SparseCategoricalCrossentropy(axis=0)([0], [[1.0, 3.0]])
    for smoothing in (-0.01, 1.01, math.nan):
        with pytest.raises(ValueError, match="label_smoothing="):
            CategoricalCrossentropy(label_smoothing=smoothing)
    for smoothing in (0, 1):
        assert CategoricalCrossentropy(label_smoothing=smoothing).label_smoothing == smoothing
    with pytest.raises(NotImplementedError):
        losses.Loss().reading("linear")


READINGS = {
    # (loss, head): what it reads, with which function of the engine
    **{("sparse", head): ("Z", "softmax_cross_entropy") for head in ("softmax", "sigmoid")},
    **{("sparse", head): ("A", "clipped_cross_entropy") for head in ("linear", "tanh")},
    ("sparse logits", "linear"): ("A", "softmax_cross_entropy"),
    ("sparse logits", "softmax"): ("Z", "softmax_cross_entropy"),
    ("sparse probabilities", "sigmoid"): ("A", "normalized_cross_entropy"),
    ("sparse as_logits", "sigmoid"): ("A", "softmax_cross_entropy"),
    ("dense", "softmax"): ("Z", "softmax_cross_entropy"),
    ("dense", "linear"): ("A", "normalized_cross_entropy"),
    ("dense logits", "relu"): ("A", "softmax_cross_entropy"),
    ("dense probabilities", "sigmoid"): ("A", "normalized_cross_entropy"),
    ("mse", "softmax"): ("A", "mean_squared_error"),
}


@pytest.mark.parametrize(("given", "reads"), READINGS.items(), ids=" ".join)
def test_which_loss_reads_what_of_which_head(given, reads):
    loss, head = given
    kinds = {
        "sparse": SparseCategoricalCrossentropy(),
        "sparse logits": SparseCategoricalCrossentropy(from_logits=True),
        "sparse probabilities": SparseCategoricalCrossentropy(sigmoid_head="probabilities"),
        "sparse as_logits": SparseCategoricalCrossentropy(sigmoid_head="as_logits"),
        "dense": CategoricalCrossentropy(),
        "dense logits": CategoricalCrossentropy(from_logits=True),
        "dense probabilities": CategoricalCrossentropy(sigmoid_head="probabilities"),
        "mse": MeanSquaredError(),
    }
    objective = Objective(kinds[loss], head)
    assert (objective.reads, objective.function) == reads
    assert objective.kernel is ENGINE.losses[reads[1]]
    assert objective.head is ENGINE.activations[head]


def test_targets_are_one_hot_or_smoothed():
    sparse, y = SparseCategoricalCrossentropy(), np.array([2, 0])
    T = sparse.targets(y, 3, np.dtype("float32"))
    assert T.tolist() == [[0, 0, 1], [1, 0, 0]] and T.dtype == "float32"
    smooth = CategoricalCrossentropy(label_smoothing=0.4)
    # (1 - 0.4) T + 0.4 / 4
    T = smooth.targets(np.array([[0.0, 0, 1, 0]]), 4, np.dtype("float64"))
    assert near([[0.1, 0.1, 0.7, 0.1]]) == T
    whole = CategoricalCrossentropy().targets(np.array([[0, 1]]), 2, np.dtype("float64"))
    assert whole.tolist() == [[0, 1]] and whole.dtype == "float64"
    column = MeanSquaredError().targets(np.array([[1], [2]]), 1, np.dtype("float64"))
    assert column.tolist() == [[1], [2]]


def test_losses_of_arrays_keep_a_float_dtype_and_take_integers_as_floats():
    for given in ([[1, 3]], np.array([[1.0, 3.0]])):  # in floatx, unless told otherwise
        for dtype, wanted in ((None, "float32"), ("float64", "float64")):
            loss = MeanSquaredError(dtype=dtype)([[0.0, 0.0]], given)
            assert loss == 5 and loss.dtype == wanted
    assert losses.mean_squared_error([[0.0]], np.array([[1.0]])).dtype == "float64"
    assert MeanSquaredError()([[0.0]], [[True]]) == 1
    half = MeanSquaredError("none")([[0.0], [0.0]], [[1.0], [2.0]], [0.5, 2])
    assert half.tolist() == [0.5, 8.0]


def test_the_functions_give_one_number_a_sample():
    p = np.array([[0.25, 0.75], [0.5, 0.5]])
    each = losses.sparse_categorical_crossentropy([0, 1], p)
    assert each == near([math.log(4), math.log(2)])
    assert losses.categorical_crossentropy([[1, 0], [0, 1]], p) == near(each)
    assert losses.mean_squared_error([[1, 0], [0, 1]], p) == near([0.5625, 0.25])
    logits = losses.sparse_categorical_crossentropy([1], np.log([[1.0, 3.0]]), from_logits=True)
    assert logits == near([math.log(4 / 3)])


@pytest.mark.parametrize(
    ("reduction", "weights", "expected"),
    [
        ("sum_over_batch_size", None, [0.5, 0.5]),
        ("mean", [3.0, 1.0], [1.5, 0.5]),
        ("mean_with_sample_weight", None, [0.5, 0.5]),
        ("mean_with_sample_weight", [3.0, 1.0], [0.75, 0.25]),
        ("mean_with_sample_weight", [0.0, 0.0], [0, 0]),
        ("mean_with_sample_weight", [-3.0, 1.0], [1.5, -0.5]),
        ("sum", None, [1, 1]),
        ("sum", [3.0, 1.0], [3, 1]),
        ("none", None, [1, 1]),
    ],
)
def test_what_each_sample_counts(reduction, weights, expected):
    objective = Objective(MeanSquaredError(reduction), "linear")
    weights = None if weights is None else np.array(weights)
    Z, y = np.array([[2.0], [4.0]]), np.zeros((2, 1))
    assert objective.share(weights, np.array([4.0, 16.0])).tolist() == expected
    value, dZ = objective.value_and_gradient(Z, Z, y, weights)
    assert value == objective.value(Z, Z, y, weights) == 4 * expected[0] + 16 * expected[1]
    assert dZ.ravel().tolist() == [4 * expected[0], 8 * expected[1]]  # 2 (a - t) share


def test_a_gradient_goes_through_the_head_only_if_the_loss_read_its_outputs():
    Z, y = np.array([[0.0, math.log(3)]]), np.array([1])
    A = reference.sigmoid(Z)
    behind = Objective(SparseCategoricalCrossentropy(), "sigmoid")
    assert behind.value_and_gradient(Z, A, y, None)[1] == near([[0.25, -0.25]])
    through = Objective(MeanSquaredError(), "sigmoid")
    # 2 (a - t) / 2 times a (1 - a), with a = (1/2, 3/4)
    _, dZ = through.value_and_gradient(Z, A, np.array([[0.0, 0.0]]), None)
    assert dZ == near([[0.5 * 0.25, 0.75 * 0.1875]])


# --- optimizers -----------------------------------------------------------------------------------


def test_what_an_optimizer_says_about_itself():
    others = {name: default for name, (default, _) in OPTIONS.items()}
    assert SGD().get_config() == others | {
        "learning_rate": 0.01,
        "name": "sgd",
        "momentum": 0.0,
        "nesterov": False,
    }
    assert Adam(name="mine").get_config() == others | {
        "learning_rate": 0.001,
        "name": "mine",
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
        "amsgrad": False,
    }
    assert SGD().slot_names() == () and SGD(momentum=0.5).slot_names() == ("momentum",)
    assert Adam().slot_names() == ("momentum", "velocity")
    assert Adam(amsgrad=True).slot_names() == ("momentum", "velocity", "velocity_hat")
    assert SGD(momentum=0.9, nesterov=True).constants() == {
        "momentum": 0.8999999761581421,
        "nesterov": True,
    }
    assert Adam(beta_1=0.25, beta_2=0.125, epsilon=1e-3).constants() == {
        "one_minus_beta_1": 0.75,
        "one_minus_beta_2": 0.875,
        "epsilon": 1e-3,
        "amsgrad": False,
    }


def test_every_rule_of_the_engine_has_an_optimizer():
    assert {kind.rule for kind in optimizers.OPTIMIZERS.values()} == set(ENGINE.optimizers)


def test_an_optimizer_is_found_by_its_names():
    for name, kind in (("sgd", SGD), ("SGD", SGD), ("adam", Adam), ("Adam", Adam)):
        assert type(optimizers.get(name)) is kind
    given = SGD()
    assert optimizers.get(given) is given
    with pytest.raises(ValueError, match="Did you mean 'adam'"):
        optimizers.get("adamm")


@pytest.mark.parametrize("rate", [-1e-9, math.nan, math.inf, "0.1", None, [0.1]])
def test_a_learning_rate_is_a_finite_number_from_0(rate):
    with pytest.raises(ValueError, match="learning_rate="):
        SGD(rate)
    optimizer = SGD(0.5)
    with pytest.raises(ValueError, match="LearningRateScheduler"):
        optimizer.learning_rate = rate
    assert optimizer.learning_rate == 0.5
    for sound in (0, 0.0, 1, np.float32(0.5)):
        optimizer.learning_rate = sound
        assert optimizer.learning_rate == sound and type(optimizer.learning_rate) is float


def test_arguments_of_optimizers_have_their_ranges():
    for momentum in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="SGD: momentum="):
            SGD(momentum=momentum)
    assert SGD(momentum=0).momentum == 0 and SGD(momentum=1).momentum == 1
    for name in ("beta_1", "beta_2"):
        for beta in (-0.1, 1.0, 1.1, math.nan):
            with pytest.raises(ValueError, match=f"Adam: {name}="):
                Adam(**{name: beta})
        assert getattr(Adam(**{name: 0}), name) == 0
    for epsilon in (0, -1e-7, math.nan):
        with pytest.raises(ValueError, match="Adam: epsilon="):
            Adam(epsilon=epsilon)
    assert Adam(epsilon=1).epsilon == 1


def test_keras_other_arguments_are_taken_or_said_to_be_wrong():
    usual = {
        "weight_decay": None,
        "clipnorm": None,
        "clipvalue": None,
        "global_clipnorm": None,
        "use_ema": False,
        "ema_momentum": 0.99,
        "ema_overwrite_frequency": None,
        "loss_scale_factor": None,
        "gradient_accumulation_steps": None,
    }
    Adam(**usual)
    wrong = {"weight_decay": "0.1", "clipnorm": [1], "clipvalue": math.nan, "ema_momentum": 1.5}
    wrong |= {"ema_overwrite_frequency": 0.5, "gradient_accumulation_steps": 2}
    for argument, value in wrong.items():
        with pytest.raises(ValueError, match=f"SGD: {argument}="):
            SGD(**{argument: value})
    with pytest.raises(ValueError, match="Did you mean 'clipnorm'"):
        SGD(clipnrom=1.0)


def test_slots_are_made_once_for_one_vector():
    adam, theta = Adam(), np.zeros(3)
    adam.build(theta)
    slots = dict(adam.slots)
    assert set(slots) == {"momentum", "velocity"}
    assert all(slot.shape == (3,) and slot.dtype == "float64" for slot in slots.values())
    slots["momentum"][0] = 1
    adam.build(np.ones(3))
    assert adam.slots["momentum"] is slots["momentum"] and adam.slots["momentum"][0] == 1
    for other in (np.zeros(4), np.zeros(2), np.zeros(3, np.float32)):
        with pytest.raises(ValueError, match=r"slots for 3 parameters.*new optimizer"):
            adam.build(other)
    single = Adam()
    single.build(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="has 3 of float64"):
        single.build(np.zeros(3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_that_changes_from_step_to_step(dtype):
    dtype = np.dtype(dtype)
    rates = SGD(0.5).scalars(3, 2, dtype)
    assert rates.tolist() == [0.5, 0.5] and rates.dtype == dtype
    # lr sqrt(1 - b2^t) / (1 - b1^t) for t = 2 and 3, betas 1/2 and 3/4
    alphas = Adam(0.25, 0.5, 0.75).scalars(2, 2, dtype)
    expected = [0.25 * math.sqrt(7 / 16) / 0.75, 0.25 * math.sqrt(37 / 64) / 0.875]
    assert alphas == pytest.approx(expected, rel=4 * float(np.finfo(dtype).eps))
    assert alphas.dtype == dtype


def test_powers_of_beta_start_from_float32_numbers():
    (alpha,) = Adam(1.0).scalars(1, 1, np.dtype("float64"))
    b1, b2 = 0.8999999761581421, 0.9990000128746033
    assert alpha == near(math.sqrt(1 - b2) / (1 - b1))
    assert abs(alpha - math.sqrt(0.001) / 0.1) > 1e-7


def test_steps_are_counted_and_move_with_the_arguments():
    theta = np.array([1.0])
    adam = Adam(0.5, 0.5, 0.75, 1.0)
    adam.step(ENGINE, theta, np.array([2.0]))
    # m = 1, v = 1, alpha = 0.5 sqrt(1/4) / (1/2) = 0.5: 1 - 0.5 * 1 / (1 + 1)
    assert theta[0] == near(0.75) and adam.iterations == 1
    sgd, theta = SGD(0.5, momentum=0.5), np.array([1.0])
    for expected in (0.0, -1.5):
        sgd.step(ENGINE, theta, np.array([2.0]))
        assert theta[0] == expected
    assert sgd.iterations == 2 and sgd.slots["momentum"].tolist() == [-1.5]


def test_an_optimizer_of_ones_own_has_to_define_its_parts():
    bare = optimizers.Optimizer(0.1)
    for call in (bare.slot_names, bare.constants, lambda: bare.update(ENGINE, ONE, ONE, 0.1)):
        with pytest.raises(NotImplementedError):
            call()
    others = {name: default for name, (default, _) in OPTIONS.items()}
    assert bare.get_config() == others | {"learning_rate": 0.1, "name": "optimizer"}
