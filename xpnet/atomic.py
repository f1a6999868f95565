"""Write files atomically: they appear completely or not at all.

A temporary file beside the target is written, synchronized to disk and renamed. Its name is random,
so that no other thread, process or container uses it, and it is locked until it is renamed. One
without a lock was left by a process that was killed; the next write into the folder removes it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from xpnet.errors import Phrase, require

try:
    import fcntl
except ImportError:  # on Windows an open file cannot be removed, which replaces the lock
    fcntl = None  # type: ignore[assignment]

TEMPORARY = re.compile(r"\.xpnet-[0-9a-f]{32}\.tmp")
"""The names of temporary files: short, since the name of the target may be long."""

UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""The errors of file systems on which a folder cannot be synchronized."""

StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def write_atomically(path: StrPath, content: bytes, argument: str = "path") -> None:
    """Write a file, which appears completely or not at all; see `atomic_file`."""
    with atomic_file(path, argument) as temporary:
        temporary.write_bytes(content)


def create_atomically(path: Path, content: bytes) -> None:
    """Write a new file, which appears completely or not at all, and only in one of several calls.

    Raises:
        FileExistsError: if it exists.
        OSError: if it cannot be written.
    """
    sweep(path.parent)
    temporary, lock = _new_file(path.parent, 0o666)
    try:
        temporary.write_bytes(content)
        os.fsync(lock)
        if fcntl is None:
            os.close(lock)
            lock = -1
            temporary.rename(path)  # which refuses a name that exists on Windows
        else:
            _link(temporary, path)
    finally:
        if lock >= 0:
            os.close(lock)
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def require_writable(path: StrPath, argument: str = "path") -> None:
    """Refuse a path that `write_atomically` could not write, without changing the file.

    The temporary files of killed processes are removed, as by a write: a training that is resumed
    may write only much later.

    Raises:
        ArgumentError: if ``path`` is a folder or a device.
        FileNotFoundError: if its folder does not exist.
        OSError: if the folder cannot be written.
    """
    _, folder, _ = _target_of(path, argument)
    sweep(folder)
    try:
        temporary, lock = _new_file(folder, 0o600)
        os.close(lock)
        temporary.unlink()
    except OSError as error:
        rule = f"{argument} must be in a folder that can be written: {error.strerror}"
        raise OSError(error.errno, rule, os.fsdecode(path)) from None


@contextmanager
def atomic_file(path: StrPath, argument: str = "path") -> Iterator[Path]:
    """Yield an empty temporary file, renamed to ``path`` at the end or deleted after an error.

    A symbolic link is kept, and the file that it refers to is replaced. The new file has the
    permissions of the one that it replaces.

    Args:
        path: the file.
        argument: the name of ``path`` in error messages.

    Raises:
        ArgumentError: if ``path`` is a folder or a device.
        FileNotFoundError: if its folder does not exist.
        OSError: if the file cannot be written; the previous one remains.
    """
    target, folder, mode = _target_of(path, argument)
    sweep(folder)
    temporary, lock = _new_file(folder, 0o666 if mode is None else 0o600)
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(mode)
        os.fsync(lock)
        if fcntl is None:
            os.close(lock)
            lock = -1
        temporary.replace(target)
    except BaseException:
        if fcntl is None and lock >= 0:
            os.close(lock)
            lock = -1
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if lock >= 0:
            os.close(lock)
    sync_folder(folder)


def real_path(path: StrPath) -> str:
    """Return the path of the file that is written for ``path``, which may be a symbolic link."""
    return os.path.realpath(os.fsdecode(path))


def _target_of(path: StrPath, argument: str) -> tuple[Path, Path, int | None]:
    """Return the file to replace, its folder, and the permissions of the present file."""
    name = os.fsdecode(path)
    target = Path(real_path(path))
    folder = target.parent
    if not folder.is_dir():
        shown = os.path.dirname(name) or "."
        raise FileNotFoundError(
            f"{argument} must be in an existing folder; there is none at {shown!r}."
        )
    try:
        mode = os.lstat(target).st_mode
    except FileNotFoundError:
        return target, folder, None
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    kind = "a folder" if stat.S_ISDIR(mode) else "a device"
    require(stat.S_ISREG(mode), argument, "be a file", Phrase(f"{name}, which is {kind}"))
    return target, folder, stat.S_IMODE(mode)


def _new_file(folder: Path, mode: int) -> tuple[Path, int]:
    """Return a new temporary file and the descriptor that locks it."""
    while True:
        path = folder / f".xpnet-{uuid4().hex}.tmp"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        _lock(lock)
        if path.exists():  # another process may have swept it before the lock
            return path, lock
        os.close(lock)


def _lock(descriptor: int) -> None:
    """Lock an open file; where the file system has no locks, nothing is swept either."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def sweep(folder: Path) -> None:
    """Remove the temporary files in ``folder`` of processes that have been killed."""
    try:
        with os.scandir(folder) as entries:
            left = [entry.path for entry in entries if TEMPORARY.fullmatch(entry.name)]
    except OSError:  # a folder may be writable but not readable
        return
    for path in left:
        with suppress(OSError):
            if fcntl is None:
                os.unlink(path)
            else:
                _remove_unlocked(path)


def _remove_unlocked(path: str) -> None:
    """Remove a temporary file; raise `OSError` if a process has locked it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)


def _link(temporary: Path, path: Path) -> None:
    """Give a file a further name, which must be new."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # the file system has no links: the file is not complete at once
        with path.open("xb") as stream:
            stream.write(temporary.read_bytes())
            os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Synchronize the names in a folder, on systems that can."""
    if fcntl is None:
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
