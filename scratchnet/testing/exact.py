"""The exact oracle: loss and gradients of tiny nets without a rounding to doubt.

A float is a rational number, so the linear and ReLU parts of a net are computed in `fractions`
without any error; exponentials and logarithms come from mpmath with 60 digits. Gradients are
carried along forward (dual numbers), one parameter at a time: no line of backpropagation is shared.
It refuses layers other than Flatten, Rescaling and Dense, and is far too slow for more than some
dozens of parameters. Needs mpmath, of the extra `test`. Read `tests/test_exact.py` next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from scratchnet.checks import Examples
from scratchnet.engines import Array, reference
from scratchnet.layers import Dense, Flatten, Rescaling
from scratchnet.model import Network
from scratchnet.support import through_float32
from scratchnet.testing.magnitude import gradient_scale

BITS = 200
"""Precision of exponentials, about 60 digits; and of numbers after one."""

EPSILON = Fraction(reference.EPSILON)


class Dual(NamedTuple):
    """A value with its derivative along one parameter; both exact.

    >>> x = Dual(Fraction(3), Fraction(1))
    >>> x * x
    Dual(value=Fraction(9, 1), slope=Fraction(6, 1))
    """

    value: Fraction
    slope: Fraction

    def __add__(self, other: Any) -> Dual:
        other = dual(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __sub__(self, other: Any) -> Dual:
        return self + -dual(other)

    def __mul__(self, other: Any) -> Dual:
        other = dual(other)
        slope = self.slope * other.value + self.value * other.slope
        return Dual(self.value * other.value, slope)

    def __truediv__(self, other: Any) -> Dual:
        other = dual(other)
        value = self.value / other.value
        return Dual(value, (self.slope - value * other.slope) / other.value)


def dual(number: Any) -> Dual:
    """A number as a constant."""
    return number if isinstance(number, Dual) else Dual(Fraction(number), Fraction(0))


def total(terms: Sequence[Dual]) -> Dual:
    result = dual(0)
    for term in terms:
        result = result + term
    return result


def short(number: Dual) -> Dual:
    """To BITS bits: after an exponential more digits than that are not known anyway."""
    return Dual(_short(number.value), _short(number.slope))


def _short(value: Fraction) -> Fraction:
    if not value:
        return value
    power = BITS - value.numerator.bit_length() + value.denominator.bit_length()
    scale = Fraction(2) ** power
    return Fraction(round(value * scale)) / scale


def _through(function: str, value: Fraction) -> Fraction:
    """exp or log of a rational number, by mpmath."""
    import mpmath  # type: ignore[import-untyped]  # it ships no types

    with mpmath.workprec(BITS + 32):
        x = mpmath.mpf(value.numerator) / value.denominator
        sign, man, power, _ = getattr(mpmath, function)(x)._mpf_
    return (-1) ** int(sign) * Fraction(int(man)) * Fraction(2) ** int(power)


def exp(x: Dual) -> Dual:
    """e^x and e^x x'."""
    value = _through("exp", x.value)
    return short(Dual(value, value * x.slope))


def log(x: Dual) -> Dual:
    """log x and x' / x."""
    return short(Dual(_through("log", x.value), x.slope / x.value))


# --- activations and losses of one sample, a row of duals -----------------------------------------

Row = list[Dual]


def softmax(row: Row) -> Row:
    powers = [exp(z) for z in row]
    return [short(power / total(powers)) for power in powers]


def tanh(z: Dual) -> Dual:
    power = exp(z * 2)
    return short((power - 1) / (power + 1))


def _straight(forward: Callable[[Array], Array]) -> Callable[[Row], Row]:
    """A function that is a line through 0 on either side of it, from its values at 1 and -1."""
    above, below = (Fraction(float(forward(np.array([z]))[0])) for z in (1.0, -1.0))
    return lambda row: [z * above if z.value > 0 else z * -below for z in row]


ACTIVATIONS: dict[str, Callable[[Row], Row]] = {
    **{name: _straight(f.forward) for name, f in reference.ENGINE.activations.items()},
    "sigmoid": lambda row: [short(dual(1) / (exp(-z) + 1)) for z in row],
    "tanh": lambda row: [tanh(z) for z in row],
    "softmax": softmax,
}
"""Curved ones stand here by themselves; a test holds that all others are straight."""


