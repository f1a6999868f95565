"""CUDA kernels on NumPy arrays, compiled as C++ for the CPU.

The kernels that the library asks for are compiled some dozens at a time: most of the time of a
compilation goes to the headers. Compiled files are kept in the cache of pytest by the hash of what
they are made of, so that all workers and later runs load them.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from helpers import kernel_sources

try:
    import fcntl
except ImportError:  # on Windows workers compile what another worker compiles already
    fcntl = None

READS_VIEWS = ("to_16_bits",)  # takes the distances between rows and between columns

HEADER = Path(__file__).with_name("emulated_cuda.hpp")
FLAGS = ("-std=c++20", "-O1", "-U_FORTIFY_SOURCE", "-fPIC", "-w")  # it refuses jumps of the stack
IN_ONE_FILE = 80
"""The most kernel sources that are compiled together."""


class Cache:
    """The folder of compiled kernels; a temporary one until `use` names another."""

    path: Path | None = None

    @classmethod
    def use(cls, path):
        cls.path = path

    @classmethod
    def folder(cls):
        if cls.path is None:
            cls.path = Path(tempfile.mkdtemp(prefix="xpnet-kernels-"))
        return cls.path


@cache
def compiler():
    return shutil.which("g++") or shutil.which("clang++")


@cache
def version():
    done = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout


@contextmanager
def locked(path):
    """Let one worker at a time compile a file."""
    with open(path, "w", encoding="utf-8") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def stem_of(content):
    """The path, without a suffix, of what is compiled from ``content``."""
    return Cache.folder() / hashlib.sha256(content.encode()).hexdigest()[:24]


@cache
def library(text):
    """C++ code as a library, from the cache or compiled."""
    stem = stem_of("\n".join([version(), *FLAGS, HEADER.read_text(encoding="utf-8"), text]))
    target = stem.with_suffix(".so")
    if not target.exists():
        with locked(stem.with_suffix(".lock")):
            if not target.exists():
                compile_as_cpp(text, stem, target)
    return ctypes.CDLL(str(target))


@cache
def header():
    """A copy of the header in the cache; beside it lies a precompiled one, which g++ takes."""
    content = HEADER.read_text(encoding="utf-8")
    path = stem_of("\n".join([version(), *FLAGS, content])).with_suffix(".hpp")
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            if Path(compiler()).name == "g++":
                made, target = path.with_suffix(".new"), path.with_suffix(".hpp.gch")
                command = [compiler(), *FLAGS, "-x", "c++-header", "-o", made, HEADER]
                subprocess.run(command, capture_output=True, check=True)
                os.replace(made, target)
            path.write_text(content, encoding="utf-8")
    return path


def compile_as_cpp(text, stem, target):
    source, made = stem.with_suffix(".cpp"), stem.with_suffix(".new")
    source.write_text(f'#include "{header()}"\n{text}', encoding="utf-8")
    # Symbolic: glibc has a function of its own called "advance".
    command = [compiler(), *FLAGS, "-o", made, source, "-shared", "-Wl,-Bsymbolic"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    os.replace(made, target)
    source.unlink()


def names_in(source):
    """The names of the kernels in a source."""
    return re.findall(r"__global__\s+void\s+(?:__launch_bounds__\(.*?\)\s+)?(\w+)\(", source)


def together(sources):
    """The code of several sources, each in a namespace of its own, with their entry points."""
    parts = []
    for i, source in enumerate(sources):
        # C functions have one name in all namespaces.
        code = source.replace('extern "C"', "")
        defined = dict.fromkeys(re.findall(r"#define (\w+)", source))
        parts += [f"namespace part_{i} {{\n{code}\n}}", *(f"#undef {name}" for name in defined)]
        parts += [f"EMULATED(part_{i}::{name}, emulated_{i}_{name})" for name in names_in(source)]
    return "\n".join(parts)


@cache
def known_sources():
    """For each source that the library asks for: the sources it is compiled with."""
    every = [
        k.source
        for dtype in kernel_sources.DTYPES
        for g in kernel_sources.kernels(dtype)
        for k in g
    ]
    every = list(dict.fromkeys(every))
    parts = [tuple(every[i : i + IN_ONE_FILE]) for i in range(0, len(every), IN_ONE_FILE)]
    return {source: part for part in parts for source in part}


@cache
def compiled(kernel):
    """The kernel as a function of this machine."""
    sources = known_sources().get(kernel.source, (kernel.source,))
    number = sources.index(kernel.source)
    return getattr(library(together(sources)), f"emulated_{number}_{kernel.name}")


def launch(kernel, grid, block, arguments, backwards=False):
    """`xpnet.ops.cuda.launch.launch` on the CPU; blocks run from the last if ``backwards``."""
    sizes = [np.array((*size, 1, 1)[:3], np.uint32) for size in (grid, block)]
    assert sizes[0].min() > 0
    assert 0 < sizes[1].prod() <= 1024
    if sizes[1].prod() > 256:  # a device refuses them if a thread has many registers
        assert re.search(rf"__launch_bounds__\(32 \* ROWS\)\s+{kernel.name}\(", kernel.source)
    held = []
    for argument in arguments:
        if argument is None:
            argument = np.int64(0)  # noqa: PLW2901  a null pointer
        if isinstance(argument, np.ndarray):
            assert argument.flags.c_contiguous or kernel.name in READS_VIEWS
            argument = np.uint64(argument.ctypes.data)  # noqa: PLW2901
        assert isinstance(argument, np.generic), f"{argument!r} has no fixed size"
        held.append(np.array(argument))
    pointers = (ctypes.c_void_p * len(held))(*(value.ctypes.data for value in held))
    places = [size.ctypes.data_as(ctypes.c_void_p) for size in sizes]
    compiled(kernel)(*places, pointers, ctypes.c_bool(backwards))


def cuda_operations():
    """`CudaOperations` on NumPy arrays."""
    if compiler() is None:
        pytest.skip("no C++ compiler (g++ or clang++) to run CUDA kernels on the CPU")
    from xpnet.ops.cuda.operations import CudaOperations  # noqa: PLC0415

    return CudaOperations(np, launch)
