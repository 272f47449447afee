"""Distorted copies of training images: what they are, and `train --augment` from run to run."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
from scipy import ndimage

from scratchnet import datasets, models
from scratchnet.app import run_training
from scratchnet.app.anatomy import dissect
from scratchnet.app.run_folder import read_run
from scratchnet.datasets import augmentation

pytest_plugins = ["commandline"]

TRAIN = ["train", "--engine", "reference", "--epochs", "2", "--limit", "100", "--augment", "2"]


def copies_of(image: np.ndarray, number: int = 50, seed: int = 0) -> np.ndarray:
    x, _ = augmentation.affine_copies(image[None], np.zeros(1), number, np.random.default_rng(seed))
    return x[1:]


def blot(row: float, column: float, width: float = 1.5) -> np.ndarray:
    """A round blot, (28, 28) float64: moments of it can be worked out."""
    rows, columns = np.mgrid[:28, :28]
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))


def only(monkeypatch, **limits: float) -> None:
    for name in ("TURN", "SLANT", "SCALE", "SHIFT"):
        monkeypatch.setattr(augmentation, name, limits.get(name, 0.0))


# --- one copy -------------------------------------------------------------------------------------


def test_without_distortion_a_copy_is_the_image(monkeypatch):
    only(monkeypatch)
    np.testing.assert_allclose(copies_of(blot(10, 15), 2), [blot(10, 15)] * 2, atol=1e-12)


def test_a_shift_moves_the_mass_by_as_much_and_both_ways(monkeypatch):
    """Linear interpolation keeps a mass and its centre's shift, where nothing leaves the image."""
    only(monkeypatch, SHIFT=1.5)
    moved = np.array([ndimage.center_of_mass(copy) for copy in copies_of(blot(12, 15))]) - (12, 15)
    assert np.abs(moved).max() <= 1.5 + 1e-6
    assert (moved.min(axis=0) < -1).all() and (moved.max(axis=0) > 1).all()


def test_a_turn_keeps_the_distance_from_the_centre(monkeypatch):
    only(monkeypatch, TURN=12.0)
    away = np.array([ndimage.center_of_mass(c) for c in copies_of(blot(13.5, 20.5))]) - 13.5
    np.testing.assert_allclose(np.hypot(*away.T), 7, atol=0.05)
    angles = np.degrees(np.arctan2(away[:, 0], away[:, 1]))
    assert np.abs(angles).max() <= 12.5 and angles.min() < -9 and angles.max() > 9


def test_a_scale_moves_what_is_off_the_centre_and_widens_it_as_much(monkeypatch):
    """Wide blots: of narrow ones, linear interpolation gets the mass wrong by a hundredth."""
    only(monkeypatch, SCALE=0.15)
    scaled = copies_of(blot(13.5, 13.5 + 4, 2.5))
    away = np.array([ndimage.center_of_mass(copy) for copy in scaled])[:, 1] - 13.5
    assert 0.84 * 4 < away.min() < 0.9 * 4 and 1.1 * 4 < away.max() < 1.16 * 4
    mass = scaled.sum(axis=(1, 2)) / blot(13.5, 17.5, 2.5).sum()
    np.testing.assert_allclose(np.sqrt(mass), away / 4, atol=0.01)


def test_a_slant_leans_upright_strokes_and_leaves_rows_where_they_are(monkeypatch):
    only(monkeypatch, SLANT=0.2)
    at_top = np.array([ndimage.center_of_mass(copy) for copy in copies_of(blot(13.5 - 6, 13.5))])
    np.testing.assert_allclose(at_top[:, 0], 7.5, atol=0.05)
    assert 0.9 < np.ptp(at_top[:, 1]) / (2 * 0.2 * 6) < 1.02


def test_copies_differ_from_each_other_and_the_seed_decides_them():
    x, y = np.zeros((3, 28, 28), np.uint8), np.arange(3)
    x[:, 8:20, 12:15] = 200
    several = [augmentation.affine_copies(x, y, 2, np.random.default_rng(s)) for s in (0, 0, 1)]
    (one, labels), (same, _), (other, _) = several
    np.testing.assert_array_equal(one, same)
    assert len(np.unique(one, axis=0)) == 7 and not np.array_equal(one[3:], other[3:])
    assert one.dtype == np.uint8 and labels.tolist() == [0, 1, 2] * 3
    np.testing.assert_array_equal(one[:3], x)


