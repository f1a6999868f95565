"""Jacobians of a network's output for each row, by reverse, forward or numerical mode."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from xpnet.backend import Array, namespace_of, on_device_of
from xpnet.derivatives.linearization import (
    MAX_BYTES,
    linearize,
    require_memory,
    require_tangents,
    stack_slices,
)
from xpnet.errors import unknown_name
from xpnet.minimize.differences import displaced, relative_step

Mode: TypeAlias = Literal["reverse", "forward", "numerical"]
"""How a Jacobian is computed: by rows, by columns, or by central differences."""

ALTERNATIVE = "Take fewer rows, or products with jvp and vjp."


@on_device_of("model")
def input_jacobian(
    model: Any,
    X: Array,
    mode: Mode = "reverse",
    *,
    theta: Array | None = None,
    max_bytes: int = MAX_BYTES,
) -> Array:
    """Return ``∂y/∂x = diag φ'(z^L) W^Lᵀ … diag φ'(z^1) W^1ᵀ`` for each row.

    The network is in evaluation mode. Reverse mode costs ``n_out`` backward passes, forward mode
    ``n_in`` forward passes, and numerical mode ``2 n_in`` evaluations with
    ``h = eps^(1/3) max(1, |x|)``; its error is about ``h²``.

    Args:
        model: the model.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        mode: ``"reverse"`` (default), ``"forward"`` or ``"numerical"``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        max_bytes: the maximum memory of the result; default 1 GiB.

    Returns:
        The Jacobians, ``(m, n_out, n_in)``.

    Raises:
        ArgumentError: if an argument is invalid, or the result is too large.

    >>> from xpnet import MLP
    >>> model = MLP(2, [], 1, dtype="float64")
    >>> model.theta = [2.0, -1.0, 0.5]
    >>> input_jacobian(model, [[3.0, 4.0]])
    array([[[ 2., -1.]]])
    """
    _require_mode(mode)
    linear = linearize(model, X, theta)
    if mode == "forward":
        require_tangents(model.network, "input_jacobian in forward mode", "jvp")
    shape = (*linear.output.shape, linear.X.shape[1])
    require_memory("the Jacobians", shape, linear.backend, max_bytes, ALTERNATIVE)

    def row(k: int) -> Array:
        return linear.vjp(_column(linear.output, k), need_dx=True)[0]

    def column(j: int) -> Array:
        return linear.jvp(_column(linear.X, j), None)[0]

    def difference(j: int) -> Array:
        unit, h = _column(linear.X, j), relative_step(linear.backend.dtype_name)
        step = h * linear.backend.xp.maximum(abs(linear.X), unit) * unit
        above, below = linear.X + step, linear.X - step
        width = above[:, j : j + 1] - below[:, j : j + 1]
        return (linear.at(X=above).output - linear.at(X=below).output) / width

    if mode == "reverse":
        return stack_slices(shape, 1, row, linear.backend)
    return stack_slices(shape, 2, column if mode == "forward" else difference, linear.backend)


@on_device_of("model")
def parameter_jacobian(
    model: Any,
    X: Array,
    mode: Mode = "reverse",
    *,
    theta: Array | None = None,
    max_bytes: int = MAX_BYTES,
) -> Array:
    """Return ``∂y/∂θ`` for each row: ``y_i(θ + v) ≈ y_i + J_i v``.

    The network is in evaluation mode. Reverse mode costs ``m n_out`` backward passes of one row,
    forward mode P forward passes, and numerical mode 2P evaluations with
    ``h = eps^(1/3) max(1, |θ|)``. The neural tangent kernel is ``J Jᵀ``.

    Args:
        model: the model.
        X: network inputs, ``(m, n_in)``; not preprocessed.
        mode: ``"reverse"`` (default), ``"forward"`` or ``"numerical"``.
        theta: parameters, ``(P,)``; ``None``: the model's own.
        max_bytes: the maximum memory of the result; default 1 GiB.

    Returns:
        The Jacobians, ``(m, n_out, P)``.

    Raises:
        ArgumentError: if an argument is invalid, or the result is too large.

    >>> from xpnet import MLP
    >>> parameter_jacobian(MLP(2, [], 1, dtype="float64"), [[3.0, 4.0]])
    array([[[3., 4., 1.]]])
    """
    _require_mode(mode)
    linear = linearize(model, X, theta)
    if mode == "forward":
        require_tangents(model.network, "parameter_jacobian in forward mode", "jvp")
    size = model.network.layout.size
    shape, zero = (*linear.output.shape, size), linear.backend.zeros(size)
    require_memory("the Jacobians", shape, linear.backend, max_bytes, ALTERNATIVE)

    def rows(i: int) -> Array:
        one = linear.at(X=linear.X[i : i + 1, :])
        return stack_slices(shape[1:], 0, lambda k: one.vjp(_column(one.output, k))[1], one.backend)

    def column(j: int) -> Array:
        return linear.jvp(None, displaced(zero, j, 1.0)[0])[0]

    def difference(j: int) -> Array:
        h = relative_step(linear.backend.dtype_name) * max(1.0, abs(float(linear.theta[j])))
        (above, up), (below, down) = (displaced(linear.theta, j, step) for step in (h, -h))
        return (linear.at(theta=above).output - linear.at(theta=below).output) / (up - down)

    if mode == "reverse":
        return stack_slices(shape, 0, rows, linear.backend)
    return stack_slices(shape, 2, column if mode == "forward" else difference, linear.backend)


def _require_mode(mode: str) -> None:
    if mode not in get_args(Mode):
        raise unknown_name("mode", mode, get_args(Mode))


def _column(like: Array, k: int) -> Array:
    """Return an array of the shape of ``like`` with 1 in column ``k`` and 0 elsewhere."""
    unit = namespace_of(like).zeros_like(like)
    unit[:, k] = 1.0
    return unit
