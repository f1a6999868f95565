"""Compiled loops on disk, which a later process loads without loading the compiler.

A file holds the object code of one loop after a line of JSON with the types of its arguments. Its
name is a digest of all that the code depends on. It begins with a digest of its own name and
content, so that a truncated, modified or renamed file is not used and the loop is compiled again.
Nor is one that another user could have written, or put into its folder.

Numba has a cache too. It is not used here because it unpickles what it reads, does not notice that
a rule in another file has changed, and cannot load code without loading Numba, which takes longer
than a short training.
"""

from __future__ import annotations

import json
import os
import pkgutil
import sys
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import llvmlite.binding as llvm
import numpy as np

from xpnet.ops.cpu.jit.definition import ArgumentType, LoopKey
from xpnet.ops.cpu.jit.fingerprint import NoFingerprint, fingerprint_of, source_of

APPLICATION = __name__.partition(".")[0]
"""The name of the folder."""

IRRELEVANT = "NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS"
"""Variables of the compiler that do not change the code."""

ROOT, WRITABLE_BY_OTHERS = 0, 0o022


class ObjectCode(NamedTuple):
    """A loop as a file keeps it.

    Attributes:
        argument_types: the types of its arguments.
        symbol: the name of its function in the object code.
        data: the object code.
    """

    argument_types: tuple[ArgumentType, ...]
    symbol: str
    data: bytes


class CompiledCode(NamedTuple):
    """Machine code in this process: a function of the address of packed arguments.

    Attributes:
        address: its address.
        owner: the object that keeps the code in memory.
    """

    address: int
    owner: Any


def path_of(key: LoopKey) -> Path | None:
    """The file of a loop; ``None`` if there is no folder, or the loop has no fingerprint."""
    folder = _folder()
    if folder is None:
        return None
    try:
        name = repr([fingerprint_of(part) for part in key])
    except NoFingerprint:
        return None
    return folder / blake2b(name.encode(), digest_size=16).hexdigest()


def read(path: Path) -> ObjectCode | None:
    """The code in a file; ``None`` if there is none, or other users may have put it there."""
    try:
        with path.open("rb") as file:
            states = [os.fstat(file.fileno()), *map(os.stat, _folders_of(path))]
            content = file.read()
    except OSError:
        return None
    digest, _, rest = content.partition(b"\n")
    if not all(map(_is_private, states)) or digest != _digest(path, rest):
        return None
    head, _, data = rest.partition(b"\n")
    types, symbol = json.loads(head)
    return ObjectCode(tuple(ArgumentType(*kind) for kind in types), symbol, data)


def write(path: Path, code: ObjectCode) -> None:
    """Write a file, in full or not at all; an error of the file system is ignored."""
    rest = json.dumps([code.argument_types, code.symbol]).encode() + b"\n" + code.data
    part = path.with_name(f"{path.name}.{uuid4().hex}")
    with suppress(OSError):
        _make_private(path)
        for left in path.parent.glob(f"{path.name}.*"):  # of a process that was killed
            left.unlink(missing_ok=True)
        try:
            part.touch(mode=0o644)
            part.write_bytes(_digest(path, rest) + b"\n" + rest)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _folders_of(path: Path) -> tuple[Path, Path]:
    """The two folders of a loop that this module makes, the outer one first."""
    return path.parent.parent, path.parent


def _make_private(path: Path) -> None:
    """Make the folders of a loop, and remove the access of others to those that are ours."""
    for folder in _folders_of(path):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o755, exist_ok=True)
        state = folder.stat()
        if not _is_private(state) and state.st_uid == os.getuid():
            folder.chmod(state.st_mode & 0o7777 & ~WRITABLE_BY_OTHERS)


def link(code: ObjectCode) -> CompiledCode | None:
    """Load code into this process; ``None`` if it calls a function which this process lacks.

    Numba adds functions of its own to those of the C library, such as the ones that count
    references. They are not found here even where Numba is loaded.
    """
    builder = llvm.JITLibraryBuilder().add_object_img(code.data).add_current_process()
    name = uuid4().hex  # a linker accepts each name once
    try:
        library = builder.export_symbol(code.symbol).link(_linker(), name)
    except RuntimeError:
        return None
    return CompiledCode(library[code.symbol], library)


@cache
def _linker() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # JITLink, as LLVM itself does by default for ELF and Mach-O; it allocates the sections of an
    # object together, within reach of AArch64's relative addresses. For COFF it is incomplete.
    use_jit_link = sys.platform != "win32"
    return llvm.create_lljit_compiler(use_jit_link=use_jit_link, suppress_errors=True)


def _is_private(state: os.stat_result) -> bool:
    """Whether only this user and the administrator can have written a file or a folder.

    On Windows access control lists govern this, and those of a user's cache folder ensure it.
    """
    if not hasattr(os, "getuid"):
        return True
    return state.st_uid in (ROOT, os.getuid()) and not state.st_mode & WRITABLE_BY_OTHERS


def _digest(path: Path, rest: bytes) -> bytes:
    """The digest of the content of a file, and of its name with that of its folder."""
    name = f"{path.parent.name}/{path.name}\n".encode()
    return blake2b(name + rest, digest_size=16).hexdigest().encode()


@cache
def _folder() -> Path | None:
    """The folder of loops of this package's source code, this compiler and this processor."""
    parent, sources = _parent_folder(), _sources()
    if parent is None or not sources:
        return None
    try:
        versions = np.__version__, version("numba"), version("llvmlite"), sys.version
    except PackageNotFoundError:  # as in a program packed in one file
        return None
    settings = sorted(
        (k, v) for k, v in os.environ.items() if k.startswith("NUMBA_") and k not in IRRELEVANT
    )
    target = llvm.get_process_triple(), llvm.get_host_cpu_name(), _features()
    identity = sources + repr((versions, target, settings)).encode()
    return parent / blake2b(identity, digest_size=8).hexdigest()


def _parent_folder() -> Path | None:
    """The folder in ``NUMBA_CACHE_DIR``, or else among the user's caches.

    ``None`` without platformdirs, or where the user has no home.
    """
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given) / APPLICATION
    try:
        platformdirs = import_module("platformdirs")
    except ImportError:
        return None
    path = Path(platformdirs.user_cache_dir(APPLICATION, appauthor=False))
    return path if path.is_absolute() else None


def _features() -> str:
    try:
        return str(llvm.get_host_cpu_features().flatten(sort=True))
    except RuntimeError:  # LLVM does not know them on every system
        return ""


def _sources() -> bytes:
    """The source code of this package, on which every loop depends; empty if it has none."""
    package = __name__.rpartition(".")[0]
    names = sorted(module.name for module in pkgutil.iter_modules(sys.modules[package].__path__))
    try:
        return b"".join(source_of(f"{package}.{name}") for name in names)
    except NoFingerprint:
        return b""
