"""The command as people use it: what it says where, which status it ends with, what it leaves."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import typer

from scratchnet import datasets, models
from scratchnet.app import cli, pictures, run_folder, run_training
from scratchnet.app.cli import compare, errors, inputs

pytest_plugins = ["commandline"]

QUICK = ["compare", "--no-keras", "--engine", "reference"]
"""Nothing to compile: what the engines compute is held elsewhere."""

ALONE = [*QUICK, "--epochs", "2", "--limit", "300"]
TRAIN = ["train", "--engine", "reference", "--epochs", "2", "--limit", "300"]

COMMANDS = typer.main.get_command(cli.app).commands


# --- finding one's way ----------------------------------------------------------------------------


def test_version(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, "scratchnet 0.1.0\n")


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_60_columns_and_has_examples(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERMINAL_WIDTH", "60")
    result = run(*([command] if command else []), "-h", data=None)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 60
    text = " ".join(result.stdout.split())
    assert f"• scratchnet {command or 'doctor'}" in text
    if command is None:
        for words in ("0: done", "1: it does", "2: wrong", "70: an internal", "130: interr"):
            assert words in text
        assert all(f" {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_of_the_help_can_be_typed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = COMMANDS[name]
    quoted = command.epilog.split("`")[1::2]
    examples = [line for line in quoted if f"scratchnet {name}" in line]
    assert examples
    for line in examples:
        words = line.split("|")[0].split(">")[0].split()
        arguments = words[words.index("scratchnet") + 2 :]
        given = command
        while arguments and arguments[0] in getattr(given, "commands", {}):
            given, arguments = given.commands[arguments[0]], arguments[1:]
        parsed = given.make_context(name, arguments, obj=[])
        assert not parsed.args, line


def test_compare_and_train_have_one_vocabulary():
    named = [{o for p in COMMANDS[c].params for o in p.opts} for c in ("train", "compare")]
    assert named[1] - named[0] == {"--no-keras", "--float64"} and named[0] <= named[1]


@pytest.mark.parametrize(
    ("typed", "meant"), [(["trian"], "train"), (["train", "--epoch", "3"], "--epochs")]
)
def test_a_slip_of_the_finger_is_met_with_what_was_meant(run, typed, meant):
    result = run(*typed, data=None)
    assert result.exit_code == 2 and meant in result.stderr and result.stdout == ""


def test_the_shell_completes_commands_and_options(tmp_path):
    for words, wanted in (("scratchnet tra", "train"), ("scratchnet train --lim", "--limit")):
        told = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        code = "from scratchnet.app.cli import app; app(prog_name='scratchnet')"
        environ = os.environ | told | {"_SCRATCHNET_COMPLETE": "complete_bash"}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True)
        assert done.stdout.decode().split() == [wanted]


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from scratchnet.app.cli import app; "
        "app(['compare', '-h'], standalone_mode=False); "
        "sys.exit(any(m in sys.modules for m in "
        "('tensorflow', 'keras', 'matplotlib', 'sklearn', 'scipy', 'numba')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


# --- ours alone -----------------------------------------------------------------------------------


def test_ours_alone_trains_and_leaves_a_whole_run(whole, tmp_path):
    result = whole(*ALONE, "--out", "mine")
    assert result.exit_code == 0
    assert "Trained:" in result.stdout and "test accuracy" in result.stdout
    assert "epoch     ours" in result.stderr and "\x1b" not in result.output
    kept = run_folder.read_run(tmp_path / "mine")
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
    assert "<html" in (kept.path / "report.html").read_text()
    assert str(Path("mine", "report.html")) in result.stdout


def cut_score(model):
    _, (x_test, y_test) = datasets.digits.load_data()
    return tuple(model.evaluate(x_test[:300], y_test[:300], verbose=0))


def test_without_out_every_run_gets_a_new_folder(run, tmp_path):
    for name in ("compare", "compare-2"):
        assert run(*ALONE, "--quiet").exit_code == 0
        assert run_folder.read_run(tmp_path / "runs" / name)
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_out_replaces_a_run_but_nothing_else(run, tmp_path):
    assert run(*ALONE, "--out", "mine", "--seed", "1").exit_code == 0
    assert run(*ALONE, "--out", "mine", "--seed", "2").exit_code == 0
    assert run_folder.read_run(tmp_path / "mine").result["settings"]["seed"] == 2
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years")
    result = run(*ALONE, "--out", "thesis")
    assert result.exit_code == 2 and "holds something else than a run" in result.stderr
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


def test_json_is_all_of_standard_output(run, tmp_path):
    result = run(*ALONE, "--json", "--out", "a")
    printed, kept = json.loads(result.stdout), run_folder.read_run(tmp_path / "a").result
    assert printed.items() <= kept.items() and printed["scratchnet"]["test_accuracy"] > 0.3


def test_quiet_prints_the_verdict_only(run):
    result = run(*ALONE, "--quiet")
    assert result.stderr == ""
    assert result.stdout.startswith("Trained:") and result.stdout.count("\n") == 1


def test_a_seed_makes_a_run(run, tmp_path):
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        run(*ALONE, "--seed", seed, "--out", name)
    a, b, c = (run_folder.read_run(tmp_path / name).model().theta for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_unscaled_leaves_out_the_rescaling(run, tmp_path):
    run(*ALONE, "--unscaled", "--out", "a")
    kept = run_folder.read_run(tmp_path / "a")
    assert type(kept.model().layers[0]).__name__ == "Flatten"
    assert kept.result["settings"]["scaled"] is False


def test_the_home_of_whoever_ran_it_is_not_written_down(run, tmp_path, npz, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: npz.parent)
    run(*ALONE, "--out", "a")
    kept = run_folder.read_run(tmp_path / "a").result
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
    monkeypatch.setattr(inputs, "has_keras", lambda: False)
    args = [arg for arg in ALONE if arg != "--no-keras"]
    result = run(*args)
    assert result.exit_code == 0 and "Trained:" in result.stdout
    assert compare.INSTALL in result.stderr.splitlines()[0]
    result = run(*args, "--float64")
    assert result.exit_code == 2 and compare.INSTALL in result.stderr


def test_without_mnist_the_digits_are_announced_loudly_even_to_the_quiet(run, monkeypatch):
    def nowhere(**_):
        raise datasets.DatasetUnavailableError("MNIST", "is not here", "Fetch it")

    monkeypatch.setattr(datasets.mnist, "locate", nowhere)
    result = run(*ALONE, "--quiet", data=None)
    assert result.exit_code == 0
    assert result.stderr.startswith("WARNING: Data: scikit-learn digits")
    assert result.stderr.count("\n") == 1


def outcome(npz, **result) -> run_training.Outcome:
    data = datasets.load(npz)
    model = run_training.build_model(run_training.RunSettings(), data)
    certain = np.eye(10)[data[1][1]]
    found = {name: run_training.Scores(certain, certain) for name in ("scratchnet", "keras")}
    agreed = {"same": 9, "of": 10, "only_scratchnet_right": 1, "only_keras_right": 0}
    lockstep = {
        "holds": True,
        "steps": 200,
        "limit": 1e-12,
        "largest_weight_difference": 1e-15,
        "difference": None,
    }
    plain = {
        "lockstep": lockstep,
        "agreement": agreed | {"mcnemar_p": 1.0},
        "misread": run_training.misread(data[1][1], found),
    }
    for key, value in result.items():
        plain[key] = plain[key] | value if isinstance(value, dict) else value
    return run_training.Outcome(model, found, plain)


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
    job = lambda *_, **__: outcome(npz, **result)  # noqa: E731
    monkeypatch.setattr(inputs, "has_keras", lambda: True)
    monkeypatch.setattr(compare, "_beside_keras", lambda *_: job)
    done = run("compare", "--out", "a", "--quiet")
    assert done.exit_code == status and words in " ".join(done.stdout.split())
    assert run_folder.read_run(tmp_path / "a").result["parity"] is result["parity"]


# --- train ----------------------------------------------------------------------------------------


def test_train_is_one_fit_and_ends_at_the_bits_of_a_plain_one(run, npz, tmp_path, monkeypatch):
    asked, fit = [], run_training.Sequential.fit

    def counted(model, *args, **options):
        asked.append(options.get("epochs", 1))
        return fit(model, *args, **options)

    monkeypatch.setattr(run_training.Sequential, "fit", counted)
    result = run("train", "--epochs", "3", "--seed", "5", "--out", "a")
    assert result.exit_code == 0 and asked == [1, 3], "beside the warm-up there is one fit"
    (x, y), _ = data = datasets.load(npz)
    plain = run_training.build_model(run_training.RunSettings(seed=5), data)
    history = plain.fit(x, y, epochs=3, verbose=0).history
    kept = run_folder.read_run(tmp_path / "a")
    np.testing.assert_array_equal(kept.model().theta, plain.theta)
    assert kept.history["scratchnet"]["loss"] == history["loss"]
    assert kept.result["kind"] == "train" and kept.result["epochs"] == 3
    assert kept.result["interrupted"] is False and "compared" not in result.stdout


def test_verbose_says_more_and_quiet_less(run):
    told = {flag: run(*TRAIN, "--out", "a", *flag).stderr for flag in ((), ("-v",), ("-q",))}
    extra = ("Seed 0, batches of 32, engine reference", "Run folder: a", "training: ")
    assert told["-q",] == "" and "training ..." in told[()]
    for words in extra:
        assert words in told["-v",] and words not in told[()]


def stop_when(monkeypatch, condition):
    """Ctrl-C after the first batch for which `condition(model)` holds."""
    tick = run_training.BatchCounter.on_train_batch_end

    def on_train_batch_end(ticker, batch, logs=None):
        tick(ticker, batch, logs)
        if condition(ticker.model):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run_training.BatchCounter, "on_train_batch_end", on_train_batch_end)


def test_ctrl_c_within_an_epoch_leaves_the_run_of_the_finished_ones(run, tmp_path, monkeypatch):
    run(*TRAIN, "--out", "wanted")
    stop_when(monkeypatch, lambda model: model.optimizer.iterations == 25)
    result = run(*TRAIN, "--epochs", "9", "--out", "a")
    assert result.exit_code == 130
    assert "Interrupted after 2 of 9 epochs. Trained: " in result.stdout
    kept, wanted = (run_folder.read_run(tmp_path / name) for name in ("a", "wanted"))
    assert kept.result["interrupted"] is True and kept.result["epochs"] == 2
    np.testing.assert_array_equal(kept.model().theta, wanted.model().theta)
    assert kept.model().optimizer.iterations == 20
    for column in ("loss", "val_loss", "val_accuracy"):
        assert kept.history["scratchnet"][column] == wanted.history["scratchnet"][column]
    for name, array in wanted.answers.items():
        np.testing.assert_array_equal(kept.answers[name], array)
    assert run("evaluate", "a").exit_code == 0


def test_ctrl_c_before_the_first_epoch_leaves_no_folder(run, tmp_path, monkeypatch):
    stop_when(monkeypatch, lambda model: model.optimizer.iterations == 5)
    result = run(*TRAIN, "--out", "a")
    assert result.exit_code == 130 and result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Interrupted before the first epoch")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("owner", "name"),
    [(pictures, "draw"), (run_folder.RunFolder, "save_answers")],
    ids=["late", "early"],
)
def test_ctrl_c_once_trained_leaves_out_the_pictures_and_nothing_else(
    run, tmp_path, monkeypatch, owner, name
):
    honest = getattr(owner, name)

    def stopping(*args):
        signal.raise_signal(signal.SIGINT)
        return honest(*args)

    monkeypatch.setattr(owner, name, stopping)
    assert run(*TRAIN, "--out", "a").exit_code == 130
    assert run_folder.read_run(tmp_path / "a").result["pictures"] == []
    assert run("evaluate", "a", "-q").exit_code == 0


def test_ctrl_c_between_two_files_waits_for_the_second(run, tmp_path, monkeypatch):
    write = models.save_model

    def save_model(model, place):
        if model.optimizer.iterations == 20:
            signal.raise_signal(signal.SIGINT)
        write(model, place)

    monkeypatch.setattr(models, "save_model", save_model)
    result = run(*ALONE, "--epochs", "5", "--out", "a")
    assert result.exit_code == 130
    kept = run_folder.read_run(tmp_path / "a")
    assert kept.model().optimizer.iterations == 2 * 10
    assert kept.result["epochs"] == len(kept.history["scratchnet"]["loss"]) == 2


def test_a_loss_that_is_not_finite_ends_in_a_line_and_leaves_no_folder(run, tmp_path, diverging):
    with np.errstate(all="ignore"):
        result = run(*TRAIN, "--out", "a")
    assert result.exit_code == 1 and "Lower the learning rate" in result.stderr
    assert not any(tmp_path.iterdir())


# --- the door -------------------------------------------------------------------------------------


def raising(monkeypatch, error):
    def check_engine(_):
        raise error

    monkeypatch.setattr(inputs, "check_engine", check_engine)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (errors.UserError("a: b. Do c."), 2, "Error: a: b. Do c."),
        (run_folder.RunError("a", "is b", "Do c"), 2, "Error: a is b. Do c."),
        (datasets.DatasetError("a", "is b", "Do c"), 2, "Error: a: is b. Do c."),
        (PermissionError(13, "Permission denied", "a/b"), 2, "Error: a/b: Permission denied."),
        (ModuleNotFoundError("No module named 'x'"), 2, "Error: No module named 'x'."),
        (MemoryError("3 GiB"), 2, "Error: not enough memory: 3 GiB. Take less data with --limit."),
        (FloatingPointError("loss is nan"), 1, "Error: loss is nan."),
        (ValueError("x has shape (2,)"), 70, "Internal error: ValueError: x has shape (2,). "),
        (KeyError("k"), 70, "Internal error: KeyError: 'k'. "),
    ],
)
def test_a_mistake_is_one_line_and_a_bug_of_ours_is_told_from_it(
    run, monkeypatch, error, status, line
):
    raising(monkeypatch, error)
    result = run("train")
    assert result.exit_code == status and result.stdout == ""
    assert result.stderr.startswith(line) and result.stderr.count("\n") == 1
    assert ("--debug" in result.stderr) is (status == 70)


@pytest.mark.parametrize("how", ["before", "after", "environment"])
def test_debug_shows_where_it_happened(run, monkeypatch, how):
    raising(monkeypatch, errors.UserError("no"))
    if how == "environment":
        monkeypatch.setenv("SCRATCHNET_DEBUG", "1")
    result = {
        "before": lambda: run("--debug", "train"),
        "after": lambda: run("train", "--epochs", "3", "--debug"),
        "environment": lambda: run("train"),
    }[how]()
    assert result.exit_code == 2 and result.stderr.endswith("Error: no.\n")
    assert "Traceback" in result.stderr and "in check_engine" in result.stderr


def test_what_stands_after_two_dashes_is_not_taken_for_debug(run):
    result = run("evaluate", "--", "--debug")
    assert "Error: --debug does not exist" in result.stderr and "Traceback" not in result.stderr


def test_a_warning_is_one_line_and_said_once(run, monkeypatch):
    def check_engine(_):
        warnings.warn("mind\nthis", stacklevel=1)
        warnings.warn("mind\nthis", stacklevel=1)

    monkeypatch.setattr(inputs, "check_engine", check_engine)
    assert run(*TRAIN, "-q").stderr == "Warning: mind this\n"


def test_what_is_logged_below_is_shown_but_not_to_the_quiet(run, monkeypatch, caplog):
    log = logging.getLogger("scratchnet")
    monkeypatch.setattr(inputs, "check_engine", lambda _: log.warning("compiling"))
    run(*TRAIN, "-q")
    assert caplog.messages == [] and log.level == logging.NOTSET
    run(*TRAIN)
    assert caplog.messages == ["compiling"]


def test_an_engine_that_cannot_run_here_is_a_mistake(run, monkeypatch):
    from scratchnet.engines import compiled

    monkeypatch.setattr(compiled, "unavailable", lambda: "it needs Numba.")
    result = run("train", "--engine", "compiled")
    assert result.exit_code == 2 and result.stderr == "Error: --engine compiled: it needs Numba.\n"


# --- real processes -------------------------------------------------------------------------------


def test_interrupted_it_says_so_and_keeps_the_finished_epochs(start, tmp_path, npz):
    args = ["train", "--engine", "reference", "--epochs", "100000", "--data", str(npz)]
    process = start(*args, "--out", "a", drawn=True)
    deadline = time.monotonic() + 300
    while not (tmp_path / "a" / "model.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130 and "Traceback" not in err
    kept = run_folder.read_run(tmp_path / "a")
    epochs = kept.history["scratchnet"]["loss"]
    assert kept.result["epochs"] == len(epochs) and f"after {len(epochs)} of 100000 epochs" in out
    assert kept.model().optimizer.iterations == len(epochs) * 45
    assert kept.pictures and "<html" in (tmp_path / "a" / "report.html").read_text()
    assert not list((tmp_path / "a").glob(".*")), "a temporary file stayed"


def test_a_terminal_of_60_columns_and_no_color(start, npz):
    """FORCE_COLOR makes rich draw as on a terminal, NO_COLOR takes its colours away again."""
    args = [*ALONE, "--data", str(npz), "--out"]
    shown = {"COLUMNS": "60", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    plain, coloured = (
        start(*args, name, **shown, **extra)
        for name, extra in (("a", {"NO_COLOR": "1"}), ("b", {}))
    )
    out, err = plain.communicate(timeout=300)
    vivid = coloured.communicate(timeout=300)[1]
    assert plain.returncode == coloured.returncode == 0
    assert "\x1b[3" in vivid and "\x1b[3" not in (out + err).replace("\x1b[3m", "")
    bare = [line for line in out.splitlines() if "\x1b" not in line]
    assert max(map(len, bare)) <= 60


def test_a_reader_that_goes_away_is_no_mistake_of_ours(start, npz):
    process = start(*ALONE, "--data", str(npz), "--json")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=300)
    assert "Traceback" not in err and "Error" not in err
