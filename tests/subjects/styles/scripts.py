"""Functions of short scripts: weights in a dict or a list, losses with the truth first, flags."""

from dataclasses import dataclass

import numpy as np

from scratchnet.testing import check

X, LABELS = np.random.default_rng(1).normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])
noise = np.random.default_rng(7)


def weights():
    r = np.random.default_rng(2)
    shapes = {"W1": (3, 4), "b1": (4,), "W2": (4, 2), "b2": (2,)}
    return {name: r.normal(size=shape) for name, shape in shapes.items()}


def loss_and_grads(params, X, y):
    h = np.maximum(0, X @ params["W1"] + params["b1"])
    s = h @ params["W2"] + params["b2"]
    p = np.exp(s - s.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    p[np.arange(len(y)), y] -= 1
    ds = p / len(y)
    dh = ds @ params["W2"].T * (h > 0)
    return loss, {"W1": X.T @ dh, "b1": dh.sum(0), "W2": h.T @ ds, "b2": ds.sum(0)}


def of_a_list(params, X, y):
    loss, grads = loss_and_grads(dict(zip(weights(), params, strict=True)), X, y)
    return loss, list(grads.values())


def logistic_cost(theta, X, y, lam=0.1):
    h = 1 / (1 + np.exp(-X @ theta))
    shrunk = np.r_[0, theta[1:]]
    J = (-y @ np.log(h) - (1 - y) @ np.log(1 - h)) / len(y) + lam / 2 / len(y) * (shrunk @ shrunk)
    return J, (X.T @ (h - y) + lam * shrunk) / len(y)


def mse(y_true, y_pred):
    return np.mean((y_true - y_pred) ** 2)


def mse_prime(y_true, y_pred):
    return 2 * (y_pred - y_true) / np.size(y_true)


def mae(actual, predicted):
    return np.abs(actual - predicted).mean()


def mae_prime(actual, predicted):
    return np.sign(predicted - actual) / actual.size


def sigmoid(x, derivative=False):
    s = 1 / (1 + np.exp(-x))
    return s * (1 - s) if derivative else s


@dataclass
class Affine:
    w: np.ndarray
    b: np.ndarray

    def __call__(self, x):
        return x @ self.w + self.b

    def vjp(self, x, g):
        return g @ self.w.T, Affine(x.T @ g, g.sum(0))


def dropout(x, rate=0.5, rng=noise):
    mask = (rng.random(x.shape) > rate) / (1 - rate)
    return x * mask, lambda dy: dy * mask


def noisy(x):
    factor = noise.uniform(0.5, 1.5, x.shape)
    return x * factor, lambda dy: dy * factor


class Net:
    def __init__(self):
        r = np.random.default_rng(3)
        self.weights = [r.normal(size=(4, 3)), r.normal(size=(2, 4))]
        self.biases = [r.normal(size=(4, 1)), r.normal(size=(2, 1))]

    def forward(self, x):
        self.a = [x]
        for w, b in zip(self.weights, self.biases, strict=True):
            self.a.append(np.tanh(w @ self.a[-1] + b))
        return self.a[-1]

    def backward(self, delta):
        self.dws, self.dbs = [None, None], [None, None]
        for i in (1, 0):
            delta = delta * (1 - self.a[i + 1] ** 2)
            self.dws[i] = delta @ self.a[i].T
            self.dbs[i] = delta.sum(1, keepdims=True)
            delta = self.weights[i].T @ delta
        return delta


CALLS = {
    "dict of weights": lambda: check(loss_and_grads, [weights(), X, LABELS]),
    "list of weights": lambda: check(of_a_list, [[*weights().values()], X, LABELS]),
    "logistic_cost": lambda: check(logistic_cost, [np.zeros(3) + 0.1, X, LABELS]),
    "mse": lambda: check((mse, mse_prime), [(3, 1), (3, 1)]),
    "mae": lambda: check((mae, mae_prime), [(4, 2), (4, 2)]),
    "sigmoid": lambda: check(sigmoid, (3, 2)),
    "Affine": lambda: check(Affine(np.ones((3, 2)), np.zeros(2)), (4, 3)),
    "dropout": lambda: check(dropout, (4, 5)),
    "noisy": lambda: check(noisy, (4, 5)),
    "Net": lambda: check(Net(), (3, 5), columns=True),
}
