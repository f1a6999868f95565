"""Gradient checks by central differences, for networks and for functions of a vector."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast, overload

import numpy as np

from xpnet.backend import Array, HostArray, as_array, backend_of, copied, on_device_of, to_numpy
from xpnet.derivatives.check_products import DirectionalProducts
from xpnet.derivatives.linearization import linearize, require_model, targets
from xpnet.derivatives.report import REUSED, GradientReport, ParameterCheck
from xpnet.errors import require, require_count, require_number
from xpnet.losses import Loss
from xpnet.minimize.differences import (
    agreement,
    backward_forward_differences,
    central_difference,
    relative_step,
)
from xpnet.minimize.objective import Function, Objective, objective_of
from xpnet.network import Network
from xpnet.parameters import Entry, Layout
from xpnet.random import Rng, as_generator

ROUNDINGS = 10
"""The rounding error of a value that is allowed in a difference, in units of ``eps |f|``."""

KINK_ZOOM = 64
"""The factor by which the step is reduced to find a kink."""


class _CheckedFunction(NamedTuple):
    """A function at a point, and the gradient under test from each call that returned it."""

    value: Callable[[Array], float]
    x: Array
    gradients: dict[str, HostArray]
    here: float
    eps: float
    step: float
    tolerance: float


class _EntryCheck(NamedTuple):
    """The comparison of one entry of a gradient with its central difference."""

    at: int
    given: float
    numerical: float
    error: float
    kink: bool
    call: str


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


@on_device_of("subject")
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
    """Compare a gradient with central differences, entry by entry.

    The error of an entry is ``|g - n| / max(|g|, |n|, floor)``, where n is the difference with
    ``h = eps^(1/3) max(1, |x_i|)``, and the floor is where rounding of the value alone would exceed
    the tolerance. An entry that exceeds the tolerance is compared again with one-sided differences
    at a step that is 64 times smaller. A kink within the step (ReLU at 0, a margin) explains the
    error if the one-sided differences over ``h`` differ by at least the error, and at the smaller
    step the gradient lies between them.

    A network's gradient is computed three times: on newly allocated memory, and in a first and a
    later call on buffers that are reused, as training does. A layer that overwrites what it has
    saved, or shares buffers with a layer inside it, can be wrong on reused buffers alone.
    A function's gradient is computed twice. All results are compared.

    If the layers of a network have ``jvp`` and ``backward_jvp``, these are checked too, along one
    random direction; ``left_out`` of the report says which layer lacks them.

    Args:
        subject: a model, of which ``∂L/∂θ`` is checked *in float64*, whatever its dtype; or a
            function ``x → (value, gradient)``; or a function with ``jac``, or an object with
            ``value_and_grad(x)``.
        at: network inputs ``(m, n_in)``; or the vector ``x``, ``(n,)``.
        y: for a model: targets as the loss takes them.
        loss: for a model: the loss.
        weight: for a model: weights of the rows, ``(m,)``; ``None``: all 1.
        training: for a model: whether the pass is a training pass (default). Dropout uses the mask
            of ``seed``, and batch norm's running statistics are not updated.
        seed: for a model: the seed of the dropout masks.
        jac: for a function that returns the value alone: its gradient.
        layout: for a function: the layout of the parameters in ``x``.
        entries: the maximum number of entries to check for each parameter, drawn at random; default
            100, ``None`` for all. Each costs two values.
        tolerance: the relative error up to which an entry is correct; ``None`` for ``30 √eps``,
            which is 4.5e-7 in float64 and 0.01 in float32.
        rng: seed or generator of the draw.

    Returns:
        The `GradientReport`: print it, read ``ok``, or call ``raise_if_wrong()``.

    Raises:
        ArgumentError: if an argument is invalid; a wrong gradient raises nothing.

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
    products: DirectionalProducts | None = None
    if hasattr(subject, "network") or isinstance(subject, Network):
        require_model(subject, "the subject")
        require(loss is not None, "loss", "be given to check a model", loss)
        products = _products(subject, at, y, cast(Loss, loss), weight, training, seed)
        function, layout = _of_model(products), subject.network.layout
    else:
        function = _of_function(subject, at, jac)
        size = int(function.x.shape[0])
        layout = layout or Layout.of([("x", (size,), "weight")])
        rule = f"have {layout.size} numbers, as many as its layout"
        require(layout.size == size, "x", rule, function.x)
    function = function._replace(tolerance=tolerance or agreement(function.eps))
    stream = as_generator(rng)
    parts = [entry for entry in layout.entries if entry.stop > entry.start]
    checks = [_check_parameter(function, layout, entry, entries, stream) for entry in parts]
    found = ((), ()) if products is None else products.check(function.tolerance, stream)
    return GradientReport(tuple(checks), function.tolerance, *found)


