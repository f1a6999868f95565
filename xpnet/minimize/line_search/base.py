"""The base of the line searches: a function along a ray, and the initial step length."""

from __future__ import annotations

import math
from typing import NamedTuple

from xpnet.backend import Array
from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction
from xpnet.state_dict import StateDict
from xpnet.state_entries import Entries


class Trial(NamedTuple):
    """One evaluation along a ray, of ``φ(α) = f(x + αd)``.

    Attributes:
        alpha: the step length α.
        increase: ``φ(α) - φ(0)``; computed from the derivatives where rounding hides it, see `Ray`.
        derivative: ``φ'(α) = ∇f(x + αd)ᵀd``.
        point: the evaluated point.
    """

    alpha: float
    increase: float
    derivative: float
    point: EvaluatedPoint


class LineSearchError(ArithmeticError):
    """No acceptable step was found.

    Attributes:
        below_rounding: whether the decrease sought is below the rounding error of the function.
    """

    def __init__(self, message: str, *, below_rounding: bool = False) -> None:
        super().__init__(message)
        self.below_rounding = below_rounding


class LineSearch:
    """The base of the line searches, which are frozen dataclasses of their hyperparameters."""

    def search(self, ray: Ray, first: float) -> EvaluatedPoint:
        """Return an acceptable point of ``ray``.

        Args:
            ray: the function along a descent direction.
            first: the step length to try first, above 0.

        Raises:
            LineSearchError: if no acceptable point was found; the message lists the last trials.
        """
        raise NotImplementedError


class Ray:
    """The ray ``x + αd``; within bounds, the projected path ``P(x + αd)``.

    Near a minimum the increase ``φ(α) - φ(0)`` is lost in the rounding error of f, taken as
    ``10 eps |f(x)|``, or in float64 100 times that if the first trial predicts no larger decrease,
    while the gradients are still accurate. There the increase is computed by the trapezoidal rule,
    ``½ (∇f(x) + ∇f(x_α))ᵀ(x_α - x)``, which is exact for a quadratic, so that the gradient can be
    reduced far below √eps. Sufficient decrease of this increase is the approximate Wolfe condition
    of Hager and Zhang, SIAM J. Optim. 16 (2005) 170, eq. (4.1).

    If ``∇fᵀd`` is out of the range of the dtype, d is multiplied by a power of two.

    Args:
        function: the function to minimize.
        point: the evaluated point where the ray starts.
        direction: a descent direction, shape ``(n,)``.

    Attributes:
        direction: d.
        natural: the α at which ``αd`` is the given direction, 1 unless d was scaled.
        origin: the trial at α = 0.
        trials: ``(α, φ(α))`` of every trial so far.
        noise: the increase below which rounding error dominates.

    Raises:
        LineSearchError: if ``direction`` is not a descent direction.
    """

    def __init__(self, function: ScalarFunction, point: EvaluatedPoint, direction: Array) -> None:
        self.function, self.direction, self.natural = function, direction, 1.0
        derivative = float(point.grad @ direction)
        if not -math.inf < derivative < 0.0 and not 0.0 < derivative < math.inf:
            derivative = self._scale_direction(point.grad)
        self.origin = Trial(0.0, 0.0, derivative, point)
        self.trials: list[tuple[float, float]] = []
        self.noise = 10 * function.eps * abs(point.value)
        if not derivative < 0.0:
            raise LineSearchError(
                f"the direction does not descend: its directional derivative is {derivative:.3g}",
                below_rounding=abs(derivative) <= self.noise,
            )

    def _scale_direction(self, grad: Array) -> float:
        """Scale d so that ``∇fᵀd`` is in range, and return ``∇fᵀd``.

        Raises:
            LineSearchError: if d is zero, infinite or NaN.
        """
        function = self.function
        size = function.max_norm(self.direction)
        if size == 0.0 or not math.isfinite(size):
            problem = "underflows to 0" if size == 0.0 else "is infinite or NaN"
            raise LineSearchError(f"the direction {problem}: its largest component is {size:g}")
        scale = function.range_scale(size)
        self.direction, self.natural = scale * self.direction, 1.0 / scale
        scale_grad = function.range_scale(function.max_norm(grad))
        return float((scale_grad * grad) @ self.direction) / scale_grad

    def at(self, alpha: float) -> Array:
        """Return ``x + αd``, projected if there are bounds."""
        start = self.origin.point.x
        x = start + self.direction if alpha == 1.0 else start + alpha * self.direction
        return x if self.function.box is None else self.function.box.project(x)

    def trial(self, alpha: float) -> Trial:
        """Evaluate f and ∇f at α."""
        point = self.function.evaluate(self.at(alpha), alpha)
        derivative = float(point.grad @ self.direction)
        self.trials.append((alpha, point.value))
        increase = point.value - self.origin.point.value
        if abs(increase) <= 100.0 * self.noise and self._is_hidden(increase):
            start, end = alpha * self.origin.derivative, alpha * derivative
            increase = self._trapezoidal(increase, start, end)
        return Trial(alpha, increase, derivative, point)

    def increase(self, alpha: float) -> tuple[float, float, Array]:
        """Evaluate f at α, and ∇f where rounding hides the increase or on the first trial.

        Returns:
            The increase, its first-order estimate ``∇fᵀ(x_α - x)``, and x_α.
        """
        start, x = self.origin.point, self.at(alpha)
        # Value and gradient together cost less, and the first trial is accepted in most searches.
        value = self.function.value(x) if self.trials else self.function.evaluate(x).value
        self.trials.append((alpha, value))
        increase, first_order = value - start.value, alpha * self.origin.derivative
        hidden = self._is_hidden(increase)
        if hidden or self.function.box is not None:
            moved = x - start.x
            first_order = float(start.grad @ moved)
            if hidden:
                end = float(self.function.evaluate(x).grad @ moved)
                increase = self._trapezoidal(increase, first_order, end)
        return increase, first_order, x

    def _is_hidden(self, increase: float) -> bool:
        """Return whether rounding error may hide the increase of a trial."""
        size, wide = abs(increase), 100.0 * self.noise
        if size <= self.noise:
            return True
        # 1e-6 |f| is the limit of Hager and Zhang; float32 is already near it.
        within = size <= min(wide, 1e-6 * abs(self.origin.point.value))
        return within and self._predicted <= wide

    @property
    def _predicted(self) -> float:
        """The decrease that the first trial predicts to first order."""
        return -self.origin.derivative * self.trials[0][0]

    def _trapezoidal(self, increase: float, start: float, end: float) -> float:
        """Return the increase that rounding hides, ``½ (start + end)``, or ``|increase|``.

        The trapezoidal rule is used where the two derivatives differ by at least a tenth, or where
        the first trial predicts a decrease near the noise. A step elsewhere changes f by less than
        the noise only because it is short. It counts as no decrease, since otherwise a tiny step
        along a wrong gradient would be accepted.
        """
        curved = abs(end - start) >= 0.1 * abs(start)
        used = curved or self._predicted <= 100.0 * self.noise
        return 0.5 * (start + end) if used else abs(increase)

    def error(self, reason: str) -> LineSearchError:
        """Return the error of a search that stops without a step; it lists the last trials."""
        last = ", ".join(f"f({alpha:.3g}) = {value:.10g}" for alpha, value in self.trials[-5:])
        derivative, value = self.origin.derivative, self.origin.point.value
        first = self.trials[0][0] if self.trials else 1.0
        return LineSearchError(
            f"{reason} after {len(self.trials)} trials from f(0) = {value:.10g}, f'(0) = "
            f"{derivative:.3g}; the last: {last}",
            below_rounding=-derivative * min(1.0, first) <= self.noise,
        )


