"""Losses of which the derivatives follow from the formula, `xpnet.ops.formulas.class_rules`.

Unlike the other rules, these are run on symbols only: they call stable functions such as
``xp.softplus``, which arrays do not have, and of which the derivatives are stable as well.
"""

from __future__ import annotations

import math

from xpnet.backend import Array, Namespace


def pinball(xp: Namespace, z: Array, t: Array, q: float) -> Array:
    """``q (t - z)`` where ``z ≤ t``, else ``(1 - q)(z - t)``."""
    return xp.where(z > t, (1.0 - q) * (z - t), q * (t - z))


def expectile(xp: Namespace, z: Array, t: Array, tau: float) -> Array:
    """``τ (z - t)²`` where ``z ≤ t``, else ``(1 - τ)(z - t)²``."""
    return xp.where(z > t, 1.0 - tau, tau) * xp.square(z - t)


def log_cosh(xp: Namespace, z: Array, t: Array) -> Array:
    """``log cosh(z - t)``."""
    return xp.log(xp.cosh(z - t))


def student_t(xp: Namespace, z: Array, t: Array, factor: float, width: float) -> Array:
    """``c log(1 + ((z - t)/w)²)`` with ``c = ½(ν + 1)`` and ``w = s√ν``."""
    return factor * xp.log1p(xp.square((z - t) / width))


def gamma(xp: Namespace, z: Array, t: Array) -> Array:
    """``z + t e^(-z)`` for a log-mean ``z``."""
    return z + t * xp.exp(-z)


def tweedie(xp: Namespace, z: Array, t: Array, below: float, above: float) -> Array:
    """``t e^(-az)/a + e^(bz)/b`` for a log-mean ``z``, ``a = p - 1`` and ``b = 2 - p``."""
    return t * xp.exp(-below * z) / below + xp.exp(above * z) / above


def negative_binomial(
    xp: Namespace, z: Array, t: Array, log_dispersion: float, shape: float
) -> Array:
    """``t log(1 + e^(-u)) + r log(1 + eᵘ)`` with ``u = z + log α`` and ``r = 1/α``."""
    u = z + log_dispersion
    # Not (t + r) log(1 + eᵘ) - tu, which cancels for large means.
    return t * xp.softplus(-u) + shape * xp.softplus(u)


def focal(xp: Namespace, u: Array, t: Array, gamma: float) -> Array:
    """``-t (1 - p)^γ log p`` with ``p = σ(u)``."""
    return t * xp.sigmoid(-u) ** gamma * xp.softplus(-u)


def binary_focal(
    xp: Namespace, z: Array, t: Array, gamma: float, positive: float, negative: float
) -> Array:
    """`focal` of both classes, with their weights."""
    one, other = focal(xp, z, t, gamma), focal(xp, -z, 1.0 - t, gamma)
    return positive * one + negative * other


def soft_margin(xp: Namespace, z: Array, t: Array) -> Array:
    """``log(1 + e^(-tz))``."""
    return xp.softplus(-t * z)


def passed(xp: Namespace, z: Array, sign: Array) -> Array:
    """``log(1 + e^(sz))`` for a sign ``s`` of ±1, and 0 for 0: minus a log of ``σ(-sz)``."""
    return xp.abs(sign) * xp.softplus(sign * z)


def gap(xp: Namespace, d: Array, t: Array) -> Array:
    """``-t log(1 - e^(-d))`` for ``d > 0``; ∞ for 0."""
    near, far = xp.log(1.0 - xp.exp(-d)), xp.log1p(-xp.exp(-d))
    return -t * xp.where(d > math.log(2.0), far, near)
