"""BFGS with the inverse matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from xpnet.backend import Array, namespace_of
from xpnet.errors import require_type
from xpnet.minimize.line_search import LineSearch, StrongWolfe
from xpnet.minimize.method import Method
from xpnet.minimize.point import Point
from xpnet.minimize.problem import Problem
from xpnet.minimize.quasi_newton import Inverse, inverse_step


@dataclass(frozen=True)
class BFGS(Method):
    """Broyden, Fletcher, Goldfarb, Shanno: ``x ← x - αH∇f`` with H built from gradients.

    ``H ← (I - ρsyᵀ) H (I - ρysᵀ) + ρssᵀ``, ``ρ = 1/yᵀs``, for the step s and the change y of the
    gradient: the inverse of a rank-two update of the Hessian, by Sherman and Morrison. H satisfies
    the secant condition ``Hy = s`` and stays positive definite where ``yᵀs > 0``, which the strong
    Wolfe conditions ensure; a pair that fails is skipped. H starts as I. It
    converges superlinearly. It holds an n × n matrix: use `LBFGS` for many variables.

    Args:
        search: the line search.

    Raises:
        ArgumentError: if ``search`` is not a line search.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 6.1, eqs. (6.17),
    (6.20).

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> minimize(Rosenbrock(), [-1.2, 1.0], BFGS()).x.round(8)
    array([1., 1.])
    """

    search: LineSearch = field(default=StrongWolfe())

    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_type(self.search, LineSearch, "search")

    def start(self, problem: Problem, point: Point) -> Inverse:
        """The identity for H."""
        return Inverse(bfgs_update, problem)

    def step(self, problem: Problem, point: Point, state: Inverse) -> Point:
        """One line search along ``-H∇f``, and the update of H."""
        return inverse_step(problem, point, state, self.search)


def bfgs_update(h: Array, s: Array, y: Array) -> Array:
    """``(I - ρsyᵀ) H (I - ρysᵀ) + ρssᵀ``, multiplied out.

    Args:
        h: H, shape ``(n, n)``, symmetric.
        s: the step, shape ``(n,)``.
        y: the change of the gradient, shape ``(n,)``, with ``yᵀs > 0``.

    Returns:
        A new matrix, exactly symmetric, with ``H y = s``.

    >>> import numpy as np
    >>> s, y = np.asarray([1.0, 2.0]), np.asarray([2.0, 3.0])
    >>> bfgs_update(np.eye(2), s, y) @ y
    array([1., 2.])
    """
    xp = namespace_of(h)
    curvature = y @ s
    hy = h @ y
    # ssᵀ(1 + yᵀHy/yᵀs)/yᵀs - (s(Hy)ᵀ + (Hy)sᵀ)/yᵀs is M + Mᵀ, with half of the first term in M.
    half = 0.5 * (1.0 + (y @ hy) / curvature) * s - hy
    matrix = half[:, None] * (s / curvature)[None, :]
    return h + (matrix + xp.matrix_transpose(matrix))
