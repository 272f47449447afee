"""Where NaN goes: what Keras's activations and losses pass on, both engines pass on."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from scratchnet import losses  # noqa: E402
from scratchnet.engines import reference  # noqa: E402

NAN = np.nan
ROWS = np.array([[NAN, 1.0, -2.0], [1.0, NAN, 2.0], [-1.0, 2.0, NAN], [1.0, 2.0, 3.0]], "float32")


@pytest.mark.parametrize("name", reference.ENGINE.activations)
def test_an_activation_passes_on_what_keras_passes_on(name):
    """Keras's softmax on a processor gives 0 beside NaN; ours NaN in the whole row."""
    theirs = np.isnan(np.asarray(getattr(keras.activations, name)(ROWS)))
    ours = np.isnan(reference.ENGINE.activations[name].forward(ROWS))
    assert theirs.any(axis=1).tolist() == ours.any(axis=1).tolist() == [True, True, True, False]
    assert (ours == theirs).all() or name == "softmax"


@pytest.mark.parametrize("name", ["categorical_crossentropy", "mean_squared_error"])
def test_a_loss_passes_on_what_keras_passes_on(name):
    targets = np.eye(3, dtype="float32")[[0, 0, 0, 1]]
    theirs = np.isnan(np.asarray(getattr(keras.losses, name)(targets, np.abs(ROWS))))
    ours = np.isnan(np.asarray(getattr(losses, name)(targets, np.abs(ROWS))))
    assert theirs.tolist() == ours.tolist() == [True, True, True, False]
