"""Real bugs of backprop and optimizers, each a small change that can be planted into a model.

Every one of them stood in public code and most of them still learn, which is why accuracy is no
test. `BUGS["name"].plant(model)` spoils a compiled model's engine or optimizer, and nothing else;
the checks of this project must then find it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from scratchnet.engines import Activation, Array, Loss
from scratchnet.engines.reference import adam, dense_backward, sgd
from scratchnet.model import Network


class Bug(NamedTuple):
    """A bug: what is wrong, where it was seen, and how to plant it."""

    name: str
    wrong: str
    source: str
    plant: Callable[[Network], None]


BUGS: dict[str, Bug] = {}


def _bug(name: str, wrong: str, source: str) -> Callable[[Callable[[Network], None]], None]:
    def keep(plant: Callable[[Network], None]) -> None:
        BUGS[name] = Bug(name, wrong, source, plant)

    return keep


def _swap(network: Network, **functions: Any) -> None:
    """Replace functions of the network's engine, and of the objective made from it."""
    network.engine = replace(network.engine, **functions)


def _swap_activation(network: Network, name: str, backward: Callable[..., Array]) -> None:
    table = dict(network.engine.activations)
    table[name] = Activation(table[name].forward, backward)
    _swap(network, activations=table)


def _swap_losses(network: Network, change: Callable[[Array], Array]) -> None:
    def changed(loss: Loss) -> Loss:
        return Loss(loss.forward, lambda dl, T, cache: change(loss.backward(dl, T, cache)))

    _swap(network, losses={k: changed(loss) for k, loss in network.engine.losses.items()})


# --- the loss and the head ------------------------------------------------------------------------


@_bug("missing mean", "the gradient is the batch's sum, not its mean", "joelnet, loss.py, line 19")
def _missing_mean(network: Network) -> None:
    _swap_losses(network, lambda dF: dF * len(dF))


@_bug("sign", "the loss is climbed: dlogits = onehot - p", "a slip of every second homework")
def _sign(network: Network) -> None:
    _swap_losses(network, np.negative)


# --- layers ---------------------------------------------------------------------------------------


@_bug("bias of one sample", "db is taken from the first sample only", "a missing sum over axis 0")
def _bias_of_one(network: Network) -> None:
    def backward(dZ: Array, X: Array, W: Array, dW: Array, db: Array, need_dX: bool) -> Any:
        dX = dense_backward(dZ, X, W, dW, db, need_dX)
        if db is not None:
            db[...] = dZ[0]
        return dX

    _swap(network, dense_backward=backward)


@_bug("mean bias", "db is the mean over the batch of a gradient that is divided by B already", "")
def _mean_bias(network: Network) -> None:
    def backward(dZ: Array, X: Array, W: Array, dW: Array, db: Array, need_dX: bool) -> Any:
        dX = dense_backward(dZ, X, W, dW, db, need_dX)
        if db is not None:
            db /= len(dZ)
        return dX

    _swap(network, dense_backward=backward)


@_bug("dW transposed", "dW = dZ^T X, laid into the shape of W", "the layout (O, I) of PyTorch")
def _transposed(network: Network) -> None:
    def backward(dZ: Array, X: Array, W: Array, dW: Array, db: Array, need_dX: bool) -> Any:
        dX = dense_backward(dZ, X, W, dW, db, need_dX)
        dW[...] = dW.T.reshape(dW.shape).copy()
        return dX

    _swap(network, dense_backward=backward)


@_bug("relu passes everything", "dZ = dA: the mask is forgotten", "backward of a relu as identity")
def _relu_open(network: Network) -> None:
    _swap_activation(network, "relu", lambda dA, Z, A: dA)


@_bug("relu slope 1 at 0", "the mask is Z >= 0", "tinygrad, first weeks: grad where input < 0")
def _relu_at_zero(network: Network) -> None:
    _swap_activation(network, "relu", lambda dA, Z, A: np.where(Z >= 0, dA, np.zeros_like(dA)))


@_bug("sigmoid' of Z", "dZ = dA Z (1 - Z): the derivative is fed the wrong array", "")
def _sigmoid_of_z(network: Network) -> None:
    _swap_activation(network, "sigmoid", lambda dA, Z, A: dA * Z * (1 - Z))


@_bug("tanh' without the square", "dZ = dA (1 - A)", "")
def _tanh_linear(network: Network) -> None:
    _swap_activation(network, "tanh", lambda dA, Z, A: dA * (1 - A))


# --- optimizers -----------------------------------------------------------------------------------


@_bug("epsilon inside the root", "sqrt(v + eps)", "two readings of Kingma & Ba, section 2")
def _epsilon_inside(network: Network) -> None:
    def step(theta: Array, grad: Array, m: Array, v: Array, *others: Any) -> None:
        *middle, epsilon = others
        before = theta.copy()
        adam(theta, grad, m, v, *middle, epsilon)
        theta[...] = before - m * middle[1] / np.sqrt(v + epsilon)

    _swap(network, adam=step)


@_bug("constant bias correction", "divided by 1 - beta, no power", "ML-From-Scratch#35")
def _constant_correction(network: Network) -> None:
    optimizer = network.optimizer
    first = type(optimizer).scalars
    optimizer.scalars = (  # type: ignore[method-assign]
        lambda step, count, dtype: np.repeat(first(optimizer, 1, 1, dtype), count)
    )


@_bug("t per parameter", "the step counter moves once for each array", "tinygrad, fix fc6f355c6a")
def _t_per_parameter(network: Network) -> None:
    optimizer, arrays = network.optimizer, len(network.params) or 1
    first = type(optimizer).scalars
    optimizer.scalars = (  # type: ignore[method-assign]
        lambda step, count, dtype: first(optimizer, step * arrays, count, dtype)
    )


@_bug("second moment of m", "v averages m^2 where it should average g^2", "")
def _v_of_m(network: Network) -> None:
    def step(theta: Array, grad: Array, m: Array, v: Array, *others: Any) -> None:
        before = v.copy()
        adam(theta, grad, m, v, *others)
        v[...] = before + (m * m - before) * others[3]

    _swap(network, adam=step)


@_bug("momentum scaled twice", "u = mu u - (1 - mu) lr g", "a moving average, read as momentum")
def _damped_momentum(network: Network) -> None:
    def step(theta: Array, grad: Array, velocity: Any, rate: Any, mu: float, *n: Any) -> None:
        sgd(theta, grad, velocity, rate * (1 - mu), mu, *n)

    _swap(network, sgd=step)
