"""The stand-in in the place of CuPy, for as long as a test runs that needs CuPy."""

from __future__ import annotations

import importlib
import sys
import types
from collections import defaultdict
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec

from helpers import emulated_cuda
from helpers.strict_cupy import cuda, memory
from helpers.strict_cupy.cublas_lt import CublasLt
from helpers.strict_cupy.functions import OWN, Generator, namespace
from helpers.strict_cupy.raw_kernel import RawKernel
from helpers.strict_cupy.state import CUDARuntimeError, state
from helpers.strict_cupy.table import recorded_table
from xpnet.ops.cuda import cublas_lt, launch

COMPAT = "array_api_compat.cupy"


def why_not():
    """Why the stand-in cannot be used here; empty if it can."""
    return "" if emulated_cuda.compiler() else "no C++ compiler (g++ or clang++) to run its kernels"


@contextmanager
def installed():
    """Let ``import cupy`` give the stand-in."""
    ours, compat = modules(), sys.modules["array_api_compat"]
    before = {name: sys.modules[name] for name in ours if name in sys.modules}
    sys.modules.update(ours)
    compat.cupy = ours[COMPAT]
    launch.compiled.cache_clear()
    before_library = {name: getattr(cublas_lt, name) for name in library_state()}
    vars(cublas_lt).update(library_state())
    try:
        yield
    finally:
        vars(cublas_lt).update(before_library)
        launch.compiled.cache_clear()
        for name in ours:
            del sys.modules[name]
        sys.modules.update(before)
        del compat.cupy
        if COMPAT in before:
            compat.cupy = before[COMPAT]
        state.current.use(0)


def is_replaced(name):
    """Whether a module is CuPy, or was imported against it."""
    tops = "cupy", "cupyx", COMPAT
    return name in tops or name.startswith(tuple(f"{top}." for top in tops))


@cache
def modules():
    """The modules of the stand-in, and the one of array-api-compat that is imported with them."""
    importlib.import_module("array_api_compat")
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if is_replaced(name)}
    sys.modules.update(cupy_modules())
    try:
        importlib.import_module(COMPAT)
        return {name: sys.modules[name] for name in list(sys.modules) if is_replaced(name)}
    finally:
        for name in [name for name in sys.modules if is_replaced(name)]:
            del sys.modules[name]
        sys.modules.update(before)


@cache
def library_state():
    """What `xpnet.ops.cuda.cublas_lt` knows of the library: here the fake one, by name."""
    library = CublasLt()
    of_threads = {"_of_thread": cublas_lt._OfThread(), "_failures": {}}
    return of_threads | {"_idle_handles": defaultdict(list), "load": lambda: library}


def cupy_modules():
    version = recorded_table()["version"]
    parts = "linalg", "fft", "random"
    top, *rest = (namespace(n, version) for n in ("cupy", *(f"cupy.{part}" for part in parts)))
    vars(top).update(OWN, RawKernel=RawKernel, cuda=cuda_module())
    vars(top).update(zip(parts, rest, strict=True))
    top.linalg.matmul, top.random.default_rng = top.matmul, Generator
    found = {"cupy": top, "cupy.cuda": top.cuda, "cupy.cuda.device": top.cuda.device}
    found |= {f"cupy.{part}": module for part, module in zip(parts, rest, strict=True)}
    for name, module in found.items():
        module.__spec__, module.__path__ = ModuleSpec(name, None), []
    return found


def cuda_module():
    """``cupy.cuda``."""
    module = types.ModuleType("cupy.cuda")
    vars(module).update({name: getattr(cuda, name) for name in ("Device", "Event", "Stream")})
    vars(module).update(
        {name: getattr(memory, name) for name in ("Memory", "MemoryPointer", "MemoryPool")}
    )
    module.get_current_stream = cuda.get_current_stream
    module.get_elapsed_time = cuda.get_elapsed_time
    module.get_device_id = lambda: state.current.device
    module.alloc, module.using_allocator = memory.alloc, memory.using_allocator
    module.alloc_pinned_memory = lambda size: memoryview(bytearray(max(size, 1)))
    module.device = types.ModuleType("cupy.cuda.device")
    module.device.Device = cuda.Device
    module.runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDevice=module.get_device_id,
        getDeviceCount=lambda: memory.N_DEVICES,
        getDeviceProperties=lambda device: {"name": f"stand-in {device}".encode()},
        memGetInfo=lambda: cuda.Device().mem_info,
        runtimeGetVersion=lambda: 13000,
    )
    table = recorded_table()["cupy.cuda"]
    known = " ".join([*table["functions"], table["types"], table["modules"]]).split()
    assert not {name for name in vars(module) if name[0] != "_"} - set(known)
    return module
