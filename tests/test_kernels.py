"""The compiled kernels, each by itself, against the reference's functions of the same equation.

The two sides share no code: here vectors of LLVM registers over samples that are lanes, there NumPy
in long double on the kernel's own float32 or float64 input, as good as exact. Each bound counts the
roundings of the kernel: u is half the distance from 1 to the next number, `exp`, `log` and the
reciprocal are wrong by 4 u at most, `tanh` by 6 u (`test_vector.py`), and a sum of K terms by K u
of their magnitude.
"""

from __future__ import annotations

import copy
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from compiler import numba_or_skip

from scratchnet.engines import DenseSpec, Plan
from scratchnet.engines import reference as ref
from scratchnet.engines.memory import aligned_zeros
from scratchnet.optimizers import Optimizer
from scratchnet.support import through_float32
from scratchnet.testing.magnitude import CURVED
from scratchnet.testing.variants import KINDS, values

numba = numba_or_skip()

from scratchnet.engines.compiled import elementwise, optimizer, records, session, step  # noqa: E402
from scratchnet.engines.compiled.layout import ACTIVATIONS, LOSSES, Layout  # noqa: E402
from scratchnet.engines.compiled.vector import (  # noqa: E402
    WIDTH_16,
    lanes,
    load,
    splat,
    store,
    sum_lanes,
    zeros,
)

DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]
Exact = np.longdouble


def unit(dtype: Any) -> Any:
    """u: half the distance from 1 to the next number."""
    return Exact(np.finfo(dtype).eps) / 2


def assert_within(found: np.ndarray, exact: np.ndarray, bound: np.ndarray) -> None:
    """|found - exact| <= bound everywhere; the bound is of the same shape."""
    assert np.isfinite(found).all()
    error = np.abs(found.astype(Exact) - exact)
    worst = np.unravel_index(np.argmax(error - bound), error.shape)
    assert (error <= bound).all(), f"at {worst}: {found[worst]} for {exact[worst]}, {bound[worst]}"


class Buffers:
    """Matrices of one group's samples (n, K) in one flat array, as kernels see them: K rows of
    lanes, `stride` numbers apart, with numbers between and behind them that nobody may touch."""

    def __init__(self, dtype: Any, K: int, *matrices: str) -> None:
        self.n, self.K = 64 // dtype.itemsize, K
        self.stride = 2 * self.n
        self.size = (K + 1) * self.stride
        self.M = aligned_zeros(self.size * len(matrices), dtype)
        self.M[:] = 99
        self.at = {name: i * self.size for i, name in enumerate(matrices)}

    def __getitem__(self, name: str) -> np.ndarray:
        """(n, K), a view."""
        at = self.at[name]
        rows = self.M[at : at + self.size].reshape(-1, self.stride)
        return rows[: self.K, : self.n].T

    def __setitem__(self, name: str, values: Any) -> None:
        self[name][:] = values

    def assert_nothing_else_changed(self) -> None:
        rows = self.M.reshape(-1, self.K + 1, self.stride)
        assert (rows[:, self.K] == 99).all() and (rows[:, :, self.n :] == 99).all()


# --- activations: elementwise.py against reference.py ---------------------------------------------


@numba.njit
def _forward(M: Any, code: Any, z: Any, a: Any, K: Any, stride: Any) -> None:
    elementwise.apply_activation(M, code, z, a, K, stride, zeros(M, WIDTH_16))


@numba.njit
def _backward(M: Any, code: Any, a: Any, d: Any, K: Any, stride: Any) -> None:
    elementwise.apply_activation_backward(M, code, a, d, K, stride, zeros(M, WIDTH_16))


def draw_z(dtype: Any, n: int, K: int, seed: int = 0) -> np.ndarray:
    """Pre-activations of every size, saturated ones and both zeros among them."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, K)) * 10.0 ** rng.uniform(-3, 2, (n, K))
    ends = np.array([0.0, -0.0, 1e-30, -1e-30, 60.0, -60.0, 300.0, -300.0])
    some = rng.random((n, K)) < 0.2
    Z[some] = rng.choice(ends, some.sum())
    return Z.astype(dtype)


def forward_bound(name: str, Z: Any, A: Any, K: int, dtype: Any) -> Any:
    """The roundings of each activation's kernel. Where exp(Z) is no normal number it is 0."""
    u, smallest = unit(dtype), Exact(np.finfo(dtype).tiny)
    if name not in CURVED:  # a product, which is exact for slopes 0 and 1
        return u * np.where((A == 0) | (A == Z), 0, np.abs(A))
    if name == "tanh":
        return 6 * u * A.__abs__()
    if name == "sigmoid":  # e is wrong by 4 u, and so may 1 + e be; two more roundings
        return 10 * u * A + smallest
    # exp(Z - max): 4 u, and u |Z - max| from the difference; all of it once more in the sum
    below = Z.max(axis=-1, keepdims=True) - Z
    return (4 + below + 4 + K + np.sum(A * below, axis=-1, keepdims=True) + 1) * u * A + smallest


