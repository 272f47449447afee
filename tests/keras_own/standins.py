"""What tests need to make arrays and compare them, over NumPy: no value under test comes from here.

Keras's rules of types hold: Python floats make float32, Python integers int32, and an array keeps
its own. A `Variable` is an array that is written in place, with the few methods that tests call.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from scratchnet import config


class Variable(np.ndarray):
    """An array with a name, written in place; for optimizers to move."""

    def __new__(
        cls,
        initializer: Any,
        shape: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        name: str | None = None,
        **options: Any,
    ) -> Variable:
        value = initializer(shape, dtype=dtype) if callable(initializer) else initializer
        self = np.array(tensor(value, dtype)).view(cls)
        self.name = self.path = name or "variable"
        self.trainable = trainable
        return self

    def __array_finalize__(self, source: Any) -> None:
        self.name = self.path = "variable"
        self.trainable = True

    @property
    def value(self) -> np.ndarray:
        return np.asarray(self)

    def numpy(self) -> np.ndarray:
        return np.array(self)

    def assign(self, value: Any) -> Variable:
        self[...] = value
        return self

    def assign_add(self, value: Any) -> Variable:
        return self.assign(self + np.asarray(value))

    def assign_sub(self, value: Any) -> Variable:
        return self.assign(self - np.asarray(value))


def tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> np.ndarray:
    """`convert_to_tensor`."""
    array = np.asarray(x)
    if dtype is None and not isinstance(x, np.ndarray | np.generic):
        usual = {"f": config.floatx(), "i": "int32"}
        leaves = [leaf for leaf in _leaves(x) if isinstance(leaf, np.ndarray | np.generic)]
        if not leaves:
            dtype = usual.get(array.dtype.kind)
    return array if dtype is None else array.astype(standardize_dtype(dtype))


def _leaves(x: Any) -> list[Any]:
    return [leaf for part in x for leaf in _leaves(part)] if isinstance(x, list | tuple) else [x]


def standardize_dtype(dtype: Any) -> str:
    if dtype is None:
        return config.floatx()
    return "string" if dtype is str else np.dtype(dtype).name


def is_float_dtype(dtype: Any) -> bool:
    return standardize_dtype(dtype).startswith(("float", "bfloat"))


def _operation(name: str) -> Callable[..., Any]:
    """NumPy's function, on what Keras would make of Python numbers and lists."""
    function = getattr(np, name)

    def operation(*args: Any, **kwargs: Any) -> Any:
        given = [tensor(x) if isinstance(x, int | float | list) else x for x in args]
        result = function(*(given if name not in SHAPED else args), **kwargs)
        wide = any(getattr(x, "dtype", None) == np.float64 for x in (*given, *kwargs.values()))
        if wide or "dtype" in kwargs or not isinstance(result, np.ndarray | np.generic):
            return result
        narrow = {"float64": config.floatx(), "int64": "int32"}.get(result.dtype.name)
        return result.astype(narrow) if narrow else result

    return operation


SHAPED = ("ones", "zeros", "full", "eye", "arange", "linspace", "tile", "transpose", "reshape")
"""What takes shapes and axes, which are no arrays."""


class Operations(SimpleNamespace):
    """`keras.ops`, as far as NumPy has a function of the same name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not callable(getattr(np, name, None)):
            raise AttributeError(name)
        return _operation(name)


def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, **_: Any) -> Any:
    rows = np.asarray(x)[..., None] == np.arange(num_classes)
    return np.moveaxis(rows, -1, axis).astype(standardize_dtype(dtype))


class _Random:
    """Arrays to feed in. Without a seed they come from NumPy's own state, which `set_random_seed`
    seeds; a `SeedGenerator` is NumPy's Generator, as scratchnet takes it."""

    def _draw(self, seed: Any) -> np.random.Generator:
        own = np.random.randint(2**31) if seed is None else seed
        return np.random.default_rng(own)

    def normal(self, shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed=None):
        return self._draw(seed).normal(mean, stddev, shape).astype(standardize_dtype(dtype))

    def uniform(self, shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype=None, seed=None):
        return self._draw(seed).uniform(minval, maxval, shape).astype(standardize_dtype(dtype))

    def randint(self, shape: Any, minval: int, maxval: int, dtype: Any = "int32", seed=None):
        return self._draw(seed).integers(minval, maxval, shape).astype(dtype)

    @staticmethod
    def SeedGenerator(seed: Any = None, **_: Any) -> np.random.Generator:
        return np.random.default_rng(seed)


def map_structure(function: Callable[..., Any], *trees: Any) -> Any:
    first = trees[0]
    if isinstance(first, dict):
        return {key: map_structure(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(map_structure(function, *parts) for parts in zip(*trees, strict=True))
    return function(*trees)


def flatten(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in flatten(tree[key])]
    return [leaf for part in tree for leaf in flatten(part)] if is_nested(tree) else [tree]


def is_nested(tree: Any) -> bool:
    return isinstance(tree, list | tuple | dict)


def image_data_format() -> str:
    return "channels_last"


def _nothing(*args: Any, **kwargs: Any) -> None:
    """What only settles Keras's own state before a test."""


def standins() -> dict[str, Any]:
    """Every stand-in, by the dotted name of its room and its own."""
    random = _Random()
    arrays = Operations(
        array=tensor,
        cast=lambda x, dtype: np.asarray(x).astype(standardize_dtype(dtype)),
        convert_to_numpy=np.array,
        convert_to_tensor=tensor,
        is_tensor=lambda x: isinstance(x, np.ndarray),
        one_hot=one_hot,
        random=random,
        shape=np.shape,
    )
    types = SimpleNamespace(standardize_dtype=standardize_dtype, is_float_dtype=is_float_dtype)
    return {
        "ops": arrays,
        "backend.numpy": arrays,
        "random": random,
        "backend": SimpleNamespace(
            **vars(types),
            **{name: vars(arrays)[name] for name in ARRAYS},
            Variable=Variable,
            random=random,
            backend=lambda: "tensorflow",
            config=SimpleNamespace(image_data_format=image_data_format),
            image_data_format=image_data_format,
            SUPPORTS_COMPLEX_DTYPES=False,
            SUPPORTS_RAGGED_TENSORS=False,
            SUPPORTS_SPARSE_TENSORS=False,
        ),
        "backend.common": types,
        "backend.common.global_state": SimpleNamespace(clear_session=_nothing),
        "dtype_policies.dtype_policy": SimpleNamespace(
            dtype_policy=_nothing, set_dtype_policy=_nothing
        ),
        "tree": SimpleNamespace(flatten=flatten, is_nested=is_nested, map_structure=map_structure),
        "utils.file_utils": SimpleNamespace(
            File=io.open, exists=os.path.exists, join=os.path.join, makedirs=os.makedirs
        ),
        "utils.traceback_utils": SimpleNamespace(
            disable_traceback_filtering=_nothing,
            is_traceback_filtering_enabled=lambda: False,
        ),
    }


ARRAYS = ("cast", "convert_to_numpy", "convert_to_tensor", "is_tensor", "shape")
