"""Jacobians of a network's output, row by row: by reverse, forward or numerical mode."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from xpnet.backend import Array, namespace_of
from xpnet.derivatives.point import LARGEST, filled, point_of, require_room
from xpnet.errors import unknown_name
from xpnet.minimize.differences import displaced, relative_step

Mode: TypeAlias = Literal["reverse", "forward", "numerical"]
"""How a Jacobian is found: by rows, by columns, or by central differences."""

_ELSE = "Take fewer rows, or products with jvp and vjp."


def input_jacobian(
    model: Any,
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
    shape = (*point.output.shape, point.X.shape[1])
    require_room("the Jacobians", shape, point.backend, max_bytes, _ELSE)

    def row(k: int) -> Array:
        return point.pull(_column(point.output, k), need_dx=True)[0]

    def column(j: int) -> Array:
        return point.push(_column(point.X, j), None)[0]

    def slope(j: int) -> Array:
        unit, h = _column(point.X, j), relative_step(point.backend.dtype_name)
        step = h * point.backend.xp.maximum(abs(point.X), unit) * unit
        above, below = point.X + step, point.X - step
        width = above[:, j : j + 1] - below[:, j : j + 1]
        return (point.at(X=above).output - point.at(X=below).output) / width

    if mode == "reverse":
        return filled(shape, 1, row, point.backend)
    return filled(shape, 2, column if mode == "forward" else slope, point.backend)


def parameter_jacobian(
    model: Any,
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
    size = model.network.layout.size
    shape, zero = (*point.output.shape, size), point.backend.zeros(size)
    require_room("the Jacobians", shape, point.backend, max_bytes, _ELSE)

    def rows(i: int) -> Array:
        one = point.at(X=point.X[i : i + 1, :])
        return filled(shape[1:], 0, lambda k: one.pull(_column(one.output, k))[1], one.backend)

    def column(j: int) -> Array:
        return point.push(None, displaced(zero, j, 1.0)[0])[0]

    def slope(j: int) -> Array:
        h = relative_step(point.backend.dtype_name) * max(1.0, abs(float(point.theta[j])))
        (above, up), (below, down) = (displaced(point.theta, j, step) for step in (h, -h))
        return (point.at(theta=above).output - point.at(theta=below).output) / (up - down)

    if mode == "reverse":
        return filled(shape, 0, rows, point.backend)
    return filled(shape, 2, column if mode == "forward" else slope, point.backend)


def _check(mode: str) -> None:
    if mode not in get_args(Mode):
        raise unknown_name("mode", mode, get_args(Mode))


def _column(like: Array, k: int) -> Array:
    """1 in column ``k`` and else 0, in the shape of ``like``."""
    unit = namespace_of(like).zeros_like(like)
    unit[:, k] = 1.0
    return unit
