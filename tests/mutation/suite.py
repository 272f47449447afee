"""What is mutated, and the suites that mutants have to survive, each in some seconds.

The core's needs NumPy, Hypothesis and pytest, no TensorFlow and no compiler; that of the compiled
kernels needs Numba, which compiles each mutant anew. What is slow to import is imported once; each
run is a fork of that process, in which the mutated copy of the package is the only one in sight.
Time is counted in seconds of CPU, so that a machine that is busy kills nothing.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
EXAMPLES = 25
"""Examples that Hypothesis draws for each property: the same ones every time."""
MEMORY = 4 * 2**30
"""Bytes of address space that a run may have: a mutant may ask for any number."""


class Suite(NamedTuple):
    """Files under scratchnet/ to mutate, what has to notice, and where the report goes."""

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]
    doctests: tuple[str, ...]
    absent: tuple[str, ...]
    """Modules whose import is an error."""
    limit: int
    """Seconds of CPU after which a run counts as endless, several times what one takes."""
    first: Mapping[str, str] = {}
    """For a file, pytest's expression for the tests that are about it: they run before the rest."""

    @property
    def result(self) -> Path:
        """Where the kept report is."""
        suffix = "" if self.name == "core" else f"_{self.name}"
        return ROOT / "benchmarks" / "results" / f"mutation{suffix}.json"

    @property
    def block(self) -> str:
        """Between which marks docs/proof.md has its table."""
        return "mutation" if self.name == "core" else f"mutation-{self.name}"


CORE = Suite(
    name="core",
    files=(
        "engines/reference.py",
        "activations/names.py",
        "initializers/initializer.py",
        "layers/core.py",
        "losses/loss.py",
        "losses/calls.py",
        "losses/dense_targets.py",
        "objective.py",
        "optimizers/updates.py",
        "model.py",
    ),
    tests=(
        "tests/test_by_hand.py",
        "tests/test_core.py",
        "tests/test_network.py",
        "tests/test_gradients.py",
        "tests/test_laws.py",
    ),
    doctests=(
        "scratchnet/engines/reference.py",
        "scratchnet/activations/names.py",
        "scratchnet/initializers/initializer.py",
        "scratchnet/layers/core.py",
        "scratchnet/losses/loss.py",
        "scratchnet/objective.py",
        "scratchnet/optimizers/updates.py",
        "scratchnet/model.py",
    ),
    absent=("numba", "tensorflow", "keras"),
    limit=30,
)
COMPILED = Suite(
    name="compiled",
    files=(
        "engines/compiled/elementwise.py",
        "engines/compiled/optimizer.py",
        "engines/compiled/sparse.py",
    ),
    tests=("tests/test_kernels.py",),
    doctests=(),
    absent=("tensorflow", "keras"),
    limit=150,
    first={
        "engines/compiled/elementwise.py": "activation or loss or relu or head or largest",
        "engines/compiled/optimizer.py": "optimizers or update or moments or panel",
        "engines/compiled/sparse.py": "sparse or compressed",
    },
)
SUITES = {suite.name: suite for suite in (CORE, COMPILED)}


class Outcome(NamedTuple):
    """How a run ended: `passed`, `failed`, `endless` or `crashed`; the first test that failed; CPU
    seconds."""

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


def preload(suite: Suite) -> None:
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
    if "numba" not in suite.absent:
        import numba

        numba.njit(lambda x: x + 1)(1)  # what Numba itself loads before it compiles anything


def run(folder: Path, suite: Suite, mutated: str = "") -> Outcome:
    """The suite on the package in `folder`, in a fork, until the first failure."""
    said = folder / "said.txt"
    child = os.fork()
    if child == 0:
        _run_here(folder, said, suite, suite.first.get(mutated))
    _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    if os.WIFSIGNALED(status):
        over = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        return Outcome("endless" if over else "crashed", "", seconds)
    failed = [line for line in said.read_text().splitlines() if line.startswith(("FAILED", "ERR"))]
    test = failed[0].split(" - ")[0].removeprefix("FAILED ") if failed else ""
    return Outcome("passed" if os.WEXITSTATUS(status) == 0 else "failed", test, seconds)


def cold(folder: Path, suite: Suite) -> tuple[bool, float]:
    """Whether the suite passes on its own, and the CPU seconds from the interpreter's start on."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation.suite", str(folder), suite.name],
        cwd=ROOT,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.returncode == 0, seconds


def _run_here(folder: Path, said: Path, suite: Suite, first: str | None) -> None:
    """The child's part; never returns."""
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (suite.limit, suite.limit + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        # A mutant of the same length in the same second would be taken for what was compiled last.
        sys.dont_write_bytecode = True
        for name in suite.absent:
            sys.modules[name] = None  # type: ignore[assignment] # an import of it is an error
        import pytest

        options = ["-q", "-x", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
        asked = [*options, *suite.tests, *suite.doctests]
        code = int(pytest.main([*asked, "-k", first])) if first else 0
        code = code or int(pytest.main(asked))
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    chosen = SUITES[sys.argv[2]]
    preload(chosen)
    sys.exit(run(Path(sys.argv[1]), chosen).kind != "passed")
