"""``cupy.RawKernel``: the CUDA source, compiled as C++ for the CPU.

A launch is refused unless number, kind and width of the arguments are those of the parameters, and
every array is in memory of the current device.
"""

from __future__ import annotations

import ctypes
import re
import sys
from math import prod

import numpy as np

from helpers import emulated_cuda
from helpers.strict_cupy.array import ndarray
from helpers.strict_cupy.cuda import enqueue
from helpers.strict_cupy.state import CUDARuntimeError, state
from xpnet.ops.cuda.launch import Kernel

READS_VIEWS = emulated_cuda.READS_VIEWS

LARGEST_GRID = 1 << 16
"""The number of blocks along the second and third axis is below."""

MOST_UNBOUNDED = 256
"""The most threads of a block that every kernel has registers for."""

NAMES = {
    **{"bool": "bool", "signed char": "int8", "unsigned char": "uint8", "short": "int16"},
    **{"unsigned short": "uint16", "int": "int32", "unsigned": "uint32", "long long": "int64"},
    **{"unsigned long long": "uint64", "float": "float32", "double": "float64"},
}


class Parameter:
    """A parameter of a kernel.

    Attributes:
        text: how it is declared.
        pointer: whether it takes an array.
        dtype: the dtype of its values; ``None`` if unknown.
    """

    def __init__(self, text, code):
        self.text, self.pointer = text, "*" in text
        name = text.rpartition(" ")[0].replace("*", "").replace("const", "")
        name = name.replace("__restrict__", "").strip()
        found = re.search(rf"typedef ([\w ]+) {name};|#define {name} (.*)", code)
        if found:
            name = (found[1] or found[2]).strip()
        self.dtype = np.dtype(NAMES[name]) if name in NAMES else None

    def checked(self, given, kernel):
        """The value that the kernel takes for an argument."""
        if isinstance(given, ndarray):
            assert self.pointer, f"{kernel}: an array for {self.text}"
            self._require_fit(given, kernel)
            if given._mem.device_id != state.current.device:
                raise CUDARuntimeError(f"cudaErrorIllegalAddress: {self.text} of {kernel}")
            return given.address()
        if not isinstance(given, np.generic):
            raise TypeError(f"{kernel}: {type(given)} for {self.text}")
        if self.pointer:
            assert given == 0 and given.nbytes == 8, f"{kernel}: {given!r} for {self.text}"  # noqa: PT018
        else:
            assert self.dtype in (None, given.dtype), f"{kernel}: {given.dtype} for {self.text}"
        return int.from_bytes(given.tobytes(), sys.byteorder)

    def _require_fit(self, array, kernel):
        same = self.dtype in (None, array.dtype)
        if kernel in READS_VIEWS:
            same = same or array.itemsize == self.dtype.itemsize
        assert same, f"{kernel}: an array of {array.dtype} for {self.text}"
        contiguous = array.flags.c_contiguous or kernel in READS_VIEWS
        assert contiguous, f"{kernel}: a strided array for {self.text}"


class RawKernel:
    """A kernel; it is compiled at the first launch."""

    def __init__(
        self,
        code,
        name,
        options=(),
        backend="nvrtc",
        *,
        translate_cucomplex=False,
        enable_cooperative_groups=False,
        jitify=None,
    ):
        assert isinstance(code, str)
        assert isinstance(options, tuple)
        self.kernel = Kernel(name, code)
        head = re.search(rf"__global__[^;{{]*?\b{re.escape(name)}\s*\(([^)]*)\)\s*{{", code, re.S)
        self._parameters = [Parameter(text.strip(), code) for text in head[1].split(",")]
        self._bounded = "__launch_bounds__" in code

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        name = self.kernel.name
        if len(args) != len(self._parameters):
            texts = [parameter.text for parameter in self._parameters]
            raise TypeError(f"{name}: {len(args)} arguments for {texts}")
        self._require_sizes(grid, block)
        pairs = zip(self._parameters, args, strict=True)
        values = [parameter.checked(given, name) for parameter, given in pairs]
        blocks = [given._mem for given in args if isinstance(given, ndarray)]
        launch = Launch(self.kernel, (grid, block), values, blocks)
        enqueue(f"raw:{name}", launch, blocks, stream, kernel=self.kernel)

    def _require_sizes(self, grid, block):
        if not type(grid) is type(block) is tuple:
            raise TypeError("grid and block must be tuples")
        assert min(grid) > 0
        assert max(grid[1:], default=0) < LARGEST_GRID
        most = 1024 if self._bounded else MOST_UNBOUNDED
        assert 0 < prod(block) <= most, f"{self.kernel.name}: {block} threads need launch bounds"


class Launch:
    """A launch with its arguments, each in 8 bytes, which may be repeated."""

    def __init__(self, kernel, sizes, values, blocks):
        self._function, n = emulated_cuda.compiled(kernel), len(values)
        self._values = (ctypes.c_uint64 * n)(*values)
        first = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * n)(*range(first, first + 8 * n, 8))
        self._sizes = [(ctypes.c_uint * 3)(*(*size, 1, 1)[:3]) for size in sizes]
        self._rooms = [block.room for block in blocks]  # they live as long as this

    def __call__(self):
        with state.lock:  # the emulation runs one kernel at a time
            self._function(*self._sizes, self._pointers, ctypes.c_bool(False))
