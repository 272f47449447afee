"""The report: JSON for the record, a table for docs/proof.md, both from one session.

A survivor is looked up in `survivors.py`; one without a reason there, or a reason without its
survivor, is a fault of this repository and makes the command fail.
"""

from __future__ import annotations

import json
from collections import Counter
from importlib.metadata import version
from typing import Any

from . import suite
from .rules import RULES
from .survivors import KNOWN

RESULT = suite.ROOT / "benchmarks" / "results" / "mutation.json"
ENOUGH = 0.95


def collect(session: Any, files: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """A session's verdicts as plain data; `seconds` is what the suite takes without a mutant."""
    results = dict(session.results)
    counts: dict[str, Counter[str]] = {name: Counter() for name in files}
    left_out: Counter[str] = Counter()
    killers: Counter[str] = Counter()
    survivors = []
    for item in session.work_items:
        (mutation,) = item.mutations
        name = mutation.module_path.as_posix().rsplit("/scratchnet/")[-1]
        found = results.get(item.job_id)
        if found is None:
            counts[name]["waiting"] += 1
        elif found.test_outcome is None:
            left_out[found.output] += 1
        else:
            counts[name][found.test_outcome.value] += 1
            killers[json.loads(found.output)["test"].split("::")[0]] += 1
        if found is not None and found.test_outcome == "survived":
            before, after = json.loads(found.diff)
            survivor = {"file": name, "line": mutation.start_pos[0], "before": before}
            survivors.append(survivor | {"after": after, "reason": why(name, before, after)})
    survivors.sort(key=lambda one: (files.index(one["file"]), one["line"], one["after"]))
    del killers[""]
    return {
        "tool": f"cosmic-ray {version('cosmic-ray')}",
        "suite": [*suite.TESTS, *suite.DOCTESTS],
        "seconds of CPU": round(seconds, 1),
        "left out": {
            rule: {"mutants": left_out[rule], "why": text} for rule, text in RULES.items()
        },
        "files": {name: dict(counted) for name, counted in counts.items()},
        "killed by": dict(killers.most_common()),
        "survivors": survivors,
    }


def why(file: str, before: str, after: str) -> str | None:
    """The reason why a mutant may live, or None."""
    reasons = (known.reason for known in KNOWN if known.explains(file, before, after))
    return next(reasons, None)


def faults(found: dict[str, Any]) -> list[str]:
    """What keeps this report from being good."""
    wrong = [
        f"{one['file']}:{one['line']} survives: {one['before']} -> {one['after']}"
        for one in found["survivors"]
        if one["reason"] is None
    ]
    wrong += [
        f"survivors.py explains a mutant that does not survive: {known.file}: {known.after}"
        for known in KNOWN
        if not any(
            known.explains(one["file"], one["before"], one["after"]) for one in found["survivors"]
        )
    ]
    waiting = sum(counts.get("waiting", 0) for counts in found["files"].values())
    wrong += [f"{waiting} mutants were not run"] if waiting else []
    share = score(found)
    return wrong + ([f"score {share:.1%}, expected {ENOUGH:.0%}"] if share < ENOUGH else [])


def score(found: dict[str, Any]) -> float:
    """Killed mutants as a share of those that were run, explained survivors counting against it."""
    counts = found["files"].values()
    killed, survived = (sum(c.get(kind, 0) for c in counts) for kind in ("killed", "survived"))
    return killed / max(killed + survived, 1)


def table(found: dict[str, Any]) -> str:
    """The rows of the table."""
    rows = ["| file | mutants | killed | survive |", "| --- | --- | --- | --- |"]
    totals = Counter[str]()
    for name, counts in found["files"].items():
        totals += Counter(counts)
        rows.append(_row(f"`scratchnet/{name}`", counts))
    rows.append(_row("together", totals))
    left_out = sum(rule["mutants"] for rule in found["left out"].values())
    explained = sum(one["reason"] is not None for one in found["survivors"])
    survivors = len(found["survivors"])
    rows += [
        "",
        f"{explained} of {survivors} survivors are explained one by one in "
        f"`benchmarks/results/mutation.json`. {left_out} mutants were left out by rules: "
        + ", ".join(f"{rule['mutants']} {name}" for name, rule in found["left out"].items())
        + f". {found['tool']}; the suite takes {found['seconds of CPU']} s.",
    ]
    return "\n".join(rows)


def _row(name: str, counts: Any) -> str:
    killed, survived = counts.get("killed", 0), counts.get("survived", 0)
    run = killed + survived
    share = f"{killed / run:.1%}" if run else ""
    return f"| {name} | {run} | {killed} ({share}) | {survived} |"
