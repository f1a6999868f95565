"""Callbacks: what is called at the beginning of a training, after steps and epochs, and its end."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeAlias

from xpnet.errors import (
    ArgumentError,
    FileFormatError,
    Phrase,
    plain_number,
    require,
    require_count,
    unknown_name,
    warn_caller,
)
from xpnet.metrics.protocol import real_number
from xpnet.training.history import History
from xpnet.training.interrupts import Interrupts


@dataclass
class Run:
    """The argument of callbacks: a training run at the end of a step or an epoch.

    Methods for epochs get a new object each time; ``step`` gets the same object in all calls.

    Attributes:
        model: the model in training.
        epoch: the number of the epoch that has ended, or in which a step has, counted from 1; 0 in
            ``begin``.
        epochs: the number of epochs requested.
        row: the numbers of the epoch by column; in ``step`` those of the epoch before.
        history: the history up to and including this epoch.
        optimizer: the optimizer, or the method of `xpnet.minimize`.
        state: the current state of the optimizer; ``None`` for a method of `xpnet.minimize`.
        rows: the training data, `xpnet.data.batching.TrainingData`.
        columns: the columns that ``row`` has before callbacks add theirs.
        callbacks: the callbacks, in the order in which they are called.
        step: the number of steps taken in this epoch.
        n_steps: the number of steps of an epoch; 0 for a method of `xpnet.minimize`.
        loss: in ``step``, the loss of the last step, before its update; else NaN.
        saver: copies the training for `TrainingCheckpoint`; ``None`` without one, and in the middle
            of a step.
        interrupts: whether the training has been asked to end; see `interrupt`.
        directions: whether higher is better, by the name of the loss or metric, where it is known.
    """

    model: Any
    epoch: int
    epochs: int
    row: dict[str, float]
    history: History
    optimizer: Any = None
    state: Any = None
    rows: Any = None
    columns: tuple[str, ...] = ()
    callbacks: tuple[Any, ...] = ()
    step: int = 0
    n_steps: int = 0
    loss: float = math.nan
    saver: Any = field(default=None, repr=False)
    interrupts: Interrupts = field(default_factory=Interrupts, repr=False)
    directions: dict[str, bool] = field(default_factory=lambda: {"loss": False})

    def interrupt(self) -> None:
        """End the training after this step or epoch, as Ctrl-C does.

        For a callback that learns of the end of its machine's time, as by SIGTERM.
        """
        self.interrupts.requested = True

    def direction(self, monitor: str, maximize: bool | None) -> bool:
        """Return whether a higher number in the column ``monitor`` is better.

        Callbacks without an attribute ``columns`` may add any column; then only those of
        validation data are refused if there are none.

        Args:
            monitor: the name of the column.
            maximize: the direction; ``None`` takes that of the metric, and lower where it is
                unknown. A direction that is not that of the metric is a warning.

        Raises:
            ArgumentError: if there will be no such column; the message lists those there will be.
        """
        declared = [getattr(callback, "columns", None) for callback in self.callbacks]
        known = [*self.columns, *(name for names in declared for name in _names(names) or ())]
        measured = {f"val_{name}" for name in self.columns}
        may_exist = any(_names(names) is None for names in declared) and monitor not in measured
        if monitor not in known and not may_exist:
            raise self._unknown(monitor, known)
        is_higher_better = self.known_direction(monitor)
        if maximize is None:
            return bool(is_higher_better)
        if is_higher_better not in (None, maximize):
            warn_caller(
                f"{monitor} is better if it is {'higher' if is_higher_better else 'lower'}, but is "
                f"{'maximized' if maximize else 'minimized'}. Write maximize={is_higher_better}, "
                "or leave it out."
            )
        return maximize

    def known_direction(self, monitor: str) -> bool | None:
        """Return whether a higher number in a column is better; ``None`` if it is not known."""
        return self.directions.get(monitor.removeprefix("val_").removeprefix("avg_"))

    def monitored(self, monitor: str) -> float:
        """The number of this epoch in the column ``monitor``.

        Raises:
            ArgumentError: if there is no such column, or it does not hold a real number.
        """
        if monitor not in self.row:
            raise self._unknown(monitor, self.row)
        number = real_number(self.row[monitor])
        if number is None:
            require(False, f"the column {monitor!r}", "hold one real number", self.row[monitor])
        return math.nan if number is None else number

    def _unknown(self, monitor: str, known: Iterable[str]) -> ArgumentError:
        """The error for an unknown column, which says how to get a column val_*."""
        error = unknown_name("monitor", monitor, known)
        if not monitor.startswith("val_"):
            return error
        do = "Columns val_* need validation data: pass validation=(X, y) or validation=0.2 to fit."
        if "val_loss" in known:
            do = "Columns val_* other than val_loss need a metric: pass metrics=[...] to fit."
        return ArgumentError(f"{error} {do}")


Callback: TypeAlias = Any
"""A function, which is called after every epoch, or an object with any of the methods below.

