"""The rooms of gradcheck and testing import downwards only, and share no name.

All imports count, those inside functions and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from scratchnet.engines import reference
from scratchnet.testing import exact

ROOT = Path(__file__).parents[1]
ROOMS = ("scratchnet/gradcheck", "scratchnet/testing")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for room in ROOMS
    for path in (ROOT / room).rglob("*.py")
}


def imports(source: str) -> set[str]:
    """The modules of these rooms that a file imports, inside functions and TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & FILES.keys() or {node.module}
    return found & FILES.keys()


def test_no_circle():
    graph = {name: imports(path.read_text()) - {name} for name, path in FILES.items()}
    order = list(TopologicalSorter(graph).static_order())  # a CycleError names the circle
    assert set(order) >= FILES.keys()


def test_an_import_inside_a_function_is_seen():
    late = "def f():\n    from scratchnet.testing.museum import BUGS\n"
    assert imports(late) == {"scratchnet.testing.museum"}


def test_gradcheck_knows_nothing_of_ours():
    for name, path in FILES.items():
        if name.startswith("scratchnet.gradcheck"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("scratchnet"):
                    assert node.module.startswith("scratchnet.gradcheck"), name


def test_a_public_class_has_its_name_to_itself():
    classes = Counter(
        node.name
        for path in FILES.values()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in classes.items() if times > 1] == []


@pytest.mark.parametrize(
    ("own", "registry"),
    [
        (exact.ACTIVATIONS, reference.ENGINE.activations),
        (exact.LOSSES, reference.ENGINE.losses),
    ],
    ids=["activations", "losses"],
)
def test_the_exact_oracle_knows_every_name_of_the_registries(own, registry):
    assert set(own) == set(registry)
