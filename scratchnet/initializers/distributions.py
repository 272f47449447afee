"""The initializers that the script does not use: Keras's distributions, constants and matrices.

What they draw with is NumPy's, so a seed gives other numbers here than in Keras, of the same
distribution. Source: Keras, initializers/random_initializers.py and constant_initializers.py.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import numpy as np

from scratchnet.engines.contract import Array
from scratchnet.initializers.initializer import Initializer, fans
from scratchnet.support import check_choice, through_float32

STD_OF_CUT_NORMAL = 0.87962566103423978
"""Of a standard normal truncated to [-2, 2]."""


def cut_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers, drawn anew until none is farther than 2 from 0.

    >>> bool(abs(cut_normal(np.random.default_rng(0), (1000,))).max() <= 2)
    True
    """
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(np.count_nonzero(outside))
    return values


def take_numbers(value: Any) -> Any:
    """A number, or an array or list of numbers."""
    if value is None or np.asarray(value).dtype.kind not in "fiub":
        raise ValueError("expected a number.")
    return value


MODES = ("fan_in", "fan_out", "fan_avg")
KINDS = ("uniform", "truncated_normal", "untruncated_normal")


class _Configured(Initializer):
    """An initializer whose configuration is its arguments, by name, then the seed if it draws."""

    _names: tuple[str, ...] = ()
    _seeded = True
    _takes: ClassVar = {
        **Initializer._takes,
        **dict.fromkeys(
            ("value", "gain", "mean", "stddev", "minval", "maxval", "scale"), take_numbers
        ),
        "mode": partial(check_choice, "mode", names=MODES),
        "distribution": partial(check_choice, "distribution", names=KINDS),
    }

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in self._names}
        return (super().get_config() if self._seeded else {}) | own


class Ones(_Configured):
    """All 1.

    >>> Ones()((2,), "float64").tolist()
    [1.0, 1.0]
    """

    _seeded = False

    def __init__(self) -> None:
        super().__init__()

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.ones(shape)


class Constant(_Configured):
    """All `value`; a number passes through float32, in float64 too, as in Keras.

    >>> Constant(3)((2,), "float64").tolist()
    [3.0, 3.0]
    """

    _names, _seeded = ("value",), False

    def __init__(self, value: Any = 0.0):
        super().__init__()
        self.value = value

    def get_config(self) -> dict[str, Any]:
        return {"value": np.asarray(self.value).tolist()}

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        value = through_float32(self.value) if np.ndim(self.value) == 0 else self.value
        return np.broadcast_to(value, shape).astype(float)


class Identity(_Configured):
    """`gain` on the diagonal of a matrix, 0 beside it.

    >>> Identity(2)((2, 2), "float64").tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """

    _names, _seeded = ("gain",), False

    def __init__(self, gain: float = 1.0):
        super().__init__()
        self.gain = gain

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        if len(shape) != 2:
            raise ValueError(
                f"Identity: shape={shape}: this initializer makes 2D matrices, and no others."
            )
        return self.gain * np.eye(*shape)


class RandomNormal(_Configured):
    """Normal, of this mean and standard deviation.

    >>> W = RandomNormal(mean=1.0, stddev=0.5, seed=0)((10000,), "float64")
    >>> round(float(W.mean()), 1), round(float(W.std()), 1)
    (1.0, 0.5)
    """

    _names = ("mean", "stddev")

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return self.mean + self.stddev * rng.standard_normal(shape)


