"""`minimize` and `compare`, and the loop that runs a method until a stopping test holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from xpnet.backend import Array, backend_of, on_device_of
from xpnet.errors import ArgumentError, Phrase, plain_number, require, require_type
from xpnet.minimize.bounds import box_of
from xpnet.minimize.first_order import FirstOrder
from xpnet.minimize.lbfgs import LBFGS
from xpnet.minimize.line_search.base import LineSearchError
from xpnet.minimize.method import Method, require_dense_fits
from xpnet.minimize.objective import Function, Objective, objective_of
from xpnet.minimize.result import Iterate, Result
from xpnet.minimize.scalar_function import (
    EvaluatedPoint,
    NonFiniteStepError,
    ScalarFunction,
    TimeLimitError,
)
from xpnet.minimize.stopping import Reason, StoppingTest, Termination, Tolerances
from xpnet.optimizers.base import Optimizer


@on_device_of("x0")
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
    """Minimize a function of a vector, ``min f(x)``, optionally subject to ``lower ≤ x ≤ upper``.

    Arrays stay on the backend of ``x0``; only scalars are transferred to the host.

    Args:
        fun: ``x → f(x)`` or ``x → (f(x), ∇f(x))``, or an `Objective`, such as a test function of
            `xpnet.minimize.functions`. Without a gradient, central differences are used.
        x0: the start, shape ``(n,)``, finite; it is not modified. Lists become float64 NumPy
            arrays.
        method: a method of `xpnet.minimize`, default ``LBFGS()``, or a first-order optimizer of
            `xpnet.optimizers`.
        jac: ``x → ∇f(x)``, shape ``(n,)``.
        hess: ``x → ∇²f(x)``, shape ``(n, n)``, symmetric, for `Newton`, `TrustRegion`, `NewtonCG`.
        hessp: ``(x, v) → ∇²f(x) v``, shape ``(n,)``, for the same methods.
        bounds: ``(lower, upper)``, each a number, an array of shape ``(n,)`` or None, for
            `GradientDescent` and `LBFGS`.
        tol: the tolerance on ``max_i |∂f/∂x_i|``, or `Tolerances`.
        max_iter: the maximum number of iterations, at least 0; default 10 000.
        max_seconds: the maximum number of seconds, tested before each evaluation after the first;
            default None.
        callback: called with every `Iterate` after the start; it returns ``True`` to stop, and any
            other value has no effect.
        keep_trajectory: whether the result contains every iterate; default False.
        check_gradient: whether to compare the gradient at x0 with central differences first, at the
            cost of 2n values; default False.

    Returns:
        The result: x, its value, the counts, and the reason for stopping. After Ctrl-C it is the
        best point so far. Trial steps may overflow: NumPy's floating-point warnings are disabled
        during the run, and a result that is not finite is a reason.

    Raises:
        ArgumentError: if an argument is invalid. x0 and the first value, gradient and Hessian are
            validated before the first step.

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
        require(False, "method", "support bounds", method, "Use LBFGS() or GradientDescent().")
    if rule.dense:
        require_dense_fits(int(start.shape[0]), method, backend_of(start))
    for given, name in ((hess, "hess"), (hessp, "hessp")):
        require(given is None or callable(given), name, "be a function", given)
    function = ScalarFunction(objective_of(fun, jac, start), start, hess, hessp, box)
    limits = tol if isinstance(tol, Tolerances) else Tolerances(grad=tol)
    stopping = StoppingTest(limits, max_iter, max_seconds, function)
    first = function.evaluate(start)
    finite = math.isfinite(first.value) and math.isfinite(function.max_norm(first.grad))
    got = Phrase(f"the value {first.value:g}, gradient norm {function.max_norm(first.grad):g}")
    require(finite, "x0", "be where the function and its gradient are finite", got)
    if check_gradient:
        function.require_gradient(start)
    function.deadline = stopping.deadline
    loop = MinimizationLoop(function, rule, first, stopping, callback, keep_trajectory)
    return loop.run(method)


