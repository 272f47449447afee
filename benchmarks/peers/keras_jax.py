"""The script on JAX, where the loss never finds hidden logits: the head is linear instead."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

import jax

from benchmarks.job import Array
from benchmarks.peers._keras import KerasPeer


class Peer(KerasPeer):
    differs = "linear head with from_logits=True; shuffles in its own order"
    packages = ("keras", "jax", "jaxlib", "numpy")

    def build(self, weights: list[Array]) -> None:
        jax.config.update("jax_enable_x64", self.job.dtype == "float64")
        super().build(weights)
