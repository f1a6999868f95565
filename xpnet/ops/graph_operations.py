"""Operations of a captured training step besides those of its layers, in plain array code.

A captured step reads and writes device memory only, so that batch offsets, table rows and flags are
arrays of one number instead of Python numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xpnet.backend import Array, Namespace


@dataclass(frozen=True)
class GraphOperations:
    """The operations on one array namespace; `Operations.for_graphs` selects the version.

    Attributes:
        xp: the array namespace.

    >>> import numpy as np
    >>> ops, log = GraphOperations(np), np.zeros(3)
    >>> ops.record(log, np.array([1]), np.array(0.5))
    >>> log
    array([0. , 0.5, 0. ])
    """

    xp: Namespace

    def take_batch(
        self, x: Array, order: Array, start: Array, out: Array, scaling: Sequence[Array] = ()
    ) -> Array:
        """``out_i ← x[order[start + i]]``, converted to the dtype of ``out``; return ``out``.

        Args:
            x: rows of any dtype.
            order: row indices, int64.
            start: the offset of the batch in ``order``, an array of one int64.
            out: the array to fill.
            scaling: arrays ``shift, width, begin`` of one number per column; with them the result
                is ``(out − shift)/width + begin``.
        """
        xp = self.xp
        at = xp.arange(out.shape[0], dtype=xp.int64, device=out.device) + start
        rows = xp.astype(xp.take(x, xp.take(order, at), axis=0), out.dtype)
        if scaling:
            shift, width, begin = scaling
            rows = (rows - shift) / width + begin
        out[...] = rows
        return out

    def advance(self, cursor: Array, tables: Sequence[Array], rows: Sequence[Array]) -> None:
        """``cursor ← cursor + 1``, then ``row ← table[cursor]`` for each table.

        Args:
            cursor: the current row of the tables, an array of one int64.
            tables: an int64 and a floating table, with one row per step.
            rows: the arrays to fill, one per table.
        """
        cursor[...] = cursor + 1
        for table, row in zip(tables, rows, strict=True):
            row[...] = self.xp.take(table, cursor, axis=0)[0, ...]

    def record(self, log: Array, cursor: Array, value: Array) -> None:
        """``log[cursor] ← value``, where ``cursor`` is an array of one int64."""
        log[cursor] = value

    def unscale(self, x: Array, scale: Array, found: Array) -> None:
        """``x ← x/scale`` in place, and ``found ← 1`` if an element of ``x`` is not finite.

        ``scale``, a power of two, and ``found`` are arrays of one number. Eager steps in fp16 use
        this operation too.
        """
        xp = self.xp
        broken = xp.sum(xp.astype(~xp.isfinite(x), x.dtype))
        found[...] = xp.minimum(found + broken, 1.0)
        x[...] = x / scale
