"""Exact line search: the root of the directional derivative."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpnet.errors import require_count, require_number
from xpnet.minimize.line_search.base import LineSearch, Ray, Trial
from xpnet.minimize.line_search.interpolation import secant_root
from xpnet.minimize.scalar_function import EvaluatedPoint


@dataclass(frozen=True)
class Exact(LineSearch):
    """The exact line search: the root of ``φ'(α) = ∇f(x + αd)ᵀd``, by secants in a bracket.

    On a quadratic φ' is linear, so the second trial is the exact minimizer. Otherwise the secant
    step is repeated within a bracket (regula falsi with the Illinois rule, bisected where that is
    slow) until ``|φ'(α)| ≤ tol · |φ'(0)|``. If the function has several minima along the ray, it
    finds one of them.

    Args:
        tol: the derivative to reach, relative to that at the start, in (0, 1); default 1e-8.
        max_evaluations: the maximum number of trials, at least 2; default 60.

    Raises:
        ArgumentError: if an argument is outside its range.

    Reference: Dowell and Jarratt, A modified regula falsi method, BIT 11 (1971) 168.

    >>> Exact().tol
    1e-08
    """

    tol: float = 1e-8
    max_evaluations: int = 60

    def __post_init__(self) -> None:
        require_number(self.tol, "tol", above=0, below=1)
        require_count(self.max_evaluations, "max_evaluations", low=2)

    def search(self, ray: Ray, first: float) -> EvaluatedPoint:
        """Return the point where the directional derivative vanishes."""
        bracket, alpha = RootBracket(ray.origin), first
        small = max(self.tol, 10 * ray.function.eps) * abs(ray.origin.derivative)
        for _ in range(self.max_evaluations):
            trial = ray.trial(alpha)
            if not (math.isfinite(trial.increase) and math.isfinite(trial.derivative)):
                alpha = 0.5 * (bracket.low.alpha + alpha)
                continue
            if abs(trial.derivative) <= small and trial.increase <= 0.0:
                return trial.point
            # A value above φ(0) is beyond a minimum even if the derivative is negative again.
            beyond = trial.derivative >= 0.0 or trial.increase > 0.0
            alpha = bracket.update(trial, beyond=beyond)
            if bracket.high is not None and bracket.width <= ray.function.eps * bracket.high.alpha:
                break
        if bracket.high is not None and bracket.low.increase < 0.0:
            return bracket.low.point
        if bracket.high is None:
            raise ray.error("the function seems unbounded below along the ray")
        raise ray.error("no minimum was found along the ray")


class RootBracket:
    """The bracket of a root of φ': φ decreases at ``low`` and increases at ``high``."""

    def __init__(self, origin: Trial) -> None:
        self.low = origin
        self.high: Trial | None = None
        self._was_beyond: bool | None = None
        self._widths = (math.inf, math.inf, math.inf)

    @property
    def width(self) -> float:
        """The width of the bracket, ∞ until both endpoints are known."""
        return math.inf if self.high is None else self.high.alpha - self.low.alpha

    def update(self, trial: Trial, *, beyond: bool) -> float:
        """Replace one endpoint by ``trial``, ``high`` if it is ``beyond`` the root.

        Returns:
            The next α: the root of the secant, or the midpoint if the bracket has not been halved
            in three updates.
        """
        again, self._was_beyond = beyond == self._was_beyond, beyond
        before = self.low
        if beyond:
            self.high = trial
            self.low = _halved(self.low) if again else self.low
        else:
            self.low = trial
            self.high = _halved(self.high) if again and self.high is not None else self.high
        if self.high is None:
            root, farthest = secant_root(before, trial), 10.0 * trial.alpha
            return root if trial.alpha < root < farthest else farthest
        root = secant_root(self.low, self.high)
        inside = self.low.alpha < root < self.high.alpha
        slow = self.width > 0.5 * self._widths[0]
        self._widths = (*self._widths[1:], self.width)
        return root if inside and not slow else 0.5 * (self.low.alpha + self.high.alpha)


def _halved(end: Trial) -> Trial:
    """Halve the derivative of an endpoint that is retained twice (Illinois rule)."""
    return end._replace(derivative=0.5 * end.derivative)
