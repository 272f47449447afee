"""What users hand over as data, made arrays at the door: samples, targets, weights.

Lists, tables, tensors of other libraries and sparse matrices become NumPy arrays; what is no array
of real numbers is refused by a sentence that says what it is and what to do. Every check happens
before a weight moves, so an error leaves the model as it was. Past this door arrays have the right
shape and are finite.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from scratchnet.checks import Examples, check_batch_size, check_count, check_finite
from scratchnet.config import floatx
from scratchnet.engines import Array

DENSE_LIMIT = 2**30
"""Bytes that a sparse matrix may take as an array; a larger one is refused."""

REMEDIES = {
    "U": "Give each word a number: values, {name} = np.unique({name}, return_inverse=True); or, "
    "if it is numbers written as text, {name}.astype('float32')",
    "S": "Give each word a number: values, {name} = np.unique({name}, return_inverse=True)",
    "M": "Count from a date: ({name} - {name}.min()) / np.timedelta64(1, 'D')",
    "m": "Choose a unit: {name} / np.timedelta64(1, 'D')",
    "c": "Take a part, {name}.real, or both side by side: "
    "np.concatenate([{name}.real, {name}.imag], axis=-1)",
    "V": "A record has named fields: numpy.lib.recfunctions.structured_to_unstructured({name})",
}
"""NumPy's kinds of dtype that are no real numbers -> what to do about an array of them."""


# --- one array ------------------------------------------------------------------------------------


def as_array(name: str, given: Any, expected: str = "real numbers") -> Array:
    """`given` as an array of real numbers, booleans among them, in the dtype that it came in.

    Objects that are numbers become `floatx`, and a sparse matrix an array.

    Raises:
        TypeError: for anything else, with what it is and what to do.
        ValueError: for rows of different lengths, hidden entries, or a sparse matrix too large.

    >>> as_array("x", [[1, 2], [3, 4]]).shape
    (2, 2)
    >>> as_array("x", {"pixels": [1]})
    Traceback (most recent call last):
    TypeError: x is a dict of arrays named 'pixels': expected real numbers. A Sequential has one \
input: x=data['pixels'].
    """
    strange = _description(name, given)
    if strange is not None:
        what, remedy = strange
        raise TypeError(f"{name} is {what}: expected {expected}. {remedy}.")
    array = _plain(name, given)
    if array.dtype.kind == "O":
        array = _numbers(name, array, expected)
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its like
        array = array.astype(floatx())
    if array.dtype.kind not in "fiub":
        remedy = REMEDIES[array.dtype.kind].format(name=name)
        raise TypeError(f"{name} has dtype {array.dtype}: expected {expected}. {remedy}.")
    return array


def only(given: Any, sample: tuple[int, ...] | None = None) -> Any:
    """The array in a list of one, which is how Keras writes a model's only input; but a list of one
    sample, of that shape, is left as it is.

    >>> only([np.ones((5, 2))]).shape, len(only([np.ones(2)], (2,)))
    ((5, 2), 1)
    """
    if isinstance(given, list | tuple) and len(given) == 1 and np.ndim(given[0]):
        array = given[0]
        if hasattr(array, "shape") and tuple(array.shape) != sample:
            return array
    return given


def _description(name: str, given: Any) -> tuple[str, str] | None:
    """What that is, and what to do, if it is no array and can't become one; else None."""
    kind = type(given).__name__
    if given is None:
        return "None (dtype object)", f"Give the array: {name}=..."
    if isinstance(given, str | bytes | os.PathLike):
        return f"{given!r:.80}", "If it is the name of a file, read it first: numpy.load, say"
    if isinstance(given, Mapping):
        keys = [repr(key) for key in given]
        remedy = f"A Sequential has one input: {name}=data[{keys[0] if keys else '...'}]"
        return f"a {kind} of arrays named {', '.join(keys[:5])}", remedy
    if isinstance(given, Set):
        return f"a {kind}", f"It has no order: {name}=sorted(...), or a list"
    if hasattr(given, "dense_shape"):
        return "a tf.SparseTensor", f"{name}=tf.sparse.to_dense({name}).numpy()"
    if hasattr(given, "row_splits"):
        return "a ragged tensor, with rows of several lengths", f"{name}={name}.to_tensor().numpy()"
    if isinstance(given, list | tuple) and len(given) > 1:
        shapes = {np.shape(part) for part in given if hasattr(part, "shape")}
        if len(shapes) > 1 and all(hasattr(part, "shape") for part in given):
            what = f"a list of arrays of shapes {', '.join(map(str, sorted(shapes)[:4]))}"
            return what, "A Sequential has one input: join them by np.concatenate, or pass one"
    array = hasattr(given, "__array__") or hasattr(given, "__array_interface__")
    if array or is_sparse(given) or isinstance(given, Sequence) or np.isscalar(given):
        return None
    return _described_source(name, given, kind)


