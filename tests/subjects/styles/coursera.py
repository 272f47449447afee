"""Samples in columns, caches as tuples, and the 1 / m of the mean in dW and db."""

import numpy as np

from scratchnet.testing import check


def linear_forward(A, W, b):
    Z = np.dot(W, A) + b
    return Z, (A, W, b)


def linear_backward(dZ, cache):
    A_prev, W, b = cache
    m = A_prev.shape[1]
    dW = np.dot(dZ, A_prev.T) / m
    db = np.sum(dZ, axis=1, keepdims=True) / m
    dA_prev = np.dot(W.T, dZ)
    return dA_prev, dW, db


def sigmoid(Z):
    A = 1 / (1 + np.exp(-Z))
    return A, Z


def sigmoid_backward(dA, cache):
    s = 1 / (1 + np.exp(-cache))
    return dA * s * (1 - s)


def relu(Z):
    return np.maximum(0, Z), Z


def relu_backward(dA, cache):
    dZ = np.array(dA, copy=True)
    dZ[cache <= 0] = 0
    return dZ


def propagate(w, b, X, Y):
    m = X.shape[1]
    A = 1 / (1 + np.exp(-(np.dot(w.T, X) + b)))
    cost = -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m
    dw = np.dot(X, (A - Y).T) / m
    db = np.sum(A - Y) / m
    return cost, {"dw": dw, "db": np.array([[db]])}


def regression_cost(y_hat, y):
    return np.mean((y_hat.ravel() - y) ** 2)


def regression_gradient(y_hat, y):
    return 2 * (y_hat - y.reshape(-1, 1)) / len(y)


class MomentumOptimizer:
    """v = beta v + (1 - beta) dW, as the course has it."""

    def __init__(self, learning_rate=0.1, beta=0.9):
        self.learning_rate, self.beta, self.v = learning_rate, beta, {}

    def update(self, parameters, grads):
        for key in parameters:
            v = self.v.get(key, np.zeros_like(parameters[key]))
            v = self.beta * v + (1 - self.beta) * grads["d" + key]
            self.v[key] = v
            parameters[key] = parameters[key] - self.learning_rate * v


Y = np.array([[1, 0, 1, 1]])
CALLS = {
    "linear": lambda: check(
        (linear_forward, linear_backward),
        [(3, 5), (2, 3), (2, 1)],
        mean_gradients=True,
        columns=True,
    ),
    "sigmoid": lambda: check((sigmoid, sigmoid_backward), (3, 4)),
    "relu": lambda: check((relu, relu_backward), (3, 4)),
    "propagate": lambda: check(propagate, [(3, 1), (1, 1), np.random.randn(3, 4), Y]),
    "regression": lambda: check((regression_cost, regression_gradient), (5, 1), targets=(5,)),
    "momentum": lambda: check(MomentumOptimizer),
}
