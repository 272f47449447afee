"""Layers that shift and scale features: by the batch's statistics, or by those of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

import scratchnet.initializers as initializers
from scratchnet.checks import Shape, take_regularizer
from scratchnet.engines.contract import Array, Engine
from scratchnet.engines.reference import EPSILON
from scratchnet.layers.core import Layer
from scratchnet.layers.surface import Params
from scratchnet.support import SETTLED, reject_unsupported

Specs = dict[str, tuple[Shape, Callable[..., Array]]]


class BatchNormalization(Layer):
    """Z = gamma (X - mean) / sqrt(variance + epsilon) + beta, for each place along `axis`.

    While it trains, mean and (biased) variance are the batch's, over all other axes, and a step
    moves moving_mean and moving_variance towards them by 1 - momentum; otherwise, and where the
    layer is frozen, mean and variance are the moving ones.
    Source: Ioffe & Szegedy 2015, algorithms 1 and 2; Keras,
    layers/normalization/batch_normalization.py.

    >>> layer = BatchNormalization(epsilon=0.0, momentum=0.0)
    >>> layer([[1.0], [3.0]], training=True).tolist(), layer([[5.0]]).tolist()
    ([[-1.0], [1.0]], [[3.0]])
    """

    state = ("moving_mean", "moving_variance")
    _own: ClassVar[dict[str, Any]] = {
        "momentum": float,
        "epsilon": float,
        "center": bool,
        "scale": bool,
        **dict.fromkeys(
            (
                *("beta_initializer", "gamma_initializer", "moving_mean_initializer"),
                "moving_variance_initializer",
            ),
            initializers.get,
        ),
        **dict.fromkeys(("beta_regularizer", "gamma_regularizer"), take_regularizer),
    }
    _takes: ClassVar = Layer._takes | _own
    _fixed: ClassVar = Layer._fixed | dict.fromkeys(("axis", "center", "scale"), SETTLED)

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: None = None,
        gamma_constraint: None = None,
        renorm: bool = False,
        renorm_clipping: None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ):
        name = "BatchNormalization"
        reject_unsupported(name, beta_constraint=(beta_constraint, None))
        reject_unsupported(name, gamma_constraint=(gamma_constraint, None), renorm=(renorm, False))
        reject_unsupported(name, renorm_clipping=(renorm_clipping, None))
        super().__init__(**kwargs)
        self.axis, self.momentum, self.epsilon = int(axis), momentum, epsilon
        self.center, self.scale = center, scale
        self.beta_initializer, self.gamma_initializer = beta_initializer, gamma_initializer
        self.moving_mean_initializer = moving_mean_initializer
        self.moving_variance_initializer = moving_variance_initializer
        self.beta_regularizer, self.gamma_regularizer = beta_regularizer, gamma_regularizer
        self.synchronized, self.renorm_momentum = synchronized, renorm_momentum

    def parameters(self, input_shape: Shape) -> Specs:
        rank = len(input_shape) + 1
        if not -rank < self.axis < rank or self.axis == 0:
            raise ValueError(
                f"BatchNormalization: axis={self.axis} is out of bounds for samples of shape "
                f"{input_shape}: expected an axis of theirs, the batch's being 0."
            )
        shape = ((0, *input_shape)[self.axis],)
        wanted = {"gamma": self.scale, "beta": self.center}
        return {
            name: (shape, initializers.drawn(getattr(self, f"{name}_initializer")))
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
            if wanted.get(name, True)
        }

    def _along(self, X: Array, vector: Array) -> Array:
        """A vector as an array that goes along the axis of X."""
        shape = [1] * X.ndim
        shape[self.axis] = vector.size
        return vector.reshape(shape)

    def _others(self, X: Array) -> tuple[int, ...]:
        return tuple(i for i in range(X.ndim) if i != self.axis % X.ndim)

    def _normalized(
        self, X: Array, params: Params, mean: Array, variance: Array, moments: Any
    ) -> tuple[Array, Any]:
        inverse = 1 / np.sqrt(variance + self.epsilon)
        N = (X - self._along(X, mean)) * self._along(X, inverse)
        Z = N * self._along(X, params["gamma"]) if self.scale else N
        Z = Z + self._along(X, params["beta"]) if self.center else Z
        return Z, (N, inverse, moments)

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        mean, variance = params["moving_mean"], params["moving_variance"]
        return self._normalized(X, params, mean, variance, None)

    def train_forward(
        self, X: Array, params: Params, engine: Engine, step: int
    ) -> tuple[Array, Any]:
        if not self.trainable:
            return self.forward(X, params, engine)
        axes = self._others(X)
        mean = np.mean(X, axis=axes)
        centred = X - self._along(X, mean)
        variance = np.mean(centred * centred, axis=axes)
        return self._normalized(X, params, mean, variance, (mean, variance))

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> Array:
        """Z = gamma N + beta with N = (X - mean) i, i = 1 / sqrt(variance + epsilon), so
        dgamma = sum dZ N, dbeta = sum dZ, dN = dZ gamma; and dX = i dN where mean and variance are
        given, else i (dN - mean(dN) - N mean(dN N)), since both are X's own."""
        N, inverse, moments = cache
        axes = self._others(dZ)
        if self.scale:
            grads["gamma"][:] = np.sum(dZ * N, axis=axes)
        if self.center:
            grads["beta"][:] = np.sum(dZ, axis=axes)
        for i, name in enumerate(self.state):
            step = 0 if moments is None else (1 - self.momentum) * (params[name] - moments[i])
            grads[name][:] = step
        dN = dZ * self._along(dZ, params["gamma"]) if self.scale else dZ
        if moments is not None:
            own = np.mean(dN * N, axis=axes, keepdims=True)
            dN = dN - np.mean(dN, axis=axes, keepdims=True) - N * own
        dX: Array = dN * self._along(dZ, inverse)
        return dX

    def get_config(self) -> dict[str, Any]:
        plain = ("axis", "momentum", "epsilon", "center", "scale")
        initial = [name for name in self._own if name.endswith("initializer")]
        return super().get_config() | {
            **{name: getattr(self, name) for name in plain},
            **{name: initializers.serialize(getattr(self, name)) for name in initial},
        }