def _activation(name: str) -> Callable[[Row], Row]:
    if name not in ACTIVATIONS:
        raise TypeError(
            f"no exact arithmetic for the activation {name!r}: expected {', '.join(ACTIVATIONS)}."
        )
    return ACTIVATIONS[name]


def clip(p: Dual) -> Dual:
    """p kept within [EPSILON, 1 - EPSILON]; a clipped number no longer moves."""
    if p.value < EPSILON:
        return dual(EPSILON)
    upper = Fraction(1 - reference.EPSILON)
    return dual(upper) if p.value > upper else p


def softmax_cross_entropy(row: Row, t: Row) -> Dual:
    largest = log(total([exp(z) for z in row]))
    return total([(largest - z) * tk for z, tk in zip(row, t, strict=True)])


def normalized_cross_entropy(row: Row, t: Row) -> Dual:
    whole = total(row)
    return -total([log(clip(p / whole)) * tk for p, tk in zip(row, t, strict=True) if tk.value])


def clipped_cross_entropy(row: Row, t: Row) -> Dual:
    return softmax_cross_entropy([log(clip(p)) for p in row], t)


def mean_squared_error(row: Row, t: Row) -> Dual:
    return total([(a - tk) * (a - tk) for a, tk in zip(row, t, strict=True)]) / len(row)


LOSSES: dict[str, Callable[[Row, Row], Dual]] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "normalized_cross_entropy": normalized_cross_entropy,
    "clipped_cross_entropy": clipped_cross_entropy,
    "mean_squared_error": mean_squared_error,
}


# --- a network -----------------------------------------------------------------------------------


def _layer(layer: Any, row: Row, params: dict[str, Any]) -> Row:
    if isinstance(layer, Flatten):
        return row
    if isinstance(layer, Rescaling):
        scale, offset = through_float32(layer.scale), through_float32(layer.offset)
        return [z * scale + offset for z in row]
    if not isinstance(layer, Dense):
        raise TypeError(
            f"exact: {type(layer).__name__} is not known: expected Flatten, Rescaling or Dense."
        )
    W, b = params["kernel"], params.get("bias")
    return [
        total([x * W[i][o] for i, x in enumerate(row)]) + (0 if b is None else b[o])
        for o in range(layer.units)
    ]


def _loss(network: Network, batch: Examples, theta: list[Dual]) -> tuple[Dual, list[Row]]:
    """The loss and the outputs, as duals."""
    vector = np.empty(len(theta), dtype=object)
    for k, number in enumerate(theta):  # one by one: NumPy would unpack a tuple
        vector[k] = number
    params, objective = network.views(vector), network.objective
    loss = objective.loss
    T = loss.targets(batch.y, network.layers[-1].output_shape[-1], np.dtype("float64"))
    terms, outputs = [], []
    weights = None if batch.weights is None else [Fraction(w) for w in batch.weights.tolist()]
    shares = _shares(loss.reduction, weights, len(batch.x))
    for x, t, share in zip(batch.x, T, shares, strict=True):
        Z = A = [dual(number) for number in np.asarray(x, float).ravel().tolist()]
        for layer, own in zip(network.layers, params, strict=True):
            Z = _layer(layer, A, own)
            A = _activation(layer.activation)(Z)
        read = Z if objective.reads == "Z" else A
        target = [dual(number) for number in t.tolist()]
        terms.append(LOSSES[objective.function](read, target) * share)
        outputs.append(A)
    return total(terms), outputs


def _shares(reduction: str, weights: list[Fraction] | None, size: int) -> list[Fraction]:
    """What each sample's loss counts: w / B, or w, or w / sum(w)."""
    w = weights or [Fraction(1)] * size
    if reduction == "sum":
        return w
    if reduction == "mean_with_sample_weight" and weights is not None:
        return [share / sum(w) if sum(w) else Fraction(0) for share in w]
    return [share / size for share in w]


class Exact(NamedTuple):
    """What a batch really gives: `loss`, `outputs` (B, K) and `gradient` (P,), as Fractions.

    >>> Exact(Fraction(1, 3), [[Fraction(2)]], [Fraction(0)]).loss
    Fraction(1, 3)
    """

    loss: Fraction
    outputs: list[list[Fraction]]
    gradient: list[Fraction]


