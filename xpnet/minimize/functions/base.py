"""What every test function is: its value, gradient and Hessian, its minima and where to start."""

from __future__ import annotations

from typing import ClassVar

from xpnet.backend import Array

Coordinates = tuple[float, ...]


class TestFunction:
    """The base of the test functions, which are objectives for `minimize`.

    Attributes:
        least: the value at the minima.
        window: ``((x_low, x_high), (y_low, y_high))``, what a picture in two variables shows.
    """

    __test__: ClassVar[bool] = False  # not a test case, whatever its name makes pytest think

    least: float = 0.0
    window: ClassVar[tuple[Coordinates, Coordinates]] = ((-5.0, 5.0), (-5.0, 5.0))

    @property
    def minima(self) -> tuple[Coordinates, ...]:
        """The known points of least value."""
        raise NotImplementedError

    @property
    def starts(self) -> tuple[Coordinates, ...]:
        """Customary starting points, the classical one first."""
        raise NotImplementedError

    def value(self, x: Array) -> Array:
        """f(x), a 0-d array, for x of shape ``(n,)``."""
        raise NotImplementedError

    def grad(self, x: Array) -> Array:
        """∇f(x), shape ``(n,)``."""
        raise NotImplementedError

    def hess(self, x: Array) -> Array:
        """∇²f(x), shape ``(n, n)``."""
        raise NotImplementedError

    def value_and_grad(self, x: Array) -> tuple[Array, Array]:
        """f(x) and ∇f(x)."""
        return self.value(x), self.grad(x)

    def hessp(self, x: Array, v: Array) -> Array:
        """∇²f(x) v, shape ``(n,)``."""
        return self.hess(x) @ v

    def __call__(self, x: Array) -> Array:
        """f(x), a 0-d array."""
        return self.value(x)
