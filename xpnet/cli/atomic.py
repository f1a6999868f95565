"""Write files and folders atomically: they appear completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from xpnet.errors import Phrase, require


def default_folder(name: str) -> Path:
    """Return ``runs/<name>-<time>``, followed by a number if that exists."""
    stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, count = Path("runs") / stem, 1
    while folder.exists():
        count += 1
        folder = Path("runs") / f"{stem}-{count}"
    return folder


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder, renamed to ``folder`` at the end or deleted after an error.

    Raises:
        ArgumentError: if ``folder`` exists and is not an empty folder.
        OSError: if the folder cannot be written.
    """
    if os.path.lexists(folder):
        empty = folder.is_dir() and not any(folder.iterdir())
        got = Phrase(f"{folder}, which {'is not empty' if folder.is_dir() else 'is a file'}")
        require(empty, "--out", "be a new or empty folder", got)
    made = [parent for parent in folder.parents if not parent.exists()]
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            got = Phrase(f"{folder} ({error.strerror})")
            require(False, "--out", "be a folder that can be written", got)
        yield temporary
        if folder.is_dir():
            folder.rmdir()  # not every system renames onto an empty folder
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise


@contextmanager
def atomic_file(path: Path, argument: str) -> Iterator[Path]:
    """Yield a temporary path, renamed to ``path`` at the end or deleted after an error."""
    require(path.parent.is_dir(), argument, "be in an existing folder", str(path))
    require(not path.is_dir(), argument, "be a file", str(path))
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
