"""Kernels over columns: 32 of them a block, whose rows of threads share the rows of the arrays.

Tall arrays are also shared by several blocks. What each finds is put together afterwards, in the
same order every time, so that two runs give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from xpnet.backend import Array, Namespace
from xpnet.errors import dtype_name
from xpnet.ops.cuda import sources
from xpnet.ops.cuda.arrays import are_numbers, fit, in_type, shaped
from xpnet.ops.cuda.launch import Launch
from xpnet.ops.cuda.sources import ROWS
from xpnet.ops.operations import Rule
from xpnet.ops.rules.activations import identity

SHARE = 512
"""The rows that one block takes; taller arrays are shared by several."""

SHARES = 64
"""The most blocks that share a column; beyond, each takes more rows."""


def normalize(
    launch: Launch, xp: Namespace, name: str, read: Sequence[Array], rest: Sequence[Any]
) -> None:
    """Run a kernel of ``batch_norm.cu``: at once, or of a tall batch after that of its shares.

    Args:
        launch: starts a kernel.
        xp: makes the array for what is found in the shares.
        name: of the kernel; that of the shares has ``_parts`` behind it.
        read: the arrays ``(m, n)`` whose rows are added up, the first parameters of both.
        rest: the parameters behind those and the parts.
    """
    (m, n), dtype = read[0].shape, read[0].dtype
    grid, parts, sizes = _grid(m, n), None, (np.int64(m), np.int64(n))
    if grid[1] > 1:
        parts = xp.empty((2, grid[1], n), dtype=dtype)
        kernel = sources.from_file(f"{name}_parts", "batch_norm.cu", dtype_name(dtype))
        launch(kernel, grid, (32, ROWS), (*read, parts, *sizes))
    kernel = sources.from_file(name, "batch_norm.cu", dtype_name(dtype))
    launch(kernel, grid, (32, ROWS), (*read, parts, *rest, *sizes))


def sums(
    launch: Launch,
    xp: Namespace,
    rule: Rule,
    letters: str,
    arrays: Sequence[Array | None],
    out: Array,
    scalars: tuple[Any, ...],
) -> bool:
    """Run a kernel of `sources.column_sums`; whether there is one for these arrays."""
    x = arrays[-1]
    assert x is not None
    given = [array for array in arrays if array is not None]
    alike = x.ndim == 2 and shaped(x.shape, *given) and shaped(x.shape[1:], out)
    if not (alike and fit(*given, out) and are_numbers(scalars, x.dtype)):
        return False
    try:
        kernel = sources.column_sums(rule, dtype_name(x.dtype), letters, sources.kinds(scalars))
    except (AttributeError, TypeError):
        return False
    m, n = x.shape
    grid = _grid(m, n)
    parts = out if grid[1] == 1 else xp.empty((grid[1], n), dtype=x.dtype)
    arguments = (*arrays, *in_type(scalars, x.dtype), parts, np.int64(m), np.int64(n))
    launch(kernel, grid, (32, ROWS), arguments)
    return grid[1] == 1 or sums(launch, xp, identity, "x", (None, parts), out, ())


def _grid(m: int, n: int) -> tuple[int, int]:
    """The blocks along the columns, and those that share their rows."""
    return ceil(n / 32), min(ceil(m / SHARE), SHARES)
