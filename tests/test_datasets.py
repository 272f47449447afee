"""Data sets: every sound file is read exactly, every damaged one ends in one clear error.

Here are the files, the places where MNIST is looked for, and the two made-up data sets; the
network is in `test_datasets_download.py`. Most tests use a tiny stand-in for MNIST, whose hashes
take the place of the real ones; the tests that take the fixture `mnist` use the real thing.
"""

from __future__ import annotations

import builtins
import gzip
import hashlib
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy

from scratchnet import datasets
from scratchnet.datasets import Data, DatasetError, formats

Arrays = dict[str, Any]

TINY = {
    "x_train": np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8),
    "y_train": np.array([3, 1, 4, 1, 5], dtype=np.uint8),
    "x_test": np.random.default_rng(1).integers(0, 256, (3, 28, 28)).astype(np.uint8),
    "y_test": np.array([9, 2, 6], dtype=np.uint8),
}


def idx(array: Any) -> bytes:
    """The bytes of an IDX file, written from the description of the format."""
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + bytes(array.data)


def npz(arrays: Arrays, **extra: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **{**arrays, **extra})
    return file.getvalue()


def idx_folder(folder: Path, arrays: Arrays = TINY, zipped: bool = True, **instead: bytes) -> Path:
    """The four IDX files of `arrays`; `instead` replaces the content of single files."""
    folder.mkdir(exist_ok=True)
    for name, stem in formats.IDX_FILES.items():
        content = idx(arrays[name])
        content = instead.get(name, gzip.compress(content) if zipped else content)
        (folder / (stem + (".gz" if zipped else ""))).write_bytes(content)
    return folder


