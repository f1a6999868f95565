"""The kernels tried on a few numbers before anything rests on them."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Namespace
from xpnet.ops.reference import Operations
from xpnet.ops.rules import activations, optimizers


def prove(ops: Operations, xp: Namespace) -> None:
    """Run one kernel of each kind and compare it with the plain operations.

    Args:
        ops: the operations to try.
        xp: the namespace of the arrays.

    Raises:
        RuntimeError: if one gives other numbers; what a kernel itself raises is passed on.
    """
    plain = Operations(xp)
    for name, ours, theirs in zip(_NAMES, _results(ops, xp), _results(plain, xp), strict=True):
        if not bool(xp.all(xp.abs(ours - theirs) <= 1e-4 * (1.0 + xp.abs(theirs)))):
            raise RuntimeError(f"{name} gives other numbers than the plain operation")


_NAMES = "shift_and_apply", "chain_and_sum", "its sums", "update", "softmax_cross_entropy"


def _results(ops: Operations, xp: Namespace) -> list[Any]:
    """One result of each kind, of the same small arrays."""
    z = xp.reshape(xp.linspace(-2.0, 2.0, 12, dtype=xp.float32), (4, 3))
    bias, sums, theta = xp.ones(3, dtype=xp.float32), xp.empty(3, dtype=xp.float32), z[0, ...] + 3.0
    a = ops.shift_and_apply(activations.sigmoid, z + 0.0, bias)
    dz = ops.chain_and_sum(activations.sigmoid_slope, z + 1.0, a, sums)
    ops.update(optimizers.sgd, (theta,), (bias,), (0.5,))
    _, grad = ops.softmax_cross_entropy(z, xp.asarray([0, 2, 1, 0], dtype=xp.int64), 0.25)
    return [a, dz, sums, theta, grad]
