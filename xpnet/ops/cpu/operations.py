"""Operations on NumPy arrays in compiled loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.ops.cpu import elementwise, pieces, row_norm, rowwise, thresholds, vectors
from xpnet.ops.cpu.jit import NotCompiled, loop_of
from xpnet.ops.cpu.jit.definition import why_not_compiled
from xpnet.ops.cpu.runner import EagerRunner, LoopRunner
from xpnet.ops.numpy import NumPyOperations
from xpnet.ops.operations import Operations, Rule, RunningStatistics
from xpnet.ops.rules.activations import identity


def compiled_operations() -> CompiledOperations:
    """The operations, once one loop has been loaded from disk or compiled.

    Raises:
        ImportError: if the compiler cannot be used, such as a Numba that needs another NumPy.
    """
    try:
        loop_of(rowwise.convert, np.dtype("float32"))
    except NotCompiled as error:
        raise ImportError(str(error)) from error
    return CompiledOperations(np)


@dataclass(frozen=True)
class CompiledOperations(Operations):
    """Each rule in one compiled loop: one pass over memory, without arrays for parts of it.

    `NumPyOperations` computes what no loop accepts, such as strided arrays and other types.

    Attributes:
        runner: runs the loops; one that records them takes its place.
        plain: the operations without a compiler.
    """

    runner: LoopRunner = field(default_factory=EagerRunner)
    plain: NumPyOperations = field(default_factory=lambda: NumPyOperations(np))

    matmul = NumPyOperations.matmul
    multiply = NumPyOperations.multiply

    def why_not_compiled(self, rule: Rule) -> str:
        """See `Operations.why_not_compiled`."""
        return why_not_compiled(rule)

    def apply(
        self, rule: Rule, *arrays: Array, scalars: tuple[float, ...] = (), out: Array | None = None
    ) -> Array:
        """See `Operations.apply`."""
        x = arrays[0]
        if out is x and len(arrays) == 1:  # LLVM vectorizes no loop from an array to itself
            self.update(rule, (out,), (), scalars)
            return out
        if out is None:
            out = np.empty_like(x)
        build = elementwise.apply_to_one if len(arrays) == 1 else elementwise.apply_to_two
        key = build, rule, out.dtype, len(scalars)
        try:
            self.runner.run(key, (*arrays, out), scalars)
        except NotCompiled:
            plain = self.plain.apply
            return self.runner.fall_back(out, plain, rule, *arrays, scalars=scalars, out=out)
        return out

    def chain(
        self,
        rule: Rule,
        dy: Array,
        *arrays: Array,
        scalars: tuple[float, ...] = (),
        out: Array | None = None,
    ) -> Array:
        """See `Operations.chain`."""
        if out is None:
            out = np.empty_like(dy)
        key = elementwise.chain, rule, out.dtype, len(scalars)
        try:
            self.runner.run(key, (dy, *arrays, out), scalars)
        except NotCompiled:
            plain = self.plain.chain
            return self.runner.fall_back(out, plain, rule, dy, *arrays, scalars=scalars, out=out)
        return out

    def update(
        self,
        rule: Rule,
        targets: Sequence[Array],
        inputs: Sequence[Array] = (),
        scalars: tuple[float, ...] = (),
    ) -> None:
        """See `Operations.update`."""
        counts = len(targets), len(inputs), len(scalars)
        key = elementwise.update, rule, targets[0].dtype, *counts
        try:
            self.runner.run(key, (*targets, *inputs), scalars)
        except NotCompiled:
            self.runner.fall_back(None, self.plain.update, rule, targets, inputs, scalars)

    def shift_and_apply(
        self, rule: Rule, z: Array, bias: Array, scalars: tuple[float, ...] = ()
    ) -> Array:
        """See `Operations.shift_and_apply`."""
        key = elementwise.shift_and_apply, rule, z.dtype, len(scalars)
        try:
            self.runner.run(key, (z,), bias, scalars)
        except NotCompiled:
            return self.runner.fall_back(z, self.plain.shift_and_apply, rule, z, bias, scalars)
        return z

    def shift_and_keep(
        self,
        rule: Rule,
        z: Array,
        bias: Array,
        scalars: tuple[float, ...] = (),
        out: Array | None = None,
        inner: Rule | None = None,
    ) -> tuple[Array, Array]:
        """See `Operations.shift_and_keep`."""
        if out is None:
            out = np.empty_like(z)
        key = elementwise.shift_and_keep, rule, inner, z.dtype, len(scalars)
        try:
            self.runner.run(key, (z, out), bias, scalars)
        except NotCompiled:
            return super().shift_and_keep(rule, z, bias, scalars, out, inner)
        return z, out

    def chain_and_sum(
        self,
        rule: Rule,
        dy: Array,
        saved: Array,
        sums: Array,
        scalars: tuple[float, ...] = (),
        out: Array | None = None,
    ) -> Array:
        """See `Operations.chain_and_sum`."""
        if out is None:
            out = np.empty_like(dy)
        key = elementwise.chain_and_sum, rule, out.dtype, len(scalars)
        try:
            self.runner.run_sums(key, (dy, saved, out), sums, scalars)
        except NotCompiled:
            plain = self.plain.chain_and_sum
            return self.runner.fall_back(out, plain, rule, dy, saved, sums, scalars, out)
        return out

    def apply_by_column(
        self, rule: Rule, x: Array, column: Array, out: Array | None = None
    ) -> Array:
        """See `Operations.apply_by_column`."""
        if out is None:
            out = np.empty_like(x)
        try:
            self.runner.run((elementwise.apply_by_column, rule, out.dtype), (x, out), column)
        except NotCompiled:
            plain = self.plain.apply_by_column
            return self.runner.fall_back(out, plain, rule, x, column, out)
        return out

    def chain_by_column(
        self,
        rule: Rule,
        dy: Array,
        x: Array,
        column: Array,
        sums: Array,
        out: Array | None = None,
    ) -> Array:
        """See `Operations.chain_by_column`."""
        if out is None:
            out = np.empty_like(dy)
        key = elementwise.chain_by_column, rule, out.dtype
        try:
            self.runner.run_sums(key, (dy, x, out), sums, column)
        except NotCompiled:
            plain = self.plain.chain_by_column
            return self.runner.fall_back(out, plain, rule, dy, x, column, sums, out)
        return out

    def shift(self, z: Array, bias: Array) -> Array:
        """See `Operations.shift`."""
        return self.shift_and_apply(identity, z, bias)

    def total(self, x: Array, factor: float) -> Array:
        """See `Operations.total`."""
        sums = np.empty_like(x, shape=1, dtype=np.float64)
        try:
            self.runner.run_sums((rowwise.total, x.dtype), (x,), sums, factor)
        except NotCompiled:
            return self.plain.total(x, factor)
        return self.runner.scalar(x.dtype, sums)

    def column_sum(self, x: Array, out: Array | None = None) -> Array:
        """See `Operations.column_sum`."""
        if out is None:
            out = np.empty_like(x, shape=x.shape[1:])
        try:
            self.runner.run_sums((rowwise.column_sum, x.dtype), (x,), out)
        except NotCompiled:
            return self.plain.column_sum(x, out)
        return out

    def ascend(self, theta: Array, grad: Array, rho: float, out: Array) -> None:
        """See `Operations.ascend`."""
        try:
            self.runner.call((vectors.ascend, theta.dtype), theta, grad, out, rho)
        except NotCompiled:
            self.runner.fall_back(None, self.plain.ascend, theta, grad, rho, out)

    def take_rows(self, x: Array, indices: Array, out: Array | None = None) -> Array:
        """See `Operations.take_rows`; an index out of range takes the nearest row."""
        if out is None or x.ndim != 2:
            return self.plain.take_rows(x, indices, out)
        try:
            self.runner.run((rowwise.take_rows, out.dtype), (indices, out), x)
        except NotCompiled:
            return self.plain.take_rows(x, indices, out)
        return out

    def join_columns(self, parts: Sequence[Array], out: Array | None = None) -> Array:
        """See `Operations.join_columns`."""
        if len(parts) == 1:
            return parts[0]
        width = sum(part.shape[1] for part in parts)
        if out is None:
            out = np.empty_like(parts[0], shape=(parts[0].shape[0], width))
        start = 0
        try:
            for part in parts:
                self.runner.run((rowwise.put_columns, out.dtype), (part, out), start)
                start += part.shape[1]
        except NotCompiled:
            return self.plain.join_columns(parts, out)
        return out

    def take_columns(self, x: Array, start: int, stop: int, out: Array | None = None) -> Array:
        """See `Operations.take_columns`; copied, because loops accept no strided array."""
        if out is None:
            out = np.empty_like(x, shape=(x.shape[0], stop - start))
        try:
            self.runner.run((rowwise.take_columns, x.dtype), (x, out), start)
        except NotCompiled:
            return self.plain.take_columns(x, start, stop)
        return out

    def normalize(
        self,
        x: Array,
        columns: Sequence[Array],
        out: Array | None = None,
        x_hat: Array | None = None,
    ) -> tuple[Array, Array]:
        """See `Operations.normalize`."""
        y = np.empty_like(x) if out is None else out
        x_hat = np.empty_like(x) if x_hat is None else x_hat
        try:
            self.runner.run((rowwise.normalize, x.dtype), (x, y, x_hat), *columns)
        except NotCompiled:
            return self.plain.normalize(x, columns, y, x_hat)
        return y, x_hat

    def batch_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        eps: float,
        out: Array | None = None,
        x_hat: Array | None = None,
        running: RunningStatistics | None = None,
    ) -> tuple[Array, Array, Array, Array, Array]:
        """See `Operations.batch_norm`."""
        y = np.empty_like(x) if out is None else out
        x_hat = np.empty_like(x) if x_hat is None else x_hat
        mean, var, factor, rest = (np.empty_like(scale) for _ in range(4))
        key = rowwise.batch_norm, x.dtype
        try:
            self.runner.call(key, x, scale, shift, eps, y, x_hat, mean, var, factor, rest)
        except NotCompiled:
            y, x_hat, mean, var, rest = self.plain.batch_norm(x, scale, shift, eps, out, x_hat)
        if running is not None:
            self._update_running(running, mean, rest, var, x.shape[0])
        return y, x_hat, mean, var, rest

    def batch_norm_backward(
        self,
        dy: Array,
        x_hat: Array,
        scale: Array,
        var: Array,
        eps: float,
        d_scale: Array,
        d_shift: Array,
        out: Array | None = None,
    ) -> Array:
        """See `Operations.batch_norm_backward`."""
        dx = np.empty_like(dy) if out is None else out
        factor, key = np.empty_like(scale), (rowwise.batch_norm_backward, dy.dtype)
        try:
            self.runner.call(key, dy, x_hat, scale, var, eps, d_scale, d_shift, dx, factor)
        except NotCompiled:
            arguments = dy, x_hat, scale, var, eps, d_scale, d_shift, out
            return self.plain.batch_norm_backward(*arguments)
        return dx

    def row_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array | None,
        eps: float,
        *,
        centered: bool = True,
        out: Array | None = None,
        rows: Array | None = None,
    ) -> tuple[Array, Array]:
        """See `Operations.row_norm`."""
        y = np.empty_like(x) if out is None else out
        rows = np.empty_like(x, shape=(x.shape[0], 3)) if rows is None else rows
        key = row_norm.row_norm, x.dtype, centered, shift is not None
        beta = scale if shift is None else shift  # which the loop of this key does not read
        try:
            self.runner.run(key, (x, rows, y), scale, beta, eps)
        except NotCompiled:
            return self.plain.row_norm(x, scale, shift, eps, centered=centered)
        return y, rows

    def row_norm_backward(
        self,
        dy: Array,
        x: Array,
        rows: Array,
        scale: Array,
        d_scale: Array,
        d_shift: Array | None,
        *,
        centered: bool = True,
        out: Array | None = None,
    ) -> Array:
        """See `Operations.row_norm_backward`."""
        dx = np.empty_like(dy) if out is None else out
        key = row_norm.row_norm_backward, dy.dtype, centered, d_shift is not None
        d_beta = d_scale if d_shift is None else d_shift
        try:
            self.runner.call(key, dy, x, rows, scale, d_scale, d_beta, dx)
        except NotCompiled:
            arguments = dy, x, rows, scale, d_scale, d_shift
            return self.plain.row_norm_backward(*arguments, centered=centered)
        return dx

    def largest_piece(
        self,
        z: Array,
        n_out: int,
        out: Array | None = None,
        piece: Array | None = None,
    ) -> tuple[Array, Array]:
        """See `Operations.largest_piece`."""
        shape = z.shape[0], n_out
        y = np.empty_like(z, shape=shape) if out is None else out
        piece = np.empty_like(z, shape=shape) if piece is None else piece
        try:
            self.runner.run((pieces.largest_piece, z.dtype), (z, piece, y))
        except NotCompiled:
            return self.plain.largest_piece(z, n_out)
        return y, piece

    def largest_piece_backward(
        self, dy: Array, piece: Array, n_pieces: int, out: Array | None = None
    ) -> Array:
        """See `Operations.largest_piece_backward`."""
        m, n = dy.shape
        dz = np.empty_like(dy, shape=(m, n_pieces * n)) if out is None else out
        try:
            self.runner.run((pieces.largest_piece_backward, dy.dtype), (dy, piece, dz))
        except NotCompiled:
            return self.plain.largest_piece_backward(dy, piece, n_pieces)
        return dz

    def ordered_thresholds(
        self, x: Array, first: Array, gaps: Array, out: Array | None = None
    ) -> Array:
        """See `Operations.ordered_thresholds`."""
        z = np.empty_like(x, shape=(x.shape[0], 1 + gaps.size)) if out is None else out
        try:
            self.runner.run((thresholds.ordered_thresholds, x.dtype), (x, z), first, gaps)
        except NotCompiled:
            return self.runner.fall_back(z, self.plain.ordered_thresholds, x, first, gaps)
        return z

    def ordered_thresholds_backward(
        self, dz: Array, gaps: Array, d_first: Array, d_gaps: Array, out: Array | None = None
    ) -> Array:
        """See `Operations.ordered_thresholds_backward`."""
        dx = np.empty_like(dz, shape=(dz.shape[0], 1)) if out is None else out
        arguments = dz, gaps, d_first, d_gaps
        try:
            key = thresholds.ordered_thresholds_backward, dz.dtype
            self.runner.call(key, *arguments, dx)
        except NotCompiled:
            return self.runner.fall_back(dx, self.plain.ordered_thresholds_backward, *arguments)
        return dx

    def keep_mask(
        self, like: Array, key: Any, p: float, out: Array | None = None, *, first_row: Any = 0
    ) -> Array:
        """See `Operations.keep_mask`."""
        mask = np.empty_like(like) if out is None else out
        loop, threshold, kept = (rowwise.keep_mask, like.dtype), int(p * 2**32), 1.0 / (1.0 - p)
        try:
            self.runner.call(loop, mask, key, first_row, like.shape[1], threshold, kept)
        except NotCompiled:
            return self.plain.keep_mask(like, key, p, out, first_row=first_row)
        return mask

    def softmax_cross_entropy(
        self, z: Array, target: Array, scale: Any, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Operations.softmax_cross_entropy`."""
        grad = np.empty_like(z) if out is None else out
        loss = np.empty_like(z, shape=1, dtype=np.float64)
        try:
            if target.ndim == 1 and isinstance(scale, float):
                indices = target if target.dtype == np.int64 else np.astype(target, np.int64)
                key = rowwise.cross_entropy_of_indices, z.dtype
                self.runner.run_sums(key, (grad, z, indices, grad), loss, scale)
            else:
                each = self.one_hot(target, z) if target.ndim == 1 else target
                column = np.empty_like(z, shape=z.shape[:1])
                column[...] = scale if isinstance(scale, float) else scale[:, 0]
                key = rowwise.cross_entropy_of_rows, z.dtype
                self.runner.run_sums(key, (grad, z, each, column, grad), loss)
        except NotCompiled:
            return self.plain.softmax_cross_entropy(z, target, scale, out)
        return self.runner.scalar(z.dtype, loss), grad
