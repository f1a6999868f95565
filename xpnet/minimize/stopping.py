"""Stopping tests of a minimization: tolerances, limits, and the reasons as sentences."""

from __future__ import annotations

import enum
import math
import time
from dataclasses import dataclass
from typing import NamedTuple

from xpnet.errors import require_count, require_number
from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction


class Reason(enum.Enum):
    """Why a minimization stopped; the value is a sentence, and `success` marks a solution."""

    GRADIENT = "The gradient is within its tolerance: this is a stationary point."
    DECREASE = "The last step decreased the value by no more than its tolerance."
    STEP = "The last step was no longer than its tolerance."
    ROUNDING = "A further decrease would be below the rounding error of the function."
    ITERATIONS = "The limit of iterations was reached before a solution."
    TIME = "The limit of time was reached before a solution."
    NON_FINITE = "The function or a derivative became infinite or NaN; the best point is returned."
    LINE_SEARCH = "The line search found no acceptable step."
    CALLBACK = "The callback asked to stop; the best point is returned."
    INTERRUPTED = "The run was interrupted; the best point is returned."

    @property
    def success(self) -> bool:
        """Whether the returned point is a solution within the tolerances.

        >>> Reason.GRADIENT.success, Reason.TIME.success
        (True, False)
        """
        return self in (Reason.GRADIENT, Reason.DECREASE, Reason.STEP, Reason.ROUNDING)


@dataclass(frozen=True)
class Tolerances:
    """Convergence tolerances: a minimization stops as soon as one of them is satisfied.

    Args:
        grad: ``max_i |∂f/∂x_i| ≤ grad``; with bounds, ``max_i |P(x - ∇f) - x|_i ≤ grad``. ``None``
            (default) is 1e-8 in float64 and 1e-4 in float32.
        decrease: ``|f_k - f_(k+1)| ≤ decrease · max(|f_k|, |f_(k+1)|, 1)``; 0 (default) disables
            the test.
        step: ``max_i |x_(k+1) - x_k|_i ≤ step · max(1, max_i |x_k|_i)``; 0 (default) disables the
            test.

    Raises:
        ArgumentError: if a tolerance is negative or not finite.

    >>> Tolerances(grad=1e-5).grad
    1e-05
    """

    grad: float | None = None
    decrease: float = 0.0
    step: float = 0.0

    def __post_init__(self) -> None:
        if self.grad is not None:
            require_number(self.grad, "tol.grad", low=0)
        require_number(self.decrease, "tol.decrease", low=0)
        require_number(self.step, "tol.step", low=0)

    def grad_for(self, eps: float) -> float:
        """Return the gradient tolerance for a dtype of machine precision ``eps``."""
        return default_grad_tolerance(eps) if self.grad is None else float(self.grad)


def default_grad_tolerance(eps: float) -> float:
    """Return 1e-8 for float64 and 1e-4 for float32, by their machine precision ``eps``."""
    return 1e-8 if eps < 1e-10 else 1e-4


class Termination(NamedTuple):
    """A reason to stop, with the numbers that satisfied the test."""

    reason: Reason
    detail: str


class StoppingTest:
    """The stopping test of one run; the clock starts at construction.

    Args:
        tol: the tolerances.
        max_iter: the maximum number of iterations, at least 0.
        max_seconds: the maximum number of seconds, at least 0, or None.
        function: the function to minimize.
    """

    def __init__(
        self, tol: Tolerances, max_iter: int, max_seconds: float | None, function: ScalarFunction
    ) -> None:
        require_count(max_iter, "max_iter", low=0)
        if max_seconds is not None:
            require_number(max_seconds, "max_seconds", low=0)
        self._tol, self._grad = tol, tol.grad_for(function.eps)
        self._max_iter, self._max_seconds, self._function = max_iter, max_seconds, function
        self._begin = time.perf_counter()

    @property
    def deadline(self) -> float:
        """The reading of `time.perf_counter` at which the time limit ends; ∞ without one."""
        return math.inf if self._max_seconds is None else self._begin + self._max_seconds

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begin

    def check(
        self, iteration: int, before: EvaluatedPoint | None, now: EvaluatedPoint, grad_norm: float
    ) -> Termination | None:
        """Return why to stop at ``now``, the point after ``before``, or None to continue."""
        if not (math.isfinite(now.value) and math.isfinite(grad_norm)):
            detail = f"value {now.value:g}, gradient norm {grad_norm:g}"
            return Termination(Reason.NON_FINITE, detail)
        if grad_norm <= self._grad:
            return Termination(Reason.GRADIENT, f"{grad_norm:.3g} ≤ {self._grad:g}")
        converged = None if before is None else self._small_change(before, now)
        if converged is not None:
            return converged
        if iteration >= self._max_iter:
            return Termination(Reason.ITERATIONS, f"{iteration} iterations")
        if time.perf_counter() >= self.deadline:
            return self.time_limit()
        return None

    def time_limit(self) -> Termination:
        """Return the termination of a run that reached its time limit."""
        return Termination(Reason.TIME, f"{self._max_seconds:g} s")

    def without_step(self, message: str, grad_norm: float, *, below_rounding: bool) -> Termination:
        """Return why to stop at a point from which a method found no step.

        At a kink, or where a Hessian estimate is far from the Hessian, the predicted decrease is
        below the rounding error of f far from any stationary point. `Reason.ROUNDING` therefore
        also requires a gradient within the default tolerance of the dtype.

        Args:
            message: the message of the method.
            grad_norm: the norm of the gradient.
            below_rounding: whether the predicted decrease is below the rounding error of f.
        """
        limit = default_grad_tolerance(self._function.eps)
        if not below_rounding:
            return Termination(Reason.LINE_SEARCH, message)
        if grad_norm <= limit:
            return Termination(Reason.ROUNDING, message)
        hidden = f"the decrease is below the rounding error, but the gradient {grad_norm:.3g} is "
        return Termination(Reason.LINE_SEARCH, f"{message}; {hidden}above {limit:g}")

    def _small_change(self, before: EvaluatedPoint, now: EvaluatedPoint) -> Termination | None:
        """Test the change between two successive points."""
        tol = self._tol
        if tol.decrease > 0:
            change = abs(before.value - now.value)
            if change <= tol.decrease * max(abs(before.value), abs(now.value), 1.0):
                detail = f"a change of {change:.3g}, tol {tol.decrease:g}"
                return Termination(Reason.DECREASE, detail)
        if tol.step > 0:
            length = self._function.max_norm(now.x - before.x)
            if length <= tol.step * max(1.0, self._function.max_norm(before.x)):
                return Termination(Reason.STEP, f"a step of {length:.3g}, tol {tol.step:g}")
        return None
