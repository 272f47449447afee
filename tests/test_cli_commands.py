"""The smaller commands, `evaluate`, `summary`, `data` and `doctor`, with all that may lack."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import scratchnet
from scratchnet import datasets, layers
from scratchnet.app import run_folder
from scratchnet.app.cli import doctor, evaluate
from scratchnet.engines import compiled

pytest_plugins = ["commandline"]

TRAIN = ["train", "--engine", "reference", "--epochs", "1", "--limit", "200", "-q", "--out", "a"]


@pytest.fixture
def trained(run, tmp_path):
    """A run of the digits at `a`."""
    assert run(*TRAIN).exit_code == 0
    return tmp_path / "a"


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without MNIST and without a network."""
    monkeypatch.delenv("SCRATCHNET_DATA", raising=False)
    monkeypatch.setenv("SCRATCHNET_OFFLINE", "1")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("SCRATCHNET_CACHE", str(tmp_path / "cache"))


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- evaluate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_the_figures_are_those_of_the_run_to_the_bit(run, tmp_path, engine):
    run("train", "--engine", engine, "--epochs", "2", "--seed", "3", "--limit", "300", "--out", "a")
    result = run("evaluate", "a", "--json")
    told, kept = json.loads(result.stdout), run_folder.read_run(tmp_path / "a").result
    assert result.exit_code == 0 and told["as_in_result"] == "exactly"
    assert told["loss"] == kept["scratchnet"]["test_loss"]
    assert told["accuracy"] == kept["scratchnet"]["test_accuracy"]
    assert sum(row["images"] for row in told["digits"]) == 300 == kept["data"]["test"]
    weighted = sum(row["images"] * row["recall"] for row in told["digits"])
    assert weighted / 300 == pytest.approx(told["accuracy"])


def test_the_table_has_a_row_for_each_digit_and_quiet_a_line(run, trained):
    result = run("evaluate", "a")
    assert "mostly taken for" in result.stdout and "to the bit." in result.stdout
    rows = [line.split()[0] for line in result.stdout.splitlines()[3:13]]
    assert rows == list("0123456789")
    assert run("evaluate", "a", "-q").stdout == result.stdout.splitlines(keepends=True)[-1]


@pytest.mark.parametrize(
    ("factor", "agrees", "status"), [(1 + 1e-7, "up to rounding", 0), (1.01, "no", 1)]
)
def test_a_result_that_says_otherwise_is_found_out(run, trained, factor, agrees, status):
    ours = run_folder.read_run(trained).result["scratchnet"]
    edit(trained / "result.json", scratchnet=ours | {"test_loss": ours["test_loss"] * factor})
    result = run("evaluate", "a", "--json")
    assert result.exit_code == status and json.loads(result.stdout)["as_in_result"] == agrees


def test_other_data_are_evaluated_and_not_held_against_the_run(run, trained, npz):
    for extra in (["--limit", "50"], ["--data", str(npz)]):
        told = json.loads(run("evaluate", "a", "--json", *extra).stdout)
        assert told["as_in_result"] is None
        assert told["data"]["test"] == (50 if "--limit" in extra else 360)


def test_precision_recall_and_confusion_by_hand():
    truth, answers = np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 1, 1])
    zero, one, two = evaluate.per_digit(truth, answers)
    assert (zero["precision"], zero["recall"]) == (1, pytest.approx(1 / 3))
    assert (zero["taken_for"], zero["times"]) == (1, 2)
    assert (one["precision"], one["recall"], one["taken_for"]) == (0.25, 1, None)
    assert (two["precision"], two["recall"], two["images"]) == (0, 0, 1), "never answered"


def other_model(run: Path, shape: tuple[int, ...], classes: int) -> None:
    model = scratchnet.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(classes)])
    model.compile("adam", "sparse_categorical_crossentropy", engine="reference")
    model.save(run / "model.npz")


def rename_data(run: Path, name: str) -> None:
    told = json.loads((run / "result.json").read_text())["data"]
    edit(run / "result.json", data=told | {"name": name})


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (shutil.rmtree, "a does not exist"),
        (lambda run: (run / "model.npz").unlink(), "a is half written: it has no model.npz"),
        (lambda run: (run / "history.json").unlink(), "a is not a run"),
        (lambda run: (run / "model.npz").write_bytes(b"no"), "not a saved model"),
        (lambda run: os.truncate(run / "model.npz", 1000), "not a saved model"),
        (lambda run: (run / "result.json").write_text("{"), "is not JSON"),
        (lambda run: edit(run / "result.json", data={}), "data.name is missing"),
        (lambda run: other_model(run, (8, 8), 10), "images of 8 x 8, and these are 28 x 28"),
        (lambda run: other_model(run, (28, 28), 3), "no model that tells ten digits apart"),
        (
            lambda run: rename_data(run, "~/no.npz"),
            "the run's data are not there. Name them with --data",
        ),
    ],
)
def test_a_run_that_cannot_be_used_is_one_line(run, trained, harm, words):
    harm(trained)
    result = run("evaluate", "a", "-q")
    assert result.exit_code == 2 and result.stdout == "" and words in result.stderr
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1


# --- summary --------------------------------------------------------------------------------------


def test_summary_shows_the_network_that_train_begins_with(run, trained):
    fresh, kept = run("summary").stdout, run("summary", "a").stdout
    assert "Total params: 42,310" in fresh and "rescaling" in fresh and "Optimizer" not in fresh
    assert "Optimizer params: 84,622" in kept  # two vectors, the step count and the learning rate
    assert "rescaling" not in run("summary", "--unscaled").stdout
    told = json.loads(run("summary", "a", "--json").stdout)
    assert told["parameters"] == sum(layer["parameters"] for layer in told["layers"]) == 42_310
    assert told["steps"] == 7 and told["layers"][-1]["activation"] == "sigmoid"


