"""Names of what is compiled, by which the disk and the linker tell one thing from another."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from numba.core.serialize import dumps

from xpnet import random
from xpnet._version import __version__
from xpnet.ops import rules


def _sources() -> bytes:
    """All that goes into a loop: Numba's cache looks for changes in one file alone."""
    folders = Path(__file__).parent, Path(rules.__file__).parent
    paths = [Path(random.__file__), *(path for f in folders for path in sorted(f.glob("*.py")))]
    try:
        return b"".join(path.read_bytes() for path in paths)
    except OSError:  # a program packed into one file has no sources, and no cache
        return __version__.encode()


SOURCES = blake2b(_sources()).digest()


def named(function: Callable[..., Any], *how: Any) -> None:
    """Give a function a name that no other has, not even one of another process.

    The files of Numba's cache are called by it, and so is the code in them: of two functions of
    one name that two processes compiled, a third that reads both would run one for the other.

    Args:
        function: what will be compiled.
        how: what else tells its code from that of the same function, such as types.

    Raises:
        TypeError: for a function that refers to what has no content, such as an open file.
    """
    try:
        content = dumps(function)
    except Exception as error:  # a user's object may refuse in its own way
        raise TypeError(f"{function.__qualname__} cannot be kept on disk: {error}") from error
    name = blake2b(SOURCES + content + repr(how).encode(), digest_size=8).hexdigest()
    function.__qualname__ += f"-{name}"
