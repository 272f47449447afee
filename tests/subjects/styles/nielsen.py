"""A network with lists of weights and biases, one sample in a column, and costs with fn and delta."""

import numpy as np

from scratchnet.testing import check


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))


class QuadraticCost:
    @staticmethod
    def fn(a, y):
        return 0.5 * np.sum((a - y) ** 2)

    @staticmethod
    def delta(a, y):
        return a - y


class Network:
    def __init__(self, sizes):
        self.biases = [np.random.randn(y, 1) for y in sizes[1:]]
        self.weights = [np.random.randn(y, x) for x, y in zip(sizes[:-1], sizes[1:])]

    def feedforward(self, a):
        for b, w in zip(self.biases, self.weights):
            a = sigmoid(np.dot(w, a) + b)
        return a

    def backprop(self, x, y):
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        activation, activations, zs = x, [x], []
        for b, w in zip(self.biases, self.weights):
            z = np.dot(w, activation) + b
            zs.append(z)
            activation = sigmoid(z)
            activations.append(activation)
        delta = (activations[-1] - y) * sigmoid_prime(zs[-1])
        nabla_b[-1] = delta
        nabla_w[-1] = np.dot(delta, activations[-2].T)
        for layer in range(2, len(self.weights) + 1):
            sp = sigmoid_prime(zs[-layer])
            delta = np.dot(self.weights[-layer + 1].T, delta) * sp
            nabla_b[-layer] = delta
            nabla_w[-layer] = np.dot(delta, activations[-layer - 1].T)
        return nabla_b, nabla_w


def network():
    net = Network([3, 4, 2])
    cost = lambda x, y: 0.5 * np.sum((net.feedforward(x) - y) ** 2)
    return net, cost


def check_network():
    net, cost = network()
    return check(
        net, [(3, 1), (2, 1)], forward=cost, backward="backprop", params="biases weights",
        input_gradient=(), columns=True,
    )  # fmt: skip


CALLS = {
    "Network": check_network,
    "sigmoid": lambda: check((sigmoid, sigmoid_prime), (3, 4)),
    "QuadraticCost": lambda: check((QuadraticCost.fn, QuadraticCost.delta), (3, 2)),
}
