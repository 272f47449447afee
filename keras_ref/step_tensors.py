"""Keras's tensors for one training step, under the names that `app/anatomy.py` gives ours.

Keras's own layers, loss and optimizer do all of it, on a twin with the same weights and moments; a
tape tells the gradients. A layer is called without its activation first, since Keras shows nothing
between the two. `lockstep.py` compares whole trainings.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_ref import bridge
from scratchnet import Sequential
from scratchnet.checks import Examples
from scratchnet.engines import Array


def tensors(model: Sequential, batch: Examples) -> dict[str, Array]:
    """Everything that Keras makes of this batch from the model's weights; the model stays as it is.

    Forward `R`, `X`, `Z1`, `A1` ... and `loss`; backward `dZ1`, `dA1`, `dW1`, `db1` ...; and after
    the step `m W1`, `v W1`, `new W1` and so on.
    """
    with bridge.floatx(model.theta.dtype):
        copy = bridge.twin(model)
        found = _both_ways(copy, batch)
        copy.train_on_batch(batch.x.astype(model.theta.dtype), batch.y, sample_weight=batch.weights)
        after = {"new": bridge.flat(copy.trainable_variables)}
        slots = bridge.keras_slots(copy, model.optimizer)
        after |= {"m": slots["momentum"], "v": slots["velocity"]}
        for name, vector in after.items():
            found |= _named(f"{name} ", model, vector)
    return found


def _both_ways(copy: keras.Sequential, batch: Examples) -> dict[str, Array]:
    """The loss, what each layer makes, and the gradient of each."""
    found: dict[str, tf.Tensor] = {}
    n, A = 0, tf.convert_to_tensor(batch.x.astype(copy.dtype_policy.compute_dtype))
    with tf.GradientTape() as tape:
        for layer in copy.layers:
            if isinstance(layer, keras.layers.Dense):
                n += 1
                found[f"Z{n}"], A = bridge.in_two(layer, A)
                found[f"A{n}"] = A
            else:
                A = layer(A)
                found[{"Rescaling": "R", "Flatten": "X"}[type(layer).__name__]] = A
        loss = copy.compute_loss(x=batch.x, y=batch.y, y_pred=A, sample_weight=batch.weights)
    variables = copy.trainable_variables
    inner = [name for name in found if name[0] in "ZA" and name != f"A{n}"]
    gradients = tape.gradient(loss, [*(found[name] for name in inner), *variables])
    found |= {f"d{name}": gradient for name, gradient in zip(inner, gradients, strict=False)}
    names = (f"d{kind}{i}" for i in range(1, n + 1) for kind in "Wb")
    found |= dict(zip(names, gradients[len(inner) :], strict=True))
    return {"loss": loss.numpy()} | {name: tensor.numpy() for name, tensor in found.items()}


def _named(prefix: str, model: Sequential, vector: Array) -> dict[str, Array]:
    """A vector of all parameters as `W1`, `b1`, `W2` ..., each after the prefix."""
    dense = [views for views in model.views(vector) if views]
    return {
        f"{prefix}{'W' if name == 'kernel' else 'b'}{i}": np.asarray(array)
        for i, views in enumerate(dense, 1)
        for name, array in views.items()
    }