def backward_bound(name: str, dA: Any, A: Any, K: int, dtype: Any) -> Any:
    u = unit(dtype)
    if name not in CURVED:
        dZ = ref.ENGINE.activations[name].backward(dA, A, A)  # A has the sign of Z
        return u * np.where((dZ == 0) | (dZ == dA), 0, np.abs(dZ))
    if name == "tanh":  # A A and 1 - A A and the product
        return 3 * u * np.abs(dA)
    if name == "sigmoid":  # 1 - A and two products
        return 3 * u * np.abs(dA) * A * (1 - A)
    inner = np.sum(np.abs(dA) * A, axis=-1, keepdims=True)
    return A * ((K + 2) * u * inner + 2 * u * np.abs(dA))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [1, 7, 40])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_the_references(name: str, K: int, dtype: Any) -> None:
    """`apply_activation` and its backward against the reference's `ActivationFunction`."""
    theirs, code = ref.ENGINE.activations[name], ACTIVATIONS[name]
    for seed in range(4):
        buffers = Buffers(dtype, K, "Z", "A", "in place", "dZ")
        at, Z = buffers.at, draw_z(dtype, buffers.n, K, seed)
        dA = draw_z(dtype, buffers.n, K, seed + 99)
        buffers["Z"] = buffers["in place"] = Z
        buffers["dZ"] = dA
        _forward(buffers.M, code, at["Z"], at["A"], K, buffers.stride)
        _forward(buffers.M, code, at["in place"], at["in place"], K, buffers.stride)
        A = buffers["A"].copy()
        exact = theirs.forward(Z.astype(Exact))
        assert_within(A, exact, forward_bound(name, Z.astype(Exact), exact, K, dtype))
        np.testing.assert_array_equal(buffers["in place"], A)
        np.testing.assert_array_equal(buffers["Z"], Z)

        _backward(buffers.M, code, at["A"], at["dZ"], K, buffers.stride)
        wide = A.astype(Exact)
        exact = theirs.backward(dA.astype(Exact), Z.astype(Exact), wide)
        bound = backward_bound(name, dA.astype(Exact), wide, K, dtype)
        smallest = 2 * Exact(np.finfo(dtype).tiny)
        assert_within(buffers["dZ"], exact, bound + smallest)
        np.testing.assert_array_equal(buffers["A"], A)
        buffers.assert_nothing_else_changed()


def test_what_every_activation_gives_at_known_points() -> None:
    """Numbers that are exact in both engines: the ends, the middle, the kink."""
    known = {
        "linear": {-2.0: -2.0, 0.0: 0.0, 3.0: 3.0},
        "relu": {-2.0: 0.0, 0.0: 0.0, 1e-30: np.float32(1e-30), 3.0: 3.0, np.inf: np.inf},
        "sigmoid": {-1000.0: 0.0, -np.inf: 0.0, 0.0: 0.5, 1000.0: 1.0, np.inf: 1.0},
        "tanh": {-1000.0: -1.0, 0.0: 0.0, 1000.0: 1.0, -np.inf: -1.0, np.inf: 1.0},
    }
    for name, points in known.items():
        for z, a in points.items():
            buffers = Buffers(DTYPES[0], 1, "Z", "A")
            buffers["Z"] = z
            _forward(buffers.M, ACTIVATIONS[name], 0, buffers.at["A"], 1, buffers.stride)
            assert (buffers["A"] == np.float32(a)).all(), (name, z)
            theirs = ref.ENGINE.activations[name].forward(np.array([z], np.float32))
            assert theirs[0] == np.float32(a), (name, z)


