"""Operations on NumPy arrays in compiled loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from xpnet.backend import Array
from xpnet.ops.compiled import loops, rows
from xpnet.ops.compiled.loops import Loop
from xpnet.ops.compiled.threads import LARGE, share, share_sums
from xpnet.ops.host import HostOperations
from xpnet.ops.reference import Operations, Rule
from xpnet.ops.rules.activations import gelu, gelu_slope, identity

FASTER_ON_NUMPY = (gelu, gelu_slope)
"""Rules that ``python -m benchmarks.ops`` found slower compiled: the loop inside `erfc` is."""


@cache
def loop_of(make: Callable[..., Loop], rule: Rule, dtype: Any, *counts: int) -> Loop:
    """The loop that ``make`` makes of a rule, compiled when it is first asked for.

    A rule that the compiler cannot take, such as one of a user's that calls something else, gets a
    loop that refuses everything, so that NumPy computes it; so does one that NumPy is faster at.
    """
    if rule in FASTER_ON_NUMPY:
        return _refuse
    try:
        return make(rule, dtype, *counts)
    except (NumbaError, AttributeError, KeyError, TypeError):
        return _refuse


@cache
def rows_of(make: Callable[..., Loop], dtype: Any) -> Loop:
    """The loop over rows that ``make`` makes, compiled when it is first asked for."""
    try:
        return make(dtype)
    except NumbaError:  # such as an extended floating type
        return _refuse


def _refuse(*arguments: Any) -> Any:
    raise TypeError


@dataclass(frozen=True)
class CompiledOperations(Operations):
    """One loop a rule, through Numba: no array is made on the way and memory is passed once.

    What a loop does not take (a strided array, another type) `HostOperations` does. Arrays below
    `LARGE` go to the loop at once: one more call in between would be felt in a step of 30 µs.

    Attributes:
        plain: the operations without a compiler.
    """

    plain: HostOperations = field(default_factory=lambda: HostOperations(np))

    left_to_plain = FASTER_ON_NUMPY

    matmul = HostOperations.matmul
    multiply = HostOperations.multiply
    take_rows = HostOperations.take_rows

    def apply(
        self, rule: Rule, *arrays: Array, scalars: tuple[float, ...] = (), out: Array | None = None
    ) -> Array:
        """See `Operations.apply`."""
        x = arrays[0]
        if (
            out is not None and out is x and len(arrays) == 1
        ):  # a loop between an array and itself is not vectorized
            flat = out.reshape(-1) if out.flags.c_contiguous else out
            self.update(rule, (flat,), (), scalars)
            return out
        if out is None:
            out = np.empty_like(x)
        make = loops.apply_to_one if len(arrays) == 1 else loops.apply_to_two
        loop = loop_of(make, rule, out.dtype, out.ndim, len(scalars))
        try:
            if out.size < LARGE:
                loop(*arrays, out, scalars)
            else:
                share(loop, (*arrays, out), scalars)
        except TypeError:
            return self.plain.apply(rule, *arrays, scalars=scalars, out=out)
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
        loop = loop_of(loops.chain, rule, out.dtype, out.ndim, len(scalars))
        try:
            if out.size < LARGE:
                loop(dy, *arrays, out, scalars)
            else:
                share(loop, (dy, *arrays, out), scalars)
        except TypeError:
            return self.plain.chain(rule, dy, *arrays, scalars=scalars, out=out)
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
        loop = loop_of(loops.update, rule, targets[0].dtype, *counts)
        try:
            if targets[0].size < LARGE:
                loop(*targets, *inputs, scalars)
            else:
                share(loop, (*targets, *inputs), scalars)
        except TypeError:
            self.plain.update(rule, targets, inputs, scalars)

    def shift_and_apply(
        self, rule: Rule, z: Array, bias: Array, scalars: tuple[float, ...] = ()
    ) -> Array:
        """See `Operations.shift_and_apply`."""
        loop = loop_of(loops.shift_and_apply, rule, z.dtype, z.ndim, len(scalars))
        try:
            if z.size < LARGE:
                loop(z, bias, scalars)
            else:
                share(loop, (z,), bias, scalars)
        except TypeError:
            return self.plain.shift_and_apply(rule, z, bias, scalars)
        return z

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
        loop = loop_of(loops.chain_and_sum, rule, out.dtype, out.ndim, len(scalars))
        try:
            if out.size < LARGE:
                loop(dy, saved, out, sums, scalars)
            else:
                share_sums(loop, (dy, saved, out), sums, scalars)
        except TypeError:
            return self.plain.chain_and_sum(rule, dy, saved, sums, scalars, out)
        return out

    def shift(self, z: Array, bias: Array) -> Array:
        """See `Operations.shift`."""
        return self.shift_and_apply(identity, z, bias)

    def column_sum(self, x: Array, out: Array | None = None) -> Array:
        """See `Operations.column_sum`."""
        if out is None:
            out = np.empty(x.shape[1:], x.dtype)
        try:
            loop = rows_of(rows.column_sum, x.dtype)
            if x.size < LARGE:
                loop(x, out)
            else:
                share_sums(loop, (x,), out)
        except TypeError:
            return self.plain.column_sum(x, out)
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
            loop = rows_of(rows.normalize, x.dtype)
            if x.size < LARGE:
                loop(x, y, x_hat, *columns)
            else:
                share(loop, (x, y, x_hat), *columns)
        except TypeError:
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
    ) -> tuple[Array, Array, Array, Array]:
        """See `Operations.batch_norm`."""
        y = np.empty_like(x) if out is None else out
        x_hat = np.empty_like(x) if x_hat is None else x_hat
        mean, var = np.empty_like(scale), np.empty_like(scale)
        try:
            rows_of(rows.batch_norm, x.dtype)(x, scale, shift, eps, y, x_hat, mean, var)
        except TypeError:
            return self.plain.batch_norm(x, scale, shift, eps, out, x_hat)
        return y, x_hat, mean, var

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
        try:
            loop = rows_of(rows.batch_norm_backward, dy.dtype)
            loop(dy, x_hat, scale, var, eps, d_scale, d_shift, dx)
        except TypeError:
            arguments = dy, x_hat, scale, var, eps, d_scale, d_shift, out
            return self.plain.batch_norm_backward(*arguments)
        return dx

    def keep_mask(self, like: Array, key: int, p: float, out: Array | None = None) -> Array:
        """See `Operations.keep_mask`."""
        mask = np.empty_like(like) if out is None else out
        try:
            rows_of(rows.keep_mask, like.dtype)(key, int(p * 2**32), 1.0 / (1.0 - p), mask)
        except TypeError:
            return self.plain.keep_mask(like, key, p, out)
        return mask

    def softmax_cross_entropy(
        self, z: Array, target: Array, scale: Any, out: Array | None = None
    ) -> tuple[Array, Array]:
        """See `Operations.softmax_cross_entropy`."""
        grad = np.empty_like(z) if out is None else out
        arrays: tuple[Array, ...]
        rest: tuple[float, ...]
        try:
            if target.ndim == 1 and isinstance(scale, float):
                indices = target if target.dtype == np.int64 else target.astype(np.int64)
                loop = rows_of(rows.cross_entropy_of_indices, z.dtype)
                arrays, rest = (z, indices, grad), (scale,)
            else:
                each = self.one_hot(target, z) if target.ndim == 1 else target
                column = np.empty(z.shape[0], z.dtype)
                column[...] = scale if isinstance(scale, float) else scale[:, 0]
                loop = rows_of(rows.cross_entropy_of_rows, z.dtype)
                arrays, rest = (z, each, column, grad), ()
            loss = loop(*arrays, *rest) if z.size < LARGE else sum(share(loop, arrays, *rest))
        except TypeError:
            return self.plain.softmax_cross_entropy(z, target, scale, out)
        return z.dtype.type(loss), grad
