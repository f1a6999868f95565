"""Newton's method in a trust region."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array
from xpnet.errors import require_number
from xpnet.minimize.line_search.base import LineSearchError
from xpnet.minimize.method import Method
from xpnet.minimize.scalar_function import Point, Problem


@dataclass(frozen=True)
class TrustRegion(Method):
    """Newton's method whose steps minimize its model in a ball: ``min gᵀp + ½pᵀHp, ‖p‖ ≤ Δ``.

    A step that keeps less than ``accept`` of the decrease that the model promised is refused; Δ
    shrinks to a quarter below a share of ¼, and doubles above ¾ at the border. It follows negative
    curvature away from saddle points, and converges quadratically.

    Args:
        radius: the first Δ, above 0.
        max_radius: the largest, at least ``radius``.
        accept: the least share of the promised decrease, in [0, 1/4).

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 4.1; the model is
    solved as in section 4.3, from the eigenvalues of H.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> minimize(Rosenbrock(), [-1.2, 1.0], TrustRegion()).x.round(10)
    array([1., 1.])
    """

    radius: float = 1.0
    max_radius: float = 1e6
    accept: float = 0.1

    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number(self.radius, "radius", above=0)
        require_number(self.max_radius, "max_radius", low=self.radius)
        require_number(self.accept, "accept", low=0, below=0.25)

    def start(self, problem: Problem, point: Point) -> _Ball:
        """The first radius."""
        return _Ball(self.radius)

    def step(self, problem: Problem, point: Point, state: _Ball) -> Point:
        """One factorization, and as many radii as it takes to find a step that is accepted."""
        model = _Model(problem, point)
        tried: list[str] = []
        noise: float | None = None
        while state.radius > problem.eps * max(1.0, problem.largest(point.x)):
            p, promised = model.minimizer(state.radius)
            if noise is None:
                noise = _noise(problem, point, promised)
            length = math.sqrt(float(p @ p))
            x = point.x + p
            value = problem.value(x)
            tried.append(f"f at distance {length:.3g} = {value:.10g}")
            share = (point.value - value + noise) / (promised + noise)
            if not share >= 0.25:  # also where the value is NaN
                state.radius = 0.25 * length
            elif share > 0.75 and length > 0.99 * state.radius:
                state.radius = min(2.0 * state.radius, self.max_radius)
            if share >= self.accept and math.isfinite(value):
                return problem.evaluate(x, length)
        why = f"the trust region shrank to nothing; the last: {', '.join(tried[-5:])}"
        raise LineSearchError(why, hopeless=bool(noise))


def _noise(problem: Problem, point: Point, promised: float) -> float:
    """The rounding error to forgive: none where the first, longest step promised far more."""
    noise = 10 * problem.eps * abs(point.value)
    return noise if promised <= 100 * noise else 0.0


class _Ball:
    """The radius Δ."""

    def __init__(self, radius: float) -> None:
        self.radius = radius


class _Model:
    """``m(p) = gᵀp + ½pᵀHp`` in the eigenvectors of H, where it falls apart into n parabolas.

    Shifts of H are counted from minus its least eigenvalue: so the smallest of them, which decide
    when the gradient has next to no part along the first axis, keep all their digits.
    """

    def __init__(self, problem: Problem, point: Point) -> None:
        self._curvatures, self._axes = problem.xp.linalg.eigh(problem.hess(point.x))
        self._grad = problem.xp.matrix_transpose(self._axes) @ point.grad
        self._least = float(self._curvatures[0])
        self._gaps = self._curvatures - self._least
        self._small = problem.eps * max(problem.largest(self._curvatures), problem.eps)

    def minimizer(self, radius: float) -> tuple[Array, float]:
        """The minimizer p with ``‖p‖ ≤ radius``, and the decrease ``-m(p)`` that it promises."""
        floor = max(self._least, self._small)
        q = self._shifted(floor)
        length = _norm(q)
        if length > radius:
            q = self._on_border(floor, radius)
        elif self._least < -self._small:
            # The hard case: no gradient along the first axis, so go along it to the border.
            first = float(q[0])
            q[0] = math.copysign(math.sqrt(radius**2 - length**2 + first**2), first)
        decrease = -float(self._grad @ q) - 0.5 * float(q @ (self._curvatures * q))
        return self._axes @ q, decrease

    def _shifted(self, shift: float) -> Array:
        """``-(Λ - λ₁ + shift)⁻¹ ĝ``."""
        return -self._grad / (self._gaps + shift)

    def _on_border(self, floor: float, radius: float) -> Array:
        """The shift with ``‖q‖ = Δ``: Newton on ``1/Δ - 1/‖q‖`` rises to it from any lower one."""
        shift, q = floor, self._shifted(floor)
        for _ in range(50):
            length = _norm(q)
            if abs(length - radius) <= 1e-3 * radius:
                break
            change = float(q @ (q / (self._gaps + shift)))
            shift = max(floor, shift + (length / radius - 1.0) * length**2 / change)
            q = self._shifted(shift)
        return q


def _norm(q: Array) -> float:
    return math.sqrt(float(q @ q))
