"""`check` itself: what was missed once, what was a false alarm, and what can be said to it."""

from __future__ import annotations

import sys
import unittest

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchnet import layers
from scratchnet.testing import LawError, SubjectError, check
from scratchnet.testing.strategies import arrays


def law(*arguments, **options):
    with pytest.raises(LawError) as caught:
        check(*arguments, **options)
    return caught.value


class Dense:
    def __init__(self, inputs, outputs):
        self.W, self.b = np.random.randn(inputs, outputs), np.zeros(outputs)

    def forward(self, x):
        self.last_input = x
        return np.dot(x, self.W) + self.b

    def backward(self, dy):
        self.dW, self.db = np.dot(self.last_input.T, dy), np.sum(dy, axis=0)
        return np.dot(dy, self.W.T)


# --- passes that were worth nothing ---------------------------------------------------------------

LOSING = {
    "np.var": lambda x: np.var(x, axis=0),
    "np.std": lambda x: np.std(x, axis=0) ** 2,
    "norm": lambda x: np.linalg.norm(x - x.mean(axis=0), axis=0) ** 2 / len(x),
    "abs": lambda x: np.mean(np.abs(x - x.mean(axis=0)) ** 2, axis=0),
    "real": lambda x: np.mean((x - x.mean(axis=0)).real ** 2, axis=0),
}


@pytest.mark.parametrize("variance", LOSING.values(), ids=LOSING)
def test_a_variance_taken_as_a_constant_is_caught_however_it_is_computed(variance):
    """Each of these loses the imaginary part, so that a complex step agrees with the slip."""

    def forward(x):
        std = np.sqrt(variance(x) + 1e-5)
        return (x - x.mean(axis=0)) / std, (x, std)

    def right(dy, cache):
        x, std = cache
        xhat = (x - x.mean(axis=0)) / std
        return (dy - dy.mean(axis=0) - xhat * np.mean(dy * xhat, axis=0)) / std

    def wrong(dy, cache):
        return (dy - dy.mean(axis=0)) / cache[1]

    check((forward, right), (5, 3))
    failure = law((forward, wrong), (5, 3))
    assert failure.law == "gradients" and failure.bug == "variance constant"


def test_the_value_shown_as_right_is_validated():
    """The complex step of this softplus gives 1.0 at 1; the slope there is 0.731."""

    def softplus(x):
        return np.maximum(x.real, 0) + np.log1p(np.exp(-np.abs(x)))

    failure = law((softplus, lambda x: np.ones_like(x)), (1, 3))
    shown = [value for key, value in failure.counterexample.items() if key.startswith("dx[")]
    assert any("right: 0.731" in value or "right: 0.2" in value for value in shown)
    assert any("central differences" in remark for remark in failure.remarks)


class Rebinds(layers.Layer):
    def parameters(self, input_shape):
        return {"g": (input_shape, lambda size, dtype, rng: np.ones(size, dtype))}

    def forward(self, X, params, engine):
        return X * params["g"], X

    def backward(self, dZ, cache, params, grads, engine, need_dX=True):
        grads["g"] = (dZ * cache).sum(axis=0)
        return dZ * params["g"]


class Writes(Rebinds):
    def backward(self, dZ, cache, params, grads, engine, need_dX=True):
        grads["g"][...] = (dZ * cache).sum(axis=0)
        return dZ * params["g"]


def test_a_gradient_that_is_rebound_and_never_reaches_the_optimizer_is_caught():
    check(Writes(), (4, 3))
    assert law(Rebinds(), (4, 3)).law == "learning"


def huber(p, t):
    e = np.abs(p - t)
    return np.where(e < 1, 0.5 * e * e, e - 0.5).mean()


def softmax_loss(x, y):
    e = np.exp(x)
    p = e / e.sum(axis=1, keepdims=True)
    dx = p.copy()
    dx[np.arange(len(y)), y] -= 1
    return -np.log(p[np.arange(len(y)), y]).mean(), dx / len(y)


def bce(z, t):
    return np.mean(np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z))))


def hinge_loss(p, y):
    return np.mean(np.maximum(0, 1 - y * p))


@pytest.mark.parametrize(
    ("loss", "broken"),
    [
        ((huber, lambda p, t: (p - t) / p.size), "gradients"),
        ((bce, lambda z, t: (1 / (1 + np.exp(-np.abs(z))) - t) / z.size), "gradients"),
        ((hinge_loss, lambda p, y: -y / p.size), "gradients"),
        (softmax_loss, "finite"),
    ],
)
def test_losses_are_asked_off_the_middle_of_the_unit_interval(loss, broken):
    assert law(loss, (4, 3)).law == broken


