"""The updates of the first-order optimizers, of clipping, penalties and averages.

Every rule takes the numbers that it updates (θ, then the state), then the gradient, then scalars,
and returns the new numbers in the same order. What is the same for all parameters, such as a bias
correction, is a scalar, so that a rule has no step count and no literal constant that would promote
float32 to float64. Scalars such as ``one_minus_beta2`` are computed on the host in double
precision: ``1 − 0.999`` in float32 has a relative error of 1.3e-5.
"""

from __future__ import annotations

from xpnet.backend import Array, Namespace


def scaled(xp: Namespace, target: Array, x: Array, factor: float) -> Array:
    """``target ← factor·x``."""
    return factor * x


def sgd(xp: Namespace, theta: Array, grad: Array, lr: float) -> Array:
    """``θ ← θ − lr·g``."""
    return theta - lr * grad


def momentum(
    xp: Namespace, theta: Array, v: Array, grad: Array, lr: float, momentum: float
) -> tuple[Array, Array]:
    """``v ← μv − lr·g``, ``θ ← θ + v``."""
    v = momentum * v - lr * grad
    return theta + v, v


def nesterov(
    xp: Namespace, theta: Array, v: Array, grad: Array, lr: float, momentum: float
) -> tuple[Array, Array]:
    """``v ← μv − lr·g``, ``φ ← φ + μv − lr·g``; ``theta`` is the look-ahead point φ."""
    v = momentum * v - lr * grad
    return theta + momentum * v - lr * grad, v


def lion(
    xp: Namespace,
    theta: Array,
    m: Array,
    grad: Array,
    lr: float,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    one_minus_beta2: float,
    keep: float,
) -> tuple[Array, Array]:
    """``θ ← keep·θ − lr·sign(β₁m + (1−β₁)g)``, ``m ← β₂m + (1−β₂)g``."""
    direction = xp.sign(beta1 * m + one_minus_beta1 * grad)
    return keep * theta - lr * direction, beta2 * m + one_minus_beta2 * grad


def adagrad(
    xp: Namespace, theta: Array, r: Array, grad: Array, lr: float, eps: float
) -> tuple[Array, Array]:
    """``r ← r + g²``, ``θ ← θ − lr·g/(√r + eps)``."""
    r = r + grad * grad
    return theta - lr * grad / (xp.sqrt(r) + eps), r


def rmsprop(
    xp: Namespace,
    theta: Array,
    v: Array,
    grad: Array,
    lr: float,
    rho: float,
    one_minus_rho: float,
    eps: float,
) -> tuple[Array, Array]:
    """``v ← ρv + (1−ρ)g²``, ``θ ← θ − lr·g/(√v + eps)``."""
    v = rho * v + one_minus_rho * grad * grad
    return theta - lr * grad / (xp.sqrt(v) + eps), v


