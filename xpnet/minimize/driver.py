"""`minimize` and `compare`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from xpnet.atomic import StrPath
from xpnet.backend import Array, backend_of, on_device_of
from xpnet.errors import ArgumentError, Phrase, require, require_type
from xpnet.minimize.bounds import box_of
from xpnet.minimize.checkpoint import (
    CheckpointWriter,
    MinimizationCheckpoint,
    errors_naming,
    read_checkpoint,
    refuse_shared,
)
from xpnet.minimize.first_order import FirstOrder
from xpnet.minimize.lbfgs import LBFGS
from xpnet.minimize.loop import MinimizationLoop, has_gradient
from xpnet.minimize.method import Method, require_dense_fits
from xpnet.minimize.objective import Function, Objective, objective_of
from xpnet.minimize.result import Iterate, Result
from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction
from xpnet.minimize.stopping import StoppingTest, Tolerances
from xpnet.optimizers.base import Optimizer
from xpnet.state_dict import StateDict


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
    checkpoint: MinimizationCheckpoint | None = None,
    resume: StrPath | None = None,
) -> Result:
    """Minimize a function of a vector, ``min f(x)``, optionally subject to ``lower ≤ x ≤ upper``.

    Arrays stay on the backend of ``x0``; only scalars are transferred to the host.

    A run that is resumed from a checkpoint computes the iterates of the uninterrupted run, equal to
    the bit on the same machine. The function must be the same: it is not evaluated at the saved
    point, so a change of it is not noticed, and a function with hidden state continues with that
    which it has. The bounds must be the same too, and the method, n and dtype, which are compared.
    ``max_iter``, ``tol``, ``max_seconds``, ``callback`` and ``keep_trajectory`` may change.

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
            default None. A resumed run counts its own seconds only.
        callback: called with every `Iterate` after the start; it returns ``True`` to stop, and any
            other value has no effect. A resumed run calls it with the iterates after the saved one.
        keep_trajectory: whether the result contains every iterate; default False. A resumed run
            keeps those from the saved one on.
        check_gradient: whether to compare the gradient at x0 with central differences first, at the
            cost of 2n values; default False. A resumed run does not compare it again.
        checkpoint: the file to write the state to, and the interval; default none.
        resume: the file of a `MinimizationCheckpoint` to continue from, instead of ``x0``, which
            then determines the backend, the dtype and n only. Default None begins at ``x0``.

    Returns:
        The result: x, its value, the counts, and the reason for stopping. After Ctrl-C it is the
        best point so far. Trial steps may overflow: NumPy's floating-point warnings are disabled
        during the run, and a result that is not finite is a reason.

    Raises:
        ArgumentError: if an argument is invalid. x0 and the first value, gradient and Hessian are
            validated before the first step.
        FileFormatError: if ``resume`` is truncated, hostile or of another kind.
        FileNotFoundError: if there is no file ``resume``.
        OSError: if the checkpoint cannot be written.

    >>> result = minimize(lambda x: ((x - 3.0) ** 2).sum(), [0.0, 1.0])
    >>> result.success, result.x.round(6)
    (True, array([3., 3.]))
    """
    writer = None if checkpoint is None else CheckpointWriter(checkpoint)
    with errors_naming(resume):
        loop = minimization_loop(
            fun,
            x0,
            method,
            jac=jac,
            hess=hess,
            hessp=hessp,
            bounds=bounds,
            tol=tol,
            max_iter=max_iter,
            max_seconds=max_seconds,
            callback=callback,
            keep_trajectory=keep_trajectory,
            check_gradient=check_gradient,
            state=None if resume is None else read_checkpoint(resume),
        )
    return loop.run(method, writer)


@on_device_of("x0")
def minimization_loop(
    fun: Objective | Function,
    x0: Any,
    method: Method | Optimizer,
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
    state: StateDict | None = None,
) -> MinimizationLoop:
    """Return the loop of a minimization, ready to run: internal, for a caller with its own files.

    ``loop.state_dict()`` returns the state of the loop, before ``loop.run(method)`` and in each
    call of the callback; the caller writes or copies it at once, because the next step overwrites
    its arrays. With it as ``state``, read from a file or not, a new loop continues after that call
    of the callback::

        loop = minimization_loop(objective, theta, method, callback=save, state=None)
        result = loop.run(method)  # save(iterate) may write loop.state_dict()

    Run the loop on the device of ``x0``.

    Args:
        fun: as all arguments but ``state``, that of `minimize`.
        x0: see `minimize`.
        method: see `minimize`.
        jac: see `minimize`.
        hess: see `minimize`.
        hessp: see `minimize`.
        bounds: see `minimize`.
        tol: see `minimize`.
        max_iter: see `minimize`.
        max_seconds: see `minimize`; the clock starts now.
        callback: see `minimize`.
        keep_trajectory: see `minimize`.
        check_gradient: see `minimize`.
        state: the state dictionary to continue from; its arrays are copied, and the function is not
            evaluated. Default None evaluates the function at ``x0``.

    Raises:
        ArgumentError: if an argument is invalid; if ``state`` is of another problem, naming the
            argument ``resume``.
        FileFormatError: if ``state`` is not the state of a loop; the message names the entry.
    """
    start = _start(x0)
    rule = FirstOrder(method) if isinstance(method, Optimizer) else method
    require_type(rule, Method, "method", "Take one of xpnet.minimize or xpnet.optimizers.")
    require(callback is None or callable(callback), "callback", "be a function", callback)
    box = box_of(bounds, start, backend_of(start))
    _require_suits(method, rule, start, bounded=box is not None)
    for given, name in ((hess, "hess"), (hessp, "hessp")):
        require(given is None or callable(given), name, "be a function", given)
    gradient = None if state is None else has_gradient(state)
    objective = objective_of(fun, jac, start, gradient=gradient)
    function = ScalarFunction(objective, start, hess, hessp, box)
    limits = tol if isinstance(tol, Tolerances) else Tolerances(grad=tol)
    stopping = StoppingTest(limits, max_iter, max_seconds, function)
    loop = MinimizationLoop(function, rule, stopping, callback, keep_trajectory)
    if state is None:
        loop.begin(_evaluated(function, start, check_gradient))
    else:
        loop.load_state_dict(state)
    function.deadline = stopping.deadline
    return loop


@on_device_of("x0")
def compare(
    function: Any, methods: Iterable[Method | Optimizer], x0: Any = None, **settings: Any
) -> list[Result]:
    """Minimize ``function`` by each of ``methods`` from the same start.

    Args:
        function: the argument ``fun`` of `minimize`.
        methods: methods and first-order optimizers.
        x0: the start, shape ``(n,)``; default the first of a test function's ``starts``.
        settings: keyword arguments of `minimize`, except ``checkpoint`` and ``resume``;
            ``keep_trajectory`` defaults to True.

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
    refuse_shared(settings)
    settings = {"keep_trajectory": True, **settings}
    return [minimize(function, x0, method, **settings) for method in methods]


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


def _require_suits(
    method: Method | Optimizer, rule: Method, start: Array, *, bounded: bool
) -> None:
    """Refuse a method that does not support bounds, if there are any, or needs too much memory."""
    if bounded and not rule.bounded:
        require(False, "method", "support bounds", method, "Use LBFGS() or GradientDescent().")
    if rule.dense:
        require_dense_fits(int(start.shape[0]), method, backend_of(start))


def _evaluated(function: ScalarFunction, start: Array, check_gradient: bool) -> EvaluatedPoint:
    """Return the evaluated start, after validating it."""
    first = function.evaluate(start)
    size = function.max_norm(first.grad)
    finite = math.isfinite(first.value) and math.isfinite(size)
    got = Phrase(f"the value {first.value:g}, gradient norm {size:g}")
    require(finite, "x0", "be where the function and its gradient are finite", got)
    if check_gradient:
        function.require_gradient(start)
    return first