def test_the_kink_of_relu_has_slope_0() -> None:
    buffers = Buffers(DTYPES[0], 3, "A", "dZ")
    buffers["A"], buffers["dZ"] = [0.0, -0.0, 1e-30], 7
    _backward(buffers.M, ACTIVATIONS["relu"], 0, buffers.at["dZ"], 3, buffers.stride)
    assert (buffers["dZ"] == [0, 0, 7]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_passes_nan_on(name: str, place: int, dtype: Any) -> None:
    """In both engines, in the sample that has it, and only there."""
    buffers = Buffers(dtype, 5, "Z", "A")
    Z = draw_z(dtype, buffers.n, 5)
    Z[3, place] = np.nan
    buffers["Z"] = Z
    _forward(buffers.M, ACTIVATIONS[name], 0, buffers.at["A"], 5, buffers.stride)
    for A in (buffers["A"], ref.ENGINE.activations[name].forward(Z)):
        lost = np.isnan(A)
        assert lost[3].all() if name == "softmax" else lost[3, place]
        assert lost.sum() == (5 if name == "softmax" else 1)


# --- losses: elementwise.py against reference.py --------------------------------------------------


@numba.njit
def _loss(M: Any, code: Any, f: Any, t: Any, d: Any, K: Any, stride: Any, dl: Any, out: Any) -> Any:
    like = zeros(M, WIDTH_16)
    found = elementwise.loss_and_gradient(M, code, f, t, d, K, stride, load(M, dl, like))
    store(M, out, found)


def losses_of(name: str, F: Any, T: Any, dl: Any, dtype: Any) -> tuple[Any, Any]:
    """The kernel's losses (n,) and dF (n, K); F and T must come through unchanged."""
    K = F.shape[1]
    buffers = Buffers(dtype, K, "F", "T", "dF", "dl", "l")
    at = buffers.at
    buffers["F"], buffers["T"] = F, T
    buffers["dl"][:, 0] = dl
    places = at["F"], at["T"], at["dF"], K, buffers.stride, at["dl"], at["l"]
    _loss(buffers.M, LOSSES[name], *places)
    np.testing.assert_array_equal(buffers["F"], F)
    np.testing.assert_array_equal(buffers["T"], T)
    buffers.assert_nothing_else_changed()
    return buffers["l"][:, 0].copy(), buffers["dF"].copy()


def loss_bounds(name: str, F: Any, T: Any, dl: Any, exact: Any, u: Any) -> tuple[Any, Any]:
    """Roundings of each loss's kernel: of the losses, and of dF."""
    losses, dF = exact
    K, dl = F.shape[1], dl[:, None]
    W = T.sum(axis=-1, keepdims=True)
    if name == "mean_squared_error":
        return (K + 5) * u * losses, 5 * u * np.abs(dF)
    if name == "normalized_cross_entropy":
        total = F.sum(axis=-1, keepdims=True)
        Q = np.clip(F / total, 1e-7, 1 - 1e-7)
        dQ = dl * T / Q
        each = T * ((K + 2) * u + (K + 6) * u * np.abs(np.log(Q)))
        sums = np.abs(dQ) + 3 * np.sum(dQ * Q, axis=-1, keepdims=True)
        return each.sum(axis=-1), (K + 8) * u * sums / total
    clipped = np.clip(F, 1e-7, 1 - 1e-7)
    given = np.log(clipped) if name == "clipped_cross_entropy" else F
    # F of the clipped loss is itself a logarithm, wrong by 4 u of at most log(1e7) and u of its end
    rough = 2 * (4 * 16.2 + 1) * u if name == "clipped_cross_entropy" else 0 * u
    below = given.max(axis=-1, keepdims=True) - given
    p = np.exp(-below) / np.exp(-below).sum(axis=-1, keepdims=True)
    inner = np.sum(T * below, axis=-1, keepdims=True)
    of_loss = u * (W * (4 + 2 * K) + (K + 8) * (W * np.log(K) + inner)) + W * rough
    of_dF = u * dl * (p * W * (2 * K + 14) + 0.4 * W + 2 * np.abs(p * W - T)) + dl * W * p * rough
    of_dF = of_dF + records.SMALLEST_GRADIENT
    if name == "clipped_cross_entropy":
        of_dF = of_dF / clipped + 3 * u * np.abs(dF)
    return of_loss[:, 0], of_dF


def draw_loss(name: str, dtype: Any, K: int, seed: int) -> tuple[Any, Any, Any]:
    """What a loss reads, targets (one-hot, soft, of any sum) and weights."""
    rng = np.random.default_rng(seed)
    n = 64 // dtype.itemsize
    if name == "softmax_cross_entropy":
        F = draw_z(np.dtype(float), n, K, seed)
    elif name == "mean_squared_error":
        F = rng.normal(size=(n, K)) * 3
    else:  # probabilities, some of them clipped, none near enough to the ends to be told apart
        F = rng.uniform(0.01, 0.99, (n, K))
        F[rng.random((n, K)) < 0.2] = 1e-9
    if name == "clipped_cross_entropy":
        F[rng.random((n, K)) < 0.2] = 1
    T = np.eye(K)[rng.integers(0, K, n)] if seed % 2 else rng.random((n, K))
    return F.astype(dtype), T.astype(dtype), rng.uniform(0.01, 2, n).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [1, 2, 10])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_the_references(name: str, K: int, dtype: Any) -> None:
    """`loss_and_gradient` against the reference's `LossFunction`."""
    for seed in range(6):
        F, T, dl = draw_loss(name, dtype, K, seed)
        losses, dF = losses_of(name, F, T, dl, dtype)
        wide = tuple(array.astype(Exact) for array in (F, T, dl))
        l_exact, cache = ref.ENGINE.losses[name].forward(*wide[:2])
        d_exact = ref.ENGINE.losses[name].backward(wide[2], wide[1], cache)
        bounds = loss_bounds(name, *wide, (l_exact, d_exact), unit(dtype))
        assert_within(losses, l_exact, bounds[0])
        assert_within(dF, d_exact, bounds[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_passes_nan_on(name: str, dtype: Any) -> None:
    """In both engines, in the sample that has it, and only there; from F as from T."""
    for where in ("F", "T"):
        F, T, dl = draw_loss(name, dtype, 4, 0)
        (F if where == "F" else T)[5, 2] = np.nan
        losses, _ = losses_of(name, F, T, dl, dtype)
        with np.errstate(invalid="ignore"):
            theirs, _ = ref.ENGINE.losses[name].forward(F, T)
        for found in (losses, theirs):
            assert np.flatnonzero(np.isnan(found)).tolist() == [5], where


def test_gradients_of_the_head_are_never_denormal() -> None:
    """A confident net's are: they cost a hundred times a normal number, and move nothing."""
    F, T = (np.tile(row, (16, 1)) for row in ([0.0, -68.0, -75.0], [1.0, 0.0, 0.0]))
    _, dF = losses_of("softmax_cross_entropy", F, T, 1.0, DTYPES[0])
    assert (dF[:, 1] > records.SMALLEST_GRADIENT).all() and (dF[:, 2] == 0).all()


@numba.njit
def _argmax(M: Any, a: Any, K: Any, stride: Any, out: Any) -> None:
    store(M, out, elementwise.argmax(M, a, K, stride, zeros(M, WIDTH_16)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [1, 2, 9])
def test_the_largest_output_is_the_lowest_of_equals(K: int, dtype: Any) -> None:
    """`argmax` against NumPy's, with NaN below every number as in TensorFlow's."""
    rng = np.random.default_rng(K)
    for _ in range(20):
        buffers = Buffers(dtype, K, "A", "which")
        A = rng.choice([-np.inf, -1.0, 0.0, 0.25, 1.0, np.nan], (buffers.n, K))
        buffers["A"] = A
        _argmax(buffers.M, 0, K, buffers.stride, buffers.at["which"])
        wanted = np.where(np.isnan(A), -np.inf, A).argmax(axis=1)
        np.testing.assert_array_equal(buffers["which"][:, 0], wanted)
        buffers.assert_nothing_else_changed()


# --- optimizers: optimizer.py against `sgd` and `adam` of reference.py ----------------------------

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "adam": ("adam", {"amsgrad": False}),
    "amsgrad": ("adam", {"amsgrad": True}),
    "sgd": ("sgd", {"momentum": 0.0, "nesterov": False}),
    "momentum": ("sgd", {"momentum": 0.875, "nesterov": False}),
    "nesterov": ("sgd", {"momentum": 0.875, "nesterov": True}),
}
RATE, C1, C2, EPSILON = 2.0**-7, 0.125, 2.0**-8, 2.0**-23
"""Exact in float32, so that both sides have the same ones."""


def other_rules() -> dict[str, Optimizer]:
    """What else is registered, plain and with every choice of its switches and momenta on."""
    found: dict[str, Optimizer] = {}
    for kind in KINDS.values():
        if kind.rule in ("sgd", "adam"):
            continue
        tried = values(kind).items()
        switches = {name: value[1] for name, value in tried if value[0] in (False, 0.0)}
        for count in range(len(switches) + 1):
            for names in combinations(switches, count):
                options: dict[str, Any] = {name: switches[name] for name in names}
                found[" ".join([kind.rule, *names])] = kind(**options)
    return found


OTHERS = other_rules()


def constants_of(name: str) -> dict[str, Any]:
    """What an engine is told of one of OTHERS, in numbers that float32 has too."""
    constants = OTHERS[name].constants()
    return {k: through_float32(v) if type(v) is float else v for k, v in constants.items()}


def apply(name: str, state: dict[str, Any]) -> None:
    """A step of one of OTHERS in the reference, in place, in whatever dtype the state is."""
    optimizer, constants = copy.copy(OTHERS[name]), constants_of(name)
    vars(optimizer)["slots"] = {key: state[key] for key in optimizer.slot_names()}
    optimizer.constants = lambda: constants  # type: ignore[method-assign]
    optimizer.update(ref.ENGINE, state["theta"], state["g"], RATE)


def plan_for(name: str, dtype: Any, inputs: int = 5, outputs: int = 4, bias: bool = True) -> Plan:
    layers = (DenseSpec(inputs, outputs, bias, "linear"),)
    if name in OTHERS:
        rule, constants = OTHERS[name].rule, constants_of(name)
        return Plan(dtype, 1.0, 0.0, layers, "mean_squared_error", "A", rule, constants)
    kind, constants = OPTIMIZERS[name]
    adam = {"one_minus_beta_1": C1, "one_minus_beta_2": C2, "epsilon": EPSILON}
    known = constants | (adam if kind == "adam" else {})
    return Plan(dtype, 1.0, 0.0, layers, "mean_squared_error", "A", kind, known)


def draw_state(name: str, dtype: Any, size: int, seed: int) -> dict[str, np.ndarray]:
    """Weights, gradient and slots in mid-training: of every size, 0 among them."""
    rng = np.random.default_rng(seed)

    def some(low: float, high: float) -> np.ndarray:
        values = rng.normal(size=size) * 10.0 ** rng.uniform(low, high, size)
        values[rng.random(size) < 0.1] = 0
        return values.astype(dtype)

    state = {"theta": some(-3, 1), "g": some(-6, 2)}
    if name in OTHERS:  # slots as some steps leave them: what is a square is none of ours to know
        slots = {key: np.zeros(size) for key in OTHERS[name].slot_names()}
        for _ in range(3):
            apply(name, {"theta": np.zeros(size), "g": some(-4, 1).astype(float), **slots})
        return state | {key: slot.astype(dtype) for key, slot in slots.items()}
    if OPTIMIZERS[name][0] == "adam":
        state |= {"momentum": some(-6, 1), "velocity": np.abs(some(-8, 2))}
        if name == "amsgrad":
            state["velocity_hat"] = np.abs(some(-8, 2))
    elif name != "sgd":
        state["momentum"] = some(-6, 0)
    return state


def exact_step(name: str, state: dict[str, Any]) -> dict[str, Any]:
    """The reference's step in long double."""
    after = {key: array.astype(Exact) for key, array in state.items()}
    if name in OTHERS:
        apply(name, after)
        return after
    if OPTIMIZERS[name][0] == "adam":
        slots = after["momentum"], after["velocity"], after.get("velocity_hat")
        ref.adam(after["theta"], after["g"], *slots, RATE, C1, C2, EPSILON)
    else:
        constants = OPTIMIZERS[name][1]
        momentum, nesterov = constants["momentum"], constants["nesterov"]
        ref.sgd(after["theta"], after["g"], after.get("momentum"), RATE, momentum, nesterov)
    return after


ROUNDINGS = 12
"""Of one step: up to 8 u in the reciprocal of a root, and 4 in products and sums."""


def sensitivity(name: str, before: Any, after: Any, u: Any) -> dict[str, Any]:
    """Each rounding changes a number by u, and reaches the result as such a change of what goes
    into the step does, of the step itself, or of the result."""
    keys = [key for key in after if key != "g"]
    steps = {key: np.abs(after[key] - before[key].astype(Exact)) for key in keys}
    bounds = {key: u * (np.abs(after[key]) + ROUNDINGS * steps[key]) for key in keys}
    for moved in before:
        nearby = {key: array.astype(Exact) for key, array in before.items()}
        nearby[moved] *= 1 + 2.0**-20  # far above long double's own roundings
        apply(name, nearby)
        for key in bounds:
            bounds[key] = bounds[key] + ROUNDINGS * u * np.abs(nearby[key] - after[key]) * 2.0**20
    return bounds


def step_bounds(name: str, before: Any, after: Any, dtype: Any) -> dict[str, Any]:
    """Roundings of the optimizer's kernel, for weights and slots."""
    u = unit(dtype)
    if name in OTHERS:
        return sensitivity(name, before, after, u)
    wide = {key: array.astype(Exact) for key, array in before.items()}
    change = np.abs(wide["g"] * RATE)
    own = u * np.abs(after["theta"])
    if OPTIMIZERS[name][0] == "sgd":
        if name == "sgd":
            return {"theta": own + u * change}
        carried = np.abs(wide["momentum"]) * 0.875
        of_u = u * (carried + change + np.abs(after["momentum"]))
        if name == "momentum":
            return {"momentum": of_u, "theta": own + of_u}
        ahead = np.abs(after["momentum"]) * 0.875
        return {"momentum": of_u, "theta": own + of_u + u * (3 * ahead + 3 * change)}
    of_m = u * (np.abs(wide["g"] - wide["momentum"]) * C1 + np.abs(after["momentum"]))
    of_v = u * (np.abs(wide["g"] ** 2 - wide["velocity"]) * C2 + after["velocity"])
    v = after.get("velocity_hat", after["velocity"])
    root = np.sqrt(v)
    moved = RATE * np.abs(after["momentum"]) / (root + EPSILON)
    rough = 8 * u + of_v / np.where(v > 0, 2 * v, 1)
    bounds = {
        "momentum": of_m,
        "velocity": of_v,
        "theta": own + moved * rough + RATE * of_m / (root + EPSILON),
    }
    return bounds | ({"velocity_hat": of_v} if name == "amsgrad" else {})


@numba.njit
def _update(net: Any, at: Any, dW: Any, n: Any, rate: Any) -> Any:
    hyper = optimizer.hyperparameters(net, rate)
    fine = zeros(net.M, WIDTH_16)
    constants, stride = net.constants, net.slot_stride
    return sum_lanes(optimizer.update_weights(net.M, at, stride, dW, n, hyper, constants, fine))


def update(name: str, state: dict[str, np.ndarray], threshold: float = ref.TINY) -> tuple[Any, Any]:
    """The kernel's step on a state of a whole number of registers: the state after, and 0 or NaN.

    The vectors stand one behind the other from an offset on; nothing else in memory may change.
    """
    size, dtype = state["g"].size, state["theta"].dtype
    made = Layout(plan_for(name, dtype, 5, size), 1, 1, False).net(threshold)
    at, stride = 16, made.slot_stride
    net = made._replace(M=aligned_zeros(6 * stride, dtype))
    slots = [key for key in state if key not in ("theta", "g")]
    places = {"theta": at, "g": 5 * stride}
    places |= {key: at + (i + 1) * stride for i, key in enumerate(slots)}
    net.M[:] = 99
    for key, place in places.items():
        net.M[place : place + size] = state[key]
    verdict = _update(net, at, places["g"], size, RATE)
    after = {key: net.M[place : place + size].copy() for key, place in places.items()}
    for place in places.values():
        net.M[place : place + size] = 99
    assert (net.M == 99).all()
    return after, verdict


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*OPTIMIZERS, *OTHERS])
def test_optimizers_are_the_references(name: str, dtype: Any) -> None:
    """`update_weights` against the reference's `adam` and `sgd`, from one state in mid-training."""
    for seed in range(3):
        state = draw_state(name, dtype, 320, seed)
        after, verdict = update(name, state)
        exact = exact_step(name, state)
        for key, bound in step_bounds(name, state, exact, dtype).items():
            assert_within(after[key], exact[key], bound)
        assert verdict == 0 and (after["g"] == 0).all()


