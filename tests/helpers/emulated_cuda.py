"""CUDA kernels on NumPy arrays: compiled as C++ for the CPU, where they run as on a device."""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

READS_VIEWS = ("to_16_bits",)  # it is told how far rows or columns lie apart

HEADER = Path(__file__).with_name("emulated_cuda.hpp")


@cache
def folder():
    """Where compiled kernels are kept for this run of the tests."""
    return tempfile.TemporaryDirectory(prefix="xpnet-kernels-")


@cache
def compiler():
    return shutil.which("g++") or shutil.which("clang++")


def compile_as_cpp(target, *source):
    flags = "-std=c++20", "-O1", "-U_FORTIFY_SOURCE", "-fPIC", "-w"  # it fears jumps
    command = [compiler(), *flags, "-o", target, *source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@cache
def precompiled_header():
    """The header, read once: most of the time of a small file's compilation goes there."""
    copy = shutil.copy(HEADER, folder().name)
    if "g++" in Path(compiler()).name and "clang" not in compiler():
        compile_as_cpp(f"{copy}.gch", "-x", "c++-header", copy)
    return copy


@cache
def compiled(kernel):
    """The kernel as a function of the machine's own."""
    header = precompiled_header()
    text = f'#include "{header}"\n{kernel.source}\nEMULATED({kernel.name})\n'
    stem = Path(folder().name) / hashlib.sha256(text.encode()).hexdigest()[:16]
    stem.with_suffix(".cpp").write_text(text, encoding="utf-8")
    # Symbolic: glibc has a function of its own called "advance".
    compile_as_cpp(f"{stem}.so", f"{stem}.cpp", "-shared", "-Wl,-Bsymbolic")
    return ctypes.CDLL(f"{stem}.so").emulated


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
        assert isinstance(argument, np.generic), f"{argument!r} has no size of its own"
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
