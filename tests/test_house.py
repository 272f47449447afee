"""The house rules that a machine can hold: who may import whom, what has which name, how long."""

from __future__ import annotations

import ast
import collections
import graphlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "scratchnet").rglob("*.py"))
CODE = [*SOURCES, *sorted((ROOT / "keras_ref").rglob("*.py"))]
EVERYTHING = [*CODE, *sorted((ROOT / "benchmarks").rglob("*.py"))]
FLOORS = (
    # From the ground up: a room imports rooms of lower floors, and within itself what it likes as
    # long as there is no circle. Rooms side by side on a floor don't know each other.
    (
        "scratchnet.engines.contract",
        *("scratchnet.atomic", "scratchnet.progress", "scratchnet.untrusted", "scratchnet.unbuilt"),
    ),
    ("scratchnet.engines.memory", "scratchnet.engines.reference"),
    ("scratchnet.engines.compiled", "scratchnet.engines.activations"),
    ("scratchnet.engines.choice",),
    ("scratchnet.engines",),
    (
        *("scratchnet.support", "scratchnet.copying", "scratchnet.process"),
        *("scratchnet.datasets", "scratchnet.plots", "scratchnet.saving"),
    ),
    ("scratchnet.config", "scratchnet.utils", "scratchnet.gradcheck", "scratchnet.registry"),
    ("scratchnet.checks", "scratchnet.backend"),
    (
        *("scratchnet.activations", "scratchnet.initializers", "scratchnet.objective"),
        *("scratchnet.data_adapters", "scratchnet.regularizers"),
    ),
    ("scratchnet.layers", "scratchnet.losses", "scratchnet.optimizers", "scratchnet.streams"),
    ("scratchnet.model", "scratchnet.loss_functions", "scratchnet.metrics"),
    ("scratchnet.training",),
    ("scratchnet.callbacks", "scratchnet.learning", "scratchnet.rescue"),
    ("scratchnet.saving.objects",),
    ("scratchnet.fitting", "scratchnet.checkpoint", "scratchnet.summary"),
    ("scratchnet.resuming",),
    ("scratchnet.sequential",),
    ("scratchnet.models",),
    ("scratchnet",),
    ("scratchnet.testing",),
    ("scratchnet.app",),  # but for its commands about Keras, which stand above keras_ref
    ("keras_ref",),
    ("scratchnet.app.cli",),
    ("benchmarks",),
    ("tests",),
)
"""The drawing: `app.cli -> keras_ref -> app -> models -> sequential -> ... -> engines`."""

ROOMS = {
    "keras": {
        *("activations", "backend", "callbacks", "config", "datasets", "initializers", "layers"),
        *("losses", "metrics", "models", "optimizers", "regularizers", "saving", "utils"),
    },
    "the core": {"engines", "model", "objective"},
    "the rest": {
        "app": "the product around the library",
        "atomic": "files, whole or absent",
        "checkpoint": "a model's whole state",
        "checks": "arguments",
        "copying": "engines in copies and pickles",
        "data_adapters": "what users hand over as data",
        "fitting": "the loop over batches",
        "gradcheck": "gradients of any plain function",
        "learning": "which parameters learn",
        "loss_functions": "an old address of losses",
        "plots": "figures",
        "process": "what belongs to the process: threads, signals, standard output",
        "progress": "the one progress bar",
        "registry": "what a name, class or config stands for",
        "rescue": "the last good weights",
        "resuming": "checkpoints of a fit",
        "sequential": "Sequential, at keras.Sequential",
        "streams": "batches that come one by one",
        "summary": "the table of model.summary, which needs rich",
        "support": "small tools",
        "training": "what layers may ask for beyond the core",
        "testing": "batteries, strategies, the museum",
        "unbuilt": "what is said of names that are not built",
        "untrusted": "bytes from strangers",
    },
}

NAMESAKES = {
    **dict.fromkeys(
        (
            *("MeanSquaredError", "MeanAbsoluteError", "KLDivergence", "BinaryCrossentropy"),
            *("CategoricalCrossentropy", "SparseCategoricalCrossentropy"),
        ),
        "a loss and a metric, as in Keras",
    ),
    "Identity": "a layer and an initializer, as in Keras",
    "Sum": "a metric, as in Keras, and a sum as the page of explain shows it",
    "Setting": "an option of a study (app.study), and the model in which a bug shows (testing)",
    "Peer": "every file in benchmarks/peers defines the one that the harness asks for",
}
"""Public classes that share a name, each with the reason."""

SAME_FILES = {
    "layout": "of a vector of parameters (gradcheck), and of padded memory (engines.compiled)",
    "functions": "losses as functions (losses), and activations that are known (testing.known)",
    "names": "of activations, and of strangers' methods (testing.subjects)",
    "options": "what any optimizer takes, and how strangers' code is called (testing.subjects)",
    "rules": "optimizers beyond the script's, and all their rules, retold (testing)",
    "figures": "pictures on pages (app.pages), and of benchmarks (benchmarks.rendering)",
}
"""Modules that share a name, each with the reason; a command's file bears the command's name."""

