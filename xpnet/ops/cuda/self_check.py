"""Check kernels and fused products against the plain operations before their first use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import TypeAlias

from xpnet.backend import Array, Namespace
from xpnet.errors import warn_fallback
from xpnet.ops.cuda.columns import ROWS_PER_BLOCK
from xpnet.ops.cuda.epilogues import RELU_BIAS, Epilogues
from xpnet.ops.cuda.matmul import Product
from xpnet.ops.operations import Operations
from xpnet.ops.rules import activations, optimizers, scaling

Check: TypeAlias = Callable[[Operations, Namespace], dict[str, Array]]
"""A computation with the given operations, which returns its results by name."""

SIZES = (5, 7, 3), (32, 64, 16), (256, 512, 128)
"""The sizes ``m, k, n`` at which epilogues are checked.

cublasLt may select other algorithms at other sizes. The check shows that factors, bias and gradient
are passed correctly, and no more.
"""


def check_kernels(ops: Operations, xp: Namespace) -> None:
    """Compare the operations of a first training step with the plain operations.

    The check runs in float32 on the current device. Other dtypes have the same source code; other
    devices are not checked.

    Args:
        ops: the operations to check.
        xp: the namespace of the arrays.

    Raises:
        RuntimeError: if results differ. Exceptions of a kernel are passed on.
    """
    tall = partial(_batch_norm, m=ROWS_PER_BLOCK + 1)
    _compare(ops, xp, (_rules, _cross_entropy, _batch_norm, tall, _tall_sums))


def why_not_usable(ops: Operations, xp: Namespace, name: str) -> str:
    """The reason why operations fail one of the `DEFERRED_CHECKS`; empty if they pass.

    Args:
        ops: the operations to check.
        xp: the namespace of the arrays.
        name: the name of the check.
    """
    try:
        _compare(ops, xp, (DEFERRED_CHECKS[name],))
    except Exception as error:  # a compiler, a driver or a device can raise any exception
        return str(error) or type(error).__name__
    return ""


@cache
def checked_epilogues(product: object, xp: Namespace) -> Epilogues | None:
    """The fused products that equal the plain operations at `SIZES`, bit for bit.

    If results differ or an exception is raised, this warns and returns ``None``, so that products
    are not fused. NVIDIA does not document whether a fused ReLU propagates NaN. One that does not
    is excluded without a warning, because it would hide a diverging loss.

    Args:
        product: the matrix product to fuse into; anything but a `Product` has no epilogues.
        xp: the namespace of the arrays.
    """
    if not isinstance(product, Product):
        return None
    epilogues = Epilogues(product)
    try:
        _check_epilogues(epilogues, xp)
        keeps_nan = _keeps_nan(epilogues, xp)
    except Exception as error:  # a library, a driver or a device can raise any exception
        warn_fallback(f"cublasLt does not work here ({error}); products run without epilogues.")
        return None
    return epilogues if keeps_nan else replace(epilogues, usable=epilogues.usable - {RELU_BIAS})


def _compare(ops: Operations, xp: Namespace, checks: Iterable[Check]) -> None:
    plain = Operations(xp)
    for check in checks:
        # Run first: a buffer freed by the plain operations would already hold the right numbers.
        actual = check(ops, xp)
        for name, expected in check(plain, xp).items():
            near = xp.abs(actual[name] - expected) <= 1e-4 * (1.0 + xp.abs(expected))
            if not bool(xp.all(near)):
                raise RuntimeError(f"{name} differs from the plain operation")


def _rules(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Kernels generated from a rule, and the matrix product."""
    z, bias = _rows(xp), xp.ones(3, dtype=xp.float32)
    sums, theta = xp.zeros(3, dtype=xp.float32), z[0, ...] + 3.0
    a = ops.shift_and_apply(activations.sigmoid, z + 0.0, bias)
    dz = ops.chain_and_sum(activations.sigmoid_derivative, z + 1.0, a, sums)
    ops.update(optimizers.sgd, (theta,), (bias,), (0.5,))
    # Integers: their products are exact in every format that CuPy may multiply in.
    whole = xp.reshape(xp.arange(12, dtype=xp.float32), (4, 3))
    gradient = xp.zeros(18, dtype=xp.float32)
    ops.matmul(whole.T, whole, xp.reshape(gradient[9:], (3, 3)))
    return {
        "shift_and_apply": a,
        "chain_and_sum": dz,
        "the sum of chain_and_sum": sums,
        "update": theta,
        "column_sum": ops.column_sum(dz),
        "matmul": gradient[9:],
    }


def _cross_entropy(ops: Operations, xp: Namespace) -> dict[str, Array]:
    classes = xp.asarray([0, 2, 1, 0], dtype=xp.int64)
    loss, grad = ops.softmax_cross_entropy(_rows(xp), classes, 0.25)
    return {"softmax_cross_entropy": loss, "its gradient": grad}


