"""Pages that need nobody else: a template and its values in, one self-contained HTML file out.

Templates, styles and scripts come from this folder; styles and scripts are set into the page, and
its Content-Security-Policy forbids every request, so that a page opens from a disk, a mail or a
talk without network, and shows what it was given and nothing else. Values are escaped, and a value
that a template misses is an error. Look at `base.html` next, which every page extends.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

CLOSING = re.compile(r"</(style|script)|<!--", re.IGNORECASE)
"""What would end, or derange, the element that a style or script stands in."""


def render(template: str, **context: Any) -> str:
    """The page that a template of this folder makes of `context`; same values, same text.

    A template extends `base.html`, which wants `title`, and shows `command` (a list of arguments)
    and `environment` (`environment.jinja_environment()`) where they are not None. In templates
    `inline("name.css")` is a file's text, and `value | tojson` hands data to a script.

    Raises:
        jinja2.UndefinedError: where the template names what `context` has not.

    >>> page = render("base.html", title="1 < 2", command=["scratchnet", "report"])
    >>> "<title>1 &lt; 2</title>" in page, "scratchnet report" in page
    (True, True)
    """
    text = jinja_environment().get_template(template).render(**context)
    # A file's name may hold bytes that are no text: they are shown as Python escapes them.
    return text.encode("utf-8", "backslashreplace").decode()


@functools.cache
def jinja_environment() -> Environment:
    """Jinja2 over this folder: everything escaped, nothing undefined."""
    import shlex

    import jinja2

    import scratchnet

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(read_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals |= {"inline": inline, "version": scratchnet.__version__}
    made.filters["shell"] = shlex.join
    return made


def read_template(name: str) -> str | None:
    """The text of a file of this folder, None where there is none of that name."""
    place = resources.files(__name__) / name
    return place.read_text(encoding="utf-8") if place.is_file() else None


def inline(name: str) -> Any:
    """A style or script as it stands, for `<style>` and `<script>`.

    Raises:
        ValueError: where it is missing, or would end the element that it stands in.
    """
    from markupsafe import Markup

    text = read_template(name)
    if text is None or CLOSING.search(text):
        why = "there is no such file" if text is None else "it holds </style, </script or <!--"
        raise ValueError(f"inline({name!r}): {why}. Expected a file that can stand in an element.")
    return Markup(text)
