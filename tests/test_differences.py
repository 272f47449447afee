"""The page of deliberate differences is what its tables say, and each line has a test."""

from __future__ import annotations

import ast

import pytest

from tests import differences
from tests.keras_own import scope


def test_the_page_is_what_the_tables_say():
    assert differences.PAGE.read_text() == differences.page(), "run python -m tests.differences"


@pytest.mark.parametrize("what", differences.OTHERS)
def test_each_line_names_a_test_that_is_there(what):
    file, _, name = differences.OTHERS[what].partition("::")
    tree = ast.parse((differences.ROOT / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("form", scope.DIFFERENCES)
def test_each_difference_is_of_a_file_that_is_run(form):
    assert form.partition("::")[0] in scope.FILES
