"""The line search of Moré and Thuente for the strong Wolfe conditions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpnet.errors import require_count, require_number
from xpnet.minimize.line_search.base import LineSearch, Ray, Trial
from xpnet.minimize.line_search.interpolation import cubic_minimum, quadratic_minimum, secant_root
from xpnet.minimize.scalar_function import EvaluatedPoint

EXTRAPOLATION = (1.1, 4.0)
"""While no minimum is bracketed, the next step extends the last one by a factor in this range."""

SHRINK = 0.66
"""The interval must shrink by this factor in two trials; otherwise it is bisected."""


@dataclass(frozen=True)
class StrongWolfe(LineSearch):
    """Find α with ``φ(α) ≤ φ(0) + c₁ α φ'(0)`` and ``|φ'(α)| ≤ c₂ |φ'(0)|``.

    The search maintains an interval that contains such α, and tries the minimizers of interpolating
    cubics and secants. Each trial costs a value and a gradient; one trial is enough in most
    iterations.

    Deviations from the paper: the interval is maintained for ``ψ(α) = φ(α) - φ(0) - c₁ α φ'(0)``
    throughout, which section 2 of the paper shows to suffice where c₁ < c₂. At a kink, where no α
    satisfies the second condition, the search returns the best α that satisfies the first.

    Args:
        c1: sufficient decrease, in (0, c2); default 1e-4.
        c2: curvature, in (c1, 1). A small value makes the search nearly exact: 0.9 (default) suits
            quasi-Newton methods, 0.1 nonlinear conjugate gradients.
        max_evaluations: the maximum number of trials, at least 1; default 30.
        max_step: the largest α, above 0; default 1e20.

    Raises:
        ArgumentError: if an argument is outside its range.

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

    def search(self, ray: Ray, first: float) -> EvaluatedPoint:
        """Return the first trial that satisfies both conditions."""
        bracket = Bracket(self._psi(ray, ray.origin), self.max_step)
        alpha = min(first, self.max_step)
        for _ in range(self.max_evaluations):
            trial = ray.trial(alpha)
            if math.isfinite(trial.increase) and math.isfinite(trial.derivative):
                if self._accepts(ray, trial):
                    return trial.point
                alpha = bracket.update(self._psi(ray, trial))
            else:
                alpha = bracket.backtrack(alpha)
            if bracket.closed(ray.function.eps) or alpha == trial.alpha:
                break
        if bracket.low.increase < 0.0 and (bracket.bracketed or alpha == bracket.low.alpha):
            return bracket.low.point
        unbounded = bracket.low.alpha > 0.0 and not bracket.bracketed
        reason = "the function seems unbounded below along the ray"
        raise ray.error(reason if unbounded else "no step satisfies the strong Wolfe conditions")

    def _accepts(self, ray: Ray, trial: Trial) -> bool:
        """Return whether the strong Wolfe conditions hold."""
        derivative = ray.origin.derivative
        decreases = trial.increase <= self.c1 * trial.alpha * derivative
        return decreases and abs(trial.derivative) <= self.c2 * abs(derivative)

    def _psi(self, ray: Ray, trial: Trial) -> Trial:
        """Return the same trial of ``ψ(α) = φ(α) - φ(0) - c₁ α φ'(0)``."""
        tilt = self.c1 * ray.origin.derivative
        return trial._replace(
            increase=trial.increase - tilt * trial.alpha, derivative=trial.derivative - tilt
        )


class Bracket:
    """The interval between the best trial ``low`` and the other endpoint ``high``.

    Args:
        origin: the trial at α = 0, with a negative derivative.
        max_step: the largest α.

    Attributes:
        low: the trial with the smallest increase so far.
        high: the other endpoint.
        bracketed: whether a minimum lies between the endpoints.

    Reference: Moré and Thuente, ACM TOMS 20 (1994) 286, sections 3 and 4.
    """

    def __init__(self, origin: Trial, max_step: float) -> None:
        self.low = self.high = origin
        self.bracketed = False
        self._ceiling = max_step
        self._widths = (math.inf, math.inf)

    def update(self, trial: Trial) -> float:
        """Replace an endpoint by ``trial`` (paper, section 2), and return the next α."""
        low = self.low
        alpha = self._interpolated(trial)
        if trial.increase > low.increase:
            self.high, self.bracketed = trial, True
        else:
            if trial.derivative * low.derivative < 0.0:
                self.high, self.bracketed = low, True
            self.low = trial
        return self._bisected(alpha) if self.bracketed else self._extrapolated(alpha, low)

    def backtrack(self, alpha: float) -> float:
        """Return the next α after one at which the function was not finite."""
        length = alpha - self.low.alpha
        self._ceiling = self.low.alpha + 0.5 * length
        return self.low.alpha + 0.1 * length

    def closed(self, eps: float) -> bool:
        """Return whether the interval is too narrow for another trial."""
        width = abs(self.high.alpha - self.low.alpha)
        return self.bracketed and width <= eps * max(self.low.alpha, self.high.alpha)

    def _bisected(self, alpha: float) -> float:
        """Return ``alpha``, or the midpoint if the interval has not shrunk enough in two trials."""
        width = abs(self.high.alpha - self.low.alpha)
        slow = width >= SHRINK * self._widths[0]
        self._widths = (self._widths[1], width)
        inside = min(self.low.alpha, self.high.alpha) < alpha < max(self.low.alpha, self.high.alpha)
        return alpha if inside and not slow else 0.5 * (self.low.alpha + self.high.alpha)

    def _extrapolated(self, alpha: float, before: Trial) -> float:
        """Return ``alpha``, clipped to the range of extrapolation beyond the best trial."""
        length = self.low.alpha - before.alpha
        near, far = (self.low.alpha + factor * length for factor in EXTRAPOLATION)
        return min(max(near, min(alpha, far)), self._ceiling)

    def _interpolated(self, trial: Trial) -> float:
        """Return the α that interpolation suggests: the four cases of the paper's section 4."""
        low = self.low
        cubic = cubic_minimum(low, trial)
        if trial.increase > low.increase:
            parabola = quadratic_minimum(low, trial.alpha, trial.increase)
            if cubic is None:
                return parabola
            near = abs(cubic - low.alpha) < abs(parabola - low.alpha)
            return cubic if near else 0.5 * (cubic + parabola)
        secant = secant_root(low, trial)
        if trial.derivative * low.derivative < 0.0:
            far = cubic is not None and abs(cubic - trial.alpha) >= abs(secant - trial.alpha)
            return cubic if cubic is not None and far else secant
        if abs(trial.derivative) <= abs(low.derivative):
            return self._third_case(trial, cubic, secant)
        if self.bracketed:
            cubic = cubic_minimum(trial, self.high)
            return 0.5 * (trial.alpha + self.high.alpha) if cubic is None else cubic
        return math.inf

    def _third_case(self, trial: Trial, cubic: float | None, secant: float) -> float:
        """Return the next α where |φ'| decreases and the minimum lies beyond the trial."""
        ahead = trial.alpha - self.low.alpha
        # A cubic that is unbounded below, or has its minimum before the trial, is not used.
        if cubic is None or (cubic - trial.alpha) * ahead <= 0.0:
            cubic = math.copysign(math.inf, ahead)
        nearer, farther = sorted((cubic, secant), key=lambda alpha: abs(alpha - trial.alpha))
        if not self.bracketed:
            return farther
        limit = trial.alpha + SHRINK * (self.high.alpha - trial.alpha)
        return min(limit, nearer) if ahead > 0 else max(limit, nearer)