class TruncatedNormal(RandomNormal):
    """Normal, drawn anew where it is farther than two standard deviations from the mean.

    >>> W = TruncatedNormal(mean=1.0, stddev=0.5, seed=0)((1000,), "float64")
    >>> bool(W.min() >= 0 and W.max() <= 2)
    True
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return self.mean + self.stddev * cut_normal(rng, shape)


class RandomUniform(_Configured):
    """Uniform on [minval, maxval).

    >>> W = RandomUniform(-1, 3, seed=0)((1000,), "float64")
    >>> bool(W.min() >= -1 and W.max() < 3)
    True
    """

    _names = ("minval", "maxval")

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return rng.uniform(self.minval, self.maxval, shape)


class VarianceScaling(_Configured):
    """Of variance scale / n, n being a unit's inputs, outputs or their mean, by `mode`.

    `"truncated_normal"` is widened again for what the cut takes off; `"uniform"` is on
    [-limit, limit), limit = sqrt(3 scale / n).

    >>> W = VarianceScaling(2.0, "fan_out", "uniform", seed=0)((10, 600))
    >>> bool(abs(W).max() <= math.sqrt(3 * 2 / 600))
    True
    """

    _names: tuple[str, ...] = ("scale", "mode", "distribution")

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
    ):
        if not scale > 0:
            raise ValueError(f"Argument `scale` must be positive float: got scale={scale!r}.")
        check_choice("Invalid `mode` argument: mode", mode, MODES)
        kind = str(distribution).lower()
        kind = "truncated_normal" if kind == "normal" else kind
        check_choice("Invalid `distribution` argument: distribution", kind, KINDS)
        super().__init__(seed)
        self.scale, self.mode, self.distribution = scale, mode, kind

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        inputs, outputs = fans(shape)
        count = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}
        variance = self.scale / max(1.0, count[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return rng.uniform(-limit, limit, shape)
        if self.distribution == "truncated_normal":
            return cut_normal(rng, shape) * (math.sqrt(variance) / STD_OF_CUT_NORMAL)
        return rng.standard_normal(shape) * math.sqrt(variance)


class _Named(VarianceScaling):
    """A VarianceScaling whose numbers are settled by its name."""

    _names = ()
    _numbers: tuple[float, str, str]

    def __init__(self, seed: Any = None):
        super().__init__(*self._numbers, seed=seed)


class GlorotNormal(_Named):
    """Truncated normal of variance 2 / (I + O).  Source: Glorot & Bengio 2010.

    >>> GlorotNormal(seed=1).get_config()
    {'seed': 1}
    """

    _numbers = (1.0, "fan_avg", "truncated_normal")


class HeNormal(_Named):
    """Normal with standard deviation sqrt(2 / I), cut off at two deviations and widened again.

    The 2 makes up for ReLU, which drops half of the variance.
    Source: He et al. 2015, equation 10; the cut as in Keras, VarianceScaling.

    >>> W = HeNormal(seed=0)((200, 500), "float64")
    >>> abs(float(W.std()) - math.sqrt(2 / 200)) < 1e-3
    True
    """

    STD_OF_CUT_NORMAL = STD_OF_CUT_NORMAL
    _numbers = (2.0, "fan_in", "truncated_normal")


class HeUniform(_Named):
    """Uniform on [-limit, limit), limit = sqrt(6 / I).  Source: He et al. 2015.

    >>> bool(abs(HeUniform(seed=0)((600, 5))).max() <= 0.1)
    True
    """

    _numbers = (2.0, "fan_in", "uniform")


class LecunNormal(_Named):
    """Truncated normal of variance 1 / I.  Source: LeCun et al. 1998, section 4.6.

    >>> LecunNormal(seed=1).get_config()
    {'seed': 1}
    """

    _numbers = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_Named):
    """Uniform on [-limit, limit), limit = sqrt(3 / I).  Source: LeCun et al. 1998, section 4.6.

    >>> W = LecunUniform(seed=0)((300, 5))
    >>> bool(abs(W).max() <= 0.1)
    True
    """

    _numbers = (1.0, "fan_in", "uniform")


class Orthogonal(_Configured):
    """`gain` times a matrix with orthonormal columns, or rows where there are fewer of those.

    All axes but the last count as rows. Source: Saxe et al. 2014; Keras's signs are those of the
    diagonal of R.

    >>> W = Orthogonal(seed=0)((4, 3), "float64")
    >>> (W.T @ W).round(12).astype(int).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """

    _names = ("gain",)

    def __init__(self, gain: float = 1.0, seed: Any = None):
        super().__init__(seed)
        self.gain = gain

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        if len(shape) < 2:
            raise ValueError(
                f"Orthogonal: shape={shape}: the tensor to initialize must be at least "
                "two-dimensional."
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        flat = rng.standard_normal((max(rows, columns), min(rows, columns)))
        Q, R = np.linalg.qr(flat)
        Q = Q * np.sign(np.diag(R))
        result: Array = self.gain * (Q if rows >= columns else Q.T).reshape(shape)
        return result