The training stops if ``step``, ``epoch`` or the function returns ``True``; any other value, such as
a number or a text, has no effect. Such a training has ended; one that is to be resumed is ended by
``run.interrupt()``. ``run`` is a `Run`.

- ``begin(run)`` is called before the first step. It raises an error if the callback cannot be used
  in this training, which leaves the model unchanged.
- ``step(run)`` is called after steps; ``every``, an attribute that is an integer of at least 1
  (default 1), calls it after every ``every``-th step of the training only. On a GPU the host waits
  for the device before each call, some ten microseconds, and graphs of several steps are divided:
  take ``every`` of 100 or more. Trainings without such a callback are as fast as before. A method
  of `xpnet.minimize` has no steps.
- ``epoch(run)`` is called after every epoch; an object without it is called itself.
- ``exception(run, error)`` is called if an exception, such as Ctrl-C, ends the training.
- ``end(run)`` is called after the last epoch, and after a training that Ctrl-C has ended.
- ``state_dict()`` and ``load_state_dict(state)`` return and set what changes in training: arrays
  and JSON values in a dictionary (`xpnet.save_state_dict`). `TrainingCheckpoint` saves it, and a
  training that is resumed sets it after ``begin``, by the type and order of the callbacks. An
  object with instance attributes but without these methods is refused there, because its state
  would be lost, unless its class says ``stateless = True``. A function counts as stateless.
- ``snapshot(run)`` and ``restore(run, snapshot)`` copy and set what ``end`` uses, so that
  `EarlyStopping` can end the training with an earlier epoch. A snapshot is what ``state_dict``
  may return.

Two attributes are optional too:

- ``columns``, a sequence of names, declares the columns that the callback adds to ``run.row``.
- ``monitor`` is the column that the callback reads.

