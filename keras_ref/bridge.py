"""Between scratchnet and Keras: a twin of a model, its weights and its slots, both ways.

Keras keeps one array a parameter; scratchnet keeps one vector. The order is the same (kernel before
bias, layer by layer), so a slot is the concatenation of Keras's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from scratchnet import Sequential, layers, losses, optimizers
from scratchnet.engines import Array


@contextmanager
def floatx(dtype: Any) -> Iterator[None]:
    """Keras's global float type for as long as the block runs.

    Everything with a model in float64 belongs inside: a loss converts its inputs to floatx, and the
    conversion would drop the logits that the outputs carry. The policy goes along because Keras
    fixes it with the first layer ever made, and later ones would keep that layer's type.
    """
    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    name = np.dtype(dtype).name
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(policy)


def twin(model: Sequential, **options: Any) -> keras.Sequential:
    """The same model in Keras, with the same weights, compiled alike if `model` is.

    Args:
        options: more arguments for Keras's compile, such as `jit_compile=True`.
    """
    with floatx(model.theta.dtype):
        copy = keras.Sequential([keras.Input(model.input_shape[1:])])
        for layer in model.layers:
            copy.add(_layer(layer))
        carry_weights(model, copy)
        if model.compiled:
            optimizer, loss = _optimizer(model.optimizer), _loss(model.loss)
            options = {"metrics": ["accuracy"], "jit_compile": False} | options
            copy.compile(optimizer, loss, **options)
            carry_slots(model, copy)
    return copy


def _layer(layer: layers.Layer) -> keras.layers.Layer:
    kind = type(layer).__name__
    if kind not in layers.LAYERS:
        raise TypeError(f"layer {layer.name!r} is a {kind}: expected one that Keras has too.")
    return getattr(keras.layers, kind)(**layer.get_config())


def _optimizer(optimizer: optimizers.Optimizer) -> keras.optimizers.Optimizer:
    return getattr(keras.optimizers, type(optimizer).__name__)(**optimizer.get_config())


def _loss(loss: losses.Loss | None) -> keras.losses.Loss | None:
    if loss is None:
        return None
    config = loss.get_config()
    reading = config.pop("sigmoid_head", "logits")
    if reading != "logits":
        raise ValueError(
            f"sigmoid_head={reading!r}: Keras on TensorFlow reads a sigmoid head's logits, so "
            "there is no twin to compare with."
        )
    return getattr(keras.losses, type(loss).__name__)(**config)


def in_two(layer: keras.layers.Layer, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Pre-activations and outputs of a layer; of a dense one Keras computes both in one call."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        outputs = layer(inputs)
        return outputs, outputs
    layer.activation = None
    try:
        Z = layer(inputs)
    finally:
        layer.activation = activation
    return Z, activation(Z)


def carry_weights(source: Any, target: Any) -> None:
    """Copy weights from either kind of model to the other; `ValueError` if shapes differ."""
    target.set_weights(source.get_weights())


def carry_slots(model: Sequential, copy: keras.Sequential) -> None:
    """Copy step counter, learning rate and slots from scratchnet's optimizer to Keras's."""
    optimizer = copy.optimizer
    optimizer.build(copy.trainable_variables)
    model.optimizer.build(model.theta)  # all 0 if it has not stepped yet: that is carried too
    optimizer.iterations.assign(model.optimizer.iterations)
    optimizer.learning_rate = model.optimizer.learning_rate
    for name, slot in model.optimizer.slots.items():
        arrays = [array for view in model.views(slot) for array in view.values()]
        for variable, array in zip(slot_variables(optimizer, name), arrays, strict=True):
            variable.assign(array)


def fetch_slots(copy: keras.Sequential, model: Sequential) -> None:
    """Copy step counter, learning rate and slots from Keras's optimizer to scratchnet's."""
    model.optimizer.build(model.theta)
    model.optimizer.iterations = int(copy.optimizer.iterations.numpy())
    model.optimizer.learning_rate = float(copy.optimizer.learning_rate.numpy())
    for name, slot in keras_slots(copy, model.optimizer).items():
        model.optimizer.slots[name][...] = slot


def keras_slots(copy: keras.Sequential, optimizer: optimizers.Optimizer) -> dict[str, Array]:
    """Keras's slots as flat vectors, under our names."""
    return {name: flat(slot_variables(copy.optimizer, name)) for name in optimizer.slot_names()}


def slot_variables(optimizer: keras.optimizers.Optimizer, name: str) -> list[Any]:
    """Keras's variables of a slot: our names are Keras's, which it lists in the plural.

    Raises:
        AttributeError: for a slot that Keras's optimizer does not have.
    """
    plural = f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
    attribute = f"_{plural}" if hasattr(optimizer, f"_{plural}") else plural
    variables: list[Any] = getattr(optimizer, attribute)
    return variables


def flat(variables: Any) -> Array:
    """Keras variables or tensors, laid end to end as a vector (P,)."""
    return np.concatenate([np.ravel(variable.numpy()) for variable in variables])
