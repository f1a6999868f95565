"""Armijo's backtracking line search."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpnet.errors import require_count, require_number
from xpnet.minimize.line_search.base import LineSearch, Ray
from xpnet.minimize.line_search.interpolation import quadratic_minimum
from xpnet.minimize.scalar_function import EvaluatedPoint


@dataclass(frozen=True)
class Armijo(LineSearch):
    """Backtracking line search: reduce α until ``f(x + αd) ≤ f(x) + c₁ ∇fᵀ(αd)``.

    A rejected α is replaced by the minimizer of the interpolating parabola, clipped to
    ``[0.1 α, 0.5 α]``. Within bounds the path is ``P(x + αd)`` and the condition is
    ``f(P(x + αd)) ≤ f(x) + c₁ ∇fᵀ(P(x + αd) - x)``. Each trial costs one value; the first and the
    accepted one also cost a gradient.

    Args:
        c1: the required fraction of the first-order decrease, in (0, 1); default 1e-4.
        max_evaluations: the maximum number of trials, at least 1; default 50.

    Raises:
        ArgumentError: if an argument is outside its range.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 3.1; within bounds
    Bertsekas, Nonlinear Programming, eq. (2.35).

    >>> Armijo(c1=0.1)
    Armijo(c1=0.1, max_evaluations=50)
    """

    c1: float = 1e-4
    max_evaluations: int = 50

    def __post_init__(self) -> None:
        require_number(self.c1, "c1", above=0, below=1)
        require_count(self.max_evaluations, "max_evaluations")

    def search(self, ray: Ray, first: float) -> EvaluatedPoint:
        """Return the first trial with a sufficient decrease."""
        alpha = first
        for _ in range(self.max_evaluations):
            increase, first_order, x = ray.increase(alpha)
            if first_order < 0.0 and increase <= self.c1 * first_order:
                return ray.function.evaluate(x, alpha)
            if math.isfinite(increase):
                shorter = quadratic_minimum(ray.origin, alpha, increase)
                alpha = min(max(shorter, 0.1 * alpha), 0.5 * alpha)
            else:
                alpha *= 0.1
        raise ray.error("no sufficient decrease")
