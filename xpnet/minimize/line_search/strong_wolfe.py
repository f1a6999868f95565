"""The strong Wolfe conditions, by the search of Moré and Thuente."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpnet.errors import require_count, require_number
from xpnet.minimize.line_search.base import LineSearch, Ray, Trial
from xpnet.minimize.line_search.interpolation import cubic_minimum, quadratic_minimum, secant_root
from xpnet.minimize.scalar_function import Point


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


STRETCH = (1.1, 4.0)
"""While nothing brackets a minimum, the next step goes this far beyond the last one."""

SHRINK = 0.66
"""The interval must shrink by this factor in two trials; else it is halved."""


class Bracket:
    """The interval between the best trial ``low`` and the other end ``high``.

    Args:
        origin: the trial at α = 0, of slope < 0.
        max_step: the longest step.

    Attributes:
        low: the trial of the least rise so far.
        high: the other end; a minimum lies between once `bracketed`.
        bracketed: whether it does.

    Reference: Moré and Thuente, ACM TOMS 20 (1994) 286, sections 3 and 4.
    """

    def __init__(self, origin: Trial, max_step: float) -> None:
        self.low = self.high = origin
        self.bracketed = False
        self._ceiling = max_step
        self._widths = (math.inf, math.inf)

    def shrink(self, trial: Trial) -> float:
        """Take ``trial`` into the interval (paper, section 2); returns the next step to try."""
        low = self.low
        alpha = self._candidate(trial)
        if trial.rise > low.rise:
            self.high, self.bracketed = trial, True
        else:
            if trial.slope * low.slope < 0.0:
                self.high, self.bracketed = low, True
            self.low = trial
        return self._halved(alpha) if self.bracketed else self._stretched(alpha, low)

    def retreat(self, alpha: float) -> float:
        """The next step after one at which the function was not finite."""
        length = alpha - self.low.alpha
        self._ceiling = self.low.alpha + 0.5 * length
        return self.low.alpha + 0.1 * length

    def closed(self, eps: float) -> bool:
        """Whether the interval is too narrow to hold another step."""
        width = abs(self.high.alpha - self.low.alpha)
        return self.bracketed and width <= eps * max(self.low.alpha, self.high.alpha)

    def _halved(self, alpha: float) -> float:
        """``alpha``, or the middle where the interval has not shrunk enough in two trials."""
        width = abs(self.high.alpha - self.low.alpha)
        slow = width >= SHRINK * self._widths[0]
        self._widths = (self._widths[1], width)
        inside = min(self.low.alpha, self.high.alpha) < alpha < max(self.low.alpha, self.high.alpha)
        return alpha if inside and not slow else 0.5 * (self.low.alpha + self.high.alpha)

    def _stretched(self, alpha: float, before: Trial) -> float:
        """``alpha``, kept within the stretch beyond the best step so far."""
        length = self.low.alpha - before.alpha
        near, far = (self.low.alpha + factor * length for factor in STRETCH)
        return min(max(near, min(alpha, far)), self._ceiling)

    def _candidate(self, trial: Trial) -> float:
        """The step that interpolation suggests: the four cases of the paper's section 4."""
        low = self.low
        cubic = cubic_minimum(low, trial)
        if trial.rise > low.rise:
            parabola = quadratic_minimum(low, trial.alpha, trial.rise)
            if cubic is None:
                return parabola
            near = abs(cubic - low.alpha) < abs(parabola - low.alpha)
            return cubic if near else 0.5 * (cubic + parabola)
        secant = secant_root(low, trial)
        if trial.slope * low.slope < 0.0:
            far = cubic is not None and abs(cubic - trial.alpha) >= abs(secant - trial.alpha)
            return cubic if cubic is not None and far else secant
        if abs(trial.slope) <= abs(low.slope):
            return self._beyond(trial, cubic, secant)
        if self.bracketed:
            cubic = cubic_minimum(trial, self.high)
            return 0.5 * (trial.alpha + self.high.alpha) if cubic is None else cubic
        return math.inf

    def _beyond(self, trial: Trial, cubic: float | None, secant: float) -> float:
        """The third case: the slope flattens, and the minimum lies beyond the trial."""
        ahead = trial.alpha - self.low.alpha
        # A cubic that falls for ever, or whose minimum lies behind, says nothing.
        if cubic is None or (cubic - trial.alpha) * ahead <= 0.0:
            cubic = math.copysign(math.inf, ahead)
        nearer, farther = sorted((cubic, secant), key=lambda alpha: abs(alpha - trial.alpha))
        if not self.bracketed:
            return farther
        limit = trial.alpha + SHRINK * (self.high.alpha - trial.alpha)
        return min(limit, nearer) if ahead > 0 else max(limit, nearer)
