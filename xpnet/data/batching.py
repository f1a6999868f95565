"""Mini-batches of training data that is on the backend or converted batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, islice, repeat

import numpy as np

from xpnet.backend import Array, Backend, HostArray, as_array
from xpnet.data.checks import check_same_length
from xpnet.data.mapped import RowReader, release_pages
from xpnet.data.preprocessing import InputSpec
from xpnet.data.streaming import CudaCopies, Prefetcher, RowIndex, fill_rows, is_streamed
from xpnet.errors import dtype_name, require, require_count
from xpnet.ops import operations_for
from xpnet.ops.buffers import Buffers
from xpnet.ops.operations import Operations
from xpnet.random import Rng, as_generator


@dataclass
class TrainingData:
    """Validated features, targets and weights; the result of `xpnet.data.prepare.prepare`.

    Attributes:
        spec: converts raw features to network inputs.
        X: features ``(m, n_in)``. Either network inputs on the backend, or raw features, of which
            each batch is converted: a `numpy.memmap`, a host array that is too large for the
            device, or bytes on a device.
        y: the targets in the units of the loss, on the backend.
        weight: the weights of the rows in the loss, on the backend, or ``None``.
        metric_weight: the weights of the rows in metrics, which lack those of classes, on the
            backend, or ``None``.
        scaling: for raw features on a device, the coefficients ``shift, width, start`` of the
            scaling ``(X − shift)/width + start``, ``(3, n_in)`` in host memory; else ``None``.
        exact_y: the targets in their own units and precision, on the backend, if ``y`` is scaled
            or rounded; else ``None``.
        streamed: whether batches of X are copied from host memory to the device.
    """

    spec: InputSpec
    X: Array
    y: Array
    weight: Array | None = None
    metric_weight: Array | None = None
    scaling: HostArray | None = None
    exact_y: Array | None = None

    def __post_init__(self) -> None:
        self._reader = RowReader(self.X) if isinstance(self.X, np.memmap) else None
        self.streamed = is_streamed(self.backend, self.X)
        self._ops = operations_for(self.y)
        self._buffers = Buffers(self.backend)
        self._target_buffers: dict[tuple[str, int], Array] = {}

    @property
    def backend(self) -> Backend:
        """The backend of the batches."""
        return self.spec.backend

    @property
    def raw(self) -> bool:
        """Whether ``X`` holds raw features, of which each batch is converted."""
        return self._reader is not None or self.streamed or is_bytes(self.X)

    @property
    def metric_targets(self) -> Array:
        """The targets of metrics: neither scaled nor rounded, in the shape of the predictions."""
        return self.spec.targets.shaped(self.y if self.exact_y is None else self.exact_y)

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return int(self.X.shape[0])

    @property
    def features(self) -> tuple[Array, Callable[[Array], Array]]:
        """``X``, and a function that converts some of its rows to network inputs."""
        return self.X, self.spec.network_inputs if self.raw else _unchanged

    def take(self, indices: HostArray) -> TrainingData:
        """Return a copy of the rows at ``indices``."""
        index, xp = self.backend.asarray(indices), self.backend.xp
        X = self.X[indices] if self.streamed else xp.take(self.X, index, axis=0)
        y, weight, metric_weight, exact_y = (
            None if rows is None else xp.take(rows, index, axis=0)
            for rows in (self.y, self.weight, self.metric_weight, self.exact_y)
        )
        return replace(self, X=X, y=y, weight=weight, metric_weight=metric_weight, exact_y=exact_y)

    def batches(
        self, order: HostArray | None, batch_size: int, drop_last: bool = False, first: int = 0
    ) -> Generator[tuple[Array, Array, Array | None], None, None]:
        """Yield batches of network inputs, targets, and weights or ``None``, on the backend.

        A batch may overwrite the arrays of the previous batch.

        Args:
            order: the row indices in the order of the batches; ``None`` takes the order of ``X``.
            batch_size: rows per batch, at least 1. The last batch is smaller if ``batch_size``
                does not divide the number of rows.
            drop_last: whether to drop a smaller last batch; default false.
            first: the number of first batches to leave out; default 0.
        """
        yield from self._at(order, list(spans(self.n_rows, batch_size, drop_last))[first:])

    def batches_in_parts(
        self,
        order: HostArray | None,
        batch_size: int,
        n_parts: int,
        drop_last: bool = False,
        first: int = 0,
    ) -> Generator[Iterator[tuple[Array, Array, Array | None]], None, None]:
        """Yield the `batches`, each as an iterator over its parts (`parts_of`).

        Only a part at a time is in memory. The parts of a batch must be taken before the next
        batch.
        """
        batches = list(spans(self.n_rows, batch_size, drop_last))[first:]
        cut = [parts_of(batch, n_parts) for batch in batches]
        with closing(self._at(order, list(chain.from_iterable(cut)))) as parts:
            for of_batch in cut:
                yield islice(parts, len(of_batch))

    def _at(
        self, order: HostArray | None, parts: Sequence[slice]
    ) -> Generator[tuple[Array, Array, Array | None], None, None]:
        """Yield the rows at each part of ``order``."""
        on_device = None if order is None else self.backend.asarray(order)
        with closing(self._inputs(order, on_device, parts)) as inputs:
            for part, X in zip(parts, inputs, strict=True):
                y = self._rows("y", self.y, part, on_device)
                weight = None
                if self.weight is not None:
                    weight = self._rows("weight", self.weight, part, on_device)
                yield X, y, weight

    def streamed_inputs(
        self, order: HostArray | None, parts: Sequence[slice]
    ) -> Generator[Array | None, None, None]:
        """Yield the network inputs of each part of ``order``; ``None`` unless X is streamed."""
        if not self.streamed:
            yield from repeat(None, len(parts))
            return
        rows: list[RowIndex] = [part if order is None else order[part] for part in parts]
        with closing(self._prefetcher.batches(rows)) as batches:
            for X in batches:
                yield self.spec.network_inputs(X)

    @cached_property
    def _prefetcher(self) -> Prefetcher:
        dtype = self.X.dtype.newbyteorder("=")
        fill = partial(fill_rows, self.X, self._reader)
        return Prefetcher(fill, self.X.shape[1], dtype, CudaCopies())

    def _inputs(
        self, order: HostArray | None, on_device: Array | None, parts: Sequence[slice]
    ) -> Generator[Array, None, None]:
        """Yield the network inputs of each part of ``order``."""
        if self.streamed:
            yield from self.streamed_inputs(order, parts)
            return
        raw, convert = self.raw, self.spec.network_inputs
        for part in parts:
            if order is None or on_device is None:
                yield self._convert(part) if raw else self.X[part, :]
            elif self._reader is not None:
                yield convert(self._reader.take(order[part]))
            elif raw:
                yield convert(self._ops.take_rows(self.X, on_device[part]))
            else:
                out = self._buffers["X", part.stop - part.start, self.X.shape[1]]
                yield self._ops.take_rows(self.X, on_device[part], out=out)

    def _convert(self, part: slice) -> Array:
        """Return the network inputs of consecutive raw rows; release the pages of a file."""
        if self._reader is None:
            return self.spec.network_inputs(self.X[part, :])
        rows = np.array(self.X[part])
        release_pages(self.X)
        return self.spec.network_inputs(rows)

    def _rows(self, name: str, array: Array, part: slice, order: Array | None) -> Array:
        """Return the targets or weights of a part of ``order``, in a buffer for this length."""
        if order is None:
            return array[part, ...]
        n = part.stop - part.start
        if (name, n) not in self._target_buffers:
            shape = n, *array.shape[1:]
            self._target_buffers[name, n] = self.backend.empty(*shape, dtype=array.dtype)
        return self._ops.take_rows(array, order[part], out=self._target_buffers[name, n])


def _unchanged(part: Array) -> Array:
    return part


def is_bytes(X: Array) -> bool:
    """Return whether the elements of ``X`` have one byte, such as the pixels of images.

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
    """Yield the mini-batches ``(X_b, y_b)`` of one epoch, for a hand-written training loop.

    Args:
        X: features ``(m, n)``, an array of any backend, a list or a data frame.
        y: targets, one for each row, likewise.
        batch_size: rows per batch, at least 1. The last batch is smaller if ``batch_size`` does
            not divide m.
        rng: seed or generator of the order of the rows; default 0. Each epoch needs another seed.
        shuffle: whether the order is random; default true.
        drop_last: whether to drop a smaller last batch; default false.

    Yields:
        New arrays of at most ``batch_size`` rows.

    Raises:
        ArgumentError: if the lengths differ or ``batch_size`` is not a positive integer.

    >>> import numpy as np
    >>> [len(y_b) for _, y_b in batches(np.zeros((5, 1)), np.arange(5), 2)]
    [2, 2, 1]
    """
    require_count(batch_size, "batch_size")
    X, y = as_array(X, "X"), as_array(y, "y")
    check_same_length(X, y)
    m = X.shape[0]
    order = as_generator(rng).permutation(m) if shuffle else np.arange(m)
    take = [partial(_taken, operations_for(a), a, _index(order, a)) for a in (X, y)]
    for part in spans(m, batch_size, drop_last):
        yield take[0](part), take[1](part)


