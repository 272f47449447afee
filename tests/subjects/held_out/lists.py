"""Layers with lists params and grads: GRU and LSTM cells, pooling, attention, sampled dot products."""

import numpy as np

from scratchnet.testing import check


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class LSTM:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]

    def forward(self, x, h_prev, c_prev):
        Wx, Wh, b = self.params
        H = h_prev.shape[1]
        A = x @ Wx + h_prev @ Wh + b
        f, g, i, o = A[:, :H], A[:, H : 2 * H], A[:, 2 * H : 3 * H], A[:, 3 * H :]
        f, g, i, o = sigmoid(f), np.tanh(g), sigmoid(i), sigmoid(o)
        c_next = f * c_prev + g * i
        h_next = o * np.tanh(c_next)
        self.cache = (x, h_prev, c_prev, i, f, g, o, c_next)
        return h_next, c_next

    def backward(self, dh_next, dc_next):
        Wx, Wh, b = self.params
        x, h_prev, c_prev, i, f, g, o, c_next = self.cache
        tanh_c = np.tanh(c_next)
        ds = dc_next + (dh_next * o) * (1 - tanh_c**2)
        di, df = ds * g * i * (1 - i), ds * c_prev * f * (1 - f)
        do, dg = dh_next * tanh_c * o * (1 - o), ds * i * (1 - g**2)
        dA = np.hstack((df, dg, di, do))
        self.grads[0][...], self.grads[1][...] = x.T @ dA, h_prev.T @ dA
        self.grads[2][...] = dA.sum(axis=0)
        return dA @ Wx.T, dA @ Wh.T, ds * f


class GRU:
    def __init__(self, Wx, Wh):
        self.params = [Wx, Wh]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh)]

    def forward(self, x, h):
        Wx, Wh = self.params
        H = Wh.shape[0]
        z = sigmoid(x @ Wx[:, :H] + h @ Wh[:, :H])
        r = sigmoid(x @ Wx[:, H : 2 * H] + h @ Wh[:, H : 2 * H])
        n = np.tanh(x @ Wx[:, 2 * H :] + (r * h) @ Wh[:, 2 * H :])
        self.cache = (x, h, z, r, n)
        return (1 - z) * h + z * n

    def backward(self, dh_next):
        Wx, Wh = self.params
        x, h, z, r, n = self.cache
        H = Wh.shape[0]
        dn = dh_next * z * (1 - n**2)
        dz = dh_next * (n - h) * z * (1 - z)
        drh = dn @ Wh[:, 2 * H :].T
        dr = drh * h * r * (1 - r)
        gates = np.hstack([dz, dr])
        self.grads[0][...] = np.hstack([x.T @ gates, x.T @ dn])
        self.grads[1][...] = np.hstack([h.T @ gates, (r * h).T @ dn])
        dx = gates @ Wx[:, : 2 * H].T + dn @ Wx[:, 2 * H :].T
        dh = dh_next * (1 - z) + drh * r + gates @ Wh[:, : 2 * H].T
        return dx, dh


class Pooling:
    def __init__(self, size):
        self.size, self.params, self.grads = size, [], []

    def forward(self, x):
        k = self.size
        N, C, H, W = x.shape
        cols = x.reshape(N, C, H // k, k, W // k, k).transpose(0, 1, 2, 4, 3, 5)
        cols = cols.reshape(N, C, H // k, W // k, k * k)
        self.shape, self.arg = x.shape, cols.argmax(axis=-1)
        return cols.max(axis=-1)

    def backward(self, dout):
        k = self.size
        N, C, h, w = dout.shape
        cols = np.zeros((N, C, h, w, k * k))
        np.put_along_axis(cols, self.arg[..., None], dout[..., None], axis=-1)
        cols = cols.reshape(N, C, h, w, k, k).transpose(0, 1, 2, 4, 3, 5)
        return cols.reshape(self.shape)


class Dropout:
    def __init__(self, ratio=0.4):
        self.ratio, self.params, self.grads = ratio, [], []

    def forward(self, x, train_flg=True):
        if train_flg:
            self.mask = (np.random.rand(*x.shape) > self.ratio) / (1 - self.ratio)
            return x * self.mask
        return x

    def backward(self, dout):
        return dout * self.mask


class EmbeddingDot:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]

    def forward(self, h, idx):
        self.target = self.params[0][idx]
        self.cache = (h, idx)
        return np.sum(self.target * h, axis=1)

    def backward(self, dout):
        h, idx = self.cache
        dout = dout.reshape(-1, 1)
        self.grads[0][...] = 0
        np.add.at(self.grads[0], idx, dout * h)
        return dout * self.target


class WeightSum:
    def __init__(self):
        self.params, self.grads = [], []

    def forward(self, hs, a):
        self.cache = (hs, a)
        return np.sum(hs * a[:, :, None], axis=1)

    def backward(self, dc):
        hs, a = self.cache
        dhs = dc[:, None, :] * a[:, :, None]
        da = np.sum(dc[:, None, :] * hs, axis=2)
        return dhs, da


class Nesterov:
    def __init__(self, lr=0.01, momentum=0.9):
        self.lr, self.momentum, self.v = lr, momentum, None

    def update(self, params, grads):
        if self.v is None:
            self.v = {k: np.zeros_like(p) for k, p in params.items()}
        for key in params:
            params[key] += self.momentum * self.momentum * self.v[key]
            params[key] -= (1 + self.momentum) * self.lr * grads[key]
            self.v[key] *= self.momentum
            self.v[key] -= self.lr * grads[key]


R = np.random.RandomState(5).randn
CALLS = {
    "LSTM": lambda: check(LSTM(R(2, 8), R(2, 8), R(8)), [(3, 2), (3, 2), (3, 2)]),
    "GRU": lambda: check(GRU(R(3, 6), R(2, 6)), [(4, 3), (4, 2)]),
    "Pooling": lambda: check(Pooling(2), (2, 2, 4, 4)),
    "Dropout": lambda: check(Dropout(), (4, 5)),
    "EmbeddingDot": lambda: check(EmbeddingDot(R(5, 3)), [(4, 3), np.array([1, 0, 1, 4])]),
    "WeightSum": lambda: check(WeightSum(), [(2, 4, 3), (2, 4)]),
    "Nesterov": lambda: check(Nesterov),
}
