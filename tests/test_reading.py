"""The evening's reading is counted truly: the page's table is today's, and it is an evening's."""

from __future__ import annotations

import pytest
from reading import BUDGET, PACKAGE, PAGE, code_lines, imported, met, named, table

from scratchnet.app import markers


def test_the_page_shows_todays_count():
    page = PAGE.read_text(encoding="utf-8")
    assert markers.between(page, "reading") == table(page), "run python -m tests.reading"


def test_it_can_be_read_in_an_evening():
    lines = sum(code_lines(f.read_text()) for f in met(PAGE.read_text(encoding="utf-8")))
    assert lines < BUDGET


def test_the_list_begins_with_the_contract_and_ends_with_the_model():
    files = named(PAGE.read_text(encoding="utf-8"))
    assert files[0] == PACKAGE / "engines" / "contract.py" and files[-1] == PACKAGE / "model.py"
    assert all(file.exists() for file in files) and len(files) == len(set(files))


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", 0),
        ("\n\n# a comment\n", 0),
        ('"""A module."""\n', 0),
        ('x = 1\n"""Says what\n\nx is."""\n', 1),
        ('def f():\n    """Does."""\n    return 1  # one\n', 2),
        (
            'class C:\n    """A class.\n\n    # more\n    """\n\n    y: int\n    """1."""\n',
            2,
        ),
        ("x = [\n    # of two\n    1,\n\n    2,\n]\n", 4),
        ('text = """\n# no comment\n\n"""\n', 3),
        ("if x: pass\nelse: pass\n", 2),
    ],
)
def test_lines_are_counted_as_a_line_counter_does(source, lines):
    assert code_lines(source) == lines


def test_an_import_counts_under_if_and_try_and_in_no_function(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        "import scratchnet.model\n"
        "from scratchnet import losses, Sequential\n"
        "from scratchnet.engines import Array\n"
        "import numpy\n"
        "if x:\n    try:\n        from scratchnet.layers import Dense\n    finally:\n        0\n"
        "class C:\n    from scratchnet import metrics\n"
        "def f():\n    from scratchnet import callbacks\n"
    )
    names = ("model", "losses/__init__", "__init__", "engines/__init__", "layers/__init__")
    names += ("metrics/__init__",)
    assert set(imported(file)) == {PACKAGE / f"{name}.py" for name in names}
