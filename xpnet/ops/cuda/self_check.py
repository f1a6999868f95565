"""Check a kernel and the products against NumPy before their first use."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from xpnet.backend import Array, Namespace, to_numpy
from xpnet.ops.cuda.cublas_lt import RELU_BIAS
from xpnet.ops.cuda.matmul import RULE_EPILOGUES, Product, cublas_product
from xpnet.ops.operations import Operations, Precision
from xpnet.ops.rules import activations

SIZES = (5, 7, 3), (32, 64, 16)
"""The sizes ``m, k, n`` of the products.

cublasLt may select other algorithms at other sizes. The check shows that factors, bias and gradient
are passed correctly, and no more.
"""


def check_kernels(ops: Operations) -> None:
    """Compare one generated kernel with NumPy, to see that kernels can be compiled and launched.

    Raises:
        RuntimeError: if results differ. Exceptions of a kernel are passed on.
    """
    z, bias = np.linspace(-2, 2, 12, dtype="float32").reshape(4, 3), np.ones(3, "float32")
    y = ops.shift_and_apply(activations.relu, *(ops.xp.asarray(x.copy()) for x in (z, bias)))
    _require_equal(y, np.maximum(z + bias, 0), "the result of a kernel")


@cache
def checked_product(
    xp: Namespace, precision: Precision = "float32", device: int = 0
) -> Product | None:
    """The product by cublasLt, checked bit for bit; ``None`` if the library cannot be used.

    It is checked once on each device, of which ``device``, the current one, is the index.

    NVIDIA does not document whether a fused ReLU propagates NaN. One that does not is excluded,
    because it would hide a diverging loss.

    Raises:
        RuntimeError: if results differ. Exceptions of a product are passed on.
    """
    product = cublas_product(precision)
    if product is None:
        return None
    keeps_nan = [_check(product, xp, *size, t) for t in ("float32", "float64") for size in SIZES]
    lost = set() if all(keeps_nan) else {RELU_BIAS}
    return replace(product, epilogues=product.epilogues - lost)


def _check(product: Product, xp: Namespace, m: int, k: int, n: int, dtype: str) -> bool:
    """Check the products of one layer; return whether a fused ReLU propagates NaN."""

    def numbers(*shape: int) -> np.ndarray[Any, Any]:
        """Small integers, whose products are exact in every format."""
        return (np.arange(np.prod(shape)) * 7 % 5 - 2).astype(dtype).reshape(shape)

    host = numbers(m, k), numbers(k, n), numbers(n), numbers(m, n)
    x, weight, bias, dz = map(xp.asarray, host)
    X, W, b, D = host
    y, dx, dw, db = map(xp.empty_like, (dz, x, weight, bias))
    _require_equal(product(x, weight, y), X @ W, "a product")
    _require_equal(product(dz, weight.T, dx), D @ W.T, "the gradient of an input")
    _require_equal(product(x.T, dz, dw), X.T @ D, "the gradient of a weight")
    for rule in RULE_EPILOGUES:
        if product.affine(rule, x, weight, bias, y):
            _require_equal(y, rule(np, X @ W + b), f"{rule.__name__} of a fused product")
    if product.gradients(x.T, dz, dw, db):
        _require_equal(dw, X.T @ D, "the gradient of a weight beside that of a bias")
        _require_equal(db, D.sum(axis=0), "the gradient of a bias")
    nan = xp.asarray(np.full((m, k), np.nan, dtype))
    fused = product.affine(activations.relu, nan, weight, bias, y)
    return not fused or bool(np.isnan(to_numpy(y)).all())


def _require_equal(actual: Array, expected: np.ndarray[Any, Any], what: str) -> None:
    if not np.array_equal(to_numpy(actual), expected):
        raise RuntimeError(f"{what} differs from that of NumPy")
