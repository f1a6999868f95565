"""Epilogues of matrix products by cublasLt: bias, ReLU, and the gradient of a bias.

cublasLt applies an epilogue while the result is in registers, which saves a kernel that reads and
writes the output of a layer. Unsupported products use `Product` and separate kernels.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np

from xpnet.backend import Array
from xpnet.errors import warn_fallback
from xpnet.ops.cuda.arrays import have_shape, supported
from xpnet.ops.cuda.matmul import WORKSPACE, Cublas, Factor, Product, as_columns
from xpnet.ops.operations import Rule
from xpnet.ops.rules.activations import identity, relu

# cublasLtEpilogue_t, cublasLtMatmulDescAttributes_t and cublasLtMatmulPreferenceAttributes_t; the
# enumerations of the bindings have the same values.
BIAS, RELU_BIAS, BGRADA = 4, 6, 256
_TRANSA, _TRANSB, _EPILOGUE, _BIAS_POINTER = 3, 4, 7, 8
_MAX_WORKSPACE_BYTES, _MIN_ALIGNMENT_BYTES = 1, (5, 6, 7, 8)  # of A, B, C and D

NOT_SUPPORTED = 15
"""The status of a product that cublasLt does not support; nothing was enqueued."""

RULE_EPILOGUES = {identity: BIAS, relu: RELU_BIAS}
"""The rules that can be fused into a product with a bias."""

MAX_ALIGNMENT = 256
"""The largest alignment in bytes that is reported to cublasLt; a larger one has no benefit."""

BIAS_ALIGNMENT = 16
"""The required alignment of a bias, in bytes.

