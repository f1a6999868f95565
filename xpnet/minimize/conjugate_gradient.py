"""Nonlinear conjugate gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from xpnet.backend import Array
from xpnet.errors import require, require_type
from xpnet.minimize.line_search import LineSearch, Ray, StrongWolfe
from xpnet.minimize.line_search.base import ExpectedStep
from xpnet.minimize.method import Method
from xpnet.minimize.scalar_function import Point, Problem

Beta = Callable[[Array, Array, Array], float]
"""``(∇f_(k+1), ∇f_k, d_k) → β_(k+1)``."""


def polak_ribiere(grad: Array, before: Array, direction: Array) -> float:
    """``β = max(0, g_(k+1)ᵀ(g_(k+1) - g_k) / ‖g_k‖²)``, "PR+".

    Args:
        grad: g_(k+1), shape ``(n,)``.
        before: g_k, shape ``(n,)``.
        direction: d_k, shape ``(n,)``; not used.

    Reference: Gilbert and Nocedal, SIAM J. Optim. 2 (1992) 21; Nocedal and Wright, eq. (5.45).
    """
    return max(0.0, float(grad @ (grad - before)) / float(before @ before))


def hager_zhang(grad: Array, before: Array, direction: Array) -> float:
    """``β = (y - 2d ‖y‖²/dᵀy)ᵀ g_(k+1) / dᵀy``, at least ``-1/(‖d‖ min(0.01, ‖g_k‖))``.

    With any line search it gives directions of descent: ``gᵀd ≤ -⅞ ‖g‖²``.

    Args:
        grad: g_(k+1), shape ``(n,)``.
        before: g_k, shape ``(n,)``; ``y = g_(k+1) - g_k``.
        direction: d_k, shape ``(n,)``.

    Reference: Hager and Zhang, SIAM J. Optim. 16 (2005) 170, eqs. (1.5) to (1.8).
    """
    y = grad - before
    curvature = float(direction @ y)
    if curvature == 0.0:
        return 0.0
    slope = float(direction @ grad)
    beta = (float(y @ grad) - 2.0 * float(y @ y) * slope / curvature) / curvature
    norm, size = math.sqrt(float(direction @ direction)), math.sqrt(float(before @ before))
    return max(beta, -1.0 / (norm * min(0.01, size)))


@dataclass(frozen=True)
class NonlinearCG(Method):
    """Nonlinear conjugate gradients, ``d_(k+1) = -∇f_(k+1) + β d_k``.

    On a quadratic with the `Exact` search it is linear CG and ends in n steps. It starts anew with
    ``-∇f`` where d would not descend. It holds three vectors, no matrix.

    Args:
        beta: the rule for β, a function ``(g_new, g, d) → float``: `polak_ribiere` or
            `hager_zhang`.
        search: the line search; nearly exact, because β assumes it.

    Raises:
        ArgumentError: if ``beta`` is not callable or ``search`` not a line search.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 5.4.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Booth
    >>> minimize(Booth(), [0.0, 0.0], NonlinearCG(beta=hager_zhang)).x.round(6)
    array([1., 3.])
    """

    beta: Beta = polak_ribiere
    search: LineSearch = field(default=StrongWolfe(c2=0.1))

    def __post_init__(self) -> None:
        require(callable(self.beta), "beta", "be a rule such as hager_zhang", self.beta)
        require_type(self.search, LineSearch, "search")

    def __repr__(self) -> str:
        return f"NonlinearCG(beta={getattr(self.beta, '__name__', self.beta)}, {self.search})"

    def start(self, problem: Problem, point: Point) -> _State:
        """The first direction is ``-∇f``."""
        return _State(-point.grad)

    def step(self, problem: Problem, point: Point, state: _State) -> Point:
        """One line search, and the direction for the next."""
        ray = Ray(problem, point, state.direction)
        new = self.search.search(ray, state.first.length(ray))
        beta = self.beta(new.grad, point.grad, state.direction)
        state.direction = beta * state.direction - new.grad
        if not float(state.direction @ new.grad) < 0.0:
            state.direction = -new.grad
        return new


class _State:
    """The direction to search next, and how far to look along it."""

    def __init__(self, direction: Array) -> None:
        self.direction = direction
        self.first = ExpectedStep()
