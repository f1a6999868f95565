"""The kernels tried on a few numbers before anything rests on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from xpnet.backend import Array, Namespace
from xpnet.ops.cuda.columns import SHARE
from xpnet.ops.operations import Operations
from xpnet.ops.rules import activations, optimizers, scaling

Proof: TypeAlias = Callable[[Operations, Namespace], dict[str, Array]]
"""What some operations give, by name."""


def prove(ops: Operations, xp: Namespace) -> None:
    """Run what a first training step takes and compare it with the plain operations.

    In float32, on the current device: other types have the same source, other devices are not seen.

    Args:
        ops: the operations to try.
        xp: the namespace of the arrays.

    Raises:
        RuntimeError: if one gives other numbers; what a kernel itself raises is passed on.
    """
    tall = partial(_batch_norm, m=SHARE + 1)
    _compare(ops, xp, (_rules, _cross_entropy, _batch_norm, tall, _tall_sums, _steps))


def why_not(ops: Operations, xp: Namespace, name: str) -> str:
    """Why what not every training takes is left to the plain operations; empty if it works.

    Args:
        ops: the operations to try.
        xp: the namespace of the arrays.
        name: one of `SELDOM`.
    """
    try:
        _compare(ops, xp, (SELDOM[name],))
    except Exception as error:  # a compiler, a driver or a device may fail in its own way
        return str(error) or type(error).__name__
    return ""


def _compare(ops: Operations, xp: Namespace, proofs: Iterable[Proof]) -> None:
    plain = Operations(xp)
    for proof in proofs:
        ours = proof(ops, xp)  # first: memory of theirs would already hold the right numbers
        for name, theirs in proof(plain, xp).items():
            near = xp.abs(ours[name] - theirs) <= 1e-4 * (1.0 + xp.abs(theirs))
            if not bool(xp.all(near)):
                raise RuntimeError(f"{name} gives other numbers than the plain operation")


def _rules(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Kernels written around a rule, and the product."""
    z, bias = _rows(xp), xp.ones(3, dtype=xp.float32)
    sums, theta = xp.zeros(3, dtype=xp.float32), z[0, ...] + 3.0
    a = ops.shift_and_apply(activations.sigmoid, z + 0.0, bias)
    dz = ops.chain_and_sum(activations.sigmoid_derivative, z + 1.0, a, sums)
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
        "column_sum": ops.column_sum(dz),
        "matmul": gradient[9:],
    }


def _cross_entropy(ops: Operations, xp: Namespace) -> dict[str, Array]:
    classes = xp.asarray([0, 2, 1, 0], dtype=xp.int64)
    loss, grad = ops.softmax_cross_entropy(_rows(xp), classes, 0.25)
    return {"softmax_cross_entropy": loss, "its gradient": grad}


