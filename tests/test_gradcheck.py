"""The checker checked: wrong gradients are rejected, right ones never, and nothing is hidden.

Every net here is written in NumPy on the spot, so that no other code of ours can be at fault.
"""

from __future__ import annotations

import math
import pickle
from collections import namedtuple
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchnet.gradcheck import (
    GradientError,
    Report,
    central_difference,
    check_gradients,
    check_vjp,
    compare,
    complex_step,
    directional_derivative,
)
from scratchnet.gradcheck.oracles import ScalarFunction

FEW = settings(max_examples=60, deadline=None, derandomize=True)


class MLP:
    """A dense net with its loss, its gradient, and S: the same backward pass on absolute values."""

    def __init__(
        self, seed, sizes=(4, 5, 3), batch=6, act="tanh", loss="ce", scale=1.0, x_scale=1.0
    ):
        rng = np.random.default_rng(seed)
        self.act, self.kind, self.batch = act, loss, batch
        self.X = x_scale * rng.normal(size=(batch, sizes[0]))
        self.y = rng.integers(0, sizes[-1], batch)
        self.T = rng.normal(size=(batch, sizes[-1]))
        self.params = [
            {"W": scale * rng.normal(size=(i, o)) / math.sqrt(i), "b": 0.1 * rng.normal(size=o)}
            for i, o in pairwise(sizes)
        ]

    def forward(self, params, X):
        steps, a = [], X
        for layer in params:
            z = a @ layer["W"] + layer["b"]
            steps.append((a, z))
            a = np.tanh(z) if self.act == "tanh" else np.maximum(z, 0)
        return z, steps

    def loss(self, params):
        z, _ = self.forward(params, self.X)
        if self.kind == "mse":
            return np.mean((z - self.T) ** 2)
        z = z - z.max(axis=1, keepdims=True)
        return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(self.batch), self.y])

    def gradient(self, params, absolute=False):
        sign, size = (1, np.abs) if absolute else (-1, np.asarray)
        dtype = params[0]["W"].dtype
        z, steps = self.forward(params, self.X.astype(dtype))
        if self.kind == "mse":
            dz = 2 * (size(z) + sign * size(self.T.astype(dtype))) / dtype.type(z.size)
        else:
            e = np.exp(z - z.max(axis=1, keepdims=True))
            dz = e / e.sum(axis=1, keepdims=True)
            dz[np.arange(self.batch), self.y] += sign
            dz = dz / dtype.type(self.batch)
        grads = []
        for layer, (a, _), below in zip(
            params[::-1], steps[::-1], [*steps[-2::-1], None], strict=True
        ):
            grads.append({"W": size(a).T @ dz, "b": dz.sum(axis=0)})
            if below:
                slope = 1 + sign * a**2 if self.act == "tanh" else (below[1] > 0).astype(dtype)
                dz = (dz @ size(layer["W"]).T) * slope
        return grads[::-1]

    def scale(self):
        return self.gradient(self.params, absolute=True)


def rejected(f, params, gradients, **options) -> Report:
    with pytest.raises(GradientError) as caught:
        check_gradients(f, params, gradients, **options)
    assert str(caught.value) == str(caught.value.report)
    assert not caught.value.report.ok
    return caught.value.report


def total(report: Report) -> int:
    parts = (report.certified, report.zeros, report.uncertified, report.kinks, report.wrong)
    return sum(parts)


# ---- right gradients ------------------------------------------------------------------------


@FEW
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    act=st.sampled_from(["tanh", "relu"]),
    loss=st.sampled_from(["ce", "mse"]),
    power=st.floats(-8, 2),
    x_power=st.floats(-4, 3),
)
def test_right_gradients_of_any_scale_pass(seed, sizes, act, loss, power, x_power):
    net = MLP(seed, sizes, 3, act, loss, 10**power, 10**x_power)
    # as a callable, and as numbers with S: numbers alone cannot show that a saturated net cancels
    assert check_gradients(net.loss, net.params, net.gradient).ok
    report = check_gradients(net.loss, net.params, net.gradient(net.params), scale=net.scale())
    assert report.ok and total(report) == report.size
    assert not any("not used" in note for note in report.notes)