def _tall_sums(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Sums over more rows than one block reduces."""
    a, sums = _rows(xp, ROWS_PER_BLOCK + 1), xp.zeros(3, dtype=xp.float32)
    dz = ops.chain_and_sum(activations.sigmoid_derivative, a * a, a, sums)
    return {"the sum of a tall chain_and_sum": sums, "a tall column_sum": ops.column_sum(dz)}


def _batch_norm(ops: Operations, xp: Namespace, m: int = 4) -> dict[str, Array]:
    x, scale = _rows(xp, m), xp.linspace(0.5, 1.5, 3, dtype=xp.float32)
    d_scale, d_shift = (xp.zeros(3, dtype=xp.float32) for _ in range(2))
    y, x_hat, mean, var, _ = ops.batch_norm(x, scale, scale + 1.0, 1e-3)
    dx = ops.batch_norm_backward(y * y, x_hat, scale, var, 1e-3, d_scale, d_shift)
    names = "y", "x_hat", "mean", "var", "dx", "d_scale", "d_shift"
    values = y, x_hat, mean, var, dx, d_scale, d_shift
    return {f"{n} of batch_norm of {m} rows": value for n, value in zip(names, values, strict=True)}


def _masks(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Masks by a key passed by value and by a key in device memory."""
    key = 7 << 40
    array = xp.asarray([key], dtype=xp.int64)
    keys = {"keep_mask": key, "keep_mask by a key on the device": array}
    return {name: ops.keep_mask(_rows(xp), given, 0.3) for name, given in keys.items()}


def _loss_scaling(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """A step that is taken, and one that overflows and is skipped."""
    found: dict[str, Array] = {}
    for name, largest in (("a good step", 1.0), ("a step that overflows", float("inf"))):
        scale, good, flag, skip = (xp.zeros(1, dtype=xp.float32) for _ in range(4))
        scale, theta = scale + 8.0, _rows(xp)
        grad = ops.apply(optimizers.times, xp.ones((4, 3), dtype=xp.float32), scalars=(scale,))
        grad[0, 0] = largest
        ops.for_graphs.unscale(grad, scale, flag)
        found[f"the flag of unscale in {name}"] = flag + 0.0
        ops.update(scaling.next_scale, (scale, good, flag, skip), (), (1.0, 64.0))
        ops.update_unless(skip, optimizers.sgd, (theta,), (grad,), (0.5,))
        found |= {f"the scale after {name}": scale, f"θ after {name}": theta}
    return found


def _products(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Products of integers, which are exact in every format, and of strided views."""
    whole = xp.reshape(xp.arange(12, dtype=xp.float32), (4, 3))
    x, weight, d_weight = whole[:, :2], whole[:2, :], xp.zeros((2, 3), dtype=xp.float32)
    dx = ops.affine_backward(x, weight, whole, d_weight)
    return {"dx of affine_backward": dx, "dW of affine_backward": d_weight}


def _rows(xp: Namespace, m: int = 4) -> Array:
    return xp.reshape(xp.linspace(-2.0, 2.0, 3 * m, dtype=xp.float32), (m, 3))


DEFERRED_CHECKS: dict[str, Check] = {
    "random masks": _masks,
    "loss scaling": _loss_scaling,
    "products": _products,
}
"""Checks that run before the first use, because compiling a kernel takes a tenth of a second."""


def _check_epilogues(epilogues: Epilogues, xp: Namespace) -> None:
    """Raise RuntimeError if a fused product differs from the plain operations in any bit."""
    plain = Operations(xp)
    for x, weight, bias, out in _dense_layers(xp):
        for rule in (activations.identity, activations.relu):
            expected = plain.affine_and_apply(rule, x, weight, bias)
            if epilogues.affine(rule, x, weight, bias, out):
                _require_equal(xp, out, expected, f"{rule.__name__} with a bias")
        dz = expected - 1.0
        dw, db, expected_dw, expected_db = map(xp.zeros_like, (weight, bias) * 2)
        plain.matmul_and_sum(x.T, dz, expected_dw, expected_db)
        if epilogues.gradients(x.T, dz, dw, db):
            _require_equal(xp, dw, expected_dw, "the gradient of a weight")
            _require_equal(xp, db, expected_db, "the gradient of a bias")


def _keeps_nan(epilogues: Epilogues, xp: Namespace) -> bool:
    for x, weight, bias, out in _dense_layers(xp):
        x[0, 0] = xp.nan
        done = epilogues.affine(activations.relu, x, weight, bias, out)
        if done and not bool(xp.all(xp.isnan(out[0, ...]))):
            return False
    return True


def _dense_layers(xp: Namespace) -> Iterator[tuple[Array, ...]]:
    """Rows, a weight at an odd address, a bias and an output, with small integers as elements.

    Their products are exact in every format.
    """
    for dtype in (xp.float32, xp.float64):
        for m, k, n in SIZES:
            numbers = xp.asarray(xp.arange(m * k + k * n + 2) * 7 % 5 - 2, dtype=dtype)
            weight = xp.reshape(numbers[m * k + 2 :], (k, n))
            bias, out = xp.asarray(xp.arange(n) - 2, dtype=dtype), xp.zeros((m, n), dtype=dtype)
            yield xp.reshape(numbers[: m * k], (m, k)), weight, bias, out


def _require_equal(xp: Namespace, actual: Array, expected: Array, what: str) -> None:
    if not bool(xp.all(actual == expected)):
        raise RuntimeError(f"{what} differs from the plain operation")
