"""What a metric is, in Keras's words: `update_state` adds, `result` reads, `reset_state` clears.

Metrics count in float64 whatever the model is; Keras's do in its float type. Outputs and targets
are looked at as they are: in float32 a saturated sigmoid is exactly 1, and that is part of what
Keras reports.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Set
from typing import Any, ClassVar

import numpy as np

import scratchnet.initializers as initializers
from scratchnet.config import floatx
from scratchnet.engines import Array
from scratchnet.registry import unique_name
from scratchnet.support import Settled, same_rank, snake_case


class Variable(np.ndarray[Any, np.dtype[Any]]):
    """A metric's state: an array of float64 that is written to as a variable of Keras is.

    >>> count = Metric(name="own").add_variable((), "zeros")
    >>> count.assign_add(2)
    >>> float(count)
    2.0
    """

    def assign(self, value: Any) -> None:
        self[...] = value

    def assign_add(self, value: Any) -> None:
        self[...] += np.asarray(value)

    def assign_sub(self, value: Any) -> None:
        self[...] -= np.asarray(value)

    def numpy(self) -> Array:
        return np.array(self)


class Metric(Settled):
    """The base of all metrics, also of your own: define `update_state` and `result`.

    State made by `add_variable` (or `add_weight`) is set to 0 by `reset_state`, which is called
    before each epoch and each evaluation. `_direction`, `"up"` or `"down"`, tells callbacks which
    way it should go.

    >>> class Largest(Metric):
    ...     def __init__(self, name="largest", **kwargs):
    ...         super().__init__(name=name, **kwargs)
    ...         self.largest = self.add_variable((), "zeros", name="largest")
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.largest.assign(max(self.largest, np.max(np.abs(y_pred - y_true))))
    ...     def result(self):
    ...         return self.largest
    >>> float(Largest()(np.zeros(2), np.array([1.0, -3.0])))
    3.0
    """

    _direction: str | None = None
    name: str
    _of_the_class: ClassVar[Set[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        ours = [base for base in cls.__mro__ if base.__module__.startswith("scratchnet.")]
        there = {n for b in ours for n, value in vars(b).items() if not hasattr(value, "__get__")}
        taken = {name for base in ours for name in inspect.signature(base).parameters}
        cls._of_the_class = {name for name in there - taken if not name.startswith("_")}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._of_the_class:
            kind = type(self).__name__
            raise AttributeError(f"{kind}.{name} is settled: compile with a new one.")
        super().__setattr__(name, value)

    def __init__(self, dtype: Any = None, name: str | None = None):
        self._variables: list[Variable] = []
        self.dtype = np.dtype(dtype or floatx()).name
        self.name = name or unique_name(snake_case(type(self).__name__))

    def add_variable(
        self,
        shape: tuple[int, ...] | list[int],
        initializer: Any,
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Variable:
        """State of that shape, a float64 of any float type; Keras's other two have no effect."""
        if not hasattr(self, "_variables"):
            raise RuntimeError(
                f"{type(self).__name__}: no super().__init__() in its __init__: call it first."
            )
        start = initializers.get(initializer or "zeros")(tuple(shape), "float64")
        kept = np.dtype(dtype or "float64")
        variable = np.array(start, "float64" if kept.kind == "f" else kept).view(Variable)
        self._variables.append(variable)
        return variable

    def add_weight(
        self,
        shape: tuple[int, ...] = (),
        initializer: Any = None,
        dtype: Any = None,
        name: str | None = None,
    ) -> Variable:
        """`add_variable`, by its older name."""
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def variables(self) -> list[Variable]:
        """All state: this metric's, and that of the metrics in its attributes."""
        return list({id(variable): variable for variable in _held(vars(self))}.values())

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define update_state.")

    def result(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define result().")

    def reset_state(self) -> None:
        for variable in self.variables:
            variable.assign(0)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`update_state`, then `result`."""
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this metric again."""
        return {"name": self.name, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """The metric that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def _held(thing: Any) -> Iterator[Variable]:
    """The variables in attributes, lists and dicts, and those of the metrics there."""
    if isinstance(thing, Variable):
        yield thing
    elif isinstance(thing, Metric):
        yield from thing.variables
    elif isinstance(thing, dict | list | tuple):
        for item in thing.values() if isinstance(thing, dict) else thing:
            yield from _held(item)


def per_sample(
    values: Any, sample_weight: Any = None, reduce: Callable[..., Any] = np.mean
) -> tuple[Array, Array | None]:
    """Values times their weights, and those weights, each reduced to one number a sample.

    Source: Keras, metrics/reduction_metrics.py, reduce_to_samplewise_values.
    """
    values = np.asarray(values, np.float64)
    weights = None
    if sample_weight is not None:
        values, weights = same_rank(values, np.asarray(sample_weight, np.float64))
        axes = weights.ndim
        if values.ndim > axes:
            values = reduce(values, axis=tuple(range(axes, values.ndim)))
        if np.broadcast_shapes(weights.shape, values.shape) != values.shape:
            raise ValueError(
                f"sample_weight has shape {weights.shape}, the values {values.shape}: expected "
                "one weight for each value, or for each sample."
            )
        weights = np.broadcast_to(weights, values.shape)
        values = values * weights
        if axes > 1:
            weights = reduce(weights, axis=tuple(range(1, axes)))
    if values.ndim > 1:
        values = reduce(values, axis=tuple(range(1, values.ndim)))
    return values, weights


class Sum(Metric):
    """The weighted sum of numbers: `update_state(values, sample_weight=None)`.

    >>> Sum()([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    4.0
    """

    def __init__(self, name: str | None = "sum", dtype: Any = None):
        super().__init__(dtype, name)
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        self.total.assign_add(np.sum(per_sample(values, sample_weight, np.sum)[0]))

    def result(self) -> float:
        return float(self.total)


class Mean(Metric):
    """The weighted mean of numbers: `update_state(values, sample_weight=None)`.

    >>> loss = Mean()
    >>> loss.update_state(1.0, sample_weight=32)
    >>> loss.update_state(4.0, sample_weight=16)
    >>> loss.result()
    2.0
    """

    def __init__(self, name: str | None = "mean", dtype: Any = None):
        super().__init__(dtype, name)
        self.total = self.add_variable((), "zeros", name="total")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values, weights = per_sample(values, sample_weight)
        self.total.assign_add(np.sum(values))
        self.count.assign_add(values.size if weights is None else np.sum(weights))

    def extend(self, totals: Array, counts: Any) -> None:
        """Let sums over batches in, one after the other: to the same bits, however many at once."""
        self.total.assign(np.cumsum([float(self.total), *totals])[-1])
        self.count.assign_add(np.sum(counts))

    def result(self) -> float:
        return float(self.total) / float(self.count) if self.count else 0.0


class MeanMetricWrapper(Mean):
    """The mean of a function `(y_true, y_pred) -> (B,)`, or of the number that it returns a batch.

    >>> furthest = MeanMetricWrapper(lambda y_true, y_pred: abs(y_pred - y_true).max(axis=1))
    >>> furthest(np.array([[1.0, 2.0]]), np.array([[1.5, 4.0]]))
    2.0
    """

    def __init__(
        self, fn: Callable[..., Any], name: str | None = None, dtype: Any = None, **kwargs: Any
    ):
        super().__init__(name or unique_name(snake_case(type(self).__name__)), dtype)
        self._fn, self._fn_kwargs = fn, kwargs

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:  # type: ignore[override]
        super().update_state(self._fn(y_true, y_pred, **self._fn_kwargs), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """The name, and the arguments of the function; of a wrapper as such the function too."""
        fn = {"fn": self._fn} if type(self) is MeanMetricWrapper else {}
        return super().get_config() | fn | self._fn_kwargs
