"""CONTRIBUTING keeps its word: its layer passes its own test, and the files it names exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scratchnet import Input, Sequential, config, layers
from scratchnet.optimizers import Adam

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(mark: str) -> str:
    """The Python block after a mark."""
    return TEXT.split(f"<!-- {mark} -->\n```python\n")[1].split("```")[0]


@pytest.fixture
def own_layer(tmp_path, monkeypatch):
    """The layer of the page, imported from a file of its own, outside the package."""
    (tmp_path / "layer_norm.py").write_text(block("layer"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("layer_norm", None)
    from layer_norm import LayerNorm

    return LayerNorm


def test_the_layers_own_test_passes_and_sees_a_mistake(tmp_path, own_layer):
    (tmp_path / "test_layer_norm.py").write_text(block("layer test"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout
    source = block("layer")
    assert source.count("dZ * N, axis=0") == 1
    wrong = source.replace("dZ * N, axis=0", "dZ + N, axis=0")
    (tmp_path / "layer_norm.py").write_text(wrong, encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 1 and "breaks the law 'gradients'" in done.stdout


def test_the_layer_trains_in_a_network_with_the_right_gradients(own_layer):
    config.set_floatx("float64")
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (40, 6))
    y = x[:, :3].argmax(axis=1)
    stack = [layers.Dense(5, "tanh"), own_layer(), layers.Dense(3, "softmax")]
    model = Sequential([Input((6,)), *stack], seed=0)
    model.compile(Adam(0.03), "sparse_categorical_crossentropy", engine="reference")
    batch = model.batch(x, y)
    model.gradient(batch)
    gradient = model.grad.copy()
    theta = model.theta.astype(complex)
    for k in range(theta.size):
        theta[k] += 1e-20j
        right = model.loss_of(theta, batch).imag / 1e-20
        theta[k] = model.theta[k]
        assert abs(gradient[k] - right) <= 1e-14 * np.abs(gradient).max()
    losses = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2


def test_every_file_and_folder_that_is_named_exists():
    named = set(re.findall(r"`((?:scratchnet|tests|keras_ref|benchmarks|docs)/[\w./]+)`", TEXT))
    assert len(named) > 15
    assert [
        path for path in sorted(named) if not (ROOT / path).exists() and "NAME" not in path
    ] == []
    for path in re.findall(r"`((?:testing|engines)/[\w./]+)`", TEXT):
        assert (ROOT / "scratchnet" / path).exists(), path
