"""Matrix products by the BLAS that NumPy has loaded, called without Python.

A program multiplies by the very function that `numpy.dot` calls, with as many threads.
"""

from __future__ import annotations

import ctypes
import importlib
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array
from xpnet.ops.cpu.jit.arguments import place_of
from xpnet.ops.cpu.jit.definition import Entry, Kind, Kit, Source
from xpnet.ops.cpu.jit.loop import loop_of

NAMES = (
    ("scipy_cblas_{}gemm64_", "int64"),
    ("cblas_{}gemm64_", "int64"),
    ("cblas_{}gemm", "int32"),
)
"""What builds of NumPy call the function, and the integers it takes; {} is the type's letter."""

PLACES = [6, 8, 10]
"""Which words of a packed product are addresses of arrays."""

SMALL, FEW, MANY = 1024, 32, 256
"""OpenBLAS has a fast kernel for ``A Bᵀ`` of at most so many numbers, and for larger ones a slow
beginning; so a product of few rows is cut in pieces, where the sums are long enough to pay."""

PLAIN, TRANSPOSED = 111, 112  # CBLAS_TRANSPOSE


class Blas(NamedTuple):
    """The product of one floating type: where it is, and the type of its sizes."""

    address: int
    integer: str


@cache
def blas_of(dtype: Any) -> Blas | None:
    """NumPy's own product of two matrices; ``None`` where it cannot be found."""
    letter = {"float32": "s", "float64": "d"}.get(dtype.name)
    if letter is None:
        return None
    library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    for name, integer in NAMES:
        function = getattr(library, name.format(letter), None)
        if function is not None:
            return Blas(ctypes.cast(function, ctypes.c_void_p).value or 0, integer)
    return None


def product(kit: Kit, dtype: Any, integer: str) -> Source:
    """``out ← a b``, of the words of `packed_product`."""
    multiplied = kit.multiplied

    def call(block: Any) -> int:
        multiplied(block)
        return 0

    return Source(call, (Kind(dtype.name), Kind(integer)), packed=True)


def product_of(dtype: Any) -> Entry:
    """The product as an entry of a program; its block is `packed_product`.

    Raises:
        TypeError: where there is none.
    """
    blas = blas_of(dtype)
    if blas is None:
        raise TypeError
    return loop_of(product, dtype, blas.integer).entry


def packed_product(a: Array, b: Array, out: Array) -> list[list[int]]:
    """The words of ``out ← a b``, or of several products that fill parts of ``out``.

    Raises:
        TypeError: for matrices that BLAS does not take.
    """
    blas = blas_of(out.dtype)
    if blas is None or not a.ndim == b.ndim == 2 or not a.dtype == b.dtype == out.dtype:
        raise TypeError
    (m, k), n = a.shape, b.shape[1]
    fits = b.shape[0] == k and out.shape == (m, n) and out.flags.c_contiguous
    overlaps = np.may_share_memory(out, a) or np.may_share_memory(out, b)
    if not fits or overlaps or 0 in (m, n, k):
        raise TypeError
    (left, lda), (right, ldb) = _order(a), _order(b)
    width = n
    if (left, right) == (PLAIN, TRANSPOSED) and m * n > SMALL and m <= FEW <= k <= MANY:
        width = SMALL // m
    return [
        [
            *(blas.address, left, right, m, min(width, n - j), k),
            *(place_of(a), lda, place_of(b[:, j:]), ldb, place_of(out[:, j:]), n),
        ]
        for j in range(0, n, width)
    ]


def _order(x: Array) -> tuple[int, int]:
    """Whether the rows or the columns of ``x`` lie one after another, and how far apart."""
    if x.flags.c_contiguous:
        return PLAIN, x.shape[1]
    if x.flags.f_contiguous:
        return TRANSPOSED, x.shape[0]
    raise TypeError
