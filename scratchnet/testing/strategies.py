"""Hypothesis strategies: whole problems to check gradients on, small enough to read.

A problem is a compiled model with a batch. Arrays are drawn by a seed and a scale, since Hypothesis
fills larger arrays with mostly one repeated value; everything that decides a problem is a small
number, so a failing example shrinks to the smallest net that fails. Needs the extra `test`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from scratchnet import config, layers, losses
from scratchnet.activations import NAMES
from scratchnet.inputs import Data
from scratchnet.optimizers import SGD, Adam, Optimizer
from scratchnet.sequential import Sequential
from scratchnet.utils import to_categorical


class Problem(NamedTuple):
    """A compiled model and a batch for it."""

    model: Sequential
    batch: Data

    def __repr__(self) -> str:
        stack = ", ".join(
            f"{layer.units} {layer.activation}{'' if layer.use_bias else ' no bias'}"
            for layer in self.model.layers
            if isinstance(layer, layers.Dense)
        )
        weights = "" if self.batch.weights is None else ", weighted"
        return (
            f"Problem({self.batch.x.shape} -> {stack}; {self.model.loss.name}, "
            f"{self.model.loss.reading(self.model.layers[-1].activation)}{weights})"
        )


def loss_for(head: str, draw: Any) -> losses.Loss:
    """A loss that makes sense of this head: cross-entropy wants logits or probabilities."""
    reduction = draw(st.sampled_from(("sum_over_batch_size", "sum", "mean_with_sample_weight")))
    kinds: list[Any] = [losses.MeanSquaredError(reduction)]
    for kind in (losses.SparseCategoricalCrossentropy, losses.CategoricalCrossentropy):
        if head == "sigmoid":
            kinds += [
                kind(reduction=reduction, sigmoid_head=reading)
                for reading in losses.SIGMOID_READINGS
            ]
        elif head == "softmax":
            kinds.append(kind(reduction=reduction))
        else:
            kinds.append(kind(from_logits=True, reduction=reduction))
    if head != "softmax" and head != "sigmoid":
        kinds.append(losses.SparseCategoricalCrossentropy(reduction=reduction))  # clipped
    return draw(st.sampled_from(kinds))


def optimizers() -> st.SearchStrategy[Optimizer]:
    """SGD and Adam in all their forms."""
    momentum = st.sampled_from((0.0, 0.5, 0.9, 0.99))
    sgd = st.builds(SGD, st.sampled_from((1e-3, 1e-2, 0.1)), momentum, st.booleans())
    betas = st.sampled_from((0.0, 0.5, 0.9)), st.sampled_from((0.9, 0.99, 0.999))
    epsilon = st.sampled_from((1e-7, 1e-3))
    adam = st.builds(Adam, st.sampled_from((1e-4, 1e-3, 1e-2)), *betas, epsilon, st.booleans())
    return st.one_of(adam, sgd)


@st.composite
def problems(
    draw: Any,
    max_depth: int = 4,
    max_width: int = 8,
    max_batch: int = 7,
    dtype: str = "float64",
    engine: str = "reference",
) -> Problem:
    """A model of 1 to `max_depth` dense layers and a batch of at least one sample."""
    widths = draw(st.lists(st.integers(1, max_width), max_size=max_depth - 1))
    inputs, classes = draw(st.integers(1, max_width)), draw(st.integers(2, max_width))
    activation, bias = st.sampled_from(NAMES), st.booleans()
    stack = [layers.Dense(n, draw(activation), draw(bias)) for n in widths]
    head = layers.Dense(classes, draw(activation), draw(bias))
    before = config.floatx()
    config.set_floatx(dtype)
    seed = draw(st.integers(0, 2**32 - 1))
    model = Sequential([layers.Input((inputs,)), *stack, head], seed=seed)
    config.set_floatx(before)
    rng = np.random.default_rng(seed + 1)
    # Weights a few times larger than Glorot's saturate sigmoids; biases off 0 keep ReLUs alive.
    model.theta *= draw(st.sampled_from((1.0, 0.1, 4.0)))
    model.theta += rng.normal(0, draw(st.sampled_from((0.0, 0.1))), model.theta.size)
    model.compile(draw(optimizers()), loss_for(head.activation, draw), engine=engine)
    batch = draw(st.integers(1, max_batch))
    x = rng.normal(0, draw(st.sampled_from((1.0, 1e-3, 30.0))), (batch, inputs))
    x[rng.random(x.shape) < draw(st.sampled_from((0.0, 0.5, 1.0)))] = 0
    labels = rng.integers(0, classes, batch)
    y = labels if model.loss.sparse else to_categorical(labels, classes)
    weights = draw(st.sampled_from((None, "uniform", "with zeros")))
    w = None
    if weights is not None:
        w = rng.uniform(0.1, 3, batch) * (1 if weights == "uniform" else rng.integers(0, 2, batch))
    return Problem(model, model._check(x, y, w))
