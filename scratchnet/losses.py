"""The losses by Keras's names: what the user asks for. What is computed stands in `objective.py`.

A loss here is a description: which family, which reading of the outputs, which reduction. Called on
arrays it gives a number, as Keras's do; within a model, the objective made from it also looks at
the head's activation, because Keras on TensorFlow trains softmax and sigmoid heads on their logits.
`scratchnet explain` tells that story at its end, stage head.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.checks import check_targets, check_weights
from scratchnet.config import floatx
from scratchnet.engines import Array
from scratchnet.objective import Objective
from scratchnet.support import check_choice, one_hot, reject_unsupported, resolve

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none")
UNASSIGNED = ("family", "sparse", "without_logits", "ignore_class", "axis", "fn", "dtype")
SIGMOID_READINGS = ("logits", "probabilities", "as_logits")


class Loss:
    """`loss(y_true, y_pred, sample_weight=None)`; subclasses say what they read.

    Reductions over the B losses l of a batch with weights w: `"sum_over_batch_size"` and `"mean"`
    are sum(w l) / B, `"mean_with_sample_weight"` is sum(w l) / sum(w), `"sum"` is sum(w l), and
    `"none"` (for calls on arrays only) is w l.  Source: Keras, losses/loss.py.

    >>> float(MeanSquaredError("sum")([[1.0], [2.0]], [[3.0], [2.0]]))
    4.0
    """

    family = ""
    sparse = False

    def __setattr__(self, name: str, value: Any) -> None:
        again = name in vars(self) and name != "name" and name in self.get_config()
        if again or name in UNASSIGNED:
            kind = type(self).__name__
            raise AttributeError(f"{kind}.{name} is settled: compile with a new {kind}.")
        super().__setattr__(name, value)

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        self.reduction = check_choice("reduction", reduction or "none", REDUCTIONS)
        self.name = name or self.family

    def reading(self, head: str) -> str:
        """Which row of the objective's table holds for outputs of this activation."""
        raise NotImplementedError

    def targets(self, y: Array, classes: int, dtype: np.dtype[Any]) -> Array:
        """What the loss compares with, (B, K), of the labels or targets that the user gave."""
        return y.astype(dtype, copy=False).reshape(len(y), classes)

    def get_config(self) -> dict[str, Any]:
        return {"reduction": self.reduction, "name": self.name}

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
        """The loss of outputs given as an array: no logits are known, the values are what they are.

        Returns:
            A scalar, or (B,) with `reduction="none"`, in y_pred's dtype.
        """
        outputs = np.asarray(y_pred)
        outputs = outputs if outputs.dtype.kind == "f" else outputs.astype(floatx())
        y = check_targets(y_true, outputs.shape, self.name, self.sparse)
        weights = check_weights(sample_weight, len(y), outputs.dtype)
        objective = Objective(self, "linear")
        losses, _, _ = objective.losses(outputs, outputs, y)
        shares: Array = losses * objective.share(weights, losses)
        return shares if self.reduction == "none" else np.sum(shares)


class SparseCategoricalCrossentropy(Loss):
    """-log p_y for integer labels y, (B,) or (B, 1), in [0, K).

    Args:
        from_logits: read the outputs as logits. Irrelevant for a softmax or sigmoid head inside a
            model, whose logits are known.
        sigmoid_head: how a sigmoid head is read. `"logits"`: softmax of the pre-activations, Keras
            on TensorFlow. `"probabilities"`: sigmoids over their sum, Keras on JAX and PyTorch.
            `"as_logits"`: softmax of the sigmoids, the common mistake; it can't fall below
            log(e + K - 1) - 1.

    >>> float(SparseCategoricalCrossentropy(from_logits=True)([0], np.zeros((1, 10)))).__round__(6)
    2.302585
    """

    family = "sparse_categorical_crossentropy"
    sparse = True
    without_logits = "clipped"

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
        *,
        sigmoid_head: str = "logits",
    ):
        super().__init__(reduction, name)
        reject_unsupported(type(self).__name__, ignore_class=(ignore_class, None), axis=(axis, -1))
        self.from_logits = bool(from_logits)
        self.sigmoid_head = check_choice("sigmoid_head", sigmoid_head, SIGMOID_READINGS)

    def reading(self, head: str) -> str:
        if head == "softmax":
            return "logits"
        if head == "sigmoid":
            return self.sigmoid_head
        return "as_logits" if self.from_logits else self.without_logits

    def targets(self, y: Array, classes: int, dtype: np.dtype[Any]) -> Array:
        return one_hot(y, classes, dtype)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "from_logits": self.from_logits,
            "sigmoid_head": self.sigmoid_head,
        }


