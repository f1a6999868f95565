"""The updates of the first-order optimizers, and of what composes around them.

Every rule takes the numbers it updates first (θ, then the state), then the gradient, then scalars,
and returns the new numbers in the same order. Whatever is the same for all parameters, such as a
bias correction, reaches it as a scalar: so a rule has no step count, and no literal constant that
would widen a float32 loop.
"""

from __future__ import annotations

from xpnet.backend import Array, Namespace


def sgd(xp: Namespace, theta: Array, grad: Array, lr: float) -> Array:
    """``θ ← θ − lr·g``."""
    return theta - lr * grad


def momentum(
    xp: Namespace, theta: Array, v: Array, grad: Array, lr: float, alpha: float
) -> tuple[Array, Array]:
    """``v ← αv − lr·g``, ``θ ← θ + v``."""
    v = alpha * v - lr * grad
    return theta + v, v


def nesterov(
    xp: Namespace, theta: Array, v: Array, grad: Array, lr: float, alpha: float
) -> tuple[Array, Array]:
    """``v ← αv − lr·g``, ``φ ← φ + αv − lr·g``; ``theta`` is the look-ahead point φ."""
    v = alpha * v - lr * grad
    return theta + alpha * v - lr * grad, v


def lion(
    xp: Namespace,
    theta: Array,
    v: Array,
    grad: Array,
    lr: float,
    rho1: float,
    one_minus_rho1: float,
    rho2: float,
    one_minus_rho2: float,
    keep: float,
) -> tuple[Array, Array]:
    """``θ ← keep·θ − lr·sign(ρ₁v + (1−ρ₁)g)``, ``v ← ρ₂v + (1−ρ₂)g``."""
    direction = xp.sign(rho1 * v + one_minus_rho1 * grad)
    return keep * theta - lr * direction, rho2 * v + one_minus_rho2 * grad


def adagrad(
    xp: Namespace, theta: Array, r: Array, grad: Array, lr: float, eps: float
) -> tuple[Array, Array]:
    """``r ← r + g²``, ``θ ← θ − lr·g/(√r + eps)``."""
    r = r + grad * grad
    return theta - lr * grad / (xp.sqrt(r) + eps), r


def rmsprop(
    xp: Namespace,
    theta: Array,
    r: Array,
    grad: Array,
    lr: float,
    rho: float,
    one_minus_rho: float,
    eps: float,
) -> tuple[Array, Array]:
    """``r ← ρr + (1−ρ)g²``, ``θ ← θ − lr·g/(√r + eps)``."""
    r = rho * r + one_minus_rho * grad * grad
    return theta - lr * grad / (xp.sqrt(r) + eps), r


