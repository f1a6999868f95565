"""Matrix products by a cuBLAS handle of our own.

CuPy refuses its cuBLAS while a stream is captured into a graph, though cuBLAS itself allows it. So
the products go through the bindings of ``nvmath-python``, into whatever memory they are given: a
gradient lands in its place in g.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array
from xpnet.errors import FallbackWarning, dtype_name
from xpnet.ops.cuda import sources
from xpnet.ops.cuda.launch import Launch, launch, launch_linear
from xpnet.ops.operations import Precision

WORKSPACE = 32 << 20
"""Bytes that cuBLAS may use for itself; NVIDIA recommends 32 MiB from Hopper on."""

# cudaDataType_t and cublasComputeType_t, in the bindings as enumerations of the same numbers.
_REAL = {"float32": 0, "float64": 1}
_SIXTEEN_BITS = {"bf16": 14, "fp16": 2}
_COMPUTE = {"float32": 68, "tf32": 77, "bf16": 68, "fp16": 68}
_COMPUTE_FLOAT64 = 70
_ANY_ALGORITHM = -1


class Matrix(NamedTuple):
    """A matrix as cuBLAS reads it, whose columns lie one after another.

    Attributes:
        transposed: whether what it reads is the transpose of what we mean by the memory.
        leading: the numbers from one column of it to the next.
    """

    transposed: bool
    leading: int


def as_columns(x: Array) -> Matrix | None:
    """How cuBLAS finds ``xᵀ`` in the memory of ``x: (m, n)``; ``None`` if it cannot.

    Rows that lie one after another are the columns of the transpose, so nothing is to be done for
    them; a transposed view has to be transposed back.

    >>> x = np.zeros((3, 2))
    >>> as_columns(x), as_columns(x.T), as_columns(np.zeros((4, 4))[::2, ::2])
    (Matrix(transposed=False, leading=2), Matrix(transposed=True, leading=2), None)
    """
    (m, n), size = x.shape, x.dtype.itemsize
    rows, columns = (stride // size for stride in x.strides)
    if (columns == 1 or n == 1) and (rows >= n or m == 1):
        return Matrix(False, max(rows if m > 1 else n, 1))
    if (rows == 1 or m == 1) and (columns >= m or n == 1):
        return Matrix(True, max(columns if n > 1 else m, 1))
    return None


class Factor(NamedTuple):
    """A factor of a product as it lies in memory.

    Attributes:
        memory: the array of its numbers, kept until the product is queued.
        shape: of the matrix, ``(m, n)``.
        kind: the type of its numbers.
        matrix: how cuBLAS reads it.
    """

    memory: Array
    shape: tuple[int, ...]
    kind: int
    matrix: Matrix


class Cublas:
    """A handle of cuBLAS on one device, with the workspace that all products there share.

    The stream is set before each product, so one thread at a time may use it.

    Attributes:
        bindings: the module ``nvmath.bindings.cublas``, or a stand-in.
        stream: gives the address of the current stream.
        memory: `WORKSPACE` bytes on the device, whose address is its ``ptr``.
        pointer: gives the address of an array's memory.
    """

    def __init__(
        self,
        bindings: Any,
        stream: Callable[[], int],
        memory: Any,
        pointer: Callable[[Array], int],
    ) -> None:
        self.bindings, self.stream, self.memory, self.pointer = bindings, stream, memory, pointer
        self._handle = bindings.create()
        self._numbers = {
            kind: (np.ones(1, name), np.zeros(1, name)) for name, kind in _REAL.items()
        }

    def multiply(self, a: Factor, b: Factor, out: Factor, compute: int) -> None:
        """Fill ``out: (m, n)`` with the product of ``a: (m, k)`` and ``b: (k, n)``.

        Args:
            a: the left factor.
            b: the right factor.
            out: takes the product; it must not be transposed.
            compute: in what cuBLAS computes.
        """
        (m, k), n = a.shape, b.shape[1]
        one, zero = self.one_and_zero(out.kind)
        self.bindings.set_stream(self._handle, self.stream())
        # Setting the stream puts the workspace back to one that cuBLAS chooses.
        self.bindings.set_workspace(self._handle, self.memory.ptr, WORKSPACE)
        # outᵀ = bᵀ aᵀ, for cuBLAS takes our rows for columns.
        self.bindings.gemm_ex(
            self._handle,
            int(b.matrix.transposed),
            int(a.matrix.transposed),
            n,
            m,
            k,
            one,
            *self._place(b),
            *self._place(a),
            zero,
            *self._place(out),
            compute,
            _ANY_ALGORITHM,
        )

    def one_and_zero(self, kind: int) -> tuple[int, int]:
        """The addresses, on the host, of these numbers in a type: what a product is scaled by."""
        one, zero = self._numbers[kind]
        return one.ctypes.data, zero.ctypes.data

    def _place(self, factor: Factor) -> tuple[int, int, int]:
        return self.pointer(factor.memory), factor.kind, factor.matrix.leading


@dataclass(frozen=True)
class Product:
    """``out ← a b``, on the device and the stream that are current at the call.

    In ``"bf16"`` and ``"fp16"`` both factors are rounded to 16 bits before, by a kernel of our own:
    matrix units take such numbers at twice the rate of tf32, and cuBLAS, which could also round
    float32 numbers itself, reads half the bytes. The sums and ``out`` are float32. What is beyond
    the range of fp16, about 65 504, becomes infinite.

    The rounded factors take 2 bytes a number, for one product or two: they come from CuPy's pool of
    memory and are given back when the products are queued. A captured step has a pool that lives as
    long as its graph, and the steps before the capture have filled it.

    Attributes:
        precision: in what float32 numbers are multiplied.
        cublas: gives the handle of the current device.
        empty: makes an array of so many uint16 on the device.
        launch: starts a kernel.
        ready: a factor of several products and what cuBLAS is to read for it; see `sharing`.
    """

    precision: Precision
    cublas: Callable[[], Cublas]
    empty: Callable[[int], Array]
    launch: Launch = launch
    ready: tuple[Array, Factor | None] | None = field(default=None, repr=False, compare=False)

    def __call__(self, a: Array, b: Array, out: Array) -> Array:
        """Fill ``out: (m, n)`` with the product of ``a: (m, k)`` and ``b: (k, n)``."""
        place = as_columns(out)
        fits = place is not None and not place.transposed and a.dtype == b.dtype == out.dtype
        left, right = (self.factor(x) if fits else None for x in (a, b))
        if left is None or right is None:
            out[...] = a @ b
        else:
            self.multiply(left, right, out)
        return out

    @property
    def rounds(self) -> bool:
        """Whether factors of float32 are rounded to 16 bits."""
        return self.precision in _SIXTEEN_BITS

    def sharing(self, x: Array) -> Product:
        """Products with ``x``, which is rounded here alone; what it holds now is multiplied."""
        return replace(self, ready=(x, self.factor(x)))

    def factor(self, x: Array) -> Factor | None:
        """What cuBLAS is to read for ``x``, rounded if need be; ``None`` if it cannot."""
        if self.ready is not None and x is self.ready[0]:
            return self.ready[1]
        kind = _REAL.get(dtype_name(x.dtype))
        matrix = None if kind is None or x.size == 0 else as_columns(x)
        if matrix is None or kind is None:
            return None
        if kind == _REAL["float32"] and self.rounds:
            return self._rounded(x, matrix)
        return Factor(x, x.shape, kind, matrix)

    def multiply(self, a: Factor, b: Factor, out: Array) -> None:
        """Fill ``out: (m, n)``, whose rows lie one after another, with the product."""
        self.cublas().multiply(a, b, *self.target(out))

    def target(self, out: Array) -> tuple[Factor, int]:
        """Where cuBLAS is to write for ``out``, whose rows lie so, and in what it computes."""
        place, kind = as_columns(out), _REAL[dtype_name(out.dtype)]
        assert place is not None
        is_float64 = kind == _REAL["float64"]
        compute = _COMPUTE_FLOAT64 if is_float64 else _COMPUTE[self.precision]
        return Factor(out, out.shape, kind, place), compute

    def _rounded(self, x: Array, matrix: Matrix) -> Factor:
        """``x`` in 16 bits, transposed as it is, its rows or columns close to each other."""
        width, kind = x.shape[0 if matrix.transposed else 1], _SIXTEEN_BITS[self.precision]
        index = sources.index_type(x.size // width * matrix.leading)
        is_bfloat = str(int(self.precision == "bf16"))
        kernel = sources.from_file(
            "to_16_bits", "rounding.cu", "float32", BFLOAT=is_bfloat, INDEX=index
        )
        memory = self.empty(x.size)
        sizes = map(np.int64, (x.size, width, matrix.leading))
        # Of a view that is transposed or has gaps the kernel gets the address and reads on by it.
        launch_linear(self.launch, kernel, x.size, (x, memory, *sizes))
        return Factor(memory, x.shape, kind, Matrix(matrix.transposed, width))


def product_of_own(precision: Precision = "float32") -> Product | None:
    """The product through ``nvmath-python``; ``None`` where it is not, or does not work.

    All precisions share the handle and the workspace of a device.
    """
    if importlib.util.find_spec("nvmath") is None:
        return None
    try:
        _cublas_here()
    except Exception as error:  # a library, a driver or a device may fail in its own way
        warnings.warn(
            f"nvmath-python cannot multiply here ({error}); CuPy does, which cannot be captured "
            "into a graph.",
            FallbackWarning,
            stacklevel=3,
        )
        return None
    return Product(precision, _cublas_here, _uint16)


def _uint16(n: int) -> Array:
    """Memory for ``n`` numbers of 16 bits, from the pool of the moment."""
    import cupy  # noqa: PLC0415

    return cupy.empty(n, dtype="uint16")


def _cublas_here() -> Cublas:
    """The handle of the current device."""
    import cupy  # noqa: PLC0415

    return _cublas_on(cupy.cuda.get_device_id())


@cache
def _cublas_on(device: int) -> Cublas:
    """The handle of a device, which must be the current one."""
    import cupy  # noqa: PLC0415

    return Cublas(
        importlib.import_module("nvmath.bindings.cublas"),
        lambda: int(cupy.cuda.get_current_stream().ptr),
        cupy.cuda.alloc(WORKSPACE),
        lambda array: int(array.data.ptr),
    )