Callbacks are called in the order of the list, those with ``monitor`` after those without, then
`CSVLogger` and `JSONLinesLogger`, and `TrainingCheckpoint` after all. In ``exception`` and ``end``
`TrainingCheckpoint` is first, so that the file holds the state before the others change it; in
``end`` `EarlyStopping` follows, which restores the epoch of which others use the average.
"""

METHODS: dict[str, tuple[str, ...]] = {
    "begin": ("run",),
    "step": ("run",),
    "epoch": ("run",),
    "exception": ("run", "error"),
    "end": ("run",),
    "state_dict": (),
    "load_state_dict": ("state",),
    "snapshot": ("run",),
    "restore": ("run", "snapshot"),
}
"""The optional methods of a callback, with their arguments; other attributes are not called."""

CALLED = ("begin", "step", "epoch", "exception", "end")
"""The methods of which an object needs one to be a callback."""

FORMER = {
    **{"finish": "end", "on_epoch_end": "epoch", "on_train_end": "end", "on_fit_end": "end"},
    **{"on_train_begin": "begin", "on_fit_start": "begin", "on_train_start": "begin"},
    **{"on_batch_end": "step", "on_train_batch_end": "step", "on_exception": "exception"},
}
"""Methods of earlier versions and of other libraries, with their names here."""


HOOK = re.compile(r"on_(\w+_)?(begin|start|end)|on_exception")
"""The names of methods that other libraries call."""


class Callbacks:
    """The callbacks of a training, in the order in which they are called.

    Args:
        callbacks: the callbacks, in the order of the list.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.ordered = tuple(sorted(callbacks, key=_rank))
        self._steps: list[tuple[int, Any]] = []
        methods = [_epoch_method(c) for c in self.ordered if not is_training_checkpoint(c)]
        self._epochs = [method for method in methods if method is not None]

    def begin(self, run: Run) -> None:
        """Call the method ``begin`` of every callback that has one, before the first step.

        Raises:
            ArgumentError: if a callback cannot be used in this training.
        """
        run.callbacks = self.ordered
        self._require_new_columns(run.columns)
        for callback in self.ordered:
            if callable(getattr(callback, "begin", None)):
                callback.begin(run)
        for callback in self.ordered:
            if callable(getattr(callback, "step", None)):
                every = getattr(callback, "every", 1)
                if every is not None:
                    require_count(every, f"{type(callback).__name__}.every")
                    self._steps.append((every, callback))

    def _require_new_columns(self, columns: Sequence[str]) -> None:
        """Refuse a callback that adds a column of the loss, a metric or another callback."""
        taken = set(columns)
        for callback in self.ordered:
            names = _names(getattr(callback, "columns", None)) or ()
            for name in names:
                rule = "add columns that no metric and no other callback has"
                got = Phrase(f"{name!r} of {type(callback).__name__}")
                require(name not in taken, "callbacks", rule, got)
            taken.update(names)

    @property
    def intervals(self) -> tuple[int, ...]:
        """One is called after the multiples of each of these numbers of steps."""
        return tuple({every: None for every, _ in self._steps})

    @property
    def take_steps(self) -> bool:
        """Whether a callback may be called after steps; known before `begin`."""
        return any(_methods_of(callback, ["step"]) for callback in self.ordered)

    def step(self, run: Run) -> bool:
        """Call the callbacks that are due after a step; return whether one stops the training."""
        number = (run.epoch - 1) * run.n_steps + run.step
        due = [callback for every, callback in self._steps if not number % every]
        results = [c.step(run) for c in due if not is_training_checkpoint(c)]
        stops = self._noted(run, results, f"epoch {run.epoch}, step {run.step}")
        for checkpoint in filter(is_training_checkpoint, due):
            checkpoint.step(run)
        return stops

    def epoch(self, run: Run) -> bool:
        """Call every callback after an epoch; return whether one stops the training."""
        results = [method(run) for method in self._epochs]
        stops = self._noted(run, results, f"epoch {run.epoch}")
        for checkpoint in filter(is_training_checkpoint, self.ordered):
            checkpoint.epoch(run)
        return stops

    def _noted(self, run: Run, results: Iterable[Any], at: str) -> bool:
        """Return whether one of the results stops the training; note it in the history."""
        stops = any(plain_number(result) is True for result in results)
        if stops:
            run.history.stopped = run.history.stopped or f"a callback stopped training in {at}"
        return stops

    def save_initial(self, run: Run) -> None:
        """Save the training before its first step, where there is no file yet."""
        for checkpoint in filter(is_training_checkpoint, self.ordered):
            checkpoint.save_initial(run)

    def exception(self, run: Run, error: BaseException) -> Exception | None:
        """Call the method ``exception`` of every callback; return the first error of one."""
        first = None
        for callback in sorted(self.ordered, key=lambda c: not is_training_checkpoint(c)):
            try:
                if callable(getattr(callback, "exception", None)):
                    callback.exception(run, error)
            except Exception as failure:  # the others must be called too
                first = first or failure
        return first

    def end(self, run: Run) -> None:
        """Call the method ``end`` of every callback that has one."""
        for callback in sorted(self.ordered, key=_rank_at_end):
            if callable(getattr(callback, "end", None)):
                callback.end(run)

    def require_states(self) -> None:
        """Refuse a callback with a state that cannot be saved.

        Raises:
            ArgumentError: naming the callback.
        """
        for callback in self.ordered:
            owner = callback.__self__ if isinstance(callback, MethodType) else callback
            ok = has_state(callback) or getattr(owner, "stateless", False) is True
            half = _methods_of(callback, ("state_dict", "load_state_dict"))
            rule = "have the methods state_dict and load_state_dict to be saved in a checkpoint"
            do = "If nothing in it changes in training, write stateless = True in its class."
            require(ok or not (half or _has_attributes(owner)), "callbacks", rule, callback, do)

    def state_dict(self) -> list[dict[str, Any]]:
        """The type and the state of every callback that has one.

        Raises:
            ArgumentError: see `require_states`.
        """
        self.require_states()  # a callback may have got attributes since
        stateful = [callback for callback in self.ordered if has_state(callback)]
        return [{"type": _type_name(c), "state": c.state_dict()} for c in stateful]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Set the states that `state_dict` returned.

        Raises:
            ArgumentError: if the callbacks are of other types, or in another order.
            FileFormatError: if one refuses its state, by any exception.
        """
        stateful = [callback for callback in self.ordered if has_state(callback)]
        types = [_type_name(callback) for callback in stateful]
        wanted = [state["type"] for state in states]
        rule = f"be those of the training that is resumed, [{', '.join(wanted)}], in this order"
        require(types == wanted, "callbacks", rule, Phrase(f"[{', '.join(types)}]"))
        for callback, state in zip(stateful, states, strict=True):
            try:
                callback.load_state_dict(state["state"])
            except Exception as error:  # a user-defined one may raise any
                own = isinstance(error, FileFormatError)
                text = f"{error}" if own else f"{error!r:.200}"
                text = f"the state of {_type_name(callback)} cannot be set: {text}"
                raise FileFormatError(text) from (error.__cause__ if own else error)


def has_state(callback: Any) -> bool:
    """Return whether a callback has a state that a checkpoint saves."""
    return all(callable(getattr(callback, n, None)) for n in ("state_dict", "load_state_dict"))


def _type_name(callback: Any) -> str:
    kind = type(callback)
    return kind.__name__ if kind.__module__.startswith("xpnet.") else kind.__qualname__


def _has_attributes(owner: Any) -> bool:
    """Return whether an object that is no function has attributes of its own."""
    if isinstance(owner, (FunctionType, BuiltinFunctionType)):
        return False
    slots = [name for kind in type(owner).__mro__ for name in vars(kind).get("__slots__", ())]
    return bool(getattr(owner, "__dict__", None)) or any(hasattr(owner, name) for name in slots)


def is_training_checkpoint(callback: Any) -> bool:
    """Return whether a callback saves the training, a `TrainingCheckpoint`."""
    return getattr(callback, "saves_training", False) is True


def _rank(callback: Any) -> tuple[bool, bool, bool]:
    is_logger = getattr(callback, "logs_epochs", False) is True
    return is_training_checkpoint(callback), is_logger, hasattr(callback, "monitor")


def _rank_at_end(callback: Any) -> tuple[bool, bool]:
    return not is_training_checkpoint(callback), not getattr(callback, "restores_epoch", False)


def _epoch_method(callback: Any) -> Callable[[Run], Any] | None:
    """Return what is called after every epoch, or ``None``."""
    method = getattr(callback, "epoch", None)
    if callable(method):
        return method  # type: ignore[no-any-return]
    return callback if callable(callback) else None


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse callbacks that cannot be called with a `Run`, as far as their signatures tell.

    Raises:
        ArgumentError: naming ``callbacks``.
    """
    rule, do = "be a sequence of functions or callbacks", "Write callbacks=[...]."
    require(isinstance(callbacks, Sequence), "callbacks", rule, callbacks, do)
    for callback in callbacks:
        _check_former(callback)
        has_method = not isinstance(callback, type) and _methods_of(callback, CALLED)
        if not has_method and not callable(callback):
            rule = f"hold functions, or objects with a method {', '.join(CALLED[:-1])} or end"
            require(False, "callbacks", rule, callback)
        is_called = callable(callback) and not callable(getattr(callback, "epoch", None))
        if is_called or not has_method:
            check_functions([callback], "callbacks", ("run",))
        for name in _methods_of(callback, METHODS):
            arguments = METHODS[name]
            rule = f"have a method that can be called as {name}({', '.join(arguments)})"
            ok = _accepts(getattr(callback, name), len(arguments))
            require(ok, "callbacks", rule, callback)


