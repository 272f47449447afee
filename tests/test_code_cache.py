"""Compiled code on disk: kept, found again, and damaged in every way that files get damaged.

Whatever was done to a file, the next call gives the right number, says so in one line, and leaves a
cache that the call after it can use.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiler import numba_or_skip

numba = numba_or_skip()

from scratchnet.engines.compiled import cache  # noqa: E402

ROOT = Path(__file__).parents[1]


def double(x: Any) -> Any:
    return 2 * x


def halve(x: Any) -> Any:
    return x / 2


def fresh(function: Callable[..., Any] = double) -> Any:
    """The function as another process has it: with nothing compiled or loaded."""
    copy = types.FunctionType(function.__code__, globals(), function.__name__)
    copy.__module__ = __name__
    return cache.compiled(copy)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_said", set())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where code is kept, with that of two functions, one of them for two types."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    kept = fresh()
    assert kept(21) == 42 and kept(1.5) == 3 and fresh(halve)(3.0) == 1.5
    (place,) = (path for path in tmp_path.iterdir() if path.is_dir())
    return place


def hits(dispatcher: Any) -> int:
    return sum(dispatcher.stats.cache_hits.values())


def index_of(folder: Path, name: str = "double") -> Path:
    return next(folder.glob(f"*.{name}-*.nbi"))


def code_of(folder: Path, name: str = "double") -> Path:
    """The file of the first type."""
    return next(folder.glob(f"*.{name}-*.1.nbc"))


def test_kept_code_is_found_again_by_us_and_by_numba(folder: Path) -> None:
    again = fresh()
    assert again(21) == 42 and again(1.5) == 3 and hits(again) == 2
    assert cache.damage(again, fresh(halve)) == {}
    plain = types.FunctionType(double.__code__, globals(), "double")
    plain.__module__, plain.__qualname__ = __name__, again.py_func.__qualname__
    theirs = numba.njit(cache=True, nogil=True, _nrt=False, error_model="numpy")(plain)
    assert theirs(21) == 42 and hits(theirs) == 1


# --- damage ---------------------------------------------------------------------------------------


def cut(length: float) -> Callable[[Path], None]:
    """To a number of bytes, or for a fraction to that part."""

    def damage(path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(length * len(whole)) if 0 < length < 1 else int(length)])

    return damage


def flip(place: float) -> Callable[[Path], None]:
    """One bit, at a fraction of the length."""

    def damage(path: Path) -> None:
        whole = bytearray(path.read_bytes())
        whole[min(int(place * len(whole)), len(whole) - 1)] ^= 16
        path.write_bytes(whole)

    return damage


def write(contents: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(contents) and None


def to_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def to_garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_others(path: Path) -> None:
    """A whole file, of another function."""
    find = index_of if path.suffix == ".nbi" else code_of
    shutil.copy(find(path.parent, "halve"), path)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "empty": cut(0),
    "one byte": cut(1),
    "a third": cut(1 / 3),
    "all but the checksum": cut(-cache.CHECKSUM_BYTES),
    "all but one byte": cut(-1),
    "zeros": to_zeros,
    "garbage": to_garbage,
    "longer": longer,
    "a bit at its begin": flip(0),
    "a bit in the middle": flip(0.5),
    "a bit at its end": flip(1),
    "a pickle of a number": write(pickle.dumps(42)),
    "a pickle of as many things": write(pickle.dumps(numba.__version__) + pickle.dumps((1, {}))),
    "a pickle of no class": write(b"cnowhere\nNothing\n."),
    "text": write(b"No space left on device\n"),
    "another function's": to_others,
    "a folder": to_folder,
    "a pipe": to_pipe,
}


@pytest.mark.parametrize("file", [index_of, code_of])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_compiled_anew_overwritten_and_told_of_in_one_line(
    kind: str, file: Callable[[Path], Path], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = file(folder)
    DAMAGE[kind](path)
    assert [*cache.damage(fresh())] == [str(path)]
    first = fresh()
    assert first(21) == 42 and hits(first) == 0
    assert first(1.5) == 3
    assert [record.name for record in caplog.records] == ["scratchnet"]
    (line,) = caplog.text.splitlines()
    assert f"Compiled code is damaged: {path} " in line and line.endswith("Compiling anew.")

    caplog.clear()
    again = fresh()
    assert again(21) == 42 and again(1.5) == 3 and hits(again) == 2
    assert caplog.text == "" and cache.damage(again) == {}


def test_code_that_is_gone_is_compiled_anew(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    code_of(folder).unlink()
    assert [*cache.damage(fresh())] == [str(code_of_name(folder))]
    assert fresh()(21) == 42 and "is missing, though the index names it" in caplog.text
    again = fresh()
    assert again(21) == 42 and hits(again) == 1


def code_of_name(folder: Path) -> Path:
    """Where the code of the first type was, whether it is there or not."""
    return index_of(folder).with_suffix(".1.nbc")


def test_an_index_that_is_gone_is_made_anew_without_a_word(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in an empty folder: nothing says that there was one."""
    index_of(folder).unlink()
    assert fresh()(21) == 42 and caplog.text == "" and cache.damage(fresh()) == {}
    again = fresh()
    assert again(21) == 42 and hits(again) == 1


