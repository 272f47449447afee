"""Files are whole or absent, where they are put, with the permissions that they had."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scratchnet import atomic

ROOT = os.geteuid() == 0


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def left(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# --- what is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077])
def test_a_new_file_has_what_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        atomic.write(tmp_path / "a", "new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == 0o666 & ~mask


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o644, 0o664, 0o666, 0o755, 0o200])
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_that_was_there_keeps_its_mode(tmp_path, bits, mask):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(bits)
    before = os.umask(mask)
    try:
        atomic.write(path, "new")
    finally:
        os.umask(before)
    assert mode(path) == bits
    path.chmod(0o600)
    assert path.read_text() == "new"


@pytest.mark.skipif(not ROOT, reason="only the superuser can give files away")
def test_a_file_of_somebody_elses_stays_theirs(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    os.chown(path, 1234, 4321)
    path.chmod(0o660)
    atomic.write(path, "new")
    found = path.stat()
    assert (found.st_uid, found.st_gid, mode(path)) == (1234, 4321, 0o660)


def test_where_a_group_cannot_be_kept_it_gets_no_more_than_anyone(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o664)
    honest = os.stat(path)
    status = os.stat_result([*honest[:4], honest.st_uid, honest.st_gid + 1, *honest[6:10]])
    monkeypatch.setattr(os, "fchown", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no")))
    with open(tmp_path / "b", "w") as file:
        atomic._copy_permissions(str(path), status, file.fileno())
    assert mode(tmp_path / "b") == 0o644


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_extended_attributes_stay(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    try:
        os.setxattr(path, "user.note", b"mine")
    except OSError:
        pytest.skip("the file system has no attributes")
    atomic.write(path, "new")
    assert os.getxattr(path, "user.note") == b"mine"


@pytest.mark.parametrize("kind", ["absolute", "relative", "chain", "into a folder", "dangling"])
def test_a_link_stays_and_what_it_names_is_replaced(tmp_path, kind):
    (tmp_path / "deep").mkdir()
    real, link = tmp_path / "deep" / "real.txt", tmp_path / "link.txt"
    if kind != "dangling":
        real.write_text("old")
        real.chmod(0o640)
    if kind == "relative":
        link.symlink_to(Path("deep", "real.txt"))
    elif kind == "chain":
        (tmp_path / "deep" / "other.txt").symlink_to("real.txt")
        link.symlink_to(Path("deep", "other.txt"))
    elif kind == "into a folder":
        (tmp_path / "away").symlink_to("deep")
        link = tmp_path / "away" / "real.txt"
    else:
        link.symlink_to(real)
    was_link = link.is_symlink()
    atomic.write(link, "new")
    assert link.is_symlink() == was_link and not real.is_symlink()
    assert real.read_text() == link.read_text() == "new"
    assert kind == "dangling" or mode(real) == 0o640
    assert not list(tmp_path.rglob(".*"))


# --- what is refused ------------------------------------------------------------------------------


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def unix_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


def read_only(path: Path) -> None:
    path.write_text("old")
    path.chmod(0o444)


def link_to_read_only(path: Path) -> None:
    read_only(path.with_name("real"))
    path.symlink_to("real")


def link_to_pipe(path: Path) -> None:
    pipe(path.with_name("real"))
    path.symlink_to("real")


REFUSED = {
    pipe: "is a pipe",
    link_to_pipe: "is a pipe",
    folder: "is a folder",
    unix_socket: "is a socket",
    device: "is a device",
    circle: "Too many levels of symbolic links",
    read_only: "is write-protected",
    link_to_read_only: "is write-protected",
}


@pytest.mark.parametrize("made", REFUSED, ids=lambda made: made.__name__)
def test_what_is_no_file_or_may_not_be_written_is_refused_and_stays(tmp_path, made):
    path = tmp_path / "a"
    made(path)
    before = {name: os.lstat(tmp_path / name)[:3] for name in left(tmp_path)}
    for attempt in (lambda: atomic.write(path, "new"), lambda: atomic.check_target(path)):
        with pytest.raises(OSError, match=REFUSED[made]) as caught:
            attempt()
        assert caught.value.filename == str(path)
        assert {name: os.lstat(tmp_path / name)[:3] for name in left(tmp_path)} == before


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_no_file_to_replace(name):
    if not os.path.exists(name):
        pytest.skip(f"no {name} here")
    code = f"from scratchnet import atomic; atomic.write({name!r}, 'x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and f"is a pipe: expected a file or a free name: '{name}'" in (
        done.stderr
    )


@pytest.mark.parametrize("name", ["new/", "nowhere/a", "file/a", "a" * 300, ".", ""])
def test_a_place_where_no_file_can_be_names_the_place(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError) as caught:
        atomic.write(name, "new")
    assert caught.value.filename == name and ".scratchnet" not in str(caught.value)
    assert left(tmp_path) == ["file"]


@pytest.mark.skipif(ROOT, reason="the superuser may write in every folder")
def test_a_folder_that_may_not_be_written_names_the_target(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError) as caught:
        atomic.write(tmp_path / "a", "new")
    tmp_path.chmod(0o755)
    assert caught.value.filename == str(tmp_path / "a")


# --- what goes wrong meanwhile --------------------------------------------------------------------


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(
    "error", [BrokenError("no"), KeyboardInterrupt(), SystemExit(1), OSError("x")]
)
def test_after_an_error_the_old_file_is_there_and_no_other(tmp_path, old, error):
    path = tmp_path / "a"
    if old:
        path.write_text("old")
    with pytest.raises(type(error)) as caught, atomic.replacing(path) as file:
        file.write(b"half")
        raise error
    assert caught.value is error
    assert left(tmp_path) == (["a"] if old else []) and (not old or path.read_text() == "old")


def test_an_error_about_another_file_stays_about_that(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic.replacing(tmp_path / "a") as file:
        file.write(Path(tmp_path, "nowhere").read_bytes())
    assert caught.value.filename == str(tmp_path / "nowhere")


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("old", [True, False])
def test_a_disk_that_fails_names_the_target_and_what_is_safe(
    tmp_path, monkeypatch, call, code, old
):
    path = tmp_path / "a"
    if old:
        path.write_text("old")

    def failing(*args, **_):
        name = args[0] if isinstance(args[0], str) else None
        raise OSError(code, os.strerror(code), *([name] if name else []))

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(OSError) as caught:
        atomic.write(path, "new")
    monkeypatch.undo()
    assert (caught.value.errno, caught.value.filename) == (code, str(path))
    assert ("the old file is untouched" if old else "nothing was written") in str(caught.value)
    assert left(tmp_path) == (["a"] if old else [])


def test_a_full_disk_for_real(tmp_path):
    """A limit on the size of files stands for it: the system says EFBIG in place of ENOSPC."""
    path = tmp_path / "a"
    path.write_text("old")
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            atomic.write(path, b"x" * 5000)
        except OSError as error:
            os._exit(0 if error.filename == str(path) and error.errno == errno.EFBIG else 2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert left(tmp_path) == ["a"] and path.read_text() == "old"


def test_a_folder_that_vanishes_meanwhile_names_the_target(tmp_path):
    place = tmp_path / "folder"
    place.mkdir()
    vanished = pytest.raises(FileNotFoundError, match="its folder does not exist")
    with vanished as caught, atomic.replacing(place / "a") as file:
        file.write(b"new")
        place.rename(tmp_path / "moved")
    assert caught.value.filename == str(place / "a")


# --- killed writers, and two at once --------------------------------------------------------------


def dying(path: Path, content: bytes) -> None:
    """A writer that is killed in the middle."""
    child = os.fork()
    if not child:
        with atomic.replacing(path) as file:
            file.write(content)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize("name", ["a", "a" * 255, "with\nline", "\u00fc", ".hidden"])
def test_what_killed_writers_left_goes_with_the_next_write(tmp_path, name):
    path = tmp_path / name
    for _ in range(3):
        dying(path, b"half")
        assert not path.exists() and len(left(tmp_path)) == 1
    dying(tmp_path / "other", b"half")
    atomic.write(path, "whole")
    assert path.read_text() == "whole"
    assert len(left(tmp_path)) == 2, "the other target's is not ours to delete"
    atomic.write(tmp_path / "other", "whole")
    assert left(tmp_path) == sorted([name, "other"])


def test_a_living_writers_file_is_not_taken_for_a_leftover(tmp_path):
    path = tmp_path / "a"
    with atomic.replacing(path) as slow:
        slow.write(b"slow")
        atomic.write(path, "quick")
        assert path.read_text() == "quick"
    assert path.read_text() == "slow" and left(tmp_path) == ["a"]


@pytest.mark.parametrize("what", ["folder", "link", "pipe"])
def test_what_only_looks_like_a_leftover_is_left_alone(tmp_path, what):
    (tmp_path / "mine").write_text("mine")
    fake = tmp_path / f"{atomic._prefix('a')}x.tmp"
    {"folder": fake.mkdir, "link": lambda: fake.symlink_to("mine"), "pipe": lambda: pipe(fake)}[
        what
    ]()
    atomic.write(tmp_path / "a", "new")
    assert (tmp_path / "mine").read_text() == "mine" and os.path.lexists(fake)


def test_many_writers_at_once_leave_one_whole_file(tmp_path):
    path, contents = tmp_path / "a", [bytes([65 + i]) * 100_000 for i in range(8)]

    failed = []

    def keep_writing(content):
        try:
            for _ in range(20):
                atomic.write(path, content)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=keep_writing, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert path.read_bytes() in contents and left(tmp_path) == ["a"]


def test_it_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    told, fsync, replace = [], os.fsync, os.replace
    kinds = {True: "folder", False: "file"}

    def note_fsync(descriptor):
        told.append(kinds[stat.S_ISDIR(os.fstat(descriptor).st_mode)])
        fsync(descriptor)

    def note_replace(*args):
        assert Path(args[0]).read_text() == "new", "not flushed to the system"
        told.append("rename")
        replace(*args)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    atomic.write(tmp_path / "a", "new")
    assert told == ["file", "rename", "folder"]
