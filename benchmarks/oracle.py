"""Is a peer's result right? Its weights after a few steps, against the reference in float64.

The reference network gives the gradients; Adam is spelled out here, because peers round or place
its constants in three ways and each is held to its own. How much may differ is measured, not
guessed: the reference itself, in the peer's dtype and from starts one ulp away, shows how far
rounding alone drifts, tensor by tensor, and a peer may be `SLACK` times as far. Samples on which a
ReLU is about to switch are passed over, because there rounding decides and Adam makes 4e-2 of it.
Plausible losses prove nothing: a kernel with a wrong output bias had those.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.job import (
    BETA_1,
    BETA_2,
    CLASSES,
    LEARNING_RATE,
    Array,
    Job,
    initial_weights,
    load,
)
from scratchnet import Input, Sequential, config, layers
from scratchnet.support import through_float32

SLACK = 30
"""A peer may be so many times as far from float64 as the reference's own twins are."""
TWINS = 2
SPACINGS = 16
"""...and always so many spacings of its largest weight, in its dtype."""
MARGIN = {"float32": 1e-4, "float64": 1e-9}
"""A hidden unit nearer to 0 than this (but not at 0 itself) makes its sample unfit for a check."""
OUTPUTS = {"float32": 2e-5, "float64": 1e-11}
"""Largest difference of a prediction, against the largest output."""


class Verdict(NamedTuple):
    """How a peer's weights compare; `share` is the largest difference over what is allowed."""

    right: bool
    share: float
    words: str


class Adam(NamedTuple):
    """The constants in which peers differ."""

    beta_1: float
    beta_2: float
    epsilon: float
    outside: bool
    """Whether epsilon is added after the second moment is corrected, as PyTorch does."""


ADAMS = {
    "keras": Adam(through_float32(BETA_1), through_float32(BETA_2), 1e-7, False),
    "paper": Adam(BETA_1, BETA_2, 1e-7, False),
    "torch": Adam(BETA_1, BETA_2, 1e-8, True),
}


def network(job: Job, dtype: str) -> Sequential:
    """The job's network on the reference engine, in a dtype of its own."""
    before = config.floatx()
    config.set_floatx(dtype)
    try:
        scaling = [layers.Rescaling(1 / 255)] if job.inputs == "bytes" else []
        hidden = [layers.Dense(width, "relu") for width in job.hidden]
        stack: list[layers.Layer | Input] = [Input((28, 28)), *scaling, layers.Flatten(), *hidden]
        model = Sequential([*stack, layers.Dense(CLASSES, "sigmoid")])
    finally:
        config.set_floatx(before)
    model.compile("adam", "sparse_categorical_crossentropy", engine="reference")
    return model


class Course(NamedTuple):
    """What the checked steps see, one sample after the other, and the weights they lead to."""

    order: Array
    weights: dict[int, list[Array]]


class Walk:
    """The reference network in training, step by step, with Adam spelled out."""

    def __init__(self, job: Job, adam: str, dtype: str, nudge: int = 0):
        self.job, self.rule, self.t = job, ADAMS[adam], 0
        self.model = network(job, dtype)
        self.model.set_weights([w + nudge * np.spacing(w) for w in initial_weights(job)])
        self.m, self.v = np.zeros_like(self.model.theta), np.zeros_like(self.model.theta)

    def step(self, x: Array, y: Array) -> None:
        _, gradients = self.model.loss_and_gradients(x, y)
        g = np.concatenate([gradient.ravel() for gradient in gradients])
        self.t += 1
        self.m += (1 - BETA_1) * (g - self.m)
        self.v += (1 - BETA_2) * (g * g - self.v)
        root = float(np.sqrt(1 - self.rule.beta_2**self.t))
        epsilon = self.rule.epsilon * (root if self.rule.outside else 1.0)
        alpha = LEARNING_RATE * root / (1 - self.rule.beta_1**self.t)
        self.model.theta -= alpha * self.m / (np.sqrt(self.v) + epsilon)

    def surely(self, x: Array) -> Array:
        """Of each sample, whether rounding can't switch any hidden unit on or off.

        A unit at 0 itself saw only zeros: it is 0 for everybody.
        """
        stages = self.model.activations(x)
        hidden = [stages[f"{layer.name}/Z"] for layer in self.model.layers if layer.count_params()]
        sure = np.ones(len(x), bool)
        for Z in hidden[:-1]:
            sure &= ((np.abs(Z) >= MARGIN[self.job.dtype]) | (Z == 0)).all(axis=1)
        return sure

    def choose(self, x: Array, queue: Array) -> tuple[Array, Array]:
        """The next batch of the queue without unsure samples, if it has enough, and the rest."""
        ahead = queue[: 2 * self.job.batch]
        sure = self.surely(x[ahead])
        taken = np.flatnonzero(sure)[: self.job.batch]
        if len(taken) < self.job.batch:
            return queue[: self.job.batch], queue[self.job.batch :]
        return ahead[taken], queue[taken[-1] + 1 :]