def _described_source(name: str, given: Any, kind: str) -> tuple[str, str]:
    """The same for what yields batches, and for anything else."""
    collect = "x, y = map(np.concatenate, zip(*data)) if it yields batches (x, y)"
    if hasattr(given, "element_spec"):
        return f"a tf.data dataset ({kind})", f"Collect it: {collect}"
    if isinstance(given, Iterator):
        return f"a {kind}, which yields its data piece by piece", f"Collect it: {collect}"
    if hasattr(given, "__iter__") or hasattr(given, "__getitem__"):
        return f"a {kind}, which is no array", f"Collect it: {collect}"
    if callable(given):
        return f"{given!r:.80}, a function", f"Call it, and pass what it returns as {name}"
    return f"{given!r:.80}, a {kind}", f"Convert it to a NumPy array: {name}=np.asarray(...)"


def is_sparse(given: Any) -> bool:
    """Whether it is one of SciPy's sparse matrices or arrays, found out without importing SciPy."""
    return hasattr(given, "toarray") and hasattr(given, "nnz")


def _plain(name: str, given: Any) -> Array:
    """A NumPy array of whatever dtype."""
    if is_sparse(given):
        size = math.prod(given.shape) * given.dtype.itemsize
        if size > DENSE_LIMIT:
            raise ValueError(
                f"{name} is a sparse matrix of shape {given.shape}, {size / 2**30:.3g} GiB as an "
                f"array: expected at most {DENSE_LIMIT / 2**30:.3g} GiB. Reduce its columns "
                "(sklearn.decomposition.TruncatedSVD), or train on parts: "
                "model.train_on_batch(x[rows].toarray(), y[rows])."
            )
        return np.asarray(given.toarray())
    if hasattr(given, "detach"):  # a torch tensor
        given = given.detach().cpu()
    if isinstance(given, np.ma.MaskedArray):
        hidden = np.count_nonzero(np.ma.getmaskarray(given))
        if hidden:
            raise ValueError(
                f"{name} is a masked array that hides {hidden} of its entries: expected a number "
                f"in each place. Fill them, {name}.filled(0), or drop these samples."
            )
        return np.asarray(given.data)
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        if isinstance(given, list | tuple):
            raise ValueError(
                f"{name} is a {type(given).__name__} of rows of different lengths ({error}): "
                "expected one length. Pad or cut them."
            ) from None
        raise TypeError(
            f"{name} is a {type(given).__name__} that can't become a NumPy array ({error}). "
            "Convert it first, to float32 for instance."
        ) from None
    # A Series is a column, as in Keras.
    return array[:, None] if hasattr(given, "iloc") and array.ndim == 1 else array


def _numbers(name: str, array: Array, expected: str) -> Array:
    """An array of objects as `floatx`, if each of them is a real number or an array of such."""
    if array.ndim == 1 and len(array) and all(isinstance(row, np.ndarray | list) for row in array):
        shapes = {np.shape(row) for row in array}
        if len(shapes) > 1:
            raise ValueError(
                f"{name} holds rows of shapes {', '.join(map(str, sorted(shapes)[:3]))}: expected "
                "one shape. Pad or cut them to the same length."
            )
        return as_array(name, np.stack([np.asarray(row) for row in array]), expected)
    result = np.empty(array.shape, floatx())
    for where, value in np.ndenumerate(array):
        try:
            if isinstance(value, str | bytes):
                raise TypeError
            result[where] = float(value)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(
                f"{name} has dtype object, with {value!r:.40} (a {type(value).__name__}) at index "
                f"{where}: expected {expected}. {_remedy(name, value)}."
            ) from None
    return result


