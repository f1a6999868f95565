"""The training step on a CPU as a list of compiled calls: written down once, then replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, Saved
from xpnet.engine.eager import How, PlainStep, Steppable, no_graph, update_gradient
from xpnet.engine.value_and_grad import Gradient
from xpnet.memory import Arena
from xpnet.ops import operations_for
from xpnet.optimizers import OptimizerState

MOST_KINDS = 32
"""How many kinds of batches are written down; where their size is ever another, it never pays."""


class RecordedStep:
    """`PlainStep`, written down when it is first taken and replayed from then on.

    It gives the same numbers up to rounding, and spares the time that Python takes between the
    loops. A step that cannot be written down, because something in it looks at a number to decide
    what to do, is taken plainly, and so are all that follow. Of more than `MOST_KINDS` kinds of
    batches the later ones are taken plainly. Threads that take steps wait for each other.

    Args:
        model: what is trained, on NumPy.
        how: loss, optimizer and what composes around it.
        state: the optimizer's.
    """

    def __init__(self, model: Steppable, how: How, state: OptimizerState) -> None:
        self._model, self._how, self._state = model, how, state
        self._plain, self._only_plain = PlainStep(model, how, state), False
        self._lock = Lock()
        self._recorder = new_recorder()
        self._passes: dict[Any, _Pass] = {}
        self._update: Any = None
        self._slots, self._scalars = state.slots, np.empty(0)
        self._before_pass: _Before | None = None  # until the update is written down
        self.engine = "graph"
        trace = self._recorder.traced
        vectors = [trace(vector) for vector in (model.theta, model.grad, model.statistics)]
        self._theta, self._grad, _ = vectors
        self._gradient = Gradient(model.network, Room(trace, model.theta.dtype), *vectors)
        self._keys = np.zeros(len(model.network.layers), np.int64)
        self._gradient.read_keys(_each(trace, self._keys))

    def __reduce__(self) -> Any:
        raise TypeError(
            "a recorded step cannot be copied, for it belongs to the memory of its model; copy the "
            "model and make a new TrainingStep"
        )

    def gradient(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Fill the model's gradient and return the loss."""
        with self._lock:
            return self._computed(X, y, weight)

    def update(self, lr: float) -> None:
        """Move θ by the gradient."""
        with self._lock:
            self._move(lr)

    def both(self, X: Array, y: Array, weight: Array | None, lr: float) -> Array:
        """`gradient` and `update` in one replay, where both are written down."""
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
        if self._only_plain or len(self._passes) == MOST_KINDS:
            return self._plain.gradient(X, y, weight)
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
        """Replay a program on a batch, with an update if there is ``lr``, and return the loss."""
        known.take(X, y, weight)
        if known.masks:
            self._next_masks()
        if lr is not None:
            self._next_scalars(lr)
        program.replay()
        return known.program.result[()]

    def _move(self, lr: float) -> None:
        if self._only_plain:
            self._plain.update(lr)
        elif self._knows_update():
            self._next_scalars(lr)
            self._update.replay()
        else:
            self._first_update(lr)

    def _first(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Compute on a batch of a new kind, and write it down."""
        model = self._model
        inputs = [np.array(array, order="C") for array in (X, y, weight) if array is not None]
        before = _Before(model, self._state, [model.statistics])
        if self._update is None:
            self._before_pass = before

        def passed() -> Any:
            self._next_masks()
            return self._gradient(self._how.loss, *map(self._recorder.traced, inputs))

        plain = partial(self._plain.gradient, X, y, weight)
        program, value = self._written(passed, before, plain)
        if program is None:
            return value
        self._passes[_kind(X, y, weight)] = _Pass(program, inputs, program.reads(self._keys))
        return program.result[()]

    def _first_update(self, lr: float) -> None:
        """Move θ, and write down how."""
        how, state, model = self._how, self._state, self._model
        trace = self._recorder.traced

        def updated() -> None:
            state.step += 1
            self._scalars = np.array(how.optimizer.scalars(state, lr), self._theta.dtype)
            update_gradient(how, self._theta, self._grad, model.network.layout.weights)
            traced = OptimizerState(tuple(map(trace, state.slots)), state.step, state.scalars)
            scalars = tuple(_each(trace, self._scalars))
            how.optimizer.update(self._theta, self._grad, traced, scalars)

        before = _Before(model, state, [model.theta, model.grad, *state.slots])
        self._update, _ = self._written(updated, before, partial(self._plain.update, lr))
        self._slots, self._before_pass = state.slots, None

    def _written(
        self, function: Callable[[], Any], before: _Before, plainly: Callable[[], Any]
    ) -> tuple[Any, Any]:
        """The program of ``function``; or ``None`` and what ``plainly`` gives in its place.

        Raises:
            ArgumentError: with ``engine="graph"`` where there can be none; nothing has moved.
        """
        try:
            return self._recorder.record(function), None
        except Exception as error:
            before.restore()
            value = plainly()  # if it is the batch that is wrong, this says so
            reason = f"a step could not be recorded: {error}"
            if self._how.engine == "graph":
                before.restore()
                if self._before_pass is not None:
                    self._before_pass.restore()
                self._passes, self._before_pass = {}, None
                raise no_graph(reason) from error
        except BaseException:
            before.restore()
            raise
        self.engine, self._only_plain = f"eager: {reason}", True
        self._passes, self._update, self._before_pass = {}, None, None
        return None, value

    def _knows_update(self) -> bool:
        """Whether the update is written down, for the state's slots as they are."""
        if self._slots is not self._state.slots:
            self._update = None
            for known in self._passes.values():
                known.whole = None
        return self._update is not None

    def _next_masks(self) -> None:
        self._keys[:] = self._model.gradient.next_keys(1)[0]

    def _next_scalars(self, lr: float) -> None:
        self._state.step += 1
        self._scalars[:] = self._how.optimizer.scalars(self._state, lr)


class _Before:
    """What a part of a step changes, as it is before it."""

    def __init__(self, model: Steppable, state: OptimizerState, arrays: list[Array]) -> None:
        self._gradient, self._state, self._arrays = model.gradient, state, Saved(arrays)
        self._counts = model.gradient.steps, state.step, state.scalars

    def restore(self) -> None:
        """Put it back."""
        self._arrays.restore()
        self._gradient.steps, self._state.step, self._state.scalars = self._counts


def _kind(X: Array, y: Array, weight: Array | None) -> Any:
    """What batches have in common that one program can compute."""
    first = X.shape, X.dtype, y.shape, y.dtype
    return first if weight is None else (*first, weight.shape, weight.dtype)


class _Pass:
    """A recorded pass over a batch of one kind.

    Attributes:
        program: the pass.
        whole: the pass and the update after it; ``None`` as long as nobody has asked for it.
        masks: whether it draws random masks.
    """

    def __init__(self, program: Any, inputs: Sequence[HostArray], masks: bool) -> None:
        self.program, self.masks = program, masks
        self.whole: Any = None
        self._inputs = [Input(program, own) for own in inputs]

    def take(self, X: Array, y: Array, weight: Array | None) -> None:
        """Let the program read a batch."""
        inputs = self._inputs
        if X is not inputs[0].now:
            inputs[0].take(X)
        if y is not inputs[1].now:
            inputs[1].take(y)
        if weight is not None and weight is not inputs[2].now:
            inputs[2].take(weight)


class Input:
    """A batch's array in a program: another may take its place, or is copied into it.

    Args:
        program: what reads it.
        recorded: the array with which it was recorded, nobody else's.

    Attributes:
        now: the array that the program reads, which so lives as long as it may be read.
    """

    def __init__(self, program: Any, recorded: HostArray) -> None:
        self._places, self._place_of = program.places_in(recorded), program.place_of
        self._own = None if self._places else recorded
        self.now: HostArray | None = recorded
        if self._places:
            program.release(recorded)

    def take(self, array: Array) -> None:
        """Let the program read ``array``, of its shape and type, from now on."""
        flags = array.flags
        if not (self._places and flags.c_contiguous and flags.aligned):
            if self._own is None:
                self._own = np.empty(array.shape, array.dtype)
            self._own[...] = array
            array = self._own
        elif type(array) is not np.ndarray:
            array = np.asarray(array)
        last, self.now = self.now, None  # the last one lives until none of it is read
        if self._places:
            start = self._place_of(array)
            for block, word, offset in self._places:
                block[word] = start + offset
        del last
        self.now = array


class Room:
    """Where the buffers of a recorded pass come from."""

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
    """What writes down the work on NumPy arrays; see `xpnet.engine.recording.Recorder`."""
    return _program().Recorder()


def why_not_recorded() -> str:
    """Why work on NumPy arrays cannot be written down and replayed; empty if it can."""
    reason: str = getattr(operations_for(np.empty(0)), "reason", "")
    if reason:
        return reason
    try:
        _program().prove()
    except Exception as error:  # it rests on how a compiler calls, and each may fail in its own way
        return f"recorded steps do not work here ({error})"
    return ""


def _program() -> Any:
    # By name: it is for those who have Numba.
    return import_module("xpnet.engine.recording")
