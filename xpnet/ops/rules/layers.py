"""What layers do elementwise beside their activations."""

from __future__ import annotations

from xpnet.backend import Array, Namespace


def multiply(xp: Namespace, a: Array, b: Array) -> Array:
    """``a·b``."""
    return a * b


def normalize(
    xp: Namespace, x: Array, mean: Array, factor: Array, scale: Array, shift: Array
) -> tuple[Array, Array]:
    """``y = γ x̂ + β`` and ``x̂ = (x − μ)·f``; ``x·f − μ·f`` would cancel where μ is large."""
    x_hat = (x - mean) * factor
    return x_hat * scale + shift, x_hat
