"""One sample or many in columns, dicts of gradients, cells with dicts of parameters."""

import numpy as np

from scratchnet.testing import check


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class CrossEntropyNet:
    def __init__(self, sizes):
        rng = np.random.RandomState(2)
        self.biases = [rng.randn(n, 1) for n in sizes[1:]]
        self.weights = [rng.randn(n, m) / np.sqrt(m) for m, n in zip(sizes[:-1], sizes[1:])]

    def output(self, a):
        for b, w in zip(self.biases, self.weights):
            a = sigmoid(w @ a + b)
        return a

    def backprop(self, x, y):
        a, activations = x, [x]
        for b, w in zip(self.biases, self.weights):
            a = sigmoid(w @ a + b)
            activations.append(a)
        delta = activations[-1] - y
        nb, nw = [delta], [delta @ activations[-2].T]
        for k in range(2, len(self.weights) + 1):
            a = activations[-k]
            delta = (self.weights[-k + 1].T @ delta) * a * (1 - a)
            nb.insert(0, delta)
            nw.insert(0, delta @ activations[-k - 1].T)
        return nb, nw


def check_net():
    net = CrossEntropyNet([3, 4, 2])
    cost = lambda x, y: -np.sum(y * np.log(net.output(x)) + (1 - y) * np.log(1 - net.output(x)))
    y = np.array([[1.0], [0.0]])
    return check(
        net,
        [(3, 1), y],
        forward=cost,
        backward="backprop",
        params="biases weights",
        input_gradient=(),
    )


def rnn_cell_forward(xt, a_prev, Wax, Waa, ba):
    a_next = np.tanh(Wax @ xt + Waa @ a_prev + ba)
    return a_next, (a_next, a_prev, xt, Wax, Waa)


def rnn_cell_backward(da_next, cache):
    a_next, a_prev, xt, Wax, Waa = cache
    dz = da_next * (1 - a_next**2)
    return {
        "dxt": Wax.T @ dz,
        "da_prev": Waa.T @ dz,
        "dWax": dz @ xt.T,
        "dWaa": dz @ a_prev.T,
        "dba": dz.sum(axis=1, keepdims=True),
    }


class LogisticRegression:
    def __init__(self, n):
        self.params = {"w": np.random.randn(n, 1), "b": np.zeros((1, 1))}

    def loss(self, X, y):
        z = self.params["w"].T @ X + self.params["b"]
        m = X.shape[1]
        cost = np.sum(np.logaddexp(0, z) - y * z) / m + 0.05 * np.sum(self.params["w"] ** 2)
        dz = sigmoid(z) - y
        grads = {"w": X @ dz.T / m + 0.1 * self.params["w"], "b": dz.sum(axis=1, keepdims=True) / m}
        return cost, grads


def tanh(Z):
    return np.tanh(Z), Z


def tanh_backward(dA, cache):
    return dA * (1 - np.tanh(cache) ** 2)


def softmax_columns(Z):
    e = np.exp(Z - Z.max(axis=0, keepdims=True))
    A = e / e.sum(axis=0, keepdims=True)
    return A, A


def softmax_columns_backward(dA, cache):
    return cache * (dA - np.sum(dA * cache, axis=0, keepdims=True))


class AdamOptimizer:
    def __init__(self, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.learning_rate, self.beta1, self.beta2, self.epsilon = (
            learning_rate,
            beta1,
            beta2,
            epsilon,
        )
        self.v, self.s, self.t = {}, {}, 0

    def update(self, parameters, grads):
        self.t += 1
        for k in parameters:
            g = grads["d" + k]
            self.v[k] = self.beta1 * self.v.get(k, 0) + (1 - self.beta1) * g
            self.s[k] = self.beta2 * self.s.get(k, 0) + (1 - self.beta2) * g**2
            vc = self.v[k] / (1 - self.beta1**self.t)
            sc = self.s[k] / (1 - self.beta2**self.t)
            parameters[k] = parameters[k] - self.learning_rate * vc / (np.sqrt(sc) + self.epsilon)


BITS = np.array([[1.0, 0.0, 1.0, 0.0]])
CALLS = {
    "CrossEntropyNet": check_net,
    "rnn_cell": lambda: check(
        (rnn_cell_forward, rnn_cell_backward), [(3, 4), (2, 4), (2, 3), (2, 2), (2, 1)]
    ),
    "LogisticRegression": lambda: check(LogisticRegression(3), [np.random.randn(3, 4), BITS]),
    "tanh": lambda: check((tanh, tanh_backward), (3, 4)),
    "softmax_columns": lambda: check((softmax_columns, softmax_columns_backward), (3, 4)),
    "Adam": lambda: check(AdamOptimizer),
}
