"""Central finite differences for gradients and Hessian-vector products."""

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

    The error is O(h²) = O(eps^(2/3)). Where a bound is nearer than h, the one-sided formula of the
    same order, ``(-3f(x) + 4f(x + h e_i) - f(x + 2h e_i)) / 2h``, is evaluated within the bounds.

    Args:
        value: ``x → f(x)`` on the host; called 2n times.
        x: the point, shape ``(n,)``.
        box: the bounds, or None.
        h: the step for all components; None for the formula above.

    Returns:
        The gradient, shape ``(n,)``, on the backend of ``x``.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (8.7).

    >>> central_gradient(lambda x: float(x[0] ** 2 + 3 * x[1]), np.asarray([1.0, 2.0])).round(8)
    array([2., 3.])
    """
    backend = backend_of(x)
    host = to_numpy(x).astype(np.float64)
    steps = relative_step(backend.dtype_name) * np.maximum(1.0, np.abs(host))
    if h is not None:
        steps = np.full_like(host, h)
    low, high = np.full_like(host, -np.inf), np.full_like(host, np.inf)
    if box is not None:
        low, high = to_numpy(box.lower), to_numpy(box.upper)
    grad = []
    for i, (a, step) in enumerate(zip(host.tolist(), steps.tolist(), strict=True)):
        if low[i] == high[i]:
            grad.append(0.0)
        elif low[i] <= a - step and a + step <= high[i]:
            grad.append(central_difference(value, x, i, step))
        else:
            inwards = step if high[i] - a > a - low[i] else -step
            grad.append(_one_sided_difference(value, x, i, inwards))
    return backend.asarray(grad, dtype=x.dtype)


def central_product(
    grad: Callable[[Array], Array], x: Array, v: Array, max_norm: Callable[[Array], float]
) -> Array:
    """``∇²f(x) v ≈ (∇f(x + hv) - ∇f(x - hv)) / 2h`` with ``h = eps^(1/3) max(1, |x|) / |v|``.

    Args:
        grad: ``x → ∇f(x)``; called twice.
        x: the point, shape ``(n,)``.
        v: the direction, shape ``(n,)``.
        max_norm: ``x → max_i |x_i|``.

    Returns:
        The product, shape ``(n,)``.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., eq. (8.20), made central.
    """
    length = max_norm(v)
    if length == 0.0:
        return v * 0.0
    h = relative_step(backend_of(x).dtype_name) * max(1.0, max_norm(x)) / length
    return (grad(x + h * v) - grad(x - h * v)) / (2.0 * h)


def relative_step(dtype_name: str) -> float:
    """Return ``eps^(1/3)``, the step of a central difference relative to ``max(1, |x|)``."""
    return math.cbrt(float(np.finfo(dtype_name).eps))


def agreement(eps: float) -> float:
    """Return ``30 √eps``, the relative error that central differences allow a correct gradient."""
    return 30 * math.sqrt(eps)


def displaced(x: Array, i: int, by: float) -> tuple[Array, float]:
    """Return ``x + by · e_i``, and the displacement after rounding ``x_i + by`` to the dtype."""
    moved = x + 0.0
    moved[i] = float(x[i]) + by
    return moved, float(moved[i]) - float(x[i])


def central_difference(value: Callable[[Array], float], x: Array, i: int, h: float) -> float:
    """Return ``(f(x + h e_i) - f(x - h e_i)) / 2h``."""
    (above, up), (below, down) = displaced(x, i, h), displaced(x, i, -h)
    return (value(above) - value(below)) / (up - down)


def backward_forward_differences(
    value: Callable[[Array], float], x: Array, i: int, h: float
) -> tuple[float, float]:
    """Return ``(f(x) - f(x - h e_i)) / h`` and ``(f(x + h e_i) - f(x)) / h``.

    The two differ at a kink.
    """
    (above, up), (below, down) = displaced(x, i, h), displaced(x, i, -h)
    here = value(x)
    return (value(below) - here) / down, (value(above) - here) / up


def _one_sided_difference(value: Callable[[Array], float], x: Array, i: int, h: float) -> float:
    near, far = displaced(x, i, h)[0], displaced(x, i, 2.0 * h)[0]
    return (-3.0 * value(x) + 4.0 * value(near) - value(far)) / (2.0 * h)
