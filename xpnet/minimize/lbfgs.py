"""L-BFGS, with bounds by a projected two-metric step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from xpnet.backend import Array
from xpnet.errors import require_count, require_type
from xpnet.minimize.bounds import Box
from xpnet.minimize.line_search import Armijo, LineSearch, Ray, StrongWolfe
from xpnet.minimize.line_search.base import LineSearchError, descent_ray, unit_length_step
from xpnet.minimize.method import Method
from xpnet.minimize.pairs import Pairs
from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction
from xpnet.state_dict import StateDict

MARGIN = 1e-3
"""A variable is at a bound if it is nearer than this and nearer than the optimality error."""


@dataclass(frozen=True)
class LBFGS(Method):
    """Limited-memory BFGS: ``x ← x - αH∇f``, H represented by the last m pairs, never formed.

    Each iteration takes about 4mn multiplications, and the pairs hold 2mn numbers; see
    `xpnet.minimize.pairs.Pairs`. A pair with ``yᵀs ≤ 0`` is skipped.

    Within bounds it is a projected two-metric method. The variables at a bound that -∇f points
    beyond are separated, H is represented by the pairs' components along the other variables, and
    Armijo's search follows the projected path ``P(x + αd)``.

    Args:
        m: the number of pairs, at least 1; default 10, usually 5 to 20.
        search: the line search, default ``StrongWolfe()``; within bounds, `Armijo` is used.

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

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> Pairs | Face:
        """Return an empty memory; within bounds, the face of the box that contains ``point``."""
        if function.box is not None:
            return Face(self.m, function, point)
        return Pairs(self.m, function, point.grad)

    def step(
        self, function: ScalarFunction, point: EvaluatedPoint, state: Pairs | Face
    ) -> EvaluatedPoint:
        """Search along ``-H∇f``, α = 1 first, and append the new pair."""
        if isinstance(state, Face):
            return projected_step(function, point, state)
        ray = descent_ray(function, point, state.direction())
        new = self.search.search(ray, ray.natural if len(state) else unit_length_step(ray))
        state.append(ray.direction, new.grad, new.step)
        return new


class Face:
    """The face of the box that contains a point, and the L-BFGS pairs of its free variables.

    Args:
        m: the number of pairs.
        function: the function to minimize, with a box.
        point: the start.

    Attributes:
        free: 1 for a free variable, 0 for one at a bound that -∇f points beyond.
        pairs: the memory; its rows are zero where ``free`` is.
    """

    def __init__(self, m: int, function: ScalarFunction, point: EvaluatedPoint) -> None:
        self.free = free_variables(function, point)
        self.pairs = Pairs(m, function, point.grad * self.free)

    def update(self, function: ScalarFunction, before: EvaluatedPoint, now: EvaluatedPoint) -> None:
        """Append the step from ``before`` to ``now``, which may lie on another face."""
        self.pairs.append((now.x - before.x) * self.free, now.grad * self.free)
        free = free_variables(function, now)
        if bool(function.xp.any(free != self.free)):
            self.free = free
            self.pairs.restrict(free, now.grad * free)

    def state_dict(self) -> StateDict:
        """Return the state of the pairs; the face follows from the point."""
        return self.pairs.state_dict()

    def load_state_dict(self, state: StateDict) -> None:
        """Copy what `state_dict` returned into the face that was made at the same point.

        Raises:
            FileFormatError: if it does not fit; the message names the entry.
        """
        self.pairs.load_state_dict(state)


def free_variables(function: ScalarFunction, point: EvaluatedPoint) -> Array:
    """Return 1 for the free variables, by Bertsekas's margin ``min(ε, |P(x - ∇f) - x|)``."""
    box: Box = function.box  # type: ignore[assignment]  # `Face` requires a box
    return box.free(point.x, point.grad, min(MARGIN, function.grad_norm(point)))


def projected_step(function: ScalarFunction, point: EvaluatedPoint, face: Face) -> EvaluatedPoint:
    """Return ``P(x + αd)``, ``d = -H∇f`` on the free variables and ``-γ∇f`` on the others.

    With the margin and the second metric the projected path descends for small α, which a full
    matrix H does not ensure. If the search fails, ``P(x - α∇f)`` is searched.

    Reference: Bertsekas, SIAM J. Control Optim. 20 (1982) 221, propositions 1 and 2.
    """
    pairs = face.pairs
    direction = pairs.direction() - pairs.gamma * (1.0 - face.free) * point.grad
    try:
        ray = Ray(function, point, direction)
        new = Armijo().search(ray, ray.natural if len(pairs) else unit_length_step(ray))
    except LineSearchError:
        ray = Ray(function, point, -point.grad)
        new = Armijo().search(ray, ray.natural if len(pairs) else unit_length_step(ray))
    face.update(function, point, new)
    return new
