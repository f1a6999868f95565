"""Kernels for the operations of a captured step besides those of its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.errors import dtype_name
from xpnet.ops.cuda.arrays import have_shape, supported
from xpnet.ops.cuda.elementwise import C_TYPES, file_kernel, index_type
from xpnet.ops.cuda.launch import Launch, launch_linear
from xpnet.ops.graph_operations import BatchRows, GraphOperations, LossLog, StepTables


@dataclass(frozen=True)
class CudaGraphOperations(GraphOperations):
    """`GraphOperations`, each in one launch; unsupported arrays use the plain code.

    Attributes:
        launch: launches a kernel.
    """

    launch: Launch

    def begin_step(
        self,
        tables: StepTables,
        X: BatchRows | None,
        y: BatchRows,
        weight: BatchRows | None = None,
    ) -> None:
        """See `GraphOperations.begin_step`; an index out of range takes the nearest row."""
        number, n_data = tables.scalars.dtype, y.source.shape[0]
        fits = all(
            part is None or _is_batch(part, dtype, n_data)
            for part, dtype in ((X, number), (y, y.source.dtype), (weight, number))
        )
        fits = fits and (weight is None or weight.source.dtype == number)
        if not (fits and _are_tables(tables)):
            super().begin_step(tables, X, y, weight)
            return
        defines = {"TARGET": C_TYPES[dtype_name(y.source.dtype)]}
        defines["SOURCE"] = C_TYPES[dtype_name((y if X is None else X).source.dtype)]
        size = max(part.out.size for part in (X, y) if part is not None)
        defines["INDEX"] = index_type(size)
        kernel = file_kernel("begin_step", "begin_step.cu", dtype_name(number), **defines)
        features = (None,) * 2 if X is None else X[:2]
        scaling = tuple(() if X is None else X.scaling) or (None,) * 3
        arguments = (
            *(tables.cursor, tables.integers.shape[0]),
            *(tables.integers, tables.now[0], tables.now[0].size),
            *(tables.scalars, tables.now[1], tables.now[1].size),
            *(tables.order, tables.order.size, n_data, y.out.shape[0]),
            *(*features, 1 if X is None else X.out[0, ...].size, *scaling),
            *(y.source, y.out, y.out[0, ...].size),
            *((None, None) if weight is None else weight[:2]),
        )
        given = [np.int64(n) if isinstance(n, int) else n for n in arguments]
        launch_linear(self.launch, kernel, size, given)

    def record(self, log: LossLog, loss: Array) -> None:
        """See `GraphOperations.record`; a cursor out of range writes nothing."""
        if not (loss.size == 1 and fits_log(log, loss)):
            super().record(log, loss)
            return
        kernel = file_kernel("record", "record.cu", dtype_name(loss.dtype))
        self.launch(kernel, (1,), (1,), (*log, np.int64(log.losses.size), loss))

    def unscale(self, x: Array, scale: Array, found: Array) -> None:
        """See `GraphOperations.unscale`."""
        fits = supported(x, scale, found) and scale.size == found.size == 1
        if not fits:
            super().unscale(x, scale, found)
            return
        kernel = file_kernel("unscale", "scaling.cu", dtype_name(x.dtype))
        launch_linear(self.launch, kernel, x.size, (x, scale, found, np.int64(x.size)))


def launch_take(launch: Launch, x: Array, indices: Array, out: Array) -> bool:
    """Launch ``out_i ← x[indices[i]]``; return False if no kernel supports these arrays."""
    rows = BatchRows(x, out)
    if indices.shape != out.shape[:1] or not (
        are_int64(indices) and _is_batch(rows, x.dtype, x.shape[0])
    ):
        return False
    defines = {"INDEX": index_type(out.size)}
    kernel = file_kernel("take_rows", "take_rows.cu", dtype_name(x.dtype), **defines)
    sizes = map(np.int64, (out.shape[0], out[0, ...].size, x.shape[0]))
    launch_linear(launch, kernel, out.size, (x, indices, out, *sizes))
    return True


def fits_log(log: LossLog, loss: Array) -> bool:
    """Whether a kernel can append ``loss`` to the log."""
    singles = log.losses.ndim == log.cursor.size == loss.size == 1
    return singles and supported(log.losses, loss) and are_int64(log.cursor)


def are_int64(*arrays: Array) -> bool:
    """Whether the arrays hold int64 and are C-contiguous."""
    return all(dtype_name(a.dtype) == "int64" and a.flags.c_contiguous for a in arrays)


def _are_tables(tables: StepTables) -> bool:
    """Whether the shapes, strides and dtypes of the tables are supported."""
    (integers, scalars), rows = tables.now, tables.integers.shape[0]
    shapes = have_shape((rows, integers.size), tables.integers) and have_shape(
        (rows, scalars.size), tables.scalars
    )
    singles = tables.order.ndim == tables.cursor.size == 1
    whole = are_int64(tables.cursor, tables.order, tables.integers, integers)
    return shapes and singles and whole and supported(tables.scalars, scalars)


def _is_batch(part: BatchRows, dtype: Any, n_data: int) -> bool:
    """Whether an array of ``n_data`` rows and a batch of the dtype are supported."""
    source, out, scaling = part
    columns = have_shape(out.shape[1:], *scaling) and (not scaling or supported(out, *scaling))
    rows = source.shape == (n_data, *out.shape[1:]) and out.dtype == dtype
    whole = all(a.flags.c_contiguous and a.size > 0 for a in (source, out))
    known = all(dtype_name(a.dtype) in C_TYPES for a in (source, out))
    return columns and rows and whole and known
