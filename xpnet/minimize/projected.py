"""The step of L-BFGS in a box: two metrics, one on the free variables and one at the bounds."""

from __future__ import annotations

from xpnet.backend import Array
from xpnet.minimize.bounds import Box
from xpnet.minimize.line_search import Armijo, Ray
from xpnet.minimize.line_search.ray import LineSearchError
from xpnet.minimize.pairs import Pairs
from xpnet.minimize.point import Point
from xpnet.minimize.problem import Problem

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