@FEW
@given(
    seed=st.integers(0, 2**32 - 1), act=st.sampled_from(["tanh", "relu"]), power=st.floats(-3, 0)
)
def test_numbers_alone_pass_where_nothing_saturates(seed, act, power):
    net = MLP(seed, act=act, loss="mse", scale=10**power)
    report = check_gradients(net.loss, net.params, net.gradient(net.params))
    # A ReLU that no sample turns on has gradients of exactly 0, on both sides.
    assert report.wrong == 0 and report.certified + report.zeros >= 0.4 * report.size
    assert report.relative_error < 1e-9


@FEW
@given(
    seed=st.integers(0, 2**32 - 1), act=st.sampled_from(["tanh", "relu"]), power=st.floats(-3, 1)
)
def test_central_differences_and_blocks_pass_right_gradients(seed, act, power):
    net = MLP(seed, act=act, scale=10**power)
    for options in ({"method": "central"}, {"coordinates": "blocks"}):
        assert check_gradients(net.loss, net.params, net.gradient, **options).ok


def test_every_entry_of_an_ordinary_net_is_certified():
    net = MLP(0)
    report = check_gradients(net.loss, net.params, net.gradient)
    assert (report.size, report.certified, report.wrong) == (43, 43, 0)
    assert report.oracle == "complex step along every coordinate"
    assert "1e-12 |g| + 1e-13 max|g|" in report.rule
    assert "confirmed by central differences" in report.notes[0]


def test_a_saturated_softmax_cancels_and_S_knows_it():
    net = MLP(0, scale=0.1)
    net.params[-1]["b"] = np.array([25.0, 0.0, 0.0])
    net.y[:] = 0  # p - 1 is about -3e-11: six digits of the gradient are left
    report = check_gradients(
        net.loss, net.params, net.gradient(net.params), scale=net.scale(), method="complex"
    )
    assert report.ok and "1e-12 S" in report.rule
    assert report.uncertified > 0  # and it is said that 0.01 % would not be seen there


def test_cancellation_in_a_saturated_tanh_is_rounding_and_a_bug_beside_it_is_not():
    x = np.array([9.5, 9.7])  # 1 - tanh^2 keeps eight digits

    def slope(x):
        return 1 - np.tanh(x) ** 2

    def loss(x):
        return np.sum(np.tanh(x))

    assert np.max(np.abs(slope(x) - complex_step(loss, x)) / slope(x)) > 1e-9
    assert check_gradients(loss, x, slope).uncertified == 2
    assert check_gradients(loss, x, slope(x)).uncertified == 2
    assert rejected(loss, x, lambda x: slope(x) * np.array([1, 1.0001])).wrong == 1
    assert rejected(loss, x, slope(x) * np.array([1, 1.0001])).wrong == 1


def test_a_loss_of_zero_has_absorbed_its_gradient():
    def loss(w):  # log(1 + e^-45) is 0.0, and so is the complex step; p - onehot keeps -44 e^-45
        z = w * np.array([1.0, -44.0])
        return np.log(np.sum(np.exp(z - z[0])))

    report = check_gradients(loss, np.ones(1), np.array([-44 * math.exp(-45)]))
    assert (report.uncertified, report.wrong) == (1, 0)


