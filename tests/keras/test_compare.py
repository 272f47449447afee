"""The main job: it says "the same" only where that is so, and prepares Keras without a trace."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from keras_ref import bridge, compare
from scratchnet import datasets
from scratchnet.app import cli, run_folder, run_training
from scratchnet.app.run_training import ProgressListener, RunSettings


@pytest.fixture(scope="module")
def data():
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    return (x[:400], y[:400]), (x_test, y_test)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The real command on the digits; (status, result.json, printed)."""
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    path = tmp_path / "digits.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    monkeypatch.chdir(tmp_path)

    def invoke(*args: str):
        full = ["compare", "--data", str(path), "--out", "run", "--epochs", "2", *args]
        done = CliRunner().invoke(cli.app, full)
        return done, run_folder.read_run(tmp_path / "run")

    return invoke


@pytest.fixture
def sabotage(monkeypatch):
    """Keras's side learns one part in a million faster than it should."""
    honest = bridge.twin

    def twin(model, **options):
        copy = honest(model, **options)
        copy.optimizer.learning_rate = 0.001 * (1 + 1e-6)
        return copy

    monkeypatch.setattr(bridge, "twin", twin)


def test_the_same_network_is_found_the_same(command):
    done, run = command()
    result = run.result
    assert done.exit_code == 0 and "Parity holds." in done.stdout
    assert result["lockstep"]["steps"] == 200
    assert result["lockstep"]["largest_weight_difference"] <= 1e-12
    assert result["weight_difference"][0] <= 1e-5, "the two did not run in the same precision"
    assert result["scratchnet"]["loss"] == pytest.approx(result["keras"]["loss"], rel=1e-4)
    assert result["agreement"]["of"] == 360 and result["agreement"]["mcnemar_p"] == 1
    seconds = [np.median(run.history[name]["seconds"]) for name in ("scratchnet", "keras")]
    assert result["speed_ratio"] == pytest.approx(seconds[1] / seconds[0])
    assert result["keras"]["warm_up_seconds"] > 0
    names = {"curves", "confusion", "misread", "weights", "drift"}
    assert {path.stem for path in run.pictures} == names
    assert run.model().optimizer.iterations == 2 * 45


def test_a_learning_rate_one_in_a_million_off_is_found(command, sabotage):
    done, run = command("--limit", "300", "--engine", "reference")
    assert done.exit_code == 1 and "Parity does not hold: step 1:" in done.stdout
    assert run.result["parity"] is False and "weights" in run.result["lockstep"]["difference"]


def test_the_proof_finds_it_too(command, sabotage):
    done, run = command("--float64", "--limit", "300", "--engine", "reference")
    assert done.exit_code == 1 and run.result["lockstep"]["steps"] == 1
    assert run.result["parity"] is False


def test_disagreement_beyond_chance_is_found(command, monkeypatch):
    honest = compare.keras_scores

    def scores_of(copy, x):
        outputs, logits = honest(copy, x)
        outputs[:60] = np.roll(outputs[:60], 1, axis=1)
        return run_training.Scores(outputs, logits)

    monkeypatch.setattr(compare, "keras_scores", scores_of)
    done, run = command("--engine", "reference")
    assert done.exit_code == 1 and "disagree beyond chance" in done.stdout
    assert run.result["lockstep"]["holds"] and run.result["agreement"]["mcnemar_p"] < 0.001


@pytest.mark.parametrize(("options", "status"), [([], 1), (["--unscaled"], 0)])
def test_on_raw_pixels_disagreement_at_the_end_proves_nothing(
    command, monkeypatch, options, status
):
    monkeypatch.setattr(compare, "CHANCE", 2.0)  # no agreement is good enough
    done, run = command("--engine", "reference", "--limit", "300", *options)
    assert done.exit_code == status and run.result["lockstep"]["holds"]


def test_the_proof_in_float64(command):
    done, run = command("--float64", "--limit", "300", "--engine", "reference")
    result = run.result
    assert done.exit_code == 0 and "Parity holds." in done.stdout
    assert result["lockstep"]["steps"] == 20 == len(result["lockstep"]["drift"])
    assert result["agreement"]["same"] == 300 and result["settings"]["dtype"] == "float64"
    assert run.model().theta.dtype == np.float64
    assert keras.config.floatx() == "float32" == keras.config.dtype_policy().name


def test_raw_pixels_are_held_against_their_own_drift(data):
    job = RunSettings(scaled=False, engine="reference")
    drift = compare.twin_drift(data, job)
    with bridge.floatx("float64"):
        checked = compare.check_parity(data, job, ProgressListener())
    assert checked["holds"] and checked["limit"] == max(1e-12, 30 * drift)
    assert 0 < drift < 1e-6


def test_warming_keras_up_leaves_no_trace_but_the_tracing(data):
    job = RunSettings(seed=3)
    model = run_training.build_model(job, data)
    with bridge.floatx("float32"):
        copy = bridge.twin(model)
        compare.warm_up_keras(model, copy, data, job)
    assert compare.distance(model, copy) == 0
    assert int(copy.optimizer.iterations.numpy()) == 0
    assert not any(slot.any() for slot in bridge.keras_slots(copy, model.optimizer).values())
    before = model.theta.copy()
    run_training.warm_up_ours(model, data, job)
    np.testing.assert_array_equal(model.theta, before)
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize(("ours", "theirs", "p"), [(5, 0, 2 / 2**5), (0, 0, 1), (3, 3, 1)])
def test_mcnemar_by_hand(ours, theirs, p):
    truth = np.zeros(20, int)
    a, b = truth.copy(), truth.copy()
    b[:ours] = 1
    a[ours : ours + theirs] = 1
    found = compare.agreement(truth, a, b)
    assert (found["only_scratchnet_right"], found["only_keras_right"]) == (ours, theirs)
    assert found["mcnemar_p"] == pytest.approx(p)
    assert found["same"] == 20 - ours - theirs


def test_two_wrong_answers_differ_without_favouring_anyone():
    found = compare.agreement(np.array([0, 0]), np.array([1, 0]), np.array([2, 0]))
    assert (found["same"], found["mcnemar_p"]) == (1, 1)


def test_a_long_drift_is_thinned_but_keeps_its_ends():
    drift = [(step, 1e-16 * step) for step in range(1, 18_751)]
    kept = compare.thinned(drift)
    assert kept[0] == drift[0] and kept[-1] == drift[-1] and 200 < len(kept) <= 500
    assert kept == sorted(set(kept)) and compare.thinned(drift[:99]) == drift[:99]


def test_threads_come_too_late_once_tensorflow_runs(data):
    keras.ops.ones(1) + 1
    with pytest.raises(ValueError, match="TensorFlow runs already"):
        compare.limit_threads(97)
