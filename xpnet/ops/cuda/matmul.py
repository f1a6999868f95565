"""Matrix products by cuBLAS through the bindings of ``nvmath-python``.

CuPy does not allow its own cuBLAS handle during a stream capture, although cuBLAS itself does.
Products write into any array, such as a view of g.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array
from xpnet.errors import dtype_name, warn_fallback
from xpnet.ops.cuda.elementwise import file_kernel, index_type
from xpnet.ops.cuda.launch import Launch, launch, launch_linear
from xpnet.ops.operations import Precision

WORKSPACE = 32 << 20
"""Bytes of workspace for cuBLAS; NVIDIA recommends 32 MiB for Hopper and later."""

# cudaDataType_t and cublasComputeType_t; the enumerations of the bindings have the same values.
_REAL = {"float32": 0, "float64": 1}
_SIXTEEN_BITS = {"bf16": 14, "fp16": 2}
_COMPUTE = {"float32": 68, "tf32": 77, "bf16": 68, "fp16": 68}
_COMPUTE_FLOAT64 = 70
_ANY_ALGORITHM = -1


class Matrix(NamedTuple):
    """How cuBLAS reads an array, as a matrix in column-major order.

    Attributes:
        transposed: whether the matrix in memory has to be transposed.
        leading: the leading dimension, the number of elements from one column to the next.
    """

    transposed: bool
    leading: int


def as_columns(x: Array) -> Matrix | None:
    """How cuBLAS reads ``xᵀ`` from the memory of ``x: (m, n)``; ``None`` if it cannot.

    An array in row-major order is its transpose in column-major order. A transposed view has to be
    transposed.

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
    """A factor of a product in memory.

    Attributes:
        memory: the array, which must live until the product is enqueued.
        shape: the shape ``(m, n)`` of the factor.
        kind: the ``cudaDataType_t`` of its elements.
        matrix: how cuBLAS reads it.
    """

    memory: Array
    shape: tuple[int, ...]
    kind: int
    matrix: Matrix


class Cublas:
    """A cuBLAS handle on one device, with the workspace that all products on it share.

    Not thread-safe, because the stream is set before each product.

    Attributes:
        bindings: the module ``nvmath.bindings.cublas``, or a fake.
        stream: returns the address of the current stream.
        memory: `WORKSPACE` bytes on the device, with the attribute ``ptr``.
        pointer: returns the address of an array.
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
            out: the result; it must not be transposed.
            compute: the ``cublasComputeType_t``.
        """
        (m, k), n = a.shape, b.shape[1]
        one, zero = self.one_and_zero(out.kind)
        self.bindings.set_stream(self._handle, self.stream())
        # Setting the stream resets the workspace.
        self.bindings.set_workspace(self._handle, self.memory.ptr, WORKSPACE)
        # outᵀ = bᵀ aᵀ, because cuBLAS is column-major.
        self.bindings.gemm_ex(
            self._handle,
            int(b.matrix.transposed),
            int(a.matrix.transposed),
            n,
            m,
            k,
            one,
            *self._operand(b),
            *self._operand(a),
            zero,
            *self._operand(out),
            compute,
            _ANY_ALGORITHM,
        )

    def one_and_zero(self, kind: int) -> tuple[int, int]:
        """The host addresses of 1 and 0, the factors α and β of a product, in a data type."""
        one, zero = self._numbers[kind]
        return one.ctypes.data, zero.ctypes.data

    def _operand(self, factor: Factor) -> tuple[int, int, int]:
        return self.pointer(factor.memory), factor.kind, factor.matrix.leading


