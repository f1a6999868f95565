"""What the methods of `xpnet.minimize` do elementwise."""

from __future__ import annotations

from xpnet.backend import Array, Namespace


def secant_pair(
    xp: Namespace,
    s: Array,
    y: Array,
    old_grad: Array,
    direction: Array,
    grad: Array,
    alpha: float,
) -> tuple[Array, Array, Array]:
    """``s ← αd``, ``y ← ∇f - ∇f_old``, ``∇f_old ← ∇f``."""
    return alpha * direction, grad - old_grad, grad