The heuristic of cublasLt does not take this alignment into account, and kernels may read four
elements at once. A misaligned address makes them fail, which invalidates the CUDA context.
"""

USABLE_WORKSPACE = WORKSPACE - MAX_ALIGNMENT
"""Bytes of workspace that an algorithm may request; nvmath-python reports that some exceed it."""

MAX_PLANS = 1024
"""The number of plans that are cached, of about a kilobyte each."""


class LtMatrix(NamedTuple):
    """A matrix of a product as cublasLt reads it, in column-major order.

    Attributes:
        kind: the ``cudaDataType_t`` of its elements.
        rows: the number of rows in memory.
        columns: the number of columns in memory.
        leading: the leading dimension.
        transposed: whether the factor is the transpose of the matrix in memory.
        alignment: the alignment of its address, in bytes.
    """

    kind: int
    rows: int
    columns: int
    leading: int
    transposed: bool
    alignment: int


class ProductPlan:
    """The descriptors of one kind of product, and the algorithm that cublasLt selected for it.

    Args:
        bindings: the module ``nvmath.bindings.cublasLt``, or a fake.
        handle: the handle of the library.
        matrices: A, B and D of ``D = A B``.
        compute: the ``cublasComputeType_t``.
        epilogue: the ``cublasLtEpilogue_t``.
        vector: the address of the bias or of its gradient; see `set_vector`.

    Attributes:
        descriptor: the descriptor of the product.
        layouts: the layouts of A, B and D.
        algorithm: the selected algorithm; ``None`` if the product is not supported.
    """

    def __init__(
        self,
        bindings: Any,
        handle: int,
        matrices: tuple[LtMatrix, LtMatrix, LtMatrix],
        compute: int,
        epilogue: int,
        vector: int,
    ) -> None:
        self._lt, (a, b, out) = bindings, matrices
        new_layout, descriptor = bindings.matrix_layout_create, bindings.matmul_desc_create
        self.descriptor = self._owned(descriptor(compute, out.kind), "matmul_desc")
        self.layouts = [
            self._owned(new_layout(x.kind, x.rows, x.columns, x.leading), "matrix_layout")
            for x in matrices
        ]
        attributes = {_TRANSA: a.transposed, _TRANSB: b.transposed, _EPILOGUE: epilogue}
        for attribute, value in (attributes | {_BIAS_POINTER: vector}).items():
            self._set("matmul_desc", self.descriptor, attribute, value)
        self.algorithm = self._select(handle, [x.alignment for x in (a, b, out, out)])

    def set_vector(self, vector: int) -> None:
        """Set the address of the bias, or of its gradient."""
        self._set("matmul_desc", self.descriptor, _BIAS_POINTER, vector)

    def _select(self, handle: int, alignments: list[int]) -> Any:
        """The first choice of cublasLt's heuristic, or ``None``.

        An error is only a warning, because nothing has been enqueued.
        """
        a, b, out = self.layouts
        found = np.zeros(1, self._lt.matmul_heuristic_result_dtype)
        count, preference = np.zeros(1, np.int32), self._lt.matmul_preference_create()
        try:
            limits = dict(zip(_MIN_ALIGNMENT_BYTES, alignments, strict=True))
            for attribute, value in (limits | {_MAX_WORKSPACE_BYTES: USABLE_WORKSPACE}).items():
                self._set("matmul_preference", preference, attribute, value)
            query = handle, self.descriptor, a, b, out, out, preference
            self._lt.matmul_algo_get_heuristic(*query, 1, found.ctypes.data, count.ctypes.data)
        except self._lt.cuBLASLtError as error:
            if error.status != NOT_SUPPORTED:  # which also reports that there is no algorithm
                message = f"cublasLt gives no algorithm ({error}); a product is not fused."
                warn_fallback(message)
            return None
        finally:
            self._lt.matmul_preference_destroy(preference)
        return found if count[0] and not found["state"][0] else None

    def _set(self, what: str, which: int, attribute: int, value: int) -> None:
        """Set an attribute of a descriptor, which the bindings read from an address."""
        dtype = getattr(self._lt, f"get_{what}_attribute_dtype")(attribute)
        number = np.array([value], dtype)
        set_attribute = getattr(self._lt, f"{what}_set_attribute")
        set_attribute(which, attribute, number.ctypes.data, number.nbytes)

    def _owned(self, which: int, what: str) -> int:
        """Destroy a descriptor together with the plan; return it."""
        finalize(self, getattr(self._lt, f"{what}_destroy"), which).atexit = False
        return which


class CublasLt:
    """A cublasLt handle, which uses the stream and the workspace of a cuBLAS handle.

    The plan of a product is created at its first use, so that the warm-up steps create all plans of
    a captured step. Not thread-safe.

    Args:
        bindings: the module ``nvmath.bindings.cublasLt``, or a fake.
        cublas: the cuBLAS handle of the device.
    """

    def __init__(self, bindings: Any, cublas: Cublas) -> None:
        self._lt, self._cublas, self._handle = bindings, cublas, bindings.create()
        self._plan = lru_cache(MAX_PLANS)(self._new_plan)

    def multiply(
        self, a: Factor, b: Factor, out: Factor, compute: int, epilogue: int, vector: int
    ) -> bool:
        """Fill ``out: (m, n)`` with the product of ``a`` and ``b``, followed by the epilogue.

        Args:
            a: the left factor, ``(m, k)``.
            b: the right factor, ``(k, n)``.
            out: the result; it must not be transposed.
            compute: the ``cublasComputeType_t``.
            epilogue: `BIAS` adds the vector to each row, `RELU_BIAS` also applies ReLU, and
                `BGRADA` writes the `column_sum` of ``b`` to the vector.
            vector: the address of an array ``(n,)`` of the dtype of ``out``, a multiple of
                `BIAS_ALIGNMENT`.

        Returns:
            Whether the product is supported; if not, ``out`` and the vector are undefined.

        Raises:
            Exception: an exception of the bindings if the product fails; the state of the stream
                and of the device is then undefined.
        """
        # outᵀ = bᵀ aᵀ, because cublasLt is column-major. So b is its A, and a bias, which it adds
        # to each column of D = outᵀ, is added to each row of out. BGRADA sums its A = bᵀ along k,
        # which sums the rows of b.
        factors = b, a, out
        addresses = [self._cublas.pointer(factor.memory) for factor in factors]
        A, B, D = map(_lt_matrix, factors, addresses)
        plan = self._plan((A, B, D), compute, epilogue)
        if plan.algorithm is None:
            return False
        plan.set_vector(vector)
        try:
            self._run(plan, addresses, self._cublas.one_and_zero(out.kind))
        except self._lt.cuBLASLtError as error:
            if error.status != NOT_SUPPORTED:
                raise
            plan.algorithm = None
            return False
        return True

    def _run(self, plan: ProductPlan, addresses: list[int], one_and_zero: tuple[int, int]) -> None:
        """``D ← A B`` and the epilogue; all arguments but the plan are addresses."""
        (one, zero), (A, B, D), (of_A, of_B, of_D) = one_and_zero, addresses, plan.layouts
        self._lt.matmul(
            *(self._handle, plan.descriptor),
            *(one, A, of_A, B, of_B),
            *(zero, D, of_D, D, of_D),
            *(plan.algorithm.ctypes.data, self._cublas.memory.ptr, WORKSPACE),
            self._cublas.stream(),
        )

    def _new_plan(
        self, matrices: tuple[LtMatrix, LtMatrix, LtMatrix], compute: int, epilogue: int
    ) -> ProductPlan:
        # Any vector with the smallest alignment that is allowed.
        vector = self._cublas.memory.ptr + BIAS_ALIGNMENT
        return ProductPlan(self._lt, self._handle, matrices, compute, epilogue, vector)


@cache
def cublas_lt(cublas: Cublas) -> CublasLt:
    """The cublasLt handle for a cuBLAS handle, on the current device."""
    return CublasLt(importlib.import_module("nvmath.bindings.cublasLt"), cublas)


def _lt_matrix(factor: Factor, address: int) -> LtMatrix:
    """A factor as cublasLt reads it, in column-major order."""
    (m, n), (transposed, leading) = factor.shape, factor.matrix
    size, alignment = (m, n) if transposed else (n, m), min(address & -address, MAX_ALIGNMENT)
    return LtMatrix(factor.kind, *size, leading, transposed, alignment)


@dataclass(frozen=True)
class Epilogues:
    """Matrix products with fused epilogues.

    Attributes:
        product: the matrix product, which defines the precision and the cuBLAS handle.
        cublas_lt: returns the cublasLt handle for a cuBLAS handle.
        usable: the epilogues that may be used.
    """

    product: Product
    cublas_lt: Callable[[Cublas], CublasLt] = cublas_lt
    usable: frozenset[int] = frozenset({BIAS, RELU_BIAS, BGRADA})

    def affine(self, rule: Rule, x: Array, weight: Array, bias: Array, out: Array) -> bool:
        """``out ← rule(xp, x W + b)``; return False if it cannot be fused."""
        return self._multiply(x, weight, out, RULE_EPILOGUES.get(rule, 0), bias)

    def gradients(self, a: Array, b: Array, out: Array, sums: Array) -> bool:
        """``out ← a b`` and ``sums ← column_sum(b)``; return False if they cannot be fused.

        Rounded factors are not supported, because the sum is one of float32 numbers. Neither is
        ``b`` if it is transposed or has one row, which some versions of cublasLt do not support.
        """
        matrix = as_columns(b) if b.ndim == 2 else None
        exact = self.product.precision == "float32" or b.dtype.itemsize == 8
        if not exact or matrix is None or matrix.transposed or b.shape[0] < 2:
            return False
        return self._multiply(a, b, out, BGRADA, sums)

    def _multiply(self, a: Array, b: Array, out: Array, epilogue: int, vector: Array) -> bool:
        if epilogue not in self.usable or not a.ndim == b.ndim == 2 or a.shape[1] != b.shape[0]:
            return False
        n = b.shape[1:]
        shapes = have_shape(n, vector) and have_shape(a.shape[:1] + n, out)
        if not (shapes and supported(out, vector)) or not a.dtype == b.dtype == out.dtype:
            return False
        cublas = self.product.cublas()
        address = cublas.pointer(vector)
        if address % BIAS_ALIGNMENT:
            return False
        left, right = self.product.factor(a), self.product.factor(b)
        if left is None or right is None:
            return False
        lt = self.cublas_lt(cublas)
        return lt.multiply(left, right, *self.product.target(out), epilogue, address)
