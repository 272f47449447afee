"""A study over real processes on loopback: a worker, the scheduler and the client are killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scratchnet.app.study import archive, cell_run

CELLS = 30
ASKED = (
    *("--seeds", str(CELLS), "--data", "digits", "--epochs", "3", "--batch-size", "16"),
    *("--engine", "reference", "-q"),
)
MODULES = {
    "scheduler": "distributed.cli.dask_scheduler",
    "worker": "distributed.cli.dask_worker",
    "client": "scratchnet_command",
}


@pytest.fixture
def begin(tmp_path):
    """Start a process by what it is; all end with the test."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(what: str, *args: str) -> subprocess.Popen[bytes]:
        with open(tmp_path / f"{what}-{len(begun)}.log", "wb") as log:
            command = [sys.executable, "-m", MODULES[what], *args]
            begun.append(
                subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, env=os.environ)
            )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def until(happened: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def free_port() -> str:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return str(held.getsockname()[1])


def rows_in(folder: Path) -> int:
    there = (folder / archive.PLAN).is_file()
    return len(archive.Archive(folder).keys()) if there else 0


def test_every_run_is_there_once_whoever_is_killed(begin, tmp_path):
    port, study = free_port(), tmp_path / "study"
    address = f"tcp://127.0.0.1:{port}"

    def scheduler() -> subprocess.Popen[bytes]:
        return begin("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")

    def worker() -> subprocess.Popen[bytes]:
        return begin("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")

    def client() -> subprocess.Popen[bytes]:
        return begin("client", "study", "run", "study", *ASKED, "--scheduler", address)

    first, workers, asking = scheduler(), [worker(), worker()], client()
    until(lambda: rows_in(study) >= 2)
    workers[0].send_signal(signal.SIGKILL)
    seen = rows_in(study)
    until(lambda: rows_in(study) > seen + 2)  # the other goes on

    first.send_signal(signal.SIGKILL)
    first.wait()
    seen = rows_in(study)
    assert seen < CELLS - 10
    scheduler(), worker(), worker()
    until(lambda: rows_in(study) > seen + 2)  # the same client goes on
    assert asking.poll() is None

    asking.send_signal(signal.SIGKILL)
    asking.wait()
    seen = rows_in(study)
    assert seen < CELLS
    again = client()
    assert again.wait(timeout=120) == 0, [p.read_text() for p in tmp_path.glob("client-*.log")]

    files = archive.Archive(study).files
    rows = [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]
    wanted = {cell.key: cell for cell in archive.Archive(study).plan.cells}
    assert Counter(row["key"] for row in rows) == dict.fromkeys(wanted, 1)
    for row in rows[::5]:
        alone = cell_run.run(wanted[row["key"]])
        assert {k: v for k, v in row.items() if "seconds" not in k} == {
            k: v for k, v in alone.items() if "seconds" not in k
        }
