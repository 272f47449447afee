"""One optimizer step on a panel's rows: `sgd` and `adam` of the reference (read them first).

Adam's quotient is a reciprocal refined from an estimate, because a core has a single divider.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return"

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from scratchnet.engines.compiled.records import (
    FULL_COLUMNS,
    ROWS,
    START,
    TAIL_COLUMNS,
    jitted,
)
from scratchnet.engines.compiled.vector import (
    broadcast,
    fabs,
    fma,
    lanes,
    load,
    reciprocal,
    splat,
    sqrt,
    store,
    sum_lanes,
    where_ge,
    where_lt,
    zero_register,
)

SGD, MOMENTUM, NESTEROV, ADAM, AMSGRAD, RMSPROP, RMSPROP_MOMENTUM = range(7)
CENTERED = 2
"""Added to the code of an RMSprop that is centered."""

Rule = tuple[int, tuple[str, ...], tuple[float, float, float, float]]
"""A code, its slots in the order of memory, and the constants of `Net`: c1, c2, epsilon, momentum.
"""


def _sgd(constants: Mapping[str, Any]) -> Rule:
    momentum = float(constants.get("momentum", 0))
    code = NESTEROV if constants.get("nesterov") else MOMENTUM
    return (code, ("momentum",), (0, 0, 0, momentum)) if momentum else (SGD, (), (0, 0, 0, 0))


def _adam(constants: Mapping[str, Any]) -> Rule:
    names = ("one_minus_beta_1", "one_minus_beta_2", "epsilon")
    c1, c2, epsilon = (float(constants[name]) for name in names)
    if constants.get("amsgrad"):
        return AMSGRAD, ("momentum", "velocity", "velocity_hat"), (c1, c2, epsilon, 0)
    return ADAM, ("momentum", "velocity"), (c1, c2, epsilon, 0)


def _rmsprop(constants: Mapping[str, Any]) -> Rule:
    names = ("rho", "one_minus_rho", "epsilon", "momentum")
    c1, c2, epsilon, momentum = (float(constants[name]) for name in names)
    code, slots = (RMSPROP_MOMENTUM, ("momentum",)) if momentum else (RMSPROP, ())
    if constants.get("centered"):
        code, slots = code + CENTERED, (*slots, "average_gradient")
    return code, ("velocity", *slots), (c1, c2, epsilon, momentum)


OPTIMIZERS: dict[str, Callable[[Mapping[str, Any]], Rule]] = {
    "sgd": _sgd,
    "adam": _adam,
    "rmsprop": _rmsprop,
}
"""From a plan's constants to its rule."""


@jitted
def hyperparameters(net, rate):
    """What `update_weights` is told of this batch: the optimizer, and its rate."""
    return net.optimizer, net.constants.dtype.type(rate)


@jitted
def maximum(x, y):
    """The larger one; NaN where one of them is, as `np.maximum`."""
    return where_ge(x, x, where_lt(y, x, x, y), x)


@jitted
def rmsprop_step(M, i, slot_stride, g, hyper, c):
    """What `rmsprop` of the reference takes off the weights at i; their slots are moved on.

    Constants are read where they are needed: there are more than registers to keep them in.
    """
    code, rate = hyper
    zero, share = splat(0.0, g), g * broadcast(c, 1, g)
    v = fma(load(M, i + slot_stride, g), broadcast(c, 0, g), g * share)
    store(M, i + slot_stride, where_lt(v, broadcast(c, 5, g), zero, v))
    last = i + 2 * slot_stride
    carried = code == RMSPROP_MOMENTUM or code == RMSPROP_MOMENTUM + CENTERED
    if code >= RMSPROP + CENTERED:
        at = last + slot_stride if carried else last
        mean = fma(load(M, at, g), broadcast(c, 0, g), share)
        store(M, at, where_lt(fabs(mean), broadcast(c, 4, g), zero, mean))
        v = fma(-mean, mean, v)
    step = g * splat(rate, g) * reciprocal(sqrt(v + broadcast(c, 2, g)))
    if carried:
        step = fma(load(M, last, g), broadcast(c, 3, g), step)
        store(M, last, where_lt(fabs(step), broadcast(c, 4, g), zero, step))
    return step


@jitted
def update_weights(M, at, slot_stride, dW, n, hyper, c, nonfinite):
    """One optimizer step on n weights from `at` on, as `sgd` and `adam` of the reference; clears
    their gradient. `nonfinite` becomes NaN with the first weight that is not finite."""
    code, rate = hyper
    c1, c2, epsilon, momentum, v_threshold = c[0], c[1], c[2], c[3], c[5]
    zero = splat(0.0, nonfinite)
    for i in range(at, at + n, lanes(nonfinite)):
        w, g = load(M, i, nonfinite), load(M, dW + i - at, nonfinite)
        store(M, dW + i - at, zero)
        if code >= RMSPROP:
            w = w - rmsprop_step(M, i, slot_stride, g, hyper, c)
        elif code >= ADAM:
            m, v = load(M, i + slot_stride, nonfinite), load(M, i + 2 * slot_stride, nonfinite)
            m = fma(g - m, splat(c1, g), m)
            m = where_lt(fabs(m), broadcast(c, 4, g), zero, m)
            v = fma(fma(g, g, -v), splat(c2, g), v)
            v = where_lt(v, splat(v_threshold, g), zero, v)
            store(M, i + slot_stride, m)
            store(M, i + 2 * slot_stride, v)
            if code == AMSGRAD:
                v_hat = load(M, i + 3 * slot_stride, g)
                v = maximum(v_hat, v)
                store(M, i + 3 * slot_stride, v)
            w = fma(-(m * splat(rate, g)), reciprocal(sqrt(v) + splat(epsilon, g)), w)
        else:
            change = g * splat(rate, g)
            if code == SGD:
                w = w - change
            else:
                u = load(M, i + slot_stride, g) * splat(momentum, g) - change
                store(M, i + slot_stride, u)
                w = w + (u * splat(momentum, g) - change if code == NESTEROV else u)
        store(M, i, w)
        nonfinite = fma(w, zero, nonfinite)
    return nonfinite


@jitted
def update_panel(net, layer, p, top, bottom, dW, height, hyper):
    """The optimizer on rows top to bottom of a panel, four at a time: so parts of registers are
    whole ones. Returns NaN if a weight is not finite then, else 0."""
    M, slot_stride, rows, c = net.M, net.slot_stride, net.layers[layer, ROWS], net.constants
    start, full, tail = (
        net.panels[p, START],
        net.panels[p, FULL_COLUMNS],
        net.panels[p, TAIL_COLUMNS],
    )
    nonfinite, i = zero_register(M), top
    while i < bottom:
        n = np.int64(0)
        while i + n < bottom and (layer or net.active[(i + n) // 4]):
            n += 4
        at, g = start + i * full, dW + (i - top) * full
        nonfinite = update_weights(M, at, slot_stride, g, n * full, hyper, c, nonfinite)
        at, g = start + rows * full + i * tail, dW + height * full + (i - top) * tail
        nonfinite = update_weights(M, at, slot_stride, g, n * tail, hyper, c, nonfinite)
        i += n + 4
    return sum_lanes(nonfinite)
