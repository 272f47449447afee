"""The mutation command's own rules and report; the kept report is good and the README shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mutation import report, rules, suite, survivors

from scratchnet.app import markers

ROOT = Path(__file__).parents[1]
SOURCE = '''from __future__ import annotations


def half(x: int | None, *, most: "é | int" = 1) -> float | None:
    """2 | 3"""
    y: list[int] | None = [x % 2]
    if x < 0 - most:
        raise ValueError(x - 1 | most)
    return -x / 2 if y is not None else None
'''


def test_annotations_are_told_from_code():
    lines = SOURCE.splitlines()
    found = sorted(
        lines[line - 1][start:stop] for (line, start), (_, stop) in rules.annotations(SOURCE)
    )
    assert found == ['"é | int"', "float | None", "int | None", "list[int] | None"]


def at(text):
    """Where a text stands in the source, as (line, column)."""
    before = SOURCE[: SOURCE.index(text)]
    return before.count("\n") + 1, len(before) - before.rfind("\n") - 1


@pytest.mark.parametrize(
    ("operator", "where", "rule"),
    [
        ("ReplaceBinaryOperator_BitOr_Add", "| None, *", "annotation"),
        ("NumberReplacer", "1) ->", None),
        ("ReplaceBinaryOperator_BitOr_BitAnd", "| most", None),
        ("ReplaceBinaryOperator_Sub_Add", "- most", None),
        ("ReplaceBinaryOperator_Sub_BitXor", "- most", "bits"),
        ("ReplaceBinaryOperator_BitAnd_Add", "- most", "bits"),
        ("ReplaceBinaryOperator_BitAnd_BitOr", "- most", None),
        ("ReplaceBinaryOperator_BitAnd_LShift", "- most", "bits"),
        ("ReplaceUnaryOperator_USub_Invert", "-x / 2", "bits"),
        ("ReplaceUnaryOperator_USub_UAdd", "-x / 2", "twice"),
        ("ReplaceUnaryOperator_USub_Not", "-x / 2", None),
        ("ReplaceUnaryOperator_Delete_USub", "-x / 2", None),
        ("ReplaceComparisonOperator_Lt_Is", "< 0", "identity"),
        ("ReplaceComparisonOperator_Lt_LtE", "< 0", None),
        ("ReplaceComparisonOperator_IsNot_Is", "is not None", None),
        ("NumberReplacer", "2]", None),
    ],
)
def test_which_mutants_are_left_out(operator, where, rule):
    assert rules.reason(SOURCE, f"core/{operator}", at(where)) == rule
    assert rule is None or rule in rules.RULES


def test_a_survivor_is_explained_by_its_own_change_only():
    known = survivors.Survivor("layers.py", "(len(X), -1)", "(len(X), -2)", "the same")
    line = "return X.reshape(len(X), -1), X.shape"
    assert known.explains("layers.py", line, "return X.reshape(len(X), - 2), X.shape")
    assert not known.explains("losses/loss.py", line, "return X.reshape(len(X), - 2), X.shape")
    assert not known.explains("layers.py", line, "return X.reshape(len(X), 1), X.shape")
    assert not known.explains("layers.py", "x", "y")


def made(killed=99, survived=1, reason="the same", **others):
    """A small report."""
    counts = {"killed": killed, "survived": survived, **others}
    one = {"file": "layers.py", "line": 3, "before": "a", "after": "b", "reason": reason}
    return {
        "tool": "cosmic-ray 0",
        "seconds of CPU": 2.5,
        "left out": {"bits": {"mutants": 7, "why": ""}},
        "files": {"layers.py": counts},
        "survivors": [one] * survived,
    }


@pytest.fixture
def one_known(monkeypatch):
    known = survivors.Survivor("layers.py", "a", "b", "the same")
    monkeypatch.setattr(report, "KNOWN", (known,))


@pytest.mark.usefixtures("one_known")
def test_a_report_is_good_or_says_why_not():
    assert report.faults(made()) == []
    assert report.faults(made(reason=None)) == ["layers.py:3 survives: a -> b"]
    assert report.faults(made(94, 6)) == ["score 94.0%, expected 95%"]
    assert report.faults(made(waiting=2)) == ["2 mutants were not run"]
    (unanswered,) = report.faults(made(100, 0))
    assert unanswered.startswith("survivors.py explains a mutant that does not survive")


def test_the_table_adds_up():
    rows = report.table(made()).splitlines()
    assert rows[2] == "| `scratchnet/layers.py` | 100 | 99 (99.0%) | 1 |"
    assert rows[3] == "| together | 100 | 99 (99.0%) | 1 |"
    assert rows[-1].startswith("1 of 1 survivors are explained") and "7 bits" in rows[-1]


KEPT = {name: chosen for name, chosen in suite.SUITES.items() if chosen.result.exists()}


def test_the_cores_report_is_kept():
    assert "core" in KEPT


@pytest.mark.parametrize("chosen", KEPT.values(), ids=KEPT)
def test_the_kept_report_is_good(chosen):
    found = json.loads(chosen.result.read_text())
    assert report.faults(found) == []
    for name in (*chosen.tests, *chosen.doctests):
        assert (ROOT / name).exists()


@pytest.mark.parametrize("chosen", suite.SUITES.values(), ids=suite.SUITES)
def test_the_page_shows_the_kept_report(chosen):
    shown = markers.between((ROOT / "docs" / "proof.md").read_text(), chosen.block)
    kept = (
        report.table(json.loads(chosen.result.read_text())).strip() if chosen.name in KEPT else ""
    )
    assert shown == kept


def test_the_suite_passes_and_notices_a_mutant_without_tensorflow_or_a_compiler(tmp_path):
    suite.copy(tmp_path)
    assert suite.cold(tmp_path, suite.CORE)[0], (tmp_path / "said.txt").read_text()
    path = tmp_path / "scratchnet" / "engines" / "reference.py"
    right, wrong = "np.sum(dZ, axis=0, out=db)", "np.sum(dZ, axis=1, out=db)"
    assert path.read_text().count(right) == 1
    path.write_text(path.read_text().replace(right, wrong))
    assert not suite.cold(tmp_path, suite.CORE)[0]
    assert "FAILED" in (tmp_path / "said.txt").read_text()
