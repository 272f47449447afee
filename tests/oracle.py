"""Every gradient of the MNIST script's model, all 42,310, against the complex step.

`python -m tests.oracle` does it on a batch of the real MNIST, fresh and after ten epochs. The
oracle is the model's own `loss_of`, one evaluation a parameter, in two processes with one BLAS
thread each: nothing is batched, cached or retyped on the way. Read `test_oracle.py` next.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import typer

from scratchnet import Input, Sequential, config, datasets, layers
from scratchnet.checks import Examples
from scratchnet.process import single_threaded_blas
from scratchnet.testing.magnitude import gradient_scale

H = 2.0**-66
"""The step: a power of two, so that dividing by it does not round."""
BOUND = 1e-12
PROCESSES = 2


class Verdict(NamedTuple):
    """Errors as shares of S, (P,), the largest as `worst`; `dead`: how many are 0 on both sides."""

    errors: np.ndarray
    dead: int

    @property
    def worst(self) -> float:
        return float(self.errors.max())


def scripts_model() -> Sequential:
    """The MNIST script's model in float64."""
    before = config.floatx()
    config.set_floatx("float64")
    hidden = [layers.Dense(50, "relu"), layers.Dense(50, "relu")]
    stack = [layers.Rescaling(1 / 255), layers.Flatten(), *hidden, layers.Dense(10, "sigmoid")]
    model = Sequential([Input((28, 28)), *stack], seed=0)
    config.set_floatx(before)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def derivatives(theta: np.ndarray, batch: Examples, first: int, last: int) -> np.ndarray:
    """dloss/dtheta_k for first <= k < last: Im loss(theta + ih e_k) / h."""
    model, at = scripts_model(), theta.astype(complex)
    batch, found = model.batch(batch.x, batch.y), np.empty(last - first)
    with single_threaded_blas():
        for k in range(first, last):
            at[k] += 1j * H
            found[k - first] = model.loss_of(at, batch).imag / H
            at[k] = theta[k]
    return found


def complex_step(theta: np.ndarray, batch: Examples) -> np.ndarray:
    """All of them, (P,), in `PROCESSES` equal shares."""
    ends = np.linspace(0, theta.size, PROCESSES + 1).astype(int).tolist()
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        shares = [
            pool.submit(derivatives, theta, batch, first, last) for first, last in pairwise(ends)
        ]
        return np.concatenate([share.result() for share in shares])


def judge(gradient: np.ndarray, right: np.ndarray, scale: np.ndarray) -> Verdict:
    """|gradient - right| / S; where S is 0 both have to be exactly 0."""
    apart = np.abs(gradient - right)
    errors = np.divide(apart, scale, out=np.where(apart > 0, np.inf, 0.0), where=scale > 0)
    return Verdict(errors, int(np.sum((gradient == 0) & (right == 0))))


def check(model: Sequential, batch: Examples) -> Verdict:
    """The model's own backward pass against the complex step of its forward pass."""
    model.gradient(batch)
    return judge(model.grad, complex_step(model.theta, batch), gradient_scale(model, batch))


def main() -> None:
    """Every parameter on 32 real digits, fresh and after ten epochs; status 1 if one is wrong."""
    (x, y), _ = datasets.mnist.load_data()
    model, sound = scripts_model(), True
    for state in ("fresh", "after ten epochs"):
        if state != "fresh":
            model.fit(x, y, epochs=10, verbose=0)
        start = time.perf_counter()
        found = check(model, model.batch(x[:32], y[:32]))
        sound &= found.worst <= BOUND
        right = int(np.sum(found.errors <= BOUND))
        typer.echo(
            f"{state}: {right:,} of {found.errors.size:,} within {BOUND:g} S, worst "
            f"{found.worst:.1e} S, {found.dead:,} zero on both sides, "
            f"{time.perf_counter() - start:.0f} s"
        )
    raise typer.Exit(0 if sound else 1)


if __name__ == "__main__":
    typer.run(main)
