"""Kernels for what a training step does besides the layers: batch, place in the epoch, scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpnet.backend import Array
from xpnet.errors import dtype_name
from xpnet.ops.cuda import sources
from xpnet.ops.cuda.arrays import FLOATS, fit, shaped
from xpnet.ops.cuda.launch import Launch, launch_linear


def take(
    launch: Launch,
    x: Array,
    order: Array,
    start: Array | None,
    out: Array,
    scaling: Sequence[Array],
) -> bool:
    """Take rows, as `Operations.take_batch`; whether there is a kernel for these arrays."""
    source, dtype = sources.TYPES.get(dtype_name(x.dtype)), dtype_name(out.dtype)
    if source is None or dtype not in sources.TYPES or not _are_rows(x, order, start, out):
        return False
    if not shaped(out.shape[1:], *scaling) or any(c.dtype != out.dtype for c in scaling):
        return False
    defines = {"SOURCE": source, "INDEX": sources.index_type(out.size)}
    kernel = sources.from_file("take_batch", "take_batch.cu", dtype, **defines)
    scale = tuple(scaling) or (None, None, None)
    sizes = map(np.int64, (out.shape[0], out.size // out.shape[0], order.size, x.shape[0]))
    launch_linear(launch, kernel, out.size, (x, order, start, *scale, out, *sizes))
    return True


def advance(launch: Launch, cursor: Array, tables: Sequence[Array], rows: Sequence[Array]) -> bool:
    """Move on, as `Operations.advance`; whether there is a kernel for these arrays."""
    dtype, height = rows[1].dtype, tables[0].shape[0]
    types = _are_int64(cursor, tables[0], rows[0]) and tables[1].dtype == dtype
    shapes = all(shaped((height, row.size), t) for t, row in zip(tables, rows, strict=True))
    if not (types and shapes and dtype_name(dtype) in FLOATS and cursor.size == 1 <= height):
        return False
    kernel = sources.from_file("advance", "advance.cu", dtype_name(dtype))
    widths = [np.int64(row.size) for row in rows]
    parts = [part for pair in zip(tables, rows, widths, strict=True) for part in pair]
    launch(kernel, (1,), (32,), (cursor, np.int64(height), *parts))
    return True


def record(launch: Launch, log: Array, cursor: Array, value: Array) -> bool:
    """Write a number down, as `Operations.record`; whether there is a kernel for these arrays."""
    if not (fit(log, value) and _are_int64(cursor) and log.ndim == cursor.size == value.size == 1):
        return False
    kernel = sources.from_file("record", "advance.cu", dtype_name(log.dtype))
    launch(kernel, (1,), (1,), (log, cursor, value, np.int64(log.size)))
    return True


def unscale(launch: Launch, x: Array, scale: Array, found: Array) -> bool:
    """Divide, as `Operations.unscale`; whether there is a kernel for these arrays."""
    if not (fit(x, scale, found) and scale.size == found.size == 1):
        return False
    kernel = sources.from_file("unscale", "scaling.cu", dtype_name(x.dtype))
    launch_linear(launch, kernel, x.size, (x, scale, found, np.int64(x.size)))
    return True


def _are_rows(x: Array, order: Array, start: Array | None, out: Array) -> bool:
    """Whether ``out`` can hold the rows of ``x`` that ``order`` names, from ``start`` on or all."""
    begins = out.shape[:1] == order.shape if start is None else start.size == 1
    fits = order.ndim == 1 and begins and x.shape[1:] == out.shape[1:]
    whole = all(array.flags.c_contiguous and array.size > 0 for array in (x, order, out))
    return fits and whole and _are_int64(order, *(() if start is None else (start,)))


def _are_int64(*arrays: Array) -> bool:
    return all(dtype_name(array.dtype) == "int64" for array in arrays)
