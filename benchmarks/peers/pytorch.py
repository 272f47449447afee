"""PyTorch: the loop of the tutorials, and what makes it faster.

Settings: `loader` is `"dataloader"` (as the tutorials have it) or `"index"` (tensors indexed by a
permutation); `adam` is `"default"`, `"foreach"` or `"fused"`; `compile` wraps the model in
`torch.compile`; `flush` sets denormal numbers to zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.job import CLASSES, PIXELS, Array
from benchmarks.peers.base import BasePeer, Laps


class Peer(BasePeer):
    adam = "torch"
    differs = "PyTorch's own epsilon in Adam"
    packages = ("torch", "numpy")

    def build(self, weights: list[Array]) -> None:
        job, settings = self.job, self.settings
        torch.manual_seed(job.seed)
        torch.set_flush_denormal(bool(settings.get("flush", False)))
        widths = [PIXELS, *job.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        layers.append(nn.Linear(widths[-1], CLASSES))
        self.model = nn.Sequential(*layers).to(getattr(torch, job.dtype))
        with torch.no_grad():
            for parameter, w in zip(self.model.parameters(), weights, strict=True):
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(w.T)))
        kind = settings.get("adam", "default")
        options = {} if kind == "default" else {kind: True}
        self.optimizer = torch.optim.Adam(self.model.parameters(), **options)
        self.loss = nn.CrossEntropyLoss()
        self.run = torch.compile(self.model) if settings.get("compile") else self.model

    def hold(self, x: Array, y: Array) -> Any:
        return torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))

    def batches(self, held: Any, rng: np.random.Generator | None) -> Iterator[Any]:
        x, y = held
        if self.settings.get("loader", "dataloader") == "dataloader":
            yield from DataLoader(TensorDataset(x, y), self.job.batch, shuffle=rng is not None)
            return
        order = np.arange(len(x)) if rng is None else rng.permutation(len(x))
        for rows in torch.from_numpy(order).split(self.job.batch):
            yield x[rows], y[rows]

    def fit(self, held: Any, epochs: int, rng: np.random.Generator | None, laps: Laps) -> None:
        count = len(held[0])
        for _ in range(epochs):
            total, right = 0.0, 0
            for x, y in self.batches(held, rng):
                self.optimizer.zero_grad()
                z = self.run(x)
                loss = self.loss(z, y)
                loss.backward()
                self.optimizer.step()
                total += loss.item() * len(x)
                right += (z.argmax(1) == y).sum().item()
            if laps(total / count, right / count):
                break

    def weights(self) -> list[Array]:
        return [np.array(p.detach().numpy().T) for p in self.model.parameters()]

    def predict(self, x: Array) -> Array:
        with torch.inference_mode():
            return self.run(torch.from_numpy(x)).numpy()
