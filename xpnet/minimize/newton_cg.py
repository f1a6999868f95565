"""Newton's method with the equations solved by conjugate gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from xpnet.backend import Array
from xpnet.errors import require_count, require_type
from xpnet.minimize.line_search import LineSearch, Ray, StrongWolfe
from xpnet.minimize.method import Method
from xpnet.minimize.point import Point
from xpnet.minimize.problem import Problem


@dataclass(frozen=True)
class NewtonCG(Method):
    """Truncated Newton: ``∇²f d = -∇f`` solved roughly by linear CG, then a line search along d.

    CG stops at a residual of ``min(½, √‖∇f‖) ‖∇f‖``, which gives superlinear convergence, or at a
    direction of negative curvature, with what it has. It needs Hessian-vector products only
    (``hessp``, or ``hess``, or differences of gradients) and holds no matrix.

    Args:
        search: the line search.
        max_products: the most Hessian-vector products an iteration; default 2n.

    Raises:
        ArgumentError: if an argument is of a wrong type or range.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 7.1.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> minimize(Rosenbrock(), [-1.2, 1.0], NewtonCG()).x.round(8)
    array([1., 1.])
    """

    search: LineSearch = field(default=StrongWolfe())
    max_products: int | None = None

    def __post_init__(self) -> None:
        require_type(self.search, LineSearch, "search")
        if self.max_products is not None:
            require_count(self.max_products, "max_products")

    def start(self, problem: Problem, point: Point) -> None:
        """It remembers nothing."""

    def step(self, problem: Problem, point: Point, state: None) -> Point:
        """One truncated solve and one line search."""
        direction = self._direction(problem, point)
        return self.search.search(Ray(problem, point, direction), 1.0)

    def _direction(self, problem: Problem, point: Point) -> Array:
        """Linear CG on ``∇²f d = -∇f``, from d = 0."""
        residual, direction = point.grad, -point.grad
        d = 0.0 * direction
        square = float(residual @ residual)
        norm = math.sqrt(square)
        small = min(0.5, math.sqrt(norm)) * norm
        for i in range(self.max_products or 2 * problem.n):
            product = problem.hessp(point.x, direction)
            curvature = float(direction @ product)
            if not curvature > problem.eps * float(direction @ direction):
                return direction if i == 0 else d
            alpha = square / curvature
            d = d + alpha * direction
            residual = residual + alpha * product
            before, square = square, float(residual @ residual)
            if math.sqrt(square) <= small:
                break
            direction = (square / before) * direction - residual
        return d
