"""The cells of a study: what one run is, and the grid that many of them make.

`SETTINGS` is the one table of what can vary; the command's options, TOML files, the columns of the
results and the words of the page all come from it. A cell's key is a hash of its settings and of
the code's version. Nothing is run here; read `cell_run.py` next.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import scratchnet
from scratchnet.app.run_training import KERAS, OURS
from scratchnet.app.study import StudyError

HEADS = {
    "sigmoid": ("sigmoid", "logits"),
    "sigmoid-probabilities": ("sigmoid", "probabilities"),
    "sigmoid-as_logits": ("sigmoid", "as_logits"),
    "softmax": ("softmax", "logits"),
}
"""For each head its activation, and how the loss reads a sigmoid (`losses/loss.py`)."""


@dataclass(frozen=True)
class Cell:
    """The settings of one run; two cells with the same seed start and shuffle alike.

    >>> Cell(batch_size=512, rate_rule="sqrt").rate
    0.004
    """

    seed: int = 0
    framework: str = OURS
    data: str = "mnist"
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.001
    rate_rule: str = "fixed"
    widths: tuple[int, ...] = (50, 50)
    scaled: bool = True
    head: str = "sigmoid"
    optimizer: str = "adam"
    engine: str = "auto"
    dtype: str = "float32"

    @property
    def rate(self) -> float:
        """The learning rate that is used: with the rule `sqrt` it grows with sqrt(batch / 32)."""
        factor = math.sqrt(self.batch_size / 32) if self.rate_rule == "sqrt" else 1.0
        return self.learning_rate * factor

    @property
    def key(self) -> str:
        """A hash of these settings and the code's version, as 16 hexadecimal digits."""
        text = json.dumps([asdict(self), code_version()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- what can vary --------------------------------------------------------------------------------


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = int(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ValueError
        return number

    return read


def _positive(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not (0 < number < math.inf):
        raise ValueError
    return number


def _choice(*names: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return read


def _widths(value: Any) -> tuple[int, ...]:
    """`50-50` as text, a list of whole numbers in a file."""
    parts = value.split("-") if isinstance(value, str) else value
    return tuple(map(_whole(1), parts))


def _scaled(value: Any) -> bool:
    known = {"yes": True, "no": False, "true": True, "false": False}
    return value if isinstance(value, bool) else known[str(value)]


class Setting(NamedTuple):
    """One column of the grid: how a value is read, what is allowed, and its name on a page."""

    read: Callable[[Any], Any]
    expected: str
    words: str


DATA = ("mnist", "fashion_mnist", "digits")
SETTINGS = {
    "seed": Setting(_whole(0), "a whole number from 0 on", "seed"),
    "framework": Setting(_choice(OURS, KERAS), f"{OURS} or {KERAS}", "framework"),
    "data": Setting(_choice(*DATA), ", ".join(DATA), "data"),
    "epochs": Setting(_whole(1), "a whole number from 1 on", "epochs"),
    "batch_size": Setting(_whole(1), "a whole number from 1 on", "batch size"),
    "learning_rate": Setting(_positive, "a number above 0", "learning rate"),
    "rate_rule": Setting(_choice("fixed", "sqrt"), "fixed or sqrt", "rate with the batch"),
    "widths": Setting(_widths, "units of the hidden layers, such as 50-50", "hidden units"),
    "scaled": Setting(_scaled, "yes or no", "pixels divided by 255"),
    "head": Setting(_choice(*HEADS), ", ".join(HEADS), "head"),
    "optimizer": Setting(_choice("adam", "sgd", "rmsprop"), "adam, sgd or rmsprop", "optimizer"),
    "engine": Setting(
        _choice("auto", "reference", "compiled"), "auto, reference or compiled", "engine"
    ),
    "dtype": Setting(_choice("float32", "float64"), "float32 or float64", "dtype"),
}

Grid = dict[str, list[Any]]
"""For each setting that is named its values; the others keep the defaults of `Cell`."""


def read_grid(given: Mapping[str, Any], where: str = "") -> Grid:
    """A grid from values, or lists of them, as text or as a file has them; `seeds` is a number.

    Raises:
        StudyError: for a name that is no setting, or a value that is not allowed.

    >>> read_grid({"seeds": 2, "batch_size": ["32", "64"], "widths": "50-50"})
    {'seed': [0, 1], 'batch_size': [32, 64], 'widths': [(50, 50)]}
    """
    grid: Grid = {}
    for name, value in given.items():
        if name == "seeds":
            grid["seed"] = list(range(_value("seed", value, f"{where}seeds", _whole(1))))
            continue
        if name not in SETTINGS:
            known = ", ".join(["seeds", *SETTINGS])
            raise StudyError(f"{where}{name}: no such setting. Expected one of {known}.")
        lists = isinstance(value, list) and not (
            name == "widths" and not any(isinstance(part, list | str) for part in value)
        )
        values = [_value(name, one, where + name) for one in (value if lists else [value])]
        if not values:
            raise StudyError(f"{where}{name}: no values. Expected {SETTINGS[name].expected}.")
        grid[name] = list(dict.fromkeys(values))
    return grid


def _value(name: str, value: Any, shown: str, read: Callable[[Any], Any] | None = None) -> Any:
    try:
        return (read or SETTINGS[name].read)(value)
    except (ValueError, KeyError, TypeError, AttributeError):
        expected = "a number from 1 on" if read else SETTINGS[name].expected
        raise StudyError(f"{shown}: {value!r} is not possible. Expected {expected}.") from None


def read_file(path: Path) -> tuple[list[Grid], dict[str, Any]]:
    """The grids of a TOML file, `[[grid]]` each, and what stands beside them (margin, target).

    Raises:
        StudyError: for a file that is no such TOML.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: no TOML: {error}. Expected [[grid]] with settings.") from None
    grids = content.pop("grid", [])
    if not isinstance(grids, list) or not grids or not all(isinstance(g, dict) for g in grids):
        raise StudyError(f"{path}: no grid. Expected [[grid]] with settings such as seeds = 30.")
    return [read_grid(grid, f"{path}: ") for grid in grids], content


def expand(grids: Iterable[Grid]) -> list[Cell]:
    """Every cell of some grids once, seed by seed, so that a study that is stopped is balanced.

    A Keras cell has no engine of ours, so grids that vary both have it once.

    Raises:
        StudyError: where Keras has no such run.

    >>> [cell.batch_size for cell in expand([{"batch_size": [32, 64]}, {"batch_size": [64]}])]
    [32, 64]
    """
    cells = dict.fromkeys(cell for grid in grids for cell in _product(grid))
    return sorted(cells, key=lambda cell: cell.seed)


def _product(grid: Grid) -> Iterator[Cell]:
    for values in itertools.product(*grid.values()):
        cell = Cell(**dict(zip(grid, values, strict=True)))
        if cell.framework == KERAS:
            if HEADS[cell.head][1] != "logits":
                raise StudyError(
                    f"head={cell.head!r} with framework={KERAS!r}: on TensorFlow Keras reads a "
                    "sigmoid head's logits. Expected sigmoid or softmax: give it a grid of its own."
                )
            cell = replace(cell, engine="auto")
        yield cell


def cell_from(settings: Mapping[str, Any]) -> Cell:
    """A cell from what `asdict` made of it, lists for tuples.

    >>> cell_from(asdict(Cell(seed=3))) == Cell(seed=3)
    True
    """
    return Cell(**(dict(settings) | {"widths": tuple(settings["widths"])}))


NAMES = tuple(field.name for field in fields(Cell))


@cache
def code_version() -> str:
    """scratchnet's version, and a hash of all sources that can change a run's numbers.

    That is the package but for what only looks on: `app` (except the run of a cell), `testing`,
    `gradcheck` and `plots`.
    """
    package = resources.files(scratchnet)
    with resources.as_file(package) as root:
        digest = hashlib.sha256()
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root).as_posix()
            beside = name.startswith(("app/", "testing/", "gradcheck/")) or name == "plots.py"
            if not beside or name == "app/study/cell_run.py":
                digest.update(name.encode() + b"\n" + path.read_bytes())
    return f"{scratchnet.__version__}+{digest.hexdigest()[:12]}"
