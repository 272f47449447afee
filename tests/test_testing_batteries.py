"""The batteries on right code, on each law broken by itself, and on what they should refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scratchnet import layers
from scratchnet.checks import Examples
from scratchnet.engines import reference
from scratchnet.optimizers import SGD, Adam
from scratchnet.testing.batteries import (
    KNOWN,
    LawError,
    check_activation,
    check_batches,
    check_layer,
    check_loss,
    check_optimizer,
)
from scratchnet.testing.strategies import optimizers
from scratchnet.testing.subjects.own import Candidate


class Plain:
    def __init__(self, inputs, outputs):
        self.W, self.b = np.ones((inputs, outputs)), np.zeros(outputs)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dy):
        self.dW, self.db = self.x.T @ dy, dy.sum(axis=0)
        return dy @ self.W.T


class Lists(Plain):
    """Parameters and gradients in lists."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.params, self.grads = [self.W, self.b], []

    def forward(self, x):
        self.W, self.b = self.params
        return super().forward(x)

    def backward(self, dy):
        dx = super().backward(dy)
        self.grads = [self.dW, self.db]
        return dx


class Returns(Plain):
    """Gradients returned beside dX; the attributes only exist to be found."""

    def backward(self, dy):
        dx = super().backward(dy)
        return dx, self.dW, self.db


class Accumulates(Plain):
    """Adds gradients up on purpose, and offers to clear them."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.zero_grad()

    def zero_grad(self):
        self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)

    def backward(self, dy):
        self.dW, self.db = self.dW + self.x.T @ dy, self.db + dy.sum(axis=0)
        return dy @ self.W.T


class Batchwise:
    """Centred over the batch: rows depend on one another."""

    def forward(self, x):
        return x - x.mean(axis=0)

    def backward(self, dy):
        return dy - dy.mean(axis=0)


class Own(Candidate):
    name = "own"

    def forward(self, x):
        return 3 * x

    def backward(self, dy):
        return 3 * dy, {}


def law(check, *arguments, **options):
    with np.errstate(all="ignore"), pytest.raises(LawError) as caught:
        check(*arguments, **options)
    return caught.value.law


# --- right code passes ----------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [Plain, Lists, Returns, Accumulates, Own(), layers.Flatten])
def test_right_layers_in_every_shape_pass(layer):
    check_layer(layer, 3 if isinstance(layer, Candidate) else None)


def test_an_instance_keeps_its_sizes():
    check_layer(Plain(3, 2), 3)
    check_layer(Plain(3, 2), (3,))


@pytest.mark.parametrize("name", reference.ENGINE.activations)
def test_our_own_layers_and_activations_pass(name):
    check_layer(layers.Dense(3, name), input_shape=4)
    check_activation(*reference.ENGINE.activations[name])


class Steep(Plain):
    """tanh(3 z): an activation that the engine doesn't know, and that is 1 soon."""

    def forward(self, x):
        self.a = np.tanh(3 * super().forward(x))
        return self.a

    def backward(self, dy):
        return super().backward(3 * dy * (1 - self.a**2))


class SlightlyWrong(Steep):
    def backward(self, dy):
        return super().backward(dy * (1 + 1e-8))


@pytest.mark.parametrize(("name", "inputs"), [("tanh", 24), ("softmax", 40), ("softmax", 80)])
def test_right_layers_that_saturate_pass(name, inputs):
    """The last one for its being linear in dY: its outputs are 0 and 1 but for little."""
    check_layer(layers.Dense(3, name), input_shape=inputs, examples=1)


def test_a_right_layer_of_unknown_structure_that_saturates_passes():
    check_layer(Steep)


def test_saturation_excuses_nothing_else():
    assert law(check_layer, SlightlyWrong) == "gradients"


SEEDS = st.integers(0, 2**32 - 1)
"""With HYPOTHESIS_PROFILE=nightly each battery meets right code 10,000 times."""


@given(st.sampled_from(sorted(reference.ENGINE.activations)), st.booleans(), SEEDS)
@example("tanh", False, 1611)  # every output saturated, and 1 - a^2 rounded alike all around
def test_no_bug_is_reported_on_right_layers(name, use_bias, seed):
    layer = layers.Dense(2, name, use_bias)
    check_layer(layer, input_shape=3, rng=seed, examples=2)


@given(st.sampled_from(sorted(reference.ENGINE.activations)), SEEDS)
def test_no_bug_is_reported_on_right_activations(name, seed):
    check_activation(*reference.ENGINE.activations[name], rng=seed)


