"""Backtracking until the decrease is sufficient."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpnet.errors import require_count, require_number
from xpnet.minimize.line_search.base import LineSearch, Ray
from xpnet.minimize.line_search.interpolation import quadratic_minimum
from xpnet.minimize.scalar_function import Point


@dataclass(frozen=True)
class Armijo(LineSearch):
    """Backtracking line search: shorten α until ``f(x + αd) ≤ f(x) + c₁ ∇fᵀ(αd)``.

    A refused α is replaced by the minimizer of the parabola through what is known, kept within
    ``[0.1 α, 0.5 α]``. In a box the path is ``P(x + αd)`` and the decrease asked for is
    ``c₁ ∇fᵀ(P(x + αd) - x)``. It costs a value per trial, and a gradient for the
    first and the accepted one.

    Args:
        c1: the share of the first-order decrease that is sufficient, in (0, 1).
        max_evaluations: trials before it gives up, at least 1.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 3.1; for the box
    Bertsekas, Nonlinear Programming, eq. (2.35).

    >>> Armijo(c1=0.1)
    Armijo(c1=0.1, max_evaluations=50)
    """

    c1: float = 1e-4
    max_evaluations: int = 50

    def __post_init__(self) -> None:
        require_number(self.c1, "c1", above=0, below=1)
        require_count(self.max_evaluations, "max_evaluations")

    def search(self, ray: Ray, first: float) -> Point:
        """The first α of the sequence whose decrease is sufficient."""
        alpha = first
        for _ in range(self.max_evaluations):
            rise, first_order, x = ray.rise(alpha)
            if first_order < 0.0 and rise <= self.c1 * first_order:
                return ray.problem.evaluate(x, alpha)
            if math.isfinite(rise):
                shorter = quadratic_minimum(ray.origin, alpha, rise)
                alpha = min(max(shorter, 0.1 * alpha), 0.5 * alpha)
            else:
                alpha *= 0.1
        raise ray.failure("no sufficient decrease")
