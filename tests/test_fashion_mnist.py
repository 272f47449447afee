"""Fashion-MNIST is found in the caches by the hashes of its files, and never fetched unasked."""

from __future__ import annotations

import gzip
import hashlib

import numpy as np
import pytest

from scratchnet import datasets
from scratchnet.datasets import fashion_mnist


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes, compressed."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Four small files in Keras's cache that count as published."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("SCRATCHNET_CACHE", str(tmp_path / "ours"))
    folder = tmp_path / "keras" / "datasets" / fashion_mnist.FOLDER
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.integers(0, 10, (5, 28, 28) if "images" in name else (5,), dtype=np.uint8)
        for name in fashion_mnist.MD5
    }
    for name, array in arrays.items():
        (folder / name).write_bytes(idx(array))
        monkeypatch.setitem(
            fashion_mnist.MD5, name, hashlib.md5((folder / name).read_bytes()).hexdigest()
        )
    return folder, arrays


def test_keras_s_cache_is_read(published):
    _, arrays = published
    (x, y), (x_test, y_test) = datasets.fashion_mnist.load_data(download=False)
    for found, array in zip((x, y, x_test, y_test), arrays.values(), strict=True):
        np.testing.assert_array_equal(found, array)


def test_a_changed_file_is_passed_over_and_said(published):
    folder, _ = published
    name = next(iter(fashion_mnist.MD5))
    (folder / name).write_bytes(b"something else")
    with (
        pytest.warns(UserWarning, match=f"not sound: {name}"),
        pytest.raises(datasets.DatasetUnavailableError, match="forbids to fetch"),
    ):
        fashion_mnist.load_data(download=False)


def test_where_there_is_none_the_network_is_asked_only_if_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCHNET_CACHE", str(tmp_path))
    monkeypatch.setenv("SCRATCHNET_OFFLINE", "1")
    with pytest.raises(datasets.DatasetUnavailableError, match="Fashion-MNIST"):
        fashion_mnist.load_data()
