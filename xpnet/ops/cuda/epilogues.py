"""What a matrix product does on its way out: bias, ReLU, and the gradient of a bias.

cublasLt can end a product with them while the numbers are still in registers. That spares a kernel,
and one reading and writing of a layer's output. What it does not take is left to `Product` and the
kernels behind it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np

from xpnet.backend import Array
from xpnet.errors import FallbackWarning
from xpnet.ops.cuda.arrays import fit, shaped
from xpnet.ops.cuda.matmul import WORKSPACE, Cublas, Factor, Product, as_columns
from xpnet.ops.operations import Rule
from xpnet.ops.rules.activations import identity, relu

# cublasLtEpilogue_t, cublasLtMatmulDescAttributes_t and cublasLtMatmulPreferenceAttributes_t, in
# the bindings as enumerations of the same numbers.
BIAS, RELU_BIAS, BGRADA = 4, 6, 256
_TRANSA, _TRANSB, _EPILOGUE, _BIAS_POINTER = 3, 4, 7, 8
_MAX_WORKSPACE_BYTES, _MIN_ALIGNMENT_BYTES = 1, (5, 6, 7, 8)  # of A, B, C and D

NOT_SUPPORTED = 15
"""The status with which cublasLt says that it does not make such products: nothing was queued."""

ENDINGS = {identity: BIAS, relu: RELU_BIAS}
"""The rules that a product can end with."""

WHOLE = 256
"""Bytes: to know of an address that it is a multiple of more helps no kernel."""

OF_VECTORS = 16
"""Bytes of whose multiple the address of a bias must be.

