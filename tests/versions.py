"""The tests on every Python that pyproject.toml declares, and at the lowest bounds that it sets.

`python -m tests.versions` finds the declared Pythons on PATH and under pyenv, makes an environment
for each in a temporary folder, and runs the tests there that meet most of the language and of NumPy
and Numba; `--all` runs the whole suite (without Keras, which has versions of its own). One more
environment holds the oldest release of everything that pyproject.toml allows.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TOOLS = ("pytest", "hypothesis", "mpmath")
"""What the tests themselves need of the extra `test`."""

QUICK = (
    *("tests/test_core.py", "tests/test_network.py", "tests/test_files.py"),
    *("tests/test_files_hostile.py", "tests/test_files_hdf5.py"),
    *("tests/test_sequential.py", "tests/test_explain.py", "tests/test_house.py"),
    *("tests/test_cli.py", "tests/test_engine_compiled.py"),
    *("scratchnet/layers/core.py", "scratchnet/saving", "scratchnet/support.py"),
)
LEFT_OUT = "not threads and not cold and not interrupt and not child and not Drop"
"""Of the quick tests: what is slow and the same on every version, and what needs Keras."""


class Job(NamedTuple):
    """One environment: the Python, and what is installed."""

    name: str
    python: str
    requirements: list[str]


class Outcome(NamedTuple):
    name: str
    passed: bool
    said: str
    seconds: float


def declared() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def versions(project: dict[str, Any]) -> list[str]:
    """The versions of Python that pyproject.toml declares, lowest first."""
    named = [re.fullmatch(r".*:: (3\.\d+)", text) for text in project["classifiers"]]
    return sorted((m[1] for m in named if m), key=lambda v: int(v.split(".")[1]))


def lowest(requirement: str) -> str:
    """The oldest release that a requirement allows.

    >>> lowest("numpy>=2.1,<3")
    'numpy==2.1'
    """
    parsed = Requirement(requirement)
    bounds = [spec.version for spec in parsed.specifier if spec.operator == ">="]
    if len(bounds) != 1:
        raise ValueError(f"{requirement}: expected one lower bound, name>=version")
    return f"{parsed.name}=={bounds[0]}"


def candidates(version: str) -> Iterator[str]:
    """Where a Python of this version may be."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(map(str, root.glob(f"versions/{version}.*/bin/python")), reverse=True)
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        yield getattr(sys, "_base_executable", sys.executable)
    for name in (f"python{version}", "python3", "python"):
        found = shutil.which(name)
        if found:
            yield found


def find(version: str) -> str | None:
    """A Python of this version that can make an environment, or None."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    for path in candidates(version):
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return path
    return None


def jobs(project: dict[str, Any], only: list[str], others: bool) -> tuple[list[Job], list[str]]:
    """What to run, and the declared versions that are not on this machine."""
    test = {Requirement(r).name: r for r in project["optional-dependencies"]["test"]}
    needs, tools = project["dependencies"], [test[name] for name in TOOLS]
    found = {version: find(version) for version in versions(project)}
    made = [Job(version, path, [*needs, *tools]) for version, path in found.items() if path]
    if made:
        oldest = [lowest(requirement) for requirement in needs]
        made.append(Job(f"lowest, {made[0].name}", made[0].python, [*oldest, *tools]))
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    chosen = [
        job
        for job in made
        if (not only or any(job.name.startswith(name) for name in only))
        and not (others and job.name == own)
    ]
    return chosen, [version for version, path in found.items() if path is None]


def run(job: Job, folder: Path, tests: list[str]) -> Outcome:
    """Make the environment and run the tests in it; their output is passed on."""
    start = time.monotonic()
    place = folder / re.sub(r"\W+", "-", job.name)
    # Only the variables that say where things are: nothing here may be asked to find TensorFlow.
    environment = os.environ | {"NUMBA_CACHE_DIR": str(place / "numba"), "PYTHONPATH": str(ROOT)}
    environment.pop("SCRATCHNET_REQUIRE_ALL", None)
    python = str(place / "bin" / "python")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    steps = (
        [job.python, "-m", "venv", str(place)],
        [*pip, *job.requirements],
        [*pip, "--no-deps", "-e", str(ROOT)],
        [python, "-W", "default", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
    )
    said = ""
    for step in steps:
        done = subprocess.run(
            step, cwd=ROOT, env=environment, text=True, capture_output=True, check=False
        )
        lines = (done.stdout + done.stderr).strip().splitlines()
        said = lines[-1] if lines else ""
        if done.returncode:
            print("\n".join(lines[-60:]), flush=True)
            return Outcome(job.name, False, said, time.monotonic() - start)
    return Outcome(job.name, True, said, time.monotonic() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("only", nargs="*", help="versions such as 3.12, or lowest")
    parser.add_argument("--all", action="store_true", help="the whole suite, not the quick part")
    parser.add_argument("--others", action="store_true", help="but for the Python that runs this")
    arguments = parser.parse_args()
    chosen, missing = jobs(declared(), arguments.only, arguments.others)
    tests = ["tests", "scratchnet"] if arguments.all else [*QUICK, "-k", LEFT_OUT]
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="scratchnet-versions-") as folder:
        for job in chosen:
            outcomes.append(run(job, Path(folder), tests))
            name, passed, said, seconds = outcomes[-1]
            print(
                f"{name:14} {'ok' if passed else 'FAILED':7} {seconds:4.0f} s  {said}", flush=True
            )
    for version in missing:
        print(f"{version:14} not on this machine")
    if not outcomes:
        print("no declared Python was found")
    return 0 if outcomes and all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
