"""`scratchnet data`: where MNIST is, whether it is the real one, and how to get it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import scratchnet.app.cli.options as options
from scratchnet.app.cli.errors import DIFFERS
from scratchnet.app.cli.screen import busy, new_console, print_line
from scratchnet.app.text import dimensions, to_json
from scratchnet.datasets import Data, digits, mnist
from scratchnet.untrusted import printable

EXAMPLES = """**Examples**

- `scratchnet data`
- `scratchnet data --fetch`: download it (11 MB) unless it is here
- `scratchnet data --data fashion/`: what a data set of your own holds
- `SCRATCHNET_DATA=~/mnist.npz scratchnet data`

**Exit status**

- 0: found, and sound.
- 1: no MNIST on this machine.
- 2: what was named can't be used, or could not be fetched.
"""

NAMES = ("x_train", "y_train", "x_test", "y_test")


def data(
    data: options.DataPath = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download MNIST into the cache if need be.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Where MNIST was found, its hashes, shapes and density; --fetch gets it."""
    with busy("Reading and hashing ...", quiet):
        found = _own(data) if data else _mnist(fetch)
    if as_json:
        typer.echo(to_json(found), nl=False)
    else:
        _print_data(found, quiet)
    if found["path"] is None:
        raise typer.Exit(DIFFERS)


def _own(path: Path) -> dict[str, Any]:
    """A data set that somebody named."""
    from scratchnet import datasets

    loaded = datasets.load(path, classes=10)
    return {"mnist": mnist.matches(loaded), "place": "--data", "path": str(path), **held(loaded)}


def _mnist(fetch: bool) -> dict[str, Any]:
    """MNIST, or where it was looked for in vain."""
    origin = mnist.find()
    if origin.path is None and not fetch:
        return {
            "mnist": False,
            "place": None,
            "path": None,
            "looked": ["SCRATCHNET_DATA (not set)", mnist.keras_cache(), mnist.our_cache()],
            "skipped": origin.skipped,
            "urls": origin.urls,
            "instead": digits.NAME,
        }
    origin, loaded = mnist.locate()
    return {"mnist": True, "place": origin.place, "path": str(origin.path), **held(loaded)}


def held(data: Data) -> dict[str, Any]:
    """What four arrays hold, and whether their hashes are MNIST's."""
    (x, y), (x_test, y_test) = data
    arrays = dict(zip(NAMES, (x, y, x_test, y_test), strict=True))
    hashes = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}
    return {
        "arrays": {
            name: {
                "shape": array.shape,
                "dtype": array.dtype.name,
                "sha256": hashes[name],
                "known": hashes[name] == mnist.SHA256[name],
            }
            for name, array in arrays.items()
        },
        "density": float(np.count_nonzero(x) / x.size),
        "images_per_class": {
            "training": np.bincount(y, minlength=10),
            "test": np.bincount(y_test, minlength=10),
        },
    }


def _print_data(found: dict[str, Any], quiet: bool) -> None:
    if found["path"] is None:
        _print_where_it_is_not(found, quiet)
        return
    console = new_console()
    if not quiet:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("array", "shape", "SHA-256", "MNIST's"):
            table.add_column(title)
        for name, array in found["arrays"].items():
            known = "yes" if array["known"] else "no"
            table.add_row(name, dimensions(array["shape"]), array["sha256"][:16] + " ...", known)
        console.print(table)
        console.print(f"pixels that are not 0: {found['density']:.1%} of the training images")
        for part, counts in found["images_per_class"].items():
            console.print(f"{part} images of each digit: {min(counts):,} to {max(counts):,}")
    name = "MNIST" if found["mnist"] else "Not MNIST, but sound"
    line = f"{name}: {found['path']} ({found['place']})"
    print_line(line)


def _print_where_it_is_not(found: dict[str, Any], quiet: bool) -> None:
    """Where MNIST is not, what happens without it, and what helps."""
    lines = ["No MNIST on this machine."]
    if not quiet:
        lines += ["", "Looked at:", *(f"- {place}" for place in found["looked"])]
        lines += [f"Passed over: {finding}" for finding in found["skipped"]]
        lines += [
            "",
            "To get it, any of:",
            "- scratchnet data --fetch   (11 MB; `train` and `compare` do so by themselves)",
            "- set SCRATCHNET_DATA to an mnist.npz, or to a folder with the four IDX files",
            "",
            f"Where it can't be had, they take {found['instead']}: 1,437 training and 360 test "
            "images of 28 x 28, real handwriting as well.",
        ]
    console = new_console(highlight=False, markup=False)
    for line in lines:
        console.print(printable(line))
