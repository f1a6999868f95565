"""A training step as a CUDA graph, for batches that a caller passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backend import Array, copied
from xpnet.engine.accumulated_step import Batch, in_parts, with_parts
from xpnet.engine.cuda_graph import ENGINE, WARM_UP, Capture
from xpnet.engine.device_step import DeviceStep, are_same, next_scalars, singles
from xpnet.engine.eager_step import EagerStep, StepSettings, not_captured
from xpnet.optimizers import OptimizerState
from xpnet.state import ModelState

MAX_GRAPHS = 32
"""The most kinds of batches that are captured; each has its own graph and buffers."""


class CapturedStep:
    """A step that copies its batch and its scalars to fixed memory and launches a graph there.

    Each combination of shapes and dtypes of a batch is captured when it first occurs. If that
    fails, steps are eager from then on.

    Args:
        model: the model that is trained.
        settings: loss, optimizer, clip and penalty.
        state: the optimizer's state.
        device: creates the captures of the device.

    Attributes:
        engine: ``"replay: a CUDA graph"``, or ``"eager: "`` and the reason.
    """

    def __init__(
        self,
        model: ModelState,
        settings: StepSettings,
        state: OptimizerState,
        device: Callable[[], Capture],
    ) -> None:
        self._model, self._settings, self._state = model, settings, state
        self._plain = EagerStep(model, settings, state)
        self._eager = in_parts(self._plain, model, settings)
        self._device, self.engine = device(), with_parts(ENGINE, settings.accumulate)
        self._graphs: dict[Any, _BatchGraph] = {}
        self._slots: list[Array] = []

    def __call__(self, X: Array, y: Array, weight: Array | None, lr: float) -> Array:
        """Take a step and return the loss before it, a new array."""
        self._plain.check()
        graph = None if self.engine.startswith("eager") else self._graph_for((X, y, weight))
        if graph is None:
            return self._eager(X, y, weight, lr)
        return graph.replay((X, y, weight), lr)

    def _graph_for(self, batch: Batch) -> _BatchGraph | None:
        """The graph for batches like this one; ``None`` if it is to be taken eagerly."""
        if not are_same(self._state.slots, self._slots):
            self._graphs, self._slots = {}, [*self._state.slots]
        kind = tuple(None if x is None else (x.shape, x.dtype) for x in batch)
        if kind in self._graphs or len(self._graphs) == MAX_GRAPHS:
            return self._graphs.get(kind)
        try:
            graph = _BatchGraph(self._model, self._settings, self._state, batch, self._device)
        except Exception as error:  # the eager step raises an error that has another cause
            self._plain.engine = f"eager: {not_captured(self._settings, error)}"
            self.engine = self._eager.engine
            return None
        return self._graphs.setdefault(kind, graph)


class _BatchGraph:
    """The graph of a step on batches of one kind, with the memory that it reads."""

    def __init__(
        self,
        model: ModelState,
        settings: StepSettings,
        state: OptimizerState,
        batch: Batch,
        device: Capture,
    ) -> None:
        self._model, self._optimizer, self._state = model, settings.optimizer, state
        self._step, new = DeviceStep(model, settings, state), model.backend.empty
        X, y, weight = (None if x is None else new(*x.shape, dtype=x.dtype) for x in batch)
        self._batch = X, y, weight
        self._keys = model.backend.zeros(len(model.network.layers), dtype=model.backend.xp.int64)
        scalars = next_scalars(self._optimizer, state)
        self._scalars = new(len(scalars))
        self._fill(batch, scalars)
        with self._step.without_effect():
            with device.running():
                self._take()  # allocates buffers, which outlive the graph
            with device.capturing():
                for _ in range(WARM_UP):
                    self._take()
                self._replay = device.capture(self._take)

    def replay(self, batch: Batch, lr: float) -> Array:
        """Take a step on a batch of this kind and return the loss before it."""
        self._model.masks.step += 1
        self._state.step += 1
        self._fill(batch, self._optimizer.scalars(self._state, lr))
        self._replay()
        return copied(self._loss)

    def _take(self) -> None:
        self._loss = self._step(self._batch, singles(self._keys), singles(self._scalars))

    def _fill(self, batch: Batch, scalars: tuple[float, ...]) -> None:
        """Enqueue the copies of a batch, the keys of its masks and the scalars of its step."""
        backend, masks = self._model.backend, self._model.masks
        for own, given in zip(self._batch, batch, strict=True):
            if own is not None:
                own[...] = given
        keys = np.asarray([masks.key(layer) for layer in range(self._keys.shape[0])], np.int64)
        self._keys[...] = backend.asarray(keys)
        self._scalars[...] = backend.asarray(np.asarray(scalars, backend.dtype_name))
