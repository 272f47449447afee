"""The compiled engine against the reference: the contract, whole epochs, and every promise made
about bits, threads, zeros, interrupts and numbers that are not finite."""

from __future__ import annotations

import _thread
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler import numba_or_skip

from scratchnet.engines import DenseSpec, Plan
from scratchnet.engines import reference as ref

numba = numba_or_skip("the engine refuses")

from scratchnet.engines.compiled import ENGINE, records  # noqa: E402
from scratchnet.engines.compiled import session as fused  # noqa: E402
from scratchnet.engines.compiled.optimizer import OPTIMIZERS  # noqa: E402

ROOT = Path(__file__).parents[1]
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
BETA_1, BETA_2 = float(np.float32(0.9)), float(np.float32(0.999))


# --- an epoch of the reference --------------------------------------------------------------------


def make_plan(
    widths: tuple[int, ...],
    activations: tuple[str, ...],
    dtype: Any = F64,
    loss: str = "softmax_cross_entropy",
    reads: str = "Z",
    optimizer: str = "adam",
    bias: bool = True,
    scale: float = 1.0,
    offset: float = 0.0,
    **constants: Any,
) -> Plan:
    layers = tuple(
        DenseSpec(i, o, bias, a) for i, o, a in zip(widths, widths[1:], activations, strict=False)
    )
    known: dict[str, Any] = {"momentum": 0.0, "nesterov": False}
    if optimizer == "adam":
        known = {"one_minus_beta_1": 0.1, "one_minus_beta_2": 0.001, "epsilon": 1e-7}
        known["amsgrad"] = False
    known |= constants
    return Plan(np.dtype(dtype), scale, offset, layers, loss, reads, optimizer, known)


def rates_of(plan: Plan, n: int, rate: float = 1e-3) -> np.ndarray:
    t = np.arange(1, n + 1)
    if plan.optimizer == "sgd":
        return np.full(n, 20 * rate)
    return rate * np.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)


def layers_of(plan: Plan, flat: np.ndarray) -> list[tuple[np.ndarray, np.ndarray | None]]:
    result, at = [], 0
    for inputs, outputs, bias, _ in plan.layers:
        W = flat[at : at + inputs * outputs].reshape(inputs, outputs)
        at += W.size
        result.append((W, flat[at : at + outputs] if bias else None))
        at += outputs * bias
    return result


