"""How weights begin: Keras's distributions, drawn from a Generator that is handed over.

The numbers are NumPy's, so a seed gives other weights here than in Keras; the distribution is the
same. To start from Keras's own weights, carry them over (`keras_ref/bridge.py`).
What is drawn is W at step 1 on the page of `scratchnet explain`, stages Z1 to Z3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from scratchnet.config import floatx
from scratchnet.engines.contract import Array
from scratchnet.registry import instance, serialized
from scratchnet.support import Part, check_seed, generator


class Initializer(Part):
    """A callable (shape, dtype, rng) -> array; subclasses say what is drawn.

    It draws the same at every call, with a seed and without, as in Keras: without one it begins
    where the Generator of its first call stood. Only a Generator for a seed goes on.

    >>> draw = GlorotUniform()
    >>> bool((draw((2, 3)) == draw((2, 3))).all())
    True
    """

    _takes: ClassVar = {"seed": check_seed}

    def __init__(self, seed: int | np.random.Generator | None = None):
        self.seed = seed
        self._before: np.random.Generator | None = None

    def __call__(
        self,
        shape: tuple[int, ...],
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ) -> Array:
        """Weights of `shape`, drawn in float64 from this initializer's seed, else from `rng`."""
        if self._before is not None and self.seed is None:
            source = copy.deepcopy(self._before)
        else:
            source = generator(rng if self.seed is None else self.seed)
            self._before = copy.deepcopy(source) if self.seed is None else None
        return self.draw(tuple(shape), source).astype(dtype or floatx())

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        raise NotImplementedError(f"{type(self).__name__} must define draw(shape, rng).")

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this initializer again."""
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """The initializer that `get_config` described."""
        return cls(**config)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of each unit of a kernel (..., I, O): both times the axes before them.

    Source: Keras, initializers/random_initializers.py, compute_fans.

    >>> fans((784, 50)), fans((3, 3, 8, 16)), fans((5,))
    ((784, 50), (72, 144), (5, 5))
    """
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


class Zeros(Initializer):
    """All 0.

    >>> Zeros()((2,), "float64").tolist()
    [0.0, 0.0]
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return np.zeros(shape)

    def get_config(self) -> dict[str, Any]:
        return {}


class GlorotUniform(Initializer):
    """Uniform on [-limit, limit), limit = sqrt(6 / (I + O)), for a kernel (I, O).

    Then neither the activations' variance forward nor the gradients' backward grows with width.
    Source: Glorot & Bengio 2010, equation 16.

    >>> W = GlorotUniform(seed=0)((784, 50))
    >>> bool(abs(W).max() <= math.sqrt(6 / (784 + 50)))
    True
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        limit = math.sqrt(6 / max(2, sum(fans(shape))))
        return rng.uniform(-limit, limit, shape)


INITIALIZERS: dict[str, type[Initializer]] = {}
"""By Keras's names, all of them (`initializers/__init__.py` fills it in)."""


def get(identifier: Any) -> Any:
    """What Keras takes for an initializer: a name, class, config, array, or function of a shape.

    Raises:
        ValueError: for anything else, or an unknown name.

    >>> get("zeros")((2,), "float64").tolist(), get(np.array([1.0, 2.0]))((2,)).tolist()
    ([0.0, 0.0], [1.0, 2.0])
    """
    if isinstance(identifier, np.ndarray | np.generic):
        return partial(_given, np.array(identifier))
    return instance("initializer", identifier, INITIALIZERS)


def _given(array: Array, shape: tuple[int, ...], dtype: Any = None) -> Array:
    if array.shape != tuple(shape):
        raise ValueError(f"Expected `shape` to be {array.shape}, the array's: got {tuple(shape)}.")
    return array.astype(dtype or floatx())


def drawn(initializer: Any) -> Callable[..., Array]:
    """An initializer as a model calls it, (shape, dtype, rng) -> array; None is Glorot uniform.

    >>> drawn(lambda shape, dtype=None: np.full(shape, 2.0))((2,), "float64").tolist()
    [2.0, 2.0]
    """
    initializer = initializer or GlorotUniform()
    if isinstance(initializer, Initializer) and type(initializer).__call__ is Initializer.__call__:
        return initializer
    return partial(_called, initializer)


def _called(initializer: Any, shape: tuple[int, ...], dtype: Any = None, rng: Any = None) -> Array:
    """What somebody else's initializer gives, if it is of that shape."""
    array = np.asarray(initializer(shape, dtype=np.dtype(dtype or floatx()).name))
    if array.shape != tuple(shape) or array.dtype.kind not in "fiub":
        raise ValueError(
            f"initializer {initializer!r:.80}: gave {array.dtype} of shape {array.shape}: expected "
            f"numbers of shape {tuple(shape)}."
        )
    return array.astype(dtype or floatx())


def serialize(initializer: Any) -> dict[str, Any]:
    """The description of an initializer, in Keras's words.

    >>> serialize(GlorotUniform(seed=3))["config"]
    {'seed': 3}
    """
    return serialized("keras.initializers", initializer, INITIALIZERS)
