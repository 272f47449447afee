"""No page cuts a number or a word off, at any width that a screen may have, light or dark."""

from __future__ import annotations

import pytest
from test_report import beside_another, finished

from scratchnet import datasets
from scratchnet.app import run_folder, run_training
from scratchnet.app.anatomy import dissect
from scratchnet.app.pages import anatomy_page, drawing_page

pytest_plugins = ["browser"]

WIDTHS = range(320, 1601, 20)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Each page of ours, as a file."""
    base = tmp_path_factory.mktemp("pages")
    trained = finished(base / "train", "train", run_training.train_solo)
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    run = run_folder.read_run(trained)
    told = dissect(run, ((x[:400], y[:400]), (x_test[:200], y_test[:200])))
    texts = {"explain": anatomy_page.html(told), "draw": drawing_page.html(run)}
    for name, text in texts.items():
        (base / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: base / f"{name}.html" for name in texts} | {
        "train": trained / "report.html",
        "compare": finished(base / "compare", "compare", beside_another) / "report.html",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["explain", "draw", "train", "compare"])
def test_nothing_is_clipped_at_any_width(made, visit, name, scheme):
    seen, found = visit(made[name], WIDTHS[0], scheme), {}
    seen.open_details()
    for width in WIDTHS:
        seen.page.set_viewport_size({"width": width, "height": 900})
        if clipped := seen.clipped():
            found[width] = clipped
    assert {width: (len(them), them[:3]) for width, them in found.items()} == {}


def test_what_is_clipped_is_counted(visit):
    seen = visit("""<table style="table-layout: fixed; width: 60px; white-space: nowrap">
<tr><td>12345678901234567890</td><td style="overflow: hidden">1.234567e-05</td>
<td>1</td></tr></table>
<div style="overflow: auto; width: 60px"><p style="width: 200px">scrolls</p></div>
<div style="overflow: hidden; width: 60px; white-space: nowrap">A caption that is too long</div>
<svg width="40" height="20"><text x="20" y="10">beyond its side</text></svg>""")
    assert [word.split("> ")[1][:8] for word in seen.clipped()] == [
        "12345678",
        "1.234567",
        "A captio",
        "beyond i",
    ]
