"""A fake cublasLt on host memory, and a fake machine with several CUDA devices."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import defaultdict
from functools import partial
from importlib.machinery import ModuleSpec
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np

from helpers.fake_device import Tape
from xpnet.ops.cuda import cublas_lt
from xpnet.ops.cuda.cublas_lt import MAX_WORKSPACE

INVALID_VALUE, EXECUTION_FAILED, NOT_SUPPORTED = 7, 13, 15
KINDS = {0: "float32", 1: "float64", 2: "float16", 14: "uint16"}  # NumPy has no bfloat16
ALGORITHM = 8  # numbers of an algorithm, with which a result of the heuristic begins


def widened(x, dtype):
    """The numbers of ``x``, of which uint16 are the upper halves of float32 ones."""
    if x.dtype == "uint16":
        return (x.astype("uint32") << 16).view("float32")
    return x.astype(dtype)


def at(address, dtype, n=1):
    """``n`` numbers at an address."""
    size = np.dtype(dtype).itemsize * n
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype)


def column(address, rows, columns, leading, dtype):
    """A matrix of columns ``leading`` numbers apart at an address."""
    flat = at(address, dtype, leading * (columns - 1) + rows)
    strides = flat.itemsize, flat.itemsize * leading
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), strides)


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


class CublasLt:
    """The library on host memory, as strict as the real one.

    Arguments are integers. Descriptors are numbers, as pointers are; destroyed ones are invalid. A
    wrong size or attribute is refused with the status of the library, and a wrong argument of a
    product, which may crash the library, is an error.

    Args:
        machine: the `Devices` that it runs on.
    """

    ATTRIBUTES: ClassVar = {
        "MatmulDesc": {3: "int32", 4: "int32", 7: "uint32", 8: "int64"},
        "MatmulPreference": {1: "uint64", 5: "uint32", 6: "uint32", 7: "uint32", 8: "uint32"},
    }

    def __init__(self, machine):
        self.machine, self.alive, self.asked, self.trouble = machine, {}, [], None
        self.workspace = 0  # the bytes that every algorithm takes
        self.relu, self.ended, self.handles = np.maximum, [], []
        self.numbers = count(1000)

    def __getattr__(self, name):
        return partial(self._call, name.removeprefix("cublasLt"))

    def _call(self, name, *arguments):
        assert all(type(argument) is int for argument in arguments), (name, arguments)
        self.machine.calls.append(name)
        if name.endswith("SetAttribute"):
            return self._set(self.ATTRIBUTES[name.removesuffix("SetAttribute")], *arguments)
        if name.endswith("Destroy"):
            return self._destroy(*arguments)
        return getattr(type(self), f"_{name}")(self, *arguments)

    def _new(self, place, content):
        number = next(self.numbers)
        self.alive[number] = content
        at(place, "int64")[0] = number
        return 0

    def _destroy(self, which):
        return 0 if self.alive.pop(which, None) is not None else INVALID_VALUE

    def _set(self, types, which, attribute, address, size):
        dtype = types.get(attribute)
        if which not in self.alive or dtype is None or size != np.dtype(dtype).itemsize:
            return INVALID_VALUE
        self.alive[which][attribute] = int(at(address, dtype)[0])
        return 0

    def _Create(self, place):  # noqa: N802
        if self.trouble == "no device":
            return 1
        self._new(place, {"device": self.machine.current})
        self.handles.append((self.machine.current, int(at(place, "int64")[0])))
        return 0

    def _MatmulDescCreate(self, place, compute, scale):  # noqa: N802
        return self._new(place, {"compute": compute, "scale": scale, 3: 0, 4: 0, 7: 1, 8: 0})

    def _MatrixLayoutCreate(self, place, kind, rows, columns, leading):  # noqa: N802
        assert rows >= 1 <= columns
        return self._new(place, (kind, rows, columns, leading))

    def _MatmulPreferenceCreate(self, place):  # noqa: N802
        return self._new(place, {1: 0} | dict.fromkeys((5, 6, 7, 8), 256))

    def _MatmulAlgoGetHeuristic(self, handle, product, a, b, c, d, preference, *rest):  # noqa: N802
        wanted, results, found = rest
        assert wanted == 1
        assert self.alive[handle]["device"] == self.machine.current
        how, limits = self.alive[product], self.alive[preference]
        self.asked.append((dict(how), dict(limits)))
        assert how[7] == 1 or how[8] % 256 == 16  # the smallest alignment of a vector
        assert 0 < limits[1] < MAX_WORKSPACE
        if self.trouble in ("refused", "asked badly"):
            return NOT_SUPPORTED if self.trouble == "refused" else INVALID_VALUE
        if any(self.alive[x][3] < self.alive[x][1] for x in (a, b, c, d)):
            return INVALID_VALUE
        result = at(results, "uint64", 12)
        result[:ALGORITHM] = product, a, b, c, d, *(limits[key] for key in (5, 6, 8))
        result[ALGORITHM] = self.workspace
        at(results + 72, "int32")[0] = 15 if self.trouble == "a bad state" else 0
        at(found, "int32")[0] = 0 if self.trouble == "none" else 1
        return 0

    def _Matmul(  # noqa: N802
        self, handle, product, alpha, a, of_a, b, of_b, beta, c, of_c, d, of_d, algorithm, *rest
    ):
        workspace, size, stream = rest
        if self.trouble in ("failed", "refused late"):
            return EXECUTION_FAILED if self.trouble == "failed" else NOT_SUPPORTED
        assert self.alive[handle]["device"] == self.machine.current
        if self.workspace:
            assert self.machine.workspaces[workspace] == (self.machine.current, size)
        assert size >= self.workspace
        token = at(algorithm, "uint64", ALGORITHM).tolist()
        assert token[:5] == [product, of_a, of_b, of_c, of_d]
        assert not any(place % need for place, need in zip((a, b, d), token[5:], strict=True))
        assert (c, of_c) == (d, of_d)
        self.machine.products.append((threading.get_ident(), handle, stream))
        # The arguments of the kernel are read now; the descriptor may change before it runs.
        how = dict(self.alive[product])
        sides = [(place, *self.alive[of]) for place, of in ((a, of_a), (b, of_b), (d, of_d))]
        numbers = [at(place, KINDS[sides[2][1]])[0] for place in (alpha, beta)]
        self.run(how, *numbers, *sides)
        Tape.add(self.run, how, *numbers, *sides)
        return 0

    def run(self, how, one, zero, a, b, d):
        """The kernel, on memory that has the layouts of its descriptors."""
        kind, out_kind = a[1], d[1]
        assert kind == b[1]
        assert out_kind == {1: 1}.get(kind, 0)  # 16 bits are summed in float32
        assert how["scale"] == out_kind
        assert how["compute"] in {0: (68, 77), 1: (70,)}.get(kind, (68,))
        assert (one, zero) == (1, 0)
        dtype = KINDS[out_kind]
        left, right = (widened(column(x[0], *x[2:], KINDS[kind]), dtype) for x in (a, b))
        left, right = (x.T if how[t] else x for x, t in ((left, 3), (right, 4)))
        out = column(d[0], *d[2:], dtype)
        with np.errstate(all="ignore"):  # a device does not warn
            z = left @ right
        assert out.shape == z.shape
        self.ended.append(how[7])
        assert how[7] in (1, 4, 6, 256)
        if how[7] != 1:
            assert 0 < how[8] != 16, "no address of a vector"
            assert how[8] % 16 == 0, "misaligned address"
            vector = column(how[8], len(out), 1, len(out), dtype)
        if how[7] in (4, 6):
            z = z + vector
        if how[7] == 6:
            z = self.relu(z, z.dtype.type(0))
        if how[7] == 256:
            assert not how[3], "BGRADA is documented for A as it is in memory"
            vector[:, 0] = left.sum(axis=1)
        out[...] = z


class Devices:
    """Fake CuPy and cublasLt of a machine with several devices, on host memory.

    Attributes:
        current: the number of the current device.
        stream: the address of the current stream, by thread.
        calls: the names of the library's functions that were called, and ``("empty", n)`` for
            memory of n elements that was allocated.
        products: the thread, handle and stream of each product.
        workspaces: the device and size of each workspace, by address.
        broken: whether the library cannot be loaded.
        loaded: how many times it was loaded, or tried to be.
    """

    def __init__(self, monkeypatch):
        self.current, self.calls, self.products, self.workspaces = 0, [], [], {}
        self.broken, self.loaded, self.stream = False, 0, defaultdict(lambda: 5)
        self.lt = CublasLt(self)
        cupy = ModuleType("cupy")
        cupy.__spec__ = ModuleSpec("cupy", None)
        cupy.ndarray, cupy.empty = SimpleNamespace, self.empty
        cupy.cuda = SimpleNamespace(
            get_device_id=lambda: self.current,
            get_current_stream=lambda: SimpleNamespace(ptr=self.stream[threading.get_ident()]),
            alloc=self.alloc,
        )
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setattr(cublas_lt, "load", self.load)
        monkeypatch.setattr(cublas_lt, "address", lambda array: array.ctypes.data)
        monkeypatch.setattr(cublas_lt, "_of_thread", cublas_lt._OfThread())
        monkeypatch.setattr(cublas_lt, "_failures", {})
        monkeypatch.setattr(cublas_lt, "_idle_handles", defaultdict(list))

    def load(self):
        self.loaded += 1
        if self.broken:
            raise OSError("no libcublasLt")
        return self.lt

    def alloc(self, size):
        place = (1 + len(self.workspaces)) << 40
        self.workspaces[place] = self.current, size
        return SimpleNamespace(ptr=place)

    def empty(self, n, dtype):
        self.calls.append(("empty", n))
        return np.full(n, 7, dtype)
