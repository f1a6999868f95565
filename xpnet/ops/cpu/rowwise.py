"""Loops over the rows of a matrix: sums, softmax, batch normalization, masks and row selection.

As in `xpnet.ops.cpu.elementwise`, each function is a loop builder for one floating type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.ops.cpu.elementwise import VECTOR_MATH
from xpnet.ops.cpu.jit import (
    FLAT,
    INDICES,
    INTEGER,
    SCALAR,
    SUMS,
    CompilerApi,
    LoopDefinition,
    NotCompiled,
    ReadOnly,
)
from xpnet.random import hash32

BLOCK = 1 << 12
"""The number of elements that a softmax processes at a time, so that they stay in the L1 cache."""

UNIT = 2.0**64
"""The unit in which losses are summed before they are scaled: the sum of large ones overflows."""

PREFETCH_ROWS = 2
"""Prefetch distance, in rows."""

PREFETCH_BYTES, CACHE_LINE = 4096, 64
"""How much of a row is prefetched, and the step; the processor prefetches the rest itself."""


def take_rows(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``out_i ← x[indices_i]``; an index out of range takes the nearest row."""
    prefetch = api.prefetch

    @api.loop(dtype, INDICES, 2, ReadOnly(2))
    def loop(indices: Any, out: Any, x: Any) -> None:
        last, width = x.shape[0] - 1, x.shape[1]
        if indices.size != out.shape[0] or out.shape[1] != width or last < 0:
            raise NotCompiled
        start, size = x.ctypes.data, width * x.itemsize
        for i in range(indices.size):
            ahead = min(max(indices[min(i + PREFETCH_ROWS, indices.size - 1)], 0), last)
            for j in range(0, min(size, PREFETCH_BYTES), CACHE_LINE):
                prefetch(start + ahead * size + j)
            row = min(max(indices[i], 0), last)
            for j in range(width):
                out[i, j] = x[row, j]

    return loop


