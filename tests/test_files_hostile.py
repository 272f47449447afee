"""Every hostile file is refused: quickly, in little memory, by name, and nothing else happens."""

from __future__ import annotations

import os
import time
import tracemalloc

import numpy as np
import pytest

from scratchnet import Input, Sequential, layers, models
from scratchnet.saving import SavedStateError
from tests import hostile

SECONDS = 5.0
"""For one file; all take under a tenth on an idle machine, but this one is shared."""
BYTES = 32_000_000


def read(path):
    """Load it as what its name says it is."""
    if path.endswith(".weights.h5"):
        model = Sequential([Input((6,)), layers.Dense(5, "relu"), layers.Dense(3, "softmax")])
        model.load_weights(path)
        return model
    return models.load_model(path)


def written(tmp_path, case):
    path, marker = tmp_path / case.file, str(tmp_path / "marker")
    path.write_bytes(case.make(marker))
    return path, marker


@pytest.mark.parametrize("make", [hostile.model, hostile.keras, lambda: hostile.hdf5(lambda r: 0)])
def test_what_the_cases_change_is_good(make, tmp_path):
    """Else a case could be refused for another reason than its own."""
    content = make()
    name = "a.npz" if b"config.npy" in content else "a.keras"
    path = tmp_path / (name if content[:2] == b"PK" else "a.weights.h5")
    path.write_bytes(content)
    expected = hostile.state().arrays["layers/1/0"]
    assert np.array_equal(read(str(path)).layers[1].kernel, expected)


@pytest.mark.parametrize("name", hostile.CASES)
def test_a_hostile_file_is_refused_by_name_and_does_nothing(name, tmp_path):
    case = hostile.CASES[name]
    path, marker = written(tmp_path, case)
    before = sorted(os.listdir(tmp_path))
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(SavedStateError) as found:
            read(str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < SECONDS
    assert peak < BYTES + 4 * path.stat().st_size
    assert not os.path.exists(marker)
    assert sorted(os.listdir(tmp_path)) == before
    message = str(found.value)
    assert str(path) in message
    assert case.words in message, message
    assert message.isprintable()


def test_there_are_enough_of_them():
    assert len(hostile.CASES) >= 90
    assert sum("CVE" in name for name in hostile.CASES) >= 7


@pytest.mark.parametrize(
    "name", ["a\x1b[2J.npz", "a\nb.npz: is fine.keras", "\u202egpj.weights.h5"]
)
def test_a_files_name_does_nothing_to_the_terminal(name, tmp_path):
    for content in (b"", b"PK", hostile.model()[:-40]):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SavedStateError) as found:
            read(str(tmp_path / name))
        assert str(found.value).isprintable()


def test_a_layers_name_does_nothing_to_the_terminal(tmp_path):
    path = tmp_path / "a.npz"
    for name in ("a\x1b[2J", "\n/tmp/other.npz: not a saved model"):
        content = hostile.model(
            lambda c, n=name: hostile.stack(c)[1]["config"].update(name=n, units=9)
        )
        path.write_bytes(content)
        with pytest.raises(SavedStateError) as found:
            read(str(path))
        assert str(found.value).isprintable()


@pytest.mark.parametrize("name", ["a.npz", "a.keras", "a.weights.h5"])
def test_pipes_devices_and_folders_are_refused_and_not_waited_for(name, tmp_path):
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(SavedStateError, match="a pipe, socket or device"):
        read(str(path))
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(SavedStateError, match="a pipe, socket or device"):
        read(str(path))
    path.unlink()
    path.mkdir()
    with pytest.raises(SavedStateError, match="is a folder"):
        read(str(path))


def test_a_single_flipped_bit_is_never_taken_for_another_model(tmp_path):
    """Every bit of the last and first parts, and of some in between: refused, or the same model."""
    good, path = hostile.model(), tmp_path / "a.npz"
    expected = {name: array.tobytes() for name, array in hostile.state().arrays.items()}
    rng = np.random.default_rng(0)
    places = rng.choice(len(good) * 8, 600, replace=False)
    for place in places:
        flipped = bytearray(good)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            model = read(str(path))
        except SavedStateError:
            continue
        again = {
            f"layers/{i}/{j}": array.tobytes()
            for i, layer in enumerate(model.layers)
            for j, array in enumerate(layer.weights)
        }
        assert again.items() <= expected.items(), place
