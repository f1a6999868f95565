"""Operations of a captured training step besides those of its layers, in plain array code.

A captured step reads and writes device memory only, so that batch offsets, table rows and flags are
arrays of one number instead of Python numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xpnet.backend import Array, Namespace


class StepTables(NamedTuple):
    """What the steps of an epoch read, one row for each step, and the row of the current step.

    Attributes:
        cursor: the number of the current step, an array of one int64.
        order: row indices of the data, int64.
        integers: the offset of the batch in ``order`` and further integers of each step,
            ``(n_steps, k)``, int64.
        scalars: floating-point numbers of each step, ``(n_steps, s)``.
        now: the current row of ``integers`` and that of ``scalars``, ``(k,)`` and ``(s,)``.
    """

    cursor: Array
    order: Array
    integers: Array
    scalars: Array
    now: tuple[Array, Array]


class BatchRows(NamedTuple):
    """An array of the data and the memory of its batch.

    Attributes:
        source: rows of any dtype.
        out: the batch, to which the rows are converted.
        scaling: nothing, or arrays ``shift, width, begin`` of one number per column; with them the
            batch is ``(rows − shift)/width + begin``.
    """

    source: Array
    out: Array
    scaling: Sequence[Array] = ()


class LossLog(NamedTuple):
    """The losses of the steps of an epoch.

    Attributes:
        losses: the loss of each step.
        cursor: the number of the current step, an array of one int64.
    """

    losses: Array
    cursor: Array


@dataclass(frozen=True)
class GraphOperations:
    """The operations on one array namespace; `Operations.for_graphs` selects the version.

    Attributes:
        xp: the array namespace.

    >>> import numpy as np
    >>> ops, log = GraphOperations(np), LossLog(np.zeros(3), np.array([1]))
    >>> ops.record(log, np.array(0.5))
    >>> log
    LossLog(losses=array([0. , 0.5, 0. ]), cursor=array([2]))
    """

    xp: Namespace

    def begin_step(
        self,
        tables: StepTables,
        X: BatchRows | None,
        y: BatchRows,
        weight: BatchRows | None = None,
    ) -> None:
        """``now ← table[cursor]`` for both tables, then ``out_i ← source[order[offset + i]]``.

        Args:
            tables: the tables; the offset is the first integer of the current row.
            X: the features; ``None`` leaves their batch as it is.
            y: the targets.
            weight: the weights of the rows, or ``None``.
        """
        xp = self.xp
        for now, table in zip(tables.now, (tables.integers, tables.scalars), strict=True):
            now[...] = xp.take(table, tables.cursor, axis=0)[0, ...]
        for source, out, scaling in (part for part in (X, y, weight) if part is not None):
            at = xp.arange(out.shape[0], dtype=xp.int64, device=out.device) + tables.now[0][:1]
            rows = xp.astype(xp.take(source, xp.take(tables.order, at), axis=0), out.dtype)
            if scaling:
                shift, width, begin = scaling
                rows = (rows - shift) / width + begin
            out[...] = rows

    def record(self, log: LossLog, loss: Array) -> None:
        """``losses[cursor] ← loss``, then ``cursor ← cursor + 1``."""
        log.losses[log.cursor] = loss
        log.cursor[...] = log.cursor + 1

    def unscale(self, x: Array, scale: Array, found: Array) -> None:
        """``x ← x/scale`` in place, and ``found ← 1`` if an element of ``x`` is not finite.

        ``scale``, a power of two, and ``found`` are arrays of one number. Eager steps in fp16 use
        this operation too.
        """
        xp = self.xp
        broken = xp.sum(xp.astype(~xp.isfinite(x), x.dtype))
        found[...] = xp.minimum(found + broken, 1.0)
        x[...] = x / scale
