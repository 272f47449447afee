"""What Keras's optimizers do around a step: clipping, weight decay, averages of the weights; and
their methods on lists of variables.

The update rules are in `updates.py`, on one vector. Here a vector is taken apart into variables:
those of the layers that the optimizer serves, or those that `build` or `apply` was given. Source:
Keras, optimizers/base_optimizer.py, on TensorFlow.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from scratchnet.checks import check_count
from scratchnet.config import floatx
from scratchnet.copying import extends
from scratchnet.engines import reference
from scratchnet.engines.contract import Array
from scratchnet.optimizers.updates import Optimizer, number
from scratchnet.registry import instance, serialized
from scratchnet.support import check_choice, only, through_float32

CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
SCHEDULES: dict[str, Callable[..., Any]] = {}
"""Schedules by Keras's names (`schedules.py` fills it in)."""


def _or_none(value: Any) -> Any:
    return None if value is None else number(lambda v: True, "a number or None")(value)


OPTIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "weight_decay": (None, _or_none),
    "clipnorm": (None, _or_none),
    "clipvalue": (None, _or_none),
    "global_clipnorm": (None, _or_none),
    "use_ema": (False, only(False, True, instead="expected a boolean.")),
    "ema_momentum": (0.99, number(lambda mu: 0 <= mu <= 1, "a number in the range [0, 1]")),
    "ema_overwrite_frequency": (None, lambda n: n and check_count("ema_overwrite_frequency", n)),
    "loss_scale_factor": (None, _or_none),
    "gradient_accumulation_steps": (None, only(None, instead="Make batch_size larger.")),
}
"""Keras's arguments of every optimizer: the default, and what is taken for it."""


