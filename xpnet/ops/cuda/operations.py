"""Operations on CuPy arrays, each in one or two launches of a kernel."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.errors import FallbackWarning, dtype_name, require
from xpnet.ops.cuda import columns, sources, steps, updates
from xpnet.ops.cuda.arrays import are_numbers, fit, in_type, on_device, shaped
from xpnet.ops.cuda.composed import shifted, unless
from xpnet.ops.cuda.epilogue_trial import proven_epilogues
from xpnet.ops.cuda.epilogues import Epilogues
from xpnet.ops.cuda.launch import Launch, launch, launch_linear
from xpnet.ops.cuda.matmul import Product, product_of_own
from xpnet.ops.cuda.self_check import prove, why_not
from xpnet.ops.cuda.sources import ROWS, Kernel
from xpnet.ops.operations import Operations, Precision, Rule
from xpnet.ops.rules.activations import identity
from xpnet.ops.rules.layers import multiply, normalize

__all__ = ["CudaOperations", "product_of_own", "prove", "proven_epilogues"]


@dataclass(frozen=True)
class CudaOperations(Operations):
    """One launch a rule, and kernels for what is not elementwise.

    What a kernel does not take (a strided array, another type, a rule that symbols cannot follow)
    the plain code of `Operations` does.

    Attributes:
        launch: starts a kernel; tests put a stand-in here.
        product: the matrix product ``(a, b, out) → out``; ``None`` for that of ``xp``.
        epilogues: what a product may end with; ``None``: nothing.
        trying: whether a proof calls, so that what is to be tried is not tried before.
    """

    launch: Launch = launch
    product: Callable[[Array, Array, Array], Array] | None = None
    epilogues: Epilogues | None = None
    trying: bool = False

    def at_precision(self, precision: Precision) -> CudaOperations:
        """See `Operations.at_precision`."""
        product, rule = product_of_own(precision), "be 'float32' here"
        made = replace(self, product=product, epilogues=None)
        if precision != "float32":
            do = "Other precisions need the products of nvmath-python: pip install nvmath-python."
            require(product is not None, "precision", rule, precision, do)
            reason = _why_not(made, "products")
            require(not reason, "precision", rule, precision, f"Its products fail: {reason}.")
        return replace(made, epilogues=proven_epilogues(product, self.xp))

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
        """See `Operations.update_unless`; a captured step reads the flag at every replay."""
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
        """See `Operations.update_decaying`; one launch all the same."""
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
        suits = fit(x, *columns) and x.ndim == 2 and shaped(x.shape[1:], *columns)
        kernel = sources.of_rule(normalize, x, "xbbbb", 2, ()) if suits else None
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
        given = dz, dy, saved
        if not columns.sums(self.launch, self.xp, rule, "dx", given, sums, scalars):
            return super().chain_and_sum(rule, dy, saved, sums, scalars, out)
        return dz

    def column_sum(self, x: Array, out: Array | None = None) -> Array:
        """See `Operations.column_sum`."""
        sums = self.xp.empty(x.shape[1:], dtype=x.dtype) if out is None else out
        if not columns.sums(self.launch, self.xp, identity, "x", (None, x), sums, ()):
            return super().column_sum(x, out)
        return sums

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """See `Operations.matmul`."""
        shape = a.shape[:1] + b.shape[1:]
        if out is None:
            out = self.xp.empty(shape, dtype=a.dtype)
        if not (a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] and shaped(shape, out)):
            return super().matmul(a, b, out)
        if self.product is not None:
            return self.product(a, b, out)
        return self.xp.matmul(a, b, out=out)

    def affine_and_apply(
        self, rule: Rule, x: Array, weight: Array, bias: Array, out: Array | None = None
    ) -> Array:
        """See `Operations.affine_and_apply`."""
        if self.epilogues is not None:
            if out is None:
                out = self.xp.empty(x.shape[:1] + weight.shape[1:], dtype=x.dtype)
            if self.epilogues.affine(rule, x, weight, bias, out):
                return out
        return super().affine_and_apply(rule, x, weight, bias, out)

    def matmul_and_sum(self, a: Array, b: Array, out: Array, sums: Array) -> Array:
        """See `Operations.matmul_and_sum`."""
        if self.epilogues is not None and self.epilogues.gradients(a, b, out, sums):
            return out
        return super().matmul_and_sum(a, b, out, sums)

    def affine_backward(
        self, x: Array, weight: Array, dz: Array, d_weight: Array, out: Array | None = None
    ) -> Array:
        """See `Operations.affine_backward`; where factors are rounded, ``dz`` is so once."""
        ops, product = self, self.product
        if isinstance(product, Product) and product.rounds:
            ops = replace(self, product=product.sharing(dz))
        return Operations.affine_backward(ops, x, weight, dz, d_weight, out)

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
        if not (x.ndim == 2 and shaped(x.shape[1:], scale, shift) and fit(x, scale, shift)):
            return super().batch_norm(x, scale, shift, eps)
        y, x_hat = self._room(x, out), self._room(x, x_hat)
        mean, var = self.xp.empty_like(scale), self.xp.empty_like(scale)
        results = (y, x_hat, mean, var)
        rest = (scale, shift, x.dtype.type(eps), *results)
        columns.normalize(self.launch, self.xp, "batch_norm", (x,), rest)
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
        rows = dy.ndim == 2 and shaped(dy.shape[1:], scale, var, d_scale, d_shift)
        if not (rows and shaped(dy.shape, x_hat) and fit(*given, d_scale, d_shift)):
            return super().batch_norm_backward(*given, eps, d_scale, d_shift)
        dx = self._room(dy, out)
        rest = (scale, var, dy.dtype.type(eps), d_scale, d_shift, dx)
        columns.normalize(self.launch, self.xp, "batch_norm_backward", (dy, x_hat), rest)
        return dx

    def keep_mask(self, like: Array, key: Any, p: float, out: Array | None = None) -> Array:
        """See `Operations.keep_mask`; the key may be an array of one int64 on the device."""
        is_array = on_device(key)
        misfit = is_array and (key.size != 1 or dtype_name(key.dtype) != "int64")
        if misfit or not fit(like) or not self._works("random masks"):
            return super().keep_mask(like, key, p)
        mask, where = (
            self._room(like, out),
            (key, np.int64(0)) if is_array else (None, np.int64(key)),
        )
        how = (*where, np.uint32(int(p * 2**32)), like.dtype.type(1.0 / (1.0 - p)), mask)
        kernel = sources.from_file("keep_mask", "masks.cu", dtype_name(like.dtype))
        launch_linear(self.launch, kernel, like.size, (*how, np.int64(like.size)))
        return mask

    def take_rows(self, x: Array, indices: Array, out: Array | None = None) -> Array:
        """See `Operations.take_rows`; an index of no row takes the nearest row."""
        if out is None:
            out = self.xp.empty((indices.shape[0], *x.shape[1:]), dtype=x.dtype)
        taken = steps.take(self.launch, x, indices, None, out, ())
        return out if taken else super().take_rows(x, indices)

    def take_batch(
        self, x: Array, order: Array, start: Array, out: Array, scaling: Sequence[Array] = ()
    ) -> Array:
        """See `Operations.take_batch`; an index of no row takes the nearest row."""
        usual = x.dtype == out.dtype and not scaling
        tried = usual or self._works("batches of bytes")
        taken = tried and steps.take(self.launch, x, order, start, out, scaling)
        return out if taken else super().take_batch(x, order, start, out, scaling)

    def softmax_cross_entropy(
        self, z: Array, target: Array, scale: Any, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Operations.softmax_cross_entropy`."""
        target_type = sources.TYPES.get(dtype_name(target.dtype))
        by_row, (m, n) = on_device(scale), z.shape
        scales = (scale,) if by_row else ()
        rows = (target,) if target.ndim == 2 else ()
        ok = fit(z, *rows, *scales) and shaped((m, 1), *scales) and target.flags.c_contiguous
        if target_type is None or not ok or target.shape not in ((m,), (m, n)):
            return super().softmax_cross_entropy(z, target, scale)
        number, grad = z.dtype.type, self._room(z, out)
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
        if not steps.advance(self.launch, cursor, tables, rows):
            super().advance(cursor, tables, rows)

    def record(self, log: Array, cursor: Array, value: Array) -> None:
        """See `Operations.record`."""
        if not steps.record(self.launch, log, cursor, value):
            super().record(log, cursor, value)

    def unscale(self, x: Array, scale: Array, found: Array) -> None:
        """See `Operations.unscale`."""
        if not (self._works("loss scaling") and steps.unscale(self.launch, x, scale, found)):
            super().unscale(x, scale, found)

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
        shapes = [first.shape[-1:] if letter == "b" else first.shape for letter in letters]
        alike = all(shaped(shape, array) for shape, array in zip(shapes, arrays, strict=True))
        if not (alike and fit(*arrays) and are_numbers(scalars, first.dtype)):
            return None
        kernel = sources.of_rule(rule, first, letters, 1, scalars)
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
        sizes = np.int64(size), np.int64(width)
        arguments = (*arrays, *in_type(scalars, like.dtype), *sizes)
        launch_linear(self.launch, kernel, size, arguments)

    def _works(self, name: str) -> bool:
        """Whether the kernels of what not every training takes work, tried before their first use.

        The steps before a capture have come here: inside it nothing can be tried.
        """
        if self.trying:
            return True
        reason = _why_not(self, name)
        if reason:  # at every call, for Python itself shows the same warning of one line once
            message = f"xpnet's kernels for {name} do not work here ({reason}); CuPy computes them."
            warnings.warn(message, FallbackWarning, stacklevel=2)
        return not reason

    def _room(self, like: Array, out: Array | None) -> Array:
        """``out`` if a kernel can fill it, else a new array like ``like``."""
        fits = out is not None and shaped(like.shape, out) and fit(like, out)
        return out if fits else self.xp.empty_like(like)


@cache
def _why_not(ops: CudaOperations, name: str) -> str:
    return why_not(replace(ops, trying=True), ops.xp, name)
