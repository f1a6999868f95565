"""The strong Wolfe conditions, found by safeguarded cubic interpolation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpnet.errors import require_count, require_number
from xpnet.minimize.line_search.base import LineSearch
from xpnet.minimize.line_search.bracket import Bracket
from xpnet.minimize.line_search.ray import Ray, Trial
from xpnet.minimize.point import Point


@dataclass(frozen=True)
class StrongWolfe(LineSearch):
    """A step with ``φ(α) ≤ φ(0) + c₁ α φ'(0)`` and ``|φ'(α)| ≤ c₂ |φ'(0)|``, after Moré, Thuente.

    The search keeps an interval that holds such steps and tries the minimizers of cubics and
    secants through what it has seen. It costs a value and a gradient per trial, mostly one trial.

    Deviations from the paper: the interval is kept for ``ψ(α) = φ(α) - φ(0) - c₁ α φ'(0)``
    throughout, which the paper's section 2 shows to suffice where c₁ < c₂. A kink, where no step
    satisfies the second condition, is left by the best step of the first.

    Args:
        c1: sufficient decrease, in (0, c2).
        c2: curvature, in (c1, 1): small is nearly exact; 0.9 suits quasi-Newton, 0.1 nonlinear CG.
        max_evaluations: trials before it gives up, at least 1.
        max_step: the longest α, above 0.

    Raises:
        ArgumentError: if an argument is out of its range.

    Reference: Moré and Thuente, Line search algorithms with guaranteed sufficient decrease, ACM
    TOMS 20 (1994) 286.

    >>> StrongWolfe(c2=0.1).c1
    0.0001
    """

    c1: float = 1e-4
    c2: float = 0.9
    max_evaluations: int = 30
    max_step: float = 1e20

    def __post_init__(self) -> None:
        require_number(self.c2, "c2", above=0, below=1)
        require_number(self.c1, "c1", above=0, below=self.c2)
        require_count(self.max_evaluations, "max_evaluations")
        require_number(self.max_step, "max_step", above=0)

    def search(self, ray: Ray, first: float) -> Point:
        """The first trial that satisfies both conditions."""
        bracket = Bracket(self._tilted(ray, ray.origin), self.max_step)
        alpha = min(first, self.max_step)
        for _ in range(self.max_evaluations):
            trial = ray.trial(alpha)
            if math.isfinite(trial.rise) and math.isfinite(trial.slope):
                if self._accepts(ray, trial):
                    return trial.point
                alpha = bracket.shrink(self._tilted(ray, trial))
            else:
                alpha = bracket.retreat(alpha)
            if bracket.closed(ray.problem.eps) or alpha == trial.alpha:
                break
        if bracket.low.rise < 0.0 and (bracket.bracketed or alpha == bracket.low.alpha):
            return bracket.low.point
        falls = bracket.low.alpha > 0.0 and not bracket.bracketed
        raise ray.failure("the ray seems to fall for ever" if falls else "no strong Wolfe step")

    def _accepts(self, ray: Ray, trial: Trial) -> bool:
        """Whether the strong Wolfe conditions hold."""
        slope = ray.origin.slope
        enough = trial.rise <= self.c1 * trial.alpha * slope
        return enough and abs(trial.slope) <= self.c2 * abs(slope)

    def _tilted(self, ray: Ray, trial: Trial) -> Trial:
        """The same look at ``ψ(α) = φ(α) - φ(0) - c₁ α φ'(0)``."""
        tilt = self.c1 * ray.origin.slope
        return trial._replace(rise=trial.rise - tilt * trial.alpha, slope=trial.slope - tilt)
