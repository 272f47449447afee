"""Which of a model's parameters learn, and whose parameters an optimizer's slots go with.

A layer may be frozen, and an optimizer serves only the variables that it was built for, as in
Keras: another model's or a new layer's are refused, however many they are. What `model.py` does
with the whole vector is done here with the part of it that learns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scratchnet.checks import Examples
from scratchnet.engines import Array
from scratchnet.layers import Layer
from scratchnet.model import Network
from scratchnet.optimizers import Optimizer


def learners(model: Network) -> list[Layer]:
    """The layers whose parameters learn."""
    if not getattr(model, "trainable", True):
        return []
    return [layer for layer in model.layers if moved(layer) and layer.trainable]


def train_step(model: Network, batch: Examples) -> tuple[Any, Array]:
    """`Network.train_step` where everything learns; else the same for the part that does."""
    part = claim(model)
    theta = model.theta[part]  # a view of everything, or a copy of what learns
    if theta.size == model.theta.size > 0:
        return Network.train_step(model, batch)
    loss, outputs = model.gradient(batch)
    if theta.size:
        model.optimizer.step(model.engine, theta, model.grad[part])
        model.theta[part] = theta
    settle(model)
    return loss, outputs


def settle(model: Network) -> None:
    """Take off the layers' `state` what `backward` left for it in `grads`."""
    for layer in model.layers:
        for name in layer.state:
            layer.params[name] -= layer.grads[name]


def moved(layer: Layer) -> int:
    """How many of a layer's parameters a gradient moves: all but its `state`."""
    return sum(array.size for name, array in layer.params.items() if name not in layer.state)


def finalize(model: Network) -> None:
    """At the end of `fit`: the averages of the weights, where the optimizer keeps some."""
    if model.optimizer.use_ema and model.optimizer.slots:
        model.theta[claim(model)] = model.optimizer.slots["average"]


def claim(model: Network) -> slice | Array:
    """Which entries of theta learn, once it is known that the optimizer's slots are theirs.

    A change of `trainable` counts from here on; Keras waits for `compile`, or for its next trace.

    Raises:
        ValueError: for parameters that the optimizer was not built for.
    """
    learning, part = learners(model), claimed(model)
    optimizer = model.optimizer
    if optimizer.owners is None:
        optimizer.build(model.theta[part])
        vars(optimizer).update(owners=learning)
    elif optimizer.owners != learning:
        _hand_over(optimizer, learning)
        optimizer.build(model.theta[part])
    return part


def claimed(model: Network) -> slice | Array:
    """The entries of theta that a gradient moves: of layers that learn, all but their `state`."""
    layers = [layer for layer in model.layers if layer.params]
    learning = learners(model)
    if len(learning) == len(layers) and not any(layer.state for layer in layers):
        return slice(None)
    entries = [
        (layer in learning and name not in layer.state, array.size)
        for layer in layers
        for name, array in layer.params.items()
    ]
    return np.repeat([moves for moves, _ in entries], [size for _, size in entries])


def _hand_over(optimizer: Optimizer, learning: list[Layer]) -> None:
    """Bring the slots of these layers into `optimizer.slots`, in order; those of others rest."""
    mine = slots_by_layer(optimizer)
    if not any(layer.in_model for layer in mine):  # copied or unpickled without its model
        sizes = ([*map(moved, layers)] for layers in (mine, learning))
        if len({*map(tuple, sizes)}) == 1:
            mine = dict(zip(learning, mine.values(), strict=True))
    unknown = [layer.name for layer in learning if layer not in mine]
    if unknown:
        raise ValueError(
            f"Unknown variable: the parameters of layer {unknown[0]!r}. {optimizer.name} can only "
            "be called for the variables it was originally built with: compile with a new "
            "optimizer."
        )
    slots = {
        name: np.concatenate([slot[:0], *(mine[layer][name] for layer in learning)])
        for name, slot in optimizer.slots.items()
    }
    resting = {layer: own for layer, own in mine.items() if layer not in learning}
    vars(optimizer).update(slots=slots, owners=learning, resting=resting)


def slots_by_layer(optimizer: Optimizer) -> dict[Layer, dict[str, Array]]:
    """The slots of every layer that the optimizer was built for, those that rest last."""
    found, start = {}, 0
    for layer in optimizer.owners or ():
        stop = start + moved(layer)
        found[layer] = {name: slot[start:stop] for name, slot in optimizer.slots.items()}
        start = stop
    return {**found, **optimizer.resting}


def packed(model: Network) -> tuple[list[int], dict[str, Array]]:
    """The model's layers that have slots, by their places, and those slots end to end."""
    if model.optimizer.owners is None:  # built for the whole vector, and not claimed yet
        return [i for i, layer in enumerate(model.layers) if moved(layer)], model.optimizer.slots
    mine, layers = slots_by_layer(model.optimizer), model.layers
    places = [i for i, layer in enumerate(layers) if layer in mine]
    slots = {
        name: np.concatenate([slot[:0], *(mine[layers[i]][name] for i in places)])
        for name, slot in model.optimizer.slots.items()
    }
    return places, slots


def unpack(model: Network, places: list[int], slots: dict[str, Array]) -> None:
    """Give a fresh optimizer the slots that `packed` gave.

    Raises:
        ValueError: for slots of other names or sizes than these layers need.
    """
    layers = [model.layers[i] for i in places]
    size = sum(map(moved, layers))
    model.optimizer.build(np.zeros(size, model.theta.dtype))
    vars(model.optimizer).update(owners=layers)
    expected = model.optimizer.slots
    if expected.keys() != slots.keys():
        raise ValueError(f"slots {', '.join(slots)}: expected {', '.join(expected)}")
    for name, slot in expected.items():
        given = slots[name]
        if given.shape != slot.shape or given.dtype != slot.dtype:
            raise ValueError(
                f"the optimizer's slot {name!r} is {given.dtype} {given.shape}: expected "
                f"{slot.dtype} {slot.shape}"
            )
    refill(model, places, slots)


def replace(model: Network, places: list[int], slots: dict[str, Array]) -> None:
    """Give the model's optimizer the slots that `packed` gave, in place of those that it has."""
    optimizer = model.optimizer
    if (places, slots.keys()) == (packed(model)[0], optimizer.slots.keys()):
        refill(model, places, slots)
    else:
        vars(optimizer).update(slots={}, owners=None, resting={})
        unpack(model, places, slots)


def refill(model: Network, places: list[int], slots: dict[str, Array]) -> None:
    """Write slots that `packed` gave into those that are there, resting ones too."""
    mine, start = slots_by_layer(model.optimizer), 0
    for layer in (model.layers[i] for i in places):
        stop = start + moved(layer)
        for name, slot in slots.items():
            mine[layer][name][...] = slot[start:stop]
        start = stop
