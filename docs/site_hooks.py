"""What the site shows of the course: equations, pictures of shapes and solutions of its table."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from scratchnet.app.course import shapes, writing
from scratchnet.app.course.exercises import EXERCISES, Exercise

MARKER = "<!-- exercises -->"

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")
"""A link to a file of the repository that is no page of the site."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """For MkDocs, of each page: the marker becomes the exercises, and links stay on the site."""
    markdown = OUTSIDE.sub(r"`\1`", markdown)
    if MARKER not in markdown:
        return markdown
    return markdown.replace(MARKER, "\n\n".join(map(section, EXERCISES.values())))


def section(exercise: Exercise) -> str:
    """An exercise as Markdown."""
    drawn = [shapes.picture(equation) for equation in shapes.PICTURES.get(exercise.name, ())]
    pictures = "\n\n".join(drawn)
    equation = textwrap.dedent(f"    {exercise.equation}")
    return "\n\n".join(
        [
            f"## `{exercise.name}`",
            f"{exercise.law[0].upper()}{exercise.law[1:]}.",
            f"```text\n{equation}\n```",
            *([f"```text\n{pictures}\n```"] if drawn else []),
            f"**Think.** {exercise.think}",
            f"**What people get wrong.** {exercise.mistake}",
            f"<details markdown><summary>The solution</summary>\n\n```python\n"
            f"{writing.solution(exercise).strip()}\n```\n\n</details>",
        ]
    )
