"""Static forward(ctx, ...) and backward(ctx, dy) with save_for_backward, the formulas in NumPy."""

import numpy as np

from scratchnet.testing import check


class Linear:
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx, grad_output):
        x, weight = ctx.saved_tensors
        grad_input = grad_output @ weight
        grad_weight = grad_output.T @ x
        grad_bias = grad_output.sum(0)
        return grad_input, grad_weight, grad_bias


class Swish:
    @staticmethod
    def forward(ctx, x):
        s = 1 / (1 + np.exp(-x))
        ctx.save_for_backward(x, s)
        return x * s

    @staticmethod
    def backward(ctx, grad_output):
        x, s = ctx.saved_tensors
        return grad_output * (s + x * s * (1 - s))


class WeightNorm:
    @staticmethod
    def forward(ctx, x, v, g):
        norm = np.linalg.norm(v, axis=0, keepdims=True)
        ctx.save_for_backward(x, v, g, norm)
        return x @ (v * (g / norm))

    @staticmethod
    def backward(ctx, dy):
        x, v, g, norm = ctx.saved_tensors
        dw = x.T @ dy
        dg = np.sum(dw * v, axis=0) / norm[0]
        dv = g / norm * dw - g * dg / norm**2 * v
        return dy @ (v * (g / norm)).T, dv, dg


class CrossEntropy:
    @staticmethod
    def forward(ctx, logits, target):
        z = logits - logits.max(1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(1, keepdims=True))
        ctx.save_for_backward(logp, target)
        return -logp[np.arange(len(target)), target].mean()

    @staticmethod
    def backward(ctx, grad_output):
        logp, target = ctx.saved_tensors
        grad = np.exp(logp)
        grad[np.arange(len(target)), target] -= 1
        return grad * grad_output / len(target), None


class Gather:
    @staticmethod
    def forward(ctx, table, index):
        ctx.shape, ctx.index = table.shape, index
        return table[index]

    @staticmethod
    def backward(ctx, dy):
        grad = np.zeros(ctx.shape)
        np.add.at(grad, ctx.index, dy)
        return grad, None


class Clamp:
    @staticmethod
    def forward(ctx, x, low, high):
        ctx.inside = (x > low) & (x < high)
        return np.clip(x, low, high)

    @staticmethod
    def backward(ctx, dy):
        return dy * ctx.inside, None, None


CALLS = {
    "Linear": lambda: check(Linear, [(4, 3), (2, 3), (2,)]),
    "Swish": lambda: check(Swish, (4, 3)),
    "WeightNorm": lambda: check(WeightNorm, [(4, 3), (3, 2), (2,)]),
    "CrossEntropy": lambda: check(CrossEntropy, [(4, 3), np.array([0, 2, 1, 2])]),
    "Gather": lambda: check(Gather, [(5, 3), np.array([0, 2, 2, 4])]),
    "Clamp": lambda: check(Clamp, (4, 5), extra=[-1.0, 1.0]),
}
