"""Operations on NumPy arrays that are not compiled: they fill buffers and run rules in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.ops.operations import Operations, Rule

BLOCK = 1 << 14
"""Elements in a block, small enough for the temporary arrays of a rule to stay in the cache."""

SMALL_PRODUCT = 1 << 20
"""Below this many multiplications `numpy.dot` is faster, with less overhead than `numpy.matmul`."""


@dataclass(frozen=True)
class NumPyOperations(Operations):
    """The operations on NumPy arrays.

    ``out`` is filled wherever it is given. Rules run on blocks of large arrays, because each
    operation of a rule allocates a temporary array.

    Attributes:
        reason: why the operations are not compiled.
    """

    reason: str = ""

    def apply(
        self, rule: Rule, *arrays: Array, scalars: tuple[float, ...] = (), out: Array | None = None
    ) -> Array:
        """See `Operations.apply`."""
        if out is None or out.size <= BLOCK:
            return rule(np, *arrays, *scalars)
        for part in _blocks(out):
            out[part] = rule(np, *(array[part] for array in arrays), *scalars)
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
        for part in _blocks(out):
            derivative = rule(np, *(array[part] for array in arrays), *scalars)
            np.multiply(dy[part], derivative, out=out[part])
        return out

    def update(
        self,
        rule: Rule,
        targets: Sequence[Array],
        inputs: Sequence[Array] = (),
        scalars: tuple[float, ...] = (),
    ) -> None:
        """See `Operations.update`."""
        for part in _blocks(targets[0]):
            old = [array[part] for array in (*targets, *inputs)]
            new = rule(np, *old, *scalars)
            values = new if len(targets) > 1 else (new,)
            for target, value in zip(old[: len(targets)], values, strict=True):
                target[...] = value

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """See `Operations.matmul`."""
        if out is None:
            return a @ b
        if out.size * a.shape[1] < SMALL_PRODUCT:
            try:
                return np.dot(a, b, out=out)
            except ValueError:  # np.dot accepts no strided out and no other dtype
                pass
        return np.matmul(a, b, out=out)

    def shift(self, z: Array, bias: Array) -> Array:
        """See `Operations.shift`."""
        return np.add(z, bias, out=z)

    def shift_and_apply(
        self, rule: Rule, z: Array, bias: Array, scalars: tuple[float, ...] = ()
    ) -> Array:
        """See `Operations.shift_and_apply`."""
        return self.apply(rule, np.add(z, bias, out=z), scalars=scalars, out=z)

    def apply_by_column(
        self, rule: Rule, x: Array, column: Array, out: Array | None = None
    ) -> Array:
        """See `Operations.apply_by_column`."""
        if out is None or out.size <= BLOCK:
            return rule(np, x, column)
        for part in _blocks(out):
            out[part] = rule(np, x[part], column)
        return out

    def column_sum(self, x: Array, out: Array | None = None) -> Array:
        """See `Operations.column_sum`."""
        return np.add.reduce(x, axis=0, out=out)

    def multiply(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """See `Operations.multiply`."""
        return np.multiply(a, b, out=out)

    def join_columns(self, parts: Sequence[Array], out: Array | None = None) -> Array:
        """See `Operations.join_columns`."""
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1, out=out)

    def normalize(
        self,
        x: Array,
        columns: Sequence[Array],
        out: Array | None = None,
        x_hat: Array | None = None,
    ) -> tuple[Array, Array]:
        """See `Operations.normalize`."""
        mean, rest, factor, scale, shift = columns
        x_hat = np.subtract(x, mean, out=x_hat)
        x_hat -= rest
        x_hat *= factor
        y = np.multiply(x_hat, scale, out=out)
        y += shift
        return y, x_hat

    def take_rows(self, x: Array, indices: Array, out: Array | None = None) -> Array:
        """See `Operations.take_rows`; the indices must be in range."""
        if out is None:
            return x.take(indices, axis=0)
        return x.take(indices, axis=0, out=out, mode="clip")  # "raise" would buffer the output


def _blocks(array: Array) -> Iterator[Any]:
    """Indices that divide an array along its first axis into blocks of about `BLOCK` elements."""
    if array.size <= BLOCK:
        yield ...
        return
    rows = max(BLOCK * len(array) // array.size, 1)
    for start in range(0, len(array), rows):
        yield slice(start, start + rows)
