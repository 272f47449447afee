"""The script on PyTorch, where the loss never finds hidden logits: the head is linear instead."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

from benchmarks.peers._keras import KerasPeer


class Peer(KerasPeer):
    differs = "linear head with from_logits=True; shuffles in its own order"
    packages = ("keras", "torch", "numpy")
