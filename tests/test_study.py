"""A study: the same bits in one process and on a cluster, every run once, and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

from scratchnet import datasets
from scratchnet.app import run_training
from scratchnet.app.study import StudyError, archive, cell_run, cells
from scratchnet.app.study.cells import Cell

pytest_plugins = ["commandline"]

SMALL = Cell(data="digits", epochs=2, batch_size=64, engine="reference")


def same_bits(a: dict, b: dict) -> bool:
    """Whether two rows tell of the same run, whatever the clock said."""
    told = [{k: v for k, v in row.items() if "seconds" not in k} for row in (a, b)]
    return told[0] == told[1]


# --- cells ----------------------------------------------------------------------------------------


def test_a_default_cell_is_the_run_of_train_to_the_bit():
    data = datasets.digits.load_data()
    asked = run_training.RunSettings(epochs=2, batch_size=64, seed=3, engine="reference")
    outcome = run_training.train_solo(data, asked)
    row = cell_run.run(replace(SMALL, seed=3))
    history = outcome.histories[run_training.OURS]
    assert all(row[name] == history[name] for name in cell_run.HISTORY)
    answers = cell_run.unpacked(row["answers"], data[1][1])
    assert np.array_equal(answers, outcome.answers[run_training.OURS])
    assert row["test_accuracy"] == history["val_accuracy"][-1] == np.mean(answers == data[1][1])


@pytest.mark.parametrize("head", cells.HEADS)
def test_heads_start_alike_and_are_trained_by_their_own_loss(head):
    shape = (28, 28)
    plain, other = (cell_run.build(replace(SMALL, head=h), shape) for h in ("sigmoid", head))
    assert np.array_equal(plain.theta, other.theta)
    firsts = {h: cell_run.run(replace(SMALL, head=h, epochs=1))["loss"] for h in cells.HEADS}
    # A softmax head and a sigmoid head on its logits minimise the same; the two others don't.
    same = firsts["sigmoid"] == firsts["softmax"]
    assert same and len({firsts[h][0] for h in cells.HEADS}) == 3


def test_every_setting_changes_the_key_and_the_run():
    others = {
        "seed": 1, "epochs": 1, "batch_size": 32, "learning_rate": 0.01, "widths": (20,),
        "scaled": False, "head": "sigmoid-as_logits", "optimizer": "sgd", "dtype": "float64",
    }  # fmt: skip
    plain = cell_run.run(SMALL)
    for name, value in others.items():
        other = cell_run.run(replace(SMALL, **{name: value}))
        assert other["key"] != plain["key"] and other["loss"] != plain["loss"], name
    keys = {replace(SMALL, **{n: v}).key for n, v in [*others.items(), ("rate_rule", "sqrt")]}
    assert len(keys) == len(others) + 1


def test_the_keys_follow_the_code(monkeypatch):
    before = SMALL.key
    monkeypatch.setattr(cells, "code_version", lambda: "another")
    assert SMALL.key != before


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"batch": 3}, "batch: no such setting"),
        ({"batch_size": 0}, "batch_size: 0 is not possible"),
        ({"batch_size": "x"}, "whole number from 1"),
        ({"batch_size": True}, "whole number from 1"),
        ({"learning_rate": "nan"}, "above 0"),
        ({"widths": "50-"}, "such as 50-50"),
        ({"head": "tanh"}, "softmax"),
        ({"scaled": "perhaps"}, "yes or no"),
        ({"seeds": 0}, "seeds: 0 is not possible"),
        ({"seed": []}, "no values"),
    ],
)
def test_what_is_no_grid_is_refused_in_words(given, told):
    with pytest.raises(StudyError, match=told):
        cells.read_grid(given)


def test_keras_has_no_other_readings_and_no_engines():
    with pytest.raises(StudyError, match="reads a sigmoid head's logits"):
        cells.expand([{"framework": ["keras"], "head": ["sigmoid-as_logits"]}])
    both = {"framework": ["scratchnet", "keras"], "engine": ["reference", "compiled"]}
    assert len(cells.expand([both])) == 3


# --- the folder -----------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path):
    grid = {"seed": [0, 1], **{n: [v] for n, v in asdict(SMALL).items() if n != "seed"}}
    return archive.begin(tmp_path / "study", archive.StudyPlan([grid]))


def test_rows_come_back_as_they_were_and_are_run_once(begun):
    first, second = begun.missing()
    row = cell_run.run(first)
    begun.add([row])
    assert begun.table().to_pylist() == [row] and begun.missing() == [second]
    begun.add([row])
    assert begun.table().num_rows == 1


def test_a_torn_file_is_named_and_a_leftover_is_none(begun):
    begun.add([cell_run.run(SMALL)])
    (begun.path / "runs" / f"{os.urandom(4).hex()}.tmp").write_bytes(b"PAR1")
    assert len(begun.keys()) == 1
    (begun.path / "runs" / "torn.parquet").write_bytes(b"PAR1torn")
    with pytest.raises(StudyError, match=r"torn\.parquet: no whole Parquet file"):
        begun.keys()


def test_a_study_is_written_by_one_at_a_time_with_one_margin_and_one_code(begun, monkeypatch):
    plan = archive.StudyPlan(begun.plan.grids)
    with pytest.raises(StudyError, match="in use"):
        archive.begin(begun.path, plan)
    begun.release()
    with pytest.raises(StudyError, match=r"margin 0\.5, and 0\.15 was stated"):
        archive.begin(begun.path, archive.StudyPlan(plan.grids, margin=0.5))
    monkeypatch.setattr(archive, "code_version", lambda: "another")
    with pytest.raises(StudyError, match="was begun with scratchnet"):
        archive.begin(begun.path, plan)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis").write_text("mine")
    with pytest.raises(StudyError, match="no study"):
        archive.begin(tmp_path, archive.StudyPlan([{}]))
    assert os.listdir(tmp_path) == ["thesis"]


# --- the command ----------------------------------------------------------------------------------

ASKED = ["--data", "digits", "--epochs", "1", "--batch-size", "64", "--engine", "reference"]


def test_without_the_extra_one_line_says_what_to_install(whole, monkeypatch):
    from scratchnet.app import study

    monkeypatch.setattr(study, "NEEDED", ("pyarrow", "no_such_package"))
    for command in (["run", "a", "--seeds", "2"], ["status", "a"]):
        done = whole("study", *command)
        assert done.exit_code == 2 and done.stderr.count("\n") == 1
        assert "no_such_package" in done.stderr and "pip install -e '.[study]'" in done.stderr


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["a"], "Add, say, --seeds 30"),
        (["a", "--seeds", "2", "--head", "tanh"], "head: 'tanh' is not possible"),
        (["a", "--seeds", "2", "--grid", "g.toml"], "Drop one"),
        (["a", "--grid", "missing.toml"], "missing.toml"),
        (["a", "--seeds", "2", "--margin", "0"], "between 0 and 100"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_folder(whole, tmp_path, asked, told):
    done = whole("study", "run", *asked)
    assert done.exit_code == 2 and told in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_a_dry_run_prints_the_runs_and_writes_nothing(whole, tmp_path):
    done = whole("study", "run", "a", "--seeds", "3", *ASKED, "--dry-run", "--workers", "2")
    assert done.exit_code == 0 and done.stdout.count("data digits") == 3
    assert "3 runs to do, 0 done" in done.stdout and "on 2 workers" in done.stdout
    assert not (tmp_path / "a").exists()


def test_a_study_on_a_local_cluster_has_the_bits_of_one_process(start, tmp_path, whole):
    process = start("study", "run", "a", "--seeds", "4", *ASKED, "--workers", "2", "-q")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out == "a: 4 of 4 runs are done.\n" and not err
    kept = archive.Archive(tmp_path / "a")
    rows = {row["seed"]: row for row in kept.table().to_pylist()}
    assert sorted(rows) == [0, 1, 2, 3]
    for seed, row in rows.items():
        cell = Cell(seed, data="digits", epochs=1, batch_size=64, engine="reference")
        assert same_bits(row, cell_run.run(cell))
    assert json.loads(whole("study", "status", "a", "--json").stdout)["done"] == 4


def test_ctrl_c_keeps_what_is_done_in_one_line(tmp_path):
    """As a terminal sends it: to the client and its workers alike."""
    command = [sys.executable, "-c", "import scratchnet_command as entry; entry.main()"]
    many = [*ASKED, "--seeds", "500", "--workers", "1", "-q"]
    process = subprocess.Popen(
        [*command, "study", "run", "a", *many],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    while not list((tmp_path / "a").glob("runs/*.parquet")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "Interrupted.\n")
    assert 0 < len(archive.Archive(tmp_path / "a").keys()) < 500
