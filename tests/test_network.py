"""The network itself, without Keras's surface: how it is built, what it owns, what a step does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from scratchnet import config, initializers, layers
from scratchnet.checks import Examples
from scratchnet.engines import reference
from scratchnet.layers import Input
from scratchnet.losses import MeanSquaredError
from scratchnet.model import Network
from scratchnet.objective import Objective
from scratchnet.optimizers import SGD

X, Y = np.array([[1.0, 2.0], [2.0, -1.0]]), np.array([[10.0], [4.0]])


@pytest.fixture
def network():
    """Two inputs, two ReLUs, one output; W1 = ((1, -1), (2, 1)), b1 = (0, 1), W2 = (3, -2)."""
    config.set_floatx("float64")
    stack = [Input((2,)), layers.Dense(2, "relu"), layers.Dense(1)]
    network = Network(stack, seed=0)
    network.theta[:] = [1, -1, 2, 1, 0, 1, 3, -2, 0.5]
    network.objective, network.optimizer = Objective(MeanSquaredError(), "linear"), SGD(0.5)
    return network


def test_one_vector_holds_everything_in_order(network):
    assert network.theta.shape == network.grad.shape == (9,)
    assert network.theta.dtype == network.grad.dtype == "float64"
    assert [{k: v.tolist() for k, v in own.items()} for own in network.params] == [
        {"kernel": [[1, -1], [2, 1]], "bias": [0, 1]},
        {"kernel": [[3], [-2]], "bias": [0.5]},
    ]
    network.weights[0][0, 1] = 7
    assert network.theta[1] == 7
    network.grads[1]["bias"][0] = 5
    assert network.grad.tolist() == [0] * 8 + [5]
    views = network.views(np.arange(9) * 1j)
    assert views[1]["kernel"].tolist() == [[6j], [7j]] and views[1]["bias"].tolist() == [8j]


def test_a_step_by_hand(network):
    # Worked out in test_by_hand.py: the same net and batch.
    network.theta[6:] = [3, -2, 0.5]
    loss, outputs = network.train_step(Examples(X, Y, None))
    assert loss == 7.25 and outputs.tolist() == [[11.5], [0.5]]
    assert network.grad.tolist() == [4.5, -3, 9, -6, 4.5, -3, 7.5, 3, -2]
    assert network.theta.tolist() == [-1.25, 0.5, -2.5, 4, -2.25, 2.5, -0.75, -3.5, 1.5]
    assert network.optimizer.iterations == 1


def test_the_loss_is_a_pure_function_of_a_vector_of_any_dtype(network):
    network.engine = None  # it has one of its own
    before = network.theta.copy()
    batch = Examples(X.astype(np.float32), Y, None)
    assert network.loss_of(network.theta, batch) == 7.25
    for k, slope in enumerate([4.5, -3, 9, -6, 4.5, -3, 7.5, 3, -2]):
        step = np.zeros(9, complex)
        step[k] = 1e-20j
        assert network.loss_of(network.theta + step, batch).imag / 1e-20 == pytest.approx(slope)
    assert network.loss_of(network.theta.astype(np.float32), batch).dtype == "float32"
    assert np.array_equal(network.theta, before) and not network.grad.any()
    assert network.loss_of(network.theta, Examples(X, Y, np.array([4.0, 0.0]))) == 4.5


def test_forward_keeps_what_the_way_back_needs(network):
    first, second = network.run(X.astype(np.float32))
    assert first.Z.tolist() == [[5, 2], [0, -2]] and first.A.tolist() == [[5, 2], [0, 0]]
    assert first.Z.dtype == second.A.dtype == "float64"
    assert np.array_equal(first.cache, X) and second.cache is first.A
    assert second.Z.tolist() == second.A.tolist() == [[11.5], [0.5]]


class Recorder(layers.Flatten):
    """Notes whether it was asked back, and whether for a dX."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def backward(self, dZ, cache, params, grads, engine, need_dX=True):
        self.asked.append(need_dX)
        return super().backward(dZ, cache, params, grads, engine, need_dX)


