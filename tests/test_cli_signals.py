"""Ctrl-C, SIGTERM, SIGHUP and kill -9 at any moment: an orderly end, and nothing lost."""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from scratchnet import Input, Sequential, layers, models
from scratchnet.app import run_folder, run_training
from scratchnet.app.cli import signals
from scratchnet.app.cli.screen import Screen
from scratchnet.app.run_folder import RunFolder, read_run

pytest_plugins = ["commandline"]

TRAIN = ["train", "--engine", "reference", "--epochs", "2", "--limit", "300"]
IGNORED = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
LONG = ["train", "--engine", "reference", "--epochs", "100000", "--limit", "300"]


def ended(process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out.decode(), err.decode()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 300
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def consistent(path: Path) -> int:
    """How many epochs the run at `path` has; its two files tell of the same one."""
    run = read_run(path)
    steps = models.load_model(run.model_file).optimizer.iterations
    assert steps == 10 * run.epochs
    shown = json.loads((path / "history.json").read_text())["scratchnet"]["loss"]
    assert 10 * len(shown) == models.load_model(path / "model.npz").optimizer.iterations
    return run.epochs


# --- early ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.2, 1.6, 2.2])
@pytest.mark.parametrize("command", [[*LONG, "--out", "a"], ["doctor"], ["train", "--help"]])
def test_an_early_ctrl_c_is_one_line_and_never_lost(begin, tmp_path, moment, command):
    process = begin(*command) if "--help" not in command else begin("-h")
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    status, _, err = ended(process)
    assert "Traceback" not in err and "Internal" not in err and "Aborted" not in err
    if status == 0:  # it was through already
        assert command[0] == "doctor" or "--help" in command
        return
    assert status == 130 and any(line.startswith("Interrupted") for line in err.splitlines())
    assert not (tmp_path / "a").exists() or consistent(tmp_path / "a")


@pytest.mark.parametrize("name", ["symlink", "mkdir", "replace"])
@pytest.mark.parametrize("folder", ["new", "empty", "an earlier run"])
def test_a_ctrl_c_while_the_folder_is_made_leaves_what_was_there(
    tmp_path, monkeypatch, name, folder
):
    path = tmp_path / "a"
    if folder != "new":
        path.mkdir()
    if folder == "an earlier run":
        RunFolder(path, "train").save_epoch(tiny(), {})
    before = sorted(path.rglob("*"))
    where = Path if name == "mkdir" else run_folder.os
    original, calls = getattr(where, name), []

    def interrupt(*args, **kwargs):
        done = original(*args, **kwargs)
        if name != "mkdir" or calls or folder != "new":
            raise KeyboardInterrupt
        calls.append(1)  # the run folder itself
        return done

    with monkeypatch.context() as patched:
        patched.setattr(where, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            RunFolder(path, "train")
    assert path.exists() == (folder != "new") and sorted(path.rglob("*")) == before
    RunFolder(path, "train").close()  # no lock is left


def tiny() -> Sequential:
    model = Sequential([Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def test_a_ctrl_c_that_is_ignored_stays_ignored(begin, tmp_path):
    """As a shell without job control has it for what runs in the background."""
    process = begin("doctor", "-q", prepare=IGNORED)
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    status, out, _ = ended(process)
    assert status in (0, 1) and out


def test_the_entry_point_is_the_one_that_is_installed():
    text = Path(__file__).parents[1].joinpath("pyproject.toml").read_text()
    assert 'scratchnet = "scratchnet_command:main"' in text
    assert '"scratchnet_command.py"]' in text, "the wheel would lack it"


# --- lost by libraries ----------------------------------------------------------------------------


def swallowed():
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def in_a_destructor():
    class Dying:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    Dying()


def in_a_callback():
    import gc

    def called(*_):
        gc.callbacks.remove(called)
        signal.raise_signal(signal.SIGINT)

    gc.callbacks.append(called)
    gc.collect()


@pytest.mark.parametrize("lose", [swallowed, in_a_destructor, in_a_callback])
def test_a_ctrl_c_that_a_library_swallows_ends_the_command_all_the_same(
    run, tmp_path, monkeypatch, capfd, lose
):
    def warm_up(*_):
        lose()
        return 0.0

    monkeypatch.setattr(run_training, "warm_up_ours", warm_up)
    result = run(*TRAIN, "--out", "a")
    assert result.exit_code == 130 and not (tmp_path / "a").exists()
    assert result.stderr.splitlines()[-1].startswith("Interrupted before the first epoch")
    assert "Traceback" not in result.stderr + capfd.readouterr().err


@pytest.mark.parametrize("error", [ImportError("half"), RuntimeError("compiler"), KeyError("x")])
def test_a_ctrl_c_that_becomes_another_error_is_no_bug_of_ours(run, monkeypatch, error):
    def warm_up(*_):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise error from None

    monkeypatch.setattr(run_training, "warm_up_ours", warm_up)
    result = run(*TRAIN, "--out", "a")
    assert result.exit_code in (2, 130) and "Internal" not in result.stderr


def test_an_answered_ctrl_c_is_not_raised_again(run, tmp_path, monkeypatch):
    tick = run_training.BatchCounter.on_train_batch_end

    def on_train_batch_end(counter, batch, logs=None):
        tick(counter, batch, logs)
        if counter.model.optimizer.iterations == 15:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run_training.BatchCounter, "on_train_batch_end", on_train_batch_end)
    result = run(*TRAIN, "--out", "a")
    assert result.exit_code == 130 and "Interrupted after 1 of 2 epochs." in result.stdout
    assert read_run(tmp_path / "a").result["interrupted"] is True


def test_what_was_before_is_after(run):
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    hook, woken = sys.unraisablehook, signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(woken)
    run("summary")
    assert handlers == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert sys.unraisablehook is hook and signal.set_wakeup_fd(-1) == woken
    assert not signals.is_open()


# --- while it trains ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("background", [False, True], ids=["", "Ctrl-C ignored"])
def test_a_signal_keeps_the_finished_epochs_as_a_usable_run(
    begin, tmp_path, number, status, background
):
    if background and number == signal.SIGINT:
        pytest.skip("it is ignored then")
    process = begin(*LONG, "--out", "a", prepare=IGNORED if background else "")
    wait_for(tmp_path / "a" / "model.npz")
    time.sleep(0.3)
    process.send_signal(number)
    code, out, err = ended(process)
    assert code == status and "Traceback" not in err
    run = read_run(tmp_path / "a")
    assert run.result["interrupted"] is True and consistent(tmp_path / "a") == run.result["epochs"]
    assert f"Interrupted after {run.epochs} of 100000 epochs." in out
    assert not list((tmp_path / "a").glob(".*")), "something of the writing stayed"
    wanted = "without pictures" if number != signal.SIGINT else "Ctrl-C again"
    assert wanted in err
    assert ended(begin("evaluate", "a", "-q"))[0] == 0


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("where", "name", "call"),
    [
        (Screen, "epoch", 2),
        (run_training, "snapshot", 3),  # the first one warms up
        (run_training.BatchCounter, "on_train_batch_end", 15),
        (RunFolder, "save_epoch", 2),
        (run_folder.os, "replace", 7),
    ],
)
def test_where_ctrl_c_is_ignored_sigterm_still_waits_for_a_whole_step(
    run, tmp_path, monkeypatch, where, name, call, after
):
    honest, calls = getattr(where, name), []

    def stopping(*args, **kwargs):
        calls.append(name)
        if len(calls) == call and not after:
            signal.raise_signal(signal.SIGTERM)
        told = honest(*args, **kwargs)
        if len(calls) == call and after:
            signal.raise_signal(signal.SIGTERM)
        return told

    monkeypatch.setattr(where, name, stopping)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = run(*TRAIN, "--epochs", "9", "--out", "a")
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 143
    kept = read_run(tmp_path / "a")
    assert kept.result["interrupted"] is True
    assert consistent(tmp_path / "a") == kept.result["epochs"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_before_the_first_epoch_leaves_an_earlier_run_as_it_was(
    run, tmp_path, monkeypatch, number
):
    run(*TRAIN, "--out", "a")
    before = {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    tick = run_training.BatchCounter.on_train_batch_end

    def on_train_batch_end(counter, batch, logs=None):
        tick(counter, batch, logs)
        if counter.model.optimizer.iterations == 5:
            signal.raise_signal(number)

    monkeypatch.setattr(run_training.BatchCounter, "on_train_batch_end", on_train_batch_end)
    result = run(*TRAIN, "--seed", "9", "--out", "a")
    assert result.exit_code == 128 + number
    assert result.stderr.splitlines()[-1].endswith("first epoch was through: a is as it was.")
    assert {p: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("where", ["scores_of", "misread", "last_figures"])
def test_a_signal_after_the_last_epoch_waits_for_the_result(run, tmp_path, monkeypatch, where):
    honest = getattr(run_training, where)

    def stopped(*args):
        signal.raise_signal(signal.SIGTERM)
        return honest(*args)

    monkeypatch.setattr(run_training, where, stopped)
    result = run(*TRAIN, "--out", "a")
    assert result.exit_code == 143
    kept = read_run(tmp_path / "a")
    assert kept.result["epochs"] == 2 and kept.result["interrupted"] and len(kept.answers) > 2


# --- kill -9 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.15, 0.4, 0.8, 1.3])
def test_killed_at_any_moment_the_epochs_are_whole_and_the_folder_can_be_used_again(
    begin, tmp_path, moment
):
    process = begin(*LONG, "--out", "a")
    wait_for(tmp_path / "a")
    time.sleep(moment)
    process.kill()
    ended(process)
    if (tmp_path / "a" / "model.npz").exists():
        consistent(tmp_path / "a")
        status, out, _ = ended(begin("evaluate", "a"))
        assert status == 0 and "as in history.json" in out
    code, _, err = ended(begin(*TRAIN, "-q", "--out", "a"))
    assert (code, err) == (0, "") and consistent(tmp_path / "a") == 2
    assert not list((tmp_path / "a").glob(".*"))


# --- two at once ----------------------------------------------------------------------------------


def test_a_second_training_into_one_folder_is_refused_in_one_line(begin, tmp_path):
    first = begin(*LONG, "--out", "a")
    wait_for(tmp_path / "a" / "model.npz")
    code, out, err = ended(begin(*TRAIN, "-q", "--out", "a"))
    assert (code, out, err.count("\n")) == (2, "", 1) and "a is in use: another process" in err
    first.send_signal(signal.SIGTERM)
    assert ended(first)[0] == 143 and consistent(tmp_path / "a")


def test_trainings_that_begin_together_get_folders_of_their_own(begin, tmp_path):
    all_of_them = [begin(*TRAIN, "-q", "--seed", str(i)) for i in range(3)]
    assert [ended(process)[0] for process in all_of_them] == [0, 0, 0]
    kept = sorted((tmp_path / "runs").iterdir())
    assert [path.name for path in kept] == ["train", "train-2", "train-3"]
    seeds = {read_run(path).result["settings"]["seed"] for path in kept}
    assert seeds == {0, 1, 2}
