"""Numerical derivatives by central differences, for functions that come without."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xpnet.backend import Array, backend_of, to_numpy
from xpnet.minimize.bounds import Box


def central_gradient(
    value: Callable[[Array], float], x: Array, box: Box | None = None, h: float | None = None
) -> Array:
    """``∂f/∂x_i ≈ (f(x + h e_i) - f(x - h e_i)) / 2h`` with ``h = eps^(1/3) · max(1, |x_i|)``.

    The error is O(h²) = O(eps^(2/3)). Where a bound of the box is nearer than h, the one-sided
    ``(-3f(x) + 4f(x + h e_i) - f(x + 2h e_i)) / 2h`` of the same order looks inwards instead.

    Args:
        value: ``x → f(x)`` on the host; called 2n times.
        x: where, shape ``(n,)``.
        box: the bounds, or None.
        h: one step for all components instead; None for the one above.

    Returns:
        The gradient, shape ``(n,)``, on the backend of ``x``.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (8.7).

    >>> central_gradient(lambda x: float(x[0] ** 2 + 3 * x[1]), np.asarray([1.0, 2.0])).round(8)
    array([2., 3.])
    """
    backend = backend_of(x)
    host = to_numpy(x).astype(np.float64)
    width = relative_step(backend.dtype_name) * np.maximum(1.0, np.abs(host))
    if h is not None:
        width = np.full_like(host, h)
    low, high = np.full_like(host, -np.inf), np.full_like(host, np.inf)
    if box is not None:
        low, high = to_numpy(box.lower), to_numpy(box.upper)
    slopes = []
    for i, (a, step) in enumerate(zip(host.tolist(), width.tolist(), strict=True)):
        if low[i] == high[i]:
            slopes.append(0.0)
        elif low[i] <= a - step and a + step <= high[i]:
            slopes.append(central_slope(value, x, i, step))
        else:
            inwards = step if high[i] - a > a - low[i] else -step
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
    h = relative_step(backend_of(x).dtype_name) * max(1.0, largest(x)) / length
    return (grad(x + h * v) - grad(x - h * v)) / (2.0 * h)


def relative_step(dtype_name: str) -> float:
    """``eps^(1/3)`` of a dtype: the step, relative to ``max(1, |x|)``, of a central difference."""
    return math.cbrt(float(np.finfo(dtype_name).eps))


def agreement(eps: float) -> float:
    """``30 √eps``: how far, relatively, a right gradient may be from its central differences."""
    return 30 * math.sqrt(eps)


def nudged(x: Array, i: int, by: float) -> tuple[Array, float]:
    """``x + by · e_i``, and how far it moved: what was stored counts, for rounding changes it."""
    moved = x + 0.0
    moved[i] = float(x[i]) + by
    return moved, float(moved[i]) - float(x[i])


def central_slope(value: Callable[[Array], float], x: Array, i: int, h: float) -> float:
    """``(f(x + h e_i) - f(x - h e_i)) / 2h``."""
    (above, up), (below, down) = nudged(x, i, h), nudged(x, i, -h)
    return (value(above) - value(below)) / (up - down)


def side_slopes(value: Callable[[Array], float], x: Array, i: int, h: float) -> tuple[float, float]:
    """``(f(x) - f(x - h e_i)) / h`` and ``(f(x + h e_i) - f(x)) / h``: apart at a kink."""
    (above, up), (below, down) = nudged(x, i, h), nudged(x, i, -h)
    here = value(x)
    return (value(below) - here) / down, (value(above) - here) / up


def _one_sided(value: Callable[[Array], float], x: Array, i: int, h: float) -> float:
    near, far = nudged(x, i, h)[0], nudged(x, i, 2.0 * h)[0]
    return (-3.0 * value(x) + 4.0 * value(near) - value(far)) / (2.0 * h)
