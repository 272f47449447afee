"""Plain NumPy, as a careful person writes it in an afternoon: no tricks, no compiler."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.job import BETA_1, BETA_2, LEARNING_RATE, Array
from benchmarks.peers.base import BasePeer, Laps


class Peer(BasePeer):
    def build(self, weights: list[Array]) -> None:
        self.params = [w.copy() for w in weights]
        self.m = [np.zeros_like(w) for w in weights]
        self.v = [np.zeros_like(w) for w in weights]
        self.t = 0

    def hold(self, x: Array, y: Array) -> Any:
        return x.reshape(len(x), -1), y

    def forward(self, x: Array) -> list[Array]:
        """The input of each layer, and the logits last."""
        activations, layers = [x], len(self.params) // 2
        for i in range(layers):
            z = activations[-1] @ self.params[2 * i] + self.params[2 * i + 1]
            activations.append(np.maximum(z, 0) if i < layers - 1 else z)
        return activations

    def step(self, x: Array, y: Array) -> tuple[float, int]:
        *activations, z = self.forward(x)
        rows = np.arange(len(x))
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        loss = -np.log(np.maximum(p[rows, y], np.finfo(p.dtype).tiny)).sum()
        right = (z.argmax(axis=1) == y).sum()
        d = p
        d[rows, y] -= 1
        d /= len(x)
        gradients: list[Array] = []
        for i in reversed(range(len(activations))):
            gradients[:0] = [activations[i].T @ d, d.sum(axis=0)]
            if i:
                d = (d @ self.params[2 * i].T) * (activations[i] > 0)
        self.adam_step(gradients)
        return float(loss), int(right)

    def adam_step(self, gradients: list[Array]) -> None:
        self.t += 1
        alpha = LEARNING_RATE * (1 - BETA_2**self.t) ** 0.5 / (1 - BETA_1**self.t)
        for w, g, m, v in zip(self.params, gradients, self.m, self.v, strict=True):
            m += (1 - BETA_1) * (g - m)
            v += (1 - BETA_2) * (g * g - v)
            w -= alpha * m / (np.sqrt(v) + 1e-7)

    def fit(self, held: Any, epochs: int, rng: np.random.Generator | None, laps: Laps) -> None:
        x, y = held
        for _ in range(epochs):
            order = np.arange(len(x)) if rng is None else rng.permutation(len(x))
            total, right = 0.0, 0
            for start in range(0, len(x), self.job.batch):
                rows = order[start : start + self.job.batch]
                loss, hits = self.step(x[rows], y[rows])
                total, right = total + loss, right + hits
            if laps(total / len(x), right / len(x)):
                break

    def weights(self) -> list[Array]:
        return [w.copy() for w in self.params]

    def predict(self, x: Array) -> Array:
        return self.forward(x.reshape(len(x), -1))[-1]
