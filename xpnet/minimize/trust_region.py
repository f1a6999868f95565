"""Newton's method in a trust region."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array
from xpnet.errors import require_number
from xpnet.minimize.line_search.base import LineSearchError
from xpnet.minimize.method import Method
from xpnet.minimize.newton import SINGULAR
from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries


@dataclass(frozen=True)
class TrustRegion(Method):
    """Newton's method with steps that minimize a quadratic model in a ball.

    ``min gᵀp + ½pᵀHp`` subject to ``‖p‖ ≤ Δ``. A step is rejected if the ratio of actual to
    predicted decrease is below ``accept``. Δ is reduced to ¼‖p‖ if the ratio is below ¼, and
    doubled if it is above ¾ and p lies on the boundary. The method follows negative curvature away
    from saddle points, and converges quadratically.

    Args:
        radius: the initial Δ, above 0; default 1.
        max_radius: the largest Δ, at least ``radius``; default 1e6.
        accept: the smallest ratio of an accepted step, in [0, 1/4); default 0.1.

    Raises:
        ArgumentError: if an argument is outside its range.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 4.1; the model is
    minimized as in section 4.3, from the eigenvalues of H.

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

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> TrustRadius:
        """Return the initial radius."""
        return TrustRadius(self.radius)

    def step(
        self, function: ScalarFunction, point: EvaluatedPoint, state: TrustRadius
    ) -> EvaluatedPoint:
        """Factorize the Hessian once, and adapt the radius until a step is accepted."""
        model = QuadraticModel(function, point)
        trials: list[str] = []
        noise: float | None = None
        while state.radius > function.eps * max(1.0, function.max_norm(point.x)):
            p, predicted = model.minimize(state.radius)
            if noise is None:
                noise = _noise(function, point, predicted)
            if predicted + noise <= 0.0:
                break
            length = math.sqrt(float(p @ p))
            x = point.x + p
            value = function.value(x)
            trials.append(f"f at distance {length:.3g} = {value:.10g}")
            ratio = (point.value - value + noise) / (predicted + noise)
            accepted = ratio >= self.accept and math.isfinite(value)
            if not (accepted and ratio >= 0.25):  # also true where the ratio is NaN
                # ‖p‖ exceeds Δ by 0.1 % at most, unless it overflows or is NaN.
                state.radius = 0.25 * min(1.01 * state.radius, length)
            elif ratio > 0.75 and length > 0.99 * state.radius:
                state.radius = min(2.0 * state.radius, self.max_radius)
            if accepted:
                return function.evaluate(x, length)
        reason = f"the trust region shrank to a point; the last: {', '.join(trials[-5:])}"
        raise LineSearchError(reason, below_rounding=bool(noise))


def _noise(function: ScalarFunction, point: EvaluatedPoint, predicted: float) -> float:
    """Return the rounding error of f, or 0 if the first step predicts a far larger decrease."""
    noise = 10 * function.eps * abs(point.value)
    return noise if predicted <= 100 * noise else 0.0


class TrustRadius:
    """The radius Δ."""

    def __init__(self, radius: float) -> None:
        self.radius = radius

    def state_dict(self) -> StateDict:
        """Return the state."""
        return {"radius": self.radius}

    def load_state_dict(self, state: StateDict) -> None:
        """Set what `state_dict` returned; raise `FileFormatError` if it does not fit."""
        self.radius = Entries(state, "TrustRadius", "radius").number("radius", low=0.0)


class QuadraticModel:
    """The model ``m(p) = gᵀp + ½pᵀHp`` in the eigenbasis of H, where it separates.

    Shifts of H are relative to minus its smallest eigenvalue. The smallest shifts, which matter
    when the gradient is nearly orthogonal to the first eigenvector, therefore keep full precision.
    """

    def __init__(self, function: ScalarFunction, point: EvaluatedPoint) -> None:
        hess = function.hess(point.x)
        try:
            self._eigenvalues, self._basis = function.xp.linalg.eigh(hess)
        except SINGULAR as error:
            raise LineSearchError(f"the Hessian has no eigenvalues: {error}") from error
        self._xp = function.xp
        self._grad = function.xp.matrix_transpose(self._basis) @ point.grad
        self._least = float(self._eigenvalues[0])
        self._gaps = self._eigenvalues - self._least
        self._small = function.eps * max(function.max_norm(self._eigenvalues), function.eps)

    def minimize(self, radius: float) -> tuple[Array, float]:
        """Return the minimizer p with ``‖p‖ ≤ radius``, and the predicted decrease ``-m(p)``."""
        floor = max(self._least, self._small)
        q = self._shifted(floor)
        length = _norm(q)
        if not length <= radius:  # also true where it overflows
            q = self._on_boundary(floor, radius)
        elif self._least < -self._small:
            # The hard case: g is orthogonal to the first eigenvector, so follow it to the boundary.
            first = float(q[0])
            rest = radius * radius - length * length + first * first
            q[0] = math.copysign(math.sqrt(rest), first)
        decrease = -float(self._grad @ q) - 0.5 * float(q @ (self._eigenvalues * q))
        return self._basis @ q, decrease

    def _shifted(self, shift: float) -> Array:
        """Return ``-(Λ - λ₁ + shift)⁻¹ ĝ``."""
        return -self._grad / (self._gaps + shift)

    def _on_boundary(self, floor: float, radius: float) -> Array:
        """Find the shift with ``‖q‖ = Δ``, by Newton's method on ``1/Δ - 1/‖q‖`` from below.

        It starts at ``floor``, unless that is so small that q overflows. In this case it starts at
        ``max_i |ĝ_i|/Δ - (λ_i - λ₁)``, where no component of q exceeds Δ; the shift is at least
        that, since ``‖q‖ ≥ |ĝ_i| / (λ_i - λ₁ + shift)`` for every i.
        """
        shift, q = floor, self._shifted(floor)
        if not math.isfinite(float(q @ (q / (self._gaps + shift)))):
            lowest = self._xp.abs(self._grad) / radius - self._gaps
            shift = floor = max(floor, float(self._xp.max(lowest)))
            q = self._shifted(shift)
        for _ in range(50):
            length = _norm(q)
            if abs(length - radius) <= 1e-3 * radius:
                break
            change = float(q @ (q / (self._gaps + shift)))
            if not change > 0.0:
                break
            shift = max(floor, shift + (length / radius - 1.0) * (length * length) / change)
            q = self._shifted(shift)
        return q


def _norm(q: Array) -> float:
    return math.sqrt(float(q @ q))
