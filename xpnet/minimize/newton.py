"""Newton's method with a line search, by a modified Cholesky factorization or by CG."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from xpnet.backend import Array, backend_of
from xpnet.errors import require_count, require_type
from xpnet.minimize.line_search import LineSearch, StrongWolfe
from xpnet.minimize.line_search.base import descent_ray
from xpnet.minimize.method import Method
from xpnet.minimize.scalar_function import EvaluatedPoint, ScalarFunction

SINGULAR = (np.linalg.LinAlgError, RuntimeError)
"""What a factorization raises for a singular matrix: NumPy the first, PyTorch the second."""


@dataclass(frozen=True)
class Newton(Method):
    """Newton's method, ``x ← x - α(∇²f + E)⁻¹∇f``, with a line search that tries α = 1 first.

    If the Hessian is not positive definite, a modified Cholesky factorization adds a diagonal E
    that makes it so, and the direction is a descent direction. Near a minimum E = 0 and α = 1, and
    convergence is quadratic. The Hessian is ``hess``, or n products of ``hessp``, or n differences
    of gradients.

    Args:
        search: the line search; default ``StrongWolfe()``.

    Raises:
        ArgumentError: if ``search`` is not a line search.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 3.2.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> minimize(Rosenbrock(), [-1.2, 1.0], Newton()).x.round(10)
    array([1., 1.])
    """

    search: LineSearch = field(default=StrongWolfe())

    dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_type(self.search, LineSearch, "search")

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> None:
        """Return None: the method keeps no state."""

    def step(self, function: ScalarFunction, point: EvaluatedPoint, state: None) -> EvaluatedPoint:
        """Factorize the Hessian, and search along the Newton direction."""
        direction = -solve_positive(function.hess(point.x), point.grad)
        ray = descent_ray(function, point, direction)
        return self.search.search(ray, ray.natural)


@dataclass(frozen=True)
class NewtonCG(Method):
    """Truncated Newton: ``∇²f d = -∇f`` solved approximately by linear CG, then a line search.

    CG stops at a residual of ``min(½, √‖∇f‖) ‖∇f‖``, which gives superlinear convergence, or at a
    direction of negative curvature with the current d. It needs only Hessian-vector products
    (``hessp``, or ``hess``, or differences of gradients) and holds no matrix.

    Args:
        search: the line search; default ``StrongWolfe()``.
        max_products: the maximum number of Hessian-vector products per iteration, at least 1;
            default 2n.

    Raises:
        ArgumentError: if an argument has the wrong type or range.

    Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 7.1.

    >>> from xpnet.minimize import minimize
    >>> from xpnet.minimize.functions import Rosenbrock
    >>> minimize(Rosenbrock(), [-1.2, 1.0], NewtonCG()).x.round(8)
    array([1., 1.])
    """

    search: LineSearch = field(default=StrongWolfe())
    max_products: int | None = None

    def __post_init__(self) -> None:
        require_type(self.search, LineSearch, "search")
        if self.max_products is not None:
            require_count(self.max_products, "max_products")

    def start(self, function: ScalarFunction, point: EvaluatedPoint) -> None:
        """Return None: the method keeps no state."""

    def step(self, function: ScalarFunction, point: EvaluatedPoint, state: None) -> EvaluatedPoint:
        """Solve for the direction by CG, and search along it."""
        ray = descent_ray(function, point, self._direction(function, point))
        return self.search.search(ray, ray.natural)

    def _direction(self, function: ScalarFunction, point: EvaluatedPoint) -> Array:
        """Solve ``∇²f d = -∇f`` by linear CG from d = 0, scaled so that products are in range."""
        scale = function.range_scale(function.max_norm(point.grad))
        residual = scale * point.grad
        direction = -residual
        d = 0.0 * direction
        square = float(residual @ residual)
        norm = math.sqrt(square)
        small = min(0.5, math.sqrt(norm / scale)) * norm
        for i in range(self.max_products or 2 * function.n):
            product = function.hessp(point.x, direction)
            curvature = float(direction @ product)
            if not curvature > function.eps * float(direction @ direction):
                return (direction if i == 0 else d) / scale
            alpha = square / curvature
            d = d + alpha * direction
            residual = residual + alpha * product
            before, square = square, float(residual @ residual)
            if math.sqrt(square) <= small:
                break
            direction = (square / before) * direction - residual
        return d / scale


def modified_cholesky(a: Array) -> tuple[Array, Array]:
    """Return ``L, d`` with ``L diag(d) Lᵀ = A + E``, positive definite, E ≥ 0 diagonal.

    E is zero if A is safely positive definite. Column by column,
    ``d_j = max(|c_jj|, (θ_j/β)², δ)``, where c is the remainder of the column and
    ``θ_j = max_(i>j) |c_ij|``; so ``|l_ij| √d_j ≤ β``, and E is bounded.

    Args:
        a: A, shape ``(n, n)``, symmetric, finite.

    Returns:
        L of shape ``(n, n)``, unit lower triangular, and d of shape ``(n,)``, positive.

    Deviation from the paper: rows are not interchanged.

    Reference: Gill and Murray, Math. Prog. 7 (1974) 311; Nocedal and Wright, Numerical
    Optimization, 2nd ed., algorithm 3.4 and p. 53.

    >>> lower, d = modified_cholesky(np.asarray([[1.0, 2.0], [2.0, 1.0]]))
    >>> (lower * d @ lower.T).round(3)
    array([[3.464, 2.   ],
           [2.   , 1.309]])
    """
    backend = backend_of(a)
    xp, n = backend.xp, int(a.shape[0])
    eps = float(np.finfo(backend.dtype_name).eps)
    eye = xp.eye(n, dtype=a.dtype, device=backend.device)
    gamma, xi = float(xp.max(xp.abs(a * eye))), float(xp.max(xp.abs(a * (1.0 - eye))))
    beta_squared = max(gamma, xi / max(1.0, (n * n - 1.0) ** 0.5), eps)
    delta = eps * max(gamma + xi, 1.0)
    lower, d = eye, backend.zeros(n)
    for j in range(n):
        row = lower[j, :j]
        column = a[j:, j] - lower[j:, :j] @ (d[:j] * row)
        pivot = xp.maximum(xp.abs(column[0]), delta + 0.0 * column[0])
        if j + 1 < n:
            theta = xp.max(xp.abs(column[1:]))
            pivot = xp.maximum(pivot, theta * theta / beta_squared)
            lower[j + 1 :, j] = column[1:] / pivot
        d[j] = pivot
    return lower, d


def solve_positive(a: Array, b: Array) -> Array:
    """Return ``(A + E)⁻¹ b``, E = 0 if A is positive definite, else from `modified_cholesky`.

    A matrix that is singular up to rounding counts as not positive definite.

    Args:
        a: A, shape ``(n, n)``, symmetric, finite.
        b: shape ``(n,)``.

    Returns:
        x of shape ``(n,)``, with ``bᵀx > 0`` for b ≠ 0 in exact arithmetic; b if a factorization
        fails.

    >>> solve_positive(np.asarray([[2.0, 0.0], [0.0, -4.0]]), np.asarray([2.0, 4.0]))
    array([1., 1.])
    """
    xp = backend_of(a).xp
    try:
        if is_positive_definite(a):
            return xp.linalg.solve(a, b[:, None])[:, 0]
        lower, d = modified_cholesky(a)
        x = xp.linalg.solve(lower, b[:, None])
        return xp.linalg.solve(xp.matrix_transpose(lower), x / d[:, None])[:, 0]
    except SINGULAR:
        return b


def is_positive_definite(a: Array) -> bool:
    """Return whether the symmetric matrix ``a`` is positive definite beyond rounding.

    Its Cholesky factorization must succeed, and no pivot may be below ``n eps`` times the diagonal
    entry that it is left of, where elimination cancelled all digits.
    """
    backend = backend_of(a)
    xp, n = backend.xp, int(a.shape[0])
    try:
        factor = xp.linalg.cholesky(a)
    except SINGULAR:
        return False
    # CuPy raises nothing: a factor may hold NaN, or end before a pivot that is not positive.
    if not bool(xp.all(xp.isfinite(factor))):
        return False
    pivots, entries = xp.linalg.diagonal(factor) ** 2, xp.linalg.diagonal(a)
    rounding = n * float(np.finfo(backend.dtype_name).eps)
    is_complete = xp.sum(factor**2, axis=1) <= (1.0 + 8.0 * rounding) * entries  # L Lᵀ = A
    return bool(xp.all(is_complete & (pivots > rounding * entries)))