def _index(order: HostArray, array: Array) -> Array:
    """Return row indices on the device of ``array``."""
    return operations_for(array).xp.asarray(order, device=array.device)


def _taken(ops: Operations, array: Array, order: Array, part: slice) -> Array:
    """Return the rows of ``array`` at a part of ``order``, a new array."""
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biuf":
        return array[order[part]]
    return ops.take_rows(array, order[part])


def spans(n_rows: int, size: int, drop_last: bool = False) -> Iterator[slice]:
    """Yield slices of ``size`` that cover ``n_rows`` rows; the last is smaller, or dropped.

    >>> list(spans(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    stop = n_rows - n_rows % size if drop_last else n_rows
    for start in range(0, stop, size):
        yield slice(start, min(start + size, stop))


def parts_of(batch: slice, n_parts: int) -> list[slice]:
    """Return the parts of a batch: ``n_parts`` of equal size, except for the last ones.

    A part has ``ceil(m/n_parts)`` rows, so that a small batch may have fewer parts.

    >>> parts_of(slice(4, 14), 3)
    [slice(4, 8, None), slice(8, 12, None), slice(12, 14, None)]
    """
    n_rows = batch.stop - batch.start
    parts = spans(n_rows, -(-n_rows // n_parts))
    return [slice(batch.start + part.start, batch.start + part.stop) for part in parts]


def refuse_single_row(n_rows: int, batch_size: int, drop_last: bool) -> None:
    """Refuse batches of a single row, which batch norm cannot normalize."""
    last = n_rows % batch_size
    single = batch_size == 1 or n_rows == 1 or (last == 1 and not drop_last)
    rule = f"divide {n_rows} rows without a batch of one row, because of batch norm"
    do = "Choose another batch_size, or drop_last=True."
    require(not single, "batch_size", rule, batch_size, do)
