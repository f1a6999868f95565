"""Minimizers of the polynomials that interpolate two trials of a line search."""

from __future__ import annotations

import math

from xpnet.minimize.line_search.base import Trial


def cubic_minimum(a: Trial, b: Trial) -> float | None:
    """Return the local minimizer of the cubic through φ and φ' at ``a`` and ``b``.

    With ``d₁ = φ'_a + φ'_b - 3 (φ_a - φ_b)/(a - b)`` and ``d₂ = ±√(d₁² - φ'_a φ'_b)`` it is
    ``b - (b - a) (φ'_b + d₂ - d₁) / (φ'_b - φ'_a + 2d₂)``; None if the cubic has none, or the two
    trials have the same step length and determine no cubic.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (3.59).
    """
    if a.alpha == b.alpha:
        return None
    d1 = a.derivative + b.derivative - 3.0 * (a.increase - b.increase) / (a.alpha - b.alpha)
    scale = max(abs(d1), abs(a.derivative), abs(b.derivative))
    if scale == 0.0 or not math.isfinite(scale):
        return None
    # Dividing by the scale before squaring avoids overflow.
    square = (d1 / scale) ** 2 - (a.derivative / scale) * (b.derivative / scale)
    if square < 0.0:
        return None
    d2 = math.copysign(scale * math.sqrt(square), b.alpha - a.alpha)
    denominator = b.derivative - a.derivative + 2.0 * d2
    if denominator == 0.0:
        return None
    return b.alpha - (b.alpha - a.alpha) * (b.derivative + d2 - d1) / denominator


def quadratic_minimum(a: Trial, alpha: float, increase: float) -> float:
    """Return the minimizer of the parabola through φ and φ' at ``a`` and φ at ``alpha``.

    The midpoint if the parabola has no minimum.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (3.58).
    """
    width = alpha - a.alpha
    curvature = increase - a.increase - a.derivative * width
    if curvature > 0.0:
        return a.alpha - 0.5 * a.derivative * width * width / curvature
    return a.alpha + 0.5 * width


def secant_root(a: Trial, b: Trial) -> float:
    """Return the root of the line through φ' at ``a`` and ``b``; ∞ if the line is horizontal."""
    change = b.derivative - a.derivative
    return b.alpha - b.derivative * (b.alpha - a.alpha) / change if change != 0.0 else math.inf
