"""The exact minimizer along a ray, in two looks where the function is quadratic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpnet.errors import require_count, require_number
from xpnet.minimize.line_search.base import LineSearch, Ray, Trial
from xpnet.minimize.line_search.interpolation import secant_root
from xpnet.minimize.scalar_function import Point


@dataclass(frozen=True)
class Exact(LineSearch):
    """The exact line search: the root of ``φ'(α) = ∇f(x + αd)ᵀd``, by secants in a bracket.

    On a quadratic φ' is a line, so the second look is at the exact minimizer. Elsewhere the secant
    is repeated inside a bracket (regula falsi with the Illinois rule, halved where that is slow)
    until ``|φ'(α)| ≤ tol · |φ'(0)|``. On a function with several minima along the ray it finds one
    of them.

    Args:
        tol: how small the slope must become relative to that at the start, in (0, 1).
        max_evaluations: looks before it gives up, at least 2.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Dowell and Jarratt, A modified regula falsi method, BIT 11 (1971) 168.

    >>> Exact().tol
    1e-08
    """

    tol: float = 1e-8
    max_evaluations: int = 60

    def __post_init__(self) -> None:
        require_number(self.tol, "tol", above=0, below=1)
        require_count(self.max_evaluations, "max_evaluations", low=2)

    def search(self, ray: Ray, first: float) -> Point:
        """The point where the slope along ``ray`` vanishes."""
        ends, alpha = _Ends(ray.origin), first
        small = max(self.tol, 10 * ray.problem.eps) * abs(ray.origin.slope)
        for _ in range(self.max_evaluations):
            trial = ray.trial(alpha)
            if not (math.isfinite(trial.rise) and math.isfinite(trial.slope)):
                alpha = 0.5 * (ends.low.alpha + alpha)
                continue
            if abs(trial.slope) <= small and trial.rise <= 0.0:
                return trial.point
            # A value above the start's is beyond a minimum even where the slope has turned again.
            alpha = ends.take(trial, rises=trial.slope >= 0.0 or trial.rise > 0.0)
            if ends.high is not None and ends.width <= ray.problem.eps * ends.high.alpha:
                break
        if ends.high is not None and ends.low.rise < 0.0:
            return ends.low.point
        falls = ends.high is None
        raise ray.failure("the ray seems to fall for ever" if falls else "no minimum on the ray")


class _Ends:
    """The bracket of a root of φ': ``low`` where φ falls, ``high`` where it rises."""

    def __init__(self, origin: Trial) -> None:
        self.low = origin
        self.high: Trial | None = None
        self._rose: bool | None = None
        self._widths = (math.inf, math.inf, math.inf)

    @property
    def width(self) -> float:
        return math.inf if self.high is None else self.high.alpha - self.low.alpha

    def take(self, trial: Trial, *, rises: bool) -> float:
        """Replace one end by ``trial``; returns the next α.

        It is the secant's root, or the middle where the bracket has not halved in three takes.
        """
        again, self._rose = rises == self._rose, rises
        before = self.low
        if rises:
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
    """An end that stays a second time counts half, so that both ends move (Illinois rule)."""
    return end._replace(slope=0.5 * end.slope)
