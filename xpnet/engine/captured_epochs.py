"""The steps of an epoch as CUDA graphs, replayed without control flow on the host.

Everything that changes between steps is in device memory. Once an epoch the host writes tables with
one row for each step, computed by the code of the eager step: the offset of the batch, the keys of
the random masks and the scalars of the optimizer. The first kernel of a step copies its row and
gathers its batch; the kernel that appends the loss to the log moves to the next row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain, groupby
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, HostArray, to_numpy, write
from xpnet.data.batching import TrainingData, spans
from xpnet.engine.accumulated_step import with_parts
from xpnet.engine.cuda_graph import ENGINE, WARM_UP, Capture, Replay
from xpnet.engine.device_step import DeviceStep, are_same, next_scalars, singles
from xpnet.engine.eager_step import StepSettings
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.ops import operations_for
from xpnet.ops.graph_operations import BatchRows, LossLog, StepTables
from xpnet.optimizers import OptimizerState
from xpnet.state import ModelState

STEPS_PER_GRAPH = 8
"""The number of steps in a graph. The host needs some microseconds for a launch, whatever the graph
holds, and the device a microsecond or two between two graphs."""


class _Prepared(NamedTuple):
    """What the tables of the next epoch were made of.

    Attributes:
        order: the order of the rows.
        lrs: the learning rate of each step.
        first: the number of steps of the epoch that have been taken already.
        before: the step and scalars of the optimizer and the mask stream before the others.
        scalars: the scalars of the optimizer after each of the others.
    """

    order: HostArray | None
    lrs: Sequence[float]
    first: int
    before: tuple[Any, ...]
    scalars: list[tuple[float, ...]]


class CapturedEpochs:
    """The epochs of a training, as replays of captured steps.

    The tables have two halves: while the device takes the steps of one epoch, the host may write
    the tables of the next one.

    Args:
        model: the model that is trained.
        rows: the training data, on the device.
        settings: loss, optimizer, clip and penalty.
        batch_size: the number of rows of a step.
        drop_last: whether a shorter last batch is left out.
        state: the optimizer's state.
        device: captures the steps.
        divided: whether an epoch may begin or end launches at other steps than usual; default
            false.

    Attributes:
        engine: the text for ``history.engine``.
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
        divided: bool = False,
    ) -> None:
        self.engine, self._divided = with_parts(ENGINE, settings.accumulate), divided
        self._model, self._rows, self._settings, self._state = model, rows, settings, state
        self._device, self._ops = device, operations_for(model.theta).for_graphs
        self._step = DeviceStep(model, settings, state)
        self._parts = list(spans(rows.n_rows, batch_size, drop_last))
        self._sizes = [part.stop - part.start for part in self._parts]
        self._starts = np.asarray([part.start for part in self._parts])
        self._most = 1 if rows.streamed else STEPS_PER_GRAPH
        self._host_weight = None if rows.weight is None else to_numpy(rows.weight)
        n_scalars = len(next_scalars(settings.optimizer, state))
        self._allocate(n_scalars, len(model.network.layers))
        self._half = 1
        model.backend.synchronize()  # the stream of copies does not wait for the zeros
        self.prepare(None, [settings.optimizer.lr] * self.n_steps)
        self._replays = self._capture()

    @property
    def n_steps(self) -> int:
        """The number of steps of an epoch."""
        return len(self._parts)

    @property
    def value_and_grad(self) -> ValueAndGrad:
        """Computes the loss and its gradient."""
        return self._step.value_and_grad

    def epoch(
        self,
        order: HostArray | None,
        lrs: Sequence[float],
        meanwhile: Callable[[], None] = lambda: None,
        *,
        first: int = 0,
        before: int = 0,
        intervals: Sequence[int] = (),
        between: Callable[[int], bool] = lambda step: False,
    ) -> tuple[list[float], list[float], Array]:
        """Take the steps of an epoch.

        Args:
            order: the order of the rows; ``None``: the order of the data.
            lrs: the learning rate of each step.
            meanwhile: called while the device takes the steps; it may call `prepare`.
            first: the number of steps that have been taken already.
            before: the number of steps of earlier epochs.
            intervals: no launch goes beyond a multiple of one of these numbers of steps, counted
                over all epochs.
            between: called after each launch with the number of steps taken or enqueued. If it
                returns true, the epoch ends there. `settle` waits for the steps.

        Returns:
            The loss and the weight of each step, and the features of the last batch.
        """
        self._follow_slots()
        known = self._prepared
        if (known.order is not order) or (known.lrs, known.first, known.before) != (
            lrs,
            first,
            self._position(),
        ):
            self.prepare(order, lrs, first)
        self._half = 1 - self._half
        with self._device.running():
            self._log.cursor[...] = self._half * self.n_steps + first
            sizes = self._sizes[first:]
            graphs = launches(sizes, self._most, intervals, before + first)
            taken = self._launch(order, first, graphs, between)
            self._reach(taken)
            if taken == self.n_steps:
                meanwhile()
            losses = self._losses(first, taken)
        last = self._sizes[max(taken, 1) - 1]
        return losses, self.counts(order)[first:taken], self._X[:last, ...]

    def settle(self, seen: int, taken: int) -> list[float]:
        """Wait for the device; return the losses of the steps from ``seen`` to ``taken``.

        The steps and scalars of the optimizer and of the mask stream are then those of that step.
        """
        self._reach(taken)
        return self._losses(seen, taken)

    def _losses(self, first: int, taken: int) -> list[float]:
        start = self._half * self.n_steps
        losses: list[float] = to_numpy(self._log.losses[start + first : start + taken]).tolist()
        return losses

    def _reach(self, taken: int) -> None:
        """Set the steps and scalars of the optimizer and the mask stream to those after a step."""
        first, scalars = self._prepared.first, self._prepared.scalars
        step, before, _, masks = self._prepared.before
        self._state.step, self._model.masks.step = step + taken - first, masks + taken - first
        self._state.scalars = scalars[taken - first - 1] if taken > first else before

    def prepare(self, order: HostArray | None, lrs: Sequence[float], first: int = 0) -> None:
        """Write the tables of the next epoch, into the half that the current steps do not read.

        The next `epoch` uses them if it has the same arguments and neither the optimizer's state
        nor the mask stream has changed since; otherwise it writes them itself.
        """
        before, half = self._position(), 1 - self._half
        state = replace(self._state)
        m, n, masks = self._rows.n_rows, self.n_steps, replace(self._model.masks)
        after: list[tuple[float, ...]] = []
        rows_of_scalars = chain.from_iterable(self._scalars(state, lrs[first:], after))
        scalars = np.fromiter(rows_of_scalars, np.float64)
        keys = masks.next_keys(n - first, len(self._model.network.layers))
        starts = half * m + self._starts[first:, None]
        rows, steps = slice(half * m, (half + 1) * m), slice(half * n + first, (half + 1) * n)
        with self._device.copying():
            write(np.arange(m) if order is None else order, self._tables.order[rows])
            write(np.concatenate([starts, keys], axis=1), self._tables.integers[steps, ...])
            write(
                scalars.reshape(n - first, self._tables.scalars.shape[1]),
                self._tables.scalars[steps, ...],
            )
        self._prepared = _Prepared(order, lrs, first, before, after)

    def _scalars(
        self, state: OptimizerState, lrs: Sequence[float], after: list[tuple[float, ...]]
    ) -> Iterator[tuple[float, ...]]:
        """Yield the optimizer's scalars of each step, computed by the code of the eager step.

        Those that its state has after the step are appended to ``after``.
        """
        for lr in lrs:
            state.step += 1
            yield self._settings.optimizer.scalars(state, lr)
            after.append(state.scalars)

    def _position(self) -> tuple[Any, ...]:
        """The step and scalars of the optimizer, and the seed and step of the mask stream."""
        masks = self._model.masks
        return self._state.step, self._state.scalars, masks.seed, masks.step

    def _launch(
        self,
        order: HostArray | None,
        first: int,
        graphs: Iterable[tuple[int, int]],
        between: Callable[[int], bool],
    ) -> int:
        """Enqueue the steps of an epoch; return the number of those that are taken then."""
        taken = first
        with closing(self._rows.streamed_inputs(order, self._parts[first:])) as inputs:
            for size, n_steps in graphs:
                if self._rows.streamed:
                    self._X[:size, ...] = next(inputs)
                self._replays[size, n_steps]()
                taken += n_steps
                if between(taken):
                    break
        return taken

    def counts(self, order: HostArray | None) -> list[float]:
        """The number of rows of each step, or the sum of their weights."""
        weight = self._host_weight
        if weight is None:
            return list(map(float, self._sizes))
        weight = weight if order is None else weight[order]
        sums: list[float] = np.add.reduceat(weight[: self._parts[-1].stop], self._starts).tolist()
        return sums

    def _follow_slots(self) -> None:
        """Capture the steps again if a callback has replaced slots of the optimizer's state."""
        if not are_same(self._state.slots, self._slots):
            self._settings.optimizer.require_fits(self._model.theta, self._state)
            self._replays = self._capture()

    def _allocate(self, n_scalars: int, n_layers: int) -> None:
        """Allocate the arrays that a captured step reads or writes, except the layers' buffers."""
        backend, rows, n = self._model.backend, self._rows, 2 * self.n_steps
        new, int64, largest = backend.zeros, backend.xp.int64, max(self._sizes)
        self._log = LossLog(new(n), new(1, dtype=int64))
        self._tables = StepTables(
            self._log.cursor,
            new(2 * rows.n_rows, dtype=int64),
            new(n, 1 + n_layers, dtype=int64),
            new(n, n_scalars),
            (new(1 + n_layers, dtype=int64), new(n_scalars)),
        )
        self._X = new(largest, *rows.X.shape[1:])
        self._y = new(largest, *rows.y.shape[1:], dtype=rows.y.dtype)
        scaling = () if rows.scaling is None else rows.scaling
        self._scaling = [backend.asarray(row) for row in scaling]
        self._weight = None if rows.weight is None else new(largest, dtype=rows.weight.dtype)

    def _capture(self) -> dict[tuple[int, int], Replay]:
        """Capture every launch of an epoch; the model and the optimizer's state are restored.

        The largest batch comes first: a buffer that grew later would invalidate earlier graphs.
        """
        self._slots, replays = tuple(self._state.slots), {}
        with self._step.without_effect():
            with self._device.running():
                self._first(max(self._sizes))  # allocates buffers, which outlive the graphs
            with self._device.capturing():
                for size in sorted(set(self._sizes), reverse=True):
                    for _ in range(WARM_UP):
                        self._first(size)
                    lengths = {n for rows, n in launches(self._sizes, self._most) if rows == size}
                    for n_steps in lengths | ({1} if self._divided else set()):
                        self._log.cursor[...] = 0
                        take = partial(self._take, size, n_steps)
                        replays[size, n_steps] = self._device.capture(take)
        return replays

    def _first(self, size: int) -> None:
        """Take the first step of an epoch on ``size`` rows."""
        self._log.cursor[...] = 0
        self._take(size, 1)

    def _take(self, size: int, n_steps: int) -> None:
        """Take the next steps, on ``size`` rows each, which depend on device memory only."""
        rows, tables, weight = self._rows, self._tables, None
        X, y = self._X[:size, ...], self._y[:size, ...]
        features = None if rows.streamed else BatchRows(rows.X, X, self._scaling)
        if self._weight is not None:
            weight = self._weight[:size]
        weights = None if weight is None else BatchRows(rows.weight, weight)
        _, *keys = singles(tables.now[0])
        for _ in range(n_steps):
            self._ops.begin_step(tables, features, BatchRows(rows.y, y), weights)
            self._step((X, y, weight), keys, singles(tables.now[1]), self._log)


def launches(
    sizes: Iterable[int], most: int, intervals: Sequence[int] = (), first: int = 0
) -> Iterator[tuple[int, int]]:
    """Divide the steps of an epoch into launches of ``most`` steps or one step of the same size.

    Args:
        sizes: the number of rows of each step.
        most: the number of steps of a long launch.
        intervals: a launch ends at each multiple of one of these numbers of steps.
        first: the number of steps before these.

    Yields:
        The number of rows of a step and the number of steps, for each launch.

    >>> list(launches([64, 64, 64, 64, 64, 8], most=2))
    [(64, 2), (64, 2), (64, 1), (8, 1)]
    >>> list(launches([64, 64, 64, 64, 64, 8], most=2, intervals=[3]))
    [(64, 2), (64, 1), (64, 2), (8, 1)]
    """
    numbers = enumerate(sizes, start=first)
    keys = groupby(numbers, lambda step: (step[1], sum(step[0] // k for k in intervals)))
    for (size, _), steps in keys:
        n = len(list(steps))
        yield from [(size, most)] * (n // most) + [(size, 1)] * (n % most)