def true_course(job: Job, x: Array, y: Array, adam: str) -> Course:
    """Choose samples and train on them in float64."""
    rng, walk = np.random.default_rng([job.seed, 2]), Walk(job, adam, "float64")
    queue, order, kept = np.zeros(0, np.int64), [], {}
    while walk.t < max(job.checked):
        while len(queue) < 2 * job.batch:
            queue = np.concatenate([queue, rng.permutation(job.samples)])
        rows, queue = walk.choose(x, queue)
        walk.step(x[rows], y[rows])
        order.append(rows)
        if walk.t in job.checked:
            kept[walk.t] = walk.model.get_weights()
    return Course(np.concatenate(order), kept)


def twin(job: Job, x: Array, y: Array, adam: str, nudge: int) -> dict[int, list[Array]]:
    """The same steps in the job's dtype, every initial weight `nudge` ulps away."""
    walk, kept = Walk(job, adam, job.dtype, nudge), {}
    while walk.t < max(job.checked):
        rows = slice(walk.t * job.batch, (walk.t + 1) * job.batch)
        walk.step(x[rows], y[rows])
        if walk.t in job.checked:
            kept[walk.t] = walk.model.get_weights()
    return kept


def _distance(ours: Array, theirs: Array) -> float:
    return float(np.max(np.abs(ours.astype(np.float64) - theirs)))


def correction_rounding(steps: int, dtype: str) -> float:
    """How far weights may part because 1 - beta_2^t loses digits when computed in `dtype`."""
    t = np.arange(1, steps + 1)
    return float(LEARNING_RATE * np.sum(np.finfo(dtype).eps / (1 - BETA_2**t)))


class Oracle:
    """Reference courses of the jobs of a run, computed when first asked for."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.course = cache(self._course)
        self.allowed = cache(self._allowed)

    def _course(self, job: Job, adam: str) -> Course:
        return true_course(job, *load(self.folder, job), adam)

    def _allowed(self, job: Job, adam: str) -> dict[int, list[float]]:
        """For each checked step and tensor, the largest difference that rounding can explain."""
        x, y = load(self.folder, job)
        order, truth = self.course(job, adam)
        limits = {
            step: [SPACINGS * float(np.spacing(np.max(np.abs(w)).astype(job.dtype))) for w in ws]
            for step, ws in truth.items()
        }
        for step, tensors in limits.items():
            limits[step] = [limit + correction_rounding(step, job.dtype) for limit in tensors]
        for nudge in range(1 if job.dtype == "float64" else 0, TWINS):
            for step, weights in twin(job, x[order], y[order], adam, nudge).items():
                pairs = zip(weights, truth[step], strict=True)
                drift = [SLACK * _distance(a, b) for a, b in pairs]
                limits[step] = [max(pair) for pair in zip(limits[step], drift, strict=True)]
        return limits

    def order(self, job: Job, adam: str) -> Path:
        """A file with the samples that the checked steps see."""
        path = self.folder / "checked-order.npy"
        np.save(path, self.course(job, adam).order)
        return path

    def weights(self, job: Job, adam: str, path: Path) -> Verdict:
        """Judge the weights that a peer saved under `step/tensor`."""
        truth, allowed = self.course(job, adam).weights, self.allowed(job, adam)
        worst, where = 0.0, "nowhere"
        with np.load(path) as saved:
            for step, tensors in truth.items():
                for i, (tensor, limit) in enumerate(zip(tensors, allowed[step], strict=True)):
                    theirs = saved[f"{step}/{i}"]
                    if theirs.shape != tensor.shape:
                        words = f"tensor {i} is {theirs.shape}: expected {tensor.shape}"
                        return Verdict(False, float("inf"), words)
                    share = _distance(theirs, tensor) / limit
                    if not share <= worst:  # a NaN is worse than anything
                        worst = share if share == share else float("inf")
                        name = f"{'bias' if i % 2 else 'kernel'} {i // 2 + 1}"
                        where = f"{name} after {step} steps, {share * limit:.2g} off"
        words = f"{where}: {worst:.2g} of what rounding explains"
        return Verdict(worst <= 1, worst, words)

    def outputs(self, job: Job, head: str, path: Path) -> Verdict:
        """Judge predictions of the test images, from weights that the peer saved beside them."""
        model = network(job, "float64")
        with np.load(path) as saved:
            theirs = saved["outputs"]
            model.set_weights([saved[str(i)] for i in range(2 * len(job.shapes))])
        x, _ = load(self.folder, job, "test")
        logits = list(model.activations(x).values())[-2]
        expected = as_head(logits, head)
        if theirs.shape != expected.shape:
            words = f"outputs are {theirs.shape}: expected {expected.shape}"
            return Verdict(False, float("inf"), words)
        share = _distance(theirs, expected) / (OUTPUTS[job.dtype] * float(np.abs(expected).max()))
        return Verdict(share <= 1, share, f"outputs: {share:.2g} of the allowed difference")


def as_head(z: Any, head: str) -> Array:
    """Logits as a peer's head shows them."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    known = {
        "sigmoid": 1 / (1 + np.exp(-z)),
        "softmax": e / e.sum(axis=1, keepdims=True),
        "logits": z,
    }
    if head not in known:
        raise ValueError(f"head={head!r}: expected one of {', '.join(known)}.")
    return known[head]
