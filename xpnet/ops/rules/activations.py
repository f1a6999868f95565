"""Activations and their derivatives, each written once.

A derivative takes the array that the forward pass keeps: the output ``a`` where the derivative can
be written in it, else the input ``z``.
"""

from __future__ import annotations

import math

from xpnet.backend import Array, Namespace
from xpnet.ops.rules.erf import erf

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946
SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
GELU_CUBIC = 0.044715


def identity(xp: Namespace, z: Array) -> Array:
    """``z``."""
    return z


def one(xp: Namespace, z: Array) -> Array:
    """``1``, the derivative of the identity, NaN where ``z`` is."""
    return z * 0.0 + 1.0


def affine(xp: Namespace, z: Array, slope: float, intercept: float) -> Array:
    """``slope z + intercept``."""
    return slope * z + intercept


def affine_slope(xp: Namespace, a: Array, slope: float, intercept: float) -> Array:
    """``slope``."""
    return a * 0.0 + slope


def step(xp: Namespace, z: Array) -> Array:
    """``[z > 0]``."""
    return xp.where(z > 0, z * 0.0 + 1.0, z * 0.0)


def sigmoid(xp: Namespace, z: Array) -> Array:
    """``1/(1 + e^-z)`` from ``e^-|z|``, which cannot overflow."""
    e = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, 1.0 / (1.0 + e), e / (1.0 + e))


def sigmoid_slope(xp: Namespace, a: Array) -> Array:
    """``a (1 − a)``."""
    return a * (1.0 - a)


def tanh(xp: Namespace, z: Array) -> Array:
    """``tanh z``."""
    return xp.tanh(z)


def tanh_slope(xp: Namespace, a: Array) -> Array:
    """``1 − a²``."""
    return 1.0 - a * a


def relu(xp: Namespace, z: Array) -> Array:
    """``max(0, z)``; NaN stays NaN."""
    return xp.where(z < 0, z * 0.0, z)


def relu_slope(xp: Namespace, a: Array) -> Array:
    """``[a > 0]``."""
    return xp.where(a > 0, a * 0.0 + 1.0, a * 0.0)


def leaky_relu(xp: Namespace, z: Array, alpha: float) -> Array:
    """``z`` where positive, else ``α z``."""
    return xp.where(z > 0, z, alpha * z)


def leaky_relu_slope(xp: Namespace, a: Array, alpha: float) -> Array:
    """``1`` where positive, else ``α``."""
    return xp.where(a > 0, a * 0.0 + 1.0, a * 0.0 + alpha)


def elu(xp: Namespace, z: Array, alpha: float) -> Array:
    """``z`` where positive, else ``α (e^z − 1)``."""
    return xp.where(z > 0, z, alpha * xp.expm1(xp.where(z > 0, z * 0.0, z)))


def elu_slope(xp: Namespace, a: Array, alpha: float) -> Array:
    """``1`` where positive, else ``α e^z = a + α``."""
    return xp.where(a > 0, a * 0.0 + 1.0, a + alpha)


def selu(xp: Namespace, z: Array) -> Array:
    """``λ elu(z, α)`` with the constants that keep mean 0 and variance 1."""
    return SELU_SCALE * elu(xp, z, SELU_ALPHA)


def selu_slope(xp: Namespace, a: Array) -> Array:
    """``λ`` where positive, else ``λ α e^z = a + λ α``."""
    return xp.where(a > 0, a * 0.0 + SELU_SCALE, a + SELU_SCALE * SELU_ALPHA)


def softplus(xp: Namespace, z: Array) -> Array:
    """``log(1 + e^z) = max(z, 0) + log(1 + e^-|z|)``."""
    return xp.where(z > 0, z, z * 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def softplus_slope(xp: Namespace, a: Array) -> Array:
    """``σ(z) = 1 − e^-a``."""
    return -xp.expm1(-a)


def silu(xp: Namespace, z: Array) -> Array:
    """``z σ(z)``."""
    return z * sigmoid(xp, z)


def silu_slope(xp: Namespace, z: Array) -> Array:
    """``σ(z) (1 + z (1 − σ(z)))``."""
    a = sigmoid(xp, z)
    return a * (1.0 + z * (1.0 - a))


def hard_sigmoid(xp: Namespace, z: Array) -> Array:
    """``min(max(0.2 z + 0.5, 0), 1)``."""
    a = 0.2 * z + 0.5
    a = xp.where(a < 0, a * 0.0, a)
    return xp.where(a > 1, a * 0.0 + 1.0, a)


def hard_sigmoid_slope(xp: Namespace, a: Array) -> Array:
    """``0.2`` strictly between 0 and 1, else 0."""
    return xp.where((a > 0) & (a < 1), a * 0.0 + 0.2, a * 0.0)


def exponential(xp: Namespace, z: Array) -> Array:
    """``e^z``."""
    return xp.exp(z)


def gelu(xp: Namespace, z: Array) -> Array:
    """``z Φ(z)`` with the normal distribution function ``Φ(z) = ½ (1 + erf(z/√2))``."""
    return 0.5 * z * (1.0 + erf(xp, z * SQRT_HALF))


def gelu_slope(xp: Namespace, z: Array) -> Array:
    """``Φ(z) + z φ(z)`` with the normal density φ."""
    bounded = xp.where(xp.abs(z) > 40.0, z * 0.0 + 40.0, z)
    density = INV_SQRT_2PI * xp.exp(-0.5 * bounded * bounded)
    return 0.5 * (1.0 + erf(xp, z * SQRT_HALF)) + bounded * density


def gelu_tanh(xp: Namespace, z: Array) -> Array:
    """``½ z (1 + tanh(√(2/π) (z + 0.044715 z³)))``."""
    u = _bounded(xp, z, 30.0)
    return 0.5 * z * (1.0 + xp.tanh(SQRT_2_OVER_PI * (u + GELU_CUBIC * u * u * u)))


def gelu_tanh_slope(xp: Namespace, z: Array) -> Array:
    """``½ (1 + t) + ½ z (1 − t²) √(2/π) (1 + 3·0.044715 z²)`` with t the hyperbolic tangent."""
    u = _bounded(xp, z, 30.0)
    t = xp.tanh(SQRT_2_OVER_PI * (u + GELU_CUBIC * u * u * u))
    inner = SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_CUBIC * u * u)
    return 0.5 * (1.0 + t) + 0.5 * u * (1.0 - t * t) * inner


def _bounded(xp: Namespace, z: Array, limit: float) -> Array:
    """``z`` limited to ``[-limit, limit]``; NaN stays NaN."""
    z = xp.where(z > limit, z * 0.0 + limit, z)
    return xp.where(z < -limit, z * 0.0 - limit, z)
