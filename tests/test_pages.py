"""What every page of ours holds: nothing leaves it, values are escaped, anyone can use it."""

from __future__ import annotations

import jinja2
import pytest

from scratchnet.app import pages

pytest_plugins = ["browser"]

BODY = """{% extends "base.html" %}
{% block style %}{{ style | safe }}{% endblock %}
{% block main %}{{ body | safe }}{% endblock %}"""

HOLY = """<h2>A section</h2><p class="soft">Soft words and <a href="#main">a link</a>.</p>
<p class="verdict good">Good.</p><p class="verdict bad">Bad.</p><p class="verdict">Calm.</p>
<div class="wide" tabindex="0" role="region" aria-label="a table"><table><caption>Numbers</caption>
<tr>{}</tr></table></div><button>Press</button> <button disabled>Not now</button>
<input aria-label="a"><label><input type="radio" name="r"> 1</label>
<label><input type="radio" name="r"> 2</label>
<figure><svg viewBox="0 0 9 9"><text y="5" style="fill: var(--ink)">s</text></svg>
<figcaption>A caption</figcaption><details><summary>As a table</summary><p>1</p></details></figure>
""".format("<td>1,234,567</td>" * 30)


def page(body: str = HOLY, style: str = "") -> str:
    template = pages.jinja_environment().from_string(BODY)
    return template.render(title="A page", body=body, style=style)


# --- text -----------------------------------------------------------------------------------------


def test_values_are_escaped_in_text_attributes_and_scripts():
    harm = "</script><script>alert(1)</script>\"'"
    made = pages.render("base.html", title=harm, command=["scratchnet", harm])
    assert "<script>" not in made
    template = pages.jinja_environment().from_string("<script>const x = {{ x | tojson }};</script>")
    assert template.render(x=harm).count("</script>") == 1


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="title"):
        pages.render("base.html")


def test_the_same_values_make_the_same_page():
    assert page() == page() and pages.render("base.html", title="a") != page()


def test_only_files_of_the_folder_that_can_stand_in_an_element_are_set_in(monkeypatch):
    with pytest.raises(ValueError, match=r"no\.css.*no such file"):
        pages.inline("no.css")
    monkeypatch.setattr(pages, "read_template", lambda name: "p { content: '</STYLE>' }")
    with pytest.raises(ValueError, match="holds </style"):
        pages.inline("style.css")


# --- in a browser without a network ---------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_the_bare_page_is_readable_and_usable(visit, width, scheme):
    assert visit(page(), width, scheme).faults() == {}


def test_the_skip_link_comes_first_and_leads_to_the_content(visit):
    seen = visit(page())
    seen.page.keyboard.press("Tab")
    assert seen.page.evaluate("document.activeElement.className") == "skip"
    assert seen.page.locator(".skip").bounding_box()["y"] >= 0
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("document.activeElement.id") == "main"


def test_nothing_moves_for_those_who_asked_for_rest(visit):
    seen = visit(page(style="p { transition: color 9s }"), reduced_motion="reduce")
    assert seen.page.evaluate(
        "getComputedStyle(document.querySelector('p')).transitionDuration"
    ) == ("0s")


@pytest.mark.parametrize(
    ("fault", "body", "style"),
    [
        ("errors", "<img src='https://example.org/a.png' alt=''>", ""),
        ("errors", "<script>fetch('https://example.org/')</script>", ""),
        ("errors", "<script>missing()</script>", ""),
        ("errors", "<script src='https://example.org/a.js'></script>", ""),
        ("errors", "<iframe src='https://example.org/'></iframe>", ""),
        ("overflowing", "<div style='width: 2000px'>far</div>", ""),
        ("unreachable", "<button tabindex='-1'>no</button><a href='#' tabindex='-1'>no</a>", ""),
        ("unreachable", "<button>ringless</button>", "button { outline: none !important }"),
        ("unreachable", "<div class='wide'><div style='width: 9999px'>w</div></div>", ""),
        ("pale", "<p>pale</p>", "p { color: #999 }"),
        ("pale", "<p style='opacity: 0.5'>pale</p>", ""),
        ("pale", "<details><summary>s</summary><p style='color: #aaa'>folded</p></details>", ""),
        (
            "pale",
            "<svg viewBox='0 0 99 9'><rect width='99' height='9' fill='#333'/>"
            "<text y='8' fill='#000'>on a shape</text></svg>",
            "",
        ),
    ],
)
def test_the_checks_find_what_they_look_for(visit, fault, body, style):
    assert fault in visit(page(body, style)).faults()


def test_without_its_policy_a_page_that_asks_for_more_is_caught_asking(visit):
    seen = visit("<!doctype html><img src='https://example.org/a.png'>")
    assert seen.left == ["https://example.org/a.png"]
