"""A trial of replays with user-defined components: do they compute what the plain code computes?

The step is recorded twice, at different times and on different data, parameters and random masks,
and each recording is replayed on further ones. All of it works on copies.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet.backend import Array, HostArray
from xpnet.engine.eager_step import EagerStep, StepSettings
from xpnet.engine.recorded_step import RecordedStep, new_recorder
from xpnet.memory import Arena
from xpnet.optimizers import OptimizerState
from xpnet.random import RandomStreams
from xpnet.state import VECTORS, ModelState

TOLERANCE = 2.0**12
"""The largest difference of results relative to the largest of them, as a multiple of ε, where a
matrix product of a replay rounds otherwise than NumPy's."""


class ReplayDiffersError(Exception):
    """A replay does not compute what the plain code computes; the message says what differs."""


@dataclass
class _Results:
    """What a step has written.

    Attributes:
        arrays: the loss, the vectors and slots, and the batch, by name.
        counts: the counts of the random streams and the optimizer, and its scalars.
    """

    arrays: dict[str, HostArray]
    counts: tuple[Any, ...]


class _Subject:
    """A copy of a training, on which a step is tried.

    Args:
        model: the model, which is copied.
        settings: the settings, with the engine ``None``.
        state: the optimizer's state, which is copied.
        recorder: the recorder; ``None`` for plain steps.
    """

    def __init__(
        self, model: ModelState, settings: StepSettings, state: OptimizerState, recorder: Any
    ) -> None:
        arena = Arena()
        theta, grad, statistics = (_copied(getattr(model, name), arena) for name in VECTORS)
        streams = RandomStreams()
        self.model = replace(model, theta=theta, grad=grad, statistics=statistics, streams=streams)
        self.model.masks.seed, self.model.masks.step = model.masks.seed, model.masks.step
        slots = tuple(_copied(slot, arena) for slot in state.slots)
        self.state = replace(state, slots=slots)
        self._lr = settings.optimizer.lr
        if recorder is None:
            self.step: Any = EagerStep(self.model, settings, self.state)
        else:
            self.step = RecordedStep(self.model, settings, self.state, recorder)

    def gradient(self, batch: Batch) -> _Results:
        """Compute the loss and its gradient on a copy of a batch."""
        batch = [None if x is None else x.copy() for x in batch]
        loss = np.array(self.step.gradient(*batch))
        own = {name: getattr(self.model, name).copy() for name in VECTORS}
        names = "X", "y", "sample_weight"
        given = {name: x for name, x in zip(names, batch, strict=True) if x is not None}
        return _Results({"loss": loss} | own | given, (self.model.masks.step,))

    def update(self) -> _Results:
        """Update θ by the gradient."""
        self.step.update(self._lr)
        slots = {f"slots[{i}]": slot.copy() for i, slot in enumerate(self.state.slots)}
        vectors = {name: getattr(self.model, name).copy() for name in VECTORS}
        return _Results(vectors | slots, (self.state.step, self.state.scalars))

    def follow(self, other: _Subject) -> None:
        """Copy the numbers of another copy, so that differences do not add up."""
        for name in VECTORS:
            getattr(self.model, name)[...] = getattr(other.model, name)
        for slot, theirs in zip(self.state.slots, other.state.slots, strict=True):
            slot[...] = theirs
        self.state.step, self.state.scalars = other.state.step, other.state.scalars
        self.model.masks.step = other.model.masks.step


Batch = list[Any]


def require_replayable(
    model: ModelState,
    settings: StepSettings,
    state: OptimizerState,
    X: Array,
    y: Array,
    weight: Array | None,
) -> None:
    """Compare replays of a step with plain steps, on copies of all that a step changes.

    Three plain steps are taken, on the batch and on its rows in two other orders. One recording is
    made in the first step and replayed in the others; another is made in the second step and
    replayed in the third. The results must have the same bits. Where a matrix product of a replay
    is known to round otherwise than NumPy's, they may differ by rounding; two recordings may not.

    Args:
        model: the model; not changed, as all arguments.
        settings: the settings of the step.
        state: the optimizer's state.
        X: network inputs.
        y: targets.
        weight: weights of the rows, or ``None``.

    Raises:
        ReplayDiffersError: naming the first result that differs.
        Exception: any exception of the step itself.
    """
    settings = replace(settings, engine=None)
    recorder = new_recorder(compares_products=True)
    with quiet():
        plain = _Subject(model, settings, state, None)
        first = _Subject(model, settings, state, recorder)
        second = _Subject(model, settings, state, new_recorder())
        for number, batch in enumerate(orders(X, y, weight)):
            subjects = [first] if number == 0 else [first, second]
            _compare_steps(plain, subjects, batch, recorder, number == 2)
            second.follow(plain)
        for one, other in zip(first.step.programs, second.step.programs, strict=True):
            if one is None or other is None or one.signature() != other.signature():
                raise ReplayDiffersError("two recordings hold different calls")


