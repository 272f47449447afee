"""Layers with params and grads dicts: PReLU, a highway, a residual block; losses; net optimizers."""

import numpy as np

from scratchnet.testing import check


class Module:
    def __init__(self, **params):
        self.params = params
        self.grads = {}


class PReLU(Module):
    def __init__(self, n):
        super().__init__(a=np.full(n, 0.25))

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.params["a"] * x)

    def backward(self, grad):
        self.grads["a"] = np.sum(grad * np.where(self.x > 0, 0, self.x), axis=0)
        return grad * np.where(self.x > 0, 1.0, self.params["a"])


class Highway(Module):
    def __init__(self, n):
        rng = np.random.RandomState(1)
        super().__init__(Wt=rng.randn(n, n), bt=rng.randn(n), Wh=rng.randn(n, n), bh=rng.randn(n))

    def forward(self, x):
        p = self.params
        self.x = x
        self.t = 1 / (1 + np.exp(-(x @ p["Wt"] + p["bt"])))
        self.h = np.tanh(x @ p["Wh"] + p["bh"])
        return self.t * self.h + (1 - self.t) * x

    def backward(self, grad):
        p = self.params
        dt = grad * (self.h - self.x) * self.t * (1 - self.t)
        dh = grad * self.t * (1 - self.h**2)
        self.grads["Wt"], self.grads["bt"] = self.x.T @ dt, dt.sum(0)
        self.grads["Wh"], self.grads["bh"] = self.x.T @ dh, dh.sum(0)
        return grad * (1 - self.t) + dt @ p["Wt"].T + dh @ p["Wh"].T


class Residual(Module):
    def __init__(self, n):
        super().__init__(w=np.random.randn(n, n), b=np.random.randn(n))

    def forward(self, x):
        self.x, self.z = x, x @ self.params["w"] + self.params["b"]
        return x + np.maximum(self.z, 0)

    def backward(self, grad):
        dz = grad * (self.z > 0)
        self.grads["w"] = self.x.T @ dz
        self.grads["b"] = dz.sum(axis=0)
        return grad + dz @ self.params["w"].T


class LogCosh:
    def loss(self, predicted, actual):
        return np.mean(np.logaddexp(predicted - actual, actual - predicted) - np.log(2))

    def grad(self, predicted, actual):
        return np.tanh(predicted - actual) / predicted.size


class SmoothL1:
    def loss(self, predicted, actual):
        e = np.abs(predicted - actual)
        return np.sum(np.where(e < 2.0, e**2 / 4, e - 1))

    def grad(self, predicted, actual):
        e = predicted - actual
        return np.where(np.abs(e) < 2.0, e / 2, np.sign(e))


class Momentum:
    def __init__(self, lr=0.05, mu=0.8):
        self.lr, self.mu, self.v = lr, mu, {}

    def step(self, net):
        for i, (param, grad) in enumerate(net.params_and_grads()):
            self.v[i] = self.mu * self.v.get(i, 0.0) + grad
            param -= self.lr * self.v[i]


CALLS = {
    "PReLU": lambda: check(PReLU(3), (4, 3)),
    "Highway": lambda: check(Highway(3), (4, 3)),
    "Residual": lambda: check(Residual(3), (4, 3)),
    "LogCosh": lambda: check(LogCosh, (4, 3)),
    "SmoothL1": lambda: check(SmoothL1, (4, 3)),
    "Momentum": lambda: check(Momentum),
}
