"""The numbers of an epoch: the loss and the metrics of a compiled model, counted batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.checks import Examples
from scratchnet.engines import Array
from scratchnet.metrics.metric import Mean


def unique_names(plain: list[str], weighted: list[str]) -> list[str]:
    """Keras's names where several metrics have the same: `_1`, `_2`, and `weighted_`.

    >>> unique_names(["acc", "mse", "acc"], ["acc", "acc"])
    ['acc', 'mse', 'acc_1', 'weighted_acc', 'weighted_acc_1']
    """
    taken: dict[str, int] = {}
    names = []
    for name, prefix in [(n, "") for n in plain] + [(n, "weighted_") for n in weighted]:
        if name in taken:
            name = prefix + name
        count = taken.setdefault(name, 0)
        taken[name] += 1
        names.append(f"{name}_{count}" if count else name)
    return names


def flat_logs(logs: dict[str, Any]) -> dict[str, Any]:
    """Numbers by name as callbacks get them, sorted: floats, where each is one number; those of a
    dict in its place.  Source: Keras, utils/python_utils.py, pythonify_logs.

    >>> flat_logs({"loss": np.float32(0.5), "f": {"b": 2, "a": [1, 2]}})
    {'a': [1, 2], 'b': 2.0, 'loss': 0.5}
    """
    found: dict[str, Any] = {}
    for name, value in sorted(logs.items()):
        if isinstance(value, dict):
            found |= flat_logs(value)
            continue
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            found[name] = np.array(value) if isinstance(value, np.ndarray) else value
    return found


class Meters:
    """The running numbers of an epoch: the loss, each batch counting by its size, then the metrics.

    `metrics` see the samples alike, `weighted` with their sample weights, as in Keras.
    """

    def __init__(self, metrics: list[Any], weighted: list[Any]):
        self.loss, self.metrics, self.weighted = Mean("loss"), metrics, weighted
        names = ([metric.name for metric in group] for group in (metrics, weighted))
        self.names = ["loss", *unique_names(*names)]
        self.reset()

    def reset(self) -> None:
        """Begin anew, as before each epoch and evaluation."""
        for metric in self.all:
            metric.reset_state()

    def update(self, batch: Examples, loss: float, outputs: Array) -> None:
        self.loss.update_state(loss, sample_weight=len(batch.x))
        for metric in self.metrics:
            metric.update_state(batch.y, outputs)
        for metric in self.weighted:
            metric.update_state(batch.y, outputs, batch.weights)

    def count(self, losses: Array, right: Array, sizes: Array) -> None:
        """The same for whole batches at once: their losses, right answers and sizes, (n,) each.

        Only for metrics that are accuracies of one answer a sample.
        """
        self.loss.extend(losses * sizes, sizes)
        for metric in (*self.metrics, *self.weighted):
            metric.extend(right, sizes)

    def logs(self) -> dict[str, Any]:
        """The numbers so far by name, in Keras's order, which is the alphabet's."""
        results = zip(self.names, (metric.result() for metric in self.all), strict=True)
        return flat_logs(dict(results))

    def values(self) -> list[Any]:
        """The numbers so far: the loss, then the metrics in the order of `compile`, then those of
        metrics that have several."""
        logs = self.logs()
        own = [name for name in self.names if name in logs]
        return [logs[name] for name in (*own, *(name for name in logs if name not in own))]

    @property
    def all(self) -> list[Any]:
        return [self.loss, *self.metrics, *self.weighted]
