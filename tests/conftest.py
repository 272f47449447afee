"""What every test may lean on: MNIST, Keras, Hypothesis's profiles, and a loud word when one lacks.

A test that can't run for lack of data or TensorFlow skips and says so at the end; with
SCRATCHNET_REQUIRE_ALL=1, as in continuous integration, it fails instead.
"""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from scratchnet import config, datasets

settings.register_profile("dev", deadline=None, max_examples=25)
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=10_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "dev"))

# In the background Ctrl-C is ignored, under nohup SIGHUP, and some tests are about them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

REQUIRED = os.environ.get("SCRATCHNET_REQUIRE_ALL") == "1"
HAS_KERAS = importlib.util.find_spec("tensorflow") is not None
HAS_STUDY = all(map(importlib.util.find_spec, ("distributed", "pyarrow", "statsmodels")))
MISSING: set[str] = set()


def absent(what: str) -> None:
    """Skip for lack of `what`, or fail where nothing may lack."""
    if REQUIRED:
        pytest.fail(f"{what}; SCRATCHNET_REQUIRE_ALL=1 allows no skip")
    MISSING.add(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def mnist():
    """The four arrays x_train, y_train, x_test, y_test of the real MNIST."""
    try:
        (x_train, y_train), (x_test, y_test) = datasets.mnist.load_data(download=False)
    except datasets.DatasetError as error:
        absent(f"no MNIST: {error}")
    return x_train, y_train, x_test, y_test


@pytest.fixture(autouse=True)
def default_settings() -> Iterator[None]:
    """Each test begins and ends in float32 on the default engine."""
    yield
    config.set_floatx("float32")
    config.set_engine("auto")


@pytest.fixture(params=["reference", "compiled"])
def engine(request) -> str:
    """For what must hold on both engines."""
    config.set_engine(request.param)
    return request.param


@pytest.fixture
def float64_in_both() -> Iterator[None]:
    """Keras and ours in float64; a test that is about float32 says so."""
    from keras_ref import bridge  # TensorFlow takes its time, and may lack

    config.set_floatx("float64")
    with bridge.floatx("float64"):
        yield


def pytest_ignore_collect(collection_path):
    """What can't even be imported: tests/keras without TensorFlow, studies without their extra."""
    name, above = collection_path.name, collection_path.parent.name
    if not HAS_KERAS and (name, above) == ("keras", "tests"):
        return _uncollected("no TensorFlow: nothing under tests/keras was run")
    if not HAS_STUDY and above == "tests" and name.startswith(("test_study", "test_findings")):
        return _uncollected("no extra 'study': its tests were not run")
    return None


def _uncollected(what: str) -> bool:
    if REQUIRED:
        raise pytest.UsageError(f"{what}; SCRATCHNET_REQUIRE_ALL=1 allows no skip")
    MISSING.add(what)
    return True


def pytest_terminal_summary(terminalreporter):
    for what in sorted(MISSING):
        terminalreporter.write_line(f"LOUD SKIP: {what}", yellow=True, bold=True)