def _tall_sums(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Of rows that several blocks share."""
    a, sums = _rows(xp, SHARE + 1), xp.zeros(3, dtype=xp.float32)
    dz = ops.chain_and_sum(activations.sigmoid_derivative, a * a, a, sums)
    return {"the sum of a tall chain_and_sum": sums, "a tall column_sum": ops.column_sum(dz)}


def _batch_norm(ops: Operations, xp: Namespace, m: int = 4) -> dict[str, Array]:
    x, scale = _rows(xp, m), xp.linspace(0.5, 1.5, 3, dtype=xp.float32)
    d_scale, d_shift = (xp.zeros(3, dtype=xp.float32) for _ in range(2))
    y, x_hat, mean, var = ops.batch_norm(x, scale, scale + 1.0, 1e-3)
    dx = ops.batch_norm_backward(y * y, x_hat, scale, var, 1e-3, d_scale, d_shift)
    names = "y", "x_hat", "mean", "var", "dx", "d_scale", "d_shift"
    values = y, x_hat, mean, var, dx, d_scale, d_shift
    return {f"{n} of batch_norm of {m} rows": value for n, value in zip(names, values, strict=True)}


def _steps(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Batches of rows and of labels, and the way from step to step."""
    order = xp.asarray([3, 1, 0, 2], dtype=xp.int64)
    start, cursor = xp.asarray([1], dtype=xp.int64), xp.asarray([0], dtype=xp.int64)
    X = ops.take_batch(_rows(xp), order, start, xp.zeros((2, 3), dtype=xp.float32))
    y = ops.take_batch(order, order, start, xp.zeros(2, dtype=xp.int64))
    place, number = xp.zeros(2, dtype=xp.int64), xp.zeros(3, dtype=xp.float32)
    ops.advance(cursor, (xp.reshape(order, (2, 2)), _rows(xp)[:2, ...]), (place, number))
    log, theta = (xp.zeros(3, dtype=xp.float32) for _ in range(2))
    ops.record(log, cursor, number[:1])
    ops.update(optimizers.sgd, (theta,), (number,), (number[:1],))
    return {
        "take_batch": X,
        "take_batch of labels": y,
        "advance": place,
        "advance of scalars": number,
        "the cursor of advance": cursor,
        "record": log,
        "update by a scalar on the device": theta,
    }


def _masks(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """By a key of the host's and by one on the device."""
    key = 7 << 40
    there = xp.asarray([key], dtype=xp.int64)
    masks = {"keep_mask": key, "keep_mask by a key on the device": there}
    return {name: ops.keep_mask(_rows(xp), given, 0.3) for name, given in masks.items()}


def _bytes(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Batches of bytes, as they are and scaled."""
    x = xp.astype(xp.reshape(xp.arange(12), (4, 3)) * 20, xp.uint8)
    order, start = xp.asarray([3, 1, 0, 2], dtype=xp.int64), xp.asarray([1], dtype=xp.int64)
    columns = [xp.linspace(1.0, 2.0, 3, dtype=xp.float32) + i for i in range(3)]
    outs = {"take_batch of bytes": (), "take_batch of scaled bytes": columns}
    return {
        name: ops.take_batch(x, order, start, xp.zeros((2, 3), dtype=xp.float32), given)
        for name, given in outs.items()
    }


def _loss_scaling(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """A step that overflows and is skipped, and one that is taken."""
    found: dict[str, Array] = {}
    for name, largest in (("a good step", 1.0), ("a step that overflows", float("inf"))):
        scale, good, flag, skip = (xp.zeros(1, dtype=xp.float32) for _ in range(4))
        scale, theta = scale + 8.0, _rows(xp)
        grad = ops.apply(optimizers.times, xp.ones((4, 3), dtype=xp.float32), scalars=(scale,))
        grad[0, 0] = largest
        ops.unscale(grad, scale, flag)
        found[f"what unscale finds in {name}"] = flag + 0.0
        ops.update(scaling.next_scale, (scale, good, flag, skip), (), (1.0, 64.0))
        ops.update_unless(skip, optimizers.sgd, (theta,), (grad,), (0.5,))
        found |= {f"the scale after {name}": scale, f"θ after {name}": theta}
    return found


def _products(ops: Operations, xp: Namespace) -> dict[str, Array]:
    """Of whole numbers, which are the same in every format, and of views as they lie."""
    whole = xp.reshape(xp.arange(12, dtype=xp.float32), (4, 3))
    x, weight, d_weight = whole[:, :2], whole[:2, :], xp.zeros((2, 3), dtype=xp.float32)
    dx = ops.affine_backward(x, weight, whole, d_weight)
    return {"dx of affine_backward": dx, "dW of affine_backward": d_weight}


def _rows(xp: Namespace, m: int = 4) -> Array:
    return xp.reshape(xp.linspace(-2.0, 2.0, 3 * m, dtype=xp.float32), (m, 3))


SELDOM: dict[str, Proof] = {
    "random masks": _masks,
    "batches of bytes": _bytes,
    "loss scaling": _loss_scaling,
    "products": _products,
}
"""What is tried when it is first needed: to compile a kernel takes a tenth of a second."""
