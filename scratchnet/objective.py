"""From the last pre-activations to the loss and its gradient: head, loss and reading, as one thing.

Keras lets the loss peek behind the head: a softmax or sigmoid output carries its logits along, and
cross-entropy takes those. Here that is one lookup in one table instead of an attribute on an array.
Both engines use the same rows. `scratchnet explain` shows it as stages loss and dZ3. Read
`optimizers/updates.py` next.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from scratchnet.engines import reference
from scratchnet.engines.contract import Array, Engine, LossFunction


class LossDescription(Protocol):
    """What an objective asks of a loss (`losses.Loss`)."""

    family: str
    sparse: bool
    reduction: Any

    def reading(self, head: str) -> str: ...
    def targets(self, y: Array, classes: int, dtype: np.dtype[Any]) -> Array: ...
    def counted(self, y: Array) -> Array | None: ...
    def function(self, reading: str) -> LossFunction | None: ...


class Row(NamedTuple):
    """What the loss looks at, Z (pre-activations) or A (outputs), and the engine's function."""

    reads: str
    function: str


TABLE: dict[tuple[str, str], Row] = {
    # family of the loss               reading                    reads  function
    ("sparse_categorical_crossentropy", "logits"):        Row("Z", "softmax_cross_entropy"),
    ("sparse_categorical_crossentropy", "as_logits"):     Row("A", "softmax_cross_entropy"),
    ("sparse_categorical_crossentropy", "probabilities"): Row("A", "normalized_cross_entropy"),
    ("sparse_categorical_crossentropy", "clipped"):       Row("A", "clipped_cross_entropy"),
    ("categorical_crossentropy", "logits"):               Row("Z", "softmax_cross_entropy"),
    ("categorical_crossentropy", "as_logits"):            Row("A", "softmax_cross_entropy"),
    ("categorical_crossentropy", "probabilities"):        Row("A", "normalized_cross_entropy"),
    ("mean_squared_error", "outputs"):                    Row("A", "mean_squared_error"),
}  # fmt: skip


class Objective:
    """What a compiled model minimises, for the loss and the head activation it was made from.

    >>> from scratchnet.losses import SparseCategoricalCrossentropy
    >>> objective = Objective(SparseCategoricalCrossentropy(), "sigmoid")
    >>> objective.reads, objective.function  # the sigmoids' logits, as Keras on TensorFlow
    ('Z', 'softmax_cross_entropy')
    """

    def __init__(self, loss: LossDescription, head: str, engine: Engine = reference.ENGINE):
        self.loss, reading = loss, loss.reading(head)
        own = loss.function(reading)
        row = TABLE[loss.family, reading] if own is None else Row(reading, loss.family)
        self.reads, self.function = row
        self.kernel = own or engine.losses[self.function]
        self.head = engine.activation(head)

    def losses(self, Z: Array, A: Array, y: Array) -> tuple[Array, Array, Any]:
        """Z and A = head(Z), both (B, K), and y -> losses (B,), targets T (B, K), cache."""
        T = self.loss.targets(y, Z.shape[-1], Z.real.dtype)
        losses, cache = self.kernel.forward(Z if self.reads == "Z" else A, T)
        return losses, T, cache

    def value(self, Z: Array, A: Array, y: Array, weights: Array | None) -> Any:
        """The loss of the batch, a scalar of Z's dtype: sum_b share_b l_b."""
        losses, _, _ = self.losses(Z, A, y)
        return np.sum(losses * self.share(weights, losses, self.loss.counted(y)))

    def value_and_gradient(
        self, Z: Array, A: Array, y: Array, weights: Array | None
    ) -> tuple[Any, Array]:
        """The loss and dZ (B, K): through the head's derivative only if the loss read A.

        loss = sum_b share_b l_b, so dl_b = share_b.
        """
        losses, T, cache = self.losses(Z, A, y)
        share = self.share(weights, losses, self.loss.counted(y))
        dF = self.kernel.backward(share, T, cache)
        dZ = dF if self.reads == "Z" else self.head.backward(dF, Z, A)
        return np.sum(losses * share), dZ

    def share(self, weights: Array | None, losses: Array, counted: Array | None = None) -> Array:
        """What each sample's loss counts in the batch's, (B,): w_b / B unless reduced otherwise."""
        return share(self.loss.reduction, weights, losses, counted)


def share(
    reduction: str | None, weights: Array | None, losses: Array, counted: Array | None = None
) -> Array:
    """What each loss counts in their sum: w / n of n losses, w, or w / sum(w) by the reduction.

    Losses that are not `counted` have no share, and n is the number of those that are.

    >>> share("mean", np.array([1.0, 3.0]), np.zeros(2)).tolist()
    [0.5, 1.5]
    """
    w = np.ones_like(losses.real) if weights is None else weights
    w = w if counted is None else w * counted.astype(w.dtype)
    if reduction in ("sum", "none", None):
        return w
    count = losses.size if counted is None else np.count_nonzero(counted)
    if reduction == "mean_with_sample_weight" and not (weights is None and counted is None):
        count = np.sum(w)
    return w / count if count else np.zeros_like(w)
