"""A training step on a CPU, recorded once as a list of compiled calls and then replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, Snapshot
from xpnet.engine.eager_step import EagerStep, StepSettings, finish_gradient, no_replay
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.layers.base import components
from xpnet.memory import Arena
from xpnet.ops import operations_for
from xpnet.optimizers import OptimizerState
from xpnet.state import ModelState

ENGINE = "replay: a list of compiled calls"

MAX_RECORDED_KINDS = 32
"""The maximum number of recorded signatures: recording does not pay off if every batch differs."""


class RecordedStep:
    """`EagerStep`, recorded at the first call for a batch shape and replayed at later ones.

    The results are those of the eager step up to rounding; a replay saves the time that Python
    takes between the loops. A step that cannot be recorded, because control flow depends on array
    values, runs eagerly, and so do all later steps. At most `MAX_RECORDED_KINDS` signatures of
    batches (shapes and dtypes) are recorded; others run eagerly. If a replay finds that an array
    has moved or changed since the recording, this step runs eagerly and the next one is recorded.

    Args:
        model: the model that is trained, on NumPy.
        settings: loss, optimizer, clip and penalty.
        state: the optimizer's state.
        recorder: the recorder; ``None``: a new one.

    Attributes:
        engine: the text for ``history.engine``.

    Raises:
        ArgumentError: in a call, if ``settings.engine`` is ``"replay"`` and the step cannot be
            recorded; the model and the optimizer's state are then restored.
    """

    def __init__(
        self,
        model: ModelState,
        settings: StepSettings,
        state: OptimizerState,
        recorder: Any = None,
    ) -> None:
        self._model, self._settings, self._state = model, settings, state
        self._eager, self._only_eager = EagerStep(model, settings, state), False
        self._recorder = new_recorder() if recorder is None else recorder
        self._passes: dict[Any, _Pass] = {}
        self._update: Any = None
        self._slots, self._scalars = tuple(state.slots), np.empty(0)
        self._n_scalars = len(state.scalars)
        self._before_pass: _StepSnapshot | None = None  # until the update is recorded
        self.engine = ENGINE + _not_compiled(model, settings)
        trace = self._recorder.traced
        names = "theta", "grad", "statistics"
        traced = replace(model, **{name: trace(getattr(model, name)) for name in names})
        self._theta, self._grad = traced.theta, traced.grad
        memory, ascent = TracedMemory(trace, model.theta.dtype), settings.optimizer.ascent
        self._traced_gradient = ValueAndGrad(traced, memory, ascent=ascent)
        # The key of each layer's masks, and the first row of a part of a batch.
        self._keys = np.zeros(len(model.network.layers) + 1, np.int64)
        *keys, first_row = _each(trace, self._keys)
        self._traced_gradient.read_keys(keys, first_row)

    @property
    def value_and_grad(self) -> ValueAndGrad:
        """That of the eager step, which computes the same function of the same vectors."""
        return self._eager.value_and_grad

    @property
    def programs(self) -> list[Any]:
        """The recorded passes and the recorded update."""
        return [*(known.program for known in self._passes.values()), self._update]

    def gradient(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Fill the model's gradient and return the loss."""
        recorded_pass = self._passes.get(_signature(X, y, weight))
        if recorded_pass is not None:
            return self._replay(recorded_pass, recorded_pass.program, X, y, weight)
        if self._only_eager or len(self._passes) == MAX_RECORDED_KINDS:
            return self._eager.gradient(X, y, weight)
        return self._record_gradient(X, y, weight)

    def update(self, lr: float) -> None:
        """Update θ by the gradient."""
        if self._only_eager:
            self._eager.update(lr)
            return
        if self._has_update():
            scalars = self._state.scalars
            self._next_scalars(lr)
            try:
                self._update.replay()
            except self._update.refused:
                self._undo_scalars(scalars)
                self._forget()
                self._eager.check()
                self._eager.update(lr)
        else:
            self._record_update(lr)
        self._settings.optimizer.check_some_steps(self._state)

    def __call__(self, X: Array, y: Array, weight: Array | None, lr: float) -> Array:
        """`gradient`, then `update`, in one replay if both are recorded."""
        recorded_pass = self._passes.get(_signature(X, y, weight))
        if recorded_pass is None or not self._has_update():
            self._eager.check()  # before `gradient` changes the statistics
            value = self.gradient(X, y, weight)
            self.update(lr)
            return value
        if recorded_pass.step is None:
            recorded_pass.step = recorded_pass.program.then(self._update)
        return self._replay(recorded_pass, recorded_pass.step, X, y, weight, lr)

    def _replay(
        self,
        recorded_pass: _Pass,
        program: Any,
        X: Array,
        y: Array,
        weight: Array | None,
        lr: float | None = None,
    ) -> Array:
        """Replay a program on a batch, with the update if ``lr`` is given; return the loss."""
        scalars = self._state.scalars
        recorded_pass.take(X, y, weight)
        if recorded_pass.draws_masks:
            self._draw_keys()
        else:  # counted all the same, so that the state is that of any engine
            self._model.masks.step += 1
        if lr is not None:
            self._next_scalars(lr)
        try:
            program.replay()
        except program.refused:  # before any call is executed
            self._model.masks.step -= 1
            self._forget()
            if lr is None:
                return self._eager.gradient(X, y, weight)
            self._undo_scalars(scalars)
            return self._eager(X, y, weight, lr)
        if lr is not None:
            self._settings.optimizer.check_some_steps(self._state)
        return recorded_pass.program.result[()]

    def _record_gradient(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Compute the gradient on a batch with a new signature, and record the pass."""
        model = self._model
        self._eager.check()
        inputs = [np.array(array, order="C") for array in (X, y, weight) if array is not None]
        before = _StepSnapshot(model, self._state, [model.statistics])
        if self._update is None:
            self._before_pass = before

        def gradient() -> Any:
            self._draw_keys()
            return self._traced_gradient(self._settings.loss, *map(self._recorder.traced, inputs))

        eager = partial(self._eager.gradient, X, y, weight)
        held = [model.theta, model.grad, model.statistics]
        program, value = self._record(gradient, before, eager, held, inputs)
        if program is None:
            return value
        self._passes[_signature(X, y, weight)] = _Pass(program, inputs, program.reads(self._keys))
        return program.result[()]

    def _record_update(self, lr: float) -> None:
        """Update θ, and record the update."""
        settings, state, model = self._settings, self._state, self._model
        trace, slots = self._recorder.traced, tuple(state.slots)
        self._eager.check()
        settings.optimizer.require_fits(model.theta, state)  # also the number of scalars

        def update() -> None:
            state.step += 1
            self._scalars = np.array(settings.optimizer.scalars(state, lr), self._theta.dtype)
            finish_gradient(settings, self._theta, self._grad, model.network.layout.weights)
            traced = replace(state, slots=tuple(map(trace, slots)))
            scalars = tuple(_each(trace, self._scalars))
            settings.optimizer.update(self._theta, self._grad, traced, scalars)

        held = [model.theta, model.grad, *slots]
        before, eager = _StepSnapshot(model, state, held), partial(self._eager.update, lr)
        self._update, _ = self._record(update, before, eager, held)
        self._slots, self._n_scalars, self._before_pass = slots, len(state.scalars), None

    def _record(
        self,
        function: Callable[[], Any],
        before: _StepSnapshot,
        eagerly: Callable[[], Any],
        held: Sequence[HostArray],
        inputs: Sequence[HostArray] = (),
    ) -> tuple[Any, Any]:
        """The program of ``function``; or ``None`` and the result of ``eagerly``.

        Raises:
            ArgumentError: with ``engine="replay"``, if it cannot be recorded; the model and the
                optimizer's state are restored.
        """
        try:
            return self._recorder.record(function, held, inputs), None
        except Exception as error:
            before.restore()
            value = eagerly()  # an invalid batch raises its own error here
            reason = f"a step could not be recorded: {error}"
            if self._settings.engine == "replay":
                before.restore()
                if self._before_pass is not None:
                    self._before_pass.restore()
                self._passes, self._before_pass = {}, None
                raise no_replay(reason) from error
        except BaseException:
            before.restore()
            raise
        self.engine, self._only_eager = f"eager: {reason}", True
        self._passes, self._update, self._before_pass = {}, None, None
        return None, value

    def _has_update(self) -> bool:
        """Whether the update is recorded for the current slots of the optimizer's state."""
        slots, n_scalars = self._state.slots, len(self._state.scalars)
        same = slots is self._slots or [*map(id, slots)] == [*map(id, self._slots)]
        if not same or n_scalars != self._n_scalars:
            self._forget_update()
        return self._update is not None

    def _forget(self) -> None:
        """Forget all recordings: an array has moved or changed."""
        self._passes = {}
        self._forget_update()

    def _forget_update(self) -> None:
        self._update = None
        for recorded_pass in self._passes.values():
            recorded_pass.step = None

    def _undo_scalars(self, scalars: tuple[float, ...]) -> None:
        """Undo `_next_scalars`, for an eager update."""
        self._state.step, self._state.scalars = self._state.step - 1, scalars

    def _draw_keys(self) -> None:
        masks = self._model.masks
        self._keys[:-1] = masks.next_keys(1, len(self._keys) - 1)[0]
        self._keys[-1] = masks.first_row

    def _next_scalars(self, lr: float) -> None:
        self._state.step += 1
        self._scalars[:] = self._settings.optimizer.scalars(self._state, lr)


class _StepSnapshot:
    """A copy of the arrays and counts that a part of a step changes."""

    def __init__(self, model: ModelState, state: OptimizerState, arrays: list[Array]) -> None:
        self._masks, self._state, self._arrays = model.masks, state, Snapshot(arrays)
        self._counts = model.masks.step, state.step, state.scalars

    def restore(self) -> None:
        """Write the copies back."""
        self._arrays.restore()
        self._masks.step, self._state.step, self._state.scalars = self._counts


def _signature(X: Array, y: Array, weight: Array | None) -> Any:
    """The shapes and dtypes of a batch; a program is valid for one signature."""
    first = X.shape, X.dtype, y.shape, y.dtype
    return first if weight is None else (*first, weight.shape, weight.dtype)


class _Pass:
    """A recorded forward and backward pass over batches of one signature.

    Args:
        program: the recorded pass.
        inputs: the arrays with which it was recorded.
        draws_masks: whether it draws random masks.

    Attributes:
        step: the pass followed by the update as one program; ``None`` until it is first needed.
    """

    def __init__(self, program: Any, inputs: Sequence[HostArray], draws_masks: bool) -> None:
        self.program, self.draws_masks = program, draws_masks
        self.step: Any = None
        self._inputs = [RecordedInput(program, i, array) for i, array in enumerate(inputs)]

    def take(self, X: Array, y: Array, weight: Array | None) -> None:
        """Set the batch that the program reads."""
        inputs = self._inputs
        if X is not inputs[0].now:
            inputs[0].take(X)
        if y is not inputs[1].now:
            inputs[1].take(y)
        if weight is not None and weight is not inputs[2].now:
            inputs[2].take(weight)


class RecordedInput:
    """An input array of a program, which other arrays or copies of them can replace.

    Args:
        program: the program that reads it.
        index: the position of the input in ``program.inputs``.
        recorded: the array with which it was recorded, which nothing else refers to.

    Attributes:
        now: the array that the program reads; the reference keeps it alive.
    """

    def __init__(self, program: Any, index: int, recorded: HostArray) -> None:
        self._objects, self._index = program.inputs, index
        self._replaceable = program.replaceable[index]
        self._copy = None if self._replaceable else recorded
        self.now: HostArray | None = recorded
        if self._replaceable:
            program.release(recorded)

    def take(self, array: Array) -> None:
        """Replace the array that the program reads by ``array``, of the same shape and dtype."""
        flags = array.flags
        if not (self._replaceable and flags.c_contiguous and flags.aligned):
            if self._copy is None:
                self._copy = np.empty(array.shape, array.dtype)
            self._copy[...] = array
            array = self._copy
        self.now = None  # until the address is replaced, which an exception may prevent
        self._objects[self._index] = id(array)
        self.now = array


class TracedMemory:
    """The allocator of the buffers of a recorded pass."""

    xp = np

    def __init__(self, trace: Callable[[HostArray], Any], dtype: Any) -> None:
        self._trace, self._dtype, self._arena = trace, dtype, Arena()

    def empty(self, size: int) -> Any:
        """A new uninitialized traced array."""
        return self._trace(self._arena.empty(size, self._dtype))


def _each(trace: Callable[[HostArray], Any], array: HostArray) -> list[Any]:
    """Each element of a flat array as a traced array of one element."""
    return [trace(array[i : i + 1]) for i in range(len(array))]


def _not_compiled(model: ModelState, settings: StepSettings) -> str:
    """Return the part of the engine's text about a rule that is too long to be compiled."""
    ops = operations_for(model.theta)
    for part in components((model.network.layers, settings.loss)):
        for name in ("value", "rule", "derivative"):
            rule: Any = getattr(part, name, None)
            reason = ops.why_not_compiled(rule)
            if reason:
                return f"; the rule {rule.__name__} is Python code, because {reason}"
    return ""


def new_recorder(*, compares_products: bool = False) -> Any:
    """A recorder of operations on NumPy arrays, an `xpnet.engine.recorder.Recorder`."""
    return _recording().Recorder(compares_products)


def why_not_recorded() -> str:
    """Why operations on NumPy arrays cannot be recorded and replayed; empty if they can."""
    reason: str = getattr(operations_for(np.empty(0)), "reason", "")
    if reason:
        return reason
    try:
        _recording().check_replay()
    except Exception as error:  # the compiler may raise any exception
        return f"recorded steps do not work here ({error})"
    return ""


def _recording() -> Any:
    # Imported by name, because the module needs Numba.
    return import_module("xpnet.engine.recorder")
