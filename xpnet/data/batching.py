"""Batches of training data, which are on the backend or are converted batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import repeat

import numpy as np

from xpnet.backend import Array, Backend, HostArray
from xpnet.data.checks import check_same_length
from xpnet.data.mapped import RowReader, forget_pages
from xpnet.data.preprocessing import InputSpec
from xpnet.data.streaming import CudaCopies, Feed, Part, fill_rows, streams
from xpnet.errors import dtype_name, require, require_count
from xpnet.ops import operations_for
from xpnet.ops.buffers import Buffers
from xpnet.random import Rng, as_generator


@dataclass
class TrainingData:
    """Checked features, targets and weights, from which batches are taken.

    `xpnet.data.prepare.prepare` makes it.

    Attributes:
        spec: converts raw rows to network inputs.
        X: features ``(m, n_in)``: network inputs on the backend; or raw rows, which each batch
            converts: a `numpy.memmap`, an array of the host that is too large for the device, or
            bytes, which stay bytes on a device.
        y: the targets, on the backend.
        weight: the weights of the rows, on the backend, or ``None``.
        columns: for raw rows on a device that are scaled, the rows ``shift, width, begin`` of the
            scaling ``(X − shift)/width + begin``, in host memory.
    """

    spec: InputSpec
    X: Array
    y: Array
    weight: Array | None = None
    columns: HostArray | None = None

    def __post_init__(self) -> None:
        self._reader = RowReader(self.X) if isinstance(self.X, np.memmap) else None
        self.streamed = streams(self.backend, self.X)
        self._ops = operations_for(self.y)
        self._buffers = Buffers(self.backend)
        self._taken: dict[tuple[str, int], Array] = {}

    @property
    def backend(self) -> Backend:
        """Where the batches are."""
        return self.spec.backend

    @property
    def raw(self) -> bool:
        """Whether rows of ``X`` are raw: each batch must be converted to network inputs."""
        return self._reader is not None or self.streamed or is_bytes(self.X)

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return int(self.X.shape[0])

    @property
    def features(self) -> tuple[Array, Callable[[Array], Array]]:
        """``X``, and a function that converts a part of its rows to network inputs."""
        return self.X, self.spec.network_inputs if self.raw else _unchanged

    def take(self, indices: HostArray) -> TrainingData:
        """A copy of the rows at ``indices``."""
        index, xp = self.backend.asarray(indices), self.backend.xp
        X = self.X[indices] if self.streamed else xp.take(self.X, index, axis=0)
        weight = None if self.weight is None else xp.take(self.weight, index, axis=0)
        return replace(self, X=X, y=xp.take(self.y, index, axis=0), weight=weight)

    def batches(
        self, order: HostArray | None, batch_size: int, drop_last: bool = False
    ) -> Iterator[tuple[Array, Array, Array | None]]:
        """The rows in the given order, ``batch_size`` at a time.

        The next batch overwrites the arrays of the one before.

        Args:
            order: the indices of the rows; ``None`` takes the rows in the order of ``X``.
            batch_size: rows a batch, at least 1; the last batch is shorter where they do not
                divide.
            drop_last: whether a shorter last batch is left out.

        Yields:
            Network inputs, targets, and weights or ``None``, all on the backend.
        """
        parts = list(spans(self.n_rows, batch_size, drop_last))
        on_device = None if order is None else self.backend.asarray(order)
        with closing(self._features(order, on_device, parts)) as features:
            for part, X in zip(parts, features, strict=True):
                y = self._part("y", self.y, part, on_device)
                weight = None
                if self.weight is not None:
                    weight = self._part("weight", self.weight, part, on_device)
                yield X, y, weight

    def arriving(
        self, order: HostArray | None, parts: Sequence[slice]
    ) -> Generator[Array | None, None, None]:
        """Network inputs of each part, copied from the host; ``None`` if X is on the device."""
        if not self.streamed:
            yield from repeat(None, len(parts))
            return
        rows: list[Part] = [part if order is None else order[part] for part in parts]
        with closing(self._feed.batches(rows)) as batches:
            for X in batches:
                yield self.spec.network_inputs(X)

    @cached_property
    def _feed(self) -> Feed:
        dtype = self.X.dtype.newbyteorder("=")
        fill = partial(fill_rows, self.X, self._reader)
        return Feed(fill, self.X.shape[1], dtype, CudaCopies())

    def _features(
        self, order: HostArray | None, on_device: Array | None, parts: Sequence[slice]
    ) -> Generator[Array, None, None]:
        """Network inputs of each part."""
        if self.streamed:
            yield from self.arriving(order, parts)
            return
        raw, convert = self.raw, self.spec.network_inputs
        for part in parts:
            if order is None or on_device is None:
                yield self._in_place(part) if raw else self.X[part, :]
            elif self._reader is not None:
                yield convert(self._reader.take(order[part]))
            elif raw:
                yield convert(self._ops.take_rows(self.X, on_device[part]))
            else:
                out = self._buffers["X", part.stop - part.start, self.X.shape[1]]
                yield self._ops.take_rows(self.X, on_device[part], out=out)

    def _in_place(self, part: slice) -> Array:
        """Network inputs of consecutive raw rows; the pages read of a file are released."""
        if self._reader is None:
            return self.spec.network_inputs(self.X[part, :])
        rows = np.array(self.X[part])
        forget_pages(self.X)
        return self.spec.network_inputs(rows)

    def _part(self, name: str, array: Array, part: slice, order: Array | None) -> Array:
        """Targets or weights of a part; it overwrites those of the last part of this length."""
        if order is None:
            return array[part, ...]
        n = part.stop - part.start
        if (name, n) not in self._taken:
            shape = n, *array.shape[1:]
            self._taken[name, n] = self.backend.empty(*shape, dtype=array.dtype)
        return self._ops.take_rows(array, order[part], out=self._taken[name, n])


def _unchanged(part: Array) -> Array:
    return part


def is_bytes(X: Array) -> bool:
    """Whether ``X`` holds numbers of one byte, as images do.

    >>> is_bytes(np.zeros(2, dtype="uint8")), is_bytes(np.zeros(2))
    (True, False)
    """
    return bool(dtype_name(X.dtype) in ("uint8", "int8", "bool"))


def batches(
    X: Array,
    y: Array,
    batch_size: int,
    *,
    rng: Rng = 0,
    shuffle: bool = True,
    drop_last: bool = False,
) -> Iterator[tuple[Array, Array]]:
    """One epoch of mini-batches ``(X_b, y_b)``, for a training loop written by hand.

    Args:
        X: the features, an array of any backend, ``(m, n)``.
        y: the targets, one a row, of the same backend.
        batch_size: rows a batch, at least 1; the last batch is shorter where they do not divide.
        rng: seed or generator of the order; take another for every epoch.
        shuffle: whether the order is random; default true.
        drop_last: whether a shorter last batch is left out.

    Yields:
        New arrays of at most ``batch_size`` rows.

    Raises:
        ArgumentError: if the lengths differ or ``batch_size`` is not a positive integer.

    >>> import numpy as np
    >>> [len(y_b) for _, y_b in batches(np.zeros((5, 1)), np.arange(5), 2)]
    [2, 2, 1]
    """
    require_count(batch_size, "batch_size")
    check_same_length(X, y)
    ops = operations_for(X)
    m = X.shape[0]
    order = as_generator(rng).permutation(m) if shuffle else np.arange(m)
    on_device = ops.xp.asarray(order, device=X.device)
    for part in spans(m, batch_size, drop_last):
        indices = on_device[part]
        yield ops.take_rows(X, indices), ops.take_rows(y, indices)


def spans(n_rows: int, size: int, drop_last: bool = False) -> Iterator[slice]:
    """``n_rows`` rows in slices of ``size``, the last one shorter or left out.

    >>> list(spans(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    stop = n_rows - n_rows % size if drop_last else n_rows
    for start in range(0, stop, size):
        yield slice(start, min(start + size, stop))


def refuse_single_row(n_rows: int, batch_size: int, drop_last: bool) -> None:
    """Refuse batches of one row, which batch norm cannot normalize."""
    last = n_rows % batch_size
    single = batch_size == 1 or n_rows == 1 or (last == 1 and not drop_last)
    rule = f"leave no batch of one row of {n_rows} under batch norm"
    do = "Take another batch_size, or drop_last=True."
    require(not single, "batch_size", rule, batch_size, do)