def test_summary_needs_no_result_but_a_run(run, trained):
    (trained / "result.json").unlink()
    assert run("summary", "a").exit_code == 0
    assert run("summary", "nowhere").exit_code == 2


# --- data -----------------------------------------------------------------------------------------


def test_without_mnist_data_says_where_it_looked_and_what_helps(run, bare, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    result = run("data")
    assert result.exit_code == 1 and max(map(len, result.stdout.splitlines())) <= 60
    text = " ".join(result.stdout.split())
    for words in ("No MNIST", str(tmp_path / "cache"), "--fetch", "SCRATCHNET_DATA", "1,437"):
        assert words.replace(" ", "") in text.replace(" ", "")
    told = json.loads(run("data", "--json").stdout)
    assert told["mnist"] is False and told["path"] is None and told["urls"]


def test_fetch_without_a_network_is_one_line(run, bare):
    result = run("data", "--fetch")
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "SCRATCHNET_OFFLINE forbids" in result.stderr


def test_data_of_ones_own_are_hashed_and_known_not_to_be_mnist(run, npz):
    result = run("data", "--data", str(npz), "--json")
    told, ((x, _), _) = json.loads(result.stdout), datasets.load(npz)
    assert result.exit_code == 0 and told["mnist"] is False
    first = told["arrays"]["x_train"]
    assert first["sha256"] == hashlib.sha256(x.tobytes()).hexdigest() and not first["known"]
    assert first["shape"] == list(x.shape) and told["density"] == pytest.approx((x > 0).mean())
    assert sum(told["images_per_class"]["training"]) == len(x)
    assert "Not MNIST, but sound" in run("data", "--data", str(npz)).stdout


def test_mnist_is_known_by_its_hashes(run, mnist):
    told = json.loads(run("data", "--json").stdout)
    assert told["mnist"] and all(array["known"] for array in told["arrays"].values())


def test_a_data_path_that_is_wrong_is_one_line(run, monkeypatch):
    monkeypatch.setenv("SCRATCHNET_DATA", "/no/such/place")
    for command in ("data", "train"):
        result = run(command, data=None)
        assert result.exit_code == 2 and "SCRATCHNET_DATA, which names it" in result.stderr
        assert result.stderr.count("\n") == 1


# --- doctor ---------------------------------------------------------------------------------------


def test_a_machine_with_all_that_is_needed_is_well(run, bare):
    result = run("doctor")
    assert result.exit_code == 0 and "All that is needed is there." in result.stdout
    assert "scratchnet data --fetch" in result.stdout, "MNIST may lack, and this gets it"
    assert run("doctor", "-q").stdout == "All that is needed is there.\n"
    told = json.loads(run("doctor", "--json").stdout)
    assert told["ok"] and told["environment"]["versions"]["numpy"] == np.__version__


@pytest.mark.parametrize(
    ("package", "version", "words"),
    [
        ("numpy", "1.26.4", "numpy 1.26.4 (wanted <3,>=2.1)"),
        ("pooch", None, "no pooch"),
    ],
)
def test_what_is_needed_and_lacks_comes_with_its_command(
    run, bare, monkeypatch, package, version, words
):
    honest = metadata.version

    def told(name):
        if name == package and version is None:
            raise metadata.PackageNotFoundError(name)
        return version if name == package else honest(name)

    monkeypatch.setattr(metadata, "version", told)
    monkeypatch.setenv("COLUMNS", "200")
    result = run("doctor")
    assert result.exit_code == 1 and words in result.stdout
    assert f"{sys.executable} -m pip install '{package}<" in result.stdout
    assert result.stdout.endswith("Required and missing: packages.\n")


def test_without_keras_doctor_is_well_and_says_what_installs_it(run, bare, monkeypatch):
    honest = metadata.version

    def told(name):
        if name in ("keras", "tensorflow"):
            raise metadata.PackageNotFoundError(name)
        return honest(name)

    monkeypatch.setattr(metadata, "version", told)
    result = run("doctor")
    assert result.exit_code == 0 and "no keras, no tensorflow (to compare" in result.stdout
    assert (
        f"{sys.executable} -m pip install 'keras<4,>=3.10' 'tensorflow<3,>=2.20'" in result.stdout
    )


def test_an_environment_without_pip_is_told_of_another_installer(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _: None)
    assert doctor.install_command("numba") == f"uv pip install --python {sys.executable} numba"


def test_an_engine_or_a_cache_that_lacks_is_no_illness(run, bare, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    result = run("doctor")
    assert result.exit_code == 0 and "NUMBA_CACHE_DIR" in result.stdout
    assert "SCRATCHNET_CACHE" in result.stdout
    monkeypatch.setattr(compiled, "unavailable", lambda: "it needs Numba: install numba.")
    result = run("doctor")
    assert result.exit_code == 0 and "pip install numba" in result.stdout


def test_data_that_are_named_and_broken_are_an_illness(run, monkeypatch):
    monkeypatch.setenv("SCRATCHNET_DATA", "/no/such/place")
    result = run("doctor", "-q")
    assert result.exit_code == 1 and "MNIST: MISSING" in result.stdout


# --- real processes -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["summary"], ["doctor", "--json"], ["--help"]])
def test_a_reader_that_leaves_early_sees_no_complaint(start, command):
    process = start(*command)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=300)
    assert err == ""
