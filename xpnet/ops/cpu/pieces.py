"""Loops of maxout: the largest of several pieces, which lie side by side in a row.

As in `xpnet.ops.cpu.elementwise`, each function is a loop builder for one floating type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.ops.cpu.jit import CompilerApi, LoopDefinition, NotCompiled, ReadOnly


def largest_piece(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``y ← max_k z_k`` and the number of the first largest piece; NaN is the largest."""
    kind = np.dtype(dtype).type

    @api.loop(dtype, ReadOnly(2), 2, 2)
    def loop(z: Any, piece: Any, y: Any) -> None:
        m, n = y.shape
        if z.shape[0] != m or piece.shape != y.shape or n == 0 or z.shape[1] % n != 0:
            raise NotCompiled
        for i in range(m):
            for j in range(n):
                y[i, j] = z[i, j]
                piece[i, j] = 0
            for k in range(1, z.shape[1] // n):
                row, number = z[i, k * n : (k + 1) * n], kind(k)
                for j in range(n):
                    is_larger = row[j] > y[i, j] or row[j] != row[j]
                    y[i, j] = row[j] if is_larger else y[i, j]
                    piece[i, j] = number if is_larger else piece[i, j]

    return loop


def largest_piece_backward(api: CompilerApi, dtype: Any) -> LoopDefinition:
    """``dz ← dy`` in the columns of the largest pieces, and 0 in the others."""
    kind = np.dtype(dtype).type

    @api.loop(dtype, ReadOnly(2), ReadOnly(2), 2)
    def loop(dy: Any, piece: Any, dz: Any) -> None:
        m, n = dy.shape
        if dz.shape[0] != m or piece.shape != dy.shape or n == 0 or dz.shape[1] % n != 0:
            raise NotCompiled
        for i in range(m):
            for k in range(dz.shape[1] // n):
                row, number = dz[i, k * n : (k + 1) * n], kind(k)
                for j in range(n):
                    row[j] = dy[i, j] if piece[i, j] == number else kind(0)

    return loop
