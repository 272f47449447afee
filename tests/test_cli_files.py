"""What commands write: through links, with permissions, onto files only; and disks that fail."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np
import photos
import pytest

from scratchnet import atomic
from scratchnet.app import run_folder, run_training
from scratchnet.app.run_folder import read_run

pytest_plugins = ["commandline"]

TRAIN = ["train", "--engine", "reference", "--epochs", "3", "--limit", "300", "-q", "--out", "a"]


PAGES = [["draw", "a"], ["report", "a"], ["explain", "a", "--no-keras"]]


def page(whole, command, name):
    return whole(*command, "-q", "--out", name)


# --- --out FILE -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", PAGES, ids=lambda command: command[0])
def test_a_link_stays_and_modes_are_kept(whole, tmp_path, trained, command):
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "real.html").chmod(0o600)
    (tmp_path / "link.html").symlink_to("real.html")
    assert page(whole, command, "link.html").exit_code == 0
    real = tmp_path / "real.html"
    assert (tmp_path / "link.html").is_symlink() and "<html" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    before = os.umask(0o027)
    try:
        assert page(whole, command, "new.html").exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.html").stat().st_mode) == 0o640


def read_only(path: Path) -> None:
    path.write_text("old")
    path.chmod(0o444)


REFUSED = {
    "a folder": (Path.mkdir, "is a folder"),
    "a pipe": (os.mkfifo, "is a pipe"),
    "a device": (lambda path: path.symlink_to("/dev/null"), "is a device"),
    "write-protected": (read_only, "is write-protected"),
    "a circle": (lambda path: path.symlink_to(path.name), "Too many levels"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("command", PAGES, ids=lambda command: command[0])
def test_what_is_no_file_is_refused_in_one_line_before_any_work(
    whole, tmp_path, trained, monkeypatch, command, what
):
    make, words = REFUSED[what]
    make(tmp_path / "o")
    before = os.lstat(tmp_path / "o")[:3]
    monkeypatch.setattr(run_training, "build_model", None)  # explain would have to train
    result = page(whole, command, "o")
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"Error: o: {words}")
    assert os.lstat(tmp_path / "o")[:3] == before and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("command", PAGES, ids=lambda command: command[0])
def test_a_folder_that_is_missing_is_named_with_the_file(whole, trained, command):
    result = page(whole, command, os.path.join("nowhere", "o.html"))
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert result.stderr == "Error: nowhere/o.html: its folder does not exist.\n"


@pytest.mark.parametrize("what", ["a pipe", "write-protected", "a folder"])
def test_what_the_network_saw_is_written_as_carefully(whole, tmp_path, trained, what):
    photos.pencilled(5).save(tmp_path / "five.png")
    (tmp_path / "seen").mkdir()
    REFUSED[what][0](tmp_path / "seen" / "001-five.png")
    result = whole("predict", "--model", "a", "five.png", "-q", "--png", "seen")
    assert result.exit_code == 2 and REFUSED[what][1] in result.stderr
    assert "seen/001-five.png" in result.stderr and "bug" not in result.stderr


# --- disks that fail ------------------------------------------------------------------------------


def failing_from(monkeypatch, epoch: int, code: int) -> None:
    """The disk fails once the model of so many epochs is to be written."""
    honest = run_folder.models.save_model

    def save_model(model, place, *args, **options):
        if model.optimizer.iterations >= 10 * epoch:
            raise atomic._named(OSError(code, os.strerror(code)), place, None)
        return honest(model, place, *args, **options)

    monkeypatch.setattr(run_folder.models, "save_model", save_model)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("over", [False, True], ids=["new", "over a run"])
def test_a_disk_that_fails_in_training_loses_no_finished_epoch_and_no_earlier_run(
    run, tmp_path, monkeypatch, code, epoch, over
):
    if over:
        run(*TRAIN, "--seed", "5")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    failing_from(monkeypatch, epoch, code)
    result = run(*TRAIN)
    assert result.exit_code == 2 and "bug" not in result.stderr
    assert "model.npz" in result.stderr and os.strerror(code) in result.stderr
    if over:
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    elif epoch == 1:
        assert not (tmp_path / "a").exists()
    else:
        assert "The 2 finished epochs are kept in a." in result.stderr
        assert read_run(tmp_path / "a").epochs == 2 and run("evaluate", "a").exit_code == 0
    assert not list(tmp_path.rglob(".scratchnet*"))


@pytest.mark.parametrize("name", ["answers.npz", "result.json", "curves.png", "report.html"])
def test_a_disk_that_fails_once_it_is_trained_leaves_what_there_is(whole, tmp_path, name):
    honest = os.open

    def full(path, *args, **options):
        prefix = atomic._prefix(name)
        if isinstance(path, str) and os.path.basename(path).startswith(prefix):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return honest(path, *args, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "open", full)
        result = whole(*TRAIN)
    assert result.exit_code == 2 and name in result.stderr and "No space left" in result.stderr
    kept = read_run(tmp_path / "a")
    assert kept.epochs == 3 and bool(kept.result) is (name in ("curves.png", "report.html"))
    assert whole("evaluate", "a").exit_code == 0


def test_a_loss_that_is_not_finite_leaves_the_earlier_run(whole, trained, diverging):
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    with np.errstate(all="ignore"):
        result = whole(*TRAIN)
    assert result.exit_code == 1
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before


def test_a_folder_that_vanishes_in_training_is_one_line(run, tmp_path, monkeypatch):
    honest = run_folder.models.save_model

    def save_model(model, place, *args, **options):
        if model.optimizer.iterations == 20:
            os.rename(tmp_path / "a", tmp_path / "moved")
        return honest(model, place, *args, **options)

    monkeypatch.setattr(run_folder.models, "save_model", save_model)
    result = run(*TRAIN)
    assert result.exit_code == 2 and "bug" not in result.stderr
    assert "model.npz: its folder does not exist" in result.stderr
    assert read_run(tmp_path / "moved").epochs == 1


# --- environments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["0", "-5", "abc", "1", ""])
def test_no_width_hides_the_outcome(run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert run(*TRAIN).stdout.startswith("Trained: ")


@pytest.mark.parametrize("backend", ["bogus", "tkagg", "module://nowhere", ""])
def test_no_backend_of_matplotlibs_matters(start, tmp_path, npz, backend):
    args = [arg for arg in TRAIN if arg != "-q"]
    process = start(*args, "--data", str(npz), drawn=True, MPLBACKEND=backend)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert len(read_run(tmp_path / "a").pictures) == 4


def test_a_warning_with_a_traceback_within_is_cut_before_it(start, npz):
    process = start(*TRAIN, "--data", str(npz), NUMBA_OPT="zz")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0 and "Traceback" not in err