No preference tells cublasLt of that address, and its kernels may read four numbers at once: where
it is another, they fail, and the device with them.
"""

ROOM = WORKSPACE - WHOLE
"""Bytes of workspace that an algorithm may want: some write a few more, says nvmath-python."""

PLANS = 1024
"""The products whose plans are kept; one has perhaps a kilobyte."""


class Side(NamedTuple):
    """A matrix of a product as cublasLt is told of it, its columns one after another.

    Attributes:
        kind: the type of its numbers.
        rows: of what lies in memory.
        columns: of what lies in memory.
        leading: the numbers from one column to the next.
        transposed: whether the factor is the transpose of that.
        alignment: the bytes of whose multiple its address is.
    """

    kind: int
    rows: int
    columns: int
    leading: int
    transposed: bool
    alignment: int


class Plan:
    """How cublasLt makes products of one sort: its descriptors, and the algorithm it chose.

    Args:
        bindings: the module ``nvmath.bindings.cublasLt``, or a stand-in.
        handle: of the library.
        sides: A, B and D of ``D = A B``, as cublasLt sees them.
        compute: in what it computes.
        epilogue: what it ends with.
        vector: the address of a bias, or of the room for its gradient; see `aim`.

    Attributes:
        descriptor: of the product.
        layouts: of A, B and D.
        algorithm: the memory that describes it; ``None`` if there is none.
    """

    def __init__(
        self,
        bindings: Any,
        handle: int,
        sides: tuple[Side, Side, Side],
        compute: int,
        epilogue: int,
        vector: int,
    ) -> None:
        self._lt, (a, b, out) = bindings, sides
        new_layout, descriptor = bindings.matrix_layout_create, bindings.matmul_desc_create
        self.descriptor = self._kept(descriptor(compute, out.kind), "matmul_desc")
        self.layouts = [
            self._kept(
                new_layout(side.kind, side.rows, side.columns, side.leading), "matrix_layout"
            )
            for side in sides
        ]
        attributes = {_TRANSA: a.transposed, _TRANSB: b.transposed, _EPILOGUE: epilogue}
        for attribute, value in (attributes | {_BIAS_POINTER: vector}).items():
            self._set("matmul_desc", self.descriptor, attribute, value)
        self.algorithm = self._choose(handle, [side.alignment for side in (a, b, out, out)])

    def aim(self, vector: int) -> None:
        """Take the bias at another address, or put its gradient there."""
        self._set("matmul_desc", self.descriptor, _BIAS_POINTER, vector)

    def _choose(self, handle: int, alignments: list[int]) -> Any:
        """The algorithm that cublasLt thinks the fastest for such addresses, if it has one.

        Nothing is queued here, so whatever else it says is a warning.
        """
        a, b, out = self.layouts
        found = np.zeros(1, self._lt.matmul_heuristic_result_dtype)
        count, preference = np.zeros(1, np.int32), self._lt.matmul_preference_create()
        try:
            limits = dict(zip(_MIN_ALIGNMENT_BYTES, alignments, strict=True))
            for attribute, value in (limits | {_MAX_WORKSPACE_BYTES: ROOM}).items():
                self._set("matmul_preference", preference, attribute, value)
            wanted = handle, self.descriptor, a, b, out, out, preference
            self._lt.matmul_algo_get_heuristic(*wanted, 1, found.ctypes.data, count.ctypes.data)
        except self._lt.cuBLASLtError as error:
            if error.status != NOT_SUPPORTED:  # it may also say so that it has none
                message = f"cublasLt gives no algorithm ({error}); a product is made without it."
                warnings.warn(message, FallbackWarning, stacklevel=2)
            return None
        finally:
            self._lt.matmul_preference_destroy(preference)
        return found if count[0] and not found["state"][0] else None

    def _set(self, what: str, which: int, attribute: int, value: int) -> None:
        """Set an attribute of a descriptor to a number, which is handed over by its address."""
        dtype = getattr(self._lt, f"get_{what}_attribute_dtype")(attribute)
        number = np.array([value], dtype)
        set_it = getattr(self._lt, f"{what}_set_attribute")
        set_it(which, attribute, number.ctypes.data, number.nbytes)

    def _kept(self, which: int, what: str) -> int:
        """A descriptor, which is destroyed with the plan."""
        finalize(self, getattr(self._lt, f"{what}_destroy"), which).atexit = False
        return which


class CublasLt:
    """A handle of cublasLt beside one of cuBLAS, whose stream and workspace it uses.

    What a sort of product needs is made when the first comes: a step makes nothing, and the steps
    before a capture have made it all. One thread at a time may use it.

    Args:
        bindings: the module ``nvmath.bindings.cublasLt``, or a stand-in.
        cublas: the handle of the device.
    """

    def __init__(self, bindings: Any, cublas: Cublas) -> None:
        self._lt, self._cublas, self._handle = bindings, cublas, bindings.create()
        self._plan = lru_cache(PLANS)(self._new_plan)

    def multiply(
        self, a: Factor, b: Factor, out: Factor, compute: int, epilogue: int, vector: int
    ) -> bool:
        """Fill ``out: (m, n)`` with the product of ``a`` and ``b`` and what the epilogue makes.

        Args:
            a: the left factor, ``(m, k)``.
            b: the right factor, ``(k, n)``.
            out: takes the product; it must not be transposed.
            compute: in what cublasLt computes.
            epilogue: `BIAS`: the vector is added to each row; `RELU_BIAS`: and negative numbers are
                0; `BGRADA`: the `column_sum` of ``b`` goes into the vector.
            vector: the address of ``(n,)`` numbers like those of ``out``, a multiple of
                `OF_VECTORS`.

        Returns:
            Whether it was done; if not, ``out`` and the vector hold anything.

        Raises:
            Exception: what the bindings raise if the product itself fails: a stream that is
                captured, or the device, may not be what it was before.
        """
        # outᵀ = bᵀ aᵀ, for cublasLt too takes our rows for columns. So b is its A, and a bias, of
        # which it adds a number to each row of D = outᵀ, is one of a number for each column of out.
        # BGRADA sums its A along k: bᵀ along the rows of b.
        factors = b, a, out
        places = [self._cublas.pointer(factor.memory) for factor in factors]
        A, B, D = map(_side, factors, places)
        plan = self._plan((A, B, D), compute, epilogue)
        if plan.algorithm is None:
            return False
        plan.aim(vector)
        try:
            self._run(plan, places, self._cublas.one_and_zero(out.kind))
        except self._lt.cuBLASLtError as error:
            if error.status != NOT_SUPPORTED:
                raise
            plan.algorithm = None
            return False
        return True

    def _run(self, plan: Plan, places: list[int], one_and_zero: tuple[int, int]) -> None:
        """``D ← A B``, with the addresses of cublasLt's own A, B and D."""
        (one, zero), (A, B, D), (of_A, of_B, of_D) = one_and_zero, places, plan.layouts
        self._lt.matmul(
            *(self._handle, plan.descriptor),
            *(one, A, of_A, B, of_B),
            *(zero, D, of_D, D, of_D),
            *(plan.algorithm.ctypes.data, self._cublas.memory.ptr, WORKSPACE),
            self._cublas.stream(),
        )

    def _new_plan(self, sides: tuple[Side, Side, Side], compute: int, epilogue: int) -> Plan:
        # Of some vector, whose address is a multiple of no more than that of each is.
        vector = self._cublas.memory.ptr + OF_VECTORS
        return Plan(self._lt, self._handle, sides, compute, epilogue, vector)