class Normalization(Layer):
    """Z = (X - mean) / max(sqrt(variance), 1e-7), of each place along `axis`; `invert` undoes it.

    Mean and variance are given, or found by `adapt(data)`; nothing learns them. Without an axis
    (None) they are single numbers. Source: Keras, layers/preprocessing/normalization.py.

    >>> layer = Normalization()
    >>> layer.adapt(np.array([[1.0], [3.0]]))
    >>> layer([[5.0]]).tolist(), Normalization(mean=1.0, variance=4.0)([[5.0]]).tolist()
    ([[3.0]], [[2.0]])
    """

    state: tuple[str, ...] = ("mean", "variance", "count")
    _fixed: ClassVar = Layer._fixed | dict.fromkeys(("axis", "input_mean"), SETTLED)

    def __init__(
        self,
        axis: int | tuple[int, ...] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        axes = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None):
            raise ValueError(
                "When setting values directly, both `mean` and `variance` must be set: got "
                f"mean={mean!r} and variance={variance!r}."
            )
        if mean is not None and np.shape(mean) != np.shape(variance):
            raise ValueError(
                "When setting values directly, `mean` and `variance` must have the same shape: got "
                f"{np.shape(mean)} and {np.shape(variance)}."
            )
        if mean is not None and np.ndim(mean) > len(axes):
            raise ValueError(
                "The rank of `mean` must be less than or equal to the number of axes "
                f"({len(axes)}): got mean shape {np.shape(mean)} for axis {axes}."
            )
        self.axis, self.invert = axes, invert
        self.input_mean, self.input_variance = mean, variance
        self.state = () if mean is not None else type(self).state

    def _kept(self, input_shape: Shape) -> tuple[int, ...]:
        """The axes, the batch's counted, that have a mean for each place."""
        rank = len(input_shape) + 1
        if any(not -rank <= axis < rank for axis in self.axis):
            raise ValueError(
                f"Normalization: all `axis` values must be in the range [-{rank}, {rank}): got "
                f"axis={self.axis} for samples of shape {input_shape}."
            )
        kept = tuple(sorted(axis % rank for axis in self.axis))
        if 0 in kept:
            raise ValueError(
                f"Normalization: all `axis` values to be kept must have a known shape: got "
                f"axis={self.axis}, which holds the batch's."
            )
        return kept

    def parameters(self, input_shape: Shape) -> Specs:
        shape = tuple(input_shape[axis - 1] for axis in self._kept(input_shape))
        if self.input_mean is not None:
            return {}
        zeros, ones = map(initializers.get, ("zeros", "ones"))
        return {"mean": (shape, zeros), "variance": (shape, ones), "count": ((), zeros)}

    def _moments(self, shape: Shape, params: Params, dtype: Any) -> list[Array]:
        """Mean and variance in a shape that goes along samples of this shape."""
        kept = self._kept(shape)
        sizes = [size if i + 1 in kept else 1 for i, size in enumerate(shape)]
        given = (self.input_mean, self.input_variance)
        if self.input_mean is None:
            given = (params["mean"], params["variance"])
        found = []
        for values in given:
            array = np.asarray(values, dtype=dtype)
            if array.ndim < len(kept):
                array = np.broadcast_to(array, [shape[axis - 1] for axis in kept])
            found.append(array.reshape(1, *sizes))
        return found

    @property
    def mean(self) -> Array | None:
        """What is taken off, or None before the layer has a shape."""
        return self._moment(0)

    @property
    def variance(self) -> Array | None:
        """The square of what is divided by, or None before the layer has a shape."""
        return self._moment(1)

    def _moment(self, which: int) -> Array | None:
        if self.input_shape is None:
            return None
        dtype = next((a.dtype for a in self.params.values()), np.dtype(float))
        return self._moments(self.input_shape, self.params, dtype)[which]

    def adapt(self, data: Any) -> None:
        """Find mean and variance of an array, or of an iterable of batches (or pairs with x first).

        Raises:
            ValueError: for data of another shape than the layer was built for, or none at all.
        """
        if self.input_mean is not None:
            raise ValueError("adapt: mean and variance were given: make the layer without them.")
        whole = isinstance(data, np.ndarray)
        if not whole and not isinstance(data, Iterable):
            raise TypeError(f"adapt: unsupported data type {type(data).__name__}: expected arrays.")
        mean: Any = None
        variance: Any = 0.0
        total = 0
        for batch in [data] if whole else data:
            array = np.asarray(batch[0] if isinstance(batch, tuple) else batch)
            if array.ndim == 0:
                raise TypeError(f"adapt: got {batch!r:.80}: expected batches, arrays with a shape.")
            self._fit(array.shape)
            axes = tuple(i for i in range(array.ndim) if i not in self._kept(array.shape[1:]))
            own = (array if array.dtype.kind == "f" else array.astype(float)).astype(float)
            count = math.prod(array.shape[i] for i in axes)
            total += count
            share, center, spread = count / total, own.mean(axes), own.var(axes)
            if mean is None:
                mean, variance = center, spread
                continue
            both = mean * (1 - share) + center * share
            variance = (variance + (mean - both) ** 2) * (1 - share)
            variance = variance + (spread + (center - both) ** 2) * share
            mean = both
        if mean is None:
            raise ValueError("adapt: received an empty iterable: expected at least one batch.")
        self.params["mean"][...], self.params["variance"][...] = mean, variance

    def _fit(self, shape: Shape) -> None:
        """Build for data of this shape, or see that it is what the layer was built for."""
        self.build(shape)
        kept = self._kept(shape[1:])
        built = self.input_shape or ()
        if len(built) + 1 != len(shape) or any(built[i - 1] != shape[i] for i in kept):
            raise ValueError(
                f"adapt: data has an incompatible shape, {shape}: the layer was built for samples "
                f"of shape {built}."
            )

    def forward(self, X: Array, params: Params, engine: Engine) -> tuple[Array, Any]:
        mean, variance = self._moments(X.shape[1:], params, X.real.dtype)
        spread = np.maximum(np.sqrt(variance), X.real.dtype.type(EPSILON))
        return (mean + X * spread, spread) if self.invert else ((X - mean) / spread, 1 / spread)

    def backward(
        self,
        dZ: Array,
        cache: Any,
        params: Params,
        grads: Params,
        engine: Engine,
        need_dX: bool = True,
    ) -> Array:
        """Z = (X - mean) factor, so dX = dZ factor; nothing learns."""
        for array in grads.values():
            array[...] = 0
        dX: Array = dZ * cache
        return dX

    def get_config(self) -> dict[str, Any]:
        given = {"mean": self.input_mean, "variance": self.input_variance}
        lists = {name: np.array(values).tolist() for name, values in given.items()}
        return super().get_config() | {"axis": self.axis, "invert": self.invert} | lists
