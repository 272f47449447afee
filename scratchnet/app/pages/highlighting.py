"""Lines of Python as HTML."""

from __future__ import annotations

from typing import Any

from scratchnet.app.tracing import Source


def highlighted(source: Source) -> list[tuple[int, str, Any]]:
    """Number, kind and HTML of each line."""
    from markupsafe import Markup
    from pygments import formatters, highlight, lexers

    text = "\n".join(line.text for line in source.lines)
    drawn = highlight(
        text, lexers.PythonLexer(stripnl=False), formatters.HtmlFormatter(nowrap=True)
    ).split("\n")
    return [
        (line.number, line.kind, Markup(html))
        for line, html in zip(source.lines, drawn, strict=False)
    ]
