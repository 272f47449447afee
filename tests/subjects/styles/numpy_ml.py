"""Layers that make their parameters at the first call and add gradients up until they are flushed."""

import numpy as np

from scratchnet.testing import check


class ReLU:
    def fn(self, z):
        return np.clip(z, 0, np.inf)

    def grad(self, x):
        return (x > 0).astype(float)


class ELU:
    def __init__(self, alpha=0.5):
        self.alpha = alpha

    def fn(self, z):
        return np.where(z > 0, z, self.alpha * (np.exp(z) - 1))

    def grad(self, x):
        return np.where(x > 0, np.ones_like(x), self.alpha * np.exp(x))


class SoftPlus:
    def fn(self, z):
        return np.logaddexp(0, z)

    def grad(self, x):
        return 1 / (1 + np.exp(-x))


class FullyConnected:
    def __init__(self, n_out, act_fn):
        self.n_out, self.act_fn, self.X, self.trainable = n_out, act_fn, [], True
        self.is_initialized = False
        self.parameters, self.gradients = {"W": None, "b": None}, {}

    def _init_params(self):
        self.parameters["W"] = np.random.randn(self.n_in, self.n_out)
        self.parameters["b"] = np.zeros((1, self.n_out))
        self.flush_gradients()
        self.is_initialized = True

    def flush_gradients(self):
        self.X = []
        for k, v in self.parameters.items():
            self.gradients[k] = np.zeros_like(v)

    def forward(self, X, retain_derived=True):
        if not self.is_initialized:
            self.n_in = X.shape[1]
            self._init_params()
        if retain_derived:
            self.X.append(X)
        return self.act_fn.fn(X @ self.parameters["W"] + self.parameters["b"])

    def backward(self, dLdy, retain_grads=True):
        X = self.X[-1]
        Z = X @ self.parameters["W"] + self.parameters["b"]
        dZ = dLdy * self.act_fn.grad(Z)
        if retain_grads:
            self.gradients["W"] += X.T @ dZ
            self.gradients["b"] += dZ.sum(axis=0, keepdims=True)
        return dZ @ self.parameters["W"].T


class SquaredError:
    @staticmethod
    def loss(y, y_pred):
        return 0.5 * np.linalg.norm(y_pred - y) ** 2

    @staticmethod
    def grad(y, y_pred):
        return y_pred - y


class RMSProp:
    def __init__(self, lr=0.001, decay=0.9, eps=1e-7):
        self.lr, self.decay, self.eps, self.cache = lr, decay, eps, {}

    def update(self, param, param_grad, param_name, cur_loss=None):
        v = self.cache.get(param_name, np.zeros_like(param_grad))
        v = self.decay * v + (1 - self.decay) * param_grad**2
        self.cache[param_name] = v
        return param - self.lr * param_grad / (np.sqrt(v) + self.eps)


CALLS = {
    "FullyConnected": lambda: check(FullyConnected(2, ReLU()), (4, 3)),
    "FullyConnected ELU": lambda: check(FullyConnected(2, ELU()), (4, 3)),
    "ELU": lambda: check(ELU(), (4, 3)),
    "SoftPlus": lambda: check(SoftPlus(), (4, 3)),
    "SquaredError": lambda: check(SquaredError, (4, 3)),
    "RMSProp": lambda: check(RMSProp),
}
