"""The optimizers that the script does not use, with Keras's arguments and Keras's roundings.

RMSprop, which both engines know, and AdamW, which is Adam; Adagrad and Nadam run on the reference
engine's arrays here. Read `updates.py` first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.engines.contract import Array, Engine
from scratchnet.optimizers.updates import Adam, Optimizer
from scratchnet.support import through_float32


class RMSprop(Optimizer):
    """v = rho v + (1 - rho) g^2;  step = lr g / sqrt(v + eps);  theta -= step.

    The epsilon stands inside the root, unlike Adam's. With momentum mu: u = mu u + step, and then
    theta -= u. `centered` takes the square of the mean gradient off v. rho and mu stay double.
    Source: Hinton 2012, lecture 6e; Keras, optimizers/rmsprop.py.

    >>> theta = np.zeros(2)
    >>> from scratchnet.engines import get_engine
    >>> RMSprop().step(get_engine("reference"), theta, np.array([3.0, -2.0]))
    >>> theta.round(6).tolist()  # the first step: lr / sqrt(1 - rho), whatever the gradient
    [-0.003162, 0.003162]
    """

    rule = "rmsprop"
    _names = ("rho", "momentum", "epsilon", "centered")

    def __init__(
        self,
        learning_rate: float = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **others: Any,
    ):
        super().__init__(learning_rate, **others)
        self.rho, self.momentum, self.epsilon, self.centered = rho, momentum, epsilon, centered

    def slot_names(self) -> tuple[str, ...]:
        asked = {"momentum": self.momentum, "average_gradient": self.centered}
        return ("velocity", *(name for name, wanted in asked.items() if wanted))

    def update(self, engine: Engine, theta: Array, grad: Array, scalar: Any) -> None:
        names = ("velocity", "momentum", "average_gradient")
        *numbers, _ = self.constants().values()
        engine.optimizers["rmsprop"](theta, grad, *map(self.slots.get, names), scalar, *numbers)

    def constants(self) -> dict[str, Any]:
        return {
            "rho": self.rho,
            "one_minus_rho": 1 - self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }


class AdamW(Adam):
    """Adam, and before its step theta -= lr weight_decay theta.

    Source: Loshchilov & Hutter 2019, algorithm 2; Keras, optimizers/adamw.py.

    >>> theta = np.array([1.0])
    >>> from scratchnet.engines import get_engine
    >>> AdamW(0.5, weight_decay=0.25).step(get_engine("reference"), theta, np.zeros(1))
    >>> theta.tolist()  # 1 - 0.5 * 0.25
    [0.875]
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **others: Any,
    ):
        if weight_decay is None:
            raise ValueError("Argument `weight_decay` must be a float: got weight_decay=None.")
        others["weight_decay"] = weight_decay
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, **others)


class Adagrad(Optimizer):
    """a += g^2;  theta -= lr g / sqrt(a + epsilon), where a begins at initial_accumulator_value.

    That value is a float32 number, in float64 too; the epsilon stands inside the root.
    Source: Duchi et al. 2011; Keras, optimizers/adagrad.py.

    >>> theta, adagrad = np.array([1.0]), Adagrad(0.5, initial_accumulator_value=7.0, epsilon=5.0)
    >>> from scratchnet.engines import get_engine
    >>> adagrad.step(get_engine("reference"), theta, np.array([2.0]))
    >>> theta.tolist()  # 1 - 0.5 * 2 / sqrt(7 + 4 + 5)
    [0.75]
    """

    _names = ("initial_accumulator_value", "epsilon")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **others: Any,
    ):
        super().__init__(learning_rate, **others)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def slot_names(self) -> tuple[str, ...]:
        return ("accumulator",)

    def build(self, theta: Any) -> None:
        fresh = not self.slots
        super().build(theta)
        if fresh:
            self.slots["accumulator"][:] = through_float32(self.initial_accumulator_value)

    def update(self, engine: Engine, theta: Array, grad: Array, scalar: Any) -> None:
        a = self.slots["accumulator"]
        a += grad * grad
        theta -= scalar * grad / np.sqrt(a + self.epsilon)


class Nadam(Optimizer):
    """Adam with Nesterov's look ahead.

    With u_t = beta_1 (1 - 0.96^t / 2) and U_t = u_1 u_2 ... u_t:
    m += (1 - beta_1)(g - m);  v += (1 - beta_2)(g^2 - v);
    theta -= lr (u_(t+1) m / (1 - U_(t+1)) + (1 - u_t) g / (1 - U_t)) / (sqrt(v / (1 - beta_2^t)) +
    epsilon). beta_1, beta_2 and 0.96 pass through float32, but in U_t, as in Keras.
    Source: Dozat 2016; Keras, optimizers/nadam.py.

    >>> theta = np.array([1.0])
    >>> from scratchnet.engines import get_engine
    >>> Nadam(0.5).step(get_engine("reference"), theta, np.array([2.0]))
    >>> theta.round(3).tolist()
    [0.469]
    """

    _product: tuple[int, float] = (0, 1.0)
    """t, and U_t as far as it was multiplied up."""
    paired = ("momentum", "velocity")
    _names = ("beta_1", "beta_2", "epsilon")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **others: Any,
    ):
        super().__init__(learning_rate, **others)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def slot_names(self) -> tuple[str, ...]:
        return ("momentum", "velocity")

    def product(self, t: int, dtype: np.dtype[Any]) -> Any:
        """U_t, multiplied up in the order of the steps."""
        at, product = self._product if self._product[0] <= t else (0, 1.0)
        value, base, beta = dtype.type(product), dtype.type(0.96), dtype.type(self.beta_1)
        for step in range(at + 1, t + 1):
            value = value * beta * (1 - dtype.type(0.5) * base ** dtype.type(step))
        vars(self)["_product"] = (t, float(value))
        return value

    def update(self, engine: Engine, theta: Array, grad: Array, scalar: Any) -> None:
        m, v, number = self.slots["momentum"], self.slots["velocity"], theta.dtype.type
        t = self.iterations + 1
        beta_1, beta_2, decay = (
            number(through_float32(x)) for x in (self.beta_1, self.beta_2, 0.96)
        )
        now, following = (beta_1 * (1 - number(0.5) * decay ** number(s)) for s in (t, t + 1))
        product = self.product(t, theta.dtype)
        m += (grad - m) * (1 - beta_1)
        v += (grad * grad - v) * (1 - beta_2)
        ahead = following * m / (1 - product * following) + (1 - now) * grad / (1 - product)
        root = np.sqrt(v / (1 - beta_2 ** number(t)))
        theta -= ahead * scalar / (root + number(self.epsilon))
