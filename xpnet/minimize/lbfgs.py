"""L-BFGS, with bounds by projection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from xpnet.backend import Array
from xpnet.errors import require_count, require_type
from xpnet.minimize.bounds import Box
from xpnet.minimize.line_search import Armijo, LineSearch, Ray, StrongWolfe
from xpnet.minimize.line_search.base import LineSearchError, unit_step
from xpnet.minimize.method import Method
from xpnet.minimize.pairs import Pairs
from xpnet.minimize.scalar_function import Point, Problem


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


MARGIN = 1e-3
"""A variable nearer to its bound than this, and than the optimality error, counts as at it."""


class Face:
    """The variables that are free at a point, and the pairs of L-BFGS among them.

    Args:
        m: the pairs to remember.
        problem: what is minimized, with a box.
        point: where it starts.

    Attributes:
        free: 1 for a free variable, 0 for one at a bound that the gradient pushes it to.
        pairs: the memory; its rows are zero where ``free`` is.
    """

    def __init__(self, m: int, problem: Problem, point: Point) -> None:
        self.free = free_variables(problem, point)
        self.pairs = Pairs(m, problem, point.grad * self.free)

    def move(self, problem: Problem, before: Point, now: Point) -> None:
        """Take the step from ``before`` to ``now``, which may lie on another face."""
        self.pairs.push((now.x - before.x) * self.free, now.grad * self.free)
        free = free_variables(problem, now)
        if bool(problem.xp.any(free != self.free)):
            self.free = free
            self.pairs.restrict(free, now.grad * free)


def free_variables(problem: Problem, point: Point) -> Array:
    """The free variables at ``point``, with Bertsekas's margin ``min(ε, |P(x - ∇f) - x|)``."""
    box: Box = problem.box  # type: ignore[assignment]  # only called with one
    return box.free(point.x, point.grad, min(MARGIN, problem.grad_norm(point)))


def projected_step(problem: Problem, point: Point, face: Face) -> Point:
    """``P(x + αd)`` with ``d = -H∇f`` on the free variables and ``-γ∇f`` on the others.

    The margin and the second metric keep the projected path one of descent for small α, which a
    full matrix H would not. Should the path still not descend, ``P(x - α∇f)`` does.

    Reference: Bertsekas, SIAM J. Control Optim. 20 (1982) 221, propositions 1 and 2.
    """
    pairs = face.pairs
    direction = pairs.direction() - pairs.gamma * (1.0 - face.free) * point.grad
    first = 1.0 if len(pairs) else min(1.0, 1.0 / float(point.grad @ point.grad) ** 0.5)
    try:
        new = Armijo().search(Ray(problem, point, direction), first)
    except LineSearchError:
        new = Armijo().search(Ray(problem, point, -point.grad), first)
    face.move(problem, point, new)
    return new