def rmsprop_centered(
    xp: Namespace,
    theta: Array,
    s: Array,
    r: Array,
    grad: Array,
    lr: float,
    rho: float,
    one_minus_rho: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``s ← ρs + (1−ρ)g``, ``r ← ρr + (1−ρ)g²``, ``θ ← θ − lr·g/(√(r − s²) + eps)``."""
    s = rho * s + one_minus_rho * grad
    r = rho * r + one_minus_rho * grad * grad
    # r ≥ s² but for rounding, which would make a NaN of a constant gradient.
    variance = xp.abs(r - s * s)
    return theta - lr * grad / (xp.sqrt(variance) + eps), s, r


def norm_scaled(xp: Namespace, theta: Array, grad: Array, r: Array, lr: float, eps: float) -> Array:
    """``θ ← θ − lr·g/(√r + eps)`` with an ``r`` that the caller has brought up to date."""
    return theta - lr * grad / (xp.sqrt(r) + eps)


def adadelta(
    xp: Namespace,
    theta: Array,
    r: Array,
    d: Array,
    grad: Array,
    lr: float,
    rho: float,
    one_minus_rho: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``r ← ρr + (1−ρ)g²``, ``Δ = g·√((d+eps)/(r+eps))``, ``θ ← θ − lr·Δ``, ``d ← ρd + (1−ρ)Δ²``.

    One root of the quotient is faster than the quotient of two.
    """
    r = rho * r + one_minus_rho * grad * grad
    delta = xp.sqrt((d + eps) / (r + eps)) * grad
    return theta - lr * delta, r, rho * d + one_minus_rho * delta * delta


def adam(
    xp: Namespace,
    theta: Array,
    s: Array,
    r: Array,
    grad: Array,
    corrected_lr: float,
    rho1: float,
    one_minus_rho1: float,
    rho2: float,
    one_minus_rho2: float,
    root_correction: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``θ ← θ − lr·ŝ/(√r̂ + eps)`` with ``corrected_lr = lr/(1−ρ₁ᵗ)``.

    ``root_correction = 1/√(1−ρ₂ᵗ)`` makes ``√r̂`` of ``√r``.
    """
    s = rho1 * s + one_minus_rho1 * grad
    r = rho2 * r + one_minus_rho2 * grad * grad
    return theta - corrected_lr * s / (root_correction * xp.sqrt(r) + eps), s, r


def adamw(
    xp: Namespace,
    theta: Array,
    s: Array,
    r: Array,
    grad: Array,
    corrected_lr: float,
    rho1: float,
    one_minus_rho1: float,
    rho2: float,
    one_minus_rho2: float,
    root_correction: float,
    eps: float,
    keep: float,
) -> tuple[Array, Array, Array]:
    """``θ ← keep·θ − lr·ŝ/(√r̂ + eps)``; the scalars are those of `adam`."""
    s = rho1 * s + one_minus_rho1 * grad
    r = rho2 * r + one_minus_rho2 * grad * grad
    return keep * theta - corrected_lr * s / (root_correction * xp.sqrt(r) + eps), s, r


def amsgrad(
    xp: Namespace,
    theta: Array,
    s: Array,
    r: Array,
    r_max: Array,
    grad: Array,
    corrected_lr: float,
    rho1: float,
    one_minus_rho1: float,
    rho2: float,
    one_minus_rho2: float,
    root_correction: float,
    eps: float,
) -> tuple[Array, Array, Array, Array]:
    """`adam` with ``r_max ← max(r_max, r)`` in the place of ``r`` under the root."""
    s = rho1 * s + one_minus_rho1 * grad
    r = rho2 * r + one_minus_rho2 * grad * grad
    r_max = xp.maximum(r_max, r)
    return theta - corrected_lr * s / (root_correction * xp.sqrt(r_max) + eps), s, r, r_max


def adamax(
    xp: Namespace,
    theta: Array,
    s: Array,
    u: Array,
    grad: Array,
    corrected_lr: float,
    rho1: float,
    one_minus_rho1: float,
    rho2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``s ← ρ₁s + (1−ρ₁)g``, ``u ← max(ρ₂u, |g| + eps)``, ``θ ← θ − corrected_lr·s/u``."""
    s = rho1 * s + one_minus_rho1 * grad
    u = xp.maximum(rho2 * u, xp.abs(grad) + eps)
    return theta - corrected_lr * s / u, s, u


def nadam(
    xp: Namespace,
    theta: Array,
    s: Array,
    r: Array,
    grad: Array,
    lr_grad: float,
    lr_mean: float,
    rho1: float,
    one_minus_rho1: float,
    rho2: float,
    one_minus_rho2: float,
    root_correction: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``θ ← θ − (lr_grad·g + lr_mean·s)/(√r̂ + eps)``; the moments are those of `adam`."""
    s = rho1 * s + one_minus_rho1 * grad
    r = rho2 * r + one_minus_rho2 * grad * grad
    step = (lr_grad * grad + lr_mean * s) / (root_correction * xp.sqrt(r) + eps)
    return theta - step, s, r


def radam(
    xp: Namespace,
    theta: Array,
    s: Array,
    r: Array,
    grad: Array,
    lr_plain: float,
    lr_rectified: float,
    rho1: float,
    one_minus_rho1: float,
    rho2: float,
    one_minus_rho2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``θ ← θ − s·(lr_plain + lr_rectified/(√r + eps))``: one of the two rates is zero."""
    s = rho1 * s + one_minus_rho1 * grad
    r = rho2 * r + one_minus_rho2 * grad * grad
    return theta - s * (lr_plain + lr_rectified / (xp.sqrt(r) + eps)), s, r


def clip_by_value(xp: Namespace, grad: Array, low: float, high: float) -> Array:
    """``g ← min(max(g, low), high)``."""
    return xp.minimum(xp.maximum(grad, low), high)


def penalty(xp: Namespace, grad: Array, weight: Array, l1: float, l2: float) -> Array:
    """``g ← g + l1·sign(w) + l2·w``."""
    return grad + l1 * xp.sign(weight) + l2 * weight


def average(xp: Namespace, mean: Array, theta: Array, keep: float, new: float) -> Array:
    """``θ̂ ← keep·θ̂ + new·θ``, a step of a running average."""
    return keep * mean + new * theta


def times(xp: Namespace, grad: Array, factor: float) -> Array:
    """``g ← g·factor``."""
    return grad * factor
