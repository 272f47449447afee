"""The example project's own tests, run as its author would run them; then with a bug in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "example_project"
README = Path(__file__).parents[1] / "README.md"


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path):
    shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "project"


def test_the_test_is_five_lines_long():
    lines = (PROJECT / "test_scale_shift.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 5


def test_the_example_passes(project):
    done = run(project)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def report(project):
    """What pytest prints where dW is transposed."""
    layer = project / "scale_shift.py"
    right = "self.dW = self.scaled.T @ dy"
    wrong = "self.dW = (self.scaled.T @ dy).T.reshape(self.W.shape)"
    assert right in layer.read_text()
    layer.write_text(layer.read_text().replace(right, wrong))
    done = run(project)
    assert done.returncode == 1
    return done.stdout


def test_a_planted_transposition_is_named(report):
    assert "looks like 'dW transposed'" in report


def test_a_failure_shows_the_line_that_called_and_the_message_only(report):
    assert ">       check_layer(ScaleShift)" in report
    assert "batteries.py" not in report and "gradcheck" not in report


def test_the_readme_shows_what_is_really_printed(report):
    """Its layer and its test are the example project's, its report the one above."""
    readme = README.read_text()
    if "<!-- failing check -->" in readme:
        shown = readme.split("<!-- failing check -->")[1].split("```text\n")[1].split("```")[0]
        message = [line[1:].strip() for line in report.splitlines() if line.startswith("E  ")]
        message[0] = message[0].removeprefix("scratchnet.testing.failure.LawError: ")
        assert [line.strip() for line in shown.splitlines()] == message
