"""Tables in the README and other pages: each between two marks, rewritten by what measured it.

A block NAME begins with `<!-- NAME -->` and ends with `<!-- /NAME -->`; of `KIND:NAME` the end
repeats the kind alone. Everything outside the marks stays as it is, and nothing is written unless
both are found.
"""

from __future__ import annotations

from pathlib import Path

from scratchnet import atomic


def opening(name: str) -> str:
    return f"<!-- {name} -->"


def closing(name: str) -> str:
    return f"<!-- /{name.partition(':')[0]} -->"


def _cut(text: str, name: str) -> tuple[str, str, str]:
    """What stands before the opening mark, between the marks, and behind the closing one."""
    start, end = opening(name), closing(name)
    if text.count(start) != 1:
        raise ValueError(
            f"{text.count(start)} lines {start!r}: expected exactly one. Put it where the table "
            f"belongs, and {end!r} on a line below it."
        )
    head, rest = text.split(start)
    body, found, tail = rest.partition(end)
    if not found or "<!-- " in body:
        raise ValueError(f"no {end!r} after {start!r}: expected one. Put it on a line below.")
    return head, body, tail


def between(text: str, name: str) -> str:
    """The block of that name, without its marks.

    >>> between("before <!-- x -->rows<!-- /x --> after", "x")
    'rows'
    """
    return _cut(text, name)[1].strip()


def replaced(text: str, name: str, block: str) -> str:
    """The text with another block between the marks of that name.

    Raises:
        ValueError: where a mark is missing or stands twice.

    >>> print(replaced("before <!-- x:1 -->...<!-- /x --> after", "x:1", "new"))
    before <!-- x:1 -->
    new
    <!-- /x --> after
    """
    head, _, tail = _cut(text, name)
    return f"{head}{opening(name)}\n{block}\n{closing(name)}{tail}"


def rewrite(page: Path, name: str, block: str) -> None:
    """Put the block between the marks of that name in a page."""
    text = replaced(page.read_text(encoding="utf-8"), name, block)
    atomic.write(page, text)
