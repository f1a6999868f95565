"""The base of the test functions: value, gradient, Hessian, minima and starts."""

from __future__ import annotations

from typing import ClassVar

from xpnet.backend import Array, backend_of

Coordinates = tuple[float, ...]


class TestFunction:
    """The base of the test functions, which are objectives for `minimize`.

    Attributes:
        least: the value at the minima; default 0.
        window: ``((x_low, x_high), (y_low, y_high))``, the default window of a plot.
    """

    __test__: ClassVar[bool] = False  # pytest would collect it by its name

    least: float = 0.0
    window: ClassVar[tuple[Coordinates, Coordinates]] = ((-5.0, 5.0), (-5.0, 5.0))

    @property
    def minima(self) -> tuple[Coordinates, ...]:
        """The known global minimizers."""
        raise NotImplementedError

    @property
    def starts(self) -> tuple[Coordinates, ...]:
        """Starting points, the classical one first."""
        raise NotImplementedError

    def value(self, x: Array) -> Array:
        """Return f(x), a 0-d array, for x of shape ``(n,)``."""
        raise NotImplementedError

    def grad(self, x: Array) -> Array:
        """Return ∇f(x), shape ``(n,)``."""
        raise NotImplementedError

    def hess(self, x: Array) -> Array:
        """Return ∇²f(x), shape ``(n, n)``."""
        raise NotImplementedError

    def value_and_grad(self, x: Array) -> tuple[Array, Array]:
        """Return f(x) and ∇f(x)."""
        return self.value(x), self.grad(x)

    def hessp(self, x: Array, v: Array) -> Array:
        """Return ∇²f(x) v, shape ``(n,)``."""
        return self.hess(x) @ v

    def __call__(self, x: Array) -> Array:
        """Return f(x), a 0-d array."""
        return self.value(x)


def symmetric(a: Array, b: Array, c: Array) -> Array:
    """Return the matrix ``[[a, b], [b, c]]`` of three 0-d arrays."""
    xp = backend_of(a).xp
    return xp.reshape(xp.stack([a, b, b, c]), (2, 2))


def diagonal(entries: Array) -> Array:
    """Return the diagonal matrix of ``entries``, shape ``(n,)``."""
    backend = backend_of(entries)
    n = int(entries.shape[0])
    return entries[:, None] * backend.xp.eye(n, dtype=entries.dtype, device=backend.device)
