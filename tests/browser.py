"""A headless Chromium without a network, and what any page of ours must pass in it.

A test module says `pytest_plugins = ["browser"]` and takes the fixture `visit`; a page that was
visited is asked what left it, what overflows, what Tab can't reach and what is too pale to read.
The answers are lists of offenders, so that a failing test names them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import absent

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LOCAL = ("file:", "data:", "blob:", "about:")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser; a module's own, since Playwright's loop would be in the way of anyone else's."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("no Playwright, so no page was opened")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        absent("no Chromium, so no page was opened")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, tmp_path) -> Iterator[Callable[..., Visit]]:
    """`visit(path or html, width=1280, scheme="light")`: the page, loaded, with the network off."""
    with contextlib.ExitStack() as opened:

        def go(what: Path | str, width: int = 1280, scheme: str = "light", **options: Any) -> Visit:
            if isinstance(what, str):
                name = f"page-{len(list(tmp_path.glob('page-*.html')))}.html"
                (tmp_path / name).write_text(what, encoding="utf-8")
                what = tmp_path / name
            size = {"width": width, "height": 900}
            context = chromium.new_context(viewport=size, color_scheme=scheme, **options)
            opened.callback(context.close)
            context.set_offline(True)
            seen = Visit(context.new_page())
            seen.listen()
            seen.page.goto(what.absolute().as_uri())
            return seen

        yield go


@dataclass
class Visit:
    """A page that is open, and what it did so far.

    Attributes:
        left: addresses that it asked for beyond its own file: a self-contained page has none.
        errors: errors on the console and exceptions that nobody caught.
    """

    page: Any
    left: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def listen(self) -> None:
        def answer(route: Any) -> None:
            if route.request.url.startswith(LOCAL):
                route.continue_()
            else:
                self.left.append(route.request.url)
                route.abort()

        self.page.route("**/*", answer)
        self.page.on("websocket", lambda socket: self.left.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda said: self.errors.append(said.text) if said.type == "error" else None,
        )

    def open_details(self) -> None:
        """Unfold all that is folded, so that it is looked at too."""
        self.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    def overflowing(self) -> list[str]:
        """What sticks out at the right of the window, beyond any box that scrolls."""
        return self.page.evaluate(OVERFLOWING)

    def clipped(self) -> list[str]:
        """What is cut: cells wider inside than out, text that a box hides, text beyond its SVG."""
        return self.page.evaluate(CLIPPED)

    def unreachable(self) -> list[str]:
        """What can be used, or scrolls, and Tab never comes to, or comes to without a sign."""
        self.page.evaluate(MARK_INTERACTIVE)
        number = self.page.locator("[data-tab]").count()
        for _ in range(number + 3):
            self.page.keyboard.press("Tab")
            self.page.evaluate(MARK_FOCUSED)
        return self.page.evaluate(NOT_REACHED)

    def pale(self) -> list[str]:
        """Every visible text whose contrast is below WCAG's AA: 4.5, or 3 where it is large."""
        return self.page.evaluate(PALE)

    def faults(self) -> dict[str, list[str]]:
        """All of the above, unfolded; only what is not empty."""
        self.open_details()
        found = {
            "left": self.left,
            "errors": self.errors,
            "overflowing": self.overflowing(),
            "pale": self.pale(),
            "unreachable": self.unreachable(),
        }
        return {name: offenders for name, offenders in found.items() if offenders}


NAMED = """
const named = el => `<${el.localName}${el.id && '#' + el.id}> ${
  (el.textContent || '').trim().replace(/\\s+/g, ' ').slice(0, 40)}`;
const scrolls = el => ['auto', 'scroll'].includes(getComputedStyle(el).overflowX);
"""

OVERFLOWING = f"""() => {{ {NAMED}
  const wide = document.documentElement.clientWidth + 1;
  if (document.scrollingElement.scrollWidth <= wide) return [];
  const out = [...document.querySelectorAll('body *')].filter(el => {{
    for (let up = el.parentElement; up; up = up.parentElement) if (scrolls(up)) return false;
    return el.getBoundingClientRect().right > wide;
  }}).map(named);
  return out.length ? out : [`the page is ${{document.scrollingElement.scrollWidth}} px wide`];
}}"""

