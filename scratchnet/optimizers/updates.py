"""SGD and Adam, with Keras's arguments and Keras's roundings.

An optimizer owns its moments, flat vectors beside the model's theta, and one step counter. It turns
the step number into plain numbers (`scalars`, `constants`); the arithmetic on vectors is the
engine's. Keras takes the powers of beta and SGD's momentum through float32 even in float64, and
this room copies that; learning rate, epsilon, 1 - beta, and rho and momentum of RMSprop stay
double. There is no rule: each number was measured (`tests/keras/test_conventions.py`). What an
optimizer may do around a step (clipping, decay, averages) is in `options.py`. `scratchnet explain`
shows Adam as stages alpha, moments and new.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from scratchnet.engines.contract import Array, Engine
from scratchnet.engines.memory import aligned_zeros
from scratchnet.support import SETTLED, Part, only, through_float32


def number(test: Callable[[float], bool], expected: str) -> Callable[[Any], float]:
    """What an optimizer takes for a number: a finite one that passes `test`."""

    def take(value: Any) -> float:
        given = isinstance(value, int | float | np.generic) and np.isfinite(value)
        if not given or not test(float(value)):
            raise ValueError(f"expected {expected}.")
        return float(value)

    return take


def rate_at(schedule: Any, step: int) -> float:
    """The rate after so many steps; a plain function is asked without an argument, as in Keras."""
    return RATE(schedule(step) if hasattr(schedule, "get_config") else schedule())


BETA = number(lambda beta: 0 <= beta < 1, "a number in [0, 1)")
RATE = number(
    lambda rate: rate >= 0,
    "a finite number >= 0, or a schedule (by epochs, callbacks.LearningRateScheduler)",
)
HELD = ("slots", "owners", "resting")


class Optimizer(Part):
    """What a model asks of an optimizer: `build(theta)`, then `step(engine, theta, grad)`.

    Attributes:
        learning_rate: may be written at any time, for instance by a schedule.
        iterations: steps taken so far; the t of the formulas is that of the next, iterations + 1.
        slots: name -> vector of theta's size and dtype.
        owners, resting: the layers that they go with, and slots of others (`learning.py`).

    >>> adam = Adam(0.01)
    >>> adam.build(np.zeros(3))
    >>> adam.iterations, list(adam.slots)
    (0, ['momentum', 'velocity'])
    """

    rule = ""
    """The engine's name for it, in a plan."""
    owners: Any = None
    resting: Mapping[Any, Any] = {}
    _takes: ClassVar = {
        "learning_rate": lambda rate: rate if callable(rate) else RATE(rate),
        "momentum": number(lambda mu: 0 <= mu <= 1, "a number in [0, 1]"),
        "beta_1": BETA,
        "beta_2": BETA,
        "epsilon": number(lambda epsilon: epsilon > 0, "a number > 0"),
        "rho": number(lambda rho: 0 <= rho <= 1, "a number in [0, 1]"),
        "initial_accumulator_value": number(lambda value: value >= 0, "a number >= 0"),
        "nesterov": bool,
        "amsgrad": bool,
        "centered": bool,
        "iterations": operator.index,
        "lr": only(instead="assign learning_rate."),
    }
    _fixed: ClassVar = dict.fromkeys((*HELD, "rule", "paired", "schedule"), SETTLED)
    schedule: Any = None
    _names: ClassVar[tuple[str, ...]] = ()
    """A rule's own arguments, as `get_config` tells them."""
    paired: ClassVar[tuple[str, ...]] = ()
    """Slots that Keras makes by turns, both for one variable and then for the next."""
    if TYPE_CHECKING:  # what `options.py` adds

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, learning_rate: float, name: str | None = None, **others: Any):
        self.take_options(learning_rate, others)
        self.name = name or type(self).__name__.lower()
        self.iterations = 0
        self.slots: dict[str, Array] = {}

    def _settled(self, name: str) -> bool:
        return "slots" in vars(self)

    def slot_names(self) -> tuple[str, ...]:
        raise NotImplementedError

    def build(self, theta: Any) -> None:
        """Make the slots for a vector of parameters, all 0; a second call with its like is free."""
        theta, names = self.vector_of(theta), self.slots_wanted()
        if not self.slots:
            vars(self)["slots"] = {n: aligned_zeros(theta.size, theta.dtype) for n in names}
        elif any(
            slot.shape != theta.shape or slot.dtype != theta.dtype for slot in self.slots.values()
        ):
            raise ValueError(
                f"{self.name} holds slots for {next(iter(self.slots.values())).size} parameters, "
                f"the model has {theta.size} of {theta.dtype}: compile with a new optimizer."
            )
        elif (*self.slots,) != names:
            raise ValueError(
                f"{self.name} holds {', '.join(self.slots)} and would need "
                f"{', '.join(names) or 'nothing'}: compile with a new optimizer."
            )

    @property
    def learning_rate(self) -> Any:
        """The rate of the next step."""
        return self._rate if self.schedule is None else rate_at(self.schedule, self.iterations)

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        if hasattr(self.schedule, "get_config") and not callable(rate):
            raise TypeError(
                f"{self.name}: its learning rate is the schedule {self.schedule!r}, and a number "
                "can't be assigned: make the optimizer with a number, or assign a schedule."
            )
        own = {"schedule": rate} if callable(rate) else {"schedule": None, "_rate": rate}
        vars(self).update(own)

    def scalars(self, first: int, count: int, dtype: np.dtype[Any]) -> Array:
        """The number that changes from step to step, for `count` steps from t = `first` on."""
        if self.schedule is None:
            return np.full(count, self._rate, dtype)
        steps = range(first - 1, first - 1 + count)
        return np.array([rate_at(self.schedule, step) for step in steps], dtype)

    def slots_wanted(self) -> tuple[str, ...]:
        """The rule's slots, and the averages of the weights where they are kept."""
        names = self.slot_names()
        return (*names, "average") if self.use_ema else names

    def step(self, engine: Engine, theta: Array, grad: Array) -> None:
        """Move theta (P,) by one step along grad (P,), in place."""
        self.build(theta)
        scalar = self.scalars(self.iterations + 1, 1, theta.dtype)[0]
        option = self.option_in_force()
        self.update(engine, theta, self.before(theta, grad) if option else grad, scalar)
        if option:
            self.after(theta)
        self.iterations += 1

    def update(self, engine: Engine, theta: Array, grad: Array, scalar: Any) -> None:
        raise NotImplementedError

    def constants(self) -> dict[str, Any]:
        """What stays the same from step to step, as plain numbers for an engine."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return dict(self.options_config()) | {name: getattr(self, name) for name in self._names}


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
    _names = ("momentum", "nesterov")

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **others: Any,
    ):
        super().__init__(learning_rate, **others)
        self.momentum, self.nesterov = momentum, nesterov

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def update(self, engine: Engine, theta: Array, grad: Array, scalar: Any) -> None:
        sgd, u = engine.optimizers["sgd"], self.slots.get("momentum")
        sgd(theta, grad, u, scalar, *self.constants().values())

    def constants(self) -> dict[str, Any]:
        return {"momentum": through_float32(self.momentum), "nesterov": self.nesterov}


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
    paired = ("momentum", "velocity")
    _names = ("beta_1", "beta_2", "epsilon", "amsgrad")

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
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.epsilon, self.amsgrad = epsilon, amsgrad

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum", "velocity", "velocity_hat")[: 3 if self.amsgrad else 2]

    def scalars(self, first: int, count: int, dtype: np.dtype[Any]) -> Array:
        """alpha_t for t = first, first + 1, ...; (count,) in `dtype`."""
        t = np.arange(first, first + count, dtype=np.float64)
        power_1 = (through_float32(self.beta_1) ** t).astype(dtype)
        power_2 = (through_float32(self.beta_2) ** t).astype(dtype)
        rates = super().scalars(first, count, dtype)
        alphas: Array = rates * np.sqrt(1 - power_2) / (1 - power_1)
        return alphas

    def update(self, engine: Engine, theta: Array, grad: Array, scalar: Any) -> None:
        m, v, v_hat = (self.slots.get(name) for name in ("momentum", "velocity", "velocity_hat"))
        *numbers, _ = self.constants().values()
        engine.optimizers["adam"](theta, grad, m, v, v_hat, scalar, *numbers)

    def constants(self) -> dict[str, Any]:
        return {
            "one_minus_beta_1": 1 - self.beta_1,
            "one_minus_beta_2": 1 - self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }
