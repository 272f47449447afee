"""How weights begin: Keras's distributions, drawn from a Generator that is handed over.

The numbers are NumPy's, so a seed gives other weights here than in Keras; the distribution is the
same. To start from Keras's own weights, carry them over (`keras_ref/bridge.py`).
What is drawn is W at step 1 on the page of `scratchnet explain`, stages Z1 to Z3.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from scratchnet.config import floatx
from scratchnet.engines import Array
from scratchnet.support import Part, check_seed, generator, resolve


class Initializer(Part):
    """A callable (shape, dtype, rng) -> array; subclasses say what is drawn.

    With a number as its seed it draws the same at every call, as in Keras.

    >>> bool((Ones(seed=1)((2, 3)) == Ones(seed=1)((2, 3))).all())
    True
    """

    _takes: ClassVar = {"seed": check_seed}

    def __init__(self, seed: int | np.random.Generator | None = None):
        self.seed = seed

    def __call__(
        self,
        shape: tuple[int, ...],
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ) -> Array:
        """Weights of `shape`, drawn in float64 from this initializer's seed, else from `rng`."""
        source = generator(rng if self.seed is None else self.seed)
        return self.draw(shape, source).astype(dtype or floatx())

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define draw(shape, rng).")


class Zeros(Initializer):
    """All 0.

    >>> Zeros()((2,), "float64").tolist()
    [0.0, 0.0]
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.zeros(shape)


class Ones(Initializer):
    """All 1.

    >>> Ones()((2,), "float64").tolist()
    [1.0, 1.0]
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.ones(shape)


class GlorotUniform(Initializer):
    """Uniform on [-limit, limit), limit = sqrt(6 / (I + O)), for a kernel (I, O).

    Then neither the activations' variance forward nor the gradients' backward grows with width.
    Source: Glorot & Bengio 2010, equation 16.

    >>> W = GlorotUniform(seed=0)((784, 50))
    >>> bool(abs(W).max() <= math.sqrt(6 / (784 + 50)))
    True
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        limit = math.sqrt(6 / (shape[0] + shape[-1]))
        return rng.uniform(-limit, limit, shape)


class HeNormal(Initializer):
    """Normal with standard deviation sqrt(2 / I), cut off at two deviations and widened again.

    The 2 makes up for ReLU, which drops half of the variance.
    Source: He et al. 2015, equation 10; the cut as in Keras, VarianceScaling.

    >>> W = HeNormal(seed=0)((200, 500), "float64")
    >>> abs(float(W.std()) - math.sqrt(2 / 200)) < 1e-3
    True
    """

    STD_OF_CUT_NORMAL = 0.87962566103423978  # of a standard normal truncated to [-2, 2]

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        values = rng.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = rng.standard_normal(np.count_nonzero(outside))
        return values * (math.sqrt(2 / shape[0]) / self.STD_OF_CUT_NORMAL)


INITIALIZERS: dict[str, type[Initializer]] = {
    "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal,
    "zeros": Zeros,
    "ones": Ones,
}
INITIALIZERS |= {kind.__name__: kind for kind in INITIALIZERS.values()}


def get(identifier: str | Initializer) -> Initializer:
    """An initializer by name, or the given one; `ValueError` for an unknown name.

    >>> get("zeros")((2,), "float64").tolist()
    [0.0, 0.0]
    """
    if isinstance(identifier, Initializer):
        return identifier
    return INITIALIZERS[resolve("initializer", identifier, INITIALIZERS)]()
