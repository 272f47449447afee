"""What users hand over, checked once at the door: samples, targets, weights, validation sets.

Every check happens before a weight moves, so an error leaves the model as it was; it names the
value, what was expected, and the remedy. Past this door arrays have the right shape and are finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scratchnet.engines import Array

if TYPE_CHECKING:
    from scratchnet.losses import Loss

Shape = tuple[int, ...]


class Data(NamedTuple):
    """Samples x (N, ...), targets y (N, ...) and weights (N,) or None, of one length."""

    x: Array
    y: Array
    weights: Array | None

    def rows(self, rows: Any) -> Data:
        return Data(
            self.x[rows], self.y[rows], None if self.weights is None else self.weights[rows]
        )

    def batches(self, size: int, order: Array | None = None) -> Iterator[Data]:
        """Batches of `size` in the given order; the last one holds what is left."""
        for start in range(0, len(self.x), size):
            rows = slice(start, start + size)
            yield self.rows(rows if order is None else order[rows])


def check_samples(x: Any, shape: tuple[int, ...]) -> Array:
    """Real, finite numbers of shape (N, *shape), N >= 1, in the dtype they came in."""
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"x has dtype {array.dtype}: expected real numbers. Convert with x.astype('float32')."
        )
    if array.shape[1:] != shape:
        raise ValueError(
            f"x has shape {array.shape}: expected (samples, {', '.join(map(str, shape))}), the "
            "shape that the model was built for. Reshape x, or build a model for this shape."
        )
    if len(array) == 0:
        raise ValueError("x has no samples: expected at least one.")
    check_finite("x", array)
    return array


def check_finite(name: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name} holds {array[where]} at index {where}: expected finite numbers. "
            "Remove or replace such samples, for instance with numpy.nan_to_num."
        )


def check_targets(y: Any, loss: Loss, outputs: tuple[int, ...]) -> Array:
    """Targets that fit outputs of shape (N, K) under this loss: labels (N,), or numbers (N, K)."""
    array = np.asarray(y)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"y has dtype {array.dtype}: expected numbers, such as integer labels.")
    samples, classes = outputs[0], outputs[-1]
    if array.ndim == 0 or len(array) != samples:
        got = "no axis" if array.ndim == 0 else f"{len(array)} samples"
        raise ValueError(f"y has {got}, x has {samples}: expected one target for each sample.")
    if not loss.sparse:
        if array.size != samples * classes:
            raise ValueError(
                f"y has shape {array.shape}: {loss.name} expected ({samples}, {classes}). "
                "For integer labels take sparse_categorical_crossentropy, or to_categorical(y)."
            )
        check_finite("y", array)
        return array.reshape(samples, classes)
    if array.shape not in ((samples,), (samples, 1)):
        raise ValueError(
            f"y has shape {array.shape}: {loss.name} expected integer labels of shape "
            f"({samples},). For one-hot rows take categorical_crossentropy."
        )
    labels = array.reshape(samples)
    wrong = ~((labels >= 0) & (labels < classes) & (labels == np.floor(labels)))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"y holds {labels[first]!r} at index {first}: expected integer labels from 0 to "
            f"{classes - 1}, one for each of the {classes} outputs."
        )
    return labels.astype(np.int64)


def check_weights(weights: Any, samples: int, dtype: np.dtype[Any]) -> Array | None:
    """One finite weight for each sample, (N,), or None."""
    if weights is None:
        return None
    array = np.asarray(weights, dtype)
    if array.size != samples or array.ndim > 2:
        raise ValueError(
            f"sample_weight has shape {array.shape}: expected ({samples},), one for each sample."
        )
    check_finite("sample_weight", array)
    return array.reshape(samples)


def class_weights(class_weight: Mapping[Any, float], y: Array, loss: Loss) -> Array:
    """The weight of each sample's class, 1 for a class that is not named."""
    if not isinstance(class_weight, Mapping):
        raise TypeError(f"class_weight={class_weight!r}: expected a dict from label to weight.")
    try:
        table = {int(label): float(weight) for label, weight in class_weight.items()}
    except (TypeError, ValueError):
        raise ValueError(f"class_weight={class_weight!r}: expected {{label: weight}}.") from None
    labels = y if loss.sparse else np.argmax(y, axis=-1)
    return np.array([table.get(int(label), 1.0) for label in labels])


def check_data(
    samples: Array,
    y: Any,
    sample_weight: Any,
    class_weight: Mapping[Any, float] | None,
    output_shape: tuple[int, ...],
    loss: Loss,
    dtype: np.dtype[Any],
) -> Data:
    """Checked samples with what goes with them; `output_shape` is that of one output."""
    if y is None:
        raise ValueError("y=None: expected the targets beside x, as in fit(x, y).")
    targets = check_targets(y, loss, (len(samples), *output_shape))
    if class_weight is not None:
        if sample_weight is not None:
            raise ValueError(
                "class_weight and sample_weight were both given: expected one of them. "
                "Multiply them into sample_weight."
            )
        sample_weight = class_weights(class_weight, targets, loss)
    return Data(samples, targets, check_weights(sample_weight, len(samples), dtype))


def split_tail(data: Data, fraction: float) -> tuple[Data, Data]:
    """The first samples, and the last `fraction` of them: Keras splits before it shuffles."""
    at = int(len(data.x) * (1 - fraction))
    if not 0 < fraction < 1 or not 0 < at < len(data.x):
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


def check_shape(shape: Any) -> Shape:
    """The shape of one sample, as a tuple of positive integers."""
    axes = tuple(shape) if isinstance(shape, Iterable) else (shape,)
    if not axes or not all(isinstance(n, int | np.integer) and n > 0 for n in axes):
        raise ValueError(f"shape={shape!r}: expected positive integers, such as (28, 28).")
    return tuple(int(n) for n in axes)
