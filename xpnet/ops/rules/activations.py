"""The activations and their derivatives, elementwise.

A derivative takes the array that backward keeps: the *output* ``a`` where φ' can be written in it,
so that the input need not be kept, else the input ``z``. No rule overflows on a finite input,
except `exponential` where eᶻ itself does.
"""

from __future__ import annotations

import math

from xpnet.backend import Array, Namespace
from xpnet.ops.rules.erf import FAR, normal

SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def identity(xp: Namespace, z: Array) -> Array:
    """``z``."""
    return z


def one(xp: Namespace, a: Array) -> float:
    """1, one number for all."""
    return 1.0


def affine(xp: Namespace, z: Array, slope: float, intercept: float) -> Array:
    """``slope·z + intercept``."""
    return slope * z + intercept


def affine_derivative(xp: Namespace, a: Array, slope: float, intercept: float) -> float:
    """``slope``, one number for all."""
    return slope


def step(xp: Namespace, z: Array) -> Array:
    """``[z > 0]``."""
    return xp.maximum(xp.sign(z), 0.0)


def sigmoid(xp: Namespace, z: Array) -> Array:
    """``1/(1 + e^(-z))`` by ``e^(-|z|)``, which cannot overflow and keeps all digits."""
    e = xp.exp(-xp.abs(z))
    return xp.where(z > 0.0, 1.0, e) / (1.0 + e)


def sigmoid_derivative(xp: Namespace, a: Array) -> Array:
    """``a(1 - a)``."""
    return a * (1.0 - a)


def tanh(xp: Namespace, z: Array) -> Array:
    """``tanh z``."""
    return xp.tanh(z)


def tanh_derivative(xp: Namespace, a: Array) -> Array:
    """``1 - a²``."""
    return 1.0 - a * a


def relu(xp: Namespace, z: Array) -> Array:
    """``max(0, z)``."""
    return xp.maximum(z, 0.0)


def relu_derivative(xp: Namespace, a: Array) -> Array:
    """``[a > 0]``, which is the sign of ``a``."""
    return xp.sign(a)


def leaky_relu(xp: Namespace, z: Array, alpha: float) -> Array:
    """``z`` where it is positive, else ``αz``."""
    return xp.where(z > 0.0, z, alpha * z)


def leaky_relu_derivative(xp: Namespace, a: Array, alpha: float) -> Array:
    """1 where ``a`` is positive, else ``α``."""
    # The sign is the 1, in the dtype of a: two plain numbers would make a float64 array.
    return xp.where(a > 0.0, xp.sign(a), alpha)


def elu(xp: Namespace, z: Array, alpha: float) -> Array:
    """``z`` where it is positive, else ``α(eᶻ - 1)``."""
    return xp.where(z > 0.0, z, alpha * xp.expm1(xp.minimum(z, 0.0)))


def elu_derivative(xp: Namespace, a: Array, alpha: float) -> Array:
    """1 where ``a`` is positive, else ``αeᶻ = a + α``."""
    return xp.where(a > 0.0, xp.sign(a), a + alpha)


def selu(xp: Namespace, z: Array) -> Array:
    """``λ`` times ``z`` where it is positive, else times ``α(eᶻ - 1)``."""
    return SELU_SCALE * xp.where(z > 0.0, z, SELU_ALPHA * xp.expm1(xp.minimum(z, 0.0)))


def selu_derivative(xp: Namespace, a: Array) -> Array:
    """``λ`` where ``a`` is positive, else ``λαeᶻ = a + λα``."""
    return xp.where(a > 0.0, SELU_SCALE * xp.sign(a), a + SELU_SCALE * SELU_ALPHA)


def softplus(xp: Namespace, z: Array) -> Array:
    """``log(1 + eᶻ) = max(z, 0) + log(1 + e^(-|z|))``."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def softplus_derivative(xp: Namespace, a: Array) -> Array:
    """``σ(z) = 1 - e^(-a)``."""
    return -xp.expm1(-a)


def gelu(xp: Namespace, z: Array) -> Array:
    """``zΦ(z)`` with the normal distribution ``Φ``."""
    # Φ(-40) is 0: the bound only keeps -∞·0 from becoming NaN.
    return xp.maximum(z, -FAR) * normal(xp, z)[0]


def gelu_derivative(xp: Namespace, z: Array) -> Array:
    """``Φ(z) + z e^(-z²/2)/√(2π)``."""
    probability, density = normal(xp, z)
    return probability + xp.maximum(xp.minimum(z, FAR), -FAR) * density


def gelu_tanh(xp: Namespace, z: Array) -> Array:
    """``½z(1 + tanh u) = zσ(2u)``, ``u = √(2/π)(z + 0.044715z³)``."""
    near = xp.maximum(xp.minimum(z, FAR), -FAR)
    twice_u = math.sqrt(8.0 / math.pi) * (near + 0.044715 * near * near * near)
    return xp.maximum(z, -FAR) * sigmoid(xp, twice_u)


def gelu_tanh_derivative(xp: Namespace, z: Array) -> Array:
    """``s + z s(1 - s)·2u'`` with ``s = σ(2u)``, ``2u' = √(8/π)(1 + 3·0.044715z²)``."""
    near = xp.maximum(xp.minimum(z, FAR), -FAR)
    square = near * near
    s = sigmoid(xp, math.sqrt(8.0 / math.pi) * near * (1.0 + 0.044715 * square))
    return s + near * s * (1.0 - s) * math.sqrt(8.0 / math.pi) * (1.0 + 0.134145 * square)


def silu(xp: Namespace, z: Array) -> Array:
    """``zσ(z)``."""
    # σ(-800) is 0: the bound only keeps -∞·0 from becoming NaN.
    return xp.maximum(z, -800.0) * sigmoid(xp, z)


def silu_derivative(xp: Namespace, z: Array) -> Array:
    """``s + z s(1 - s)`` with ``s = σ(z)``."""
    near = xp.maximum(xp.minimum(z, 800.0), -800.0)
    s = sigmoid(xp, near)
    return s + near * s * (1.0 - s)


def hard_sigmoid(xp: Namespace, z: Array) -> Array:
    """``0.2z + 0.5``, held within ``[0, 1]``."""
    return xp.minimum(xp.maximum(0.2 * z + 0.5, 0.0), 1.0)


def hard_sigmoid_derivative(xp: Namespace, a: Array) -> Array:
    """0.2 where ``0 < a < 1``, else 0."""
    return 0.2 * xp.sign(a * (1.0 - a))


def exponential(xp: Namespace, z: Array) -> Array:
    """``eᶻ``."""
    return xp.exp(z)