@pytest.mark.parametrize("name", [*OPTIMIZERS, *OTHERS])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_an_update_tells_of_weights_that_are_not_finite(name: str, number: float) -> None:
    """Whichever it is; and a NaN in a slot reaches the weight, as in the reference."""
    for key in draw_state(name, DTYPES[0], 32, 0):
        for place in (0, 17, 31):
            state = draw_state(name, DTYPES[0], 32, 0)
            state[key][place] = number
            after, verdict = update(name, state)
            with np.errstate(all="ignore"):
                exact = exact_step(name, state)
            lost = ~np.isfinite(exact["theta"])
            np.testing.assert_array_equal(~np.isfinite(after["theta"]), lost)
            assert np.isnan(verdict) == lost.any()
            for slot in after:
                if slot != "g":
                    np.testing.assert_array_equal(np.isnan(after[slot]), np.isnan(exact[slot]))


def test_moments_below_their_thresholds_are_0() -> None:
    """First ones below TINY as in the reference; second ones where epsilon hides them."""
    state = draw_state("adam", DTYPES[1], 16, 0)
    state["g"][:] = 0
    threshold = (1e-8 * EPSILON) ** 2
    state["momentum"][:3] = np.array([0.99, 1.01, -0.99]) * ref.TINY / (1 - C1)
    state["velocity"][:2] = np.array([0.99, 1.01]) * threshold / (1 - C2)
    after, _ = update("adam", state)
    assert (
        after["momentum"][0] == 0 and after["momentum"][1] >= ref.TINY and after["momentum"][2] == 0
    )
    assert after["velocity"][0] == 0 and after["velocity"][1] >= threshold
    exact = exact_step("adam", state)
    assert exact["momentum"][0] == 0 and exact["momentum"][1] > 0 and exact["momentum"][2] == 0
    kept, _ = update("adam", state, threshold=0.0)
    assert (kept["momentum"][:3] != 0).all() and (kept["velocity"][:2] > 0).all()


