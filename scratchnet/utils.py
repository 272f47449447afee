"""`keras.utils` as far as it is here: the seed of everything, labels, rows, batches by number."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

import scratchnet.support as support
from scratchnet.engines import Array
from scratchnet.support import one_hot
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)


def set_random_seed(seed: int) -> None:
    """Seed everything that is drawn from here on without a seed of its own.

    As in Keras that includes `random` and `numpy.random`, which a script may shuffle with.

    >>> set_random_seed(0)
    """
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r}: expected an integer in [0, 2**32).")
    random.seed(int(seed))
    np.random.seed(seed)
    support.reseed(int(seed))


def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """One-hot rows of integer labels: (...,) or (..., 1) -> (..., K), float32 as in Keras.

    Raises:
        ValueError: for labels that are not integers in [0, num_classes).

    >>> to_categorical([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    given = np.asarray(x)
    labels = given.astype(np.int64)
    if labels.size == 0 or not np.array_equal(labels, given) or labels.min() < 0:
        raise ValueError(f"to_categorical: expected integer labels >= 0; got {given!r:.80}.")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    largest = int(labels.max())
    classes = largest + 1 if num_classes is None else num_classes
    if largest >= classes:
        raise ValueError(f"to_categorical: label {largest} needs num_classes > {largest}.")
    return one_hot(labels, classes, np.dtype(np.float32))


def normalize(x: Any, axis: int = -1, order: float = 2) -> Array:
    """x over its norm along `axis`; what has norm 0 stays 0.  Source: Keras, numerical_utils.py.

    >>> normalize([[3.0, 4.0]]).tolist()
    [[0.6, 0.8]]
    """
    array = np.asarray(x)
    norm = np.atleast_1d(np.linalg.norm(array, order, axis))
    norm[norm == 0] = 1
    return array / np.expand_dims(norm, axis)


class PyDataset:
    """Batches by their number, to be read again in each epoch: give it `__getitem__` and `__len__`.

    As in Keras, `fit(shuffle=True)` shuffles the batches, and `on_epoch_begin` and `on_epoch_end`
    are called around an epoch. Batches are made in the thread that trains.

    >>> import numpy as np
    >>> class Squares(PyDataset):
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, i):
    ...         return np.full((2, 1), i), np.full((2, 1), i**2)
    >>> Squares().num_batches
    3
    """

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ):
        self.workers, self.max_queue_size = workers, max_queue_size
        self.use_multiprocessing = use_multiprocessing

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError("PyDataset: write __getitem__(index), which returns a batch.")

    @property
    def num_batches(self) -> int | None:
        """`len(self)`, or None for a data set without end."""
        return len(self) if hasattr(self, "__len__") else None

    def on_epoch_begin(self) -> None: ...
    def on_epoch_end(self) -> None: ...


Sequence = PyDataset
"""Its older name."""
