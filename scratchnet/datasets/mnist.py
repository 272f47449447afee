"""MNIST, the real one, from wherever it is: `load_data` gives MNIST or an error.

A path or `SCRATCHNET_DATA` that is set is binding; otherwise Keras's cache, then our cache, then
the network is asked. Content is compared with hashes of the four arrays, because repacked files
are common and file hashes cannot know them. Other data sets are refused here: `datasets.load`
reads those. The formats are in `formats.py`, the download in `fetch.py`.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from typing import NamedTuple

import numpy as np

from scratchnet.datasets.fetch import RemoteFile, fetch
from scratchnet.datasets.formats import (
    NAMES,
    Data,
    DatasetError,
    DatasetUnavailableError,
    read,
    read_idx,
    read_npz,
)
from scratchnet.untrusted import printable

SHA256 = {
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
"""SHA-256 of the bytes of each array, in C order."""

IMAGE_SHAPE = (28, 28)
"""(rows, columns), pixels."""

TIMEOUT = (5.0, 20.0)
"""Seconds to connect to a mirror, and between two bytes from it."""

_KERAS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_KERAS_HASH = "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
_IDX_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_IDX_HASHES = {
    "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
}
SOURCES: tuple[tuple[RemoteFile, ...], ...] = (
    (RemoteFile("mnist.npz", (_KERAS_URL,), _KERAS_HASH),),
    tuple(
        RemoteFile(name, tuple(mirror + name for mirror in _IDX_MIRRORS), known_hash)
        for name, known_hash in _IDX_HASHES.items()
    ),
)
"""Where to download from: Keras's file, else the four IDX files."""


class Origin(NamedTuple):
    """Where MNIST comes from.

    >>> Origin("path", "mnist.npz", (), {}, ()).place
    'path'
    """

    place: str
    """`"path"`, `"SCRATCHNET_DATA"`, `"Keras's cache"`, `"scratchnet's cache"` or `"download"`."""
    path: str | None
    """The file or folder; None when it would have to be downloaded first."""
    urls: tuple[str, ...]
    """Every address a download would try, in order."""
    sha256: dict[str, str]
    """The hashes that the four arrays have, or must have after the download."""
    skipped: tuple[str, ...]
    """What was wrong with the files in the caches that were passed over."""


def load_data(path: str | os.PathLike[str] | None = "mnist.npz", *, download: bool = True) -> Data:
    """MNIST as `(x_train, y_train), (x_test, y_test)`, uint8.

    Shapes: (60000, 28, 28), (60000,), (10000, 28, 28), (10000,).

    `path=None`, Keras's default `"mnist.npz"`, and any other bare `name.npz` that is no file here
    stand for the name in the caches. Everything else (and every `pathlib.Path`) is that very
    `.npz`, or a folder with an `mnist.npz` or the four IDX files. `SCRATCHNET_DATA` stands in for
    a path that is not given; `SCRATCHNET_CACHE` moves our cache; `SCRATCHNET_OFFLINE=1`, like
    `download=False`, forbids the network.

    Raises `DatasetError` when the file asked for is not a sound copy of MNIST, and its subclass
    `DatasetUnavailableError` when there is none and none can be downloaded. A damaged file in a
    cache is passed over with a warning.

    Source: https://keras.io/api/datasets/mnist/ (signature and arrays).

    >>> load_data("no/such/folder", download=False)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.datasets.formats.DatasetError: ...
    """
    return locate(path, download=download)[1]


def find(path: str | os.PathLike[str] | None = "mnist.npz") -> Origin:
    """Where `load_data(path)` would take MNIST from, without touching the network.

    The files are read and verified, not just looked for. Raises `DatasetError` as `load_data` does,
    except that a missing MNIST is an answer: place `"download"`, path None.

    >>> find("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.datasets.formats.DatasetError: ...
    """
    return _search(path)[0]


def locate(
    path: str | os.PathLike[str] | None = "mnist.npz", *, download: bool = True
) -> tuple[Origin, Data]:
    """What `load_data` returns, and where it came from.

    >>> locate("no/such/folder", download=False)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.datasets.formats.DatasetError: ...
    """
    origin, data = _search(path)
    for finding in origin.skipped:
        warnings.warn(f"passed over: {finding}", stacklevel=3)
    if data is not None:
        return origin, data
    folder = our_cache()
    remedy = "Allow the download, or set SCRATCHNET_DATA to an mnist.npz"
    check_allowed("MNIST", folder, download, remedy)
    paths = fetch(SOURCES, folder, TIMEOUT)
    where = paths[0] if len(paths) == 1 else folder
    data = _verified(where, read_npz(where) if len(paths) == 1 else read_idx(where))
    return origin._replace(path=where), data


