"""Whether a gradient is that of its function: of a network, or of any function of a vector."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast, overload

import numpy as np

from xpnet.backend import Array, as_array, backend_of, to_numpy
from xpnet.derivatives.point import point_of, targets
from xpnet.derivatives.report import GradientReport, ParameterCheck
from xpnet.errors import require, require_count, require_number
from xpnet.losses import Loss
from xpnet.minimize.differences import (
    agreement,
    backward_forward_differences,
    central_difference,
    relative_step,
)
from xpnet.minimize.objective import Function, Objective, objective_of
from xpnet.parameters import Entry, Layout
from xpnet.random import Rng, as_generator

NOISE = 10
"""How many roundings of the value a difference of two values is allowed."""

ZOOM = 64
"""How much smaller the step is that looks for a kink."""


class _Task(NamedTuple):
    """A function at a point, with the gradient that is doubted."""

    value: Callable[[Array], float]
    x: Array
    grad: np.ndarray[Any, Any]
    here: float
    eps: float
    step: float
    tolerance: float


class _Compared(NamedTuple):
    """One entry of the gradient: its central difference, its error, and whether that is a kink."""

    at: int
    numerical: float
    error: float
    kink: bool


@overload
def check_gradients(
    subject: Any,
    at: Array,
    y: Array,
    loss: Loss,
    *,
    weight: Array | None = None,
    training: bool = True,
    seed: int = 0,
    entries: int | None = 100,
    tolerance: float | None = None,
    rng: Rng = 0,
) -> GradientReport: ...


@overload
def check_gradients(
    subject: Function | Objective,
    at: Array,
    *,
    jac: Function | None = None,
    layout: Layout | None = None,
    entries: int | None = 100,
    tolerance: float | None = None,
    rng: Rng = 0,
) -> GradientReport: ...


def check_gradients(
    subject: Any,
    at: Array,
    y: Array | None = None,
    loss: Loss | None = None,
    *,
    weight: Array | None = None,
    training: bool = True,
    seed: int = 0,
    jac: Function | None = None,
    layout: Layout | None = None,
    entries: int | None = 100,
    tolerance: float | None = None,
    rng: Rng = 0,
) -> GradientReport:
    """Compare a gradient with central differences, entry by entry; it raises nothing by itself.

    An entry's error is ``|g - n| / max(|g|, |n|, floor)``, ``n`` the difference with
    ``h = eps^(1/3) max(1, |x_i|)``; the floor is where rounding of the value alone would exceed
    the tolerance. Where it does, a step 64 times smaller is taken from both sides. A kink within
    the step (ReLU at 0, a margin) explains the error if the one-sided slopes over ``h`` differ by
    as much as the error, and at the smaller step the given gradient lies between them.

    Args:
        subject: a network, whose ``∂L/∂θ`` is checked *in float64*, whatever its dtype; or a
            function ``x → (value, gradient)``; or one with ``jac``, or an object with
            ``value_and_grad(x)``.
        at: network inputs ``(m, n_in)``; or the vector ``x``, ``(n,)``.
        y: for a network: targets as the loss takes them.
        loss: for a network: the loss.
        weight: for a network: weights of the rows, ``(m,)``; ``None``: all 1.
        training: for a network: whether the pass is a training pass (default), as training's
            gradient is; dropout's mask is fixed, and batch norm's running statistics stay.
        seed: for a network: of the dropout masks.
        jac: for a function that returns the value alone: its gradient.
        layout: for a function: which part of ``x`` is which parameter.
        entries: how many entries of each parameter are drawn to be checked, at most; ``None`` for
            all of them; default 100. Each costs two values.
        tolerance: the relative error that is still right; ``None`` for ``30 √eps``, which is
            4.5e-7 in float64 and 0.01 in float32.
        rng: seed or generator of the draw.

    Returns:
        The `GradientReport`: print it, ask it ``ok``, or call ``raise_if_wrong()``.

    Raises:
        ArgumentError: if an argument is not what it must be.

    >>> from xpnet import MLP, CrossEntropy
    >>> report = check_gradients(MLP(2, [3], 2), [[0.3, 1.0], [-1.0, 0.2]], [0, 1], CrossEntropy())
    >>> [check.name for check in report.checks]
    ['layers.0.weight', 'layers.1.weight', 'layers.0.bias', 'layers.1.bias']
    >>> report.ok
    True
    >>> import numpy as np
    >>> check_gradients(lambda x: (x @ x, x * [2, 3]), np.array([1.0, 2.0])).worst.where
    'x[1]'
    """
    if tolerance is not None:
        require_number(tolerance, "tolerance", above=0)
    if entries is not None:
        require_count(entries, "entries")
    if hasattr(subject, "network"):
        require(loss is not None, "loss", "be given to check a network", loss)
        task = _of_network(subject, at, y, cast(Loss, loss), weight, training, seed)
        layout = subject.network.layout
    else:
        task = _of_function(subject, at, jac)
        layout = layout or Layout.of([("x", (task.grad.size,), "weight")])
        rule = f"have {layout.size} numbers, as many as its layout"
        require(layout.size == task.grad.size, "x", rule, task.x)
    task = task._replace(tolerance=tolerance or agreement(task.eps))
    stream = as_generator(rng)
    parts = [entry for entry in layout.entries if entry.stop > entry.start]
    checks = [_parameter(task, layout, entry, entries, stream) for entry in parts]
    return GradientReport(tuple(checks), task.tolerance)


def _of_network(
    model: Any,
    X: Array,
    y: Any,
    loss: Loss,
    weight: Array | None,
    training: bool,
    seed: int,
) -> _Task:
    """The loss of a network as a function of θ, in float64."""
    point = point_of(model, X, training=training, seed=seed, dtype="float64")
    y, weight = targets(point, y, loss, weight)

    def value(moved: Array) -> float:
        return float(loss.value(point.at(theta=moved).output, y, weight))

    here, dy = loss.value_and_grad(point.output, y, weight)
    return _task(value, point.theta, point.pull(dy)[1], float(here))


def _of_function(subject: Any, x: Array, jac: Function | None) -> _Task:
    """A function of a vector, with the gradient that it says it has."""
    x = as_array(x)
    require(x.ndim == 1, "x", "be a vector", x)
    backend_of(x)  # refuses integers
    objective = objective_of(subject, jac, x)
    has = hasattr(objective, "value_and_grad")
    do = "Or give jac=."
    require(has, "the function", "return a pair (value, gradient)", subject, do)
    value, grad = objective.value_and_grad(x)
    alone = getattr(objective, "value", lambda at: objective.value_and_grad(at)[0])
    shape = tuple(getattr(grad, "shape", ()))
    require(shape == tuple(x.shape), "the gradient", f"be of shape {tuple(x.shape)}", grad)
    return _task(lambda at: float(alone(at)), x, grad + 0.0, float(value))


def _task(value: Callable[[Array], float], x: Array, grad: Array, here: float) -> _Task:
    name = backend_of(x).dtype_name
    eps = float(np.finfo(name).eps)
    host = to_numpy(grad).astype(np.float64)
    return _Task(value, x, host, here, eps, relative_step(name), agreement(eps))


def _parameter(
    task: _Task, layout: Layout, entry: Entry, entries: int | None, rng: np.random.Generator
) -> ParameterCheck:
    """The check of one parameter, of all its entries or of a draw."""
    size = entry.stop - entry.start
    chosen = np.arange(size)
    if entries is not None and entries < size:
        chosen = np.sort(rng.choice(size, entries, replace=False))
    found = [_compare(task, entry.start + int(k)) for k in chosen]
    wrong = [one for one in found if one.error > task.tolerance and not one.kink]
    worst = max(wrong or found, key=lambda one: one.error)
    return ParameterCheck(
        name=entry.path,
        size=size,
        checked=len(found),
        error=worst.error,
        where=layout.where(worst.at),
        given=float(task.grad[worst.at]),
        numerical=worst.numerical,
        kink=worst.kink,
        n_kinks=sum(one.kink for one in found),
        n_wrong=len(wrong),
    )


def _compare(task: _Task, i: int) -> _Compared:
    """One entry beside its central difference, and beside both sides of it where they disagree."""
    given = float(task.grad[i])
    h = task.step * max(1.0, abs(float(task.x[i])))
    numerical = central_difference(task.value, task.x, i, h)
    noise = NOISE * task.eps * abs(task.here) / h
    gap = abs(given - numerical)
    size = max(abs(given), abs(numerical), noise / task.tolerance)
    error = gap / size if size > 0 else 0.0
    if not math.isfinite(gap):
        error = math.inf
    if error <= task.tolerance:
        return _Compared(i, numerical, error, kink=False)
    below, above = backward_forward_differences(task.value, task.x, i, h)
    near = sorted(backward_forward_differences(task.value, task.x, i, h / ZOOM))
    slack = task.tolerance * size + ZOOM * noise
    kink = abs(above - below) >= gap and near[0] - slack <= given <= near[1] + slack
    return _Compared(i, numerical, error, kink)
