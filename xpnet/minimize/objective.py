"""The objective of a minimization, and the wrappers that make one of plain functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from xpnet.backend import Array
from xpnet.errors import describe, require

Function = Callable[[Array], Any]
"""A function of a vector: a value, a gradient, or a Hessian."""


@runtime_checkable
class Objective(Protocol):
    """A function of a vector with its gradient, such as a test function or a network's loss.

    Optional methods are ``hess(x) → (n, n)`` and ``hessp(x, v) → (n,)``, the Hessian and its
    product with a vector, and ``sweep(x, order) → x``, an exact minimization along each coordinate.
    """

    def value(self, x: Array) -> Any:
        """Return f(x), a number or a 0-d array."""

    def value_and_grad(self, x: Array) -> tuple[Any, Array]:
        """Return f(x) and ∇f(x), shape ``(n,)``. The next call may overwrite the array."""


class SeparateGradient:
    """The objective of two functions, the value and the gradient.

    Args:
        fun: ``x → f(x)``.
        jac: ``x → ∇f(x)``.
    """

    def __init__(self, fun: Function, jac: Function) -> None:
        self.value = fun
        self._jac = jac

    def value_and_grad(self, x: Array) -> tuple[Any, Array]:
        """Return f(x) and ∇f(x), by one call of each function."""
        return self.value(x), self._jac(x)


class JointGradient:
    """The objective of one function that returns the value and the gradient.

    Args:
        fun: ``x → (f(x), ∇f(x))``.
    """

    def __init__(self, fun: Function) -> None:
        self.value_and_grad = fun


class NoGradient:
    """The objective of a function without a gradient.

    Args:
        fun: ``x → f(x)``.
    """

    def __init__(self, fun: Function) -> None:
        self.value = fun


class FirstCallCached:
    """A function that was already called at ``x``; the next call at the same array reuses it.

    Args:
        fun: a function of a vector.
        x: the argument of the first call.
        out: the result of the first call.
    """

    def __init__(self, fun: Function, x: Array, out: Any) -> None:
        self._fun = fun
        self._cached: tuple[Array, Any] | None = (x, out)

    def __call__(self, x: Array) -> Any:
        """Return ``fun(x)``."""
        cached, self._cached = self._cached, None
        return cached[1] if cached is not None and x is cached[0] else self._fun(x)


class SameKind:
    """A function that returns a value, or a value and a gradient, as it did in an earlier run.

    Args:
        fun: a function of a vector.
        gradient: whether it returns a gradient as well.

    Raises:
        ArgumentError: from a call, if ``fun`` returns the other.
    """

    def __init__(self, fun: Function, *, gradient: bool) -> None:
        self._fun, self._gradient = fun, gradient

    def __call__(self, x: Array) -> Any:
        """Return ``fun(x)``."""
        out = self._fun(x)
        rule = f"return {'(value, gradient)' if self._gradient else 'a value'} as in the saved run"
        pair = isinstance(out, tuple) and len(out) == 2
        require(pair if self._gradient else not isinstance(out, tuple), "fun", rule, describe(out))
        return out


def objective_of(fun: Any, jac: Function | None, x0: Array, *, gradient: bool | None = None) -> Any:
    """Return the objective for the arguments ``fun`` and ``jac`` of a caller.

    Args:
        fun: an `Objective`, or a function that returns a value, or a function that returns the pair
            of value and gradient.
        jac: the gradient, if ``fun`` returns the value only.
        x0: the start, shape ``(n,)``. A function without ``jac`` is called there once to determine
            what it returns.
        gradient: whether a function without ``jac`` returns a gradient as well; it is not called
            then. Default ``None``.

    Raises:
        ArgumentError: if ``fun`` is not callable, or both it and ``jac`` give a gradient.
    """
    if isinstance(fun, Objective):
        require(jac is None, "jac", "be left out for an objective with value_and_grad", jac)
        return fun
    do = "Take fun.objective(X, y, loss)." if hasattr(fun, "objective") else ""
    require(callable(fun), "fun", "be a function of a vector or an Objective", fun, do)
    if jac is not None:
        require(callable(jac), "jac", "be a function of a vector", jac)
        return SeparateGradient(fun, jac)
    if gradient is not None:
        same = SameKind(fun, gradient=gradient)
        return JointGradient(same) if gradient else NoGradient(same)
    out = fun(x0)
    if isinstance(out, tuple):
        require(len(out) == 2, "fun", "return a value or (value, gradient)", describe(out))
        return JointGradient(FirstCallCached(fun, x0, out))
    return NoGradient(FirstCallCached(fun, x0, out))
