"""Files whole or absent: what is written takes its place at once, or the old file stays.

A file is written beside its place, flushed to the disk and renamed, and the rename is flushed too.
A symbolic link stays and the file that it names is replaced; a file that is there keeps its
permissions, a new one gets what the umask leaves. What is no regular file, and a file that may not
be written, is refused. Every error names the target. Another hard link keeps the old content.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

try:
    import fcntl
except ImportError:  # no such system call: temporary files of killed writers stay
    fcntl = None  # type: ignore[assignment]

Target = str | os.PathLike[str]

PREFIX, SUFFIX = ".scratchnet-", ".tmp"
"""How the names of temporary files begin and end."""

KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def write(target: Target, content: bytes | str) -> None:
    """Make `content`, text as UTF-8, all that the file `target` holds.

    Raises:
        OSError: with `target` as its `filename`, as `replacing` does.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "note.txt")
    ...     write(path, "four")
    ...     write(path, b"five")
    ...     print(open(path).read(), os.listdir(folder))
    five ['note.txt']
    """
    with replacing(target) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(target: Target) -> Iterator[IO[bytes]]:
    """A new binary file that becomes `target` once the block has ended well.

    After any exception the old file is as it was. Temporary files that killed writers of the same
    target left are deleted; those of living writers are not.

    Raises:
        OSError: for what can't be written, with `target` as its `filename`: its folder is missing
            or not writable, the disk is full, it is a folder, device, pipe or socket, or
            write-protected.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "squares.txt")
    ...     with replacing(path) as file:
    ...         for n in range(4):
    ...             _ = file.write(b"%d " % n**2)
    ...     print(open(path).read())
    0 1 4 9
    """
    place, old = _resolved(target)
    temporary = None
    try:
        delete_leftovers(os.path.dirname(place), _prefix(place))
        descriptor, temporary = _create_beside(place, 0o666 if old is None else 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            if old is not None:
                _copy_permissions(place, old, descriptor)
            os.fsync(descriptor)
            os.replace(temporary, place)
            temporary = None
        flush_folder(os.path.dirname(place))
    except OSError as error:
        if error.errno is None or not _is_about(error, place):
            raise  # an error of the block's own, about something else
        raise _named(error, target, old) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def check_target(target: Target) -> None:
    """Refuse now what `replacing` would refuse, before there is anything to write.

    >>> check_target(os.sep)
    Traceback (most recent call last):
    IsADirectoryError: [Errno 21] is a folder: expected a file or a free name: '/'
    """
    place, _ = _resolved(target)
    folder = os.path.dirname(place)
    if not os.path.isdir(folder):
        raise OSError(errno.ENOENT, "its folder does not exist", os.fspath(target))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, "its folder may not be written", os.fspath(target))


def lock(descriptor: int) -> bool | None:
    """Whether this process now holds the lock of an open file or folder, which dies with it.

    None where the system, or the file system, has no such locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def flush_folder(folder: Target) -> None:
    """Names in a folder on the disk; one that can't be opened or flushed is left to the system."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | _CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _resolved(target: Target) -> tuple[str, os.stat_result | None]:
    """Where the file really is, and the status of what is there; `OSError` if it must stay."""
    name = os.fspath(target)
    place, found = os.path.realpath(name), None
    try:
        found = os.stat(name)
    except FileNotFoundError:
        if name.endswith((os.sep, os.altsep or os.sep)):
            raise OSError(errno.EISDIR, "names a folder: expected a file", name) from None
        return place, None
    kind = KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is not None:
        code = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
        raise OSError(code, f"{kind}: expected a file or a free name", name)
    # The superuser may write everything, and means to as little as anyone.
    if not (found.st_mode & 0o222 and os.access(name, os.W_OK)):
        raise OSError(errno.EACCES, "is write-protected: expected a writable file", name)
    if not os.path.exists(place):  # such as an open file that was deleted, by its descriptor
        raise OSError(errno.EINVAL, "has no place in a folder: expected a file", name)
    return place, found


def _prefix(place: str) -> str:
    """How the temporary files of a target begin, whatever its name's length and characters."""
    name = os.fsencode(os.path.basename(place))
    return f"{PREFIX}{hashlib.sha256(name).hexdigest()[:16]}-"


def _create_beside(place: str, mode: int) -> tuple[int, str]:
    """A new file in the folder of `place`, locked for as long as its writer lives: (fd, path)."""
    start = os.path.join(os.path.dirname(place), _prefix(place))
    while True:
        temporary = f"{start}{secrets.token_hex(8)}{SUFFIX}"
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _CLOEXEC, mode)
        # Another writer may have taken it for a leftover before it was locked.
        if lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            return descriptor, temporary
        os.close(descriptor)


_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


def delete_leftovers(folder: Target, prefix: str = PREFIX) -> None:
    """Delete the temporary files in a folder whose writers are dead."""
    with os.scandir(folder) as entries:
        found = [e.path for e in entries if e.name.startswith(prefix) and e.name.endswith(SUFFIX)]
    for path in found:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | _CLOEXEC)
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode) and lock(descriptor):
                    os.unlink(path)
            finally:
                os.close(descriptor)


def _copy_permissions(place: str, old: os.stat_result, descriptor: int) -> None:
    """Owner, group, mode and access lists of the old file for the new one, as far as we may."""
    mode = stat.S_IMODE(old.st_mode)
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with suppress(OSError):
            os.fchown(descriptor, -1, old.st_gid)
        with suppress(OSError):
            os.fchown(descriptor, old.st_uid, -1)
        if os.fstat(descriptor).st_gid != old.st_gid:  # what was this group's is not another's
            mode = mode & ~0o070 | (mode & 0o007) << 3
    os.fchmod(descriptor, mode)
    if hasattr(os, "listxattr"):
        with suppress(OSError):
            for name in os.listxattr(place):
                with suppress(OSError):
                    os.setxattr(descriptor, name, os.getxattr(place, name))


def _is_about(error: OSError, place: str) -> bool:
    """Whether an error is about the target, its folder or a temporary file of it."""
    if error.filename is None:
        return True
    folder, name = os.path.split(os.fsdecode(error.filename))
    if os.path.join(folder, name) in (place, os.path.dirname(place)):
        return True
    return folder == os.path.dirname(place) and name.startswith(_prefix(place))


def _named(error: OSError, target: Target, old: os.stat_result | None) -> OSError:
    """The error about the target, not about a temporary file, and what is still safe."""
    missing = error.errno == errno.ENOENT
    finding = "its folder does not exist" if missing else error.strerror or str(error)
    kept = "nothing was written" if old is None else "the old file is untouched"
    return OSError(error.errno, finding if missing else f"{finding}; {kept}", os.fspath(target))
