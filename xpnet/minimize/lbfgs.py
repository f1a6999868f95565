"""L-BFGS, with bounds by projection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from xpnet.errors import require_count, require_type
from xpnet.minimize.line_search import LineSearch, Ray, StrongWolfe
from xpnet.minimize.line_search.first_step import unit_step
from xpnet.minimize.method import Method
from xpnet.minimize.pairs import Pairs
from xpnet.minimize.point import Point
from xpnet.minimize.problem import Problem
from xpnet.minimize.projected import Face, projected_step


@dataclass(frozen=True)
class LBFGS(Method):
    """Limited-memory BFGS: ``x ← x - αH∇f``, H made of the last m pairs and never formed.

    Each iteration costs about 4mn multiplications and holds 2mn numbers; see
    `xpnet.minimize.pairs.Pairs` for how. A pair that fails ``yᵀs > 0`` is skipped.

    With bounds, it is a projected two-metric method: the variables at a bound that the gradient
    pushes out are set apart, on the others H is made of the pairs' free components, and the search
    is Armijo's along the projected path ``P(x + αd)``.

    Args:
        m: the pairs that it remembers, at least 1; 5 to 20 are usual.
        search: the line search; with bounds, `Armijo` is used.

    Raises:
        ArgumentError: if ``m`` is not a count or ``search`` is not a line search.

    References: Liu and Nocedal, Math. Prog. 45 (1989) 503; for bounds Bertsekas, SIAM J. Control
    Optim. 20 (1982) 221, and Schmidt, Kim and Sra, Projected Newton-type methods in machine
    learning, in Optimization for Machine Learning (2012), algorithm 2.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> minimize(Rosenbrock(), [-1.2, 1.0], LBFGS()).x.round(8)
    array([1., 1.])
    """

    m: int = 10
    search: LineSearch = field(default=StrongWolfe())

    bounded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count(self.m, "m")
        require_type(self.search, LineSearch, "search")

    def start(self, problem: Problem, point: Point) -> Pairs | Face:
        """An empty memory; in a box, that of the face on which ``point`` lies."""
        if problem.box is not None:
            return Face(self.m, problem, point)
        return Pairs(self.m, problem, point.grad)

    def step(self, problem: Problem, point: Point, state: Pairs | Face) -> Point:
        """One line search along ``-H∇f``, first with α = 1, and the new pair."""
        if isinstance(state, Face):
            return projected_step(problem, point, state)
        ray = Ray(problem, point, state.direction())
        new = self.search.search(ray, 1.0 if len(state) else unit_step(ray))
        state.push(ray.direction, new.grad, new.step)
        return new
