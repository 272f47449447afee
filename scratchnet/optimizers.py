"""SGD and Adam, with Keras's arguments and Keras's roundings.

An optimizer owns its moments, flat vectors beside the model's theta, and one step counter. It turns
the step number into plain numbers (`scalars`, `constants`); the arithmetic on vectors is the
engine's. Keras takes the powers of beta and SGD's momentum through float32 even in float64, and
this room copies that; learning rate, epsilon and 1 - beta stay double. There is no rule: each
number was measured (`tests/keras/test_conventions.py`). It refuses what it can't do (clipping,
decay, averages) by name instead of ignoring it. `scratchnet explain` shows Adam as stages alpha,
moments and new.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.engines import Array, Engine
from scratchnet.engines.memory import aligned_zeros
from scratchnet.support import check_choice, reject_unsupported, through_float32

NOT_YET = {
    "weight_decay": None,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}
"""Keras's other arguments and their defaults, the only values that are taken for now."""


class Optimizer:
    """What a model asks of an optimizer: `build(theta)`, then `step(engine, theta, grad)`.

    Attributes:
        learning_rate: may be written at any time, for instance by a schedule.
        iterations: steps taken so far; the t of the formulas is that of the next, iterations + 1.
        slots: name -> vector of theta's size and dtype.

    >>> adam = Adam(0.01)
    >>> adam.build(np.zeros(3))
    >>> adam.iterations, list(adam.slots)
    (0, ['momentum', 'velocity'])
    """

    rule = ""
    """The engine's name for it, in a plan."""

    def __init__(self, learning_rate: float, name: str | None = None, **others: Any):
        kind = type(self).__name__
        for argument, value in others.items():
            default = NOT_YET[check_choice(f"{kind}: argument", argument, NOT_YET)]
            reject_unsupported(kind, **{argument: (value, default)})
        self.learning_rate = learning_rate
        self.name = name or type(self).__name__.lower()
        self.iterations = 0
        self.slots: dict[str, Array] = {}

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        rate = float(value) if isinstance(value, int | float | np.generic) else np.nan
        if not np.isfinite(rate) or rate < 0:
            raise ValueError(
                f"learning_rate={value!r}: expected a finite number >= 0. "
                "For a schedule take callbacks.LearningRateScheduler."
            )
        self._learning_rate = rate

    def slot_names(self) -> tuple[str, ...]:
        raise NotImplementedError

    def build(self, theta: Array) -> None:
        """Make the slots for a vector of parameters, all 0; a second call with its like is free."""
        if not self.slots:
            self.slots = {
                name: aligned_zeros(theta.size, theta.dtype) for name in self.slot_names()
            }
        elif any(
            slot.shape != theta.shape or slot.dtype != theta.dtype for slot in self.slots.values()
        ):
            raise ValueError(
                f"{self.name} holds slots for {next(iter(self.slots.values())).size} parameters, "
                f"the model has {theta.size} of {theta.dtype}: compile with a new optimizer."
            )

    def scalars(self, first: int, count: int, dtype: np.dtype[Any]) -> Array:
        """The number that changes from step to step, for `count` steps from t = `first` on."""
        return np.full(count, self.learning_rate, dtype)

    def step(self, engine: Engine, theta: Array, grad: Array) -> None:
        """Move theta (P,) by one step along grad (P,), in place."""
        self.build(theta)
        scalar = self.scalars(self.iterations + 1, 1, theta.dtype)[0]
        self.update(engine, theta, grad, scalar)
        self.iterations += 1

    def update(self, engine: Engine, theta: Array, grad: Array, scalar: Any) -> None:
        raise NotImplementedError

    def constants(self) -> dict[str, Any]:
        """What stays the same from step to step, as plain numbers for an engine."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "name": self.name}


class SGD(Optimizer):
    """theta -= lr g; with momentum mu: u = mu u - lr g, theta += u (Nesterov: mu u - lr g).

    mu passes through float32: 0.9 is 0.8999999761581421 in float64, as in Keras.
    Source: Keras, optimizers/sgd.py.

    >>> theta = np.array([1.0, 2.0])
    >>> from scratchnet.engines import get_engine
    >>> SGD(0.5).step(get_engine("reference"), theta, np.array([1.0, -1.0]))
    >>> theta.tolist()
    [0.5, 2.5]
    """

    rule = "sgd"

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **others: Any,
    ):
        super().__init__(learning_rate, **others)
        if not 0 <= momentum <= 1:
            raise ValueError(f"SGD: momentum={momentum!r}: expected a number in [0, 1].")
        self.momentum, self.nesterov = float(momentum), bool(nesterov)

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def update(self, engine: Engine, theta: Array, grad: Array, scalar: Any) -> None:
        engine.sgd(theta, grad, self.slots.get("momentum"), scalar, *self.constants().values())

    def constants(self) -> dict[str, Any]:
        return {"momentum": through_float32(self.momentum), "nesterov": self.nesterov}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """m += (1 - beta_1)(g - m);  v += (1 - beta_2)(g^2 - v);  theta -= alpha_t m / (sqrt(v) + eps).

    alpha_t = lr sqrt(1 - beta_2^t) / (1 - beta_1^t). Keras's epsilon, 1e-7, is the paper's "epsilon
    hat": it is added to the root of the uncorrected v, and the correction, in alpha_t, multiplies
    afterwards. PyTorch corrects v first and then adds epsilon, 1e-8: the same number means
    something else there. The powers of beta start from float32 numbers, while 1 - beta is exact.
    Source: Kingma & Ba 2015, section 2; AMSGrad: Reddi et al. 2018; Keras, optimizers/adam.py.

    >>> theta = np.zeros(2)
    >>> from scratchnet.engines import get_engine
    >>> Adam().step(get_engine("reference"), theta, np.array([3.0, -2.0]))
    >>> theta.round(6).tolist()  # the first step has the size of the learning rate
    [-0.001, 0.001]
    """

    rule = "adam"

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **others: Any,
    ):
        super().__init__(learning_rate, **others)
        for argument, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= value < 1:
                raise ValueError(f"Adam: {argument}={value!r}: expected a number in [0, 1).")
        if not epsilon > 0:
            raise ValueError(f"Adam: epsilon={epsilon!r}: expected a number > 0.")
        self.beta_1, self.beta_2 = float(beta_1), float(beta_2)
        self.epsilon, self.amsgrad = float(epsilon), bool(amsgrad)

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum", "velocity", "velocity_hat")[: 3 if self.amsgrad else 2]

    def scalars(self, first: int, count: int, dtype: np.dtype[Any]) -> Array:
        """alpha_t for t = first, first + 1, ...; (count,) in `dtype`."""
        t = np.arange(first, first + count, dtype=np.float64)
        power_1 = (through_float32(self.beta_1) ** t).astype(dtype)
        power_2 = (through_float32(self.beta_2) ** t).astype(dtype)
        alphas: Array = dtype.type(self.learning_rate) * np.sqrt(1 - power_2) / (1 - power_1)
        return alphas

    def update(self, engine: Engine, theta: Array, grad: Array, scalar: Any) -> None:
        m, v, v_hat = (self.slots.get(name) for name in ("momentum", "velocity", "velocity_hat"))
        engine.adam(
            theta, grad, m, v, v_hat, scalar, 1 - self.beta_1, 1 - self.beta_2, self.epsilon
        )

    def constants(self) -> dict[str, Any]:
        return {
            "one_minus_beta_1": 1 - self.beta_1,
            "one_minus_beta_2": 1 - self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }

    def get_config(self) -> dict[str, Any]:
        names = ("beta_1", "beta_2", "epsilon", "amsgrad")
        return super().get_config() | {name: getattr(self, name) for name in names}


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {
    "sgd": SGD,
    "SGD": SGD,
    "adam": Adam,
    "Adam": Adam,
}


def get(identifier: str | Optimizer) -> Optimizer:
    """An optimizer by name, or the given one; `ValueError` for an unknown name.

    >>> get("adam").get_config()["epsilon"]
    1e-07
    """
    if isinstance(identifier, Optimizer):
        return identifier
    return OPTIMIZERS[check_choice("optimizer", identifier, OPTIMIZERS)]()