@pytest.mark.parametrize(
    ("shape", "copies", "words"),
    [
        ((2, 28), 1, "expected grey"),
        ((2, 4, 4), -1, ">= 0"),
        ((2, 4, 4), 1.0, ">= 0"),
        ((2, 4, 4), True, ">= 0"),
    ],
)
def test_what_is_no_image_and_no_number_is_refused(shape, copies, words):
    with pytest.raises(ValueError, match=words):
        augmentation.affine_copies(np.zeros(shape), np.zeros(2), copies, np.random.default_rng(0))


# --- a run ----------------------------------------------------------------------------------------


def test_a_run_is_a_fit_on_the_originals_and_their_copies(run, tmp_path):
    assert run(*TRAIN, "--out", "a").exit_code == 0
    kept = read_run(tmp_path / "a")
    assert kept.result["settings"]["augment"] == 2 and kept.result["data"]["training"] == 100
    (x, y), _ = datasets.digits.load_data()
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(1,)))
    settings = run_training.RunSettings(engine="reference")
    model = run_training.build_model(settings, ((x, y), (x, y)))
    x, y = augmentation.affine_copies(x[:100], y[:100], 2, rng)
    model.fit(x, y, epochs=2, verbose=0)
    np.testing.assert_array_equal(kept.model().theta, model.theta)


def test_off_is_the_default_and_the_run_that_it_was(run, tmp_path):
    for extra in ([], ["--augment", "0"]):
        run(*TRAIN[:-2], *extra, "--out", "a")
        kept = read_run(tmp_path / "a")
        assert kept.result["settings"]["augment"] == 0
        (x, y), _ = datasets.digits.load_data()
        settings = run_training.RunSettings(engine="reference")
        model = run_training.build_model(settings, ((x, y), (x, y)))
        model.fit(x[:100], y[:100], epochs=2, verbose=0)
        np.testing.assert_array_equal(kept.model().theta, model.theta)


@pytest.mark.parametrize("step", [3, 13])
@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_run_that_was_stopped_goes_on_with_its_copies(run, tmp_path, monkeypatch, command, step):
    arguments = [command, *TRAIN[1:], "--checkpoint-every", "2"]
    arguments += ["--no-keras"] if command == "compare" else []
    run(*arguments, "--out", "whole")
    tick = run_training.BatchCounter.on_train_batch_end

    def stopping(counter, batch, logs=None):
        tick(counter, batch, logs)
        if counter.model.optimizer.iterations == step:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(run_training.BatchCounter, "on_train_batch_end", stopping)
        assert run(*arguments, "--out", "a").exit_code == 130
    refused = run(command, "--resume", "a", "--augment", "3")
    assert refused.exit_code == 2 and "--augment with --resume" in refused.stderr
    assert run(command, "--resume", "a").exit_code == 0
    whole, gone_on = read_run(tmp_path / "whole"), read_run(tmp_path / "a")
    assert gone_on.result["settings"] == whole.result["settings"]
    np.testing.assert_array_equal(gone_on.model().theta, whole.model().theta)


def test_explain_replays_it_bit_for_bit(run, tmp_path):
    run(*TRAIN, "--out", "a")
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    found = dissect(read_run(tmp_path / "a"), ((x[:100], y[:100]), (x_test[:100], y_test[:100])))
    assert found.exact and found.steps[-1].number == 2 * -(-300 // 32)


def test_a_run_from_before_there_were_copies_is_still_read(run, tmp_path):
    run(*TRAIN, "--out", "a")
    for name in ("result.json", "history.json"):
        content = json.loads((tmp_path / "a" / name).read_text())
        del content["settings"]["augment"]
        (tmp_path / "a" / name).write_text(json.dumps(content))
    assert run("evaluate", "a", "-q").exit_code == 0


def test_the_number_has_its_bounds(run):
    for number in ("-1", "21", "many"):
        refused = run("train", "--augment", number)
        assert refused.exit_code == 2 and "--augment" in refused.stderr


def test_predict_says_what_the_network_was_trained_on(run, tmp_path):
    from PIL import Image

    run(*TRAIN, "--out", "a")
    Image.new("L", (40, 40), 255).save(tmp_path / "blank.png")
    how = "trained for 2 epochs on digits.npz and 2 distorted copies of each image"
    said = run("predict", "--model", "a", "blank.png").stderr.splitlines()[0]
    assert said.startswith("Model: a, trained for 2 epochs on ") and said.endswith(how[-35:])
    told = json.loads(run("predict", "--model", "a", "blank.png", "--json").stdout)["trained"]
    assert f"Model: a, {told}" == said
    assert run("predict", "--model", "a/model.npz", "blank.png").stderr.startswith(
        "Model: a/model.npz\n"
    )
    assert models.load_model(tmp_path / "a" / "model.npz").count_params() == 42_310
