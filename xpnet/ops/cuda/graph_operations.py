"""Kernels for the operations of a captured step besides those of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xpnet.backend import Array
from xpnet.errors import dtype_name
from xpnet.ops.cuda.arrays import FLOATS, have_shape, supported
from xpnet.ops.cuda.elementwise import C_TYPES, file_kernel, index_type
from xpnet.ops.cuda.launch import Launch, launch_linear
from xpnet.ops.graph_operations import GraphOperations


@dataclass(frozen=True)
class CudaGraphOperations(GraphOperations):
    """`GraphOperations`, each in one launch; unsupported arrays use the plain code.

    Attributes:
        launch: launches a kernel.
    """

    launch: Launch

    def take_batch(
        self, x: Array, order: Array, start: Array, out: Array, scaling: Sequence[Array] = ()
    ) -> Array:
        """See `GraphOperations.take_batch`; an index out of range takes the nearest row."""
        if launch_take(self.launch, x, order, start, out, scaling):
            return out
        return super().take_batch(x, order, start, out, scaling)

    def advance(self, cursor: Array, tables: Sequence[Array], rows: Sequence[Array]) -> None:
        """See `GraphOperations.advance`; after the last row the last is repeated."""
        dtype, height = rows[1].dtype, tables[0].shape[0]
        types = _are_int64(cursor, tables[0], rows[0]) and tables[1].dtype == dtype
        pairs = list(zip(tables, rows, strict=True))
        shapes = all(have_shape((height, row.size), table) for table, row in pairs)
        if not (types and shapes and dtype_name(dtype) in FLOATS and cursor.size == 1 <= height):
            super().advance(cursor, tables, rows)
            return
        kernel = file_kernel("advance", "advance.cu", dtype_name(dtype))
        parts = [part for table, row in pairs for part in (table, row, np.int64(row.size))]
        self.launch(kernel, (1,), (32,), (cursor, np.int64(height), *parts))

    def record(self, log: Array, cursor: Array, value: Array) -> None:
        """See `GraphOperations.record`; a cursor out of range writes nothing."""
        singles = log.ndim == cursor.size == value.size == 1
        if not (supported(log, value) and _are_int64(cursor) and singles):
            super().record(log, cursor, value)
            return
        kernel = file_kernel("record", "advance.cu", dtype_name(log.dtype))
        self.launch(kernel, (1,), (1,), (log, cursor, value, np.int64(log.size)))

    def unscale(self, x: Array, scale: Array, found: Array) -> None:
        """See `GraphOperations.unscale`."""
        fits = supported(x, scale, found) and scale.size == found.size == 1
        if not fits:
            super().unscale(x, scale, found)
            return
        kernel = file_kernel("unscale", "scaling.cu", dtype_name(x.dtype))
        launch_linear(self.launch, kernel, x.size, (x, scale, found, np.int64(x.size)))


def launch_take(
    launch: Launch,
    x: Array,
    order: Array,
    start: Array | None,
    out: Array,
    scaling: Sequence[Array] = (),
) -> bool:
    """Launch `GraphOperations.take_batch`; return False if no kernel supports these arrays.

    Without ``start`` the rows at all of ``order`` are taken.
    """
    source, dtype = C_TYPES.get(dtype_name(x.dtype)), dtype_name(out.dtype)
    if source is None or dtype not in C_TYPES or not _are_rows(x, order, start, out):
        return False
    if not have_shape(out.shape[1:], *scaling) or any(c.dtype != out.dtype for c in scaling):
        return False
    defines = {"SOURCE": source, "INDEX": index_type(out.size)}
    kernel = file_kernel("take_batch", "take_batch.cu", dtype, **defines)
    scale = tuple(scaling) or (None, None, None)
    sizes = map(np.int64, (out.shape[0], out.size // out.shape[0], order.size, x.shape[0]))
    launch_linear(launch, kernel, out.size, (x, order, start, *scale, out, *sizes))
    return True


def _are_rows(x: Array, order: Array, start: Array | None, out: Array) -> bool:
    """Whether the shapes, strides and dtypes of a batch are supported."""
    begins = out.shape[:1] == order.shape if start is None else start.size == 1
    fits = order.ndim == 1 and begins and x.shape[1:] == out.shape[1:]
    whole = all(array.flags.c_contiguous and array.size > 0 for array in (x, order, out))
    return fits and whole and _are_int64(order, *(() if start is None else (start,)))


def _are_int64(*arrays: Array) -> bool:
    return all(dtype_name(array.dtype) == "int64" for array in arrays)