def rmsprop_centered(
    xp: Namespace,
    theta: Array,
    m: Array,
    v: Array,
    grad: Array,
    lr: float,
    rho: float,
    one_minus_rho: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``m ← ρm + (1−ρ)g``, ``v ← ρv + (1−ρ)g²``, ``θ ← θ − lr·g/(√(v − m²) + eps)``."""
    m = rho * m + one_minus_rho * grad
    v = rho * v + one_minus_rho * grad * grad
    # v ≥ m² except for rounding, which would give NaN for a constant gradient.
    variance = xp.abs(v - m * m)
    return theta - lr * grad / (xp.sqrt(variance) + eps), m, v


def norm_scaled(xp: Namespace, theta: Array, grad: Array, r: Array, lr: float, eps: float) -> Array:
    """``θ ← θ − lr·g/(√r + eps)`` with an ``r`` that the caller has already updated."""
    return theta - lr * grad / (xp.sqrt(r) + eps)


def adadelta(
    xp: Namespace,
    theta: Array,
    v: Array,
    d: Array,
    grad: Array,
    lr: float,
    rho: float,
    one_minus_rho: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``v ← ρv + (1−ρ)g²``, ``Δ = g·√((d+eps)/(v+eps))``, ``θ ← θ − lr·Δ``, ``d ← ρd + (1−ρ)Δ²``.

    One root of the quotient is faster than the quotient of two roots.
    """
    v = rho * v + one_minus_rho * grad * grad
    delta = xp.sqrt((d + eps) / (v + eps)) * grad
    return theta - lr * delta, v, rho * d + one_minus_rho * delta * delta


def adam(
    xp: Namespace,
    theta: Array,
    m: Array,
    v: Array,
    grad: Array,
    corrected_lr: float,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    one_minus_beta2: float,
    root_correction: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``θ ← θ − lr·m̂/(√v̂ + eps)`` with ``corrected_lr = lr/(1−β₁ᵗ)``.

    ``root_correction = 1/√(1−β₂ᵗ)`` gives ``√v̂ = root_correction·√v``.
    """
    m = beta1 * m + one_minus_beta1 * grad
    v = beta2 * v + one_minus_beta2 * grad * grad
    return theta - corrected_lr * m / (root_correction * xp.sqrt(v) + eps), m, v


def adamw(
    xp: Namespace,
    theta: Array,
    m: Array,
    v: Array,
    grad: Array,
    corrected_lr: float,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    one_minus_beta2: float,
    root_correction: float,
    eps: float,
    keep: float,
) -> tuple[Array, Array, Array]:
    """``θ ← keep·θ − lr·m̂/(√v̂ + eps)``; the scalars are those of `adam`."""
    m = beta1 * m + one_minus_beta1 * grad
    v = beta2 * v + one_minus_beta2 * grad * grad
    return keep * theta - corrected_lr * m / (root_correction * xp.sqrt(v) + eps), m, v


def amsgrad(
    xp: Namespace,
    theta: Array,
    m: Array,
    v: Array,
    v_max: Array,
    grad: Array,
    corrected_lr: float,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    one_minus_beta2: float,
    root_correction: float,
    eps: float,
) -> tuple[Array, Array, Array, Array]:
    """`adam` with ``v_max ← max(v_max, v)`` instead of ``v`` under the root."""
    m = beta1 * m + one_minus_beta1 * grad
    v = beta2 * v + one_minus_beta2 * grad * grad
    v_max = xp.maximum(v_max, v)
    return theta - corrected_lr * m / (root_correction * xp.sqrt(v_max) + eps), m, v, v_max


def adamax(
    xp: Namespace,
    theta: Array,
    m: Array,
    u: Array,
    grad: Array,
    corrected_lr: float,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``m ← β₁m + (1−β₁)g``, ``u ← max(β₂u, |g| + eps)``, ``θ ← θ − corrected_lr·m/u``."""
    m = beta1 * m + one_minus_beta1 * grad
    u = xp.maximum(beta2 * u, xp.abs(grad) + eps)
    return theta - corrected_lr * m / u, m, u


def nadam(
    xp: Namespace,
    theta: Array,
    m: Array,
    v: Array,
    grad: Array,
    lr_grad: float,
    lr_mean: float,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    one_minus_beta2: float,
    root_correction: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``θ ← θ − (lr_grad·g + lr_mean·m)/(√v̂ + eps)``; the moments are those of `adam`."""
    m = beta1 * m + one_minus_beta1 * grad
    v = beta2 * v + one_minus_beta2 * grad * grad
    step = (lr_grad * grad + lr_mean * m) / (root_correction * xp.sqrt(v) + eps)
    return theta - step, m, v


def radam(
    xp: Namespace,
    theta: Array,
    m: Array,
    v: Array,
    grad: Array,
    lr_plain: float,
    lr_rectified: float,
    beta1: float,
    one_minus_beta1: float,
    beta2: float,
    one_minus_beta2: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """``θ ← θ − m·(lr_plain + lr_rectified/(√v + eps))``: one of the two rates is 0."""
    m = beta1 * m + one_minus_beta1 * grad
    v = beta2 * v + one_minus_beta2 * grad * grad
    return theta - m * (lr_plain + lr_rectified / (xp.sqrt(v) + eps)), m, v


def rprop(
    xp: Namespace,
    theta: Array,
    previous: Array,
    eta: Array,
    grad: Array,
    lr: float,
    eta_minus: float,
    eta_plus: float,
    low: float,
    high: float,
) -> tuple[Array, Array, Array]:
    """``θ ← θ − lr·η·sign(g)``, with η multiplied by η⁺, 1 or η⁻ by the sign of ``g·g_previous``.

    Where the sign has changed, ``g`` becomes 0: θ and, in the next step, η stay as they are. The
    product of the signs does not overflow, unlike that of the gradients.
    """
    change = xp.sign(grad) * xp.sign(previous)
    up = xp.maximum(change, 0.0)
    down = up - change
    eta = eta * (up * eta_plus + down * eta_minus + (1.0 - up - down))
    eta = xp.minimum(xp.maximum(eta, low), high)
    grad = grad * (1.0 - down)
    return theta - lr * eta * xp.sign(grad), grad, eta


def lookahead(
    xp: Namespace, theta: Array, slow: Array, alpha: float, keep: float, new: float
) -> tuple[Array, Array]:
    """``φ ← φ + α(θ − φ)``, ``θ ← keep·θ + new·φ``; φ is ``slow``."""
    slow = slow + alpha * (theta - slow)
    return keep * theta + new * slow, slow


def inverse_root(xp: Namespace, square: Array, eps: float) -> Array:
    """``1/max(√square, eps)``."""
    return 1.0 / xp.maximum(xp.sqrt(square), eps)


def decayed_step(xp: Namespace, theta: Array, step: Array, keep: float, lr: float) -> Array:
    """``θ ← keep·θ − lr·step``."""
    return keep * theta - lr * step


def schedule_free_adam(
    xp: Namespace,
    theta: Array,
    v: Array,
    z: Array,
    x: Array,
    grad: Array,
    beta1: float,
    beta2: float,
    one_minus_beta2: float,
    root_correction: float,
    eps: float,
    share: float,
    lr: float,
    decay: float,
) -> tuple[Array, Array, Array, Array]:
    """``z ← z − lr·g/(√v̂ + eps) − decay·θ``, ``x ← x + share·(z − x)``, ``θ ← z + β₁(x − z)``."""
    v = beta2 * v + one_minus_beta2 * grad * grad
    z = z - lr * grad / (root_correction * xp.sqrt(v) + eps) - decay * theta
    x = x + share * (z - x)
    return z + beta1 * (x - z), v, z, x


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
