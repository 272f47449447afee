"""The command as tests call it: in this process on the digits, or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scratchnet import datasets
from scratchnet.app import cli, pictures, run_training
from scratchnet.app.pages import report_page


@pytest.fixture(scope="session")
def npz(tmp_path_factory) -> Path:
    """The digits as a file that somebody might have."""
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture
def whole(npz, tmp_path, monkeypatch):
    """The command in an empty folder, on the digits where it trains and no data are named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("SCRATCHNET_DEBUG", raising=False)

    def invoke(*args: str, data: str | None = str(npz)):
        extra = ["--data", data] if data and args and args[0] in ("train", "compare") else []
        return CliRunner().invoke(cli.app, [*args, *extra])

    return invoke


@pytest.fixture
def run(whole, monkeypatch):
    """The same without pictures and page, which take longer than all the rest."""
    monkeypatch.setattr(pictures, "draw", lambda *_: [])
    monkeypatch.setattr(report_page, "write_report", lambda *_: None)
    return whole


@pytest.fixture
def trained(whole, tmp_path, request):
    """A run by a file's own TRAIN, without pictures, which take longest; `report` is itself."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pictures, "draw", lambda *_: [])
        patched.setattr(report_page, "write_report", lambda *_: None)
        assert whole(*request.module.TRAIN).exit_code == 0
    return tmp_path / "a"


@pytest.fixture
def diverging(monkeypatch):
    """Training whose loss is soon not finite."""
    honest = run_training.build_model

    def wild(*args):
        model = honest(*args)
        model.optimizer.learning_rate = 1e30
        return model

    monkeypatch.setattr(run_training, "build_model", wild)


UNDRAWN = "from scratchnet.app import pictures; from scratchnet.app.pages import report_page; "
UNDRAWN += "pictures.draw = lambda *_: []; report_page.write_report = lambda *_: None; "


@pytest.fixture
def start(tmp_path):
    """The command as a process of its own, in an empty folder; pictures only where asked for."""

    def begin(*args: str, drawn: bool = False, **environ: str) -> subprocess.Popen[str]:
        code = ("" if drawn else UNDRAWN) + "from scratchnet.app.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *args],
            cwd=tmp_path,
            env=os.environ | environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return begin


ENTRY = "import os, signal, scratchnet_command as entry; "
READY = (
    "signal.getsignal(signal.SIGINT) is signal.SIG_IGN or "
    "signal.signal(signal.SIGINT, entry._leave); os.write(1, b'.'); "
)
"""What `main` does first; the rest waits until somebody knows that it was done."""


@pytest.fixture
def begin(tmp_path, npz):
    """The command from its very first moment, as a process of its own."""
    begun = []

    def start(*args: str, prepare: str = "", drawn: bool = False) -> subprocess.Popen[bytes]:
        data = ["--data", str(npz)] if args[0] == "train" else []
        undrawn = "" if drawn or args[0] != "train" else UNDRAWN
        process = subprocess.Popen(
            [sys.executable, "-c", f"{prepare}{ENTRY}{READY}{undrawn}entry.main()", *args, *data],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        begun.append(process)
        assert os.read(process.stdout.fileno(), 1) == b"."
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()
