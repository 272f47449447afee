"""`check` on code in fourteen styles: right code passes, every planted slip is caught."""

from __future__ import annotations

import re
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from scratchnet.testing import LawError, SubjectError, check
from tests.subjects import held_out_slips
from tests.subjects.load import load, styles
from tests.subjects.slips import SLIPS

PAGE = Path(__file__).parents[1] / "docs" / "test_your_gradients.md"
FOLDERS = {"styles": SLIPS, "held_out": held_out_slips.SLIPS}
RIGHT = [
    (folder, style, call)
    for folder in FOLDERS
    for style in styles(folder)
    for call in load(style, folder=folder).CALLS
]
PLANTED = [
    (folder, style, *slip)
    for folder, planted in FOLDERS.items()
    for style, slips in planted.items()
    for slip in slips
]


def test_there_are_enough_of_them():
    assert len(styles()) >= 12
    for folder, planted in FOLDERS.items():
        assert set(planted) == set(styles(folder))
        assert sum(where == folder for where, *_ in RIGHT) >= 58
        assert sum(where == folder for where, *_ in PLANTED) >= 120


@pytest.mark.parametrize(("folder", "style", "call"), RIGHT)
def test_right_code_passes(folder, style, call):
    load(style, folder=folder).CALLS[call]()


NAMED: dict[tuple[str, str], bool] = {}


@pytest.mark.parametrize(("folder", "style", "call", "old", "new", "name"), PLANTED)
def test_a_slip_is_caught_and_never_called_by_a_wrong_name(folder, style, call, old, new, name):
    with pytest.raises(LawError) as caught:
        load(style, old, new, folder).CALLS[call]()
    assert caught.value.bug in (None, name)
    assert len(str(caught.value).splitlines()) < 15
    NAMED[style + call, new] = caught.value.bug is not None


def test_most_of_the_slips_that_ran_are_named():
    """The others have names that no museum knows, or two bugs that nobody can tell apart."""
    assert sum(NAMED.values()) >= 0.45 * len(NAMED)


# --- the page -------------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def as_modules(monkeypatch):
    """The styles' files as modules of their own, as the page imports them."""
    for style in styles():
        monkeypatch.setitem(sys.modules, style, load(style))


@pytest.mark.parametrize("block", blocks("python"))
def test_every_block_of_the_page_runs(block, as_modules, tmp_path):
    path = tmp_path / "block.py"
    path.write_text(block)
    runpy.run_path(str(path), {"check": check, "np": np})


def shown(mark: str) -> str:
    return PAGE.read_text().split(f"<!-- {mark} -->\n```text\n")[1].split("```")[0].rstrip("\n")


def test_the_page_shows_what_is_really_printed():
    assert str(check(load("joelnet").Linear, (4, 3))) == shown("passed")
    spoiled = load("joelnet", "np.sum(grad, axis=0)", "np.mean(grad, axis=0)")
    with pytest.raises(LawError) as caught:
        check(spoiled.Linear, (4, 3))
    assert str(caught.value) == shown("failed")


def test_the_page_shows_what_is_said_where_nothing_is_found():
    class Scaled:
        def __init__(self):
            self.w, self.slope_of_w = np.ones(3), None

        def forward(self, x):
            self.x = x
            return x * self.w

        def backward(self, dy):
            self.slope_of_w = np.sum(dy * self.x, axis=0)
            return dy * self.w

    with pytest.raises(SubjectError) as caught:
        check(Scaled(), (4, 3))
    assert str(caught.value) == shown("not found")
    check(Scaled(), (4, 3), grads="slope_of_{}")


def test_a_slip_must_be_planted_to_be_tested():
    with pytest.raises(AssertionError):
        load("joelnet", "no such text", "anything")
    assert isinstance(load("joelnet"), types.ModuleType)
