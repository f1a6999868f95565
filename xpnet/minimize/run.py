"""The loop that every method runs in: it steps, keeps the best point, and finds out why to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xpnet.minimize.line_search.ray import LineSearchError
from xpnet.minimize.method import Method
from xpnet.minimize.point import Point
from xpnet.minimize.problem import Problem
from xpnet.minimize.result import Iterate, Result
from xpnet.minimize.stopping import Reason, Stopping, Verdict


class Run:
    """One minimization on its way.

    Args:
        problem: what is minimized.
        method: how.
        start: the evaluated start.
        stopping: when to stop.
        callback: called with every iterate after the start; True stops.
        keep: whether to keep the trajectory.
    """

    def __init__(
        self,
        problem: Problem,
        method: Method,
        start: Point,
        stopping: Stopping,
        *,
        callback: Callable[[Iterate], Any] | None,
        keep: bool,
    ) -> None:
        self._problem, self._method, self._stopping = problem, method, stopping
        self._callback, self._keep = callback, keep
        self._best = self._now = start
        self._iteration = 0
        self._trajectory: list[Iterate] = []

    def result(self, method: Any) -> Result:
        """Run to the end; ``method`` is what the caller gave, for the record."""
        try:
            verdict = self._loop()
        except LineSearchError as error:
            rounded = error.hopeless and math.isfinite(self._now.value)
            reason = Reason.ROUNDING if rounded else Reason.LINE_SEARCH
            verdict = Verdict(reason, str(error))
        except KeyboardInterrupt:
            verdict = Verdict(Reason.INTERRUPTED, f"in iteration {self._iteration + 1}")
        final = self._now if verdict.reason.success else self._best
        return Result(
            x=final.x,
            value=final.value,
            grad_norm=self._problem.grad_norm(final),
            reason=verdict.reason,
            detail=verdict.detail,
            iterations=self._iteration,
            evaluations=self._problem.evaluations,
            seconds=self._stopping.seconds,
            method=method,
            trajectory=tuple(self._trajectory),
        )

    def _loop(self) -> Verdict:
        """Step until there is a reason to stop."""
        state = self._method.start(self._problem, self._now)
        before: Point | None = None
        while True:
            now = self._now
            grad_norm = self._problem.grad_norm(now)
            asked = self._observe(now, grad_norm)
            verdict = self._stopping.verdict(self._iteration, before, now, grad_norm)
            if verdict is not None:
                return verdict
            if asked:
                return Verdict(Reason.CALLBACK, f"in iteration {self._iteration}")
            before = now
            self._now = self._method.step(self._problem, now, state)
            self._iteration += 1
            if self._now.value <= self._best.value:
                self._best = self._now

    def _observe(self, now: Point, grad_norm: float) -> bool:
        """Record the iterate and show it to the callback; whether the callback asks to stop."""
        if not (self._keep or self._callback):
            return False
        iterate = Iterate(self._iteration, now.x, now.value, grad_norm, now.step)
        if self._keep:
            self._trajectory.append(iterate)
        return self._callback is not None and self._iteration > 0 and bool(self._callback(iterate))
