"""Arguments, checked where they are handed over: shapes, counts, options, weights for a model.

An error leaves everything as it was, and names the value, what was expected, and the remedy. What
is handed over as data is looked at in `data_adapters.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet.config import floatx
from scratchnet.engines.contract import Array
from scratchnet.registry import instance, serialized
from scratchnet.support import check_choice, reject_unsupported

Shape = tuple[int, ...]


class NotBuiltError(AttributeError, ValueError):
    """What is asked for comes with a shape that is not known yet; `hasattr` says so too.

    >>> issubclass(NotBuiltError, AttributeError)
    True
    """


REGULARIZERS: dict[str, Any] = {}
"""By Keras's names; `regularizers.py` fills it in."""
REGULARIZED = ("kernel_regularizer", "bias_regularizer", "activity_regularizer")
"""Keras's arguments of layers that add to the loss."""

LAYER_OPTIONS: dict[str, tuple[Any, ...]] = {
    "kernel_constraint": (None,),
    "bias_constraint": (None,),
    "lora_rank": (None,),
    "lora_alpha": (None,),
    "quantization_config": (None,),
    "data_format": (None, "channels_last"),
    "autocast": (True,),
}
"""Keras's other arguments of layers, and the values that mean what is done here."""


def layer_options(owner: str, options: dict[str, Any]) -> Shape | None:
    """The shape of a sample that a layer was given, after a look at all of its options."""
    rest = dict(options)
    shape, features = rest.pop("input_shape", None), rest.pop("input_dim", None)
    check_dtype(owner, rest.pop("dtype", None))
    known = (*LAYER_OPTIONS, "input_shape", "input_dim", "dtype", "name")
    for option, value in rest.items():
        usual = LAYER_OPTIONS[check_choice(f"{owner}: argument", option, known)]
        if value not in usual:
            reject_unsupported(owner, **{option: (value, usual[0])})
    shape = shape if features is None else (features,)
    return None if shape is None else check_shape(shape)


def check_dtype(owner: str, dtype: Any) -> None:
    """Refuse another dtype for one layer: a model computes in one, `config.floatx()`."""
    if dtype is not None and np.dtype(dtype).name != floatx():
        raise ValueError(
            f"{owner}: dtype={dtype!r}: only {floatx()!r}, which holds for the whole model. "
            "Change it with config.set_floatx before the model is made."
        )


def take_regularizer(identifier: Any) -> Any:
    """A regularizer by name, class or config, or anything that makes a number of an array."""
    return instance("regularizer", identifier, REGULARIZERS)


def described(regularizer: Any) -> dict[str, Any]:
    """A regularizer as a layer's configuration holds it."""
    return serialized("keras.regularizers", regularizer, REGULARIZERS)


def check_input_dtype(dtype: Any) -> Any:
    """Samples may be of any type of numbers: a model makes its own of them."""
    try:
        known = dtype is None or np.dtype(dtype).kind in "fiub"
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"Input: dtype={dtype!r}: expected a type of numbers, such as 'uint8'.")
    return dtype


class Examples(NamedTuple):
    """Samples x (N, ...), targets y (N, ...) and weights (N,) or None, of one length."""

    x: Array
    y: Array
    weights: Array | None

    def rows(self, rows: Any) -> Examples:
        return Examples(
            self.x[rows], self.y[rows], None if self.weights is None else self.weights[rows]
        )

    def batches(self, size: int, order: Array | None = None) -> Iterator[Examples]:
        """Batches of `size` in the given order; the last one holds what is left."""
        for start in range(0, len(self.x if order is None else order), size):
            rows = slice(start, start + size)
            yield self.rows(rows if order is None else order[rows])


def check_finite(name: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name} holds {array[where]} at index {where}: expected finite numbers. "
            "Remove or replace such samples, for instance with numpy.nan_to_num."
        )


def check_count(name: str, value: Any, least: int = 1) -> int:
    """An integer of at least `least`, such as epochs or batch_size."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}={value!r}: expected an integer >= {least}.")
    return int(value)


def check_batch_size(value: Any, default: Any = 32) -> Any:
    return default if value is None else check_count("batch_size", value)


def check_option(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """One of the allowed values; 1 counts as True and 0 as False, as elsewhere in Python."""
    if not isinstance(value, int | str | np.bool_) or value not in allowed:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, allowed))}.")


def assign(views: Sequence[Array], weights: Iterable[Any]) -> None:
    """Write arrays of the same shapes into views: all of them, or none and a `ValueError`."""
    arrays = [np.asarray(array) for array in weights]
    wanted, got = [view.shape for view in views], [array.shape for array in arrays]
    if wanted != got or any(array.dtype.kind not in "fiub" for array in arrays):
        raise ValueError(
            f"set_weights: got {[f'{a.dtype} {a.shape}' for a in arrays]}: expected numbers of "
            f"shapes {wanted}, in the order of get_weights()."
        )
    for view, array in zip(views, arrays, strict=True):
        view[...] = array


def check_shape(shape: Any) -> Shape:
    """The shape of one sample, as a tuple of positive integers."""
    axes = tuple(shape) if isinstance(shape, Iterable) else (shape,)
    if not axes or not all(isinstance(n, int | np.integer) and n > 0 for n in axes):
        raise ValueError(f"shape={shape!r}: expected positive integers, such as (28, 28).")
    return tuple(int(n) for n in axes)
