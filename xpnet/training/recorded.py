"""The training step on a CPU as a list of compiled calls: written down once, then replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray, Saved
from xpnet.memory import Arena
from xpnet.ops import new_recorder
from xpnet.optimizers import OptimizerState
from xpnet.training.step import Gradient
from xpnet.training.stepping import How, PlainStep, Steppable, no_graph, update_gradient

MOST_KINDS = 32
"""How many kinds of batches are written down; where their size is ever another, it never pays."""


class RecordedStep:
    """`PlainStep`, written down when it is first taken and replayed from then on.

    It gives the same numbers up to rounding, and spares the time that Python takes between the
    loops. A step that cannot be written down, because something in it looks at a number to decide
    what to do, is taken plainly, and so are all that follow.

    Args:
        model: what is trained, on NumPy.
        how: loss, optimizer and what composes around it.
        state: the optimizer's.
    """

    def __init__(self, model: Steppable, how: How, state: OptimizerState) -> None:
        self._model, self._how, self._state = model, how, state
        self._recorder = new_recorder()
        self._passes: dict[Any, _Pass] = {}
        self._update: Any = None
        self._scalars = np.empty(0)
        self._plain: PlainStep | None = None
        self._begun: _Before | None = None  # what was before the first step, until it is over
        self.engine = "graph"
        trace = self._recorder.traced
        vectors = [trace(vector) for vector in (model.theta, model.grad, model.statistics)]
        self._theta, self._grad, _ = vectors
        self._gradient = Gradient(model.network, _Memory(trace, model.theta.dtype), *vectors)
        self._keys = np.zeros(len(model.network.layers), np.int64)
        self._gradient.read_keys(_each(trace, self._keys))

    def __reduce__(self) -> Any:
        raise TypeError(
            "a recorded step cannot be copied, for it belongs to the memory of its model; copy the "
            "model and make a new TrainingStep"
        )

    def gradient(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Fill the model's gradient and return the loss."""
        if self._plain is not None:
            return self._plain.gradient(X, y, weight)
        known = self._passes.get(_kind(X, y, weight))
        if known is None:
            return self._first(X, y, weight)
        return self._replayed(known, known.program, X, y, weight)

    def update(self, lr: float) -> None:
        """Move θ by the gradient."""
        if self._plain is not None:
            self._plain.update(lr)
        elif self._update is None:
            self._first_update(lr)
        else:
            self._next_scalars(lr)
            self._update.replay()

    def both(self, X: Array, y: Array, weight: Array | None, lr: float) -> Array:
        """`gradient` and `update` in one replay, where both are written down."""
        known = self._passes.get(_kind(X, y, weight))
        if known is None or self._update is None or self._plain is not None:
            value = self.gradient(X, y, weight)
            self.update(lr)
            return value
        if known.whole is None:
            known.whole = known.program.then(self._update)
        counted = self._state.step, self._state.scalars
        self._next_scalars(lr)
        try:
            return self._replayed(known, known.whole, X, y, weight)
        except IndexError:  # a label that nobody has checked: no step was taken
            self._state.step, self._state.scalars = counted
            raise

    def _replayed(
        self, known: _Pass, program: Any, X: Array, y: Array, weight: Array | None
    ) -> Array:
        """Replay a program on a batch and return the loss."""
        if known.masks:
            self._next_masks()
        known.take(X, y, weight)
        program.replay()
        return known.program.result[()]

    def _first(self, X: Array, y: Array, weight: Array | None) -> Array:
        """Compute on a batch of a new kind, and write it down if there is room."""
        if len(self._passes) == MOST_KINDS:
            return PlainStep(self._model, self._how, self._state).gradient(X, y, weight)
        inputs = [np.array(array, order="C") for array in (X, y, weight) if array is not None]

        def passed() -> Any:
            self._next_masks()
            return self._gradient(self._how.loss, *map(self._recorder.traced, inputs))

        program = self._written(passed)
        if program is None:
            return self.gradient(X, y, weight)
        self._passes[_kind(X, y, weight)] = _Pass(program, inputs, program.reads(self._keys))
        return program.result[()]

    def _first_update(self, lr: float) -> None:
        """Move θ, and write down how."""
        how, state, trace = self._how, self._state, self._recorder.traced

        def updated() -> None:
            state.step += 1
            self._scalars = np.array(how.optimizer.scalars(state, lr), self._theta.dtype)
            update_gradient(how, self._theta, self._grad, self._model.network.layout.weights)
            traced = OptimizerState(tuple(map(trace, state.slots)), state.step, state.scalars)
            scalars = tuple(_each(trace, self._scalars))
            how.optimizer.update(self._theta, self._grad, traced, scalars)

        self._update = self._written(updated)
        self._begun = None
        if self._update is None:
            self.update(lr)

    def _written(self, function: Callable[[], Any]) -> Any:
        """The program of ``function``; ``None``, and everything as before, if there can be none."""
        before = _Before(self._model, self._state)
        if self._update is None:
            self._begun = self._begun or before
        try:
            return self._recorder.record(function)
        except Exception as error:  # if it is the batch that is wrong, the plain step says so again
            reason = f"a step could not be recorded: {error}"
            if self._how.engine == "graph":
                (self._begun or before).restore()
                self._begun = None
                raise no_graph(reason) from error
            before.restore()
        self.engine = f"eager: {reason}"
        self._plain = PlainStep(self._model, self._how, self._state)
        return None

    def _next_masks(self) -> None:
        self._keys[:] = self._model.gradient.next_keys(1)[0]

    def _next_scalars(self, lr: float) -> None:
        self._state.step += 1
        self._scalars[:] = self._how.optimizer.scalars(self._state, lr)


class _Before:
    """What a step changes, as it is before it."""

    def __init__(self, model: Steppable, state: OptimizerState) -> None:
        self._gradient, self._state = model.gradient, state
        self._arrays = Saved([model.theta, model.grad, model.statistics, *state.slots])
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
        self._inputs = [_Input(program, own) for own in inputs]

    def take(self, X: Array, y: Array, weight: Array | None) -> None:
        """Let the program read a batch."""
        inputs = self._inputs
        if X is not inputs[0].now:
            inputs[0].take(X)
        if y is not inputs[1].now:
            inputs[1].take(y)
        if weight is not None and weight is not inputs[2].now:
            inputs[2].take(weight)


class _Input:
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
        self.now = recorded
        if self._places:
            program.release(recorded)

    def take(self, array: Array) -> None:
        """Let the program read ``array``, of its shape and type, from now on."""
        if not self._places or not (array.flags.c_contiguous and array.flags.aligned):
            if self._own is None:
                self._own = np.empty(array.shape, array.dtype)
            self._own[...] = array
            array = self._own
        self.now = array
        if self._places:
            start = self._place_of(array)
            for block, word, offset in self._places:
                block[word] = start + offset


class _Memory:
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
