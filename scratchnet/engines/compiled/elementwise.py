"""Activations and losses on a group of samples, by the reference's equations (read it first).

Samples are lanes, and the K rows of a buffer stand `stride` numbers apart, so that a sum over
outputs is a loop over rows.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, no-any-return"

from __future__ import annotations

import numpy as np

import scratchnet.engines.compiled.vector as vector
from scratchnet.engines.compiled.records import EPSILON, SMALLEST_GRADIENT, jitted
from scratchnet.engines.compiled.vector import (
    fabs,
    fma,
    load,
    splat,
    store,
    where_ge,
    where_gt,
    where_lt,
)

LINEAR, RELU, LEAKY_RELU, SIGMOID, TANH, SOFTMAX = range(6)
ACTIVATIONS = {
    "linear": LINEAR,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "softmax": SOFTMAX,
}
NEGATIVE_SLOPE = float(np.float32(0.2))
"""Of leaky_relu, as the reference takes it."""
SOFTMAX_CE, NORMALIZED_CE, CLIPPED_CE, SQUARED_ERROR = range(4)
LOSSES = {
    "softmax_cross_entropy": SOFTMAX_CE,
    "normalized_cross_entropy": NORMALIZED_CE,
    "clipped_cross_entropy": CLIPPED_CE,
    "mean_squared_error": SQUARED_ERROR,
}


@jitted
def activation_forward(code, z):
    """A = f(Z), for the activations of single numbers; NaN stays NaN."""
    zero, one = splat(0.0, z), splat(1.0, z)
    if code == RELU:
        return where_ge(zero, z, zero, z)
    if code == LEAKY_RELU:
        return where_gt(z, zero, z, z * splat(NEGATIVE_SLOPE, z))
    if code == SIGMOID:
        e = vector.exp(-fabs(z))
        return where_ge(z, zero, one, e) / (one + e)
    if code == TANH:
        return vector.tanh(z)
    return z


@jitted
def activation_backward(code, da, a):
    """dZ = dA f'(Z), from A = f(Z) alone."""
    zero, one = splat(0.0, a), splat(1.0, a)
    if code == RELU:
        return where_gt(a, zero, da, zero)
    if code == LEAKY_RELU:
        return where_gt(a, zero, da, da * splat(NEGATIVE_SLOPE, a))
    if code == SIGMOID:
        return da * a * (one - a)
    if code == TANH:
        return da * (one - a * a)
    return da


@jitted
def shifted_exp(M, z, e, K, stride, like):
    """E_k = exp(Z_k - max Z); returns the maximum and the sum. E may be Z."""
    top = load(M, z, like)
    for k in range(stride, K * stride, stride):
        x = load(M, z + k, like)
        top = where_gt(x, top, x, top)
    total = splat(0.0, like)
    for k in range(0, K * stride, stride):
        x = vector.exp(load(M, z + k, like) - top)
        store(M, e + k, x)
        total = total + x
    return top, total


@jitted
def apply_activation(M, code, z, a, K, stride, like):
    """A = f(Z) for K outputs of one group of samples."""
    if code == SOFTMAX:
        _, total = shifted_exp(M, z, a, K, stride, like)
        for k in range(a, a + K * stride, stride):
            store(M, k, load(M, k, like) / total)
    elif code != LINEAR or a != z:
        for k in range(0, K * stride, stride):
            store(M, a + k, activation_forward(code, load(M, z + k, like)))


@jitted
def apply_activation_backward(M, code, a, d, K, stride, like):
    """dZ = dA f'(Z) in place, D holding dA."""
    if code == SOFTMAX:
        inner = splat(0.0, like)
        for k in range(0, K * stride, stride):
            inner = fma(load(M, d + k, like), load(M, a + k, like), inner)
        for k in range(0, K * stride, stride):
            store(M, d + k, load(M, a + k, like) * (load(M, d + k, like) - inner))
    elif code != LINEAR:
        for k in range(0, K * stride, stride):
            store(M, d + k, activation_backward(code, load(M, d + k, like), load(M, a + k, like)))