class CategoricalCrossentropy(SparseCategoricalCrossentropy):
    """-sum_k t_k log p_k for targets t (B, K), such as one-hot rows; smoothed to t (1 - s) + s / K.

    The other arguments as in SparseCategoricalCrossentropy. Outputs without known logits are
    divided by their sum, then clipped; the sparse loss does it the other way round (as in Keras).

    >>> smooth = CategoricalCrossentropy(label_smoothing=0.2)
    >>> smooth.targets(np.array([[1, 0]]), 2, np.dtype("float64")).round(12).tolist()
    [[0.9, 0.1]]
    """

    family = "categorical_crossentropy"
    sparse = False
    without_logits = "probabilities"

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        *,
        sigmoid_head: str = "logits",
    ):
        super().__init__(from_logits, None, reduction, axis, name, sigmoid_head=sigmoid_head)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing={label_smoothing!r}: expected a number in [0, 1].")
        self.label_smoothing = float(label_smoothing)

    def targets(self, y: Array, classes: int, dtype: np.dtype[Any]) -> Array:
        T = Loss.targets(self, y, classes, dtype)
        s = self.label_smoothing
        return T * (1.0 - s) + s / classes if s else T

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"label_smoothing": self.label_smoothing}


class MeanSquaredError(Loss):
    """mean_k (a_k - t_k)^2 for targets t (B, K).

    >>> float(MeanSquaredError()([[1.0, 2.0]], [[3.0, 2.0]]))
    2.0
    """

    family = "mean_squared_error"

    def reading(self, head: str) -> str:
        return "outputs"


# --- the same as functions of arrays: one number a sample, no reduction ---------------------------


def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: None = None,
    axis: int = -1,
) -> Array:
    """-log p_y for labels (B,) and outputs (B, K) -> (B,).

    >>> sparse_categorical_crossentropy([1], [[0.25, 0.75]]).round(6).tolist()  # log 4/3
    [0.287682]
    """
    return SparseCategoricalCrossentropy(from_logits, ignore_class, "none", axis)(y_true, y_pred)


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """-sum_k t_k log p_k for targets and outputs (B, K) -> (B,).

    >>> categorical_crossentropy([[0, 1]], [[0.25, 0.75]]).round(6).tolist()
    [0.287682]
    """
    return CategoricalCrossentropy(from_logits, label_smoothing, axis, "none")(y_true, y_pred)


def mean_squared_error(y_true: Any, y_pred: Any) -> Array:
    """mean_k (a_k - t_k)^2 for targets and outputs (B, K) -> (B,).

    >>> mean_squared_error([[1.0, 2.0]], [[3.0, 2.0]]).tolist()
    [2.0]
    """
    return MeanSquaredError("none")(y_true, y_pred)


FUNCTIONS = (sparse_categorical_crossentropy, categorical_crossentropy, mean_squared_error)
"""`loss=losses.mean_squared_error` in `compile` means the class of that name."""

LOSSES: dict[str, type[Loss]] = {"mse": MeanSquaredError, "MSE": MeanSquaredError}
for _kind in (SparseCategoricalCrossentropy, CategoricalCrossentropy, MeanSquaredError):
    LOSSES |= {_kind.family: _kind, _kind.__name__: _kind}


def get(identifier: Any) -> Loss:
    """A loss by its name, class or function, or the given one; `ValueError` for an unknown one.

    >>> get("mse").get_config()
    {'reduction': 'sum_over_batch_size', 'name': 'mean_squared_error'}
    """
    if isinstance(identifier, Loss):
        return identifier
    name = identifier.__name__ if identifier in FUNCTIONS else identifier
    return LOSSES[resolve("loss", name, LOSSES)]()
