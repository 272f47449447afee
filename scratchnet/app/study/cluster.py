"""Cells on a Dask cluster: a few at a time in flight, each kept as soon as it is there.

Dask schedules, retries and counts the deaths of workers; what a study is waiting for is only what
its folder has not. So a lost scheduler costs the cells in flight, and a killed client nothing that
is written. The client holds as many futures as its workers can use, however many cells there are.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from scratchnet.app.run_training import ProgressListener
from scratchnet.app.study import StudyError
from scratchnet.app.study.archive import Archive
from scratchnet.app.study.cell_run import Row
from scratchnet.app.study.cells import Cell, code_version

RETRIES = 2
"""How often Dask tries a cell again that raised an error."""
AHEAD = 16
"""Cells in flight for each thread of the cluster, so that none waits for the client."""
EVERY = 0.25
"""Seconds between two files at least: rows that come closer together share one."""
PATIENCE = 300.0
"""Seconds for which a lost scheduler is waited for."""
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""Processes side by side, each with one thread, don't fight for cores."""

CALM = {
    "distributed.comm.timeouts.connect": "30s",
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
}
"""Dask looks at itself less often: on a busy machine that took longer than its work for runs."""

RunCell = Callable[[Cell], Row]


@contextmanager
def connected(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    """A Dask client: of the scheduler at that address, or of a cluster of this machine's own.

    Raises:
        StudyError: where there is no scheduler at the address.
    """
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set(CALM):
        if scheduler is not None:
            try:
                client = Client(scheduler, timeout=PATIENCE, name="study")
            except (OSError, ValueError) as error:
                raise StudyError(
                    f"--scheduler {scheduler}: {error}. Expected the address that `dask scheduler` "
                    "prints, such as tcp://127.0.0.1:8786"
                ) from error
            with client:
                yield client
            return
        with (
            LocalCluster(
                n_workers=workers or default_workers(),
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                env=ONE_THREAD,
                preload=[__name__],
                silence_logs=50,
            ) as cluster,
            Client(cluster, timeout=PATIENCE) as client,
        ):
            yield client


def dask_setup(worker: Any) -> None:
    """Where a worker of a cluster of our own begins: a terminal's Ctrl-C is for the client."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def default_workers() -> int:
    """One process for each processor that this one may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def checked(run: RunCell, cell: Cell, code: str) -> Row:
    """What a worker does: the cell's row, if its code is the study's.

    Raises:
        StudyError: where the worker has other code than whoever asks.
    """
    if code_version() != code:
        raise StudyError(
            f"a worker has scratchnet {code_version()}, the study {code}. Install the same there"
        )
    return run(cell)


def run_cells(
    client: Any, archive: Archive, cells: list[Cell], run: RunCell, progress: ProgressListener
) -> dict[str, str]:
    """Run cells and keep their rows as they come; for each that failed, by its key, why.

    Raises:
        StudyError: where the scheduler was lost and did not come back.
    """
    from distributed import as_completed

    code, waiting = code_version(), iter(cells)
    asked: dict[str, Cell] = {}
    failed: dict[str, str] = {}
    results, window, written = as_completed(with_results=True), _Window(client), -math.inf

    def ask(cell: Cell) -> None:
        future = client.submit(checked, run, cell, code, key=cell.key, retries=RETRIES)
        asked[future.key] = cell
        results.add(future)

    for cell in itertools.islice(waiting, window.size()):
        ask(cell)
    for batch in results.batches():
        time.sleep(max(0.0, written + EVERY - time.monotonic()))
        batch += results.next_batch(block=False)
        rows = []
        for future, result in batch:
            cell = asked.pop(future.key)
            if future.status == "finished":
                rows.append(result)
                progress.advance()
            elif future.status == "error":
                failed[cell.key] = f"{cell}: {type(result[1]).__name__}: {result[1]}"
                progress.now(f"{len(failed)} failed")
                progress.advance()
            else:
                _wait_for_scheduler(client)
                progress.now("the scheduler was lost and is back")
                ask(cell)
        if rows:
            archive.add(rows)
            written = time.monotonic()
        del batch, future, result, rows  # else the client keeps what is done
        for cell in itertools.islice(waiting, max(0, window.size() - len(asked))):
            ask(cell)
    return failed


class _Window:
    """How many cells may be in flight: workers come and go, so they are counted now and then."""

    EVERY = 5.0

    def __init__(self, client: Any):
        self.client, self.known, self.asked = client, 1, -math.inf

    def size(self) -> int:
        if time.monotonic() - self.asked > self.EVERY:
            self.asked = time.monotonic()
            with suppress(OSError):  # lost for the moment
                self.known = max(1, sum(self.client.nthreads().values()))
        return AHEAD * self.known


def _wait_for_scheduler(client: Any) -> None:
    """Wait until the client, which looks for its scheduler by itself, has found it again."""
    end = time.monotonic() + PATIENCE
    while client.status == "connecting" and time.monotonic() < end:
        time.sleep(0.1)
    if client.status != "running":
        raise StudyError(
            "the scheduler was lost and did not come back. Start it, and go on: the same command "
            "runs only what is missing"
        )
