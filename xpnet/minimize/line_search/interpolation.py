"""Minimizers of the polynomials through two looks along a ray."""

from __future__ import annotations

import math

from xpnet.minimize.line_search.base import Trial


def cubic_minimum(a: Trial, b: Trial) -> float | None:
    """The local minimizer of the cubic through the values and slopes at ``a`` and ``b``.

    With ``d₁ = φ'_a + φ'_b - 3 (φ_a - φ_b)/(a - b)`` and ``d₂ = ±√(d₁² - φ'_a φ'_b)`` it is
    ``b - (b - a) (φ'_b + d₂ - d₁) / (φ'_b - φ'_a + 2d₂)``; None where the cubic has none.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (3.59).
    """
    d1 = a.slope + b.slope - 3.0 * (a.rise - b.rise) / (a.alpha - b.alpha)
    scale = max(abs(d1), abs(a.slope), abs(b.slope))
    if scale == 0.0 or not math.isfinite(scale):
        return None
    # Dividing by the scale first keeps the square from overflowing.
    square = (d1 / scale) ** 2 - (a.slope / scale) * (b.slope / scale)
    if square < 0.0:
        return None
    d2 = math.copysign(scale * math.sqrt(square), b.alpha - a.alpha)
    below = b.slope - a.slope + 2.0 * d2
    if below == 0.0:
        return None
    return b.alpha - (b.alpha - a.alpha) * (b.slope + d2 - d1) / below


def quadratic_minimum(a: Trial, alpha: float, rise: float) -> float:
    """The minimizer of the parabola through φ and φ' at ``a`` and through ``(alpha, rise)``.

    Reference: Nocedal and Wright, eq. (3.58).
    """
    width = alpha - a.alpha
    bend = rise - a.rise - a.slope * width
    return a.alpha - 0.5 * a.slope * width * width / bend if bend > 0.0 else a.alpha + 0.5 * width


def secant_root(a: Trial, b: Trial) -> float:
    """Where the line through the slopes at ``a`` and ``b`` crosses zero; ∞ if it never does."""
    change = b.slope - a.slope
    return b.alpha - b.slope * (b.alpha - a.alpha) / change if change != 0.0 else math.inf
