"""The modified Cholesky factorization: a positive definite neighbour of any symmetric matrix."""

from __future__ import annotations

import numpy as np

from xpnet.backend import Array, backend_of


def modified_cholesky(a: Array) -> tuple[Array, Array]:
    """``L, d`` with ``L diag(d) Lᵀ = A + E``, E ≥ 0 diagonal and zero where A is safely definite.

    Column by column ``d_j = max(|c_jj|, (θ_j/β)², δ)``, where c is what is left of the column and
    ``θ_j = max_(i>j) |c_ij|``; so ``|l_ij| √d_j ≤ β``, and E stays bounded.

    Args:
        a: A, shape ``(n, n)``, symmetric, finite.

    Returns:
        L of shape ``(n, n)``, unit lower triangular, and d of shape ``(n,)``, positive.

    Deviation from the paper: no symmetric interchanges of rows.

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
    """``(A + E)⁻¹ b`` with E = 0 where A is positive definite, else from `modified_cholesky`.

    Args:
        a: A, shape ``(n, n)``, symmetric, finite.
        b: shape ``(n,)``.

    Returns:
        x of shape ``(n,)``, with ``bᵀx > 0`` for b ≠ 0.
    """
    xp = backend_of(a).xp
    if is_positive_definite(a):
        return xp.linalg.solve(a, b[:, None])[:, 0]
    lower, d = modified_cholesky(a)
    x = xp.linalg.solve(lower, b[:, None])
    return xp.linalg.solve(xp.matrix_transpose(lower), x / d[:, None])[:, 0]


def is_positive_definite(a: Array) -> bool:
    """Whether a plain Cholesky factorization of the symmetric matrix ``a`` goes through."""
    xp = backend_of(a).xp
    try:
        factor = xp.linalg.cholesky(a)
    except (np.linalg.LinAlgError, RuntimeError):  # PyTorch's own error is a RuntimeError
        return False
    # CuPy does not raise: it returns a factor with NaN.
    return bool(xp.all(xp.isfinite(factor)))
