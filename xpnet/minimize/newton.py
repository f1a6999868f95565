"""Newton's method with a line search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from xpnet.errors import require_type
from xpnet.minimize.cholesky import solve_positive
from xpnet.minimize.line_search import LineSearch, Ray, StrongWolfe
from xpnet.minimize.method import Method
from xpnet.minimize.point import Point
from xpnet.minimize.problem import Problem


@dataclass(frozen=True)
class Newton(Method):
    """Newton's method, ``x ← x - α(∇²f + E)⁻¹∇f``, with a line search that tries α = 1 first.

    Where the Hessian is not positive definite, a modified Cholesky factorization adds the diagonal
    E that makes it so, and the direction descends. Near a minimum E = 0 and α = 1, and it converges
    quadratically. The Hessian is ``hess``, or n products of ``hessp``, or n differences of
    gradients.

    Args:
        search: the line search.

    Raises:
        ArgumentError: if ``search`` is not a line search.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 3.2.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> minimize(Rosenbrock(), [-1.2, 1.0], Newton()).x.round(10)
    array([1., 1.])
    """

    search: LineSearch = field(default=StrongWolfe())

    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_type(self.search, LineSearch, "search")

    def start(self, problem: Problem, point: Point) -> None:
        """It remembers nothing."""

    def step(self, problem: Problem, point: Point, state: None) -> Point:
        """One factorization and one line search."""
        direction = -solve_positive(problem.hess(point.x), point.grad)
        return self.search.search(Ray(problem, point, direction), 1.0)
