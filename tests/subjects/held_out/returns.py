"""backward returns (dX, [gradients]); torch-like Functions; boxes with data and grad; whole nets."""

import numpy as np

from scratchnet.testing import check


class Conv:
    def __init__(self, filters, channels, size):
        self.W, self.b = np.random.randn(filters, channels, size, size), np.zeros((filters, 1))
        self.params = [self.W, self.b]

    def forward(self, X):
        self.X = X
        k = self.W.shape[2]
        n, _, h, w = X.shape
        out = np.zeros((n, len(self.W), h - k + 1, w - k + 1))
        for i in range(k):
            for j in range(k):
                part = X[:, :, i : i + out.shape[2], j : j + out.shape[3]]
                out += np.einsum("nchw,fc->nfhw", part, self.W[:, :, i, j])
        return out + self.b.reshape(1, -1, 1, 1)

    def backward(self, dout):
        k = self.W.shape[2]
        dX, dW = np.zeros_like(self.X), np.zeros_like(self.W)
        for i in range(k):
            for j in range(k):
                rows, cols = slice(i, i + dout.shape[2]), slice(j, j + dout.shape[3])
                dW[:, :, i, j] = np.einsum("nfhw,nchw->fc", dout, self.X[:, :, rows, cols])
                dX[:, :, rows, cols] += np.einsum("nfhw,fc->nchw", dout, self.W[:, :, i, j])
        db = dout.sum(axis=(0, 2, 3)).reshape(-1, 1)
        return dX, [dW, db]


class ReLU:
    def __init__(self):
        self.params = []

    def forward(self, X):
        self.X = X
        return np.maximum(0, X)

    def backward(self, dout):
        dX = dout.copy()
        dX[self.X <= 0] = 0
        return dX, []


class Dense:
    def __init__(self, n, m):
        self.W, self.b = np.random.randn(n, m), np.random.randn(m)
        self.params = [self.W, self.b]

    def forward(self, X):
        self.X = X
        return X @ self.W + self.b

    def backward(self, dout):
        return dout @ self.W.T, [self.X.T @ dout, dout.sum(axis=0)]


class Parameter:
    def __init__(self, value):
        self.value, self.grad = value, np.zeros_like(value)


class BoxedLinear:
    def __init__(self, n, m):
        self.weight, self.bias = Parameter(np.random.randn(m, n)), Parameter(np.random.randn(m))

    def forward(self, x):
        self.x = x
        return x @ self.weight.value.T + self.bias.value

    def backward(self, grad):
        self.weight.grad = grad.T @ self.x
        self.bias.grad = grad.sum(axis=0)
        return grad @ self.weight.value


class TwoLayerNet:
    def __init__(self, n, h, k):
        self.params = {
            "W1": np.random.randn(n, h),
            "b1": np.zeros(h),
            "W2": np.random.randn(h, k),
            "b2": np.zeros(k),
        }

    def loss(self, x, t):
        z = (
            np.tanh(x @ self.params["W1"] + self.params["b1"]) @ self.params["W2"]
            + self.params["b2"]
        )
        return 0.5 * np.sum((z - t) ** 2) / len(x)

    def gradient(self, x, t):
        p = self.params
        a = np.tanh(x @ p["W1"] + p["b1"])
        dz = (a @ p["W2"] + p["b2"] - t) / len(x)
        da = dz @ p["W2"].T * (1 - a**2)
        return {"W1": x.T @ da, "b1": da.sum(0), "W2": a.T @ dz, "b2": dz.sum(0)}


class LayerNormFunction:
    @staticmethod
    def forward(ctx, x, weight, bias):
        mean, std = x.mean(-1, keepdims=True), np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        xhat = (x - mean) / std
        ctx.save_for_backward(xhat, std, weight)
        return xhat * weight + bias

    @staticmethod
    def backward(ctx, dy):
        xhat, std, weight = ctx.saved_tensors
        g = dy * weight
        dx = (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True)) / std
        return dx, (dy * xhat).sum(0), dy.sum(0)


class Huber:
    @staticmethod
    def forward(ctx, x, target):
        e = x - target
        ctx.save_for_backward(e)
        return np.where(np.abs(e) <= 1, 0.5 * e**2, np.abs(e) - 0.5).sum()

    @staticmethod
    def backward(ctx, dy):
        (e,) = ctx.saved_tensors
        return dy * np.clip(e, -1, 1), None


class ScaledDot:
    @staticmethod
    def forward(ctx, q, k, v):
        s = np.exp(q @ k.T / np.sqrt(q.shape[1]))
        a = s / s.sum(1, keepdims=True)
        ctx.save_for_backward(q, k, v, a)
        return a @ v

    @staticmethod
    def backward(ctx, dy):
        q, k, v, a = ctx.saved_tensors
        da = dy @ v.T
        ds = a * (da - (a * da).sum(1, keepdims=True)) / np.sqrt(q.shape[1])
        return ds @ k, ds.T @ q, a.T @ dy


class AdamW:
    def __init__(self, params, lr=0.01, weight_decay=0.01):
        self.params, self.lr, self.weight_decay, self.t = list(params), lr, weight_decay, 0
        self.m, self.v = [0.0 for _ in self.params], [0.0 for _ in self.params]

    def step(self):
        self.t += 1
        for i, p in enumerate(self.params):
            self.m[i] = 0.9 * self.m[i] + 0.1 * p.grad
            self.v[i] = 0.999 * self.v[i] + 0.001 * p.grad**2
            m, v = self.m[i] / (1 - 0.9**self.t), self.v[i] / (1 - 0.999**self.t)
            p.data = p.data - self.lr * (m / (np.sqrt(v) + 1e-8) + self.weight_decay * p.data)


CALLS = {
    "Conv": lambda: check(Conv(2, 2, 2), (2, 2, 4, 4)),
    "ReLU": lambda: check(ReLU(), (4, 3)),
    "Dense": lambda: check(Dense(3, 2), (4, 3)),
    "BoxedLinear": lambda: check(BoxedLinear(3, 2), (4, 3)),
    "TwoLayerNet": lambda: check(TwoLayerNet(3, 4, 2), (5, 3), targets=(5, 2)),
    "LayerNormFunction": lambda: check(LayerNormFunction, [(4, 3), (3,), (3,)]),
    "Huber": lambda: check(Huber, [(4, 3), np.random.RandomState(0).randn(4, 3)]),
    "ScaledDot": lambda: check(ScaledDot, [(3, 4), (5, 4), (5, 2)]),
    "AdamW": lambda: check(AdamW),
}
