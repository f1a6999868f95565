"""Matrix products by a cuBLAS handle of our own.

CuPy refuses its cuBLAS while a stream is captured into a graph, though cuBLAS itself allows it. So
the products go through the bindings of ``nvmath-python``, into whatever memory they are given: a
gradient lands in its place in g.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array
from xpnet.errors import dtype_name
from xpnet.ops.reference import Precision

WORKSPACE = 32 << 20
"""Bytes that cuBLAS may use for itself; NVIDIA recommends 32 MiB from Hopper on."""

# cudaDataType_t and cublasComputeType_t, in the bindings as enumerations of the same numbers.
_REAL = {"float32": 0, "float64": 1}
_COMPUTE = {"float32": 68, "tf32": 77, "bf16": 75, "fp16": 74}
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


class Cublas:
    """``out ← a b`` by one handle of cuBLAS, on the stream that is current at the call.

    Args:
        bindings: the module ``nvmath.bindings.cublas``, or a stand-in.
        stream: gives the address of the current stream.
        workspace: the address of `WORKSPACE` bytes on the device, which are kept as long as this.
        pointer: gives the address of an array's memory.
        precision: in what float32 numbers are multiplied.
    """

    def __init__(
        self,
        bindings: Any,
        stream: Callable[[], int],
        workspace: int,
        pointer: Callable[[Array], int],
        precision: Precision = "float32",
    ) -> None:
        self._cublas, self._stream, self._pointer = bindings, stream, pointer
        self._workspace, self._compute = workspace, _COMPUTE[precision]
        self._handle = bindings.create()
        self._numbers = {
            name: (np.ones(1, name), np.zeros(1, name)) for name in ("float32", "float64")
        }

    def __call__(self, a: Array, b: Array, out: Array) -> Array:
        """Fill ``out: (m, n)`` with the product of ``a: (m, k)`` and ``b: (k, n)``."""
        dtype, (m, k), n = dtype_name(out.dtype), a.shape, b.shape[1]
        left, right, place = as_columns(b), as_columns(a), as_columns(out)
        alike = a.dtype == b.dtype == out.dtype and dtype in _REAL
        if left is None or right is None or place is None or place.transposed or not alike:
            out[...] = a @ b
            return out
        if m * n == 0 or k == 0:
            out[...] = 0.0
            return out
        one, zero = (number.ctypes.data for number in self._numbers[dtype])
        kind = _REAL[dtype]
        stream = self._stream()
        self._cublas.set_stream(self._handle, stream)
        # Setting the stream puts the workspace back to one that cuBLAS chooses.
        self._cublas.set_workspace(self._handle, self._workspace, WORKSPACE)
        # outᵀ = bᵀ aᵀ, for cuBLAS takes our rows for columns.
        self._cublas.gemm_ex(
            self._handle,
            int(left.transposed),
            int(right.transposed),
            n,
            m,
            k,
            one,
            self._pointer(b),
            kind,
            left.leading,
            self._pointer(a),
            kind,
            right.leading,
            zero,
            self._pointer(out),
            kind,
            place.leading,
            self._compute if dtype == "float32" else _COMPUTE_FLOAT64,
            _ANY_ALGORITHM,
        )
        return out


@cache
def product_of_own(precision: Precision = "float32") -> Cublas | None:
    """The product through ``nvmath-python`` on the current device; ``None`` where it is not."""
    if importlib.util.find_spec("nvmath") is None:
        return None
    import cupy  # noqa: PLC0415

    cublas = importlib.import_module("nvmath.bindings.cublas")
    memory = cupy.cuda.alloc(WORKSPACE)
    product = Cublas(
        cublas,
        lambda: int(cupy.cuda.get_current_stream().ptr),
        memory.ptr,
        lambda array: int(array.data.ptr),
        precision,
    )
    product.memory = memory  # type: ignore[attr-defined]
    return product