@on_device_of("x0")
def compare(
    function: Any, methods: Iterable[Method | Optimizer], x0: Any = None, **settings: Any
) -> list[Result]:
    """Minimize ``function`` by each of ``methods`` from the same start.

    Args:
        function: the argument ``fun`` of `minimize`.
        methods: methods and first-order optimizers.
        x0: the start, shape ``(n,)``; default the first of a test function's ``starts``.
        settings: keyword arguments of `minimize`; ``keep_trajectory`` defaults to True.

    Returns:
        One result per method, in order; `table` formats them, and `xpnet.minimize.plots` draws
        them.

    Raises:
        ArgumentError: if there is no start, or `minimize` raises it.

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


class MinimizationLoop:
    """The loop of one minimization: it steps, keeps the best point, and tests for stopping.

    Args:
        function: the function to minimize.
        method: the method.
        start: the evaluated start.
        stopping: the stopping test.
        callback: called with every iterate after the start; it returns True to stop.
        keep: whether to keep the trajectory.
    """

    def __init__(
        self,
        function: ScalarFunction,
        method: Method,
        start: EvaluatedPoint,
        stopping: StoppingTest,
        callback: Callable[[Iterate], Any] | None,
        keep: bool,
    ) -> None:
        self._function, self._method, self._stopping = function, method, stopping
        self._callback, self._keep = callback, keep
        self._best = self._now = start
        self._iteration = 0
        self._trajectory: list[Iterate] = []

    def run(self, method: Any) -> Result:
        """Run until a stopping test holds; ``method`` is the caller's argument, for the result."""
        with np.errstate(all="ignore"):
            termination = self._terminated()
        final = self._now if termination.reason.success else self._best
        return Result(
            x=final.x,
            value=final.value,
            grad_norm=self._function.grad_norm(final),
            reason=termination.reason,
            detail=termination.detail,
            iterations=self._iteration,
            evaluations=self._function.evaluations,
            seconds=self._stopping.seconds,
            method=method,
            trajectory=tuple(self._trajectory),
        )

    def _terminated(self) -> Termination:
        """Step until there is a reason to stop, which an inner loop may raise."""
        try:
            return self._iterate()
        except LineSearchError as error:
            grad_norm = self._function.grad_norm(self._now)
            rounding = error.below_rounding
            return self._stopping.without_step(str(error), grad_norm, below_rounding=rounding)
        except NonFiniteStepError as error:
            return Termination(Reason.NON_FINITE, str(error))
        except TimeLimitError:
            return self._stopping.time_limit()
        except KeyboardInterrupt:
            return Termination(Reason.INTERRUPTED, f"in iteration {self._iteration + 1}")

    def _iterate(self) -> Termination:
        """Step until a stopping test holds."""
        state = self._method.start(self._function, self._now)
        before: EvaluatedPoint | None = None
        while True:
            now = self._now
            grad_norm = self._function.grad_norm(now)
            if -math.inf < now.value <= self._best.value and grad_norm < math.inf:
                self._best = now
            stop_requested = self._record(now, grad_norm)
            termination = self._stopping.check(self._iteration, before, now, grad_norm)
            if termination is not None:
                return termination
            if stop_requested:
                return Termination(Reason.CALLBACK, f"in iteration {self._iteration}")
            before = now
            self._now = self._method.step(self._function, now, state)
            self._iteration += 1
            if self._now.value == before.value and self._is_stalled(before):
                detail = "the step is shorter than the spacing of the numbers in x"
                return self._stopping.without_step(detail, grad_norm, below_rounding=True)

    def _is_stalled(self, before: EvaluatedPoint) -> bool:
        """Return whether the step of a line search left x unchanged, as would all later ones.

        The step is 0 for an optimizer without a line search, which may move x later.
        """
        now = self._now
        return now.step != 0.0 and self._function.max_norm(now.x - before.x) == 0.0

    def _record(self, now: EvaluatedPoint, grad_norm: float) -> bool:
        """Record the iterate and pass it to the callback; return whether that asks to stop."""
        if not (self._keep or self._callback):
            return False
        iterate = Iterate(self._iteration, now.x, now.value, grad_norm, now.step)
        if self._keep:
            self._trajectory.append(iterate)
        if self._callback is None or self._iteration == 0:
            return False
        return plain_number(self._callback(iterate)) is True


def _start(x0: Any) -> Array:
    """Return a floating-point copy of the start; an array keeps its backend and dtype."""
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
