"""A fake cuBLAS on host memory, and fake machines with CUDA devices."""

from __future__ import annotations

import ctypes
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np

from helpers import emulated_cuda
from xpnet.ops.cuda.matmul import Cublas, Product


class ColumnMajor:
    """`nvmath.bindings.cublas` on host memory, with the arguments that BLAS defines."""

    def __init__(self):
        self.calls = []

    def create(self):
        return 7

    def set_stream(self, handle, stream):
        self.calls.append(("stream", handle, stream))

    def set_workspace(self, handle, workspace, size):
        self.calls.append(("workspace", handle, workspace, size))

    def gemm_ex(self, handle, ta, tb, m, n, k, alpha, a, at, lda, b, bt, ldb, *rest):
        beta, c, ct, ldc, compute, algo = rest
        assert (handle, algo) == (7, -1)
        assert at == bt
        assert ct == {1: 1}.get(at, 0)  # 16 bits are summed in float32
        assert compute in {0: (68, 77), 1: (70,)}.get(at, (68,))
        dtype = KINDS[ct]
        one, zero = (column(p, 1, 1, 1, dtype)[0, 0] for p in (alpha, beta))
        left = widened(column(a, *((k, m) if ta else (m, k)), lda, KINDS[at]), dtype)
        right = widened(column(b, *((n, k) if tb else (k, n)), ldb, KINDS[bt]), dtype)
        out = column(c, m, n, ldc, dtype)
        out[...] = one * (left.T if ta else left) @ (right.T if tb else right) + zero
        self.calls.append(("gemm",))


KINDS = {0: "float32", 1: "float64", 2: "float16", 14: "uint16"}  # NumPy has no bfloat16


def widened(x, dtype):
    """The numbers of ``x``, of which uint16 are the upper halves of float32 ones."""
    if x.dtype == "uint16":
        return (x.astype("uint32") << 16).view("float32")
    return x.astype(dtype)


def column(address, rows, columns, leading, dtype):
    """A matrix of columns ``leading`` numbers apart at an address."""
    assert leading >= rows
    size = np.dtype(dtype).itemsize * (leading * (columns - 1) + rows)
    flat = np.frombuffer((ctypes.c_char * size).from_address(address), dtype)
    strides = flat.itemsize, flat.itemsize * leading
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), strides)


def cublas(precision="float32"):
    bindings, memory = ColumnMajor(), SimpleNamespace(ptr=99)
    handle = Cublas(bindings, lambda: 5, memory, lambda array: array.ctypes.data)

    def empty(n):
        bindings.calls.append(("empty", n))
        return np.full(n, 7, "uint16")

    return bindings, Product(precision, lambda: handle, empty, emulated_cuda.launch)


def rounded(x, precision):
    """float32 numbers rounded to the nearest of 16 bits, ties to even."""
    if precision == "fp16":
        with np.errstate(over="ignore"):
            return x.astype("float16").astype("float32")
    below = (x.view("uint32") & 0xFFFF0000).view("float32")
    above = (below.view("uint32") + np.uint32(0x10000)).view("float32")
    exact, *ends = (e.astype("float64") for e in (x, below, above))
    ends = [np.where(np.isinf(e), np.copysign(2.0**128, e), e) for e in ends]
    gap, rest = (abs(e - exact) for e in ends)
    odd = below.view("uint32") >> 16 & 1
    nearest = np.where((gap > rest) | ((gap == rest) & (odd == 1)), above, below)
    return np.where(np.isfinite(x), nearest, x)


class Devices:
    """Fake CuPy and nvmath-python modules of a machine with several devices."""

    def __init__(self, monkeypatch):
        self.current, self.created, self.workspaces, self.broken = 0, [], [], False
        cuda = SimpleNamespace(
            get_device_id=lambda: self.current,
            get_current_stream=lambda: SimpleNamespace(ptr=5),
            alloc=self.alloc,
        )
        cublas = ColumnMajor()
        cublas.create = self.create
        modules = {"cupy": {"cuda": cuda}, "nvmath": {}, "nvmath.bindings": {}}
        for name, content in modules.items():
            module = ModuleType(name)
            vars(module).update(content, __spec__=ModuleSpec(name, None))
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(sys.modules, "nvmath.bindings.cublas", cublas)

    def alloc(self, size):
        self.workspaces.append((self.current, size))
        return SimpleNamespace(ptr=99)

    def create(self):
        if self.broken:
            raise OSError("no libcublas")
        self.created.append(self.current)
        return 7
