"""Names of what is compiled, by which the disk and the linker tell one thing from another."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from numba.core.serialize import dumps

from xpnet import random
from xpnet.ops import rules

SOURCES = blake2b(
    Path(random.__file__).read_bytes()
    + b"".join(
        path.read_bytes()
        for folder in (Path(__file__).parent, Path(rules.__file__).parent)
        for path in sorted(folder.glob("*.py"))
    )
).digest()
"""Of all that goes into a loop: Numba's cache looks for changes in one file alone."""


def named(function: Callable[..., Any]) -> None:
    """Give a function a name that no other has, not even one of another process.

    The files of Numba's cache are called by it, and so is the code in them: of two functions of
    one name that two processes compiled, a third that reads both would run one for the other.

    Raises:
        TypeError: for a function that refers to what has no content, such as an open file.
    """
    try:
        content = dumps(function)
    except Exception as error:  # a user's object may refuse in its own way
        raise TypeError(f"{function.__qualname__} cannot be kept on disk: {error}") from error
    name = blake2b(SOURCES + content, digest_size=8).hexdigest()
    function.__qualname__ += f"-{name}"