def test_backward_stops_where_nothing_learns():
    config.set_floatx("float64")
    below, between = Recorder(), Recorder()
    stack = [Input((2,)), below, layers.Dense(2), between, layers.Dense(1)]
    network = Network(stack, seed=0)
    asked = []

    def backward(*arguments):
        asked.append(arguments[-1])
        return reference.dense_backward(*arguments)

    network.engine = replace(reference.ENGINE, dense_backward=backward)
    network.objective = Objective(MeanSquaredError(), "linear")
    network.gradient(Examples(X, Y, None))
    assert below.asked == [] and between.asked == [True] and asked == [True, False]
    bare = Network([Input((2,)), layers.Flatten()])
    bare.objective = Objective(MeanSquaredError(), "linear")
    assert bare.gradient(Examples(X, X, None))[0] == 0 and bare.theta.size == 0


class Eager(layers.Dense):
    """Computes a dX even for a layer that has nothing below."""

    def backward(self, dZ, cache, params, grads, engine, need_dX=True):
        return super().backward(dZ, cache, params, grads, engine, need_dX=True)


def test_a_dX_that_nobody_asked_for_is_left_alone(network):
    config.set_floatx("float64")
    eager = Network([Input((2,)), Eager(2, "relu"), layers.Dense(1)])
    eager.theta[:] = network.theta
    eager.objective = network.objective
    assert eager.gradient(Examples(X, Y, None))[0] == network.gradient(Examples(X, Y, None))[0]
    assert np.array_equal(eager.grad, network.grad)


def test_each_layer_is_built_on_the_shape_of_the_one_below():
    network = Network([Input((2, 3)), layers.Flatten(), layers.Dense(4), layers.Flatten()])
    network.add(layers.Dense(5))
    assert [layer.input_shape for layer in network.layers] == [(2, 3), (6,), (4,), (4,)]
    assert network.layers[-1].kernel.shape == (4, 5)


def test_parameters_of_another_network_are_refused(network):
    with pytest.raises(ValueError, match="zip"):
        network.forward(X, network.params[:1], reference.ENGINE)


def test_layers_get_names_by_their_kind_and_place():
    network = Network([Input((2,)), layers.Dense(2), layers.Flatten(), layers.Dense(2)])
    network.add(layers.Dense(1, name="head"))
    network.add(layers.Dense(1))
    assert [layer.name for layer in network.layers] == [
        "dense",
        "flatten",
        "dense_1",
        "head",
        "dense_2",
    ]


def test_what_grows_keeps_its_values(network):
    before = network.theta.copy()
    network.add(layers.Dense(3))
    assert network.theta.size == network.grad.size == 9 + 2 * 3
    assert np.array_equal(network.theta[:9], before)
    assert network.weights[2].base is network.theta.base
    assert network.layers[0].kernel.tolist() == [[1, -1], [2, 1]]
    assert [layer.input_shape for layer in network.layers] == [(2,), (2,), (1,)]


def test_a_model_without_an_input_is_built_when_it_has_a_shape():
    open_ended = Network([layers.Dense(2)])
    assert (
        not open_ended.built and open_ended.theta.size == 0 and open_ended.theta.dtype == "float32"
    )
    assert not Network().built and Network([Input((2,))]).layers == []
    given = Network([layers.Dense(2, input_shape=(3,)), layers.Dense(1)])
    assert given.built and given.theta.size == 3 * 2 + 2 + 2 + 1


