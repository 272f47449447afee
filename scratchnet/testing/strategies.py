"""Hypothesis strategies: arrays, batches, labels, layers, nets and whole problems, made to be read.

Arrays are drawn by a fill and a seed, since Hypothesis itself fills larger arrays with mostly one
repeated value; the first fill is small integers, so that a failing example shrinks to the smallest
net with the smallest integers. A problem is a compiled model with a batch: `problems()`. Fills
reach many orders of magnitude, exact zeros and saturation. Needs Hypothesis, of the extra `test`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from hashlib import blake2b
from inspect import signature
from typing import Any, NamedTuple, TypeVar

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from scratchnet import config, layers, losses
from scratchnet.activations import NAMES
from scratchnet.checks import Examples
from scratchnet.engines import Array, reference
from scratchnet.optimizers import OPTIMIZERS, Optimizer
from scratchnet.sequential import Sequential
from scratchnet.utils import to_categorical

T = TypeVar("T")


class Problem(NamedTuple):
    """A compiled model and a batch for it.

    >>> model = Sequential([layers.Input((2,)), layers.Dense(3, "relu")])
    >>> model.compile("sgd", "mse", engine="reference")
    >>> Problem(model, model.batch(np.ones((4, 2)), np.ones((4, 3))))
    Problem((4, 2) -> 3 relu; mean_squared_error, outputs)
    """

    model: Sequential
    batch: Examples

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


FILLS = ("integers", "normal", "tiny", "large", "all scales", "zeros among")
"""How an array is filled: -2 to 2; N(0, 1); 1e-3 of it; 30 times it; entries from 1e-8 to 1e8; and
N(0, 1) with every other entry exactly 0. Hypothesis shrinks towards the first."""


def filled(fill: str, shape: tuple[int, ...], seed: int) -> Array:
    """An array of that fill, float64; the same seed gives the same numbers.

    >>> filled("integers", (2, 2), seed=0).tolist()
    [[-2.0, 2.0], [1.0, 2.0]]
    """
    rng = np.random.default_rng(seed)
    normal = rng.normal(0, 1, shape)
    if fill == "integers":
        return rng.integers(-2, 3, shape).astype(np.float64)
    if fill == "all scales":
        return normal * 10.0 ** rng.uniform(-8, 8, shape)
    if fill == "zeros among":
        return normal * rng.integers(0, 2, shape)
    return normal * {"normal": 1.0, "tiny": 1e-3, "large": 30.0}[fill]


seeds = st.integers(0, 2**16 - 1)


def chosen(names: Iterable[str], seed: int) -> str:
    """A name of a registry by a seed: the first for 0, else the one with the highest hash.

    A longer registry moves only the seeds that choose the new name, and takes as many random
    numbers as before: whatever else is drawn stays as it was.

    >>> [chosen(("relu", "tanh"), seed) for seed in range(4)]
    ['relu', 'tanh', 'relu', 'tanh']
    >>> [chosen(("relu", "tanh", "gelu"), seed) for seed in range(4)]
    ['relu', 'tanh', 'gelu', 'gelu']
    """
    known = list(names)
    if seed == 0:
        return known[0]
    return max(known, key=lambda name: blake2b(f"{seed} {name}".encode()).digest())


def names_of(registry: Iterable[str]) -> st.SearchStrategy[str]:
    """One of a registry's names.

    >>> from hypothesis import find
    >>> find(names_of(["relu", "tanh"]), lambda name: name != "relu")
    'tanh'
    """
    return seeds.map(partial(chosen, list(registry)))


def arrays(
    shape: tuple[int, ...] | st.SearchStrategy[tuple[int, ...]],
    fills: tuple[str, ...] = FILLS,
) -> st.SearchStrategy[Array]:
    """Well filled float64 arrays of a shape, or of shapes that are drawn.

    >>> from hypothesis import find
    >>> find(arrays((1, 3)), lambda x: x.any()).shape
    (1, 3)
    """
    shapes = st.just(shape) if isinstance(shape, tuple) else shape
    return st.builds(filled, st.sampled_from(fills), shapes, seeds)


def sizes(most: int = 7) -> st.SearchStrategy[int]:
    """Batch sizes from 1.

    >>> from hypothesis import find
    >>> find(sizes(), lambda size: size > 2)
    3
    """
    return st.integers(1, most)


def labels(batch: int, classes: int) -> st.SearchStrategy[Array]:
    """Integer labels (B,) in [0, K), some classes perhaps missing.

    >>> from hypothesis import find
    >>> find(labels(batch=4, classes=3), lambda y: True).shape
    (4,)
    """
    return st.builds(
        lambda seed: np.random.default_rng(seed).integers(0, classes, batch),
        seeds,
    )


def sample_weights(batch: int) -> st.SearchStrategy[Array | None]:
    """None, weights (B,) in [0.1, 3), or the same with some exactly 0.

    >>> from hypothesis import find
    >>> bool(find(sample_weights(4), lambda w: w is not None and not w.all()).all())
    False
    """

    def make(kind: str, seed: int) -> Array | None:
        rng = np.random.default_rng(seed)
        w = rng.uniform(0.1, 3, batch)
        if kind == "none":
            return None
        return w * rng.integers(0, 2, batch) if kind == "with zeros" else w

    return st.builds(make, st.sampled_from(("none", "positive", "with zeros")), seeds)


def ragged(most_samples: int = 40, most: int = 16) -> st.SearchStrategy[tuple[int, int]]:
    """(N, B) with 1 <= B < N, B not a divisor of N: the last batch is short.

    >>> from hypothesis import find
    >>> find(ragged(), lambda pair: True)
    (3, 2)
    """
    pairs = st.tuples(st.integers(3, most_samples), st.integers(2, most))
    return pairs.filter(lambda pair: pair[1] < pair[0] and pair[0] % pair[1] != 0)


def dense_layers(
    most: int = 8, activations: tuple[str, ...] = NAMES
) -> st.SearchStrategy[layers.Dense]:
    """Dense layers of 1 to `most` units, with and without a bias.

    >>> from hypothesis import find
    >>> find(dense_layers(), lambda layer: layer.units > 3).units > 3
    True
    """
    return st.builds(layers.Dense, st.integers(1, most), names_of(activations), st.booleans())


def architectures(
    max_depth: int = 4, max_width: int = 8, activations: tuple[str, ...] = NAMES
) -> st.SearchStrategy[tuple[int, list[layers.Dense]]]:
    """(inputs, stack): 1 to `max_depth` dense layers, the last of at least two units.

    >>> from hypothesis import find
    >>> inputs, stack = find(architectures(), lambda drawn: len(drawn[1]) == 2)
    >>> len(stack), stack[-1].units >= 2
    (2, True)
    """
    hidden = st.lists(dense_layers(max_width, activations), max_size=max_depth - 1)
    head = st.builds(layers.Dense, st.integers(2, max_width), names_of(activations), st.booleans())
    return st.tuples(
        st.integers(1, max_width), st.builds(lambda below, top: [*below, top], hidden, head)
    )


def kinds(registry: Mapping[str, type[T]]) -> dict[str, type[T]]:
    """The classes of a registry by their own names, each once.

    >>> from scratchnet.optimizers import SGD
    >>> list(kinds({"sgd": SGD, "SGD": SGD}))
    ['SGD']
    """
    return {kind.__name__: kind for kind in registry.values()}


def loss_for(head: str, draw: Any) -> losses.Loss:
    """A loss that makes sense of this head: cross-entropy wants logits or probabilities."""
    reduction = draw(st.sampled_from(("sum_over_batch_size", "sum", "mean_with_sample_weight")))
    makers: dict[str, Callable[[], losses.Loss]] = {}
    for name, kind in kinds(losses.LOSSES).items():
        if kind().function(kind().reading(head)) is not None:
            continue  # rounding is only derived for the engines' own losses (`magnitude.py`)
        if "sigmoid_head" not in signature(kind).parameters:
            makers[name] = partial(kind, reduction=reduction)
        elif head == "sigmoid":
            for reading in losses.SIGMOID_READINGS:
                options = {"reduction": reduction, "sigmoid_head": reading}
                makers[f"{name} {reading}"] = partial(kind, **options)
        else:
            logits: dict[str, Any] = {} if head == "softmax" else {"from_logits": True}
            makers[name] = partial(kind, reduction=reduction, **logits)
    if head not in ("softmax", "sigmoid"):
        clipped = partial(losses.SparseCategoricalCrossentropy, reduction=reduction)
        makers["clipped"] = clipped
    return makers[draw(names_of(makers))]()


SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "learning_rate": st.sampled_from((1e-4, 1e-3, 1e-2, 0.1)),
    "momentum": st.sampled_from((0.0, 0.5, 0.9, 0.99)),
    "nesterov": st.booleans(),
    "beta_1": st.sampled_from((0.0, 0.5, 0.9)),
    "beta_2": st.sampled_from((0.9, 0.99, 0.999)),
    "epsilon": st.sampled_from((1e-7, 1e-3)),
    "amsgrad": st.booleans(),
}
"""What an optimizer's arguments are drawn from; others keep their defaults."""


