"""Small tools that are nobody's public name: generators, names, attributes that are checked.

Randomness is handed over as a `numpy.random.Generator`; the one process-wide generator exists only
so that `utils.set_random_seed` works as in Keras. It knows no layer, no loss and no model.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from scratchnet.engines.contract import Array

_default = {"rng": np.random.default_rng()}


def reseed(seed: int) -> None:
    """Begin the process-wide stream anew.

    >>> reseed(0)
    """
    _default["rng"] = np.random.default_rng(seed)


def generator(seed: int | np.random.Generator | None = None) -> np.random.Generator:
    """A Generator from a seed, the given one, or one spawned from the process-wide stream.

    >>> generator(0).integers(10) == generator(0).integers(10)
    np.True_
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is None:
        return np.random.default_rng(_default["rng"].integers(2**63))
    return np.random.default_rng(seed)


def check_seed(seed: Any) -> Any:
    """`seed` if it is None, an integer >= 0 or a Generator, else a ValueError.

    >>> check_seed(3)
    3
    """
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0
    if not whole and not isinstance(seed, np.random.Generator | None):
        raise ValueError(f"seed={seed!r}: expected None, an integer >= 0 or a Generator.")
    return seed


def one_hot(labels: Array, classes: int, dtype: np.dtype[Any]) -> Array:
    """(...,) integers in [0, classes) -> (..., classes), 1 at the label and 0 elsewhere.

    >>> one_hot(np.array([1]), 3, np.dtype("float64")).tolist()
    [[0.0, 1.0, 0.0]]
    """
    return (labels[..., None] == np.arange(classes)).astype(dtype)


def same_rank(a: Array, b: Array) -> tuple[Array, Array]:
    """Two arrays brought to as many axes by a last axis of 1, where one has one axis more: a vector
    gets it, anything else loses it.  Source: Keras, losses/loss.py, squeeze_or_expand_to_same_rank.

    >>> a, b = same_rank(np.ones(3), np.ones((3, 1)))
    >>> a.shape, b.shape
    ((3, 1), (3, 1))
    """
    if a.ndim == b.ndim + 1 and a.shape[-1] == 1:
        return (a, b[:, None]) if b.ndim == 1 else (a[..., 0], b)
    if b.ndim == a.ndim + 1 and b.shape[-1] == 1:
        return (a[:, None], b) if a.ndim == 1 else (a, b[..., 0])
    return a, b


def nadam_product(
    beta_1: float, t: int, dtype: np.dtype[Any], at: int = 0, product: float = 1.0
) -> Any:
    """U_t of Nadam (`optimizers/rules.py`), multiplied up in the order of the steps from U_at on.

    >>> float(nadam_product(0.5, 1, np.dtype("float64")))  # 0.5 (1 - 0.96 / 2)
    0.26
    """
    value, base, beta = dtype.type(product), dtype.type(0.96), dtype.type(beta_1)
    for step in range(at + 1, t + 1):
        value = value * beta * (1 - dtype.type(0.5) * base ** dtype.type(step))
        if not value:  # and so it stays
            break
    return value


def through_float32(value: float) -> float:
    """The float32 nearest to a Python float: what `tf.cast(value, "float64")` makes of it.

    >>> through_float32(0.9)
    0.8999999761581421
    """
    return float(np.float32(value))


def snake_case(name: str) -> str:
    """The name that Keras gives to what is called so.  Source: Keras, utils/naming.py.

    >>> snake_case("MeanSquaredError"), snake_case("<lambda>")
    ('mean_squared_error', 'lambda')
    """
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def unwarned() -> np.errstate:
    """Without NumPy's warnings: what overflows or is 0 / 0 ends in a loss that `fit` checks.

    Whoever asked for more than a warning, by `np.seterr(all="raise")` say, still gets it.

    >>> with unwarned():
    ...     (np.array([0.0]) / 0).tolist()
    [nan]
    """
    warned: Any = {kind: "ignore" for kind, how in np.geterr().items() if how == "warn"}
    return np.errstate(**warned)


