"""`python -m tests.mutation`: mutate, run, report; goes on where it was interrupted."""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from scratchnet.app import markers

from . import report, suite
from .rules import RULES, reason

FILES = (
    "engines/reference.py",
    "activations.py",
    "initializers.py",
    "layers.py",
    "losses/loss.py",
    "losses/dense_targets.py",
    "objective.py",
    "optimizers.py",
    "model.py",
)
"""The core, all of it."""
FOLDER = Path(tempfile.gettempdir(), "scratchnet-mutation")
console = Console(stderr=True)


def prepare(folder: Path, fresh: bool) -> Any:
    """A copy of the tree and a session for it, with earlier verdicts on code that is the same."""
    from cosmic_ray.commands.init import init
    from cosmic_ray.work_db import WorkDB
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    tree, known = folder / "tree", folder / "fingerprints.json"
    suite.copy(tree)
    session = WorkDB(folder / "session.sqlite", WorkDB.Mode.create)
    before = json.loads(known.read_text()) if known.exists() and not fresh else {}
    now = {name: fingerprint(tree / "scratchnet" / name) for name in FILES}
    verdicts = dict(session.results)
    kept = {
        identity(item): verdicts[item.job_id]
        for item in session.work_items
        if item.job_id in verdicts
    }
    init([tree / "scratchnet" / name for name in FILES], session, {})
    left_out: dict[str, list[str]] = {rule: [] for rule in RULES}
    for item in session.work_items:
        (mutation,) = item.mutations
        source = mutation.module_path.read_text()
        rule = reason(source, mutation.operator_name, mutation.start_pos)
        name, *_ = key = identity(item)
        if rule is not None:
            left_out[rule].append(item.job_id)
        elif before.get(name) == now[name] and key in kept:
            session.set_result(item.job_id, kept[key])
    for rule, jobs in left_out.items():
        session.set_multiple_results(jobs, WorkResult(WorkerOutcome.SKIPPED, rule))
    known.write_text(json.dumps(now))
    return session


def identity(item: Any) -> tuple[str, str, str, int]:
    """Which mutant it is, whatever lines it stands in."""
    (mutation,) = item.mutations
    name = mutation.module_path.as_posix().rsplit("/scratchnet/")[-1]
    arguments = json.dumps(mutation.operator_args)
    return name, mutation.operator_name, arguments, mutation.occurrence


def fingerprint(path: Path) -> str:
    """Of a file's code; a docstring or a comment may change without any mutant changing."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not is_text(part)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def is_text(node: ast.AST) -> bool:
    """Whether a statement is a string and nothing else."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def execute(session: Any, tree: Path, again: bool) -> None:
    """Every mutant that has no verdict yet; with `again`, unexplained survivors as well."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    results = dict(session.results)

    def is_due(item: Any) -> bool:
        found = results.get(item.job_id)
        if found is None or not again or found.test_outcome != TestOutcome.SURVIVED:
            return found is None
        return report.why(identity(item)[0], *json.loads(found.diff)) is None

    waiting = [item for item in session.work_items if is_due(item)]
    for place, item in enumerate(waiting, 1):
        (mutation,) = item.mutations
        operator = get_operator(mutation.operator_name)(**mutation.operator_args)
        with use_mutation(mutation.module_path, operator, mutation.occurrence) as (before, after):
            outcome = suite.run(tree)
        verdict = TestOutcome.SURVIVED if outcome.kind == "passed" else TestOutcome.KILLED
        diff = json.dumps(changed(before, after))
        session.set_result(
            item.job_id,
            WorkResult(WorkerOutcome.NORMAL, json.dumps(outcome._asdict()), verdict, diff),
        )
        where = f"{mutation.module_path.name}:{mutation.start_pos[0]}"
        console.print(
            f"{place}/{len(waiting)} {where} {verdict.value} {outcome.test}", soft_wrap=True
        )


def changed(before: str, after: str) -> tuple[str, str]:
    """The line before and after."""
    diff = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    removed, added = ([line[2:].strip() for line in diff if line[0] == side] for side in "-+")
    return " ".join(removed), " ".join(added)


def main(
    folder: Annotated[Path, typer.Option(help="Where the copy and the session are kept.")] = FOLDER,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier verdicts.")] = False,
    survivors: Annotated[
        bool, typer.Option("--survivors", help="Run unexplained survivors once more.")
    ] = False,
    only_suite: Annotated[
        bool, typer.Option("--suite", help="Run the suite without a mutant, and no more.")
    ] = False,
    readme: Annotated[bool, typer.Option(help="Rewrite the table in docs/proof.md.")] = True,
) -> None:
    """Mutation testing of the core; status 1 if a survivor is not explained or the score is low."""
    if find_spec("cosmic_ray") is None:
        raise typer.BadParameter("cosmic-ray is missing: pip install 'cosmic-ray>=8.3,<9'")
    folder.mkdir(parents=True, exist_ok=True)
    session = prepare(folder, fresh)
    passed, seconds = suite.cold(folder / "tree")
    typer.echo((folder / "tree" / "said.txt").read_text())
    console.print(f"the suite without a mutant, interpreter and all: {seconds:.1f} s of CPU")
    if only_suite or not passed:
        raise typer.Exit(0 if passed else 1)
    suite.preload()
    execute(session, folder / "tree", survivors)
    found = report.collect(session, FILES, seconds)
    report.RESULT.write_text(json.dumps(found, indent=1) + "\n")
    typer.echo(report.table(found))
    if readme:
        markers.rewrite(suite.ROOT / "docs" / "proof.md", "mutation", report.table(found))
    wrong = report.faults(found)
    for fault in wrong:
        console.print(fault, markup=False, soft_wrap=True)
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
