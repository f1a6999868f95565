"""Matrix products by NumPy's own BLAS, called without Python.

A replay calls the same function as `numpy.dot`, and so with as many threads.
"""

from __future__ import annotations

import ctypes
import importlib
from array import array
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array
from xpnet.ops.cpu.jit import (
    ArgumentType,
    CompilerApi,
    Loop,
    LoopDefinition,
    NotCompiled,
    PackedArguments,
    loop_of,
)

SYMBOLS = (
    ("scipy_cblas_{}64_", "int64"),
    ("cblas_{}64_", "int64"),
    ("cblas_{}", "int32"),
)
"""A function's names in builds of NumPy, and its type of sizes; {} is the name in the BLAS."""

GEMM_POINTERS, GEMV_POINTERS = [6, 8, 10], [4, 6, 7]
"""The indices of the packed words that are addresses of matrices or vectors."""

SMALL, FEW, MANY = 1024, 32, 256
"""OpenBLAS has a fast kernel for ``A Bᵀ`` with at most `SMALL` elements; for larger ones its set-up
is slow. So a product of at most `FEW` rows is computed in pieces of that size, if the sums have
`FEW` to `MANY` terms."""

PLAIN, TRANSPOSED = 111, 112  # CBLAS_TRANSPOSE


class BlasFunction(NamedTuple):
    """A function of NumPy's BLAS: its address, and the type of its sizes."""

    address: int
    integer: str


@cache
def blas_function(name: str, dtype: Any) -> BlasFunction:
    """``gemm`` or ``gemv`` of a floating type.

    The name is looked up in NumPy's extension module, which also finds it in the libraries that the
    module is linked to (not on Windows).

    Raises:
        NotCompiled: if it is not found, as in other types and on Windows.
    """
    letter = {"float32": "s", "float64": "d"}.get(dtype.name)
    if letter is not None:
        library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
        for symbol, integer in SYMBOLS:
            function = getattr(library, symbol.format(letter + name), None)
            if function is not None:
                address = ctypes.cast(function, ctypes.c_void_p).value or 0
                return BlasFunction(address, integer)
    raise NotCompiled(f"NumPy's own {name} of {dtype} was not found")


def multiply(api: CompilerApi, dtype: Any, integer: str) -> LoopDefinition:
    """``out ← a b``, for arguments that `products` packs."""
    call_gemm = api.call_gemm

    def call(packed: Any) -> int:
        call_gemm(packed)
        return 0

    types = ArgumentType(dtype.name), ArgumentType(integer)
    return LoopDefinition(call, types, packed=True)


def multiply_row(api: CompilerApi, dtype: Any, integer: str) -> LoopDefinition:
    """``out ← a b`` where ``a`` is one row, for arguments that `products` packs."""
    call_gemv = api.call_gemv

    def call(packed: Any) -> int:
        call_gemv(packed)
        return 0

    types = ArgumentType(dtype.name), ArgumentType(integer)
    return LoopDefinition(call, types, packed=True)


def products(a: Array, b: Array, out: Array) -> tuple[Loop, list[PackedArguments]]:
    """The compiled product ``out ← a b`` and its arguments, or those of each part of ``out``.

    Like `numpy.dot`, the product of one row is one of a matrix and a vector.

    Raises:
        NotCompiled: for matrices that BLAS does not accept, or if NumPy's own product is not found.
    """
    if not (a.ndim == b.ndim == out.ndim == 2 and a.dtype == b.dtype == out.dtype):
        raise NotCompiled("BLAS multiplies matrices of one type")
    (m, k), n = a.shape, b.shape[1]
    fits = b.shape[0] == k and out.shape == (m, n) and out.flags.c_contiguous
    overlaps = np.may_share_memory(out, a) or np.may_share_memory(out, b)
    if not fits or overlaps or 0 in (m, n, k):
        raise NotCompiled("BLAS cannot write the product to that array")
    (left, lda), (right, ldb) = _order(a), _order(b)
    if m == 1 < n:
        return _product_of_row(a, b, out)
    gemm, address_of = blas_function("gemm", out.dtype), PackedArguments.address_of
    width = n
    if (left, right) == (PLAIN, TRANSPOSED) and m * n > SMALL and m <= FEW <= k <= MANY:
        width = SMALL // m
    each = [
        [
            *(gemm.address, left, right, m, min(width, n - j), k),
            *(address_of(a), lda, address_of(b[:, j:]), ldb, address_of(out[:, j:]), n),
        ]
        for j in range(0, n, width)
    ]
    arguments = [PackedArguments(array("q", words), GEMM_POINTERS, [a, b, out]) for words in each]
    return loop_of(multiply, out.dtype, gemm.integer), arguments


def _product_of_row(a: Array, b: Array, out: Array) -> tuple[Loop, list[PackedArguments]]:
    """``outᵀ ← bᵀ aᵀ``; BLAS takes the one of ``b`` and ``bᵀ`` with contiguous rows."""
    gemv, address_of = blas_function("gemv", out.dtype), PackedArguments.address_of
    order, distance = _order(b)
    flag, matrix = (TRANSPOSED, b) if order == PLAIN else (PLAIN, b.T)
    words = [
        *(gemv.address, flag, *matrix.shape, address_of(matrix), distance),
        *(address_of(a), address_of(out)),
    ]
    arguments = PackedArguments(array("q", words), GEMV_POINTERS, [a, b, out])
    return loop_of(multiply_row, out.dtype, gemv.integer), [arguments]


def _order(x: Array) -> tuple[int, int]:
    """Whether the rows or the columns of ``x`` are contiguous, and the distance between them."""
    if x.flags.c_contiguous:
        return PLAIN, x.shape[1]
    if x.flags.f_contiguous:
        return TRANSPOSED, x.shape[0]
    raise NotCompiled("BLAS needs contiguous rows or columns")
