"""Operations on CuPy arrays, most of them in one or two kernel launches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.errors import dtype_name, require
from xpnet.ops.cuda import columns, cublas_lt, row_norm, updates
from xpnet.ops.cuda.arrays import are_scalars, have_shape, kernel_scalars, on_device, supported
from xpnet.ops.cuda.cross_entropy import cross_entropy
from xpnet.ops.cuda.elementwise import (
    ROWS,
    file_kernel,
    index_type,
    kernel_for,
    shifted,
    shifted_and_kept,
    unless,
)
from xpnet.ops.cuda.graph_operations import CudaGraphOperations, launch_take
from xpnet.ops.cuda.launch import THREADS, Kernel, Launch, launch, launch_linear
from xpnet.ops.cuda.matmul import Product
from xpnet.ops.cuda.self_check import check_kernels, checked_product
from xpnet.ops.graph_operations import LossLog
from xpnet.ops.operations import Operations, Precision, Rule, RunningStatistics
from xpnet.ops.rules.activations import affine, identity
from xpnet.ops.rules.layers import multiply, normalize

__all__ = ["CudaOperations", "check_kernels"]

MAX_PARTS = 1024
"""The maximum number of blocks that compute a norm; each block of the next kernel combines them."""


@dataclass(frozen=True)
class CudaOperations(Operations):
    """Each rule in one launch, and kernels for operations that are not elementwise.

    Arguments that no kernel supports (strided arrays, other dtypes, rules that cannot be
    translated) use the plain code of `Operations`.

    Attributes:
        launch: launches a kernel; tests replace it.
        product: the matrix product; ``None`` for that of ``xp``.
        device: the index of the CUDA device; checks run once on each.
    """

    launch: Launch = launch
    product: Product | None = None
    device: int = 0

    def at_precision(self, precision: Precision) -> CudaOperations:
        """See `Operations.at_precision`."""
        product, reason = None, ""
        try:
            product = checked_product(self.xp, precision, self.device)
        except Exception as error:  # a compiler, a driver or a device can raise any exception
            if precision == "float32":
                raise
            reason = str(error)
        if product is None and precision != "float32":
            do = f"Its products fail: {reason or self.why_not_captured}."
            require(False, "precision", "be 'float32' here", precision, do)
        return replace(self, product=product)

    @property
    def why_not_captured(self) -> str:
        """See `Operations.why_not_captured`; products of CuPy itself cannot be captured."""
        return cublas_lt.why_unavailable()

    @property
    def for_graphs(self) -> CudaGraphOperations:
        """See `Operations.for_graphs`."""
        return CudaGraphOperations(self.xp, self.launch)

    def apply(
        self, rule: Rule, *arrays: Array, scalars: tuple[Any, ...] = (), out: Array | None = None
    ) -> Array:
        """See `Operations.apply`."""
        done = self._run(rule, "x" * len(arrays), arrays, scalars, out)
        return super().apply(rule, *arrays, scalars=scalars) if done is None else done

    def chain(
        self,
        rule: Rule,
        dy: Array,
        *arrays: Array,
        scalars: tuple[Any, ...] = (),
        out: Array | None = None,
    ) -> Array:
        """See `Operations.chain`."""
        done = self._run(rule, "d" + "x" * len(arrays), (dy, *arrays), scalars, out)
        return super().chain(rule, dy, *arrays, scalars=scalars) if done is None else done

    def update(
        self,
        rule: Rule,
        targets: Sequence[Array],
        inputs: Sequence[Array] = (),
        scalars: tuple[Any, ...] = (),
    ) -> None:
        """See `Operations.update`; a scalar may be an array of one number on the device."""
        if not updates.update(self.launch, None, rule, targets, inputs, scalars):
            super().update(rule, targets, inputs, scalars)

    def update_unless(
        self,
        flag: Array | None,
        rule: Rule,
        targets: Sequence[Array],
        inputs: Sequence[Array] = (),
        scalars: tuple[Any, ...] = (),
    ) -> None:
        """See `Operations.update_unless`; a captured step reads the flag at each replay."""
        if flag is not None:
            rule, scalars = unless(rule, len(targets)), (*scalars, flag)
        self.update(rule, targets, inputs, scalars)

    def update_decaying(
        self,
        flag: Array | None,
        rule: Rule,
        targets: Sequence[Array],
        inputs: Sequence[Array],
        scalars: tuple[Any, ...],
        n: int,
    ) -> None:
        """See `Operations.update_decaying`; one launch for both parts."""
        if not updates.update(self.launch, flag, rule, targets, inputs, scalars, n):
            super().update_decaying(flag, rule, targets, inputs, scalars, n)

    def shift(self, z: Array, bias: Array) -> Array:
        """See `Operations.shift`."""
        return self.shift_and_apply(identity, z, bias)

    def shift_and_apply(
        self, rule: Rule, z: Array, bias: Array, scalars: tuple[Any, ...] = ()
    ) -> Array:
        """See `Operations.shift_and_apply`."""
        done = self._run(shifted(rule), "xb", (z, bias), scalars, z)
        return super().shift_and_apply(rule, z, bias, scalars) if done is None else done

    def shift_and_keep(
        self,
        rule: Rule,
        z: Array,
        bias: Array,
        scalars: tuple[Any, ...] = (),
        out: Array | None = None,
        inner: Rule | None = None,
    ) -> tuple[Array, Array]:
        """See `Operations.shift_and_keep`."""
        fits = have_shape(z.shape[-1:], bias) and supported(z, bias)
        kernel = None
        if fits and are_scalars(scalars, z.dtype):
            kernel = kernel_for(shifted_and_kept(rule, inner), z, "xb", 2, scalars)
        if kernel is None:
            return super().shift_and_keep(rule, z, bias, scalars, out, inner)
        results = self._result_array(z, z), self._result_array(z, out)
        self._launch_elementwise(kernel, z.size, z.shape[-1], (*results, z, bias), z, scalars)
        return results

    def multiply(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """See `Operations.multiply`."""
        return self.apply(multiply, a, b, out=out)

    def normalize(
        self,
        x: Array,
        columns: Sequence[Array],
        out: Array | None = None,
        x_hat: Array | None = None,
    ) -> tuple[Array, Array]:
        """See `Operations.normalize`."""
        fits = x.ndim == 2 and supported(x, *columns) and have_shape(x.shape[1:], *columns)
        kernel = kernel_for(normalize, x, "xbbbbb", 2, ()) if fits else None
        if kernel is None:
            return super().normalize(x, columns)
        results = self._result_array(x, out), self._result_array(x, x_hat)
        self._launch_elementwise(kernel, x.size, x.shape[1], (*results, x, *columns), x, ())
        return results

    def chain_and_sum(
        self,
        rule: Rule,
        dy: Array,
        saved: Array,
        sums: Array,
        scalars: tuple[Any, ...] = (),
        out: Array | None = None,
    ) -> Array:
        """See `Operations.chain_and_sum`."""
        dz = self._result_array(dy, out)
        arrays = dz, dy, saved
        if not columns.column_sums(self.launch, self.xp, rule, "dx", arrays, sums, scalars):
            return super().chain_and_sum(rule, dy, saved, sums, scalars, out)
        return dz

    def apply_by_column(
        self, rule: Rule, x: Array, column: Array, out: Array | None = None
    ) -> Array:
        """See `Operations.apply_by_column`."""
        done = self._run(rule, "xb", (x, column), (), out)
        return super().apply_by_column(rule, x, column) if done is None else done

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
        dx = self._result_array(dy, out)
        arrays = dx, dy, x, column
        if not columns.column_sums(self.launch, self.xp, rule, "dxc", arrays, sums, ()):
            return super().chain_by_column(rule, dy, x, column, sums)
        return dx

    def column_sum(self, x: Array, out: Array | None = None) -> Array:
        """See `Operations.column_sum`."""
        sums = self.xp.empty(x.shape[1:], dtype=x.dtype) if out is None else out
        if not columns.column_sums(self.launch, self.xp, identity, "x", (None, x), sums, ()):
            return super().column_sum(x, out)
        return sums

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """See `Operations.matmul`."""
        shape = a.shape[:1] + b.shape[1:]
        if out is None:
            out = self.xp.empty(shape, dtype=a.dtype)
        if not (a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] and have_shape(shape, out)):
            return super().matmul(a, b, out)
        if self.product is not None:
            return self.product(a, b, out)
        return self.xp.matmul(a, b, out=out)

    def affine_and_apply(
        self, rule: Rule, x: Array, weight: Array, bias: Array, out: Array | None = None
    ) -> Array:
        """See `Operations.affine_and_apply`."""
        if self.product is not None:
            if out is None:
                out = self.xp.empty(x.shape[:1] + weight.shape[1:], dtype=x.dtype)
            if self.product.affine(rule, x, weight, bias, out):
                return out
        return super().affine_and_apply(rule, x, weight, bias, out)

    def matmul_and_sum(self, a: Array, b: Array, out: Array, sums: Array | None) -> Array:
        """See `Operations.matmul_and_sum`."""
        product = self.product
        if product is not None and sums is not None and product.gradients(a, b, out, sums):
            return out
        return super().matmul_and_sum(a, b, out, sums)

    def affine_backward(
        self,
        x: Array,
        weight: Array,
        dz: Array,
        d_weight: Array,
        out: Array | None = None,
        sums: Array | None = None,
    ) -> Array:
        """See `Operations.affine_backward`; a rounded ``dz`` is used by both products."""
        ops, product = self, self.product
        if product is not None and product.rounds:
            ops = replace(self, product=product.sharing(dz))
        return Operations.affine_backward(ops, x, weight, dz, d_weight, out, sums)

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
        """See `Operations.batch_norm`; the kernel also updates the running statistics."""
        rows = x.ndim == 2 and have_shape(x.shape[1:], scale, shift, *(running or ())[:3])
        if not (rows and supported(x, scale, shift, *(running or ())[:4])):
            return super().batch_norm(x, scale, shift, eps, running=running)
        y, x_hat = self._result_array(x, out), self._result_array(x, x_hat)
        mean, var, lost = (self.xp.empty_like(scale) for _ in range(3))
        results, number = (y, x_hat, mean, var, lost), x.dtype.type
        *views, momentum = running or (None,) * 5
        weights = (number(momentum or 0), number(0 if momentum is None else 1.0 - momentum))
        rest = (scale, shift, number(eps), *results, *views, *weights)
        columns.batch_norm(self.launch, self.xp, "batch_norm", (x,), rest)
        if running is not None and momentum is None:  # all blocks of the kernel read the old count
            self.update(affine, (running.count,), (), (1.0, float(x.shape[0])))
        return results

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
        arrays = dy, x_hat, scale, var
        rows = dy.ndim == 2 and have_shape(dy.shape[1:], scale, var, d_scale, d_shift)
        if not (rows and have_shape(dy.shape, x_hat) and supported(*arrays, d_scale, d_shift)):
            return super().batch_norm_backward(*arrays, eps, d_scale, d_shift)
        dx = self._result_array(dy, out)
        rest = (scale, var, dy.dtype.type(eps), d_scale, d_shift, dx)
        columns.batch_norm(self.launch, self.xp, "batch_norm_backward", (dy, x_hat), rest)
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
        if rows is None:
            rows = self.xp.empty((x.shape[0], 3), dtype=x.dtype)
        results = self._result_array(x, out), rows
        if not row_norm.row_norm(self.launch, x, scale, shift, eps, centered, results):
            return super().row_norm(x, scale, shift, eps, centered=centered)
        return results

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
        given, dx = (dy, x, rows, scale), self._result_array(dy, out)
        sums = d_scale, d_shift
        if not row_norm.row_norm_backward(self.launch, self.xp, given, *sums, centered, dx):
            return super().row_norm_backward(*given, *sums, centered=centered)
        return dx

    def largest_piece(
        self,
        z: Array,
        n_out: int,
        out: Array | None = None,
        piece: Array | None = None,
    ) -> tuple[Array, Array]:
        """See `Operations.largest_piece`."""
        if z.ndim != 2 or not supported(z) or z.shape[1] % n_out:
            return super().largest_piece(z, n_out)
        shape = z.shape[0], n_out
        y, piece = (self._filled(shape, z, array) for array in (out, piece))
        self._launch_pieces("largest_piece", (z, y, piece), z.shape[1] // n_out, y)
        return y, piece

    def largest_piece_backward(
        self, dy: Array, piece: Array, n_pieces: int, out: Array | None = None
    ) -> Array:
        """See `Operations.largest_piece_backward`."""
        if dy.ndim != 2 or not (supported(dy, piece) and have_shape(dy.shape, piece)):
            return super().largest_piece_backward(dy, piece, n_pieces)
        dz = self._filled((dy.shape[0], n_pieces * dy.shape[1]), dy, out)
        self._launch_pieces("largest_piece_backward", (dy, piece, dz), n_pieces, dy)
        return dz

    def ordered_thresholds(
        self, x: Array, first: Array, gaps: Array, out: Array | None = None
    ) -> Array:
        """See `Operations.ordered_thresholds`."""
        m, n = x.shape[0], 1 + gaps.shape[0]
        given = (x, first, gaps)[: 2 + (n > 1)]
        if not (supported(*given) and have_shape((m, 1), x) and have_shape((1,), first)):
            return super().ordered_thresholds(x, first, gaps)
        z = self._filled((m, n), x, out)
        kernel = file_kernel("ordered_thresholds", "thresholds.cu", dtype_name(x.dtype))
        launch_linear(self.launch, kernel, m, (x, first, gaps, z, np.int64(m), np.int64(n)))
        return z

    def ordered_thresholds_backward(
        self, dz: Array, gaps: Array, d_first: Array, d_gaps: Array, out: Array | None = None
    ) -> Array:
        """See `Operations.ordered_thresholds_backward`."""
        given = gaps, d_first, d_gaps
        shapes = [array.shape for array in given] == [(dz.shape[1] - 1,), (1,), (dz.shape[1] - 1,)]
        used = given if dz.shape[1] > 1 else (d_first,)
        if dz.ndim != 2 or not (shapes and supported(dz, *used)):
            return super().ordered_thresholds_backward(dz, *given)
        (m, n), sums = dz.shape, self.column_sum(dz)
        dx = self._filled((m, 1), dz, out)
        kernel = file_kernel("ordered_thresholds_backward", "thresholds.cu", dtype_name(dz.dtype))
        arguments = (dz, sums, *given, dx, np.int64(m), np.int64(n))
        launch_linear(self.launch, kernel, m, arguments)
        return dx

    def clip_by_norm(self, grad: Array, limit: float) -> None:
        """See `Operations.clip_by_norm`; the norm stays on the device."""
        if grad.ndim != 1 or not supported(grad):
            super().clip_by_norm(grad, limit)
            return
        norm = self._norm_parts(grad, 1.0)
        arguments = (grad, grad.dtype.type(limit), *norm, np.int64(grad.size))
        launch_linear(self.launch, norm_kernel("clip_by_norm", grad), grad.size, arguments)

    def ascend(self, theta: Array, grad: Array, rho: float, out: Array) -> None:
        """See `Operations.ascend`; the norm stays on the device."""
        arrays = theta, grad, out
        fits = all(array.shape == (grad.size,) for array in arrays) and supported(*arrays)
        if not fits or grad.size == 0:
            super().ascend(theta, grad, rho, out)
            return
        # The least normal number divides no gradient to infinity, and none but 0 to 0.
        norm = self._norm_parts(grad, float(np.finfo(grad.dtype).tiny))
        arguments = (*arrays, grad.dtype.type(rho), *norm, np.int64(grad.size))
        launch_linear(self.launch, norm_kernel("ascend", grad), grad.size, arguments)

    def _norm_parts(self, x: Array, least_unit: float) -> tuple[Array, Any, Any]:
        """The norms of parts of a vector, the least of their units, and the number of parts."""
        n_parts, unit = min(ceil(x.size / THREADS), MAX_PARTS), x.dtype.type(least_unit)
        parts = self.xp.empty(2 * n_parts, dtype=x.dtype)
        arguments = x, parts, unit, np.int64(x.size)
        self.launch(norm_kernel("norm_parts", x), (n_parts,), (THREADS,), arguments)
        return parts, unit, np.int64(n_parts)

    def row_weights(self, weight: Array) -> Array:
        """See `Operations.row_weights`."""
        if not supported(weight):
            return super().row_weights(weight)
        kernel = file_kernel("row_weights", "row_weights.cu", dtype_name(weight.dtype))
        share = self.xp.empty_like(weight)
        self.launch(kernel, (1,), (32, ROWS), (weight, share, np.int64(weight.size)))
        return share

    def keep_mask(
        self, like: Array, key: Any, p: float, out: Array | None = None, *, first_row: Any = 0
    ) -> Array:
        """See `Operations.keep_mask`; the key may be an array of one int64 on the device."""
        is_array = on_device(key)
        bad_key = is_array and (key.size != 1 or dtype_name(key.dtype) != "int64")
        if bad_key or on_device(first_row) or not supported(like):
            return super().keep_mask(like, key, p, first_row=first_row)
        mask = self._result_array(like, out)
        keys = (key, np.int64(0)) if is_array else (None, np.int64(key))
        limit, kept = np.uint32(int(p * 2**32)), like.dtype.type(1.0 / (1.0 - p))
        kernel = file_kernel("keep_mask", "masks.cu", dtype_name(like.dtype))
        start = np.int64(first_row * like.shape[1])
        arguments = (*keys, start, limit, kept, mask, np.int64(like.size))
        launch_linear(self.launch, kernel, like.size, arguments)
        return mask

    def take_rows(self, x: Array, indices: Array, out: Array | None = None) -> Array:
        """See `Operations.take_rows`; an index out of range takes the nearest row."""
        if out is None:
            out = self.xp.empty((indices.shape[0], *x.shape[1:]), dtype=x.dtype)
        taken = launch_take(self.launch, x, indices, out)
        return out if taken else super().take_rows(x, indices)

    def join_columns(self, parts: Sequence[Array], out: Array | None = None) -> Array:
        """See `Operations.join_columns`; CuPy copies each part into ``out``."""
        if len(parts) == 1 or out is None:
            return super().join_columns(parts)
        start = 0
        for part in parts:
            stop = start + part.shape[1]
            out[:, start:stop] = part
            start = stop
        return out

    def take_columns(self, x: Array, start: int, stop: int, out: Array | None = None) -> Array:
        """See `Operations.take_columns`; copied, because kernels take no strided array."""
        if out is None:
            out = self.xp.empty((x.shape[0], stop - start), dtype=x.dtype)
        out[...] = x[:, start:stop]
        return out

    def softmax_cross_entropy(
        self, z: Array, target: Array, scale: Any, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Operations.softmax_cross_entropy`; small batches need one launch."""
        grad = self._result_array(z, out)
        loss = cross_entropy(self.launch, self.xp, z, target, scale, grad, None)
        return super().softmax_cross_entropy(z, target, scale) if loss is None else (loss, grad)

    def logged_cross_entropy(
        self, log: LossLog, z: Array, target: Array, scale: Any, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Operations.logged_cross_entropy`; the kernel of the loss appends it."""
        grad = self._result_array(z, out)
        loss = cross_entropy(self.launch, self.xp, z, target, scale, grad, log)
        return super().logged_cross_entropy(log, z, target, scale) if loss is None else (loss, grad)

    def _run(
        self,
        rule: Rule,
        letters: str,
        arrays: Sequence[Array],
        scalars: tuple[Any, ...],
        out: Array | None,
    ) -> Array | None:
        """Run a rule with one result, shaped as the first array; ``None`` if no kernel can."""
        first = arrays[0]
        shapes = [first.shape[-1:] if letter == "b" else first.shape for letter in letters]
        alike = all(have_shape(shape, array) for shape, array in zip(shapes, arrays, strict=True))
        if not (alike and supported(*arrays) and are_scalars(scalars, first.dtype)):
            return None
        kernel = kernel_for(rule, first, letters, 1, scalars)
        if kernel is None:
            return None
        result = self._result_array(first, out)
        width = first.shape[-1] if "b" in letters else 1
        self._launch_elementwise(kernel, first.size, width, (result, *arrays), first, scalars)
        return result

    def _launch_elementwise(
        self,
        kernel: Kernel,
        size: int,
        width: int,
        arrays: Sequence[Array],
        like: Array,
        scalars: tuple[Any, ...],
    ) -> None:
        """Launch an elementwise kernel over ``size`` elements of rows of ``width``."""
        sizes = np.int64(size), np.int64(width)
        arguments = (*arrays, *kernel_scalars(scalars, like.dtype), *sizes)
        launch_linear(self.launch, kernel, size, arguments)

    def _result_array(self, like: Array, out: Array | None) -> Array:
        """``out`` if a kernel can fill it, otherwise a new array like ``like``."""
        return self._filled(like.shape, like, out)

    def _filled(self, shape: tuple[int, ...], like: Array, out: Array | None) -> Array:
        """``out`` if a kernel can fill it, otherwise a new array of a shape."""
        fits = out is not None and have_shape(shape, out) and supported(like, out)
        return out if fits else self.xp.empty(shape, dtype=like.dtype)

    def _launch_pieces(
        self, name: str, arrays: Sequence[Array], n_pieces: int, like: Array
    ) -> None:
        """Launch a kernel of ``pieces.cu`` over the elements of ``like``."""
        index = index_type(like.size * n_pieces)
        kernel = file_kernel(name, "pieces.cu", dtype_name(like.dtype), INDEX=index)
        sizes = np.int64(n_pieces), np.int64(like.size), np.int64(like.shape[1])
        launch_linear(self.launch, kernel, like.size, (*arrays, *sizes))


def norm_kernel(name: str, x: Array) -> Kernel:
    """A kernel of ``norms.cu`` for vectors like ``x``."""
    return file_kernel(name, "norms.cu", dtype_name(x.dtype), THREADS=str(THREADS))
