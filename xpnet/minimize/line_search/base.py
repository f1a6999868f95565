"""What every line search needs: the function along a ray, and the first step to try."""

from __future__ import annotations

import math
from typing import NamedTuple

from xpnet.backend import Array
from xpnet.minimize.scalar_function import Point, Problem


class Trial(NamedTuple):
    """One look along a ray, ``φ(α) = f(x + αd)``.

    Attributes:
        alpha: the step length α.
        rise: φ(α) - φ(0); from the slopes where rounding hides it, see `Ray`.
        slope: φ'(α) = ∇f(x + αd)ᵀd.
        point: where it is.
    """

    alpha: float
    rise: float
    slope: float
    point: Point


class LineSearchError(ArithmeticError):
    """No acceptable step was found.

    Attributes:
        hopeless: whether the decrease sought is below the rounding error of the function.
    """

    def __init__(self, message: str, *, hopeless: bool = False) -> None:
        super().__init__(message)
        self.hopeless = hopeless


class Ray:
    """The ray ``x + αd``; in a box, the path ``P(x + αd)`` of its projections.

    Near a minimum the rise ``φ(α) - φ(0)`` drowns in the rounding error of f, taken as
    ``10 eps |f(x)|``, while the slopes are still good. There it is the trapezoid of the gradients,
    ``½ (∇f(x) + ∇f(x_α))ᵀ(x_α - x)``, which is exact for a quadratic: a gradient can be brought far
    below √eps. Sufficient decrease of that rise is Hager and Zhang's approximate Wolfe condition,
    SIAM J. Optim. 16 (2005) 170, eq. (4.1).

    Args:
        problem: what is minimized.
        point: where the ray starts.
        direction: d, shape ``(n,)``, a direction of descent.

    Attributes:
        origin: the trial at α = 0.
        tried: ``(α, φ(α))`` of every look so far.
        noise: the rise that rounding hides.

    Raises:
        LineSearchError: if ``direction`` is not one of descent.
    """

    def __init__(self, problem: Problem, point: Point, direction: Array) -> None:
        self.problem, self.direction = problem, direction
        slope = float(point.grad @ direction)
        self.origin = Trial(0.0, 0.0, slope, point)
        self.tried: list[tuple[float, float]] = []
        self.noise = 10 * problem.eps * abs(point.value)
        if not slope < 0.0:
            raise LineSearchError(
                f"the direction does not descend: its slope is {slope:.3g}",
                hopeless=abs(slope) <= self.noise,
            )

    def at(self, alpha: float) -> Array:
        """The array ``x + αd``, projected if there is a box."""
        start = self.origin.point.x
        x = start + self.direction if alpha == 1.0 else start + alpha * self.direction
        return x if self.problem.box is None else self.problem.box.project(x)

    def trial(self, alpha: float) -> Trial:
        """A look with the slope: one value and one gradient."""
        point = self.problem.evaluate(self.at(alpha), alpha)
        slope = float(point.grad @ self.direction)
        self.tried.append((alpha, point.value))
        rise = point.value - self.origin.point.value
        if abs(rise) <= self.noise:
            rise = self._smoothed(rise, alpha * self.origin.slope, alpha * slope)
        return Trial(alpha, rise, slope, point)

    def rise(self, alpha: float) -> tuple[float, float, Array]:
        """A look by the value: the rise, its first-order part ``∇fᵀ(x_α - x)``, and x_α.

        The first look takes the gradient with it: it is mostly the one accepted.
        """
        start, x = self.origin.point, self.at(alpha)
        value = self.problem.value(x) if self.tried else self.problem.evaluate(x).value
        self.tried.append((alpha, value))
        rise, first_order = value - start.value, alpha * self.origin.slope
        hidden = abs(rise) <= self.noise
        if hidden or self.problem.box is not None:
            moved = x - start.x
            first_order = float(start.grad @ moved)
            if hidden:
                end = float(self.problem.evaluate(x).grad @ moved)
                rise = self._smoothed(rise, first_order, end)
        return rise, first_order, x

    def _smoothed(self, rise: float, start: float, end: float) -> float:
        """The rise that rounding hides, from the gradients at both ends, ``½ (start + end)``.

        They tell where they differ by a good part, or where the whole ray promises next to nothing.
        Elsewhere a short step seems level because it is short: then it counts as no decrease, lest
        the tiny steps along a wrong gradient pass for one.
        """
        promised = -self.origin.slope * self.tried[0][0]
        bends = abs(end - start) >= 0.1 * abs(start)
        return 0.5 * (start + end) if bends or promised <= 100.0 * self.noise else abs(rise)

    def failure(self, why: str) -> LineSearchError:
        """The error of a search that gives up, with the last steps that it tried."""
        tried = ", ".join(f"f({alpha:.3g}) = {value:.10g}" for alpha, value in self.tried[-5:])
        slope, value = self.origin.slope, self.origin.point.value
        first = self.tried[0][0] if self.tried else 1.0
        hopeless = -slope * min(1.0, first) <= self.noise
        return LineSearchError(
            f"{why} after {len(self.tried)} trials from f(0) = {value:.10g}, slope {slope:.3g}; "
            f"the last: {tried}",
            hopeless=hopeless,
        )


class LineSearch:
    """The base of the line searches, which are frozen dataclasses of their hyperparameters."""

    def search(self, ray: Ray, first: float) -> Point:
        """An acceptable point of ``ray``.

        Args:
            ray: the function along a direction of descent.
            first: the step length to try first, above 0.

        Raises:
            LineSearchError: if none was found, with what was tried.
        """
        raise NotImplementedError


def unit_step(ray: Ray) -> float:
    """``min(1, 1/‖∇f‖)`` for a ray along ``-∇f``: at the start nothing tells the scale of f."""
    return min(1.0, 1.0 / math.sqrt(abs(ray.origin.slope)))


class ExpectedStep:
    """Expects the decrease of the step before: ``α = min(longest, 2.02 (f_k - f_(k-1)) / φ'(0))``.

    The 2 is of the parabola that falls by so much; another 1.01 lets α = 1 be tried near the
    solution, as superlinear convergence needs.

    Args:
        longest: the natural length of the directions, 1 for quasi-Newton ones, or ∞.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (3.60).
    """

    def __init__(self, longest: float = math.inf) -> None:
        self._longest = longest
        self._value: float | None = None

    def length(self, ray: Ray) -> float:
        """The first α for ``ray``, whose start's value is remembered for the next one."""
        before, self._value = self._value, ray.origin.point.value
        if before is None:
            return unit_step(ray)
        drop = before - self._value
        hidden = drop <= ray.noise
        alpha = ray.origin.point.step if hidden else 2.02 * drop / abs(ray.origin.slope)
        return min(self._longest, alpha)
