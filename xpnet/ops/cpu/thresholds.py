"""Loops of ordered thresholds.

As in `xpnet.ops.cpu.elementwise`, each function is a loop builder for one floating type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.ops.cpu.elementwise import VECTOR_MATH
from xpnet.ops.cpu.jit import CompilerApi, LoopDefinition, NotCompiled, ReadOnly
from xpnet.ops.rules.activations import sigmoid, softplus


def ordered_thresholds(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``z_ik ← x_i - b_k`` with ``b_1 = first`` and ``b_(k+1) = b_k + softplus(gaps_k)``."""
    f, xp = api.typed_rule(softplus, dtype), VECTOR_MATH.load()

    @api.loop(dtype, ReadOnly(2), 2, ReadOnly(1), ReadOnly(1))
    def loop(x: Any, z: Any, first: Any, gaps: Any) -> None:
        m, n = z.shape
        if x.shape[0] != m or x.shape[1] != 1 or first.size != 1 or gaps.size != n - 1:
            raise NotCompiled
        if m == 0:
            return
        z[0, 0] = first[0]  # the first row holds the thresholds until it is the last to be written
        for k in range(1, n):
            z[0, k] = z[0, k - 1] + f(xp, gaps[k - 1])
        for i in range(1, m):
            for k in range(n):
                z[i, k] = x[i, 0] - z[0, k]
        for k in range(n):
            z[0, k] = x[0, 0] - z[0, k]

    return loop


def ordered_thresholds_backward(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``dx_i ← Σ_k dz_ik`` and the gradients of ``first`` and ``gaps``."""
    f, xp, zero = api.typed_rule(sigmoid, dtype), VECTOR_MATH.load(), np.dtype(dtype).type(0)

    @api.loop(dtype, ReadOnly(2), ReadOnly(1), 1, 1, 2)
    def loop(dz: Any, gaps: Any, d_first: Any, d_gaps: Any, dx: Any) -> None:
        m, n = dz.shape
        if dx.shape[0] != m or dx.shape[1] != 1 or d_first.size != 1:
            raise NotCompiled
        if not n - 1 == gaps.size == d_gaps.size:
            raise NotCompiled
        d_first[0] = zero
        d_gaps[:] = zero
        for i in range(m):
            d_first[0] += dz[i, 0]
            total = dz[i, 0]
            for k in range(1, n):
                d_gaps[k - 1] += dz[i, k]
                total += dz[i, k]
            dx[i, 0] = total
        later = zero
        for k in range(n - 1, 0, -1):
            later -= d_gaps[k - 1]
            d_gaps[k - 1] = later * f(xp, gaps[k - 1])
        d_first[0] = later - d_first[0]

    return loop