CLIPPED = f"""() => {{ {NAMED}
  const hides = el => ['hidden', 'clip'].includes(getComputedStyle(el).overflowX);
  const cut = el => {{
    if (el.matches('.hidden') || el.clientWidth === 0 || !el.checkVisibility()) return false;
    return el.scrollWidth > el.clientWidth + 1 && (el.matches('td, th') || hides(el));
  }};
  const beyond = text => {{
    const [inner, outer] = [text, text.ownerSVGElement].map(el => el.getBoundingClientRect());
    return inner.width > 0 && (inner.left < outer.left - 1 || inner.right > outer.right + 1);
  }};
  return [...[...document.querySelectorAll('body *')].filter(cut),
    ...[...document.querySelectorAll('svg text')].filter(beyond)].map(named);
}}"""

MARK_INTERACTIVE = """() => {
  const usable = 'a[href], button, input, select, textarea, summary, [contenteditable], '
    + '[tabindex]:not([tabindex="-1"])';
  const moved = ['tablist', 'radiogroup', 'toolbar', 'grid', 'listbox', 'tree', 'menu']
    .map(role => `[role=${role}]`).join();  // arrow keys move within these
  for (const el of document.querySelectorAll('body *')) {
    const roving = el.getAttribute('tabindex') === '-1' && el.closest(moved);
    const used = el.matches(usable) && !el.disabled && !roving;
    const over = el.scrollWidth > el.clientWidth + 1 && el.clientWidth > 0
      && ['auto', 'scroll'].includes(getComputedStyle(el).overflowX);
    if ((used || over) && el.checkVisibility({visibilityProperty: true})) el.dataset.tab = 'no';
    if (over && el.tabIndex < 0) el.dataset.tab = 'scrolls, but has no tabindex';
  }
}"""

MARK_FOCUSED = """() => {
  const el = document.activeElement, style = getComputedStyle(el);
  if (!el.dataset.tab || el.dataset.tab.startsWith('scrolls')) return;
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  el.dataset.tab = ring || style.boxShadow !== 'none' ? 'yes' : 'focused without a ring';
  const group = el.type === 'radio' && `input[type=radio][name="${el.name}"]`;
  if (group) document.querySelectorAll(group).forEach(o => { o.dataset.tab = el.dataset.tab; });
}"""

NOT_REACHED = f"""() => {{ {NAMED}
  return [...document.querySelectorAll('[data-tab]')].filter(el => el.dataset.tab !== 'yes')
    .map(el => `${{named(el)}} (${{el.dataset.tab}})`);
}}"""

PALE = f"""() => {{ {NAMED}
  const pen = document.createElement('canvas').getContext('2d', {{willReadFrequently: true}});
  const rgba = text => {{
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = '#000'; pen.fillStyle = text;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  }};
  const over = (top, below) =>
    [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = rgb => rgb.slice(0, 3)
    .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (el, box) => {{
    const layers = [];
    const at = el.ownerSVGElement
      ? document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2) : [];
    for (const shape of at)
      if (shape.ownerSVGElement === el.ownerSVGElement && !shape.closest('text')
          && shape.getBBox && getComputedStyle(shape).fill !== 'none')
        layers.push(rgba(getComputedStyle(shape).fill));
    for (let up = el; up; up = up.parentElement)
      layers.push(rgba(getComputedStyle(up).backgroundColor));
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    return layers.reduceRight((below, top) => over(top, below), dark ? [18, 18, 18, 1]
      : [255, 255, 255, 1]);
  }};
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {{
    const node = walker.currentNode, el = node.parentElement, style = getComputedStyle(el);
    const shown = el.checkVisibility({{visibilityProperty: true, opacityProperty: true}});
    if (!node.data.trim() || !shown || el.closest('script, style, .hidden, .skip')) continue;
    if (el.ownerSVGElement) el.scrollIntoView({{block: 'center'}});
    const range = document.createRange(); range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    const below = ground(el, box);
    let opacity = 1;
    for (let up = el; up; up = up.parentElement) opacity *= getComputedStyle(up).opacity;
    const ink = rgba(el.ownerSVGElement ? style.fill : style.color);
    const top = over([ink[0], ink[1], ink[2], ink[3] * opacity], below);
    const [a, b] = [light(top), light(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), bold = parseInt(style.fontWeight) >= 700;
    const large = size >= 24 || (bold && size >= 18.66);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5))
      found.push(`${{named(el)}}: ${{ratio.toFixed(2)}} on rgb(${{below.slice(0, 3)}})`);
  }}
  return [...new Set(found)];
}}"""
