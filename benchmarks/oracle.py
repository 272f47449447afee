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
    BenchmarkJob,
    initial_weights,
    load_arrays,
)
from scratchnet import Input, Sequential, config, layers
from scratchnet.support import through_float32

SLACK = 30
"""A peer may be so many times as far from float64 as the reference is from perturbed starts."""
PERTURBED = 2
"""How many starts: as they are (which in float64 is the reference itself), and one ulp away."""
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


class AdamVariant(NamedTuple):
    """The constants of Adam in which peers differ."""

    beta_1: float
    beta_2: float
    epsilon: float
    outside: bool
    """Whether epsilon is added after the second moment is corrected, as PyTorch does."""


VARIANTS = {
    "keras": AdamVariant(through_float32(BETA_1), through_float32(BETA_2), 1e-7, False),
    "paper": AdamVariant(BETA_1, BETA_2, 1e-7, False),
    "torch": AdamVariant(BETA_1, BETA_2, 1e-8, True),
}


def network(job: BenchmarkJob, dtype: str) -> Sequential:
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


class Trajectory(NamedTuple):
    """What the checked steps see, one sample after the other, and the weights they lead to."""

    order: Array
    weights: dict[int, list[Array]]


class ReferenceTrainer:
    """The reference network in training, step by step, with Adam spelled out.

    Args:
        ulps: how far the initial weights are moved, each by so many of its own spacings.
    """

    def __init__(self, job: BenchmarkJob, variant: str, dtype: str, ulps: int = 0):
        self.job, self.variant, self.t = job, VARIANTS[variant], 0
        self.model = network(job, dtype)
        self.model.set_weights([w + ulps * np.spacing(w) for w in initial_weights(job)])
        self.m, self.v = np.zeros_like(self.model.theta), np.zeros_like(self.model.theta)

    def step(self, x: Array, y: Array) -> None:
        _, gradients = self.model.loss_and_gradients(x, y)
        g = np.concatenate([gradient.ravel() for gradient in gradients])
        self.t += 1
        self.m += (1 - BETA_1) * (g - self.m)
        self.v += (1 - BETA_2) * (g * g - self.v)
        root = float(np.sqrt(1 - self.variant.beta_2**self.t))
        epsilon = self.variant.epsilon * (root if self.variant.outside else 1.0)
        alpha = LEARNING_RATE * root / (1 - self.variant.beta_1**self.t)
        self.model.theta -= alpha * self.m / (np.sqrt(self.v) + epsilon)

    def off_the_kink(self, x: Array) -> Array:
        """Of each sample, whether rounding can't switch any hidden unit on or off.

        A unit at 0 itself saw only zeros: it is 0 for everybody.
        """
        stages = self.model.activations(x)
        hidden = [stages[f"{layer.name}/Z"] for layer in self.model.layers if layer.count_params()]
        off = np.ones(len(x), bool)
        for Z in hidden[:-1]:
            off &= ((np.abs(Z) >= MARGIN[self.job.dtype]) | (Z == 0)).all(axis=1)
        return off

    def next_batch(self, x: Array, queue: Array) -> tuple[Array, Array]:
        """A batch from the queue, without samples near a kink if it has enough others; the rest."""
        ahead = queue[: 2 * self.job.batch]
        taken = np.flatnonzero(self.off_the_kink(x[ahead]))[: self.job.batch]
        if len(taken) < self.job.batch:
            return queue[: self.job.batch], queue[self.job.batch :]
        return ahead[taken], queue[taken[-1] + 1 :]


def float64_trajectory(job: BenchmarkJob, x: Array, y: Array, variant: str) -> Trajectory:
    """Choose samples and train on them in float64."""
    rng = np.random.default_rng([job.seed, 2])
    trainer = ReferenceTrainer(job, variant, "float64")
    queue, order, weights = np.zeros(0, np.int64), [], {}
    while trainer.t < max(job.checked):
        while len(queue) < 2 * job.batch:
            queue = np.concatenate([queue, rng.permutation(job.samples)])
        rows, queue = trainer.next_batch(x, queue)
        trainer.step(x[rows], y[rows])
        order.append(rows)
        if trainer.t in job.checked:
            weights[trainer.t] = trainer.model.get_weights()
    return Trajectory(np.concatenate(order), weights)


def perturbed_weights(
    job: BenchmarkJob, x: Array, y: Array, variant: str, ulps: int
) -> dict[int, list[Array]]:
    """The same steps in the job's dtype, every initial weight so many ulps away."""
    trainer, weights = ReferenceTrainer(job, variant, job.dtype, ulps), {}
    while trainer.t < max(job.checked):
        rows = slice(trainer.t * job.batch, (trainer.t + 1) * job.batch)
        trainer.step(x[rows], y[rows])
        if trainer.t in job.checked:
            weights[trainer.t] = trainer.model.get_weights()
    return weights


def _distance(ours: Array, theirs: Array) -> float:
    return float(np.max(np.abs(ours.astype(np.float64) - theirs)))


def correction_rounding(steps: int, dtype: str) -> float:
    """How far weights may part because 1 - beta_2^t loses digits when computed in `dtype`."""
    t = np.arange(1, steps + 1)
    return float(LEARNING_RATE * np.sum(np.finfo(dtype).eps / (1 - BETA_2**t)))


class Oracle:
    """Reference trajectories of the jobs of a run, computed when first asked for."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.trajectory = cache(self._trajectory)
        self.allowed = cache(self._allowed)

    def _trajectory(self, job: BenchmarkJob, variant: str) -> Trajectory:
        return float64_trajectory(job, *load_arrays(self.folder, job), variant)

    def _allowed(self, job: BenchmarkJob, variant: str) -> dict[int, list[float]]:
        """For each checked step and tensor, the largest difference that rounding can explain."""
        x, y = load_arrays(self.folder, job)
        order, truth = self.trajectory(job, variant)
        limits = {
            step: [SPACINGS * float(np.spacing(np.max(np.abs(w)).astype(job.dtype))) for w in ws]
            for step, ws in truth.items()
        }
        for step, tensors in limits.items():
            limits[step] = [limit + correction_rounding(step, job.dtype) for limit in tensors]
        for ulps in range(1 if job.dtype == "float64" else 0, PERTURBED):
            found = perturbed_weights(job, x[order], y[order], variant, ulps)
            for step, weights in found.items():
                pairs = zip(weights, truth[step], strict=True)
                drift = [SLACK * _distance(a, b) for a, b in pairs]
                limits[step] = [max(pair) for pair in zip(limits[step], drift, strict=True)]
        return limits

    def order(self, job: BenchmarkJob, variant: str) -> Path:
        """A file with the samples that the checked steps see."""
        path = self.folder / "checked-order.npy"
        np.save(path, self.trajectory(job, variant).order)
        return path

    def weights(self, job: BenchmarkJob, variant: str, path: Path) -> Verdict:
        """Judge the weights that a peer saved under `step/tensor`."""
        truth, allowed = self.trajectory(job, variant).weights, self.allowed(job, variant)
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

    def outputs(self, job: BenchmarkJob, head: str, path: Path) -> Verdict:
        """Judge predictions of the test images, from weights that the peer saved beside them."""
        model = network(job, "float64")
        with np.load(path) as saved:
            theirs = saved["outputs"]
            model.set_weights([saved[str(i)] for i in range(2 * len(job.shapes))])
        x, _ = load_arrays(self.folder, job, "test")
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