def descent_ray(function: ScalarFunction, point: EvaluatedPoint, direction: Array) -> Ray:
    """Return the ray along ``direction``, or along ``-∇f`` if that does not descend.

    A direction that descends in exact arithmetic may under- or overflow, or descend no longer after
    rounding. Along ``-∇f``, `Ray.natural` is the step of length 1.

    Raises:
        LineSearchError: if ``-∇f`` is no descent direction either.
    """
    try:
        return Ray(function, point, direction)
    except LineSearchError:
        ray = Ray(function, point, -point.grad)
        ray.natural = unit_length_step(ray)
        return ray


def unit_length_step(ray: Ray) -> float:
    """Return ``min(1, 1/‖∇f‖)`` for a ray along ``-∇f``, where the scale of f is unknown."""
    if ray.natural != 1.0:  # d was scaled to a largest component near 1
        return min(ray.natural, 1.0)
    return min(1.0, 1.0 / math.sqrt(abs(ray.origin.derivative)))


class InitialStep:
    """The initial step length that repeats the last decrease.

    ``α = min(longest, 2.02 (f_k - f_(k-1)) / φ'(0))``: the minimizer of the parabola that decreases
    by as much as the previous step did. The additional factor 1.01 lets α = 1 be tried near the
    solution, which superlinear convergence needs.

    Args:
        longest: the natural length of the directions, 1 for quasi-Newton methods; default ∞.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (3.60).
    """

    def __init__(self, longest: float = math.inf) -> None:
        self._longest = longest
        self._value: float | None = None

    def length(self, ray: Ray) -> float:
        """Return the first α for ``ray``, and store f at its start for the next call."""
        before, self._value = self._value, ray.origin.point.value
        if before is None:
            return unit_length_step(ray)
        decrease = before - self._value
        hidden = decrease <= ray.noise
        last = ray.origin.point.step
        alpha = last if hidden else 2.02 * decrease / abs(ray.origin.derivative)
        return min(self._longest * ray.natural, alpha)

    def state_dict(self) -> StateDict:
        """Return the state: f at the start of the last ray, or None."""
        return {"value": self._value}

    def load_state_dict(self, state: StateDict) -> None:
        """Set what `state_dict` returned; raise `FileFormatError` if it does not fit."""
        entries = Entries(state, "InitialStep", "value")
        self._value = None if entries["value"] is None else entries.number("value")
