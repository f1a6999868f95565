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


def running_mean(xp: Namespace, running: Array, batch: Array, new: float, ulp: float) -> Array:
    """``r ← r + new·(b − r)``; by about one unit in the last place where that is rounded to r.

    ``keep·r + new·b`` has a bias, because the rounded ``keep`` and ``new`` do not sum to 1. Without
    the smallest step, r would stop up to ``ulp·|r|/new`` from b.
    """
    updated = running + new * (batch - running)
    step = xp.sign(batch - running) * xp.abs(running) * ulp
    return xp.where(updated == running, running + step, updated)
