"""DFP, the first quasi-Newton method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from xpnet.backend import Array
from xpnet.errors import require_type
from xpnet.minimize.line_search import LineSearch, StrongWolfe
from xpnet.minimize.method import Method
from xpnet.minimize.point import Point
from xpnet.minimize.problem import Problem
from xpnet.minimize.quasi_newton import Inverse, inverse_step


@dataclass(frozen=True)
class DFP(Method):
    """Davidon, Fletcher, Powell: ``x ← x - αH∇f`` with ``H ← H - Hy(Hy)ᵀ/yᵀHy + ssᵀ/yᵀs``.

    The dual of `BFGS`, which has replaced it: it satisfies the same secant condition ``Hy = s`` and
    stays positive definite, but it mends a bad H slowly unless the line search is nearly exact. So
    the default search is. A pair that fails ``yᵀs > 0`` is skipped. H starts as I.

    Args:
        search: the line search.

    Raises:
        ArgumentError: if ``search`` is not a line search.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (6.15).

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> minimize(Rosenbrock(), [-1.2, 1.0], DFP()).x.round(8)
    array([1., 1.])
    """

    search: LineSearch = field(default=StrongWolfe(c2=0.1))

    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_type(self.search, LineSearch, "search")

    def start(self, problem: Problem, point: Point) -> Inverse:
        """The identity for H."""
        return Inverse(dfp_update, problem)

    def step(self, problem: Problem, point: Point, state: Inverse) -> Point:
        """One line search along ``-H∇f``, and the update of H."""
        return inverse_step(problem, point, state, self.search)


def dfp_update(h: Array, s: Array, y: Array) -> Array:
    """``H - Hy(Hy)ᵀ/yᵀHy + ssᵀ/yᵀs``.

    Args:
        h: H, shape ``(n, n)``, symmetric.
        s: the step, shape ``(n,)``.
        y: the change of the gradient, shape ``(n,)``, with ``yᵀs > 0``.

    Returns:
        A new matrix, exactly symmetric, with ``H y = s``.

    >>> import numpy as np
    >>> s, y = np.asarray([1.0, 2.0]), np.asarray([2.0, 3.0])
    >>> (dfp_update(np.eye(2), s, y) @ y).round(12)
    array([1., 2.])
    """
    hy = h @ y
    shrunk = hy[:, None] * hy[None, :] / (y @ hy)
    return h - shrunk + s[:, None] * s[None, :] / (y @ s)
