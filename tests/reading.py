"""What a reader of the core meets: the files of the reading order and all they import.

`python -m tests.reading` prints each file with its lines of code and rewrites the table in
`docs/reading.md`.
Lines are counted as a line counter counts them: blank lines, comments and docstrings are none.
What a function imports late is left out: that is the compiled engine, loaded when it is chosen.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import typer

from scratchnet.app import markers

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "scratchnet"
PAGE = ROOT / "docs" / "reading.md"
BUDGET = 1_255
"""Lines that can be read in an evening."""

SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
SILENT |= {tokenize.ENCODING, tokenize.ENDMARKER}


def code_lines(source: str) -> int:
    """Lines with code on them; a string that stands by itself documents what is above it.

    >>> code_lines('x = 1  # one\\n\\n# a comment\\n"Says what x is."\\ny = [\\n    2,\\n]\\n')
    4
    """
    strings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    blank = {n for n, line in enumerate(source.splitlines(), 1) if not line.strip()}
    return len(lines - strings - blank)


def file_of(module: str) -> Path | None:
    """The file of a module of ours, or None where the name is no module."""
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if module.split(".")[0] == PACKAGE.name and file.exists():
            return file
    return None


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Those that run when a module is imported, under `if` and `try` too, but in no function."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from statements(
                [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
            )


def imported(file: Path) -> Iterator[Path]:
    """The files of ours that a file imports; a name of a module stands for its file."""
    for node in statements(ast.parse(file.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found = [file_of(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found = [file_of(f"{module}.{alias.name}") or file_of(module) for alias in node.names]
        else:
            continue
        yield from filter(None, found)


def named(page: str) -> list[Path]:
    """The files of the page's numbered list, in its order."""
    items = re.findall(r"^\d+\. .*$", page, re.MULTILINE)
    names = re.findall(r"`(?:scratchnet/)?([\w/]+\.py)`", "\n".join(items))
    return [PACKAGE / name for name in names]


def met(page: str) -> dict[Path, str]:
    """The named files, then whatever they import and those import in turn; and why each is met."""
    reasons = dict.fromkeys(named(page), "in the list")
    files = list(reasons)
    for file in files:  # grows as it goes
        for found in sorted(set(imported(file)) - reasons.keys()):
            reasons[found] = f"imported by `{file.relative_to(PACKAGE)}`"
            files.append(found)
    return reasons


def table(page: str) -> str:
    """The page's sentence and rows."""
    reasons = met(page)
    counts = {file: code_lines(file.read_text(encoding="utf-8")) for file in reasons}
    listed = set(named(page))
    whole, core = sum(counts.values()), sum(counts[file] for file in listed)
    rows = ["| file | lines of code | met |", "| --- | ---: | --- |"]
    rows += [
        f"| `{file.relative_to(ROOT)}` | {counts[file]} | {reason} |"
        for file, reason in reasons.items()
    ]
    sentence = (
        f"An evening: {whole:,} lines of code, {core:,} of them in the {len(listed)} files of the "
        f"list and {whole - core:,} in the {len(reasons) - len(listed)} that those import."
    )
    return "\n".join([sentence, "", *rows, f"| together | {whole:,} | |"])


def main() -> None:
    """Count what a reader of the core meets, and rewrite the page's table."""
    block = table(PAGE.read_text(encoding="utf-8"))
    typer.echo(block)
    markers.rewrite(PAGE, "reading", block)


if __name__ == "__main__":
    typer.run(main)
