"""`scratchnet train --resume`: an ended run goes on to the bits of one that was whole."""

from __future__ import annotations

import random
import shutil
import signal

import pytest

from scratchnet import saving
from scratchnet.app import run_training
from scratchnet.app.run_folder import CHECKPOINT, read_run
from tests.faults import harness

pytest_plugins = ["commandline"]

TRAIN = ["train", "--engine", "reference", "--epochs", "3", "--limit", "300", "-q"]
STEPS = 10


@pytest.fixture
def wanted(run, tmp_path):
    run(*TRAIN, "--out", "whole")
    return harness.left_by(tmp_path / "whole")


def stop_at(monkeypatch, step, number=signal.SIGINT):
    """Send a signal after that step, once."""
    tick = run_training.BatchCounter.on_train_batch_end

    def on_train_batch_end(counter, batch, logs=None):
        tick(counter, batch, logs)
        if counter.model.optimizer.iterations == step:
            signal.raise_signal(number)

    monkeypatch.setattr(run_training.BatchCounter, "on_train_batch_end", on_train_batch_end)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [13, 20, 27])
def test_what_a_signal_has_ended_goes_on(run, tmp_path, monkeypatch, wanted, step, number):
    with monkeypatch.context() as patched:
        stop_at(patched, step, number)
        assert run(*TRAIN, "--out", "a").exit_code == 128 + number
    kept = read_run(tmp_path / "a")
    assert kept.result["interrupted"] and kept.result["epochs"] == step // STEPS
    assert saving.load(tmp_path / "a" / CHECKPOINT).config["iterations"] == step
    assert run("evaluate", "a", "-q").exit_code == 0
    assert run("train", "--resume", "a", "-q").exit_code == 0
    assert harness.left_by(tmp_path / "a") == wanted
    assert not (tmp_path / "a" / CHECKPOINT).exists() and not list((tmp_path / "a").glob(".*"))


def test_stopped_again_and_again(run, tmp_path, monkeypatch, wanted):
    """In the first epoch, at once after going on, and within the same epoch twice."""
    arguments = [*TRAIN, "--checkpoint-every", "4", "--out", "a"]
    for step in (3, 5, 8, 13, 14, 29):
        with monkeypatch.context() as patched:
            stop_at(patched, step)
            result = run(*arguments)
        assert result.exit_code == 130, result.stderr
        if step < STEPS:
            assert "`scratchnet train --resume a`" in result.stderr
            assert "--resume" in run("evaluate", "a").stderr
        else:
            assert read_run(tmp_path / "a").result["epochs"] == step // STEPS
        arguments = ["train", "--resume", "a", "-q"]
    assert run(*arguments).exit_code == 0
    assert harness.left_by(tmp_path / "a") == wanted


def test_pictures_of_an_interrupted_run_are_replaced(whole, tmp_path, monkeypatch):
    run = whole  # which draws
    with monkeypatch.context() as patched:
        stop_at(patched, 15)
        run(*TRAIN, "--out", "a")
    before = sorted(path.name for path in (tmp_path / "a" / "pictures").iterdir())
    run("train", "--resume", "a", "-q")
    assert sorted(path.name for path in (tmp_path / "a" / "pictures").iterdir()) == before


def test_the_times_of_before_count(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stop_at(patched, 15)
        run(*TRAIN, "--out", "a")
    spent = saving.load(tmp_path / "a" / CHECKPOINT).config["callbacks"][0][1]["spent"]
    assert spent > 0
    run("train", "--resume", "a", "-q")
    assert read_run(tmp_path / "a").history["scratchnet"]["seconds"][1] > spent


def test_what_can_not_go_on_is_told_in_one_line(run, tmp_path, monkeypatch):
    run(*TRAIN, "--out", "done")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with monkeypatch.context() as patched:
        stop_at(patched, 15)
        run(*TRAIN, "--out", "a")
    for name in ("torn", "lost", "edited"):
        shutil.copytree(tmp_path / "a", tmp_path / name)
    torn = tmp_path / "torn" / CHECKPOINT
    torn.write_bytes(torn.read_bytes()[:-300])
    (tmp_path / "lost" / CHECKPOINT).unlink()
    state = saving.load(tmp_path / "edited" / CHECKPOINT)
    saving.save(
        tmp_path / "edited" / CHECKPOINT, state._replace(config=state.config | {"epoch": -1})
    )
    data = harness.write_data(tmp_path / "data.npz", 300)
    for arguments, said in [
        (["done"], "done is finished"),
        (["other"], "has no history.json"),
        (["nowhere"], "does not exist"),
        (["lost"], "is finished"),
        (["torn"], "checkpoint.npz"),
        (["edited"], "checkpoint.npz"),
        (["a", "--epochs", "5"], "--epochs with --resume"),
        (["a", "--out", "b"], "--out with --resume"),
        (["a", "--unscaled"], "--unscaled with --resume"),
    ]:
        result = run("train", "--resume", *arguments)
        assert result.exit_code == 2, (arguments, result.stderr)
        assert said in result.stderr and result.stderr.count("Traceback") == 0
    result = run("train", "--resume", "a", data=str(data))
    assert result.exit_code == 2 and "other data" in result.stderr
    result = run("compare", "--resume", "a")
    assert result.exit_code == 2 and "`scratchnet train`" in result.stderr
    assert run("train", "--resume", "a", "-q").exit_code == 0


def test_another_number_of_threads_may_go_on(run, tmp_path, monkeypatch, wanted):
    with monkeypatch.context() as patched:
        stop_at(patched, 15)
        run(*TRAIN, "--out", "a")
    assert run("train", "--resume", "a", "-q", "--threads", "1").exit_code == 0
    assert harness.left_by(tmp_path / "a") == wanted


def test_a_compare_without_keras_goes_on(run, tmp_path, monkeypatch, wanted):
    with monkeypatch.context() as patched:
        stop_at(patched, 15)
        run("compare", "--no-keras", *TRAIN[1:], "--out", "a")
    assert run("compare", "--resume", "a", "-q").exit_code == 0
    assert harness.left_by(tmp_path / "a") == wanted


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_stopped_at_random_moments_it_ends_in_the_same_bits(number, tmp_path):
    """`python -m tests.faults` does many of these."""
    training = harness.Training(harness.write_data(tmp_path / "d.npz", 2000), 12, 10, "reference")
    process = harness.begin(training.arguments(tmp_path / "whole"))
    assert process.wait(300) == 0
    rng = random.Random(1)
    ends = harness.stopped_at_random(
        training, tmp_path / "run", signal.Signals[number], rng, seconds=1.5
    )
    assert ends.stopped > 0
    assert harness.left_by(tmp_path / "run") == harness.left_by(tmp_path / "whole")
