"""`python -m tests.fuzz`: every reader of files against damaged and hostile ones.

For each reader a process of its own takes inputs one by one: good files of the reader's corpus,
damaged by `mutations.py`, and those made by hand (`tests/hostile.py`). Only the reader's own errors
may come back, in messages that do nothing to a terminal, within a second of its time and 200 MB
over the file's size. An input is made from the seed and its number alone, so a finding can be made
again: `python -m tests.fuzz model --seed 0 --only 1234`. What was found is written into `--out`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.fuzz.mutations import blind
from tests.fuzz.readers import READERS, Files, Reader, warm, write

SECONDS = 1.0
"""Of processor time for one input."""
PATIENCE = 30.0
"""Seconds without a sign of life after which a process is ended: it hangs."""
BYTES = 200_000_000
ROOF = 6 * 2**30
"""A process may address so much more than at its start, so that it fails before the machine."""


class Finding(NamedTuple):
    reader: str
    number: int
    what: str
    files: Files


def make(reader: Reader, corpus: list[Files], made: list[Files], seed: int, number: int) -> Files:
    """Input `number`: first the hand-made files, then damaged ones."""
    if number < len(made):
        return made[number]
    rng = np.random.default_rng([seed, number])
    files = dict(corpus[int(rng.integers(len(corpus)))])
    names = sorted(reader.damaged or files)
    name = names[int(rng.integers(len(names)))]
    change = next((m for end, m in reader.mutate.items() if name.endswith(end)), blind)
    for _ in range(int(rng.integers(1, 3))):
        files[name] = change(files[name], rng)
    return files


def status(name: str) -> int:
    """A number of bytes that Linux keeps about this process, such as VmHWM."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split(f"{name}:")[1].split()[0])


def judge(reader: Reader, files: Files, folder: Path) -> tuple[str, str]:
    """What became of one input, "taken" or "refused", and what is wrong with that, or ""."""
    write(folder, files)
    size = sum(len(data) for data in files.values())
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    memory, peak, start = status("VmRSS"), status("VmPeak"), time.process_time()
    outcome, wrong = "taken", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder)
    except reader.errors as error:
        outcome = "refused"
        if not str(error).isprintable():
            wrong = f"a message that moves the cursor: {str(error)!r}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        wrong = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
    spent = time.process_time() - start
    if spent > SECONDS:
        wrong = wrong or f"{spent:.1f} s"
    used = max(status("VmHWM") - memory, status("VmPeak") - peak)
    if used > BYTES + size:
        wrong = wrong or f"{used / 1e6:.0f} MB for {size} bytes"
    left = {path.name for path in folder.iterdir()} - files.keys()
    if left:
        wrong = wrong or f"left {', '.join(sorted(left))} behind"
    for path in folder.iterdir():
        path.unlink()
    return outcome, wrong


def work(name: str, seed: int, numbers: range, line: Connection) -> None:
    """In a process of its own: say which input is next, then what became of it."""
    reader = READERS[name]
    warm(reader)
    corpus, made = reader.corpus(), reader.hand_made()
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + ROOF,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    line.send(("ready", 0))
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            line.send(("next", number))
            line.send(judge(reader, make(reader, corpus, made, seed, number), Path(folder)))
    line.send(("done", 0))


class Tally:
    """One reader's inputs so far."""

    def __init__(self, name: str):
        self.name, self.outcomes, self.findings = name, Counter[str](), list[Finding]()

    def add(self, number: int, seed: int, what: str) -> None:
        reader = READERS[self.name]
        files = make(reader, reader.corpus(), reader.hand_made(), seed, number)
        self.findings.append(Finding(self.name, number, what, files))


def supervise(tally: Tally, seed: int, numbers: range) -> None:
    """Run the inputs in other processes: a new one after each that died or had to be ended."""
    context = multiprocessing.get_context("fork")
    while numbers:
        line, other = context.Pipe()
        process = context.Process(target=work, args=(tally.name, seed, numbers, other), daemon=True)
        process.start()
        other.close()
        number, dead, ready = numbers.start, "", False
        while True:
            try:
                if not line.poll(PATIENCE if ready else 20 * PATIENCE):
                    dead = f"no sign of life for {PATIENCE:.0f} s"
                    break
                word, what = line.recv()
            except EOFError:
                process.join()
                code = process.exitcode or 0
                dead = f"the process ended with {signal.Signals(-code).name if code < 0 else code}"
                break
            if word == "done":
                break
            if word == "next":
                number = what
            elif word == "ready":
                ready = True
            else:
                tally.outcomes[word] += 1
                if what:
                    tally.add(number, seed, what)
        process.kill()
        process.join()
        if not ready:
            raise RuntimeError(f"{tally.name}: {dead} before the first input")
        if not dead:
            return
        tally.add(number, seed, dead)
        numbers = range(number + 1, numbers.stop)


def keep(finding: Finding, seed: int, out: Path) -> None:
    place = out / f"{finding.reader}-{seed}-{finding.number}"
    place.mkdir(parents=True, exist_ok=True)
    write(place, finding.files)
    about = {"what": finding.what, "reader": finding.reader, "seed": seed, "number": finding.number}
    (place / "finding.json").write_text(json.dumps(about, indent=1))


def fuzz(name: str, seed: int, numbers: range, out: Path | None) -> Tally:
    tally, start = Tally(name), time.monotonic()
    supervise(tally, seed, numbers)
    for finding in tally.findings:
        if out is not None:
            keep(finding, seed, out)
    total = sum(tally.outcomes.values())
    print(
        f"{name:8} {total:8,} inputs: {tally.outcomes['refused']:,} refused, "
        f"{tally.outcomes['taken']:,} taken, {len(tally.findings):,} findings, "
        f"{time.monotonic() - start:.0f} s",
        flush=True,
    )
    for finding in tally.findings[:20]:
        print(f"         {finding.number}: {finding.what[:300]!r}", flush=True)
    return tally


def arguments(given: list[str] | None = None) -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("readers", nargs="*", help=", ".join(READERS))
    parser.add_argument("--inputs", type=int, default=300, help="for each reader (300)")
    parser.add_argument("--hours", type=float, help="go on so long, with a new seed each round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this input alone")
    parser.add_argument("--out", type=Path, help="a folder for what is found")
    chosen = parser.parse_args(given)
    unknown = set(chosen.readers) - READERS.keys()
    if unknown:
        parser.error(f"no reader {', '.join(unknown)}: expected some of {', '.join(READERS)}")
    return chosen


def main(given: list[str] | None = None) -> int:
    chosen = arguments(given)
    numbers = range(chosen.inputs) if chosen.only is None else range(chosen.only, chosen.only + 1)
    end = time.monotonic() + 3600 * (chosen.hours or 0)
    found, seed = 0, chosen.seed
    while True:
        for name in chosen.readers or READERS:
            found += len(fuzz(name, seed, numbers, chosen.out).findings)
        seed += 1
        if time.monotonic() >= end:
            return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
