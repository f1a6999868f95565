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
    ("scipy_cblas_{}gemm64_", "int64"),
    ("cblas_{}gemm64_", "int64"),
    ("cblas_{}gemm", "int32"),
)
"""The function's names in builds of NumPy, and its type of sizes; {} is the letter of the type."""

POINTERS = [6, 8, 10]
"""The indices of the packed words that are addresses of matrices."""

SMALL, FEW, MANY = 1024, 32, 256
"""OpenBLAS has a fast kernel for ``A Bᵀ`` with at most `SMALL` elements; for larger ones its set-up
is slow. So a product of at most `FEW` rows is computed in pieces of that size, if the sums have
`FEW` to `MANY` terms."""

PLAIN, TRANSPOSED = 111, 112  # CBLAS_TRANSPOSE


class Gemm(NamedTuple):
    """The matrix product of one floating type: its address, and the type of its sizes."""

    address: int
    integer: str


@cache
def gemm_of(dtype: Any) -> Gemm | None:
    """NumPy's own matrix product; ``None`` if it is not found, as in other types and on Windows.

    The name is looked up in NumPy's extension module, which also finds it in the libraries that the
    module is linked to (not on Windows).
    """
    letter = {"float32": "s", "float64": "d"}.get(dtype.name)
    if letter is None:
        return None
    library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    for symbol, integer in SYMBOLS:
        function = getattr(library, symbol.format(letter), None)
        if function is not None:
            return Gemm(ctypes.cast(function, ctypes.c_void_p).value or 0, integer)
    return None


def multiply(api: CompilerApi, dtype: Any, integer: str) -> LoopDefinition:
    """``out ← a b``, for arguments from `packed_products`."""
    call_gemm = api.call_gemm

    def call(packed: Any) -> int:
        call_gemm(packed)
        return 0

    types = ArgumentType(dtype.name), ArgumentType(integer)
    return LoopDefinition(call, types, packed=True)


def product_loop(dtype: Any) -> Loop:
    """The compiled product of a type; its arguments are packed by `packed_products`.

    Raises:
        NotCompiled: if NumPy's own product is not found.
    """
    return loop_of(multiply, dtype, _gemm(dtype).integer)


def packed_products(a: Array, b: Array, out: Array) -> list[PackedArguments]:
    """The arguments of ``out ← a b``, or of several products that fill parts of ``out``.

    Raises:
        NotCompiled: for matrices that BLAS does not accept.
    """
    if not (a.ndim == b.ndim == out.ndim == 2 and a.dtype == b.dtype == out.dtype):
        raise NotCompiled("BLAS multiplies matrices of one type")
    (m, k), n = a.shape, b.shape[1]
    fits = b.shape[0] == k and out.shape == (m, n) and out.flags.c_contiguous
    overlaps = np.may_share_memory(out, a) or np.may_share_memory(out, b)
    if not fits or overlaps or 0 in (m, n, k):
        raise NotCompiled("BLAS cannot write the product to that array")
    (left, lda), (right, ldb) = _order(a), _order(b)
    address, address_of = _gemm(out.dtype).address, PackedArguments.address_of
    width = n
    if (left, right) == (PLAIN, TRANSPOSED) and m * n > SMALL and m <= FEW <= k <= MANY:
        width = SMALL // m
    each = [
        [
            *(address, left, right, m, min(width, n - j), k),
            *(address_of(a), lda, address_of(b[:, j:]), ldb, address_of(out[:, j:]), n),
        ]
        for j in range(0, n, width)
    ]
    return [PackedArguments(array("q", words), POINTERS, [a, b, out]) for words in each]


def _gemm(dtype: Any) -> Gemm:
    found = gemm_of(dtype)
    if found is None:
        raise NotCompiled(f"NumPy's own matrix product of {dtype} was not found")
    return found


def _order(x: Array) -> tuple[int, int]:
    """Whether the rows or the columns of ``x`` are contiguous, and the distance between them."""
    if x.flags.c_contiguous:
        return PLAIN, x.shape[1]
    if x.flags.f_contiguous:
        return TRANSPOSED, x.shape[0]
    raise NotCompiled("BLAS needs contiguous rows or columns")
