"""Arrays that remember how they were made: a tensor with data, grad and backward()."""

import numpy as np

from scratchnet.testing import check


def unbroadcast(grad, shape):
    while grad.ndim > len(shape):
        grad = grad.sum(axis=0)
    for axis, n in enumerate(shape):
        if n == 1:
            grad = grad.sum(axis=axis, keepdims=True)
    return grad


class Tensor:
    def __init__(self, data, parents=(), push=None):
        self.data, self.parents, self.push = np.asarray(data), parents, push
        self.grad = np.zeros(self.data.shape)

    @property
    def shape(self):
        return self.data.shape

    def __matmul__(self, other):
        def push(g):
            self.grad = self.grad + g @ other.data.T
            other.grad = other.grad + self.data.T @ g

        return Tensor(self.data @ other.data, (self, other), push)

    def __add__(self, other):
        def push(g):
            self.grad = self.grad + unbroadcast(g, self.shape)
            other.grad = other.grad + unbroadcast(g, other.shape)

        return Tensor(self.data + other.data, (self, other), push)

    def __mul__(self, other):
        other = other if isinstance(other, Tensor) else Tensor(other)

        def push(g):
            self.grad = self.grad + unbroadcast(g * other.data, self.shape)
            other.grad = other.grad + unbroadcast(g * self.data, other.shape)

        return Tensor(self.data * other.data, (self, other), push)

    def tanh(self):
        out = np.tanh(self.data)

        def push(g):
            self.grad = self.grad + g * (1 - out * out)

        return Tensor(out, (self,), push)

    def sum(self):
        def push(g):
            self.grad = self.grad + g * np.ones(self.shape)

        return Tensor(self.data.sum(), (self,), push)

    def backward(self, grad=None):
        order, seen = [], set()

        def visit(node):
            if id(node) not in seen:
                seen.add(id(node))
                for parent in node.parents:
                    visit(parent)
                order.append(node)

        visit(self)
        self.grad = np.ones(self.shape) if grad is None else np.asarray(grad, float)
        for node in reversed(order):
            if node.push:
                node.push(node.grad)


class Layer:
    def __init__(self, n, m):
        rng = np.random.RandomState(0)
        self.w, self.b = Tensor(rng.randn(n, m)), Tensor(rng.randn(m))

    def __call__(self, x):
        return (x @ self.w + self.b).tanh()


def gate(x):
    return x * x.tanh() + x


def energy(x):
    return (x * x).tanh().sum()


CALLS = {
    "Layer": lambda: check(Layer(3, 2), (4, 3), wrap=Tensor),
    "gate": lambda: check(gate, (3, 4), wrap=Tensor),
    "energy": lambda: check(energy, (3, 2), wrap=Tensor),
}
