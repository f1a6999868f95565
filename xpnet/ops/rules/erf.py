"""The complementary error function, which neither NumPy nor the array API standard has.

Its constants are computed here from their formulas, so that they are exact in double precision.
"""

from __future__ import annotations

import math

from xpnet.backend import Array, Namespace

H = 0.5
"""The step of the midpoint rule, whose relative error is about ``e^(-π²/h²)`` = 7e-18."""

NODES = tuple(((k + 0.5) * H) ** 2 for k in range(12))
WEIGHTS = tuple(math.exp(-node) for node in NODES)

FAR = 40.0
"""Beyond ±40 both erfc and the normal distribution are 0 or 1 or 2, even in float64."""


def erfc(xp: Namespace, x: Array) -> Array:
    """The complementary error function ``2/√π ∫_x^∞ e^(-t²) dt``.

    For ``x ≥ 0`` it is ``(2hx/π) e^(-x²) Σ_k e^(-u_k²)/(u_k² + x²)``, ``u_k = (k + ½)h``, the
    midpoint rule, plus the residue ``2/(1 + e^(2πx/h))`` of the pole that the rule passes where
    ``x < π/h``; ``erfc(-x) = 2 - erfc(x)``. No term is negative, so no digit is lost: the relative
    error is that of ``e^(-x²)``.

    Reference: D. B. Hunter, T. Regan, "A note on the evaluation of the complementary error
    function", Math. Comp. 26, 1972.
    """
    far = xp.minimum(xp.abs(x), FAR)
    square = far * far
    total = 0.0
    for node, weight in zip(NODES, WEIGHTS):  # noqa: B905  Numba has no strict zip
        total = total + weight / (square + node)
    e = xp.exp((-2.0 * math.pi / H) * far)
    residue = xp.where(far < math.pi / H, 2.0 * e / (1.0 + e), 0.0)
    tail = (2.0 * H / math.pi) * far * xp.exp(-square) * total + residue
    return xp.where(x < 0.0, 2.0 - tail, tail)