@cache
def beside(cublas: Cublas) -> CublasLt:
    """The handle of cublasLt beside one of cuBLAS, on the current device."""
    return CublasLt(importlib.import_module("nvmath.bindings.cublasLt"), cublas)


def _side(factor: Factor, place: int) -> Side:
    """How cublasLt finds the transpose of a factor."""
    (m, n), (transposed, leading) = factor.shape, factor.matrix
    size = (m, n) if transposed else (n, m)
    return Side(factor.kind, *size, leading, transposed, min(place & -place, WHOLE))


@dataclass(frozen=True)
class Epilogues:
    """Products that end with more than the product.

    Attributes:
        product: the products, whose precision and handle are used.
        beside: gives the handle of cublasLt beside one of cuBLAS.
        usable: the epilogues that are used.
    """

    product: Product
    beside: Callable[[Cublas], CublasLt] = beside
    usable: frozenset[int] = frozenset({BIAS, RELU_BIAS, BGRADA})

    def affine(self, rule: Rule, x: Array, weight: Array, bias: Array, out: Array) -> bool:
        """Fill ``out`` with ``rule(xp, x W + b)``; whether it was done."""
        return self._multiply(x, weight, out, ENDINGS.get(rule, 0), bias)

    def gradients(self, a: Array, b: Array, out: Array, sums: Array) -> bool:
        """Fill ``out`` with ``a b`` and ``sums`` with the sums of ``b``; whether it was done.

        It is not for factors that are rounded: the sum is one of float32 numbers. Nor for ``b``
        transposed or of one row, which cublasLt does not promise, or not in all versions.
        """
        place = as_columns(b) if b.ndim == 2 else None
        exact = self.product.precision == "float32" or b.dtype.itemsize == 8
        if not exact or place is None or place.transposed or b.shape[0] < 2:
            return False
        return self._multiply(a, b, out, BGRADA, sums)

    def _multiply(self, a: Array, b: Array, out: Array, epilogue: int, vector: Array) -> bool:
        if epilogue not in self.usable or not a.ndim == b.ndim == 2 or a.shape[1] != b.shape[0]:
            return False
        n = b.shape[1:]
        fits = fit(out, vector) and shaped(n, vector) and shaped(a.shape[:1] + n, out)
        if not fits or not a.dtype == b.dtype == out.dtype:
            return False
        cublas = self.product.cublas()
        address = cublas.pointer(vector)
        if address % OF_VECTORS:
            return False
        left, right = self.product.factor(a), self.product.factor(b)
        if left is None or right is None:
            return False
        lt = self.beside(cublas)
        return lt.multiply(left, right, *self.product.target(out), epilogue, address)
