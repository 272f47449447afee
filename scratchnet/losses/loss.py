"""What a loss is, and the script's own: what the user asks for, computed in `objective.py`.

A loss here is a description: which family, which reading of the outputs, which reduction. Called on
arrays it gives a number, as Keras's do (`calls.py`); within a model, the objective made from it
also looks at the head's activation, because Keras on TensorFlow trains softmax and sigmoid heads on
their logits. `scratchnet explain` tells that story at its end, stage head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scratchnet.config import float_type
from scratchnet.engines.contract import Array, LossFunction
from scratchnet.support import Settled, check_choice, one_hot, snake_case

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none")
SIGMOID_READINGS = ("logits", "probabilities", "as_logits")


class Loss(Settled):
    """`loss(y_true, y_pred, sample_weight=None)`; subclasses say what they read.

    Reductions over the n losses l of a batch with weights w: `"sum_over_batch_size"` and `"mean"`
    are sum(w l) / n, `"mean_with_sample_weight"` is sum(w l) / sum(w), `"sum"` is sum(w l), and
    `"none"` or None (for calls on arrays only) is w l.  Source: Keras, losses/loss.py.

    >>> loss = SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    >>> float(loss([0, 1], np.zeros((2, 4)))).__round__(6)  # 2 log 4
    2.772589
    """

    family = ""
    sparse = False

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ):
        if reduction is not None:
            check_choice("reduction", reduction, REDUCTIONS)
        self.reduction = reduction
        self.name = name or self.family or snake_case(type(self).__name__)
        self.dtype = float_type(dtype)

    def reading(self, head: str) -> str:
        """Which row of the objective's table holds for outputs of this activation."""
        raise NotImplementedError

    def function(self, reading: str) -> LossFunction | None:
        """The loss and its derivative, of Z or A as `reading` says, if no engine has them."""
        return None

    def targets(self, y: Array, classes: int, dtype: np.dtype[Any]) -> Array:
        """What the loss compares with, (B, K), of the labels or targets that the user gave."""
        return y.astype(dtype, copy=False).reshape(len(y), classes)

    def counted(self, y: Array) -> Array | None:
        """Which samples the loss looks at, (B,) booleans, or None for all of them."""
        return None

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """The loss that `get_config` described."""
        return cls(**config)

    if TYPE_CHECKING:  # what `calls.py` adds

        def __getattr__(self, name: str) -> Any: ...
        def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array: ...


class SparseCategoricalCrossentropy(Loss):
    """-log p_y for integer labels y, (B,) or (B, 1), in [0, K).

    Args:
        from_logits: read the outputs as logits. Irrelevant for a softmax or sigmoid head inside a
            model, whose logits are known.
        ignore_class: a label of samples that don't count, such as -1 or 255. With one, Keras on
            TensorFlow doesn't look behind the head, and reads its outputs as they are.
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
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
        *,
        sigmoid_head: str = "logits",
    ):
        super().__init__(name, reduction, dtype)
        self.from_logits, self.ignore_class, self.axis = bool(from_logits), ignore_class, axis
        self.sigmoid_head = check_choice("sigmoid_head", sigmoid_head, SIGMOID_READINGS)

    def reading(self, head: str) -> str:
        if self.ignore_class is None and head == "softmax":
            return "logits"
        if self.ignore_class is None and head == "sigmoid":
            return self.sigmoid_head
        return "as_logits" if self.from_logits else self.without_logits

    def targets(self, y: Array, classes: int, dtype: np.dtype[Any]) -> Array:
        T = one_hot(y.reshape(-1).astype(np.int64, copy=False), classes, dtype)
        counted = self.counted(y)
        return T if counted is None else T * counted[:, None]

    def counted(self, y: Array) -> Array | None:
        return None if self.ignore_class is None else y.reshape(-1) != self.ignore_class

    def get_config(self) -> dict[str, Any]:
        asked = {"from_logits": self.from_logits, "ignore_class": self.ignore_class}
        return super().get_config() | asked | self.beyond_keras()

    def beyond_keras(self) -> dict[str, Any]:
        """What `get_config` says of arguments that Keras doesn't have."""
        read = self.sigmoid_head
        return {} if read == "logits" else {"sigmoid_head": read}