@pytest.mark.parametrize("top", [6, 20])
def test_a_mask_that_matters_far_out_only_is_asked_for(top):
    def f(x):
        return np.clip(x, 0, top)

    check((f, lambda x: (x > 0) & (x < top)), (4, 30))
    assert law((f, lambda x: 1.0 * (x > 0)), (4, 30)).bug == "upper mask forgotten"


class Climbs:
    def update(self, w, dw):
        return w + 0.1 * dw


def test_an_optimizer_that_climbs_fails_under_any_rule():
    for rule in (None, "other"):
        assert law(Climbs, rule=rule).law in ("steps", "downhill")


# --- right code that was called wrong -------------------------------------------------------------


class Float32Inside(Dense):
    def forward(self, x):
        self.x = x.astype(np.float32)
        return self.x @ self.W.astype(np.float32) + self.b.astype(np.float32)

    def backward(self, dy):
        dy = dy.astype(np.float32)
        self.dW, self.db = self.x.T @ dy, dy.sum(axis=0)
        return dy @ self.W.astype(np.float32).T


class Float32Wrong(Float32Inside):
    def backward(self, dy):
        dx = super().backward(dy)
        self.dW = self.dW * np.float32(1.01)
        return dx


def test_float32_inside_is_judged_by_what_float32_allows():
    assert "float32" in str(check(Float32Inside(3, 2), (4, 3)))
    assert law(Float32Wrong(3, 2), (4, 3)).law == "gradients"


