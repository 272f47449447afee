"""Layers that disturb what passes while a model trains, or make it pay for being large.

What is drawn depends on the layer's seed and the number of the step alone, so that the loss of a
step is a function of the weights, and a model that is resumed goes on to the same bits. NumPy draws
it: the distribution is Keras's, the numbers are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from scratchnet.engines.contract import Array, Engine
from scratchnet.layers.pointwise import Identity
from scratchnet.layers.surface import Params
from scratchnet.regularizers import L1L2
from scratchnet.support import generator


def take_fraction(value: Any) -> Any:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError("expected a float value between 0 and 1.")
    if not 0 <= value <= 1:
        raise ValueError("Invalid value received: expected a float value between 0 and 1.")
    return value


class _Noisy(Identity):
    """A layer that is the identity but while it trains.

    Attributes:
        key: what its generators begin from, beside the step: the seed, or a number drawn once.
    """

    _takes: ClassVar = Identity._takes | {"rate": take_fraction, "stddev": take_fraction}
    key: int

    _names: ClassVar[tuple[str, ...]]
    """Its arguments; at 0 of the first it disturbs nothing."""

    def __init__(self, seed: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed
        own = isinstance(seed, int | np.integer)
        self.key = int(seed) if own else int(generator(seed).integers(2**31))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in self._names}

    def train_forward(
        self, X: Array, params: Params, engine: Engine, step: int
    ) -> tuple[Array, Any]:
        if getattr(self, self._names[0]) == 0:
            return X, None
        return self.disturbed(X, self.drawing(step))

    def disturbed(self, X: Array, rng: np.random.Generator) -> tuple[Array, Any]:
        """Z, and the factor that was drawn, if it was one."""
        raise NotImplementedError

    def drawing(self, step: int) -> np.random.Generator:
        """The generator of one step."""
        return np.random.default_rng([self.key % 2**64, step])

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> Array:
        """Z = X M where a factor M was drawn, so dX = dZ M; else dX = dZ."""
        return dZ if cache is None else dZ * cache


class Dropout(_Noisy):
    """While it trains, Z = X / (1 - rate) with probability 1 - rate, else 0; Z = X otherwise.

    Where `noise_shape`, which counts the batch axis, has a 1, a whole axis shares its fate.
    Source: Srivastava et al. 2014; Keras, layers/regularization/dropout.py.

    >>> sorted(set(Dropout(0.5, seed=1)(np.ones((9, 9)), training=True).ravel().tolist()))
    [0.0, 2.0]
    """

    _names = ("rate", "seed", "noise_shape")

    def __init__(
        self,
        rate: float,
        noise_shape: Sequence[int | None] | None = None,
        seed: Any = None,
        **kwargs: Any,
    ):
        super().__init__(seed, **kwargs)
        self.rate = rate
        self.noise_shape = self._checked(noise_shape)

    @staticmethod
    def _checked(shape: Any) -> tuple[int | None, ...] | None:
        said = f"Invalid value received for argument `noise_shape`: noise_shape={shape!r}: "
        if shape is None:
            return None
        if isinstance(shape, str) or not isinstance(shape, Sequence):
            raise ValueError(f"{said}expected a tuple or list of integers, an iterable.")
        for size in shape:
            if size is not None and (not isinstance(size, int) or isinstance(size, bool)):
                raise ValueError(f"{said}expected all elements to be integers or None.")
            if size is not None and size <= 0:
                raise ValueError(f"{said}expected all dimensions to be positive integers or None.")
        return tuple(shape)

    def disturbed(self, X: Array, rng: np.random.Generator) -> tuple[Array, Any]:
        if self.rate == 1:
            return np.zeros_like(X), np.zeros_like(X.real)
        shape = X.shape
        if self.noise_shape is not None:
            sizes = zip(self.noise_shape, X.shape, strict=True)
            shape = tuple(whole if size is None else size for size, whole in sizes)
        kept = rng.random(shape) >= self.rate
        mask = kept * X.real.dtype.type(1 / (1 - self.rate))
        return X * mask, mask


class GaussianDropout(_Noisy):
    """While it trains, Z = X M, M normal of mean 1 and variance rate / (1 - rate); else Z = X.

    Source: Srivastava et al. 2014, section 10; Keras, layers/regularization/gaussian_dropout.py.

    >>> bool(GaussianDropout(0.5, seed=1)(np.ones((99, 99)), training=True).std().round(1) == 1)
    True
    """

    _names = ("rate", "seed")

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.rate = rate

    def disturbed(self, X: Array, rng: np.random.Generator) -> tuple[Array, Any]:
        stddev = math.sqrt(self.rate / (1 - self.rate)) if self.rate < 1 else math.inf
        drawn: Any = rng.standard_normal(X.shape)
        mask = (1 + stddev * drawn).astype(X.real.dtype)
        return X * mask, mask


class GaussianNoise(_Noisy):
    """While it trains, Z = X + N, N normal of mean 0 and deviation stddev; else Z = X.

    Source: Keras, layers/regularization/gaussian_noise.py.

    >>> float(GaussianNoise(0.5, seed=1)(np.ones((99, 99)), training=True).std().round(1))
    0.5
    """

    _names = ("stddev", "seed")

    def __init__(self, stddev: float, seed: Any = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.stddev = stddev

    def disturbed(self, X: Array, rng: np.random.Generator) -> tuple[Array, Any]:
        noise: Any = rng.standard_normal(X.shape)
        return X + (self.stddev * noise).astype(X.real.dtype), None


class ActivityRegularization(Identity):
    """Z = X, and the loss grows by (l1 sum |Z| + l2 sum Z^2) / B.

    Source: Keras, layers/regularization/activity_regularization.py.

    >>> layer = ActivityRegularization(l2=0.5)
    >>> layer([[2.0, 0.0]]).tolist(), layer.losses
    ([[2.0, 0.0]], [np.float32(2.0)])
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any):
        super().__init__(activity_regularizer=L1L2(l1, l2), **kwargs)
        self.l1, self.l2 = l1, l2

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("activity_regularizer", None)
        return config | {"l1": self.l1, "l2": self.l2}
