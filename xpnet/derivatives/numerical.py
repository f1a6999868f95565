"""Numerical gradients of a function: central differences, and the complex step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet.backend import Array, Backend, as_array, backend_of, namespace_of, on_device_of
from xpnet.errors import require, require_number
from xpnet.minimize.differences import central_gradient


@on_device_of("x")
def numerical_gradient(fun: Callable[[Array], Any], x: Array, *, h: float | None = None) -> Array:
    """Return ``∂f/∂x_i ≈ (f(x + h e_i) - f(x - h e_i)) / 2h``, central differences.

    The truncation error is ``h² |f'''|/6`` and the rounding error about ``eps |f|/h``. The default
    ``h = eps^(1/3) max(1, |x_i|)`` balances the two and leaves about two thirds of the digits
    correct; a fixed ``h = 1e-8`` leaves half of them in float64.

    Args:
        fun: ``x → f(x)``, one real number; called twice for each element of ``x``.
        x: the point, a floating-point array of any shape and backend.
        h: the step for all elements, above 0; ``None`` (default) for the formula above.

    Returns:
        The gradient, in the shape and on the backend of ``x``.

    Raises:
        ArgumentError: if ``x``, ``h`` or the result of ``fun`` is invalid.

    Reference: J. Nocedal, S. Wright, Numerical Optimization, 2nd ed., equation 8.7.

    >>> import numpy as np
    >>> numerical_gradient(lambda x: x[0] ** 2 + 3 * x[1], np.array([1.0, 2.0])).round(8)
    array([2., 3.])
    """
    x, backend = _checked(fun, x, h)
    xp, shape = backend.xp, x.shape

    def value(flat: Array) -> float:
        return _number(fun(xp.reshape(flat, shape)))

    return xp.reshape(central_gradient(value, xp.reshape(x, (-1,)), h=h), shape)


@on_device_of("x")
def complex_step_gradient(fun: Callable[[Array], Any], x: Array, *, h: float = 1e-20) -> Array:
    """Return ``∂f/∂x_i ≈ Im f(x + i h e_i) / h``, which has no cancellation error.

    The error is ``h² |f'''|/6``, far below rounding. The function must be analytic and must carry
    complex numbers through: no ``abs``, ``maximum``, comparison, ``conj`` or cast to real numbers.
    These discard the imaginary part and with it the derivative; no error is raised unless the
    result is real.

    Args:
        fun: ``x → f(x)``, one complex number for complex ``x``; called once for each element.
        x: the point, a floating-point array of any shape and backend.
        h: the step, above 0; default 1e-20.

    Returns:
        The gradient, in the shape and on the backend of ``x``.

    Raises:
        ArgumentError: if ``x``, ``h`` or the result of ``fun`` is invalid.

    Reference: W. Squire, G. Trapp, "Using Complex Variables to Estimate Derivatives of Real
    Functions", SIAM Review 40, 1998.

    >>> import numpy as np
    >>> complex_step_gradient(lambda x: np.exp(x[0]) * x[1], np.array([0.0, 2.0]))
    array([2., 1.])
    """
    x, backend = _checked(fun, x, h)
    xp, shape = backend.xp, x.shape
    wide = xp.complex64 if backend.dtype_name == "float32" else xp.complex128
    start = xp.astype(xp.reshape(x, (-1,)), wide)
    grad = []
    for i in range(start.shape[0]):
        moved = start + 0.0
        moved[i] += complex(0.0, h)
        out = fun(xp.reshape(moved, shape))
        is_complex = isinstance(out, complex) or (
            hasattr(out, "dtype") and namespace_of(out).isdtype(out.dtype, "complex floating")
        )
        do = "It must be analytic: without abs, maximum, comparisons or a cast to real numbers."
        require(is_complex, "fun", "return a complex number for a complex x", out, do)
        require(getattr(out, "shape", ()) == (), "fun", "return one number", out)
        grad.append(complex(out).imag / h)
    return xp.reshape(backend.asarray(grad, dtype=x.dtype), shape)


def _checked(fun: Any, x: Array, h: float | None) -> tuple[Array, Backend]:
    require(callable(fun), "fun", "be a function of an array", fun)
    x = as_array(x, "x")
    real = namespace_of(x).isdtype(x.dtype, "real floating")
    require(real, "x", "hold floating-point numbers", x, "Write 1.0 for 1.")
    if h is not None:
        require_number(h, "h", above=0)
    return x, backend_of(x)


def _number(out: Any) -> float:
    require(tuple(getattr(out, "shape", ())) == (), "fun", "return one number", out)
    try:
        return float(out)
    except TypeError:
        require(False, "fun", "return one real number", out)
        raise
