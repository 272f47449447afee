"""What a user sees of any layer under Keras's names: name, weights, configuration, a call.

Nothing here is about how a layer computes: that is `core.py`; what a layer may do that is in no
model is in `alone.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import scratchnet.checks as checks
from scratchnet.activations.names import name_of
from scratchnet.checks import NotBuiltError, Shape
from scratchnet.engines.contract import Array
from scratchnet.support import SETTLED, Part, only

Params = dict[str, Array]


def take_names(names: Any) -> tuple[str, ...]:
    """Names of parameters, such as ("moving_mean",)."""
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("expected a tuple of names of parameters.")
    return names


class LayerSurface(Part):
    """What every layer has, whatever it computes (see `Layer`).

    Attributes:
        state: names of parameters that training moves without a gradient.
    """

    activation = "linear"
    in_model = False
    state: tuple[str, ...] = ()
    activity_regularizer: Any
    _takes: ClassVar = {
        "activation": name_of,
        "trainable": bool,
        "state": take_names,
        **dict.fromkeys(checks.REGULARIZED, checks.take_regularizer),
        **{name: only(*usual) for name, usual in checks.LAYER_OPTIONS.items()},
    }
    _fixed: ClassVar = dict.fromkeys(
        ("name", "in_model", "given_shape", "input_shape", "params", "grads"), SETTLED
    )

    def __init__(self, *, name: str | None = None, trainable: bool = True, **options: Any):
        if not isinstance(trainable, bool | np.bool_):
            raise ValueError(f"trainable={trainable!r}: expected it to be a boolean.")
        for role in checks.REGULARIZED:
            setattr(self, role, options.pop(role, None))
        self.given_shape = checks.layer_options(type(self).__name__, options)
        self.name, self.trainable = name or "", trainable
        self.input_shape: Shape | None = None
        self.params: Params = {}
        self.grads: Params = {}

    def _settled(self, name: str) -> bool:
        return self.built if name in self._takes else self.in_model or name == "in_model"

    def __getstate__(self) -> dict[str, Any]:
        """A copy of a layer alone is in no model, and its arrays are its own."""
        return {name: value for name, value in vars(self).items() if name != "in_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # In a circle a model may have handed out its views before: those stay.
        vars(self).update(state | vars(self))

    if TYPE_CHECKING:  # what `alone.py` adds

        def __getattr__(self, name: str) -> Any: ...
        def __call__(self, inputs: Any, training: bool | None = None) -> Array: ...

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON takes them, that make this layer again."""
        config = {"name": self.name, "trainable": self.trainable}
        held = {role: by for role, by in vars(self).items() if role.endswith("_regularizer") and by}
        return config | {role: checks.described(by) for role, by in held.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A new layer by the arguments that `get_config` returned."""
        return cls(**config)

    @property
    def built(self) -> bool:
        return vars(self).get("input_shape") is not None

    @property
    def output_shape(self) -> Shape:
        if self.input_shape is None:
            raise NotBuiltError(f"layer {self.name!r} has no shape yet: give the model an Input.")
        layer: Any = self
        shape: Shape = layer.compute_output_shape(self.input_shape)
        return shape

    @property
    def weights(self) -> list[Array]:
        """The parameters themselves, not copies: writing to them changes the model."""
        return list(self.params.values())

    @property
    def trainable_weights(self) -> list[Array]:
        names = [name for name in self.params if self.trainable and name not in self.state]
        return [self.params[name] for name in names]

    @property
    def non_trainable_weights(self) -> list[Array]:
        names = [name for name in self.params if not self.trainable or name in self.state]
        return [self.params[name] for name in names]

    trainable_variables, non_trainable_variables = trainable_weights, non_trainable_weights

    def get_weights(self) -> list[Array]:
        return [array.copy() for array in self.weights]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Take arrays in the order and of the shapes of `get_weights()`; all of them or none."""
        checks.assign(self.weights, weights)

    def count_params(self) -> int:
        return sum(array.size for array in self.weights)
