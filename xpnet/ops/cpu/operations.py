"""Operations on NumPy arrays in compiled elementwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.ops.cpu import elementwise, rowwise
from xpnet.ops.cpu.jit.loop import new_loop
from xpnet.ops.cpu.runner import Direct, Runner
from xpnet.ops.numpy import HostOperations
from xpnet.ops.operations import Operations, Rule
from xpnet.ops.rules.activations import identity


def compiled_operations() -> CompiledOperations:
    """The operations, after one loop has been read from the disk or compiled.

    Raises:
        ImportError: if the compiler cannot be used, as one that does not go with this NumPy.
    """
    try:
        new_loop((rowwise.converted, np.dtype("float32")))
    except TypeError as error:
        raise ImportError(f"it does not compile: {error.__cause__ or error}") from error
    return CompiledOperations(np)


@dataclass(frozen=True)
class CompiledOperations(Operations):
    """One loop a rule, through Numba: no array is made on the way and memory is passed once.

    What a loop does not take (a strided array, another type) `HostOperations` does.

    Attributes:
        runner: runs the loops; a recorder in its place writes them down.
        plain: the operations without a compiler.
    """

    runner: Runner = field(default_factory=Direct)
    plain: HostOperations = field(default_factory=lambda: HostOperations(np))

    matmul = HostOperations.matmul
    multiply = HostOperations.multiply

    def apply(
        self, rule: Rule, *arrays: Array, scalars: tuple[float, ...] = (), out: Array | None = None
    ) -> Array:
        """See `Operations.apply`."""
        x = arrays[0]
        if out is x and len(arrays) == 1:  # a loop between an array and itself is not vectorized
            self.update(rule, (out,), (), scalars)
            return out
        if out is None:
            out = np.empty_like(x)
        make = elementwise.apply_to_one if len(arrays) == 1 else elementwise.apply_to_two
        which = make, rule, out.dtype, len(scalars)
        try:
            self.runner.run(which, (*arrays, out), scalars)
        except TypeError:
            done = self.plain.apply
            return self.runner.plainly(out, done, rule, *arrays, scalars=scalars, out=out)
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
        which = elementwise.chain, rule, out.dtype, len(scalars)
        try:
            self.runner.run(which, (dy, *arrays, out), scalars)
        except TypeError:
            done = self.plain.chain
            return self.runner.plainly(out, done, rule, dy, *arrays, scalars=scalars, out=out)
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
        which = elementwise.update, rule, targets[0].dtype, *counts
        try:
            self.runner.run(which, (*targets, *inputs), scalars)
        except TypeError:
            self.runner.plainly(None, self.plain.update, rule, targets, inputs, scalars)

    def shift_and_apply(
        self, rule: Rule, z: Array, bias: Array, scalars: tuple[float, ...] = ()
    ) -> Array:
        """See `Operations.shift_and_apply`."""
        which = elementwise.shift_and_apply, rule, z.dtype, len(scalars)
        try:
            self.runner.run(which, (z,), bias, scalars)
        except TypeError:
            return self.runner.plainly(z, self.plain.shift_and_apply, rule, z, bias, scalars)
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
        which = elementwise.chain_and_sum, rule, out.dtype, len(scalars)
        try:
            self.runner.sums(which, (dy, saved, out), sums, scalars)
        except TypeError:
            done = self.plain.chain_and_sum
            return self.runner.plainly(out, done, rule, dy, saved, sums, scalars, out)
        return out

    def shift(self, z: Array, bias: Array) -> Array:
        """See `Operations.shift`."""
        return self.shift_and_apply(identity, z, bias)

    def total(self, x: Array, factor: float) -> Array:
        """See `Operations.total`."""
        sums = np.empty_like(x, shape=1, dtype=np.float64)
        try:
            self.runner.sums((rowwise.total, x.dtype), (x,), sums, factor)
        except TypeError:
            return self.plain.total(x, factor)
        return self.runner.number(x.dtype, sums)

    def column_sum(self, x: Array, out: Array | None = None) -> Array:
        """See `Operations.column_sum`."""
        if out is None:
            out = np.empty_like(x, shape=x.shape[1:])
        try:
            self.runner.sums((rowwise.column_sum, x.dtype), (x,), out)
        except TypeError:
            return self.plain.column_sum(x, out)
        return out

    def take_rows(self, x: Array, indices: Array, out: Array | None = None) -> Array:
        """See `Operations.take_rows`; an index of no row takes the nearest row."""
        if out is None or x.ndim != 2:
            return self.plain.take_rows(x, indices, out)
        try:
            self.runner.run((rowwise.take_rows, out.dtype), (indices, out), x)
        except TypeError:
            return self.plain.take_rows(x, indices, out)
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
        mean, var, factor = (np.empty_like(scale) for _ in range(3))
        which = rowwise.batch_norm, x.dtype
        try:
            self.runner.alone(which, x, scale, shift, eps, y, x_hat, mean, var, factor)
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
        factor, which = np.empty_like(scale), (rowwise.batch_norm_backward, dy.dtype)
        try:
            self.runner.alone(which, dy, x_hat, scale, var, eps, d_scale, d_shift, dx, factor)
        except TypeError:
            arguments = dy, x_hat, scale, var, eps, d_scale, d_shift, out
            return self.plain.batch_norm_backward(*arguments)
        return dx

    def keep_mask(self, like: Array, key: Any, p: float, out: Array | None = None) -> Array:
        """See `Operations.keep_mask`."""
        mask = np.empty_like(like) if out is None else out
        which, threshold, kept = (rowwise.keep_mask, like.dtype), int(p * 2**32), 1.0 / (1.0 - p)
        try:
            self.runner.alone(which, mask, key, threshold, kept)
        except TypeError:
            return self.plain.keep_mask(like, key, p, out)
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
                which = rowwise.cross_entropy_of_indices, z.dtype
                self.runner.sums(which, (grad, z, indices, grad), loss, scale)
            else:
                each = self.one_hot(target, z) if target.ndim == 1 else target
                column = np.empty_like(z, shape=z.shape[:1])
                column[...] = scale if isinstance(scale, float) else scale[:, 0]
                which = rowwise.cross_entropy_of_rows, z.dtype
                self.runner.sums(which, (grad, z, each, column, grad), loss)
        except TypeError:
            return self.plain.softmax_cross_entropy(z, target, scale, out)
        return self.runner.number(z.dtype, loss), grad
