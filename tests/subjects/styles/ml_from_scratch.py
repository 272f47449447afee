"""backward_pass updates the weights by an optimizer of its own; activations with gradient(x)."""

import copy

import numpy as np

from scratchnet.testing import check


class StochasticGradientDescent:
    def __init__(self, learning_rate=0.01, momentum=0):
        self.learning_rate, self.momentum, self.w_updt = learning_rate, momentum, None

    def update(self, w, grad_wrt_w):
        if self.w_updt is None:
            self.w_updt = np.zeros(np.shape(w))
        self.w_updt = self.momentum * self.w_updt + (1 - self.momentum) * grad_wrt_w
        return w - self.learning_rate * self.w_updt


class Adam:
    def __init__(self, learning_rate=0.001, b1=0.9, b2=0.999):
        self.learning_rate, self.eps, self.b1, self.b2 = learning_rate, 1e-8, b1, b2
        self.m = self.v = None
        self.t = 0

    def update(self, w, grad_wrt_w):
        if self.m is None:
            self.m, self.v = np.zeros(np.shape(w)), np.zeros(np.shape(w))
        self.t += 1
        self.m = self.b1 * self.m + (1 - self.b1) * grad_wrt_w
        self.v = self.b2 * self.v + (1 - self.b2) * np.power(grad_wrt_w, 2)
        m_hat, v_hat = self.m / (1 - self.b1**self.t), self.v / (1 - self.b2**self.t)
        return w - self.learning_rate * m_hat / (np.sqrt(v_hat) + self.eps)


class Adadelta:
    def __init__(self, rho=0.95, eps=1e-6):
        self.E_w_updt = self.E_grad = None
        self.eps, self.rho = eps, rho

    def update(self, w, grad_wrt_w):
        if self.E_w_updt is None:
            self.E_w_updt, self.E_grad = np.zeros(np.shape(w)), np.zeros(np.shape(w))
        self.E_grad = self.rho * self.E_grad + (1 - self.rho) * grad_wrt_w**2
        rms_delta, rms_grad = np.sqrt(self.E_w_updt + self.eps), np.sqrt(self.E_grad + self.eps)
        step = rms_delta / rms_grad * grad_wrt_w
        self.E_w_updt = self.rho * self.E_w_updt + (1 - self.rho) * step**2
        return w - step


class Dense:
    def __init__(self, n_units, input_shape=None):
        self.n_units, self.input_shape, self.trainable = n_units, input_shape, True

    def initialize(self, optimizer):
        limit = 1 / np.sqrt(self.input_shape[0])
        self.W = np.random.uniform(-limit, limit, (self.input_shape[0], self.n_units))
        self.w0 = np.zeros((1, self.n_units))
        self.W_opt, self.w0_opt = copy.copy(optimizer), copy.copy(optimizer)
        return self

    def forward_pass(self, X, training=True):
        self.layer_input = X
        return X.dot(self.W) + self.w0

    def backward_pass(self, accum_grad):
        W = self.W
        if self.trainable:
            grad_w = self.layer_input.T.dot(accum_grad)
            grad_w0 = np.sum(accum_grad, axis=0, keepdims=True)
            self.W = self.W_opt.update(self.W, grad_w)
            self.w0 = self.w0_opt.update(self.w0, grad_w0)
        return accum_grad.dot(W.T)


class LeakyReLU:
    def __init__(self, alpha=0.2):
        self.alpha = alpha

    def __call__(self, x):
        return np.where(x >= 0, x, self.alpha * x)

    def gradient(self, x):
        return np.where(x >= 0, 1, self.alpha)


class SELU:
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946

    def __call__(self, x):
        return self.scale * np.where(x >= 0.0, x, self.alpha * (np.exp(np.minimum(x, 0)) - 1))

    def gradient(self, x):
        return self.scale * np.where(x >= 0.0, 1, self.alpha * np.exp(np.minimum(x, 0)))


class CrossEntropy:
    def loss(self, y, p):
        p = np.clip(p, 1e-15, 1 - 1e-15)
        return -y * np.log(p) - (1 - y) * np.log(1 - p)

    def gradient(self, y, p):
        p = np.clip(p, 1e-15, 1 - 1e-15)
        return -(y / p) + (1 - y) / (1 - p)


CALLS = {
    "Dense": lambda: check(Dense(2, (3,)).initialize(StochasticGradientDescent(1.0)), (4, 3)),
    "LeakyReLU": lambda: check(LeakyReLU(), (4, 3)),
    "SELU": lambda: check(SELU(), (4, 3)),
    "CrossEntropy": lambda: check(CrossEntropy, (4, 3)),
    "SGD": lambda: check(StochasticGradientDescent(0.1, 0.9)),
    "Adam": lambda: check(Adam),
    "Adadelta": lambda: check(Adadelta),
}
