"""Data sets as Keras returns them: `(x_train, y_train), (x_test, y_test)`, all uint8.

`mnist` finds or downloads the real thing and returns nothing else; `digits` is bundled and
needs no network; `synthetic` only has MNIST's shape, for timing; `load` reads anyone's files.
A file that cannot be trusted gives a `DatasetError`, never a crash and never half a data set.
Importing this package imports nothing but NumPy. Read `formats.py` next, then `mnist.py`.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import scratchnet.datasets.digits as digits
import scratchnet.datasets.fashion_mnist as fashion_mnist
import scratchnet.datasets.mnist as mnist
import scratchnet.datasets.synthetic as synthetic
from scratchnet.datasets.formats import Data, DatasetError, DatasetUnavailableError
from scratchnet.datasets.formats import read as load
from scratchnet.unbuilt import refusing

__getattr__ = refusing(__name__)

__all__ = [
    "Choice",
    "Data",
    "DatasetError",
    "DatasetUnavailableError",
    "best_available",
    "digits",
    "fashion_mnist",
    "load",
    "mnist",
    "synthetic",
]


class Choice(NamedTuple):
    """A data set and the line that tells the user which one it is.

    >>> Choice("MNIST", "Data: MNIST, ...", digits.load_data()).reason
    ''
    """

    name: str
    """`"MNIST"`, `"scikit-learn digits"`, or the path of a data set of the user's own."""
    line: str
    """One line for the screen: what, how many images, and from where."""
    data: Data
    """`(x_train, y_train), (x_test, y_test)`."""
    reason: str = ""
    """Why MNIST was not to be had. Not empty means a fallback: then say `line` loudly."""


def best_available(
    path: str | os.PathLike[str] | None = None, *, download: bool = True, classes: int = 256
) -> Choice:
    """The best data there is: what `path` names, else MNIST, else the bundled digits.

    Only a missing MNIST leads to the digits. A `path` or a `SCRATCHNET_DATA` that cannot be used
    is the user's wish gone wrong and stays a `DatasetError`; `classes` bounds the labels of `path`.
    The line of the result reads, for example,
    `Data: MNIST, 60,000 training and 10,000 test images, from data/mnist.npz`.

    >>> choice = best_available(download=False)
    >>> choice.name in ("MNIST", "scikit-learn digits"), choice.line[:6]
    (True, 'Data: ')
    """
    if path is not None:
        data = load(path, classes=classes)
        name = "MNIST" if mnist.matches(data) else os.fspath(path)
        return Choice(name, _line(name, data, f"from {os.fspath(path)}"), data)
    try:
        origin, data = mnist.locate(download=download)
    except DatasetUnavailableError as error:
        data = digits.load_data()
        remedy = "because there is no MNIST; set SCRATCHNET_DATA to an mnist.npz to change that"
        return Choice(digits.NAME, _line(digits.NAME, data, remedy), data, str(error))
    return Choice("MNIST", _line("MNIST", data, f"from {origin.path}"), data)


def _line(name: str, data: Data, rest: str) -> str:
    (x_train, _), (x_test, _) = data
    return f"Data: {name}, {len(x_train):,} training and {len(x_test):,} test images, {rest}"
