"""The reference: the same network in Keras on TensorFlow, and what holds the two side by side.

Keras computes another loss on its JAX and PyTorch backends (they never see a head's logits), so
the backend is pinned to TensorFlow here, before Keras is first imported, and checked. This package
knows `scratchnet`; `scratchnet` does not know it.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow loads, or it has no effect
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its kernels may round differently by shape
os.environ["KERAS_BACKEND"] = "tensorflow"

try:
    import keras
except ImportError as error:
    raise ImportError(
        "keras_ref needs Keras on TensorFlow. Install it with: "
        "pip install 'keras>=3.10,<4' 'tensorflow>=2.20,<3'"
    ) from error

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"Keras runs on {keras.backend.backend()!r}: expected 'tensorflow', whose loss is the "
        "reference. Import keras_ref before keras, or set KERAS_BACKEND=tensorflow."
    )
