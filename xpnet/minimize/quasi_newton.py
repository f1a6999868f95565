"""What BFGS and DFP share: a dense inverse Hessian, and the step along ``-H∇f``."""

from __future__ import annotations

from collections.abc import Callable

from xpnet.backend import Array
from xpnet.minimize.line_search import LineSearch, Ray
from xpnet.minimize.line_search.first_step import ExpectedStep
from xpnet.minimize.point import Point
from xpnet.minimize.problem import Problem

Update = Callable[[Array, Array, Array], Array]
"""``(H, s, y) → H``, with ``H y = s``."""


class Inverse:
    """An estimate H of the inverse Hessian, the identity until the first pair.

    Args:
        update: the rule that takes a pair into H.
        problem: fixes n, the backend and the dtype.
    """

    def __init__(self, update: Update, problem: Problem) -> None:
        eye = problem.xp.eye(problem.n, dtype=problem.dtype, device=problem.backend.device)
        self.matrix = eye
        self.first = ExpectedStep(longest=1.0)
        self._update, self._eps = update, problem.eps

    def take(self, s: Array, y: Array) -> bool:
        """Update H with the pair, or skip it if its curvature ``yᵀs`` is not safely positive.

        Returns:
            Whether the pair was taken.
        """
        sy, sizes = float(s @ y), float(y @ y) * float(s @ s)
        if not sy > self._eps * sizes**0.5:
            return False
        self.matrix = self._update(self.matrix, s, y)
        return True


def inverse_step(problem: Problem, point: Point, inverse: Inverse, search: LineSearch) -> Point:
    """One line search along ``-H∇f``, and the update of H."""
    ray = Ray(problem, point, -(inverse.matrix @ point.grad))
    new = search.search(ray, inverse.first.length(ray))
    inverse.take(new.x - point.x, new.grad - point.grad)
    return new
