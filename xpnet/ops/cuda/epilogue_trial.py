"""The epilogues of products tried on a few numbers before anything rests on them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from xpnet.backend import Array, Namespace
from xpnet.errors import FallbackWarning
from xpnet.ops.cuda.epilogues import RELU_BIAS, Epilogues
from xpnet.ops.cuda.matmul import Product
from xpnet.ops.operations import Operations
from xpnet.ops.rules import activations

SIZES = (5, 7, 3), (32, 64, 16), (256, 512, 128)
"""``m, k, n`` of the products that are tried.

cublasLt may take other algorithms for other sizes, which nothing here has seen: what works at these
sizes shows that it is told of factors, bias and gradient in the right way, and no more.
"""


@cache
def proven_epilogues(product: object, xp: Namespace) -> Epilogues | None:
    """The epilogues of a product that give the numbers of the plain operations at `SIZES`.

    If one gives others, or anything fails, that is a warning, and there are none: the product goes
    on without. That a ReLU makes 0 of NaN is no failure, for nobody has promised otherwise; but it
    would hide where a loss explodes, so it is left out.

    Args:
        product: whose epilogues; what is no `Product`, such as ``None``, has none.
        xp: the namespace of the arrays.
    """
    if not isinstance(product, Product):
        return None
    ours = Epilogues(product)
    try:
        _try(ours, xp)
        keeps_nan = _keeps_nan(ours, xp)
    except Exception as error:  # a library, a driver or a device may fail in its own way
        warnings.warn(
            f"cublasLt does not work here ({error}); products are made without epilogues.",
            FallbackWarning,
            stacklevel=3,
        )
        return None
    return ours if keeps_nan else replace(ours, usable=ours.usable - {RELU_BIAS})


def _try(ours: Epilogues, xp: Namespace) -> None:
    """Raise RuntimeError if an epilogue that is done gives other numbers, to the last bit."""
    plain = Operations(xp)
    for x, weight, bias, out in _layers(xp):
        for rule in (activations.identity, activations.relu):
            expected = plain.affine_and_apply(rule, x, weight, bias)
            if ours.affine(rule, x, weight, bias, out):
                _require_equal(xp, (out, expected), f"{rule.__name__} with a bias")
        dz, (dw, db, of_dw, of_db) = expected - 1.0, map(xp.zeros_like, (weight, bias) * 2)
        plain.matmul_and_sum(x.T, dz, of_dw, of_db)
        if ours.gradients(x.T, dz, dw, db):
            _require_equal(xp, (dw, of_dw), "the gradient of a weight")
            _require_equal(xp, (db, of_db), "the gradient of a bias")


def _keeps_nan(ours: Epilogues, xp: Namespace) -> bool:
    for x, weight, bias, out in _layers(xp):
        x[0, 0] = xp.nan
        done = ours.affine(activations.relu, x, weight, bias, out)
        if done and not bool(xp.all(xp.isnan(out[0, ...]))):
            return False
    return True


def _layers(xp: Namespace) -> Iterator[tuple[Array, ...]]:
    """Rows, a weight at an odd address, a bias and room for the output, in whole numbers.

    They are so small that they and their products are the same in every format.
    """
    for dtype in (xp.float32, xp.float64):
        for m, k, n in SIZES:
            numbers = xp.asarray(xp.arange(m * k + k * n + 2) * 7 % 5 - 2, dtype=dtype)
            weight = xp.reshape(numbers[m * k + 2 :], (k, n))
            bias, out = xp.asarray(xp.arange(n) - 2, dtype=dtype), xp.zeros((m, n), dtype=dtype)
            yield xp.reshape(numbers[: m * k], (m, k)), weight, bias, out


def _require_equal(xp: Namespace, both: tuple[Array, Array], what: str) -> None:
    if not bool(xp.all(both[0] == both[1])):
        raise RuntimeError(f"{what} gives other numbers than the plain operation")
