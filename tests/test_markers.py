"""A block between marks is replaced and nothing else is; where a mark lacks nothing is written."""

from __future__ import annotations

import pytest

from scratchnet.app import markers


def test_only_what_stands_between_the_marks_is_rewritten(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y:1 -->\n<!-- /y -->\n")
    for _ in range(2):
        markers.rewrite(page, "x", "rows")
        markers.rewrite(page, "y:1", "é")
    text = page.read_text(encoding="utf-8")
    assert text == "a\n<!-- x -->\nrows\n<!-- /x -->\nb\n<!-- y:1 -->\né\n<!-- /y -->\n"
    assert markers.between(text, "x") == "rows" and markers.between(text, "y:1") == "é"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", r"0 lines '<!-- x -->': expected exactly one\. Put it where the table"),
        ("<!-- x --> <!-- x --> <!-- /x -->", "2 lines '<!-- x -->'"),
        ("<!-- x -->\n", "no '<!-- /x -->' after '<!-- x -->'.*Put it on a line below"),
        ("<!-- /x -->\n<!-- x -->\n", "no '<!-- /x -->' after"),
        ("<!-- x -->\n<!-- y -->\n<!-- /x -->\n", "no '<!-- /x -->' after"),
    ],
)
def test_a_missing_mark_is_an_error_with_its_remedy(tmp_path, text, message):
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=message):
        markers.rewrite(page, "x", "rows")
    assert page.read_text() == text
