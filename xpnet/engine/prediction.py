"""The output of a network for any number of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import local
from typing import Any

import numpy as np

from xpnet.backend import Array, copied
from xpnet.data.batching import spans
from xpnet.data.mapped import release_pages
from xpnet.engine.argument_use import changed, guards_of
from xpnet.engine.recorded_step import RecordedInput, TracedMemory, new_recorder, why_not_recorded
from xpnet.engine.replay_trial import require_same_passes
from xpnet.engine.user_defined import forbidden, user_defined, vouched
from xpnet.layers.base import Views
from xpnet.ops import operations_for
from xpnet.random import MaskStream
from xpnet.state import ModelState

CHUNK_ROWS = 4096
"""Rows evaluated at a time on a device: enough to occupy its matrix units, small in memory."""

HOST_ROWS = 1024
"""Rows evaluated at a time on the host, so that activations stay in the cache between layers."""

FEW_ROWS = 64
"""The largest number of rows for which new arrays cost less than buffers."""

CALLS_BEFORE_RECORDING = 16
"""Record after this many calls with the same row count: recording costs about 100 calls."""

MAX_COPIED_BYTES = 1 << 14
"""The largest input that is copied; replacing the address of a larger one takes less time."""

NEVER = -(1 << 62)
"""A count of calls that does not reach `CALLS_BEFORE_RECORDING`."""


def prediction_of(model: ModelState) -> Prediction:
    """The fastest `Prediction` for the model's arrays."""
    if type(model.theta) is np.ndarray:
        return ReplayedPrediction(model)
    return Prediction(model)


class _ThreadContexts(local):
    """Contexts without buffers, one set for each thread, because a pass changes them."""

    def __init__(self, model: ModelState) -> None:
        self.contexts = model.network.contexts(model.backend, model.statistics)


class Prediction:
    """``X ↦ f(θ, X)`` in evaluation mode, with views created once.

    Several threads may call at once.

    Args:
        model: the network and its vectors; θ and the statistics are read at every call.
    """

    def __init__(self, model: ModelState) -> None:
        self._model = model
        self._p = model.network.by_layer(model.theta)
        self._of_thread = _ThreadContexts(model)

    def __call__(
        self, X: Array, prepare: Callable[[Array], Array], theta: Array | None = None
    ) -> Array:
        """The network's output for all rows of ``X``, ``(m, n_out)``.

        Rows are evaluated `CHUNK_ROWS` or `HOST_ROWS` at a time in buffers that belong to this
        call, so memory beyond the result does not grow with ``m``. Up to `FEW_ROWS` rows use no
        buffers.

        Args:
            X: the rows.
            prepare: converts a part of them to network inputs.
            theta: parameters to use instead of the model's; ``None``: the model's.
        """
        network, m = self._model.network, X.shape[0]
        p = self._p if theta is None else network.by_layer(theta)
        if m <= FEW_ROWS and not isinstance(X, np.memmap):
            return self.few(p, prepare(X))
        backend = self._model.backend
        contexts = network.contexts(backend, self._model.statistics, reuse=True)
        result = backend.empty(m, network.n_out)
        for part in spans(m, HOST_ROWS if backend.is_host else CHUNK_ROWS):
            result[part, ...] = network.forward(p, prepare(X[part, ...]), contexts)[0]
            release_pages(X)
        return result

    def few(self, p: Sequence[Views], inputs: Array) -> Array:
        """The output for at most `FEW_ROWS` rows, a new array."""
        output = self._model.network.forward(p, inputs, self._of_thread.contexts)[0]
        return _new_array(output, inputs)

    def in_one_pass(
        self, inputs: Array, theta: Array | None = None, *, training: bool = False, seed: int = 0
    ) -> Array:
        """The output of one pass over all rows on new arrays, which updates no statistics.

        PyTorch differentiates it if it records ``inputs`` or ``theta``.

        Args:
            inputs: the network inputs.
            theta: parameters to use instead of the model's; ``None``: the model's.
            training: whether the pass is in training mode.
            seed: the seed of the dropout masks.
        """
        model = self._model
        records = theta is not None and model.backend.library.records(theta)
        contexts = model.network.contexts(
            model.backend,
            model.statistics,
            training=training,
            update_statistics=False,
            masks=MaskStream(seed),  # the masks that `xpnet.derivatives` draws for this seed
            ops=operations_for(theta if records else inputs),
        )
        p = self._p if theta is None else model.network.by_layer(theta)
        output = model.network.forward(p, inputs, contexts)[0]
        return output * 1.0 if output is inputs else output