@st.composite
def optimizers(draw: Any) -> Optimizer:
    """The optimizers of the registry in all their forms.

    >>> from hypothesis import find
    >>> find(optimizers(), lambda optimizer: type(optimizer).__name__ == "SGD").momentum
    0.0
    """
    registry = kinds(OPTIMIZERS)
    kind = registry[draw(names_of(registry))]
    numbers = {name: draw(numbers) for name, numbers in SETTINGS.items()}
    taken = signature(kind).parameters
    return kind(**{name: value for name, value in numbers.items() if name in taken})


def _weights(model: Sequential, fill: str, seed: int, saturate: float) -> None:
    """Fill theta: `normal` keeps Glorot's sizes with biases off 0, `saturate` makes it larger."""
    rng = np.random.default_rng(seed)
    if fill == "integers":
        model.theta[...] = rng.integers(-2, 3, model.theta.size)
    model.theta *= saturate
    if fill == "normal":
        model.theta += rng.normal(0, 0.1, model.theta.size)


def _off_the_kink(model: Sequential, x: Array, margin: float) -> bool:
    """Whether every pre-activation is at least `margin` away from its activation's kinks."""
    return all(
        np.abs(stage.Z - kink).min() >= margin
        for layer, stage in zip(model.layers, model.run(x), strict=True)
        for kink in reference.KINKS.get(layer.activation, ())
    )