class Column(Dense):
    """A bias of shape (1, O) with a gradient of shape (O,)."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.b = np.zeros((1, outputs))


def test_hygiene_is_a_remark_and_fails_under_strict():
    assert any("bias shapes" in remark for remark in check(Column, (4, 3)).remarks)
    assert law(Column, (4, 3), strict=True).law == "bias shapes"
    check(Column, (4, 3), strict=True, skip=["bias shapes"])


class Dropout:
    def __init__(self, seeded):
        self.rng = np.random.default_rng(3) if seeded else np.random

    def forward(self, x):
        self.mask = (self.rng.random(x.shape) < 0.7) / 0.7
        print("forward")
        return x * self.mask

    def backward(self, dy):
        return dy * self.mask


@pytest.mark.parametrize("seeded", [True, False])
def test_random_layers_are_put_back_before_every_pass(seeded, capsys):
    before = np.random.get_state()[1].copy()
    check(Dropout(seeded), (4, 5))
    assert capsys.readouterr().out == ""
    assert np.array_equal(before, np.random.get_state()[1])


def test_the_object_is_left_as_it_was_found():
    layer = Dense(3, 2)
    W, names = layer.W.copy(), set(vars(layer))
    check(layer, (4, 3))
    assert np.array_equal(layer.W, W) and set(vars(layer)) == names


class Rms:
    """A right RMSprop with an attribute `momentum` that it does not use."""

    lr, momentum, gamma = 0.01, 0.9, 0.9

    def __init__(self):
        self.h = 0

    def update(self, w, dw):
        self.h = self.gamma * self.h + (1 - self.gamma) * dw * dw
        return w - self.lr * dw / (np.sqrt(self.h) + 1e-8)


class Nesterov:
    lr, momentum = 0.1, 0.9

    def __init__(self):
        self.v = 0

    def update(self, w, dw):
        self.v = self.momentum * self.v - self.lr * dw
        return w + self.momentum * self.v - self.lr * dw


@pytest.mark.parametrize(("optimizer", "rule"), [(Rms, "RMSprop"), (Nesterov, "Nesterov")])
def test_a_rule_is_recognised_by_what_it_does(optimizer, rule):
    assert f"follows {rule} (" in str(check(optimizer))


def test_a_mean_that_is_a_convention_is_said():
    class Mean(Dense):
        def backward(self, dy):
            dx = super().backward(dy)
            self.dW, self.db = self.dW / len(dy), self.db / len(dy)
            return dx

    check(Mean, (4, 3), mean_gradients=True)
    assert law(Mean, (4, 3)).bug == "every parameter: factor B too small"
    law(Dense, (4, 3), mean_gradients=True)


# --- what can be said -----------------------------------------------------------------------------


class Odd:
    """Nothing is called as it usually is."""

    def __init__(self):
        self.store = {"m": np.full(3, 2.0)}

    def go(self, x, scale, *, flag):
        self.x, self.kept = x, x * self.store["m"] * scale * (2 if flag else 1)
        self.scale = scale * (2 if flag else 1)

    def back(self, dy):
        self.into = dy * self.store["m"] * self.scale
        return {"slope": np.sum(dy * self.x, axis=0) * self.scale}


def test_everything_can_be_said():
    said = {
        "forward": "go", "backward": "back", "output": "kept", "input_gradient": "into",
        "params": "store", "grads": "returned", "extra": {"scale": 3.0, "flag": True},
    }  # fmt: skip
    assert "m" in str(check(Odd(), (4, 3), **said))


class NeedsRate:
    def __init__(self, lr):
        self.lr = lr

    def step(self, params, grads):
        params[0] -= self.lr * grads[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: check(Odd(), (4, 3)), "there is no forward"),
        (lambda: check(Dense(3, 2), (4, 5)), "forward raised ValueError"),
        (lambda: check(Dense(3, 2)), "x is missing"),
        (lambda: check(Dense, (4, 3), params="V"), "there is no parameter 'V'"),
        (lambda: check((np.tanh,), (4, 3)), "a pair of functions"),
        (lambda: check(object, (4, 3)), "there is no forward"),
        (lambda: check(lambda a, b, c, d: None, (4, 3)), "raised TypeError"),
        (lambda: check((np.tanh, np.cosh), np.arange(3)), "no gradient of anything was found"),
        (lambda: check((np.tanh, np.cosh), (3,), input_gradient=()), "no gradient of anything"),
        (lambda: check((lambda x: sys.exit(3), np.cosh), (3,)), "forward raised SystemExit"),
        (lambda: check(NeedsRate), r"could not be made.*missing 1 required"),
    ],
)
def test_what_is_not_found_is_said_with_the_argument_that_would_tell(call, words):
    with pytest.raises(SubjectError, match=words) as caught:
        call()
    assert "say:" in str(caught.value) or "found:" in str(caught.value)


@pytest.mark.parametrize("options", [{"fed": "beer"}, {"domain": "beer"}, {"skip": ["gravity"]}])
def test_an_unknown_option_is_a_value_error(options):
    with pytest.raises(ValueError, match=r"beer|gravity"):
        check(Dense, (4, 3), **options)


@pytest.mark.parametrize("shape", [(-1, 3), (0, 3), (4, 0)])
def test_a_shape_without_elements_is_a_value_error(shape):
    with pytest.raises(ValueError, match="sizes of at least 1"):
        check(Dense, shape)


SEEN = []  # what a closure holds is put back before every pass, a global is not


def test_a_domain_keeps_inputs_where_the_code_is_defined():
    def log(x):
        SEEN.append(np.min(np.real(x)))
        return np.log(x)

    check((log, lambda x: 1 / x), (4, 3), domain=(2, 5))
    assert min(value for value in SEEN if value) > 1.0  # differences reach beyond by an eighth
    assert "positive" in str(check((np.log, lambda x: 1 / x), (4, 3)))


def test_a_tolerance_is_taken():
    rough = (np.tanh, lambda x: (1 - np.tanh(x) ** 2) * (1 + 1e-4))
    law(rough, (4, 3))
    check(rough, (4, 3), tolerance=1e-3)


# --- runners --------------------------------------------------------------------------------------


class Suite(unittest.TestCase):
    def runTest(self):
        check(Dense, (4, 3))


def test_unittest_runs_it():
    assert Suite().run().wasSuccessful()


def test_a_notebook_shows_the_message_alone():
    failure = law((np.tanh, np.cos), (4, 3))
    assert failure._render_traceback_() == str(failure).splitlines()


@settings(deadline=None, max_examples=5)
@given(arrays((3, 2), fills=("integers", "normal")))
def test_it_can_stand_under_given(x):
    check((np.tanh, lambda z: 1 - np.tanh(z) ** 2), x)


def test_a_strategy_is_shrunk_to_the_smallest_example():
    def f(x):
        return np.where(x > 2, 5 * x, x)

    with pytest.raises(LawError) as caught:
        check((f, np.ones_like), arrays(st.just((2, 2)), fills=("integers", "large")))
    assert caught.value.law == "gradients"


def test_the_smallest_example_of_a_strategy_is_named():
    with pytest.raises(LawError) as caught:
        check((np.tanh, lambda z: 1 - z**2), arrays((2, 2), fills=("integers", "normal")))
    assert caught.value.bug == "tanh' of Z"
    assert caught.value.__context__ is None, "the search's own failure is shown too"


def test_what_was_wrong_once_is_not_right_at_a_second_look():
    """Wrong in the search, and right as soon as Hypothesis has handed over its smallest example."""
    over = []

    def slope(z):
        return 1 - np.tanh(z) ** 2 if over else z

    search = hypothesis.given

    def given_and_told(strategy):
        def wrap(function):
            honest = search(strategy)(function)

            def run():
                try:
                    honest()
                finally:
                    over.append(True)

            return run

        return wrap

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hypothesis, "given", given_and_told)
        with pytest.raises(LawError):
            check((np.tanh, slope), arrays((2, 2), fills=("integers",)))
