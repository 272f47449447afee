"""The command beside a real Keras: interrupted, either comparison tells of the finished part."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from keras_ref import bridge, compare
from scratchnet import datasets
from scratchnet.app import run_folder, run_training
from scratchnet.app.cli.screen import Screen

pytest_plugins = ["commandline"]

COMPARE = ["compare", "--engine", "reference", "--limit", "320", "--out"]


def test_keras_scores_are_its_predictions_and_their_logits(npz):
    data = datasets.load(npz)
    model = run_training.build_model(run_training.RunSettings(seed=2), data)
    with bridge.floatx("float32"):
        outputs, logits = compare.keras_scores(bridge.twin(model), data[1][0])
    ours = run_training.scores_of(model, data[1][0])
    np.testing.assert_allclose(outputs, ours.outputs, atol=1e-6)
    np.testing.assert_allclose(logits, ours.logits, atol=1e-5)
    assert np.abs(logits - outputs).max() > 0.3, "outputs in the place of logits"


def stop_at(monkeypatch, name, condition):
    """Ctrl-C as soon as the screen's `name` is called with arguments of which `condition` holds."""
    honest = getattr(Screen, name)

    def stopping(screen, *args):
        honest(screen, *args)
        if condition(screen, *args):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Screen, name, stopping)


def test_a_comparison_ends_where_both_are_through_an_epoch(run, tmp_path, monkeypatch):
    assert run(*COMPARE, "wanted", "--epochs", "2").exit_code == 0
    # Ours is through the third epoch by then, and Keras is not.
    stop_at(monkeypatch, "now", lambda _, what: what == "epoch 3 of 9, keras")
    result = run(*COMPARE, "a", "--epochs", "9")
    assert result.exit_code == 130 and "Interrupted after 2 of 9 epochs. Parity" in result.stdout
    kept, wanted = (run_folder.read_run(tmp_path / name) for name in ("a", "wanted"))
    np.testing.assert_array_equal(kept.model().theta, wanted.model().theta)
    for name in ("scratchnet", "keras"):
        assert len(kept.history[name]["loss"]) == 2
        assert kept.result[name]["test_loss"] == pytest.approx(
            wanted.result[name]["test_loss"], rel=1e-4
        )
        right = kept.answers[f"{name}_outputs"].argmax(axis=1) == kept.answers["labels"]
        assert right.mean() == pytest.approx(kept.result[name]["test_accuracy"])


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("where", "name", "call"),
    [
        (Screen, "epoch", 2),
        (compare, "distance", 2),
        (run_training, "snapshot", 3),  # the first one warms up
        (run_folder.RunFolder, "save_epoch", 2),
        (run_folder.os, "replace", 7),
    ],
)
def test_at_any_moment_histories_models_and_drift_are_of_one_epoch(
    run, tmp_path, monkeypatch, where, name, call, after
):
    honest, calls = getattr(where, name), []

    def stopping(*args):
        calls.append(name)
        if len(calls) == call and not after:
            signal.raise_signal(signal.SIGINT)
        told = honest(*args)
        if len(calls) == call and after:
            signal.raise_signal(signal.SIGINT)
        return told

    monkeypatch.setattr(where, name, stopping)
    assert run(*COMPARE, "a", "--epochs", "9").exit_code == 130
    kept = run_folder.read_run(tmp_path / "a")
    counts = {
        len(values) for name in ("scratchnet", "keras") for values in kept.history[name].values()
    }
    assert counts == {kept.result["epochs"]} == {len(kept.result["weight_difference"])}
    assert kept.model().optimizer.iterations == 10 * kept.result["epochs"] > 0
    for name in ("scratchnet", "keras"):
        right = kept.answers[f"{name}_outputs"].argmax(axis=1) == kept.answers["labels"]
        assert right.mean() == pytest.approx(kept.history[name]["val_accuracy"][-1])


def test_a_proof_ends_after_a_whole_step(run, tmp_path, monkeypatch):
    stop_at(monkeypatch, "advance", lambda screen: screen.done == 7)
    result = run(*COMPARE, "a", "--float64", "--epochs", "9")
    assert result.exit_code == 130 and "Interrupted after 7 steps. Parity holds." in result.stdout
    kept = run_folder.read_run(tmp_path / "a")
    assert kept.model().optimizer.iterations == 7 == kept.result["lockstep"]["steps"]
    assert kept.result["epochs"] is None and kept.result["interrupted"] is True
    assert kept.answers["keras_logits"].dtype == np.float64


def test_before_anything_is_finished_nothing_is_kept(run, tmp_path, monkeypatch):
    stop_at(monkeypatch, "advance", lambda screen: screen.what == "float64 lockstep")
    result = run(*COMPARE, "a")
    assert result.exit_code == 130 and "there is nothing to keep" in result.stderr
    assert not any(tmp_path.iterdir())
