"""The polynomials of `xpnet.ops.rules.erf`, computed in fifty digits with mpmath.

Run: ``python -m benchmarks.erf_coefficients``. It prints the coefficients of each polynomial,
rounded to double precision and the highest power first, and its largest error. Each polynomial
interpolates its function at the roots of a Chebyshev polynomial, which comes within a small factor
of the best one of its degree.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from mpmath import cos, erf, erfc, exp, linspace, lu_solve, matrix, mp, mpf, pi, sqrt

from xpnet.ops.rules.erf import CENTRE

DIGITS = 50
LARGEST = 28
"""The ``x`` from which on erfc is 0 in double precision."""


def scaled_erfc(t: Any) -> Any:
    """``((1 + x) e^(x²) erfc(x) - 1)(x + c)/x`` of ``t = (x - c)/(x + c)``."""
    x = CENTRE * (1 + t) / (1 - t)
    return ((1 + x) * exp(x * x) * erfc(x) - 1) * (x + CENTRE) / x


def erf_ratio(square: Any) -> Any:
    """``erf(x)/x - 1`` of ``x²``."""
    x = sqrt(square)
    return erf(x) / x - 1


def interpolated(f: Callable[[Any], Any], low: Any, high: Any, degree: int) -> list[Any]:
    """The polynomial that equals ``f`` at the Chebyshev nodes between ``low`` and ``high``."""
    angles = [pi * (2 * i + 1) / (2 * degree + 2) for i in range(degree + 1)]
    nodes = [(low + high) / 2 + (high - low) / 2 * cos(angle) for angle in angles]
    powers = matrix([[x ** (degree - k) for k in range(degree + 1)] for x in nodes])
    return list(lu_solve(powers, matrix([f(x) for x in nodes])))


def value_at(x: Any, coefficients: list[Any]) -> Any:
    """The value of a polynomial by Horner's rule; versions of mpmath differ in their order."""
    return reduce(lambda value, c: value * x + c, coefficients)


def polynomials() -> dict[str, tuple[tuple[float, ...], float]]:
    """The coefficients of both, and their largest errors on a grid."""
    result = {}
    with mp.workdps(DIGITS):
        last = mpf(LARGEST - CENTRE) / (LARGEST + CENTRE)
        for name, f, low, high, degree in (
            ("SCALED_ERFC", scaled_erfc, mpf(-1), last, 21),
            ("ERF_RATIO", erf_ratio, mpf(0), mpf(1), 11),
        ):
            exact = interpolated(f, low, high, degree)
            grid = linspace(low, high, 501)[1:]
            error = max(abs(value_at(x, exact) - f(x)) for x in grid)
            result[name] = tuple(map(float, exact)), float(error)
    return result


def main() -> None:
    for name, (coefficients, error) in polynomials().items():
        print(f"{name} = (  # error {error:.0e}")
        print("".join(f"    {c!r},\n" for c in coefficients) + ")")


if __name__ == "__main__":
    main()
