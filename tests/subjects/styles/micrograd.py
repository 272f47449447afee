"""Numbers that remember how they were made, and a net of neurons made of them."""

import math
import random

from scratchnet.testing import check


class Value:
    def __init__(self, data, children=()):
        self.data, self.grad = data, 0.0
        self._backward, self._prev = lambda: None, set(children)

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data + other.data, (self, other))

        def _backward():
            self.grad += out.grad
            other.grad += out.grad

        out._backward = _backward
        return out

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        out = Value(self.data * other.data, (self, other))

        def _backward():
            self.grad += other.data * out.grad
            other.grad += self.data * out.grad

        out._backward = _backward
        return out

    def __pow__(self, power):
        out = Value(self.data**power, (self,))

        def _backward():
            self.grad += power * self.data ** (power - 1) * out.grad

        out._backward = _backward
        return out

    def relu(self):
        out = Value(self.data if self.data > 0 else 0.0, (self,))

        def _backward():
            self.grad += (out.data > 0) * out.grad

        out._backward = _backward
        return out

    def tanh(self):
        out = Value(math.tanh(self.data), (self,))

        def _backward():
            self.grad += (1 - out.data**2) * out.grad

        out._backward = _backward
        return out

    def exp(self):
        out = Value(math.exp(self.data), (self,))

        def _backward():
            self.grad += out.data * out.grad

        out._backward = _backward
        return out

    def backward(self):
        order, seen = [], set()

        def visit(node):
            if node not in seen:
                seen.add(node)
                for child in node._prev:
                    visit(child)
                order.append(node)

        visit(self)
        self.grad = 1.0
        for node in reversed(order):
            node._backward()

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + (-other)

    def __truediv__(self, other):
        return self * other**-1


class Neuron:
    def __init__(self, inputs, nonlinear=True):
        self.w = [Value(random.uniform(-1, 1)) for _ in range(inputs)]
        self.b, self.nonlinear = Value(0.1), nonlinear

    def __call__(self, x):
        total = sum((wi * xi for wi, xi in zip(self.w, x)), self.b)
        return total.relu() if self.nonlinear else total

    def parameters(self):
        return [*self.w, self.b]


class MLP:
    def __init__(self, inputs, hidden, outputs):
        self.hidden = [Neuron(inputs) for _ in range(hidden)]
        self.out = [Neuron(hidden, nonlinear=False) for _ in range(outputs)]

    def __call__(self, x):
        x = [neuron(x) for neuron in self.hidden]
        return [neuron(x) for neuron in self.out]

    def zero_grad(self):
        for neuron in [*self.hidden, *self.out]:
            for p in neuron.parameters():
                p.grad = 0.0


def expression(a, b):
    c = a * b + a**3
    return (c * c.tanh() + b / (a * a + 1.0)).relu() + a


def sigmoid_ratio(a):
    return (a.exp() + 1.0) ** -1 * a.exp()


def distance(a, b):
    return (a - b) ** 2 + (a + b) ** 2


CALLS = {
    "Neuron": lambda: check(Neuron(3), [0.5, -1.0, 2.0], wrap=Value),
    "MLP": lambda: check(MLP(2, 3, 2), [0.5, -1.0], wrap=Value),
    "expression": lambda: check(expression, [0.7, 1.3], wrap=Value),
    "sigmoid_ratio": lambda: check(sigmoid_ratio, 0.4, wrap=Value),
    "distance": lambda: check(distance, [0.7, -0.3], wrap=Value),
}