LONG = {
    "check": "two dozen arguments and their page; 40 lines without the docstring",
}
"""Functions of more than 60 lines, each with the reason."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


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
    """Every module that a file imports anywhere, in functions and under TYPE_CHECKING too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or path not in EVERYTHING, f"{path.name}: imports are absolute"
            package = ".".join(path.parent.relative_to(ROOT).parts) if node.level else None
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def graph_of(paths: list[Path]) -> dict[str, set[str]]:
    """Module -> modules of ours that it imports, in the strict reading.

    `from package import module` is an arrow to the module and to the package, whose `__init__`
    runs first: a package that imports its members is in a circle with each that asks it for
    another. Inside such a package it is `import package.module as module`.
    """
    modules = {module_name(path): path for path in paths}
    return {name: imports(path) & modules.keys() for name, path in modules.items()}


GRAPH = graph_of([*EVERYTHING, *sorted((ROOT / "tests").rglob("*.py"))])


def floor_of(module: str) -> tuple[int, str]:
    """The floor of a module and the room that it is in: the longest name in the drawing."""
    rooms = {room: floor for floor, names in enumerate(FLOORS) for room in names}
    room = max(
        (r for r in rooms if module == r or (r != "scratchnet" and module.startswith(f"{r}."))),
        key=len,
    )
    return rooms[room], room


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle of imports, or nothing."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_imports_go_in_a_circle():
    assert not circle(GRAPH)


PLANTED = ["import scratchnet.sequential", "from scratchnet import sequential"]
PLANTED += ["from scratchnet.sequential import Sequential"]
PLANTED += [f"{head}:\n    {PLANTED[-1]}" for head in ("def later()", "if TYPE_CHECKING")]
THROUGH_A_PACKAGE = [
    ("app.cli.train", "from scratchnet.app.cli import options", "app.cli"),
    ("layers.core", "from scratchnet.layers import surface", "layers"),
    ("engines.reference", "from scratchnet.engines import contract", "engines"),
    ("datasets.mnist", "def late():\n    from scratchnet.datasets import digits", "datasets"),
]


@pytest.mark.parametrize(
    ("module", "line", "others"),
    [*(("fitting", line, "sequential") for line in PLANTED), *THROUGH_A_PACKAGE],
)
def test_a_circle_that_is_planted_is_named(module, line, others, tmp_path):
    """However it hides: at the top, in a function, for types alone, or through a package."""
    module, others = f"scratchnet.{module}", f"scratchnet.{others}"
    planted = tmp_path / "planted.py"
    planted.write_text(
        f"{ROOT.joinpath(*module.split('.')).with_suffix('.py').read_text()}\n{line}"
    )
    changed = GRAPH | {module: imports(planted) & GRAPH.keys()}
    found = circle(changed)
    assert {module, others} <= set(found)


@pytest.mark.parametrize("module", GRAPH)
def test_imports_only_run_down(module):
    floor, room = floor_of(module)
    for other in GRAPH[module]:
        below, others_room = floor_of(other)
        assert below < floor or others_room == room, f"{module} imports {other}"


def test_the_rooms_are_keras_s_the_core_s_and_a_short_list():
    known = {name for names in ROOMS.values() for name in names}
    there = {path.stem for path in (ROOT / "scratchnet").glob("*.py")} - {"__init__"}
    there |= {path.parent.name for path in (ROOT / "scratchnet").glob("*/__init__.py")}
    assert there == known


def test_no_two_public_classes_share_a_name():
    places = collections.defaultdict(set)
    for path in EVERYTHING:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(module_name(path))
    assert {
        name: where for name, where in places.items() if len(where) > 1
    }.keys() == NAMESAKES.keys()


def test_no_two_modules_share_a_name():
    places = collections.defaultdict(set)
    commands = ("scratchnet/app/cli", "benchmarks/commands")
    for path in EVERYTHING:
        if path.stem != "__init__" and path.parent.relative_to(ROOT).as_posix() not in commands:
            places[path.stem].add(module_name(path))
    assert {
        name: where for name, where in places.items() if len(where) > 1
    }.keys() == SAME_FILES.keys()


def test_no_function_is_longer_than_a_screen():
    """From `def` to its last line, docstring and all."""
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.end_lineno - node.lineno + 1 > 60
    }
    assert long.keys() == LONG.keys(), long


def test_the_package_never_knows_tensorflow_and_only_commands_know_the_reference():
    for path in SOURCES:
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"tensorflow", "keras", "torch", "jax", "benchmarks"}, path.name
        command = path.parent == ROOT / "scratchnet" / "app" / "cli"
        assert "keras_ref" not in roots or command, path.name


def test_nobody_uses_another_room_s_private_names():
    for path in [*EVERYTHING]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scratchnet"):
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert set(private) <= {"__version__"}, f"{path}: {private}"


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
