"""When a minimization stops: tolerances, limits, and the reasons in words."""

from __future__ import annotations

import enum
import math
import time
from dataclasses import dataclass
from typing import NamedTuple

from xpnet.errors import require_count, require_number
from xpnet.minimize.scalar_function import Point, Problem


class Reason(enum.Enum):
    """Why a minimization stopped; the value is a sentence, `success` says if it is a solution."""

    GRADIENT = "The gradient is within its tolerance: this is a stationary point."
    DECREASE = "The last step decreased the value by no more than its tolerance."
    STEP = "The last step was no longer than its tolerance."
    ROUNDING = "No further decrease can be told from the rounding error of the function."
    ITERATIONS = "The limit of iterations was reached before a solution."
    TIME = "The limit of time was reached before a solution."
    NON_FINITE = "The function or its gradient became infinite or NaN; the best point is returned."
    LINE_SEARCH = "The line search found no acceptable step."
    CALLBACK = "The callback asked to stop; the best point is returned."
    INTERRUPTED = "The run was interrupted; the best point is returned."

    @property
    def success(self) -> bool:
        """Whether the point returned solves the problem as far as it was asked.

        >>> Reason.GRADIENT.success, Reason.TIME.success
        (True, False)
        """
        return self in (Reason.GRADIENT, Reason.DECREASE, Reason.STEP, Reason.ROUNDING)


@dataclass(frozen=True)
class Tolerances:
    """What is near enough: a minimization stops at the first of these that holds.

    Args:
        grad: on the gradient, ``max_i |∂f/∂x_i| ≤ grad`` (with bounds, on ``P(x - ∇f) - x``).
            ``None`` is 1e-8 in float64 and 1e-4 in float32.
        decrease: ``|f_k - f_(k+1)| ≤ decrease · max(|f_k|, |f_(k+1)|, 1)``; 0 turns it off.
        step: ``max_i |x_(k+1) - x_k|_i ≤ step · max(1, max_i |x_k|_i)``; 0 turns it off.

    Raises:
        ArgumentError: if one is negative or not finite.

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
        """The gradient tolerance for a dtype of machine precision ``eps``."""
        if self.grad is not None:
            return float(self.grad)
        return 1e-8 if eps < 1e-10 else 1e-4


class Verdict(NamedTuple):
    """A reason to stop, and the numbers that made it true."""

    reason: Reason
    detail: str


class Stopping:
    """The stopping rules of one run; its clock starts when it is made.

    Args:
        tol: the tolerances.
        max_iter: the most iterations, at least 0.
        max_seconds: the most seconds, or None.
        problem: what is minimized.
    """

    def __init__(
        self, tol: Tolerances, max_iter: int, max_seconds: float | None, problem: Problem
    ) -> None:
        require_count(max_iter, "max_iter", low=0)
        if max_seconds is not None:
            require_number(max_seconds, "max_seconds", low=0)
        self._tol, self._grad = tol, tol.grad_for(problem.eps)
        self._max_iter, self._max_seconds, self._problem = max_iter, max_seconds, problem
        self._begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begin

    def verdict(
        self, iteration: int, before: Point | None, now: Point, grad_norm: float
    ) -> Verdict | None:
        """Why to stop at the point ``now``, reached from ``before``, or None to go on."""
        if not (math.isfinite(now.value) and math.isfinite(grad_norm)):
            return Verdict(Reason.NON_FINITE, f"value {now.value:g}, gradient norm {grad_norm:g}")
        if grad_norm <= self._grad:
            return Verdict(Reason.GRADIENT, f"{grad_norm:.3g} ≤ {self._grad:g}")
        near = None if before is None else self._near(before, now)
        if near is not None:
            return near
        if iteration >= self._max_iter:
            return Verdict(Reason.ITERATIONS, f"{iteration} iterations")
        if self._max_seconds is not None and self.seconds >= self._max_seconds:
            return Verdict(Reason.TIME, f"{self._max_seconds:g} s")
        return None

    def _near(self, before: Point, now: Point) -> Verdict | None:
        """The tests on two successive points."""
        tol = self._tol
        if tol.decrease > 0:
            change = abs(before.value - now.value)
            if change <= tol.decrease * max(abs(before.value), abs(now.value), 1.0):
                return Verdict(Reason.DECREASE, f"a change of {change:.3g}, tol {tol.decrease:g}")
        if tol.step > 0:
            length = self._problem.largest(now.x - before.x)
            if length <= tol.step * max(1.0, self._problem.largest(before.x)):
                return Verdict(Reason.STEP, f"a step of {length:.3g}, tol {tol.step:g}")
        return None
