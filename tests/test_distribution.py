"""The name that installs us: ours, everywhere, and never the stranger's who has `scratchnet`."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from scratchnet.app import DISTRIBUTION
from scratchnet.app.cli import compare

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STRANGER = re.compile(
    r"(pip3?|pipx|uv|uvx|poetry|conda|pdm|rye|mamba)\s+(pip\s+)?(-\S+\s+)*"
    r"(install|add|run|tool install|--from|inject)\s"
    r"((?![.] )[^\n`;|&])*?(?<![\w./-])scratchnet(?![\w./-])",
)
"""A command that installs the name of somebody else's package."""


def texts() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    names = done.stdout.split("\n") if done.returncode == 0 else []
    found = [ROOT / name for name in names if name] or [
        path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts
    ]
    kinds = {".py", ".md", ".toml", ".html", ".js", ".ipynb", ".txt", ".cfg", ""}
    return [path for path in found if path.suffix in kinds and path.is_file()]


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("pip install scratchnet", True),
        ("pip install 'scratchnet[keras]'", True),
        ('pip install -U "scratchnet==0.1.0"', True),
        ("uv pip install numpy scratchnet", True),
        ("uv add scratchnet", True),
        ("python -m pip install -q scratchnet>=0.1", True),
        ("pip install -e '.[keras]' && scratchnet train", False),
        ("pip install scratchnet-numpy", False),
        ("pip install ./scratchnet", False),
        ("pip install numba. scratchnet train", False),
    ],
)
def test_the_pattern_knows_a_command_when_it_sees_one(text, hit):
    assert bool(STRANGER.search(text)) == hit


def test_nobody_is_told_to_install_a_name_that_is_not_ours():
    told = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in texts()
        if path != Path(__file__)
        for found in STRANGER.finditer(path.read_text(errors="replace"))
    ]
    assert not told


def test_the_distribution_s_name_is_said_once_and_is_what_is_installed():
    assert PROJECT["name"] == DISTRIBUTION
    assert metadata.metadata(DISTRIBUTION)["Name"] == DISTRIBUTION


def test_the_hint_about_keras_asks_for_what_the_project_asks_for():
    for requirement in PROJECT["optional-dependencies"]["keras"]:
        assert f"'{requirement}'" in compare.INSTALL
