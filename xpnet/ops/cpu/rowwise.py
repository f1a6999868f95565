"""The loops that are not elementwise, over the rows of a matrix.

As in `xpnet.ops.cpu.elementwise` each is made for one floating type, takes C-contiguous arrays of
it and refuses anything else, and shapes that do not fit, with a `TypeError` before it begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.ops.cpu.jit.definition import (
    FLAT,
    INDICES,
    INTEGER,
    NUMBER,
    SUMS,
    Given,
    Kit,
    Source,
    loop_on,
)
from xpnet.random import hash32

BLOCK = 1 << 12
"""How many numbers of a matrix are worked on at a time, so that they stay in the nearest cache."""


AHEAD = 2
"""How many rows ahead of the one that is copied the processor is told of one."""

FETCHED, LINE = 4096, 64
"""How many bytes of it, the rest of a long row it finds itself; and in steps of how many."""


def take_rows(kit: Kit, dtype: Any) -> Source:
    """``out_i ← x[indices_i]``; an index of no row takes the nearest row."""
    fetched = kit.fetched

    @loop_on(dtype, INDICES, 2, Given(2))
    def loop(indices: Any, out: Any, x: Any) -> None:
        last, width = x.shape[0] - 1, x.shape[1]
        if indices.size != out.shape[0] or out.shape[1] != width or last < 0:
            raise TypeError
        start, size = x.ctypes.data, width * x.itemsize
        for i in range(indices.size):
            ahead = min(max(indices[min(i + AHEAD, indices.size - 1)], 0), last)
            for j in range(0, min(size, FETCHED), LINE):
                fetched(start + ahead * size + j)
            row = min(max(indices[i], 0), last)
            for j in range(width):
                out[i, j] = x[row, j]

    return loop


def total(kit: Kit, dtype: Any) -> Source:
    """``out ← factor Σ x``, summed in double precision."""

    @loop_on(dtype, Given(FLAT), SUMS, NUMBER, reorder=True)
    def loop(x: Any, sums: Any, factor: Any) -> None:
        summed = 0.0
        for i in range(x.size):
            summed += x[i]
        sums[0] = factor * summed

    return loop


def converted(kit: Kit, dtype: Any) -> Source:
    """``out ← x``, one number in double precision into one of another type."""

    @loop_on(dtype, SUMS, 0)
    def loop(x: Any, out: Any) -> None:
        out[()] = x[0]

    return loop


def column_sum(kit: Kit, dtype: Any) -> Source:
    """``out ← Σ_rows x``."""

    @loop_on(dtype, Given(2), 1)
    def loop(x: Any, out: Any) -> None:
        if out.size != x.shape[1]:
            raise TypeError
        out[:] = 0
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                out[j] += x[i, j]

    return loop


def _softmax_parts(kit: Kit) -> tuple[Any, Any]:
    """Two parts of a softmax over some rows of ``z``."""
    exp = kit.math.exp

    def shift(z: Any, out: Any, start: int, stop: int) -> None:
        """``out ← z - max z`` along the rows."""
        for i in range(start, stop):
            top = z[i, 0]
            for j in range(1, z.shape[1]):
                top = max(top, z[i, j])
            for j in range(z.shape[1]):
                out[i, j] = z[i, j] - top

    def exponentials(flat: Any, start: int, stop: int) -> None:
        """``flat ← e^flat`` in one long loop: a row alone is often shorter than a vector."""
        part = flat[start:stop]
        for k in range(part.size):
            part[k] = exp(part[k])

    return kit.known(shift), kit.known(exponentials)


def cross_entropy_of_indices(kit: Kit, dtype: Any) -> Source:
    """``sums ← Σ_i scale (log Σ_k e^(z_ik) - z_it)``, ``out ← scale (softmax(z) - 1_t)``.

    ``out`` is given twice, first as one row.
    """
    zero, log = np.dtype(dtype).type(0), kit.math.log
    shift, exponentials = _softmax_parts(kit)

    @loop_on(dtype, FLAT, Given(2), INDICES, 2, SUMS, NUMBER, reorder=True)
    def loop(flat: Any, z: Any, target: Any, out: Any, sums: Any, scale: Any) -> None:
        m, n = z.shape
        if out.shape != z.shape or flat.size != z.size or target.size != m or n == 0:
            raise TypeError
        loss = 0.0
        height = max(BLOCK // n, 1)
        for start in range(0, m, height):
            stop = min(start + height, m)
            shift(z, out, start, stop)
            for i in range(start, stop):
                if 0 <= target[i] < n:
                    loss -= out[i, target[i]]
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
                    loss += log(total)
                    out[i, target[i]] -= scale
        sums[0] = loss * scale

    return loop


def cross_entropy_of_rows(kit: Kit, dtype: Any) -> Source:
    """``sums ← -Σ_i s_i Σ_k t_ik log p_ik``, ``out ← s_i (p_i Σ_k t_ik - t_i)``, ``p`` softmax.

    ``out`` is given twice, first as one row.
    """
    zero, log = np.dtype(dtype).type(0), kit.math.log
    shift, exponentials = _softmax_parts(kit)

    @loop_on(dtype, FLAT, Given(2), Given(2), Given(1), 2, SUMS, reorder=True)
    def loop(flat: Any, z: Any, target: Any, scale: Any, out: Any, sums: Any) -> None:
        m, n = z.shape
        if (
            out.shape != z.shape
            or flat.size != z.size
            or target.shape != z.shape
            or scale.size != m
            or n == 0
        ):
            raise TypeError
        loss = 0.0
        height = max(BLOCK // n, 1)
        for start in range(0, m, height):
            stop = min(start + height, m)
            shift(z, out, start, stop)
            for i in range(start, stop):
                cross = zero
                for j in range(n):
                    cross += target[i, j] * out[i, j]
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


def normalize(kit: Kit, dtype: Any) -> Source:
    """``x̂ ← (x - μ)·f``, ``y ← γ x̂ + β``, with μ, f, γ and β for each column."""

    @loop_on(dtype, Given(2), 2, 2, Given(1), Given(1), Given(1), Given(1))
    def loop(x: Any, y: Any, x_hat: Any, mean: Any, factor: Any, scale: Any, shift: Any) -> None:
        m, n = x.shape
        if y.shape != x.shape or x_hat.shape != x.shape:
            raise TypeError
        if not n == mean.size == factor.size == scale.size == shift.size:
            raise TypeError
        for i in range(m):
            for j in range(n):
                value = (x[i, j] - mean[j]) * factor[j]
                x_hat[i, j] = value
                y[i, j] = value * scale[j] + shift[j]

    return loop


def batch_norm(kit: Kit, dtype: Any) -> Source:
    """``x̂ ← (x - μ)/√(σ² + ε)``, ``y ← γ x̂ + β``, with μ and σ² of the rows of ``x``."""
    one, sqrt = np.dtype(dtype).type(1), kit.math.sqrt

    @loop_on(dtype, Given(2), Given(1), Given(1), NUMBER, 2, 2, 1, 1, 1)
    def loop(
        x: Any,
        scale: Any,
        shift: Any,
        eps: Any,
        y: Any,
        x_hat: Any,
        mean: Any,
        var: Any,
        factor: Any,
    ) -> None:
        m, n = x.shape
        if y.shape != x.shape or x_hat.shape != x.shape:
            raise TypeError
        if not n == scale.size == shift.size == mean.size == var.size == factor.size:
            raise TypeError
        mean[:] = 0
        var[:] = 0
        for i in range(m):
            for j in range(n):
                mean[j] += x[i, j]
        for j in range(n):
            mean[j] /= m
        for i in range(m):
            for j in range(n):
                centered = x[i, j] - mean[j]
                var[j] += centered * centered
        for j in range(n):
            var[j] /= m
            factor[j] = one / sqrt(var[j] + eps)
        for i in range(m):
            for j in range(n):
                value = (x[i, j] - mean[j]) * factor[j]
                x_hat[i, j] = value
                y[i, j] = value * scale[j] + shift[j]

    return loop


def batch_norm_backward(kit: Kit, dtype: Any) -> Source:
    """``dβ ← Σ dy``, ``dγ ← Σ dy·x̂``, ``dx ← γ/(m√(σ² + ε)) (m dy - dβ - x̂ dγ)``."""
    kind, sqrt = np.dtype(dtype).type, kit.math.sqrt

    @loop_on(dtype, Given(2), Given(2), Given(1), Given(1), NUMBER, 1, 1, 2, 1)
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
            raise TypeError
        if not n == scale.size == var.size == d_scale.size == d_shift.size == factor.size:
            raise TypeError
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


def keep_mask(kit: Kit, dtype: Any) -> Source:
    """``out ← 0`` where the hash of key and position is below the threshold, else ``kept``."""
    zero, bits = np.dtype(dtype).type(0), kit.known(hash32)
    mask = 0xFFFFFFFF

    @loop_on(dtype, FLAT, INTEGER, INTEGER, NUMBER)
    def loop(out: Any, key: Any, threshold: Any, kept: Any) -> None:
        for i in range(out.size):
            hashed = bits((bits(i ^ key) + key) & mask)
            out[i] = kept if hashed >= threshold else zero

    return loop
