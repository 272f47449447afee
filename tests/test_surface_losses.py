"""The losses beside the core's: their derivatives against the complex step, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from scratchnet import Input, Sequential, config, layers, losses
from scratchnet.engines import reference

RNG = np.random.default_rng(5)
N, K = 9, 3
X = RNG.normal(size=(N, 4))
LABELS = RNG.integers(0, K, N)
TARGETS = {
    "SparseCategoricalCrossentropy": np.where(np.arange(N) % 4, LABELS, -1),
    "BinaryCrossentropy": RNG.random((N, K)),
}
CASES = {
    "a class ignored": losses.SparseCategoricalCrossentropy(ignore_class=-1),
    "a class ignored, logits": losses.SparseCategoricalCrossentropy(True, -1),
    "a class ignored, by weight": losses.SparseCategoricalCrossentropy(
        ignore_class=-1, reduction="mean_with_sample_weight"
    ),
    "binary": losses.BinaryCrossentropy(),
    "binary, logits, smoothed": losses.BinaryCrossentropy(True, 0.2),
    "binary, summed": losses.BinaryCrossentropy(reduction="sum"),
    "distances": losses.MeanAbsoluteError(),
    "huber": losses.Huber(0.6),
    "divergence": losses.KLDivergence(),
}
STEP = 1e-200


@pytest.mark.parametrize("head", reference.ENGINE.activations)
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_complex_step(case, head):
    config.set_floatx("float64")
    loss = CASES[case]
    y = TARGETS.get(type(loss).__name__, RNG.random((N, K)))
    model = Sequential([Input((4,)), layers.Dense(5, "tanh"), layers.Dense(K, head)], seed=1)
    model.compile("sgd", loss, engine="reference")
    weights = np.linspace(0.5, 2, N)
    _, found = model.loss_and_gradients(X, y, weights)
    found = np.concatenate([gradient.ravel() for gradient in found])
    right = np.empty_like(found)
    for i in range(right.size):
        theta = model.theta.astype(complex)
        theta[i] += 1j * STEP
        right[i] = model.loss_at(theta, X, y, weights).imag / STEP
    # Some tens of terms of the size of the largest gradient, each rounded a few times.
    assert np.max(np.abs(found - right)) <= 1e-13 * max(1, np.max(np.abs(right)))
    assert np.max(np.abs(right)) > 1e-3


def test_a_wrong_slope_would_be_seen():
    """The check above is about something: a slope off by a thousandth breaks its bound."""
    pair = losses.Huber(0.6)._pair
    F, T = RNG.normal(size=(N, K)), RNG.random((N, K))
    _, cache = pair.forward(F, T)
    slope = pair.backward(np.ones(N), T, cache)
    values, _ = pair.forward(F + 1j * STEP * np.eye(K)[0], T)
    assert np.allclose(values.imag / STEP, slope[:, 0], rtol=1e-13)
    assert not np.allclose(values.imag / STEP, 1.001 * slope[:, 0], rtol=1e-13)


def test_what_is_not_counted_has_no_gradient():
    config.set_floatx("float64")
    model = Sequential([Input((4,)), layers.Dense(K, "softmax")], seed=1)
    model.compile("sgd", losses.SparseCategoricalCrossentropy(ignore_class=2), engine="reference")
    whole = model.loss_and_gradients(X, LABELS)
    seen = LABELS != 2
    part = model.loss_and_gradients(X[seen], LABELS[seen])
    assert whole[0] == pytest.approx(part[0], rel=1e-14)
    for mine, his in zip(whole[1], part[1], strict=True):
        assert np.allclose(mine, his, rtol=1e-13, atol=1e-16)
    nothing, gradients = model.loss_and_gradients(X, np.full(N, 2))
    assert nothing == 0
    assert not any(gradient.any() for gradient in gradients)


REFUSED = {
    "a loss that is not there": (lambda: losses.of("mses"), "Did you mean 'mse'?"),
    "a function of one's own": (lambda: losses.of(lambda y, p: 0.0), "no derivative here"),
    "a delta of 0": (lambda: losses.Huber(0), "delta=0"),
    "a delta that is None": (lambda: losses.Huber(None), "delta=None"),
    "a smoothing that is text": (lambda: losses.BinaryCrossentropy(label_smoothing="a"), "'a'"),
    "a dtype of half": (lambda: losses.Huber(dtype="float16"), "'float16'"),
    "a dtype of bfloat16": (lambda: losses.MeanSquaredError(dtype="bfloat16"), "'bfloat16'"),
    "a reduction": (lambda: losses.KLDivergence("median"), "reduction='median'"),
    "a label beyond": (
        lambda: losses.SparseCategoricalCrossentropy()([3], [[0.1, 0.2, 0.7]]), "label 3",
    ),
    "no axis": (lambda: losses.MeanSquaredError()(1.0, 2.0), "no axis"),
    "weights of another shape": (
        lambda: losses.Huber()(np.ones((3, 2)), np.ones((3, 2)), [1, 2]), "sample_weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_loss_is_refused_with_the_value(case):
    act, said = REFUSED[case]
    with pytest.raises(ValueError) as caught:
        act()
    assert said in str(caught.value)


def test_a_smoothing_of_none_is_none():
    assert losses.CategoricalCrossentropy(label_smoothing=None).label_smoothing == 0.0
