"""Second derivatives, elementwise: of the activations and of the losses.

An activation's is the derivative of its ``φ'`` by the array that ``φ'`` is written in: by the
output ``a``, else by the input ``z``. A loss's is ``∂²ℓ/∂z²`` of one output ``z`` with target
``t``. Where a rule is missing, the second derivative is 0 almost everywhere.
"""

from __future__ import annotations

import math

from xpnet.backend import Array, Namespace
from xpnet.ops.rules.erf import FAR


def sigmoid_curvature(xp: Namespace, a: Array) -> Array:
    """``d/da a(1 - a) = 1 - 2a``."""
    return 1.0 - 2.0 * a


def tanh_curvature(xp: Namespace, a: Array) -> Array:
    """``d/da (1 - a²) = -2a``."""
    return -2.0 * a


def elu_curvature(xp: Namespace, a: Array, alpha: float) -> Array:
    """``d/da (a + α) = 1`` where ``a`` is not positive, else 0."""
    return 1.0 - xp.maximum(xp.sign(a), 0.0)


def selu_curvature(xp: Namespace, a: Array) -> Array:
    """``d/da (a + λα) = 1`` where ``a`` is not positive, else 0."""
    return 1.0 - xp.maximum(xp.sign(a), 0.0)


def softplus_curvature(xp: Namespace, a: Array) -> Array:
    """``d/da (1 - e^(-a)) = e^(-a)``."""
    return xp.exp(-a)


def gelu_curvature(xp: Namespace, z: Array) -> Array:
    """``(2 - z²) e^(-z²/2)/√(2π)``."""
    near = xp.maximum(xp.minimum(z, FAR), -FAR)
    square = near * near
    return math.sqrt(0.5 / math.pi) * (2.0 - square) * xp.exp(-0.5 * square)


def gelu_tanh_curvature(xp: Namespace, z: Array) -> Array:
    """``s(1 - s)(2w' + z w'' + z(1 - 2s)w'²)``, ``s = σ(w)``, ``w = √(8/π)(z + 0.044715z³)``.

    By ``e = e^(-|w|)``, as in `silu_curvature`.
    """
    near = xp.minimum(xp.abs(z), FAR)
    square, c = near * near, math.sqrt(8.0 / math.pi)
    e = xp.exp(-c * near * (1.0 + 0.044715 * square))
    slope = c * (1.0 + 0.134145 * square)
    bend = c * 0.26829 * square - near * (1.0 - e) / (1.0 + e) * slope * slope
    return e / ((1.0 + e) * (1.0 + e)) * (2.0 * slope + bend)


def silu_curvature(xp: Namespace, z: Array) -> Array:
    """``s(1 - s)(2 + z(1 - 2s))`` with ``s = σ(z)``.

    It is even: ``e(2 - |z|(1 - e)/(1 + e))/(1 + e)²`` with ``e = e^(-|z|)`` keeps all digits, where
    ``1 - s`` would lose them.
    """
    near = xp.minimum(xp.abs(z), 800.0)
    e = xp.exp(-near)
    return e / ((1.0 + e) * (1.0 + e)) * (2.0 - near * (1.0 - e) / (1.0 + e))


def exponential_curvature(xp: Namespace, a: Array) -> float:
    """``d/da a = 1``, one number for all."""
    return 1.0


def half_square_curvature(xp: Namespace, z: Array, t: Array) -> float:
    """1, one number for all."""
    return 1.0


def square_curvature(xp: Namespace, z: Array, t: Array) -> float:
    """2, one number for all."""
    return 2.0


def huber_curvature(xp: Namespace, z: Array, t: Array, delta: float) -> Array:
    """1 where ``|z - t| ≤ δ``, else 0."""
    return 1.0 - xp.maximum(xp.sign(xp.abs(z - t) - delta), 0.0)


def logistic_curvature(xp: Namespace, z: Array, t: Array) -> Array:
    """``σ(z)(1 - σ(z)) = e/(1 + e)²`` with ``e = e^(-|z|)``, which keeps all digits."""
    e = xp.exp(-xp.abs(z))
    return e / ((1.0 + e) * (1.0 + e))


def poisson_curvature(xp: Namespace, z: Array, t: Array) -> Array:
    """``eᶻ``."""
    return xp.exp(z)
