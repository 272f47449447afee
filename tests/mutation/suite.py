"""The suite that mutants have to survive: known numbers, gradients and laws, in a few seconds.

It needs NumPy, Hypothesis and pytest, no TensorFlow and no compiler. What is slow to import is
imported once; each run is a fork of that process, in which the mutated copy of the package is the
only one in sight. Time is counted in seconds of CPU, so that a machine that is busy kills nothing.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TESTS = (
    "tests/test_by_hand.py",
    "tests/test_core.py",
    "tests/test_network.py",
    "tests/test_gradients.py",
    "tests/test_laws.py",
)
DOCTESTS = (
    "scratchnet/engines/reference.py",
    "scratchnet/activations.py",
    "scratchnet/initializers.py",
    "scratchnet/layers.py",
    "scratchnet/losses/loss.py",
    "scratchnet/losses/dense_targets.py",
    "scratchnet/objective.py",
    "scratchnet/optimizers.py",
    "scratchnet/model.py",
)
EXAMPLES = 25
"""Examples that Hypothesis draws for each property: the same ones every time."""


class Outcome(NamedTuple):
    """How a run ended: `passed`, `failed` or `endless`; the first test that failed; CPU seconds."""

    kind: str
    test: str
    seconds: float


def copy(folder: Path) -> None:
    """A fresh copy of all that the suite reads."""
    shutil.rmtree(folder, ignore_errors=True)
    left_out = shutil.ignore_patterns("__pycache__", "keras", "mutation", "example_project")
    for name in ("scratchnet", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    shutil.copy(ROOT / "pyproject.toml", folder)


def preload() -> None:
    """Import what every run needs and no mutant changes; before NumPy, hold BLAS to one thread."""
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import threadpoolctl  # noqa: F401
    from hypothesis import HealthCheck, Phase, settings, strategies  # noqa: F401

    assert not any(name.split(".")[0] == "scratchnet" for name in sys.modules)
    settings.register_profile(
        "mutation",
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"


def run(folder: Path, limit: int = 30) -> Outcome:
    """The suite on the package in `folder`, in a fork, until the first failure.

    Args:
        limit: seconds of CPU after which a run counts as endless, ten times what one takes.
    """
    said = folder / "said.txt"
    child = os.fork()
    if child == 0:
        _run_here(folder, said, limit)
    _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    if os.WIFSIGNALED(status):
        return Outcome("endless", "", seconds)
    failed = [line for line in said.read_text().splitlines() if line.startswith(("FAILED", "ERR"))]
    test = failed[0].split(" - ")[0].removeprefix("FAILED ") if failed else ""
    return Outcome("passed" if os.WEXITSTATUS(status) == 0 else "failed", test, seconds)


def cold(folder: Path) -> tuple[bool, float]:
    """Whether the suite passes on its own, and the CPU seconds from the interpreter's start on."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation.suite", str(folder)], cwd=ROOT, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.returncode == 0, seconds


def _run_here(folder: Path, said: Path, limit: int) -> None:
    """The child's part; never returns."""
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        # A mutant of the same length in the same second would be taken for what was compiled last.
        sys.dont_write_bytecode = True
        for name in ("numba", "tensorflow", "keras"):
            sys.modules[name] = None  # type: ignore[assignment] # an import of it is an error
        import pytest

        options = ["-q", "-x", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
        code = int(pytest.main([*options, *TESTS, *DOCTESTS]))
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    preload()
    sys.exit(run(Path(sys.argv[1])).kind != "passed")
