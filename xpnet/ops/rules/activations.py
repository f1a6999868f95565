"""The activations with their first and second derivatives, elementwise.

A derivative takes the array that is saved for the backward pass: the *output* ``a`` where φ' can be
written in it, so that the input need not be kept, else the input ``z``. A rule ``*_curvature`` is
the derivative of φ' by that array; where it is missing, it is 0 almost everywhere. No rule
overflows on a finite input, except `exponential` where eᶻ itself does.
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


def sigmoid_curvature(xp: Namespace, a: Array) -> Array:
    """``d/da a(1 - a) = 1 - 2a``."""
    return 1.0 - 2.0 * a


def tanh(xp: Namespace, z: Array) -> Array:
    """``tanh z``."""
    return xp.tanh(z)


def tanh_derivative(xp: Namespace, a: Array) -> Array:
    """``1 - a²``."""
    return 1.0 - a * a


def tanh_curvature(xp: Namespace, a: Array) -> Array:
    """``d/da (1 - a²) = -2a``."""
    return -2.0 * a


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


def elu_curvature(xp: Namespace, a: Array, alpha: float) -> Array:
    """``d/da (a + α) = 1`` where ``a`` is not positive, else 0."""
    return 1.0 - xp.maximum(xp.sign(a), 0.0)


def selu(xp: Namespace, z: Array) -> Array:
    """``λ`` times ``z`` where it is positive, else times ``α(eᶻ - 1)``."""
    return SELU_SCALE * xp.where(z > 0.0, z, SELU_ALPHA * xp.expm1(xp.minimum(z, 0.0)))


def selu_derivative(xp: Namespace, a: Array) -> Array:
    """``λ`` where ``a`` is positive, else ``λαeᶻ = a + λα``."""
    return xp.where(a > 0.0, SELU_SCALE * xp.sign(a), a + SELU_SCALE * SELU_ALPHA)


def selu_curvature(xp: Namespace, a: Array) -> Array:
    """``d/da (a + λα) = 1`` where ``a`` is not positive, else 0."""
    return 1.0 - xp.maximum(xp.sign(a), 0.0)


def softplus(xp: Namespace, z: Array) -> Array:
    """``log(1 + eᶻ) = max(z, 0) + log(1 + e^(-|z|))``."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def softplus_derivative(xp: Namespace, a: Array) -> Array:
    """``σ(z) = 1 - e^(-a)``."""
    return -xp.expm1(-a)


def softplus_curvature(xp: Namespace, a: Array) -> Array:
    """``d/da (1 - e^(-a)) = e^(-a)``."""
    return xp.exp(-a)


def gelu(xp: Namespace, z: Array) -> Array:
    """``zΦ(z)`` with the normal distribution ``Φ``."""
    # Φ(-40) is 0: the bound only keeps -∞·0 from becoming NaN.
    return xp.maximum(z, -FAR) * normal(xp, z)[0]


def gelu_derivative(xp: Namespace, z: Array) -> Array:
    """``Φ(z) + z e^(-z²/2)/√(2π)``."""
    probability, density = normal(xp, z)
    return probability + xp.maximum(xp.minimum(z, FAR), -FAR) * density


def gelu_curvature(xp: Namespace, z: Array) -> Array:
    """``(2 - z²) e^(-z²/2)/√(2π)``."""
    near = xp.maximum(xp.minimum(z, FAR), -FAR)
    square = near * near
    return math.sqrt(0.5 / math.pi) * (2.0 - square) * xp.exp(-0.5 * square)


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


def silu(xp: Namespace, z: Array) -> Array:
    """``zσ(z)``."""
    # σ(-800) is 0: the bound only keeps -∞·0 from becoming NaN.
    return xp.maximum(z, -800.0) * sigmoid(xp, z)


def silu_derivative(xp: Namespace, z: Array) -> Array:
    """``s + z s(1 - s)`` with ``s = σ(z)``."""
    near = xp.maximum(xp.minimum(z, 800.0), -800.0)
    s = sigmoid(xp, near)
    return s + near * s * (1.0 - s)


def silu_curvature(xp: Namespace, z: Array) -> Array:
    """``s(1 - s)(2 + z(1 - 2s))`` with ``s = σ(z)``.

    It is even: ``e(2 - |z|(1 - e)/(1 + e))/(1 + e)²`` with ``e = e^(-|z|)`` keeps all digits, where
    ``1 - s`` would lose them.
    """
    near = xp.minimum(xp.abs(z), 800.0)
    e = xp.exp(-near)
    return e / ((1.0 + e) * (1.0 + e)) * (2.0 - near * (1.0 - e) / (1.0 + e))


def hard_sigmoid(xp: Namespace, z: Array) -> Array:
    """``0.2z + 0.5``, held within ``[0, 1]``."""
    return xp.minimum(xp.maximum(0.2 * z + 0.5, 0.0), 1.0)


def hard_sigmoid_derivative(xp: Namespace, a: Array) -> Array:
    """0.2 where ``0 < a < 1``, else 0."""
    return 0.2 * xp.sign(a * (1.0 - a))


def exponential(xp: Namespace, z: Array) -> Array:
    """``eᶻ``."""
    return xp.exp(z)
