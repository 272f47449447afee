"""JAX at full length: one jitted call an epoch, `lax.scan` over its batches.

Settings: `gather` is `"step"` (each batch picks its rows) or `"epoch"` (all rows are permuted
first); `unroll` goes to `lax.scan`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.job import BETA_1, BETA_2, LEARNING_RATE, Array
from benchmarks.peers.base import BasePeer, Laps


def forward(params: Any, x: Any) -> Any:
    for i, (w, b) in enumerate(params):
        x = x @ w + b
        x = jax.nn.relu(x) if i < len(params) - 1 else x
    return x


def loss_of(params: Any, x: Any, y: Any) -> tuple[Any, Any]:
    z = forward(params, x)
    log_p = jax.nn.log_softmax(z)
    losses = -jnp.take_along_axis(log_p, y[:, None], axis=1)
    return losses.mean(), (losses.sum(), (z.argmax(1) == y).sum())


def step(state: Any, batch: Any) -> tuple[Any, Any]:
    params, m, v, t = state
    x, y = batch
    (_, seen), g = jax.value_and_grad(loss_of, has_aux=True)(params, x, y)
    t = t + 1
    tree = jax.tree_util.tree_map
    m = tree(lambda m, g: m + (1 - BETA_1) * (g - m), m, g)
    v = tree(lambda v, g: v + (1 - BETA_2) * (g * g - v), v, g)
    alpha = LEARNING_RATE * jnp.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
    params = tree(lambda w, m, v: w - alpha * m / (jnp.sqrt(v) + 1e-7), params, m, v)
    return (params, m, v, t), seen


@partial(jax.jit, static_argnames=("size", "gather", "unroll"), donate_argnums=0)
def epoch(
    state: Any, x: Any, y: Any, order: Any, size: int, gather: str, unroll: int
) -> tuple[Any, Any]:
    """All batches, the short last one as well; the sums of losses and of right answers."""
    whole = len(order) // size
    rows, rest = order[: whole * size].reshape(whole, size), order[whole * size :]
    if gather == "epoch":
        batches = x[rows.ravel()].reshape(whole, size, -1), y[rows]
        state, seen = lax.scan(step, state, batches, unroll=unroll)
    else:
        state, seen = lax.scan(lambda s, r: step(s, (x[r], y[r])), state, rows, unroll=unroll)
    totals = [part.sum() for part in seen]
    if len(rest):
        state, seen = step(state, (x[rest], y[rest]))
        totals = [a + b for a, b in zip(totals, seen, strict=True)]
    return state, totals


predict = jax.jit(forward)


class Peer(BasePeer):
    packages = ("jax", "jaxlib", "numpy")

    def build(self, weights: list[Array]) -> None:
        jax.config.update("jax_enable_x64", self.job.dtype == "float64")
        pairs = zip(weights[::2], weights[1::2], strict=True)
        params = [(jnp.array(w), jnp.array(b)) for w, b in pairs]
        m, v = (jax.tree_util.tree_map(jnp.zeros_like, params) for _ in range(2))
        self.state = params, m, v, jnp.zeros((), self.job.dtype)

    def hold(self, x: Array, y: Array) -> Any:
        return jnp.asarray(x.reshape(len(x), -1)), jnp.asarray(y.astype(np.int32))

    def fit(self, held: Any, epochs: int, rng: np.random.Generator | None, laps: Laps) -> None:
        x, y = held
        gather, unroll = self.settings.get("gather", "step"), self.settings.get("unroll", 1)
        for _ in range(epochs):
            order = np.arange(len(x)) if rng is None else rng.permutation(len(x))
            rows = jnp.asarray(order.astype(np.int32))
            self.state, (loss, right) = epoch(
                self.state, x, y, rows, self.job.batch, gather, unroll
            )
            if laps(float(loss) / len(x), float(right) / len(x)):
                break

    def weights(self) -> list[Array]:
        return [np.array(array) for pair in self.state[0] for array in pair]

    def predict(self, x: Array) -> Array:
        return np.asarray(predict(self.state[0], x.reshape(len(x), -1)))
