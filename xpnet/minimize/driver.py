"""minimize: one method on one function; compare: several methods on one function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from xpnet.backend import Array, backend_of
from xpnet.errors import ArgumentError, Phrase, require, require_type
from xpnet.minimize.bounds import box_of
from xpnet.minimize.first_order import FirstOrder
from xpnet.minimize.lbfgs import LBFGS
from xpnet.minimize.line_search.base import LineSearchError
from xpnet.minimize.method import Method, require_dense_fits
from xpnet.minimize.objective import Function, Objective, objective_of
from xpnet.minimize.result import Iterate, Result
from xpnet.minimize.scalar_function import Point, Problem, require_gradient
from xpnet.minimize.stopping import Reason, Stopping, Tolerances, Verdict
from xpnet.optimizers.base import Optimizer


def minimize(
    fun: Objective | Function,
    x0: Any,
    method: Method | Optimizer = LBFGS(),  # noqa: B008  a frozen value
    *,
    jac: Function | None = None,
    hess: Function | None = None,
    hessp: Callable[[Array, Array], Array] | None = None,
    bounds: tuple[Any, Any] | None = None,
    tol: float | Tolerances = Tolerances(),  # noqa: B008
    max_iter: int = 10_000,
    max_seconds: float | None = None,
    callback: Callable[[Iterate], Any] | None = None,
    keep_trajectory: bool = False,
    check_gradient: bool = False,
) -> Result:
    """Minimize a function of a vector, ``min f(x)``, if asked within ``lower ≤ x ≤ upper``.

    Arrays stay on the backend of ``x0``; the host reads single numbers to decide.

    Args:
        fun: ``x → f(x)`` or ``x → (f(x), ∇f(x))``, or an `Objective`, such as a test function of
            `xpnet.minimize.functions`. Without a gradient, central differences are used.
        x0: the start, shape ``(n,)``, finite; not written to. Lists are NumPy float64.
        method: a method of `xpnet.minimize` or a first-order optimizer of `xpnet.optimizers`.
        jac: ``x → ∇f(x)``, shape ``(n,)``.
        hess: ``x → ∇²f(x)``, shape ``(n, n)``, symmetric, for `Newton`, `TrustRegion`, `NewtonCG`.
        hessp: ``(x, v) → ∇²f(x) v``, shape ``(n,)``, for the same.
        bounds: ``(lower, upper)``, each a number, an array of shape ``(n,)`` or None, for
            `GradientDescent` and `LBFGS`.
        tol: a tolerance on ``max_i |∂f/∂x_i|``, or `Tolerances` for more.
        max_iter: the most iterations, at least 0.
        max_seconds: the most seconds, looked at after each iteration.
        callback: called with every `Iterate` after the start; True stops the run.
        keep_trajectory: whether the result carries every iterate.
        check_gradient: compare the gradient at x0 with central differences first, by 2n values.

    Returns:
        The result: x, value, counts, and why it stopped. Ctrl-C gives the best point so far.

    Raises:
        ArgumentError: if an argument breaks its rule; x0, the first value, gradient and Hessian are
            checked before the first step.

    >>> result = minimize(lambda x: ((x - 3.0) ** 2).sum(), [0.0, 1.0])
    >>> result.success, result.x.round(6)
    (True, array([3., 3.]))
    """
    start = _start(x0)
    rule = FirstOrder(method) if isinstance(method, Optimizer) else method
    require_type(rule, Method, "method", "Take one of xpnet.minimize or xpnet.optimizers.")
    require(callback is None or callable(callback), "callback", "be a function", callback)
    box = box_of(bounds, start, backend_of(start))
    if box is not None and not rule.bounded:
        require(False, "method", "keep bounds", method, "Use LBFGS() or GradientDescent().")
    if rule.dense:
        require_dense_fits(int(start.shape[0]), method, backend_of(start))
    for given, name in ((hess, "hess"), (hessp, "hessp")):
        require(given is None or callable(given), name, "be a function", given)
    problem = Problem(objective_of(fun, jac, start), start, hess, hessp, box)
    limits = tol if isinstance(tol, Tolerances) else Tolerances(grad=tol)
    stopping = Stopping(limits, max_iter, max_seconds, problem)
    first = problem.evaluate(start)
    finite = math.isfinite(first.value) and math.isfinite(problem.largest(first.grad))
    got = Phrase(f"the value {first.value:g}, gradient norm {problem.largest(first.grad):g}")
    require(finite, "x0", "be where the function and its gradient are finite", got)
    if check_gradient:
        require_gradient(problem, start)
    run = Run(problem, rule, first, stopping, callback=callback, keep=keep_trajectory)
    return run.result(method)


def _start(x0: Any) -> Array:
    """A floating copy of the start; an array keeps its backend and dtype."""
    if not hasattr(x0, "dtype") or getattr(x0.dtype, "kind", "f") in "iub":
        try:
            x0 = np.asarray(x0, dtype=np.float64)
        except (TypeError, ValueError):
            require(False, "x0", "be a vector of numbers", x0)
    backend = backend_of(x0)
    require(x0.ndim == 1 and x0.shape[0] > 0, "x0", "be of shape (n,) with n ≥ 1", x0)
    finite = bool(backend.xp.all(backend.xp.isfinite(x0)))
    require(finite, "x0", "be finite", Phrase("an array with NaN or infinity"))
    return backend.xp.asarray(x0, copy=True)


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


def compare(
    function: Any, methods: Iterable[Method | Optimizer], x0: Any = None, **settings: Any
) -> list[Result]:
    """Minimize ``function`` by each of ``methods`` from the same start.

    Args:
        function: what `minimize` takes as ``fun``.
        methods: methods and first-order optimizers.
        x0: the start, shape ``(n,)``; default the first of a test function's ``starts``.
        settings: keyword arguments of `minimize`; the trajectory is kept unless said otherwise.

    Returns:
        One result a method, in order; `table` prints them, `plots` draws them.

    Raises:
        ArgumentError: if there is no start, or what `minimize` raises.

    >>> from xpnet.minimize import BFGS, LBFGS
    >>> from xpnet.minimize.functions import Bowl
    >>> [result.success for result in compare(Bowl(), [BFGS(), LBFGS()])]
    [True, True]
    """
    if x0 is None:
        starts = getattr(function, "starts", ())
        if not starts:
            raise ArgumentError("x0 must be given for a function without starts of its own.")
        x0 = starts[0]
    settings = {"keep_trajectory": True, **settings}
    return [minimize(function, x0, method, **settings) for method in methods]