def check_choice(what: str, name: Any, names: Iterable[str]) -> str:
    """`name` if it is one of `names`, else a ValueError that offers the closest of them.

    >>> check_choice("loss", "msee", ["mse"])
    Traceback (most recent call last):
    ValueError: loss='msee': expected one of 'mse'. Did you mean 'mse'?
    """
    known = list(names)
    if name in known:
        return str(name)
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{what}={name!r}: expected one of {', '.join(map(repr, known))}.{hint}")


def reject_unsupported(owner: str, **arguments: tuple[Any, Any]) -> None:
    """Refuse, by name, arguments of Keras's that are taken only at their defaults.

    >>> reject_unsupported("fit", steps_per_epoch=(10, None))
    Traceback (most recent call last):
    ValueError: fit: steps_per_epoch=10: only None is supported.
    """
    for name, (value, default) in arguments.items():
        if value != default:
            raise ValueError(f"{owner}: {name}={value!r}: only {default!r} is supported.")


def only(*values: Any, instead: str = "") -> Callable[[Any], Any]:
    """For `_takes`: one of Keras's attributes that is here at these values alone, or not at all.

    >>> only(None)(1.0)
    Traceback (most recent call last):
    ValueError: only None is supported.
    """

    def take(value: Any) -> Any:
        if not any(value is known or value == known for known in values):
            said = f"only {values[0]!r} is supported." if values else ""
            raise ValueError(f"{said} {instead}".strip())
        return value

    return take


SETTLED = "it is settled. Make a new one, or write into the arrays that it has."
KERAS_ONLY = (
    *("dtype", "dtype_policy", "compute_dtype", "variable_dtype", "input_dtype", "autocast"),
    *("input", "output", "inputs", "outputs", "input_spec", "losses", "variables", "path"),
    *("metrics_variables", "activity_regularizer", "quantization_mode"),
)
"""Attributes of Keras's that nothing here reads; a class that has one of them defines it."""


class Part:
    """A part of a model: its attributes are checked whenever they are assigned, in `__init__` and
    ever after, and `copy.copy` copies it whole, as in Keras.

    `_takes` has for some attributes a function that returns the value to keep, or raises; `_fixed`
    for those that stay as they are, once they are settled, what to do instead.

    >>> class Ruler(Part):
    ...     _takes, _fixed = {"length": float}, {"unit": SETTLED}
    >>> ruler = Ruler()
    >>> ruler.length, ruler.unit = 2, "cm"
    >>> ruler.length
    2.0
    >>> ruler.unit = "inch"
    Traceback (most recent call last):
    AttributeError: Ruler.unit can't be assigned: it is settled. Make a new one, or write into the
    arrays that it has.
    """

    _takes: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    _fixed: ClassVar[Mapping[str, str]] = {}

    def _settled(self, name: str) -> bool:
        return name in vars(self)

    def __setattr__(self, name: str, value: Any) -> None:
        there, take = getattr(type(self), name, self), self._takes.get(name)
        if getattr(there, "fset", self) is None or (name in self._fixed and self._settled(name)):
            if getattr(self, name, None) is value:  # as in `model.theta *= 2`
                return
            remedy = f"can't be assigned: {self._fixed.get(name, SETTLED)}"
            raise AttributeError(f"{type(self).__name__}.{name} {remedy}")
        if take is None and there is self and name in KERAS_ONLY:
            take = only(instead="nothing here reads it. Take another name for what is yours.")
        try:
            value = value if take is None else take(value)
        except (TypeError, ValueError) as error:
            what = "" if f"{name}=" in str(error) else f"{name}={value!r:.80}: "
            raise type(error)(f"{type(self).__name__}: {what}{error}") from None
        super().__setattr__(name, value)

    def __copy__(self) -> Self:
        return copy.deepcopy(self)


OF_THE_CLASS = ("family", "sparse", "without_logits", "fn")


class Settled:
    """What stays as its arguments made it: of this package's classes no public attribute but the
    name is assigned a second time, and those of the class not once.

    >>> thing = Settled()
    >>> thing.size = 1
    >>> thing.size = 2
    Traceback (most recent call last):
    AttributeError: Settled.size is settled: compile with a new one.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        kind, again = type(self), name in vars(self) and name != "name" and name[0] != "_"
        if (again and kind.__module__.startswith("scratchnet.")) or name in OF_THE_CLASS:
            raise AttributeError(f"{kind.__name__}.{name} is settled: compile with a new one.")
        super().__setattr__(name, value)
