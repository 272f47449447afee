"""The README keeps its word: its example prints what it shows, its tests and files exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROOF = (ROOT / "docs" / "proof.md").read_text()
PAGES = {"README.md": README} | {
    f"docs/{page.name}": page.read_text() for page in (ROOT / "docs").glob("*.md")
}


def block(mark, language):
    """The fenced block of a language after a mark."""
    return README.split(mark)[1].split(f"```{language}\n")[1].split("```")[0]


def test_the_example_runs_and_prints_what_the_readme_shows(mnist, tmp_path):
    """The accuracy to half a point: other CPUs round otherwise, and float32 training is chaotic."""
    done = subprocess.run(
        [sys.executable, "-c", block("<!-- example -->", "python")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
        env=os.environ,
    )
    shown = block("<!-- output -->", "text").split()
    printed = done.stdout.split()
    assert printed[:-1] == shown[:-1]
    assert float(printed[-1]) == pytest.approx(float(shown[-1]), abs=0.005)


def test_every_test_that_the_ledger_names_exists():
    source = (ROOT / "tests" / "keras" / "test_conventions.py").read_text()
    named = set(re.findall(r"`(test_\w+)`", PROOF))
    assert len(named) >= 14
    assert named <= set(re.findall(r"^def (test_\w+)", source, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page):
    # The kept mutation report names files as they were called when it was measured.
    text = re.sub(r"<!-- mutation -->.*<!-- /mutation -->", "", PAGES[page], flags=re.DOTALL)
    for path in re.findall(r"`((?:scratchnet|keras_ref|tests|benchmarks|docs)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(([\w.][\w/.-]+)\)", text):
        assert ((ROOT / page).parent / path).exists(), path


def test_the_readme_is_a_short_way_in():
    assert len(README.splitlines()) <= 150
    set_up, play, keras = (
        block(f"<!-- block: {name} -->", "bash") for name in ("set up", "play", "keras")
    )
    assert "[keras]" in keras and "keras" not in set_up + play.replace("--no-keras", "")
    assert "<!-- block: " in (ROOT / ".ci" / "readme").read_text()


def test_the_museum_is_as_large_as_the_readme_says():
    bugs = json.loads((ROOT / "benchmarks" / "results" / "museum.json").read_text())["bugs"]
    row = next(line for line in PROOF.splitlines() if "with a public source" in line)
    assert [int(n) for n in re.findall(r"\d+", row)] == [
        len(bugs),
        sum(bug["documented"] for bug in bugs),
        sum(bool(bug["caught_by"]) for bug in bugs),
        sum(bug["named"] for bug in bugs),
        sum(bug["accuracy"]["noticed"] for bug in bugs),
    ]


def test_continuous_integration_runs_the_readmes_own_test_command():
    command = block("<!-- test command -->", "bash").strip()
    assert command.startswith("python3 -m venv .venv && ") and "pytest" in command
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()
