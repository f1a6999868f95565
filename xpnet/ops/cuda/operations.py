"""Operations on CuPy arrays, each in one or two launches of a kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from typing import Any

import numpy as np

from xpnet.backend import Array, Namespace
from xpnet.errors import dtype_name, require
from xpnet.ops.cuda import sources
from xpnet.ops.cuda.gemm import product_of_own
from xpnet.ops.cuda.launch import Launch, launch
from xpnet.ops.cuda.proof import prove
from xpnet.ops.cuda.sources import ROWS, Kernel
from xpnet.ops.reference import Operations, Precision, Rule
from xpnet.ops.rules.activations import identity
from xpnet.ops.rules.layers import multiply, normalize

__all__ = ["CudaOperations", "product_of_own", "prove"]

THREADS = 256
"""The threads of a block of an elementwise kernel."""

BLOCKS = 4096
"""The most blocks of an elementwise kernel; beyond, a thread takes several elements."""

SHARE = 512
"""The rows that one block sums down a column; taller arrays are shared by several."""

FLOATS = ("float32", "float64")


@dataclass(frozen=True)
class CudaOperations(Operations):
    """One launch a rule, and kernels for what is not elementwise.

    What a kernel does not take (a strided array, another type, a rule that symbols cannot follow)
    the plain code of `Operations` does.

    Attributes:
        launch: starts a kernel; tests put a stand-in here.
        product: the matrix product ``(a, b, out) → out``; ``None`` for that of ``xp``.
    """

    launch: Launch = launch
    product: Callable[[Array, Array, Array], Array] | None = None

    def at_precision(self, precision: Precision) -> CudaOperations:
        """See `Operations.at_precision`."""
        product = product_of_own(precision)
        do = "Other precisions need the products of nvmath-python: pip install nvmath-python."
        ok = product is not None or precision == "float32"
        require(ok, "precision", "be 'float32' here", precision, do)
        return replace(self, product=product)

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
        first = targets[0]
        letters = "t" * len(targets)
        letters += "".join("o" if _is_one(array, first) else "x" for array in inputs)
        whole = [array for array, k in zip((*targets, *inputs), letters, strict=True) if k != "o"]
        if _fit(*whole) and all(array.shape == first.shape for array in whole):
            kernel = _kernel_of(rule, first, letters, len(targets), scalars)
            if kernel is not None:
                # Of an array that is one number spread over all, the kernel takes the first.
                inputs = [a[:1] if _is_one(a, first) else a for a in inputs]
                self._over(kernel, first.size, 1, (*targets, *inputs), first, scalars)
                return
        super().update(rule, targets, inputs, scalars)

    def shift(self, z: Array, bias: Array) -> Array:
        """See `Operations.shift`."""
        return self.shift_and_apply(identity, z, bias)

    def shift_and_apply(
        self, rule: Rule, z: Array, bias: Array, scalars: tuple[Any, ...] = ()
    ) -> Array:
        """See `Operations.shift_and_apply`."""
        done = self._run(_shifted(rule), "xb", (z, bias), scalars, z)
        return super().shift_and_apply(rule, z, bias, scalars) if done is None else done

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
        kernel = _kernel_of(normalize, x, "xbbbb", 2, ()) if _fit(x, *columns) else None
        if kernel is None:
            return super().normalize(x, columns)
        results = self._room(x, out), self._room(x, x_hat)
        self._over(kernel, x.size, x.shape[1], (*results, x, *columns), x, ())
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
        dz = self._room(dy, out)
        if not self._sum_columns(rule, "dx", (dz, dy, saved), sums, scalars):
            return super().chain_and_sum(rule, dy, saved, sums, scalars, out)
        return dz

    def column_sum(self, x: Array, out: Array | None = None) -> Array:
        """See `Operations.column_sum`."""
        sums = self.xp.empty(x.shape[1:], dtype=x.dtype) if out is None else out
        if not self._sum_columns(identity, "x", (None, x), sums, ()):
            return super().column_sum(x, out)
        return sums

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """See `Operations.matmul`."""
        if out is None:
            out = self.xp.empty((a.shape[0], b.shape[1]), dtype=a.dtype)
        if self.product is not None:
            return self.product(a, b, out)
        return self.xp.matmul(a, b, out=out)

    def batch_norm(
        self,
        x: Array,
        scale: Array,
        shift: Array,
        eps: float,
        out: Array | None = None,
        x_hat: Array | None = None,
    ) -> tuple[Array, Array, Array, Array]:
        """See `Operations.batch_norm`."""
        if not _fit(x, scale, shift):
            return super().batch_norm(x, scale, shift, eps)
        y, x_hat = self._room(x, out), self._room(x, x_hat)
        mean, var = self.xp.empty_like(scale), self.xp.empty_like(scale)
        results = (y, x_hat, mean, var)
        self._over_columns("batch_norm", (x, scale, shift, x.dtype.type(eps), *results), x)
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
        given = dy, x_hat, scale, var
        if not _fit(*given, d_scale, d_shift):
            return super().batch_norm_backward(*given, eps, d_scale, d_shift)
        dx = self._room(dy, out)
        arguments = (*given, dy.dtype.type(eps), d_scale, d_shift, dx)
        self._over_columns("batch_norm_backward", arguments, dy)
        return dx

    def keep_mask(self, like: Array, key: Any, p: float, out: Array | None = None) -> Array:
        """See `Operations.keep_mask`; the key may be an array of one int64 on the device."""
        if not _fit(like):
            return super().keep_mask(like, key, p)
        mask, on_device = self._room(like, out), hasattr(key, "shape")
        where = (key, np.int64(0)) if on_device else (None, np.int64(key))
        how = (*where, np.uint32(int(p * 2**32)), like.dtype.type(1.0 / (1.0 - p)), mask)
        kernel = sources.from_file("keep_mask", "masks.cu", dtype_name(like.dtype))
        self._launch_linear(kernel, like.size, (*how, np.int64(like.size)))
        return mask

    def take_rows(self, x: Array, indices: Array, out: Array | None = None) -> Array:
        """See `Operations.take_rows`."""
        if out is None:
            out = self.xp.empty((indices.shape[0], *x.shape[1:]), dtype=x.dtype)
        taken = self._take(x, indices, None, out, ())
        return out if taken else super().take_rows(x, indices)

    def take_batch(
        self, x: Array, order: Array, start: Array, out: Array, scaling: Sequence[Array] = ()
    ) -> Array:
        """See `Operations.take_batch`."""
        taken = self._take(x, order, start, out, scaling)
        return out if taken else super().take_batch(x, order, start, out, scaling)

    def softmax_cross_entropy(
        self, z: Array, target: Array, scale: Any, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Operations.softmax_cross_entropy`."""
        target_type = sources.TYPES.get(dtype_name(target.dtype))
        by_row = hasattr(scale, "shape")
        rows = (target,) if target.ndim == 2 else ()
        ok = target.flags.c_contiguous and _fit(z, *rows, *((scale,) if by_row else ()))
        if target_type is None or not ok:
            return super().softmax_cross_entropy(z, target, scale)
        (m, n), number, grad = z.shape, z.dtype.type, self._room(z, out)
        losses, loss = self.xp.empty(m, dtype=z.dtype), self.xp.empty((), dtype=z.dtype)
        factors = (scale, number(0)) if by_row else (None, number(scale))
        kernel = sources.from_file(
            "cross_entropy",
            "cross_entropy.cu",
            dtype_name(z.dtype),
            TARGET=target_type,
            TARGET_IS_INDEX=str(2 - target.ndim),
        )
        sizes = np.int64(m), np.int64(n)
        self.launch(kernel, (ceil(m / 8),), (32, 8), (z, target, *factors, losses, grad, *sizes))
        total = sources.from_file("total", "total.cu", dtype_name(z.dtype))
        self.launch(total, (1,), (32, ROWS), (losses, loss, sizes[0]))
        return loss, grad

    def advance(self, cursor: Array, tables: Sequence[Array], rows: Sequence[Array]) -> None:
        """See `Operations.advance`."""
        kernel = sources.from_file("advance", "advance.cu", dtype_name(rows[1].dtype))
        widths = [np.int64(row.size) for row in rows]
        pairs = zip(tables, rows, widths, strict=True)
        self.launch(kernel, (1,), (32,), (cursor, *(part for pair in pairs for part in pair)))

    def record(self, log: Array, cursor: Array, value: Array) -> None:
        """See `Operations.record`."""
        if not _fit(log, value):
            super().record(log, cursor, value)
            return
        kernel = sources.from_file("record", "advance.cu", dtype_name(log.dtype))
        self.launch(kernel, (1,), (1,), (log, cursor, value))

    def _take(
        self, x: Array, order: Array, start: Array | None, out: Array, scaling: Sequence[Array]
    ) -> bool:
        """Run the kernel that takes rows; whether there is one for these arrays."""
        source, target = (sources.TYPES.get(dtype_name(array.dtype)) for array in (x, out))
        whole = all(array.flags.c_contiguous for array in (x, order, out)) and out.size > 0
        if source is None or target is None or not whole or dtype_name(order.dtype) != "int64":
            return False
        dtype = dtype_name(out.dtype)
        kernel = sources.from_file("take_batch", "take_batch.cu", dtype, SOURCE=source)
        scale = tuple(scaling) or (None, None, None)
        sizes = np.int64(out.shape[0]), np.int64(out.size // out.shape[0])
        self._launch_linear(kernel, out.size, (x, order, start, *scale, out, *sizes))
        return True

    def _run(
        self,
        rule: Rule,
        letters: str,
        arrays: Sequence[Array],
        scalars: tuple[Any, ...],
        out: Array | None,
    ) -> Array | None:
        """A rule of arrays into one, in the shape of the first; ``None`` if a kernel cannot."""
        first = arrays[0]
        alike = [a.shape == first.shape for a, k in zip(arrays, letters, strict=True) if k != "b"]
        if not (all(alike) and _fit(*arrays)):
            return None
        kernel = _kernel_of(rule, first, letters, 1, scalars)
        if kernel is None:
            return None
        room = self._room(first, out)
        width = first.shape[-1] if "b" in letters else 1
        self._over(kernel, first.size, width, (room, *arrays), first, scalars)
        return room

    def _over(
        self,
        kernel: Kernel,
        size: int,
        width: int,
        arrays: Sequence[Array],
        like: Array,
        scalars: tuple[Any, ...],
    ) -> None:
        """Run an elementwise kernel over ``size`` elements."""
        numbers = [s if hasattr(s, "shape") else like.dtype.type(s) for s in scalars]
        sizes = np.int64(size), np.int64(width)
        self._launch_linear(kernel, size, (*arrays, *numbers, *sizes))

    def _launch_linear(self, kernel: Kernel, size: int, arguments: Sequence[Any]) -> None:
        self.launch(kernel, (min(ceil(size / THREADS), BLOCKS),), (THREADS,), arguments)

    def _room(self, like: Array, out: Array | None) -> Array:
        """``out`` if a kernel can fill it, else a new array like ``like``."""
        fits = out is not None and out.dtype == like.dtype and out.flags.c_contiguous
        return out if fits else self.xp.empty_like(like)

    def _over_columns(self, name: str, arguments: Sequence[Any], x: Array) -> None:
        m, n = x.shape
        kernel = sources.from_file(name, "batch_norm.cu", dtype_name(x.dtype))
        sizes = np.int64(m), np.int64(n)
        self.launch(kernel, (ceil(n / 32),), (32, ROWS), (*arguments, *sizes))

    def _sum_columns(
        self,
        rule: Rule,
        letters: str,
        arrays: Sequence[Array | None],
        sums: Array,
        scalars: tuple[Any, ...],
    ) -> bool:
        """Run a kernel that sums columns; whether there is one for these arrays."""
        x = arrays[-1]
        assert x is not None
        if x.ndim != 2 or not _fit(*(a for a in arrays if a is not None), sums):
            return False
        try:
            kernel = sources.column_sums(rule, dtype_name(x.dtype), letters, sources.kinds(scalars))
        except (AttributeError, TypeError):
            return False
        m, n = x.shape
        shares = min(ceil(m / SHARE), 64)
        parts = sums if shares == 1 else self.xp.empty((shares, n), dtype=x.dtype)
        numbers = [s if hasattr(s, "shape") else x.dtype.type(s) for s in scalars]
        arguments = (*arrays, *numbers, parts, np.int64(m), np.int64(n))
        self.launch(kernel, (ceil(n / 32), shares), (32, ROWS), arguments)
        return shares == 1 or self.column_sum(parts, sums) is sums


def _fit(*arrays: Array) -> bool:
    """Whether a kernel takes them: of one floating type, C-contiguous, and not empty."""
    dtype = arrays[0].dtype
    return dtype_name(dtype) in FLOATS and all(
        array.dtype == dtype and array.size > 0 and array.flags.c_contiguous for array in arrays
    )


def _is_one(array: Array, like: Array) -> bool:
    """Whether an array is one number for all elements of another, of the same type."""
    one = array.size == 1 != like.size or not any(array.strides)
    return one and array.dtype == like.dtype


@cache
def _shifted(rule: Rule) -> Rule:
    """``rule(xp, z + b, *scalars)`` as a rule of ``z`` and ``b``."""

    def shifted(xp: Namespace, z: Array, bias: Array, *scalars: Any) -> Array:
        return rule(xp, z + bias, *scalars)

    shifted.__name__ = f"{rule.__name__}_of_sum"
    return shifted


def _kernel_of(
    rule: Rule, like: Array, letters: str, n_outputs: int, scalars: tuple[Any, ...]
) -> Kernel | None:
    """The kernel of a rule; ``None`` for what symbols cannot follow."""
    try:
        return sources.elementwise(
            rule, dtype_name(like.dtype), letters, n_outputs, sources.kinds(scalars)
        )
    except (AttributeError, TypeError):
        return None