class ReplayedPrediction(Prediction):
    """`Prediction` on NumPy that records passes over few rows once they have been called often.

    For few rows most of the time is spent in Python between the compiled loops, which a replay
    saves. Each thread has its own programs and buffers.
    """

    def __init__(self, model: ModelState) -> None:
        super().__init__(model)
        self._own = local()
        self._vectors = model.theta[:], model.statistics[:]  # the shape of a view does not change

    def few(self, p: Sequence[Views], inputs: Array) -> Array:
        """See `Prediction.few`."""
        if p is not self._p:
            return super().few(p, inputs)
        passes, m = self._own.__dict__, inputs.shape[0]
        # A prediction in a signal handler must not find the buffers that this one is using.
        found = passes.pop(m, 0)  # calls, or a program, a function and guards
        if isinstance(found, int):
            record = found >= CALLS_BEFORE_RECORDING
            passes[m] = self._recorded(inputs) if record else found + 1
            return super().few(p, inputs)
        program, set_input, guards = found
        if guards and changed(guards):
            passes[m] = NEVER
            return super().few(p, inputs)
        try:
            set_input(inputs)
            program.replay()
            return program.result.copy()
        finally:
            passes[m] = found

    def _recorded(self, inputs: Array) -> Any:
        """The recorded pass, a function that sets its input, and guards; `NEVER` if not recordable.

        With user-defined layers two recordings are compared with plain passes on other inputs.
        """
        parts = [x for x in user_defined(self._model.network.layers) if not vouched(x)]
        if why_not_recorded() or any(map(forbidden, parts)):
            return NEVER
        try:
            guards = guards_of(*parts)
            if parts:
                self._try(inputs)
            return (*self._record(inputs), guards)
        except Exception:  # such as control flow on array values in a layer
            return NEVER

    def _try(self, inputs: Array) -> None:
        """Compare recordings with the plain pass, on views and contexts of their own."""
        model = self._model
        p = model.network.by_layer(model.theta)
        contexts = model.network.contexts(model.backend, model.statistics)
        views = [*p, *(context.statistics for context in contexts)]
        require_same_passes(
            self._record, lambda x: model.network.forward(p, x, contexts)[0], views, inputs
        )

    def _record(self, inputs: Array, recorder: Any = None) -> tuple[Any, Callable[[Array], Any]]:
        """Record a pass; return it and a function that sets its input."""
        model, recorder = self._model, new_recorder() if recorder is None else recorder
        trace, batch = recorder.traced, np.array(inputs, order="C")
        theta, statistics = map(trace, self._vectors)
        p, memory = model.network.by_layer(theta), TracedMemory(trace, theta.dtype)
        contexts = model.network.contexts(memory, statistics, reuse=True)
        is_copied = batch.nbytes <= MAX_COPIED_BYTES
        program = recorder.record(
            lambda: model.network.forward(p, trace(batch), contexts)[0],
            inputs=[] if is_copied else [batch],
        )
        if is_copied:
            return program, partial(batch.__setitem__, ...)
        return program, RecordedInput(program, 0, batch).take


def _new_array(output: Array, inputs: Array) -> Array:
    """``output``, or a copy if the layers returned the array of the caller."""
    return copied(output) if output is inputs else output
