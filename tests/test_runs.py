"""Runs and their folders: the training of `fit`, files whole or absent, nothing overwritten."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from results import a_result

from scratchnet import datasets
from scratchnet.app import environment, run_folder, run_training
from scratchnet.app.run_folder import RunError, RunFolder
from scratchnet.app.run_training import RunSettings
from scratchnet.app.text import to_json

HISTORY = {column: [0.5] for column in ("loss", "accuracy", "val_loss", "val_accuracy", "seconds")}

RESULT = a_result(epochs=1, interrupted=True)


@pytest.fixture(scope="module")
def data():
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    return (x[:200], y[:200]), (x_test[:50], y_test[:50])


@pytest.fixture
def model(data):
    return run_training.build_model(RunSettings(), data)


def finished(path, model) -> RunFolder:
    """A run of an epoch; its folder is still open."""
    folder = RunFolder(path, "compare")
    folder.save_epoch(model, {"scratchnet": HISTORY})
    folder.save_result(RESULT)
    folder.save_pictures({"curves": Figure()})
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- training -------------------------------------------------------------------------------------


def test_a_run_ends_at_the_bits_of_a_plain_shuffled_fit(data):
    job = RunSettings(epochs=3, seed=7)
    fitted, kept = run_training.build_model(job, data), []
    history = fitted.fit(*data[0], epochs=3, verbose=0).history
    outcome = run_training.train_solo(
        data, job, save_epoch=lambda model, _: kept.append(model.theta.copy())
    )
    np.testing.assert_array_equal(outcome.model.theta, fitted.theta)
    assert outcome.histories["scratchnet"]["loss"] == history["loss"]
    assert len(kept) == 3 and not np.array_equal(kept[0], kept[1])
    assert outcome.result["scratchnet"]["test_accuracy"] == pytest.approx(
        fitted.evaluate(*data[1], verbose=0)[1]
    )
    np.testing.assert_array_equal(
        outcome.answers["scratchnet"], fitted.predict(data[1][0], verbose=0).argmax(axis=1)
    )


def test_everyone_sees_the_same_samples_in_a_new_order_each_epoch_and_only_fit_is_timed(
    data, monkeypatch
):
    clock, seen = [0.0], {"a": [], "b": []}
    monkeypatch.setattr(run_training.time, "perf_counter", lambda: clock[0])

    class Fake:
        def __init__(self, name, seconds):
            self.name, self.seconds = name, seconds

        def fit(self, x, y, **options):
            assert options == {"batch_size": 16, "shuffle": False, "verbose": 0}
            clock[0] += self.seconds
            seen[self.name].append((x.copy(), y.copy()))
            self.history = {"loss": [1.0], "accuracy": [0.5]}
            return self

        def evaluate(self, x, y, **_):
            clock[0] += 100
            return {"loss": 2.0, "accuracy": 0.25}

    job, rng = RunSettings(epochs=2, batch_size=16), np.random.default_rng(0)
    *_, last = run_training.train_together({"a": Fake("a", 1), "b": Fake("b", 3)}, data, job, rng)
    assert (last["a"]["seconds"], last["b"]["seconds"]) == ([1, 1], [3, 3])
    for (x, y), (other_x, other_y) in zip(seen["a"], seen["b"], strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)
    (first, labels), (second, _) = seen["a"]
    assert not np.array_equal(first, second), "the order stayed"
    (x, y), _ = data
    assert sorted(map(bytes, first)) == sorted(map(bytes, x))
    partner = {bytes(image): label for image, label in zip(x, y, strict=True)}
    assert all(partner[bytes(image)] == label for image, label in zip(first, labels, strict=True))


def test_an_epoch_that_not_everyone_is_through_enters_no_history(data):
    class Stopped:
        def __init__(self, model):
            self.model, self.left = model, 2

        def fit(self, *args, **options):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return self.model.fit(*args, **options)

        def evaluate(self, *args, **options):
            return self.model.evaluate(*args, **options)

    job = RunSettings(engine="reference")
    first, second = (run_training.build_model(job, data) for _ in range(2))
    training = run_training.train_together({"a": first, "b": Stopped(second)}, data, job, first.rng)
    histories = next(training)
    with pytest.raises(KeyboardInterrupt):
        next(training)
    assert [len(column) for run in histories.values() for column in run.values()] == 10 * [1]
    assert first.optimizer.iterations == 14, "one of them was through it"


def test_a_snapshot_stays_and_comes_back_on_its_engine(data, model):
    state, before = run_training.snapshot(model), model.theta.copy()
    model.fit(*data[0], verbose=0)
    again = run_training.restored(state, "reference", 2)
    np.testing.assert_array_equal(again.theta, before)
    assert again.engine.name == "reference" and again.threads == 2
    assert again.optimizer.iterations == 0 and run_training.config.engine() == "auto"


def test_float64_starts_from_the_same_draw_and_leaves_the_setting_alone(data, model):
    exact = run_training.build_model(RunSettings(), data, "float64")
    assert exact.theta.dtype == np.float64
    np.testing.assert_array_equal(exact.theta.astype(np.float32), model.theta)
    assert run_training.build_model(RunSettings(), data).theta.dtype == np.float32


def test_unscaled_leaves_the_pixels_alone(data):
    kinds = [
        type(layer).__name__
        for layer in run_training.build_model(RunSettings(scaled=False), data).layers
    ]
    assert kinds == ["Flatten", "Dense", "Dense", "Dense"]


# --- the folder -----------------------------------------------------------------------------------


def test_what_was_written_is_read_back(tmp_path, model):
    finished(tmp_path / "deep" / "run", model)
    run = run_folder.read_run(tmp_path / "deep" / "run")
    assert run.result["interrupted"] is True and run.result["kind"] == "compare"
    assert run.history["scratchnet"] == HISTORY
    np.testing.assert_array_equal(run.model().theta, model.theta)
    assert [picture.name for picture in run.pictures] == ["curves.png"]
    assert (run.path / "result.json").stat().st_mode & 0o777 == 0o644


def wrong_about(labels, wrong):
    """Scores of a model that has the first `wrong` images wrong."""
    answers = labels.astype(int)
    answers[:wrong] = (answers[:wrong] + 1) % 10
    certain = np.eye(10, dtype=np.float32)[answers]
    return run_training.Scores(certain, 7 * certain)


@pytest.mark.parametrize(("wrong", "kept"), [(0, 0), (3, 3), (1000, 400)])
def test_answers_are_read_back_with_the_misread_images(tmp_path, model, wrong, kept):
    (x, y), _ = datasets.digits.load_data()
    data, scores = ((x, y), (x, y)), wrong_about(y, wrong)
    misread = run_training.misread(y, {"scratchnet": scores})
    folder = finished(tmp_path / "run", model)
    folder.save_answers(
        run_training.Outcome(model, {"scratchnet": scores}, {"misread": misread}), data
    )
    found = run_folder.read_run(tmp_path / "run").answers
    np.testing.assert_array_equal(found["labels"], y)
    np.testing.assert_array_equal(found["scratchnet_outputs"], scores.outputs)
    np.testing.assert_array_equal(found["scratchnet_logits"], scores.logits)
    rows = found["misread_index"]
    assert len(rows) == kept == len(set(rows)) and set(rows) <= set(range(wrong))
    assert not kept or (rows[0], rows[-1]) == (0, wrong - 1)
    np.testing.assert_array_equal(found["misread_images"], x[rows])


def test_scores_are_what_predict_says_and_what_stands_before_the_head(data):
    model = run_training.build_model(RunSettings(engine="reference"), data)
    outputs, logits = scores = run_training.scores_of(model, data[1][0])
    whole = model.predict(data[1][0], batch_size=run_training.TEST_BATCH, verbose=0)
    np.testing.assert_array_equal(outputs, whole)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), outputs, rtol=1e-6)
    np.testing.assert_array_equal(scores.answers, outputs.argmax(axis=1))


def test_answers_may_be_missing_but_not_damaged(tmp_path, model):
    folder = finished(tmp_path, model)
    assert run_folder.read_run(tmp_path).answers == {}
    scores = wrong_about(np.zeros(9, np.uint8), 2)
    outcome = run_training.Outcome(model, {"a": scores}, {"misread": {"index": []}})
    images, labels = np.zeros((9, 28, 28), np.uint8), np.zeros(9, np.uint8)
    folder.save_answers(outcome, ((images, labels), (images, labels)))
    whole = (tmp_path / "answers.npz").read_bytes()
    flipped = whole[:80] + bytes([whole[80] ^ 255]) + whole[81:]
    for harmed in (b"", b"no", whole[: len(whole) // 2], flipped):
        (tmp_path / "answers.npz").write_bytes(harmed)
        with pytest.raises(RunError, match=r"answers\.npz can't be read"):
            _ = run_folder.read_run(tmp_path).answers


def test_an_unfinished_run_is_read_if_an_epoch_was_finished(tmp_path, model):
    about = {name: RESULT[name] for name in ("settings", "data")}
    with RunFolder(tmp_path / "run", "train", about) as folder:
        with pytest.raises(RunError, match="half written"):
            run_folder.read_run(tmp_path / "run")
        folder.save_epoch(model, {"scratchnet": HISTORY})
        run = run_folder.read_run(tmp_path / "run")
        assert run.result == {} and run.history["kind"] == "train" and run.epochs == 1
        assert run.about["data"] == RESULT["data"]
        np.testing.assert_array_equal(run.model().theta, model.theta)
        folder.save_result(RESULT)
    assert run_folder.read_run(tmp_path / "run").result["interrupted"] is True


def test_a_model_comes_back_on_the_engine_of_its_run(tmp_path, data, model):
    folder = finished(tmp_path, model)
    for engine, name in (("reference", "reference"), ("auto", "compiled"), (None, "compiled")):
        folder.save_result(a_result(settings={"engine": engine, "threads": 1}))
        again = run_folder.read_run(tmp_path).model()
        assert (again.engine.name, again.threads) == (name, 1)


def test_only_a_folder_in_which_nothing_was_kept_is_discarded(tmp_path, model):
    assert RunFolder(tmp_path / "new", "train").discard() and not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    assert RunFolder(tmp_path / "empty", "train").discard() and (tmp_path / "empty").is_dir()
    folder = RunFolder(tmp_path / "shared", "train")
    (tmp_path / "shared" / "notes.txt").write_text("mine")
    assert folder.discard()
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["notes.txt"]
    folder = RunFolder(tmp_path / "kept", "train")
    folder.save_epoch(model, {"scratchnet": HISTORY})
    assert not folder.discard() and run_folder.read_run(tmp_path / "kept").epochs == 1
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == ["history.json", "model.npz"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda run: (run / "model.npz").unlink(), "half written: it has no model.npz"),
        (lambda run: (run / "history.json").unlink(), "is not a run: it has no history.json"),
        (lambda run: (run / "result.json").write_text("{"), "result.json is not JSON"),
        (lambda run: (run / "result.json").write_bytes(b"\xff\xfe"), "result.json is not JSON"),
        (lambda run: (run / "result.json").write_text("[]"), "result.json is not of a run"),
        (lambda run: (run / "history.json").write_text('{"format": 2}'), "is not of a run"),
    ],
)
def test_a_broken_run_says_what_is_missing(tmp_path, model, harm, message):
    finished(tmp_path / "run", model)
    harm(tmp_path / "run")
    with pytest.raises(RunError, match=message):
        run_folder.read_run(tmp_path / "run")


def test_no_folder_and_no_folder_at_all(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        run_folder.read_run(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        run_folder.read_run(tmp_path / "file")
    with pytest.raises(RunError, match="is a file: expected a folder"):
        RunFolder(tmp_path / "file", "compare")


@pytest.mark.parametrize("name", ["thesis.tex", "history.json", "model.npz"])
def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path, name):
    (tmp_path / name).write_text('{"loss": []}')
    with pytest.raises(RunError, match="holds something else than a run"):
        RunFolder(tmp_path, "compare")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, model, monkeypatch):
    folder = finished(tmp_path, model)

    class Broken(Figure):
        def savefig(self, target, **_):
            target.write(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folder.save_pictures({"curves": Broken()})
    assert names(tmp_path / "pictures") == ["curves.png"]
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        folder.save_result(a_result())
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_the_next_free_folder(tmp_path):
    assert run_folder.next_free(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert run_folder.next_free(tmp_path / "a") == tmp_path / "a-3"


def test_json_takes_numpy_and_has_no_nan():
    text = to_json({"a": np.float32(0.5), "b": [np.nan, np.int64(2)], "c": {1: (True, None)}})
    assert text == '{\n"a": 0.5,\n"b": [null, 2],\n"c": {"1": [true, null]}\n}\n'
    assert json.loads(text)


def test_the_environment_names_versions_and_processor_but_nobody():
    found = environment.environment()
    assert found["versions"]["numpy"] == np.__version__ and found["cpus"] >= 1 and found["cpu"]
    assert str(Path.home()) not in json.dumps(found)


def test_misread_and_labels_hold_all_answers():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 50)
    found = {name: run_training.Scores(rng.random((50, 3)), np.zeros((50, 3))) for name in "ab"}
    columns = run_training.misread(truth, found)
    for name, scores in found.items():
        again = truth.copy()
        again[columns["index"]] = columns[name]
        np.testing.assert_array_equal(again, scores.answers)