def start(plan: Plan, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    theta = np.zeros(sum((i + b) * o for i, o, b, _ in plan.layers), plan.dtype)
    for W, b in layers_of(plan, theta):
        W[:] = rng.uniform(-1, 1, W.shape) * np.sqrt(6 / sum(W.shape))
        if b is not None:
            b[:] = rng.normal(size=b.shape) / 10
    names = ["momentum"] if plan.constants.get("momentum") else []
    if plan.optimizer == "adam":
        names = ["momentum", "velocity", "velocity_hat"][: 3 if plan.constants["amsgrad"] else 2]
    return theta, {name: np.zeros_like(theta) for name in names}


def reference_step(
    plan: Plan, theta: Any, slots: Any, X: Any, T: Any, dl: Any, rate: float
) -> tuple[float, int]:
    layers, grad = layers_of(plan, theta), np.zeros_like(theta)
    grads, A, caches = layers_of(plan, grad), X, []
    for (W, b), spec in zip(layers, plan.layers, strict=True):
        Z = ref.dense(A, W, b)
        out = ref.ENGINE.activations[spec.activation].forward(Z)
        caches.append((A, Z, out))
        A = out
    loss = ref.ENGINE.losses[plan.loss]
    losses, cache = loss.forward(Z if plan.reads == "Z" else A, T)
    d = loss.backward(dl, T, cache)
    through = plan.reads == "A"
    for n in reversed(range(len(layers))):
        X_n, Z, out = caches[n]
        if through:
            d = ref.ENGINE.activations[plan.layers[n].activation].backward(d, Z, out)
        d = ref.dense_backward(d, X_n, layers[n][0], *grads[n], n > 0)
        through = True
    c = plan.constants
    if plan.optimizer == "sgd":
        ref.sgd(theta, grad, slots.get("momentum"), rate, c["momentum"], c["nesterov"])
    else:
        betas = c["one_minus_beta_1"], c["one_minus_beta_2"], c["epsilon"]
        moments = (slots.get(name) for name in ("momentum", "velocity", "velocity_hat"))
        ref.adam(theta, grad, *moments, rate, *betas)
    return float(np.sum(dl * losses)), int(np.sum(A.argmax(1) == T.argmax(1)))


def reference_epoch(
    plan: Plan,
    theta: Any,
    slots: Any,
    X: Any,
    T: Any,
    w: Any,
    order: Any,
    rates: Any,
    size: int,
    mean: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    number, rows = plan.dtype.type, []
    for n, at in enumerate(range(0, len(order), size)):
        pick = order[at : at + size]
        x = X[pick].astype(plan.dtype) * number(plan.scale) + number(plan.offset)
        dl = np.ones(len(pick), plan.dtype) if w is None else w[pick].astype(plan.dtype)
        dl = dl / number(len(pick) if mean else 1)
        T_n = T[pick].astype(plan.dtype)
        rows.append(reference_step(plan, theta, slots, x, T_n, dl, float(rates[n])))
    losses, right = zip(*rows, strict=True)
    return np.array(losses), np.array(right)


def draw_data(plan: Plan, n: int, density: float = 0.2, seed: int = 1) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    inputs, K = plan.layers[0].inputs, plan.layers[-1].outputs
    X = rng.random((n, inputs)) * (rng.random((n, inputs)) < density)
    return X.astype(plan.dtype), rng.integers(0, K, n)


def train(
    plan: Plan, X: Any, T: Any, order: Any, batch: int = 32, w: Any = None, **kw: Any
) -> tuple[np.ndarray, dict[str, np.ndarray], fused.Epoch]:
    theta, slots = start(plan)
    session = fused.open(plan, theta, slots, X, T, w, batch, **{"threads": 1, **kw})
    found = session.epoch(order, rates_of(plan, -(-len(order) // batch)))
    session.pull()
    session.close()
    return theta, slots, found


MNIST_LIKE = ((784, 50, 50, 10), ("relu", "relu", "sigmoid"))

# --- the contract ---------------------------------------------------------------------------------


def test_every_function_of_the_contract_has_a_kernel() -> None:
    """The engine's own functions are the reference's: to compare them would say nothing. What is
    compiled is compared in `test_kernels.py`, and whole epochs below."""
    assert replace(ref.ENGINE, name="compiled", fused=fused) == ENGINE
    assert fused.ACTIVATIONS.keys() == ref.ENGINE.activations.keys()
    assert fused.LOSSES.keys() == ref.ENGINE.losses.keys()
    assert OPTIMIZERS.keys() == ref.ENGINE.optimizers.keys()


# --- whole epochs: every activation, loss, optimizer ----------------------------------------------

CASES: dict[str, tuple[Plan, dict[str, Any]]] = {
    "the script's": (make_plan(*MNIST_LIKE), {}),
    "one layer": (make_plan((20, 3), ("sigmoid",)), {}),
    "ones": (
        make_plan((1, 1, 1), ("tanh", "sigmoid"), loss="mean_squared_error", reads="A"),
        {"batch": 1},
    ),
    "bias row before the last block": (make_plan((11, 7, 8), ("tanh", "linear")), {"batch": 5}),
    "softmax inside": (
        make_plan(
            (30, 17, 33, 65, 5),
            ("relu", "softmax", "tanh", "softmax"),
            loss="normalized_cross_entropy",
            reads="A",
        ),
        {"batch": 7, "weighted": True, "dense_targets": True},
    ),
    "nesterov, batch 1": (
        make_plan(
            (30, 40, 3),
            ("tanh", "sigmoid"),
            loss="clipped_cross_entropy",
            reads="A",
            optimizer="sgd",
            momentum=0.9,
            nesterov=True,
        ),
        {"batch": 1},
    ),
    "momentum": (
        make_plan((33, 48, 3), ("tanh", "sigmoid"), optimizer="sgd", momentum=0.9),
        {"batch": 64},
    ),
    "plain sgd, no zeros": (
        make_plan((30, 100, 3), ("linear", "linear"), optimizer="sgd"),
        {"density": 1.0, "batch": 1024, "dense_targets": True, "steps": 20},
    ),
    "eight hidden, amsgrad": (
        make_plan((50, *(20,) * 8, 10), ("relu", "tanh") * 4 + ("linear",), amsgrad=True),
        {"batch": 33, "mean": False},
    ),
    "wide": (
        make_plan((100, 512, 1024, 10), ("relu", "relu", "linear")),
        {"batch": 100, "steps": 20},
    ),
    "three passes of groups of samples": (
        make_plan((40, 20, 30, 5), ("relu", "tanh", "softmax")),
        {"batch": 300, "steps": 20},
    ),
    "no bias": (
        make_plan(
            (13, 9, 4), ("relu", "softmax"), bias=False, loss="mean_squared_error", reads="A"
        ),
        {"weighted": True, "density": 1.0},
    ),
    "all inputs 0": (make_plan((64, 30, 10), ("sigmoid", "softmax")), {"density": 0.0}),
}


@pytest.mark.parametrize(
    "name, steps",
    [(n, k) for n, (_, o) in CASES.items() for k in (1, 20, 300) if k <= o.get("steps", 300)],
)
def test_weights_follow_the_reference(name: str, steps: int) -> None:
    plan, options = CASES[name]
    batch, mean = options.get("batch", 32), options.get("mean", True)
    N = max(500, batch)
    X, y = draw_data(plan, N, options.get("density", 0.2))
    T = np.eye(plan.layers[-1].outputs)[y]
    rng = np.random.default_rng(5)
    if options.get("dense_targets"):
        T = np.abs(T + rng.normal(size=T.shape) / 10)
    w = rng.random(N) if options.get("weighted") else None
    order = np.concatenate([rng.permutation(N) for _ in range(-(-steps * batch // N))])
    order = order[: steps * batch - (batch // 2 if steps > 1 else 0)]
    rates = rates_of(plan, steps)

    theta, slots = start(plan)
    losses, right = reference_epoch(plan, theta, slots, X, T, w, order, rates, batch, mean)

    # float64 follows step by step; float32 stays as near to float64 as the reference's own does.
    for dtype in (F64, F32):
        small = plan._replace(dtype=dtype)
        mine, moments = start(small)
        given = T if options.get("dense_targets") else y
        session = fused.open(small, mine, moments, X, given, w, batch, 1, mean)
        found = session.epoch(order, rates)
        session.pull()
        size = np.abs(theta).max()
        if dtype == F64:
            np.testing.assert_allclose(mine, theta, rtol=0, atol=2e-13 * size)
            np.testing.assert_allclose(found.losses, losses, rtol=1e-12, atol=1e-13)
            np.testing.assert_array_equal(found.right, right)
            for key, moment in moments.items():
                limit = 1e-12 * np.abs(slots[key]).max() + 1e-30
                np.testing.assert_allclose(moment, slots[key], rtol=0, atol=limit)
        else:
            # Where a relu's kink is near, one ulp at the start decides: so 8 starts are compared.
            apart, drift, nudge = np.abs(mine - theta).max(), 0.0, np.random.default_rng(0)
            for nudged in range(8):
                twin, twin_slots = start(small)
                if nudged:
                    twin += np.spacing(twin) * nudge.integers(-1, 2, twin.size).astype(F32)
                reference_epoch(small, twin, twin_slots, X, T, w, order, rates, batch, mean)
                drift = max(drift, np.abs(twin - theta).max())
                if apart <= 10 * drift + 1e-6 * size:
                    break
            assert apart <= 10 * drift + 1e-6 * size
        assert found.bad is None and found.done == steps


def test_mean_and_sum_differ_by_the_batch() -> None:
    plan = make_plan((20, 3), ("linear",), optimizer="sgd")
    X, y = draw_data(plan, 40)
    mean = train(plan, X, y, np.arange(40), mean=True)[2].losses
    total = train(plan, X, y, np.arange(40), mean=False)[2].losses
    np.testing.assert_allclose(total[0], 32 * mean[0], rtol=1e-13)


# --- bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("density", [0.2, 1.0])
@pytest.mark.parametrize(
    "widths, batch", [((784, 50, 50, 10), 32), ((90, 600, 300, 7), 100), ((5, 7), 3)]
)
def test_bits_do_not_depend_on_threads(
    dtype: Any, density: float, widths: Any, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(widths, ("relu",) * (len(widths) - 2) + ("sigmoid",), dtype)
    X, y = draw_data(plan, 600, density)
    order = np.random.default_rng(0).permutation(600)
    expected = train(plan, X, y, order, batch)
    for threads in (2, 3, 4):
        monkeypatch.setattr(fused, "threads_allowed", lambda asked: asked)
        theta, slots, found = train(plan, X, y, order, batch, threads=threads)
        np.testing.assert_array_equal(theta, expected[0])
        np.testing.assert_array_equal(slots["velocity"], expected[1]["velocity"])
        np.testing.assert_array_equal(found.losses, expected[2].losses)


def test_second_moments_that_nobody_sees_end_at_0() -> None:
    """Without a gradient they shrink for ever: as denormal numbers they took twice the time."""
    plan = make_plan((40, 6, 3), ("relu", "softmax"), F32)
    X, y = draw_data(plan, 64, 1.0)
    X[:, ::2] = 0
    order = np.resize(np.arange(64), 6400)
    for switches, ends in ((fused.Switches(), True), (fused.Switches(flush=False), False)):
        theta, slots = start(plan)
        slots["velocity"][:] = 1e-29
        session = fused.open(plan, theta, slots, X, y, batch_size=1, threads=1, switches=switches)
        session.epoch(order, rates_of(plan, order.size))
        session.pull()
        unlit = slots["velocity"][: 40 * 6].reshape(40, 6)[::2]
        assert (unlit == 0).all() if ends else (unlit > 0).all()
        assert (slots["velocity"][: 40 * 6].reshape(40, 6)[1::2] > 1e-20).any()


def test_threads_that_lag_are_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(*MNIST_LIKE, F32)
    X, y = draw_data(plan, 2000)
    order = np.resize(np.random.default_rng(0).permutation(2000), 40_000)
    expected = train(plan, X, y, order)[0]
    monkeypatch.setattr(fused, "threads_allowed", lambda asked: asked)
    stop, burners = threading.Event(), []
    code = "import time\nt = time.time()\nwhile time.time() - t < 20: pass"
    burners = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    try:
        clock = time.perf_counter()
        theta = train(plan, X, y, order, threads=4)[0]
        elapsed = time.perf_counter() - clock
    finally:
        stop.set()
        for burner in burners:
            burner.kill()
            burner.wait()
    np.testing.assert_array_equal(theta, expected)
    assert elapsed < 15


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("switch", ["zeros", "aligned", "one_call"])
def test_bits_do_not_depend_on_switches(dtype: Any, switch: str) -> None:
    plan = make_plan(*MNIST_LIKE, dtype)
    X, y = draw_data(plan, 300)
    order = np.random.default_rng(0).permutation(300)
    expected, _, _ = train(plan, X, y, order)
    off = fused.Switches(**{switch: False})
    theta, _, found = train(plan, X, y, order, switches=off)
    np.testing.assert_array_equal(theta, expected)
    assert found.bad is None


def test_bits_do_not_depend_on_pieces() -> None:
    plan = make_plan(*MNIST_LIKE, F32)
    X, y = draw_data(plan, 300)
    order = np.random.default_rng(0).permutation(300)
    expected, _, whole = train(plan, X, y, order)
    theta, slots = start(plan)
    session = fused.open(plan, theta, slots, X, y, threads=1)
    rates, losses = rates_of(plan, 10), []
    for k in range(10):
        losses.extend(session.epoch(order, rates, k, k + 1).losses)
        session.pull()
        session.push()
    np.testing.assert_array_equal(theta, expected)
    np.testing.assert_array_equal(losses, whole.losses)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("offset", [0.0, -0.5])
def test_bytes_are_scaled_on_the_fly(dtype: Any, offset: float) -> None:
    plan = make_plan(*MNIST_LIKE, dtype, scale=1 / 255, offset=offset)
    rng = np.random.default_rng(0)
    X = (rng.integers(0, 256, (200, 784)) * (rng.random((200, 784)) < 0.2)).astype(np.uint8)
    X.flags.writeable = False
    y, order = rng.integers(0, 10, 200), rng.permutation(200)
    one = train(plan, X, y, order)[0]
    floats = X.astype(dtype) * dtype.type(1 / 255) + dtype.type(offset)
    two = train(plan._replace(scale=1.0, offset=0.0), floats, y, order)[0]
    np.testing.assert_array_equal(one, two)


def test_labels_are_one_hot_targets() -> None:
    plan = make_plan(*MNIST_LIKE, F32)
    X, y = draw_data(plan, 100)
    one, _, a = train(plan, X, y.astype(np.uint8), np.arange(100))
    two, _, b = train(plan, X, np.eye(10)[y], np.arange(100))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(a.right, b.right)


# --- what an epoch tells --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
def test_ties_of_saturated_outputs_go_to_the_lowest(dtype: Any) -> None:
    plan = make_plan((784, 10), ("sigmoid",), dtype)
    X, y = draw_data(plan, 500)
    theta, slots = start(plan)
    theta *= 40 if dtype == F32 else 100
    session = fused.open(plan, theta.copy(), slots, X, y, threads=1)
    found = session.epoch(np.arange(500), np.zeros(16))
    (W, b), *_ = layers_of(plan, theta)
    outputs = ref.sigmoid(ref.dense(X, W, b))
    assert np.mean(np.sum(outputs == 1, axis=1) > 1) > 0.3, "the case must have ties"
    assert abs(found.right.sum() - np.sum(outputs.argmax(1) == y)) <= 1
    assert np.sum(ref.dense(X, W, b).argmax(1) == y) != np.sum(outputs.argmax(1) == y)


@pytest.mark.parametrize("density", [0.2, 1.0])
def test_a_sample_that_is_not_finite_is_named(density: float) -> None:
    plan = make_plan(*MNIST_LIKE, F32)
    X, y = draw_data(plan, 320, density)
    X[200, 5] = np.nan
    found = train(plan, X, y, np.arange(320))[2]
    assert (found.bad, found.what, found.done) == (6, "weights", 7) or found.what == "loss"
    assert found.bad == 6 and np.isfinite(found.losses[:6]).all()


@pytest.mark.parametrize("density", [0.2, 1.0])
def test_weights_that_are_not_finite_are_named_though_every_loss_is(density: float) -> None:
    plan = make_plan((40, 30, 4), ("tanh", "linear"), F32, optimizer="sgd")
    X, y = draw_data(plan, 320, density)
    X[:, 7] = 0
    X[150, 7] = 1e-20
    theta, slots = start(plan)
    session = fused.open(plan, theta, slots, X, y, threads=1)
    rates = np.full(10, 0.01)
    rates[4] = np.inf
    found = session.epoch(np.arange(320), rates)
    assert (found.bad, found.what, found.done) == (4, "weights", 5)


def test_weights_not_finite_from_the_start_meet_every_zero() -> None:
    plan = make_plan((40, 3), ("linear",), F32)
    X, y = draw_data(plan, 32)
    X[:, 7] = 0
    theta, slots = start(plan)
    layers_of(plan, theta)[0][0][7, 0] = np.inf
    session = fused.open(plan, theta, slots, X, y, threads=1)
    assert not session.compressed
    assert session.epoch(np.arange(32), np.ones(1) * 1e-3).bad == 0


# --- prediction -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("n", [0, 1, 63, 1000, 2500])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_predict_and_evaluate(dtype: Any, n: int, kind: Any) -> None:
    plan = make_plan(*MNIST_LIKE, dtype, scale=1 / 255)
    theta, _ = start(plan)
    rng = np.random.default_rng(0)
    X = (rng.integers(0, 256, (n, 784)) * (rng.random((n, 784)) < 0.2)).astype(kind)
    y, w = rng.integers(0, 10, n), rng.random(n)
    A = X.astype(F64) * plan.scale
    for (W, b), spec in zip(layers_of(plan, theta.astype(F64)), plan.layers, strict=True):
        Z = ref.dense(A, W, b)
        A = ref.ENGINE.activations[spec.activation].forward(Z)
    found = fused.predict(plan, theta, X, threads=2)
    assert found.dtype == dtype and found.shape == (n, 10)
    limit = 1e-5 if dtype == F32 else 1e-13
    np.testing.assert_allclose(found, A, rtol=0, atol=limit)
    np.testing.assert_array_equal(found, fused.predict(plan, theta, X, threads=1))
    loss, right = fused.evaluate(plan, theta, X, y, w, threads=2)
    losses = ref.softmax_cross_entropy(Z, np.eye(10)[y])[0] if n else np.zeros(0)
    np.testing.assert_allclose(loss, np.sum(w * losses), rtol=limit * 10)
    assert right == np.sum(found.argmax(1) == y) if n else right == 0
    soft = rng.random((n, 10))
    loss, _ = fused.evaluate(plan, theta, X, soft, w, threads=2)
    losses = ref.softmax_cross_entropy(Z, soft)[0] if n else np.zeros(0)
    np.testing.assert_allclose(loss, np.sum(w * losses), rtol=limit * 10)


def test_predict_is_what_training_saw() -> None:
    plan = make_plan(*MNIST_LIKE, F32)
    X, y = draw_data(plan, 320)
    theta, slots = start(plan)
    expected = fused.evaluate(plan, theta, X, y, threads=1)
    session = fused.open(plan, theta, slots, X, y, threads=1)
    found = session.epoch(np.arange(320), np.zeros(10))
    assert found.right.sum() == expected[1]
    np.testing.assert_allclose(32 * found.losses.sum(), expected[0], rtol=1e-6)


# --- errors, before anything is touched -----------------------------------------------------------


@pytest.mark.parametrize("density", [0.2, 1.0])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("at", [0, 7 * 1_500 + 3, -1])
def test_predicting_finds_a_number_that_is_not_finite(
    kind: Any, density: float, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is: in the first call, in one in between, or in the last one."""
    plan = make_plan((7, 5, 3), ("relu", "softmax"), F32)
    monkeypatch.setattr(fused, "PREDICT_NUMBERS", 7 * 300)
    X, y = draw_data(plan, 2100, density)
    theta, _ = start(plan)
    for number in (np.nan, -np.inf, 1e300 if kind is np.float64 else np.inf):
        hole = X.astype(kind)
        hole.ravel()[at] = number
        for threads in (1, 2):
            with pytest.raises(FloatingPointError, match="not finite float32 numbers"):
                fused.predict(plan, theta, hole, threads=threads)
        with pytest.raises(FloatingPointError, match="not finite float32 numbers"):
            fused.evaluate(plan, theta, hole, y)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"X": np.zeros((4, 5))}, r"X has shape \(4, 5\)"),
        ({"T": np.array([0, 1, 2, 10])}, "labels from 0 to 10"),
        ({"T": np.array([0, -1, 2, 3])}, "labels from -1 to 3"),
        ({"T": np.zeros((4, 3))}, r"T has shape \(4, 3\)"),
        ({"T": np.zeros(3, int)}, "T has 3 rows"),
        ({"weights": np.ones(5)}, "weights has 5 rows"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"slots": {}}, "needs 'momentum'"),
        ({"theta": np.zeros(3)}, "theta is"),
        ({"threads": 0}, "threads=0"),
    ],
)
def test_refusals(change: dict[str, Any], words: str) -> None:
    plan = make_plan(*MNIST_LIKE)
    theta, slots = start(plan)
    given = {"theta": theta, "slots": slots, "X": np.zeros((4, 784)), "T": np.zeros(4, int)}
    with pytest.raises(ValueError, match=words):
        fused.open(plan, **{**given, **change})


@pytest.mark.parametrize("field", ["loss", "reads", "optimizer"])
def test_plans_that_are_not_known(field: str) -> None:
    plan = make_plan(*MNIST_LIKE)._replace(**{field: "nothing"})
    with pytest.raises(ValueError, match=f"{field}='nothing'"):
        fused.check(plan)


def test_an_order_that_names_other_samples() -> None:
    plan = make_plan((5, 2), ("linear",))
    theta, slots = start(plan)
    session = fused.open(plan, theta, slots, np.ones((4, 5)), np.zeros(4, int))
    with pytest.raises(ValueError, match="samples 0 to 4"):
        session.epoch(np.arange(5), np.ones(1))
    with pytest.raises(ValueError, match="an order of 8"):
        session.epoch(np.arange(8) % 4, np.ones(1))
    with pytest.raises(ValueError, match="0 rates"):
        session.epoch(np.arange(4), np.ones(0))


# --- robust ---------------------------------------------------------------------------------------


def test_nothing_is_compiled_twice() -> None:
    sparse = make_plan(*MNIST_LIKE, F32)
    X, y = draw_data(sparse, 100)
    deep = make_plan((20, 300, 9, 8, 4), ("tanh", "softmax", "linear", "softmax"), F32)
    train(sparse, X, y, np.arange(100))
    dense = make_plan((5, 2), ("linear",), F32)
    train(dense, *draw_data(dense, 9, 1.0), np.arange(9))
    before = len(fused._train_batches.signatures)
    train(sparse, X, y, np.arange(77), 13)
    train(sparse, X, np.eye(10)[y], np.arange(77), 13, w=np.ones(100))
    train(deep, *draw_data(deep, 90, 1.0), np.arange(90), 1)
    X.flags.writeable = False
    train(sparse, X, y, np.arange(100))
    assert len(fused._train_batches.signatures) == before
    assert fused.compiled_before()


@pytest.mark.parametrize("threads", [1, 2])
def test_interrupt(threads: int) -> None:
    """Within 0.2 s; a loaded machine may be late for reasons of its own, but not five times."""
    waited = [1.0]
    while min(waited) > 0.2 and len(waited) < 6:
        waited.append(interrupted(threads))
    assert min(waited) <= 0.2


def interrupted(threads: int) -> float:
    """Ctrl-C comes through, and the session stands after a whole number of batches; after how many
    seconds."""
    plan = make_plan(*MNIST_LIKE, F32)
    X, y = draw_data(plan, 2000)
    order = np.resize(np.random.default_rng(0).permutation(2000), 2_000_000)
    rates = rates_of(plan, order.size // 32)
    theta, slots = start(plan)
    session = fused.open(plan, theta, slots, X, y, threads=threads)
    session.epoch(order, rates, 0, 1)
    when: list[float] = []

    def ring() -> None:
        when.append(time.perf_counter())
        _thread.interrupt_main()

    bell = threading.Timer(0.4, ring)
    bell.start()
    with pytest.raises(KeyboardInterrupt):
        session.epoch(order, rates, 1)
    waited = time.perf_counter() - when[0]
    bell.join()
    session.pull()
    done = session.done
    assert 1 < done < order.size // 32
    assert threading.active_count() == 1 or not any(
        t.name.startswith("scratchnet") for t in threading.enumerate()
    )
    again, slots = start(plan)
    session = fused.open(plan, again, slots, X, y, threads=1)
    session.epoch(order, rates, 0, done)
    session.pull()
    np.testing.assert_array_equal(theta, again)
    return waited


def test_a_thread_that_fails_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "threads_allowed", lambda asked: asked)
    plan = make_plan((30, 20, 4), ("relu", "sigmoid"), F32)
    X, y = draw_data(plan, 200)
    theta, slots = start(plan)
    session = fused.open(plan, theta, slots, X, y, threads=2)
    real = fused._train_batches

    def failing(*args: Any) -> Any:
        if args[-2] > 0:
            raise MemoryError("no room")
        return real(*args)

    monkeypatch.setattr(fused, "_train_batches", failing)
    with pytest.raises(RuntimeError, match="no room"):
        session.epoch(np.arange(200), rates_of(plan, 7))


def test_a_thread_that_fails_while_predicting_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or its part of the outputs would be whatever stood in that memory."""
    plan = make_plan((7, 5, 3), ("relu", "softmax"), F32)
    predict = fused._predict_batches

    def failing(*args: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError("no room")
        return predict(*args)

    monkeypatch.setattr(fused, "_predict_batches", failing)
    with pytest.raises(MemoryError, match="no room"):
        fused.predict(plan, start(plan)[0], np.ones((2000, 7), np.float32), threads=2)


def test_two_fits_at_once() -> None:
    plan = make_plan(*MNIST_LIKE, F32)
    X, y = draw_data(plan, 2000)
    order = np.random.default_rng(0).permutation(2000)
    expected = train(plan, X, y, order)[0]
    found: list[np.ndarray] = []
    both = [
        threading.Thread(target=lambda: found.append(train(plan, X, y, order, threads=2)[0]))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert len(found) == 2
    for theta in found:
        np.testing.assert_array_equal(theta, expected)


def _child(plan: Plan, X: Any, y: Any, order: Any, queue: Any) -> None:
    queue.put(train(plan, X, y, order, threads=2)[0])


@pytest.mark.parametrize("how", multiprocessing.get_all_start_methods())
def test_a_child_trains_as_its_parent_did(how: str) -> None:
    plan = make_plan((30, 20, 4), ("relu", "sigmoid"), F32)
    X, y = draw_data(plan, 200)
    order = np.arange(200)
    expected = train(plan, X, y, order, threads=2)[0]
    context = multiprocessing.get_context(how)
    queue = context.Queue()
    child = context.Process(target=_child, args=(plan, X, y, order, queue))
    child.start()
    found = queue.get(timeout=120)
    child.join(60)
    np.testing.assert_array_equal(found, expected)


def test_no_thread_is_left_waiting() -> None:
    plan = make_plan(*MNIST_LIKE, F32)
    X, y = draw_data(plan, 1000)
    train(plan, X, y, np.arange(1000), threads=2)
    clock = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - clock < 0.1


def test_threads_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused.os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert fused.threads_allowed(8) == 1
    monkeypatch.setattr(fused.os, "sched_getaffinity", lambda pid: {*range(64)}, raising=False)
    monkeypatch.setattr(fused, "Path", lambda name: _Limit("200000 100000"))
    assert fused.threads_allowed(8) == 2
    monkeypatch.setattr(fused, "Path", lambda name: _Limit("max 100000"))
    assert fused.threads_allowed(8) == min(8, records.CHUNKS)
    monkeypatch.setattr(fused.config, "NUMBA_NUM_THREADS", 3)
    assert fused.threads_allowed() == 3


class _Limit:
    def __init__(self, text: str) -> None:
        self.text = text

    def read_text(self) -> str:
        return self.text


ASKED = """
import sys, warnings
from scratchnet.engines import compiled, get_engine
reason = compiled.unavailable()
assert reason == compiled.unavailable() and len(reason.splitlines()) == 1
assert sys.argv[1] in reason and "engine='reference'" in reason, reason
for ask in (lambda: compiled.ENGINE, lambda: get_engine("compiled")):
    try: ask()
    except (RuntimeError, ValueError) as error: assert str(error) == reason
    else: raise SystemExit("it did not refuse")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    assert get_engine("auto").name == "reference"
(one,) = said
assert str(one.message) == f"{reason} Training goes on with the reference engine."
"""


def asked(words: str, path: str = "", **environment: str) -> None:
    """Where the engine can't run, a process says why, in a sentence with these words."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED, words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([path, str(ROOT)]), **environment},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_jit_it_refuses_in_one_sentence() -> None:
    asked("NUMBA_DISABLE_JIT=1", NUMBA_DISABLE_JIT="1")


@pytest.mark.parametrize("number", ["0", "-1", "abc", "1.5", "", "1e3", "2 3", "None"])
def test_a_number_of_threads_that_is_none_is_refused_before_numba_fails(number: str) -> None:
    """Numba raises a ValueError on import for some, and warns with a traceback for the others."""
    asked(f"NUMBA_NUM_THREADS={number!r}", NUMBA_NUM_THREADS=number)


@pytest.mark.parametrize("number", ["0", "abc"])
def test_the_commands_say_so_without_a_traceback(number: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": number}
    train = ["train", "--engine", "compiled", "--out", str(tmp_path / "run")]
    code = "from scratchnet.app.cli import main; main()"
    for arguments, status in ((["doctor"], 0), (train, 2)):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**environment, "COLUMNS": "1000"},
            capture_output=True,
            text=True,
        )
        told = done.stdout + done.stderr
        assert done.returncode == status, told
        assert f"NUMBA_NUM_THREADS={number!r}: expected" in told and "Traceback" not in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", ["1", " 2 ", "99999999999"])
def test_any_whole_number_of_threads_will_do(number: str) -> None:
    code = "from scratchnet.engines import compiled; print(compiled.ENGINE.fused.threads_allowed())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": number},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 1 <= int(done.stdout) <= min(int(number), records.CHUNKS)


@pytest.mark.parametrize(
    "code, words",
    [
        ("raise ImportError('Numba needs NumPy 1.0 or less.')", "Numba needs NumPy 1.0 or less."),
        ("raise ValueError('first\\nlast')", "'last'"),
        ("raise OSError", "OSError()"),
        ("import nothing_of_that_name", "install numba"),
    ],
)
def test_a_numba_that_cannot_be_imported_is_told_of_in_one_sentence(
    code: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "numba.py").write_text(code)
    asked(words, str(tmp_path))
