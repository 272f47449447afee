"""Counts of right and wrong answers at one threshold or many, and what is made of them.

Source: Keras, metrics/confusion_metrics.py, metrics_utils.py and f_score_metrics.py. Where the
thresholds are evenly spaced an output is sorted into the place between two of them that belongs to
it, in the metric's float type, as Keras does; elsewhere it is compared with each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from scratchnet.activations import sigmoid
from scratchnet.config import epsilon
from scratchnet.engines import Array
from scratchnet.metrics.metric import Metric, Variable
from scratchnet.support import check_choice, same_rank, through_float32

NEG_INF = -1e10
"""Below every output: the threshold, and the outputs, that `top_k` leaves out."""


def divide(a: Array, b: Array) -> Array:
    """a / b, and 0 where b is 0.

    >>> divide(np.array([1.0, 1.0]), np.array([2.0, 0.0])).tolist()
    [0.5, 0.0]
    """
    return np.where(b == 0, 0.0, a / np.where(b == 0, 1.0, b))


def parse_thresholds(thresholds: Any, default: float) -> list[float]:
    """The thresholds as a list, each in [0, 1].

    >>> parse_thresholds(None, 0.5), parse_thresholds([0.1, 0.2], 0.5)
    ([0.5], [0.1, 0.2])
    """
    if thresholds is None:
        return [default]
    found = list(thresholds) if isinstance(thresholds, Iterable) else [thresholds]
    wrong = [t for t in found if t is None or not 0 <= t <= 1]
    if wrong:
        raise ValueError(f"thresholds: got {wrong}: expected numbers in [0, 1].")
    return found


def evenly_spaced(thresholds: Sequence[float]) -> bool:
    """Whether they are 0, 1 and at least one more, at equal distances.

    >>> evenly_spaced([0.0, 0.5, 1.0]), evenly_spaced([0.5])
    (True, False)
    """
    n = len(thresholds)
    return n >= 3 and np.allclose(thresholds, np.arange(n) / (n - 1), atol=epsilon())


class Counted(Metric):
    """A metric of the four counts, each an array of one number a threshold (and label).

    Subclasses name the counts that they keep in `kept`.
    """

    kept: tuple[str, ...] = ()
    thresholds: Any
    multi_label = False
    top_k: int | None = None
    class_id: int | None = None
    even: bool

    def keep(self, *shape: int) -> None:
        for name in self.kept:
            setattr(self, name, self.add_variable(shape, "zeros", name=name))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        P, y = same_rank(np.asarray(y_pred, self.dtype), np.asarray(y_true, self.dtype))
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight, np.float64)[..., None]
            if sample_weight.ndim == y.ndim + 1 and sample_weight.shape[-1] == 1:
                sample_weight = sample_weight[..., 0]
        if self.top_k is not None:
            P = only_largest(P, self.top_k)
        if self.class_id is not None:
            if P.ndim == 1:
                raise ValueError(
                    f"{self.name}: class_id={self.class_id}, outputs of shape {P.shape}: expected "
                    "(samples, classes)."
                )
            y, P = y[..., self.class_id, None], P[..., self.class_id, None]
        weights = np.ones(P.shape) if sample_weight is None else sample_weight
        self._add(y, P, np.broadcast_to(weights * self.label_share(), P.shape))

    def label_share(self) -> Any:
        """A weight of each label."""
        return 1.0

    def _add(self, y: Array, P: Array, weights: Array) -> None:
        """Count (N,) or, label by label, (N, L) answers."""
        if y.shape != P.shape:
            raise ValueError(
                f"{self.name}: targets of shape {y.shape}, outputs of {P.shape}: expected the same."
            )
        labels = P.shape[-1] if self.multi_label else 1
        y, P, weights = (array.reshape(-1, labels) for array in (y != 0, P, weights))
        ahead = self._above if self.even else self._beyond
        above = np.stack([ahead(P[:, i], y[:, i], weights[:, i]) for i in range(labels)], axis=-1)
        whole = np.stack([(weights * y).sum(0), (weights * ~y).sum(0)])
        tp, fp = above.swapaxes(0, 1)
        found = {
            "true_positives": tp,
            "false_positives": fp,
            "true_negatives": whole[1] - fp,
            "false_negatives": whole[0] - tp,
        }
        for name in self.kept:
            variable: Variable = getattr(self, name)
            variable.assign_add(found[name].reshape(variable.shape))

    def _beyond(self, P: Array, y: Array, weights: Array) -> Array:
        """(thresholds, 2): the weights above each threshold, of targets that are 1 and 0."""
        above = P[None, :] > np.asarray(self.thresholds, self.dtype)[:, None]
        return np.stack([above @ (weights * y), above @ (weights * ~y)], axis=-1)

    def _above(self, P: Array, y: Array, weights: Array) -> Array:
        """The same by sorting each output into its place between even thresholds."""
        n, P = len(self.thresholds), np.clip(P, 0, 1)
        place = np.ceil(P * P.dtype.type(n - 1)) - 1
        if self.thresholds[0] < 0 or self.thresholds[-1] > 1:
            place = np.maximum(place, 0)
        seen = place >= 0  # not NaN either
        place = np.where(seen, place, 0).astype(np.int64)
        sums = [np.bincount(place, weights * seen * side, minlength=n) for side in (y, ~y)]
        return np.stack([np.cumsum(total[::-1])[::-1] for total in sums], axis=-1)


def only_largest(P: Array, k: int) -> Array:
    """The k largest of each row, and NEG_INF in place of the others.

    >>> only_largest(np.array([[0.1, 0.7, 0.2]]), 1).tolist()
    [[-10000000000.0, 0.7, -10000000000.0]]
    """
    order = np.argsort(-P, axis=-1, kind="stable")[..., :k]
    mask = np.zeros_like(P)
    np.put_along_axis(mask, order, 1, axis=-1)
    return P * mask + P.dtype.type(NEG_INF) * (1 - mask)


class _Count(Counted):
    """One of the four, at each threshold."""

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None):
        super().__init__(dtype, name)
        self.init_thresholds = thresholds
        self.thresholds = parse_thresholds(thresholds, 0.5)
        self.even = evenly_spaced(self.thresholds)
        self.keep(len(self.thresholds))

    def result(self) -> Any:
        found = np.array(getattr(self, self.kept[0]))
        return float(found[0]) if len(found) == 1 else found

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"thresholds": self.init_thresholds}


class TruePositives(_Count):
    """Outputs above the threshold whose target is 1.

    >>> TruePositives()([0, 1, 1, 1], [1, 0, 1, 1])
    2.0
    """

    kept = ("true_positives",)


class FalsePositives(_Count):
    """Outputs above the threshold whose target is 0.

    >>> FalsePositives()([0, 1, 0, 0], [0, 0, 1, 1])
    2.0
    """

    kept = ("false_positives",)


class TrueNegatives(_Count):
    """Outputs not above the threshold whose target is 0.

    >>> TrueNegatives()([0, 1, 0, 0], [1, 1, 0, 0])
    2.0
    """

    kept = ("true_negatives",)


class FalseNegatives(_Count):
    """Outputs not above the threshold whose target is 1.

    >>> FalseNegatives()([0, 1, 1, 1], [0, 1, 0, 0])
    2.0
    """

    kept = ("false_negatives",)


class _Ratio(Counted):
    """True positives over them and another count, at each threshold."""

    _direction = "up"

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(dtype, name)
        self.init_thresholds, self.top_k, self.class_id = thresholds, top_k, class_id
        self.thresholds = parse_thresholds(thresholds, 0.5 if top_k is None else NEG_INF)
        self.even = evenly_spaced(self.thresholds)
        self.keep(len(self.thresholds))

    def result(self) -> Any:
        right, wrong = (np.array(getattr(self, name)) for name in self.kept)
        found = divide(right, right + wrong)
        return float(found[0]) if len(found) == 1 else found

    def get_config(self) -> dict[str, Any]:
        asked = {"thresholds": self.init_thresholds, "top_k": self.top_k, "class_id": self.class_id}
        return super().get_config() | asked


class Precision(_Ratio):
    """TP / (TP + FP): how many of the outputs above the threshold have the target 1.

    >>> Precision()([0, 1, 1, 1], [1, 0, 1, 1]).__round__(6)
    0.666667
    """

    kept = ("true_positives", "false_positives")


class Recall(_Ratio):
    """TP / (TP + FN): how many of the targets that are 1 have an output above the threshold.

    >>> Recall()([0, 1, 1, 1], [1, 0, 1, 1]).__round__(6)
    0.666667
    """

    kept = ("true_positives", "false_negatives")


class _BestAt(Counted):
    """The best of one rate among the thresholds where another one is at least `value`."""

    _direction = "up"
    kept = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    argument: str
    rates: tuple[tuple[int, int], tuple[int, int]]
    """Of the one with the condition, and of the one that is wanted: its count, and the other."""

    def __init__(
        self,
        value: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        if not 0 <= value <= 1:
            raise ValueError(f"{self.argument}={value!r}: expected a number in the range [0, 1].")
        if not num_thresholds > 0:
            raise ValueError(f"num_thresholds={num_thresholds!r}: expected an integer > 0.")
        super().__init__(dtype, name)
        self.value, self.num_thresholds, self.class_id = value, num_thresholds, class_id
        n = num_thresholds - 1
        self.thresholds = [0.5] if n == 0 else [i / n for i in range(n)] + [1.0]
        self.even = n > 0
        self.keep(num_thresholds)

    def result(self) -> float:
        counts = [np.array(getattr(self, name)) for name in self.kept]
        bound, wanted = (divide(counts[i], counts[i] + counts[j]) for i, j in self.rates)
        # Keras compares in its float type, with a number that went through float32.
        enough = bound.astype(self.dtype) >= through_float32(self.value)
        return float(np.max(np.where(enough, wanted, 0.0), initial=0.0))

    def get_config(self) -> dict[str, Any]:
        asked = {"num_thresholds": self.num_thresholds, self.argument: self.value}
        return super().get_config() | asked | {"class_id": self.class_id}


class SensitivityAtSpecificity(_BestAt):
    """The largest TP / (TP + FN) where TN / (TN + FP) is at least `specificity`.

    >>> SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
    0.5
    """

    argument, rates = "specificity", ((2, 1), (0, 3))

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(specificity, num_thresholds, class_id, name, dtype)
        self.specificity = specificity


class SpecificityAtSensitivity(_BestAt):
    """The largest TN / (TN + FP) where TP / (TP + FN) is at least `sensitivity`.

    >>> SpecificityAtSensitivity(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]).__round__(6)
    0.666667
    """

    argument, rates = "sensitivity", ((0, 3), (2, 1))

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = sensitivity


class PrecisionAtRecall(_BestAt):
    """The largest TP / (TP + FP) where TP / (TP + FN) is at least `recall`.

    >>> PrecisionAtRecall(0.5)([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
    0.5
    """

    argument, rates = "recall", ((0, 3), (0, 1))

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(recall, num_thresholds, class_id, name, dtype)
        self.recall = recall


class RecallAtPrecision(_BestAt):
    """The largest TP / (TP + FN) where TP / (TP + FP) is at least `precision`.

    >>> RecallAtPrecision(0.8)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
    0.5
    """

    argument, rates = "precision", ((0, 1), (0, 3))

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(precision, num_thresholds, class_id, name, dtype)
        self.precision = precision


CURVES = {name: curve for curve in ("PR", "ROC", "PRGAIN") for name in (curve.lower(), curve)}
SUMMATIONS = {
    name: name.lower()
    for word in ("interpolation", "majoring", "minoring")
    for name in (word, word.capitalize())
}


class AUC(Counted):
    """The area under the curve of recall over the false positives' share (ROC), of precision over
    recall (PR), or of their gains (PRGAIN), from counts at `num_thresholds` thresholds.

    Source: Keras, metrics/confusion_metrics.py; Davis & Goadrich 2006 for the area under PR, whose
    points are not joined by straight lines; Flach & Kull 2015 for the gains.

    >>> AUC(num_thresholds=3)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
    0.75
    """

    _direction = "up"
    kept = ("true_positives", "false_positives", "true_negatives", "false_negatives")

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ):
        self.init_thresholds = None if thresholds is None else sorted(thresholds)
        if thresholds is None and not num_thresholds > 1:
            raise ValueError(f"AUC: num_thresholds={num_thresholds!r}: expected more than 1.")
        inner = self.init_thresholds
        if inner is None:
            inner = [(i + 1) * 1.0 / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        self.num_thresholds = len(inner) + 2
        self.even = self.init_thresholds is None or evenly_spaced([0.0, *inner, 1.0])
        self.thresholds = [0.0 - epsilon(), *inner, 1.0 + epsilon()]
        self.curve = CURVES[check_choice("AUC: curve", curve, CURVES)]
        how = check_choice("AUC: summation_method", summation_method, SUMMATIONS)
        self.summation_method = SUMMATIONS[how]
        super().__init__(dtype, name)
        self.multi_label, self.num_labels = multi_label, num_labels
        self.label_weights = None if label_weights is None else np.asarray(label_weights, float)
        self.from_logits = from_logits
        if num_labels and not multi_label:
            raise ValueError(f"AUC: num_labels={num_labels}: expected None without multi_label.")
        if not multi_label:
            self.keep(self.num_thresholds)
        elif num_labels:
            self.keep(self.num_thresholds, num_labels)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        outputs = np.asarray(y_pred, self.dtype)
        if not self._variables:
            if outputs.ndim != 2:
                raise ValueError(
                    f"AUC: outputs of shape {outputs.shape}: expected (samples, labels) with "
                    "multi_label=True."
                )
            self.keep(self.num_thresholds, outputs.shape[1])
        outputs = sigmoid(outputs) if self.from_logits else outputs
        super().update_state(y_true, outputs, sample_weight)

    def label_share(self) -> Any:
        return 1.0 if self.multi_label or self.label_weights is None else self.label_weights

    def result(self) -> float:
        if not self._variables:
            return 0.0
        counts = (np.array(getattr(self, name)) for name in self.kept)
        tp, fp, tn, fn = counts
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = pr_areas(tp, fp, fn)
        else:
            x, y = curve_of(self.curve, tp, fp, tn, fn)
            heights = {
                "interpolation": (y[:-1] + y[1:]) / 2.0,
                "minoring": np.minimum(y[:-1], y[1:]),
                "majoring": np.maximum(y[:-1], y[1:]),
            }[self.summation_method]
            areas = (x[:-1] - x[1:]) * heights
        whole = areas.sum(axis=0)
        if not self.multi_label or self.label_weights is None:
            return float(np.mean(whole))
        share = self.label_weights
        return float(divide(np.sum(whole * share), np.sum(share)))

    def get_config(self) -> dict[str, Any]:
        weights = None if self.label_weights is None else self.label_weights.tolist()
        config = {
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": weights,
            "from_logits": self.from_logits,
        }
        own = {} if self.init_thresholds is None else {"thresholds": self.init_thresholds}
        return super().get_config() | config | own


def curve_of(curve: str, tp: Array, fp: Array, tn: Array, fn: Array) -> tuple[Array, Array]:
    """x and y of the curve at each threshold.

    >>> x, y = curve_of("ROC", *(np.array([n]) for n in (3.0, 1.0, 4.0, 1.0)))
    >>> x.tolist(), y.tolist()
    ([0.2], [0.75])
    """
    if curve == "ROC":
        return divide(fp, fp + tn), divide(tp, tp + fn)
    if curve == "PR":
        return divide(tp, tp + fn), divide(tp, tp + fp)
    scale = divide(tp + fn, tn + fp)
    recall, precision = (1.0 - scale * divide(wrong, tp) for wrong in (fn, fp))
    none = tp == 0
    return np.maximum(np.where(none, 0.0, recall), 0.0), np.where(none, 1.0, precision)


def pr_areas(tp: Array, fp: Array, fn: Array) -> Array:
    """The area between each two thresholds under precision over recall, where TP grows in
    proportion to TP + FP.

    >>> pr_areas(np.array([2.0, 0.0]), np.array([2.0, 0.0]), np.array([0.0, 2.0])).tolist()
    [0.5]
    """
    p = tp + fp
    dtp, dp = tp[:-1] - tp[1:], p[:-1] - p[1:]
    slope = divide(dtp, np.maximum(dp, 0))
    intercept = tp[1:] - slope * p[1:]
    both = (p[:-1] > 0) & (p[1:] > 0)
    ratio = np.where(both, divide(p[:-1], np.maximum(p[1:], 0)), 1.0)
    return divide(slope * (dtp + intercept * np.log(ratio)), np.maximum(tp[1:] + fn[1:], 0))


class FBetaScore(Metric):
    """(1 + beta^2) P R / (beta^2 P + R) of precision P and recall R, for outputs (B, K).

    Without a threshold the largest output of a sample is its answer. `average`: None for one number
    a class, `"micro"` over all answers, `"macro"` the mean of the classes, `"weighted"` by how
    often each occurs.

    >>> FBetaScore("micro", 2.0, 0.5)([[1, 1], [1, 0]], [[0.2, 0.6], [0.7, 0.1]]).__round__(6)
    0.714286
    """

    _direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ):
        super().__init__(dtype, name)
        if average is not None:
            check_choice("average", average, ("micro", "macro", "weighted"))
        if not isinstance(beta, float) or not beta > 0:
            raise ValueError(f"beta={beta!r}: expected a float > 0.")
        if threshold is not None and not (isinstance(threshold, float) and 0 < threshold <= 1):
            raise ValueError(f"threshold={threshold!r}: expected a float in (0, 1], or None.")
        self.average, self.beta, self.threshold = average, beta, threshold

    def _keep(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            raise ValueError(f"{self.name}: outputs of shape {shape}: expected (samples, classes).")
        each = () if self.average == "micro" else (shape[-1],)
        names = ("true_positives", "false_positives", "false_negatives", "intermediate_weights")
        for name in names:
            setattr(self, name, self.add_variable(each, "zeros", name=name))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y, P = np.asarray(y_true, self.dtype), np.asarray(y_pred, self.dtype)
        if not self._variables:
            self._keep(P.shape)
        if y.shape != P.shape:
            raise ValueError(
                f"{self.name}: targets of shape {y.shape}, outputs of {P.shape}: expected the same."
            )
        if self.threshold is None:
            answers = (P.max(axis=-1, keepdims=True) <= P) & (np.abs(P) > 1e-9)
        else:
            answers = self.threshold < P
        weights = 1.0 if sample_weight is None else np.asarray(sample_weight, np.float64)[:, None]
        axis = None if self.average == "micro" else 0
        found = (answers * y, answers * (1 - y), ~answers * y, y)
        for variable, each in zip(self._variables, found, strict=True):
            variable.assign_add(np.sum(np.float64(1) * each * weights, axis=axis))

    def result(self) -> Any:
        if not self._variables:
            raise ValueError(f"{self.name}: nothing counted yet: call update_state first.")
        tp, fp, fn, seen = (np.array(variable) for variable in self._variables)
        precision, recall = tp / (tp + fp + epsilon()), tp / (tp + fn + epsilon())
        mean = precision * recall / (self.beta**2 * precision + recall + epsilon())
        score = mean * (1 + self.beta**2)
        if self.average == "weighted":
            return float(np.sum(score * (seen / (np.sum(seen) + epsilon()))))
        return score if self.average is None else float(np.mean(score))

    def get_config(self) -> dict[str, Any]:
        asked = {"average": self.average, "beta": self.beta, "threshold": self.threshold}
        return super().get_config() | asked


class F1Score(FBetaScore):
    """2 P R / (P + R) of precision P and recall R: FBetaScore with beta = 1.

    >>> F1Score("macro", 0.5)([[1, 1], [1, 0]], [[0.2, 0.6], [0.7, 0.1]]).__round__(6)
    0.833333
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ):
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["beta"]
        return config
