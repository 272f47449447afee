"""output and dinputs; losses with L2 and BCE; optimizers that update a layer's attributes."""

import numpy as np

from scratchnet.testing import check


class Sigmoid:
    def forward(self, inputs):
        self.output = 1 / (1 + np.exp(-inputs))

    def backward(self, dvalues):
        self.dinputs = dvalues * (1 - self.output) * self.output


class LeakyReLU:
    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.where(inputs > 0, inputs, 0.1 * inputs)

    def backward(self, dvalues):
        self.dinputs = np.where(self.inputs > 0, dvalues, 0.1 * dvalues)


class LayerNorm:
    def __init__(self, n):
        self.gamma, self.beta = np.ones(n), np.zeros(n)

    def forward(self, inputs):
        mean = inputs.mean(axis=-1, keepdims=True)
        self.std = np.sqrt(inputs.var(axis=-1, keepdims=True) + 1e-6)
        self.xhat = (inputs - mean) / self.std
        self.output = self.gamma * self.xhat + self.beta

    def backward(self, dvalues):
        self.dgamma = np.sum(dvalues * self.xhat, axis=0)
        self.dbeta = np.sum(dvalues, axis=0)
        d = dvalues * self.gamma
        inner = d - d.mean(-1, keepdims=True) - self.xhat * (d * self.xhat).mean(-1, keepdims=True)
        self.dinputs = inner / self.std


class BinaryCrossentropy:
    def forward(self, y_pred, y_true):
        c = np.clip(y_pred, 1e-7, 1 - 1e-7)
        return np.mean(-(y_true * np.log(c) + (1 - y_true) * np.log(1 - c)), axis=-1)

    def backward(self, dvalues, y_true):
        samples, outputs = dvalues.shape
        c = np.clip(dvalues, 1e-7, 1 - 1e-7)
        self.dinputs = -(y_true / c - (1 - y_true) / (1 - c)) / outputs / samples


class MeanAbsoluteError:
    def forward(self, y_pred, y_true):
        return np.mean(np.abs(y_true - y_pred), axis=-1)

    def backward(self, dvalues, y_true):
        samples, outputs = dvalues.shape
        self.dinputs = np.sign(dvalues - y_true) / outputs / samples


class Optimizer_SGD:
    def __init__(self, learning_rate=0.5, momentum=0.9):
        self.learning_rate, self.momentum = learning_rate, momentum

    def update_params(self, layer):
        if not hasattr(layer, "weight_momentums"):
            layer.weight_momentums = np.zeros_like(layer.weights)
            layer.bias_momentums = np.zeros_like(layer.biases)
        layer.weight_momentums = (
            self.momentum * layer.weight_momentums - self.learning_rate * layer.dweights
        )
        layer.bias_momentums = (
            self.momentum * layer.bias_momentums - self.learning_rate * layer.dbiases
        )
        layer.weights += layer.weight_momentums
        layer.biases += layer.bias_momentums


class Optimizer_RMSprop:
    def __init__(self, learning_rate=0.001, epsilon=1e-7, rho=0.9):
        self.learning_rate, self.epsilon, self.rho = learning_rate, epsilon, rho

    def update_params(self, layer):
        if not hasattr(layer, "weight_cache"):
            layer.weight_cache = np.zeros_like(layer.weights)
            layer.bias_cache = np.zeros_like(layer.biases)
        layer.weight_cache = self.rho * layer.weight_cache + (1 - self.rho) * layer.dweights**2
        layer.bias_cache = self.rho * layer.bias_cache + (1 - self.rho) * layer.dbiases**2
        layer.weights -= (
            self.learning_rate * layer.dweights / (np.sqrt(layer.weight_cache) + self.epsilon)
        )
        layer.biases -= (
            self.learning_rate * layer.dbiases / (np.sqrt(layer.bias_cache) + self.epsilon)
        )


CALLS = {
    "Sigmoid": lambda: check(Sigmoid(), (4, 3)),
    "LeakyReLU": lambda: check(LeakyReLU(), (4, 3)),
    "LayerNorm": lambda: check(LayerNorm(4), (3, 4)),
    "BinaryCrossentropy": lambda: check(BinaryCrossentropy, (4, 3)),
    "MeanAbsoluteError": lambda: check(MeanAbsoluteError, (4, 3)),
    "SGD": lambda: check(Optimizer_SGD),
    "RMSprop": lambda: check(Optimizer_RMSprop),
}