@extends(Optimizer)
class OptimizerOptions(Optimizer):
    """What `Optimizer` gains here: its options, and methods on lists of variables."""

    _takes: ClassVar = Optimizer._takes | {name: take for name, (_, take) in OPTIONS.items()}

    _excluded: tuple[tuple[Any, ...], str | None] = ((), None)
    _variables: tuple[Any, ...] = ()

    def take_options(self, learning_rate: Any, given: dict[str, Any]) -> None:
        """Keep what every optimizer is given, once it is known to be right."""
        if given.pop("decay", None) is not None:
            warnings.warn("Argument `decay` is no longer supported and is ignored.", stacklevel=4)
        for argument in given:
            check_choice(f"{type(self).__name__}: argument", argument, OPTIONS)
        if sum(given.get(name) is not None for name in CLIPS) > 1:
            raise ValueError(
                "Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set: got "
                f"{', '.join(f'{name}={given.get(name)}' for name in CLIPS)}."
            )
        for name, (default, _) in OPTIONS.items():
            setattr(self, name, given.get(name, default))
        self.learning_rate = learning_rate

    def vector_of(self, variables: Any) -> Array:
        """A vector as it is; of a list of variables, which are remembered, one laid end to end."""
        if isinstance(variables, np.ndarray):
            return variables
        if not self._variables:
            vars(self).update(_variables=tuple(variables))
        dtype = np.asarray(variables[0]).dtype if len(variables) else np.dtype(floatx())
        return np.concatenate([np.zeros(0, dtype), *map(np.ravel, variables)]).astype(dtype)

    def option_in_force(self) -> str | None:
        """The first option that does anything, or None: then a step is the rule alone.

        >>> from scratchnet.optimizers import SGD
        >>> SGD().option_in_force(), SGD(clipvalue=1.0).option_in_force()
        (None, 'clipvalue')
        """
        names = ("weight_decay", *CLIPS, "use_ema")
        return next((name for name in names if getattr(self, name)), None)

    # --- around a step ----------------------------------------------------------------------------

    def segments(self, size: int) -> list[tuple[str, int, Any]]:
        """Name, size and array of each variable in a vector of so many entries."""
        if self.owners is None and self._variables:
            return [(getattr(v, "name", "variable"), np.size(v), v) for v in self._variables]
        if self.owners is None:
            return [("variable", size, None)] if size else []
        return [
            (name, array.size, array)
            for layer in self.owners
            for name, array in layer.params.items()
            if name not in layer.state
        ]

    def before(self, theta: Array, grad: Array) -> Array:
        """The gradient, clipped; theta (P,) decays in place."""
        parts = self.segments(theta.size)
        ends = np.cumsum([size for _, size, _ in parts])[:-1]
        if self.clipnorm:
            grad = np.concatenate([self._by_norm(g) for g in np.split(grad, ends)])
        elif self.global_clipnorm:
            norm = np.sqrt(sum(np.sum(g * g) for g in np.split(grad, ends)))
            grad = grad * _global_scale(norm, grad.dtype.type(self.global_clipnorm))
        elif self.clipvalue:
            grad = np.clip(grad, -self.clipvalue, self.clipvalue)
        if self.weight_decay is not None:
            # TensorFlow takes the decay through float32, in float64 too.
            decay = theta.dtype.type(through_float32(self.weight_decay))
            rate = theta.dtype.type(self.learning_rate)
            for (name, _, array), part in zip(parts, np.split(theta, ends), strict=True):
                if self._decays(name, array):
                    part -= part * decay * rate
        return grad

    def _by_norm(self, grad: Array) -> Array:
        norm, limit = np.sqrt(np.sum(grad * grad)), grad.dtype.type(self.clipnorm)
        clipped: Array = grad * limit / np.maximum(norm, limit)
        return clipped

    def _decays(self, name: str, array: Any) -> bool:
        arrays, pattern = self._excluded
        alike = any(x is array or _same_memory(x, array) for x in arrays)
        return not alike and (pattern is None or re.search(pattern, name) is None)

    def after(self, theta: Array) -> None:
        """The averages of the weights, and the weights from them where it is their turn."""
        if not self.use_ema:
            return
        average = self.slots["average"]
        momentum = self.ema_momentum if self.iterations else 0.0
        average[:] = momentum * average + (1 - momentum) * theta
        if (
            self.ema_overwrite_frequency
            and not (self.iterations + 1) % self.ema_overwrite_frequency
        ):
            theta[:] = average

    # --- Keras's methods --------------------------------------------------------------------------

    def exclude_from_weight_decay(
        self, var_list: Iterable[Any] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Spare these arrays, and all whose name (kernel, bias ...) holds one of these texts."""
        if self.slots or self._variables:
            raise ValueError(
                "`exclude_from_weight_decay()` can only be configured before the optimizer is "
                "built."
            )
        names = [*var_names] if var_names else []
        self._excluded = (tuple(var_list or ()), "|".join(sorted(set(names))) if names else None)

    @property
    def variables(self) -> list[Any]:
        """The step count, the learning rate where it is a number, then each slot by variable."""
        held: list[Any] = [np.asarray(self.iterations)]
        if self.schedule is None:
            held.append(np.asarray(self.learning_rate))
        size = next((len(vector) for vector in self.slots.values()), 0)
        parts = self.segments(size)
        ends = np.cumsum([count for _, count, _ in parts])
        for group in self.slot_groups():
            for (_, count, array), end in zip(parts, ends, strict=True):
                held += [
                    self.slots[name][end - count : end].reshape(np.shape(array)) for name in group
                ]
        return held

    def slot_groups(self) -> list[list[str]]:
        """The slots in Keras's order: those of a group by turns for each variable."""
        pair = [name for name in self.paired if name in self.slots]
        alone = [[name] for name in self.slots if name not in (*pair, "average")]
        return [["average"]] * ("average" in self.slots) + [pair] * bool(pair) + alone

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take the arrays of `variables`: all of them or none."""
        if not (self.slots or self._variables or self.owners):
            raise ValueError(
                "You are calling `set_weights()` on an optimizer that has not yet been built: call "
                "`optimizer.build(trainable_variables)` first."
            )
        held, given = self.variables, [np.asarray(weight) for weight in weights]
        if [x.shape for x in held] != [x.shape for x in given]:
            raise ValueError(
                f"set_weights: got shapes {[x.shape for x in given]}: expected "
                f"{[x.shape for x in held]}, not compatible otherwise."
            )
        vars(self).update(iterations=int(given[0]))
        first = 1
        if self.schedule is None:
            self.learning_rate, first = float(given[1]), 2
        for view, array in zip(held[first:], given[first:], strict=True):
            view[...] = array

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> int:
        """One step on pairs of a gradient and an array, which is moved in place."""
        pairs = list(grads_and_vars)
        self.apply([grad for grad, _ in pairs], [variable for _, variable in pairs])
        return self.iterations

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """One step on arrays, moved in place; those of the first call, or of `build`, if left out.

        Raises:
            ValueError: for arrays that the optimizer was not built for.
        """
        if len(grads) == 0:
            return
        if trainable_variables is None:
            if not self._variables:
                raise ValueError(
                    "When passing `grads` without `variables`, the optimizer must already be built "
                    "on a list of variables: call `optimizer.build(trainable_variables)` first."
                )
            if len(grads) != len(self._variables):
                raise ValueError(
                    f"Received a list of {len(grads)} gradients, but the optimizer is tracking "
                    f"{len(self._variables)} trainable variables."
                )
        elif not self._variables:
            self.build([*trainable_variables])
        variables = [*(self._variables if trainable_variables is None else trainable_variables)]
        places = [_place(self._variables, variable) for variable in variables]
        gone = [variables[i] for i, grad in enumerate(grads) if grad is None]
        if len(gone) == len(grads):
            raise ValueError("No gradients provided for any variable.")
        if gone:
            names = [getattr(v, "name", "variable") for v in gone]
            warnings.warn(f"Gradients do not exist for variables {names}.", stacklevel=2)
        given = {place: grad for place, grad in zip(places, grads, strict=True) if grad is not None}
        self._apply(given)

    def _apply(self, given: dict[int, Any]) -> None:
        """One step on the variables at these places; slots and values of the others stay."""
        dtype = np.asarray(self._variables[0]).dtype
        theta = np.concatenate([np.ravel(v) for v in self._variables]).astype(dtype)
        sizes = [np.size(v) for v in self._variables]
        scale = self.loss_scale_factor or 1.0
        zeros = [np.zeros(size, dtype) for size in sizes]
        grad = np.concatenate(
            [np.ravel(given.get(i, zero)).astype(dtype) for i, zero in enumerate(zeros)]
        )
        rest = np.repeat([i not in given for i in range(len(sizes))], sizes)
        kept = {name: slot.copy() for name, slot in self.slots.items()}
        before = theta.copy()
        self.step(reference.ENGINE, theta, grad / dtype.type(scale))
        theta[rest] = before[rest]
        for name, slot in self.slots.items():
            slot[rest] = kept[name][rest] if name in kept else slot[rest]
        parts = np.split(theta, np.cumsum(sizes)[:-1])
        for variable, part in zip(self._variables, parts, strict=True):
            variable[...] = part.reshape(np.shape(variable))

    def finalize_variable_values(self, var_list: Sequence[Array]) -> None:
        """Put the averages of the weights in their place, where `use_ema` keeps them."""
        if self.use_ema and self.slots:
            theta = self.slots["average"]
            ends = np.cumsum([np.size(v) for v in var_list])[:-1]
            for variable, part in zip(var_list, np.split(theta, ends), strict=True):
                variable[...] = part.reshape(np.shape(variable))

    def scale_loss(self, loss: Any) -> Any:
        """The loss times `loss_scale_factor`; `apply` divides its gradients by as much."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def options_config(self) -> dict[str, Any]:
        """The part of an optimizer's configuration that every optimizer has."""
        rate = self._rate if self.schedule is None else self.schedule
        described = serialized("keras.optimizers.schedules", rate, SCHEDULES)
        config = {"name": self.name, "learning_rate": described if callable(rate) else rate}
        return config | {name: getattr(self, name) for name in OPTIONS}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """A new optimizer by the arguments that `get_config` returned."""
        rate = config.get("learning_rate")
        if isinstance(rate, Mapping):
            known = SCHEDULES | dict(custom_objects or {})
            config = config | {"learning_rate": instance("learning_rate", rate, known)}
        return cls(**config)


def _global_scale(norm: Any, limit: Any) -> Any:
    with np.errstate(divide="ignore"):
        scale = limit * np.minimum(1 / norm, 1 / limit)
    return scale + (norm - norm)  # NaN where the norm is not finite, as in Keras


def _same_memory(one: Any, other: Any) -> bool:
    if not isinstance(one, np.ndarray) or not isinstance(other, np.ndarray):
        return False
    places = (x.__array_interface__["data"][0] for x in (one, other))
    return one.shape == other.shape and len(set(places)) == 1


def _place(known: Sequence[Any], variable: Any) -> int:
    for i, other in enumerate(known):
        if other is variable or _same_memory(other, variable):
            return i
    raise ValueError(
        f"Unknown variable: {getattr(variable, 'name', variable)!r:.80}. This optimizer can only "
        "be called for the variables it was originally built with: take a new one."
    )