def _products(
    model: Any, X: Array, y: Any, loss: Loss, weight: Array | None, training: bool, seed: int
) -> DirectionalProducts:
    """Return the network in float64 with validated targets."""
    linear = linearize(model, X, training=training, seed=seed, dtype="float64")
    return DirectionalProducts(linear, loss, *targets(linear, y, loss, weight))


def _of_model(rows: DirectionalProducts) -> _CheckedFunction:
    """Return the loss of a model as a function of θ, in float64."""
    linear, loss, y, weight = rows.linear, rows.loss, rows.y, rows.weight

    def value(theta: Array) -> float:
        return float(loss.value(linear.at(theta=theta).output, y, weight))

    here, dy = loss.value_and_grad(linear.output, y, weight)
    first, second = linear.gradients_on_reused_buffers(loss, y, weight)
    gradients = {
        "": linear.vjp(dy)[1],
        f"first call {REUSED}": first,
        f"second call {REUSED}": second,
    }
    return _checked(value, linear.theta, gradients, float(here))


def _of_function(subject: Any, x: Array, jac: Function | None) -> _CheckedFunction:
    """Return a function of a vector, with the gradient of two calls."""
    x = as_array(x, "x")
    require(x.ndim == 1, "x", "be a vector", x)
    backend_of(x)  # raises for integers
    objective = objective_of(subject, jac, x)
    has_gradient = hasattr(objective, "value_and_grad")
    do = "Or give jac=."
    require(has_gradient, "the function", "return a pair (value, gradient)", subject, do)
    value_alone = getattr(objective, "value", lambda at: objective.value_and_grad(at)[0])
    value, gradients = 0.0, {}
    for call in ("", "second call"):
        value, grad = objective.value_and_grad(x)
        shape = tuple(getattr(grad, "shape", ()))
        require(shape == tuple(x.shape), "the gradient", f"be of shape {tuple(x.shape)}", grad)
        gradients[call] = copied(grad)
    return _checked(lambda at: float(value_alone(at)), x, gradients, float(value))


def _checked(
    value: Callable[[Array], float], x: Array, gradients: dict[str, Array], here: float
) -> _CheckedFunction:
    name = backend_of(x).dtype_name
    eps = float(np.finfo(name).eps)
    host = {call: to_numpy(grad).astype(np.float64) for call, grad in gradients.items()}
    return _CheckedFunction(value, x, host, here, eps, relative_step(name), agreement(eps))


def _check_parameter(
    function: _CheckedFunction,
    layout: Layout,
    entry: Entry,
    entries: int | None,
    rng: np.random.Generator,
) -> ParameterCheck:
    """Check one parameter, in all its entries or in a random draw of them."""
    size = entry.stop - entry.start
    chosen = np.arange(size)
    if entries is not None and entries < size:
        chosen = np.sort(rng.choice(size, entries, replace=False))
    found = [_check_entry(function, entry.start + int(k)) for k in chosen]
    wrong = [one for one in found if one.error > function.tolerance and not one.kink]
    worst = max(wrong or found, key=lambda one: one.error)
    return ParameterCheck(
        name=entry.path,
        size=size,
        checked=len(found),
        error=worst.error,
        where=layout.where(worst.at),
        given=worst.given,
        numerical=worst.numerical,
        kink=worst.kink,
        n_kinks=sum(one.kink for one in found),
        n_wrong=len(wrong),
        call=worst.call,
    )


def _check_entry(function: _CheckedFunction, i: int) -> _EntryCheck:
    """Compare one entry of the gradient of each call, and return the first wrong comparison."""
    h = function.step * max(1.0, abs(float(function.x[i])))
    numerical = central_difference(function.value, function.x, i, h)
    first: _EntryCheck | None = None
    for call, gradient in function.gradients.items():
        given = float(gradient[i])
        if first is not None and given == first.given:
            continue
        found = _compare(function, i, h, numerical, given, call)
        if found.error > function.tolerance and not found.kink:
            return found
        first = first or found
    return cast(_EntryCheck, first)


def _compare(
    function: _CheckedFunction, i: int, h: float, numerical: float, given: float, call: str
) -> _EntryCheck:
    """Compare a gradient with a central difference, and with one-sided ones if they disagree."""
    noise = ROUNDINGS * function.eps * abs(function.here) / h
    gap = abs(given - numerical)
    size = max(abs(given), abs(numerical), noise / function.tolerance)
    error = gap / size if size > 0 else 0.0
    if not math.isfinite(gap):
        error = math.inf
    kink = False
    if error > function.tolerance:
        below, above = backward_forward_differences(function.value, function.x, i, h)
        near = sorted(backward_forward_differences(function.value, function.x, i, h / KINK_ZOOM))
        slack = function.tolerance * size + KINK_ZOOM * noise
        kink = abs(above - below) >= gap and near[0] - slack <= given <= near[1] + slack
    return _EntryCheck(i, given, numerical, error, kink, call)