def npz_with_member(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """TINY as .npz, with `content` in the place of x_train.npy."""
    file = io.BytesIO(npz({name: array for name, array in TINY.items() if name != "x_train"}))
    with zipfile.ZipFile(file, "a", method) as archive:
        archive.writestr("x_train.npy", content)
    return file.getvalue()


def npy_header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def assert_equal(data: Data, arrays: Arrays) -> None:
    (x_train, y_train), (x_test, y_test) = data
    found = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    for name, array in found.items():
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any MNIST, and without a network."""
    monkeypatch.delenv("SCRATCHNET_DATA", raising=False)
    monkeypatch.delenv("SCRATCHNET_OFFLINE", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("SCRATCHNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.mnist, "SOURCES", ())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """TINY plays MNIST."""
    hashes = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in TINY.items()}
    monkeypatch.setattr(datasets.mnist, "SHA256", hashes)
    return TINY


@pytest.fixture
def keras_file(tmp_path: Path) -> Path:
    (tmp_path / "keras" / "datasets").mkdir(parents=True)
    return tmp_path / "keras" / "datasets" / "mnist.npz"


# Reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dotted", [True, False])
def test_idx_is_read_under_all_its_names(tmp_path: Path, zipped: bool, dotted: bool) -> None:
    folder = idx_folder(tmp_path / "idx", zipped=zipped)
    if dotted:
        for file in list(folder.iterdir()):
            file.rename(folder / file.name.replace("-idx", ".idx"))
    assert_equal(datasets.load(folder), TINY)


def test_idx_that_a_browser_unpacked_keeps_its_name(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "idx", x_train=idx(TINY["x_train"]))
    assert_equal(datasets.load(folder), TINY)


def test_npz_of_ones_own(tmp_path: Path) -> None:
    """Labels of any integer type and byte order, Fortran order, and arrays nobody asked for."""
    arrays = TINY | {
        "x_train": np.asfortranarray(TINY["x_train"]),
        "y_train": TINY["y_train"].astype(">i8"),
        "y_test": TINY["y_test"].astype(np.int16),
    }
    file = tmp_path / "own.npz"
    np.savez(file, **arrays, names=np.array(["zero", "one"]))
    assert_equal(datasets.load(file), TINY)
    assert_equal(datasets.load(str(file)), TINY)
    (x_train, _), _ = datasets.load(file)
    assert x_train.flags.c_contiguous and x_train.flags.writeable


def test_a_folder_with_an_npz_and_idx_files_means_the_npz(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "both", x_train=b"broken")
    (folder / "mnist.npz").write_bytes(npz(TINY))
    assert_equal(datasets.load(folder), TINY)


@st.composite
def small_data(draw: st.DrawFn) -> Arrays:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    train, test = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    return {
        "x_train": rng.integers(0, 256, (train, *size)).astype(np.uint8),
        "y_train": rng.integers(0, 256, train).astype(np.uint8),
        "x_test": rng.integers(0, 256, (test, *size)).astype(np.uint8),
        "y_test": rng.integers(0, 256, test).astype(np.uint8),
    }


@given(arrays=small_data(), zipped=st.booleans())
@settings(deadline=None, max_examples=60)
def test_round_trip(arrays: Arrays, zipped: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = idx_folder(tmp_path_factory.mktemp("round"), arrays, zipped)
    assert_equal(datasets.load(folder), arrays)
    (folder / "own.npz").write_bytes(npz(arrays))
    assert_equal(datasets.load(folder / "own.npz"), arrays)


# Malformed files ----------------------------------------------------------------------------------

_X = TINY["x_train"]
_HUGE = npy_header((2**21, 28, 28))
_MEMBER = npy_header(_X.shape) + _X.tobytes()

MALFORMED_NPZ: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "is empty"),
    "not a zip": (b"x" * 500, "not an .npz"),
    "a pickle": (pickle.dumps(TINY), "not an .npz"),
    "a single .npy": (_MEMBER, "not an .npz"),
    "truncated": (npz(TINY)[:-100], "not an .npz"),
    "missing array": (npz({"x_train": _X}), "no array y_train"),
    "empty archive": (npz({}), "no array x_train; it has none"),
    "pickled member": (npz(TINY, x_train=np.array([{}, {}])), "never unpickled"),
    "float images": (npz(TINY, x_train=_X / 255), "x_train is float64"),
    "wide images": (npz(TINY, x_train=_X.astype(int)), "x_train is int64"),
    "float labels": (npz(TINY, y_test=np.zeros(3)), "y_test is float64"),
    "text labels": (npz(TINY, y_test=np.array(["a", "b", "c"])), "y_test is <U1"),
    "flat images": (npz(TINY, x_train=_X.reshape(5, -1)), r"shape \(5, 784\)"),
    "one-hot labels": (npz(TINY, y_train=np.eye(5, dtype=np.uint8)), r"shape \(5, 5\)"),
    "no images": (npz(TINY, x_train=_X[:0]), r"shape \(0, 28, 28\)"),
    "lengths differ": (npz(TINY, y_train=np.zeros(4, np.uint8)), "4 labels .* 5 images"),
    "negative label": (npz(TINY, y_test=np.array([-1, 0, 1])), "from -1 to 1"),
    "label too large": (npz(TINY, y_test=np.array([0, 1, 256])), "from 0 to 256"),
    "sizes differ": (npz(TINY, x_test=np.zeros((3, 8, 8), np.uint8)), r"\(8, 8\).*\(28, 28\)"),
    "member is no .npy": (npz_with_member(b"hello, world"), "is damaged"),
    "member breaks off": (npz_with_member(_MEMBER[:-1]), "announces .* and can hold"),
    "member goes on": (npz_with_member(_MEMBER + b"x"), "goes on"),
    "announces too much": (npz_with_member(_HUGE + b"x"), "more than the"),
    "negative shape": (npz_with_member(npy_header((-5, -28, 28))), "no data"),
    "unusual compression": (npz_with_member(_MEMBER, zipfile.ZIP_LZMA), "compression method"),
    "newer .npy": (npz_with_member(b"\x93NUMPY\x03\x00" + _MEMBER[8:]), r"version \(3, 0\)"),
}

_ZX = gzip.compress(idx(_X))
MALFORMED_IDX: dict[str, tuple[dict[str, Any], str]] = {
    "empty file": ({"x_test": b""}, "is empty"),
    "empty gzip": ({"x_test": gzip.compress(b"")}, "magic number 0"),
    "truncated gzip": ({"x_train": _ZX[:-20]}, "EOFError"),
    "gzip without its checksum": ({"x_train": _ZX[:-8]}, "EOFError"),
    "wrong checksum": ({"x_train": _ZX[:-8] + bytes(8)}, "CRC"),
    "two bytes": ({"x_train": b"\0\0"}, "magic number 0"),
    "labels for images": ({"x_train": idx(TINY["y_train"])}, "magic number 2049, expected 2051"),
    "images for labels": ({"y_train": idx(_X)}, "magic number 2051, expected 2049"),
    "other element type": ({"x_train": b"\0\0\x0d\3" + idx(_X)[4:]}, "magic number 3331"),
    "header breaks off": ({"x_train": idx(_X)[:10]}, "inside its header"),
    "too few bytes": ({"x_train": idx(_X)[:-1]}, "announces 3,920 bytes .* can hold 3,919"),
    "too few in gzip": ({"x_train": gzip.compress(idx(_X)[:-1])}, "ends after 3,919"),
    "too many bytes": ({"x_train": idx(_X) + b"x"}, "goes on after them"),
    "too many in gzip": ({"x_train": gzip.compress(idx(_X) + b"x")}, "goes on after them"),
    "no images": ({"x_train": idx(_X[:0])}, "no data"),
    "announces too much": ({"x_train": idx(_X)[:4] + b"\xff" * 12}, "more than the"),
    "lengths differ": ({"y_test": idx(TINY["y_train"])}, "5 labels .* 3 images"),
}


def assert_clear(error: DatasetError, file: str | Path, finding: str) -> None:
    """One message with the file, the finding and the remedy, each of them there."""
    assert error.file == str(file)
    assert re.search(finding, error.finding), error.finding
    assert error.remedy
    for part in (error.file, error.finding, error.remedy):
        assert part in str(error)


@pytest.mark.parametrize("case", MALFORMED_NPZ)
def test_malformed_npz(tmp_path: Path, case: str) -> None:
    content, finding = MALFORMED_NPZ[case]
    file = tmp_path / "bad.npz"
    file.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        datasets.load(file)
    assert_clear(caught.value, file, finding)


@pytest.mark.parametrize("case", MALFORMED_IDX)
def test_malformed_idx(tmp_path: Path, case: str) -> None:
    instead, finding = MALFORMED_IDX[case]
    folder = idx_folder(tmp_path / "bad", **instead)
    with pytest.raises(DatasetError) as caught:
        datasets.load(folder)
    assert_clear(caught.value, folder / (formats.IDX_FILES[next(iter(instead))] + ".gz"), finding)


def test_labels_beyond_the_classes(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "ten")
    assert_equal(datasets.load(folder, classes=10), TINY)
    with pytest.raises(DatasetError, match="from 2 to 9, expected 0 to 8"):
        datasets.load(folder, classes=9)
    with pytest.raises(ValueError, match="classes=257"):
        datasets.load(folder, classes=257)


def test_paths_that_are_no_data(tmp_path: Path) -> None:
    partial = idx_folder(tmp_path / "partial")
    (partial / "t10k-labels-idx1-ubyte.gz").unlink()
    cases = {
        tmp_path / "missing.npz": "does not exist",
        Path(os.devnull): "neither a file nor a folder",
        tmp_path: "lacks these IDX files: train-images",
        partial: "files: t10k-labels-idx1-ubyte$",
    }
    for path, finding in cases.items():
        with pytest.raises(DatasetError) as caught:
            datasets.load(path)
        assert_clear(caught.value, path, finding)


def test_a_file_one_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret.npz"
    file.write_bytes(npz(TINY))

    # Permissions do not stop root, under whom containers run tests.
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", refuse)
        with pytest.raises(DatasetError) as caught:
            datasets.load(file)
    assert_clear(caught.value, file, "may not be read")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    file = tmp_path / "trap.npz"
    file.write_bytes(npz(TINY, y_train=np.array([Trap()] * 5, dtype=object)))
    with pytest.raises(DatasetError, match="never unpickled"):
        datasets.load(file)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", ["gzip", "npz", "npy header", "announced"])
def test_bombs_do_not_eat_memory(tmp_path: Path, kind: str) -> None:
    """100 MB of zeros in a file of 100 kB, where the headers announce a few bytes, or too many."""
    zeros = bytes(100_000_000)
    path: Path = tmp_path / "bomb.npz"
    if kind == "gzip":
        path = idx_folder(tmp_path / "bomb", x_train=gzip.compress(idx(_X) + zeros, 1))
    elif kind == "npz":
        path.write_bytes(npz_with_member(_MEMBER + zeros))
    elif kind == "npy header":
        path.write_bytes(npz_with_member(b"\x93NUMPY\2\0" + struct.pack("<I", len(zeros)) + zeros))
    else:
        dimensions = struct.pack(">3I", 10**6, 28, 28)
        path = idx_folder(tmp_path / "bomb", x_train=gzip.compress(idx(_X)[:4] + dimensions))
    del zeros
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError):
            datasets.load(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


# Fuzzing ------------------------------------------------------------------------------------------


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """`content` cut off somewhere, with up to four bytes changed, or with something behind it."""
    at = st.integers(0, len(content) - 1)

    def change(edits: list[tuple[int, int]]) -> bytes:
        copy = bytearray(content)
        for position, value in edits:
            copy[position] = value
        return bytes(copy)

    return st.one_of(
        at.map(lambda end: content[:end]),
        st.lists(st.tuples(at, st.integers(0, 255)), min_size=1, max_size=4).map(change),
        st.binary(min_size=1, max_size=20).map(lambda tail: content + tail),
    )


SMALL = {
    name: array[:, :4, :4].copy() if array.ndim == 3 else array for name, array in TINY.items()
}


@given(content=damaged(npz(SMALL)))
@settings(deadline=None, max_examples=400)
def test_fuzzed_npz(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    file.write_bytes(content)
    try:
        data = datasets.load(file)
    except DatasetError as error:
        assert_clear(error, file, ".")
    else:
        assert_equal(data, SMALL)


@given(content=damaged(gzip.compress(idx(SMALL["x_train"]))))
@settings(deadline=None, max_examples=400)
def test_fuzzed_gzip(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = idx_folder(tmp_path_factory.getbasetemp() / "fuzzed", SMALL, x_train=content)
    try:
        data = datasets.load(folder)
    except DatasetError as error:
        assert_clear(error, folder / "train-images-idx3-ubyte.gz", ".")
    else:
        assert_equal(data, SMALL)


@given(content=damaged(idx(SMALL["x_train"])))
@settings(deadline=None, max_examples=400)
def test_fuzzed_idx(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Plain IDX has no checksum: a changed pixel is a pixel, and everything else is noticed."""
    folder = idx_folder(tmp_path_factory.getbasetemp() / "plain", SMALL, False, x_train=content)
    try:
        data = datasets.load(folder)
    except DatasetError:
        return
    pixels = np.frombuffer(content[16:], np.uint8).reshape(SMALL["x_train"].shape)
    assert_equal(data, SMALL | {"x_train": pixels})


# Where MNIST is looked for ------------------------------------------------------------------------


def test_path_variable_caches_in_this_order(
    tmp_path: Path, tiny: Arrays, keras_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Places are filled from the last to the first; each new one must win."""
    load, find = datasets.mnist.load_data, datasets.mnist.find
    assert find().place == "download" and find().path is None

    idx_folder(tmp_path / "cache")
    assert find()[:2] == ("scratchnet's cache", str(tmp_path / "cache"))
    (tmp_path / "cache" / "mnist.npz").write_bytes(npz(TINY))
    assert find()[:2] == ("scratchnet's cache", str(tmp_path / "cache" / "mnist.npz"))
    keras_file.write_bytes(npz(TINY))
    assert find()[:2] == ("Keras's cache", str(keras_file))
    variable = idx_folder(tmp_path / "variable", zipped=False)
    monkeypatch.setenv("SCRATCHNET_DATA", str(variable))
    assert find()[:2] == ("SCRATCHNET_DATA", str(variable))
    given_path = tmp_path / "given.npz"
    given_path.write_bytes(npz(TINY))
    assert find(given_path)[:2] == ("path", str(given_path))
    assert find().sha256 == datasets.mnist.SHA256

    for path in (None, "mnist.npz", given_path, str(given_path), variable):
        assert_equal(load(path), TINY)


def test_what_a_bare_name_means(
    tmp_path: Path, tiny: Arrays, keras_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = datasets.mnist.find
    monkeypatch.chdir(tmp_path)
    keras_file.write_bytes(npz(TINY))
    keras_file.with_name("copy.npz").write_bytes(npz(TINY))
    assert find("copy.npz").path == str(keras_file.with_name("copy.npz"))
    (tmp_path / "mnist.npz").write_bytes(npz(TINY))
    (tmp_path / "copy.npz").write_bytes(npz(TINY))
    assert find("mnist.npz").place == "Keras's cache"
    assert find("copy.npz")[:2] == ("path", "copy.npz")
    assert find("./mnist.npz")[:2] == ("path", "./mnist.npz")
    assert find(Path("mnist.npz"))[:2] == ("path", "mnist.npz")
    for missing in ("mnits", "sub/mnist.npz", Path("gone.npz")):
        with pytest.raises(DatasetError, match="does not exist"):
            find(missing)


def test_a_path_or_variable_that_fails_is_final(
    tmp_path: Path, tiny: Arrays, keras_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras_file.write_bytes(npz(TINY))
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"bad\.npz: is not an"):
        datasets.mnist.load_data(bad)
    monkeypatch.setenv("SCRATCHNET_DATA", str(bad))
    for use in (datasets.mnist.load_data, datasets.mnist.find, datasets.best_available):
        with pytest.raises(DatasetError, match="change SCRATCHNET_DATA") as caught:
            use()
        assert not isinstance(caught.value, datasets.DatasetUnavailableError)


def test_other_content_is_not_mnist(tmp_path: Path, tiny: Arrays) -> None:
    changed = TINY["x_test"].copy()
    changed[2, 27, 27] ^= 1
    turned = TINY["x_test"].reshape(3, 14, 56)
    for name, arrays in (
        ("pixel", {"x_test": changed}),
        ("order", {"y_test": TINY["y_test"][::-1]}),
    ):
        file = tmp_path / f"{name}.npz"
        file.write_bytes(npz(TINY | arrays))
        with pytest.raises(DatasetError, match="is not MNIST: sha256 of") as caught:
            datasets.mnist.load_data(file)
        assert_clear(caught.value, file, next(iter(arrays)))
        assert not datasets.mnist.matches(datasets.load(file))
    (tmp_path / "turned.npz").write_bytes(
        npz(TINY | {"x_test": turned, "x_train": TINY["x_train"].reshape(5, 14, 56)})
    )
    with pytest.raises(DatasetError, match=r"images of \(14, 56\)"):
        datasets.mnist.load_data(tmp_path / "turned.npz")


def test_a_damaged_cache_is_passed_over_with_a_warning(
    tmp_path: Path, tiny: Arrays, keras_file: Path
) -> None:
    keras_file.write_bytes(npz(TINY)[:-50])
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "mnist.npz").write_bytes(npz(TINY))
    assert datasets.mnist.find().path == str(tmp_path / "cache" / "mnist.npz")
    assert str(keras_file) in datasets.mnist.find().skipped[0]
    with pytest.warns(UserWarning, match="passed over: .*keras.*mnist.npz: is not an") as caught:
        assert_equal(datasets.mnist.load_data(), TINY)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_offline_is_offline(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(datasets.mnist, "fetch", connect)
    if how == "variable":
        monkeypatch.setenv("SCRATCHNET_OFFLINE", "1")
    with pytest.raises(datasets.DatasetUnavailableError, match="Allow the download"):
        datasets.mnist.load_data(download=how == "variable")


def test_best_available(tmp_path: Path, tiny: Arrays, keras_file: Path) -> None:
    fallback = datasets.best_available(download=False)
    assert fallback.name == "scikit-learn digits" and "download" in fallback.reason
    assert "\n" not in fallback.line and "SCRATCHNET_DATA" in fallback.line
    assert fallback.data[0][0].shape == (1437, 28, 28)

    keras_file.write_bytes(npz(TINY))
    found = datasets.best_available()
    assert (found.name, found.reason) == ("MNIST", "") and str(keras_file) in found.line
    assert_equal(found.data, TINY)

    own = tmp_path / "own.npz"
    own.write_bytes(npz(SMALL))
    assert datasets.best_available(own).name == str(own)
    assert datasets.best_available(keras_file).name == "MNIST"


def test_import_is_light_and_leads_nowhere_else() -> None:
    """A bare package stands in for scratchnet, so that only what datasets imports is seen."""
    code = f"""
import sys, types
package = types.ModuleType("scratchnet")
package.__path__ = [{str(Path(formats.__file__).parents[1])!r}]
sys.modules["scratchnet"] = package
import scratchnet.datasets
print({{"pooch", "sklearn", "scipy", "rich", "requests"}} & sys.modules.keys())
names = [name.split(".")[1] for name in sys.modules if name.startswith("scratchnet.")]
print(sorted(set(names)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n") == [
        "set()",
        "['datasets', 'progress', 'unbuilt', 'untrusted']",
        "",
    ]


# The real thing -----------------------------------------------------------------------------------


def test_real_mnist_has_the_published_hashes(mnist: Any) -> None:
    """md5 of the unpacked IDX files, as mirrors list them: header and bytes written again here."""
    published = (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    )
    arrays = _four(mnist)
    assert tuple(hashlib.md5(idx(array)).hexdigest() for array in arrays) == published


def test_real_mnist_as_idx(mnist: Any, tmp_path: Path) -> None:
    arrays = dict(zip(formats.NAMES, _four(mnist), strict=True))
    assert_equal(datasets.mnist.load_data(idx_folder(tmp_path / "idx", arrays, False)), arrays)


def _four(mnist: Any) -> Iterator[Any]:
    """The fixture's arrays, flat or in Keras's pairs."""
    for part in mnist:
        yield from part if isinstance(part, tuple) else (part,)


# Digits and synthetic images ----------------------------------------------------------------------


def test_digits_are_the_same_everywhere() -> None:
    (x_train, y_train), (x_test, y_test) = datasets.digits.load_data()
    assert (x_train.shape, x_test.shape) == ((1437, 28, 28), (360, 28, 28))
    counts = np.bincount(y_train), np.bincount(y_test)
    assert np.abs(counts[0] / 4 - counts[1]).max() < 1.5
    digest = hashlib.sha256()
    for array in (x_train, y_train, x_test, y_test):
        assert array.dtype == np.uint8 and array.flags.c_contiguous
        digest.update(array.data)
    assert digest.hexdigest() == "783d0db22fcbb0b3ee4d4bf489108e8fd8a580c60d624ae87940acecb0fa8b31"


def test_digits_are_enlarged_as_scipy_does_and_centred() -> None:
    """SciPy's linear zoom is an independent hand; the centre of mass is at 14 to half a pixel."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    small = load_digits().images
    expected = np.stack(
        [zoom(image, 2.5, order=1, mode="nearest", grid_mode=True) for image in small[:50]]
    )
    enlarged = datasets.digits._enlarged(small[:50].astype(np.int64))
    assert np.abs(enlarged - expected * 255 / 16).max() <= 0.5 + 1e-9

    (x_train, _), (x_test, _) = datasets.digits.load_data()
    images = np.concatenate([x_train, x_test]).astype(float)
    for axis in (1, 2):
        centre = images.sum(axis=axis) @ np.arange(28) / images.sum(axis=(1, 2))
        assert np.abs(centre - 14).max() <= 0.5


def test_synthetic_has_mnists_shape_and_density() -> None:
    (x_train, y_train), (x_test, y_test) = datasets.synthetic.load_data((20_000, 1_000))
    assert (x_train.shape, x_test.shape) == ((20_000, 28, 28), (1_000, 28, 28))
    assert {a.dtype for a in (x_train, y_train, x_test, y_test)} == {np.dtype(np.uint8)}
    chance = (x_train > 0).mean(axis=0)
    assert abs(chance.mean() - 0.19) < 0.002
    assert (chance == 0).sum() >= 67
    assert chance[9:19, 9:19].mean() > 0.4 and not x_train[:, 0, 0].any()
    assert set(y_train) == set(range(10))


@pytest.mark.parametrize("density", [0.001, 0.05, 0.5, 0.85])
def test_synthetic_density(density: float) -> None:
    (x, _), _ = datasets.synthetic.load_data((5_000, 1), density=density)
    assert (x > 0).mean() == pytest.approx(density, rel=0.03)


def test_synthetic_is_learnable_and_reproducible() -> None:
    """The nearest class mean is right far more often than one time in ten."""
    (x, y), (x_test, y_test) = first = datasets.synthetic.load_data((2_000, 500), rng=3)
    means = np.stack([(x[y == k] > 0).mean(axis=0).ravel() for k in range(10)])
    distance = ((x_test.reshape(-1, 1, 784) > 0) - means).__pow__(2).sum(axis=2)
    assert (distance.argmin(axis=1) == y_test).mean() > 0.9

    again = datasets.synthetic.load_data((2_000, 500), rng=np.random.default_rng(3))
    other = datasets.synthetic.load_data((2_000, 500), rng=4)
    np.testing.assert_array_equal(first[0][0], again[0][0])
    assert not np.array_equal(first[0][0], other[0][0])


@pytest.mark.parametrize(
    "wrong", [{"samples": (0, 1)}, {"density": 0.0}, {"density": 0.95}, {"classes": 257}]
)
def test_synthetic_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        datasets.synthetic.load_data(**wrong)


# What a file may unpack to and say ----------------------------------------------------------------


def deflated(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def blank(images: int, order: str = "C") -> Arrays:
    """Images of one grey: they unpack to a thousand times their size."""
    x = np.zeros((images, 28, 28), np.uint8, order=order)  # type: ignore[call-overload]
    return TINY | {"x_train": x, "y_train": np.zeros(images, np.uint8)}


UNPACKS: dict[str, Callable[[], bytes]] = {
    "one large array": lambda: deflated(**blank(100_000)),
    "one large array by columns": lambda: deflated(**blank(100_000, "F")),
    "wide labels": lambda: deflated(
        **blank(60_000)
        | {"y_train": np.zeros(60_000, np.int64), "y_test": np.zeros(9 * 2**20, int)}
    ),
    "two of a half each": lambda: deflated(
        **blank(45_000)
        | {"x_test": np.zeros((45_000, 28, 28), np.uint8), "y_test": np.zeros(45_000, np.uint8)}
    ),
}


@pytest.mark.parametrize("case", UNPACKS)
def test_a_small_file_may_not_unpack_to_much(tmp_path: Path, case: str) -> None:
    path = tmp_path / "bomb.npz"
    path.write_bytes(UNPACKS[case]())
    assert path.stat().st_size < 300_000
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="may unpack to"):
            datasets.load(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_small_gzip_may_not_unpack_to_much_either(tmp_path: Path) -> None:
    zeros = np.zeros((100_000, 28, 28), np.uint8)
    folder = idx_folder(tmp_path / "bomb", x_train=gzip.compress(idx(zeros), 9))
    with pytest.raises(DatasetError, match="may unpack to"):
        datasets.load(folder)


def test_blank_images_in_mnists_number_are_read(tmp_path: Path) -> None:
    path = tmp_path / "blank.npz"
    path.write_bytes(deflated(**blank(60_000)))
    assert datasets.load(path)[0][0].shape == (60_000, 28, 28)


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "x\nforged.npz: is fine", "\r\x07", "\u202egpj"])
def test_no_message_holds_what_a_file_wants_the_terminal_to_do(tmp_path: Path, name: str) -> None:
    """Not the file's name, nor its members', nor what a header says."""
    path = tmp_path / f"{name}.npz"
    header = b"\x93NUMPY\1\0\x40\0" + b"\x1b[2J\n" * 13
    for content in (npz({name: _X}), npz(TINY)[:-100], npz_with_member(header)):
        path.write_bytes(content)
        with pytest.raises(DatasetError) as caught:
            datasets.load(path)
        assert str(caught.value).isprintable()