@pytest.mark.parametrize("file", [index_of, code_of])
def test_a_file_that_may_not_be_read_is_compiled_anew(
    file: Callable[[Path], Path],
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A superuser may read everything: so the refusal is played, until the file is another one."""
    path, read = file(folder), Path.read_bytes
    number = path.stat().st_ino

    def refuse(self: Path) -> bytes:
        if self == path and self.stat().st_ino == number:
            raise PermissionError(13, "Permission denied", str(self))
        return read(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert cache.damage(fresh()) == {str(path): "can't be read (Permission denied)"}
        assert fresh()(21) == 42
    (line,) = caplog.text.splitlines()
    assert "can't be read (Permission denied)" in line
    again = fresh()
    assert again(21) == 42 and hits(again) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read it")
@pytest.mark.parametrize("file", [index_of, code_of])
def test_a_file_without_permissions_is_compiled_anew(
    file: Callable[[Path], Path], folder: Path
) -> None:
    path = file(folder)
    path.chmod(0)
    assert fresh()(21) == 42
    assert stat.S_IMODE(path.stat().st_mode) != 0
    again = fresh()
    assert again(21) == 42 and hits(again) == 1


def test_no_length_and_no_changed_byte_passes_for_whole(folder: Path) -> None:
    """Every length of an index, and one bit in every byte of index and code."""
    path = index_of(folder)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(cache.DamagedFileError):
            cache.verify(path)
    for path in (index_of(folder), code_of(folder)):
        path.write_bytes(whole if path == index_of(folder) else path.read_bytes())
        cache.verify(path)
        contents = path.read_bytes()
        for place in range(0, len(contents), 1 if path == index_of(folder) else 97):
            changed = bytearray(contents)
            changed[place] ^= 1 << place % 8
            path.write_bytes(changed)
            with pytest.raises(cache.DamagedFileError):
                cache.verify(path)


def test_a_whole_file_that_cannot_be_loaded_is_compiled_anew(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Written by us, under its name, and of no use: another version of LLVM's, say."""
    path = code_of(folder)
    for contents in (pickle.dumps(42), pickle.dumps((1, 2, 3)), b"cnowhere\nNothing\n."):
        path.write_bytes(contents + cache._checksum(path.name, contents))
        cache.verify(path)
        assert fresh()(21) == 42
    (line,) = caplog.text.splitlines()
    assert str(folder) in line and line.endswith("Compiling anew.")
    again = fresh()
    assert again(21) == 42 and hits(again) == 1


def test_code_of_other_types_under_the_right_name_is_not_run(folder: Path) -> None:
    """Two processes that fill one cache may both call their file the first: the later one stays."""
    kept = fresh()
    files = kept._cache._cache_file
    index = files._load_index()
    whole, float_key = sorted(index, key=lambda key: str(key[0]))[::-1]
    assert str(whole[0]) == "(int64,)" and str(float_key[0]) == "(float64,)"
    index[whole] = index[float_key]
    files._save_index(index)
    again = fresh()
    assert again(1.5) == 3 and hits(again) == 1
    assert again(21) == 42 and hits(again) == 1


# --- what can't be kept ---------------------------------------------------------------------------


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["_save_index", "_save_data", "_open_for_write"])
def test_a_full_disk_ends_nothing(
    step: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(cache.CheckedFiles, step, full)
        kept = fresh()
        assert kept(21) == 42 and kept(1.5) == 3
    (line,) = caplog.text.splitlines()
    assert "can't be kept" in line and "(No space left on device)" in line
    assert str(tmp_path) in line and "NUMBA_CACHE_DIR" in line
    assert fresh()(21) == 42
    again = fresh()
    assert again(21) == 42 and hits(again) == 1


@contextlib.contextmanager
def in_the_way(folder: Path) -> Iterator[None]:
    """A folder that can't be made again, even by a superuser: its place is a file's."""
    shutil.rmtree(folder)
    folder.write_text("in the way")
    yield
    folder.unlink()


def test_a_folder_that_is_gone_ends_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = fresh()
    with in_the_way(folder):
        assert kept(21) == 42
    (line,) = (line for line in caplog.text.splitlines() if "can't be kept" in line)
    assert str(folder) in line


@pytest.mark.parametrize("file", [index_of, code_of])
def test_a_folder_with_something_in_it_stays_and_is_told_of(
    file: Callable[[Path], Path], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = file(folder)
    to_folder(path)
    (path / "precious").write_text("somebody's")
    assert fresh()(21) == 42
    assert "is not a file" in caplog.text and "can't be kept" in caplog.text
    assert (path / "precious").read_text() == "somebody's"


SMALL = """
import resource, sys
from scratchnet.engines.compiled import session
import numpy as np
if len(sys.argv) > 1:
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
assert session._count_nonzero(np.ones(6), 2, 3, np.zeros(3, bool)) == 6
print(sum(session._count_nonzero.stats.cache_hits.values()))
"""


def run(code: str, place: Path, *arguments: str, **environment: str) -> Any:
    found = {**os.environ, "NUMBA_CACHE_DIR": str(place), "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=found, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("size", ["0", "100", "3000"])
def test_a_limit_on_files_ends_nothing(size: str, tmp_path: Path) -> None:
    """The system's own: nothing can be written, not the index, or not the code."""
    done = run(SMALL, tmp_path, size)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    assert done.stderr.count("\n") == 1 and "can't be kept" in done.stderr
    assert run(SMALL, tmp_path).stdout == "0\n"
    done = run(SMALL, tmp_path)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_a_cache_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    """Neither one that is there but read-only, nor one whose place is a file."""
    taken = tmp_path / "taken"
    taken.write_text("a file")
    for place in (taken, Path("/proc/nowhere")):
        done = run(SMALL, place)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("locator", ["os.path", "nothing", "InTreeCacheLocator"])
def test_a_locator_that_is_none_is_done_without(locator: str, tmp_path: Path) -> None:
    done = run(SMALL, tmp_path, NUMBA_CACHE_LOCATOR_CLASSES=locator)
    assert done.returncode == 0, done.stderr


FIT = """
import numpy as np, scratchnet
from scratchnet.layers import Dense
model = scratchnet.Sequential([scratchnet.Input((4,)), Dense(3, "relu"), Dense(2)], seed=0)
model.compile("sgd", "mse", engine="compiled")
x = np.eye(4)[np.arange(40) % 4]
print(model.fit(x, x[:, :2], verbose=0).history["loss"], model.predict(x, verbose=0).sum())
"""


def test_a_whole_fit_goes_on_over_a_cache_of_torn_files(tmp_path: Path) -> None:
    """As a full disk leaves it: each file a stump. And `doctor` names them, before and after."""
    doctor = "from scratchnet.app.cli import main; main()"

    def finding() -> Any:
        done = run(doctor, tmp_path, "doctor", "--json")
        (found,) = (f for f in json.loads(done.stdout)["findings"] if "cache" in f["what"])
        return found

    first = run(FIT, tmp_path)
    assert first.returncode == 0 and "Compiling for this machine" in first.stderr
    assert finding()["status"] == "ok"
    files = [*tmp_path.rglob("*.nb[ic]")]
    for n, path in enumerate(files):
        path.write_bytes(path.read_bytes()[: n * 50])
    found = finding()
    assert found["status"] == "optional" and "damaged" in found["found"]
    assert all(p.name in found["found"] for p in files if p.suffix == ".nbi")
    assert found["remedy"].startswith("rm -rf ")

    second = run(FIT, tmp_path)
    assert (second.returncode, second.stdout) == (0, first.stdout), second.stderr
    said = second.stderr.splitlines()
    assert len(said) == 2 and "damaged" in said[0] and "Compiling for this machine" in said[1]
    assert finding()["status"] == "ok"
    third = run(FIT, tmp_path)
    assert (third.stdout, third.stderr) == (first.stdout, "")


# --- names, and what is said ----------------------------------------------------------------------


def test_a_function_that_cannot_be_kept_is_compiled_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scope: dict[str, Any] = {}
    exec(compile("def double(x): return 2 * x", "<nowhere>", "exec"), scope)
    unkept = cache.compiled(scope["double"])
    with numba.core.event.install_listener("numba:compile", cache.CompileNotice()):
        assert unkept(21) == 42
    assert cache.damage(unkept) == {} and cache.cache_folder(unkept) is None
    assert "ten seconds." in caplog.text and "kept" not in caplog.text


def test_first_use_says_that_it_compiles(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def use(x: Any) -> None:
        with numba.core.event.install_listener("numba:compile", cache.CompileNotice()):
            fresh()(x)

    use(1.5)
    assert caplog.text == ""
    use(1.5j)
    use(np.float32(1))
    assert [record.name for record in caplog.records] == ["scratchnet"]
    assert "some ten seconds, kept for the next time." in caplog.text


def test_kept_code_goes_by_a_name_that_knows_every_source(tmp_path: Path) -> None:
    """Numba looks at one file only; and an old index may name what is no longer there."""

    def name_in(home: Path) -> str:
        spec = importlib.util.spec_from_file_location("copied", home / "cache.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return str(module.compiled(lambda x: x).py_func.__qualname__)

    home = Path(cache.__file__).parent
    sources = sorted(path.name for path in home.glob("*.py"))
    assert {"vector.py", "records.py", "step.py", "elementwise.py"} < set(sources)
    names = {name_in(home)}
    for edited in sources:
        copy = tmp_path / edited
        shutil.copytree(home, copy, ignore=shutil.ignore_patterns("__pycache__"))
        assert name_in(copy) in names
        (copy / edited).write_text((copy / edited).read_text() + "\n# edited\n")
        names.add(name_in(copy))
    assert len(names) == 1 + len(sources)


def test_compiled_before_is_about_training(tmp_path: Path) -> None:
    code = SMALL + "print(session.compiled_before(), session._count_nonzero.py_func.__qualname__)"
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    _, before, name = done.stdout.split()
    assert before == "False"  # nothing has been trained
    assert len([*tmp_path.rglob(f"sparse.{name}-*.nbi")]) == 1
