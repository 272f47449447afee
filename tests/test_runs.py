"""Runs and their folders: the training of `fit`, files whole or absent, nothing overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from scratchnet import datasets, runs
from scratchnet.runs import Folder, Job, RunError


@pytest.fixture(scope="module")
def data():
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    return (x[:200], y[:200]), (x_test[:50], y_test[:50])


@pytest.fixture
def model(data):
    return runs.build_model(Job(), data)


def finished(path, model) -> Folder:
    folder = Folder(path, "compare")
    folder.save_history({"scratchnet": {"loss": [1.0]}})
    folder.save_model(model)
    folder.save_picture("curves", Figure())
    folder.save_result({"parity": True})
    return folder


# --- training -------------------------------------------------------------------------------------


def test_a_run_ends_at_the_bits_of_a_plain_shuffled_fit(data):
    job = Job(epochs=3, seed=7)
    fitted, kept = runs.build_model(job, data), []
    history = fitted.fit(*data[0], epochs=3, verbose=0).history
    outcome = runs.alone(data, job, keep=lambda model, _: kept.append(model.theta.copy()))
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
    monkeypatch.setattr(runs.time, "perf_counter", lambda: clock[0])

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

    job, rng = Job(epochs=2, batch_size=16), np.random.default_rng(0)
    *_, last = runs.train({"a": Fake("a", 1), "b": Fake("b", 3)}, data, job, rng)
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


def test_float64_starts_from_the_same_draw_and_leaves_the_setting_alone(data, model):
    exact = runs.build_model(Job(), data, "float64")
    assert exact.theta.dtype == np.float64
    np.testing.assert_array_equal(exact.theta.astype(np.float32), model.theta)
    assert runs.build_model(Job(), data).theta.dtype == np.float32


def test_unscaled_leaves_the_pixels_alone(data):
    kinds = [type(layer).__name__ for layer in runs.build_model(Job(scaled=False), data).layers]
    assert kinds == ["Flatten", "Dense", "Dense", "Dense"]


# --- the folder -----------------------------------------------------------------------------------


def test_what_was_written_is_read_back(tmp_path, model):
    finished(tmp_path / "deep" / "run", model)
    run = runs.read(tmp_path / "deep" / "run")
    assert run.result["parity"] is True and run.result["kind"] == "compare"
    assert run.history["scratchnet"] == {"loss": [1.0]}
    np.testing.assert_array_equal(run.model().theta, model.theta)
    assert [picture.name for picture in run.pictures] == ["curves.png"]
    assert (run.path / "result.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda run: (run / "result.json").unlink(), "half written: it has no result.json"),
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
        runs.read(tmp_path / "run")


def test_no_folder_and_no_folder_at_all(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        runs.read(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        runs.read(tmp_path / "file")
    with pytest.raises(RunError, match="is a file: expected a folder"):
        Folder(tmp_path / "file", "compare")


@pytest.mark.parametrize("name", ["thesis.tex", "history.json", "model.npz"])
def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path, name):
    (tmp_path / name).write_text('{"loss": []}')
    with pytest.raises(RunError, match="holds something else than a run"):
        Folder(tmp_path, "compare")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_earlier_run_is_replaced_and_nothing_of_it_stays(tmp_path, model):
    finished(tmp_path, model)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "pictures" / "old.png").write_bytes(b"old")
    folder = Folder(tmp_path, "proof")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["history.json", "notes.txt", "pictures"]
    assert not any((tmp_path / "pictures").iterdir())
    with pytest.raises(RunError, match="half written"):
        runs.read(tmp_path)
    folder.save_model(model)
    folder.save_result({})
    assert runs.read(tmp_path).result["kind"] == "proof"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, model, monkeypatch):
    folder = finished(tmp_path, model)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    class Broken(Figure):
        def savefig(self, target, **_):
            Path(target).write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folder.save_picture("curves", Broken())

    def half(self, text):
        os.truncate(self, 0)
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="disk full"):
        folder.save_result({"parity": False})
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}


def test_the_next_free_folder(tmp_path):
    assert runs.next_free(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert runs.next_free(tmp_path / "a") == tmp_path / "a-3"


def test_json_takes_numpy_and_has_no_nan():
    text = runs.as_json({"a": np.float32(0.5), "b": [np.nan, np.int64(2)], "c": {1: (True, None)}})
    assert text == '{\n"a": 0.5,\n"b": [null, 2],\n"c": {"1": [true, null]}\n}\n'
    assert json.loads(text)


def test_the_environment_names_versions_and_processor_but_nobody():
    found = runs.environment()
    assert found["versions"]["numpy"] == np.__version__ and found["cpus"] >= 1 and found["cpu"]
    assert str(Path.home()) not in json.dumps(found)


def test_misread_and_labels_hold_all_answers():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 50)
    found = {name: rng.integers(0, 3, 50) for name in "ab"}
    columns = runs.misread(truth, found)
    for name, answers in found.items():
        again = truth.copy()
        again[columns["index"]] = columns[name]
        np.testing.assert_array_equal(again, answers)
