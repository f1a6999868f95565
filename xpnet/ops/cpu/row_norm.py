"""Loops of layer norm and RMS norm, over the rows of a matrix one after another.

As in `xpnet.ops.cpu.elementwise`, each function is a loop builder for one floating type. A row is
read several times, which costs little because it stays in the L1 cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.ops.cpu.elementwise import VECTOR_MATH
from xpnet.ops.cpu.jit import SCALAR, CompilerApi, LoopDefinition, NotCompiled, ReadOnly

BLOCK = 1 << 10
"""The number of elements that are summed in the type of the row, before double precision."""


def _row_moments(api: CompilerApi, dtype: Any) -> tuple[Any, Any]:
    """The sum of ``x - c`` along a row, and the sums of ``x - c`` and of its square."""
    zero = np.dtype(dtype).type(0)

    def differences(row: Any, c: Any) -> Any:
        total = 0.0
        for start in range(0, row.size, BLOCK):
            part, summed = row[start : start + BLOCK], zero
            for j in range(part.size):
                summed += part[j] - c
            total += summed
        return total

    def moments(row: Any, c: Any) -> Any:
        total, squares = 0.0, 0.0
        for start in range(0, row.size, BLOCK):
            part, summed, squared = row[start : start + BLOCK], zero, zero
            for j in range(part.size):
                value = part[j] - c
                summed += value
                squared += value * value
            total += summed
            squares += squared
        return total, squares

    return api.inline_in_any_order(differences), api.inline_in_any_order(moments)


def _statistics(api: CompilerApi, dtype: Any, centered: bool) -> Any:
    """The numbers ``μ, ρ, f`` of a row; see `xpnet.ops.operations.Operations.row_norm`."""
    kind, sqrt = np.dtype(dtype).type, VECTOR_MATH.load().sqrt
    differences, moments = _row_moments(api, dtype)

    def statistics(row: Any, eps: Any) -> Any:
        n = row.size
        mean, lost = kind(0), 0.0
        if centered:
            mean = row[0] + kind(differences(row, row[0]) / n)  # no cancellation where |μ| ≫ σ
            total, squares = moments(row, mean)
            lost = total / n  # what rounding the mean has lost
        else:
            total, squares = moments(row, mean)
        return mean, kind(lost), kind(1.0 / sqrt(squares / n - lost * lost + eps))

    return api.inline(statistics)


def row_norm(api: CompilerApi, dtype: Any, centered: bool, shifted: bool) -> LoopDefinition:
    """``x̂ ← (x - μ - ρ)·f``, ``y ← γ x̂ + β``, with the μ, ρ and f of each row, which are kept."""
    statistics = _statistics(api, dtype, centered)

    @api.loop(dtype, ReadOnly(2), 2, 2, ReadOnly(1), ReadOnly(1), SCALAR)
    def loop(x: Any, rows: Any, y: Any, scale: Any, shift: Any, eps: Any) -> None:
        m, n = x.shape
        if n == 0 or y.shape != x.shape or rows.shape[0] != m or rows.shape[1] != 3:
            raise NotCompiled
        if not n == scale.size == shift.size:
            raise NotCompiled
        for i in range(m):
            mean, rest, factor = statistics(x[i], eps)
            rows[i, 0], rows[i, 1], rows[i, 2] = mean, rest, factor
            for j in range(n):
                value = (((x[i, j] - mean) - rest) * factor) * scale[j]
                y[i, j] = value + shift[j] if shifted else value

    return loop


def _products(api: CompilerApi, dtype: Any) -> tuple[Any, Any]:
    """``x̂`` of a number; and ``u ← γ dy`` along a row, with the sums of it and of ``u x̂``."""
    zero = np.dtype(dtype).type(0)

    def normalized(value: Any, mean: Any, rest: Any, factor: Any) -> Any:
        return ((value - mean) - rest) * factor

    normalized = api.inline_in_order(normalized)  # not ``value - (mean + rest)``

    def products(dy: Any, row: Any, scale: Any, u: Any, mean: Any, rest: Any, f: Any) -> Any:
        total, along = 0.0, 0.0
        for start in range(0, row.size, BLOCK):
            part, grad = row[start : start + BLOCK], dy[start : start + BLOCK]
            gamma, out = scale[start : start + BLOCK], u[start : start + BLOCK]
            summed, product = zero, zero
            for j in range(part.size):
                value = grad[j] * gamma[j]
                out[j] = value
                summed += value
                product += value * normalized(part[j], mean, rest, f)
            total += summed
            along += product
        return total, along

    return normalized, api.inline_in_any_order(products)


def row_norm_backward(
    api: CompilerApi, dtype: Any, centered: bool, shifted: bool
) -> LoopDefinition:
    """``dγ ← Σ dy·x̂``, ``dβ ← Σ dy``, ``dx ← f (u - mean u - x̂ mean(u x̂))`` with ``u = γ dy``.

    ``u`` is stored before the mean is subtracted: a fused ``γ dy - mean u`` would not be 0 where
    the two are equal, as in rows of one number.
    """
    kind = np.dtype(dtype).type
    normalized, products = _products(api, dtype)

    @api.loop(dtype, ReadOnly(2), ReadOnly(2), ReadOnly(2), ReadOnly(1), 1, 1, 2)
    def loop(dy: Any, x: Any, rows: Any, scale: Any, d_scale: Any, d_shift: Any, dx: Any) -> None:
        m, n = dy.shape
        if x.shape != dy.shape or dx.shape != dy.shape or n == 0:
            raise NotCompiled
        if rows.shape[0] != m or rows.shape[1] != 3:
            raise NotCompiled
        if not n == scale.size == d_scale.size == d_shift.size:
            raise NotCompiled
        d_scale[:] = 0
        if shifted:
            d_shift[:] = 0
        for i in range(m):
            mean, rest, f = rows[i, 0], rows[i, 1], rows[i, 2]
            total, along = products(dy[i], x[i], scale, dx[i], mean, rest, f)
            shared = kind(total / n) if centered else kind(0)
            projection = kind(along / n)
            for j in range(n):
                d_scale[j] += dy[i, j] * normalized(x[i, j], mean, rest, f)
                if shifted:
                    d_shift[j] += dy[i, j]
            for j in range(n):
                x_hat = normalized(x[i, j], mean, rest, f)
                dx[i, j] = f * ((dx[i, j] - shared) - x_hat * projection)

    return loop
