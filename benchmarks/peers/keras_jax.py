"""The script on JAX, where the loss never finds hidden logits: the head is linear instead."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax

from benchmarks.job import Array, Job
from benchmarks.peers._keras import KerasPeer


class Peer(KerasPeer):
    differs = "linear head with from_logits=True; shuffles in its own order"
    packages = ("keras", "jax", "jaxlib", "numpy")

    def __init__(self, job: Job, weights: list[Array], settings: Mapping[str, Any]):
        jax.config.update("jax_enable_x64", job.dtype == "float64")
        super().__init__(job, weights, settings)
