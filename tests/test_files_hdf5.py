"""Keras's files where there is no Keras: ours come back, foreign weights are taken or refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import h5py
import numpy as np
import pytest

from scratchnet import Input, Sequential, config, initializers, layers, losses, models
from scratchnet.saving import SavedStateError
from tests.test_files import COMES_BACK, REFUSED, T, X, Y, network, same, trained

NOT_IN_KERAS = {
    "an own optimizer": "order of slots",
    "how a sigmoid head is read": "sigmoid_head",
    "layers with names of paths": "no slash",
    "layers whose names and arrays are alike": "no slash",
}
"""What `.keras` can't hold, and what the error says; `.npz` holds it."""


@pytest.fixture(autouse=True)
def readable():
    config.set_engine("reference")


@pytest.mark.parametrize("case", COMES_BACK)
def test_a_model_comes_back_from_keras_own_format_as_it_was(case, tmp_path):
    make, own = COMES_BACK[case]
    path, model = tmp_path / "model.keras", make()
    model.fit(X, T if "squared" in model.loss.name else Y, 8, verbose=0)
    if case in NOT_IN_KERAS:
        with pytest.raises(ValueError, match=NOT_IN_KERAS[case]):
            model.save(path)
        assert not path.exists()
        return
    model.save(path)
    loaded = models.load_model(path, custom_objects=own)
    assert type(loaded) is type(model)
    assert loaded.metrics_names == model.metrics_names
    for one, other in zip(model.layers, loaded.layers, strict=True):
        assert other.get_config() == one.get_config()
    for part in ("optimizer", "loss"):
        assert getattr(loaded, part).get_config() == getattr(model, part).get_config()
    same(model, loaded)


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_come_back_is_refused_here_too(case, tmp_path):
    make, value, _ = REFUSED[case]
    with pytest.raises(ValueError) as found:
        make().save(tmp_path / "model.keras")
    assert value in str(found.value)
    assert not list(tmp_path.iterdir())


def test_a_seed_that_keras_can_not_hold_is_left_out_with_a_warning(tmp_path):
    drawn = initializers.HeNormal(np.random.default_rng(3))
    model = Sequential([Input((3,)), layers.Dense(2, kernel_initializer=drawn)])
    model.save(tmp_path / "model.npz")
    kept = models.load_model(tmp_path / "model.npz").layers[0].kernel_initializer
    assert kept.seed.random() == drawn.seed.random()
    with pytest.warns(UserWarning, match="without its seed"):
        model.save(tmp_path / "model.keras")
    again = models.load_model(tmp_path / "model.keras")
    assert again.layers[0].kernel_initializer.seed is None
    assert np.array_equal(again.theta, model.theta)


# --- weights alone --------------------------------------------------------------------------------


def test_weights_come_back_and_with_them_the_optimizers_state(tmp_path):
    path, model, other = tmp_path / "w.weights.h5", trained(), trained(seed=9)
    model.save_weights(path)
    other.load_weights(path)
    other.rng = model.rng.spawn(1)[0]
    assert other.theta.tobytes() == model.theta.tobytes()
    assert other.optimizer.iterations == model.optimizer.iterations
    for name, slot in model.optimizer.slots.items():
        assert other.optimizer.slots[name].tobytes() == slot.tobytes()


def test_weights_are_saved_of_a_model_that_can_not_be_described(tmp_path):
    model = network(metrics=[lambda t, p: p[:, 0]])
    model.save_weights(tmp_path / "w.weights.h5")
    other = network(seed=4)
    other.load_weights(tmp_path / "w.weights.h5")
    assert np.array_equal(other.theta, model.theta)


def test_weights_of_another_float_type_are_converted(tmp_path):
    path, model = tmp_path / "w.weights.h5", network()
    model.save_weights(path)
    config.set_floatx("float64")
    try:
        wide = network(seed=4)
    finally:
        config.set_floatx("float32")
    wide.load_weights(path)
    assert wide.theta.dtype == "float64"
    assert np.array_equal(wide.theta, model.theta.astype("float64"))


def narrow(units=4):
    model = Sequential([Input((6,)), layers.Dense(units), layers.Dense(3)], seed=5)
    return model


def test_weights_of_another_model_are_refused_and_nothing_moves(tmp_path):
    path = tmp_path / "w.weights.h5"
    network().save_weights(path)
    one_more = Sequential([Input((6,)), layers.Dense(5), layers.Dense(3), layers.Dense(2)])
    fewer = Sequential([Input((6,)), layers.Dense(5)])
    for model, named in ((narrow(), "(6, 4)"), (one_more, "dense_2"), (fewer, "dense_1")):
        before = model.theta.copy()
        with pytest.raises(SavedStateError) as found:
            model.load_weights(path)
        assert named in str(found.value)
        assert str(path) in str(found.value)
        assert np.array_equal(model.theta, before)


