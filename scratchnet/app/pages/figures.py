"""Pictures that stand inside a page: matplotlib's as SVG in the page's own colours, images as PNG.

A drawing made with the colours of `plots.py` gets the page's variables in their place, so that it
is dark on light, light on dark and black on paper like the rest; its words stay words. The same
figure gives the same text.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE = (4.4, 3.3)
"""Inches, 72 points each: as wide as a telephone, so that words are as large as they are drawn."""

COLOURS = {
    "#0072b2": "blue",
    "#e69f00": "orange",
    "#009e73": "green",
    "#d55e00": "red",
    "#cc79a7": "pink",
    "#56b4e9": "sky",
    "#8c8c8c": "soft",
    "#222222": "ink",
    "#000000": "ink",
    "#e5e5e5": "grid",
}
"""What `plots.py` draws with, and the variable of `style.css` that stands for it."""


@contextmanager
def canvas(size: tuple[float, float] = FIGURE) -> Iterator[Figure]:
    """A new figure of `size` inches; what is drawn within looks the same whatever its user set."""
    from matplotlib import style
    from matplotlib.figure import Figure

    plain = {
        "svg.fonttype": "none",
        "path.simplify_threshold": 0.5,
        "legend.fontsize": 9,
        "axes.labelsize": 10,
    }
    with style.context(["default", plain]):
        yield Figure(figsize=size, layout="constrained")


def svg(figure: Figure, alt: str) -> Any:
    """A figure of `canvas` for a page, under the name `alt` for those who can't see it."""
    import matplotlib
    from markupsafe import Markup, escape

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": alt}):
        figure.savefig(file, format="svg", transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)[\")]", text))
    text = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
    for colour, name in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    box = re.findall(r'viewBox="([^"]*)"', text)[0]
    head = f'<svg role="img" aria-label="{escape(alt)}" viewBox="{box}">'
    return Markup(re.sub(r"\n\s*", "\n", head + text[text.index(">") + 1 :]))


def grey_png(image: Any) -> str:
    """An image (H, W) with values from 0, white, to 255, black, as an address for `<img src>`."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(255 - np.asarray(image, np.uint8)).save(file, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
