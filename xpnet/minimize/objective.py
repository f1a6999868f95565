"""What can be minimized: anything with ``value`` and ``value_and_grad``; functions become that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from xpnet.backend import Array
from xpnet.errors import describe, require

Function = Callable[[Array], Any]
"""A function of a vector: a value, a gradient, or a Hessian."""


@runtime_checkable
class Objective(Protocol):
    """A function of a vector that knows its gradient: a test function, or a network over its data.

    It may also have ``hess(x) → (n, n)`` and ``hessp(x, v) → (n,)``, the Hessian and its product
    with a vector, and ``sweep(x, order) → x``, an exact minimization along coordinates.
    """

    def value(self, x: Array) -> Any:
        """f(x), a number or a 0-d array."""

    def value_and_grad(self, x: Array) -> tuple[Any, Array]:
        """f(x) and ∇f(x), shape ``(n,)``. The array may be reused by the next call."""


class WithGradient:
    """The objective of two functions, the value and the gradient.

    Args:
        fun: ``x → f(x)``.
        jac: ``x → ∇f(x)``.
    """

    def __init__(self, fun: Function, jac: Function) -> None:
        self.value = fun
        self._jac = jac

    def value_and_grad(self, x: Array) -> tuple[Any, Array]:
        """f(x) and ∇f(x), by one call of each function."""
        return self.value(x), self._jac(x)


class Together:
    """The objective of one function that returns the value and the gradient together.

    Args:
        fun: ``x → (f(x), ∇f(x))``.
    """

    def __init__(self, fun: Function) -> None:
        self.value_and_grad = fun


class ValueOnly:
    """The objective of a function without a gradient.

    Args:
        fun: ``x → f(x)``.
    """

    def __init__(self, fun: Function) -> None:
        self.value = fun


class Known:
    """A function that was called once already, not to call it twice for the same array.

    Args:
        fun: a function of a vector.
        x: where it was called.
        out: what it gave.
    """

    def __init__(self, fun: Function, x: Array, out: Any) -> None:
        self._fun = fun
        self._known: tuple[Array, Any] | None = (x, out)

    def __call__(self, x: Array) -> Any:
        """What the function gives for ``x``."""
        known, self._known = self._known, None
        return known[1] if known is not None and x is known[0] else self._fun(x)


def objective_of(fun: Any, jac: Function | None, x0: Array) -> Any:
    """The objective that a caller's ``fun`` and ``jac`` mean.

    Args:
        fun: an `Objective`, or a function that returns a value, or one that returns a pair of value
            and gradient.
        jac: the gradient, where ``fun`` returns the value only.
        x0: a start, shape ``(n,)``: a plain function is called there once to see what it returns.

    Raises:
        ArgumentError: if ``fun`` is not callable, or gives a gradient and ``jac`` does too.
    """
    if isinstance(fun, Objective):
        require(jac is None, "jac", "be left out for an objective with value_and_grad", jac)
        return fun
    do = "Take fun.objective(X, y, loss)." if hasattr(fun, "objective") else ""
    require(callable(fun), "fun", "be a function of a vector or an Objective", fun, do)
    if jac is not None:
        require(callable(jac), "jac", "be a function of a vector", jac)
        return WithGradient(fun, jac)
    out = fun(x0)
    if isinstance(out, tuple):
        require(len(out) == 2, "fun", "return a value or (value, gradient)", describe(out))
        return Together(Known(fun, x0, out))
    return ValueOnly(Known(fun, x0, out))
