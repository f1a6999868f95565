"""Elementwise losses of an output ``z`` and a target ``t``, with their derivatives by ``z``.

Where a derivative is missing, it follows from the loss as from a formula, with the same numbers. A
rule ``*_curvature`` is ``∂²ℓ/∂z²``; where only that is missing, it is 0 almost everywhere.
"""

from __future__ import annotations

from xpnet.backend import Array, Namespace
from xpnet.ops.rules.activations import sigmoid


def half_square(xp: Namespace, z: Array, t: Array) -> Array:
    """``½(z - t)²``."""
    return 0.5 * (z - t) * (z - t)


def square(xp: Namespace, z: Array, t: Array) -> Array:
    """``(z - t)²``."""
    return (z - t) * (z - t)


def absolute(xp: Namespace, z: Array, t: Array) -> Array:
    """``|z - t|``."""
    return xp.abs(z - t)


def huber(xp: Namespace, z: Array, t: Array, delta: float) -> Array:
    """``½d²`` for ``|d| ≤ δ``, else ``δ(|d| - ½δ)``, with ``d = z - t``."""
    d = xp.abs(z - t)
    inside = xp.minimum(d, delta)
    return inside * (d - 0.5 * inside)


def huber_derivative(xp: Namespace, z: Array, t: Array, delta: float) -> Array:
    """``d`` held within ``[-δ, δ]``."""
    return xp.maximum(xp.minimum(z - t, delta), -delta)


def huber_curvature(xp: Namespace, z: Array, t: Array, delta: float) -> Array:
    """1 where ``|z - t| ≤ δ``, else 0."""
    return 1.0 - xp.maximum(xp.sign(xp.abs(z - t) - delta), 0.0)


def logistic(xp: Namespace, z: Array, t: Array) -> Array:
    """``-t log σ(z) - (1 - t) log(1 - σ(z)) = log(1 + eᶻ) - tz``."""
    # Not softplus(z) - tz, which would round the small loss of a confident, right answer away.
    return xp.maximum(z, 0.0) - t * z + xp.log1p(xp.exp(-xp.abs(z)))


def logistic_derivative(xp: Namespace, z: Array, t: Array) -> Array:
    """``σ(z) - t``."""
    return sigmoid(xp, z) - t


def logistic_curvature(xp: Namespace, z: Array, t: Array) -> Array:
    """``σ(z)(1 - σ(z)) = e/(1 + e)²`` with ``e = e^(-|z|)``, which keeps all digits."""
    e = xp.exp(-xp.abs(z))
    return e / ((1.0 + e) * (1.0 + e))


def hinge(xp: Namespace, z: Array, t: Array) -> Array:
    """``max(0, 1 - tz)``."""
    return xp.maximum(1.0 - t * z, 0.0)


def perceptron(xp: Namespace, z: Array, t: Array) -> Array:
    """``max(0, -tz)``."""
    return xp.maximum(-t * z, 0.0)


def perceptron_derivative(xp: Namespace, z: Array, t: Array) -> Array:
    """``-t`` where ``tz ≤ 0``, else 0: at 0 it pushes, or training could not start there."""
    return xp.where(t * z <= 0.0, -t, 0.0)


def poisson(xp: Namespace, z: Array, t: Array) -> Array:
    """``eᶻ - tz`` for a log-rate ``z``."""
    return xp.exp(z) - t * z
