"""The command as people use it: what it says where, which status it ends with, what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scratchnet import cli, datasets, runs

QUICK = ["compare", "--no-keras", "--engine", "reference"]
"""Nothing to compile: what the engines compute is held elsewhere."""

ALONE = [*QUICK, "--epochs", "2", "--limit", "300"]


@pytest.fixture(scope="module")
def npz(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture
def run(npz, tmp_path, monkeypatch):
    """The command in an empty folder, on the digits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def invoke(*args: str, data: str | None = str(npz)):
        extra = ["--data", data] if data and args and args[0] == "compare" else []
        return CliRunner().invoke(cli.app, [*args, *extra])

    return invoke


def start(*args: str, cwd: Path, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from scratchnet.cli import main; main()", *args]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=os.environ | environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


# --- finding one's way ----------------------------------------------------------------------------


def test_version(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, "scratchnet 0.1.0\n")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_fits_60_columns_and_documents_every_exit_status(run, monkeypatch, flag):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERMINAL_WIDTH", "60")
    result = run("compare", flag, data=None)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 60
    text = " ".join(result.stdout.split())
    for words in ("Examples", "0: parity holds", "1: it does not", "2: wrong", "130: interrupted"):
        assert words in text
    options = "epochs batch-size seed data limit out no-keras float64 unscaled engine threads json"
    assert all(f"--{option}" in text for option in options.split())


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from scratchnet.cli import app; "
        "app(['compare', '-h'], standalone_mode=False); "
        "sys.exit(any(m in sys.modules for m in "
        "('tensorflow', 'keras', 'matplotlib', 'sklearn', 'scipy', 'numba')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


# --- ours alone -----------------------------------------------------------------------------------


def test_ours_alone_trains_and_leaves_a_whole_run(run, tmp_path):
    result = run(*ALONE, "--out", "mine")
    assert result.exit_code == 0
    assert "Trained alone" in result.stdout and "test accuracy" in result.stdout
    assert "epoch     ours" in result.stderr and "\x1b" not in result.output
    kept = runs.read(tmp_path / "mine")
    ours = kept.result["scratchnet"]
    assert (ours["test_loss"], ours["test_accuracy"]) == pytest.approx(
        cut_score(kept.model()), rel=1e-5
    )
    assert ours["test_accuracy"] > 0.3
    assert kept.history["scratchnet"]["loss"][-1] == ours["loss"]
    assert kept.result["parity"] is None and kept.result["data"]["training"] == 300
    assert kept.result["settings"]["epochs"] == 2 and kept.result["settings"]["limit"] == 300
    assert kept.result["command"][:3] == ["scratchnet", "compare", "--no-keras"]
    assert kept.result["pictures"] == [
        f"pictures/{name}.png" for name in ("curves", "confusion", "misread", "weights")
    ]
    assert all(
        (kept.path / name).read_bytes()[:4] == b"\x89PNG" for name in kept.result["pictures"]
    )


def cut_score(model):
    _, (x_test, y_test) = datasets.digits.load_data()
    return tuple(model.evaluate(x_test[:300], y_test[:300], verbose=0))


def test_without_out_every_run_gets_a_new_folder(run, tmp_path):
    for name in ("compare", "compare-2"):
        assert run(*ALONE, "--quiet").exit_code == 0
        assert runs.read(tmp_path / "runs" / name)
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_out_replaces_a_run_but_nothing_else(run, tmp_path):
    assert run(*ALONE, "--out", "mine", "--seed", "1").exit_code == 0
    assert run(*ALONE, "--out", "mine", "--seed", "2").exit_code == 0
    assert runs.read(tmp_path / "mine").result["settings"]["seed"] == 2
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years")
    result = run(*ALONE, "--out", "thesis")
    assert result.exit_code == 2 and "holds something else than a run" in result.stderr
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


def test_json_is_all_of_standard_output(run, tmp_path):
    result = run(*ALONE, "--json", "--out", "a")
    printed, kept = json.loads(result.stdout), runs.read(tmp_path / "a").result
    assert printed.items() <= kept.items() and printed["scratchnet"]["test_accuracy"] > 0.3


def test_quiet_prints_the_verdict_only(run):
    result = run(*ALONE, "--quiet")
    assert result.stderr == ""
    assert result.stdout.startswith("Trained alone") and result.stdout.count("\n") == 1


def test_a_seed_makes_a_run(run, tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        run(*ALONE, "--seed", seed, "--out", name)
    a, b, c = (runs.read(tmp_path / name).model().theta for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_unscaled_leaves_out_the_rescaling(run, tmp_path):
    run(*ALONE, "--unscaled", "--out", "a")
    kept = runs.read(tmp_path / "a")
    assert type(kept.model().layers[0]).__name__ == "Flatten"
    assert kept.result["settings"]["scaled"] is False


def test_the_home_of_whoever_ran_it_is_not_written_down(run, tmp_path, npz, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: npz.parent)
    run(*ALONE, "--out", "a")
    kept = runs.read(tmp_path / "a").result
    assert kept["command"][-1] == kept["data"]["name"] == f"~{os.sep}digits.npz"
    assert str(npz.parent) not in (tmp_path / "a" / "result.json").read_text()


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--epochs", "0"], "--epochs"),
        (["--limit", "-1"], "--limit"),
        (["--engine", "warp"], "reference"),
        (["--frobnicate"], "frobnicate"),
        (["--float64", "--no-keras"], "Drop one"),
        (["--float64", "--unscaled"], "Drop one"),
    ],
)
def test_wrong_usage(run, tmp_path, args, words):
    result = run("compare", *args, data=None)
    assert result.exit_code == 2 and words in result.stderr and result.stdout == ""
    assert "Traceback" not in result.output and not any(tmp_path.iterdir())


def test_bad_data_is_one_line(run, tmp_path):
    (tmp_path / "bad.npz").write_text("no")
    for path in ("bad.npz", "nowhere"):
        result = run(*ALONE, data=path)
        assert result.exit_code == 2 and result.stdout == ""
        assert result.stderr.startswith(f"Error: {path}") and result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npz"], "left a run behind"


def test_a_line_of_error_is_not_broken_and_its_brackets_are_kept(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    result = run(*ALONE, data="a[bold]b" + "x" * 80)
    assert "a[bold]b" + "x" * 80 in result.stderr and result.stderr.count("\n") == 1


def test_without_keras_it_says_how_to_install_it_and_trains_alone(run, monkeypatch):
    monkeypatch.setattr(cli, "_has_keras", lambda: False)
    args = [arg for arg in ALONE if arg != "--no-keras"]
    result = run(*args)
    assert result.exit_code == 0 and "Trained alone" in result.stdout
    assert "pip install 'scratchnet[keras]'" in result.stderr.splitlines()[0]
    result = run(*args, "--float64")
    assert result.exit_code == 2 and "pip install 'scratchnet[keras]'" in result.stderr


def test_without_mnist_the_digits_are_announced_loudly_even_to_the_quiet(run, monkeypatch):
    def nowhere(**_):
        raise datasets.DatasetUnavailableError("MNIST", "is not here", "Fetch it")

    monkeypatch.setattr(datasets.mnist, "locate", nowhere)
    result = run(*ALONE, "--quiet", data=None)
    assert result.exit_code == 0
    assert result.stderr.startswith("WARNING: Data: scikit-learn digits")
    assert result.stderr.count("\n") == 1


def outcome(npz, **result) -> runs.Outcome:
    data = datasets.load(npz)
    model = runs.build_model(runs.Job(), data)
    found = {name: data[1][1].astype(int) for name in ("scratchnet", "keras")}
    agreed = {"same": 9, "of": 10, "only_scratchnet_right": 1, "only_keras_right": 0}
    lockstep = {
        "holds": True,
        "steps": 200,
        "limit": 1e-12,
        "largest_weight_difference": 1e-15,
        "difference": None,
    }
    misread = runs.misread(data[1][1], found)
    plain = {"lockstep": lockstep, "agreement": agreed | {"mcnemar_p": 1.0}, "misread": misread}
    for key, value in result.items():
        plain[key] = plain[key] | value if isinstance(value, dict) else value
    return runs.Outcome(model, found, plain)


@pytest.mark.parametrize(
    ("result", "status", "words"),
    [
        ({"parity": True}, 0, "Parity holds."),
        (
            {"parity": False, "lockstep": {"holds": False, "difference": "step 3: dense W"}},
            1,
            "Parity does not hold: step 3: dense W.",
        ),
        (
            {"parity": False, "lockstep": {"holds": False, "largest_weight_difference": 1e-3}},
            1,
            "Parity does not hold: weights 0.001 apart, limit 1e-12.",
        ),
        (
            {"parity": False, "agreement": {"mcnemar_p": 1e-5}, "speed_ratio": 2.0},
            1,
            "the answers disagree beyond chance, p = 1e-05.",
        ),
        ({"parity": False}, 1, "Parity does not hold: 1 answers differ."),
    ],
)
def test_the_verdict_decides_the_status(run, npz, monkeypatch, tmp_path, result, status, words):
    job = lambda *_: outcome(npz, **result)  # noqa: E731
    monkeypatch.setattr(cli, "_has_keras", lambda: True)
    monkeypatch.setattr(cli, "_beside_keras", lambda *_: job)
    done = run("compare", "--out", "a", "--quiet")
    assert done.exit_code == status and words in " ".join(done.stdout.split())
    assert runs.read(tmp_path / "a").result["parity"] is result["parity"]


def test_ctrl_c_between_two_files_waits_for_the_second(run, tmp_path, monkeypatch):
    write = runs.Folder.save_history

    def save_history(folder, history):
        write(folder, history)
        if history and len(history["scratchnet"]["loss"]) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(runs.Folder, "save_history", save_history)
    result = run(*ALONE, "--epochs", "5", "--out", "a")
    assert result.exit_code == 130 and result.stdout == ""
    kept = runs.models.load_model(tmp_path / "a" / "model.npz")
    assert kept.optimizer.iterations == 2 * 10


# --- real processes -------------------------------------------------------------------------------


def test_interrupted_it_says_so_and_keeps_the_finished_epochs(tmp_path, npz):
    args = [*QUICK, "--epochs", "100000", "--data", str(npz), "--out", "a"]
    process = start(*args, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "a" / "model.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert err.splitlines()[-1] == "Interrupted: what was finished is kept."
    assert "Traceback" not in err
    with pytest.raises(runs.RunError, match="half written: it has no result"):
        runs.read(tmp_path / "a")
    epochs = json.loads((tmp_path / "a" / "history.json").read_text())["scratchnet"]["loss"]
    kept = runs.models.load_model(tmp_path / "a" / "model.npz")
    assert epochs and kept.optimizer.iterations == len(epochs) * 45
    assert not list((tmp_path / "a").glob(".*")), "a temporary file stayed"


def test_a_terminal_of_60_columns_and_no_color(tmp_path, npz):
    """FORCE_COLOR makes rich draw as on a terminal, NO_COLOR takes its colours away again."""
    args = [*ALONE, "--data", str(npz), "--out"]
    shown = {"COLUMNS": "60", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    plain, coloured = (
        start(*args, name, cwd=tmp_path, **shown, **extra)
        for name, extra in (("a", {"NO_COLOR": "1"}), ("b", {}))
    )
    out, err = plain.communicate(timeout=60)
    vivid = coloured.communicate(timeout=60)[1]
    assert plain.returncode == coloured.returncode == 0
    assert "\x1b[3" in vivid and "\x1b[3" not in (out + err).replace("\x1b[3m", "")
    bare = [line for line in out.splitlines() if "\x1b" not in line]
    assert max(map(len, bare)) <= 60


def test_a_reader_that_goes_away_is_no_mistake_of_ours(tmp_path, npz):
    process = start(*ALONE, "--data", str(npz), "--json", cwd=tmp_path)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert "Traceback" not in err and "Error" not in err
