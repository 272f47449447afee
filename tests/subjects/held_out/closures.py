"""Functions with closures, and activations with fn and grad or __call__ and gradient."""

import numpy as np

from scratchnet.testing import check


def log_softmax(x):
    z = x - x.max(axis=1, keepdims=True)
    y = z - np.log(np.exp(z).sum(axis=1, keepdims=True))

    def grad(dy):
        return dy - np.exp(y) * dy.sum(axis=1, keepdims=True)

    return y, grad


def cosine(a, b):
    na, nb = np.sqrt((a * a).sum(1, keepdims=True)), np.sqrt((b * b).sum(1, keepdims=True))
    c = (a * b).sum(1, keepdims=True) / (na * nb)

    def grad(dy):
        da = dy * (b / (na * nb) - c * a / na**2)
        db = dy * (a / (na * nb) - c * b / nb**2)
        return da, db

    return c, grad


def maxout(x):
    N, D = x.shape
    pairs = x.reshape(N, D // 2, 2)
    first = pairs[:, :, 0] >= pairs[:, :, 1]

    def grad(dy):
        out = np.zeros_like(pairs)
        out[:, :, 0], out[:, :, 1] = dy * first, dy * ~first
        return out.reshape(N, D)

    return pairs.max(axis=2), grad


def bilinear(x, W, y):
    def grad(dz):
        dx = dz[:, None] * (y @ W.T)
        dy = dz[:, None] * (x @ W)
        dW = np.einsum("n,ni,nj->ij", dz, x, y)
        return dx, dW, dy

    return np.einsum("ni,ij,nj->n", x, W, y), grad


class Mish:
    def fn(self, z):
        return z * np.tanh(np.logaddexp(0, z))

    def grad(self, x):
        sp = np.logaddexp(0, x)
        t = np.tanh(sp)
        return t + x * (1 - t**2) / (1 + np.exp(-x))


class HardSigmoid:
    def fn(self, z):
        return np.clip(0.2 * z + 0.5, 0.0, 1.0)

    def grad(self, x):
        return np.where((x >= -2.5) & (x <= 2.5), 0.2, 0)


class ELU:
    def __init__(self, alpha=0.1):
        self.alpha = alpha

    def __call__(self, x):
        return np.where(x >= 0.0, x, self.alpha * (np.exp(np.minimum(x, 0)) - 1))

    def gradient(self, x):
        return np.where(x >= 0.0, 1, self.__call__(x) + self.alpha)


class SoftPlus:
    def __call__(self, x):
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def gradient(self, x):
        return 1 / (1 + np.exp(-x))


class SquareLoss:
    def loss(self, y, y_pred):
        return 0.5 * np.power((y - y_pred), 2)

    def gradient(self, y, y_pred):
        return -(y - y_pred)


class Adagrad:
    def __init__(self, learning_rate=0.01):
        self.learning_rate, self.G, self.eps = learning_rate, None, 1e-8

    def update(self, w, grad_wrt_w):
        if self.G is None:
            self.G = np.zeros(np.shape(w))
        self.G += np.power(grad_wrt_w, 2)
        return w - self.learning_rate * grad_wrt_w / np.sqrt(self.G + self.eps)


class BatchNormalization:
    """It updates gamma and beta in its backward pass, by plain gradient descent."""

    def __init__(self, n, learning_rate=1.0):
        self.gamma, self.beta, self.learning_rate = np.ones(n), np.zeros(n), learning_rate

    def forward_pass(self, X, training=True):
        self.X_centered = X - X.mean(axis=0)
        self.stddev_inv = 1 / np.sqrt(X.var(axis=0) + 0.01)
        return self.gamma * self.X_centered * self.stddev_inv + self.beta

    def backward_pass(self, accum_grad):
        gamma = self.gamma
        X_norm = self.X_centered * self.stddev_inv
        self.gamma = self.gamma - self.learning_rate * np.sum(accum_grad * X_norm, axis=0)
        self.beta = self.beta - self.learning_rate * np.sum(accum_grad, axis=0)
        n = accum_grad.shape[0]
        return (
            (1 / n)
            * gamma
            * self.stddev_inv
            * (
                n * accum_grad
                - np.sum(accum_grad, axis=0)
                - self.X_centered
                * self.stddev_inv**2
                * np.sum(accum_grad * self.X_centered, axis=0)
            )
        )


CALLS = {
    "log_softmax": lambda: check(log_softmax, (4, 3)),
    "cosine": lambda: check(cosine, [(4, 3), (4, 3)]),
    "maxout": lambda: check(maxout, (4, 6)),
    "bilinear": lambda: check(bilinear, [(4, 3), (3, 2), (4, 2)]),
    "Mish": lambda: check(Mish(), (4, 3)),
    "HardSigmoid": lambda: check(HardSigmoid(), (4, 3)),
    "ELU": lambda: check(ELU(), (4, 3)),
    "SoftPlus": lambda: check(SoftPlus(), (4, 3)),
    "SquareLoss": lambda: check(SquareLoss, (4, 3)),
    "Adagrad": lambda: check(Adagrad),
    "BatchNormalization": lambda: check(BatchNormalization(3), (5, 3)),
}