@jitted
def softmax_loss(M, f, t, d, K, stride, dl):
    """l = -sum_k T_k log softmax(F)_k and dF = dl (softmax(F) sum(T) - T). D may be F."""
    zero = splat(0.0, dl)
    weight, inner, top = zero, zero, load(M, f, dl)
    for k in range(stride, K * stride, stride):
        x = load(M, f + k, dl)
        top = where_gt(x, top, x, top)
    for k in range(0, K * stride, stride):
        target = load(M, t + k, dl)
        weight = weight + target
        inner = fma(target, load(M, f + k, dl) - top, inner)
    _, total = shifted_exp(M, f, d, K, stride, dl)
    part = weight / total
    for k in range(0, K * stride, stride):
        x = dl * fma(load(M, d + k, dl), part, -load(M, t + k, dl))
        store(M, d + k, where_lt(fabs(x), splat(SMALLEST_GRADIENT, dl), zero, x))
    return fma(weight, vector.log(total), -inner)


@jitted
def clip(x):
    """x within [EPSILON, 1 - EPSILON]."""
    low, high = splat(EPSILON, x), splat(1 - EPSILON, x)
    return where_gt(x, high, high, where_lt(x, low, low, x))


@jitted
def where_unclipped(x, yes):
    """`yes` where x was not clipped, else 0."""
    zero = splat(0.0, x)
    low, high = splat(EPSILON, x), splat(1 - EPSILON, x)
    return where_ge(x, low, where_ge(high, x, yes, zero), zero)


@jitted
def clipped_loss(M, p, t, d, K, stride, dl):
    """F = log clip(P), then as softmax_loss; dP = dF / P where P was not clipped."""
    for k in range(0, K * stride, stride):
        store(M, d + k, vector.log(clip(load(M, p + k, dl))))
    loss = softmax_loss(M, d, t, d, K, stride, dl)
    for k in range(0, K * stride, stride):
        x = load(M, p + k, dl)
        store(M, d + k, where_unclipped(x, load(M, d + k, dl) / clip(x)))
    return loss


@jitted
def normalized_loss(M, p, t, d, K, stride, dl):
    """Q = P / sum(P), l = -sum_k T_k log clip(Q_k), dP = (dQ - sum_k dQ_k Q_k) / sum(P)."""
    zero = splat(0.0, dl)
    total, loss, inner = zero, zero, zero
    for k in range(0, K * stride, stride):
        total = total + load(M, p + k, dl)
    for k in range(0, K * stride, stride):
        q, target = load(M, p + k, dl) / total, load(M, t + k, dl)
        loss = loss - target * vector.log(clip(q))
        dq = where_unclipped(q, -(dl * target / clip(q)))
        inner = fma(dq, q, inner)
        store(M, d + k, dq)
    for k in range(0, K * stride, stride):
        store(M, d + k, (load(M, d + k, dl) - inner) / total)
    return loss


@jitted
def squared_loss(M, a, t, d, K, stride, dl):
    """l = mean_k (A_k - T_k)^2 and dA = dl 2 (A - T) / K."""
    loss = splat(0.0, dl)
    for k in range(0, K * stride, stride):
        difference = load(M, a + k, dl) - load(M, t + k, dl)
        loss = fma(difference, difference, loss)
        store(M, d + k, dl * splat(2.0 / K, dl) * difference)
    return loss / splat(float(K), dl)


@jitted
def loss_and_gradient(M, code, f, t, d, K, stride, dl):
    """The losses of one group of samples, which read F; dF into D."""
    if code == SOFTMAX_CE:
        return softmax_loss(M, f, t, d, K, stride, dl)
    if code == NORMALIZED_CE:
        return normalized_loss(M, f, t, d, K, stride, dl)
    if code == CLIPPED_CE:
        return clipped_loss(M, f, t, d, K, stride, dl)
    return squared_loss(M, f, t, d, K, stride, dl)


@jitted
def argmax(M, a, K, stride, like):
    """The lowest k whose A_k is the largest, as a float; NaN is less than any, as in TensorFlow."""
    best, which = splat(-np.inf, like), splat(0.0, like)
    for k in range(K):
        x = load(M, a + k * stride, like)
        which = where_gt(x, best, splat(float(k), like), which)
        best = where_gt(x, best, x, best)
    return which
