"""Elementwise losses of an output ``z`` and a target ``t``, and their derivatives by ``z``."""

from __future__ import annotations

from xpnet.backend import Array, Namespace
from xpnet.ops.rules.activations import sigmoid, softplus


def half_square(xp: Namespace, z: Array, t: Array) -> Array:
    """``½ (z − t)²``."""
    return 0.5 * (z - t) * (z - t)


def difference(xp: Namespace, z: Array, t: Array) -> Array:
    """``z − t``."""
    return z - t


def square(xp: Namespace, z: Array, t: Array) -> Array:
    """``(z − t)²``."""
    return (z - t) * (z - t)


def twice_difference(xp: Namespace, z: Array, t: Array) -> Array:
    """``2 (z − t)``."""
    return 2.0 * (z - t)


def absolute(xp: Namespace, z: Array, t: Array) -> Array:
    """``|z − t|``."""
    return xp.abs(z - t)


def sign_of_difference(xp: Namespace, z: Array, t: Array) -> Array:
    """``sign(z − t)``, 0 at the kink."""
    return xp.sign(z - t)


def huber(xp: Namespace, z: Array, t: Array, delta: float) -> Array:
    """``½ d²`` for ``|d| ≤ δ``, else ``δ (|d| − ½ δ)``, with ``d = z − t``."""
    d = xp.abs(z - t)
    inside = xp.where(d < delta, d, d * 0.0 + delta)
    return inside * (d - 0.5 * inside)


def huber_slope(xp: Namespace, z: Array, t: Array, delta: float) -> Array:
    """``d`` limited to ``[−δ, δ]``."""
    d = z - t
    return xp.where(xp.abs(d) < delta, d, delta * xp.sign(d))


def logistic(xp: Namespace, z: Array, t: Array) -> Array:
    """``−t log σ(z) − (1 − t) log(1 − σ(z)) = log(1 + e^z) − t z``."""
    return softplus(xp, z) - t * z


def logistic_slope(xp: Namespace, z: Array, t: Array) -> Array:
    """``σ(z) − t``."""
    return sigmoid(xp, z) - t


def hinge(xp: Namespace, z: Array, t: Array) -> Array:
    """``max(0, 1 − t z)``."""
    margin = 1.0 - t * z
    return xp.where(margin > 0, margin, margin * 0.0)


def hinge_slope(xp: Namespace, z: Array, t: Array) -> Array:
    """``−t`` where ``t z < 1``, else 0."""
    return xp.where(t * z < 1.0, -t, t * 0.0)


def perceptron(xp: Namespace, z: Array, t: Array) -> Array:
    """``max(0, −t z)``."""
    margin = -t * z
    return xp.where(margin > 0, margin, margin * 0.0)


def perceptron_slope(xp: Namespace, z: Array, t: Array) -> Array:
    """``−t`` where ``t z ≤ 0``, as the perceptron's rule has it, else 0."""
    return xp.where(t * z <= 0.0, -t, t * 0.0)


def poisson(xp: Namespace, z: Array, t: Array) -> Array:
    """``e^z − t z`` for a log-rate ``z``."""
    return xp.exp(z) - t * z


def poisson_slope(xp: Namespace, z: Array, t: Array) -> Array:
    """``e^z − t``."""
    return xp.exp(z) - t
