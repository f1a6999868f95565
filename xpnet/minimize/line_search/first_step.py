"""The first step to try along a ray, where nothing better than the last one is known."""

from __future__ import annotations

import math

from xpnet.minimize.line_search.ray import Ray


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
