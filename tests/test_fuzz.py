"""Some hundred damaged and hostile files for every reader; `python -m tests.fuzz` has more."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import judge, make
from tests.fuzz.readers import READERS

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux tells it"
)
INPUTS = 200


def run(*arguments):
    """In a process of its own, since it forks, and who tests may have threads."""
    root = Path(__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=600,
    )


@pytest.fixture(scope="module")
def printed():
    return run("-m", "tests.fuzz", "--inputs", str(INPUTS))


@pytest.mark.parametrize("name", READERS)
def test_only_errors_of_ours_in_time_and_memory(name, printed):
    told = re.search(
        rf"^{name} +(\d+) inputs: (\d+) refused, .*, (\d+) findings", printed.stdout, re.M
    )
    assert told, printed.stdout + printed.stderr
    inputs, refused, findings = map(int, told.groups())
    assert (inputs, findings) == (INPUTS, 0), printed.stdout
    assert refused > INPUTS / 4


def test_every_input_can_be_made_again():
    reader = READERS["model"]
    corpus = reader.corpus()
    one, other = (make(reader, corpus, [], 3, 14) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda folder: [].pop(), "IndexError"),
        (lambda folder: bytearray(300_000_000), "MB for"),
        (lambda folder: sum(range(10**8)), " s"),
        (lambda folder: (folder / "left").touch(), "left behind"),
    ],
)
def test_a_reader_that_does_wrong_is_found(fault, told, tmp_path):
    outcome, wrong = judge(READERS["data"]._replace(read=fault), {"a": b""}, tmp_path)
    assert told in wrong
    assert outcome == "taken"


def test_a_reader_that_ends_the_process_is_found():
    code = (
        "import os; from tests.fuzz.__main__ import main, READERS\n"
        "READERS['data'] = READERS['data']._replace(read=lambda f: f.name and os._exit(3))\n"
        "import tests.fuzz.__main__ as m; m.warm = lambda reader: None\n"
        "raise SystemExit(main(['data', '--inputs', '2']))"
    )
    done = run("-c", code)
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("the process ended with 3") == 2
