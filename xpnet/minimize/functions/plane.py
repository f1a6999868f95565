"""Test functions of two variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array, namespace_of
from xpnet.minimize.functions.base import Coordinates, TestFunction, symmetric


@dataclass(frozen=True)
class Bowl(TestFunction):
    """``f(x, y) = x²/20 + y²``: an elongated valley, in which gradient descent zigzags.

    An ill-conditioned quadratic that is common in illustrations of first-order optimizers.

    >>> import numpy as np
    >>> float(Bowl()(np.asarray([2.0, 1.0])))
    1.2
    """

    minima: ClassVar[tuple[Coordinates, ...]] = ((0.0, 0.0),)
    starts: ClassVar[tuple[Coordinates, ...]] = ((-7.0, 2.0), (5.0, -3.0), (10.0, 10.0))
    window: ClassVar[tuple[Coordinates, Coordinates]] = ((-10.0, 10.0), (-5.0, 5.0))

    def value(self, x: Array) -> Array:
        """Return f(x), a 0-d array."""
        return x[0] * x[0] / 20.0 + x[1] * x[1]

    def grad(self, x: Array) -> Array:
        """Return ``(x/10, 2y)``."""
        return namespace_of(x).stack([x[0] / 10.0, 2.0 * x[1]])

    def hess(self, x: Array) -> Array:
        """Return ``diag(1/10, 2)``."""
        zero = 0.0 * x[0]
        return symmetric(zero + 0.1, zero, zero + 2.0)


@dataclass(frozen=True)
class Booth(TestFunction):
    """``f(x, y) = (x + 2y - 7)² + (2x + y - 5)²``: a quadratic with rotated axes.

    >>> import numpy as np
    >>> float(Booth()(np.asarray([1.0, 3.0])))
    0.0
    """

    minima: ClassVar[tuple[Coordinates, ...]] = ((1.0, 3.0),)
    starts: ClassVar[tuple[Coordinates, ...]] = ((0.0, 0.0), (-8.0, 6.0), (9.0, -9.0))
    window: ClassVar[tuple[Coordinates, Coordinates]] = ((-10.0, 10.0), (-10.0, 10.0))

    def value(self, x: Array) -> Array:
        """Return f(x), a 0-d array."""
        a, b = x[0] + 2.0 * x[1] - 7.0, 2.0 * x[0] + x[1] - 5.0
        return a * a + b * b

    def grad(self, x: Array) -> Array:
        """Return ``(2a + 4b, 4a + 2b)`` with a and b the two parenthesized terms."""
        a, b = x[0] + 2.0 * x[1] - 7.0, 2.0 * x[0] + x[1] - 5.0
        return namespace_of(x).stack([2.0 * a + 4.0 * b, 4.0 * a + 2.0 * b])

    def hess(self, x: Array) -> Array:
        """Return ``[[10, 8], [8, 10]]``."""
        zero = 0.0 * x[0]
        return symmetric(zero + 10.0, zero + 8.0, zero + 10.0)


@dataclass(frozen=True)
class Beale(TestFunction):
    """``f(x, y) = Σ_i (c_i - x + x y^i)²``, i = 1, 2, 3, ``c = (1.5, 2.25, 2.625)``.

    A curved valley with flat surroundings.

    Reference: Moré, Garbow and Hillstrom, ACM TOMS 7 (1981) 17, problem 5.

    >>> import numpy as np
    >>> float(Beale()(np.asarray([3.0, 0.5])))
    0.0
    """

    minima: ClassVar[tuple[Coordinates, ...]] = ((3.0, 0.5),)
    starts: ClassVar[tuple[Coordinates, ...]] = ((1.0, 1.0), (0.0, 0.0), (2.0, -1.0))
    window: ClassVar[tuple[Coordinates, Coordinates]] = ((-4.5, 4.5), (-4.5, 4.5))
    constants: ClassVar[Coordinates] = (1.5, 2.25, 2.625)

    def value(self, x: Array) -> Array:
        """Return f(x), a 0-d array."""
        return sum(r * r for r, _, _ in self._terms(x))

    def grad(self, x: Array) -> Array:
        """Return ``2 Σ r_i (y^i - 1, i x y^(i-1))`` with the residuals r."""
        terms = list(self._terms(x))
        return namespace_of(x).stack(
            [2.0 * sum(r * u for r, u, _ in terms), 2.0 * sum(r * v for r, _, v in terms)]
        )

    def hess(self, x: Array) -> Array:
        """Return ``2 Σ (∇r ∇rᵀ + r ∇²r)``."""
        a, b, c = 0.0, 0.0, 0.0
        for i, (r, u, v) in enumerate(self._terms(x), start=1):
            a = a + 2.0 * u * u
            b = b + 2.0 * (u * v + r * i * x[1] ** (i - 1))
            c = c + 2.0 * (v * v + (r * i * (i - 1) * x[0] * x[1] ** (i - 2) if i > 1 else 0.0))
        return symmetric(a, b, c)

    def _terms(self, x: Array) -> list[tuple[Array, Array, Array]]:
        """Return the residuals ``r_i`` and their derivatives with respect to x and y."""
        return [
            (c - x[0] + x[0] * x[1] ** i, x[1] ** i - 1.0, i * x[0] * x[1] ** (i - 1))
            for i, c in enumerate(self.constants, start=1)
        ]


@dataclass(frozen=True)
class Himmelblau(TestFunction):
    """``f(x, y) = (x² + y - 11)² + (x + y² - 7)²``: four minima of value 0.

    There are saddle points between them.

    Reference: Himmelblau, Applied Nonlinear Programming (1972).

    >>> import numpy as np
    >>> float(Himmelblau()(np.asarray([3.0, 2.0])))
    0.0
    """

    minima: ClassVar[tuple[Coordinates, ...]] = (
        (3.0, 2.0),
        (-2.805118086952745, 3.131312518250573),
        (-3.779310253377747, -3.283185991286170),
        (3.584428340330492, -1.848126526964404),
    )
    starts: ClassVar[tuple[Coordinates, ...]] = ((0.0, 0.0), (-4.0, 4.0), (4.0, -4.0), (-3.0, -3.0))

    def value(self, x: Array) -> Array:
        """Return f(x), a 0-d array."""
        a, b = x[0] * x[0] + x[1] - 11.0, x[0] + x[1] * x[1] - 7.0
        return a * a + b * b

    def grad(self, x: Array) -> Array:
        """Return ``(4xa + 2b, 2a + 4yb)`` with a and b the two parenthesized terms."""
        a, b = x[0] * x[0] + x[1] - 11.0, x[0] + x[1] * x[1] - 7.0
        return namespace_of(x).stack([4.0 * x[0] * a + 2.0 * b, 2.0 * a + 4.0 * x[1] * b])

    def hess(self, x: Array) -> Array:
        """Return ``[[12x² + 4y - 42, 4(x + y)], [4(x + y), 12y² + 4x - 26]]``."""
        return symmetric(
            12.0 * x[0] * x[0] + 4.0 * x[1] - 42.0,
            4.0 * (x[0] + x[1]),
            12.0 * x[1] * x[1] + 4.0 * x[0] - 26.0,
        )
