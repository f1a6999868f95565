"""Matrix products in several precisions, alone or fused with what follows them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from xpnet.backend import Array
from xpnet.errors import dtype_name
from xpnet.ops.cuda import cublas_lt
from xpnet.ops.cuda.arrays import have_shape, supported
from xpnet.ops.cuda.cublas_lt import (
    BGRADA,
    BIAS,
    BIAS_ALIGNMENT,
    DEFAULT,
    RELU_BIAS,
    Matrix,
    MatrixLayout,
)
from xpnet.ops.cuda.elementwise import file_kernel, index_type
from xpnet.ops.cuda.launch import Launch, launch, launch_linear
from xpnet.ops.operations import Precision, Rule
from xpnet.ops.rules.activations import identity, relu

# cudaDataType_t and cublasComputeType_t.
_REAL = {"float32": 0, "float64": 1}
_SIXTEEN_BITS = {"bf16": 14, "fp16": 2}
_COMPUTE = {"float32": 68, "tf32": 77, "bf16": 68, "fp16": 68}
_COMPUTE_FLOAT64 = 70

RULE_EPILOGUES = {identity: BIAS, relu: RELU_BIAS}
"""The rules that can be fused into a product with a bias."""


def layout_of(x: Array) -> MatrixLayout | None:
    """How cublasLt reads ``xᵀ`` from the memory of ``x: (m, n)``; ``None`` if it cannot.

    An array in row-major order is its transpose in column-major order. A transposed view has to be
    transposed.

    >>> x = np.zeros((3, 2))
    >>> layout_of(x)
    MatrixLayout(kind=1, rows=2, columns=3, leading=2, transposed=False)
    >>> layout_of(x.T)
    MatrixLayout(kind=1, rows=2, columns=3, leading=2, transposed=True)
    >>> layout_of(np.zeros((4, 4))[::2, ::2])
    """
    kind = _REAL.get(dtype_name(x.dtype))
    if kind is None or x.ndim != 2 or x.size == 0:
        return None
    (m, n), size = x.shape, x.dtype.itemsize
    rows, columns = (stride // size for stride in x.strides)
    if (columns == 1 or n == 1) and (rows >= n or m == 1):
        return MatrixLayout(kind, n, m, rows if m > 1 else n, False)
    if (rows == 1 or m == 1) and (columns >= m or n == 1):
        return MatrixLayout(kind, m, n, columns if n > 1 else m, True)
    return None


@dataclass(frozen=True)
class Product:
    """The matrix product ``out ← a b`` on the current device and stream, by cublasLt.

    In ``"bf16"`` and ``"fp16"`` a kernel first rounds both factors to 16 bits. Matrix units
    multiply these at twice the rate of tf32, and read half the bytes. The sums and ``out`` are
    float32. Magnitudes above about 65 504 overflow to infinity in fp16.

    Rounded factors take 2 bytes per element. They are allocated from CuPy's memory pool and
    returned to it when the products are enqueued. A captured step uses a pool that lives as long as
    its graph, which the warm-up steps have filled.

    Attributes:
        precision: the format in which float32 numbers are multiplied.
        launch: launches a kernel.
        epilogues: the epilogues that may be used.
        ready: a factor that several products share, and what cublasLt reads; see `sharing`.
    """

    precision: Precision = "float32"
    launch: Launch = launch
    epilogues: frozenset[int] = frozenset({BIAS, RELU_BIAS, BGRADA})
    ready: tuple[Array, Matrix | None] | None = field(default=None, repr=False, compare=False)

    def __call__(self, a: Array, b: Array, out: Array) -> Array:
        """Fill ``out: (m, n)`` with the product of ``a: (m, k)`` and ``b: (k, n)``."""
        if not self._multiply(a, b, out):
            out[...] = a @ b
        return out

    def affine(self, rule: Rule, x: Array, weight: Array, bias: Array, out: Array) -> bool:
        """``out ← rule(xp, x W + b)``; return False if it cannot be fused."""
        return self._fused(x, weight, out, RULE_EPILOGUES.get(rule, DEFAULT), bias)

    def gradients(self, a: Array, b: Array, out: Array, sums: Array) -> bool:
        """``out ← a b`` and ``sums ← column_sum(b)``; return False if they cannot be fused.

        Rounded factors are not supported, because the sum is one of float32 numbers. Neither is
        ``b`` if it is transposed or has one row, which some versions of cublasLt do not support.
        """
        exact, layout = self.precision == "float32" or b.dtype.itemsize == 8, layout_of(b)
        if not exact or layout is None or layout.transposed or b.shape[0] < 2:
            return False
        return self._fused(a, b, out, BGRADA, sums)

    @property
    def rounds(self) -> bool:
        """Whether float32 factors are rounded to 16 bits."""
        return self.precision in _SIXTEEN_BITS

    def sharing(self, x: Array) -> Product:
        """This product, with ``x`` rounded once, now, for all products that it is a factor of."""
        return replace(self, ready=(x, self.factor(x)))

    def factor(self, x: Array) -> Matrix | None:
        """``x`` as cublasLt reads it, rounded if necessary; ``None`` if it cannot."""
        if self.ready is not None and x is self.ready[0]:
            return self.ready[1]
        layout = layout_of(x)
        if layout is not None and layout.kind == _REAL["float32"] and self.rounds:
            return self._rounded(x, layout)
        return layout and Matrix(x, layout)

    def multiply(
        self, a: Matrix, b: Matrix, out: Array, epilogue: int = DEFAULT, vector: int = 0
    ) -> bool:
        """Fill ``out`` by `cublas_lt.Products.multiply`; return False if it is not supported."""
        target = layout_of(out)
        if target is None or target.transposed:
            return False
        is_float64 = target.kind == _REAL["float64"]
        compute = _COMPUTE_FLOAT64 if is_float64 else _COMPUTE[self.precision]
        products = cublas_lt.products()
        return products.multiply(a, b, Matrix(out, target), compute, epilogue, vector)

    def _fused(self, a: Array, b: Array, out: Array, epilogue: int, vector: Array) -> bool:
        if epilogue not in self.epilogues or not a.ndim == b.ndim == 2 or a.shape[1] != b.shape[0]:
            return False
        shapes = have_shape(b.shape[1:], vector) and have_shape(a.shape[:1] + b.shape[1:], out)
        if not (shapes and supported(out, vector)):
            return False
        address = cublas_lt.address(vector)
        return address % BIAS_ALIGNMENT == 0 and self._multiply(a, b, out, epilogue, address)

    def _multiply(self, a: Array, b: Array, out: Array, *epilogue: int) -> bool:
        if not a.dtype == b.dtype == out.dtype:
            return False
        left, right = self.factor(a), self.factor(b)
        if left is None or right is None:
            return False
        return self.multiply(left, right, out, *epilogue)

    def _rounded(self, x: Array, layout: MatrixLayout) -> Matrix:
        """``x`` in 16 bits, contiguous in the order of its memory."""
        import cupy  # noqa: PLC0415

        index = index_type(layout.columns * layout.leading)
        defines = {"BFLOAT": str(int(self.precision == "bf16")), "INDEX": index}
        kernel = file_kernel("to_16_bits", "rounding.cu", "float32", **defines)
        memory, kind = cupy.empty(x.size, dtype="uint16"), _SIXTEEN_BITS[self.precision]
        sizes = map(np.int64, (x.size, layout.rows, layout.leading))
        # The kernel reads transposed views and gaps between rows by address and leading dimension.
        launch_linear(self.launch, kernel, x.size, (x, memory, *sizes))
        return Matrix(memory, layout._replace(kind=kind, leading=layout.rows))


def cublas_product(precision: Precision = "float32") -> Product | None:
    """The product by cublasLt, unchecked; ``None`` if the library cannot be used."""
    return None if cublas_lt.why_unavailable() else Product(precision)