def _methods_of(callback: Any, names: Iterable[str]) -> list[str]:
    return [name for name in names if callable(getattr(callback, name, None))]


def _check_former(callback: Any) -> None:
    """Refuse methods that have other names here, which would never be called."""
    others = [name for name in dir(callback) if HOOK.fullmatch(name)]
    for name in _methods_of(callback, [*FORMER, *others]):
        rule = f"have methods named {', '.join(CALLED)}"
        do = f"Rename it to {FORMER[name]}." if name in FORMER else ""
        kind = type(callback).__name__
        require(False, "callbacks", rule, Phrase(f"{name} of {kind}"), do)


def check_functions(
    items: Sequence[Any], argument: str, takes: Sequence[str], may_take: Sequence[str] = ()
) -> None:
    """Refuse an argument that is not a sequence of functions; a class is not a function.

    Args:
        items: the functions.
        argument: the name of ``items`` in error messages.
        takes: the positional arguments of a call.
        may_take: the keyword arguments that are passed to functions with such parameters.

    Raises:
        ArgumentError: naming ``argument``.
    """
    rule, do = "be a sequence of functions", f"Write {argument}=[...]."
    require(isinstance(items, Sequence), argument, rule, items, do)
    for item in items:
        ok = callable(item) and not isinstance(item, type)
        do = f"Write {item.__name__}(...)." if isinstance(item, type) else ""
        require(ok, argument, "hold functions, or objects with a method __call__", item, do)
        rule = f"hold functions that can be called as f({', '.join(takes)})"
        require(_accepts(item, len(takes), may_take), argument, rule, item)


def _accepts(function: Any, n_arguments: int, may_take: Sequence[str] = ()) -> bool:
    """Return whether a function takes so many positional arguments, as far as can be known."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # as of functions written in C
        return True
    keywords = {name: None for name in may_take if name in signature.parameters}
    try:
        signature.bind(*range(n_arguments), **keywords)
    except TypeError:
        return False
    return True


def _names(columns: Any) -> Sequence[str] | None:
    """Return the declared columns of a callback, or ``None`` if it declares none."""
    return columns if isinstance(columns, (tuple, list)) else None