def _finite(model: Sequential, batch: Examples) -> bool:
    """Whether loss and gradient are finite: where all sigmoids underflow they are 0 / 0."""
    with np.errstate(all="ignore"):
        loss, _ = model.gradient(batch)
    found = bool(np.isfinite(loss) and np.isfinite(model.grad).all())
    model.grad[...] = 0
    return found


@st.composite
def problems(
    draw: Any,
    max_depth: int = 4,
    max_width: int = 8,
    max_batch: int = 7,
    dtype: str = "float64",
    engine: str = "reference",
    margin: float = 0.0,
    activations: tuple[str, ...] = NAMES,
) -> Problem:
    """A model of 1 to `max_depth` dense layers and a batch of at least one sample.

    Its loss and its gradient are finite; a 0 / 0, which is NaN in Keras too, has no law to keep.
    With a `margin`, ReLUs' pre-activations are kept that far off their kink, so that a difference
    quotient with a smaller step meets none.

    >>> from hypothesis import given, settings
    >>> @settings(max_examples=5, deadline=None)
    ... @given(problems())
    ... def loss_is_finite(problem):
    ...     assert np.isfinite(problem.model.loss_of(problem.model.theta, problem.batch))
    >>> loss_is_finite()
    """
    inputs, stack = draw(architectures(max_depth, max_width, activations))
    classes = stack[-1].units
    before = config.floatx()
    config.set_floatx(dtype)
    seed = draw(seeds)
    # Layers belong to one model; a second draw of the same architecture needs its own.
    fresh = [layers.Dense(s.units, s.activation, s.use_bias) for s in stack]
    model = Sequential([layers.Input((inputs,)), *fresh], seed=seed)
    config.set_floatx(before)
    # Weights a few times larger than Glorot's saturate sigmoids; smaller ones make tiny gradients.
    saturate = draw(st.sampled_from((1.0, 0.1, 4.0)))
    _weights(model, draw(st.sampled_from(("integers", "normal", "plain"))), seed, saturate)
    model.compile(draw(optimizers()), loss_for(stack[-1].activation, draw), engine=engine)
    batch = draw(sizes(max_batch))
    fill = draw(st.sampled_from(("integers", "normal", "tiny", "large", "zeros among")))
    x = filled(fill, (batch, inputs), seed + 1)
    if draw(st.booleans()):
        x[draw(st.integers(0, batch - 1))] = 0  # a blank sample
    chosen = draw(labels(batch, classes))
    y = chosen if model.loss.sparse else to_categorical(chosen, classes)
    w = draw(sample_weights(batch))
    problem = Problem(model, model.batch(x, y, w))
    assume(_finite(model, problem.batch))
    if margin:
        assume(_off_the_kink(model, problem.batch.x, margin))
    return problem
