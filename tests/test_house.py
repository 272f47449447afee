"""The house rules that a machine can hold: who may import whom, and how long things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "scratchnet").rglob("*.py"))
CORE = [
    "engines/reference.py",
    "initializers.py",
    "activations.py",
    "layers.py",
    "losses.py",
    "optimizers.py",
    "objective.py",
    "model.py",
]
"""What a learner reads in one evening."""

FORBIDDEN = {
    # room -> packages of ours that it must not know
    "engines": {
        "config",
        "utils",
        "support",
        "layers",
        "losses",
        "model",
        "sequential",
        "datasets",
    },
    "datasets": {
        "config",
        "utils",
        "support",
        "engines",
        "layers",
        "losses",
        "model",
        "sequential",
    },
    "gradcheck": {
        "config",
        "utils",
        "support",
        "engines",
        "layers",
        "losses",
        "model",
        "sequential",
    },
    "plots.py": {
        "config",
        "utils",
        "support",
        "engines",
        "layers",
        "losses",
        "model",
        "sequential",
    },
    "app/pages/__init__.py": {"sequential", "plots"},
    "app/pages/drawing.py": {"sequential"},
    "app/images.py": {
        "config",
        "utils",
        "support",
        "engines",
        "layers",
        "losses",
        "model",
        "sequential",
        "runs",
    },
    "saving.py": {"layers", "losses", "model", "sequential", "models"},
    "layers.py": {"model", "sequential", "models", "callbacks", "optimizers", "objective"},
    "losses.py": {"model", "sequential", "models", "callbacks", "optimizers", "layers"},
    "optimizers.py": {"model", "sequential", "models", "callbacks", "losses", "layers"},
    "model.py": {"sequential", "models", "datasets", "callbacks", "plots", "runs"},
}


def source_lines(path: Path) -> int:
    """Lines that are neither blank nor comment nor docstring."""
    text = path.read_text()
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return sum(
        1
        for number, line in enumerate(text.splitlines(), 1)
        if number not in documented and line.strip() and not line.strip().startswith("#")
    )


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere, by its full name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_the_core_can_be_read_in_an_evening():
    assert sum(source_lines(ROOT / "scratchnet" / name) for name in CORE) <= 910


def test_no_function_is_longer_than_a_screen():
    long = [
        f"{path.name}:{node.name} {node.end_lineno - node.lineno + 1}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.body[0].lineno + 1 > 60
    ]
    assert not long


def test_the_package_never_knows_tensorflow_and_only_the_command_knows_the_reference():
    for path in SOURCES:
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"tensorflow", "keras", "torch", "jax", "benchmarks"}, path.name
        knowing = [
            ROOT / "scratchnet" / "app" / "cli" / name for name in ("compare.py", "explain.py")
        ]
        assert path in knowing or "keras_ref" not in roots, path.name


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_go_one_way(room):
    place = ROOT / "scratchnet" / room
    for path in place.rglob("*.py") if place.is_dir() else [place]:
        ours = {name.split(".")[1] for name in imports(path) if name.startswith("scratchnet.")}
        assert not ours & FORBIDDEN[room], path.name


def test_nothing_unpickles_evaluates_or_stars():
    for path in SOURCES:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "__import__"}, path.name
            if isinstance(node, ast.ImportFrom):
                assert "*" not in {alias.name for alias in node.names}, path.name
        assert "pickle" not in {name.split(".")[0] for name in imports(path)}, path.name
        assert "allow_pickle=True" not in text, path.name


def test_importing_scratchnet_is_light():
    """No TensorFlow, no matplotlib, no compiler: those come when they are asked for."""
    code = (
        "import sys, scratchnet; print([m for m in "
        "('tensorflow', 'keras', 'matplotlib', 'numba', 'sklearn', 'scipy', 'pooch', 'rich') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
