"""The losses that compare with targets (B, K): one-hot or smoothed classes, and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.engines import Array
from scratchnet.losses.calls import alike
from scratchnet.losses.loss import Loss, SparseCategoricalCrossentropy


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
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
        *,
        sigmoid_head: str = "logits",
    ):
        super().__init__(from_logits, None, reduction, axis, name, dtype, sigmoid_head=sigmoid_head)
        self.label_smoothing = check_smoothing(label_smoothing)

    def targets(self, y: Array, classes: int, dtype: np.dtype[Any]) -> Array:
        T = Loss.targets(self, y, classes, dtype)
        s = self.label_smoothing
        return T * (1.0 - s) + s / classes if s else T

    def matched(self, y: Array, outputs: Array) -> tuple[Array, Array]:
        """Targets and outputs (..., K), the axis of the classes moved to the end."""
        alike(self.name, y, outputs)
        return np.moveaxis(y, self.axis, -1), np.moveaxis(outputs, self.axis, -1)

    def get_config(self) -> dict[str, Any]:
        asked = {
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
        }
        return Loss.get_config(self) | asked | self.beyond_keras()


class MeanSquaredError(Loss):
    """mean_k (a_k - t_k)^2 for targets t (B, K).

    >>> float(MeanSquaredError()([[1.0, 2.0]], [[3.0, 2.0]]))
    2.0
    """

    family = "mean_squared_error"

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_error",
        dtype: Any = None,
    ):
        super().__init__(name, reduction, dtype)

    def reading(self, head: str) -> str:
        return "outputs"


def check_smoothing(value: float | None) -> float:
    """A label smoothing in [0, 1]; None is none."""
    if value is not None and not (isinstance(value, int | float | np.number) and 0 <= value <= 1):
        raise ValueError(f"label_smoothing={value!r}: expected a number in [0, 1].")
    return float(value or 0.0)
