"""Made-up images with MNIST's shape and density, for timing where MNIST is missing.

Speed depends on shapes and, for engines that skip zeros, on how many pixels are set and where;
both are as in MNIST. Each class prefers pixels of its own, so training makes progress, but
there are no strokes: an accuracy on these says nothing. See `digits.py` for real handwriting.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scratchnet.datasets.formats import Bytes, Data

_NEVER_SET = 67
_ROWS = 4096


def load_data(
    samples: tuple[int, int] = (60_000, 10_000),
    *,
    density: float = 0.19,
    classes: int = 10,
    rng: np.random.Generator | int = 0,
) -> Data:
    """Images (N, 28, 28) and labels (N,), uint8, for N = `samples` = (training, test).

    `density` is the expected share of non-zero pixels; MNIST's is 0.191. As in MNIST, 67 pixels
    at the border are never set. The same `rng` or seed gives the same arrays. Besides the result
    it needs about 30 MB.

    Raises `ValueError` for sizes below 1, classes outside 1..256, or a density outside (0, 0.9).

    >>> (x_train, y_train), _ = load_data((100, 10))
    >>> x_train.shape, f"{(x_train > 0).mean():.1f}"
    ((100, 28, 28), '0.2')
    """
    if len(samples) != 2 or min(samples) < 1:
        raise ValueError(f"samples={samples}, expected (training, test), both at least 1")
    if not 1 <= classes <= 256:
        raise ValueError(f"classes={classes}, expected 1 to 256: labels are uint8")
    if not 0 < density < 0.9:
        raise ValueError(f"density={density}, expected more than 0 and less than 0.9")
    rng = np.random.default_rng(rng)
    chances = _chances(classes, density, rng)
    train, test = (_draw(count, chances, rng) for count in samples)
    return train, test


def _chances(classes: int, density: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """(classes, 784): how likely each pixel is set; the mean of each row is `density`.

    chance = 1 - exp(-c * weight), where weight falls off from the centre as MNIST's does and
    differs by class; c is found by bisection and makes the mean right at any density.
    """
    rows, columns = np.mgrid[:28, :28] - 13.5
    distance = np.hypot(rows, columns).ravel()
    falloff = np.exp(-((distance / 8.0) ** 3))
    falloff[np.argsort(distance, kind="stable")[-_NEVER_SET:]] = 0.0
    weight = falloff * np.exp(rng.normal(size=(classes, 784)))
    low, high = np.full((classes, 1), -50.0), np.full((classes, 1), 50.0)
    for _ in range(60):
        middle = (low + high) / 2
        too_dense = (-np.expm1(-np.exp(middle) * weight)).mean(axis=1, keepdims=True) > density
        low, high = np.where(too_dense, low, middle), np.where(too_dense, middle, high)
    chances: NDArray[np.float32] = (-np.expm1(-np.exp(low) * weight)).astype(np.float32)
    return chances


def _draw(
    count: int, chances: NDArray[np.float32], rng: np.random.Generator
) -> tuple[Bytes, Bytes]:
    y = rng.integers(len(chances), size=count, dtype=np.uint8 if len(chances) < 256 else np.uint16)
    x = np.empty((count, 28, 28), dtype=np.uint8)
    # In blocks, because random floats for 60,000 images at once would take 190 MB.
    for start in range(0, count, _ROWS):
        labels = y[start : start + _ROWS]
        ink = rng.integers(1, 256, size=(len(labels), 784), dtype=np.uint8)
        ink *= rng.random((len(labels), 784), dtype=np.float32) < chances[labels]
        x[start : start + len(labels)] = ink.reshape(-1, 28, 28)
    return x, y.astype(np.uint8)