def _remedy(name: str, value: Any) -> str:
    if isinstance(value, str | bytes):
        return REMEDIES["U"].format(name=name)
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return f"Nothing was measured there: drop such samples or fill them in, {name}.fillna(0)"
    return "Choose the columns that are numbers"


# --- samples, targets, weights --------------------------------------------------------------------


def check_samples(x: Array, shape: tuple[int, ...], finite: bool = True) -> Array:
    """An array of shape (N, *shape), N >= 1; if asked, of finite numbers.

    A last axis of 1 may be there or not: (N, 28, 28, 1) for (28, 28), (N,) for (1,), as in Keras.
    """
    rest = x.shape[1:]
    if x.ndim and (rest == (*shape, 1) or (shape[-1:] == (1,) and rest == shape[:-1])):
        x = x.reshape(-1, *shape)
    if x.ndim == 0 or x.shape[1:] != shape:
        raise ValueError(
            f"x has shape {x.shape}: expected (samples, {', '.join(map(str, shape))}), the "
            "shape that the model was built for. Reshape x, or build a model for this shape."
        )
    if len(x) == 0:
        raise ValueError("x has no samples: expected at least one.")
    if finite:
        check_finite("x", x)
    return x


class Wanted(NamedTuple):
    """What a compiled model says about targets: outputs (K,) of a sample, and the loss's."""

    outputs: tuple[int, ...]
    loss: str
    sparse: bool
    ignored: int | None
    """A label that stands for no class, or None."""
    dtype: np.dtype[Any]


def check_targets(y: Any, samples: int, wanted: Wanted) -> Array:
    """Targets that fit the outputs, in the shape in which they came: floats in the model's dtype,
    integers as int64, which no arithmetic of a metric overflows."""
    y = y if samples == 1 else only(y)
    array = as_array("y", y, "real numbers, such as integer labels")
    if array.ndim == 0 or len(array) != samples:
        got = "no axis" if array.ndim == 0 else f"{len(array)} samples"
        raise ValueError(f"y has {got}, x has {samples}: expected one target for each sample.")
    check = _check_labels if wanted.sparse else _check_values
    check(array, samples, wanted)
    if array.dtype.kind in "iu":
        return array.astype(np.int64, copy=False)
    return array.astype(wanted.dtype, copy=False) if array.dtype.kind == "f" else array


def _check_values(y: Array, samples: int, wanted: Wanted) -> None:
    classes = wanted.outputs[-1]
    fits = {(samples, *wanted.outputs)} | ({(samples,)} if wanted.outputs == (1,) else set())
    if y.shape not in fits:
        shape = (samples, *wanted.outputs)
        labels = y.ndim == 1 or y.shape == (samples, 1)
        if labels and classes > 1:
            remedy = "For integer labels take sparse_categorical_crossentropy, or to_categorical(y)"
        else:
            remedy = f"Give the last layer, of {classes} units, as many as y has columns"
        raise ValueError(f"y has shape {y.shape}: {wanted.loss} expected {shape}. {remedy}.")
    check_finite("y", y)


def _check_labels(y: Array, samples: int, wanted: Wanted) -> None:
    classes = wanted.outputs[-1]
    if y.shape not in ((samples,), (samples, 1)):
        raise ValueError(
            f"y has shape {y.shape}: {wanted.loss} expected integer labels of shape "
            f"({samples},). For one-hot rows take categorical_crossentropy, or y.argmax(axis=-1)."
        )
    labels = y.reshape(samples)
    wrong = ~((labels >= 0) & (labels < classes) & (labels == np.floor(labels)))
    if wanted.ignored is not None:
        wrong &= labels != wanted.ignored
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(
            f"y holds {labels[first].item()!r} at index {first}: expected integer labels from 0 to "
            f"{classes - 1}, one for each of the {classes} outputs."
        )


