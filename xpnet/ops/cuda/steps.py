"""Kernels for what a training step does besides the layers: its batch, its place in the epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpnet.backend import Array
from xpnet.errors import dtype_name
from xpnet.ops.cuda import sources
from xpnet.ops.cuda.arrays import fit
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
    source, target = (sources.TYPES.get(dtype_name(array.dtype)) for array in (x, out))
    whole = all(array.flags.c_contiguous for array in (x, order, out)) and out.size > 0
    if source is None or target is None or not whole or dtype_name(order.dtype) != "int64":
        return False
    dtype = dtype_name(out.dtype)
    kernel = sources.from_file("take_batch", "take_batch.cu", dtype, SOURCE=source)
    scale = tuple(scaling) or (None, None, None)
    sizes = np.int64(out.shape[0]), np.int64(out.size // out.shape[0])
    launch_linear(launch, kernel, out.size, (x, order, start, *scale, out, *sizes))
    return True


def advance(launch: Launch, cursor: Array, tables: Sequence[Array], rows: Sequence[Array]) -> None:
    """See `Operations.advance`."""
    kernel = sources.from_file("advance", "advance.cu", dtype_name(rows[1].dtype))
    widths = [np.int64(row.size) for row in rows]
    pairs = zip(tables, rows, widths, strict=True)
    launch(kernel, (1,), (32,), (cursor, *(part for pair in pairs for part in pair)))


def record(launch: Launch, log: Array, cursor: Array, value: Array) -> bool:
    """Write a number down, as `Operations.record`; whether there is a kernel for these arrays."""
    if not fit(log, value):
        return False
    kernel = sources.from_file("record", "advance.cu", dtype_name(log.dtype))
    launch(kernel, (1,), (1,), (log, cursor, value))
    return True