# ---- wrong gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["complex", "central"])
@pytest.mark.parametrize("factor", [1.0005, 1.0001, -1.0, 0.0, 2.0, math.nan, math.inf])
def test_one_wrong_entry_is_found(method, factor):
    net = MLP(1)
    grads = net.gradient(net.params)
    grads[0]["W"][2, 3] *= factor
    report = rejected(net.loss, net.params, grads, method=method)
    assert (report.path, report.wrong) == ("[0]['W'][2, 3]", 1)
    if math.isfinite(factor):
        assert report.analytic == pytest.approx(factor * report.numeric, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("coordinates", ["all", "blocks"])
def test_a_hundredth_of_a_percent_in_one_entry_of_thousands(coordinates):
    net = MLP(2, (60, 40, 10), 8)
    grads = net.gradient(net.params)
    size = np.abs(grads[0]["W"])
    quiet = np.unravel_index(np.argsort(size, axis=None)[size.size // 20], size.shape)
    right = grads[0]["W"][quiet]
    grads[0]["W"][quiet] *= 1.0001
    report = rejected(net.loss, net.params, grads, coordinates=coordinates)
    assert report.path == f"[0]['W'][{quiet[0]}, {quiet[1]}]"
    assert report.wrong == 1
    assert report.numeric == pytest.approx(right, rel=1e-9)
    assert report.relative_error == pytest.approx(1e-4, rel=1e-3)


def test_a_whole_network_of_42310_is_checked_in_blocks_by_default():
    net = MLP(3, (784, 50, 50, 10), 4, "relu")
    report = check_gradients(net.loss, net.params, net.gradient)
    assert report.size == 42_310 and report.evaluations < 500
    grads = net.gradient(net.params)
    grads[1]["W"][7, 9] *= 1.0001
    report = rejected(net.loss, net.params, grads)
    assert (report.path, report.wrong) == ("[1]['W'][7, 9]", 1)


def test_a_small_error_in_a_projection_of_large_entries_is_uncertified_not_lost():
    x = np.array([1.0] * 255 + [1e-12])

    def loss(x):
        return np.sum(x**2)

    wrong = 2 * x
    wrong[-1] *= 2  # hidden by the rounding of 255 entries beside it
    report = check_gradients(loss, x, wrong, coordinates="blocks")
    assert report.uncertified >= 1


def test_transposed_sign_factor_and_missing_mean_are_rejected():
    net = MLP(4, (4, 4, 4), 8)
    right = net.gradient(net.params)
    transposed = [{"W": layer["W"].T, "b": layer["b"]} for layer in right]
    report = rejected(net.loss, net.params, transposed)
    assert report.wrong == 24 and "['W']" in report.path
    for factor in (-1.0, 8.0, 1.0005):
        scaled = [{k: factor * v for k, v in layer.items()} for layer in right]
        report = rejected(net.loss, net.params, scaled)
        assert report.wrong == report.size
        assert report.analytic / report.numeric == pytest.approx(factor)
        assert f"analytic/numeric {factor:.8g}" in str(report)


def test_a_huge_wrong_entry_hides_no_other():
    net = MLP(5)
    grads = net.gradient(net.params)
    grads[0]["W"][0, 0] = 1e25
    grads[1]["W"][2, 2] *= 1.0001
    report = rejected(net.loss, net.params, grads)
    assert (report.path, report.wrong) == ("[0]['W'][0, 0]", 2)


def test_a_gradient_that_is_missing_altogether():
    net = MLP(5)
    grads = net.gradient(net.params)
    grads[1]["b"][:] = 0
    report = rejected(net.loss, net.params, grads)
    assert report.wrong == 3 and report.path.startswith("[1]['b']")


def test_what_central_differences_cannot_confirm_is_noted():
    x = np.array([1.0, 2.0])
    wrong = np.array([1, 1 + 1e-11])
    report = rejected(lambda x: 1e6 + np.sum(x**2), x, lambda x: 2 * x * wrong)
    assert report.path == "[1]"
    assert "central differences at [1]" in report.notes[1]
    assert "cannot confirm it" in report.notes[1]


# ---- functions that cannot carry an imaginary part -------------------------------------------

PENALTIES = {
    "abs": (lambda w: np.sum(np.abs(w)), np.sign),
    "norm": (np.linalg.norm, lambda w: w / np.linalg.norm(w)),
    "real": (lambda w: np.sum(w.real**2), lambda w: 2 * w),
    "conj": (lambda w: np.sum(w * np.conj(w)), lambda w: 2 * w),
    "cast": (lambda w: np.sum(w.astype(np.float64) ** 2), lambda w: 2 * w),
    "assign": (lambda w: np.sum(_filled(w) ** 2), lambda w: 2 * w),
    "raise": (lambda w: sum(math.exp(v) for v in w.ravel()), np.exp),
}


def _filled(w):
    out = np.zeros(w.shape)
    out[:] = w
    return out


def _without(gradient, net, alone):
    grads = gradient(net.params)
    grads[0]["W"] = (0 if alone else 1) * net.gradient(net.params)[0]["W"]
    return grads


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("part", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("alone", [True, False])
def test_a_lost_imaginary_part_is_said_and_never_blamed(name, part, alone):
    penalty, slope = PENALTIES[name]
    net = MLP(6)

    def loss(params):
        return part * penalty(params[0]["W"]) + (0 if alone else net.loss(params))

    def gradient(params):
        grads = net.gradient(params)
        if alone:
            grads = [{k: 0 * v for k, v in layer.items()} for layer in grads]
        grads[0]["W"] = grads[0]["W"] + part * slope(params[0]["W"])
        return grads

    report = check_gradients(loss, net.params, gradient(net.params))
    assert report.oracle.startswith("central differences")
    assert report.notes[0].startswith("the complex step was not used: ")
    assert report.certified > 0
    with pytest.raises(ValueError, match="unfit"):
        check_gradients(loss, net.params, gradient, method="complex")
    # and a wrong gradient is still found, even one that makes the same mistake
    assert part < 1e-4 or rejected(loss, net.params, _without(gradient, net, alone)).wrong > 0
    grads = gradient(net.params)
    grads[0]["W"][1, 1] *= 1.001
    assert rejected(loss, net.params, grads).path == "[0]['W'][1, 1]"


def test_a_loss_in_one_coordinate_only_is_found_before_the_gradient_is_blamed():
    x = [np.array([1e3, 1.0]), np.array([1e-4])]

    def loss(x, part=1e-3):  # along a direction that moves all three its share is 1e-13
        return np.sum(x[0] ** 2) + part * np.sum(np.abs(x[1]))

    report = check_gradients(loss, x, [2 * x[0], np.array([1e-3])])
    assert report.ok and report.oracle.startswith("central")
    assert "at [1][0] it gives 0" in report.notes[0]
    assert "imaginary part is lost" in report.notes[0]
    # and where real evaluations cannot tell, nobody is blamed
    report = check_gradients(lambda x: loss(x, 1e-4), x, [2 * x[0], np.array([1e-4])])
    assert (report.certified, report.uncertified, report.wrong) == (2, 1, 0)


def test_a_function_without_complex_support_names_its_own_error():
    report = check_gradients(lambda x: math.exp(x[0]), np.array([0.5]), np.array([math.exp(0.5)]))
    assert report.certified == 1
    assert "TypeError" in report.notes[0] or "ComplexWarning" in report.notes[0]


def test_a_complex_path_that_is_another_function_is_not_trusted():
    def loss(x):
        return np.sum(x**3) if np.iscomplexobj(x) else np.sum(x**2)

    x = np.array([0.5, 2.0])
    report = check_gradients(loss, x, 2 * x)
    assert "another path" in report.notes[0]


def test_overflow_in_complex_arithmetic_falls_back():
    def loss(z):  # exp(1000) is inf, and 1 / (1 + inf) is 0, but inf + nan j is no number
        return np.sum(1 / (1 + np.exp(-z)))

    report = check_gradients(loss, np.array([-800.0, 0.5]), np.array([0.0, 0.2350037122015945]))
    assert report.ok and report.wrong == 0


# ---- kinks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "central"])
@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_coordinates_on_a_kink_are_counted_whatever_the_subgradient(method, at_zero):
    x = np.array([0.0, 1.0, -1.0, 0.0, 2.0])
    slope = np.where(x == 0, at_zero, x > 0)
    report = check_gradients(lambda x: np.sum(np.maximum(x, 0)), x, slope, method=method)
    if method == "central" or at_zero != 1.0:  # 0 + ih > 0: there np.maximum takes the slope 1
        assert report.kinks == 2
    assert report.ok and report.certified >= 2
    wrong = slope + np.array([0, 0, 0, 0, 1e-4])
    report = rejected(lambda x: np.sum(np.maximum(x, 0)), x, wrong, method=method)
    assert (report.path, report.wrong) == ("[4]", 1)


def test_a_branch_on_the_real_part_gives_zero_at_zero():
    def relu(x):
        return np.sum(np.where(x.real > 0, x, 0))

    assert complex_step(relu, np.array([0.0, -1.0, 1.0])).tolist() == [0.0, 0.0, 1.0]


def test_a_kink_close_by_is_stepped_around():
    x = np.array([1e-3, -1e-3, 0.7])
    assert central_difference(lambda x: np.sum(np.abs(x)), x) == pytest.approx([1, -1, 1], abs=1e-9)
    report = check_gradients(lambda x: np.sum(np.abs(x)), x, np.sign(x))
    assert (report.certified, report.kinks) == (3, 0)


def test_blank_rows_and_zero_biases_put_a_whole_layer_on_its_kink():
    net = MLP(7, act="relu")
    net.X[0] = 0
    net.params[0]["b"][:] = 0
    for coordinates in ("all", "blocks"):
        report = check_gradients(net.loss, net.params, net.gradient, coordinates=coordinates)
        assert report.ok and 0 < report.kinks <= 5
        assert report.oracle.startswith("complex")  # which is not to blame either


def test_a_kink_under_strong_curvature_is_still_a_kink():
    def loss(x):
        return 1e4 * np.sum(x**2) + np.sum(np.maximum(x - 1, 0))

    report = check_gradients(loss, np.ones(2), np.full(2, 2e4), method="central")
    assert (report.kinks, report.wrong) == (2, 0)


# ---- float32 ----------------------------------------------------------------------------------


def test_float32_code_is_held_against_its_float64_twin():
    net = MLP(8)
    net.params = [{k: v.astype(np.float32) for k, v in layer.items()} for layer in net.params]
    seen = []

    def gradient(params):
        seen.append(params[0]["W"].dtype)
        return net.gradient(params)

    report = check_gradients(net.loss, net.params, gradient)
    assert set(seen) == {np.dtype(np.float32)}
    assert "float32" in report.rule and "64 + sqrt(P) = 71" in report.rule
    assert report.relative_error < 1e-4
    grads = net.gradient(net.params)
    grads[1]["W"][0, 0] *= np.float32(1.001)
    assert rejected(net.loss, net.params, grads).path == "[1]['W'][0, 0]"


def test_depth_and_tolerance_replace_the_factor():
    x = np.array([1.0, 2.0], np.float32)
    off = (2 * x * np.float32(1 + 1e-5)).astype(np.float32)

    def loss(x):
        return np.sum(x**2)

    assert "depth 8 times u of float32" in rejected(loss, x, off, depth=8).rule
    assert check_gradients(loss, x, off, depth=400).ok
    assert check_gradients(loss, x, off, tolerance=1e-4).rule.startswith("0.0001 |g|")
    rejected(loss, x, off, tolerance=1e-6)
    rejected(loss, x.astype(np.float64), 2 * x.astype(np.float64) * (1 + 1e-14), depth=4)


def test_a_loss_computed_in_float32_is_not_trusted_below_its_noise():
    x = np.random.default_rng(0).normal(size=6)

    def loss(x):
        return np.float64(np.sum(np.tanh(x.astype(np.float32)) ** 2))

    grads = 2 * np.tanh(x) / np.cosh(x) ** 2
    report = check_gradients(loss, x, grads)
    assert report.ok and report.oracle.startswith("central")
    report = rejected(loss, x, grads * np.array([1, 1, 1.1, 1, 1, 1]))
    assert report.path == "[2]"


# ---- structures, copies, errors -----------------------------------------------------------------

Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("params", "path"),
    [
        (np.array([[1.0, 2.0], [3.0, 4.0]]), "[1, 0]"),
        ([np.ones(2), (np.ones(1), {"k": np.full(3, 2.0)})], "[1][1]['k'][2]"),
        ({"W": np.ones((2, 3)), "empty": np.ones((0, 4)), "b": [1.0, 2.0]}, "['b'][1]"),
        (Pair(np.ones(2), 3.0), "[1]"),
        (5.0, "params"),
        (np.ones((2, 3)).T, "[2, 1]"),
    ],
)
def test_paths_in_arrays_dicts_lists_and_tuples(params, path):
    def leaves(tree):
        if isinstance(tree, dict):
            return [x for v in tree.values() for x in leaves(v)]
        if isinstance(tree, list | tuple):
            return [x for v in tree for x in leaves(v)]
        return [tree]

    def loss(tree):
        assert type(tree) is type(params) or isinstance(params, float)
        return sum(np.sum(np.sin((i + 1) * x)) for i, x in enumerate(leaves(tree)))

    grads = complex_step(loss, params)
    assert check_gradients(loss, params, grads).ok
    # name every coordinate by making it the only wrong one
    flat = leaves(grads)
    last = next(x for x in flat[::-1] if x.size)
    spot = (1, 0) if path == "[1, 0]" else np.unravel_index(last.size - 1, last.shape)
    last[spot] += 1
    assert rejected(loss, params, grads).path == path


def test_the_callers_arrays_are_neither_written_nor_seen():
    W = np.arange(1.0, 7.0).reshape(2, 3)
    W.setflags(write=False)
    grads = {"W": 2 * W}
    grads["W"].setflags(write=False)
    kept = []

    def loss(params):
        assert not np.shares_memory(params["W"], W)
        kept.append(params["W"])
        value = np.sum(params["W"] ** 2)
        params["W"][:] = np.nan  # f may do what it likes with its own copy
        params.clear()
        return value

    def gradient(params):
        assert not np.shares_memory(params["W"], W)
        result = {"W": 2 * params["W"]}
        params["W"][:] = 0
        return result

    for method in ("complex", "central"):
        assert check_gradients(loss, {"W": W}, grads, method=method).certified == 6
        assert check_gradients(loss, {"W": W}, gradient, method=method).certified == 6
    assert np.array_equal(W, np.arange(1.0, 7.0).reshape(2, 3))
    assert not np.shares_memory(complex_step(loss, {"W": W})["W"], W)


def test_a_gradient_in_a_buffer_that_is_used_again_is_copied():
    buffer = np.empty(3)

    def gradient(x):
        np.multiply(2, x, out=buffer)
        return buffer

    assert check_gradients(lambda x: np.sum(x**2), np.array([1.0, 2.0, 3.0]), gradient).ok


def test_no_global_randomness_and_the_same_seed_gives_the_same_report():
    net = MLP(9)
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = check_gradients(net.loss, net.params, net.gradient, coordinates="blocks", rng=5)
    assert np.array_equal(before, np.random.get_state()[1])
    rng = np.random.default_rng(5)
    again = check_gradients(net.loss, net.params, net.gradient, coordinates="blocks", rng=rng)
    assert first == again
    other = check_gradients(net.loss, net.params, net.gradient, coordinates="blocks", rng=6)
    assert other.analytic != first.analytic


def test_the_default_seed_is_fixed_and_directions_leave_nothing_out():
    net = MLP(9)
    first, again = (
        check_gradients(net.loss, net.params, net.gradient, coordinates="blocks") for _ in "ab"
    )
    assert first == again
    layer = Dense()
    reports = [check_vjp(layer.forward, layer.backward, layer.inputs) for _ in "ab"]
    assert reports[0] == reports[1]
    weight = ScalarFunction(np.sum, np.ones(1)).spread(1000)
    assert 400 < np.sum(weight > 0) < 600
    assert np.all((np.abs(weight) >= 0.5) & (np.abs(weight) < 1.5))


@pytest.mark.parametrize(
    ("f", "params", "gradients", "error", "words"),
    [
        (
            np.sum,
            np.ones(2),
            np.ones(3),
            ValueError,
            r"gradients has shape \(3,\); expected \(2,\)",
        ),
        (len, {"W": np.ones(2)}, {"V": np.ones(2)}, ValueError, r"differ in \['V'\], \['W'\]"),
        (np.sum, np.ones(2, int), np.ones(2), TypeError, "params is int64; expected float16"),
        (np.sum, np.ones(2), np.ones(2, complex), TypeError, "gradients is complex128"),
        (np.sum, [np.ones(2), None], np.ones(2), TypeError, r"params\[1\] is object"),
        (np.sum, np.array([1.0, np.nan]), np.ones(2), ValueError, r"\[1\] is not finite"),
        (np.sum, [], [], ValueError, "no parameters"),
        (np.copy, np.ones(2), np.ones(2), ValueError, r"shape \(2,\); expected one scalar"),
        (lambda x: None, np.ones(2), np.ones(2), ValueError, "expected one scalar"),
        (lambda x: 1j * x[0], np.ones(2), np.ones(2), TypeError, "expected a real loss"),
        (lambda x: np.nan * x[0], np.ones(2), np.ones(2), ValueError, "finite loss"),
        (lambda x: x[0] / 0, np.ones(2), np.ones(2), ValueError, "f.params. is inf"),
    ],
)
def test_errors_say_value_expectation_and_remedy(f, params, gradients, error, words):
    with pytest.raises(error, match=words):
        check_gradients(f, params, gradients)


def test_a_loss_that_is_not_deterministic_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"not deterministic.*dropout"):
        check_gradients(lambda x: np.sum(x * (rng.random(3) > 0.5)) + rng.random(), np.ones(3), 1.0)


def test_a_gradient_that_is_not_deterministic_is_refused():
    rng = np.random.default_rng(0)  # else its scatter would pass for rounding
    with pytest.raises(ValueError, match=r"gradients.params. is not deterministic"):
        check_gradients(lambda x: np.sum(x**2), np.ones(3), lambda x: 2 * x + rng.random(3))


def test_steps_out_of_the_domain_are_left_out():
    def loss(x):  # math.log raises below zero, and moves of x[0] on the scale of x[1] go there
        return math.log(x[0]) + math.log(x[1]) + np.sqrt(x[0])

    x = np.array([0.2, 5.0])
    exact = np.array([5 + 0.5 / math.sqrt(0.2), 0.2])
    assert central_difference(loss, x) == pytest.approx(exact, rel=1e-8)
    assert check_gradients(loss, x, exact).certified == 2


@pytest.mark.parametrize(
    "options",
    [
        {"method": "forward"},
        {"coordinates": "some"},
        {"tolerance": 0.0},
        {"depth": -1},
        {"scale": -np.ones(2)},
        {"scale": np.ones(3)},
        {"scale": np.full(2, np.nan)},
    ],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        check_gradients(lambda x: np.sum(x**2), np.ones(2), np.full(2, 2.0), **options)


def test_errors_inside_f_on_real_parameters_are_the_callers():
    def broken(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        check_gradients(broken, np.ones(2), np.ones(2))


# ---- the report -----------------------------------------------------------------------------


def test_zeros_and_entries_too_small_to_certify_are_counted_apart():
    weight = np.array([1.0, 0.0, 1e-10, 1e-8])
    report = check_gradients(lambda x: weight @ x, np.ones(4), weight)
    assert (report.certified, report.zeros, report.uncertified) == (2, 1, 1)
    assert "do not disagree, but none is certified" not in str(report)


def test_the_report_is_frozen_readable_and_survives_pickling():
    net = MLP(10)
    grads = net.gradient(net.params)
    grads[0]["b"][1] += 1
    report = rejected(net.loss, net.params, grads)
    with pytest.raises(AttributeError):
        report.wrong = 0  # type: ignore[misc]
    assert "gradients WRONG in 1 of 43 coordinates" in str(report)
    assert "[0]['b'][1]" in str(report) and "42 certified" in str(report)
    assert pickle.loads(pickle.dumps(GradientError(report))).report == report


def test_compare_excuses_nothing():
    g = {"a": np.array([1.0, 0.0, 1e-11]), "b": np.array([2.0])}
    assert compare(g, g).certified == 2
    assert (compare(g, g).zeros, compare(g, g).uncertified) == (1, 1)
    off = {"a": g["a"], "b": g["b"] * 1.001}
    report = compare(off, g)
    assert (report.path, report.wrong, report.ok) == ("['b'][0]", 1, False)
    assert compare(off, g, scale={"a": np.ones(3), "b": np.array([1e10])}).ok
    assert compare({"a": np.full(3, np.nan), "b": g["b"]}, g).wrong == 3


# ---- the oracles --------------------------------------------------------------------------------


@pytest.mark.parametrize("amplitude", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("width", [1e-8, 1e-3, 1.0, 1e8])
@pytest.mark.parametrize(
    ("phi", "slope"),
    [
        (np.sin, np.cos),
        (np.exp, np.exp),
        (np.tanh, lambda t: 1 / np.cosh(t) ** 2),
        (lambda t: t**3, lambda t: 3 * t**2),
        (np.log, lambda t: 1 / t),
        (lambda t: np.sin(50 * t), lambda t: 50 * np.cos(50 * t)),
    ],
)
def test_the_step_suits_the_function(amplitude, width, phi, slope):
    t = np.array([0.3, 0.9, 1.7])

    def f(x):
        return np.sum(amplitude * phi(x / width))

    exact = amplitude / width * slope(t)
    top = np.max(np.abs(exact))
    assert np.max(np.abs(central_difference(f, t * width) - exact)) < 2e-9 * top
    assert np.max(np.abs(complex_step(f, t * width) - exact)) < 1e-13 * top


@settings(FEW, max_examples=200)
@given(
    x=st.floats(0.01, 10),
    power=st.floats(-2, 6),
    offset=st.sampled_from([0.0, 1.0, 1e6]),
    precision=st.sampled_from(["double", "single", "hidden single"]),
)
def test_the_error_estimate_of_a_central_difference_holds(x, power, offset, precision):
    k = 10**power
    if precision != "double":
        offset = min(offset, 1.0)  # four bits of a sine are not a smooth function

    def f(v):
        value = offset + math.sin(k * v[0])
        if precision == "double":
            return value
        return float(np.float32(value)) * (1.1 if "hidden" in precision else 1.0)

    loss = ScalarFunction(f, np.array([x]))
    slope = loss.central(loss.x, np.array([0]), np.ones(1))
    exact = k * math.cos(k * x) * (1.1 if "hidden" in precision else 1.0)
    assert abs(slope.value - exact) <= 4 * slope.error + 4e-16 * k * max(1, k * x)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_the_error_estimate_knows_turning_points_and_waves_that_escape_it(precision):
    def f(v):
        value = np.sin(k * v[0])
        return value if precision == "double" else float(np.float32(value))

    k = 1e8 if precision == "double" else 1.0
    for x in [*np.exp(np.random.default_rng(0).uniform(-4, 2, 100)), math.pi / 2 - 1e-5]:
        loss = ScalarFunction(f, np.array([x]))
        slope = loss.central(loss.x, np.array([0]), np.ones(1))
        assert abs(slope.value - k * math.cos(k * x)) <= 4 * slope.error + 1e-15 * k


def test_a_coordinate_that_cannot_be_moved_is_uncertified():
    def loss(x):
        if x[0] != 1.0:
            raise ValueError("x[0] must be 1")
        return x[0] + x[1] ** 2

    report = check_gradients(loss, np.array([1.0, 2.0]), np.array([5.0, 4.0]), method="central")
    assert (report.path, report.certified, report.uncertified) == ("[1]", 1, 1)


def test_what_no_step_can_resolve_has_an_infinite_error_and_is_uncertified():
    report = check_gradients(
        lambda x: np.sin(1e12 * x[0]), np.ones(1), np.ones(1), method="central"
    )
    assert (report.uncertified, report.wrong) == (1, 0)
    assert "none is certified" in str(report)


def test_directional_derivatives():
    net = MLP(11)
    rng = np.random.default_rng(0)
    w = [{k: rng.normal(size=v.shape) for k, v in layer.items()} for layer in net.params]
    grads = net.gradient(net.params)
    exact = sum(np.sum(w[i][k] * grads[i][k]) for i in range(2) for k in "Wb")
    assert directional_derivative(net.loss, net.params, w) == pytest.approx(exact, rel=1e-13)
    central = directional_derivative(net.loss, net.params, w, method="central")
    assert central == pytest.approx(exact, rel=1e-8)
    assert directional_derivative(np.sum, np.ones(2), np.zeros(2)) == 0.0
    with pytest.raises(ValueError, match="use central differences"):
        directional_derivative(np.linalg.norm, np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="use central differences"):
        complex_step(np.linalg.norm, np.ones(2))
    with pytest.raises(ValueError, match="method is 'auto'"):
        directional_derivative(np.sum, np.ones(2), np.ones(2), method="auto")  # type: ignore


# ---- layers ---------------------------------------------------------------------------------


class Dense:
    def __init__(self):
        rng = np.random.default_rng(12)
        self.inputs = {"x": rng.normal(size=(5, 4)), "W": rng.normal(size=(4, 4)), "b": np.ones(4)}

    @staticmethod
    def forward(p):
        return p["x"] @ p["W"] + p["b"]

    @staticmethod
    def backward(p, dy):
        return {"x": dy @ p["W"].T, "W": p["x"].T @ dy, "b": dy.sum(axis=0)}


def test_a_layer_is_checked_through_its_vjp():
    layer = Dense()
    assert check_vjp(layer.forward, layer.backward, layer.inputs).certified == 40
    dy = np.ones((5, 4))
    assert check_vjp(layer.forward, layer.backward, layer.inputs, dy=dy).ok

    def careless(p, dy):  # it may write into its own copy of dy
        grads = layer.backward(p, dy)
        dy[:] = 0
        return grads

    assert check_vjp(layer.forward, careless, layer.inputs, dy=dy).certified == 40
    assert np.all(dy == 1)
    single = {k: v.astype(np.float32) for k, v in layer.inputs.items()}
    assert "float32" in check_vjp(layer.forward, layer.backward, single).rule


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("x", lambda p, dy: dy @ p["W"]),
        ("W", lambda p, dy: (p["x"].T @ dy).T),
        ("b", lambda p, dy: dy.mean(axis=0)),
        ("x", lambda p, dy: np.sign(dy) @ p["W"].T),
    ],
)
def test_a_wrong_layer_is_rejected(name, wrong):
    layer = Dense()

    def backward(p, dy):
        return layer.backward(p, dy) | {name: wrong(p, dy)}

    with pytest.raises(GradientError) as caught:
        check_vjp(layer.forward, backward, layer.inputs)
    assert caught.value.report.path.startswith(f"['{name}']")


def test_a_layer_that_gives_something_else_is_refused():
    layer = Dense()
    with pytest.raises(ValueError, match=r"dy has shape \(4, 5\); expected \(5, 4\)"):
        check_vjp(layer.forward, layer.backward, layer.inputs, dy=np.ones((4, 5)))
    with pytest.raises(TypeError, match="expected one float array"):
        check_vjp(lambda p: p["x"] > 0, layer.backward, layer.inputs)