def require_same_passes(
    record: Callable[..., tuple[Any, Callable[[Array], Any]]],
    plain: Callable[[Array], Array],
    views: Sequence[Any],
    inputs: Array,
) -> None:
    """Compare two recordings of a forward pass with the plain pass, as `require_replayable` does.

    Args:
        record: records the pass on an input with a recorder, and returns it and a function that
            sets its input.
        plain: the plain pass.
        views: the dictionaries of views that the layers get.
        inputs: network inputs; not changed.

    Raises:
        ReplayDiffersError: as `require_replayable`.
    """
    programs: list[Any] = []
    recorder, known = new_recorder(compares_products=True), _identities(views)
    with quiet():
        for number, (batch, _, _) in enumerate(orders(inputs, inputs, None)):
            given = batch.copy()
            expected = {"the output": np.array(plain(given))}
            for program, set_input in programs:
                set_input(batch)
                program.replay()
            if number < 2:
                programs.append(record(batch, recorder))
            for program, _ in programs:
                found = {"the output": np.array(program.result)}
                require_same(found, expected, recorder.rounds_otherwise)
            if not _same(given, batch):
                raise ReplayDiffersError("a pass overwrites its input")
    if programs[0][0].signature() != programs[1][0].signature():
        raise ReplayDiffersError("two recordings hold different calls")
    if _identities(views) != known:
        raise ReplayDiffersError("a pass adds or replaces views of parameters")


def _compare_steps(
    plain: _Subject, subjects: list[_Subject], batch: Batch, recorder: Any, replayed: bool
) -> None:
    """Take a step with each subject, and compare its results with the plain ones."""
    stages = (lambda subject: subject.gradient(batch)), _Subject.update
    views = plain.step.value_and_grad.views
    known = _identities(views)
    for stage in stages:
        expected, found = stage(plain), [stage(subject) for subject in subjects]
        for name, x in zip(("X", "y", "sample_weight"), batch, strict=True):
            if name in expected.arrays and not _same(expected.arrays[name], x):
                raise ReplayDiffersError(f"a step overwrites {name}")
        for subject, results in zip(subjects, found, strict=True):
            reason = getattr(subject.step, "engine", "")
            if reason.startswith("eager: "):
                raise ReplayDiffersError(
                    reason.removeprefix("eager: a step could not be recorded: ")
                )
            require_same(results.arrays, expected.arrays, recorder.rounds_otherwise)
            if results.counts != expected.counts:
                raise ReplayDiffersError("the counts of steps differ")
        if len(found) == 2:
            require_same(found[1].arrays, found[0].arrays, exact=True)
        for subject in subjects:
            subject.follow(plain)
    if _identities(views) != known:
        raise ReplayDiffersError("a step adds or replaces views of parameters")


def require_same(
    found: dict[str, Any], expected: dict[str, Any], rounds: bool = False, *, exact: bool = False
) -> None:
    """Compare results.

    Args:
        found: the results of a replay.
        expected: those of the plain code.
        rounds: whether they may differ by rounding.
        exact: whether subnormal numbers are compared too, which a replay flushes to 0.

    Raises:
        ReplayDiffersError: naming the result that differs.
    """
    for name, array in found.items():
        other = expected[name]
        if _same(array, other) or (not exact and _same(_flushed(array), _flushed(other))):
            continue
        if not (rounds and _is_near(array, other)):
            raise ReplayDiffersError(f"{name} differs from that of the plain code")


def orders(X: Array, y: Array, weight: Array | None) -> Iterator[Batch]:
    """A batch and two others: its rows in other orders, or one row scaled."""
    yield [X, y, weight]
    if X.shape[0] == 1:
        for factor in (0.5, -1.0):
            yield [(X * factor).astype(X.dtype), y, weight]
        return
    yield [None if x is None else x[::-1].copy() for x in (X, np.roll(y, 1, axis=0), weight)]
    yield [None if x is None else np.roll(x, 1, axis=0) for x in (X, y[::-1], weight)]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings: the steps of the training repeat them."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _identities(views: Sequence[Any]) -> list[Any]:
    """The identities of the views that layers get, which are in dictionaries."""
    return [[(key, id(view)) for key, view in by_name.items()] for by_name in views]


def _copied(array: Array, arena: Arena) -> HostArray:
    copy: HostArray = arena.empty(array.shape[0], array.dtype)
    copy[...] = array
    return copy


def _same(a: HostArray, b: HostArray) -> bool:
    """Whether two arrays have the same bits."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _flushed(a: HostArray) -> HostArray:
    """An array with 0 instead of subnormal numbers and -0, and one NaN."""
    if a.dtype.kind != "f":
        return a
    a = np.where(np.abs(a) < np.finfo(a.dtype).tiny, 0, a)
    return np.where(np.isnan(a), np.nan, a).astype(a.dtype)


def _is_near(a: HostArray, b: HostArray) -> bool:
    if a.dtype.kind != "f" or a.shape != b.shape:
        return False
    scale = float(np.max(np.abs(b), initial=0.0, where=np.isfinite(b)))
    limit = TOLERANCE * float(np.finfo(a.dtype).eps) * scale
    return bool(np.allclose(a, b, rtol=0, atol=limit, equal_nan=True))