def test_what_can_not_be_added_is_refused():
    network = Network([Input((2,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="an Input is the first thing"):
        network.add(Input((2,)))
    with pytest.raises(ValueError, match="an Input is the first thing"):
        Network([layers.Dense(2), Input((2,))])
    with pytest.raises(ValueError, match="an Input is the first thing"):
        Network([Input((2,)), Input((2,))])
    with pytest.raises(ValueError, match=r"expected a layer, such as Dense\(10\)"):
        network.add("dense")
    with pytest.raises(ValueError, match="'dense' is in a model already"):
        network.add(network.layers[0])
    with pytest.raises(ValueError, match="'dense' is in a model already"):
        network.add(layers.Dense(3, name="dense"))
    assert len(network.layers) == 1 and network.theta.size == 6


def test_one_seed_is_one_network():
    make = [Network([Input((3,)), layers.Dense(4)], seed=seed).theta for seed in (5, 5, 6)]
    assert np.array_equal(make[0], make[1]) and not np.array_equal(make[0], make[2])
    rng = np.random.default_rng(5)
    assert Network(seed=rng).rng is rng


# --- initial weights ------------------------------------------------------------------------------


def test_glorots_limit():
    # sqrt(6 / (2 + 4)) = 1 and sqrt(6 / (12 + 12)) = 1/2
    for shape, limit in (((2, 4), 1.0), ((12, 12), 0.5)):
        W = initializers.GlorotUniform()(shape, "float64", np.random.default_rng(3))
        assert np.array_equal(W, limit * np.random.default_rng(3).uniform(-1, 1, shape))


def test_hes_normal_is_cut_at_two_deviations_and_has_the_deviation_that_it_says():
    # sqrt(2 / 2) = 1: 100,000 numbers of deviation 1, mean within 4 / sqrt(100,000) of 0
    W = initializers.HeNormal()((2, 50_000), "float64", np.random.default_rng(0))
    furthest = 2 / 0.87962566103423978
    assert abs(W.std() - 1) < 0.01 and abs(W.mean()) < 0.0127
    assert 0.999 * furthest < np.abs(W).max() <= furthest
    halved = initializers.HeNormal()((8, 50_000), "float64", np.random.default_rng(0))
    assert abs(halved.std() - 0.5) < 0.005


def test_an_initializer_draws_from_its_own_seed_or_from_what_it_is_handed():
    glorot = initializers.GlorotUniform(seed=1)
    assert np.array_equal(glorot((2, 2)), glorot((2, 2), rng=np.random.default_rng(9)))
    loose, rng = initializers.GlorotUniform(), np.random.default_rng(9)
    assert np.array_equal(loose((2, 2), rng=rng), loose((2, 2), rng=rng))
    other = initializers.GlorotUniform()
    assert not np.array_equal(loose((2, 2), rng=rng), other((2, 2), rng=rng))
    zero = initializers.GlorotUniform(seed=0)
    assert np.array_equal(zero((2, 2)), zero((2, 2)))
    assert glorot((2, 2)).dtype == "float32" and glorot((2, 2), "float64").dtype == "float64"
    assert initializers.Zeros()((2,)).tolist() == [0, 0]
    assert initializers.Ones()((2,)).tolist() == [1, 1]
    with pytest.raises(NotImplementedError, match=r"Initializer must define draw"):
        initializers.Initializer()((2,))


def test_an_initializer_is_found_by_name_or_class():
    kinds = {
        "glorot_uniform": initializers.GlorotUniform,
        "he_normal": initializers.HeNormal,
        "zeros": initializers.Zeros,
        "ones": initializers.Ones,
    }
    for name, kind in kinds.items():
        for given in (name, kind.__name__, kind):
            assert type(initializers.get(given)) is kind
    own = initializers.Zeros()
    assert initializers.get(own) is own
    with pytest.raises(ValueError, match="Did you mean 'zeros'"):
        initializers.get("zeroes")
    assert math.isclose(initializers.HeNormal.STD_OF_CUT_NORMAL, 0.8796, abs_tol=1e-4)


def test_a_gradient_before_there_is_a_loss_says_what_is_missing():
    network = Network([Input((2,)), layers.Dense(1)], seed=0)
    batch = Examples(np.ones((3, 2), np.float32), np.ones((3, 1)), None)
    with pytest.raises(ValueError, match=r"no objective yet.*compile\(optimizer"):
        network.gradient(batch)
    assert not hasattr(network, "objective")
