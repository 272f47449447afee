"""Functions with caches: group and spatial norms, average pools, sequences, linear classifiers."""

import numpy as np

from scratchnet.testing import check


def spatial_batchnorm_forward(x, gamma, beta):
    mu = x.mean(axis=(0, 2, 3), keepdims=True)
    var = x.var(axis=(0, 2, 3), keepdims=True)
    s = np.sqrt(var + 1e-5)
    n = (x - mu) / s
    return gamma.reshape(1, -1, 1, 1) * n + beta.reshape(1, -1, 1, 1), (n, s, gamma)


def spatial_batchnorm_backward(dout, cache):
    n, s, gamma = cache
    axes = (0, 2, 3)
    d = dout * gamma.reshape(1, -1, 1, 1)
    dx = (d - d.mean(axes, keepdims=True) - n * (d * n).mean(axes, keepdims=True)) / s
    return dx, (dout * n).sum(axes), dout.sum(axes)


def instancenorm_forward(x):
    mu, var = x.mean(axis=(2, 3), keepdims=True), x.var(axis=(2, 3), keepdims=True)
    s = np.sqrt(var + 1e-5)
    return (x - mu) / s, ((x - mu) / s, s)


def instancenorm_backward(dout, cache):
    n, s = cache
    axes = (2, 3)
    return (dout - dout.mean(axes, keepdims=True) - n * (dout * n).mean(axes, keepdims=True)) / s


def avg_pool_forward(x, k):
    N, C, H, W = x.shape
    return x.reshape(N, C, H // k, k, W // k, k).mean(axis=(3, 5)), (x.shape, k)


def avg_pool_backward(dout, cache):
    shape, k = cache
    return np.repeat(np.repeat(dout, k, axis=2), k, axis=3) / (k * k)


def temporal_affine_forward(x, w, b):
    N, T, D = x.shape
    return (x.reshape(N * T, D) @ w).reshape(N, T, -1) + b, (x, w)


def temporal_affine_backward(dout, cache):
    x, w = cache
    N, T, D = x.shape
    dw = x.reshape(N * T, D).T @ dout.reshape(N * T, -1)
    return dout @ w.T, dw, dout.sum(axis=(0, 1))


def conv1d_forward(x, w, b):
    N, C, L = x.shape
    F, _, K = w.shape
    out = np.zeros((N, F, L - K + 1))
    for i in range(L - K + 1):
        out[:, :, i] = np.tensordot(x[:, :, i : i + K], w, axes=([1, 2], [1, 2])) + b
    return out, (x, w)


def conv1d_backward(dout, cache):
    x, w = cache
    K = w.shape[2]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(dout.shape[2]):
        dx[:, :, i : i + K] += np.tensordot(dout[:, :, i], w, axes=(1, 0))
        dw += np.tensordot(dout[:, :, i], x[:, :, i : i + K], axes=(0, 0))
    return dx, dw, dout.sum(axis=(0, 2))


def lstm_forward(x, h0, Wx, Wh, b):
    N, T, _ = x.shape
    H = h0.shape[1]
    h, c, hs, cache = h0, np.zeros_like(h0), np.zeros((N, T, H)), []
    for t in range(T):
        z = x[:, t] @ Wx + h @ Wh + b
        i, f, o = (1 / (1 + np.exp(-z[:, k * H : (k + 1) * H])) for k in range(3))
        g = np.tanh(z[:, 3 * H :])
        prev_h, prev_c = h, c
        c = f * c + i * g
        h = o * np.tanh(c)
        hs[:, t] = h
        cache.append((x[:, t], prev_h, prev_c, i, f, o, g, c))
    return hs, (cache, Wx, Wh)


def lstm_backward(dhs, cache):
    steps, Wx, Wh = cache
    N, T, H = dhs.shape
    dx = np.zeros((N, T, Wx.shape[0]))
    dh, dc, dWx, dWh, db = np.zeros((N, H)), np.zeros((N, H)), 0, 0, 0
    for t in reversed(range(T)):
        xt, prev_h, prev_c, i, f, o, g, c = steps[t]
        dh = dh + dhs[:, t]
        tc = np.tanh(c)
        dc = dc + dh * o * (1 - tc**2)
        dz = np.hstack(
            [
                dc * g * i * (1 - i),
                dc * prev_c * f * (1 - f),
                dh * tc * o * (1 - o),
                dc * i * (1 - g**2),
            ]
        )
        dx[:, t], dh, dc = dz @ Wx.T, dz @ Wh.T, dc * f
        dWx, dWh, db = dWx + xt.T @ dz, dWh + prev_h.T @ dz, db + dz.sum(0)
    return dx, dh, dWx, dWh, db


def linear_svm(W, X, y, reg):
    scores = X @ W
    n = len(X)
    margins = np.maximum(0, scores - scores[np.arange(n), y][:, None] + 1)
    margins[np.arange(n), y] = 0
    on = (margins > 0).astype(float)
    on[np.arange(n), y] = -on.sum(axis=1)
    return margins.sum() / n + reg * np.sum(W * W), X.T @ on / n + 2 * reg * W


def temporal_softmax_loss(x, y, mask):
    N, T, V = x.shape
    flat, labels, m = x.reshape(N * T, V), y.reshape(-1), mask.reshape(-1)
    p = np.exp(flat - flat.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.sum(m * np.log(p[np.arange(N * T), labels])) / N
    d = p.copy()
    d[np.arange(N * T), labels] -= 1
    d *= m[:, None]
    return loss, d.reshape(N, T, V) / N


def adagrad(w, dw, config=None):
    config = config or {"lr": 0.1, "G": np.zeros_like(w)}
    G = config["G"] + dw * dw
    return w - config["lr"] * dw / (np.sqrt(G) + 1e-8), {"lr": config["lr"], "G": G}


X, Y = np.random.RandomState(0).randn(5, 4), np.array([0, 1, 2, 1, 0])
CALLS = {
    "spatial_batchnorm": lambda: check(
        (spatial_batchnorm_forward, spatial_batchnorm_backward), [(2, 2, 3, 3), (2,), (2,)]
    ),
    "instancenorm": lambda: check((instancenorm_forward, instancenorm_backward), (2, 2, 3, 3)),
    "avg_pool": lambda: check((avg_pool_forward, avg_pool_backward), (2, 2, 4, 4), extra=[2]),
    "temporal_affine": lambda: check(
        (temporal_affine_forward, temporal_affine_backward), [(3, 4, 2), (2, 3), (3,)]
    ),
    "conv1d": lambda: check((conv1d_forward, conv1d_backward), [(3, 2, 6), (2, 2, 3), (2,)]),
    "lstm": lambda: check((lstm_forward, lstm_backward), [(2, 3, 2), (2, 2), (2, 8), (2, 8), (8,)]),
    "linear_svm": lambda: check(linear_svm, [(4, 3), X, Y], extra=[0.05], params=()),
    "temporal_softmax_loss": lambda: check(
        temporal_softmax_loss,
        [(2, 3, 4), np.array([[0, 3, 1], [2, 2, 0]]), np.array([[1, 1, 0], [1, 0, 1]])],
    ),
    "adagrad": lambda: check(adagrad),
}
