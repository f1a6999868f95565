"""Jacobians of a network's output, row by row: by reverse, forward or numerical mode."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from xpnet.backend import Array
from xpnet.derivatives.point import LARGEST, Point, each, point_of, require_room
from xpnet.errors import unknown_name
from xpnet.minimize.differences import relative_step
from xpnet.training.step import Model

Mode: TypeAlias = Literal["reverse", "forward", "numerical"]
"""How a Jacobian is found: by rows, by columns, or by central differences."""


def input_jacobian(
    model: Model,
    X: Array,
    mode: Mode = "reverse",
    *,
    theta: Array | None = None,
    max_bytes: int = LARGEST,
) -> Array:
    """``∂y/∂x = diag φ'(z^L) W^Lᵀ … diag φ'(z^1) W^1ᵀ`` of each row, as the network predicts.

    Reverse mode costs ``n_out`` backward passes, forward mode ``n_in`` forward ones, and numerical
    mode ``2 n_in`` evaluations with ``h = eps^(1/3) max(1, |x|)``: its error is about ``h²``.

    Args:
        model: the network.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        mode: ``"reverse"`` (default), ``"forward"`` or ``"numerical"``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        max_bytes: the memory that the result may take; default 1 GiB.

    Returns:
        The Jacobians, ``(m, n_out, n_in)``.

    Raises:
        ArgumentError: if an argument is not what it must be, or the result is too large.

    >>> from xpnet import MLP
    >>> model = MLP(2, [], 1, dtype="float64")
    >>> model.theta = [2.0, -1.0, 0.5]
    >>> input_jacobian(model, [[3.0, 4.0]])
    array([[[ 2., -1.]]])
    """
    _check(mode)
    point = point_of(model, X, theta)
    xp, backend = point.backend.xp, point.backend
    (m, n_in), n_out = point.X.shape, point.output.shape[1]
    do = "Take fewer rows, or products with jvp and vjp."
    require_room("the Jacobians", (m, n_out, n_in), backend, max_bytes, do)
    if mode == "reverse":
        return each(
            n_out, lambda k: point.pull(_column(point.output, k), need_dx=True)[0], backend, 1
        )
    if mode == "forward":
        return each(n_in, lambda j: point.push(_column(point.X, j), None)[0], backend, 2)

    def slope(j: int) -> Array:
        size = xp.maximum(xp.abs(point.X[:, j : j + 1]), xp.ones_like(point.X[:, :1]))
        step = _column(point.X, j) * (relative_step(backend.dtype_name) * size)
        above, below = point.X + step, point.X - step
        width = above[:, j : j + 1] - below[:, j : j + 1]
        at = [point_of(model, x, theta).output for x in (above, below)]
        return (at[0] - at[1]) / width

    return each(n_in, slope, backend, 2)


def parameter_jacobian(
    model: Model,
    X: Array,
    mode: Mode = "reverse",
    *,
    theta: Array | None = None,
    max_bytes: int = LARGEST,
) -> Array:
    """``∂y/∂θ`` of each row, as the network predicts: ``y_i(θ + v) ≈ y_i + J_i v``.

    Reverse mode costs ``m n_out`` backward passes of one row, forward mode P forward passes, and
    numerical mode 2P evaluations with ``h = eps^(1/3) max(1, |θ|)``. The tangent kernel of the
    network is ``J Jᵀ``.

    Args:
        model: the network.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        mode: ``"reverse"`` (default), ``"forward"`` or ``"numerical"``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        max_bytes: the memory that the result may take; default 1 GiB.

    Returns:
        The Jacobians, ``(m, n_out, P)``.

    Raises:
        ArgumentError: if an argument is not what it must be, or the result is too large.

    >>> from xpnet import MLP
    >>> parameter_jacobian(MLP(2, [], 1, dtype="float64"), [[3.0, 4.0]])
    array([[[3., 4., 1.]]])
    """
    _check(mode)
    point = point_of(model, X, theta)
    backend, size = point.backend, model.network.layout.size
    (m, n_out) = point.output.shape
    do = "Take fewer rows, or products with jvp and vjp."
    require_room("the Jacobians", (m, n_out, size), backend, max_bytes, do)
    if mode == "reverse":
        return each(
            m, lambda i: _gradients(point_of(model, point.X[i : i + 1, :], theta)), backend, 0
        )
    at = backend.asarray(model.theta if theta is None else theta, backend.dtype)
    zero = backend.zeros(size)
    if mode == "forward":
        return each(size, lambda j: point.push(None, _moved(zero, j, 1.0))[0], backend, 2)

    def slope(j: int) -> Array:
        h = relative_step(backend.dtype_name) * max(1.0, abs(float(at[j])))
        above, below = _moved(at, j, h), _moved(at, j, -h)
        ends = [point_of(model, point.X, x).output for x in (above, below)]
        return (ends[0] - ends[1]) / (float(above[j]) - float(below[j]))

    return each(size, slope, backend, 2)


def _check(mode: str) -> None:
    if mode not in get_args(Mode):
        raise unknown_name("mode", mode, get_args(Mode))


def _gradients(point: Point) -> Array:
    """The gradient of each output of a point with one row, ``(n_out, P)``."""
    n_out = point.output.shape[1]
    return each(n_out, lambda k: point.pull(_column(point.output, k))[1], point.backend, 0)


def _column(like: Array, k: int) -> Array:
    """1 in column ``k`` and else 0, in the shape of ``like``."""
    unit = like * 0.0
    unit[:, k] = 1.0
    return unit


def _moved(x: Array, i: int, by: float) -> Array:
    """``x + by · e_i``."""
    moved = x + 0.0
    moved[i] += by
    return moved