@numba.njit
def _update_panel(
    net: Any, layer: Any, p: Any, top: Any, bottom: Any, dW: Any, height: Any, rate: Any
) -> Any:
    hyper = optimizer.hyperparameters(net, rate)
    return optimizer.update_panel(net, layer, p, top, bottom, dW, height, hyper)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [4, 16, 50, 64, 130])
@pytest.mark.parametrize("top, bottom", [(0, 32), (8, 20), (16, 24)])
def test_a_panel_is_updated_row_by_row(outputs: int, top: int, bottom: int, dtype: Any) -> None:
    """`update_panel` on some rows of panels of every width against `sgd` on W itself."""
    plan = plan_for("sgd", dtype, 31, outputs)
    layout = Layout(plan, 4, 1, True)
    net, rng = layout.net(), np.random.default_rng(outputs)
    theta = rng.integers(-8, 8, layout.size).astype(dtype)
    for model, private in layout.pairs(theta, net.M):
        private[:] = model
    net.active[top // 4 + 1] = False  # rows that have neither an entry nor a moment are left alone
    rows = [*range(top, top + 4), *range(top + 8, bottom)]
    W = theta.reshape(32, outputs)  # the bias is row 31
    grad = np.zeros((32, outputs), dtype)
    height, verdicts = bottom - top + 4, []
    for p, (_, _, first, full, tail) in enumerate(layout.panels):
        width = full + tail
        dW = np.zeros((bottom - top, width), dtype)
        some = rng.integers(-8, 8, (bottom - top, min(width, outputs - first)))
        dW[:, : some.shape[1]] = some
        grad[top:bottom, first : first + some.shape[1]] = some
        parts = dW[:, :full], dW[:, full:]
        at = net.scratch
        for part, columns in zip(parts, (full, tail), strict=True):
            net.M[at : at + part.size] = part.ravel()
            at += height * columns
        verdicts.append(_update_panel(net, 0, p, top, bottom, net.scratch, height, 0.5))
    after = np.empty_like(theta)
    for model, private in layout.pairs(after, net.M):
        model[:] = private
    learned = W[rows]
    ref.sgd(learned, grad[rows], None, 0.5, 0.0, False)
    wanted = W.copy()
    wanted[rows] = learned
    np.testing.assert_array_equal(after.reshape(32, outputs), wanted)
    assert verdicts == [0] * len(layout.panels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [4, 16, 64, 128])
@pytest.mark.parametrize("name", [*OPTIMIZERS, *OTHERS])
def test_one_step_of_a_session_is_the_references(name: str, outputs: int, dtype: Any) -> None:
    """`fused.open(...).epoch` for one batch against `dense`, the squared error and the optimizer.

    Inputs, weights and targets are small whole numbers and sizes powers of 2, so that both sides
    have exactly the same gradient, and only the optimizer's own roundings are left.
    """
    B, inputs = 8, 6
    plan, rng = plan_for(name, dtype, inputs, outputs), np.random.default_rng(outputs)
    size = (inputs + 1) * outputs
    state = draw_state(name, dtype, size, outputs)
    state["theta"] = rng.integers(-4, 5, size).astype(dtype)
    X = (rng.integers(-4, 5, (B, inputs)) * (rng.random((B, inputs)) < 0.6)).astype(dtype)
    T = rng.integers(-9, 10, (B, outputs)).astype(dtype)
    weights = rng.integers(1, 4, B).astype(dtype)
    W, b = state["theta"][:-outputs].reshape(inputs, outputs), state["theta"][-outputs:]
    losses, difference = ref.mean_squared_error(ref.dense(X, W, b), T)
    dl = weights / dtype.type(B)
    dZ = ref.mean_squared_error_backward(dl, T, difference)
    dW, db = np.empty_like(W), np.empty_like(b)
    ref.dense_backward(dZ, X, W, dW, db, False)
    state["g"] = np.concatenate([dW.ravel(), db])

    slots = {key: array.copy() for key, array in state.items() if key not in ("theta", "g")}
    theta = state["theta"].copy()
    opened = session.open(plan, theta, slots, X, T, weights, B, 1)
    found = opened.epoch(np.arange(B), np.array([RATE]))
    opened.pull()
    exact = exact_step(name, state)
    for key, bound in step_bounds(name, state, exact, dtype).items():
        assert_within({"theta": theta, **slots}[key], exact[key], bound)
    assert found.losses[0] == np.sum(dl.astype(float) * losses) and found.bad is None


# --- sparse products: sparse.py against `dense` and `dense_backward` of reference.py --------------


@numba.njit
def _multiply(net: Any, samples: Any, order: Any, at: Any, B: Any) -> Any:
    step.multiply_first_layer(net, samples, order, at, B, records.ZERO, records.ONE)


@numba.njit
def _learn(net: Any, samples: Any, order: Any, at: Any, B: Any, rate: Any) -> Any:
    hyper = optimizer.hyperparameters(net, rate)
    return step.learn_first_layer(net, samples, order, at, B, hyper, records.ZERO, records.ONE)


class FirstLayer:
    """A first layer's memory, with samples that are compressed, and batches to run through it."""

    def __init__(self, X: np.ndarray, outputs: int, dtype: Any, bias: bool = True) -> None:
        self.plan = plan_for("sgd", dtype, X.shape[1], outputs, bias)._replace(
            scale=0.5 if X.dtype != np.uint8 else 0.25
        )
        self.layout = Layout(self.plan, 16, 1, True)
        self.net, self.N, self.dtype = self.layout.net(), len(X), dtype
        self.nonzero = np.ones(self.layout.layers[0, records.ROWS], np.bool_)
        dense = records.DenseSamples(X.ravel(), self.plan.scale, 0.0)
        self.samples = session._compressed(self.layout, self.net, dense, self.N, self.nonzero)
        self.columns = int(self.layout.layers[0, records.COLUMNS])
        self.outputs = outputs

    def set_weights(self, W: np.ndarray, b: np.ndarray) -> None:
        flat = np.concatenate([W.ravel(), b]).astype(self.dtype)
        for model, private in self.layout.pairs(flat, self.net.M):
            private[:] = model

    def weights(self) -> np.ndarray:
        """W's rows, and then b if there is one."""
        flat = np.empty(self.layout.size, self.dtype)
        for model, private in self.layout.pairs(flat, self.net.M):
            model[:] = private
        return flat.reshape(-1, self.outputs)

    def forward(self, order: np.ndarray, first: int, B: int) -> np.ndarray:
        """Z of samples order[first : first + B], the chunks' sums added."""
        _multiply(self.net, self.samples, order, first, B)
        size = self.layout.layers[0, records.DZ] - self.layout.layers[0, records.Z]
        sums = np.zeros((B, self.columns), Exact)
        for chunk in range(records.CHUNKS):
            at = self.net.partial_sums + chunk * size
            sums += self.net.M[at : at + B * self.columns].reshape(B, self.columns)
        return sums[:, : self.outputs]

    def learn(self, order: np.ndarray, first: int, dZ: np.ndarray, rate: float) -> Any:
        """Changes the weights by -rate X^T dZ for samples order[first : first + len(dZ)]."""
        at, B = self.layout.layers[0, records.DZ_TRANSPOSED], len(dZ)
        rows = self.net.M[at : at + B * self.columns].reshape(B, self.columns)
        rows[:] = 0
        rows[:, : self.outputs] = dZ
        return _learn(self.net, self.samples, order, first, B, rate)


def draw_sparse(kind: Any, N: int, inputs: int, density: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = rng.integers(1, 250, (N, inputs)) if kind is np.uint8 else rng.normal(size=(N, inputs))
    return (X * (rng.random((N, inputs)) < density)).astype(kind)


SPARSE = [
    # inputs, outputs, density, bias: several blocks and chunks, panels of every width, odd sizes
    (784, 50, 0.2, True),
    (31, 4, 0.4, True),
    (32, 70, 0.4, False),
    (1, 1, 0.5, True),
    (205, 130, 0.1, True),
    (64, 16, 0.0, True),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("inputs, outputs, density, bias", SPARSE)
def test_compressed_samples_are_the_samples(
    inputs: int, outputs: int, density: float, bias: bool, kind: Any, dtype: Any
) -> None:
    """`compress_samples` and `count_nonzero` against the matrix that they were given."""
    X = draw_sparse(kind, 9, inputs, density)
    layer = FirstLayer(X, outputs, dtype, bias)
    indptr, indices, data, table, one = layer.samples
    numbers = table[data] if kind is np.uint8 else data
    entries = int(np.count_nonzero(X)) + 9 * bias
    assert indptr[0, 0] == 0 and indptr[-1, -1] == entries
    found = np.zeros((9, inputs + bias), dtype)
    for s in range(9):
        for block, (begin, end) in enumerate(layer.layout.blocks):
            at = slice(indptr[s, block], indptr[s, block + 1])
            rows = begin + indices[at].astype(int)
            assert (np.diff(rows) > 0).all() and (rows < end).all()
            found[s, rows] = numbers[at]
        assert s == 8 or indptr[s, -1] == indptr[s + 1, 0]
    scaled = X.astype(dtype) * dtype.type(layer.plan.scale)
    np.testing.assert_array_equal(found[:, :inputs], scaled)
    assert not bias or (found[:, inputs] == 1).all()
    wanted = np.zeros(len(layer.nonzero), bool)
    wanted[:inputs] = X.any(axis=0)
    wanted[inputs : inputs + bias] = True
    np.testing.assert_array_equal(layer.nonzero, wanted)
    assert one[0 if kind is np.uint8 else 1] == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
@pytest.mark.parametrize("case", SPARSE)
def test_sparse_products_are_the_references(case: Any, kind: Any, dtype: Any) -> None:
    """`sparse_forward` against `dense`, and `sparse_weight_gradient` against `dense_backward`."""
    inputs, outputs, density, bias = case
    X = draw_sparse(kind, 23, inputs, density)
    layer = FirstLayer(X, outputs, dtype, bias)
    rng = np.random.default_rng(1)
    W, b = rng.normal(size=(inputs, outputs)), rng.normal(size=outputs if bias else 0)
    W, b = W.astype(dtype), b.astype(dtype)
    layer.set_weights(W, b)
    before, u = layer.weights(), unit(dtype)
    order = rng.permutation(23)
    scaled = (X.astype(dtype) * dtype.type(layer.plan.scale)).astype(Exact)
    for first, B in ((0, 16), (7, 9), (22, 1)):
        x = scaled[order[first : first + B]]
        exact = ref.dense(x, W.astype(Exact), b.astype(Exact) if bias else None)
        size = ref.dense(np.abs(x), np.abs(W), np.abs(b) if bias else None)
        terms = np.count_nonzero(x, axis=1)[:, None] + bias + records.CHUNKS
        assert_within(layer.forward(order, first, B).astype(dtype), exact, terms * u * size)
        np.testing.assert_array_equal(layer.weights(), before)

    for first, B in ((0, 16), (7, 9), (22, 1)):
        # From weights of 0 and at a rate of -1 what is learned is the gradient itself.
        layer.set_weights(np.zeros_like(W), np.zeros_like(b))
        x = scaled[order[first : first + B]]
        dZ = rng.normal(size=(B, outputs)).astype(dtype)
        assert layer.learn(order, first, dZ, -1.0) == 0
        dW, db = np.zeros((inputs, outputs), Exact), np.zeros(outputs, Exact)
        ref.dense_backward(dZ.astype(Exact), x, W, dW, db if bias else None, False)
        exact = np.concatenate([dW, db[None]]) if bias else dW
        size = np.abs(x).T @ np.abs(dZ)
        size = np.concatenate([size, np.abs(dZ).sum(axis=0)[None]]) if bias else size
        assert_within(layer.weights(), exact, (B + 1) * u * size)
    assert np.isnan(layer.learn(order, 0, dZ * np.inf, -1.0))


def test_the_next_batch_is_fetched_ahead_without_an_effect() -> None:
    """Batches at the end of an order, where there is no next one, and in its middle."""
    X = draw_sparse(np.float64, 40, 30, 0.4)
    layer, order = FirstLayer(X, 5, DTYPES[1]), np.arange(40)
    layer.set_weights(np.eye(30, 5), np.zeros(5))
    whole = np.concatenate([layer.forward(order, at, 8) for at in range(0, 40, 8)])
    np.testing.assert_array_equal(whole, X[:, :5] * 0.5)


def test_lanes_are_what_the_harness_takes_them_for() -> None:
    @numba.njit
    def width(M: Any) -> Any:
        return lanes(splat(1.0, zeros(M, WIDTH_16)))

    for dtype in DTYPES:
        assert width(np.zeros(1, dtype)) == 64 // dtype.itemsize