def check_weights(weights: Any, samples: int, dtype: np.dtype[Any]) -> Array | None:
    """One finite weight for each sample, (N,), or None."""
    if weights is None:
        return None
    try:
        weights = weights if samples == 1 else only(weights)
        array = as_array("sample_weight", weights, "one number a sample")
    except TypeError as error:
        raise TypeError(f"sample_weight={weights!r:.80}: {error}") from None
    if array.shape not in ((samples,), (samples, 1)):
        raise ValueError(
            f"sample_weight has shape {array.shape}: expected ({samples},), one for each sample."
        )
    array = array.astype(dtype)
    check_finite("sample_weight", array)
    return array.reshape(samples)


def class_weights(class_weight: Any, y: Array) -> Array:
    """The weight of each sample's class, (N,), 1 for a class that is not named.

    A row of several targets stands for the place of its largest, a single target for the integer
    nearest to it.  Source: Keras, data_adapter_utils.py, class_weight_to_sample_weights.

    >>> class_weights({0: 0.5, 1: 3}, np.array([[0.0], [1.0], [2.0]])).tolist()
    [0.5, 3.0, 1.0]
    """
    table = _class_table(class_weight)
    labels = np.argmax(y, axis=-1) if y.ndim > 1 and y.shape[-1] != 1 else np.round(1.0 * y)
    weights = np.ones(len(y))
    for label, weight in table.items():
        weights[labels.reshape(len(y)) == label] = weight
    return weights


def _class_table(class_weight: Any) -> dict[int, float]:
    """{label: weight} of a mapping, a pandas Series too."""
    if not hasattr(class_weight, "keys") or not hasattr(class_weight, "items"):
        raise TypeError(
            f"class_weight={class_weight!r:.80}: expected a dict from label to weight, such as "
            "{0: 1.0, 1: 5.0}; dict(enumerate(weights)) makes one of a list."
        )
    table = {}
    for label, weight in class_weight.items():
        real = isinstance(label, int | float | np.number | np.bool_)
        if not real or not math.isfinite(label) or int(label) != label:
            raise ValueError(
                f"class_weight has the key {label!r}: expected {{label: weight}} with integer "
                "labels, as they stand in y."
            )
        if not isinstance(weight, int | float | np.number) or not math.isfinite(weight):
            raise ValueError(
                f"class_weight[{label!r}]={weight!r}: expected {{label: weight}} with finite "
                "numbers for weights."
            )
        table[int(label)] = float(weight)
    return table


def check_data(x: Array, y: Any, sample_weight: Any, class_weight: Any, wanted: Wanted) -> Examples:
    """Checked samples with what goes with them."""
    if y is None:
        raise ValueError("y=None: expected the targets beside x, as in fit(x, y).")
    targets = check_targets(y, len(x), wanted)
    if class_weight is not None:
        if sample_weight is not None:
            raise ValueError(
                "class_weight and sample_weight were both given: expected one of them. "
                "Multiply them into sample_weight."
            )
        sample_weight = class_weights(class_weight, targets)
    return Examples(x, targets, check_weights(sample_weight, len(x), wanted.dtype))


# --- parts of them --------------------------------------------------------------------------------


def unpack(validation_data: Any) -> tuple[Any, Any, Any]:
    """x, y and sample_weight (or None) of what was given as `validation_data`."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise ValueError(
            f"validation_data={validation_data!r:.80}: expected (x, y) or (x, y, sample_weight)."
        )
    x, y, *weights = validation_data
    return x, y, weights[0] if weights else None


def portions(
    samples: int, batch_size: Any, steps: Any, name: str = "steps_per_epoch"
) -> tuple[int, int]:
    """The size of a batch and the number of batches: 32 samples, unless one of the two is given.

    >>> portions(100, None, None), portions(100, None, 5), portions(100, 10, 5)
    ((32, 4), (20, 5), (10, 5))
    """
    if steps is not None:
        check_count(name, steps)
    size = check_batch_size(batch_size, math.ceil(samples / steps) if steps else 32)
    return size, int(steps or math.ceil(samples / size))


def first_steps(data: Examples, batch_size: Any, steps: Any, name: str) -> tuple[Examples, int]:
    """The samples of the first `steps` batches, all of them for None, and the size of a batch."""
    size, steps = portions(len(data.x), batch_size, steps, name)
    return data.rows(slice(steps * size)), size


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
