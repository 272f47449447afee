"""Copies Keras's test files and runs each in a process of its own."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from . import plugin, scope
from .ledger import FAILED

ROOT = Path(__file__).parents[2]
CONFTEST = '''"""What Keras's tests import from its own conftest."""
import pytest


def skip_if_backend(backend, reason):
    return pytest.mark.skipif(backend == "tensorflow", reason=reason)
'''
SECONDS = 240
"""What one file may take."""
COMPLETE = (0, 1, 5)
"""pytest's status after all tests: they pass, some fail, none is left to run."""


class Result(NamedTuple):
    """One test: `losses/losses::HuberLossTest::test_config`, its verdict, and the difference that
    explains a failure, if one is meant."""

    test: str
    kind: str
    about: str
    said: str
    reached: str
    difference: str | None = None

    @property
    def file(self) -> str:
        return self.test.partition("::")[0]


class BrokenFile(NamedTuple):
    """A file that gave no results, and what pytest said."""

    file: str
    said: str


def run(
    files: Iterable[str] = scope.FILES, plugins: Iterable[str] = (), jobs: int | None = None
) -> tuple[list[Result], list[BrokenFile]]:
    """Every test of these files.

    Args:
        plugins: more plugins for pytest, by name; they are imported after the stand-ins.
        jobs: processes at a time; as many as there are processors.
    """
    with tempfile.TemporaryDirectory(prefix="keras-own-") as folder:
        place = prepare(Path(folder))

        def one(name: str) -> tuple[list[Result], list[BrokenFile]]:
            copy = place / f"{name.replace('/', '__')}_test.py"
            shutil.copy(scope.keras_folder() / "src" / f"{name}_test.py", copy)
            return run_copy(name, copy, tuple(plugins))

        with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
            done = list(pool.map(one, files))
    return [r for results, _ in done for r in results], [b for _, broken in done for b in broken]


def prepare(folder: Path) -> Path:
    """A folder for copies, with what pytest and the tests look for beside them."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(CONFTEST)
    return folder


def run_copy(
    name: str, copy: Path, plugins: tuple[str, ...] = ()
) -> tuple[list[Result], list[BrokenFile]]:
    """One file; where its process dies, the tests that are left in another one."""
    results: dict[str, Result] = {}
    while True:
        known = len(results)
        status, said = pytest(copy, plugins, results)
        if status in COMPLETE and results:
            return list(results.values()), []
        if len(results) == known:
            return list(results.values()), [BrokenFile(name, said[-2000:])]


def pytest(copy: Path, plugins: tuple[str, ...], results: dict[str, Result]) -> tuple[int, str]:
    """pytest on one file but for the tests in `results`, which takes the new ones; its status."""
    out = copy.with_suffix(f".{len(results)}.jsonl")
    out.touch()
    done = [test.partition("::")[2] for test in results]
    command = [
        *(sys.executable, "-m", "pytest", "-q", "--tb=no", "--noconftest", "--capture=sys"),
        *("-p", "no:cacheprovider", "-p", "tests.keras_own.plugin", "-W", "ignore"),
        *(part for name in plugins for part in ("-p", name)),
        *(f"--deselect={copy.name}::{test}" for test in done),
        *("--rootdir", str(copy.parent), "-c", str(copy.parent / "pytest.ini"), str(copy)),
    ]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {
        "PYTHONPATH": path,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        plugin.RESULTS: str(out),
    }
    try:
        ran = subprocess.run(
            command,
            cwd=copy.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        status, said = ran.returncode, ran.stdout + ran.stderr
    except subprocess.TimeoutExpired:
        status, said = -1, f"more than {SECONDS} s"
    for line in out.read_text().splitlines():
        result = Result(**json.loads(line))
        results[result.test] = result._replace(difference=difference(result))
    return status, said


def difference(result: Result) -> str | None:
    """Why this failure is meant, if it is."""
    if result.kind != FAILED:
        return None
    found = (why for form, why in scope.DIFFERENCES.items() if fnmatch.fnmatch(result.test, form))
    return next(found, None)
