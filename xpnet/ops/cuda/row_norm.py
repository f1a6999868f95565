"""Kernels of layer norm and RMS norm: one warp for each row, and sums over the rows."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from xpnet.backend import Array, Namespace
from xpnet.errors import dtype_name
from xpnet.ops.cuda.arrays import have_shape, supported
from xpnet.ops.cuda.columns import column_sums, grid_of
from xpnet.ops.cuda.elementwise import ROWS, file_kernel
from xpnet.ops.cuda.launch import BLOCKS, Kernel, Launch
from xpnet.ops.rules.activations import identity

Given = tuple[Array, ...]


def row_norm(
    launch: Launch,
    x: Array,
    scale: Array,
    shift: Array | None,
    eps: float,
    centered: bool,
    results: Given,
) -> bool:
    """Fill ``y`` and ``rows``; return False if no kernel supports these arguments.

    The arguments are those of `xpnet.ops.operations.Operations.row_norm`.
    """
    columns = (scale,) if shift is None else (scale, shift)
    if x.ndim != 2 or not (supported(x, *columns) and have_shape(x.shape[1:], *columns)):
        return False
    number = x.dtype.type
    rest = scale, shift, number(eps), np.int64(centered), *results
    _launch_rows(launch, _kernel("row_norm", x), x, (x, *rest))
    return True


def row_norm_backward(
    launch: Launch,
    xp: Namespace,
    given: Given,
    d_scale: Array,
    d_shift: Array | None,
    centered: bool,
    dx: Array,
) -> bool:
    """Fill ``dx`` and the sums; return False if no kernel supports these arguments.

    ``given`` are ``dy, x, rows, scale`` of `xpnet.ops.operations.Operations.row_norm_backward`.
    """
    dy, x, rows, scale = given
    sums = (d_scale,) if d_shift is None else (d_scale, d_shift)
    if x.ndim != 2 or not (supported(*given, *sums) and have_shape(x.shape, dy)):
        return False
    (m, n), kind = x.shape, x.dtype
    if not (have_shape((m, 3), rows) and have_shape((n,), scale, *sums)):
        return False
    _launch_rows(launch, _kernel("row_norm_backward", x), x, (*given, np.int64(centered), dx))
    grid = grid_of(m, n)
    parts = sums if grid[1] == 1 else [xp.empty((grid[1], n), dtype=kind) for _ in sums]
    filled: tuple[Any, ...] = (*parts, None)[:2]
    sizes = np.int64(m), np.int64(n)
    launch(_kernel("row_norm_sums", x), grid, (32, ROWS), (dy, x, rows, *filled, *sizes))
    for part, out in zip(parts, sums, strict=True):
        if grid[1] > 1:
            column_sums(launch, xp, identity, "x", (None, part), out, ())
    return True


def _kernel(name: str, like: Array) -> Kernel:
    return file_kernel(name, "row_norm.cu", dtype_name(like.dtype))


def _launch_rows(launch: Launch, kernel: Kernel, x: Array, arguments: tuple[Any, ...]) -> None:
    """Launch a kernel with a warp for each row of ``x``."""
    m, n = x.shape
    grid = (min(ceil(m / ROWS), BLOCKS),)
    launch(kernel, grid, (32, ROWS), (*arguments, np.int64(m), np.int64(n)))
