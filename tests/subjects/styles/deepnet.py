"""Layers with self.params, whose backward returns dX and a list of gradients; losses as functions."""

import numpy as np

from scratchnet.testing import check


class FullyConnected:
    def __init__(self, in_size, out_size):
        self.W = np.random.randn(in_size, out_size) / np.sqrt(in_size / 2.0)
        self.b = np.zeros((1, out_size))
        self.params = [self.W, self.b]

    def forward(self, X):
        self.X = X
        return self.X @ self.W + self.b

    def backward(self, dout):
        dW = self.X.T @ dout
        db = np.sum(dout, axis=0)
        dX = dout @ self.W.T
        return dX, [dW, db]


class Batchnorm:
    def __init__(self, X_dim):
        self.gamma, self.beta = np.ones((1, X_dim)), np.zeros((1, X_dim))
        self.params = [self.gamma, self.beta]

    def forward(self, X):
        self.mu, self.var = np.mean(X, axis=0), np.var(X, axis=0)
        self.X, self.n = X, len(X)
        self.X_norm = (X - self.mu) / np.sqrt(self.var + 1e-8)
        return self.gamma * self.X_norm + self.beta

    def backward(self, dout):
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * self.X_norm, axis=0)
        dX_norm = dout * self.gamma
        dvar = np.sum(dX_norm * (self.X - self.mu), axis=0) * -0.5 * (self.var + 1e-8) ** (-3 / 2)
        dmu = np.sum(dX_norm * -1 / np.sqrt(self.var + 1e-8), axis=0)
        dmu += dvar * np.sum(-2 * (self.X - self.mu), axis=0) / self.n
        dX = (
            dX_norm / np.sqrt(self.var + 1e-8)
            + dvar * 2 * (self.X - self.mu) / self.n
            + dmu / self.n
        )
        return dX, [dgamma, dbeta]


class Maxpool:
    def __init__(self, size, stride):
        self.size, self.stride, self.params = size, stride, []

    def forward(self, X):
        self.X = X
        k, s = self.size, self.stride
        n, d, h, w = X.shape
        out = np.empty((n, d, (h - k) // s + 1, (w - k) // s + 1))
        self.argmax = np.empty(out.shape, int)
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                flat = X[:, :, i * s : i * s + k, j * s : j * s + k].reshape(n, d, -1)
                self.argmax[:, :, i, j] = flat.argmax(axis=2)
                out[:, :, i, j] = flat.max(axis=2)
        return out

    def backward(self, dout):
        k, s = self.size, self.stride
        dX = np.zeros_like(self.X)
        n, d = np.ogrid[: dout.shape[0], : dout.shape[1]]
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                row, col = np.divmod(self.argmax[:, :, i, j], k)
                dX[n, d, i * s + row, j * s + col] += dout[:, :, i, j]
        return dX, []


class TanH:
    def __init__(self):
        self.params = []

    def forward(self, X):
        self.out = np.tanh(X)
        return self.out

    def backward(self, dout):
        return dout * (1 - self.out**2), []


def SoftmaxLoss(X, y):
    m = y.shape[0]
    e = np.exp(X - X.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = np.sum(-np.log(p[range(m), y])) / m
    dx = p.copy()
    dx[range(m), y] -= 1
    dx /= m
    return loss, dx


class NesterovUpdate:
    def __init__(self, learning_rate=0.01, mu=0.9):
        self.learning_rate, self.mu, self.velocity = learning_rate, mu, None

    def update(self, params, grads):
        if self.velocity is None:
            self.velocity = [np.zeros_like(p) for p in params]
        for i in range(len(grads)):
            self.velocity[i] = self.mu * self.velocity[i] + self.learning_rate * grads[i]
            params[i] -= self.mu * self.velocity[i] + self.learning_rate * grads[i]


CALLS = {
    "FullyConnected": lambda: check(FullyConnected(3, 2), (4, 3)),
    "Batchnorm": lambda: check(Batchnorm(3), (5, 3)),
    "Maxpool": lambda: check(Maxpool(2, 1), (2, 2, 4, 4)),
    "TanH": lambda: check(TanH(), (4, 3)),
    "SoftmaxLoss": lambda: check(SoftmaxLoss, (4, 3)),
    "Nesterov": lambda: check(NesterovUpdate),
}
