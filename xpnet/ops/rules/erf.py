"""The error function and the normal distribution, which the array API standard lacks.

They are plain arithmetic and one exponential, without a branch or a table, so that a compiled loop
vectorizes them. ``python -m benchmarks.erf_coefficients`` derives the polynomials.
"""

from __future__ import annotations

import math

from xpnet.backend import Array, Namespace

FAR = 40.0
"""Beyond ±40, erfc and the normal distribution are 0, 1 or 2 even in float64."""

CENTRE = 3.5
"""``c`` in the variable ``t = (x - c)/(x + c)``, which maps ``0 ≤ x < ∞`` to ``-1 ≤ t < 1``."""

SCALED_ERFC = (
    2.647965168376016e-09,
    8.750080730945182e-09,
    -1.3165043365733232e-08,
    -7.671015559392108e-08,
    5.216757619359778e-08,
    4.934982366417334e-07,
    -3.5355537612175427e-07,
    -3.0956378456817734e-06,
    3.907829729318738e-06,
    1.8726638041760552e-05,
    -4.816332773443466e-05,
    -7.802337251431752e-05,
    0.0005343230478360439,
    -0.0005480356030019458,
    -0.0033995992136991713,
    0.01825669153972881,
    -0.050103256436918195,
    0.09264964907879114,
    -0.11331144032972942,
    0.04949201071846634,
    0.17308287454956456,
    -0.6023570995199513,
)
"""``((1 + x) e^(x²) erfc(x) - 1)(x + c)/x`` as a polynomial in ``t``, the highest power first.

Its error is below 4e-17 for ``0 ≤ x ≤ 28``, beyond which erfc is 0.
"""

ODD, EVEN = SCALED_ERFC[0::2], SCALED_ERFC[1::2]

ERF_RATIO = (
    -7.795898827002142e-10,
    1.3720064546777686e-08,
    -1.6208483801871705e-07,
    1.6447424703317362e-06,
    -1.492473690741966e-05,
    0.00012055294904839707,
    -0.0008548325975389692,
    0.0052239776071164225,
    -0.02686617064323777,
    0.11283791670945006,
    -0.37612638903183543,
    0.12837916709551256,
)
"""``erf(x)/x - 1`` as a polynomial in ``x²``, the highest power first.

Its error is below 1e-17 for ``|x| ≤ 1``.
"""


def erf(xp: Namespace, x: Array) -> Array:
    """The error function ``2/√π ∫_0^x e^(-t²) dt``.

    It is ``x + x p(x²)`` with a polynomial ``p`` where ``|x| < 1``, else ``±(1 - erfc(|x|))``.
    """
    near, size = xp.maximum(xp.minimum(x, 1.0), -1.0), xp.abs(x)
    inside = near + near * _polynomial(xp, near * near, ERF_RATIO)
    return xp.where(size < 1.0, inside, xp.sign(x) * (1.0 - erfc(xp, size)))


def erfc(xp: Namespace, x: Array) -> Array:
    """The complementary error function ``2/√π ∫_x^∞ e^(-t²) dt``.

    It is ``e^(-x²)`` times `_scaled_erfc` for ``x ≥ 0``, and ``erfc(-x) = 2 - erfc(x)``.
    """
    size = xp.minimum(xp.abs(x), FAR)
    tail = _gaussian(xp, size, -1.0) * _scaled_erfc(xp, size)
    return xp.where(x < 0.0, 2.0 - tail, tail)


def normal(xp: Namespace, z: Array) -> tuple[Array, Array]:
    """The normal distribution ``Φ(z)`` and its density ``e^(-z²/2)/√(2π)``.

    ``Φ(-|z|) = ½ erfc(|z|/√2)``, in which no term cancels, keeps all digits in the left tail;
    ``Φ(|z|) = 1 - Φ(-|z|)``.
    """
    size = xp.minimum(xp.abs(z), FAR)
    e = _gaussian(xp, size, -0.5)
    tail = 0.5 * e * _scaled_erfc(xp, math.sqrt(0.5) * size)
    return xp.where(z < 0.0, tail, 1.0 - tail), math.sqrt(0.5 / math.pi) * e


def _gaussian(xp: Namespace, x: Array, factor: float) -> Array:
    """``e^(factor·x²)`` for ``0 ≤ x ≤ 40`` and a factor of -1 or -½.

    The rounding error of ``x²`` alone would be one of ``x²`` units in the last place. So it is
    computed and made up for: ``x`` rounded to a multiple of 1/64 has a square without rounding.
    """
    near = xp.floor(64.0 * x) / 64.0
    square = x * x
    lost = (near * near - square) + (x - near) * (x + near)
    return xp.exp(factor * square) * (1.0 + factor * lost)


def _scaled_erfc(xp: Namespace, x: Array) -> Array:
    """``e^(x²) erfc(x) = (1 + x/(x + c) p(t))/(1 + x)`` for ``x ≥ 0`` with a polynomial ``p``.

    Reference: M. Shepherd, J. Laframboise, "Chebyshev approximation of (1 + 2x)exp(x²)erfc x in
    0 ≤ x < ∞", Math. Comp. 36, 1981. The factor ``1 + x`` makes the result at 0 exact.
    """
    fraction = x / (x + CENTRE)
    t = 2.0 * fraction - 1.0
    square = t * t
    p = _polynomial(xp, square, EVEN) + t * _polynomial(xp, square, ODD)
    return (1.0 + fraction * p) / (1.0 + x)


def _polynomial(xp: Namespace, x: Array, coefficients: tuple[float, ...]) -> Array:
    """``Σ_k c_k x^(n-k)`` by Horner's rule. Of more than some 12 terms LLVM unrolls no loop."""
    value = coefficients[0]
    for c in coefficients[1:]:
        value = value * x + c
    return value
