"""A whole training step as one CUDA graph, replayed without control flow on the host.

A graph repeats the captured kernels on the same memory, with the same arguments from the host.
Therefore everything that changes between steps is in device memory. Once an epoch the host writes
tables with one row for each step, computed by the code of the eager step: the offset of the batch,
the keys of the random masks and the scalars of the optimizer. The first kernel of a step copies the
next row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeAlias
from weakref import finalize

import numpy as np

from xpnet.backend import Array, HostArray, Snapshot, to_numpy
from xpnet.data.batching import TrainingData, spans
from xpnet.engine.eager_step import StepSettings, finish_gradient
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.ops import operations_for
from xpnet.optimizers import OptimizerState
from xpnet.state import ModelState

WARM_UP = 2
"""The number of steps before a capture, which compile the kernels and fill the memory pool."""

Replay: TypeAlias = Callable[[], None]

ENGINE = "replay: a CUDA graph"


class Capture(Protocol):
    """The captures of a device."""

    def running(self) -> AbstractContextManager[None]:
        """Make the capture stream current after all queued work; at the end synchronize it."""
        ...

    def capturing(self) -> AbstractContextManager[None]:
        """`running`, with memory from a pool that only captures use."""
        ...

    def capture(self, step: Callable[[], None]) -> Replay:
        """Capture the device work of ``step``; the function returned repeats it."""
        ...


class CudaCapture:
    """Captures on a separate stream, with a memory pool that lives as long as the graphs.

    A graph also writes to memory that its step has freed. Therefore only captures allocate from
    this pool, and its memory is not returned to the device while a graph exists: a pool that runs
    out of memory would release its free blocks. The blocks are released when this object is
    deleted, so nothing that outlives the graphs may be allocated from the pool.

    Attributes:
        pool: the memory pool of the captures.
    """

    def __init__(self) -> None:
        import cupy  # noqa: PLC0415

        self._cuda, self._default_pool = cupy.cuda, cupy.get_default_memory_pool()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        blocks: list[Any] = []

        def allocate(size: int) -> Any:
            blocks.append(cupy.cuda.Memory(size))
            return cupy.cuda.MemoryPointer(blocks[-1], 0)

        self.pool = cupy.cuda.MemoryPool(allocate)
        finalize(self, self.pool.free_all_blocks).atexit = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """See `Capture.running`."""
        self._cuda.get_current_stream().synchronize()
        with self._stream:
            try:
                yield
            finally:
                self._stream.synchronize()

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """See `Capture.capturing`."""
        with self.running(), self._cuda.using_allocator(self.pool.malloc):
            self._default_pool.free_all_blocks()  # the pool of the captures cannot use them
            yield

    def capture(self, step: Callable[[], None]) -> Replay:
        """See `Capture.capture`."""
        self._stream.begin_capture()
        try:
            step()
        except BaseException:
            with suppress(RuntimeError):  # it reports the failed capture a second time
                self._stream.end_capture()
            raise
        graph = self._stream.end_capture()
        graph.upload(self._stream)
        return lambda: graph.launch(self._stream)


class CapturedSteps:
    """The steps of an epoch as replays of captured steps, one graph for each batch size.

    Args:
        model: the model that is trained.
        rows: the training data, on the device.
        settings: loss, optimizer, clip and penalty.
        batch_size: the number of rows of a step.
        drop_last: whether a shorter last batch is left out.
        state: the optimizer's state.
        device: captures the steps.

    Attributes:
        engine: the text for ``history.engine``.
        value_and_grad: computes the loss and its gradient.
    """

    def __init__(
        self,
        model: ModelState,
        rows: TrainingData,
        settings: StepSettings,
        batch_size: int,
        drop_last: bool,
        state: OptimizerState,
        device: Capture,
    ) -> None:
        self.engine = ENGINE
        self._model, self._rows, self._settings, self._state = model, rows, settings, state
        self.value_and_grad = ValueAndGrad(model, precision=settings.precision)
        self._device, self._ops = device, operations_for(model.theta).for_graphs
        self._parts = list(spans(rows.n_rows, batch_size, drop_last))
        self._sizes = [part.stop - part.start for part in self._parts]
        first = OptimizerState(state.slots, state.step + 1, state.scalars)
        scalars = settings.optimizer.scalars(first, settings.optimizer.lr)
        self._allocate(len(scalars), len(model.network.layers))
        self._tables[1][...] = model.backend.asarray(np.asarray(scalars, model.backend.dtype_name))
        self._replays = self._capture()

    @property
    def n_steps(self) -> int:
        """The number of steps of an epoch."""
        return len(self._parts)

    def epoch(
        self, order: HostArray | None, lrs: Sequence[float]
    ) -> tuple[list[float], list[float], Array]:
        """Take every step of an epoch.

        Args:
            order: the order of the rows; ``None``: the order of the data.
            lrs: the learning rate of each step.

        Returns:
            The loss and the weight of each step, and the features of the last batch.
        """
        self._follow_slots()
        with self._device.running():
            keys = self._model.masks.next_keys(self.n_steps, len(self._model.network.layers))
            starts = [[part.start] for part in self._parts]
            self._write(order, np.concatenate([starts, keys], axis=1), self._scalars(lrs))
            with closing(self._rows.streamed_inputs(order, self._parts)) as inputs:
                for size, X in zip(self._sizes, inputs, strict=True):
                    if X is not None:
                        self._X[:size, ...] = X
                    self._replays[size]()
            losses, counts = (to_numpy(log).tolist() for log in (self._losses, self._counts))
        if self._rows.weight is None:
            counts = list(map(float, self._sizes))
        return losses, counts, self._X[: self._sizes[-1], ...]

    def _follow_slots(self) -> None:
        """Capture the steps again if a callback has replaced slots of the optimizer's state."""
        if [*map(id, self._state.slots)] != [*map(id, self._slots)]:
            self._settings.optimizer.require_fits(self._model.theta, self._state)
            self._replays = self._capture()

    def _allocate(self, n_scalars: int, n_layers: int) -> None:
        """Allocate the arrays that a captured step reads or writes, except the layers' buffers."""
        new, rows, n = self._model.backend.zeros, self._rows, self.n_steps
        int64, largest = self._model.backend.xp.int64, max(self._sizes)
        self._order = new(rows.n_rows, dtype=int64)
        self._cursor = new(1, dtype=int64)
        self._tables = new(n, 1 + n_layers, dtype=int64), new(n, n_scalars)
        self._now = new(1 + n_layers, dtype=int64), new(n_scalars)
        self._losses, self._counts = new(n), new(n)
        self._X = new(largest, *rows.X.shape[1:])
        self._y = new(largest, *rows.y.shape[1:], dtype=rows.y.dtype)
        scaling = () if rows.scaling is None else rows.scaling
        self._scaling = [self._model.backend.asarray(row) for row in scaling]
        self._weight = None if rows.weight is None else new(largest, dtype=rows.weight.dtype)

    def _capture(self) -> dict[int, Replay]:
        """Capture a step for each batch size; the model and the optimizer's state are restored.

        The largest batch comes first: a buffer that grew later would invalidate earlier graphs.
        """
        model, self._slots = self._model, tuple(self._state.slots)
        changed = [model.theta, model.statistics, *self._slots]
        if self.value_and_grad.scaling is not None:
            changed.append(self.value_and_grad.scaling.state)
        before, replays = Snapshot(changed), {}
        sizes = sorted(set(self._sizes), reverse=True)
        try:
            with self._device.running():
                self._first(sizes[0])  # allocates buffers, which outlive the graphs
            with self._device.capturing():
                for size in sizes:
                    for _ in range(WARM_UP):
                        self._first(size)
                    self._cursor[...] = -1
                    replays[size] = self._device.capture(partial(self._step, size))
        finally:
            self.value_and_grad.read_keys(None)
            before.restore()
        return replays

    def _first(self, size: int) -> None:
        """Take the first step of an epoch on ``size`` rows."""
        self._cursor[...] = -1
        self._step(size)

    def _step(self, size: int) -> None:
        """Take one step on ``size`` rows, which depends on device memory only."""
        model, settings, ops = self._model, self._settings, self._ops
        ops.advance(self._cursor, self._tables, self._now)
        start, *keys = (self._now[0][i : i + 1] for i in range(self._now[0].shape[0]))
        self.value_and_grad.read_keys(keys)
        rows, batch = self._rows, (self._order, start)
        X = self._X[:size, ...]
        if not rows.streamed:
            X = ops.take_batch(rows.X, *batch, X, self._scaling)
        y = ops.take_batch(rows.y, *batch, self._y[:size, ...])
        weight = None
        if self._weight is not None:
            weight = ops.take_batch(rows.weight, *batch, self._weight[:size])
        loss = self.value_and_grad(settings.loss, X, y, weight)
        ops.record(self._losses, self._cursor, loss)
        if weight is not None:
            ops.record(self._counts, self._cursor, ops.xp.sum(weight))
        finish_gradient(settings, model.theta, model.grad, model.network.layout.weights)
        scalars = tuple(self._now[1][i : i + 1] for i in range(self._now[1].shape[0]))
        skip = self.value_and_grad.skip
        settings.optimizer.update_unless(skip, model.theta, model.grad, self._state, scalars)

    def _scalars(self, lrs: Sequence[float]) -> HostArray:
        """The optimizer's scalars of every step, computed by the code of the eager step."""
        rows = []
        for lr in lrs:
            self._state.step += 1
            rows.append(self._settings.optimizer.scalars(self._state, lr))
        return np.asarray(rows, dtype=np.float64)

    def _write(self, order: HostArray | None, integers: HostArray, scalars: HostArray) -> None:
        """Copy the order and the tables of an epoch to the device, and reset the cursor."""
        backend = self._model.backend
        order = np.arange(self._rows.n_rows) if order is None else order
        self._order[...] = backend.asarray(order.astype(np.int64))
        self._tables[0][...] = backend.asarray(integers.astype(np.int64))
        self._tables[1][...] = backend.asarray(scalars.astype(backend.dtype_name))
        self._cursor[...] = -1
