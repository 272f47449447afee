"""What users hand over, checked once at the door: samples, targets, weights, validation sets.

Every check happens before a weight moves, so an error leaves the model as it was; it names the
value, what was expected, and the remedy. Past this door arrays have the right shape and are finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet.config import floatx
from scratchnet.engines import Array
from scratchnet.support import check_choice, reject_unsupported

Shape = tuple[int, ...]


LAYER_OPTIONS: dict[str, tuple[Any, ...]] = {
    "kernel_regularizer": (None,),
    "bias_regularizer": (None,),
    "activity_regularizer": (None,),
    "kernel_constraint": (None,),
    "bias_constraint": (None,),
    "lora_rank": (None,),
    "lora_alpha": (None,),
    "quantization_config": (None,),
    "data_format": (None, "channels_last"),
    "trainable": (True,),
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


def check_samples(x: Any, shape: tuple[int, ...], finite: bool = True) -> Array:
    """Real numbers of shape (N, *shape), N >= 1, in the dtype they came in; if asked, finite ones.

    A last axis of 1 may be there or not: (N, 28, 28, 1) for (28, 28), (N,) for (1,), as in Keras.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"x has dtype {array.dtype}: expected real numbers. Convert with x.astype('float32')."
        )
    rest = array.shape[1:]
    if array.ndim and (rest == (*shape, 1) or (shape[-1:] == (1,) and rest == shape[:-1])):
        array = array.reshape(-1, *shape)
    if array.ndim == 0 or array.shape[1:] != shape:
        raise ValueError(
            f"x has shape {array.shape}: expected (samples, {', '.join(map(str, shape))}), the "
            "shape that the model was built for. Reshape x, or build a model for this shape."
        )
    if len(array) == 0:
        raise ValueError("x has no samples: expected at least one.")
    if finite:
        check_finite("x", array)
    return array


def check_finite(name: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name} holds {array[where]} at index {where}: expected finite numbers. "
            "Remove or replace such samples, for instance with numpy.nan_to_num."
        )


def check_targets(y: Any, outputs: tuple[int, ...], loss: str, sparse: bool) -> Array:
    """Targets that fit outputs of shape (N, K) under a loss: labels (N,) if sparse, or (N, K)."""
    array = np.asarray(y)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"y has dtype {array.dtype}: expected numbers, such as integer labels.")
    samples, classes = outputs[0], outputs[-1]
    if array.ndim == 0 or len(array) != samples:
        got = "no axis" if array.ndim == 0 else f"{len(array)} samples"
        raise ValueError(f"y has {got}, x has {samples}: expected one target for each sample.")
    if not sparse:
        fits = {(samples, classes)} | ({(samples,)} if classes == 1 else set())
        if array.shape not in fits:
            raise ValueError(
                f"y has shape {array.shape}: {loss} expected ({samples}, {classes}). "
                "For integer labels take sparse_categorical_crossentropy, or to_categorical(y)."
            )
        check_finite("y", array)
        return array.reshape(samples, classes)
    if array.shape not in ((samples,), (samples, 1)):
        raise ValueError(
            f"y has shape {array.shape}: {loss} expected integer labels of shape "
            f"({samples},). For one-hot rows take categorical_crossentropy."
        )
    labels = array.reshape(samples)
    wrong = ~((labels >= 0) & (labels < classes) & (labels == np.floor(labels)))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"y holds {labels[first].item()!r} at index {first}: expected integer labels from 0 to "
            f"{classes - 1}, one for each of the {classes} outputs."
        )
    return labels.astype(np.int64)


def check_weights(weights: Any, samples: int, dtype: np.dtype[Any]) -> Array | None:
    """One finite weight for each sample, (N,), or None."""
    if weights is None:
        return None
    try:
        array = np.asarray(weights, dtype)
    except (TypeError, ValueError):
        raise TypeError(f"sample_weight={weights!r:.80}: expected one number a sample.") from None
    if array.size != samples or array.ndim > 2:
        raise ValueError(
            f"sample_weight has shape {array.shape}: expected ({samples},), one for each sample."
        )
    check_finite("sample_weight", array)
    return array.reshape(samples)


def class_weights(class_weight: Mapping[Any, float], y: Array, sparse: bool) -> Array:
    """The weight of each sample's class, 1 for a class that is not named."""
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight={class_weight!r}: expected a dict from label to weight.")
    try:
        table = {int(label): float(weight) for label, weight in class_weight.items()}
    except (TypeError, ValueError):
        raise ValueError(f"class_weight={class_weight!r}: expected {{label: weight}}.") from None
    labels = y if sparse else np.argmax(y, axis=-1)
    return np.array([table.get(int(label), 1.0) for label in labels])


def check_data(
    samples: Array,
    y: Any,
    sample_weight: Any,
    class_weight: Mapping[Any, float] | None,
    output_shape: tuple[int, ...],
    loss: str,
    sparse: bool,
    dtype: np.dtype[Any],
) -> Examples:
    """Checked samples with what goes with them; `output_shape` is that of one output."""
    if y is None:
        raise ValueError("y=None: expected the targets beside x, as in fit(x, y).")
    targets = check_targets(y, (len(samples), *output_shape), loss, sparse)
    if class_weight is not None:
        if sample_weight is not None:
            raise ValueError(
                "class_weight and sample_weight were both given: expected one of them. "
                "Multiply them into sample_weight."
            )
        sample_weight = class_weights(class_weight, targets, sparse)
    return Examples(samples, targets, check_weights(sample_weight, len(samples), dtype))


def unpack(validation_data: Any) -> tuple[Any, Any, Any]:
    """x, y and sample_weight (or None) of what was given as `validation_data`."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise ValueError(
            f"validation_data={validation_data!r:.80}: expected (x, y) or (x, y, sample_weight)."
        )
    x, y, *weights = validation_data
    return x, y, weights[0] if weights else None


def first_steps(data: Examples, size: int, steps: int | None, name: str) -> Examples:
    """The samples of the first `steps` batches; all of them for None."""
    if steps is None:
        return data
    return data.rows(slice(check_count(name, steps) * size))


def split_tail(data: Examples, fraction: float) -> tuple[Examples, Examples]:
    """The first samples, and the last `fraction` of them: Keras splits before it shuffles."""
    sound = isinstance(fraction, int | float | np.number) and 0 < fraction < 1
    at = math.floor(len(data.x) * (1 - fraction)) if sound else 0
    if not 0 < at < len(data.x):
        raise ValueError(
            f"validation_split={fraction!r} of {len(data.x)} samples: expected a fraction in "
            "(0, 1) that leaves samples on both sides."
        )
    return data.rows(slice(at)), data.rows(slice(at, None))


def check_count(name: str, value: Any, least: int = 1) -> int:
    """An integer of at least `least`, such as epochs or batch_size."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}={value!r}: expected an integer >= {least}.")
    return int(value)


def check_batch_size(value: Any, default: int = 32) -> int:
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
