"""`check` on code in a dozen styles: right code passes, every planted slip is caught."""

from __future__ import annotations

import re
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from scratchnet.testing import LawError, SubjectError, check
from tests.subjects.load import load, styles
from tests.subjects.slips import SLIPS

PAGE = Path(__file__).parents[1] / "docs" / "test_your_gradients.md"
RIGHT = [(style, call) for style in styles() for call in load(style).CALLS]
PLANTED = [(style, *slip) for style, slips in SLIPS.items() for slip in slips]


def test_there_are_enough_of_them():
    assert len(styles()) >= 12 and len(RIGHT) >= 60 and len(PLANTED) >= 120
    assert {style for style, *_ in PLANTED} == set(styles())


@pytest.mark.parametrize(("style", "call"), RIGHT)
def test_right_code_passes(style, call):
    load(style).CALLS[call]()


@pytest.mark.parametrize(("style", "call", "old", "new", "name"), PLANTED)
def test_a_planted_slip_is_caught_and_never_called_by_a_wrong_name(style, call, old, new, name):
    with pytest.raises(LawError) as caught:
        load(style, old, new).CALLS[call]()
    assert caught.value.bug in (None, name)
    assert len(str(caught.value).splitlines()) < 15


def test_most_slips_are_named():
    """Of the museum's own kinds nearly all; the others have names that no museum knows."""
    named = 0
    for style, call, old, new, name in PLANTED:
        if name:
            try:
                load(style, old, new).CALLS[call]()
            except LawError as error:
                named += error.bug == name
    assert named >= 60


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