def test_mismatched_layers_are_skipped_when_asked(tmp_path):
    path, source, model = tmp_path / "w.weights.h5", narrow(3), narrow(4)
    source.save_weights(path)
    bias, kernel = source.layers[1].bias, model.layers[0].kernel.copy()
    bias[...] = 7
    source.save_weights(path)
    with pytest.warns(UserWarning, match="dense has"):
        model.load_weights(path, skip_mismatch=True)
    assert np.array_equal(model.layers[0].kernel, kernel)
    same_shape = narrow(3)
    same_shape.load_weights(path, skip_mismatch=True)
    assert np.array_equal(same_shape.layers[1].bias, bias)


def test_the_ending_chooses_and_others_are_refused(tmp_path):
    model = trained()
    for name in ("w.h5", "w.npz", "w.keras", "w", "w.weights.json"):
        with pytest.raises(ValueError, match=r"ends in \.weights\.h5"):
            model.save_weights(tmp_path / name)
    model.save(tmp_path / "m.npz")
    with pytest.raises(ValueError, match=r"ends in \.weights\.h5 or \.keras"):
        model.load_weights(tmp_path / "m.npz")
    model.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(SavedStateError, match="load_weights"):
        models.load_model(tmp_path / "w.weights.h5")
    with pytest.raises(FileExistsError):
        model.save_weights(tmp_path / "w.weights.h5", overwrite=False)
    with pytest.raises(ValueError, match="max_shard_size"):
        model.save_weights(tmp_path / "w.weights.h5", max_shard_size=1)
    with pytest.raises(ValueError, match="by_name"):
        model.load_weights(tmp_path / "w.weights.h5", by_name=True)
    unbuilt = Sequential([layers.Dense(3)])
    with pytest.raises(ValueError, match="no weights yet"):
        unbuilt.load_weights(tmp_path / "w.weights.h5")
    assert sorted(os.listdir(tmp_path)) == ["m.npz", "w.weights.h5"]


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_links_modes_and_old_files_are_kept(name, tmp_path):
    model, real, link = trained(), tmp_path / "real", tmp_path / name
    save = model.save if name == "m.keras" else model.save_weights
    link.symlink_to(real)
    save(link)
    real.chmod(0o640)
    save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    before = real.read_bytes()
    real.chmod(0o444)
    with pytest.raises(OSError, match="write-protected"):
        save(link)
    assert real.read_bytes() == before


def test_any_version_of_hdf5_can_read_what_is_written(tmp_path):
    path = tmp_path / "w.weights.h5"
    network().save_weights(path)
    assert path.read_bytes()[8] == 0  # the oldest superblock
    with h5py.File(path) as root:
        assert root["layers/dense/vars"].attrs["name"] == "dense"
        assert sorted(root["optimizer/vars"], key=int) == [str(i) for i in range(10)]


def test_the_newest_layout_of_hdf5_is_read(tmp_path):
    """HDF5 2.0 writes other groups and headers by default than 1.14."""
    path, new = tmp_path / "w.weights.h5", tmp_path / "new.weights.h5"
    model, other = trained(), network(seed=3)
    model.save_weights(path)
    with h5py.File(path) as old, h5py.File(new, "w", libver="latest") as root:
        for key in old:
            old.copy(key, root)
        root.create_group("many", track_order=True)
        del root["many"]
    assert new.read_bytes()[8] >= 2
    with pytest.warns(UserWarning, match="optimizer"):
        other.load_weights(new)
    assert np.array_equal(other.theta, model.theta)


def test_importing_scratchnet_and_saving_an_npz_needs_no_h5py(tmp_path):
    code = (
        "import sys; sys.modules['h5py'] = None\n"
        "from scratchnet import Input, Sequential, layers, models\n"
        "m = Sequential([Input((3,)), layers.Dense(2)])\n"
        f"m.save({str(tmp_path / 'm.npz')!r}); models.load_model({str(tmp_path / 'm.npz')!r})\n"
        f"m.save({str(tmp_path / 'm.keras')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "import of h5py halted" in done.stderr.splitlines()[-1]
    assert (tmp_path / "m.npz").exists()


def test_a_loss_that_keras_has_keeps_its_settings(tmp_path):
    path = tmp_path / "m.keras"
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum", name="mine")
    network(loss=loss, head="linear").save(path)
    assert models.load_model(path).loss.get_config() == loss.get_config()
