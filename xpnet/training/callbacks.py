"""Callbacks, which are called after every epoch, and early stopping."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

from xpnet.backend import Array, copied
from xpnet.errors import (
    ArgumentError,
    plain_number,
    require,
    require_count,
    require_number,
    require_type,
    unknown_name,
    warn_caller,
)
from xpnet.metrics import real_number
from xpnet.training.history import History

DIRECTIONS = {"loss": False, "rmse": False, "accuracy": True, "r2": True}
"""Whether higher is better, for columns of which that is known."""


@dataclass
class Run:
    """The argument of callbacks: a training run at the end of an epoch.

    Attributes:
        model: the model in training.
        epoch: the number of the epoch that has ended, counted from 1; 0 in ``begin``.
        epochs: the number of epochs requested.
        row: the numbers of the epoch by column.
        history: the history up to and including this epoch.
        optimizer: the optimizer, or the method of `xpnet.minimize`.
        state: the current state of the optimizer; ``None`` for a method of `xpnet.minimize`.
        rows: the training data, `xpnet.data.batching.TrainingData`.
        columns: the columns that ``row`` has before callbacks add theirs.
        callbacks: the callbacks, in the order in which they are called.
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

    def require_column(self, monitor: str, maximize: bool) -> None:
        """Refuse a column that the history will not have, and warn of the wrong direction.

        Callbacks without an attribute ``columns`` may add any column; then only those of
        validation data are refused if there are none.

        Raises:
            ArgumentError: if there will be no such column; the message lists those there will be.
        """
        declared = [getattr(callback, "columns", None) for callback in self.callbacks]
        known = [*self.columns, *(name for names in declared for name in _names(names) or ())]
        measured = {f"val_{name}" for name in self.columns}
        may_exist = any(_names(names) is None for names in declared) and monitor not in measured
        if monitor not in known and not may_exist:
            raise self._unknown(monitor, known)
        is_higher_better = DIRECTIONS.get(monitor.removeprefix("val_").removeprefix("avg_"))
        if is_higher_better not in (None, maximize):
            warn_caller(
                f"{monitor} is better if it is {'higher' if is_higher_better else 'lower'}, but is "
                f"{'maximized' if maximize else 'minimized'}. Write maximize={is_higher_better}."
            )

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


Callback: TypeAlias = Callable[[Run], bool | None]
"""A function called after every epoch. Training stops if it returns ``True``; any other value,
such as a number or a text, has no effect.

A callback may have further members, all optional:

- ``begin(run)`` is called before the first step. It raises an error if the callback cannot be used
  in this training, which leaves the model unchanged.
- ``finish(run)`` is called after the last epoch: first that of `EarlyStopping`, then the others in
  the order in which the callbacks are called.
- ``columns``, a sequence of names, declares the columns that the callback adds to ``run.row``.
- ``monitor`` is the column that the callback reads: it is called after those without one.
- ``snapshot(run)`` and ``restore(run, snapshot)`` copy and reset what ``finish`` uses, so that
  `EarlyStopping` can end the training with an earlier epoch.
"""


METHODS: dict[str, tuple[str, ...]] = {
    "begin": ("run",),
    "finish": ("run",),
    "snapshot": ("run",),
    "restore": ("run", "snapshot"),
}
"""The optional methods of a callback, with their arguments; other attributes are not called."""


