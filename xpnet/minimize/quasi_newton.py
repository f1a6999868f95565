"""Quasi-Newton methods with a dense inverse Hessian: BFGS and DFP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from xpnet.backend import Array, namespace_of
from xpnet.errors import require_type
from xpnet.minimize.line_search import LineSearch, Ray, StrongWolfe
from xpnet.minimize.line_search.base import ExpectedStep
from xpnet.minimize.method import Method
from xpnet.minimize.scalar_function import Point, Problem

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
