"""Layers with build and call; functions that return the output with a closure for the gradient."""

import numpy as np

from scratchnet.testing import check


class Layer:
    def __init__(self):
        self.trainable_weights, self.gradients, self.built = [], [], False

    def add_weight(self, shape, initializer):
        self.trainable_weights.append(initializer(shape))
        return len(self.trainable_weights) - 1

    def __call__(self, inputs, training=False):
        if not self.built:
            self.build(inputs.shape)
            self.built = True
        return self.call(inputs, training)


class Scale(Layer):
    def build(self, input_shape):
        self.g = self.add_weight(input_shape[-1:], np.ones)
        self.b = self.add_weight(input_shape[-1:], np.zeros)

    def call(self, inputs, training):
        self.inputs = inputs
        return inputs * self.trainable_weights[self.g] + self.trainable_weights[self.b]

    def gradient(self, dy):
        self.gradients = [(dy * self.inputs).sum(0), dy.sum(0)]
        return dy * self.trainable_weights[self.g]


class RMSNormalization(Layer):
    def build(self, input_shape):
        self.scale = self.add_weight(input_shape[-1:], np.ones)

    def call(self, inputs, training):
        self.inputs = inputs
        self.rms = np.sqrt(np.mean(inputs * inputs, axis=-1, keepdims=True) + 1e-6)
        return inputs / self.rms * self.trainable_weights[self.scale]

    def gradient(self, dy):
        unit = self.inputs / self.rms
        d = dy * self.trainable_weights[self.scale]
        self.gradients = [(dy * unit).sum(0)]
        return (d - unit * np.mean(d * unit, axis=-1, keepdims=True)) / self.rms


def gelu(x):
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))

    def grad(upstream):
        slope = 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 3 * 0.044715 * x**2)
        return upstream * slope

    return 0.5 * x * (1 + t), grad


def relu6(x):
    def grad(upstream):
        return upstream * ((x > 0) & (x < 6))

    return np.clip(x, 0, 6), grad


def attention(q, k, v):
    scale = 1 / np.sqrt(q.shape[-1])
    scores = q @ k.swapaxes(-1, -2) * scale
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    a = e / e.sum(axis=-1, keepdims=True)

    def grad(upstream):
        da = upstream @ v.swapaxes(-1, -2)
        ds = a * (da - (da * a).sum(axis=-1, keepdims=True))
        dq = ds @ k * scale
        dk = ds.swapaxes(-1, -2) @ q * scale
        dv = a.swapaxes(-1, -2) @ upstream
        return dq, dk, dv

    return a @ v, grad


def l2_normalize(x):
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    y = x / norm

    def grad(upstream):
        return (upstream - y * np.sum(upstream * y, axis=1, keepdims=True)) / norm

    return y, grad


CALLS = {
    "Scale": lambda: check(Scale(), (4, 3), params="trainable_weights"),
    "RMSNormalization": lambda: check(RMSNormalization(), (4, 5), params="trainable_weights"),
    "gelu": lambda: check(gelu, (4, 5)),
    "relu6": lambda: check(relu6, (4, 5)),
    "attention": lambda: check(attention, [(2, 3, 4), (2, 5, 4), (2, 5, 2)]),
    "l2_normalize": lambda: check(l2_normalize, (4, 3)),
}
