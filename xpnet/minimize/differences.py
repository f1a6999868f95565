"""Numerical derivatives by central differences, for functions that come without."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xpnet.backend import Array, backend_of, to_numpy
from xpnet.minimize.bounds import Box


def central_gradient(value: Callable[[Array], float], x: Array, box: Box | None = None) -> Array:
    """``∂f/∂x_i ≈ (f(x + h e_i) - f(x - h e_i)) / 2h`` with ``h = eps^(1/3) · max(1, |x_i|)``.

    The error is O(h²) = O(eps^(2/3)). Where a bound of the box is nearer than h, the one-sided
    ``(-3f(x) + 4f(x + h e_i) - f(x + 2h e_i)) / 2h`` of the same order looks inwards instead.

    Args:
        value: ``x → f(x)`` on the host; called 2n times.
        x: where, shape ``(n,)``.
        box: the bounds, or None.

    Returns:
        The gradient, shape ``(n,)``, on the backend of ``x``.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (8.7).

    >>> central_gradient(lambda x: float(x[0] ** 2 + 3 * x[1]), np.asarray([1.0, 2.0])).round(8)
    array([2., 3.])
    """
    backend = backend_of(x)
    host = to_numpy(x).astype(np.float64)
    width = _relative_step(backend.dtype_name) * np.maximum(1.0, np.abs(host))
    low, high = np.full_like(host, -np.inf), np.full_like(host, np.inf)
    if box is not None:
        low, high = to_numpy(box.lower), to_numpy(box.upper)
    slopes = []
    for i, (a, h) in enumerate(zip(host.tolist(), width.tolist(), strict=True)):
        if low[i] == high[i]:
            slopes.append(0.0)
        elif low[i] <= a - h and a + h <= high[i]:
            slopes.append(_central(value, x, i, h))
        else:
            inwards = h if high[i] - a > a - low[i] else -h
            slopes.append(_one_sided(value, x, i, inwards))
    return backend.asarray(slopes, dtype=x.dtype)


def central_product(
    grad: Callable[[Array], Array], x: Array, v: Array, largest: Callable[[Array], float]
) -> Array:
    """``∇²f(x) v ≈ (∇f(x + hv) - ∇f(x - hv)) / 2h`` with ``h = eps^(1/3) max(1, |x|) / |v|``.

    Args:
        grad: ``x → ∇f(x)``; called twice.
        x: where, shape ``(n,)``.
        v: the direction, shape ``(n,)``.
        largest: the norm ``max_i |x_i|``.

    Reference: Nocedal and Wright, eq. (8.20), made central.
    """
    length = largest(v)
    if length == 0.0:
        return v * 0.0
    h = _relative_step(backend_of(x).dtype_name) * max(1.0, largest(x)) / length
    return (grad(x + h * v) - grad(x - h * v)) / (2.0 * h)


def _relative_step(dtype_name: str) -> float:
    return math.cbrt(float(np.finfo(dtype_name).eps))


def _moved(x: Array, i: int, by: float) -> tuple[Array, float]:
    """``x + by · e_i``, and how far it moved: what was stored counts, for rounding changes it."""
    moved = x + 0.0
    moved[i] = float(x[i]) + by
    return moved, float(moved[i]) - float(x[i])


def _central(value: Callable[[Array], float], x: Array, i: int, h: float) -> float:
    (above, up), (below, down) = _moved(x, i, h), _moved(x, i, -h)
    return (value(above) - value(below)) / (up - down)


def _one_sided(value: Callable[[Array], float], x: Array, i: int, h: float) -> float:
    near, far = _moved(x, i, h)[0], _moved(x, i, 2.0 * h)[0]
    return (-3.0 * value(x) + 4.0 * value(near) - value(far)) / (2.0 * h)