def exact(network: Network, batch: Examples) -> Exact:
    """Loss, outputs and all gradients of a compiled network on a checked batch.

    Errors: none in linear and ReLU parts; about 1e-60 where exponentials are involved. Slopes of
    ReLU at 0 are 0, as in the engines. `batch` is what `model.batch(x, y)` returns.

    Raises:
        TypeError: for layers or activations that it does not know.

    >>> from scratchnet import Input, Sequential
    >>> model = Sequential([Input((1,)), Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> model.set_weights([np.array([[2.0]]), np.array([1.0])])
    >>> found = exact(model, model.batch(np.array([[3.0]]), np.array([[5.0]])))
    >>> found.loss, found.gradient  # (2 * 3 + 1 - 5)^2, and 2 * 2 * (3, 1)
    (Fraction(4, 1), [Fraction(12, 1), Fraction(4, 1)])
    """
    values = [Fraction(number) for number in network.theta.tolist()]
    gradient: list[Fraction] = []
    loss, outputs = dual(0), list[Row]()
    for k in range(len(values)):
        theta = [Dual(value, Fraction(int(i == k))) for i, value in enumerate(values)]
        loss, outputs = _loss(network, batch, theta)
        gradient.append(loss.slope)
    rows = [[a.value for a in row] for row in outputs]
    return Exact(loss.value, rows, gradient)


def ulps(given: Any, right: Fraction, scale: float | None = None) -> float:
    """How many units in the last place a float64 is away from the exact number.

    Args:
        scale: the number whose last place is meant, by default the exact one: what cancels is
            fairly measured by the size of its terms.

    >>> ulps(0.1, Fraction(1, 10)) < 0.5
    True
    >>> ulps(1.0 + 2**-52, Fraction(1))
    1.0
    """
    if Fraction(float(given)) == right:
        return 0.0
    size = abs(float(right)) if scale is None else float(scale)
    # Below the normal numbers all have one spacing.
    unit = Fraction(math.ulp(max(size, 2.0**-1022)))
    return float(abs(Fraction(float(given)) - right) / unit)


def largest_term(network: Network, batch: Examples) -> float:
    """The largest number that may cancel on the way forward: every |x|, |w| and |b| added up, layer
    by layer. No activation's slope exceeds 1, and none that is bounded exceeds 1 itself.

    >>> from scratchnet import Input, Sequential
    >>> model = Sequential([Input((1,)), Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> model.set_weights([np.array([[-2.0]]), np.array([1.0])])
    >>> largest_term(model, model.batch(np.array([[3.0]]), np.array([[5.0]])))  # 6 + 1, and 1
    8.0
    """
    below, largest = np.abs(np.asarray(batch.x, np.float64)), 1.0
    absolute = network.views(np.abs(network.theta))
    for layer, params in zip(network.layers, absolute, strict=True):
        Z, _ = layer.forward(below, params, reference.ENGINE)
        below = np.abs(Z) + 1
        largest = max(largest, float(np.max(below)))
    return largest


def errors(network: Network, batch: Examples) -> dict[str, float]:
    """The engine's worst errors in ulps of the terms that were added up.

    `outputs` are measured in ulps of the `largest_term`, `loss` too, or of its square for a squared
    error. `gradient` is measured in ulps of S (`magnitude.gradient_scale`), coordinate by
    coordinate: S takes the forward pass as given, so this is large where the forward pass itself
    cancelled, and where rounding put a ReLU's Z on the other side of 0. `gradient, in all` is in
    ulps of the largest S times the largest term. `loss in its own ulps` has no mercy.

    >>> from scratchnet import Input, Sequential
    >>> model = Sequential([Input((1,)), Dense(1)])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> model.set_weights([np.array([[2.0]]), np.array([1.0])])
    >>> set(errors(model, model.batch(np.array([[3.0]]), np.array([[5.0]]))).values())
    {0.0}
    """
    right, size = exact(network, batch), largest_term(network, batch)
    S = gradient_scale(network, batch)
    squared = size * size if network.objective.function == "mean_squared_error" else size
    loss, outputs = network.gradient(batch)
    pairs = zip(outputs.ravel().tolist(), [a for row in right.outputs for a in row], strict=True)
    slopes = list(zip(network.grad.tolist(), right.gradient, S.tolist(), strict=True))
    everything = size * float(np.max(S))
    return {
        "loss": ulps(loss, right.loss, squared),
        "loss in its own ulps": ulps(loss, right.loss),
        "outputs": max(ulps(a, b, size) for a, b in pairs),
        "gradient": max(ulps(g, h, s) for g, h, s in slopes),
        "gradient, in all": max(ulps(g, h, everything) for g, h, _ in slopes),
    }
