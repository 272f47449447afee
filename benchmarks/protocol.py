"""The harness's end of a peer's process: start it, ask it, end it.

A request and its answer are one JSON line each. A peer that is missing, refuses, crashes, hangs or
answers nonsense raises `LeftOut`, with a reason fit for a table; the run goes on without it.
Processes stay alive between their turns, so that rounds can be interleaved; how busy they were
meanwhile is kept in `idle`. `peer_server.py` is the other end.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class LeftOut(Exception):  # noqa: N818 (it is an outcome, and named in tables)
    """A peer that can't take part, and why."""

    def __init__(self, name: str, kind: str, reason: str):
        super().__init__(f"{name} {kind}: {reason}")
        self.name, self.kind, self.reason = name, kind, reason


class Process:
    """A peer that is alive.

    Args:
        peer: the name of a file in `peers/`.
        cpus: keep it on so many processors, and tell its libraries; None leaves it as called.
        environment: further variables.
        command: started in place of the peer's server, for tests.

    Attributes:
        hello: what it said first: versions, adam, head, differs; and `import_seconds` from its
            start until then.
        idle: seconds it waited for requests, and CPU seconds that it used meanwhile.
    """

    def __init__(
        self,
        peer: str,
        folder: Path,
        cpus: int | None = None,
        environment: Mapping[str, str] | None = None,
        command: list[str] | None = None,
        timeout: float = 300,
    ):
        self.peer, self.idle = peer, [0.0, 0.0]
        words = command or [sys.executable, "-m", "benchmarks.peer_server", peer]
        words = words + ([] if cpus is None else [str(cpus)])
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | dict(environment or {})
        if cpus is not None:
            settings |= dict.fromkeys(THREADS, str(cpus))
        began = time.perf_counter()
        self.log = folder / f"{peer}-{time.monotonic_ns()}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=settings,
            )
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.hello = self._next(timeout)
        self.hello["import_seconds"] = time.perf_counter() - began

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def ask(self, do: str, timeout: float = 900, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer; raises `LeftOut`."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has died: what it left behind is read below
        answer = self._next(timeout)
        self.idle[0] += answer.pop("waited_seconds", 0.0)
        self.idle[1] += answer.pop("busy_seconds", 0.0)
        return answer

    def _next(self, timeout: float) -> dict[str, Any]:
        try:
            line = self.answers.get(timeout=timeout)
            answer: dict[str, Any] = json.loads(line)
        except queue.Empty:
            self.process.kill()
            self.close()
            raise LeftOut(self.peer, "hangs", f"no answer in {timeout:g} s") from None
        except json.JSONDecodeError:
            self.close()
            raise LeftOut(self.peer, "crashed", self._last_words()) from None
        if "failed" in answer:
            raise LeftOut(self.peer, answer["failed"], answer["reason"])
        return answer

    def _last_words(self) -> str:
        code = self.process.returncode
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"exit code {code}" + (f", {lines[-1].strip()[:200]}" if lines else "")

    @property
    def busy_share(self) -> float:
        """CPU seconds used for each second that it had nothing to do."""
        return self.idle[1] / self.idle[0] if self.idle[0] else 0.0

    def close(self) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
