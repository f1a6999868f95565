"""A training step on a CPU, recorded once as a list of compiled calls and then replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, Snapshot
from xpnet.engine.eager_step import EagerStep, StepSettings, finish_gradient, no_replay
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.memory import Arena
from xpnet.ops import operations_for
from xpnet.optimizers import OptimizerState
from xpnet.state import ModelState

ENGINE = "replay: a list of compiled calls"

MAX_RECORDED_KINDS = 32
"""The maximum number of recorded kinds; recording does not pay where every size is new."""


class RecordedStep:
    """`EagerStep`, recorded when it is first taken and replayed from then on.

    The numbers are those of the eager step up to rounding; a replay saves the time that Python
    takes between the loops. A step that cannot be recorded, because control flow depends on array
    values, runs eagerly, and so do all that follow. At most `MAX_RECORDED_KINDS` kinds of batches
    (shapes and dtypes) are recorded; further kinds run eagerly. Steps of several threads wait for
    each other.

    Args:
        model: the model that is trained, on NumPy.
        settings: loss, optimizer, clip and penalty.
        state: the optimizer's state.

    Attributes:
        engine: the text for ``history.engine``.
    """

    def __init__(self, model: ModelState, settings: StepSettings, state: OptimizerState) -> None:
        self._model, self._settings, self._state = model, settings, state
        self._eager, self._only_eager = EagerStep(model, settings, state), False
        self._lock = Lock()
        self._recorder = new_recorder()
        self._passes: dict[Any, _Pass] = {}
        self._update: Any = None
        self._slots, self._scalars = state.slots, np.empty(0)
        self._before_pass: _StepSnapshot | None = None  # until the update is recorded
        self.engine = ENGINE
        trace = self._recorder.traced
        names = "theta", "grad", "statistics"
        traced = replace(model, **{name: trace(getattr(model, name)) for name in names})
        self._theta, self._grad = traced.theta, traced.grad
        self._traced_gradient = ValueAndGrad(traced, TracedMemory(trace, model.theta.dtype))
        self._keys = np.zeros(len(model.network.layers), np.int64)
        self._traced_gradient.read_keys(_each(trace, self._keys))

    @property
    def value_and_grad(self) -> ValueAndGrad:
        """The eager step's: it computes the same function of the same vectors."""
        return self._eager.value_and_grad

    def __reduce__(self) -> Any:
        raise TypeError(
            "a recorded step cannot be copied, because it is bound to the memory of its model; "
            "copy the model and make a new TrainingStep"
        )

    def gradient(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Fill the model's gradient and return the loss."""
        with self._lock:
            return self._computed(X, y, weight)

    def update(self, lr: float) -> None:
        """Move θ by the gradient."""
        with self._lock:
            self._move(lr)

    def __call__(self, X: Array, y: Array, weight: Array | None, lr: float) -> Array:
        """`gradient` and `update`, in one replay where both are recorded."""
        with self._lock:
            known = self._passes.get(_kind(X, y, weight))
            if known is None or not self._knows_update():
                value = self._computed(X, y, weight)
                self._move(lr)
                return value
            if known.whole is None:
                known.whole = known.program.then(self._update)
            return self._replayed(known, known.whole, X, y, weight, lr)

    def _computed(self, X: Array, y: Array, weight: Array | None) -> Array:
        known = self._passes.get(_kind(X, y, weight))
        if known is not None:
            return self._replayed(known, known.program, X, y, weight)
        if self._only_eager or len(self._passes) == MAX_RECORDED_KINDS:
            return self._eager.gradient(X, y, weight)
        return self._first(X, y, weight)

    def _replayed(
        self,
        known: _Pass,
        program: Any,
        X: Array,
        y: Array,
        weight: Array | None,
        lr: float | None = None,
    ) -> Array:
        """Replay a program on a batch, with the update if ``lr`` is given; return the loss."""
        known.take(X, y, weight)
        if known.masks:
            self._next_masks()
        if lr is not None:
            self._next_scalars(lr)
        program.replay()
        return known.program.result[()]

    def _move(self, lr: float) -> None:
        if self._only_eager:
            self._eager.update(lr)
        elif self._knows_update():
            self._next_scalars(lr)
            self._update.replay()
        else:
            self._first_update(lr)

    def _first(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Compute on a batch of a new kind, and record the pass."""
        model = self._model
        inputs = [np.array(array, order="C") for array in (X, y, weight) if array is not None]
        before = _StepSnapshot(model, self._state, [model.statistics])
        if self._update is None:
            self._before_pass = before

        def passed() -> Any:
            self._next_masks()
            return self._traced_gradient(self._settings.loss, *map(self._recorder.traced, inputs))

        eager = partial(self._eager.gradient, X, y, weight)
        program, value = self._record(passed, before, eager)
        if program is None:
            return value
        self._passes[_kind(X, y, weight)] = _Pass(program, inputs, program.reads(self._keys))
        return program.result[()]

    def _first_update(self, lr: float) -> None:
        """Move θ, and record the update."""
        settings, state, model = self._settings, self._state, self._model
        trace = self._recorder.traced

        def updated() -> None:
            state.step += 1
            self._scalars = np.array(settings.optimizer.scalars(state, lr), self._theta.dtype)
            finish_gradient(settings, self._theta, self._grad, model.network.layout.weights)
            traced = OptimizerState(tuple(map(trace, state.slots)), state.step, state.scalars)
            scalars = tuple(_each(trace, self._scalars))
            settings.optimizer.update(self._theta, self._grad, traced, scalars)

        before = _StepSnapshot(model, state, [model.theta, model.grad, *state.slots])
        self._update, _ = self._record(updated, before, partial(self._eager.update, lr))
        self._slots, self._before_pass = state.slots, None

    def _record(
        self, function: Callable[[], Any], before: _StepSnapshot, eagerly: Callable[[], Any]
    ) -> tuple[Any, Any]:
        """The program of ``function``; or ``None`` and the result of ``eagerly``.

        Raises:
            ArgumentError: with ``engine="replay"``, if it cannot be recorded; nothing has moved.
        """
        try:
            return self._recorder.record(function), None
        except Exception as error:
            before.restore()
            value = eagerly()  # if the batch is at fault, this raises
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

    def _knows_update(self) -> bool:
        """Whether the update is recorded for the current slots of the optimizer's state."""
        if self._slots is not self._state.slots:
            self._update = None
            for known in self._passes.values():
                known.whole = None
        return self._update is not None

    def _next_masks(self) -> None:
        self._keys[:] = self._model.masks.next_keys(1, len(self._keys))[0]

    def _next_scalars(self, lr: float) -> None:
        self._state.step += 1
        self._scalars[:] = self._settings.optimizer.scalars(self._state, lr)


class _StepSnapshot:
    """A copy of everything that a part of a step changes, to restore it."""

    def __init__(self, model: ModelState, state: OptimizerState, arrays: list[Array]) -> None:
        self._masks, self._state, self._arrays = model.masks, state, Snapshot(arrays)
        self._counts = model.masks.step, state.step, state.scalars

    def restore(self) -> None:
        """Undo the changes."""
        self._arrays.restore()
        self._masks.step, self._state.step, self._state.scalars = self._counts


def _kind(X: Array, y: Array, weight: Array | None) -> Any:
    """The shapes and dtypes of a batch, which one program is made for."""
    first = X.shape, X.dtype, y.shape, y.dtype
    return first if weight is None else (*first, weight.shape, weight.dtype)


class _Pass:
    """A recorded pass over a batch of one kind.

    Attributes:
        program: the pass.
        whole: the pass and the update after it; ``None`` until it is first needed.
        masks: whether it draws random masks.
    """

    def __init__(self, program: Any, inputs: Sequence[HostArray], masks: bool) -> None:
        self.program, self.masks = program, masks
        self.whole: Any = None
        self._inputs = [RecordedInput(program, own) for own in inputs]

    def take(self, X: Array, y: Array, weight: Array | None) -> None:
        """Let the program read this batch."""
        inputs = self._inputs
        if X is not inputs[0].now:
            inputs[0].take(X)
        if y is not inputs[1].now:
            inputs[1].take(y)
        if weight is not None and weight is not inputs[2].now:
            inputs[2].take(weight)


class RecordedInput:
    """An array of a batch in a program: the program reads another one, or a copy of it.

    Args:
        program: the program that reads it.
        recorded: the array with which it was recorded, which has no other user.

    Attributes:
        now: the array that the program reads, kept alive as long as it may be read.
    """

    def __init__(self, program: Any, recorded: HostArray) -> None:
        self._places, self._place_of = program.places_in(recorded), program.place_of
        self._own = None if self._places else recorded
        self.now: HostArray | None = recorded
        if self._places:
            program.release(recorded)

    def take(self, array: Array) -> None:
        """Let the program read ``array``, of its shape and dtype, from now on."""
        flags = array.flags
        if not (self._places and flags.c_contiguous and flags.aligned):
            if self._own is None:
                self._own = np.empty(array.shape, array.dtype)
            self._own[...] = array
            array = self._own
        elif type(array) is not np.ndarray:
            array = np.asarray(array)
        last, self.now = self.now, None  # the last one must live until no address of it is left
        if self._places:
            start = self._place_of(array)
            for block, word, offset in self._places:
                block[word] = start + offset
        del last
        self.now = array


class TracedMemory:
    """The allocator of the buffers of a recorded pass."""

    xp = np

    def __init__(self, trace: Callable[[HostArray], Any], dtype: Any) -> None:
        self._trace, self._dtype, self._arena = trace, dtype, Arena()

    def empty(self, size: int) -> Any:
        """A new traced array."""
        return self._trace(self._arena.empty(size, self._dtype))


def _each(trace: Callable[[HostArray], Any], array: HostArray) -> list[Any]:
    """Every number of a flat array as a traced array of one."""
    return [trace(array[i : i + 1]) for i in range(len(array))]


def new_recorder() -> Any:
    """A recorder of the work on NumPy arrays, an `xpnet.engine.recorder.Recorder`."""
    return _program().Recorder()


def why_not_recorded() -> str:
    """Why work on NumPy arrays cannot be recorded and replayed; empty if it can."""
    reason: str = getattr(operations_for(np.empty(0)), "reason", "")
    if reason:
        return reason
    try:
        _program().check_replay()
    except Exception as error:  # it depends on the compiler, which may fail in any way
        return f"recorded steps do not work here ({error})"
    return ""


def _program() -> Any:
    # By name, because it needs Numba.
    return import_module("xpnet.engine.recorder")
