"""Nonlinear conjugate gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from xpnet.backend import Array
from xpnet.errors import require, require_type
from xpnet.minimize.line_search import LineSearch, Ray, StrongWolfe
from xpnet.minimize.line_search.base import InitialStep
from xpnet.minimize.method import Method
from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries

Beta = Callable[[Array, Array, Array], float]
"""``(∇f_(k+1), ∇f_k, d_k) → β_(k+1)``."""


def polak_ribiere(grad: Array, before: Array, direction: Array) -> float:
    """Return ``β = max(0, g_(k+1)ᵀ(g_(k+1) - g_k) / ‖g_k‖²)``, "PR+".

    Args:
        grad: g_(k+1), shape ``(n,)``.
        before: g_k, shape ``(n,)``.
        direction: d_k, shape ``(n,)``; not used.

    Reference: Gilbert and Nocedal, SIAM J. Optim. 2 (1992) 21; Nocedal and Wright, Numerical
    Optimization, 2nd ed., eq. (5.45).

    >>> import numpy as np
    >>> polak_ribiere(np.asarray([1.0, 2.0]), np.asarray([0.0, 2.0]), np.asarray([0.0, -2.0]))
    0.25
    """
    square = float(before @ before)
    return max(0.0, float(grad @ (grad - before)) / square) if square > 0.0 else 0.0


def hager_zhang(grad: Array, before: Array, direction: Array) -> float:
    """Return ``β = (y - 2d ‖y‖²/dᵀy)ᵀ g_(k+1) / dᵀy``, at least ``-1/(‖d‖ min(0.01, ‖g_k‖))``.

    With any line search the directions satisfy ``gᵀd ≤ -⅞ ‖g‖²``, so they are descent directions.

    Args:
        grad: g_(k+1), shape ``(n,)``.
        before: g_k, shape ``(n,)``; ``y = g_(k+1) - g_k``.
        direction: d_k, shape ``(n,)``.

    Reference: Hager and Zhang, SIAM J. Optim. 16 (2005) 170, eqs. (1.5) to (1.8).

    >>> import numpy as np
    >>> hager_zhang(np.asarray([1.0, 1.0]), np.asarray([0.0, 2.0]), np.asarray([0.0, -2.0]))
    2.0
    """
    y = grad - before
    curvature = float(direction @ y)
    if curvature == 0.0:
        return 0.0
    derivative = float(direction @ grad)
    beta = (float(y @ grad) - 2.0 * float(y @ y) * derivative / curvature) / curvature
    norm, grad_norm = math.sqrt(float(direction @ direction)), math.sqrt(float(before @ before))
    bound = norm * min(0.01, grad_norm)
    return max(beta, -1.0 / bound) if bound > 0.0 else beta


@dataclass(frozen=True)
class NonlinearCG(Method):
    """Nonlinear conjugate gradients, ``d_(k+1) = -∇f_(k+1) + β d_k``.

    On a quadratic with the `Exact` search it is linear CG and terminates in n steps. It restarts
    with ``-∇f`` where d is not a descent direction. It holds three vectors and no matrix.

    Args:
        beta: the formula for β, a function ``(g_new, g, d) → float``: `polak_ribiere` (default) or
            `hager_zhang`.
        search: the line search; default ``StrongWolfe(c2=0.1)``, since β assumes a nearly exact
            one.

    Raises:
        ArgumentError: if ``beta`` is not callable or ``search`` is not a line search.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 5.4.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Booth
    >>> minimize(Booth(), [0.0, 0.0], NonlinearCG(beta=hager_zhang)).x.round(6)
    array([1., 3.])
    """

    beta: Beta = polak_ribiere
    search: LineSearch = field(default=StrongWolfe(c2=0.1))

    def __post_init__(self) -> None:
        require(callable(self.beta), "beta", "be a function such as hager_zhang", self.beta)
        require_type(self.search, LineSearch, "search")

    def __repr__(self) -> str:
        return f"NonlinearCG(beta={getattr(self.beta, '__name__', self.beta)}, {self.search})"

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> SearchDirection:
        """Return the first direction, ``-∇f``."""
        return SearchDirection(-point.grad)

    def step(
        self, function: ScalarFunction, point: EvaluatedPoint, state: SearchDirection
    ) -> EvaluatedPoint:
        """Search along d, and compute the next direction."""
        ray = Ray(function, point, state.direction)
        new = self.search.search(ray, state.initial_step.length(ray))
        beta = self.beta(new.grad, point.grad, state.direction)
        state.direction = beta * state.direction - new.grad
        if not -math.inf < float(state.direction @ new.grad) < 0.0:
            state.direction = -new.grad
        return new


class SearchDirection:
    """The direction of the next line search, and the rule for its initial step."""

    def __init__(self, direction: Array) -> None:
        self.direction = direction
        self.initial_step = InitialStep()

    def state_dict(self) -> StateDict:
        """Return the state; its array is not a copy."""
        return {"direction": self.direction, "initial_step": self.initial_step.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Copy what `state_dict` returned; raise `FileFormatError` if it does not fit."""
        entries = Entries(state, "SearchDirection", "direction", "initial_step")
        self.direction = entries.array("direction", self.direction, finite=True)
        self.initial_step.load_state_dict(entries["initial_step"])
