"""The kernels tried on a few numbers before anything rests on them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from xpnet.backend import Array, Namespace
from xpnet.errors import FallbackWarning
from xpnet.ops.cuda.epilogues import RELU_BIAS, Epilogues
from xpnet.ops.cuda.gemm import Product
from xpnet.ops.reference import Operations
from xpnet.ops.rules import activations, optimizers

SIZES = (5, 7, 3), (32, 64, 16), (256, 512, 128)
"""``m, k, n`` of the products that are tried: other sizes, perhaps other algorithms."""


def prove(ops: Operations, xp: Namespace) -> None:
    """Run what a training step takes and compare it with the plain operations.

    Args:
        ops: the operations to try.
        xp: the namespace of the arrays.

    Raises:
        RuntimeError: if one gives other numbers; what a kernel itself raises is passed on.
    """
    plain = Operations(xp)
    for proof in (_rules, _cross_entropy, _batch_norm, _steps):
        ours = proof(ops, xp)  # first: memory of theirs would already hold the right numbers
        for name, theirs in proof(plain, xp).items():
            near = xp.abs(ours[name] - theirs) <= 1e-4 * (1.0 + xp.abs(theirs))
            if not bool(xp.all(near)):
                raise RuntimeError(f"{name} gives other numbers than the plain operation")


@cache
def proven_epilogues(product: object, xp: Namespace) -> Epilogues | None:
    """The epilogues of a product that give the numbers of the plain operations.

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


def _rules(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Kernels written around a rule, and the product."""
    z, bias = _rows(xp), xp.ones(3, dtype=xp.float32)
    sums, theta = xp.zeros(3, dtype=xp.float32), z[0, ...] + 3.0
    a = ops.shift_and_apply(activations.sigmoid, z + 0.0, bias)
    dz = ops.chain_and_sum(activations.sigmoid_slope, z + 1.0, a, sums)
    ops.update(optimizers.sgd, (theta,), (bias,), (0.5,))
    # Whole numbers: they are the same in whatever format CuPy multiplies.
    whole = xp.reshape(xp.arange(12, dtype=xp.float32), (4, 3))
    gradient = xp.zeros(18, dtype=xp.float32)
    ops.matmul(whole.T, whole, xp.reshape(gradient[9:], (3, 3)))
    return {
        "shift_and_apply": a,
        "chain_and_sum": dz,
        "the sum of chain_and_sum": sums,
        "update": theta,
        "matmul": gradient[9:],
    }


def _cross_entropy(ops: Operations, xp: Namespace) -> dict[str, Array]:
    classes = xp.asarray([0, 2, 1, 0], dtype=xp.int64)
    loss, grad = ops.softmax_cross_entropy(_rows(xp), classes, 0.25)
    return {"softmax_cross_entropy": loss, "its gradient": grad}


def _batch_norm(ops: Operations, xp: Namespace) -> dict[str, Array]:
    x, scale = _rows(xp), xp.linspace(0.5, 1.5, 3, dtype=xp.float32)
    d_scale, d_shift = (xp.zeros(3, dtype=xp.float32) for _ in range(2))
    y, x_hat, mean, var = ops.batch_norm(x, scale, scale + 1.0, 1e-3)
    dx = ops.batch_norm_backward(y * y, x_hat, scale, var, 1e-3, d_scale, d_shift)
    names = "y", "x_hat", "mean", "var", "dx", "d_scale", "d_shift"
    values = y, x_hat, mean, var, dx, d_scale, d_shift
    return {f"{n} of batch_norm": value for n, value in zip(names, values, strict=True)}


def _steps(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Batches of rows and of labels, and the way from step to step."""
    order = xp.asarray([3, 1, 0, 2], dtype=xp.int64)
    start, cursor = xp.asarray([1], dtype=xp.int64), xp.asarray([0], dtype=xp.int64)
    X = ops.take_batch(_rows(xp), order, start, xp.zeros((2, 3), dtype=xp.float32))
    y = ops.take_batch(order, order, start, xp.zeros(2, dtype=xp.int64))
    place, number = xp.zeros(2, dtype=xp.int64), xp.zeros(3, dtype=xp.float32)
    ops.advance(cursor, (xp.reshape(order, (2, 2)), _rows(xp)[:2, ...]), (place, number))
    log = xp.zeros(3, dtype=xp.float32)
    ops.record(log, cursor, number[:1])
    return {
        "take_batch": X,
        "take_batch of labels": y,
        "advance": place,
        "advance of scalars": number,
        "the cursor of advance": cursor,
        "record": log,
    }


def _rows(xp: Namespace) -> Array:
    return xp.reshape(xp.linspace(-2.0, 2.0, 12, dtype=xp.float32), (4, 3))
