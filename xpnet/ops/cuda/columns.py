"""Kernels that reduce over rows, in blocks of 32 columns.

The rows of tall arrays are divided among several blocks. Their partial results are combined in a
fixed order, so that two runs give the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from xpnet.backend import Array, Namespace
from xpnet.errors import ArgumentError, dtype_name
from xpnet.ops.cuda.arrays import are_scalars, have_shape, kernel_scalars, supported
from xpnet.ops.cuda.elementwise import ROWS, column_sum_kernel, file_kernel, scalar_letters
from xpnet.ops.cuda.launch import Launch
from xpnet.ops.operations import Rule
from xpnet.ops.rules.activations import identity

ROWS_PER_BLOCK = 512
"""Arrays with more rows are divided among several blocks."""

MAX_BLOCKS_PER_COLUMN = 64
"""The maximum number of blocks for a column; in taller arrays each block takes more rows."""


def batch_norm(
    launch: Launch, xp: Namespace, name: str, arrays: Sequence[Array], rest: Sequence[Any]
) -> None:
    """Launch a kernel of ``batch_norm.cu``, after the kernel of its partial sums if it is tall.

    Args:
        launch: launches a kernel.
        xp: the namespace in which partial results are allocated.
        name: the name of the kernel; that of the partial results ends in ``_parts``.
        arrays: the arrays ``(m, n)`` to reduce, which are the first parameters of both kernels.
        rest: the parameters after these arrays and the partial results.
    """
    (m, n), dtype = arrays[0].shape, arrays[0].dtype
    grid, parts, sizes = grid_of(m, n), None, (np.int64(m), np.int64(n))
    if grid[1] > 1:
        parts = xp.empty((2, grid[1], n), dtype=dtype)
        kernel = file_kernel(f"{name}_parts", "batch_norm.cu", dtype_name(dtype))
        launch(kernel, grid, (32, ROWS), (*arrays, parts, *sizes))
    kernel = file_kernel(name, "batch_norm.cu", dtype_name(dtype))
    launch(kernel, grid, (32, ROWS), (*arrays, parts, *rest, *sizes))


def column_sums(
    launch: Launch,
    xp: Namespace,
    rule: Rule,
    letters: str,
    arrays: Sequence[Array | None],
    out: Array,
    scalars: tuple[Any, ...],
) -> bool:
    """Launch a `column_sum_kernel`; return False if no kernel supports these arguments.

    The first of ``arrays`` is the result, or ``None``; the others are those of ``letters``.
    """
    of_columns = [a for a, letter in zip(arrays[1:], letters, strict=True) if letter == "c"]
    given = [a for a in arrays[: len(arrays) - len(of_columns)] if a is not None]
    columns = [out, *(a for a in of_columns if a is not None)]
    x = given[-1]
    alike = x.ndim == 2 and have_shape(x.shape, *given) and have_shape(x.shape[1:], *columns)
    if not (alike and supported(*given, *columns) and are_scalars(scalars, x.dtype)):
        return False
    try:
        kernel = column_sum_kernel(rule, dtype_name(x.dtype), letters, scalar_letters(scalars))
    except (ArgumentError, AttributeError, TypeError):
        return False
    m, n = x.shape
    grid = grid_of(m, n)
    parts = out if grid[1] == 1 else xp.empty((grid[1], n), dtype=x.dtype)
    arguments = (*arrays, *kernel_scalars(scalars, x.dtype), parts, np.int64(m), np.int64(n))
    launch(kernel, grid, (32, ROWS), arguments)
    return grid[1] == 1 or column_sums(launch, xp, identity, "x", (None, parts), out, ())


def grid_of(m: int, n: int) -> tuple[int, int]:
    """The number of blocks along the columns and along the rows."""
    return ceil(n / 32), min(ceil(m / ROWS_PER_BLOCK), MAX_BLOCKS_PER_COLUMN)