class EarlyStopping:
    """Stop if a column of the history no longer improves, and restore the best epoch.

    The training then counts as one that ended with its best epoch, even if it was not stopped
    early. Therefore `UseAverage` and `StochasticWeightAveraging` give the model the average of that
    epoch, in any order of the list of callbacks.

    An epoch in which the number is NaN is never the best, and counts as one without improvement. If
    the number was NaN in every epoch, the model keeps the parameters that it would have without
    this callback.

    Args:
        monitor: the column to monitor; default ``"val_loss"``.
        patience: the number of successive epochs without improvement after which training stops;
            at least 1, default 5.
        min_delta: the smallest change that counts as an improvement, at least 0; default 0.
        maximize: whether higher is better, as for ``"val_accuracy"``; default false.

    Raises:
        ArgumentError: if an argument is outside its range; before the first step, if the history
            will lack ``monitor`` or there is another `EarlyStopping`.

    Reference: L. Prechelt, "Early stopping — but when?", 1998 (the criterion UP).

    >>> EarlyStopping(patience=0)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: patience must be an integer of at least 1; got 0.
    """

    columns: ClassVar[tuple[str, ...]] = ()
    _best: float
    _waited: int
    _vectors: tuple[Array, Array] | None
    _snapshots: list[tuple[Any, Any]]

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        maximize: bool = False,
    ) -> None:
        require_type(monitor, str, "monitor", 'Write the name of a column, such as "val_loss".')
        require_count(patience, "patience")
        require_number(min_delta, "min_delta", low=0)
        self.monitor, self.patience = monitor, patience
        self.min_delta, self.maximize = min_delta, maximize
        self._reset()

    def begin(self, run: Run) -> None:
        """Refuse a column that the history will not have, and a second `EarlyStopping`."""
        run.require_column(self.monitor, bool(self.maximize))
        n = sum(isinstance(callback, EarlyStopping) for callback in run.callbacks)
        rule = "hold at most one EarlyStopping, which determines the epoch that is restored"
        require(n == 1, "callbacks", rule, n)
        self._reset()

    def __call__(self, run: Run) -> bool:
        """Keep the parameters of the best epoch; return whether to stop."""
        if run.epoch == 1:
            self._reset()
        value = run.monitored(self.monitor) * (-1 if self.maximize else 1)
        first = self._vectors is None and not math.isnan(value)
        self._waited += 1
        if first or value < self._best - self.min_delta:
            self._best, self._best_epoch, self._waited = value, run.epoch, 0
            self._vectors = copied(run.model.theta), copied(run.model.statistics)
            self._snapshots = [(c, c.snapshot(run)) for c in run.callbacks if _has_snapshot(c)]
        if self._waited < self.patience:
            return False
        run.history.stopped = self._reason(run)
        return True

    def finish(self, run: Run) -> None:
        """Restore the best epoch, unless the number was NaN in all of them."""
        if self._vectors is not None:
            run.model.theta[...], run.model.statistics[...] = self._vectors
        for callback, snapshot in self._snapshots:
            callback.restore(run, snapshot)
        self._reset()  # releases the memory

    def _reset(self) -> None:
        """Forget the epochs of an earlier training."""
        self._best, self._best_epoch, self._waited = math.inf, 0, 0
        self._vectors, self._snapshots = None, []

    def _reason(self, run: Run) -> str:
        """Why training stopped, and with which parameters the model ends."""
        if self._vectors is None:
            kept = "last epoch" if run.state is not None else "lowest loss"  # minimize's own rule
            return (
                f"{self.monitor} was NaN for {self.patience} epochs; "
                f"the weights of the {kept} are kept"
            )
        restored = "weights and averages" if self._snapshots else "weights"
        return (
            f"{self.monitor} has not improved for {self.patience} epochs; "
            f"the {restored} of epoch {self._best_epoch} are restored"
        )


def begin(run: Run, callbacks: Sequence[Callback], columns: Iterable[str]) -> Run:
    """Call the method ``begin`` of every callback that has one, before the first step.

    Args:
        run: the run before its first epoch.
        callbacks: the callbacks, in the order of the list.
        columns: the columns that the history will have.

    Returns:
        The run with its columns, and its callbacks in the order in which they are called.

    Raises:
        ArgumentError: if a callback cannot be used in this training.
    """
    ordered = sorted(callbacks, key=lambda callback: hasattr(callback, "monitor"))
    run = replace(run, columns=tuple(columns), callbacks=tuple(ordered))
    for callback in run.callbacks:
        if callable(getattr(callback, "begin", None)):
            callback.begin(run)
    return run


def any_stops(run: Run) -> bool:
    """Call every callback, and return whether one of them returned ``True``."""
    results = [callback(run) for callback in run.callbacks]
    return any(plain_number(result) is True for result in results)


def finish(run: Run) -> None:
    """Call the method ``finish`` of every callback that has one.

    `EarlyStopping` is first: it restores the epoch of which others use the average.
    """
    for callback in sorted(run.callbacks, key=lambda c: not isinstance(c, EarlyStopping)):
        if callable(getattr(callback, "finish", None)):
            callback.finish(run)


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse callbacks that cannot be called with a `Run`, as far as their signatures tell.

    Raises:
        ArgumentError: naming ``callbacks``.
    """
    check_functions(callbacks, "callbacks", ("run",))
    for callback in callbacks:
        for name, arguments in METHODS.items():
            method = getattr(callback, name, None)
            rule = f"have a method that can be called as {name}({', '.join(arguments)})"
            ok = not callable(method) or _accepts(method, len(arguments))
            require(ok, "callbacks", rule, callback)


def check_functions(items: Sequence[Any], argument: str, takes: Sequence[str]) -> None:
    """Refuse an argument that is not a sequence of functions; a class is not a function.

    Args:
        items: the functions.
        argument: the name of ``items`` in error messages.
        takes: the positional arguments of a call.

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
        require(_accepts(item, len(takes)), argument, rule, item)


def _accepts(function: Any, n_arguments: int) -> bool:
    """Return whether a function takes so many positional arguments, as far as can be known."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # as of functions written in C
        return True
    try:
        signature.bind(*range(n_arguments))
    except TypeError:
        return False
    return True


def _has_snapshot(callback: Any) -> bool:
    """Return whether a callback has a state that `EarlyStopping` restores."""
    return all(callable(getattr(callback, name, None)) for name in ("snapshot", "restore"))


def _names(columns: Any) -> Sequence[str] | None:
    """Return the declared columns of a callback, or ``None`` if it declares none."""
    return columns if isinstance(columns, (tuple, list)) else None