def put_columns(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """The columns of ``out`` from ``start`` on ``← x``."""

    @api.loop(dtype, ReadOnly(2), 2, INTEGER)
    def loop(x: Any, out: Any, start: Any) -> None:
        if x.shape[0] != out.shape[0] or start < 0 or start + x.shape[1] > out.shape[1]:
            raise NotCompiled
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[i, start + j] = x[i, j]

    return loop


def take_columns(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``out ←`` the columns of ``x`` from ``start`` on."""

    @api.loop(dtype, ReadOnly(2), 2, INTEGER)
    def loop(x: Any, out: Any, start: Any) -> None:
        if x.shape[0] != out.shape[0] or start < 0 or start + out.shape[1] > x.shape[1]:
            raise NotCompiled
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] = x[i, start + j]

    return loop


def total(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``out ← factor Σ x``, summed in double precision."""

    @api.loop(dtype, ReadOnly(FLAT), SUMS, SCALAR, reorder=True)
    def loop(x: Any, sums: Any, factor: Any) -> None:
        summed = 0.0
        for i in range(x.size):
            summed += x[i]
        sums[0] = factor * summed

    return loop


def convert(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``out ← x``, one float64 number rounded to the type of ``out``."""

    @api.loop(dtype, SUMS, 0)
    def loop(x: Any, out: Any) -> None:
        out[()] = x[0]

    return loop


def column_sum(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``out ← Σ_rows x``."""

    @api.loop(dtype, ReadOnly(2), 1)
    def loop(x: Any, out: Any) -> None:
        if out.size != x.shape[1]:
            raise NotCompiled
        out[:] = 0
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[j] += x[i, j]

    return loop


def _softmax_parts(api: CompilerApi, dtype: Any) -> tuple[Any, Any, Any]:
    """Parts of a softmax, over rows ``start`` to ``stop`` of ``z`` and over flat elements."""
    exp, lowest = VECTOR_MATH.load().exp, np.finfo(dtype).min

    def shift(z: Any, out: Any, start: int, stop: int) -> None:
        """``out ← z - max z`` along the rows; -∞ where it overflows."""
        for i in range(start, stop):
            top = z[i, 0]
            for j in range(1, z.shape[1]):
                top = max(top, z[i, j])
            for j in range(z.shape[1]):
                out[i, j] = z[i, j] - top

    def bounded(logit: Any, difference: Any) -> Any:
        """A difference of ``shift``; the lowest number where that of a finite logit overflowed."""
        return lowest if difference < lowest and logit >= lowest else difference

    def exponentials(flat: Any, start: int, stop: int) -> None:
        """``flat ← e^flat`` in one long loop: a row is often shorter than a SIMD vector."""
        part = flat[start:stop]
        for k in range(part.size):
            part[k] = exp(part[k])

    return api.inline(shift), api.inline(bounded), api.inline(exponentials)


def _bounded_sum(api: CompilerApi, bounded: Any) -> Any:
    """The sum of ``target · bounded(z, difference)`` along a row, with ``0 · -∞ = 0``."""

    def total(target: Any, z: Any, difference: Any) -> Any:
        summed = target[0] * 0
        for j in range(z.size):
            if target[j] != 0:
                summed += target[j] * bounded(z[j], difference[j])
        return summed

    return api.inline(total)


def cross_entropy_of_indices(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``sums ← Σ_i scale (log Σ_k e^(z_ik) - z_it)``, ``out ← scale (softmax(z) - 1_t)``.

    The caller passes ``out`` twice, first as one row.
    """
    zero, log = np.dtype(dtype).type(0), VECTOR_MATH.load().log
    shift, bounded, exponentials = _softmax_parts(api, dtype)

    @api.loop(dtype, FLAT, ReadOnly(2), INDICES, 2, SUMS, SCALAR, reorder=True)
    def loop(flat: Any, z: Any, target: Any, out: Any, sums: Any, scale: Any) -> None:
        m, n = z.shape
        if out.shape != z.shape or flat.size != z.size or target.size != m or n == 0:
            raise NotCompiled
        loss = 0.0
        height = max(BLOCK // n, 1)
        for start in range(0, m, height):
            stop = min(start + height, m)
            shift(z, out, start, stop)
            for i in range(start, stop):
                if 0 <= target[i] < n:
                    loss -= bounded(z[i, target[i]], out[i, target[i]]) * (1.0 / UNIT)
            exponentials(flat, start * n, stop * n)
            for i in range(start, stop):
                total = zero
                for j in range(n):
                    total += out[i, j]
                is_class = 0 <= target[i] < n
                factor = scale / total if is_class else zero
                for j in range(n):
                    out[i, j] *= factor
                if is_class:
                    loss += log(total) * (1.0 / UNIT)
                    out[i, target[i]] -= scale
        sums[0] = loss * (scale * UNIT)

    return loop


def cross_entropy_of_rows(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``sums ← -Σ_i s_i Σ_k t_ik log p_ik``, ``out ← s_i (p_i Σ_k t_ik - t_i)``, ``p`` softmax.

    The caller passes ``out`` twice, first as one row.
    """
    zero, log, lowest = np.dtype(dtype).type(0), VECTOR_MATH.load().log, np.finfo(dtype).min
    shift, bounded, exponentials = _softmax_parts(api, dtype)
    bounded_sum = _bounded_sum(api, bounded)

    @api.loop(dtype, FLAT, ReadOnly(2), ReadOnly(2), ReadOnly(1), 2, SUMS, reorder=True)
    def loop(flat: Any, z: Any, target: Any, scale: Any, out: Any, sums: Any) -> None:
        m, n = z.shape
        if (
            out.shape != z.shape
            or flat.size != z.size
            or target.shape != z.shape
            or scale.size != m
            or n == 0
        ):
            raise NotCompiled
        loss = 0.0
        height = max(BLOCK // n, 1)
        for start in range(0, m, height):
            stop = min(start + height, m)
            shift(z, out, start, stop)
            for i in range(start, stop):
                cross = zero
                for j in range(n):
                    cross += target[i, j] * out[i, j]
                if not cross >= lowest:
                    cross = bounded_sum(target[i], z[i], out[i])
                loss -= scale[i] * cross
            exponentials(flat, start * n, stop * n)
            for i in range(start, stop):
                total, mass = zero, zero
                for j in range(n):
                    total += out[i, j]
                    mass += target[i, j]
                loss += scale[i] * mass * log(total)
                share = mass / total
                for j in range(n):
                    out[i, j] = scale[i] * (out[i, j] * share - target[i, j])
        sums[0] = loss

    return loop


def normalize(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``x̂ ← (x - μ - ρ)·f``, ``y ← γ x̂ + β``, with one μ, ρ, f, γ and β per column."""

    @api.loop(dtype, ReadOnly(2), 2, 2, *[ReadOnly(1)] * 5)
    def loop(
        x: Any, y: Any, x_hat: Any, mean: Any, rest: Any, factor: Any, scale: Any, shift: Any
    ) -> None:
        m, n = x.shape
        if y.shape != x.shape or x_hat.shape != x.shape:
            raise NotCompiled
        if not n == mean.size == rest.size == factor.size == scale.size == shift.size:
            raise NotCompiled
        for i in range(m):
            for j in range(n):
                value = (x[i, j] - mean[j] - rest[j]) * factor[j]
                x_hat[i, j] = value
                y[i, j] = value * scale[j] + shift[j]

    return loop


def _column_moments(api: CompilerApi) -> tuple[Any, Any]:
    """Two loops over the rows of ``x``, the sums of ``x - c`` and of its square for each column.

    Four rows are summed at a time in the type of ``x``, and these sums in double precision.
    """

    def differences(x: Any, c: Any, sums: Any) -> None:
        rest = x.shape[0] % 4
        sums[:] = 0
        for i in range(0, x.shape[0] - rest, 4):
            p, q, r, t = x[i], x[i + 1], x[i + 2], x[i + 3]
            for j in range(x.shape[1]):
                sums[j] += ((p[j] - c[j]) + (q[j] - c[j])) + ((r[j] - c[j]) + (t[j] - c[j]))
        for i in range(x.shape[0] - rest, x.shape[0]):
            for j in range(x.shape[1]):
                sums[j] += x[i, j] - c[j]

    def squares(x: Any, c: Any, sums: Any) -> None:
        rest = x.shape[0] % 4
        sums[:] = 0
        for i in range(0, x.shape[0] - rest, 4):
            p, q, r, t = x[i], x[i + 1], x[i + 2], x[i + 3]
            for j in range(x.shape[1]):
                a, b, d, e = p[j] - c[j], q[j] - c[j], r[j] - c[j], t[j] - c[j]
                sums[j] += (a * a + b * b) + (d * d + e * e)
        for i in range(x.shape[0] - rest, x.shape[0]):
            for j in range(x.shape[1]):
                a = x[i, j] - c[j]
                sums[j] += a * a

    return api.inline(differences), api.inline(squares)


def batch_norm(api: CompilerApi, dtype: Any) -> LoopDefinition:  # long: passes over one matrix
    """``x̂ ← (x - μ)/√(σ² + ε)``, ``y ← γ x̂ + β``, with mean μ and variance σ² of each column."""
    one, sqrt = np.dtype(dtype).type(1), VECTOR_MATH.load().sqrt
    double, per_double = np.float64, 8 // np.dtype(dtype).itemsize
    differences, squares = _column_moments(api)

    @api.loop(dtype, ReadOnly(2), ReadOnly(1), ReadOnly(1), SCALAR, 2, 2, 1, 1, 1, 1)
    def loop(  # long: passes over one matrix
        x: Any,
        scale: Any,
        shift: Any,
        eps: Any,
        y: Any,
        x_hat: Any,
        mean: Any,
        var: Any,
        factor: Any,
        rest: Any,
    ) -> None:
        m, n = x.shape
        if m < 2 or y.shape != x.shape or x_hat.shape != x.shape:
            raise NotCompiled
        if not n == scale.size == shift.size == mean.size == var.size == factor.size == rest.size:
            raise NotCompiled
        sums = y[:per_double].reshape(per_double * n).view(double)  # y is written after them
        differences(x, x[0], sums)  # they do not cancel where |μ| ≫ σ
        for j in range(n):
            difference = sums[j] / m
            mean[j] = x[0, j] + difference
            rest[j] = (x[0, j] - mean[j]) + difference  # what rounding the mean has lost
        squares(x, mean, sums)
        for j in range(n):
            var[j] = sums[j] / m - rest[j] * rest[j]
            factor[j] = one / sqrt(var[j] + eps)
        for i in range(m):
            for j in range(n):
                value = (x[i, j] - mean[j] - rest[j]) * factor[j]
                x_hat[i, j] = value
                y[i, j] = value * scale[j] + shift[j]

    return loop


def batch_norm_backward(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``dβ ← Σ dy``, ``dγ ← Σ dy·x̂``, ``dx ← γ/(m√(σ² + ε)) (m dy - dβ - x̂ dγ)``."""
    kind, sqrt = np.dtype(dtype).type, VECTOR_MATH.load().sqrt

    @api.loop(dtype, ReadOnly(2), ReadOnly(2), ReadOnly(1), ReadOnly(1), SCALAR, 1, 1, 2, 1)
    def loop(
        dy: Any,
        x_hat: Any,
        scale: Any,
        var: Any,
        eps: Any,
        d_scale: Any,
        d_shift: Any,
        dx: Any,
        factor: Any,
    ) -> None:
        m, n = dy.shape
        if x_hat.shape != dy.shape or dx.shape != dy.shape:
            raise NotCompiled
        if not n == scale.size == var.size == d_scale.size == d_shift.size == factor.size:
            raise NotCompiled
        d_scale[:] = 0
        d_shift[:] = 0
        for i in range(m):
            for j in range(n):
                d_shift[j] += dy[i, j]
                d_scale[j] += dy[i, j] * x_hat[i, j]
        rows = kind(m)
        for j in range(n):
            factor[j] = scale[j] / (rows * sqrt(var[j] + eps))
        for i in range(m):
            for j in range(n):
                dx[i, j] = factor[j] * (rows * dy[i, j] - d_shift[j] - x_hat[i, j] * d_scale[j])

    return loop


def keep_mask(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``out ← 0`` where the hash of key and index is below the threshold, else ``kept``."""
    zero, bits = np.dtype(dtype).type(0), api.inline(hash32)
    mask = 0xFFFFFFFF

    @api.loop(dtype, FLAT, INTEGER, INTEGER, INTEGER, INTEGER, SCALAR)
    def loop(out: Any, key: Any, first_row: Any, n: Any, threshold: Any, kept: Any) -> None:
        start = first_row * n
        for i in range(out.size):
            hashed = bits((bits((start + i) ^ key) + key) & mask)
            out[i] = kept if hashed >= threshold else zero

    return loop
