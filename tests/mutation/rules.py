"""Which mutants are not run, by rules that are written down here and counted in the report.

Each rule makes the score harder to reach or leaves it as it is: what is left out would be killed by
the first test that reaches it, or could not be noticed by any test.
"""

from __future__ import annotations

import ast
from functools import cache

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow", "USub", "UAdd", "Not"}
BITWISE = {"RShift", "LShift", "BitOr", "BitAnd", "BitXor", "Invert"}

RULES = {
    "annotation": "in a type annotation, which is never evaluated",
    "prefetch": "in what only asks for memory ahead of time: no number depends on it",
    "bits": "an arithmetic operator for one on bits or the reverse: a TypeError wherever it is met",
    "twice": "+x for -x: the same as x for -x, which is run",
    "identity": "`is` for `==` and the like: with Python's interned constants mostly the same",
}

Span = tuple[tuple[int, int], tuple[int, int]]


def reason(source: str, operator: str, start: tuple[int, int]) -> str | None:
    """The rule by which a mutant at (line, column) is not run, or None.

    >>> reason("def f(x: int | None): pass", "core/ReplaceBinaryOperator_BitOr_BitAnd", (1, 13))
    'annotation'
    >>> reason("y = 2 * x", "core/ReplaceBinaryOperator_Mul_LShift", (1, 6))
    'bits'
    >>> reason("y = 2 * x", "core/ReplaceBinaryOperator_Mul_Div", (1, 6)) is None
    True
    """
    for rule, spans in (("annotation", annotations(source)), ("prefetch", prefetches(source))):
        if any(first <= start < last for first, last in spans):
            return rule
    kind, *words = operator.split("/")[1].split("_")
    if kind == "ReplaceComparisonOperator" and words[1] in ("Is", "IsNot"):
        return None if words[0] in ("Is", "IsNot") else "identity"
    if words == ["USub", "UAdd"]:
        return "twice"
    if kind == "ReplaceBinaryOperator" or kind == "ReplaceUnaryOperator":
        sides = [word in BITWISE for word in words if word in ARITHMETIC | BITWISE]
        if len(set(sides)) > 1 or any(word in ("RShift", "LShift") for word in words):
            return "bits"
    return None


@cache
def annotations(source: str) -> tuple[Span, ...]:
    """The annotations, as (line, column) from and to."""
    lines, tree = source.splitlines(), ast.parse(source)
    fields = (getattr(n, name, None) for n in ast.walk(tree) for name in ("annotation", "returns"))
    return tuple(place(field, lines) for field in fields if isinstance(field, ast.expr))


@cache
def prefetches(source: str) -> tuple[Span, ...]:
    """The body of the function that prefetches a batch, and its calls."""
    lines, name = source.splitlines(), "prefetch_batch"
    found: list[ast.expr | ast.stmt] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            found += node.body
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += [node] if node.func.id == name else []
    return tuple(place(node, lines) for node in found)


def place(node: ast.expr | ast.stmt, lines: list[str]) -> Span:
    """Where a node stands, in characters: `ast` counts bytes."""

    def column(line: int, offset: int) -> int:
        return len(lines[line - 1].encode()[:offset].decode())

    first, last = node.lineno, node.end_lineno or node.lineno
    return (
        (first, column(first, node.col_offset)),
        (last, column(last, node.end_col_offset or 0)),
    )
