"""Test functions of any number of variables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xpnet.backend import Array, backend_of, namespace_of
from xpnet.errors import require, require_count, require_number
from xpnet.minimize.functions.base import Coordinates, TestFunction, diagonal


@dataclass(frozen=True)
class Rosenbrock(TestFunction):
    """``f(x) = Σ_i 100 (x_(i+1) - x_i²)² + (1 - x_i)²``: a curved, narrow valley.

    Args:
        n: the number of variables, at least 2.

    Reference: Rosenbrock, Computer J. 3 (1960) 175.

    >>> float(Rosenbrock()(np.asarray([-1.2, 1.0])))
    24.199999999999996
    """

    n: int = 2

    window: ClassVar[tuple[Coordinates, Coordinates]] = ((-2.0, 2.0), (-1.0, 3.0))

    def __post_init__(self) -> None:
        require_count(self.n, "n", low=2)

    @property
    def minima(self) -> tuple[Coordinates, ...]:
        """All ones. From n = 4 there is also a local minimum near (-1, 1, …, 1)."""
        return ((1.0,) * self.n,)

    @property
    def starts(self) -> tuple[Coordinates, ...]:
        """``(-1.2, 1, -1.2, 1, …)``, the origin, and all twos."""
        classical = tuple(-1.2 if i % 2 == 0 else 1.0 for i in range(self.n))
        return classical, (0.0,) * self.n, (2.0,) * self.n

    def value(self, x: Array) -> Array:
        """Return f(x), a 0-d array."""
        residual, gap = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
        return 100.0 * (residual @ residual) + gap @ gap

    def grad(self, x: Array) -> Array:
        """Return ∇f(x), shape ``(n,)``."""
        residual = x[1:] - x[:-1] ** 2
        out = 0.0 * x
        out[:-1] = -400.0 * x[:-1] * residual - 2.0 * (1.0 - x[:-1])
        out[1:] += 200.0 * residual
        return out

    def hess(self, x: Array) -> Array:
        """Return ∇²f(x), tridiagonal."""
        entries, off_diagonal = 0.0 * x, 0.0 * x
        entries[:-1] = 1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0
        entries[1:] += 200.0
        off_diagonal[:-1] = -400.0 * x[:-1]
        backend = backend_of(x)
        shifted = backend.xp.eye(self.n, k=1, dtype=x.dtype, device=backend.device)
        upper = off_diagonal[:, None] * shifted
        return diagonal(entries) + upper + backend.xp.matrix_transpose(upper)


@dataclass(frozen=True)
class Rastrigin(TestFunction):
    """``f(x) = Σ_i 10 + x_i² - 10 cos 2πx_i``: a local minimum near every integer point.

    The global minimum is at 0.

    Args:
        n: the number of variables, at least 1.

    Reference: Rastrigin, Systems of extremal control (1974).

    >>> float(Rastrigin()(np.zeros(2)))
    0.0
    """

    n: int = 2

    def __post_init__(self) -> None:
        require_count(self.n, "n")

    @property
    def minima(self) -> tuple[Coordinates, ...]:
        """The origin, the global minimizer."""
        return ((0.0,) * self.n,)

    @property
    def starts(self) -> tuple[Coordinates, ...]:
        """Points in the basin of the origin."""
        return (0.2,) * self.n, (-0.1,) * self.n

    def value(self, x: Array) -> Array:
        """Return f(x), a 0-d array."""
        xp = namespace_of(x)
        # 1 - cos 2t = 2 sin² t avoids the cancellation of 10 - 10 cos near the minimum.
        sine = xp.sin(math.pi * x)
        return x @ x + 20.0 * (sine @ sine)

    def grad(self, x: Array) -> Array:
        """Return ``2x + 20π sin 2πx``."""
        return 2.0 * x + 20.0 * math.pi * namespace_of(x).sin(2.0 * math.pi * x)

    def hess(self, x: Array) -> Array:
        """Return ``diag(2 + 40π² cos 2πx)``."""
        return diagonal(2.0 + 40.0 * math.pi**2 * namespace_of(x).cos(2.0 * math.pi * x))


@dataclass(frozen=True)
class Powell(TestFunction):
    """``f(a, b, c, d) = (a + 10b)² + 5(c - d)² + (b - 2c)⁴ + 10(a - d)⁴``, summed over blocks of 4.

    Powell's singular function. The Hessian at the minimum is singular, so Newton's method converges
    only linearly, and at a gradient of 1e-8 the error of x is about 1e-3.

    Args:
        n: the number of variables, a multiple of 4.

    Reference: Powell, Computer J. 5 (1962) 147; Moré, Garbow and Hillstrom, problem 13.

    >>> float(Powell()(np.asarray([3.0, -1.0, 0.0, 1.0])))
    215.0
    """

    n: int = 4

    def __post_init__(self) -> None:
        require_count(self.n, "n", low=4)
        require(self.n % 4 == 0, "n", "be a multiple of 4", self.n)

    @property
    def minima(self) -> tuple[Coordinates, ...]:
        """The origin."""
        return ((0.0,) * self.n,)

    @property
    def starts(self) -> tuple[Coordinates, ...]:
        """``(3, -1, 0, 1, …)`` and all ones."""
        return (3.0, -1.0, 0.0, 1.0) * (self.n // 4), (1.0,) * self.n

    def value(self, x: Array) -> Array:
        """Return f(x), a 0-d array."""
        p, q, r, s = self._terms(x)
        return p @ p + 5.0 * (q @ q) + (r * r) @ (r * r) + 10.0 * ((s * s) @ (s * s))

    def grad(self, x: Array) -> Array:
        """Return ∇f(x), shape ``(n,)``."""
        p, q, r, s = self._terms(x)
        r3, s3 = 4.0 * r**3, 40.0 * s**3
        xp = namespace_of(x)
        rows = [2.0 * p + s3, 20.0 * p + r3, 10.0 * q - 2.0 * r3, -10.0 * q - s3]
        return xp.reshape(xp.stack(rows, axis=1), (self.n,))

    def hess(self, x: Array) -> Array:
        """Return ∇²f(x), block diagonal, ``Σ φ''(t) ∇t ∇tᵀ`` over the four terms t."""
        _, _, r, s = self._terms(x)
        backend = backend_of(x)
        out = backend.zeros(self.n, self.n, dtype=x.dtype)
        gradients = (
            (1.0, 10.0, 0.0, 0.0),
            (0.0, 0.0, 1.0, -1.0),
            (0.0, 1.0, -2.0, 0.0),
            (1.0, 0.0, 0.0, -1.0),
        )
        curvatures = (2.0 + 0.0 * r, 10.0 + 0.0 * r, 12.0 * r**2, 120.0 * s**2)
        for gradient, curvature in zip(gradients, curvatures, strict=True):
            t = backend.asarray(gradient, dtype=x.dtype)
            for k in range(self.n // 4):
                block = slice(4 * k, 4 * k + 4)
                out[block, block] += curvature[k] * t[:, None] * t[None, :]
        return out

    @staticmethod
    def _terms(x: Array) -> tuple[Array, Array, Array, Array]:
        """Return the four terms, each of shape ``(n/4,)``."""
        a, b, c, d = x[0::4], x[1::4], x[2::4], x[3::4]
        return a + 10.0 * b, c - d, b - 2.0 * c, a - d


@dataclass(frozen=True)
class StyblinskiTang(TestFunction):
    """``f(x) = ½ Σ_i x_i⁴ - 16x_i² + 5x_i``: two minima in every variable, one of them global.

    Args:
        n: the number of variables, at least 1.

    Reference: Styblinski and Tang, Neural Networks 3 (1990) 467.

    >>> f = StyblinskiTang()
    >>> abs(float(f(np.asarray(f.minima[0]))) - f.least) < 1e-12
    True
    """

    n: int = 2

    deepest: ClassVar[float] = -2.903534027771177

    def __post_init__(self) -> None:
        require_count(self.n, "n")

    @property
    def minima(self) -> tuple[Coordinates, ...]:
        """The global minimizer in every variable."""
        return ((self.deepest,) * self.n,)

    @property
    def least(self) -> float:  # type: ignore[override]
        """About -39.166 per variable."""
        x = self.deepest
        return 0.5 * self.n * (x**4 - 16.0 * x**2 + 5.0 * x)

    @property
    def starts(self) -> tuple[Coordinates, ...]:
        """Points in the basin of the global minimum."""
        return (-1.0,) * self.n, (-4.0,) * self.n, (0.0,) * self.n

    def value(self, x: Array) -> Array:
        """Return f(x), a 0-d array."""
        square = x * x
        return 0.5 * (square @ square - 16.0 * (x @ x) + 5.0 * namespace_of(x).sum(x))

    def grad(self, x: Array) -> Array:
        """Return ``2x³ - 16x + 5/2``."""
        return 2.0 * x**3 - 16.0 * x + 2.5

    def hess(self, x: Array) -> Array:
        """Return ``diag(6x² - 16)``."""
        return diagonal(6.0 * x**2 - 16.0)


@dataclass(frozen=True)
class IllConditioned(TestFunction):
    """``f(x) = ½ Σ_i λ_i (x_i - 1)²``, λ geometrically spaced from 1 to ``condition``.

    Args:
        n: the number of variables, at least 2.
        condition: the condition number of the Hessian, at least 1.

    >>> float(IllConditioned(n=3, condition=100.0)(np.zeros(3)))
    55.5
    """

    n: int = 10
    condition: float = 1e4

    def __post_init__(self) -> None:
        require_count(self.n, "n", low=2)
        require_number(self.condition, "condition", low=1)

    @property
    def minima(self) -> tuple[Coordinates, ...]:
        """All ones."""
        return ((1.0,) * self.n,)

    @property
    def starts(self) -> tuple[Coordinates, ...]:
        """The origin, and a point with components of both signs."""
        return (0.0,) * self.n, tuple((-2.0) ** (i % 3) for i in range(self.n))

    def value(self, x: Array) -> Array:
        """Return f(x), a 0-d array."""
        gap = x - 1.0
        return 0.5 * ((self._curvatures(x) * gap) @ gap)

    def grad(self, x: Array) -> Array:
        """Return ``λ (x - 1)``."""
        return self._curvatures(x) * (x - 1.0)

    def hess(self, x: Array) -> Array:
        """Return ``diag λ``."""
        return diagonal(self._curvatures(x))

    def hessp(self, x: Array, v: Array) -> Array:
        """Return ``λ v``."""
        return self._curvatures(x) * v

    def _curvatures(self, x: Array) -> Array:
        """Return λ on the backend of ``x``."""
        host = self.condition ** np.linspace(0.0, 1.0, self.n)
        return backend_of(x).asarray(host, dtype=x.dtype)
