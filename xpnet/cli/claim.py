"""Claim a run folder for one training, and remove what killed trainings left.

A training claims its folder by creating ``config.json``, which no other process can do again, and
locks the folder until it ends.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from xpnet.atomic import TEMPORARY, create_atomically, sweep, sync_folder
from xpnet.errors import Phrase, require

try:
    import fcntl
except ImportError:  # Windows has no locks of folders
    fcntl = None  # type: ignore[assignment]

MODEL, CHECKPOINT = "model.safetensors", "checkpoint.safetensors"
HISTORY, CONFIG, PICTURE = "history.csv", "config.json", "loss.png"
CONFUSION, RELIABILITY, RESIDUALS = "confusion.png", "reliability.png", "residuals.png"
FILES = MODEL, CHECKPOINT, HISTORY, CONFIG, PICTURE, CONFUSION, RELIABILITY, RESIDUALS
"""The files of a run folder."""

RUNS = Path("runs")
"""The folder of the runs for which no folder is given."""

DEFAULT_NAME = re.compile(r".+-\d{8}-\d{6}(-\d+)?")
"""The names of the folders in `RUNS`."""

NO_LOCK = -1
"""The descriptor of a lock where there are no locks: on Windows and on some file systems."""

FREE = "be a folder that no training is writing to"
NEW = "be a new or empty folder"


@contextmanager
def new_folder(out: Path | None, name: str, config: bytes) -> Iterator[Path]:
    """Yield a run folder that no other process writes to.

    After an error before the end of the first epoch, all that was made is removed.

    Args:
        out: a new or empty folder; its parents are made. ``None``: ``runs/<name>-<time>``, followed
            by a number if that exists.
        name: the beginning of the name of the folder if ``out`` is ``None``.
        config: the content of its ``config.json``.

    Raises:
        ArgumentError: if ``out`` exists and is not an empty folder, cannot be written, or another
            process has claimed it.
    """
    made: list[Path] = []
    lock = NO_LOCK
    try:
        try:
            if out is None:
                folder, lock = _claim_default(name, config, made)
            else:
                folder, lock = out, _claim_given(out, config, made)
        except OSError as error:
            got = Phrase(f"{out or RUNS} ({error.strerror})")
            require(False, "--out", "be a folder that can be written", got)
        try:
            yield folder
        except Exception:  # but not Ctrl-C, after which the run can be resumed
            if not (folder / HISTORY).exists():
                _clear(folder)
            raise
    finally:
        for path in reversed(made):
            with suppress(OSError):  # unless it is empty
                path.rmdir()
        _unlock(lock)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder that exists.

    Raises:
        ArgumentError: if a training writes to the folder.
        OSError: if the folder cannot be read.
    """
    lock = _lock(folder)
    require(lock is not None, "RUN", FREE, Phrase(f"{folder}, which is still in training"))
    try:
        sweep(folder)
        yield
    finally:
        _unlock(lock)


def _claim_default(name: str, config: bytes, made: list[Path]) -> tuple[Path, int]:
    """Make and claim a new folder in `RUNS`; return it with its lock."""
    stem = RUNS / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    _make_parents(stem, made)
    _sweep_runs(RUNS)
    for count in range(1, 10_000):
        folder = stem if count == 1 else stem.with_name(f"{stem.name}-{count}")
        with suppress(FileNotFoundError):  # another process may sweep it before the claim
            RUNS.mkdir(exist_ok=True)
            with suppress(FileExistsError):
                folder.mkdir()
                made.append(folder)
                lock = _claim(folder, config, folder)
                if lock is not None:
                    sync_folder(RUNS)
                    return folder, lock
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _claim_given(out: Path, config: bytes, made: list[Path]) -> int:
    """Claim a folder that is new or empty; return its lock."""
    folder = Path(os.path.realpath(out))  # a link may refer to a folder that is not made yet
    _make_parents(folder, made)
    _sweep_runs(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        made.append(folder)
        sync_folder(folder.parent)
    require(folder.is_dir(), "--out", NEW, Phrase(f"{out}, which is a file"))
    lock = _claim(folder, config, out)
    if lock is None:
        made.clear()  # it is another training that writes to them now
        require(False, "--out", NEW, Phrase(f"{out}, to which a training is writing"))
    return NO_LOCK if lock is None else lock


def _claim(folder: Path, config: bytes, shown: Path) -> int | None:
    """Create ``config.json`` in an empty folder, which messages show as ``shown``.

    Returns:
        The lock of the folder; ``None`` if another process holds it.

    Raises:
        ArgumentError: if it is not empty.
        OSError: if it cannot be written.
    """
    lock = _lock(folder)
    if lock is None:
        return None
    try:
        names = [name for name in os.listdir(folder) if not TEMPORARY.fullmatch(name)]
        require(not names, "--out", NEW, Phrase(f"{shown}, which is not empty"))
        create_atomically(folder / CONFIG, config)
    except BaseException:
        _unlock(lock)
        raise
    return lock


def _lock(folder: Path) -> int | None:
    """Lock a folder; return the descriptor that holds the lock, ``None`` if another one does."""
    if fcntl is None:
        return NO_LOCK
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        return None if isinstance(error, BlockingIOError) else NO_LOCK
    return descriptor


def _unlock(lock: int | None) -> None:
    if lock is not None and lock != NO_LOCK:
        os.close(lock)


def _make_parents(folder: Path, made: list[Path]) -> None:
    """Make the parents of a folder that do not exist, and add them to ``made``."""
    missing = [parent for parent in folder.absolute().parents if not parent.exists()]
    for parent in reversed(missing):
        with suppress(FileExistsError):  # another process may be faster
            parent.mkdir()
            made.append(parent)
            sync_folder(parent.parent)


def _clear(folder: Path) -> None:
    """Remove the files of a run that failed at once."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    sweep(folder)


def _sweep_runs(parent: Path) -> None:
    """Remove what killed trainings left in the run folders of ``parent``."""
    try:
        with os.scandir(parent) as entries:
            folders = [Path(e.path) for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:  # a folder may be writable but not readable
        return
    for folder in folders:
        unclaimed = parent == RUNS and DEFAULT_NAME.fullmatch(folder.name)
        if unclaimed or (folder / CONFIG).exists():
            sweep(folder)
        if unclaimed:
            with suppress(OSError):  # unless it is empty
                folder.rmdir()
