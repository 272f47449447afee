"""`scratchnet doctor`: whether this machine has what is needed, and what to do where it has not.

Each check gives one `Finding`; nothing is changed, installed or fetched.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

import scratchnet.app.cli.options as options
from scratchnet.app import DISTRIBUTION, environment
from scratchnet.app.cli.errors import DIFFERS
from scratchnet.app.cli.screen import busy, new_console, print_line
from scratchnet.app.text import to_json
from scratchnet.untrusted import printable

EXAMPLES = """**Examples**

- `scratchnet doctor`
- `scratchnet doctor --json > doctor.json`: to send along with a question

**Exit status**

- 0: everything required is there; optional parts may be missing.
- 1: something required is missing.
"""

FINE, OPTIONAL, LACKING = "ok", "optional", "MISSING"
STYLES = {FINE: "green", OPTIONAL: "yellow", LACKING: "bold red"}
PURPOSES = {
    "keras": "to compare with Keras",
    "test": "to run the tests",
    "mutation": "to test the tests",
    "bench": "to time PyTorch and JAX too",
}


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it stands, what was found, and the command or step that helps."""

    what: str
    status: str
    found: str
    remedy: str = ""


def doctor(as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Versions, processor, threads, caches, data: what is there, and what installs the rest."""
    with busy("Looking ...", quiet):
        findings = [*packages(), *processor(), *compiled_engine(), *data_sets()]
    lacking = [finding for finding in findings if finding.status == LACKING]
    if as_json:
        told = {"ok": not lacking, "findings": [asdict(finding) for finding in findings]}
        typer.echo(to_json({**told, "environment": environment.environment()}), nl=False)
    else:
        _print_findings(findings, lacking, quiet)
    if lacking:
        raise typer.Exit(DIFFERS)


def packages() -> Iterator[Finding]:
    """Python, then each package as `pyproject.toml` asks for it."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    about = metadata.metadata(DISTRIBUTION)
    wanted, version = SpecifierSet(about["Requires-Python"]), platform.python_version()
    fits = wanted.contains(version, prereleases=True)
    remedy = "" if fits else f"Install a Python {wanted}, and scratchnet into that"
    yield Finding("Python", FINE if fits else LACKING, f"{version} ({sys.executable})", remedy)

    asked = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    needed = [r for r in asked if r.marker is None or r.marker.evaluate({"extra": ""})]
    bad = [r for r in needed if not _satisfied(r)]
    yield Finding(
        "packages",
        LACKING if bad else FINE,
        ", ".join(map(_state, bad or needed)),
        install_command(*(f"{r.name}{r.specifier}" for r in bad)) if bad else "",
    )
    for extra, purpose in PURPOSES.items():
        group = [r for r in asked if extra in _extras_of(r) and r not in needed]
        if not group:  # an older installation than these sources
            continue
        bad = [r for r in group if not _satisfied(r)]
        yield Finding(
            f"[{extra}]",
            OPTIONAL if bad else FINE,
            f"{', '.join(map(_state, bad or group))} ({purpose})",
            install_command(*(f"{r.name}{r.specifier}" for r in bad)) if bad else "",
        )


def _extras_of(requirement: Any) -> set[str]:
    """The extras that ask for a package."""
    marker = requirement.marker
    return {extra for extra in PURPOSES if marker and marker.evaluate({"extra": extra})}


def _satisfied(requirement: Any) -> bool:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    return bool(requirement.specifier.contains(version, prereleases=True))


def _state(requirement: Any) -> str:
    """A package and its version, and what is wrong with that."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"no {requirement.name}"
    fits = "" if _satisfied(requirement) else f" (wanted {requirement.specifier})"
    return f"{requirement.name} {version}{fits}"


def install_command(*requirements: str) -> str:
    """The command that installs packages for the Python that runs this."""
    python = shlex.quote(sys.executable)
    named = " ".join(map(shlex.quote, requirements))
    if importlib.util.find_spec("pip"):
        return f"{python} -m pip install {named}"
    return f"uv pip install --python {python} {named}"


def processor() -> Iterator[Finding]:
    """The processor, how much of it this process may use, and what computes products."""
    from threadpoolctl import threadpool_info

    from scratchnet.engines import compiled

    yield Finding("processor", FINE, f"{environment.cpu_model()}, {os.cpu_count()} cores")
    usable = getattr(os, "sched_getaffinity", None)
    bounds = [f"{len(usable(0))} by affinity"] if usable else []
    bounds += [f"NUMBA_NUM_THREADS={n}" for n in [os.environ.get("NUMBA_NUM_THREADS")] if n]
    bounds += [f"cgroup {limit}" for limit in [_cgroup_limit()] if limit]
    threads = 1 if compiled.unavailable() else compiled.ENGINE.fused.threads_allowed()
    yield Finding("threads", FINE, f"{threads} to use ({', '.join(bounds)})")
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    told = (f"{pool['internal_api']} {pool['version']}" for pool in blas)
    yield Finding("BLAS", FINE, f"{', '.join(told) or 'unknown'}; 1 thread in fit")


def _cgroup_limit() -> str | None:
    """Processors that a container may use, where it has a limit: `1.5`."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return f"{int(quota) / int(period):g}"
    except (OSError, ValueError):  # no such limit
        return None


def compiled_engine() -> Iterator[Finding]:
    """Whether the compiled engine can run, and where Numba keeps what it compiled."""
    from scratchnet.engines import compiled

    reason = compiled.unavailable()
    if reason:
        slow = f"{reason} The reference engine does the same, some ten times slower."
        yield Finding(
            "engine", OPTIONAL, slow, install_command("numba") if "install" in reason else ""
        )
        return
    yield Finding("engine", FINE, "compiled")
    place = compiled.ENGINE.fused.cache_folder()
    damaged = compiled.ENGINE.fused.cache_damage()
    if damaged:
        told = "; ".join(f"{Path(path).name} {what}" for path, what in damaged.items())
        found = f"{place}, damaged, so that the next training compiles anew: {told}"
        yield Finding("Numba's cache", OPTIONAL, found, f"rm -rf {shlex.join(damaged)}")
    elif place and os.access(place, os.W_OK):
        kept = compiled.ENGINE.fused.compiled_before()
        state = "compiled before" if kept else "nothing yet: the first training compiles"
        yield Finding("Numba's cache", FINE, f"{place}, {state}")
    else:
        yield Finding(
            "Numba's cache",
            OPTIONAL,
            f"{place or 'none'}: can't be written, so each process compiles anew",
            "export NUMBA_CACHE_DIR=~/.cache/numba",
        )


def data_sets() -> Iterator[Finding]:
    """Where MNIST is, and whether it could be kept."""
    from scratchnet.datasets import DatasetError, mnist

    try:
        origin = mnist.find()
    except DatasetError as error:
        yield Finding("MNIST", LACKING, f"{error.file}: {error.finding}", error.remedy)
        return
    if origin.path:
        yield Finding("MNIST", FINE, f"{origin.path} ({origin.place})")
        return
    folder = Path(mnist.our_cache())
    yield Finding("MNIST", OPTIONAL, "not on this machine", "scratchnet data --fetch")
    parent = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(parent, os.W_OK):
        found = f"{folder} can't be written, so nothing can be fetched"
        yield Finding("data cache", OPTIONAL, found, "export SCRATCHNET_CACHE=a folder of yours")


def _print_findings(findings: list[Finding], lacking: list[Finding], quiet: bool) -> None:
    """A line for each finding, its remedy below, where it can be copied whole."""
    from rich.table import Table
    from rich.text import Text

    console = new_console()
    if not quiet:
        table = Table.grid(padding=(0, 2))
        for _ in range(3):
            table.add_column(overflow="fold")
        for finding in findings:
            status = Text(finding.status, STYLES[finding.status])
            table.add_row(status, Text(finding.what), Text(printable(finding.found)))
        console.print(table)
    helps = [finding for finding in findings if finding.remedy]
    for finding in lacking if quiet else helps:
        console.print(f"\n{finding.what}: {finding.status}. To mend that:", markup=False)
        print_line(f"  {finding.remedy}", console)
    verdict = "All that is needed is there."
    if lacking:
        verdict = f"Required and missing: {', '.join(finding.what for finding in lacking)}."
    console.print(("" if quiet else "\n") + verdict, style="bold red" if lacking else "bold green")
