"""The activations that are known, with the wrong slopes that they are met with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import erf, pi, sqrt
from typing import NamedTuple

import numpy as np

from scratchnet.engines import Array, reference

Slope = Callable[[Array, Array], Array]
"""(z, f(z)) -> f'(z)"""
sigmoid = reference.sigmoid


class KnownActivation(NamedTuple):
    """An activation with its slips: name -> slope."""

    f: Callable[[Array], Array]
    slips: dict[str, Slope]
    top: float = -np.inf
    """Only where z goes beyond this can it be told from others."""


def ones(z: Array, a: Array) -> Array:
    return np.ones_like(z)


def softplus(z: Array) -> Array:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def soft_ones() -> Iterator[KnownActivation]:
    yield KnownActivation(
        softplus,
        {"softplus' of the output": lambda z, a: sigmoid(a), "slope forgotten": ones},
    )
    yield KnownActivation(
        lambda z: z / (1 + np.abs(z)),
        {"softsign without the square": lambda z, a: 1 / (1 + np.abs(z))},
    )
    yield KnownActivation(
        lambda z: z * sigmoid(z), {"swish without its product": lambda z, a: sigmoid(z)}
    )


# --- GELU -----------------------------------------------------------------------------------------

K, C = sqrt(2 / pi), 0.044715


def gelu(z: Array) -> Array:
    return 0.5 * z * (1 + np.tanh(K * (z + C * z**3)))


def gelu_slope(z: Array, a: Array, c: float, k: float, d: float) -> Array:
    """The derivative with other constants: c and k, and d in place of 3 c."""
    t = np.tanh(k * (z + c * z**3))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * k * (1 + d * z**2)


def cumulative(z: Array) -> Array:
    """The standard normal distribution's Phi."""
    return 0.5 * (1 + np.vectorize(erf)(z / sqrt(2)))


def gelus() -> Iterator[KnownActivation]:
    slips: dict[str, Slope] = {
        f"gelu constant|{k:.12g} {c:.12g} {d:.12g}": partial(gelu_slope, c=c, k=k, d=d)
        for k in (K, 0.797885, 0.79788, 0.7979, 0.798, 0.8, sqrt(pi / 2), 2 / pi)
        for c in (C, 0.0447, 0.044, 0.04, 0.045, 0.44715)
        for d in (3 * c, c, 2 * c, 3 * C)
        if (k, c, d) != (K, C, 3 * C)
    }
    slips["gelu without its product"] = lambda z, a: 0.5 * (1 + np.tanh(K * (z + C * z**3)))
    yield KnownActivation(gelu, slips)
    without = {"gelu without its product": lambda z, a: cumulative(z)}
    yield KnownActivation(lambda z: z * cumulative(z), without)


# --- piecewise ones -------------------------------------------------------------------------------


def bounded(k: float, b: float, low: float, high: float) -> KnownActivation:
    """clip(k z + b, low, high)"""

    def inside(z: Array) -> Array:
        return k * z + b

    return KnownActivation(
        lambda z: np.clip(inside(z), low, high),
        {
            "upper mask forgotten": lambda z, a: k * (inside(z) > low),
            "lower mask forgotten": lambda z, a: k * (inside(z) < high),
            "masks forgotten": lambda z, a: k * np.ones_like(z),
        }
        | ({} if k == 1 else {"slope forgotten": ones}),
        (high - b) / k,
    )


def leaky(c: float) -> KnownActivation:
    slips: dict[str, Slope] = {
        "slope forgotten below 0": lambda z, a: 1.0 * (z > 0),
        "relu passes everything": ones,
    }
    return KnownActivation(lambda z: np.where(z > 0, z, c * z), slips)


def elu(alpha: float, scale: float) -> KnownActivation:
    """scale z above 0, scale alpha (exp(z) - 1) below."""

    def below(slope: Callable[[Array], Array], factor: float = scale) -> Slope:
        return lambda z, a: factor * np.where(z > 0, 1.0, slope(np.minimum(z, 0)))

    slips: dict[str, Slope] = {
        "elu precedence": below(lambda z: alpha * np.exp(z) - 1),
        "elu' of Z": below(lambda z: z + alpha),
        "slope forgotten below 0": below(np.zeros_like),
        "relu passes everything": below(np.ones_like),
    }
    if scale != 1:
        slips["factor forgotten"] = below(lambda z: alpha * np.exp(z), 1.0)
    if alpha != 1:
        slips["alpha forgotten"] = below(np.exp)
    return KnownActivation(
        lambda z: scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))), slips
    )


SELU = (1.6732632423543772, 1.0507009873554805)


def activations() -> Iterator[KnownActivation]:
    """All of them, with the parameters that they are met with."""
    yield from soft_ones()
    yield from gelus()
    for high in (6.0, 1.0, 20.0):
        yield bounded(1.0, 0.0, 0.0, high)
    for k in (0.2, 1 / 6, 0.25, 0.5):
        yield bounded(k, 0.5, 0.0, 1.0)
    yield bounded(1.0, 0.0, -1.0, 1.0)
    for c in (0.01, 0.1, 0.2, 0.3, 0.05, 0.25):
        yield leaky(c)
    for alpha in (1.0, 0.1, 0.5, 0.2, 0.3, 2.0):
        yield elu(alpha, 1.0)
    yield elu(*SELU)
