"""The script on TensorFlow: sigmoid head, sparse cross-entropy that finds its logits."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.peers._keras import KerasPeer


class Peer(KerasPeer):
    hidden_logits = True
    adam = "keras"
    head = "sigmoid"
    differs = "shuffles in its own order"
    packages = ("keras", "tensorflow", "numpy")
