"""The part that runs inside pytest: stand-ins first, then one verdict for each test.

Results go to the file named by OUT, one line of JSON a test, as soon as they are there, so that a
process that dies takes no verdict with it.
"""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import sys
from typing import Any

import pytest

from . import cases, rooms, scope, standins, verdicts
from .ledger import FAILED, LEDGER, OUT, PASSED, Verdict

RESULTS = "SCRATCHNET_KERAS_OWN"
"""The environment variable that names the file of results."""
SECONDS = 60
"""What one test may take, compiling included."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "requires_trainable_backend: as in Keras")
    rooms.install(scope.keras_folder(), standins.standins(), cases.adapt)
    pytest.raises = cases.Raises


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Write down what is out of scope, and keep the rest."""
    sources = {path: scope.Source(path.read_text()) for path in {item.path for item in items}}
    kept, left = [], []
    for item in items:
        source = sources[item.path]
        found = by_name(name_of(item)) or source.reason(item.cls.__name__, item.originalname)
        if found is None:
            kept.append(item)
        else:
            left.append(item)
            write(item, Verdict(OUT, *found))
    items[:] = kept
    config.hook.pytest_deselected(items=left)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    LEDGER.begin()
    write_begin(item)
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    sys.setprofile(listen)
    try:
        return (yield)
    finally:
        sys.setprofile(None)
        signal.alarm(0)
        LEDGER.running = False
        verdicts.scratchnet.config.set_floatx("float32")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    report = yield
    if report.skipped:
        write(item, Verdict(OUT, "Keras skips it", str(report.longrepr[-1])))
    elif call.when == "call" or report.failed:
        write(item, verdict_on(call.excinfo, report))
    return report


def verdict_on(excinfo: Any, report: Any) -> Verdict:
    """What the test asked for decides; then how it ended; then whether it was about us at all."""
    if LEDGER.asked:
        return LEDGER.asked[0]
    if excinfo is not None:
        return verdicts.of_error(excinfo.value, excinfo.tb)
    if report.failed:
        return Verdict(FAILED, "a subtest", verdicts.shortened(str(report.longrepr)))
    if not LEDGER.reached:
        return Verdict(OUT, "nothing asked of scratchnet", "")
    return Verdict(PASSED, "", "; ".join(LEDGER.notes)[:300])


def by_name(name: str) -> tuple[str, str] | None:
    found = (why for form, why in scope.BY_NAME.items() if fnmatch.fnmatch(name, form))
    return next(((why, "") for why in found), None)


def listen(frame: Any, event: str, argument: Any) -> None:
    """Until the first call into scratchnet that does something."""
    code = frame.f_code
    if (
        event == "call"
        and verdicts.is_path_ours(code)
        and not code.co_filename.endswith(("config.py", "support.py"))
    ):
        LEDGER.reached = code.co_qualname
        sys.setprofile(None)


def too_long(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def name_of(item: pytest.Item) -> str:
    """`losses/losses::HuberLossTest::test_config`."""
    file = item.path.name.removesuffix("_test.py").replace("__", "/")
    return "::".join([file, *item.nodeid.split("::")[1:]])


def write(item: pytest.Item, verdict: Verdict) -> None:
    """A verdict; a later one on the same test, of its teardown, replaces it."""
    line = {"test": name_of(item), **verdict._asdict(), "reached": LEDGER.reached}
    with open(os.environ[RESULTS], "a") as file:
        file.write(json.dumps(line) + "\n")


def write_begin(item: pytest.Item) -> None:
    """That a test was begun: what stays if the process dies in it."""
    write(item, Verdict(FAILED, "the process died", ""))
