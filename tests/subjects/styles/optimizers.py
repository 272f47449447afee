"""Optimizers made of parameters, of arrays or of a model; functions that take their state."""

import numpy as np

from scratchnet.testing import check


class Adam:
    """Of objects with a value and a grad."""

    def __init__(self, params, lr=1e-3, b1=0.9, b2=0.999, eps=1e-8):
        self.params, self.lr, self.b1, self.b2, self.eps, self.t = params, lr, b1, b2, eps, 0
        self.m = [np.zeros_like(p.value) for p in params]
        self.v = [np.zeros_like(p.value) for p in params]

    def step(self):
        self.t += 1
        for p, m, v in zip(self.params, self.m, self.v, strict=True):
            m[...] = self.b1 * m + (1 - self.b1) * p.grad
            v[...] = self.b2 * v + (1 - self.b2) * p.grad**2
            root = np.sqrt(v / (1 - self.b2**self.t)) + self.eps
            p.value -= self.lr * m / (1 - self.b1**self.t) / root


class Parameter:
    def __init__(self, value):
        self.value, self.grad = value, np.zeros_like(value)


class Momentum:
    """It rebinds data."""

    def __init__(self, parameters, lr=0.01, beta=0.9):
        self.parameters, self.lr, self.beta, self.u = parameters, lr, beta, {}

    def step(self):
        for i, p in enumerate(self.parameters):
            self.u[i] = self.beta * self.u.get(i, 0) + p.grad
            p.data = p.data - self.lr * self.u[i]


class ArraySGD:
    def __init__(self, weights, lr=0.1):
        self.weights, self.lr = weights, lr

    def step(self, grads):
        for w, g in zip(self.weights, grads, strict=True):
            w -= self.lr * g


class DictSGD:
    def __init__(self, params, lr=0.1):
        self.params, self.lr = params, lr

    def step(self, grads):
        for name in self.params:
            self.params[name] -= self.lr * grads[name]


class ModelSGD:
    def __init__(self, model, lr=0.1):
        self.model, self.lr = model, lr

    def step(self):
        for layer in self.model.layers:
            layer.W -= self.lr * layer.dW
            layer.b -= self.lr * layer.db


def update_with_adam(
    parameters, grads, v, s, t, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8
):
    for i in range(1, len(parameters) // 2 + 1):
        for name in (f"W{i}", f"b{i}"):
            d = grads["d" + name]
            v["d" + name] = beta1 * v["d" + name] + (1 - beta1) * d
            s["d" + name] = beta2 * s["d" + name] + (1 - beta2) * d**2
            root = np.sqrt(s["d" + name] / (1 - beta2**t)) + epsilon
            parameters[name] = (
                parameters[name] - learning_rate * v["d" + name] / (1 - beta1**t) / root
            )
    return parameters, v, s


def adamw(p, g, state, lr=1e-3, wd=0.01):
    state["t"] = state.get("t", 0) + 1
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * g * g
    root = np.sqrt(state["v"] / (1 - 0.999 ** state["t"])) + 1e-8
    return p * (1 - lr * wd) - lr * state["m"] / (1 - 0.9 ** state["t"]) / root


class Transform:
    """init and update, the updates apart from the parameters."""

    def __init__(self, lr=0.1):
        self.lr = lr

    def init(self, params):
        return {name: np.zeros_like(p) for name, p in params.items()}

    def update(self, grads, state, params=None):
        state = {name: 0.9 * state[name] + g for name, g in grads.items()}
        return {name: -self.lr * v for name, v in state.items()}, state


class Called:
    def __init__(self, lr=0.1):
        self.lr = lr

    def __call__(self, w, dw):
        return w - self.lr * dw


class RMSprop:
    def __init__(self, lr=0.01, rho=0.9):
        self.lr, self.rho, self.cache = lr, rho, None

    def optimize(self, weights, grads):
        if self.cache is None:
            self.cache = [np.zeros_like(w) for w in weights]
        for i, (w, g) in enumerate(zip(weights, grads, strict=True)):
            self.cache[i] = self.rho * self.cache[i] + (1 - self.rho) * g * g
            w -= self.lr * g / (np.sqrt(self.cache[i]) + 1e-8)


CALLS = {
    "Adam": lambda: check(Adam),
    "Adam of its own parameters": lambda: check(Adam([Parameter(np.ones(3))], lr=0.01)),
    "Adam of others": lambda: check(lambda params: Adam(params, lr=0.1)),
    "Momentum": lambda: check(Momentum),
    "ArraySGD": lambda: check(ArraySGD),
    "DictSGD": lambda: check(DictSGD),
    "ModelSGD": lambda: check(ModelSGD),
    "update_with_adam": lambda: check(update_with_adam),
    "adamw": lambda: check(adamw),
    "Transform": lambda: check(Transform()),
    "Called": lambda: check(Called()),
    "RMSprop": lambda: check(RMSprop()),
}