@dataclass(frozen=True)
class Product:
    """The matrix product ``out ← a b`` on the current device and stream.

    In ``"bf16"`` and ``"fp16"`` a kernel first rounds both factors to 16 bits. Matrix units
    multiply these at twice the rate of tf32, and cuBLAS, which could also round float32 factors
    itself, reads half the bytes. The sums and ``out`` are float32. Magnitudes above about 65 504
    overflow to infinity in fp16.

    Rounded factors take 2 bytes per element. They are allocated from CuPy's memory pool and
    returned to it when the products are enqueued. A captured step uses a pool that lives as long as
    its graph, which the warm-up steps have filled.

    Attributes:
        precision: the format in which float32 numbers are multiplied.
        cublas: returns the handle of the current device.
        empty: allocates a uint16 array of the given size on the device.
        launch: launches a kernel.
        ready: a factor that several products share, and what cuBLAS reads; see `sharing`.
    """

    precision: Precision
    cublas: Callable[[], Cublas]
    empty: Callable[[int], Array]
    launch: Launch = launch
    ready: tuple[Array, Factor | None] | None = field(default=None, repr=False, compare=False)

    def __call__(self, a: Array, b: Array, out: Array) -> Array:
        """Fill ``out: (m, n)`` with the product of ``a: (m, k)`` and ``b: (k, n)``."""
        target = as_columns(out)
        fits = target is not None and not target.transposed and a.dtype == b.dtype == out.dtype
        left, right = (self.factor(x) if fits else None for x in (a, b))
        if left is None or right is None:
            out[...] = a @ b
        else:
            self.multiply(left, right, out)
        return out

    @property
    def rounds(self) -> bool:
        """Whether float32 factors are rounded to 16 bits."""
        return self.precision in _SIXTEEN_BITS

    def sharing(self, x: Array) -> Product:
        """This product, with ``x`` rounded once, now, for all products that it is a factor of."""
        return replace(self, ready=(x, self.factor(x)))

    def factor(self, x: Array) -> Factor | None:
        """``x`` as cuBLAS reads it, rounded if necessary; ``None`` if it cannot."""
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
        """Fill ``out: (m, n)``, in row-major order, with the product."""
        self.cublas().multiply(a, b, *self.target(out))

    def target(self, out: Array) -> tuple[Factor, int]:
        """``out``, in row-major order, as cuBLAS writes it, and the ``cublasComputeType_t``."""
        matrix, kind = as_columns(out), _REAL[dtype_name(out.dtype)]
        assert matrix is not None
        is_float64 = kind == _REAL["float64"]
        compute = _COMPUTE_FLOAT64 if is_float64 else _COMPUTE[self.precision]
        return Factor(out, out.shape, kind, matrix), compute

    def _rounded(self, x: Array, matrix: Matrix) -> Factor:
        """``x`` in 16 bits, contiguous in the order of its memory."""
        width, kind = x.shape[0 if matrix.transposed else 1], _SIXTEEN_BITS[self.precision]
        index = index_type(x.size // width * matrix.leading)
        defines = {"BFLOAT": str(int(self.precision == "bf16")), "INDEX": index}
        kernel = file_kernel("to_16_bits", "rounding.cu", "float32", **defines)
        memory = self.empty(x.size)
        sizes = map(np.int64, (x.size, width, matrix.leading))
        # The kernel reads transposed views and gaps between rows by address and leading dimension.
        launch_linear(self.launch, kernel, x.size, (x, memory, *sizes))
        return Factor(memory, x.shape, kind, Matrix(matrix.transposed, width))


def cublas_product(precision: Precision = "float32") -> Product | None:
    """The product by ``nvmath-python``; ``None`` if it is not installed or does not work.

    All precisions share one handle and one workspace per device.
    """
    if importlib.util.find_spec("nvmath") is None:
        return None
    try:
        _current_cublas()
    except Exception as error:  # a library, a driver or a device can raise any exception
        warn_fallback(
            f"nvmath-python does not work here ({error}); CuPy computes matrix products, which "
            "cannot be captured in a CUDA graph."
        )
        return None
    return Product(precision, _current_cublas, _uint16)


def _uint16(n: int) -> Array:
    """An array of ``n`` uint16 from the current memory pool."""
    import cupy  # noqa: PLC0415

    return cupy.empty(n, dtype="uint16")


def _current_cublas() -> Cublas:
    """The handle of the current device."""
    import cupy  # noqa: PLC0415

    return _cublas_on(cupy.cuda.get_device_id())


@cache
def _cublas_on(device: int) -> Cublas:
    """The handle of a device, which must be the current device."""
    import cupy  # noqa: PLC0415

    return Cublas(
        importlib.import_module("nvmath.bindings.cublas"),
        lambda: int(cupy.cuda.get_current_stream().ptr),
        cupy.cuda.alloc(WORKSPACE),
        lambda array: int(array.data.ptr),
    )