def matches(data: Data) -> bool:
    """Whether these four arrays are MNIST's.

    >>> from scratchnet.datasets import digits
    >>> matches(digits.load_data())
    False
    """
    return _difference(data) is None


def _search(path: str | os.PathLike[str] | None) -> tuple[Origin, Data | None]:
    """The first sound MNIST on this machine, or None and what is known about the download."""
    urls = tuple(url for source in SOURCES for file in source for url in file.urls)
    origin = Origin("download", None, urls, SHA256, ())
    name = _cache_name(path)
    if name is None:
        assert path is not None
        where = os.path.expanduser(os.fspath(path))
        return origin._replace(place="path", path=where), _verified(where, read(where))
    variable = os.environ.get("SCRATCHNET_DATA")
    if variable:
        where = os.path.expanduser(variable)
        try:
            data = _verified(where, read(where))
        except DatasetError as error:
            remedy = f"{error.remedy}; or unset or change SCRATCHNET_DATA, which names it"
            raise DatasetError(error.file, error.finding, remedy) from error
        return origin._replace(place="SCRATCHNET_DATA", path=where), data
    skipped: list[str] = []
    for place, where in _cached(name):
        try:
            data = _verified(where, read_idx(where) if os.path.isdir(where) else read_npz(where))
        except DatasetError as error:
            skipped.append(str(error))
        else:
            return origin._replace(place=place, path=where, skipped=tuple(skipped)), data
    return origin._replace(skipped=tuple(skipped)), None


def _cache_name(path: str | os.PathLike[str] | None) -> str | None:
    """The name in the caches that `path` stands for, or None where it means a file or a folder."""
    if path is None or path == "mnist.npz":
        return "mnist.npz"
    if not isinstance(path, str) or os.path.dirname(path) or os.path.exists(path):
        return None
    # A bare name without the suffix is rather a folder misspelt than a file in the cache.
    return path if path.endswith(".npz") else None


def _cached(name: str) -> list[tuple[str, str]]:
    """The places in the two caches where something lies."""
    ours = our_cache()
    places = [
        ("Keras's cache", os.path.join(keras_cache(), name)),
        ("scratchnet's cache", os.path.join(ours, name)),
    ]
    places = [(place, where) for place, where in places if os.path.isfile(where)]
    if all(os.path.isfile(os.path.join(ours, file)) for file in _IDX_HASHES):
        places.append(("scratchnet's cache", ours))
    return places


def keras_cache() -> str:
    """The folder in which Keras keeps what it fetched.

    >>> os.path.basename(keras_cache())
    'datasets'
    """
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    return os.path.join(os.path.expanduser(home), "datasets")


def our_cache() -> str:
    """The folder in which we do: SCRATCHNET_CACHE, or the user's cache folder.

    >>> os.path.isabs(our_cache())
    True
    """
    import pooch

    return os.path.expanduser(
        os.environ.get("SCRATCHNET_CACHE") or str(pooch.os_cache("scratchnet"))
    )


def check_allowed(name: str, folder: str, download: bool, remedy: str) -> None:
    """Refuse to fetch a data set into our `folder` where that is not wanted.

    >>> check_allowed("MNIST", "cache", download=False, remedy="Wait")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    scratchnet.datasets.formats.DatasetUnavailableError: MNIST: is neither in Keras's cache ...
    """
    if not download or os.environ.get("SCRATCHNET_OFFLINE", "0") not in ("", "0"):
        raise DatasetUnavailableError(
            name,
            f"is neither in Keras's cache ({printable(keras_cache())}) nor in {printable(folder)}, "
            "and download=False or SCRATCHNET_OFFLINE forbids to fetch it",
            remedy,
        )


def _verified(where: str, data: Data) -> Data:
    difference = _difference(data)
    if difference is not None:
        raise DatasetError(
            where,
            f"is not MNIST: {difference}",
            "Fetch MNIST again, or read another data set with scratchnet.datasets.load(path)",
        )
    return data


def _difference(data: Data) -> str | None:
    """What tells `data` from MNIST, or None."""
    (x_train, y_train), (x_test, y_test) = data
    for name, array in zip(NAMES, (x_train, y_train, x_test, y_test), strict=True):
        if name.startswith("x") and array.shape[1:] != IMAGE_SHAPE:
            return f"{name} has images of {array.shape[1:]}, expected {IMAGE_SHAPE}"
        digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        if digest != SHA256[name]:
            return f"sha256 of {name} is {digest}, expected {SHA256[name]}"
    return None
