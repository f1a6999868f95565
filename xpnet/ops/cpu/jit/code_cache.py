"""Compiled loops on disk: machine code, which a later process runs without loading the compiler.

A file is the code of one loop as an object file, after a line of JSON that names the types of its
arguments. It is called by a digest of all that the code depends on, and begins with one of itself,
so that one that was cut short or changed is compiled anew.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import llvmlite.binding as llvm
import numpy as np

from xpnet import random
from xpnet._version import __version__
from xpnet.ops import rules
from xpnet.ops.cpu.jit.definition import Entry, Kind, Which
from xpnet.ops.cpu.jit.fingerprint import content_of

OWN = "NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS"
"""Variables of the compiler's that do not change what it makes."""

ROOT, OTHERS_MAY_WRITE = 0, 0o022


class Code(NamedTuple):
    """Machine code of a loop.

    Attributes:
        kinds: the types of its arguments.
        symbol: what its function is called in the object file.
        text: the object file.
    """

    kinds: tuple[Kind, ...]
    symbol: str
    text: bytes


def path_of(which: Which) -> Path | None:
    """Where the code of a loop is kept; `None` if there is no folder, or no name that tells it."""
    folder = _folder()
    if folder is None:
        return None
    try:
        name = repr([content_of(part) for part in which])
    except TypeError:
        return None
    return folder / blake2b(name.encode(), digest_size=16).hexdigest()


def read(path: Path) -> Code | None:
    """The code in a file; `None` if there is none, or it is not what this user has written."""
    try:
        with path.open("rb") as file:
            state, content = os.fstat(file.fileno()), file.read()
    except OSError:
        return None
    if state.st_uid not in (ROOT, os.getuid()) or state.st_mode & OTHERS_MAY_WRITE:
        return None
    seal, _, rest = content.partition(b"\n")
    if seal != _seal(rest):
        return None
    head, _, text = rest.partition(b"\n")
    kinds, symbol = json.loads(head)
    return Code(tuple(Kind(*kind) for kind in kinds), symbol, text)


def write(path: Path, code: Code) -> None:
    """Keep code in a file, whole or not at all; where it cannot be written, it is not kept."""
    rest = json.dumps([code.kinds, code.symbol]).encode() + b"\n" + code.text
    part = path.with_name(f"{path.name}.{uuid4().hex}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.touch(mode=0o644)
            part.write_bytes(_seal(rest) + b"\n" + rest)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def linked(code: Code) -> Entry:
    """Load code into this process."""
    _initialize()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code.text))
    engine.finalize_object()
    return Entry(engine.get_function_address(code.symbol), engine)


MEMORY = "memcmp", "memcpy", "memmove", "memset"
MATH = (
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign"),
    *("cos", "cosh", "erf", "erfc", "exp", "exp2", "expm1", "fabs", "floor", "fma", "fmod"),
    *("hypot", "ldexp", "lgamma", "log", "log10", "log1p", "log2", "nearbyint", "pow", "rint"),
    *("round", "sin", "sinh", "sqrt", "tan", "tanh", "tgamma", "trunc"),
)
EVERYWHERE = {*MEMORY, *MATH, *(f"{name}f" for name in MATH)}
"""Functions of the C library, which every process has."""


def stands_alone(calls: list[str]) -> bool:
    """Whether every process has the functions that code calls: one that it lacks would end it."""
    return os.name == "posix" and EVERYWHERE.issuperset(calls)


def _seal(rest: bytes) -> bytes:
    return blake2b(rest, digest_size=16).hexdigest().encode()


@cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def _folder() -> Path | None:
    """The folder of loops of these sources, this compiler and this processor."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    try:
        parent = Path(given) if given else _caches()
        versions = np.__version__, version("numba"), version("llvmlite"), sys.version
    except (RuntimeError, PackageNotFoundError):  # a user without a home, a program in one file
        return None
    settings = sorted(
        (k, v) for k, v in os.environ.items() if k.startswith("NUMBA_") and k not in OWN
    )
    how = versions, llvm.get_process_triple(), llvm.get_host_cpu_name(), _features(), settings
    return parent / "xpnet" / blake2b(_sources() + repr(how).encode(), digest_size=8).hexdigest()


def _features() -> str:
    try:
        return str(llvm.get_host_cpu_features().flatten(sort=True))
    except RuntimeError:  # LLVM does not know them on every system
        return ""


def _caches() -> Path:
    """Where programs of this user keep what they can make again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _sources() -> bytes:
    """All that goes into a loop."""
    own = Path(__file__).parent
    folders = own, own.parent, Path(rules.__file__).parent
    paths = [Path(random.__file__), *(path for f in folders for path in sorted(f.glob("*.py")))]
    try:
        return b"".join([__version__.encode(), *(path.read_bytes() for path in paths)])
    except OSError:  # a program packed into one file has no sources
        return __version__.encode()