@given(st.sampled_from(sorted(KNOWN)), SEEDS)
def test_no_bug_is_reported_on_right_losses(name, seed):
    check_loss((KNOWN[name], GRADIENTS[name]), against=name, seed=seed)


@given(optimizers(), SEEDS)
def test_no_bug_is_reported_on_right_optimizers(optimizer, seed):
    check_optimizer(optimizer, seed=seed)


@given(st.integers(40, 100), st.integers(2, 16), SEEDS)
def test_no_bug_is_reported_on_right_batches(samples, size, seed):
    rng = np.random.default_rng(seed)

    def epoch(x, y, size):
        return Examples(x, y, None).batches(size, rng.permutation(len(x)))

    check_batches(lambda *given: (batch[:2] for batch in epoch(*given)), samples=samples, size=size)


SEEN: set[bytes] = set()
"""Out of a subject's reach: what hangs on a subject is put back after every call."""


def test_another_seed_draws_other_problems():
    def seen_by(check):
        SEEN.clear()
        check(lambda array: SEEN.add(np.asarray(array).real.tobytes()))
        return set(SEEN)

    def loss(seed):
        def check(note):
            def value(p, t):
                note(p)
                return np.mean((p - t) ** 2)

            check_loss((value, lambda p, t: 2 * (p - t) / p.size), seed=seed)

        return seen_by(check)

    def optimizer(seed):
        def check(note):
            class Own:
                lr = 0.5

                def update(self, params, grads):
                    for param, grad in zip(params, grads, strict=True):
                        note(grad)
                        param -= self.lr * grad

            check_optimizer(Own, rule="sgd", seed=seed)

        return seen_by(check)

    for kind in (loss, optimizer):
        assert kind(0) == kind(0)
        assert len(kind(1) - kind(0)) >= 4


def test_a_layer_over_the_whole_batch_passes_where_that_is_said():
    check_layer(Batchwise, rows_independent=False)
    assert law(check_layer, Batchwise) == "sum over samples"


GRADIENTS = {
    "softmax_cross_entropy": lambda p, t: (reference.softmax(p) - t) / len(p),
    "cross_entropy": lambda p, t: -t / p / len(p),
    "mean_squared_error": lambda p, t: 2 * (p - t) / p.size,
    "squared_error": lambda p, t: 2 * (p - t) / len(p),
    "binary_cross_entropy": lambda p, t: ((1 - t) / (1 - p) - t / p) / len(p),
}
"""Of the losses of `KNOWN`, each sample's share being 1 / B."""


@pytest.mark.parametrize("name", KNOWN)
def test_right_losses_pass(name):
    value = KNOWN[name]

    def mean(p, t):
        return np.mean(value(p, t))

    check_loss((mean, GRADIENTS[name]), against=name)
    check_loss((value, GRADIENTS[name]), against=name)  # one number a sample, mean's gradient


@pytest.mark.parametrize(
    "optimizer",
    [Adam(0.01), Adam(0.01, 0.5, 0.9, 1e-3, True), SGD(0.1), SGD(0.1, 0.9), SGD(0.1, 0.9, True)],
)
def test_our_own_optimizers_pass(optimizer):
    check_optimizer(optimizer)


# --- each law, broken by itself -------------------------------------------------------------------


class WritesX(Plain):
    def forward(self, x):
        x *= 1.5
        return super().forward(x)


class WritesDY(Plain):
    def backward(self, dy):
        dx = super().backward(dy)
        dy[...] = 0
        return dx


class Learns(Plain):
    def backward(self, dy):
        dx = super().backward(dy)
        self.W = self.W - 0.1 * self.dW
        return dx


class Random(Plain):
    """Random numbers that nobody can put back; a Generator that is held would be."""

    def forward(self, x):
        return super().forward(x) * (1 + 1e-3 * np.random.default_rng().random())


class WrongShape(Plain):
    def backward(self, dy):
        dx = super().backward(dy)
        self.dW = self.dW.T
        return dx


class Doubles(Plain):
    """float64 whatever goes in."""

    def forward(self, x):
        wide = np.complex128 if np.iscomplexobj(x) or np.iscomplexobj(self.W) else np.float64
        return super().forward(x).astype(wide)


class Guesses(Plain):
    """Takes any number of features."""

    def forward(self, x):
        return super().forward(x[:, : len(self.W)])


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (WritesX, "inputs not written to"),
        (WritesDY, "inputs not written to"),
        (Learns, "inputs not written to"),
        (Random, "deterministic"),
        (WrongShape, "shapes"),
        (Doubles, "dtype kept"),
        (Guesses, "bad input refused"),
    ],
)
def test_a_broken_law_is_called_by_its_name_and_can_be_skipped(layer, name):
    assert law(check_layer, layer) == name
    if name in ("dtype kept", "bad input refused"):
        check_layer(layer, skip=(name,))


