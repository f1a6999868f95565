"""What layers do elementwise beside their activations."""

from __future__ import annotations

from xpnet.backend import Array, Namespace


def multiply(xp: Namespace, a: Array, b: Array) -> Array:
    """``a·b``."""
    return a * b


def multiply_derivatives(xp: Namespace, a: Array, b: Array) -> tuple[Array, Array]:
    """``∂(a·b)/∂a = b`` and ``∂(a·b)/∂b = a``."""
    return b, a


def add(xp: Namespace, a: Array, b: Array) -> Array:
    """``a + b``."""
    return a + b


def prelu(xp: Namespace, x: Array, slope: Array) -> Array:
    """``x`` where it is positive, else ``a·x`` with the slope ``a``."""
    return xp.where(x > 0.0, x, slope * x)


def prelu_derivatives(xp: Namespace, x: Array, slope: Array) -> tuple[Array, Array]:
    """By ``x``: 1 where it is positive, else the slope. By the slope: ``min(x, 0)``."""
    # The sign is the 1, in the dtype of x: a plain number would make a float64 array.
    return xp.where(x > 0.0, xp.sign(x), slope), xp.minimum(x, 0.0)


def normalize(
    xp: Namespace, x: Array, mean: Array, rest: Array, factor: Array, scale: Array, shift: Array
) -> tuple[Array, Array]:
    """``y = γ x̂ + β`` and ``x̂ = (x − μ − ρ)·f``; ``x·f − μ·f`` would cancel where μ is large."""
    x_hat = (x - mean - rest) * factor
    return x_hat * scale + shift, x_hat


def running_mean(
    xp: Namespace, mean: Array, rest: Array, batch: Array, batch_rest: Array, new: Array | float
) -> tuple[Array, Array]:
    """``μ + ρ ← μ + ρ + new·(b + b_ρ − μ − ρ)``, where ρ holds what rounding loses of μ.

    ``keep·μ + new·b`` would have a bias, because the rounded ``keep`` and ``new`` do not sum to 1.
    Without ρ, a step below half an ulp of μ would be lost. ρ is computed as in T. Dekker, "A
    floating-point technique for extending the available precision", 1971.
    """
    high, low = new * (batch - mean), rest + new * (batch_rest - rest)
    updated = mean + (high + low)
    return updated, (high - (updated - mean)) + low