def test_a_transposed_shape_is_named():
    with pytest.raises(LawError) as caught:
        check_layer(WrongShape)
    assert caught.value.bug == "dW transposed"


def test_the_counterexample_is_the_smallest_net_with_the_smallest_integers():
    class NoSum(Plain):
        def backward(self, dy):
            dx = super().backward(dy)
            self.db = dy[0]
            return dx

    with pytest.raises(LawError) as caught:
        check_layer(NoSum)
    example = caught.value.counterexample
    assert example["X"].shape == (2, 1) and example["W"].shape == (1, 1)  # B = 1 can't show it
    assert set(np.unique(example["X"])) <= {1.0}
    assert example["db[0]"] == "1, right: 3"  # dY is 1 and 2


def test_a_gradient_wrong_by_one_ten_thousandth_is_caught():
    class Almost(Plain):
        def backward(self, dy):
            return super().backward(dy) * 1.0001

    assert law(check_layer, Almost) == "gradients"


def test_an_overflowing_activation_is_not_finite_far_out():
    def naive(z):
        e = np.exp(z)
        return e / (1 + e)

    def slope(z):
        return naive(z) * (1 - naive(z))

    assert law(check_activation, naive, slope) == "finite far out"


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        ((lambda p, t: np.sum((p - t) ** 2), lambda p, t: (2 * (p - t))[:, :1]), "shapes"),
        ((lambda p, t: np.sum((p - t) ** 2) ** 2, None), "mean over parts"),
        (
            (lambda p, t: np.sum((p - t) ** 2), lambda p, t: 2.0 * (p - t).astype(float)),
            "dtype kept",
        ),
        ((lambda p, t: np.sum((p - t[:1]) ** 2), lambda p, t: 2 * (p - t[:1])), None),
    ],
)
def test_laws_of_losses(loss, name):
    value, gradient = loss
    if gradient is None:

        def gradient(p, t):
            return 4 * np.sum((p - t) ** 2) * (p - t)

    assert law(check_loss, (value, gradient)) == (name or "mean over parts")


def test_a_loss_that_writes_to_its_predictions_is_caught():
    def value(p, t):
        p -= t
        return np.sum(p * p)

    assert law(check_loss, (value, lambda p, t: 2 * (p - t))) == "inputs not written to"


class Moves:
    """Steps even without a gradient."""

    lr = 0.1

    def update(self, params, grads):
        for key in params:
            params[key] = params[key] - self.lr * (grads[key] + 1e-3)


class Scribbles:
    lr = 0.1

    def update(self, params, grads):
        for key in params:
            grads[key] *= self.lr
            params[key] = params[key] - grads[key]


def test_laws_of_optimizers():
    assert law(check_optimizer, Moves, rule="sgd") == "zero gradient"
    assert law(check_optimizer, Scribbles, rule="sgd") == "inputs not written to"
    assert law(check_optimizer, Moves, rule="other") == "zero gradient"


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: check_layer(object()), "there is no forward"),
        (lambda: check_layer(object(), 3), "object"),
        (lambda: check_layer(Plain(3, 2)), "needs input_shape="),
        (lambda: check_layer(lambda a, b, c: None), "requires 3 arguments"),
        (lambda: check_loss(object()), "there is no forward"),
        (lambda: check_optimizer(object), "neither update nor step"),
    ],
)
def test_an_unknown_shape_is_a_type_error_that_says_what_was_looked_for(call, words):
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: check_layer(Plain, skip=("gravity",)), "gravity"),
        (lambda: check_layer(Plain, (2, 2)), "features of one sample"),
        (lambda: check_activation(np.tanh, np.cosh, fed="beer"), "beer"),
        (lambda: check_loss((len, len), targets="some"), "some"),
        (lambda: check_loss((len, len), against="all"), "all"),
        (lambda: check_optimizer(Moves, rule="ruler"), "ruler"),
    ],
)
def test_an_unknown_option_is_a_value_error(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_right_loop_over_batches_passes():
    rng = np.random.default_rng(0)

    def loop(x, y, size):
        order = rng.permutation(len(x))
        for start in range(0, len(x), size):
            yield x[order[start : start + size]], y[order[start : start + size]]

    check_batches(loop)
